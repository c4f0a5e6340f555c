//! [`Vdisk`]: the owner's hand on a disk.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use lunforge_core::asc::Asc;
use lunforge_core::handler::{Fence, Identity};

use crate::builder::{Source, VdiskBuilder};
use crate::cdrom;
use crate::disk::Disk;
use crate::error::VdiskError;
use crate::face::{check_identity, physical_exponent};
use crate::store::{
    BackingStore, Capabilities, Limits, Space, StoreError, StoreOp, StoreResult, submit_with,
};

/// How long a flush from outside of the engine is waited for.
const FLUSH_PATIENCE: Duration = Duration::from_secs(10);

/// A virtual disk. Clones are hands on the same disk: give one to a target and keep another.
#[derive(Clone, Debug)]
pub struct Vdisk {
    pub(crate) disk: Arc<Disk>,
}

impl Vdisk {
    /// A disk in a file.
    pub fn file(path: impl AsRef<Path>) -> VdiskBuilder {
        VdiskBuilder::new(Source::File(path.as_ref().to_owned()))
    }

    /// A disk on a block device.
    pub fn block(path: impl AsRef<Path>) -> VdiskBuilder {
        VdiskBuilder::new(Source::Block(path.as_ref().to_owned()))
    }

    /// A disk of `size` bytes that forgets what is written and reads zeroes.
    pub fn null(size: u64) -> VdiskBuilder {
        VdiskBuilder::new(Source::Null(size))
    }

    /// A CD or DVD drive with an image as its medium, a file or a block device, or with none. Read-only and removable,
    /// blocks of 2048 bytes; what is behind the last whole one is not seen. Options of disks that may be written, or have
    /// blocks of another size, are without effect. [`Vdisk::change_medium`] puts another one in.
    pub fn cdrom(image: Option<&Path>) -> VdiskBuilder {
        VdiskBuilder::new(Source::Cdrom(image.map(Path::to_owned)))
    }

    /// A disk over a store of your own. [`VdiskBuilder::serial`] must be given.
    pub fn store(store: Arc<dyn BackingStore>) -> VdiskBuilder {
        VdiskBuilder::new(Source::Store(store))
    }

    /// Size in bytes as initiators see it.
    pub fn size(&self) -> u64 {
        self.disk.bytes(self.disk.blocks())
    }

    /// Logical block size in bytes.
    pub fn block_size(&self) -> u32 {
        self.disk.block().bytes()
    }

    /// Whether initiators may unmap blocks.
    pub fn is_thin(&self) -> bool {
        self.disk.settings.thin
    }

    /// OPTIMAL TRANSFER LENGTH in bytes.
    pub fn optimal_transfer(&self) -> u32 {
        self.disk.face.optimal_transfer()
    }

    /// Gives the disk a new size in bytes and raises CAPACITY DATA HAS CHANGED. A file that is shorter is made so long; of a
    /// longer one the beginning is used, and nothing is cut. Blocks.
    ///
    /// # Errors
    /// [`VdiskError::Size`] when it is no multiple of the block size; what the store says.
    pub fn resize(&self, size: u64) -> Result<(), VdiskError> {
        let block = self.disk.block();
        if size == 0 || !block.is_aligned(size) {
            return Err(VdiskError::Size {
                name: self.name(),
                size,
                block: block.bytes(),
            });
        }
        let limits = self
            .disk
            .store()
            .resize(size)
            .map_err(|source| self.failed(source))?;
        self.took_size(&limits);
        Ok(())
    }

    /// Reads the size of the backing store again; raises CAPACITY DATA HAS CHANGED when it changed. Returns whether it
    /// did. Blocks.
    ///
    /// # Errors
    /// What the store says.
    pub fn resync(&self) -> Result<bool, VdiskError> {
        let limits = self
            .disk
            .store()
            .refresh()
            .map_err(|source| self.failed(source))?;
        Ok(self.took_size(&limits))
    }

    fn took_size(&self, limits: &Limits) -> bool {
        let changed = self.disk.set_size(limits);
        if changed {
            self.disk.announce(Asc::CAPACITY_DATA_HAS_CHANGED);
        }
        changed
    }

    /// Takes the medium of a CD drive out and puts another one in, or none, with the tray closed. Initiators are told NOT
    /// READY TO READY CHANGE, MEDIUM MAY HAVE CHANGED; that one of them prevents removal does not matter. When the image
    /// cannot be opened nothing changes. Blocks.
    ///
    /// # Errors
    /// [`VdiskError::FixedMedium`] of a disk; [`VdiskError::Open`], and [`VdiskError::Size`] of less than a block.
    pub fn change_medium(&self, image: Option<&Path>) -> Result<(), VdiskError> {
        match &self.disk.cdrom {
            Some(drive) => cdrom::change(&self.disk, drive, image),
            None => Err(VdiskError::FixedMedium { name: self.name() }),
        }
    }

    /// Whether this is a CD drive.
    pub fn is_cdrom(&self) -> bool {
        self.disk.cdrom.is_some()
    }

    /// Makes the disk another one to its initiators, which are told INQUIRY DATA HAS CHANGED. Targets have checked the
    /// identity that it had when it became their LUN. Does not block.
    ///
    /// # Errors
    /// [`VdiskError::Identity`].
    pub fn set_identity(&self, identity: Identity) -> Result<(), VdiskError> {
        check_identity(&self.name(), &identity)?;
        if self.disk.face.set_identity(identity) {
            self.disk.announce(Asc::INQUIRY_DATA_HAS_CHANGED);
        }
        Ok(())
    }

    /// Sets the vendor specific INQUIRY data, as [`VdiskBuilder::vendor_specific`]; initiators are told INQUIRY DATA HAS
    /// CHANGED. Does not block.
    pub fn set_vendor_specific(&self, bytes: impl Into<Vec<u8>>) {
        if self.disk.face.set_vendor_specific(bytes.into()) {
            self.disk.announce(Asc::INQUIRY_DATA_HAS_CHANGED);
        }
    }

    /// Sets OPTIMAL TRANSFER LENGTH in bytes; initiators are told INQUIRY DATA HAS CHANGED. Does not block.
    pub fn set_optimal_transfer(&self, bytes: u32) {
        if self.disk.face.set_optimal_transfer(bytes) {
            self.disk.announce(Asc::INQUIRY_DATA_HAS_CHANGED);
        }
    }

    /// Sets the physical block size in bytes, or with `None` that of the store; initiators are told CAPACITY DATA HAS
    /// CHANGED, since READ CAPACITY (16) has it. Does not block.
    ///
    /// # Errors
    /// [`VdiskError::PhysicalBlockSize`].
    pub fn set_physical_block_size(&self, bytes: Option<u32>) -> Result<(), VdiskError> {
        let limits = self.disk.store().limits();
        let exponent = physical_exponent(&self.name(), bytes, &limits, self.disk.block())?;
        if self.disk.face.set_physical_exponent(exponent) {
            self.disk.announce(Asc::CAPACITY_DATA_HAS_CHANGED);
        }
        Ok(())
    }

    /// Raises THIN PROVISIONING SOFT THRESHOLD REACHED (38h/07h) on every nexus, unless an initiator switched such
    /// reports off (LBPERE of mode page 01h).
    pub fn soft_threshold_reached(&self) {
        self.disk.provisioning.report(&self.disk);
    }

    /// Says how much storage is used and available where the store itself does not tell (`BackingStore::space`). Shown
    /// by log page 0Ch and compared with the threshold of mode page 1Ch/02h. Does not block.
    pub fn set_space(&self, space: Space) {
        self.disk.provisioning.set(&self.disk, space);
    }

    /// Says that the disk is about to fail or has a warning (ASC 0Bh or 5Dh), or with `None` that it is well again.
    /// Initiators are told as mode page 1Ch says, and by log page 2Fh. Does not block.
    pub fn informational_exception(&self, exception: Option<Asc>) {
        self.disk.exceptions.set(&self.disk, exception);
    }

    /// Makes all finished writes stable. Blocks.
    ///
    /// # Errors
    /// What the store says; [`StoreError::Transient`] after ten seconds.
    pub fn flush(&self) -> Result<(), VdiskError> {
        if self.disk.read_only() || !self.is_active() {
            return Ok(());
        }
        let (tx, rx) = std::sync::mpsc::sync_channel::<StoreResult>(1);
        submit_with(
            self.disk.store(),
            StoreOp::Flush,
            self.disk.stamp(),
            move |result, _| {
                let _ = tx.send(result);
            },
        );
        let result = rx
            .recv_timeout(FLUSH_PATIENCE)
            .unwrap_or(Err(StoreError::Transient));
        result.map(drop).map_err(|source| self.failed(source))
    }

    /// Whether the store is open for this node.
    pub fn is_active(&self) -> bool {
        self.disk.is_active()
    }

    /// Opens the store as the owner of `generation`, which must be higher than every one before. Blocks.
    ///
    /// # Errors
    /// What the store says; [`VdiskError::BlockSize`], [`VdiskError::Size`], [`VdiskError::Thin`] when it is not what the
    /// disk was made for, and the store is closed again.
    pub fn activate(&self, generation: u64) -> Result<(), VdiskError> {
        self.disk
            .store()
            .activate(generation)
            .map_err(|source| self.failed(source))?;
        if let Err(error) = self.check_store() {
            self.disk.use_up(generation);
            // Nothing was done with it.
            let _ = self.disk.store().deactivate(FLUSH_PATIENCE);
            return Err(error);
        }
        let changed = self.disk.took_store();
        self.disk.set_generation(generation);
        if changed {
            self.disk.announce(Asc::CAPACITY_DATA_HAS_CHANGED);
        }
        Ok(())
    }

    /// As [`Vdisk::activate`], as the owner after the one before. Blocks.
    ///
    /// # Errors
    /// Those of [`Vdisk::activate`].
    pub fn reactivate(&self) -> Result<(), VdiskError> {
        if self.is_active() {
            return Ok(());
        }
        self.activate(self.disk.next_generation())
    }

    /// That a store which was not there when the disk was made is one for it.
    fn check_store(&self) -> Result<(), VdiskError> {
        if self.is_cdrom() {
            return Ok(());
        }
        let (limits, block) = (self.disk.store().limits(), self.disk.block());
        let (name, size) = (self.name(), block.bytes());
        let least = limits.logical_block.max(512);
        if size < least {
            return Err(VdiskError::BlockSize { name, size, least });
        }
        if limits.size == 0 || !block.is_aligned(limits.size) {
            let (size, block) = (limits.size, block.bytes());
            return Err(VdiskError::Size { name, size, block });
        }
        let discards = Capabilities::DISCARD | Capabilities::READS_ZERO_AFTER_DISCARD;
        let settings = &self.disk.settings;
        if settings.thin
            && !settings.read_only
            && !self.disk.store().capabilities().contains(discards)
        {
            return Err(VdiskError::Thin { name });
        }
        Ok(())
    }

    /// Refuses further operations, waits at most `patience` for those inside, and closes the store. When this returns
    /// `Ok`, the device is closed and nothing can change it any more. Blocks.
    ///
    /// # Errors
    /// [`StoreError::Transient`] when operations did not end; the store stays fenced.
    pub fn deactivate(&self, patience: Duration) -> Result<(), VdiskError> {
        self.disk.set_generation(0);
        self.disk
            .store()
            .deactivate(patience)
            .map_err(|source| self.failed(source))
    }

    /// Refuses what has not reached the store yet and goes on for new commands.
    pub(crate) fn renew(&self) -> Fence {
        match self.disk.renew() {
            Some(0) => Fence::Fenced,
            _ => Fence::Unfenced,
        }
    }

    fn name(&self) -> String {
        self.disk.face.identity().serial
    }

    fn failed(&self, source: StoreError) -> VdiskError {
        VdiskError::Store {
            name: self.name(),
            source,
        }
    }
}
