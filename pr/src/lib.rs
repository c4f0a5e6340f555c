//! Reservations: persistent ones and those of SPC-2.
//!
//! Empty so far. The core's side stands: each I_T_L nexus has an access word ([`lunforge_core::nexus::AccessWord`]) that
//! this crate will publish, with the unit's gate closed, and the pipeline reads.
