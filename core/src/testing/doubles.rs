//! Handlers for tests.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;

use crate::buffer::IoBuf;
use crate::cdb::{Cdb, CommandId, ParsedCdb};
use crate::handler::{
    ControlMode, DeviceHandler, DeviceProfile, Execute, Execution, Fence, Identity, Outcome,
    Transfer,
};
use crate::sense::Sense;
use crate::shard::completion::CompletionToken;

/// What a [`Blank`] shares with the test that made it.
#[derive(Debug, Default)]
pub struct Controls {
    /// The unit's serial number, "blank" unless set before it is made.
    pub serial: OnceLock<String>,
    /// Keep commands until [`Controls::complete_all`].
    pub hold: AtomicBool,
    /// Whether `fence` can promise anything.
    pub can_fence: AtomicBool,
    /// Times `fence` was called.
    pub fences: AtomicUsize,
    /// Times `reset` was called.
    pub resets: AtomicUsize,
    /// Commands that reached `execute`.
    pub executed: AtomicUsize,
    /// The control mode page. TST counts when the unit is made.
    pub control: Mutex<ControlMode>,
    held: Mutex<Vec<(CompletionToken, IoBuf)>>,
}

impl Controls {
    /// Commands held now.
    pub fn held(&self) -> usize {
        self.held.lock().len()
    }

    /// Ends all held commands with GOOD.
    pub fn complete_all(&self) {
        for (token, buf) in self.held.lock().drain(..) {
            token.complete(Outcome::good(), buf);
        }
    }

    /// Ends the command that has been held longest.
    pub fn complete_first(&self, outcome: Outcome) {
        let first = self.held.lock().drain(..1).next();
        if let Some((token, buf)) = first {
            token.complete(outcome, buf);
        }
    }

    /// Loses all held commands, as a buggy handler might.
    pub fn drop_all(&self) {
        self.held.lock().clear();
    }
}

/// A block device of 512-byte blocks whose content is lost: READ gives A5h, WRITE and COMPARE AND WRITE take, MODE
/// SELECT and SYNCHRONIZE CACHE change nothing. It can be told to never answer.
#[derive(Debug, Clone, Default)]
pub struct Blank(
    /// The test's hand on it.
    pub Arc<Controls>,
);

impl DeviceHandler for Blank {
    fn identity(&self) -> Identity {
        Identity {
            vendor: "LUNFORGE".into(),
            product: "BLANK".into(),
            revision: "1".into(),
            serial: self.0.serial.get().cloned().unwrap_or("blank".into()),
            designators: Vec::new(),
        }
    }

    fn profile(&self) -> DeviceProfile {
        DeviceProfile {
            device_type: 0,
            removable: false,
            version_descriptors: vec![],
        }
    }

    fn supports(&self, command: CommandId) -> bool {
        use CommandId as Id;
        matches!(
            command,
            Id::Read10
                | Id::Write10
                | Id::CompareAndWrite
                | Id::ModeSelect6
                | Id::SynchronizeCache10
        )
    }

    fn vpd_pages(&self) -> Vec<u8> {
        Vec::new()
    }

    fn vpd(&self, _: u8) -> Option<Vec<u8>> {
        None
    }

    fn ready(&self) -> Result<(), Sense> {
        Ok(())
    }

    fn prepare(&self, cdb: &ParsedCdb) -> Result<Transfer, Sense> {
        Ok(match cdb.cdb {
            Cdb::Read { blocks, .. } => Transfer::In(blocks.0 as usize * 512),
            Cdb::Write { blocks, .. } => Transfer::Out(blocks.0 as usize * 512),
            Cdb::CompareAndWrite { blocks, .. } => Transfer::Out(blocks as usize * 1024),
            _ => Transfer::None,
        })
    }

    fn execute(&self, command: &mut Execution<'_>) -> Execute {
        self.0.executed.fetch_add(1, Ordering::Relaxed);
        if self.0.hold.load(Ordering::Relaxed) {
            let buf = command.take_buf();
            self.0.held.lock().push((command.defer(), buf));
            return Execute::Pending;
        }
        Execute::Done(match command.cdb() {
            Cdb::Read { .. } => {
                let len = command.buf().len();
                command.buf().fill(0..len, 0xA5);
                Outcome::data(len)
            }
            _ => Outcome::good(),
        })
    }

    fn control(&self) -> ControlMode {
        *self.0.control.lock()
    }

    fn reset(&self) {
        self.0.resets.fetch_add(1, Ordering::Relaxed);
    }

    fn fence(&self) -> Fence {
        self.0.fences.fetch_add(1, Ordering::Relaxed);
        if self.0.can_fence.load(Ordering::Relaxed) {
            Fence::Fenced
        } else {
            Fence::Unfenced
        }
    }
}
