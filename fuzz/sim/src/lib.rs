//! A deterministic simulation of whole targets: the shipped code of core, virtual disks, reservations, access states
//! and iSCSI, over stores and byte streams of the simulation's, on one thread and under one virtual clock.
//!
//! ```text
//!   seed ─▶ Config (swarm: which faults, how strong, how many of what)
//!        ─▶ steps: each a function of (seed, number) alone ─▶ World
//!                    initiators ⇄ Wire ⇄ iSCSI ⇄ Shards (poll_mail) ⇄ vdisk ⇄ Medium
//!                        │ checks every PDU                              │ checks every write that lands
//!                        └──────────────▶ Model ◀───────────────────────┘
//!        ─▶ Outcome: hash of all events, the first broken rule
//! ```
//!
//! Nothing random is not of the seed, nothing is timed by a clock, and nothing runs on another thread. A step that is
//! left out does not change the numbers of the others: that is how a failing run is made smaller.

#![allow(
    clippy::indexing_slicing,
    reason = "a simulation that indexes wrongly is to stop; its indices come from itself"
)]

mod attention;
mod chronicle;
mod config;
mod initiator;
mod medium;
mod model;
mod pattern;
mod rng;
mod run;
mod shrink;
mod wire;
mod world;

pub use chronicle::Failure;
pub use config::{FAULTS, Fault, Mask};
pub use run::{Outcome, run, size};
pub use shrink::shrink;
