//! [`VdiskBuilder`]: the options of a disk, their checks, and its identity.

use std::path::PathBuf;
use std::sync::Arc;

use lunforge_core::designator::{Designator, DesignatorKind, stable_hash};
use lunforge_core::handler::{DeviceProfile, Identity};
use lunforge_core::offload::Offload;
use lunforge_core::units::BlockSize;

use crate::Vdisk;
use crate::disk::{Disk, Settings};
use crate::parameters::{Parameters, ParametersError};
use crate::store::{
    BackingStore, Capabilities, Engine, FdOptions, FdStore, Limits, NullStore, OpenError,
    StoreError,
};

/// T10 VENDOR IDENTIFICATION unless another is given.
const VENDOR: &str = "LUNFORGE";
/// SBC-3 (no version claimed) and SPC-4 are the core's; this is the command set's version descriptor.
const SBC_3: u16 = 0x04C0;
/// OPTIMAL TRANSFER LENGTH unless another is given, in bytes.
const OPTIMAL_TRANSFER: u32 = 512 << 10;
/// Why a disk cannot be opened. One sentence each, with the path where there is one.
#[derive(Debug, thiserror::Error)]
pub enum VdiskError {
    /// The backing file or device.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The backing store.
    #[error("{name}: {source}")]
    Store {
        /// Path or name of the disk.
        name: String,
        /// What the store said.
        source: StoreError,
    },
    /// The logical block size is no power of two from 512 to 65536, or not a multiple of the device's.
    #[error(
        "{name}: logical block size {size} is not possible, the store needs a power of two from {least} to 65536"
    )]
    BlockSize {
        /// Path or name of the disk.
        name: String,
        /// Bytes asked for.
        size: u32,
        /// Smallest possible.
        least: u32,
    },
    /// The physical block size is no power of two, or smaller than the logical one.
    #[error(
        "{name}: physical block size {size} is not a power of two of at least the logical block size"
    )]
    PhysicalBlockSize {
        /// Path or name of the disk.
        name: String,
        /// Bytes asked for.
        size: u32,
    },
    /// The size is no whole number of blocks, or zero.
    #[error("{name}: size {size} is not a positive multiple of the block size {block}")]
    Size {
        /// Path or name of the disk.
        name: String,
        /// Bytes.
        size: u64,
        /// Block size in bytes.
        block: u32,
    },
    /// Thin provisioning needs a store that can discard and then reads zeroes.
    #[error("{name}: thin provisioning needs a backing store that supports discard")]
    Thin {
        /// Path or name of the disk.
        name: String,
    },
    /// The parameters file cannot be used.
    #[error("parameters file {path}: {source}")]
    Parameters {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: ParametersError,
    },
    /// A threshold needs a thin disk, a store that tells its space, and a percentage from 1 to 99.
    #[error(
        "{name}: a space threshold of 1 to 99 percent needs a thin disk over a store that tells its space"
    )]
    SpaceThreshold {
        /// Path or name of the disk.
        name: String,
    },
    /// An identification is missing, too long or not printable ASCII.
    #[error("{name}: {what} must be 1 to {max} printable ASCII characters")]
    Identity {
        /// Path or name of the disk.
        name: String,
        /// Which.
        what: &'static str,
        /// Longest.
        max: usize,
    },
}

pub(crate) enum Source {
    File(PathBuf),
    Block(PathBuf),
    Null(u64),
    Store(Arc<dyn BackingStore>),
}

/// Options of a disk; ends in [`VdiskBuilder::open`].
#[must_use]
pub struct VdiskBuilder {
    source: Source,
    options: FdOptions,
    active: bool,
    block_size: Option<u32>,
    physical: Option<u32>,
    removable: bool,
    thin: Option<bool>,
    optimal_transfer: u32,
    serial: Option<String>,
    vendor: String,
    product: Option<String>,
    revision: String,
    designators: Option<Vec<Designator>>,
    shared_task_set: bool,
    parameters: Option<PathBuf>,
    space_threshold: Option<u8>,
    offload: Option<Offload>,
}

impl std::fmt::Debug for VdiskBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("VdiskBuilder")
            .field("name", &self.name())
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

impl VdiskBuilder {
    pub(crate) fn new(source: Source) -> Self {
        let direct = matches!(source, Source::Block(_));
        Self {
            source,
            options: FdOptions {
                direct,
                ..FdOptions::default()
            },
            active: true,
            block_size: None,
            physical: None,
            removable: false,
            thin: None,
            optimal_transfer: OPTIMAL_TRANSFER,
            serial: None,
            vendor: VENDOR.into(),
            product: None,
            revision: "0100".into(),
            designators: None,
            shared_task_set: false,
            parameters: None,
            space_threshold: None,
            offload: None,
        }
    }

    /// Size in bytes. A missing or shorter file is made so long; of a longer file or device the start is used.
    pub fn size(mut self, bytes: u64) -> Self {
        self.options.size = Some(bytes);
        self
    }

    /// Every write is on the medium before its GOOD status. No command and no reset can change that.
    pub fn write_through(mut self, on: bool) -> Self {
        self.options.write_through = on;
        self
    }

    /// The cache below survives power cuts: WCE=0, and flush and FUA do nothing. A false claim loses data.
    pub fn nv_cache(mut self, on: bool) -> Self {
        self.options.nv_cache = on;
        self
    }

    /// Bypass the page cache. Default: off for files, on for block devices.
    pub fn direct(mut self, on: bool) -> Self {
        self.options.direct = on;
        self
    }

    /// Refuse every write with DATA PROTECT.
    pub fn read_only(mut self, on: bool) -> Self {
        self.options.read_only = on;
        self
    }

    /// How I/O is done; [`Engine::Auto`] unless set.
    pub fn engine(mut self, engine: Engine) -> Self {
        self.options.engine = engine;
        self
    }

    /// Make the io_uring at [`open`](Self::open) instead of with the first operation that wants it: for a process that
    /// forbids itself io_uring_setup(2) afterwards.
    pub fn ring_at_open(mut self, on: bool) -> Self {
        self.options.ring_at_open = on;
        self
    }

    /// Open the file or device now (default), or leave that to [`Vdisk::activate`], as a standby node does.
    pub fn active(mut self, on: bool) -> Self {
        self.active = on;
        self
    }

    /// Logical block size in bytes; the device's own, at least 512, unless set.
    pub fn block_size(mut self, bytes: u32) -> Self {
        self.block_size = Some(bytes);
        self
    }

    /// Physical block size in bytes; the store's own unless set.
    pub fn physical_block_size(mut self, bytes: u32) -> Self {
        self.physical = Some(bytes);
        self
    }

    /// The medium can be ejected (RMB).
    pub fn removable(mut self, on: bool) -> Self {
        self.removable = on;
        self
    }

    /// Thin provisioning: UNMAP, GET LBA STATUS, VPD page B2h. Default: on where a block device can discard, else off.
    pub fn thin(mut self, on: bool) -> Self {
        self.thin = Some(on);
        self
    }

    /// OPTIMAL TRANSFER LENGTH in bytes.
    pub fn optimal_transfer(mut self, bytes: u32) -> Self {
        self.optimal_transfer = bytes;
        self
    }

    /// Unit serial number, up to 36 characters; the NAA and T10 designators follow from it. Default: a hash of the
    /// canonical path, which is stable over restarts; [`Vdisk::store`] has no default.
    pub fn serial(mut self, serial: impl Into<String>) -> Self {
        self.serial = Some(serial.into());
        self
    }

    /// T10 vendor identification, up to 8 characters.
    pub fn vendor(mut self, vendor: impl Into<String>) -> Self {
        self.vendor = vendor.into();
        self
    }

    /// Product identification, up to 16 characters.
    pub fn product(mut self, product: impl Into<String>) -> Self {
        self.product = Some(product.into());
        self
    }

    /// Product revision level, up to 4 characters.
    pub fn revision(mut self, revision: impl Into<String>) -> Self {
        self.revision = revision.into();
        self
    }

    /// The designators of VPD page 83h in place of those that follow from the serial number.
    pub fn designators(mut self, designators: Vec<Designator>) -> Self {
        self.designators = Some(designators);
        self
    }

    /// One task set for all nexuses (TST 000b) instead of one for each (001b). Cannot be changed by an initiator.
    pub fn shared_task_set(mut self, on: bool) -> Self {
        self.shared_task_set = on;
        self
    }

    /// A file of this disk alone in which saved mode parameters and identifying information outlive a restart. Made
    /// with the first that is saved, mode 0600, in a folder that exists. Without it nothing can be saved: MODE SELECT
    /// with SP is refused, and so is SET IDENTIFYING INFORMATION.
    pub fn parameters_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.parameters = Some(path.into());
        self
    }

    /// Reports THIN PROVISIONING SOFT THRESHOLD REACHED when less than `percent` (1 to 99) of the storage is available:
    /// for a file, of its file system. Initiators can set another threshold by mode page 1Ch/02h.
    pub fn space_threshold(mut self, percent: u8) -> Self {
        self.space_threshold = Some(percent);
        self
    }

    /// Has long commands (WRITE SAME, UNMAP, FORMAT UNIT and the like) run there instead of on threads of the disk's own,
    /// for instance by hand. Jobs that it drops unrun end BUSY.
    pub fn offload(mut self, offload: Offload) -> Self {
        self.offload = Some(offload);
        self
    }

    fn name(&self) -> String {
        match &self.source {
            Source::File(path) | Source::Block(path) => path.display().to_string(),
            Source::Null(size) => format!("null disk of {size} bytes"),
            // As given: neither short nor printable.
            Source::Store(_) => match &self.serial {
                Some(serial) => serial
                    .chars()
                    .take(36)
                    .flat_map(char::escape_debug)
                    .collect(),
                None => "backing store".into(),
            },
        }
    }

    /// Opens the disk. Blocks.
    ///
    /// # Errors
    /// [`VdiskError`], one sentence that names the path.
    pub fn open(self) -> Result<Vdisk, VdiskError> {
        let name = self.name();
        let (store, identity_of) = self.open_store()?;
        let (limits, capabilities) = (store.limits(), store.capabilities());
        let settings = self.settings(&name, &limits, capabilities, &identity_of)?;
        let size = self.options.size.unwrap_or(limits.size);
        if limits.size == 0 || size == 0 || !settings.block.is_aligned(size) {
            let size = if limits.size == 0 { 0 } else { size };
            return Err(VdiskError::Size {
                name,
                size,
                block: settings.block.bytes(),
            });
        }
        if self.active {
            store.activate(1).map_err(|source| VdiskError::Store {
                name: name.clone(),
                source,
            })?;
        }
        let generation = u64::from(self.active);
        let parameters = self.open_parameters(&settings.identity.serial)?;
        let disk = Disk::new(store, settings, parameters, generation, self.offload);
        let threshold = disk.settings.space_threshold;
        if self.space_threshold != threshold
            || threshold.is_some() && disk.provisioning.known().is_none()
        {
            return Err(VdiskError::SpaceThreshold { name });
        }
        Ok(Vdisk {
            disk: Arc::new(disk),
        })
    }

    fn open_parameters(&self, serial: &str) -> Result<Option<Parameters>, VdiskError> {
        let Some(path) = &self.parameters else {
            return Ok(None);
        };
        let opened = Parameters::open(path, serial).map_err(|source| VdiskError::Parameters {
            path: path.clone(),
            source,
        })?;
        Ok(Some(opened))
    }

    /// The store and the text from which a default serial follows.
    fn open_store(&self) -> Result<(Arc<dyn BackingStore>, String), VdiskError> {
        let (path, block) = match &self.source {
            Source::File(path) => (path, false),
            Source::Block(path) => (path, true),
            Source::Null(size) => {
                return Ok((Arc::new(NullStore::new(*size)), format!("null:{size}")));
            }
            Source::Store(store) => return Ok((Arc::clone(store), String::new())),
        };
        let options = self.options.clone();
        let store = match (self.active, block) {
            (false, _) => FdStore::inactive(path, options, block)?,
            (true, true) => FdStore::block(path, options)?,
            (true, false) => FdStore::file(path, options)?,
        };
        let identity_of = format!("path:{}", store.path().display());
        Ok((Arc::new(store), identity_of))
    }

    fn settings(
        &self,
        name: &str,
        limits: &Limits,
        capabilities: Capabilities,
        identity_of: &str,
    ) -> Result<Settings, VdiskError> {
        let least = limits.logical_block.max(512);
        let wanted = self.block_size.unwrap_or(least);
        let block = BlockSize::new(wanted)
            .filter(|block| block.bytes() >= least)
            .ok_or_else(|| VdiskError::BlockSize {
                name: name.into(),
                size: wanted,
                least,
            })?;
        let physical = self
            .physical
            .unwrap_or_else(|| limits.physical_block.max(block.bytes()));
        if !physical.is_power_of_two() || physical < block.bytes() {
            return Err(VdiskError::PhysicalBlockSize {
                name: name.into(),
                size: physical,
            });
        }
        let can_discard =
            capabilities.contains(Capabilities::DISCARD | Capabilities::READS_ZERO_AFTER_DISCARD);
        let thin = self
            .thin
            .unwrap_or(matches!(self.source, Source::Block(_)) && can_discard);
        // A disk that may not be written keeps its map and refuses UNMAP: nothing needs to be discarded.
        if thin && !can_discard && !self.options.read_only {
            return Err(VdiskError::Thin { name: name.into() });
        }
        let exponent = (physical / block.bytes()).trailing_zeros();
        Ok(Settings {
            identity: self.identity(name, identity_of)?,
            profile: DeviceProfile {
                device_type: 0,
                removable: self.removable,
                version_descriptors: vec![SBC_3],
            },
            block,
            physical_exponent: u8::try_from(exponent.min(15)).unwrap_or(0),
            thin,
            read_only: self.options.read_only,
            removable: self.removable,
            optimal_transfer: self.optimal_transfer,
            shared_task_set: self.shared_task_set,
            space_threshold: self
                .space_threshold
                .filter(|percent| thin && (1..=99).contains(percent)),
        })
    }

    fn identity(&self, name: &str, identity_of: &str) -> Result<Identity, VdiskError> {
        let checked = |what: &'static str, text: String, max: usize| {
            let good = (1..=max).contains(&text.len())
                && text.bytes().all(|byte| (0x20..0x7F).contains(&byte));
            if good {
                Ok(text)
            } else {
                Err(VdiskError::Identity {
                    name: name.into(),
                    what,
                    max,
                })
            }
        };
        let default = if identity_of.is_empty() {
            String::new()
        } else {
            format!("{:016x}", stable_hash(identity_of.as_bytes()))
        };
        let serial = checked(
            "the serial number",
            self.serial.clone().unwrap_or(default),
            36,
        )?;
        let vendor = checked("the vendor identification", self.vendor.clone(), 8)?;
        let product = match &self.source {
            Source::File(_) => "FILE",
            Source::Block(_) => "BLOCK",
            Source::Null(_) => "NULL",
            Source::Store(_) => "STORE",
        };
        let product = self.product.clone().unwrap_or_else(|| product.into());
        let designators = self.designators.clone().unwrap_or_else(|| {
            vec![
                Designator::t10_vendor_id(&vendor, &serial),
                Designator::logical_unit(DesignatorKind::naa_from_serial(&serial)),
            ]
        });
        Ok(Identity {
            product: checked("the product identification", product, 16)?,
            revision: checked("the revision", self.revision.clone(), 4)?,
            vendor,
            serial,
            designators,
        })
    }
}
