//! The sans-IO protocol: information units, data buffers, login, credits, and the state of a channel.
//!
//! Bytes and events go in; bytes and events come out. No socket, clock, thread or random number is in here.

#![forbid(unsafe_code)]

pub mod channel;
pub mod credit;
pub mod data;
pub mod error;
pub mod fuzzing;
pub mod iu;
pub mod login;
pub mod mad;
pub mod port;
pub mod tags;
