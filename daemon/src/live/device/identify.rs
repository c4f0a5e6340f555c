//! Identities of devices.

use lunforge::core::handler::Identity;

use super::super::identity::{derived, identity};
use super::super::wanted::Wanted;
use super::super::{Live, failure::failure};
use super::Device;
use crate::manage::{Failure, Model};
use crate::tree::Path;

/// Attributes by which initiators know a device.
pub(super) const IDENTIFIES: [&str; 9] = [
    "t10_vend_id",
    "t10_dev_id",
    "usn",
    "prod_id",
    "prod_rev_lvl",
    "vend_specific_id",
    "scsi_device_name",
    "naa_id",
    "eui64_id",
];

impl Live {
    /// Notes what a device that is about to be made is known by. [`Live::forget_identity`] is the way back.
    pub(super) fn note_identity(&mut self, wanted: &Wanted<'_>) -> Identity {
        if let Some(eui64) = derived(wanted) {
            let other = self.derived.add(eui64, wanted.name());
            self.identify_other(other, wanted.model);
        }
        identity(wanted, &self.derived)
    }

    /// Forgets the designator of a device that is no more.
    pub(super) fn forget_identity(&mut self, eui64: Option<[u8; 8]>, name: &str, model: &Model) {
        if let Some(eui64) = eui64 {
            let other = self.derived.remove(eui64, name);
            self.identify_other(other, model);
        }
    }

    /// Gives a device the identity that its attributes say now.
    pub(super) fn identify(&mut self, device: &Device, model: &Model) -> Result<(), Failure> {
        let path = Path::device(&device.name).map_err(failure)?;
        let given = device.given();
        let wanted = Wanted {
            path: &path,
            given: &given,
            model,
        };
        let before = device.state.lock().derived;
        let now = derived(&wanted);
        if before != now {
            self.forget_identity(before, &device.name, model);
        }
        let identity = self.note_identity(&wanted);
        device.state.lock().derived = now;
        self.put_identity(device, identity)
    }

    /// All devices: what they are known by follows from an attribute of the root.
    pub(in super::super) fn identify_all(&mut self, model: &Model) -> Result<(), Failure> {
        for device in self.registry.devices() {
            self.identify(&device, model)?;
        }
        Ok(())
    }

    /// Another device got or lost the designator that they would share.
    fn identify_other(&mut self, other: Option<String>, model: &Model) {
        let Some(device) = other.and_then(|name| self.registry.device(&name)) else {
            return;
        };
        tracing::warn!(
            device = device.name,
            "its t10_dev_id begins like that of another device: give both an eui64_id or naa_id"
        );
        let Ok(path) = Path::device(&device.name) else {
            return;
        };
        let given = device.given();
        let wanted = Wanted {
            path: &path,
            given: &given,
            model,
        };
        if let Err(error) = self.put_identity(&device, identity(&wanted, &self.derived)) {
            tracing::error!(device = device.name, %error, "has an identification no more");
        }
    }

    fn put_identity(&self, device: &Device, identity: Identity) -> Result<(), Failure> {
        let parts = device.parts();
        parts.disk.set_identity(identity).map_err(failure)?;
        for target in device.targets() {
            target.identities_changed();
        }
        Ok(())
    }
}
