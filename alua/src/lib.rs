//! Asymmetric logical unit access (SPC-4 5.15): target port groups and their access states.
//!
//! ```text
//!  DeviceGroup ── Table: target port groups, their states and ports (plain data)
//!    │  set_state, add_port, ... ─► Change: transition ► drain ► close, open stores ► new states ► unit attentions
//!    │                                ▲
//!    │ of many units                  └── SET TARGET PORT GROUPS, if its StpgAgent grants it
//!    ▼
//!  AsymmetricAccess, a service of one LogicalUnit
//!    ├─ publishes an access word to each I_T_L nexus, by the group of the port it came by ─► read by the pipeline
//!    ├─ explains a refusal: NOT READY 04h/0Ah, 0Bh, 0Ch, 12h; during a transition the command waits
//!    └─ REPORT TARGET PORT GROUPS, TPGS, peripheral qualifier, target port group designator
//! ```
//!
//! ```
//! use lunforge_alua::{AccessState, AsymmetricAccess, DeviceGroup, TargetPort, TargetPortGroup};
//! use lunforge_core::{LogicalUnit, Target};
//! # use lunforge_core::testing::doubles::Blank;
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let disk = Blank::default();
//! let access = AsymmetricAccess::new();
//! let unit = LogicalUnit::builder(std::sync::Arc::new(disk)).service(access.clone()).build();
//! let a = Target::builder("iqn.2026-11.org.example:a").relative_port(1).lun(0, unit).build()?;
//!
//! let group = DeviceGroup::new("disks");
//! group.add_target_port_group(TargetPortGroup::new(1).with(TargetPort::Local(1)))?;
//! let target = "iqn.2026-11.org.example:other-node".to_owned();
//! let remote = TargetPort::Remote { target, relative_port: 2 };
//! group.add_target_port_group(TargetPortGroup::new(2).in_state(AccessState::Standby).with(remote))?;
//! group.add_unit(&access)?;
//! group.set_state(1, AccessState::Standby)?;
//! # Ok(()) }
//! ```
//!
//! **Locks**, in the order in which they nest: a device group's `changes`, held by the thread that makes a change over
//! all its waits and never taken on a shard → a unit's `group` → a device group's `state`, both for a few instructions
//! → the core's access word. Nothing is held while a gate drains or a handler opens or closes its store, except
//! `changes`, for which only further changes of the same device group wait. An agent is called without any lock.
//!
//! A port that is in no group leads to its units without restriction.

mod agent;
mod change;
mod device_group;
mod error;
mod report;
mod set;
mod state;
mod table;
mod unit;

pub use agent::{StateChange, StpgAgent, StpgRefused, StpgRequest};
pub use device_group::DeviceGroup;
pub use error::AluaError;
pub use set::{SetDescriptor, parse as parse_set_target_port_groups};
pub use state::{AccessState, UnknownState};
pub use table::{StatusCode, TargetPort, TargetPortGroup};
pub use unit::AsymmetricAccess;
