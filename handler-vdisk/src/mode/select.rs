//! MODE SELECT (6) and (10) (SPC-4 6.11, 6.12).

use std::sync::Arc;

use lunforge_core::asc::Asc;
use lunforge_core::cdb::{Cdb, PageControl, ParsedCdb};
use lunforge_core::handler::{Execute, Execution, Outcome, Transfer};
use lunforge_core::lu::LogicalUnit;
use lunforge_core::nexus::NexusId;
use lunforge_core::sense::Sense;
use lunforge_core::status::Status;

use super::page::{Page, take};
use super::sense::block_descriptor;
use super::{Turn, Values};
use crate::check::{list, unsupported};
use crate::disk::Disk;
use crate::drive::{self, Next, Step};
use crate::store::{Stamp, StoreOp};
use crate::sync_cache;

/// Checks the CDB.
pub(crate) fn check(disk: &Disk, cdb: &ParsedCdb) -> Result<Transfer, Sense> {
    let Cdb::ModeSelect {
        pf,
        sp,
        parameter_list_len,
        ..
    } = cdb.cdb
    else {
        return Err(unsupported());
    };
    if !pf {
        return Err(Sense::invalid_field_in_cdb(1, Some(4)));
    }
    if sp && disk.parameters.is_none() {
        return Err(Sense::invalid_field_in_cdb(1, Some(0)));
    }
    Ok(list(parameter_list_len))
}

/// Executes MODE SELECT.
pub(crate) fn execute(disk: &Arc<Disk>, command: &mut Execution<'_>) -> Execute {
    let Cdb::ModeSelect {
        sp,
        parameter_list_len,
        ten,
        ..
    } = *command.cdb()
    else {
        return Execute::Done(unsupported().into());
    };
    let Some(turn) = Turn::take(disk) else {
        return Execute::Done(Outcome::status(Status::Busy));
    };
    let len = usize::try_from(parameter_list_len).unwrap_or(usize::MAX);
    let buf = command.take_buf();
    let new = match buf.len() < len {
        true => Err(short()),
        false => values(disk, &buf.to_vec(0..len), ten),
    };
    let new = match new {
        Ok(new) => new,
        Err(sense) => return Execute::Done(sense.into()),
    };
    let change = Change {
        _turn: turn,
        new,
        unit: Arc::clone(command.unit()),
        from: command.nexus(),
        stamp: disk.stamp(),
    };
    if sp {
        let step = Step::Machine(Box::new(sync_cache::Flush));
        return drive::start_long_with(disk, command, step, move |disk| change.save(disk));
    }
    match change.take_effect(disk) {
        Next::Done(outcome, _) => Execute::Done(outcome),
        next => {
            let step = Step::Machine(Box::new(sync_cache::Flush));
            drive::start(disk, command, step, next)
        }
    }
}

/// A MODE SELECT whose parameter list is in order.
struct Change {
    _turn: Turn,
    new: Values,
    unit: Arc<LogicalUnit>,
    from: NexusId,
    stamp: Stamp,
}

impl Change {
    /// Saves, which blocks, and then takes effect: what cannot be saved changes nothing.
    fn save(self, disk: &Disk) -> Next {
        let word = self.new.pack();
        let saved = disk
            .parameters
            .as_ref()
            .map(|parameters| parameters.save(|contents| contents.modes = Some(word)));
        match saved {
            Some(Ok(())) => disk.modes.was_saved(self.new),
            Some(Err(error)) => {
                tracing::error!(%error, "mode parameters were not saved");
                return Next::end(Sense::hardware(Asc::INTERNAL_TARGET_FAILURE));
            }
            None => return Next::end(unsupported()),
        }
        self.take_effect(disk)
    }

    /// Puts the values in force, tells the other nexuses, and empties the cache that was switched off (SBC-4 6.5.5).
    fn take_effect(self, disk: &Disk) -> Next {
        let Some(old) = disk.modes.commit(disk, self.new, self.stamp) else {
            return Next::end(Sense::aborted(Asc::COMMANDS_CLEARED_BY_DEVICE_SERVER));
        };
        if old != self.new {
            self.unit
                .unit_attention(Asc::MODE_PARAMETERS_CHANGED, Some(self.from));
            disk.modes_changed(&old, &self.new);
        }
        // A store that was closed was flushed then.
        if old.wce && !self.new.wce && disk.is_active() {
            Next::Submit(StoreOp::Flush)
        } else {
            Next::end(Outcome::good())
        }
    }
}

fn short() -> Sense {
    Sense::illegal_request(Asc::PARAMETER_LIST_LENGTH_ERROR)
}

/// Checks a parameter list; the values it asks for. An empty list asks for those that are.
fn values(disk: &Disk, list: &[u8], ten: bool) -> Result<Values, Sense> {
    let mut values = disk.modes.values();
    if list.is_empty() {
        return Ok(values);
    }
    let (header, descriptor_len) = match (ten, list) {
        (false, &[_, _, _, len, ..]) => (4, usize::from(len)),
        (true, &[_, _, _, _, _, _, high, low, ..]) => {
            (8, usize::from(u16::from_be_bytes([high, low])))
        }
        _ => return Err(short()),
    };
    let medium_type_at = if ten { 2 } else { 1 };
    if list.get(medium_type_at) != Some(&0) {
        return Err(wrong(medium_type_at));
    }
    let long = ten && list.get(4).is_some_and(|byte| byte & 1 != 0);
    check_descriptor(disk, list, header, descriptor_len, long)?;
    let known = Known {
        current: disk.modes.pages(PageControl::Current)?,
        masks: disk.modes.pages(PageControl::Changeable)?,
    };
    let mut at = header + descriptor_len;
    while at < list.len() {
        at += known.take_page(list.get(at..).unwrap_or_default(), at, &mut values)?;
    }
    Ok(values)
}

/// The pages that there are, and what of them may change.
struct Known {
    current: Vec<Page>,
    masks: Vec<Page>,
}

impl Known {
    /// Takes over the page at the start of `rest`, which is at `at` of the list. Its length with the header.
    fn take_page(&self, rest: &[u8], at: usize, values: &mut Values) -> Result<usize, Sense> {
        let (code, subpage, len) = parse_header(rest).ok_or_else(short)?;
        let find = |pages: &[Page]| {
            let same = |p: &&Page| p.code == code && p.subpage == subpage;
            pages.iter().find(same).cloned()
        };
        let (Some(old), Some(mask)) = (find(&self.current), find(&self.masks)) else {
            return Err(wrong(at));
        };
        let header = Page::header(subpage);
        if len != old.body.len() {
            return Err(wrong(at + header / 2));
        }
        let body = rest.get(header..header + len).ok_or_else(short)?;
        for (i, ((new, old), mask)) in body.iter().zip(&old.body).zip(&mask.body).enumerate() {
            if (new ^ old) & !mask != 0 {
                return Err(wrong(at + header + i));
            }
        }
        let body = body.to_vec();
        let page = Page {
            code,
            subpage,
            body,
        };
        take(values, &page).map_err(|byte| wrong(at + byte))?;
        Ok(header + len)
    }
}

/// Code, subpage and length of the page at the start of `list`; `None` when the list ends before. PS is reserved here
/// and comes back as MODE SENSE gave it.
fn parse_header(list: &[u8]) -> Option<(u8, u8, usize)> {
    let &[code, second, ref rest @ ..] = list else {
        return None;
    };
    if code & 0x40 == 0 {
        return Some((code & 0x3F, 0, second.into()));
    }
    // SPF with subpage 00h is no page: 00h is in the other format.
    let code = if second == 0 { u8::MAX } else { code & 0x3F };
    let &[high, low, ..] = rest else {
        return None;
    };
    Some((code, second, u16::from_be_bytes([high, low]).into()))
}

fn wrong(at: usize) -> Sense {
    Sense::invalid_field_in_parameter_list(u16::try_from(at).unwrap_or(u16::MAX), None)
}

/// A block descriptor may be absent or say what is so already: neither capacity nor block length can be set.
fn check_descriptor(
    disk: &Disk,
    list: &[u8],
    header: usize,
    len: usize,
    long: bool,
) -> Result<(), Sense> {
    let length_at = if header == 8 { 6 } else { 3 };
    let fields = match (len, long) {
        (0, _) => return Ok(()),
        (8, false) => list.get(header..header + 8),
        (16, true) => list.get(header..header + 16),
        _ => return Err(wrong(length_at)),
    };
    let Some(fields) = fields else {
        return Err(short());
    };
    let now = block_descriptor(disk, long);
    let count = len / 2;
    let (blocks, rest) = (fields.get(..count), fields.get(count..));
    let same = blocks == now.get(..count);
    let keep = blocks.is_some_and(|b| b.iter().all(|&x| x == 0) || b.iter().all(|&x| x == 0xFF));
    if !(same || keep) {
        return Err(wrong(header));
    }
    if rest != now.get(count..) {
        return Err(wrong(header + count));
    }
    Ok(())
}
