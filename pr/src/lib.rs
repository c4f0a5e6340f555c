//! Reservations: persistent ones (SPC-4 5.13) and RESERVE and RELEASE of SPC-2.
//!
//! ```text
//!                        ┌──────────── Reservations, a UnitService ────────────┐
//!   PR OUT, PR IN,       │  parameter_list ─→ Event                            │    a word per session
//!   RESERVE, RELEASE ───→│                      │                              │──→ Itl::access (core reads it)
//!   session lost, reset  │   turn (one at a     ▼                              │
//!                        │   time per unit)   apply(&State, &Event)            │──→ unit attentions, status
//!                        │                      │  pure: no I/O, clock, lock   │
//!                        │                      ▼                              │
//!                        │                    (State, Effects) or Refusal      │
//!                        └──────────────────────│──────────────────────────────┘
//!                                               ▼  before it takes effect, on a thread that may block
//!                                          Persistence: FileStore, Volatile
//! ```
//!
//! **Locks.** A unit's state is an immutable value behind a lock that is held to swap it and to write the access words,
//! never across I/O nor a call into a handler. Changes take turns without a thread waiting. A change that takes rights
//! away publishes them with the unit's gate closed, when no command executes: after its GOOD no older write lands.
//! Lock order: state; the unit's list of sessions; a session's word. The queue of turns is locked by itself.
//!
//! **Ownership.** The state belongs to the service; [`Reservations::snapshot`] gives a copy that does not change. An
//! I_T nexus is its name ([`ItNexus`]), so registrations outlive sessions.

mod access;
mod apply;
mod event;
mod kind;
mod parameter_list;
mod persistence;
mod reserve_in;
mod service;
mod state;

pub use access::{allowed, takes_rights};
pub use apply::{MAX_REGISTRANTS, apply};
pub use event::{Effects, Event, ListedId, Refusal, Registration, ReserveOut, ScopeType, Setting};
pub use kind::{ReservationKey, ReservationType};
pub use parameter_list::{check_len, parse as parse_reserve_out};
pub use persistence::{
    Damage, Directory, FileStore, OnDamage, OsDirectory, Persistence, PersistenceError, Volatile,
    decode, encode,
};
pub use reserve_in::respond as reserve_in;
pub use service::{Frozen, OnChange, Reservations};
pub use state::{ItNexus, Reservation, State, StateError};
