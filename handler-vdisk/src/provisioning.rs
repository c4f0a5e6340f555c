//! Logical block provisioning thresholds (SBC-4 4.7.3.7): how much storage there is, and when an initiator is told.
//!
//! A file store is asked for its space every so many bytes written, more often the closer the threshold is, on the
//! disk's own threads. Another store's owner says it by `Vdisk::set_space`. The soft threshold is that of mode page
//! 1Ch/02h; it is reported once each time the available storage falls to it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use lunforge_core::asc::Asc;
use lunforge_core::units::BlockSize;
use parking_lot::Mutex;

use crate::disk::Disk;
use crate::mode::Values;
use crate::store::{BackingStore, Space};

/// Bytes of a threshold set, unless the disk is so large that its sets would not fit 32 bits.
const SET: u64 = 1 << 20;
/// Bytes written between two looks at the store: least and most.
const INTERVAL: std::ops::RangeInclusive<u64> = (1 << 20)..=(256 << 20);

/// The provisioning state of a disk.
#[derive(Debug)]
pub(crate) struct Provisioning {
    known: Mutex<Option<Space>>,
    automatic: bool,
    exponent: u8,
    set: u64,
    armed: AtomicBool,
    looking: AtomicBool,
    unchecked: AtomicU64,
    interval: AtomicU64,
}

impl Provisioning {
    /// Asks the store once. Blocks.
    pub(crate) fn new(store: &dyn BackingStore, thin: bool, block: BlockSize, size: u64) -> Self {
        let known = if thin {
            store.space().unwrap_or_default()
        } else {
            None
        };
        let mut set = SET.max(u64::from(block.bytes()));
        while size / set > u64::from(u32::MAX) {
            set *= 2;
        }
        let exponent = set.trailing_zeros().saturating_sub(block.shift());
        Self {
            automatic: known.is_some(),
            known: Mutex::new(known),
            // A block of 1 MiB would make it zero, which means no thresholds.
            exponent: u8::try_from(exponent.max(1)).unwrap_or(u8::MAX),
            set,
            armed: AtomicBool::new(true),
            looking: AtomicBool::new(false),
            unchecked: AtomicU64::new(0),
            interval: AtomicU64::new(*INTERVAL.start()),
        }
    }

    /// THRESHOLD EXPONENT of VPD page B2h: a threshold set is two to its power blocks.
    pub(crate) fn exponent(&self) -> u8 {
        self.exponent
    }

    /// The store is asked, not its owner.
    pub(crate) fn is_automatic(&self) -> bool {
        self.automatic
    }

    /// What is known of the space, without asking.
    pub(crate) fn known(&self) -> Option<Space> {
        *self.known.lock()
    }

    /// Whole threshold sets in `bytes`.
    pub(crate) fn sets(&self, bytes: u64) -> u32 {
        u32::try_from(bytes / self.set).unwrap_or(u32::MAX)
    }

    /// THRESHOLD COUNT for `percent` of all there is; `None` when nothing is known.
    pub(crate) fn count_of(&self, percent: u8) -> Option<u32> {
        let capacity = self.known()?.capacity;
        Some(self.sets(capacity / 100 * u64::from(percent)).max(1))
    }

    /// Counts bytes that were written or unmapped, and now and then has the store asked. Does not block.
    pub(crate) fn changed(disk: &Arc<Disk>, bytes: u64) {
        let this = &disk.provisioning;
        if !this.automatic || !disk.modes.values().threshold_enabled {
            return;
        }
        // Relaxed throughout: a look that comes a write too early or too late does no harm.
        let sum = this.unchecked.fetch_add(bytes, Ordering::Relaxed) + bytes;
        if sum < this.interval.load(Ordering::Relaxed) || this.looking.swap(true, Ordering::Relaxed)
        {
            return;
        }
        this.unchecked.store(0, Ordering::Relaxed);
        let disk = Arc::clone(disk);
        let looking = Looking(Arc::clone(&disk));
        disk.clone().run_long(move || {
            let _looking = looking;
            disk.provisioning.look(&disk);
        });
    }

    /// Asks the store. Blocks.
    pub(crate) fn look(&self, disk: &Disk) {
        if !self.automatic {
            return;
        }
        match disk.store().space() {
            Ok(Some(space)) => self.set(disk, space),
            Ok(None) => {}
            Err(error) => tracing::warn!(%error, "the space of a store is not known"),
        }
    }

    /// Takes over what the space is, and reports the threshold if it is reached.
    pub(crate) fn set(&self, disk: &Disk, space: Space) {
        *self.known.lock() = Some(space);
        self.judge(disk);
    }

    /// A MODE SELECT: a changed threshold is armed anew.
    pub(crate) fn modes_changed(&self, disk: &Disk, old: &Values, new: &Values) {
        let of = |v: &Values| (v.threshold_enabled, v.threshold_count);
        if of(old) != of(new) {
            self.armed.store(true, Ordering::Relaxed);
            self.judge(disk);
        }
    }

    fn judge(&self, disk: &Disk) {
        let (values, Some(space)) = (disk.modes.values(), self.known()) else {
            return;
        };
        let threshold = u64::from(values.threshold_count) * self.set;
        let left = space.available.saturating_sub(threshold) / 4;
        self.interval.store(
            left.clamp(*INTERVAL.start(), *INTERVAL.end()),
            Ordering::Relaxed,
        );
        let reached =
            values.threshold_enabled && self.sets(space.available) <= values.threshold_count;
        if !reached {
            self.armed.store(true, Ordering::Relaxed);
        } else if self.armed.swap(false, Ordering::Relaxed) {
            self.report(disk);
        }
    }

    /// THIN PROVISIONING SOFT THRESHOLD REACHED for every nexus, unless LBPERE forbids it (SBC-4 4.7.3.7.6).
    pub(crate) fn report(&self, disk: &Disk) {
        if disk.modes.values().lbpere || !disk.settings.thin {
            disk.announce(Asc::THIN_PROVISIONING_SOFT_THRESHOLD_REACHED);
        }
    }
}

/// One look at a time; over when dropped, also where the pool refuses the job.
struct Looking(Arc<Disk>);

impl Drop for Looking {
    fn drop(&mut self) {
        self.0.provisioning.looking.store(false, Ordering::Relaxed);
    }
}
