//! The tree of everything that can be managed: objects in their places, with attributes.
//!
//! A [`Tree`] is a configuration as a value: no file, engine or socket knows it, and it knows none. Its paths are those
//! that SCST shows below `/sys/kernel/scst_tgt`, so that one name serves configuration files, commands and scripts.

mod kind;
mod object;
mod path;

pub use kind::Kind;
pub use object::{Attributes, Object, Tree};
pub use path::{Key, MAX_LUN, Path, PathError};
