//! Why a store could not do it, and the one table that turns errno into that and that into sense.

use rustix::io::Errno;

/// Why an operation failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// It may work when tried again: BUSY.
    #[error("temporarily not possible")]
    Transient,
    /// Out of space: DATA PROTECT, SPACE ALLOCATION FAILED WRITE PROTECT (SBC-4 4.7.3.5); never MEDIUM ERROR.
    #[error("no space left in the backing store")]
    NoSpace,
    /// The medium cannot deliver or take the bytes at this offset.
    #[error("medium error at byte {offset}")]
    Medium {
        /// First bad byte, as far as known.
        offset: u64,
    },
    /// Writes that were answered before are lost, or may be: making them stable failed. Nothing that is done now brings
    /// them back, so this is what every flush ends with until the store is opened anew.
    #[error("earlier writes could not be made stable")]
    Lost,
    /// The store is read-only.
    #[error("the backing store is read-only")]
    ReadOnly,
    /// The generation of the request is no longer the owner's.
    #[error("the generation of the request is fenced")]
    Fenced,
    /// The store is not active.
    #[error("the backing store is not active")]
    Inactive,
    /// The store cannot do this operation.
    #[error("operation not supported by the backing store")]
    Unsupported,
    /// Any other failure of the operating system.
    #[error("I/O error: {0}")]
    Io(Errno),
    /// The store dropped the request or panicked.
    #[error("the backing store dropped the request")]
    Dropped,
    /// The device ended before the range did.
    #[error("the device ends at byte {offset}, inside the range")]
    Short {
        /// First byte that could not be transferred.
        offset: u64,
    },
}

impl StoreError {
    /// The one table from errno to meaning; `offset` is where the operation stood.
    pub fn from_errno(errno: Errno, offset: u64) -> Self {
        match errno {
            Errno::AGAIN
            | Errno::NOMEM
            | Errno::NOBUFS
            | Errno::BUSY
            | Errno::TIMEDOUT
            | Errno::INTR => Self::Transient,
            Errno::NOSPC | Errno::DQUOT | Errno::FBIG => Self::NoSpace,
            // EIO from a file or block device: the range is bad. EILSEQ/ENODATA: integrity and medium errors of the
            // kernel's block layer (blk_status_t table).
            Errno::IO | Errno::ILSEQ | Errno::NODATA => Self::Medium { offset },
            Errno::ROFS | Errno::PERM | Errno::ACCESS => Self::ReadOnly,
            Errno::OPNOTSUPP | Errno::NOSYS => Self::Unsupported,
            // EBADE: "critical nexus error", a reservation of someone else below us.
            Errno::BADE | Errno::STALE => Self::Fenced,
            Errno::NODEV | Errno::NXIO | Errno::MEDIUMTYPE | Errno::NOMEDIUM => Self::Inactive,
            other => Self::Io(other),
        }
    }

    /// The same for fdatasync(2). A device that did not answer in time (ETIMEDOUT) has lost what was on its way to it: to
    /// send the flush again would bring nothing back, but succeed.
    pub(crate) fn of_flush(errno: Errno) -> Self {
        match errno {
            Errno::TIMEDOUT => Self::Medium { offset: 0 },
            errno => Self::from_errno(errno, 0),
        }
    }

    /// The same for an error of the standard library.
    pub fn from_io(error: &std::io::Error, offset: u64) -> Self {
        match error.raw_os_error() {
            Some(code) => Self::from_errno(Errno::from_raw_os_error(code), offset),
            None if error.kind() == std::io::ErrorKind::UnexpectedEof => Self::Short { offset },
            None => Self::Medium { offset },
        }
    }
}
