//! What is there now. The machine alone changes it; reports look at it, and wait for nothing that a change waits for.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Instant;

use lunforge::LogicalUnit;
use lunforge::core::shard::ShardHandle;
use lunforge::iscsi::IscsiAttachment;
use parking_lot::RwLock;

use super::device::Device;
use super::group::Group;
use super::srp::Srp;
use super::target::Target;
use crate::tree::Path;

/// See the module's head. Its lock is held for a few instructions, and no other is taken under it.
#[derive(Debug)]
pub struct Registry {
    all: RwLock<All>,
    pub(super) iscsi: Arc<IscsiAttachment>,
    pub(super) srp: Arc<Srp>,
    pub(super) shards: Arc<[ShardHandle]>,
    pub(super) started: Instant,
}

#[derive(Debug, Default)]
struct All {
    devices: BTreeMap<String, Arc<Device>>,
    targets: BTreeMap<Path, Arc<Target>>,
    /// Targets of this node by name in lower case, and by the identifiers of their ports.
    local: HashMap<String, Arc<Target>>,
    ports: BTreeMap<u16, Arc<Target>>,
    groups: BTreeMap<String, Arc<Group>>,
    /// Which device a LUN is.
    luns: HashMap<Path, String>,
}

impl Registry {
    pub(super) fn new(
        iscsi: Arc<IscsiAttachment>,
        srp: Arc<Srp>,
        shards: Arc<[ShardHandle]>,
    ) -> Self {
        Self {
            all: RwLock::default(),
            iscsi,
            srp,
            shards,
            started: Instant::now(),
        }
    }

    pub(super) fn device(&self, name: &str) -> Option<Arc<Device>> {
        self.all.read().devices.get(name).cloned()
    }

    pub(super) fn devices(&self) -> Vec<Arc<Device>> {
        self.all.read().devices.values().cloned().collect()
    }

    pub(super) fn add_device(&self, device: Device) {
        let (name, device) = (device.name.clone(), Arc::new(device));
        self.all.write().devices.insert(name, device);
    }

    pub(super) fn remove_device(&self, name: &str) {
        self.all.write().devices.remove(name);
    }

    /// The name of the device with this unit.
    pub(super) fn device_of(&self, unit: &LogicalUnit) -> Option<String> {
        let devices = self.devices();
        let mut devices = devices.iter();
        let found = devices.find(|device| *device.parts().unit == *unit);
        found.map(|device| device.name.clone())
    }

    pub(super) fn target(&self, path: &Path) -> Option<Arc<Target>> {
        self.all.read().targets.get(path).cloned()
    }

    pub(super) fn targets(&self) -> Vec<(Path, Arc<Target>)> {
        let all = self.all.read();
        let targets = all.targets.iter();
        targets
            .map(|(path, t)| (path.clone(), Arc::clone(t)))
            .collect()
    }

    /// Those that initiators can reach: not the copy manager's.
    pub(super) fn reachable(&self) -> Vec<(Path, Arc<Target>)> {
        let mut targets = self.targets();
        targets.retain(|(_, target)| target.core.is_some());
        targets
    }

    pub(super) fn add_target(&self, path: &Path, target: Target) {
        let target = Arc::new(target);
        let all = &mut *self.all.write();
        if let Some(port) = target.port() {
            let name = target.name.to_ascii_lowercase();
            all.local.insert(name, Arc::clone(&target));
            all.ports.insert(port, Arc::clone(&target));
        }
        all.targets.insert(path.clone(), target);
    }

    pub(super) fn remove_target(&self, path: &Path) {
        let all = &mut *self.all.write();
        if let Some(target) = all.targets.remove(path)
            && let Some(port) = target.port()
        {
            all.local.remove(&target.name.to_ascii_lowercase());
            all.ports.remove(&port);
        }
    }

    /// The target with this relative identifier.
    pub(super) fn target_at(&self, port: u16) -> Option<Arc<Target>> {
        self.all.read().ports.get(&port).cloned()
    }

    pub(super) fn move_port(&self, target: &Arc<Target>, from: u16, to: u16) {
        let all = &mut *self.all.write();
        all.ports.remove(&from);
        all.ports.insert(to, Arc::clone(target));
    }

    /// The highest relative identifier that no target has: those that are given begin at the other end.
    pub(super) fn free_port(&self, but: u16) -> Option<u16> {
        let all = self.all.read();
        (1..=u16::MAX)
            .rev()
            .find(|port| *port != but && !all.ports.contains_key(port))
    }

    /// The relative identifier of a target of this node.
    pub(super) fn local_port(&self, target: &str) -> Option<u16> {
        let all = self.all.read();
        all.local.get(&target.to_ascii_lowercase())?.port()
    }

    pub(super) fn group(&self, name: &str) -> Option<Arc<Group>> {
        self.all.read().groups.get(name).cloned()
    }

    pub(super) fn groups(&self) -> Vec<Arc<Group>> {
        self.all.read().groups.values().cloned().collect()
    }

    pub(super) fn add_group(&self, name: &str, group: Group) {
        let group = Arc::new(group);
        self.all.write().groups.insert(name.to_owned(), group);
    }

    pub(super) fn remove_group(&self, name: &str) {
        self.all.write().groups.remove(name);
    }

    /// The device group that a device is in.
    pub(super) fn group_of(&self, device: &str) -> Option<Arc<Group>> {
        let groups = self.groups();
        groups.into_iter().find(|group| group.has(device))
    }

    pub(super) fn add_lun(&self, path: &Path, device: &str) {
        self.all
            .write()
            .luns
            .insert(path.clone(), device.to_owned());
    }

    /// The device that it was.
    pub(super) fn remove_lun(&self, path: &Path) -> Option<String> {
        self.all.write().luns.remove(path)
    }
}
