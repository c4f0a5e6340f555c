//! Primary commands (SPC-4) that are the same for every device type.

mod inquiry;
mod report_luns;

use crate::asc::Asc;
use crate::cdb::{self, Cdb, CommandClass, CommandId, ParsedCdb};
use crate::command::{CommandRequest, Refused};
use crate::handler::{Execution, Outcome, Transfer};
use crate::nexus::{Itl, Nexus};
use crate::sense::{Sense, SenseFormat, SenseKey};

/// Classes that touch the medium.
pub(crate) const MEDIUM_CLASSES: CommandClass = CommandClass::READ
    .union(CommandClass::WRITE)
    .union(CommandClass::SYNCHRONIZE_CACHE)
    .union(CommandClass::COPY)
    .union(CommandClass::TEST_UNIT_READY);

/// Parameter data never gets longer than this, so no buffer for it does.
const MAX_PARAMETER_DATA: usize = 256 << 10;

/// Whether the core executes the command itself.
pub(crate) fn executes(id: CommandId) -> bool {
    matches!(
        id,
        CommandId::Inquiry
            | CommandId::ReportLuns
            | CommandId::RequestSense
            | CommandId::TestUnitReady
            | CommandId::ReportSupportedOperationCodes
            | CommandId::ReportSupportedTaskManagementFunctions
    )
}

/// The data of a command that the core executes.
pub(crate) fn prepare(cdb: &ParsedCdb) -> Transfer {
    let len = cdb
        .cdb
        .byte_length()
        .map_or(0, |len| len as usize)
        .min(MAX_PARAMETER_DATA);
    if len == 0 {
        Transfer::None
    } else {
        Transfer::In(len)
    }
}

/// Executes a command of [`executes`].
pub(crate) fn execute(command: &mut Execution<'_>) -> Outcome {
    let (unit, itl) = (command.lu, command.itl);
    let (handler, nexus) = (unit.handler(), &itl.nexus);
    let data = match *command.cdb() {
        Cdb::TestUnitReady => {
            return handler
                .ready()
                .map_or_else(Outcome::check, |()| Outcome::good());
        }
        Cdb::Inquiry { vpd, .. } => inquiry::respond(unit, nexus, vpd),
        Cdb::ReportLuns { select, .. } => report_luns::respond(nexus, select),
        Cdb::RequestSense { desc, .. } => Ok(request_sense(
            itl,
            handler.ready().err().or_else(|| handler.pollable_sense()),
            desc,
        )),
        Cdb::ReportSupportedOpcodes {
            rctd,
            options,
            opcode,
            service_action,
            ..
        } => {
            let supported = |id| unit.supports(id);
            let rctd = rctd.then(|| unit.ladder());
            cdb::rsoc::respond(rctd, options, opcode, service_action, supported)
        }
        Cdb::ReportSupportedTmf { repd, .. } => Ok(supported_tmf(repd)),
        _ => Err(Sense::illegal_request(Asc::INVALID_COMMAND_OPERATION_CODE)),
    };
    match data {
        Ok(data) => Outcome::data(command.buf.write_at(0, &data)),
        Err(sense) => Outcome::check(sense),
    }
}

/// What a command for a LUN without a unit gets (SPC-4 6.6.2, 6.33, 6.39).
pub(crate) fn without_unit(nexus: Option<&Nexus>, request: &CommandRequest<'_>) -> Refused {
    let parsed = match Cdb::parse(request.cdb) {
        Ok(parsed) => parsed,
        // The missing unit weighs more than a wrong CDB.
        Err(_) => return Sense::logical_unit_not_supported().into(),
    };
    let mut data = match (parsed.cdb, nexus) {
        (Cdb::Inquiry { vpd: None, .. }, _) => inquiry::absent(),
        (Cdb::RequestSense { desc, .. }, _) => emit(
            &Sense::logical_unit_not_supported(),
            if desc {
                SenseFormat::Descriptor
            } else {
                SenseFormat::Fixed
            },
        ),
        // At LUN 0 and at the well known REPORT LUNS unit, both of which answer without a device behind them.
        (Cdb::ReportLuns { select, .. }, Some(nexus)) if report_luns::answers_at(request.lun) => {
            match report_luns::respond(nexus, select) {
                Ok(data) => data,
                Err(sense) => return sense.into(),
            }
        }
        _ => return Sense::logical_unit_not_supported().into(),
    };
    data.truncate(parsed.cdb.byte_length().map_or(0, |len| len as usize));
    Refused::data(data)
}

/// REQUEST SENSE data (SPC-4 6.39): a pending unit attention, else what the unit has to tell, else nothing.
fn request_sense(itl: &Itl, of_unit: Option<Sense>, desc: bool) -> Vec<u8> {
    let format = if desc {
        SenseFormat::Descriptor
    } else {
        SenseFormat::Fixed
    };
    let sense = itl.ua.take().map(Sense::unit_attention).or(of_unit);
    emit(
        &sense.unwrap_or(Sense::new(
            SenseKey::NoSense,
            Asc::NO_ADDITIONAL_SENSE_INFORMATION,
        )),
        format,
    )
}

fn emit(sense: &Sense, format: SenseFormat) -> Vec<u8> {
    sense.emit(format).as_slice().to_vec()
}

/// REPORT SUPPORTED TASK MANAGEMENT FUNCTIONS (SPC-4 6.36): ABORT TASK, ABORT TASK SET, CLEAR ACA, CLEAR TASK SET,
/// LOGICAL UNIT RESET. The queries, which the core has too, are not named: iSCSI at protocol level 1 cannot carry them.
fn supported_tmf(repd: bool) -> Vec<u8> {
    const FUNCTIONS: [u8; 2] = [0x80 | 0x40 | 0x20 | 0x10 | 0x08, 0];
    let mut data = vec![FUNCTIONS[0], FUNCTIONS[1], 0, 0];
    if repd {
        data[3] = 12;
        // TMFTMOV, then long and short timeout: our bound of half a second and a margin, in units of 100 ms.
        data.extend_from_slice(&[1, 0, 0, 0, 0, 0, 0, 10, 0, 0, 0, 10]);
    }
    data
}
