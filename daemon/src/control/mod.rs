//! The control socket: a Unix socket on which a running target is asked and changed.
//!
//! Lines of JSON in both directions, one request and one answer each, in order. [`protocol`] has the calls.

pub mod protocol;
pub mod report;
