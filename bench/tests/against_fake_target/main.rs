//! The initiator and the load generator against an in-memory target that behaves or does not.

mod durable;
mod fake_target;
mod initiator;
mod load;
mod measurements;
