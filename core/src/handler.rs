//! The device server's half of a command: what a logical unit's type does, apart from what every unit does.
//!
//! The pipeline calls [`DeviceHandler::prepare`] when a command arrives and [`DeviceHandler::execute`] when its
//! turn has come and its data is there. Both run on a shard and must not block: what may block takes the
//! [`CompletionToken`] by [`Execution::defer`] and finishes it later, from any thread.

use std::any::Any;
use std::sync::{Arc, Weak};

use crate::asc::Asc;
use crate::buffer::IoBuf;
use crate::cdb::{Cdb, CommandId, ParsedCdb};
use crate::designator::Designator;
use crate::lu::LogicalUnit;
use crate::nexus::{Itl, NexusId};
use crate::offload::Offload;
use crate::sense::{Sense, SenseFormat};
use crate::shard::completion::{Cancel, CommandKey, CompletionToken};
use crate::shard::mailbox::Mailbox;
use crate::status::Status;
use crate::units::{BlockCount, Lba};

/// How a command ended: a value, not an error (house rule: SCSI outcomes are data).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// SCSI status (SAM-5 5.3).
    pub status: Status,
    /// Sense data, with CHECK CONDITION.
    pub sense: Option<Sense>,
    /// Bytes at the start of the command's buffer to send as Data-In.
    pub data_in: usize,
}

impl Outcome {
    /// GOOD without data.
    pub const fn good() -> Self {
        Self {
            status: Status::Good,
            sense: None,
            data_in: 0,
        }
    }

    /// GOOD with `len` bytes of Data-In in the buffer.
    pub const fn data(len: usize) -> Self {
        Self {
            status: Status::Good,
            sense: None,
            data_in: len,
        }
    }

    /// CHECK CONDITION with `sense`.
    pub const fn check(sense: Sense) -> Self {
        Self {
            status: Status::CheckCondition,
            sense: Some(sense),
            data_in: 0,
        }
    }

    /// A status that carries neither sense nor data (BUSY, TASK SET FULL, RESERVATION CONFLICT).
    pub const fn status(status: Status) -> Self {
        Self {
            status,
            sense: None,
            data_in: 0,
        }
    }
}

impl From<Sense> for Outcome {
    fn from(sense: Sense) -> Self {
        Self::check(sense)
    }
}

/// Bytes a command moves by its CDB and parameters, whatever the initiator expects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transfer {
    /// No data.
    None,
    /// Device to initiator, at most so many bytes.
    In(usize),
    /// Initiator to device, so many bytes; of an initiator that sends less, the command gets what it sends.
    Out(usize),
    /// Initiator to device, exactly so many bytes: an initiator that means to send more or less is refused with
    /// INVALID FIELD IN CDB.
    OutExactly(usize),
    /// Initiator to device, as much as the initiator means to send, cut to so many bytes: for a parameter list whose
    /// length the CDB does not tell (FORMAT UNIT).
    OutAtMost(usize),
}

/// What `execute` says.
#[derive(Debug)]
#[must_use]
pub enum Execute {
    /// Finished; Data-In, if any, lies in [`Execution::buf`].
    Done(Outcome),
    /// The token was taken by [`Execution::defer`] and will be completed.
    Pending,
}

/// Who a logical unit is: stable over restarts, the same on every path, never shared with another unit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// T10 vendor identification, up to 8 ASCII characters.
    pub vendor: String,
    /// Product identification, up to 16 ASCII characters.
    pub product: String,
    /// Product revision level, up to 4 ASCII characters.
    pub revision: String,
    /// Unit serial number (VPD page 80h), ASCII.
    pub serial: String,
    /// Designators associated with the logical unit (VPD page 83h).
    pub designators: Vec<Designator>,
}

/// What INQUIRY tells of a device type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceProfile {
    /// PERIPHERAL DEVICE TYPE, 00h for a direct access block device.
    pub device_type: u8,
    /// RMB: the medium can be taken out.
    pub removable: bool,
    /// Version descriptors of the command set (INQUIRY bytes 58..), for instance 04C0h for SBC-3.
    pub version_descriptors: Vec<u16>,
}

/// QERR: what becomes of the other commands of a task set when one ends with CHECK CONDITION (SPC-4 7.5.8).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum QueueError {
    /// 00b: they go on.
    #[default]
    Continue,
    /// 01b: all of the task set are aborted.
    AbortAll,
    /// 11b: those of the nexus whose command failed are aborted.
    AbortNexus,
}

/// UA_INTLCK_CTRL: whether reporting a unit attention condition clears it (SPC-4 7.5.8).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum UnitAttentionInterlock {
    /// 00b: the report clears it.
    #[default]
    Clear,
    /// 10b: only REQUEST SENSE clears it.
    Keep,
    /// 11b: as 10b, and BUSY, TASK SET FULL and RESERVATION CONFLICT establish one.
    KeepAndEstablish,
}

/// The control mode page fields that the pipeline obeys (SPC-4 7.5.8).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ControlMode {
    /// D_SENSE: sense in descriptor format.
    pub descriptor_sense: bool,
    /// QUEUE ALGORITHM MODIFIER is 0: no command overtakes another.
    pub restricted_reordering: bool,
    /// TST is 000b: one task set for all nexuses; else 001b, one each. Does not change while the unit lives.
    pub shared_task_set: bool,
    /// QERR.
    pub queue_error: QueueError,
    /// TAS: a command that another nexus aborted ends with TASK ABORTED instead of silently.
    pub task_aborted_status: bool,
    /// TMF_ONLY: during an auto contingent allegiance of the nexus, not even ACA commands are let in.
    pub tmf_only: bool,
    /// UA_INTLCK_CTRL.
    pub interlock: UnitAttentionInterlock,
}

impl ControlMode {
    /// The format in which sense data is built.
    pub fn sense_format(&self) -> SenseFormat {
        if self.descriptor_sense {
            SenseFormat::Descriptor
        } else {
            SenseFormat::Fixed
        }
    }
}

/// What a handler can promise about operations that it has not finished.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fence {
    /// No unfinished operation can change the medium any more.
    Fenced,
    /// Unfinished operations may still take effect. The core lets no new command at the medium before they end.
    Unfenced,
}

/// A device type behind a logical unit.
///
/// SPC commands that are the same for every device (INQUIRY, REPORT LUNS, REQUEST SENSE, REPORT SUPPORTED
/// OPERATION CODES, REPORT SUPPORTED TASK MANAGEMENT FUNCTIONS, TEST UNIT READY) are answered by the core from
/// what this trait tells; everything else comes to [`DeviceHandler::execute`].
pub trait DeviceHandler: Send + Sync + 'static {
    /// Who the unit is.
    fn identity(&self) -> Identity;

    /// What kind of device it is.
    fn profile(&self) -> DeviceProfile;

    /// Vendor specific INQUIRY data (SPC-4 6.6.2): the first 20 bytes are 36 to 55, further ones begin at 96.
    fn vendor_specific(&self) -> Vec<u8> {
        Vec::new()
    }

    /// Whether the handler executes this command. Those that the core answers need not be named.
    fn supports(&self, command: CommandId) -> bool;

    /// VPD pages beyond 00h, 80h, 83h and 86h: ascending page codes.
    fn vpd_pages(&self) -> Vec<u8>;

    /// The body of a page of [`DeviceHandler::vpd_pages`], without the four header bytes.
    fn vpd(&self, page: u8) -> Option<Vec<u8>>;

    /// Whether the unit can access its medium (TEST UNIT READY).
    ///
    /// # Errors
    /// The sense to report, for instance NOT READY, MEDIUM NOT PRESENT.
    fn ready(&self) -> Result<(), Sense>;

    /// Whether writes are answered before they are on the medium (V_SUP of the extended INQUIRY data).
    fn volatile_cache(&self) -> bool {
        false
    }

    /// Control mode page in force.
    fn control(&self) -> ControlMode {
        ControlMode::default()
    }

    /// Checks a command before any data moves, and says how much data it moves.
    ///
    /// # Errors
    /// The sense that ends the command: out of range, invalid field, write protected.
    fn prepare(&self, cdb: &ParsedCdb) -> Result<Transfer, Sense>;

    /// Executes a command. For [`Transfer::Out`] the data lies in `command.buf`; for [`Transfer::In`] the buffer
    /// has that length and unknown content.
    ///
    /// Runs on the shard; must not block.
    fn execute(&self, command: &mut Execution<'_>) -> Execute;

    /// A logical unit or target reset happened; nothing is executing. Volatile settings go back to saved ones.
    fn reset(&self) {}

    /// A session that used the unit was lost or closed: what the handler keeps for it alone (medium removal prevention,
    /// buffers) goes. Runs on the shard; must not block.
    fn nexus_lost(&self, nexus: NexusId) {
        let _ = nexus;
    }

    /// Gives the medium up, to another node for instance: returns with everything durable, the device closed, and
    /// nothing of what was begun able to take effect. May block; not called on a shard.
    ///
    /// # Errors
    /// What could not be made durable; the device is closed all the same.
    fn deactivate(&self) -> std::io::Result<()> {
        Ok(())
    }

    /// Takes the medium again. May block; not called on a shard.
    ///
    /// # Errors
    /// Why the device cannot be opened; the unit stays NOT READY.
    fn activate(&self) -> std::io::Result<()> {
        Ok(())
    }

    /// What REQUEST SENSE reports of a unit that is ready and has no unit attention: pollable sense data (SPC-4 6.39),
    /// for instance the progress of a background operation. `None`: NO SENSE.
    fn pollable_sense(&self) -> Option<Sense> {
        None
    }

    /// This handler as what it is, for others of its kind ([`DeviceHandler::copy_from`]).
    fn as_any(&self) -> Option<&dyn Any> {
        None
    }

    /// Whether [`DeviceHandler::copy_from`] is worth trying for this source. Cheap.
    fn copies_from(&self, source: &Arc<dyn DeviceHandler>) -> bool {
        let _ = source;
        false
    }

    /// Copies `blocks` from block `from` of `source` to block `to` of this unit without moving them through the caller,
    /// as if by a write of this unit: as durable, and refused by a fence. Completes `command`, which may be one of
    /// another unit; reservations and exclusion are the caller's business.
    ///
    /// `None`: this cannot be done (other kind of handler, other block size, overlap, not ready, out of range), nothing
    /// has happened and the caller reads and writes. A copy that ends with another status than GOOD may have copied a
    /// part; reading and writing the same blocks again is safe and tells which side is at fault. Runs on a shard and
    /// does not block. The copy is made in pieces; `blocks` should not exceed a few MiB, so that an abort is prompt.
    fn copy_from(
        &self,
        command: &mut Execution<'_>,
        source: &Arc<dyn DeviceHandler>,
        from: Lba,
        to: Lba,
        blocks: BlockCount,
    ) -> Option<Execute> {
        let _ = (command, source, from, to, blocks);
        None
    }

    /// Makes sure that operations begun before now have no effect from now on, if it can.
    ///
    /// Called when commands did not end within their bound. Must not block.
    fn fence(&self) -> Fence {
        Fence::Unfenced
    }

    /// The unit was put into a target; `events` reaches its initiators.
    fn attached(&self, events: UnitEvents) {
        drop(events);
    }

    /// The engine stops: make everything durable. Runs on the stopping thread and may block.
    ///
    /// # Errors
    /// What could not be made durable.
    fn shutdown(&self) -> std::io::Result<()> {
        Ok(())
    }
}

/// A handler's way to tell a unit's initiators of a change.
#[derive(Debug, Clone, Default)]
pub struct UnitEvents(pub(crate) Weak<LogicalUnit>);

impl UnitEvents {
    /// Establishes a unit attention for every nexus, except for `but`.
    pub fn unit_attention(&self, asc: Asc, but: Option<NexusId>) {
        if let Some(lu) = self.0.upgrade() {
            lu.unit_attention(asc, but);
        }
    }
}

/// A command at the moment of its execution.
pub struct Execution<'a> {
    pub(crate) cdb: &'a ParsedCdb,
    pub(crate) itl: &'a Arc<Itl>,
    pub(crate) buf: IoBuf,
    pub(crate) lu: &'a Arc<LogicalUnit>,
    pub(crate) offload: &'a Offload,
    pub(crate) key: CommandKey,
    pub(crate) mailbox: &'a Arc<Mailbox>,
    pub(crate) deferred: bool,
    pub(crate) cancel: Option<Arc<Cancel>>,
    pub(crate) exclusion_ended: bool,
}

impl Execution<'_> {
    /// The command.
    pub fn cdb(&self) -> &Cdb {
        &self.cdb.cdb
    }

    /// The command with its table entry and control byte.
    pub fn parsed(&self) -> &ParsedCdb {
        self.cdb
    }

    /// The nexus it came by.
    pub fn nexus(&self) -> NexusId {
        self.itl.nexus.id
    }

    /// What the unit keeps for that nexus.
    pub fn itl(&self) -> &Arc<Itl> {
        self.itl
    }

    /// Data-Out that arrived, or room for Data-In.
    ///
    /// When the initiator sent less Data-Out than the CDB asks for, the buffer is that much shorter.
    pub fn buf(&mut self) -> &mut IoBuf {
        &mut self.buf
    }

    /// The data, taken out; an empty buffer stays.
    pub fn take_buf(&mut self) -> IoBuf {
        std::mem::take(&mut self.buf)
    }

    /// Puts a buffer (back) in, for an inline completion.
    pub fn put_buf(&mut self, buf: IoBuf) {
        self.buf = buf;
    }

    /// The unit, to raise unit attentions for other nexuses.
    pub fn unit(&self) -> &Arc<LogicalUnit> {
        self.lu
    }

    /// Where work that blocks is done: the unit's part of the engine's threads.
    pub fn offload(&self) -> Offload {
        self.offload.of(self.lu.id())
    }

    /// Takes the right to complete the command, for later and from any thread. `execute` then returns
    /// [`Execute::Pending`].
    ///
    /// # Panics
    /// When called twice for one command: a bug of the handler.
    pub fn defer(&mut self) -> CompletionToken {
        assert!(!self.deferred, "a command is deferred once");
        self.deferred = true;
        CompletionToken::new(Arc::clone(self.mailbox), self.key, None)
    }

    /// Lets other commands run although this one, which runs alone
    /// ([`Attributes::EXCLUSIVE`](crate::cdb::Attributes::EXCLUSIVE)), is not finished: takes effect when `execute`
    /// returns. For a command that goes on in the background behind refusals of its handler's own (FORMAT UNIT,
    /// SANITIZE).
    pub fn end_exclusion(&mut self) {
        self.exclusion_ended = true;
    }

    /// As [`Execution::defer`], for a command whose effect comes all at once at its end:
    /// [`CompletionToken::commit`] tells whether it still may.
    ///
    /// # Panics
    /// As [`Execution::defer`].
    pub fn defer_cancellable(&mut self) -> CompletionToken {
        assert!(!self.deferred, "a command is deferred once");
        self.deferred = true;
        let cancel = Arc::new(Cancel::default());
        self.cancel = Some(Arc::clone(&cancel));
        CompletionToken::new(Arc::clone(self.mailbox), self.key, Some(cancel))
    }
}
