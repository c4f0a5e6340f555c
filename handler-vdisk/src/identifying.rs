//! REPORT and SET IDENTIFYING INFORMATION (SPC-4 6.32, 6.43): what an administrator writes on the disk, kept in the
//! parameters file. A disk without one does not have the commands, since the information must outlive a restart.

use std::sync::Arc;

use lunforge_core::asc::Asc;
use lunforge_core::handler::{Execute, Execution, Outcome, Transfer};
use lunforge_core::sense::Sense;

use crate::check::{list, room};
use crate::disk::Disk;
use crate::drive::{self, Next, Step};
use crate::handler::answer;
use crate::parameters::{Contents, MAX_INFORMATION, MAX_TEXT};
use crate::sync_cache;

/// IDENTIFYING INFORMATION TYPE.
const INFORMATION: u8 = 0x00;
const TEXT: u8 = 0x02;
const SUPPORTED: u8 = 0x7F;

/// Bytes that an answer can have.
const ROOM: usize = 4 + MAX_TEXT;

fn longest(kind: u8) -> Option<usize> {
    match kind {
        INFORMATION => Some(MAX_INFORMATION),
        TEXT => Some(MAX_TEXT),
        _ => None,
    }
}

fn unknown_kind() -> Sense {
    Sense::invalid_field_in_cdb(10, Some(7))
}

/// Checks REPORT IDENTIFYING INFORMATION.
pub(crate) fn check_report(kind: u8, alloc: u32) -> Result<Transfer, Sense> {
    if kind != SUPPORTED && longest(kind).is_none() {
        return Err(unknown_kind());
    }
    Ok(room(alloc, ROOM))
}

/// Checks SET IDENTIFYING INFORMATION.
pub(crate) fn check_set(kind: u8, len: u32) -> Result<Transfer, Sense> {
    let longest = longest(kind).ok_or_else(unknown_kind)?;
    if usize::try_from(len).map_or(true, |len| len > longest) {
        return Err(Sense::invalid_field_in_cdb(6, Some(7)));
    }
    Ok(list(len))
}

/// Executes REPORT IDENTIFYING INFORMATION.
pub(crate) fn report(disk: &Disk, command: &mut Execution<'_>, kind: u8) -> Execute {
    let contents = disk
        .parameters
        .as_ref()
        .map(|parameters| parameters.contents())
        .unwrap_or_default();
    let body = match kind {
        INFORMATION => contents.information,
        TEXT => contents.text,
        _ => supported(),
    };
    let mut data = vec![0, 0];
    data.extend_from_slice(&u16::try_from(body.len()).unwrap_or(u16::MAX).to_be_bytes());
    data.extend_from_slice(&body);
    answer(command, &data)
}

/// A descriptor for each type: the type, seven bits, and the most bytes it can have.
fn supported() -> Vec<u8> {
    let mut body = Vec::with_capacity(8);
    for (kind, longest) in [(INFORMATION, MAX_INFORMATION), (TEXT, MAX_TEXT)] {
        body.extend_from_slice(&[kind << 1, 0]);
        body.extend_from_slice(&u16::try_from(longest).unwrap_or(u16::MAX).to_be_bytes());
    }
    body
}

/// Executes SET IDENTIFYING INFORMATION with a parameter list of `len` bytes.
pub(crate) fn set(disk: &Arc<Disk>, command: &mut Execution<'_>, kind: u8, len: u32) -> Execute {
    let buf = command.take_buf();
    let len = usize::try_from(len).unwrap_or(usize::MAX);
    if buf.len() < len {
        return Execute::Done(Sense::illegal_request(Asc::PARAMETER_LIST_LENGTH_ERROR).into());
    }
    let value = buf.to_vec(0..len);
    if kind == TEXT && !is_text(&value) {
        return Execute::Done(Sense::invalid_field_in_parameter_list(0, None).into());
    }
    let (unit, from) = (Arc::clone(command.unit()), command.nexus());
    let step = Step::Machine(Box::new(sync_cache::Flush));
    drive::start_long_with(disk, command, step, move |disk| {
        let change = |contents: &mut Contents| match kind {
            TEXT => contents.text = value,
            _ => contents.information = value,
        };
        let saved = disk.parameters.as_ref().map(|p| p.save(change));
        if let Some(Ok(())) = saved {
            unit.unit_attention(Asc::DEVICE_IDENTIFIER_CHANGED, Some(from));
            return Next::end(Outcome::good());
        }
        if let Some(Err(error)) = saved {
            tracing::error!(%error, "identifying information was not saved");
        }
        Next::end(Sense::hardware(Asc::INTERNAL_TARGET_FAILURE))
    })
}

/// UTF-8 that ends with its only NUL (SPC-4 4.3.2); nothing at all takes the text away.
fn is_text(value: &[u8]) -> bool {
    match value.split_last() {
        None => true,
        Some((0, text)) => !text.contains(&0) && std::str::from_utf8(text).is_ok(),
        Some(_) => false,
    }
}
