//! REPORT LUNS (SPC-4 6.33).

use crate::lun::{AddressMethod, Lun, LunAddress};
use crate::nexus::Nexus;
use crate::sense::Sense;

/// Whether REPORT LUNS is answered at this LUN although no unit is there.
pub(super) fn answers_at(lun: [u8; 8]) -> bool {
    let address = LunAddress::parse(lun);
    address == LunAddress::REPORT_LUNS || address.resolve().is_some_and(|lun| lun.number() == 0)
}

/// The list for a SELECT REPORT code; that it has changed is told then, on every unit of the nexus (SPC-4 6.33).
pub(super) fn respond(nexus: &Nexus, select: u8) -> Result<Vec<u8>, Sense> {
    let list = match select {
        0x00 | 0x02 => true,
        // Well known units only: none answers anything but REPORT LUNS itself, so none is listed.
        0x01 => false,
        _ => return Err(Sense::invalid_field_in_cdb(2, None)),
    };
    let map = nexus.view.report_map();
    let luns: Vec<[u8; 8]> = map
        .keys()
        .filter(|_| list)
        .filter_map(|&number| Lun::new(number.into()))
        .map(|lun| lun.address(AddressMethod::Peripheral).emit())
        .collect();
    let mut data = Vec::with_capacity(8 + 8 * luns.len());
    data.extend_from_slice(
        &u32::try_from(8 * luns.len())
            .unwrap_or(u32::MAX)
            .to_be_bytes(),
    );
    data.extend_from_slice(&[0; 4]);
    luns.iter().for_each(|lun| data.extend_from_slice(lun));
    Ok(data)
}
