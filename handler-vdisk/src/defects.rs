//! READ DEFECT DATA (10) and (12) (SBC-4 5.20, 5.21): a virtual disk has no defects, and says so in every format.

use lunforge_core::asc::Asc;
use lunforge_core::cdb::Cdb;
use lunforge_core::handler::{Execute, Execution, Outcome};
use lunforge_core::sense::{Sense, SenseKey};

use crate::check::unsupported;

/// Bytes that an answer can have.
pub(crate) const ROOM: usize = 8;
/// DEFECT LIST FORMAT: the last that the standard defines, and the one used in place of others.
const LAST_FORMAT: u8 = 0x05;
const SHORT_BLOCK: u8 = 0x00;

/// Executes READ DEFECT DATA: a header with PLISTV, GLISTV and format, and no descriptor.
pub(crate) fn execute(command: &mut Execution<'_>) -> Execute {
    let Cdb::ReadDefectData {
        primary,
        grown,
        format,
        twelve,
        ..
    } = *command.cdb()
    else {
        return Execute::Done(unsupported().into());
    };
    let known = format <= LAST_FORMAT;
    let flags = u8::from(primary) << 4 | u8::from(grown) << 3;
    let flags = flags | if known { format } else { SHORT_BLOCK };
    let header = [0, flags, 0, 0, 0, 0, 0, 0];
    let len = if twelve { 8 } else { 4 };
    let sent = command
        .buf()
        .write_at(0, header.get(..len).unwrap_or_default());
    if known {
        return Execute::Done(Outcome::data(sent));
    }
    // The list comes in another format than the one asked for, and the sense says so.
    let asc = if primary || !grown {
        Asc::PRIMARY_DEFECT_LIST_NOT_FOUND
    } else {
        Asc::GROWN_DEFECT_LIST_NOT_FOUND
    };
    let mut outcome = Outcome::check(Sense::new(SenseKey::RecoveredError, asc));
    outcome.data_in = sent;
    Execute::Done(outcome)
}
