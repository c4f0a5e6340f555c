//! The sans-IO protocol: PDUs, digests, login, and the full feature phase engine.
//!
//! Bytes, typed events and `now` go in; events, transmit descriptors and the next timer come out.

pub mod chap;
pub mod connection;
pub mod digest;
pub mod discovery;
pub mod error;
pub mod fuzzing;
pub mod keys;
pub mod login;
pub mod pdu;
pub mod session;
pub mod task;
pub mod text;
