//! What a unit offers beyond its device type: reservations, target port groups, third-party copy.
//!
//! A [`UnitService`] executes commands of its own, publishes what each I_T_L nexus may do
//! ([`Itl::access`](crate::nexus::Itl)) and explains a refusal. The pipeline reads the published word; it calls a
//! service only for the service's own commands and for a command that the word does not let through.

use std::sync::{Arc, Weak};
use std::time::Duration;

use crate::cdb::{CommandId, ParsedCdb};
use crate::designator::Designator;
use crate::handler::{Execute, Execution, Outcome, Transfer};
use crate::lu::LogicalUnit;
use crate::nexus::{Itl, Nexus};
use crate::sense::Sense;

/// Why a command may not pass now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// It ends with this.
    Answer(Outcome),
    /// The rights are being changed: the command waits until they have been
    /// ([`LogicalUnit::access_changed`](crate::LogicalUnit::access_changed)), for so long at most, and no longer than
    /// [`Ladder::hold`](crate::deadline::Ladder::hold) of the unit, and ends with this if they still are.
    Wait(Duration, Outcome),
}

/// A part of a logical unit that is not its device type.
///
/// All methods run on a shard, or on the thread that builds or changes the unit, and must not block.
pub trait UnitService: Send + Sync + 'static {
    /// Whether the command is this service's, supported or not. Fixed while the unit lives.
    fn claims(&self, command: CommandId) -> bool;

    /// Whether a claimed command is supported now.
    fn supports(&self, command: CommandId) -> bool {
        self.claims(command)
    }

    /// Checks a claimed command before any data moves, and says how much data it moves.
    ///
    /// # Errors
    /// The sense that ends the command.
    fn prepare(&self, cdb: &ParsedCdb) -> Result<Transfer, Sense>;

    /// Executes a claimed command, as [`DeviceHandler::execute`](crate::DeviceHandler::execute) does.
    fn execute(&self, command: &mut Execution<'_>) -> Execute;

    /// The service became part of `unit`.
    fn attached(&self, unit: Weak<LogicalUnit>) {
        drop(unit);
    }

    /// A session reaches the unit for the first time: what it may do is to be published before this returns.
    fn joined(&self, itl: &Arc<Itl>) {
        let _ = itl;
    }

    /// The session was lost or closed, or sees the unit no more; none of its commands has an effect any more.
    fn left(&self, itl: &Arc<Itl>) {
        let _ = itl;
    }

    /// The relative target port identifier by which a session reaches the unit is another one now: what the session may
    /// do is to be published anew.
    fn renamed(&self, itl: &Arc<Itl>) {
        let _ = itl;
    }

    /// A logical unit or target reset happened; nothing is executing.
    fn reset(&self) {}

    /// Why `itl` may not run `cdb`; `None` when it is not this service that forbids it.
    fn refusal(&self, itl: &Itl, cdb: &ParsedCdb) -> Option<Refusal> {
        let _ = (itl, cdb);
        None
    }

    /// Sets this service's bits in standard INQUIRY data (SPC-4 6.6.2): TPGS, 3PC, the peripheral qualifier.
    fn inquiry(&self, nexus: &Nexus, standard: &mut [u8]) {
        let _ = (nexus, standard);
    }

    /// Sets this service's bits in the body of the extended INQUIRY page (SPC-4 7.8.7), without the page header.
    fn extended_inquiry(&self, body: &mut [u8]) {
        let _ = body;
    }

    /// Designators to add to VPD page 83h for a session.
    fn designators(&self, nexus: &Nexus) -> Vec<Designator> {
        let _ = nexus;
        Vec::new()
    }

    /// VPD pages to add.
    fn vpd_pages(&self) -> Vec<u8> {
        Vec::new()
    }

    /// The body of a page of [`UnitService::vpd_pages`], without the four header bytes.
    fn vpd(&self, page: u8, nexus: &Nexus) -> Option<Vec<u8>> {
        let _ = (page, nexus);
        None
    }
}
