//! A device opened anew, under its LUNs and in its device group.

use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

use lunforge::core::lu::Closed;
use lunforge::vdisk::Vdisk;

use super::super::failure::failure;
use super::super::identity::derived;
use super::super::wanted::Wanted;
use super::super::{Done, Live};
use super::change::CLOSE;
use super::open::{opens, options};
use super::{Device, Parts, Place, close};
use crate::manage::{Failure, Model};
use crate::tree::{Attributes, Path};

/// What is waited for beyond the time in which a gate closes.
const SLACK: Duration = Duration::from_secs(2);

impl Live {
    /// Opens a device anew. Its LUNs become the new one; where that uses the same file, commands wait for as long as it
    /// takes to close and open that. When it cannot be opened, the old one goes on.
    pub(in super::super) fn reopen_device(
        &mut self,
        path: &Path,
        given: &Attributes,
        model: &Model,
    ) -> Done {
        let device = self.device(path.name())?;
        let old = device.parts();
        let wanted = Wanted { path, given, model };
        let options = options(&wanted, &self.settings)?;
        self.note_file(&wanted);
        let before = device.given();
        let eui64 = derived(&wanted);
        let known = device.state.lock().derived;
        if known != eui64 {
            self.forget_identity(known, path.name(), model);
        }
        let options = options.identity(self.note_identity(&wanted));
        device.state.lock().derived = eui64;
        let taken = self.take_place(&device, &old, &wanted, options);
        match taken {
            Ok(new) => {
                let mut state = device.state.lock();
                state.given = given.clone();
                state.parts = new;
                state.found_size = None;
                state.blocked = None;
                drop(state);
                close::close(path.name(), old);
                Ok(())
            }
            Err(error) => {
                device.state.lock().given = before;
                self.identify(&device, model)?;
                Err(error)
            }
        }
    }

    /// Opens the new device and puts it into the place of the old one.
    fn take_place(
        &self,
        device: &Device,
        old: &Arc<Parts>,
        wanted: &Wanted<'_>,
        options: lunforge::vdisk::VdiskBuilder,
    ) -> Result<Arc<Parts>, Failure> {
        let opens = opens(wanted);
        let hands_over = old.disk.is_active() && shares_medium(&device.given(), wanted.given);
        let disk = options.active(opens && !hands_over).open();
        let disk = disk.map_err(failure)?;
        let new = Parts::new(wanted, &self.settings, disk, Some(old))?;
        let new = Arc::new(new);
        let _held = if hands_over {
            let held = hold(old)?;
            hand_over(&old.disk, opens.then_some(&new.disk))?;
            Some(held)
        } else {
            None
        };
        let put = self.put_in_place(device, old, &new);
        if put.is_err()
            && hands_over
            && let Err(error) = hand_over(&new.disk, Some(&old.disk))
        {
            tracing::error!(device = device.name, %error, "the old one cannot be opened again");
        }
        put.map(|()| new)
    }

    fn put_in_place(&self, device: &Device, old: &Arc<Parts>, new: &Arc<Parts>) -> Done {
        let group = self.registry.group_of(&device.name);
        // In the group first: no session comes to the new one by the rights of none.
        if let Some(group) = &group {
            group.admit(new)?;
        }
        let places = device.places();
        for (at, place) in places.iter().enumerate() {
            if let Err(error) = put(place, new) {
                let done = places.get(..at).unwrap_or_default();
                for place in done {
                    if let Err(error) = put(place, old) {
                        tracing::error!(device = device.name, %error, "a LUN is not what it was");
                    }
                }
                if let Some(group) = &group {
                    group.leave(new);
                }
                return Err(error);
            }
        }
        if let Some(group) = &group {
            group.leave(old);
        }
        Ok(())
    }
}

fn put(place: &Place, parts: &Parts) -> Done {
    let Place { group, number, .. } = place;
    place
        .target
        .replace_lun(group.as_deref(), *number, &parts.unit, true)
}

/// Whether two descriptions are of one file or device, which is open once.
fn shares_medium(old: &Attributes, new: &Attributes) -> bool {
    let file = |given: &Attributes| {
        let path = given.get("filename")?.first()?;
        std::fs::canonicalize(path)
            .ok()
            .or_else(|| Some(path.into()))
    };
    file(old).is_some_and(|old| file(new).is_some_and(|new| new == old))
}

/// Keeps commands from a device until the result is dropped; those that execute end first.
pub(in super::super) fn hold(parts: &Parts) -> Result<Closed, Failure> {
    let bound = parts.unit.ladder().hold;
    let (done, told) = mpsc::sync_channel(1);
    let ticket = parts.unit.close_gate_within(bound, move |closed| {
        let _ = done.try_send(closed);
    });
    let held = told.recv_timeout(bound + SLACK).ok().flatten();
    held.ok_or_else(|| {
        parts.unit.stop_waiting(ticket);
        failure("commands of the device do not end")
    })
}

/// Closes one disk and opens another one over the same file; when that fails, the first is open again.
fn hand_over(from: &Vdisk, to: Option<&Vdisk>) -> Done {
    let again = |error: Failure| {
        if let Err(error) = from.reactivate() {
            tracing::error!(%error, "the device cannot be opened again");
        }
        error
    };
    from.deactivate(CLOSE).map_err(failure).map_err(again)?;
    let opened = to.map_or(Ok(()), Vdisk::reactivate);
    opened.map_err(failure).map_err(again)
}
