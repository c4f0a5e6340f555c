//! What a virtual disk is: its store, geometry, settings and state.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use lunforge_core::asc::Asc;
use lunforge_core::handler::{DeviceProfile, UnitEvents};
use lunforge_core::offload::Offload;
use lunforge_core::sense::Sense;
use lunforge_core::units::{BlockCount, BlockSize, Lba};
use parking_lot::Mutex;

use crate::background::Background;
use crate::cdrom;
use crate::data_buffer::Buffers;
use crate::exceptions::Exceptions;
use crate::face::Face;
use crate::mode::{self, Modes};
use crate::parameters::Parameters;
use crate::provisioning::Provisioning;
use crate::removal::Removal;
use crate::self_test::{self, SelfTests};
use crate::statistics::Statistics;
use crate::store::{BackingStore, Capabilities, Limits, OffloadPool, Stamp};
use crate::sync_cache::Unawaited;
use crate::timestamp::Clock;

/// Threads of a unit for long commands.
const LONG_THREADS: usize = 2;

/// Where jobs of the disk run that may take long.
enum Long {
    Threads(OffloadPool),
    Given(Offload),
}

/// Largest MAXIMUM TRANSFER LENGTH of any disk, in bytes: no command moves more.
pub const MAX_TRANSFER: u64 = 8 << 20;
/// MAXIMUM UNMAP LBA COUNT, in bytes.
pub(crate) const MAX_UNMAP: u64 = 256 << 20;
/// MAXIMUM WRITE SAME LENGTH, in bytes: a pattern may have to be written out, which takes time in proportion.
pub(crate) const MAX_WRITE_SAME: u64 = 16 << 20;
/// MAXIMUM UNMAP BLOCK DESCRIPTOR COUNT.
pub(crate) const MAX_UNMAP_DESCRIPTORS: u32 = 64;

/// What does not change while the disk lives.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) profile: DeviceProfile,
    pub(crate) block: BlockSize,
    pub(crate) thin: bool,
    /// Refuses writes, whatever the store could do.
    pub(crate) read_only: bool,
    pub(crate) removable: bool,
    /// Whether the medium rotates, whatever the store says.
    pub(crate) rotational: Option<bool>,
    /// TST 000b.
    pub(crate) shared_task_set: bool,
    /// Percent of the space below which the soft threshold is reached, until MODE SELECT says otherwise.
    pub(crate) space_threshold: Option<u8>,
}

/// A virtual disk, shared by the handler, its commands in flight and its owner.
pub(crate) struct Disk {
    store: Arc<dyn BackingStore>,
    pub(crate) settings: Settings,
    /// What a CD drive has beyond a disk.
    pub(crate) cdrom: Option<cdrom::Drive>,
    pub(crate) face: Face,
    pub(crate) modes: Modes,
    pub(crate) parameters: Option<Parameters>,
    pub(crate) provisioning: Provisioning,
    pub(crate) exceptions: Exceptions,
    pub(crate) removal: Removal,
    pub(crate) buffers: Buffers,
    pub(crate) statistics: Statistics,
    pub(crate) self_tests: SelfTests,
    pub(crate) clock: Clock,
    /// Those of the store, as bits.
    capabilities: AtomicU32,
    blocks: AtomicU64,
    max_transfer: AtomicU64,
    generation: AtomicU64,
    /// The highest generation that there was.
    highest: AtomicU64,
    epoch: AtomicU64,
    present: AtomicBool,
    pub(crate) events: Mutex<UnitEvents>,
    long: Long,
    renewing: Mutex<()>,
    pub(crate) background: Background,
    pub(crate) unawaited_flush: Unawaited,
}

impl std::fmt::Debug for Disk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Disk")
            .field("settings", &self.settings)
            .field("blocks", &self.blocks)
            .finish_non_exhaustive()
    }
}

impl Disk {
    /// Asks the store for its space, which blocks.
    pub(crate) fn new(
        store: Arc<dyn BackingStore>,
        settings: Settings,
        face: Face,
        parameters: Option<Parameters>,
        generation: u64,
        offload: Option<Offload>,
        cdrom: Option<cdrom::Drive>,
    ) -> Self {
        let (limits, capabilities) = (store.limits(), store.capabilities());
        let provisioning = Provisioning::new(&*store, settings.thin, settings.block, limits.size);
        let facts = mode::Facts {
            thin: settings.thin,
            volatile: capabilities.contains(Capabilities::VOLATILE_CACHE),
            shared_task_set: settings.shared_task_set,
            savable: parameters.is_some(),
            extended_self_test: self_test::extended_seconds(limits.size),
            cdrom: cdrom.is_some(),
        };
        let threshold = settings
            .space_threshold
            .and_then(|percent| provisioning.count_of(percent));
        let saved = parameters
            .as_ref()
            .and_then(|parameters| mode::Values::parse(parameters.contents().modes?));
        let unfinished = parameters
            .as_ref()
            .and_then(|parameters| parameters.contents().unfinished);
        Self {
            modes: Modes::new(facts, threshold, saved),
            parameters,
            provisioning,
            exceptions: Exceptions::default(),
            removal: Removal::default(),
            buffers: Buffers::default(),
            statistics: Statistics::default(),
            self_tests: SelfTests::new(),
            clock: Clock::new(),
            capabilities: AtomicU32::new(capabilities.bits()),
            blocks: AtomicU64::new(blocks_of(&limits, settings.block)),
            max_transfer: AtomicU64::new(max_transfer(&limits)),
            generation: AtomicU64::new(generation),
            highest: AtomicU64::new(generation),
            epoch: AtomicU64::new(0),
            present: AtomicBool::new(true),
            events: Mutex::default(),
            long: offload.map_or_else(threads, Long::Given),
            renewing: Mutex::new(()),
            background: Background::new(unfinished),
            unawaited_flush: Unawaited::default(),
            store,
            settings,
            cdrom,
            face,
        }
    }

    pub(crate) fn store(&self) -> &dyn BackingStore {
        &*self.store
    }

    pub(crate) fn has(&self, capability: Capabilities) -> bool {
        // Relaxed: they change while the store is closed.
        let bits = self.capabilities.load(Ordering::Relaxed);
        Capabilities::from_bits_truncate(bits).contains(capability)
    }

    /// Takes over what the store has become by being opened; true when the capacity changed.
    pub(crate) fn took_store(&self) -> bool {
        let limits = self.store.limits();
        let bits = self.store.capabilities().bits();
        self.capabilities.store(bits, Ordering::Relaxed);
        let max = max_transfer(&limits);
        self.max_transfer.store(max, Ordering::Relaxed);
        self.set_size(&limits)
    }

    /// Whose commands may reach the store. Read in two steps: a stamp that mixes old and new is refused, as an old one.
    pub(crate) fn stamp(&self) -> Stamp {
        let generation = self.generation.load(Ordering::Acquire);
        Stamp {
            generation,
            epoch: self.epoch.load(Ordering::Acquire),
        }
    }

    /// As [`Disk::stamp`], never in the middle of a renewal.
    pub(crate) fn settled_stamp(&self) -> Stamp {
        let _no_renewal = self.renewing.lock();
        self.stamp()
    }

    /// Begins a new epoch at the store and here. What the store says of operations inside it.
    pub(crate) fn renew(&self) -> Option<usize> {
        let _one_at_a_time = self.renewing.lock();
        let epoch = self.epoch.load(Ordering::Acquire) + 1;
        let inside = self.store.renew(epoch)?;
        self.epoch.store(epoch, Ordering::Release);
        Some(inside)
    }

    pub(crate) fn set_generation(&self, generation: u64) {
        self.use_up(generation);
        self.generation.store(generation, Ordering::Release);
    }

    /// A generation that came to nothing.
    pub(crate) fn use_up(&self, generation: u64) {
        self.highest.fetch_max(generation, Ordering::Relaxed);
    }

    /// Whether the store is open for this node.
    pub(crate) fn is_active(&self) -> bool {
        self.generation.load(Ordering::Acquire) != 0
    }

    /// A generation higher than every one before.
    pub(crate) fn next_generation(&self) -> u64 {
        self.highest.load(Ordering::Relaxed) + 1
    }

    /// Capacity in blocks.
    pub(crate) fn blocks(&self) -> BlockCount {
        BlockCount(self.blocks.load(Ordering::Relaxed))
    }

    pub(crate) fn block(&self) -> BlockSize {
        self.settings.block
    }

    /// Takes over a new size; true when the capacity changed.
    pub(crate) fn set_size(&self, limits: &Limits) -> bool {
        let blocks = blocks_of(limits, self.settings.block);
        self.blocks.swap(blocks, Ordering::Relaxed) != blocks
    }

    /// MAXIMUM TRANSFER LENGTH in blocks: also the bound of one store operation.
    pub(crate) fn max_transfer_blocks(&self) -> u64 {
        self.max_transfer.load(Ordering::Relaxed) >> self.settings.block.shift()
    }

    /// MAXIMUM WRITE SAME LENGTH in blocks.
    pub(crate) fn max_write_same_blocks(&self) -> u64 {
        MAX_WRITE_SAME >> self.settings.block.shift()
    }

    /// MAXIMUM UNMAP LBA COUNT in blocks.
    pub(crate) fn max_unmap_blocks(&self) -> u64 {
        MAX_UNMAP >> self.settings.block.shift()
    }

    /// Bytes per DISCARD or WRITE ZEROES operation: a bound of time, too.
    pub(crate) fn discard_chunk(&self) -> u64 {
        let block = u64::from(self.settings.block.bytes());
        let limit = self.store.limits().max_discard.min(32 << 20);
        (limit / block * block).max(block)
    }

    pub(crate) fn read_only(&self) -> bool {
        self.settings.read_only || self.has(Capabilities::READ_ONLY)
    }

    /// A write must be on the medium before GOOD.
    pub(crate) fn must_be_stable(&self, fua: bool) -> bool {
        self.has(Capabilities::VOLATILE_CACHE) && (fua || !self.modes.wce())
    }

    /// NOT READY, MEDIUM NOT PRESENT after an eject, and where nothing is in the tray.
    pub(crate) fn medium(&self) -> Result<(), Sense> {
        let empty = || {
            let drive = self.cdrom.as_ref();
            drive.is_some_and(|drive| drive.tray.is_empty())
        };
        if self.is_present() && !empty() {
            Ok(())
        } else {
            Err(Sense::not_ready(Asc::MEDIUM_NOT_PRESENT))
        }
    }

    /// NOT READY while the store is closed.
    pub(crate) fn opened(&self) -> Result<(), Sense> {
        if self.is_active() {
            Ok(())
        } else {
            let asc = Asc::LOGICAL_UNIT_NOT_READY_CAUSE_NOT_REPORTABLE;
            Err(Sense::not_ready(asc))
        }
    }

    /// Whether the medium can be accessed: present, open, and neither being formatted nor left broken by that.
    pub(crate) fn ready(&self) -> Result<(), Sense> {
        self.medium()?;
        self.opened()?;
        self.background.ready()
    }

    /// Whether the medium is in, or the tray closed.
    pub(crate) fn is_present(&self) -> bool {
        self.present.load(Ordering::Acquire)
    }

    /// See [`Disk::is_present`].
    pub(crate) fn set_present(&self, present: bool) -> bool {
        self.present.swap(present, Ordering::AcqRel) != present
    }

    /// Puts the medium in or out, as an initiator asks; returns whether there is one to read now that was not before.
    pub(crate) fn set_medium(&self, present: bool) -> bool {
        let had = self.medium().is_ok();
        self.set_present(present);
        let has = self.medium().is_ok();
        if had != has
            && let Some(drive) = &self.cdrom
        {
            drive.events.changed();
        }
        has && !had
    }

    /// LOGICAL BLOCK ADDRESS OUT OF RANGE unless the extent lies on the medium; INFORMATION is the first bad LBA.
    pub(crate) fn check_extent(&self, lba: Lba, blocks: BlockCount) -> Result<(), Sense> {
        in_range(lba, blocks, self.blocks())
    }

    /// DATA PROTECT unless the medium may be written.
    pub(crate) fn check_writable(&self) -> Result<(), Sense> {
        if self.read_only() {
            return Err(Sense::data_protect(Asc::WRITE_PROTECTED));
        }
        if self.modes.software_write_protect() {
            return Err(Sense::data_protect(
                Asc::LOGICAL_UNIT_SOFTWARE_WRITE_PROTECTED,
            ));
        }
        Ok(())
    }

    /// Byte offset of a block that was checked to be on the medium.
    pub(crate) fn offset(&self, lba: Lba) -> u64 {
        self.settings.block.offset(lba).unwrap_or(u64::MAX)
    }

    /// Bytes of a block count that was checked; saturates, which no store accepts.
    pub(crate) fn bytes(&self, blocks: BlockCount) -> u64 {
        self.settings
            .block
            .to_bytes(blocks)
            .map_or(u64::MAX, |len| len.0)
    }

    /// Runs a job that may take long; dropped unrun, and false, when there is no thread or place for it.
    pub(crate) fn run_long(&self, job: impl FnOnce() + Send + 'static) -> bool {
        match &self.long {
            Long::Threads(pool) => pool.run(job),
            Long::Given(offload) => offload.submit(Box::new(job)).is_ok(),
        }
    }

    /// What follows from a MODE SELECT that took effect.
    pub(crate) fn modes_changed(&self, old: &mode::Values, new: &mode::Values) {
        self.exceptions.modes_changed(self, old, new);
        self.provisioning.modes_changed(self, old, new);
    }

    /// A unit attention for all nexuses, such as CAPACITY DATA HAS CHANGED (SBC-4 5.16).
    pub(crate) fn announce(&self, asc: Asc) {
        let events = self.events.lock().clone();
        events.unit_attention(asc, None);
    }
}

fn threads() -> Long {
    Long::Threads(OffloadPool::new("vdisk-long", LONG_THREADS))
}

/// LOGICAL BLOCK ADDRESS OUT OF RANGE unless the extent lies within `capacity`; INFORMATION is the first bad LBA.
pub(crate) fn in_range(lba: Lba, blocks: BlockCount, capacity: BlockCount) -> Result<(), Sense> {
    // SBC-4 4.6: a start at the capacity is out of range also with a length of zero.
    if lba.extent_fits(blocks, capacity) && lba.0 < capacity.0 {
        return Ok(());
    }
    Err(Sense::lba_out_of_range().with_information(lba.0.max(capacity.0)))
}

fn max_transfer(limits: &Limits) -> u64 {
    u64::from(limits.max_transfer).min(MAX_TRANSFER)
}

fn blocks_of(limits: &Limits, block: BlockSize) -> u64 {
    limits.size >> block.shift()
}
