//! [`VdiskBuilder`]: the options of a disk, their checks, and its identity.

use std::path::PathBuf;
use std::sync::Arc;

use lunforge_core::designator::{Designator, DesignatorKind, stable_hash};
use lunforge_core::handler::{DeviceProfile, Identity};
use lunforge_core::offload::Offload;
use lunforge_core::units::BlockSize;

use crate::Vdisk;
use crate::cdrom;
use crate::disk::{Disk, Settings};
use crate::error::VdiskError;
use crate::face::{Face, check_identity, physical_exponent};
use crate::parameters::Parameters;
use crate::store::{BackingStore, Capabilities, Engine, FdOptions, FdStore, Limits, NullStore};

/// T10 VENDOR IDENTIFICATION unless another is given.
const VENDOR: &str = "LUNFORGE";
/// SBC-3 (no version claimed) and SPC-4 are the core's; this is the command set's version descriptor.
const SBC_3: u16 = 0x04C0;
/// OPTIMAL TRANSFER LENGTH unless another is given, in bytes.
const OPTIMAL_TRANSFER: u32 = 512 << 10;
/// Peripheral qualifier 001b, device type 1Fh (SPC-4 6.6.2).
const NOT_CONNECTED: u8 = 0x3F;

pub(crate) enum Source {
    File(PathBuf),
    Block(PathBuf),
    Null(u64),
    /// The image in a CD drive.
    Cdrom(Option<PathBuf>),
    Store(Arc<dyn BackingStore>),
}

/// The store, the text from which a default serial follows, and what a CD drive has beyond a disk.
pub(crate) type Opened = (Arc<dyn BackingStore>, String, Option<cdrom::Drive>);

/// Options of a disk; ends in [`VdiskBuilder::open`].
#[must_use]
pub struct VdiskBuilder {
    source: Source,
    options: FdOptions,
    active: bool,
    block_size: Option<u32>,
    physical: Option<u32>,
    removable: bool,
    rotational: Option<bool>,
    connected: bool,
    thin: Option<bool>,
    optimal_transfer: u32,
    may_be_elsewhere: bool,
    vendor_specific: Vec<u8>,
    serial: Option<String>,
    vendor: String,
    product: Option<String>,
    revision: String,
    designators: Option<Vec<Designator>>,
    shared_task_set: bool,
    parameters: Option<PathBuf>,
    parameters_of: Option<String>,
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
            rotational: None,
            connected: true,
            thin: None,
            optimal_transfer: OPTIMAL_TRANSFER,
            may_be_elsewhere: false,
            vendor_specific: Vec::new(),
            serial: None,
            vendor: VENDOR.into(),
            product: None,
            revision: "0100".into(),
            designators: None,
            shared_task_set: false,
            parameters: None,
            parameters_of: None,
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

    /// Another node may have the file or device. With [`active(false)`](Self::active) a path where nothing is yet is no
    /// error: what is there is looked at by [`Vdisk::activate`], the block size is 512 unless set, and there is thin
    /// provisioning only if it was asked for. And a device that its driver does not open since another node writes to it
    /// (EMEDIUMTYPE, a DRBD Secondary) is left to [`Vdisk::activate`], too.
    pub fn may_be_elsewhere(mut self, on: bool) -> Self {
        self.may_be_elsewhere = on;
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

    /// Whether the medium rotates (VPD page B1h); what the store says unless set.
    pub fn rotational(mut self, on: bool) -> Self {
        self.rotational = Some(on);
        self
    }

    /// Whether there is a device at the LUN at all. Without, it is a place that one may come to: peripheral qualifier
    /// 001b and device type 1Fh (SPC-4 6.6.2).
    pub fn connected(mut self, on: bool) -> Self {
        self.connected = on;
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

    /// Serial number, vendor, product, revision and designators as they are here.
    pub fn identity(mut self, identity: Identity) -> Self {
        self.serial = Some(identity.serial);
        self.vendor = identity.vendor;
        self.product = Some(identity.product);
        self.revision = identity.revision;
        self.designators = Some(identity.designators);
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

    /// Vendor specific INQUIRY data (SPC-4 6.6.2): the first 20 bytes are 36 to 55, further ones begin at 96.
    pub fn vendor_specific(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.vendor_specific = bytes.into();
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

    /// By which name of the disk its parameters file is known to be its own; the serial number unless set, which may
    /// change ([`Vdisk::set_identity`]).
    pub fn parameters_of(mut self, name: impl Into<String>) -> Self {
        self.parameters_of = Some(name.into());
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
            Source::Cdrom(Some(image)) => image.display().to_string(),
            Source::Cdrom(None) => "empty CD drive".into(),
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
    pub fn open(mut self) -> Result<Vdisk, VdiskError> {
        let name = self.name();
        let (store, identity_of, drive) = self.open_store()?;
        let (limits, capabilities) = (store.limits(), store.capabilities());
        let settings = self.settings(&name, &limits, capabilities)?;
        let face = self.face(&name, &limits, settings.block, &identity_of)?;
        let size = self.options.size.unwrap_or(limits.size);
        let unknown = drive.is_some() || self.may_be_elsewhere && !self.active && size == 0;
        if !unknown && (limits.size == 0 || size == 0 || !settings.block.is_aligned(size)) {
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
        let parameters = self.open_parameters(&face.identity().serial)?;
        let disk = Disk::new(
            store,
            settings,
            face,
            parameters,
            generation,
            self.offload,
            drive,
        );
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
        let owner = self.parameters_of.as_deref().unwrap_or(serial);
        let opened = Parameters::open(path, owner).map_err(|source| VdiskError::Parameters {
            path: path.clone(),
            source,
        })?;
        Ok(Some(opened))
    }

    fn open_store(&mut self) -> Result<Opened, VdiskError> {
        let (path, block) = match &self.source {
            Source::File(path) => (path, false),
            Source::Block(path) => (path, true),
            Source::Null(size) => {
                return Ok((
                    Arc::new(NullStore::new(*size)),
                    format!("null:{size}"),
                    None,
                ));
            }
            Source::Cdrom(image) => return cdrom::open(&self.options, image.as_deref()),
            Source::Store(store) => return Ok((Arc::clone(store), String::new(), None)),
        };
        let options = self.options.clone();
        let store = match (self.active, block) {
            (false, _) if self.may_be_elsewhere => FdStore::elsewhere(path, options, block)?,
            (false, _) => FdStore::inactive(path, options, block)?,
            (true, true) => match FdStore::block(path, options.clone()) {
                Err(error) if self.may_be_elsewhere && error.is_elsewhere() => {
                    tracing::warn!(%error, "left to be opened when it is activated");
                    self.active = false;
                    FdStore::inactive(path, options, block)?
                }
                opened => opened?,
            },
            (true, false) => FdStore::file(path, options)?,
        };
        let identity_of = format!("path:{}", store.path().display());
        Ok((Arc::new(store), identity_of, None))
    }

    fn settings(
        &self,
        name: &str,
        limits: &Limits,
        capabilities: Capabilities,
    ) -> Result<Settings, VdiskError> {
        if matches!(self.source, Source::Cdrom(_)) {
            return cdrom::settings(name, self.shared_task_set);
        }
        let least = limits.logical_block.max(512);
        let wanted = self.block_size.unwrap_or(least);
        let block = BlockSize::new(wanted)
            .filter(|block| block.bytes() >= least)
            .ok_or_else(|| VdiskError::BlockSize {
                name: name.into(),
                size: wanted,
                least,
            })?;
        let can_discard =
            capabilities.contains(Capabilities::DISCARD | Capabilities::READS_ZERO_AFTER_DISCARD);
        let thin = self
            .thin
            .unwrap_or(matches!(self.source, Source::Block(_)) && can_discard);
        // A disk that may not be written keeps its map and refuses UNMAP: nothing needs to be discarded.
        let known = limits.size > 0;
        if thin && known && !can_discard && !self.options.read_only {
            return Err(VdiskError::Thin { name: name.into() });
        }
        Ok(Settings {
            profile: DeviceProfile {
                device_type: if self.connected { 0 } else { NOT_CONNECTED },
                removable: self.removable,
                version_descriptors: vec![SBC_3],
            },
            block,
            thin,
            read_only: self.options.read_only,
            removable: self.removable,
            rotational: self.rotational,
            shared_task_set: self.shared_task_set,
            space_threshold: self
                .space_threshold
                .filter(|percent| thin && (1..=99).contains(percent)),
        })
    }

    fn face(
        &self,
        name: &str,
        limits: &Limits,
        block: BlockSize,
        identity_of: &str,
    ) -> Result<Face, VdiskError> {
        let exponent = physical_exponent(name, self.physical, limits, block)?;
        let identity = self.identity_from(identity_of);
        check_identity(name, &identity)?;
        Ok(Face::new(
            identity,
            self.vendor_specific.clone(),
            exponent,
            self.optimal_transfer,
        ))
    }

    fn identity_from(&self, identity_of: &str) -> Identity {
        let default = if identity_of.is_empty() {
            String::new()
        } else {
            format!("{:016x}", stable_hash(identity_of.as_bytes()))
        };
        let serial = self.serial.clone().unwrap_or(default);
        let vendor = self.vendor.clone();
        let product = match &self.source {
            Source::File(_) => "FILE",
            Source::Block(_) => "BLOCK",
            Source::Null(_) => "NULL",
            Source::Cdrom(_) => "CDROM",
            Source::Store(_) => "STORE",
        };
        let product = self.product.clone().unwrap_or_else(|| product.into());
        let designators = self.designators.clone().unwrap_or_else(|| {
            vec![
                Designator::t10_vendor_id(&vendor, &serial),
                Designator::logical_unit(DesignatorKind::naa_from_serial(&serial)),
            ]
        });
        Identity {
            product,
            revision: self.revision.clone(),
            vendor,
            serial,
            designators,
        }
    }
}
