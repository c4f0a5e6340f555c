//! Devices made, removed, and changed while they live.

use std::sync::Arc;

use super::super::failure::{failure, missing};
use super::super::identity::derived;
use super::super::wanted::Wanted;
use super::super::{Done, Live};
use super::identify::IDENTIFIES;
use super::open::{image, opens, options, stands_by};
use super::reopen::hold;
use super::{Device, Parts, close};
use crate::manage::{Failure, Model};
use crate::schema::{self, Preset};
use crate::tree::{Attributes, Path};

/// How long commands may take to leave a disk that is closed.
pub(super) const CLOSE: std::time::Duration = std::time::Duration::from_secs(10);

impl Live {
    pub(in super::super) fn device(&self, name: &str) -> Result<Arc<Device>, Failure> {
        let device = self.registry.device(name);
        device.ok_or_else(|| missing(format_args!("the device {name}")))
    }

    pub(in super::super) fn create_device(
        &mut self,
        path: &Path,
        given: &Attributes,
        model: &Model,
    ) -> Done {
        let wanted = Wanted { path, given, model };
        refuse(&wanted)?;
        self.note_file(&wanted);
        let identity = self.note_identity(&wanted);
        let disk = options(&wanted, &self.settings).and_then(|disk| {
            let disk = disk.active(opens(&wanted)).identity(identity);
            disk.open().map_err(failure)
        });
        let parts = disk.and_then(|disk| Parts::new(&wanted, &self.settings, disk, None));
        let eui64 = derived(&wanted);
        match parts {
            Ok(parts) => {
                let device = Device::new(path.name(), given.clone(), parts, eui64);
                self.registry.add_device(device);
                Ok(())
            }
            Err(error) => {
                self.forget_identity(eui64, path.name(), model);
                Err(error)
            }
        }
    }

    pub(in super::super) fn remove_device(&mut self, path: &Path, model: &Model) -> Done {
        let device = self.device(path.name())?;
        self.registry.remove_device(path.name());
        let eui64 = device.state.lock().derived;
        self.forget_identity(eui64, path.name(), model);
        // Dropped outside of the lock: commands, or the next who wants the device for himself, go on by it.
        let blocked = device.state.lock().blocked.take();
        drop(blocked);
        let parts = device.parts();
        drop(device);
        close::close(path.name(), parts);
        Ok(())
    }

    pub(in super::super) fn set_device(
        &mut self,
        path: &Path,
        name: &str,
        values: &[String],
        model: &Model,
    ) -> Done {
        let device = self.device(path.name())?;
        let before = device.given();
        device.set_given(name, values);
        let set = self.put_attribute(&device, path, name, &before, model);
        if set.is_err() {
            device.state.lock().given = before;
        }
        set
    }

    /// Makes an attribute true that the device has been given.
    fn put_attribute(
        &mut self,
        device: &Arc<Device>,
        path: &Path,
        name: &str,
        before: &Attributes,
        model: &Model,
    ) -> Done {
        let given = device.given();
        let wanted = Wanted {
            path,
            given: &given,
            model,
        };
        refuse(&wanted)?;
        let parts = device.parts();
        if IDENTIFIES.contains(&name) {
            return self.identify(device, model);
        }
        match name {
            "inq_vend_specific" => {
                let text = wanted.text(name).unwrap_or_default();
                parts.disk.set_vendor_specific(text);
                Ok(())
            }
            "active" if !wanted.flag(name) => parts.disk.deactivate(CLOSE).map_err(failure),
            // The access states open it when they may.
            "active" if stands_by(&wanted) => Ok(()),
            "active" => parts.disk.reactivate().map_err(failure),
            "bind_alua_state" => {
                let bound = parts.access.bind_alua_state(wanted.flag(name));
                bound.map_err(failure)
            }
            "expl_alua" => {
                parts.access.explicit(wanted.flag(name));
                Ok(())
            }
            "opt_trans_len" => {
                let bytes = wanted.number(name).unwrap_or(512 << 10);
                parts.disk.set_optimal_transfer(bytes);
                Ok(())
            }
            "lb_per_pb_exp" => {
                let told = wanted.flag(name);
                let block = (!told).then(|| parts.disk.block_size());
                parts.disk.set_physical_block_size(block).map_err(failure)
            }
            "size" | "size_mb" => {
                self.note_file(&wanted);
                resize(device, &parts, &wanted)
            }
            "filename" if parts.disk.is_cdrom() => {
                let changed = parts.disk.change_medium(image(&wanted));
                changed.map_err(failure)
            }
            "filename" => self.change_medium(device, path, before, model),
            "pr_file_name" => self.move_reservations(device, &wanted),
            _ => Ok(()),
        }
    }

    /// Another file is opened like a device that is opened anew.
    fn change_medium(
        &mut self,
        device: &Arc<Device>,
        path: &Path,
        before: &Attributes,
        model: &Model,
    ) -> Done {
        let given = device.given();
        device.state.lock().given = before.clone();
        self.reopen_device(path, &given, model)
    }

    /// Has the reservations kept in another file.
    fn move_reservations(&mut self, device: &Arc<Device>, wanted: &Wanted<'_>) -> Done {
        let before = device.parts();
        if !device.places().is_empty() || self.registry.group_of(&device.name).is_some() {
            return Err(failure(format!(
                "{} is a LUN or in a device group: its reservations cannot be kept elsewhere now",
                device.name
            )));
        }
        let disk = before.disk.clone();
        let parts = Parts::new(wanted, &self.settings, disk, Some(&before))?;
        let blocked = device.is_blocked().then(|| hold(&parts)).transpose()?;
        let mut state = device.state.lock();
        let old = std::mem::replace(&mut state.parts, Arc::new(parts));
        let unblocked = std::mem::replace(&mut state.blocked, blocked);
        drop(state);
        drop((old, unblocked));
        Ok(())
    }
}

/// What no device can be yet.
fn refuse(wanted: &Wanted<'_>) -> Done {
    if wanted.flag("cluster_mode") {
        return Err(failure(
            "cluster_mode is not possible: there is no cluster yet",
        ));
    }
    Ok(())
}

/// Gives a disk the size that is wanted, or the one that it had before it was given one.
fn resize(device: &Device, parts: &Parts, wanted: &Wanted<'_>) -> Done {
    let preset = schema::find(wanted.path.kind(), wanted.handler(), "size");
    let preset = preset.and_then(|definition| match definition.preset {
        Preset::Is(text) => schema::value::bytes(text),
        _ => None,
    });
    let found = device.state.lock().found_size;
    let size = wanted.size().or(preset).or(found);
    let Some(size) = size else {
        return Ok(());
    };
    let now = parts.disk.size();
    parts.disk.resize(size).map_err(failure)?;
    device.state.lock().found_size.get_or_insert(now);
    Ok(())
}
