//! CSCD descriptors (SPC-4 6.4.5): which units a copy reads and writes.

use super::parameter_list::{be16, length_error, reserved};
use crate::asc::Asc;
use crate::designator::{Association, Designator};
use crate::lu::LogicalUnit;
use crate::nexus::Nexus;
use crate::sense::Sense;

/// Longest designator that an identification descriptor holds, in bytes.
const MAX_DESIGNATOR: usize = 20;
/// Peripheral device types with logical blocks: their descriptors have PAD and DISK BLOCK LENGTH (SPC-4 6.4.5).
pub(super) const BLOCK_TYPES: [u8; 5] = [0x00, 0x04, 0x05, 0x07, 0x0E];

/// An identification descriptor CSCD descriptor (SPC-4 6.4.5). LU ID TYPE and NUL are obsolete and ignored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cscd {
    /// PERIPHERAL DEVICE TYPE that the unit must have.
    pub device_type: u8,
    /// RELATIVE INITIATOR PORT IDENTIFIER; our copies go through no port.
    pub relative_initiator_port: u16,
    /// CODE SET.
    pub code_set: u8,
    /// ASSOCIATION.
    pub association: u8,
    /// DESIGNATOR TYPE.
    pub designator_type: u8,
    /// DESIGNATOR, up to 20 bytes.
    pub designator: Vec<u8>,
    /// Device type specific parameters: for block devices PAD in the first byte, DISK BLOCK LENGTH in the others.
    pub device_specific: [u8; 4],
}

impl Cscd {
    /// EXTENDED COPY descriptor type code of the one kind of descriptor there is.
    pub const TYPE: u8 = 0xE4;
    /// Length of a descriptor in bytes.
    pub const LEN: usize = 32;

    /// Place of DISK BLOCK LENGTH in a descriptor.
    pub(super) const BLOCK_LENGTH_AT: usize = 29;

    /// Reads the descriptors of a list; `base` is its place in the parameter list.
    pub(super) fn parse_all(list: &[u8], base: usize) -> Result<Vec<Self>, Sense> {
        let (descriptors, rest) = list.as_chunks::<{ Self::LEN }>();
        if !rest.is_empty() {
            return Err(length_error());
        }
        let each = descriptors.iter().enumerate();
        each.map(|(n, descriptor)| Self::parse(descriptor, base + n * Self::LEN))
            .collect()
    }

    fn parse(bytes: &[u8; Self::LEN], base: usize) -> Result<Self, Sense> {
        if bytes[0] != Self::TYPE {
            return Err(Sense::illegal_request(
                Asc::UNSUPPORTED_TARGET_DESCRIPTOR_TYPE_CODE,
            ));
        }
        reserved(bytes, base, 4, &[0xF0, 0xC0, 0xFF])?;
        let len = usize::from(bytes[7]);
        if len > MAX_DESIGNATOR {
            return Err(super::parameter_list::invalid(base + 7, None));
        }
        let device_type = bytes[1] & 0x1F;
        if BLOCK_TYPES.contains(&device_type) {
            reserved(bytes, base, 28, &[0xFB])?;
        }
        Ok(Self {
            device_type,
            relative_initiator_port: be16(bytes, 2),
            code_set: bytes[4] & 0x0F,
            association: bytes[5] >> 4 & 0x03,
            designator_type: bytes[5] & 0x0F,
            designator: bytes[8..8 + len].to_vec(),
            device_specific: [bytes[28], bytes[29], bytes[30], bytes[31]],
        })
    }

    pub(super) fn emit(&self, out: &mut Vec<u8>) {
        let start = out.len();
        let port = self.relative_initiator_port.to_be_bytes();
        out.extend_from_slice(&[
            Self::TYPE,
            self.device_type & 0x1F,
            port[0],
            port[1],
            self.code_set & 0x0F,
            (self.association & 0x03) << 4 | self.designator_type & 0x0F,
            0,
            self.designator.len() as u8,
        ]);
        out.extend_from_slice(&self.designator);
        out.resize(start + Self::LEN - 4, 0);
        out.extend_from_slice(&self.device_specific);
    }

    /// DISK BLOCK LENGTH in bytes; zero where the initiator does not say.
    pub fn block_length(&self) -> u32 {
        let [_, high, middle, low] = self.device_specific;
        u32::from_be_bytes([0, high, middle, low])
    }

    /// Whether one of a unit's own designators is the one meant.
    fn names(&self, designators: &[u8]) -> bool {
        let mut rest = designators;
        while let Some((&[first, second, _, len], tail)) = rest.split_first_chunk() {
            let Some((body, next)) = tail.split_at_checked(len.into()) else {
                return false;
            };
            if first & 0x0F == self.code_set
                && second & 0x0F == self.designator_type
                && body == self.designator
            {
                return true;
            }
            rest = next;
        }
        false
    }

    /// Finds the units of `cscds` among those that the session may see: its LUNs. What else there is in
    /// the process is not looked at, so neither answer nor time tells of it.
    pub(super) fn resolve(cscds: &[Self], nexus: &Nexus) -> Vec<Option<Found>> {
        let mut found: Vec<Option<Found>> = vec![None; cscds.len()];
        for (lun, unit) in nexus.luns().iter() {
            if found.iter().all(Option::is_some) {
                break;
            }
            let designators = own_designators(unit, nexus);
            for (slot, cscd) in found.iter_mut().zip(cscds) {
                // 00b: the designator is the logical unit's. A port or a device is nothing to copy from.
                if slot.is_none() && cscd.association == 0 && cscd.names(&designators) {
                    *slot = Some(Found {
                        lun: *lun,
                        unit: std::sync::Arc::clone(unit),
                    });
                }
            }
        }
        found
    }
}

/// A unit where the session sees it.
#[derive(Debug, Clone)]
pub(super) struct Found {
    pub(super) lun: u16,
    pub(super) unit: std::sync::Arc<LogicalUnit>,
}

/// What VPD page 83h says of the logical unit itself.
fn own_designators(unit: &LogicalUnit, nexus: &Nexus) -> Vec<u8> {
    let mut out = Vec::new();
    let mut add = |designators: &[Designator]| {
        let own = |d: &&Designator| d.association == Association::LogicalUnit;
        designators
            .iter()
            .filter(own)
            .for_each(|d| d.emit(&mut out));
    };
    add(&unit.handler().identity().designators);
    for service in unit.services() {
        add(&service.designators(nexus));
    }
    out
}
