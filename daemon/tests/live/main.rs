//! The machine under its manager, as initiators see it.

mod bed;
mod cdrom;
mod devices;
mod failures;
mod groups;
mod metrics;
mod portals;
mod reopen;
mod srp;
mod states;
mod targets;
mod undo;
