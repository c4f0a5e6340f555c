//! REPORT SUPPORTED OPERATION CODES (SPC-4 6.35), answered from the opcode table.

use super::table::{self, CommandId, OpcodeEntry, TABLE};
use crate::deadline::Ladder;
use crate::sense::Sense;

/// Length of the command timeouts descriptor.
const TIMEOUTS_LEN: usize = 12;

/// The parameter data for the decoded fields of the command, before truncation to ALLOCATION LENGTH. `rctd`: with the
/// command timeouts descriptors of a unit that keeps these times.
///
/// # Errors
/// INVALID FIELD IN CDB for reserved REPORTING OPTIONS and for options that do not fit the opcode asked for.
pub fn respond(
    rctd: Option<&Ladder>,
    options: u8,
    opcode: u8,
    service_action: u16,
    supported: impl Fn(CommandId) -> bool,
) -> Result<Vec<u8>, Sense> {
    if options == 0 {
        Ok(emit_all(supported, rctd))
    } else {
        emit_one(supported, rctd, options, opcode, service_action)
    }
}

/// The all_commands format (REPORTING OPTIONS 000b): every supported command, ascending.
#[must_use]
pub fn emit_all(supported: impl Fn(CommandId) -> bool, rctd: Option<&Ladder>) -> Vec<u8> {
    let rows = || TABLE.iter().filter(|row| supported(row.id));
    let each = if rctd.is_some() { 8 + TIMEOUTS_LEN } else { 8 };
    let len = rows().count() * each;
    let mut out = Vec::with_capacity(4 + len);
    // The table is far smaller than 2^32 bytes.
    out.extend_from_slice(&u32::try_from(len).unwrap_or(u32::MAX).to_be_bytes());
    for row in rows() {
        let [sa_high, sa_low] = row.service_action.unwrap_or(0).to_be_bytes();
        let [len_high, len_low] = cdb_len(row);
        let flags = u8::from(row.service_action.is_some()) | if rctd.is_some() { 0x02 } else { 0 };
        out.extend_from_slice(&[row.opcode, 0, sa_high, sa_low, 0, flags, len_high, len_low]);
        if let Some(ladder) = rctd {
            out.extend_from_slice(&timeouts(row, ladder));
        }
    }
    out
}

/// The one_command format (REPORTING OPTIONS 001b, 010b, 011b).
///
/// # Errors
/// INVALID FIELD IN CDB, pointing at REPORTING OPTIONS, for 001b with an opcode that has service actions, for
/// 010b with one that has none, and for reserved options.
pub fn emit_one(
    supported: impl Fn(CommandId) -> bool,
    rctd: Option<&Ladder>,
    options: u8,
    opcode: u8,
    service_action: u16,
) -> Result<Vec<u8>, Sense> {
    let wrong_option = Err(Sense::invalid_field_in_cdb(2, Some(2)));
    let rows = table::rows(opcode);
    let has_actions = rows.iter().any(|row| row.service_action.is_some());
    let row = match options {
        1 if has_actions => return wrong_option,
        1 => table::find(opcode, None),
        2 if !has_actions && !rows.is_empty() => return wrong_option,
        2 => table::find(opcode, Some(service_action)),
        3 if has_actions => table::find(opcode, Some(service_action)),
        3 if service_action == 0 => table::find(opcode, None),
        3 => None,
        _ => return wrong_option,
    };
    Ok(match row.filter(|row| supported(row.id)) {
        Some(row) => one_command(row, rctd),
        // SUPPORT 001b: not supported; no CDB usage data follows.
        None => vec![0, 0x01, 0, 0],
    })
}

fn one_command(row: &OpcodeEntry, rctd: Option<&Ladder>) -> Vec<u8> {
    let [len_high, len_low] = cdb_len(row);
    // SUPPORT 011b: supported in conformance with the standard.
    let support = 0x03 | if rctd.is_some() { 0x80 } else { 0 };
    let mut out = Vec::with_capacity(4 + row.cdb_len() + TIMEOUTS_LEN);
    out.extend_from_slice(&[0, support, len_high, len_low]);
    out.extend_from_slice(row.usage);
    if let Some(ladder) = rctd {
        out.extend_from_slice(&timeouts(row, ladder));
    }
    out
}

fn cdb_len(row: &OpcodeEntry) -> [u8; 2] {
    u16::try_from(row.cdb_len())
        .unwrap_or(u16::MAX)
        .to_be_bytes()
}

fn timeouts(row: &OpcodeEntry, ladder: &Ladder) -> [u8; TIMEOUTS_LEN] {
    let mut out = [0; TIMEOUTS_LEN];
    out[1] = 0x0A;
    out[4..8].copy_from_slice(&row.timeouts.nominal.to_be_bytes());
    out[8..12].copy_from_slice(&ladder.recommended(row.timeouts).to_be_bytes());
    out
}
