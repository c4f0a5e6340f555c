//! SEND DIAGNOSTIC and RECEIVE DIAGNOSTIC RESULTS (SPC-4 6.42, 6.31): self-tests, and the one diagnostic page that every
//! device has.

use std::sync::Arc;

use lunforge_core::asc::Asc;
use lunforge_core::cdb::Cdb;
use lunforge_core::handler::{Execute, Execution, Outcome, Transfer};
use lunforge_core::sense::Sense;

use crate::check::{list, room, unsupported};
use crate::disk::Disk;
use crate::drive::{self, Step};
use crate::handler::answer;
use crate::self_test::{Code, Foreground, SelfTests};

/// Supported diagnostic pages (SPC-4 7.2.3): itself.
const SUPPORTED_PAGES: [u8; 5] = [0x00, 0, 0, 1, 0x00];

/// Checks SEND DIAGNOSTIC. DEVOFFL and UNITOFFL allow a test to disturb others; none here does.
pub(crate) fn check_send(disk: &Disk, cdb: &Cdb) -> Result<Transfer, Sense> {
    let Cdb::SendDiagnostic {
        code,
        pf,
        self_test,
        parameter_list_len,
        ..
    } = *cdb
    else {
        return Err(unsupported());
    };
    if code != 0 && (self_test || Code::parse(code).is_none()) {
        return Err(Sense::invalid_field_in_cdb(1, Some(7)));
    }
    if parameter_list_len != 0 && (code != 0 || self_test || !pf) {
        return Err(Sense::invalid_field_in_cdb(3, Some(7)));
    }
    if code != 0 || self_test {
        disk.medium()?;
    }
    Ok(list(parameter_list_len))
}

/// Executes SEND DIAGNOSTIC.
pub(crate) fn send(disk: &Arc<Disk>, command: &mut Execution<'_>) -> Execute {
    let Cdb::SendDiagnostic {
        code,
        self_test,
        parameter_list_len,
        ..
    } = *command.cdb()
    else {
        return Execute::Done(unsupported().into());
    };
    let done = |result: Result<(), Sense>| {
        Execute::Done(result.map_or_else(Outcome::from, |()| Outcome::good()))
    };
    match Code::parse(code) {
        Some(Code::Abort) if disk.self_tests.abort(true) => done(Ok(())),
        // There is none to abort.
        Some(Code::Abort) => done(Err(Sense::invalid_field_in_cdb(1, Some(7)))),
        Some(Code::ForegroundShort) => foreground(disk, command, true),
        Some(code) => {
            let begun = SelfTests::begin(disk, code);
            Execute::Done(begun.err().unwrap_or_else(Outcome::good))
        }
        None if self_test => foreground(disk, command, false),
        None => done(take_page(command, parameter_list_len)),
    }
}

fn foreground(disk: &Arc<Disk>, command: &mut Execution<'_>, recorded: bool) -> Execute {
    if let Some(sense) = disk.self_tests.in_progress() {
        return Execute::Done(sense.into());
    }
    let mut machine = Foreground::new(disk, recorded);
    let next = machine.next(disk);
    drive::start_long(disk, command, Step::Machine(Box::new(machine)), next)
}

/// The page in a parameter list asks for what RECEIVE DIAGNOSTIC RESULTS gives anyway; only page 00h exists.
fn take_page(command: &mut Execution<'_>, len: u32) -> Result<(), Sense> {
    let len = usize::try_from(len).unwrap_or(usize::MAX);
    if len == 0 {
        return Ok(());
    }
    let buf = command.take_buf();
    let page = buf.to_vec(0..buf.len().min(4));
    match *page.as_slice() {
        [0x00, 0, 0, 0] if len == 4 => Ok(()),
        [0x00, 0, 0, 0] => Err(Sense::illegal_request(Asc::PARAMETER_LIST_LENGTH_ERROR)),
        [0x00, _, _, _] => Err(Sense::invalid_field_in_parameter_list(2, None)),
        [_, _, _, _] => Err(Sense::invalid_field_in_parameter_list(0, None)),
        _ => Err(Sense::illegal_request(Asc::PARAMETER_LIST_LENGTH_ERROR)),
    }
}

/// Checks RECEIVE DIAGNOSTIC RESULTS. Without PCV the page is that of the last SEND DIAGNOSTIC, which can only be 00h.
pub(crate) fn check_receive(page: Option<u8>, alloc: u32) -> Result<Transfer, Sense> {
    if page.is_some_and(|page| page != 0) {
        return Err(Sense::invalid_field_in_cdb(2, Some(7)));
    }
    Ok(room(alloc, SUPPORTED_PAGES.len()))
}

/// Executes RECEIVE DIAGNOSTIC RESULTS.
pub(crate) fn receive(command: &mut Execution<'_>) -> Execute {
    answer(command, &SUPPORTED_PAGES)
}
