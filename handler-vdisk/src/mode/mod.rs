//! MODE SENSE and MODE SELECT (SPC-4 6.11 to 6.14, 7.5; SBC-4 6.5).
//!
//! ```text
//!   values: what may change, one word ── page: as bytes ── sense / select: the commands ── Modes: current, saved, default
//! ```
//!
//! The current values are one atomic word, since commands read them on every shard. Parameter data is checked whole
//! before the first of them changes. One MODE SELECT at a time: a second one that meets it is told BUSY.

mod cdrom;
mod page;
mod select;
mod sense;
mod values;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use lunforge_core::asc::Asc;
use lunforge_core::cdb::PageControl;
use lunforge_core::handler::{ControlMode, QueueError, UnitAttentionInterlock};
use lunforge_core::sense::Sense;
use parking_lot::Mutex;

use crate::disk::Disk;
use crate::store::Stamp;
pub(crate) use page::Facts;
use page::{Page, masks, pages};
pub(crate) use select::{check as check_select, execute as select};
pub(crate) use sense::{ROOM, execute as sense};
pub(crate) use values::{ReportExceptions, Values};

/// Mode parameters of a disk.
#[derive(Debug)]
pub(crate) struct Modes {
    current: AtomicU64,
    /// What a reset goes back to: the defaults unless a parameters file says otherwise.
    saved: AtomicU64,
    default: Values,
    facts: Facts,
    changing: AtomicBool,
    /// Orders a late MODE SELECT against a reset. Held for two loads and a store.
    commit: Mutex<()>,
}

impl Modes {
    /// `threshold` is the default threshold count; `saved` comes from the parameters file.
    pub(crate) fn new(facts: Facts, threshold: Option<u32>, saved: Option<Values>) -> Self {
        let default = Values {
            wce: facts.volatile,
            swp: false,
            d_sense: false,
            reorder: true,
            queue_error: QueueError::Continue,
            interlock: UnitAttentionInterlock::Clear,
            task_aborted: false,
            tmf_only: false,
            lbpere: facts.thin,
            dexcpt: false,
            test: false,
            mrie: ReportExceptions::Never,
            threshold_enabled: threshold.is_some(),
            threshold_count: threshold.unwrap_or(0),
        };
        let saved = possible(&facts, saved.unwrap_or(default)).pack();
        Self {
            current: AtomicU64::new(saved),
            saved: AtomicU64::new(saved),
            default,
            facts,
            changing: AtomicBool::new(false),
            commit: Mutex::new(()),
        }
    }

    /// The values in force.
    pub(crate) fn values(&self) -> Values {
        // Relaxed: each field stands for itself.
        Values::unpack(self.current.load(Ordering::Relaxed))
    }

    /// WCE: a finished write may still be in a volatile cache.
    pub(crate) fn wce(&self) -> bool {
        self.values().wce
    }

    /// SWP.
    pub(crate) fn software_write_protect(&self) -> bool {
        self.values().swp
    }

    /// Back to the saved values. WCE stays off where the store has no volatile cache: a reset never makes a write-through
    /// disk cache.
    pub(crate) fn reset(&self) {
        let _order = self.commit.lock();
        let saved = self.saved.load(Ordering::Relaxed);
        self.current.store(saved, Ordering::Relaxed);
    }

    /// What the pipeline obeys.
    pub(crate) fn control(&self) -> ControlMode {
        self.values().control(self.facts.shared_task_set)
    }

    /// The pages as `control` asks for them.
    fn pages(&self, control: PageControl) -> Result<Vec<Page>, Sense> {
        match control {
            PageControl::Current => Ok(pages(&self.facts, self.values())),
            PageControl::Default => Ok(pages(&self.facts, self.default)),
            PageControl::Changeable => Ok(masks(&self.facts)),
            PageControl::Saved if self.facts.savable => {
                let saved = Values::unpack(self.saved.load(Ordering::Relaxed));
                Ok(pages(&self.facts, saved))
            }
            PageControl::Saved => Err(Sense::illegal_request(Asc::SAVING_PARAMETERS_NOT_SUPPORTED)),
        }
    }

    /// The file has these values now.
    fn was_saved(&self, values: Values) {
        self.saved.store(values.pack(), Ordering::Relaxed);
    }

    /// Puts values in force, unless the command that brings them is of an epoch that was fenced. The old ones.
    fn commit(&self, disk: &Disk, new: Values, stamp: Stamp) -> Option<Values> {
        let _order = self.commit.lock();
        if disk.stamp() != stamp {
            return None;
        }
        Some(Values::unpack(
            self.current.swap(new.pack(), Ordering::Relaxed),
        ))
    }
}

/// The values without what the disk cannot be.
fn possible(facts: &Facts, values: Values) -> Values {
    Values {
        wce: values.wce && facts.volatile,
        lbpere: values.lbpere && facts.thin,
        threshold_enabled: values.threshold_enabled && facts.thin,
        ..values
    }
}

/// The right to change mode parameters, until dropped.
struct Turn(Arc<Disk>);

impl Turn {
    fn take(disk: &Arc<Disk>) -> Option<Self> {
        // Acquire and, below, release: what the one before put in force is what this one starts from.
        let free = !disk.modes.changing.swap(true, Ordering::Acquire);
        free.then(|| Self(Arc::clone(disk)))
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.modes.changing.store(false, Ordering::Release);
    }
}
