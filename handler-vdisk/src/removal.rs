//! PREVENT ALLOW MEDIUM REMOVAL (SBC-4 5.15, MMC-6 6.14): each nexus prevents for itself, until it allows or ends, or the unit is
//! reset.

use lunforge_core::asc::Asc;
use lunforge_core::handler::{Execute, Outcome, Transfer};
use lunforge_core::nexus::NexusId;
use lunforge_core::sense::Sense;
use parking_lot::Mutex;

/// The nexuses that prevent removal.
#[derive(Debug, Default)]
pub(crate) struct Removal(Mutex<Vec<NexusId>>);

impl Removal {
    /// ILLEGAL REQUEST, MEDIUM REMOVAL PREVENTED while any nexus prevents, the asking one too.
    pub(crate) fn allowed(&self) -> Result<(), Sense> {
        if self.0.lock().is_empty() {
            Ok(())
        } else {
            Err(Sense::illegal_request(Asc::MEDIUM_REMOVAL_PREVENTED))
        }
    }

    /// Executes PREVENT ALLOW MEDIUM REMOVAL.
    pub(crate) fn execute(&self, nexus: NexusId, prevent: u8) -> Execute {
        self.nexus_lost(nexus);
        if prevent != 0 {
            self.0.lock().push(nexus);
        }
        Execute::Done(Outcome::good())
    }

    /// The nexus prevents no more.
    pub(crate) fn nexus_lost(&self, nexus: NexusId) {
        self.0.lock().retain(|other| *other != nexus);
    }

    /// No nexus prevents any more.
    pub(crate) fn reset(&self) {
        self.0.lock().clear();
    }
}

/// Checks PREVENT: 10b and 11b are obsolete.
pub(crate) fn check(prevent: u8) -> Result<Transfer, Sense> {
    if prevent > 1 {
        return Err(Sense::invalid_field_in_cdb(4, Some(1)));
    }
    Ok(Transfer::None)
}
