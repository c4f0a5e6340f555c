//! SANITIZE (SBC-4 5.31, 4.11): OVERWRITE, BLOCK ERASE where the unit is thin, EXIT FAILURE MODE.
//!
//! What is sanitized is the store as this unit reaches it. What lies below a file (snapshots, copy on write, spare
//! blocks of a drive) is not in its reach. CRYPTOGRAPHIC ERASE is not supported: there is no key to forget.

use std::sync::Arc;

use lunforge_core::asc::Asc;
use lunforge_core::cdb::{Cdb, ParsedCdb};
use lunforge_core::handler::{Execute, Execution, Outcome, Transfer};
use lunforge_core::sense::{Sense, SenseKey};

use crate::background::Kind;
use crate::check::{list, unsupported};
use crate::disk::Disk;
use crate::drive::{self, Next, Step};
use crate::operation::{self, Fill, Plan};
use crate::sync_cache;

const OVERWRITE: u8 = 0x01;
const BLOCK_ERASE: u8 = 0x02;
const EXIT_FAILURE_MODE: u8 = 0x1F;

/// Header of the OVERWRITE parameter list (SBC-4 table 90).
const HEADER: usize = 4;

/// The OVERWRITE parameter list, understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Overwrite {
    /// OVERWRITE COUNT, 1 to 31.
    pub(crate) count: u8,
    pub(crate) invert: bool,
    /// Not empty and at most a block.
    pub(crate) pattern: Vec<u8>,
}

impl Overwrite {
    /// What each pass writes: with INVERT each the complement of the one before (SBC-4 5.31.3).
    fn passes(&self) -> Vec<Fill> {
        let complement: Vec<u8> = self.pattern.iter().map(|byte| !byte).collect();
        (0..self.count)
            .map(|pass| {
                let inverted = self.invert && pass % 2 == 1;
                Fill::Pattern(if inverted { &complement } else { &self.pattern }.clone())
            })
            .collect()
    }
}

/// Checks the CDB, and whether the failure mode lets the command in.
pub(crate) fn check(disk: &Disk, cdb: &ParsedCdb) -> Result<Transfer, Sense> {
    let Cdb::Sanitize {
        service_action,
        ause,
        parameter_list_len,
        ..
    } = cdb.cdb
    else {
        return Err(unsupported());
    };
    // SBC-4 5.31.1: after a failure with AUSE zero only an operation with AUSE zero leads out.
    if disk.background.restricted_failure() && (ause || service_action == EXIT_FAILURE_MODE) {
        let bit = if ause { 5 } else { 4 };
        return Err(Sense::invalid_field_in_cdb(1, Some(bit)));
    }
    if service_action != OVERWRITE {
        return Ok(Transfer::None);
    }
    let most = disk.block().bytes().saturating_add(HEADER as u32);
    if parameter_list_len <= HEADER as u32 || parameter_list_len > most {
        return Err(Sense::invalid_field_in_cdb(7, Some(7)));
    }
    Ok(list(parameter_list_len))
}

/// Reads the OVERWRITE parameter list of `len` bytes (SBC-4 5.31.3).
pub(crate) fn parse(list: &[u8], len: usize, block: u32) -> Result<Overwrite, Sense> {
    let short = || Sense::illegal_request(Asc::PARAMETER_LIST_LENGTH_ERROR);
    let list = list.get(..len).ok_or_else(short)?;
    let (&[flags, _, high, low], rest) = list.split_first_chunk::<HEADER>().ok_or_else(short)?;
    // TEST: anything but 00b is vendor specific.
    if flags & 0x60 != 0 {
        return Err(Sense::invalid_field_in_parameter_list(0, Some(6)));
    }
    let count = flags & 0x1F;
    if count == 0 {
        return Err(Sense::invalid_field_in_parameter_list(0, Some(4)));
    }
    let len = u16::from_be_bytes([high, low]);
    let wrong = || Sense::invalid_field_in_parameter_list(2, Some(7));
    if len == 0 || u32::from(len) > block {
        return Err(wrong());
    }
    Ok(Overwrite {
        count,
        invert: flags & 0x80 != 0,
        pattern: rest.get(..usize::from(len)).ok_or_else(wrong)?.to_vec(),
    })
}

/// Starts the operation, or leaves the failure mode.
pub(crate) fn execute(disk: &Arc<Disk>, execution: &mut Execution<'_>) -> Execute {
    let Cdb::Sanitize {
        service_action,
        immed,
        ause,
        parameter_list_len,
    } = *execution.cdb()
    else {
        return Execute::Done(unsupported().into());
    };
    let passes = match service_action {
        OVERWRITE => {
            let data = execution.take_buf();
            let len = usize::try_from(parameter_list_len).unwrap_or(usize::MAX);
            match parse(&data.to_vec(0..data.len()), len, disk.block().bytes()) {
                Ok(overwrite) => overwrite.passes(),
                Err(sense) => return Execute::Done(sense.into()),
            }
        }
        BLOCK_ERASE => vec![Fill::Discard],
        EXIT_FAILURE_MODE if !disk.background.restricted_failure() => {
            return exit_failure_mode(disk, execution);
        }
        _ => return Execute::Done(Sense::invalid_field_in_cdb(1, Some(4)).into()),
    };
    let kind = Kind::Sanitize { restricted: !ause };
    let plan = Plan {
        kind,
        passes,
        immed,
    };
    operation::start(disk, execution, plan)
}

/// Leaves the failure mode, for good if that is kept somewhere.
fn exit_failure_mode(disk: &Arc<Disk>, execution: &mut Execution<'_>) -> Execute {
    if !disk.background.sanitize_failed() {
        return Execute::Done(Outcome::good());
    }
    if disk.parameters.is_none() {
        disk.background.exit_failure_mode();
        return Execute::Done(Outcome::good());
    }
    let step = Step::Machine(Box::new(sync_cache::Flush));
    drive::start_long_with(disk, execution, step, |disk| {
        Next::end(match operation::note(disk, None) {
            Ok(()) => {
                disk.background.exit_failure_mode();
                Outcome::good()
            }
            Err(error) => {
                tracing::error!(%error, "the end of the failure mode could not be noted");
                Sense::new(SenseKey::MediumError, Asc::SANITIZE_COMMAND_FAILED).into()
            }
        })
    })
}
