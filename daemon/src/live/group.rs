//! Device groups: which units are in them, and their target port groups.

use std::collections::BTreeMap;

use lunforge::alua::{AccessState, AluaError, DeviceGroup, TargetPort, TargetPortGroup};
use parking_lot::Mutex;

use super::device::Parts;
use super::failure::{failure, missing};
use super::registry::Registry;
use super::wanted::Wanted;
use super::{Done, Live, StpgScript};
use crate::manage::{Change, Failure, Model};
use crate::tree::{Attributes, Kind, Path};

/// A device group. Its lock is held for a few instructions.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) alua: DeviceGroup,
    state: Mutex<State>,
}

#[derive(Debug, Clone, Default)]
struct State {
    /// Its devices, and whether each was open when it came.
    devices: BTreeMap<String, bool>,
    target_groups: BTreeMap<String, TargetGroup>,
}

#[derive(Debug, Clone)]
struct TargetGroup {
    /// Zero: it has none yet, and is in no table.
    id: u16,
    state: AccessState,
    preferred: bool,
    /// Its targets, with the identifiers that those of other nodes were given.
    targets: BTreeMap<String, u16>,
}

impl Group {
    fn new(name: &str) -> Self {
        let alua = DeviceGroup::new(name);
        // Who takes a group apart on a node that stands by must not take the device by it.
        alua.set_ungrouped_opens(false);
        Self {
            alua,
            state: Mutex::default(),
        }
    }

    pub(super) fn has(&self, device: &str) -> bool {
        self.state.lock().devices.contains_key(device)
    }

    /// The name of the target group with this identifier.
    pub(super) fn target_group(&self, id: u16) -> Option<String> {
        let state = self.state.lock();
        let mut groups = state.target_groups.iter();
        let found = groups.find(|(_, group)| group.id == id && id != 0);
        found.map(|(name, _)| name.clone())
    }

    /// The state in which a target group is now, which an initiator may have changed.
    pub(super) fn state_of(&self, target_group: &str) -> Option<AccessState> {
        let group = self.state.lock().target_groups.get(target_group).cloned()?;
        let actual = self.alua.target_port_groups();
        let actual = actual.iter().find(|actual| actual.id() == group.id);
        Some(actual.map_or(group.state, TargetPortGroup::state))
    }

    /// Puts what a device has become into the place of what it was, which the caller takes out by [`Group::leave`].
    pub(super) fn admit(&self, parts: &Parts) -> Done {
        joined(self.alua.add_unit(&parts.access))
    }

    /// Takes out what a device was, as it is.
    pub(super) fn leave(&self, parts: &Parts) {
        if let Err(error) = self.alua.release_unit(&parts.access) {
            tracing::error!(%error, "a device is not in its group");
        }
    }

    /// Changes the target groups. `local` gives the identifiers of the targets of this node.
    fn change(
        &self,
        local: &dyn Fn(&str) -> Option<u16>,
        edit: impl FnOnce(&mut State) -> Done,
    ) -> Done {
        let mut state = self.state.lock().clone();
        let before = self.alua.target_port_groups();
        for group in state.target_groups.values_mut() {
            if let Some(actual) = before.iter().find(|actual| actual.id() == group.id) {
                group.state = actual.state();
            }
        }
        edit(&mut state)?;
        let groups = state.target_groups.values();
        let after = groups.filter_map(|group| group.wanted(local)).collect();
        let set = self.alua.set_target_port_groups(after);
        if let Err(error @ AluaError::Activate { .. }) = &set
            && let Err(again) = self.alua.set_target_port_groups(before)
        {
            tracing::error!(%error, %again, "the target groups are not as they were");
        }
        joined(set)?;
        *self.state.lock() = state;
        Ok(())
    }

    /// A target of this node came, went, or has another identifier.
    pub(super) fn settle(&self, local: &dyn Fn(&str) -> Option<u16>) -> Done {
        self.change(local, |_| Ok(()))
    }

    /// Whether one of its target groups has this target.
    pub(super) fn names(&self, target: &str) -> bool {
        let state = self.state.lock();
        let mut groups = state.target_groups.values();
        groups.any(|group| group.targets.keys().any(|name| same(name, target)))
    }
}

impl Registry {
    /// The access states that are in force and that `model` does not have. One that is only passed through is not told.
    pub(super) fn states_set(&self, model: &Model) -> Vec<Change> {
        let mut set = Vec::new();
        for (name, device_group) in model.tree().root().of(Kind::DeviceGroup) {
            let Some(group) = self.group(name.name()) else {
                continue;
            };
            for (key, _) in device_group.of(Kind::TargetGroup) {
                let path = Path::root().with(name.clone()).with(key.clone());
                let now = group.state_of(key.name());
                let now = now.filter(|state| *state != AccessState::Transitioning);
                let Some(now) = now.map(|state| state.to_string()) else {
                    continue;
                };
                if model.value(&path, "state").as_ref() != Some(&now) {
                    set.push(Change::Set {
                        path,
                        attribute: "state".to_owned(),
                        values: vec![now],
                    });
                }
            }
        }
        set
    }
}

impl State {
    fn group(&mut self, name: &str) -> Result<&mut TargetGroup, Failure> {
        let group = self.target_groups.get_mut(name);
        group.ok_or_else(|| missing(format_args!("the target group {name}")))
    }
}

impl TargetGroup {
    /// What is to be in the table.
    fn wanted(&self, local: &dyn Fn(&str) -> Option<u16>) -> Option<TargetPortGroup> {
        let group = TargetPortGroup::new(self.id)
            .in_state(self.state)
            .preferring(self.preferred);
        let port = |(target, remote): (&String, &u16)| match (local(target), *remote) {
            (Some(port), _) => Some(TargetPort::Local(port)),
            (None, 0) => None,
            (None, relative_port) => Some(TargetPort::Remote {
                target: target.clone(),
                relative_port,
            }),
        };
        let ports = self.targets.iter().filter_map(port);
        (self.id != 0).then(|| ports.fold(group, TargetPortGroup::with))
    }
}

/// Names of iSCSI are the same in upper and lower case.
pub(super) fn same(one: &str, other: &str) -> bool {
    one.eq_ignore_ascii_case(other)
}

/// A store that was not closed cleanly is closed all the same, and what was asked for is done.
fn joined(result: Result<(), AluaError>) -> Done {
    match result {
        Err(error @ AluaError::Deactivate { .. }) => {
            tracing::error!(%error, "an access state was changed");
            Ok(())
        }
        other => other.map_err(failure),
    }
}

impl Live {
    fn group(&self, path: &Path) -> Result<std::sync::Arc<Group>, Failure> {
        let name = path.name_of(Kind::DeviceGroup).unwrap_or_default();
        let group = self.registry.group(name);
        group.ok_or_else(|| missing(format_args!("the device group {name}")))
    }

    pub(super) fn create_group(&mut self, path: &Path) -> Done {
        let group = Group::new(path.name());
        if let Some(program) = &self.settings.on_stpg {
            let script = StpgScript::new(program, &self.registry);
            group.alua.set_agent(Some(std::sync::Arc::new(script)));
        }
        self.registry.add_group(path.name(), group);
        Ok(())
    }

    pub(super) fn remove_group(&mut self, path: &Path) -> Done {
        self.registry.remove_group(path.name());
        Ok(())
    }

    pub(super) fn create_group_device(&mut self, path: &Path) -> Done {
        let group = self.group(path)?;
        let parts = self.device(path.name())?.parts();
        let was_open = parts.disk.is_active();
        joined(group.alua.add_unit(&parts.access))?;
        let mut state = group.state.lock();
        state.devices.insert(path.name().to_owned(), was_open);
        Ok(())
    }

    /// A device that leaves its group closed stays so, unless it came open and can be opened again.
    pub(super) fn remove_group_device(&mut self, path: &Path) -> Done {
        let group = self.group(path)?;
        let parts = self.device(path.name())?.parts();
        let released = group.alua.release_unit(&parts.access);
        released.map_err(failure)?;
        let was_open = group.state.lock().devices.remove(path.name());
        if was_open == Some(true)
            && let Err(error) = parts.disk.reactivate()
        {
            tracing::warn!(device = path.name(), %error, "stays closed");
        }
        Ok(())
    }

    pub(super) fn create_target_group(
        &mut self,
        path: &Path,
        given: &Attributes,
        model: &Model,
    ) -> Done {
        let wanted = Wanted { path, given, model };
        let group = TargetGroup {
            id: wanted.number("group_id").unwrap_or(0),
            state: state(&wanted)?,
            preferred: wanted.flag("preferred"),
            targets: BTreeMap::new(),
        };
        self.change_group(path, |state| {
            state.target_groups.insert(path.name().to_owned(), group);
            Ok(())
        })
    }

    pub(super) fn remove_target_group(&mut self, path: &Path) -> Done {
        self.change_group(path, |state| {
            state.target_groups.remove(path.name());
            Ok(())
        })
    }

    pub(super) fn set_target_group(
        &mut self,
        path: &Path,
        name: &str,
        values: &[String],
        model: &Model,
    ) -> Done {
        let given = Attributes::from([(name.to_owned(), values.to_vec())]);
        let wanted = Wanted {
            path,
            given: &given,
            model,
        };
        self.change_group(path, |all| {
            let group = all.group(path.name())?;
            match name {
                "group_id" => group.id = wanted.number(name).unwrap_or(0),
                "preferred" => group.preferred = wanted.flag(name),
                "state" => group.state = state(&wanted)?,
                _ => {}
            }
            Ok(())
        })
    }

    /// A target of a target group comes, or a remote one has another identifier.
    pub(super) fn put_group_target(
        &mut self,
        path: &Path,
        given: &Attributes,
        model: &Model,
    ) -> Done {
        let remote = Wanted { path, given, model }.number("rel_tgt_id");
        self.change_group(path, |state| {
            let group = state.group(path.name_of(Kind::TargetGroup).unwrap_or_default())?;
            let targets = &mut group.targets;
            targets.insert(path.name().to_owned(), remote.unwrap_or(0));
            Ok(())
        })
    }

    pub(super) fn remove_group_target(&mut self, path: &Path) -> Done {
        self.change_group(path, |state| {
            let group = state.group(path.name_of(Kind::TargetGroup).unwrap_or_default())?;
            group.targets.remove(path.name());
            Ok(())
        })
    }

    fn change_group(&self, path: &Path, edit: impl FnOnce(&mut State) -> Done) -> Done {
        let registry = &self.registry;
        self.group(path)?
            .change(&|target| registry.local_port(target), edit)
    }
}

fn state(wanted: &Wanted<'_>) -> Result<AccessState, Failure> {
    let text = wanted.text("state").unwrap_or_default();
    text.parse().map_err(failure)
}
