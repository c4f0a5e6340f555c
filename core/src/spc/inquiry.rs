//! INQUIRY (SPC-4 6.6) and the vital product data that every device has (7.8).

use crate::designator::{Association, Designator, DesignatorKind};
use crate::lu::LogicalUnit;
use crate::nexus::Nexus;
use crate::sense::Sense;
use crate::transport_id::{ProtocolId, TransportId};

/// Length of the standard data: up to and with eight version descriptors.
const STANDARD_LEN: usize = 74;
/// SPC-4.
const VERSION: u8 = 0x06;
const SAM_4: u16 = 0x0080;
const SPC_4: u16 = 0x0460;
const ISCSI: u16 = 0x0960;
const SRP: u16 = 0x0940;

/// Standard data or a VPD page.
pub(super) fn respond(
    unit: &LogicalUnit,
    nexus: &Nexus,
    vpd: Option<u8>,
) -> Result<Vec<u8>, Sense> {
    let handler = &**unit.handler();
    let body = match vpd {
        None => return Ok(standard(unit, nexus)),
        Some(0x00) => pages(unit),
        Some(0x80) => ascii(&handler.identity().serial, handler.identity().serial.len()),
        Some(0x83) => designators(unit, nexus),
        Some(0x86) => extended(unit),
        Some(page) => {
            let of_service = unit.services().iter().find_map(|s| s.vpd(page, nexus));
            of_service
                .or_else(|| handler.vpd(page))
                .ok_or(Sense::invalid_field_in_cdb(2, None))?
        }
    };
    let len = u16::try_from(body.len()).unwrap_or(u16::MAX).to_be_bytes();
    // The peripheral qualifier, which a service may have set, is that of the standard data.
    let first = standard(unit, nexus).first().copied().unwrap_or_default();
    let mut data = vec![first, vpd.unwrap_or_default(), len[0], len[1]];
    data.extend_from_slice(&body);
    Ok(data)
}

/// Standard data for a LUN that could have a unit but has none (6.6.2: qualifier 011b, type 1Fh).
pub(super) fn absent() -> Vec<u8> {
    let mut data = vec![0; 36];
    data[0] = 0x7F;
    data[2] = VERSION;
    data[3] = 0x02;
    data[4] = 36 - 5;
    data[8..36].fill(b' ');
    data
}

fn standard(unit: &LogicalUnit, nexus: &Nexus) -> Vec<u8> {
    let handler = unit.handler();
    let (profile, identity) = (handler.profile(), handler.identity());
    let mut data = vec![0; STANDARD_LEN];
    data[0] = profile.device_type;
    data[1] = u8::from(profile.removable) << 7;
    data[2] = VERSION;
    data[3] = 0x20 | 0x10 | 0x02; // NORMACA, HISUP, response data format 2
    data[4] = (STANDARD_LEN - 5) as u8;
    data[6] = 0x10; // MULTIP
    data[7] = 0x02; // CMDQUE
    data[8..16].copy_from_slice(&ascii(&identity.vendor, 8));
    data[16..32].copy_from_slice(&ascii(&identity.product, 16));
    data[32..36].copy_from_slice(&ascii(&identity.revision, 4));
    let transport = match nexus.initiator {
        TransportId::Srp { .. } => SRP,
        _ => ISCSI,
    };
    let versions = [SAM_4, transport, SPC_4]
        .into_iter()
        .chain(profile.version_descriptors);
    for (slot, version) in data[58..].chunks_exact_mut(2).zip(versions) {
        slot.copy_from_slice(&version.to_be_bytes());
    }
    put_vendor_specific(&mut data, &handler.vendor_specific());
    for service in unit.services() {
        service.inquiry(nexus, &mut data);
    }
    data
}

/// Bytes 36 to 55, and from 96 on what does not fit there.
fn put_vendor_specific(data: &mut Vec<u8>, bytes: &[u8]) {
    let (first, more) = bytes.split_at(bytes.len().min(20));
    data[36..36 + first.len()].copy_from_slice(first);
    if !more.is_empty() {
        let most = usize::from(u8::MAX) + 5 - 96;
        data.resize(96, 0);
        data.extend_from_slice(&more[..more.len().min(most)]);
        data[4] = u8::try_from(data.len() - 5).unwrap_or(u8::MAX);
    }
}

fn pages(unit: &LogicalUnit) -> Vec<u8> {
    let mut pages = vec![0x00, 0x80, 0x83, 0x86];
    pages.extend(unit.handler().vpd_pages());
    unit.services()
        .iter()
        .for_each(|service| pages.extend(service.vpd_pages()));
    pages.sort_unstable();
    pages.dedup();
    pages
}

fn designators(unit: &LogicalUnit, nexus: &Nexus) -> Vec<u8> {
    let mut data = Vec::new();
    unit.handler()
        .identity()
        .designators
        .iter()
        .for_each(|d| d.emit(&mut data));
    for service in unit.services() {
        service
            .designators(nexus)
            .iter()
            .for_each(|d| d.emit(&mut data));
    }
    let relative = nexus.target.relative_port();
    let protocol = match nexus.initiator {
        TransportId::Srp { .. } => ProtocolId::SRP,
        _ => ProtocolId::ISCSI,
    };
    let mut add = |association, kind| {
        Designator {
            association,
            protocol: Some(protocol),
            kind,
        }
        .emit(&mut data)
    };
    add(
        Association::TargetPort,
        DesignatorKind::RelativeTargetPort(relative),
    );
    if protocol == ProtocolId::ISCSI {
        // RFC 7143 4.4.3.2: the port is the name, ",t," and the portal group tag.
        let port = format!("{},t,0x{relative:04x}", nexus.target.name());
        add(Association::TargetPort, DesignatorKind::ScsiName(port));
        add(
            Association::TargetDevice,
            DesignatorKind::ScsiName(nexus.target.name().to_owned()),
        );
    }
    data
}

/// Extended INQUIRY data (7.8.7).
fn extended(unit: &LogicalUnit) -> Vec<u8> {
    let mut data = vec![0; 60];
    data[1] = 0x07; // HEADSUP, ORDSUP, SIMPSUP
    data[2] = u8::from(unit.handler().volatile_cache()); // V_SUP
    data[3] = 0x01; // LUICLR: unit attentions of REPORT LUNS and the like are cleared
    for service in unit.services() {
        service.extended_inquiry(&mut data);
    }
    data
}

/// `text` in printable ASCII, padded with spaces or cut to `len`.
fn ascii(text: &str, len: usize) -> Vec<u8> {
    let printable = text
        .bytes()
        .map(|b| if (0x20..0x7F).contains(&b) { b } else { b'?' });
    printable.chain(std::iter::repeat(b' ')).take(len).collect()
}
