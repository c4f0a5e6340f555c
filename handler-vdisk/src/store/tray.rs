//! [`Tray`]: the store of a drive whose medium changes while it lives.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use parking_lot::Mutex;

use super::{
    BackingStore, Capabilities, FdOptions, FdStore, Limits, OpenError, Stamp, StoreCx, StoreError,
    StoreOp, Submitted,
};

/// How long operations in a medium that is taken out are waited for.
const PATIENCE: Duration = Duration::from_secs(10);

/// A store that is another one's place: empty, or with a medium that is read and never written. Operations that are in
/// a medium when it is taken out end as by its `deactivate`.
#[derive(Debug)]
pub(crate) struct Tray {
    medium: ArcSwapOption<FdStore>,
    options: FdOptions,
    /// Who has the drive. Held over each change, so that a medium which comes in belongs to the owner of then.
    stamp: Mutex<Stamp>,
}

impl Tray {
    /// A tray with nothing in it, inactive.
    pub(crate) fn new(options: &FdOptions) -> Self {
        Self {
            medium: ArcSwapOption::empty(),
            options: FdOptions {
                read_only: true,
                engine: options.engine,
                ring_at_open: options.ring_at_open,
                ..FdOptions::default()
            },
            stamp: Mutex::default(),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.medium.load().is_none()
    }

    /// Opens an image, a file or a block device, without putting it in. Blocks.
    pub(crate) fn examine(&self, image: &Path) -> Result<FdStore, OpenError> {
        use std::os::unix::fs::FileTypeExt;
        let block = std::fs::metadata(image).is_ok_and(|meta| meta.file_type().is_block_device());
        FdStore::inactive(image, self.options.clone(), block)
    }

    /// Puts a medium in, or none, in the place of what was there; what was there is closed. When the new one cannot be
    /// opened nothing changes. Blocks.
    pub(crate) fn exchange(&self, medium: Option<FdStore>) -> Result<(), OpenError> {
        let stamp = self.stamp.lock();
        if let Some(medium) = &medium
            && stamp.generation != 0
        {
            medium.open_as(stamp.generation)?;
            if stamp.epoch != 0 {
                // Nothing is in it yet.
                let _ = medium.renew(stamp.epoch);
            }
        }
        let old = self.medium.swap(medium.map(Arc::new));
        drop(stamp);
        if let Some(old) = old
            && let Err(error) = old.deactivate(PATIENCE)
        {
            tracing::error!(%error, path = %old.path().display(), "the medium that was taken out is not closed");
        }
        Ok(())
    }
}

impl BackingStore for Tray {
    fn limits(&self) -> Limits {
        match &*self.medium.load() {
            Some(medium) => medium.limits(),
            None => Limits::new(0),
        }
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::READ_ONLY
    }

    fn submit(&self, op: StoreOp, cx: &mut StoreCx<'_>) -> Submitted {
        match &*self.medium.load() {
            Some(medium) => medium.submit(op, cx),
            None => op.done(Err(StoreError::Inactive)),
        }
    }

    fn activate(&self, generation: u64) -> Result<(), StoreError> {
        let mut stamp = self.stamp.lock();
        if let Some(medium) = self.medium.load_full() {
            medium.activate(generation)?;
        }
        *stamp = Stamp::from(generation);
        Ok(())
    }

    fn deactivate(&self, patience: Duration) -> Result<(), StoreError> {
        *self.stamp.lock() = Stamp::default();
        match self.medium.load_full() {
            Some(medium) => medium.deactivate(patience),
            None => Ok(()),
        }
    }

    fn fence(&self) -> usize {
        self.medium.load_full().map_or(0, |medium| medium.fence())
    }

    fn renew(&self, epoch: u64) -> Option<usize> {
        // A change of medium that is under way has it: that ends within seconds, and whoever fences does not wait.
        let mut stamp = self.stamp.try_lock()?;
        let inside = match self.medium.load_full() {
            Some(medium) => medium.renew(epoch)?,
            None => 0,
        };
        stamp.epoch = epoch;
        Some(inside)
    }
}
