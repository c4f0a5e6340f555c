//! LOG SENSE and LOG SELECT (SPC-4 6.7, 6.8, 7.3; SBC-4 6.4): what the disk can truly tell.
//!
//! | page | what |
//! |---|---|
//! | 00h, 00h/FFh | supported pages, and subpages |
//! | 0Ch | logical block provisioning: storage available and used, of a thin disk that knows |
//! | 10h | self-test results |
//! | 19h | general statistics and performance: commands and blocks; times are not measured and zero |
//! | 2Fh | informational exceptions |
//!
//! No page has thresholds and none is saved. Temperature, background scans and the like have no pages, since there is
//! nothing behind them.

use std::sync::Arc;

use lunforge_core::asc::Asc;
use lunforge_core::buffer::IoBuf;
use lunforge_core::cdb::{Cdb, PageControl};
use lunforge_core::handler::{Execute, Execution, Outcome, Transfer};
use lunforge_core::sense::Sense;

use crate::check::{list, room, unsupported};
use crate::disk::Disk;
use crate::drive::{self, Next, Step};
use crate::handler::answer;
use crate::statistics::Counts;
use crate::sync_cache;

/// Bytes that an answer can have.
const ROOM: usize = 1024;

const SUPPORTED: u8 = 0x00;
const PROVISIONING: u8 = 0x0C;
const SELF_TESTS: u8 = 0x10;
const STATISTICS: u8 = 0x19;
const EXCEPTIONS: u8 = 0x2F;
/// SUBPAGE CODE: all of them.
const ALL: u8 = 0xFF;

/// FORMAT AND LINKING 11b: binary format list.
const BINARY_LIST: u8 = 0x03;
/// SCOPE of a provisioning resource: this logical unit's own, or shared with others.
const DEDICATED: u8 = 0x01;
const SHARED: u8 = 0x02;
/// No temperature is measured.
const NO_TEMPERATURE: u8 = 0xFF;

/// A log parameter: code and value.
type Parameter = (u16, Vec<u8>);

/// Page and subpage codes, ascending.
fn pages(disk: &Disk) -> Vec<(u8, u8)> {
    let mut pages = vec![(SUPPORTED, 0), (SUPPORTED, ALL)];
    if disk.settings.thin {
        pages.push((PROVISIONING, 0));
    }
    pages.extend([(SELF_TESTS, 0), (STATISTICS, 0), (EXCEPTIONS, 0)]);
    pages
}

/// Checks LOG SENSE.
pub(crate) fn check_sense(disk: &Disk, cdb: &Cdb) -> Result<Transfer, Sense> {
    let Cdb::LogSense {
        sp,
        pc,
        page,
        subpage,
        pointer,
        alloc,
    } = *cdb
    else {
        return Err(unsupported());
    };
    if sp {
        return Err(Sense::invalid_field_in_cdb(1, Some(0)));
    }
    let pages = pages(disk);
    if !pages.iter().any(|known| known.0 == page) {
        return Err(Sense::invalid_field_in_cdb(2, Some(5)));
    }
    if !pages.contains(&(page, subpage)) {
        return Err(Sense::invalid_field_in_cdb(3, Some(7)));
    }
    let thresholds = matches!(pc, PageControl::Current | PageControl::Default);
    if page != SUPPORTED && thresholds {
        return Err(Sense::invalid_field_in_cdb(2, Some(7)));
    }
    if page == SUPPORTED && pointer != 0 {
        return Err(Sense::invalid_field_in_cdb(5, Some(7)));
    }
    Ok(room(alloc, ROOM))
}

/// Executes LOG SENSE. A store that tells its space is asked now, which may block.
pub(crate) fn sense(disk: &Arc<Disk>, command: &mut Execution<'_>) -> Execute {
    let cdb = *command.cdb();
    let Cdb::LogSense { page, .. } = cdb else {
        return Execute::Done(unsupported().into());
    };
    if page != PROVISIONING || !disk.provisioning.is_automatic() {
        return match data(disk, &cdb) {
            Ok(data) => answer(command, &data),
            Err(sense) => Execute::Done(sense.into()),
        };
    }
    let mut buf: IoBuf = command.take_buf();
    let step = Step::Machine(Box::new(sync_cache::Flush));
    drive::start_long_with(disk, command, step, move |disk| {
        disk.provisioning.look(disk);
        match data(disk, &cdb) {
            Ok(data) => Next::Done(Outcome::data(buf.write_at(0, &data)), buf),
            Err(sense) => Next::end(sense),
        }
    })
}

fn data(disk: &Disk, cdb: &Cdb) -> Result<Vec<u8>, Sense> {
    let Cdb::LogSense {
        pc,
        page,
        subpage,
        pointer,
        ..
    } = *cdb
    else {
        return Err(unsupported());
    };
    let mut body = Vec::new();
    if page == SUPPORTED {
        for (page, sub) in pages(disk) {
            match subpage {
                ALL => body.extend_from_slice(&[page, sub]),
                _ if sub == 0 => body.push(page),
                _ => {}
            }
        }
        return Ok(emit(page, subpage, &body));
    }
    let parameters = parameters(disk, page, pc == PageControl::Saved);
    // A pointer past the last parameter points at nothing (SPC-4 6.8).
    if pointer != 0 && parameters.last().is_none_or(|last| last.0 < pointer) {
        return Err(Sense::invalid_field_in_cdb(5, Some(7)));
    }
    for (code, value) in parameters.iter().filter(|parameter| parameter.0 >= pointer) {
        body.extend_from_slice(&code.to_be_bytes());
        let len = u8::try_from(value.len()).unwrap_or(u8::MAX);
        body.extend_from_slice(&[BINARY_LIST, len]);
        body.extend_from_slice(value);
    }
    Ok(emit(page, subpage, &body))
}

/// The page with its header: DS and, for a subpage, SPF.
fn emit(page: u8, subpage: u8, body: &[u8]) -> Vec<u8> {
    let flags = if page == SUPPORTED { 0 } else { 0x80 } | if subpage == 0 { 0 } else { 0x40 };
    let [high, low] = u16::try_from(body.len()).unwrap_or(u16::MAX).to_be_bytes();
    let mut out = vec![flags | page, subpage, high, low];
    out.extend_from_slice(body);
    out
}

/// The parameters of a page with cumulative or with default values.
fn parameters(disk: &Disk, page: u8, default: bool) -> Vec<Parameter> {
    match page {
        PROVISIONING => provisioning(disk),
        SELF_TESTS => {
            let results = disk.self_tests.results();
            (1..)
                .zip(results)
                .map(|(n, value)| (n, value.to_vec()))
                .collect()
        }
        STATISTICS if default => vec![(1, statistics(&Counts::default()))],
        STATISTICS => vec![(1, statistics(&disk.statistics.counts()))],
        _ => {
            let exception = disk.exceptions.present(&disk.modes.values());
            let asc = exception.unwrap_or(Asc::NO_ADDITIONAL_SENSE_INFORMATION);
            vec![(0, vec![asc.asc, asc.ascq, NO_TEMPERATURE, 0])]
        }
    }
}

/// Available and used resources in threshold sets (SBC-4 6.4.5).
fn provisioning(disk: &Disk) -> Vec<Parameter> {
    let Some(space) = disk.provisioning.known() else {
        return Vec::new();
    };
    let count = |bytes: u64, scope: u8| {
        let [a, b, c, d] = disk.provisioning.sets(bytes).to_be_bytes();
        vec![a, b, c, d, scope, 0, 0, 0]
    };
    vec![
        (1, count(space.available, SHARED)),
        (2, count(space.used, DEDICATED)),
    ]
}

/// Commands and blocks; the processing intervals are not measured (SPC-4 7.3.9).
fn statistics(counts: &Counts) -> Vec<u8> {
    let mut value = Vec::with_capacity(64);
    for count in [
        counts.reads,
        counts.writes,
        counts.blocks_written,
        counts.blocks_read,
    ] {
        value.extend_from_slice(&count.to_be_bytes());
    }
    value.resize(64, 0);
    value
}

/// Checks LOG SELECT.
pub(crate) fn check_select(disk: &Disk, cdb: &Cdb) -> Result<Transfer, Sense> {
    let Cdb::LogSelect {
        pcr,
        sp,
        page,
        subpage,
        parameter_list_len,
        ..
    } = *cdb
    else {
        return Err(unsupported());
    };
    if sp {
        return Err(Sense::invalid_field_in_cdb(1, Some(0)));
    }
    // PCR goes without a list, and with a list the pages are named there (SPC-4 6.7).
    if pcr && parameter_list_len != 0 {
        return Err(Sense::invalid_field_in_cdb(1, Some(1)));
    }
    if parameter_list_len != 0 && (page, subpage) != (0, 0) {
        return Err(Sense::invalid_field_in_cdb(2, Some(5)));
    }
    if !pages(disk).contains(&(page, subpage)) {
        return Err(Sense::invalid_field_in_cdb(2, Some(5)));
    }
    Ok(list(parameter_list_len))
}

/// Executes LOG SELECT. Only the statistics can be set, and only to zero: by PCR, or by PC 11b without a list.
pub(crate) fn select(disk: &Disk, command: &mut Execution<'_>) -> Execute {
    let Cdb::LogSelect {
        pcr,
        pc,
        page,
        parameter_list_len,
        ..
    } = *command.cdb()
    else {
        return Execute::Done(unsupported().into());
    };
    let len = usize::try_from(parameter_list_len).unwrap_or(usize::MAX);
    if len != 0 {
        let buf = command.take_buf();
        let listed = match buf.len() < len {
            true => Err(Sense::illegal_request(Asc::PARAMETER_LIST_LENGTH_ERROR)),
            false => check_list(disk, &buf.to_vec(0..len)),
        };
        return Execute::Done(listed.map_or_else(Outcome::from, |()| Outcome::good()));
    }
    let named = page == SUPPORTED || page == STATISTICS;
    if named && (pcr || pc == PageControl::Saved) && disk.statistics.clear() {
        let from = Some(command.nexus());
        let unit = command.unit();
        unit.unit_attention(Asc::LOG_PARAMETERS_CHANGED, from);
    }
    Execute::Done(Outcome::good())
}

/// A list may name pages, but no parameter can be written.
fn check_list(disk: &Disk, list: &[u8]) -> Result<(), Sense> {
    let wrong = |at: usize| {
        Sense::invalid_field_in_parameter_list(u16::try_from(at).unwrap_or(u16::MAX), None)
    };
    let mut at = 0;
    while at < list.len() {
        let &[code, subpage, high, low, ..] = list.get(at..).unwrap_or_default() else {
            return Err(Sense::illegal_request(Asc::PARAMETER_LIST_LENGTH_ERROR));
        };
        if !pages(disk).contains(&(code & 0x3F, subpage)) {
            return Err(wrong(at));
        }
        let len = usize::from(u16::from_be_bytes([high, low]));
        if at + 4 + len > list.len() {
            return Err(Sense::illegal_request(Asc::PARAMETER_LIST_LENGTH_ERROR));
        }
        if len != 0 {
            return Err(wrong(at + 4));
        }
        at += 4;
    }
    Ok(())
}
