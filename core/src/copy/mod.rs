//! Third-party copy: EXTENDED COPY and RECEIVE COPY RESULTS (SPC-4 5.16, 5.17, 6.3 to 6.5, RECEIVE COPY).
//!
//! ```text
//!  EXTENDED COPY ─▶ CopyManager ── parameter_list ─▶ Operation (who asks, sees this) ─▶ Copier, a source of the shard
//!                                                                                          │ plan: chunks
//!  RECEIVE COPY STATUS ... ─▶ receive ◀─ Operation                                         ▼
//!                                                       inner commands through the pipeline, for the asking session
//! ```
//!
//! A [`CopyManager`] is a service of one unit. It copies between units that the asking session can see as LUNs of its
//! target, with that session's rights: whatever it could not do with READ and WRITE, it cannot do with EXTENDED COPY.
//! Data moves by inner commands (`pipeline/inner.rs`), which obey gate, ranges, resets and reservations like
//! others. A copy has a bounded number of chunks in flight and its buffers come from the shard's pool.
//!
//! POPULATE TOKEN, WRITE USING TOKEN and everything else with ROD tokens are not supported.

mod copier;
mod cscd;
mod failure;
mod operation;
mod parameter_list;
mod parties;
mod plan;
mod receive;
mod running;
mod segment;
mod vpd;

use std::sync::Arc;

pub use cscd::Cscd;
pub use parameter_list::{ListFormat, ListIdUsage, ParameterList};
pub use segment::{CscdId, Segment};

use crate::cdb::{Cdb, CommandId, ParsedCdb};
use crate::handler::{Execute, Execution, Outcome, Transfer};
use crate::nexus::{Itl, Nexus};
use crate::sense::Sense;
use crate::service::UnitService;
use crate::stats::Counter;
use copier::Copier;
use operation::Operations;
pub(crate) use running::Running;

/// The commands that are supported, in the order of the table of opcodes.
const SUPPORTED: [CommandId; 9] = [
    CommandId::ExtendedCopyLid1,
    CommandId::ExtendedCopyLid4,
    CommandId::CopyOperationAbort,
    CommandId::ReceiveCopyStatusLid1,
    CommandId::ReceiveCopyDataLid1,
    CommandId::ReceiveCopyOperatingParameters,
    CommandId::ReceiveCopyFailureDetailsLid1,
    CommandId::ReceiveCopyStatusLid4,
    CommandId::ReceiveCopyDataLid4,
];

/// DATA SEGMENT GRANULARITY: log2 of the smallest block of any unit.
const GRANULARITY: u8 = 9;
/// Header of a LID4 list, the longer one.
const LONGEST_HEADER: usize = 48;

/// What a copy manager takes on. RECEIVE COPY OPERATING PARAMETERS and the Third-party Copy VPD page report it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CopyLimits {
    /// MAXIMUM CSCD DESCRIPTOR COUNT.
    pub cscd_descriptors: u16,
    /// MAXIMUM SEGMENT DESCRIPTOR COUNT.
    pub segment_descriptors: u16,
    /// MAXIMUM SEGMENT LENGTH in bytes.
    pub segment_bytes: u32,
    /// TOTAL CONCURRENT COPIES of the unit's copy manager; beyond, BUSY.
    pub copies: u8,
    /// MAXIMUM CONCURRENT COPIES of one session; beyond, BUSY.
    pub copies_per_session: u8,
    /// Copies that run on one shard for whatever units; beyond, BUSY.
    pub copies_per_shard: u8,
    /// Copies of a session that have ended and can still be asked for; the oldest is forgotten.
    pub results_kept: u8,
    /// Bytes of one read and write.
    pub chunk_bytes: u32,
    /// Chunks of one copy in flight.
    pub chunks: u8,
}

impl Default for CopyLimits {
    fn default() -> Self {
        Self {
            cscd_descriptors: 64,
            segment_descriptors: 256,
            segment_bytes: 256 << 20,
            copies: 64,
            copies_per_session: 16,
            copies_per_shard: 32,
            results_kept: 16,
            chunk_bytes: 1 << 20,
            chunks: 2,
        }
    }
}

impl CopyLimits {
    /// MAXIMUM DESCRIPTOR LIST LENGTH in bytes: as many descriptors as there may be, of the most common kinds.
    #[must_use]
    pub fn descriptor_list_bytes(&self) -> usize {
        usize::from(self.cscd_descriptors) * Cscd::LEN
            + usize::from(self.segment_descriptors) * Segment::LEN
    }
}

/// What the copy manager of a unit has done.
#[derive(Debug, Default)]
pub struct CopyStats {
    /// Copies that did all that they were asked to.
    pub done: Counter,
    /// Copies that failed or were aborted after they were accepted.
    pub failed: Counter,
    /// Bytes copied.
    pub bytes: Counter,
    /// Of these, bytes that the device handlers copied by themselves: no byte went through this process.
    pub offloaded_bytes: Counter,
}

/// The copy manager of one unit; see the module's head.
///
/// ```
/// use std::sync::Arc;
/// use lunforge_core::LogicalUnit;
/// use lunforge_core::copy::{CopyLimits, CopyManager};
/// # use lunforge_core::testing::doubles::Blank;
///
/// let copies = Arc::new(CopyManager::new(CopyLimits::default()));
/// let unit = LogicalUnit::builder(Arc::new(Blank::default()))
///     .service(Arc::clone(&copies) as _)
///     .build();
/// # drop(unit);
/// assert_eq!(copies.stats().done.value(), 0);
/// ```
#[derive(Debug)]
pub struct CopyManager {
    limits: CopyLimits,
    operations: Operations,
    stats: Arc<CopyStats>,
}

impl Default for CopyManager {
    fn default() -> Self {
        Self::new(CopyLimits::default())
    }
}

impl CopyManager {
    /// A copy manager for one unit.
    #[must_use]
    pub fn new(limits: CopyLimits) -> Self {
        Self {
            limits,
            operations: Operations::default(),
            stats: Arc::default(),
        }
    }

    /// What it has done.
    pub fn stats(&self) -> &CopyStats {
        &self.stats
    }

    /// EXTENDED COPY.
    fn copy(&self, command: &mut Execution<'_>, format: ListFormat) -> Execute {
        let len = command.buf().len();
        let bytes = command.buf().to_vec(0..len);
        let list = match ParameterList::parse(format, &bytes, &self.limits) {
            Ok(Some(list)) => list,
            Ok(None) => return Execute::Done(Outcome::good()),
            Err(sense) => return Execute::Done(sense.into()),
        };
        let operation = match self.operations.begin(command.nexus(), &list, &self.limits) {
            Ok(operation) => operation,
            Err(outcome) => return Execute::Done(outcome),
        };
        let immediate = list.immediate;
        let copier = Copier::new(command, list, operation, self.limits, &self.stats);
        if immediate {
            copier.begin_on_shard(command, None);
            return Execute::Done(Outcome::good());
        }
        let token = command.defer_cancellable();
        copier.begin_on_shard(command, Some(token));
        Execute::Pending
    }

    /// COPY OPERATION ABORT (SPC-4 6.3): answered when nothing of the copy can take effect any more.
    fn abort(&self, command: &mut Execution<'_>, list_id: u32) -> Execute {
        let nexus = command.nexus();
        let token = || command.defer_cancellable();
        if self.operations.abort(nexus, list_id, token) {
            return Execute::Pending;
        }
        Execute::Done(Sense::invalid_field_in_cdb(2, None).into())
    }

    /// RECEIVE COPY RESULTS in its several forms.
    fn receive(&self, command: &mut Execution<'_>, list_id: u32) -> Execute {
        let data = match self.parameter_data(command, list_id) {
            Ok(data) => data,
            Err(sense) => return Execute::Done(sense.into()),
        };
        Execute::Done(Outcome::data(command.buf().write_at(0, &data)))
    }

    fn parameter_data(&self, command: &Execution<'_>, list_id: u32) -> Result<Vec<u8>, Sense> {
        use CommandId as Id;
        let format = command.unit().handler().control().sense_format();
        let id = command.parsed().entry.id;
        if id == Id::ReceiveCopyOperatingParameters {
            return Ok(receive::operating_parameters(&self.limits));
        }
        let lid4 = matches!(id, Id::ReceiveCopyStatusLid4 | Id::ReceiveCopyDataLid4);
        let of = if lid4 {
            ListFormat::Lid4
        } else {
            ListFormat::Lid1
        };
        let unknown = Sense::invalid_field_in_cdb(2, None);
        let found = self.operations.find(command.nexus(), of, list_id);
        let operation = found.ok_or(unknown)?;
        let progress = operation.progress();
        match id {
            Id::ReceiveCopyStatusLid1 => Ok(receive::status_lid1(&progress)),
            // Before the end there is nothing to fetch.
            Id::ReceiveCopyDataLid1 | Id::ReceiveCopyFailureDetailsLid1
                if progress.end.is_none() =>
            {
                Err(unknown)
            }
            Id::ReceiveCopyDataLid1 => Ok(receive::data_lid1()),
            Id::ReceiveCopyFailureDetailsLid1 => Ok(receive::failure_details(&progress, format)),
            _ => {
                let held = id == Id::ReceiveCopyDataLid4;
                Ok(receive::lid4(&progress, operation.background, format, held))
            }
        }
    }
}

impl UnitService for CopyManager {
    fn claims(&self, command: CommandId) -> bool {
        matches!(command.entry().opcode, 0x83 | 0x84)
    }

    fn supports(&self, command: CommandId) -> bool {
        SUPPORTED.contains(&command)
    }

    fn prepare(&self, cdb: &ParsedCdb) -> Result<Transfer, Sense> {
        match cdb.cdb {
            Cdb::ExtendedCopy {
                parameter_list_len, ..
            } => {
                let len = parameter_list_len as usize;
                if len > self.limits.descriptor_list_bytes() + LONGEST_HEADER {
                    return Err(parameter_list::length_error());
                }
                Ok(if len == 0 {
                    Transfer::None
                } else {
                    Transfer::Out(len)
                })
            }
            Cdb::ReceiveCopyResults { alloc, .. } => Ok(match alloc as usize {
                0 => Transfer::None,
                len => Transfer::In(len.min(receive::MAX_LEN)),
            }),
            _ => Ok(Transfer::None),
        }
    }

    fn execute(&self, command: &mut Execution<'_>) -> Execute {
        match *command.cdb() {
            Cdb::ExtendedCopy { service_action, .. } => {
                let lid1 = service_action == 0;
                self.copy(
                    command,
                    if lid1 {
                        ListFormat::Lid1
                    } else {
                        ListFormat::Lid4
                    },
                )
            }
            Cdb::CopyOperationAbort { list_id } => self.abort(command, list_id),
            Cdb::ReceiveCopyResults { list_id, .. } => self.receive(command, list_id),
            _ => Execute::Done(Sense::invalid_field_in_cdb(1, Some(4)).into()),
        }
    }

    fn left(&self, itl: &Arc<Itl>) {
        self.operations.forget(Some(itl.nexus.id));
    }

    fn reset(&self) {
        self.operations.forget(None);
    }

    fn inquiry(&self, _: &Nexus, standard: &mut [u8]) {
        // 3PC.
        if let Some(byte) = standard.get_mut(5) {
            *byte |= 0x08;
        }
    }

    fn vpd_pages(&self) -> Vec<u8> {
        vec![vpd::PAGE]
    }

    fn vpd(&self, page: u8, _: &Nexus) -> Option<Vec<u8>> {
        (page == vpd::PAGE).then(|| vpd::body(&self.limits))
    }
}
