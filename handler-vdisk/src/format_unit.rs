//! FORMAT UNIT (SBC-4 5.4). There are no defects and no protection information: lists of the former must be empty, the
//! latter is refused. What is formatted reads as zeroes, or as the initialization pattern.

use std::sync::Arc;

use lunforge_core::asc::Asc;
use lunforge_core::cdb::{Cdb, ParsedCdb};
use lunforge_core::handler::{Execute, Execution, Transfer};
use lunforge_core::sense::Sense;

use crate::background::Kind;
use crate::check::unsupported;
use crate::disk::Disk;
use crate::operation::{self, Fill, Plan};

/// Longest header (SBC-4 table 40).
const LONG_HEADER: usize = 8;
const SHORT_HEADER: usize = 4;
/// Initialization pattern descriptor without its pattern (SBC-4 table 43).
const DESCRIPTOR: usize = 4;

/// A parameter list that was understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct List {
    pub(crate) immed: bool,
    /// What each block is filled with; not empty and at most a block.
    pub(crate) pattern: Option<Vec<u8>>,
}

/// Checks the CDB. It does not say how long the parameter list is: that is what the initiator sends.
pub(crate) fn check(disk: &Disk, cdb: &ParsedCdb) -> Result<Transfer, Sense> {
    let Cdb::FormatUnit {
        protection,
        format_data,
        defect_list_format,
        ..
    } = cdb.cdb
    else {
        return Err(unsupported());
    };
    if protection != 0 {
        return Err(Sense::invalid_field_in_cdb(1, Some(7)));
    }
    // 6 is vendor specific, 7 reserved; without parameter list the field must be 0.
    if defect_list_format > 5 || (!format_data && defect_list_format != 0) {
        return Err(Sense::invalid_field_in_cdb(1, Some(2)));
    }
    if !format_data {
        return Ok(Transfer::None);
    }
    let block = usize::try_from(disk.block().bytes()).unwrap_or(0);
    Ok(Transfer::OutAtMost(LONG_HEADER + DESCRIPTOR + block))
}

/// Reads a parameter list (SBC-4 5.4.3).
pub(crate) fn parse(list: &[u8], long: bool, block: u32) -> Result<List, Sense> {
    let wrong = |byte: usize, bit: u8| {
        Sense::invalid_field_in_parameter_list(u16::try_from(byte).unwrap_or(u16::MAX), Some(bit))
    };
    let short = || Sense::illegal_request(Asc::PARAMETER_LIST_LENGTH_ERROR);
    let header_len = if long { LONG_HEADER } else { SHORT_HEADER };
    let (header, rest) = list.split_at_checked(header_len).ok_or_else(short)?;
    let [usage, flags, ..] = *header else {
        return Err(short());
    };
    if usage & 0x07 != 0 {
        return Err(wrong(0, 2));
    }
    // Without FOV the other options have no meaning and must be zero; byte 1 bit 2 is obsolete.
    let (fov, options) = (flags & 0x80 != 0, flags & 0x7C);
    if options & 0x04 != 0 || (!fov && options != 0) {
        let bit = u8::try_from(7 - options.leading_zeros()).unwrap_or(0);
        return Err(wrong(1, bit));
    }
    let (defects_at, defects) = match (long, header) {
        (false, [_, _, a, b]) => (2, u32::from_be_bytes([0, 0, *a, *b])),
        // P_I_INFORMATION and PROTECTION INTERVAL EXPONENT.
        (true, [_, _, _, interval, ..]) if *interval != 0 => return Err(wrong(3, 7)),
        (true, [_, _, _, _, a, b, c, d]) => (4, u32::from_be_bytes([*a, *b, *c, *d])),
        _ => return Err(short()),
    };
    if defects != 0 {
        return Err(wrong(defects_at, 7));
    }
    let pattern = if flags & 0x08 != 0 {
        pattern(rest, header_len, block)?
    } else {
        None
    };
    Ok(List {
        immed: flags & 0x02 != 0,
        pattern,
    })
}

/// Reads the initialization pattern descriptor, which is at `at` of the list (SBC-4 5.4.3.4).
fn pattern(list: &[u8], at: usize, block: u32) -> Result<Option<Vec<u8>>, Sense> {
    let wrong = |byte: usize, bit| {
        let byte = u16::try_from(at.saturating_add(byte)).unwrap_or(u16::MAX);
        Sense::invalid_field_in_parameter_list(byte, bit)
    };
    let short = || Sense::illegal_request(Asc::PARAMETER_LIST_LENGTH_ERROR);
    let (&[modifier, kind, high, low], rest) =
        list.split_first_chunk::<DESCRIPTOR>().ok_or_else(short)?;
    // IP MODIFIER is obsolete; what SI asks for, a store that may lie on top of others cannot do.
    if modifier & 0xE0 != 0 {
        return Err(wrong(0, Some(if modifier & 0xC0 != 0 { 7 } else { 5 })));
    }
    let len = u16::from_be_bytes([high, low]);
    match (kind, len) {
        // The default pattern: zeroes.
        (0, 0) => Ok(None),
        (1, 1..) if u32::from(len) <= block => {
            let pattern = rest.get(..usize::from(len)).ok_or_else(short)?;
            Ok(Some(pattern.to_vec()))
        }
        (0 | 1, _) => Err(wrong(2, Some(7))),
        _ => Err(wrong(1, Some(7))),
    }
}

/// Formats the whole medium.
pub(crate) fn execute(disk: &Arc<Disk>, execution: &mut Execution<'_>) -> Execute {
    let Cdb::FormatUnit {
        long_list,
        format_data,
        ..
    } = *execution.cdb()
    else {
        return Execute::Done(unsupported().into());
    };
    let data = execution.take_buf();
    let list = if format_data {
        parse(&data.to_vec(0..data.len()), long_list, disk.block().bytes())
    } else {
        Ok(List {
            immed: false,
            pattern: None,
        })
    };
    let list = match list {
        Ok(list) => list,
        Err(sense) => return Execute::Done(sense.into()),
    };
    let fill = match list.pattern {
        Some(pattern) if pattern.iter().any(|&byte| byte != 0) => Fill::Pattern(pattern),
        _ if disk.settings.thin => Fill::Discard,
        _ => Fill::Zeroes,
    };
    let plan = Plan {
        kind: Kind::Format,
        passes: vec![fill],
        immed: list.immed,
    };
    operation::start(disk, execution, plan)
}
