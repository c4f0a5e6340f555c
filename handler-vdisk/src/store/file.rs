//! Files (fileio) and block devices (blockio) as stores.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use parking_lot::Mutex;
use rustix::fs::{FlockOperation, Mode, OFlags, SeekFrom};
use rustix::io::Errno;

use super::fd::{Engine, FdEngine, OpenFd, Policy};
use super::{
    BackingStore, Capabilities, CopySource, Limits, Space, Stamp, StoreCx, StoreError, StoreOp,
    Submitted, space, syscalls,
};

mod examine;

use examine::{examine, presumed};

/// How a file or block device is used.
#[derive(Clone, Debug, Default)]
pub struct FdOptions {
    /// Every write is stable before it finishes (RWF_DSYNC).
    pub write_through: bool,
    /// The cache below survives power cuts: flush and FUA do nothing. A false claim loses data.
    pub nv_cache: bool,
    /// Bypass the page cache (O_DIRECT).
    pub direct: bool,
    /// Open for reading only.
    pub read_only: bool,
    /// Visible size in bytes. A file that is missing or shorter is made so long; a device must be so long.
    pub size: Option<u64>,
    /// Which engine does the I/O.
    pub engine: Engine,
    /// Make the io_uring when the store is made instead of with the first operation that wants it: for a process that
    /// forbids itself io_uring_setup(2) afterwards. No thread is started.
    pub ring_at_open: bool,
}

/// Why a file or device cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The operating system refused.
    #[error("cannot {what} {path}: {source}")]
    Os {
        /// What was tried.
        what: &'static str,
        /// On which path.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// Another unit or process has it.
    #[error("{path} is already exported or in use by another process")]
    InUse {
        /// The path.
        path: PathBuf,
    },
    /// Neither a regular file nor a block device.
    #[error("{path} is no {wanted}")]
    Kind {
        /// The path.
        path: PathBuf,
        /// What it should be.
        wanted: &'static str,
    },
    /// The device is smaller than the wanted size.
    #[error("{path} has {has} bytes, fewer than the wanted size of {wanted}")]
    TooSmall {
        /// The path.
        path: PathBuf,
        /// Bytes there are.
        has: u64,
        /// Bytes asked for.
        wanted: u64,
    },
    /// Two options exclude each other.
    #[error("{path}: {why}")]
    Options {
        /// The path.
        path: PathBuf,
        /// Which and why.
        why: &'static str,
    },
}

impl OpenError {
    /// Whether the device is there and its driver does not open it since another node writes to it: EMEDIUMTYPE, which a
    /// DRBD Secondary says.
    pub fn is_elsewhere(&self) -> bool {
        const EMEDIUMTYPE: i32 = 124;
        matches!(self, Self::Os { source, .. } if source.raw_os_error() == Some(EMEDIUMTYPE))
    }

    fn os(what: &'static str, path: &Path, source: impl Into<std::io::Error>) -> Self {
        Self::Os {
            what,
            path: path.to_owned(),
            source: source.into(),
        }
    }
}

/// A file or block device as a store.
#[derive(Debug)]
pub struct FdStore {
    path: PathBuf,
    block: bool,
    options: FdOptions,
    engine: FdEngine,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    limits: Limits,
    capabilities: Capabilities,
    /// What is at the path has been looked at.
    examined: bool,
    visible: Option<u64>,
    /// Highest generation that was ever active, and the present epoch.
    stamp: Stamp,
}

impl FdStore {
    /// A regular file, opened and active as generation 1. Blocks.
    pub fn file(path: impl AsRef<Path>, options: FdOptions) -> Result<Self, OpenError> {
        let store = Self::prepare(path.as_ref(), options, false)?;
        store.open_as(1)?;
        Ok(store)
    }

    /// A block device, opened exclusively and active as generation 1. Blocks.
    pub fn block(path: impl AsRef<Path>, options: FdOptions) -> Result<Self, OpenError> {
        let store = Self::prepare(path.as_ref(), options, true)?;
        store.open_as(1)?;
        Ok(store)
    }

    /// As [`FdStore::file`] or [`FdStore::block`], but not opened: [`BackingStore::activate`] does that.
    pub fn inactive(
        path: impl AsRef<Path>,
        options: FdOptions,
        block: bool,
    ) -> Result<Self, OpenError> {
        Self::prepare(path.as_ref(), options, block)
    }

    /// As [`FdStore::inactive`], and there need not be anything at the path: until it is activated the store has the size
    /// that was given, or none. What is there by then is not made or lengthened.
    pub fn elsewhere(
        path: impl AsRef<Path>,
        options: FdOptions,
        block: bool,
    ) -> Result<Self, OpenError> {
        let path = path.as_ref();
        // A device that is there but has no driver (ENXIO) is found and not opened.
        if std::fs::metadata(path).is_ok() {
            return Self::prepare(path, options, block);
        }
        check_options(path, &options)?;
        let limits = Limits::new(options.size.unwrap_or(0));
        let capabilities = presumed(&options, block);
        let state = State {
            limits,
            capabilities,
            examined: false,
            visible: options.size,
            stamp: Stamp::default(),
        };
        Ok(Self::with(path.to_owned(), options, block, state))
    }

    /// The canonical path, or as it was given where there was nothing at it.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn prepare(path: &Path, options: FdOptions, block: bool) -> Result<Self, OpenError> {
        check_options(path, &options)?;
        if !block {
            create(path, &options)?;
        }
        let path = std::fs::canonicalize(path).map_err(|e| OpenError::os("find", path, e))?;
        let meta = std::fs::metadata(&path).map_err(|e| OpenError::os("examine", &path, e))?;
        let (limits, capabilities) = examine(&path, &meta, &options, block)?;
        let state = State {
            limits,
            capabilities,
            examined: true,
            visible: options.size,
            stamp: Stamp::default(),
        };
        Ok(Self::with(path, options, block, state))
    }

    fn with(path: PathBuf, options: FdOptions, block: bool, state: State) -> Self {
        let policy = Policy {
            write_through: options.write_through,
            nv_cache: options.nv_cache,
        };
        let engine = FdEngine::new("vdisk-io", options.engine, policy);
        if options.ring_at_open {
            engine.ready_ring();
        }
        let state = Mutex::new(state);
        Self {
            path,
            block,
            options,
            engine,
            state,
        }
    }

    /// Looks at what is at the path, if that was not done.
    fn look(&self) -> Result<(), OpenError> {
        if self.state.lock().examined {
            return Ok(());
        }
        let path = &self.path;
        let meta = std::fs::metadata(path).map_err(|e| OpenError::os("examine", path, e))?;
        let (limits, capabilities) = examine(path, &meta, &self.options, self.block)?;
        let mut state = self.state.lock();
        (state.limits, state.capabilities) = (limits, capabilities);
        state.examined = true;
        Ok(())
    }

    fn access(&self) -> OFlags {
        if self.options.read_only {
            OFlags::RDONLY
        } else {
            OFlags::RDWR
        }
    }

    fn open_fd(&self, flags: OFlags) -> Result<OwnedFd, OpenError> {
        rustix::fs::open(&self.path, flags | OFlags::CLOEXEC, Mode::empty()).map_err(|e| {
            if e == Errno::BUSY {
                self.in_use()
            } else {
                OpenError::os("open", &self.path, e)
            }
        })
    }

    fn in_use(&self) -> OpenError {
        OpenError::InUse {
            path: self.path.clone(),
        }
    }

    pub(super) fn open_as(&self, generation: u64) -> Result<(), OpenError> {
        self.look()?;
        let mut state = self.state.lock();
        let direct = if self.options.direct {
            OFlags::DIRECT
        } else {
            OFlags::empty()
        };
        // O_EXCL on a block device claims it against mounts and other claims.
        let claim = if self.block && !self.options.read_only {
            OFlags::EXCL
        } else {
            OFlags::empty()
        };
        let witness = self.open_fd(OFlags::RDONLY)?;
        let main = self.open_fd(self.access() | direct | claim)?;
        let lock = if self.options.read_only {
            FlockOperation::NonBlockingLockShared
        } else {
            FlockOperation::NonBlockingLockExclusive
        };
        rustix::fs::flock(&main, lock).map_err(|e| {
            if e == Errno::WOULDBLOCK {
                self.in_use()
            } else {
                OpenError::os("lock", &self.path, e)
            }
        })?;
        let buffered = if self.options.direct {
            Some(self.open_fd(self.access())?)
        } else {
            None
        };
        let size = device_size(&main).map_err(|e| OpenError::os("measure", &self.path, e))?;
        let wanted = state.visible.unwrap_or(size);
        if wanted > size {
            return Err(OpenError::TooSmall {
                path: self.path.clone(),
                has: size,
                wanted,
            });
        }
        let align = if self.options.direct {
            syscalls::direct_align(main.as_fd(), state.limits.logical_block)
        } else {
            1
        };
        state.limits.size = wanted;
        state.stamp.generation = generation;
        self.engine.install(OpenFd::new(
            main,
            buffered,
            witness,
            u64::from(align),
            state.stamp,
            wanted,
        ));
        Ok(())
    }
}

fn check_options(path: &Path, options: &FdOptions) -> Result<(), OpenError> {
    if options.read_only && options.write_through {
        let why = "write_through and read_only exclude each other";
        let path = path.to_owned();
        return Err(OpenError::Options { path, why });
    }
    Ok(())
}

/// Makes a missing or too short file as long as asked.
fn create(path: &Path, options: &FdOptions) -> Result<(), OpenError> {
    let Some(size) = options.size.filter(|_| !options.read_only) else {
        return Ok(());
    };
    let is_file = std::fs::metadata(path).map(|meta| meta.is_file());
    if matches!(is_file, Ok(false)) {
        return Ok(());
    }
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC;
    let fd = rustix::fs::open(path, flags, Mode::from_raw_mode(0o600))
        .map_err(|e| OpenError::os("create", path, e))?;
    let has = device_size(&fd).map_err(|e| OpenError::os("measure", path, e))?;
    if has < size {
        rustix::fs::ftruncate(&fd, size).map_err(|e| OpenError::os("extend", path, e))?;
    }
    Ok(())
}

fn device_size(fd: impl AsFd) -> rustix::io::Result<u64> {
    rustix::fs::seek(fd, SeekFrom::End(0))
}

impl BackingStore for FdStore {
    fn limits(&self) -> Limits {
        self.state.lock().limits
    }

    fn capabilities(&self) -> Capabilities {
        self.state.lock().capabilities
    }

    fn submit(&self, op: StoreOp, cx: &mut StoreCx<'_>) -> Submitted {
        if op.is_write() && self.options.read_only {
            return op.done(Err(StoreError::ReadOnly));
        }
        self.engine.submit(op, cx)
    }

    fn activate(&self, generation: u64) -> Result<(), StoreError> {
        if self
            .engine
            .with_open(|open| Ok(open.generation() == generation))
            == Ok(true)
        {
            return Ok(());
        }
        if generation <= self.state.lock().stamp.generation {
            return Err(StoreError::Fenced);
        }
        // A device of an older generation that is still open would be a second owner.
        if self.engine.is_open() {
            return Err(StoreError::Transient);
        }
        self.open_as(generation).map_err(|error| {
            tracing::warn!(%error, "cannot activate");
            match error {
                OpenError::Os { source, .. } => StoreError::from_io(&source, 0),
                OpenError::InUse { .. } => StoreError::Transient,
                _ => StoreError::Inactive,
            }
        })
    }

    fn deactivate(&self, patience: Duration) -> Result<(), StoreError> {
        self.engine.deactivate(patience)
    }

    fn fence(&self) -> usize {
        self.engine.fence()
    }

    fn renew(&self, epoch: u64) -> Option<usize> {
        let mut state = self.state.lock();
        let inside = self.engine.renew(epoch)?;
        state.stamp.epoch = epoch;
        Some(inside)
    }

    fn copy_source(&self, stamp: Stamp) -> Option<CopySource> {
        // The kernel copies between files only.
        (!self.block).then(|| self.engine.copy_source(stamp))
    }

    fn refresh(&self) -> Result<Limits, StoreError> {
        let mut state = self.state.lock();
        let visible = state.visible;
        let size = self.engine.with_open(|open| {
            let size =
                device_size(open.buffered()).map_err(|errno| StoreError::from_errno(errno, 0))?;
            let size = visible.map_or(size, |visible| visible.min(size));
            open.set_size(size);
            Ok(size)
        })?;
        state.limits.size = size;
        Ok(state.limits)
    }

    /// What the file occupies and what its file system has left; a block device does not tell.
    fn space(&self) -> Result<Option<Space>, StoreError> {
        if self.block {
            return Ok(None);
        }
        match self
            .engine
            .with_open(|open| space::of_file(open.buffered()))
        {
            Err(StoreError::Inactive) => space::of_path(&self.path).map(Some),
            asked => asked.map(Some),
        }
    }

    fn resize(&self, size: u64) -> Result<Limits, StoreError> {
        if self.block {
            // The visible size of a device may be changed up to what the device has.
            let has = self.engine.with_open(|open| {
                device_size(open.buffered()).map_err(|errno| StoreError::from_errno(errno, 0))
            })?;
            if size > has {
                return Err(StoreError::NoSpace);
            }
        } else {
            if self.options.read_only {
                return Err(StoreError::ReadOnly);
            }
            // A file is never cut: of one that is longer the beginning is used, as at opening.
            self.engine.with_open(|open| {
                let failed = |errno| StoreError::from_errno(errno, 0);
                if device_size(open.buffered()).map_err(failed)? >= size {
                    return Ok(());
                }
                rustix::fs::ftruncate(open.buffered(), size).map_err(failed)
            })?;
        }
        self.state.lock().visible = Some(size);
        self.refresh()
    }
}
