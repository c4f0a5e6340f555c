//! Changing what runs: changes are checked against the model, then done to the machine, all or none.
//!
//! ```text
//!   scst.conf ─ scstadmin ─ control socket
//!        │           │            │
//!        ▼           ▼            ▼
//!      plan ──► changes ──► Manager ──► Model (a value: accepts or refuses, and knows the way back)
//!                              │
//!                              └──────► Machine (the engine, its targets and disks; or a double)
//! ```

mod change;
mod companions;
mod machine;
mod manager;
mod model;
mod plan;
mod ports;
mod together;

pub use change::Change;
pub use machine::{Failure, Machine};
pub use manager::{Manager, RunError};
pub use model::{Model, Refusal};
pub use plan::{Plan, closing, emptying, plan, removal};

pub(crate) use companions::complete_copies;
pub(crate) use model::{given, name};

#[cfg(test)]
mod tests;
