//! The Third-party Copy VPD page, 8Fh (SPC-4 7.8).

use super::receive;
use super::{CopyLimits, SUPPORTED};

/// Page code.
pub(super) const PAGE: u8 = 0x8F;

/// The body of the page, without its header.
pub(super) fn body(limits: &CopyLimits) -> Vec<u8> {
    let mut page = Vec::new();
    descriptor(&mut page, 0x0001, &supported_commands());
    descriptor(&mut page, 0x0004, &parameter_data(limits));
    let types = receive::implemented();
    let mut list = vec![types.len() as u8];
    list.extend_from_slice(&types);
    descriptor(&mut page, 0x0008, &list);
    // FFFFh beside the places in the CSCD descriptor list.
    descriptor(&mut page, 0x000C, &[0, 2, 0xFF, 0xFF]);
    descriptor(&mut page, 0x8001, &general_operations(limits));
    // Held Data: none, ever.
    descriptor(&mut page, 0xC001, &[0; 28]);
    page
}

/// A third-party copy descriptor: type, length, body padded to a multiple of four.
fn descriptor(page: &mut Vec<u8>, kind: u16, body: &[u8]) {
    let len = body.len().next_multiple_of(4);
    page.extend_from_slice(&kind.to_be_bytes());
    page.extend_from_slice(&(len as u16).to_be_bytes());
    page.extend_from_slice(body);
    page.resize(page.len() + len - body.len(), 0);
}

/// Each opcode with its service actions, behind the length of the list.
fn supported_commands() -> Vec<u8> {
    let mut list = Vec::new();
    for opcode in [0x83, 0x84] {
        let of_it = SUPPORTED.iter().map(|id| id.entry());
        let actions: Vec<u8> = of_it
            .filter(|entry| entry.opcode == opcode)
            .filter_map(|entry| u8::try_from(entry.service_action?).ok())
            .collect();
        list.extend_from_slice(&[opcode, actions.len() as u8]);
        list.extend_from_slice(&actions);
    }
    list.insert(0, list.len() as u8);
    list
}

fn parameter_data(limits: &CopyLimits) -> Vec<u8> {
    let mut body = vec![0; 4];
    body.extend_from_slice(&limits.cscd_descriptors.to_be_bytes());
    body.extend_from_slice(&limits.segment_descriptors.to_be_bytes());
    body.extend_from_slice(&(limits.descriptor_list_bytes() as u32).to_be_bytes());
    body.resize(28, 0); // MAXIMUM INLINE DATA LENGTH zero
    body
}

fn general_operations(limits: &CopyLimits) -> Vec<u8> {
    let mut body = u32::from(limits.copies).to_be_bytes().to_vec();
    body.extend_from_slice(&u32::from(limits.copies_per_session).to_be_bytes());
    body.extend_from_slice(&limits.segment_bytes.to_be_bytes());
    body.push(super::GRANULARITY);
    body.resize(32, 0);
    body
}
