//! How a drive is made, and how its owner changes what is in it.

use std::path::Path;
use std::sync::Arc;

use lunforge_core::asc::Asc;
use lunforge_core::handler::DeviceProfile;
use lunforge_core::units::BlockSize;

use super::{BLOCK, Drive};
use crate::builder::Opened;
use crate::disk::{Disk, Settings};
use crate::error::VdiskError;
use crate::store::{BackingStore, FdOptions, FdStore, Tray};

/// MMC-6 (no version claimed).
const MMC_6: u16 = 0x04E0;
/// PERIPHERAL DEVICE TYPE of a CD or DVD drive.
const CD_DVD: u8 = 0x05;

/// A tray with an image in it, or none. A drive is known by the image that it is made with unless it is given a name.
pub(crate) fn open(options: &FdOptions, image: Option<&Path>) -> Result<Opened, VdiskError> {
    let tray = Arc::new(Tray::new(options));
    let mut identity_of = "cdrom".to_owned();
    if let Some(image) = image {
        let medium = examine(&tray, image)?;
        identity_of = format!("cdrom:{}", medium.path().display());
        tray.exchange(Some(medium))?;
    }
    let drive = Drive::new(Arc::clone(&tray));
    Ok((tray, identity_of, Some(drive)))
}

/// What does not change while the drive lives.
pub(crate) fn settings(name: &str, shared_task_set: bool) -> Result<Settings, VdiskError> {
    let block = BlockSize::new(BLOCK).ok_or_else(|| VdiskError::BlockSize {
        name: name.into(),
        size: BLOCK,
        least: BLOCK,
    })?;
    Ok(Settings {
        profile: DeviceProfile {
            device_type: CD_DVD,
            removable: true,
            version_descriptors: vec![MMC_6],
        },
        block,
        thin: false,
        read_only: true,
        removable: true,
        rotational: None,
        shared_task_set,
        space_threshold: None,
    })
}

/// An image that is a medium: of at least one block.
fn examine(tray: &Tray, image: &Path) -> Result<FdStore, VdiskError> {
    let medium = tray.examine(image)?;
    let size = medium.limits().size;
    if size < u64::from(BLOCK) {
        return Err(VdiskError::Size {
            name: image.display().to_string(),
            size,
            block: BLOCK,
        });
    }
    Ok(medium)
}

/// Takes the medium out and puts another one in, or none, and closes the tray; every nexus is told. Whether an initiator
/// prevents removal does not matter: that is for the initiators' own commands. Blocks.
pub(crate) fn change(disk: &Disk, drive: &Drive, image: Option<&Path>) -> Result<(), VdiskError> {
    let medium = image.map(|image| examine(&drive.tray, image)).transpose()?;
    let _one_at_a_time = drive.changing.lock();
    let loads = medium.is_some();
    let was_closed = disk.is_present();
    // No command gets at the new medium before its nexus has the unit attention.
    disk.set_present(false);
    let had = !drive.tray.is_empty();
    if let Err(error) = drive.tray.exchange(medium) {
        disk.set_present(was_closed);
        return Err(error.into());
    }
    disk.took_store();
    if loads {
        disk.announce(Asc::NOT_READY_TO_READY_CHANGE_MEDIUM_MAY_HAVE_CHANGED);
    }
    disk.set_present(true);
    if loads || had && was_closed {
        drive.events.changed();
    }
    Ok(())
}
