//! For tests of this crate and of those that use it: a store whose operations end when the test says, and the parsers
//! of parameter lists. Feature `testing`.

pub mod lists;
mod slow;

pub use slow::{Held, Hold, Landed, OpId, OpKind, SlowStore};
