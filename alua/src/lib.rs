//! Asymmetric logical unit access: target port groups and access states.
//!
//! Empty so far. The core's side stands: each I_T_L nexus has an access word ([`lunforge_core::nexus::AccessWord`]) that
//! this crate will publish and the pipeline reads.
