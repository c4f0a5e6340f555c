//! From attributes to a disk and its logical unit.

use std::sync::Arc;

use lunforge::Unit;
use lunforge::alua::{AccessState, AsymmetricAccess};
use lunforge::pr::{FileStore, Reservations};
use lunforge::vdisk::{Vdisk, VdiskBuilder};

use super::super::failure::failure;
use super::super::settings::Settings;
use super::super::wanted::Wanted;
use super::Parts;
use crate::manage::Failure;
use crate::tree::{Kind, Path};

impl Parts {
    /// A disk with all that makes it a logical unit. Of a device that is opened anew `before` is what it was: its
    /// reservations, which are frozen, go on.
    pub(super) fn new(
        wanted: &Wanted<'_>,
        settings: &Settings,
        disk: Vdisk,
        before: Option<&Parts>,
    ) -> Result<Self, Failure> {
        let access = AsymmetricAccess::new();
        access.explicit(wanted.flag("expl_alua"));
        // In no group yet: it is noted, nothing is opened or closed.
        let bound = access.bind_alua_state(wanted.flag("bind_alua_state"));
        bound.map_err(failure)?;
        let reservations = reservations(wanted, settings)?;
        if let Some(before) = before {
            take_over(&reservations, &before.reservations)?;
        }
        let unit = Unit::new(disk.clone())
            .ladder(settings.ladder)
            .map_err(failure)?
            .service(Arc::clone(&access) as _)
            .reservations(reservations.clone())
            .build();
        Ok(Self {
            disk,
            access,
            reservations,
            unit,
        })
    }
}

/// The reservations of a device, as they were kept.
fn reservations(wanted: &Wanted<'_>, settings: &Settings) -> Result<Reservations, Failure> {
    let given = wanted.given("pr_file_name");
    let Some(path) = settings.reservations(wanted.name(), given) else {
        return Ok(Reservations::volatile());
    };
    let folder = path.parent().filter(|folder| folder.is_dir());
    let store = FileStore::new(&path).ok().filter(|_| folder.is_some());
    let store = store.ok_or_else(|| {
        let path = path.display();
        failure(format!(
            "{path} cannot keep reservations: it is not the name of a file in a folder that exists"
        ))
    })?;
    Ok(Reservations::open(store, settings.on_damage))
}

/// Reservations that no unit has yet become those of another device.
fn take_over(reservations: &Reservations, before: &Reservations) -> Result<(), Failure> {
    let state = before.snapshot();
    if !before.is_known() || *reservations.snapshot() == *state {
        return Ok(());
    }
    let (done, told) = std::sync::mpsc::channel();
    reservations.restore((*state).clone(), move |result| {
        let _ = done.send(result);
    });
    match told.try_recv() {
        Ok(result) => result.map_err(failure),
        Err(_) => Err(failure("the reservations could not be taken over")),
    }
}

/// The disk that is wanted, not opened yet.
pub(super) fn options(wanted: &Wanted<'_>, settings: &Settings) -> Result<VdiskBuilder, Failure> {
    let handler = wanted.handler();
    let filename = wanted.given("filename");
    let mut disk = match (handler, filename) {
        ("vdisk_fileio", Some(path)) => Vdisk::file(path).direct(wanted.flag("o_direct")),
        ("vdisk_blockio", Some(path)) => Vdisk::block(path),
        ("vdisk_nullio", _) => {
            let preset = || wanted.number("size");
            let size = wanted.size().or_else(preset).unwrap_or(0);
            Vdisk::null(size).connected(!wanted.flag("dummy"))
        }
        ("vcdrom", _) => Vdisk::cdrom(image(wanted)),
        ("vdisk_fileio" | "vdisk_blockio", None) => {
            return Err(failure(format!("{handler} needs a filename")));
        }
        _ => return Err(failure(format!("there is no handler {handler} yet"))),
    };
    if handler != "vdisk_nullio" {
        if let Some(size) = wanted.size() {
            disk = disk.size(size);
        }
        disk = disk
            .write_through(wanted.flag("write_through"))
            .nv_cache(wanted.flag("nv_cache"))
            .ring_at_open(settings.ring_at_open)
            .may_be_elsewhere(true);
    }
    if let Some(thin) = wanted.text("thin_provisioned") {
        disk = disk.thin(thin == "1");
    }
    if let Some(bytes) = wanted.number("opt_trans_len") {
        disk = disk.optimal_transfer(bytes);
    }
    let block: u32 = wanted.number("blocksize").unwrap_or(512);
    if wanted.text("lb_per_pb_exp").as_deref() == Some("0") {
        disk = disk.physical_block_size(block);
    }
    if let Some(path) = settings.parameters(wanted.name()) {
        disk = disk.parameters_file(path).parameters_of(wanted.name());
    }
    Ok(disk
        .block_size(block)
        .read_only(wanted.flag("read_only"))
        .removable(wanted.flag("removable"))
        .rotational(wanted.flag("rotational"))
        .shared_task_set(wanted.text("tst").as_deref() == Some("0"))
        .vendor_specific(wanted.text("inq_vend_specific").unwrap_or_default()))
}

/// The image that is to be in a CD drive.
pub(super) fn image<'a>(wanted: &'a Wanted<'_>) -> Option<&'a std::path::Path> {
    let filename = wanted.given("filename").filter(|name| !name.is_empty());
    filename.map(std::path::Path::new)
}

/// Whether a device is to be open as soon as it is made: it is active, and if its access states say when it may be
/// open, those here do not forbid it now. One that is not may be missing until it is activated.
pub(super) fn opens(wanted: &Wanted<'_>) -> bool {
    let active = wanted.text("active").is_none_or(|active| active == "1");
    active && !stands_by(wanted)
}

/// Whether the device is bound to access states of which none of this node lets a command at its medium.
pub(super) fn stands_by(wanted: &Wanted<'_>) -> bool {
    if !wanted.flag("bind_alua_state") {
        return false;
    }
    let tree = wanted.model.tree();
    let in_group = |user: &&Path| user.kind() == Kind::GroupDevice;
    let member = wanted.model.users(wanted.name()).find(in_group);
    let Some(group) = member.and_then(|member| tree.get(&member.up_to(Kind::DeviceGroup)?)) else {
        return false;
    };
    let is_local = |name: &str| {
        Path::target(super::super::target::ISCSI, name).is_ok_and(|path| tree.get(&path).is_some())
    };
    let mut states = group
        .of(Kind::TargetGroup)
        .filter(|(_, group)| {
            group
                .of(Kind::GroupTarget)
                .any(|(key, _)| is_local(key.name()))
        })
        .map(|(_, group)| group.first("state").and_then(|state| state.parse().ok()))
        .peekable();
    let opens = |state: Option<AccessState>| state.is_none_or(AccessState::accesses_medium);
    states.peek().is_some() && !states.any(opens)
}
