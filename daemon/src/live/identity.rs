//! By what initiators know a device: as SCST tells it, so that they find the same one after a move.

use std::collections::{BTreeSet, HashMap};

use lunforge::core::designator::{Association, Designator, DesignatorKind};
use lunforge::core::handler::Identity;

use super::wanted::Wanted;

/// EUI-64 designators that follow from the beginning of `t10_dev_id`, with the devices that would have them. One that
/// several would have is given to none of them: it is no identification, and whoever has it first must not depend on
/// the order in which devices are made.
#[derive(Debug, Default)]
pub(super) struct Derived(HashMap<[u8; 8], BTreeSet<String>>);

impl Derived {
    /// Notes a device. The one that had the designator alone until now is named: it is to lose it.
    pub(super) fn add(&mut self, eui64: [u8; 8], device: &str) -> Option<String> {
        let devices = self.0.entry(eui64).or_default();
        let before = (devices.len() == 1).then(|| devices.first().cloned());
        devices.insert(device.to_owned());
        before.flatten().filter(|before| before != device)
    }

    /// Forgets a device. The one that has the designator alone from now on is named: it is to get it.
    pub(super) fn remove(&mut self, eui64: [u8; 8], device: &str) -> Option<String> {
        let devices = self.0.get_mut(&eui64)?;
        let was_there = devices.remove(device);
        match devices.len() {
            0 => {
                self.0.remove(&eui64);
                None
            }
            1 if was_there => devices.first().cloned(),
            _ => None,
        }
    }

    fn is_alone(&self, eui64: [u8; 8], device: &str) -> bool {
        let devices = self.0.get(&eui64);
        devices.is_some_and(|devices| devices.len() == 1 && devices.contains(device))
    }
}

/// The EUI-64 that follows from `t10_dev_id`, unless the device was given another designator for that purpose.
pub(super) fn derived(wanted: &Wanted<'_>) -> Option<[u8; 8]> {
    if wanted.some("eui64_id").is_some() || wanted.some("naa_id").is_some() {
        return None;
    }
    let mut eui64 = [0; 8];
    let id = wanted.some("t10_dev_id")?;
    for (to, from) in eui64.iter_mut().zip(id.bytes()) {
        *to = from;
    }
    Some(eui64)
}

/// The identity of a device, which is noted in `others`.
pub(super) fn identity(wanted: &Wanted<'_>, others: &Derived) -> Identity {
    let text = |name| wanted.text(name).unwrap_or_default();
    let vendor = text("t10_vend_id");
    let id = wanted.some("vend_specific_id");
    let id = id.unwrap_or_else(|| text("t10_dev_id"));
    let mut designators = vec![Designator::t10_vendor_id(&vendor, &id)];
    if let Some(name) = wanted.some("scsi_device_name") {
        designators.push(Designator {
            association: Association::TargetDevice,
            protocol: None,
            kind: DesignatorKind::ScsiName(name),
        });
    }
    let eui64 = wanted.some("eui64_id").and_then(|digits| eui64(&digits));
    let eui64 = eui64.or_else(|| {
        let alone = derived(wanted).filter(|eui64| others.is_alone(*eui64, wanted.name()));
        alone.map(DesignatorKind::Eui64)
    });
    let naa = wanted.some("naa_id").and_then(|digits| naa(&digits));
    designators.extend(eui64.into_iter().chain(naa).map(Designator::logical_unit));
    Identity {
        product: text("prod_id"),
        revision: text("prod_rev_lvl"),
        serial: text("usn"),
        vendor,
        designators,
    }
}

fn eui64(digits: &str) -> Option<DesignatorKind> {
    let bytes = u128::from_str_radix(digits, 16).ok()?.to_be_bytes();
    let bytes = bytes.get(16_usize.checked_sub(digits.len() / 2)?..)?;
    match digits.len() {
        16 => bytes.try_into().ok().map(DesignatorKind::Eui64),
        24 => bytes.try_into().ok().map(DesignatorKind::Eui64Directory),
        32 => bytes.try_into().ok().map(DesignatorKind::Eui64Extended),
        _ => None,
    }
}

fn naa(digits: &str) -> Option<DesignatorKind> {
    match digits.len() {
        16 => u64::from_str_radix(digits, 16)
            .ok()
            .map(DesignatorKind::Naa),
        32 => u128::from_str_radix(digits, 16)
            .ok()
            .map(DesignatorKind::NaaExtended),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manage::Model;
    use crate::tree::{Attributes, Path};

    fn of(name: &str, given: &[(&str, &str)], others: &mut Derived) -> Identity {
        let path = Path::device(name).unwrap();
        let mut attributes = Attributes::new();
        for (name, value) in [("handler", "vdisk_blockio")].iter().chain(given) {
            attributes.insert((*name).to_owned(), vec![(*value).to_owned()]);
        }
        let wanted = Wanted {
            path: &path,
            given: &attributes,
            model: &Model::new(),
        };
        if let Some(eui64) = derived(&wanted) {
            others.add(eui64, name);
        }
        identity(&wanted, others)
    }

    fn page(identity: &Identity) -> Vec<u8> {
        let mut page = Vec::new();
        identity.designators.iter().for_each(|d| d.emit(&mut page));
        page
    }

    #[test]
    fn without_identification_a_device_has_that_of_its_name() {
        let vg1 = of("vg1", &[], &mut Derived::default());
        assert_eq!(vg1.serial, "509f7d73");
        assert_eq!((&*vg1.vendor, &*vg1.product), ("SCST_BIO", "vg1"));
        let t10 = b"\x02\x01\x00\x14SCST_BIO509f7d73-vg1";
        let eui64 = b"\x01\x02\x00\x08509f7d73";
        assert_eq!(page(&vg1), [&t10[..], &eui64[..]].concat());
    }

    #[test]
    fn designators_that_were_given_take_the_place_of_the_one_that_follows() {
        let given = [
            ("t10_dev_id", "id"),
            ("vend_specific_id", "vs"),
            ("naa_id", "6001405ab00000000000000000000001"),
        ];
        let naa = page(&of("d", &given, &mut Derived::default()));
        let mut wanted = b"\x02\x01\x00\x0aSCST_BIOvs\x01\x03\x00\x10".to_vec();
        wanted.extend(0x6001_405a_b000_0000_0000_0000_0000_0001_u128.to_be_bytes());
        assert_eq!(naa, wanted);
        let given = [("eui64_id", "0011223344556677"), ("scsi_device_name", "n")];
        let both = of("d", &given, &mut Derived::default()).designators;
        assert_eq!(both.len(), 3);
        assert_eq!(both[1].association, Association::TargetDevice);
        let eui64 = [0x00, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77];
        assert_eq!(both[2].kind, DesignatorKind::Eui64(eui64));
    }

    #[test]
    fn a_beginning_that_two_devices_share_identifies_neither() {
        let mut others = Derived::default();
        let one = [("t10_dev_id", "AMHDSK-061031-03")];
        assert_eq!(of("a", &one, &mut others).designators.len(), 2);
        let other = [("t10_dev_id", "AMHDSK-061031-04")];
        assert_eq!(of("b", &other, &mut others).designators.len(), 1);
        assert_eq!(of("a", &one, &mut others).designators.len(), 1);
        let eui64 = *b"AMHDSK-0";
        assert_eq!(others.add(eui64, "c"), None);
        assert_eq!(others.remove(eui64, "c"), None);
        assert_eq!(others.remove(eui64, "b").as_deref(), Some("a"));
        assert_eq!(others.add(eui64, "b").as_deref(), Some("a"));
    }
}
