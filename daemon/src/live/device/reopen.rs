//! A device opened anew, under its LUNs and in its device group.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

use lunforge::core::lu::Closed;
use lunforge::pr::{Frozen, Reservations};
use lunforge::vdisk::Vdisk;

use super::super::failure::failure;
use super::super::identity::derived;
use super::super::wanted::Wanted;
use super::super::{Done, Live};
use super::change::CLOSE;
use super::open::{opens, options};
use super::{Device, Parts, close};
use crate::manage::{Failure, Model};
use crate::tree::{Attributes, Path};

/// What is waited for beyond the time in which a gate closes.
const SLACK: Duration = Duration::from_secs(2);

/// A device that has taken the place of an old one.
struct Placed {
    new: Arc<Parts>,
    /// Keeps commands from it, as they were kept from the old one.
    blocked: Option<Closed>,
    /// Keeps commands from the old one, and changes from its reservations.
    held: (Option<Closed>, Frozen),
}

/// The reservations of a device that has taken the place of an old one. Sessions that end before their shard has seen it
/// are told to the old one alone: dropped after that, this ends what such a session had reserved.
struct Heir(Reservations);

impl Drop for Heir {
    fn drop(&mut self) {
        self.0.end_without_session();
    }
}

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
            Ok(Placed { new, blocked, held }) => {
                let mut state = device.state.lock();
                state.given = given.clone();
                let heir = Heir(new.reservations.clone());
                state.parts = new;
                state.found_size = None;
                let unblocked = std::mem::replace(&mut state.blocked, blocked);
                drop(state);
                self.drop_when_seen((held, unblocked, heir));
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

    /// Opens the new device and puts it into the place of the old one; where that is blocked, the new one is too.
    fn take_place(
        &self,
        device: &Device,
        old: &Arc<Parts>,
        wanted: &Wanted<'_>,
        options: lunforge::vdisk::VdiskBuilder,
    ) -> Result<Placed, Failure> {
        let opens = opens(wanted);
        let hands_over = old.disk.is_active() && shares_medium(&device.given(), wanted.given);
        let disk = options.active(opens && !hands_over).open();
        let disk = disk.map_err(failure)?;
        // Before the file that keeps them has another user.
        let frozen = freeze(old)?;
        let new = Parts::new(wanted, &self.settings, disk, Some(old))?;
        let new = Arc::new(new);
        let held = (calm(device, old, hands_over)?, frozen);
        if hands_over {
            hand_over(&old.disk, opens.then_some(&new.disk))?;
        }
        let put = self.put_in_place(device, old, &new);
        if put.is_err()
            && hands_over
            && let Err(error) = hand_over(&new.disk, Some(&old.disk))
        {
            tracing::error!(device = device.name, %error, "the old one cannot be opened again");
        }
        put.map(|blocked| Placed { new, blocked, held })
    }

    /// Drops what holds commands of a device back that is not a LUN any more, as soon as every shard has seen that: what
    /// was on its way to it before would find it closed, or change reservations that have a successor.
    fn drop_when_seen(&self, held: impl Send + Sync + 'static) {
        let held = Arc::new(held);
        for shard in self.registry.shards.iter() {
            let held = Arc::clone(&held);
            shard.run(move |_| drop(held));
        }
    }

    fn put_in_place(
        &self,
        device: &Device,
        old: &Arc<Parts>,
        new: &Arc<Parts>,
    ) -> Result<Option<Closed>, Failure> {
        let group = self.registry.group_of(&device.name);
        // In the group first: no session comes to the new one by the rights of none.
        if let Some(group) = &group {
            group.admit(new)?;
        }
        // Nobody uses it yet: at once.
        let blocked = device.is_blocked().then(|| hold(new)).transpose()?;
        let targets = device.targets();
        for (at, target) in targets.iter().enumerate() {
            if let Err(error) = target.replace_unit(&old.unit, &new.unit) {
                let done = targets.get(..at).unwrap_or_default();
                for target in done {
                    if let Err(error) = target.replace_unit(&new.unit, &old.unit) {
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
        Ok(blocked)
    }
}

/// Has the commands under way end, and others wait until the result is dropped: so none is aborted. Of a device that is
/// blocked nobody has any. Those that do not end are aborted, unless the device closes before another one opens.
fn calm(device: &Device, parts: &Parts, hands_over: bool) -> Result<Option<Closed>, Failure> {
    if device.is_blocked() || !hands_over && parts.unit.backend().is_dead() {
        return Ok(None);
    }
    match hold(parts) {
        Err(error) if !hands_over => {
            tracing::warn!(device = device.name, %error, "they are aborted");
            Ok(None)
        }
        held => held.map(Some),
    }
}

/// Keeps the reservations of a device as they are until the result is dropped; a change under way ends first.
fn freeze(parts: &Parts) -> Result<Frozen, Failure> {
    let (done, told) = mpsc::sync_channel(1);
    parts.reservations.freeze(move |frozen| {
        let _ = done.try_send(frozen);
    });
    let frozen = told.recv_timeout(parts.unit.ladder().hold + SLACK);
    frozen.map_err(|_| failure("a change of the device's reservations does not end"))
}

/// Whether two descriptions are of one file or device, which is open once.
fn shares_medium(old: &Attributes, new: &Attributes) -> bool {
    let medium = |given: &Attributes| Some(Medium::at(given.get("filename")?.first()?));
    medium(old).is_some_and(|old| medium(new).is_some_and(|new| new == old))
}

/// What tells files and block devices apart, whatever their names are.
#[derive(Debug, PartialEq, Eq)]
enum Medium {
    Device(u64),
    File(u64, u64),
    /// There is none yet.
    Nothing(PathBuf),
}

impl Medium {
    fn at(path: &str) -> Self {
        let path = std::path::Path::new(path);
        match fs::metadata(path) {
            Ok(meta) if meta.file_type().is_block_device() => Self::Device(meta.rdev()),
            Ok(meta) => Self::File(meta.dev(), meta.ino()),
            Err(_) => Self::Nothing(canonical(path).unwrap_or_else(|| path.to_owned())),
        }
    }
}

/// The folder's one name, and in it the name of what is not there.
fn canonical(path: &std::path::Path) -> Option<PathBuf> {
    let folder = path.parent()?.canonicalize().ok()?;
    Some(folder.join(path.file_name()?))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_names_of_one_file_are_one_medium_and_so_are_two_of_a_file_to_come() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
        let same = |one: &str, other: &str| {
            let given = |name: &str| Attributes::from([("filename".into(), vec![at(name)])]);
            shares_medium(&given(one), &given(other))
        };
        fs::write(at("a"), []).unwrap();
        fs::write(at("b"), []).unwrap();
        fs::hard_link(at("a"), at("hard")).unwrap();
        std::os::unix::fs::symlink(at("a"), at("soft")).unwrap();
        fs::create_dir(at("folder")).unwrap();
        assert!(same("a", "hard") && same("a", "soft") && same("a", "folder/../a"));
        assert!(!same("a", "b") && !same("a", "new") && !same("new", "newer"));
        assert!(same("new", "folder/../new"));
        assert!(!same("folder/new", "new"));
        std::os::unix::fs::symlink(at("folder"), at("other")).unwrap();
        assert!(same("folder/new", "other/new"));
        assert!(same("nowhere/new", "nowhere/new") && !same("nowhere/new", "new"));
        let none = Attributes::new();
        assert!(!shares_medium(&none, &none));
    }
}
