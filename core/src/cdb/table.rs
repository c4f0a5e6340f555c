//! The one table of opcodes: what each command is called, how long its CDB is, which bits of it
//! mean something, which way its data goes and how it is classified.
//!
//! A row is here because the command exists (SPC-4/5, SBC-3/4, a few of MMC-6), not because a device
//! supports it: that is decided by [`CommandId`] elsewhere.

use super::class::{Attributes, CommandClass, Direction, Timeouts};
use crate::asc::Asc;
use crate::sense::Sense;

/// The CONTROL byte (SAM-5 5.2) as REPORT SUPPORTED OPERATION CODES shows it: of it only NACA is evaluated.
const CTL: u8 = 0x04;
/// Bits of the CONTROL byte the parser lets pass: NACA and the two vendor specific ones, which are ignored.
const CONTROL_ACCEPTED: u8 = 0xC4;

/// One command: an opcode, or one service action of an opcode.
#[derive(Debug)]
pub struct OpcodeEntry {
    /// The command this row describes.
    pub id: CommandId,
    /// OPERATION CODE.
    pub opcode: u8,
    /// SERVICE ACTION, for opcodes that have one.
    pub service_action: Option<u16>,
    /// The name T10 gave it.
    pub name: &'static str,
    /// CDB USAGE DATA (SPC-4 6.35.3): the opcode, the service action, and for all else a one for each
    /// bit that is evaluated. Its length is the length of the CDB.
    pub usage: &'static [u8],
    /// Direction of the data, if the CDB asks for any.
    pub direction: Direction,
    /// Access class. START STOP UNIT and PREVENT ALLOW MEDIUM REMOVAL may turn out milder once their
    /// fields are known, see [`super::ParsedCdb::class`].
    pub class: CommandClass,
    /// Queueing and admission.
    pub attributes: Attributes,
    /// What RCTD reports.
    pub timeouts: Timeouts,
    /// Bits that must be zero, as two big-endian words over bytes 0 to 15 and 16 to 31.
    forbidden: [u128; 2],
}

impl OpcodeEntry {
    /// Length of the CDB in bytes: 6, 10, 12, 16 or 32.
    #[must_use]
    pub const fn cdb_len(&self) -> usize {
        self.usage.len()
    }

    /// Whether all of `attributes` apply.
    #[must_use]
    pub const fn has(&self, attributes: Attributes) -> bool {
        self.attributes.contains(attributes)
    }

    /// The first bit that is set although it is reserved, as byte and bit number. `head` is bytes 0 to 15;
    /// those beyond the CDB do not matter.
    #[inline]
    pub(super) fn reserved_in_head(&self, head: u128) -> Option<(u16, u8)> {
        let wrong = head & self.forbidden[0];
        if wrong == 0 {
            None
        } else {
            Some(place(wrong, 0))
        }
    }

    /// The same for bytes 16 to 31 of the 32-byte CDBs.
    pub(super) fn reserved_in_tail(&self, tail: u128) -> Option<(u16, u8)> {
        let wrong = tail & self.forbidden[1];
        if wrong == 0 {
            None
        } else {
            Some(place(wrong, 16))
        }
    }
}

/// Byte and bit number of the first one in `word`, which starts at byte `base`.
#[cold]
fn place(word: u128, base: u16) -> (u16, u8) {
    // Below 128, so that neither conversion cuts anything.
    let at = word.leading_zeros();
    (base + (at / 8) as u16, 7 - (at % 8) as u8)
}

/// The complement of `usage` over 32 bytes; bytes beyond the CDB are not looked at.
const fn forbidden_bits(usage: &[u8]) -> [u128; 2] {
    let control = if usage[0] == 0x7F { 1 } else { usage.len() - 1 };
    let mut words = [0u128; 2];
    let mut at = 0;
    while at < 32 {
        let accepted = if at >= usage.len() {
            0xFF
        } else if at == control {
            CONTROL_ACCEPTED
        } else {
            usage[at]
        };
        words[at / 16] = words[at / 16] << 8 | (!accepted) as u128;
        at += 1;
    }
    words
}

/// Declares the ids and the table from one list. Rows ascend by opcode, then service action.
macro_rules! opcodes {
    ($(
        $id:ident, $opcode:literal, $sa:expr, $name:literal, $direction:ident, $class:ident,
        [$($attribute:ident),*], $timeouts:ident, [$($usage:expr),*];
    )*) => {
        /// The commands the table knows.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum CommandId {
            $(
                #[doc = $name]
                $id,
            )*
        }

        /// Every command, ascending by opcode and service action, in the order of [`CommandId`].
        pub static TABLE: [OpcodeEntry; CommandId::COUNT] = [$(
            OpcodeEntry {
                id: CommandId::$id,
                opcode: $opcode,
                service_action: $sa,
                name: $name,
                usage: &[$($usage),*],
                direction: Direction::$direction,
                class: CommandClass::$class,
                attributes: Attributes::empty()$(.union(Attributes::$attribute))*,
                timeouts: Timeouts::$timeouts,
                forbidden: forbidden_bits(&[$($usage),*]),
            },
        )*];

        impl CommandId {
            /// Number of commands.
            pub const COUNT: usize = [$($opcode),*].len();
        }
    };
}

opcodes! {
    TestUnitReady, 0x00, None, "TEST UNIT READY", None, TEST_UNIT_READY, [IMPLICIT_HEAD_OF_QUEUE, NEEDS_MEDIUM], SHORT,
        [0x00, 0, 0, 0, 0, CTL];
    RequestSense, 0x03, None, "REQUEST SENSE", In, REQUEST_SENSE, [PASSES_UNIT_ATTENTION, WITHOUT_LOGICAL_UNIT, DURING_FORMAT], SHORT,
        [0x03, 0x01, 0, 0, 0xFF, CTL];
    FormatUnit, 0x04, None, "FORMAT UNIT", Out, WRITE, [WRITES_MEDIUM, NEEDS_MEDIUM, EXCLUSIVE], WHOLE,
        [0x04, 0xFF, 0, 0, 0, CTL];
    ReassignBlocks, 0x07, None, "REASSIGN BLOCKS", Out, WRITE, [WRITES_MEDIUM, NEEDS_MEDIUM], LONG,
        [0x07, 0x03, 0, 0, 0, CTL];
    Read6, 0x08, None, "READ(6)", In, READ, [NEEDS_MEDIUM], MEDIUM,
        [0x08, 0x1F, 0xFF, 0xFF, 0xFF, CTL];
    Write6, 0x0A, None, "WRITE(6)", Out, WRITE, [WRITES_MEDIUM, NEEDS_MEDIUM], MEDIUM,
        [0x0A, 0x1F, 0xFF, 0xFF, 0xFF, CTL];
    Inquiry, 0x12, None, "INQUIRY", In, INQUIRY, [IMPLICIT_HEAD_OF_QUEUE, PASSES_UNIT_ATTENTION, WITHOUT_LOGICAL_UNIT, DURING_FORMAT], SHORT,
        [0x12, 0x01, 0xFF, 0xFF, 0xFF, CTL];
    ModeSelect6, 0x15, None, "MODE SELECT(6)", Out, MODE_SELECT, [EXCLUSIVE], SHORT,
        [0x15, 0x11, 0, 0, 0xFF, CTL];
    Reserve6, 0x16, None, "RESERVE(6)", None, RESERVE, [OUTSIDE_GATE], SHORT,
        [0x16, 0, 0, 0, 0, CTL];
    Release6, 0x17, None, "RELEASE(6)", None, RELEASE, [OUTSIDE_GATE], SHORT,
        [0x17, 0, 0, 0, 0, CTL];
    ModeSense6, 0x1A, None, "MODE SENSE(6)", In, MODE_SENSE, [], SHORT,
        [0x1A, 0x08, 0xFF, 0xFF, 0xFF, CTL];
    StartStopUnit, 0x1B, None, "START STOP UNIT", None, STOP, [], MEDIUM,
        [0x1B, 0x01, 0, 0x0F, 0xF7, CTL];
    ReceiveDiagnosticResults, 0x1C, None, "RECEIVE DIAGNOSTIC RESULTS", In, MODE_SENSE, [], SHORT,
        [0x1C, 0x01, 0xFF, 0xFF, 0xFF, CTL];
    SendDiagnostic, 0x1D, None, "SEND DIAGNOSTIC", Out, DIAGNOSTIC, [], LONG,
        [0x1D, 0xF7, 0, 0xFF, 0xFF, CTL];
    PreventAllowMediumRemoval, 0x1E, None, "PREVENT ALLOW MEDIUM REMOVAL", None, PREVENT_REMOVAL, [], SHORT,
        [0x1E, 0, 0, 0, 0x03, CTL];
    ReadFormatCapacities, 0x23, None, "READ FORMAT CAPACITIES", In, READ_CAPACITY, [], SHORT,
        [0x23, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF, CTL];
    ReadCapacity10, 0x25, None, "READ CAPACITY(10)", In, READ_CAPACITY, [IMPLICIT_HEAD_OF_QUEUE, NEEDS_MEDIUM], SHORT,
        [0x25, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0, 0x01, CTL];
    Read10, 0x28, None, "READ(10)", In, READ, [NEEDS_MEDIUM], MEDIUM,
        [0x28, 0xFE, 0xFF, 0xFF, 0xFF, 0xFF, 0x3F, 0xFF, 0xFF, CTL];
    Write10, 0x2A, None, "WRITE(10)", Out, WRITE, [WRITES_MEDIUM, NEEDS_MEDIUM], MEDIUM,
        [0x2A, 0xFA, 0xFF, 0xFF, 0xFF, 0xFF, 0x3F, 0xFF, 0xFF, CTL];
    WriteAndVerify10, 0x2E, None, "WRITE AND VERIFY(10)", Out, WRITE, [WRITES_MEDIUM, NEEDS_MEDIUM], MEDIUM,
        [0x2E, 0xF6, 0xFF, 0xFF, 0xFF, 0xFF, 0x3F, 0xFF, 0xFF, CTL];
    Verify10, 0x2F, None, "VERIFY(10)", Out, READ, [NEEDS_MEDIUM], MEDIUM,
        [0x2F, 0xF6, 0xFF, 0xFF, 0xFF, 0xFF, 0x3F, 0xFF, 0xFF, CTL];
    PreFetch10, 0x34, None, "PRE-FETCH(10)", None, READ, [NEEDS_MEDIUM], MEDIUM,
        [0x34, 0x02, 0xFF, 0xFF, 0xFF, 0xFF, 0x3F, 0xFF, 0xFF, CTL];
    SynchronizeCache10, 0x35, None, "SYNCHRONIZE CACHE(10)", None, SYNCHRONIZE_CACHE, [NEEDS_MEDIUM], LONG,
        [0x35, 0x06, 0xFF, 0xFF, 0xFF, 0xFF, 0x3F, 0xFF, 0xFF, CTL];
    ReadDefectData10, 0x37, None, "READ DEFECT DATA(10)", In, READ, [NEEDS_MEDIUM], MEDIUM,
        [0x37, 0, 0x1F, 0, 0, 0, 0, 0xFF, 0xFF, CTL];
    WriteBuffer, 0x3B, None, "WRITE BUFFER", Out, WRITE_BUFFER, [], MEDIUM,
        [0x3B, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, CTL];
    ReadBuffer10, 0x3C, None, "READ BUFFER(10)", In, READ_BUFFER, [], MEDIUM,
        [0x3C, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, CTL];
    ReadLong10, 0x3E, None, "READ LONG(10)", In, OTHER, [NEEDS_MEDIUM], MEDIUM,
        [0x3E, 0x06, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0xFF, 0xFF, CTL];
    WriteLong10, 0x3F, None, "WRITE LONG(10)", Out, WRITE, [WRITES_MEDIUM, NEEDS_MEDIUM], MEDIUM,
        [0x3F, 0xE0, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0xFF, 0xFF, CTL];
    WriteSame10, 0x41, None, "WRITE SAME(10)", Out, WRITE, [WRITES_MEDIUM, NEEDS_MEDIUM], LONG,
        [0x41, 0xF8, 0xFF, 0xFF, 0xFF, 0xFF, 0x3F, 0xFF, 0xFF, CTL];
    Unmap, 0x42, None, "UNMAP", Out, WRITE, [WRITES_MEDIUM, NEEDS_MEDIUM], LONG,
        [0x42, 0x01, 0, 0, 0, 0, 0x3F, 0xFF, 0xFF, CTL];
    ReadToc, 0x43, None, "READ TOC/PMA/ATIP", In, READ, [NEEDS_MEDIUM], SHORT,
        [0x43, 0x02, 0x0F, 0, 0, 0, 0xFF, 0xFF, 0xFF, CTL];
    GetConfiguration, 0x46, None, "GET CONFIGURATION", In, READ, [PASSES_UNIT_ATTENTION], SHORT,
        [0x46, 0x03, 0xFF, 0xFF, 0, 0, 0, 0xFF, 0xFF, CTL];
    SanitizeOverwrite, 0x48, Some(0x01), "SANITIZE OVERWRITE", Out, WRITE, [WRITES_MEDIUM, NEEDS_MEDIUM, EXCLUSIVE], WHOLE,
        [0x48, 0xA1, 0, 0, 0, 0, 0, 0xFF, 0xFF, CTL];
    SanitizeBlockErase, 0x48, Some(0x02), "SANITIZE BLOCK ERASE", None, WRITE, [WRITES_MEDIUM, NEEDS_MEDIUM, EXCLUSIVE], WHOLE,
        [0x48, 0xA2, 0, 0, 0, 0, 0, 0, 0, CTL];
    SanitizeCryptographicErase, 0x48, Some(0x03), "SANITIZE CRYPTOGRAPHIC ERASE", None, WRITE, [WRITES_MEDIUM, NEEDS_MEDIUM, EXCLUSIVE], WHOLE,
        [0x48, 0xA3, 0, 0, 0, 0, 0, 0, 0, CTL];
    SanitizeExitFailureMode, 0x48, Some(0x1F), "SANITIZE EXIT FAILURE MODE", None, WRITE, [WRITES_MEDIUM, NEEDS_MEDIUM, EXCLUSIVE], WHOLE,
        [0x48, 0xBF, 0, 0, 0, 0, 0, 0, 0, CTL];
    GetEventStatusNotification, 0x4A, None, "GET EVENT STATUS NOTIFICATION", In, READ, [PASSES_UNIT_ATTENTION], SHORT,
        [0x4A, 0x01, 0, 0, 0xFF, 0, 0, 0xFF, 0xFF, CTL];
    LogSelect, 0x4C, None, "LOG SELECT", Out, LOG_SELECT, [EXCLUSIVE], SHORT,
        [0x4C, 0x03, 0xFF, 0xFF, 0, 0, 0, 0xFF, 0xFF, CTL];
    LogSense, 0x4D, None, "LOG SENSE", In, LOG_SENSE, [], SHORT,
        [0x4D, 0x01, 0xFF, 0xFF, 0, 0xFF, 0xFF, 0xFF, 0xFF, CTL];
    ReadDiscInformation, 0x51, None, "READ DISC INFORMATION", In, READ, [NEEDS_MEDIUM], SHORT,
        [0x51, 0x07, 0, 0, 0, 0, 0, 0xFF, 0xFF, CTL];
    ModeSelect10, 0x55, None, "MODE SELECT(10)", Out, MODE_SELECT, [EXCLUSIVE], SHORT,
        [0x55, 0x11, 0, 0, 0, 0, 0, 0xFF, 0xFF, CTL];
    Reserve10, 0x56, None, "RESERVE(10)", None, RESERVE, [OUTSIDE_GATE], SHORT,
        [0x56, 0, 0, 0, 0, 0, 0, 0, 0, CTL];
    Release10, 0x57, None, "RELEASE(10)", None, RELEASE, [OUTSIDE_GATE], SHORT,
        [0x57, 0, 0, 0, 0, 0, 0, 0, 0, CTL];
    ModeSense10, 0x5A, None, "MODE SENSE(10)", In, MODE_SENSE, [], SHORT,
        [0x5A, 0x18, 0xFF, 0xFF, 0, 0, 0, 0xFF, 0xFF, CTL];
    PrInReadKeys, 0x5E, Some(0x00), "PERSISTENT RESERVE IN READ KEYS", In, PR_IN, [OUTSIDE_GATE], SHORT,
        [0x5E, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF, CTL];
    PrInReadReservation, 0x5E, Some(0x01), "PERSISTENT RESERVE IN READ RESERVATION", In, PR_IN, [OUTSIDE_GATE], SHORT,
        [0x5E, 0x01, 0, 0, 0, 0, 0, 0xFF, 0xFF, CTL];
    PrInReportCapabilities, 0x5E, Some(0x02), "PERSISTENT RESERVE IN REPORT CAPABILITIES", In, PR_IN, [OUTSIDE_GATE], SHORT,
        [0x5E, 0x02, 0, 0, 0, 0, 0, 0xFF, 0xFF, CTL];
    PrInReadFullStatus, 0x5E, Some(0x03), "PERSISTENT RESERVE IN READ FULL STATUS", In, PR_IN, [OUTSIDE_GATE], SHORT,
        [0x5E, 0x03, 0, 0, 0, 0, 0, 0xFF, 0xFF, CTL];
    PrOutRegister, 0x5F, Some(0x00), "PERSISTENT RESERVE OUT REGISTER", Out, PR_OUT, [OUTSIDE_GATE], MEDIUM,
        [0x5F, 0, 0xFF, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF, CTL];
    PrOutReserve, 0x5F, Some(0x01), "PERSISTENT RESERVE OUT RESERVE", Out, PR_OUT, [OUTSIDE_GATE], MEDIUM,
        [0x5F, 0x01, 0xFF, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF, CTL];
    PrOutRelease, 0x5F, Some(0x02), "PERSISTENT RESERVE OUT RELEASE", Out, PR_OUT, [OUTSIDE_GATE], MEDIUM,
        [0x5F, 0x02, 0xFF, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF, CTL];
    PrOutClear, 0x5F, Some(0x03), "PERSISTENT RESERVE OUT CLEAR", Out, PR_OUT, [OUTSIDE_GATE], MEDIUM,
        [0x5F, 0x03, 0xFF, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF, CTL];
    PrOutPreempt, 0x5F, Some(0x04), "PERSISTENT RESERVE OUT PREEMPT", Out, PR_OUT, [OUTSIDE_GATE], MEDIUM,
        [0x5F, 0x04, 0xFF, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF, CTL];
    PrOutPreemptAndAbort, 0x5F, Some(0x05), "PERSISTENT RESERVE OUT PREEMPT AND ABORT", Out, PR_OUT, [OUTSIDE_GATE], MEDIUM,
        [0x5F, 0x05, 0xFF, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF, CTL];
    PrOutRegisterAndIgnoreExistingKey, 0x5F, Some(0x06), "PERSISTENT RESERVE OUT REGISTER AND IGNORE EXISTING KEY", Out, PR_OUT, [OUTSIDE_GATE], MEDIUM,
        [0x5F, 0x06, 0xFF, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF, CTL];
    PrOutRegisterAndMove, 0x5F, Some(0x07), "PERSISTENT RESERVE OUT REGISTER AND MOVE", Out, PR_OUT, [OUTSIDE_GATE], MEDIUM,
        [0x5F, 0x07, 0xFF, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF, CTL];
    PrOutReplaceLostReservation, 0x5F, Some(0x08), "PERSISTENT RESERVE OUT REPLACE LOST RESERVATION", Out, PR_OUT, [OUTSIDE_GATE], MEDIUM,
        [0x5F, 0x08, 0xFF, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF, CTL];
    Read32, 0x7F, Some(0x09), "READ(32)", In, READ, [NEEDS_MEDIUM], MEDIUM,
        [0x7F, CTL, 0, 0, 0, 0, 0x3F, 0x18, 0, 0x09, 0xFE, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF];
    Verify32, 0x7F, Some(0x0A), "VERIFY(32)", Out, READ, [NEEDS_MEDIUM], MEDIUM,
        [0x7F, CTL, 0, 0, 0, 0, 0x3F, 0x18, 0, 0x0A, 0xF6, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF];
    Write32, 0x7F, Some(0x0B), "WRITE(32)", Out, WRITE, [WRITES_MEDIUM, NEEDS_MEDIUM], MEDIUM,
        [0x7F, CTL, 0, 0, 0, 0, 0x3F, 0x18, 0, 0x0B, 0xFA, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF];
    WriteAndVerify32, 0x7F, Some(0x0C), "WRITE AND VERIFY(32)", Out, WRITE, [WRITES_MEDIUM, NEEDS_MEDIUM], MEDIUM,
        [0x7F, CTL, 0, 0, 0, 0, 0x3F, 0x18, 0, 0x0C, 0xF6, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF];
    WriteSame32, 0x7F, Some(0x0D), "WRITE SAME(32)", Out, WRITE, [WRITES_MEDIUM, NEEDS_MEDIUM], LONG,
        [0x7F, CTL, 0, 0, 0, 0, 0x3F, 0x18, 0, 0x0D, 0xF9, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF];
    ExtendedCopyLid1, 0x83, Some(0x00), "EXTENDED COPY(LID1)", Out, COPY, [WRITES_MEDIUM, NEEDS_MEDIUM, OUTSIDE_GATE], LONG,
        [0x83, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0, CTL];
    ExtendedCopyLid4, 0x83, Some(0x01), "EXTENDED COPY(LID4)", Out, COPY, [WRITES_MEDIUM, NEEDS_MEDIUM, OUTSIDE_GATE], LONG,
        [0x83, 0x01, 0, 0, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0, CTL];
    PopulateToken, 0x83, Some(0x10), "POPULATE TOKEN", Out, READ, [NEEDS_MEDIUM, OUTSIDE_GATE], LONG,
        [0x83, 0x10, 0, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x3F, CTL];
    WriteUsingToken, 0x83, Some(0x11), "WRITE USING TOKEN", Out, COPY, [WRITES_MEDIUM, NEEDS_MEDIUM, OUTSIDE_GATE], LONG,
        [0x83, 0x11, 0, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x3F, CTL];
    CopyOperationAbort, 0x83, Some(0x1C), "COPY OPERATION ABORT", None, COPY, [OUTSIDE_GATE], SHORT,
        [0x83, 0x1C, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0, 0, 0, 0, 0, 0, 0, 0, CTL];
    ReceiveCopyStatusLid1, 0x84, Some(0x00), "RECEIVE COPY STATUS(LID1)", In, COPY_RESULTS, [OUTSIDE_GATE], SHORT,
        [0x84, 0, 0xFF, 0, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0, CTL];
    ReceiveCopyDataLid1, 0x84, Some(0x01), "RECEIVE COPY DATA(LID1)", In, COPY_RESULTS, [OUTSIDE_GATE], SHORT,
        [0x84, 0x01, 0xFF, 0, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0, CTL];
    ReceiveCopyOperatingParameters, 0x84, Some(0x03), "RECEIVE COPY OPERATING PARAMETERS", In, COPY_RESULTS, [OUTSIDE_GATE], SHORT,
        [0x84, 0x03, 0, 0, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0, CTL];
    ReceiveCopyFailureDetailsLid1, 0x84, Some(0x04), "RECEIVE COPY FAILURE DETAILS(LID1)", In, COPY_RESULTS, [OUTSIDE_GATE], SHORT,
        [0x84, 0x04, 0xFF, 0, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0, CTL];
    ReceiveCopyStatusLid4, 0x84, Some(0x05), "RECEIVE COPY STATUS(LID4)", In, COPY_RESULTS, [OUTSIDE_GATE], SHORT,
        [0x84, 0x05, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0, CTL];
    ReceiveCopyDataLid4, 0x84, Some(0x06), "RECEIVE COPY DATA(LID4)", In, COPY_RESULTS, [OUTSIDE_GATE], SHORT,
        [0x84, 0x06, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0, CTL];
    ReceiveRodTokenInformation, 0x84, Some(0x07), "RECEIVE ROD TOKEN INFORMATION", In, COPY_RESULTS, [OUTSIDE_GATE], SHORT,
        [0x84, 0x07, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0, CTL];
    ReportAllRodTokens, 0x84, Some(0x08), "REPORT ALL ROD TOKENS", In, COPY_RESULTS, [OUTSIDE_GATE], SHORT,
        [0x84, 0x08, 0, 0, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0, CTL];
    AccessControlIn, 0x86, None, "ACCESS CONTROL IN", In, REPORT_INFORMATION, [], SHORT,
        [0x86, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, CTL];
    AccessControlOut, 0x87, None, "ACCESS CONTROL OUT", Out, REPORT_INFORMATION, [], SHORT,
        [0x87, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, CTL];
    Read16, 0x88, None, "READ(16)", In, READ, [NEEDS_MEDIUM], MEDIUM,
        [0x88, 0xFE, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x3F, CTL];
    CompareAndWrite, 0x89, None, "COMPARE AND WRITE", Out, WRITE, [WRITES_MEDIUM, NEEDS_MEDIUM, LBA_EXCLUSIVE], MEDIUM,
        [0x89, 0xFA, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0, 0, 0xFF, 0x3F, CTL];
    Write16, 0x8A, None, "WRITE(16)", Out, WRITE, [WRITES_MEDIUM, NEEDS_MEDIUM], MEDIUM,
        [0x8A, 0xFA, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x3F, CTL];
    Orwrite16, 0x8B, None, "ORWRITE(16)", Out, WRITE, [WRITES_MEDIUM, NEEDS_MEDIUM, LBA_EXCLUSIVE], MEDIUM,
        [0x8B, 0xFA, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x3F, CTL];
    ReadAttribute, 0x8C, None, "READ ATTRIBUTE", In, READ, [NEEDS_MEDIUM], SHORT,
        [0x8C, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, CTL];
    WriteAttribute, 0x8D, None, "WRITE ATTRIBUTE", Out, WRITE, [WRITES_MEDIUM, NEEDS_MEDIUM], SHORT,
        [0x8D, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, CTL];
    WriteAndVerify16, 0x8E, None, "WRITE AND VERIFY(16)", Out, WRITE, [WRITES_MEDIUM, NEEDS_MEDIUM], MEDIUM,
        [0x8E, 0xF6, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x3F, CTL];
    Verify16, 0x8F, None, "VERIFY(16)", Out, READ, [NEEDS_MEDIUM], MEDIUM,
        [0x8F, 0xF6, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x3F, CTL];
    PreFetch16, 0x90, None, "PRE-FETCH(16)", None, READ, [NEEDS_MEDIUM], MEDIUM,
        [0x90, 0x02, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x3F, CTL];
    SynchronizeCache16, 0x91, None, "SYNCHRONIZE CACHE(16)", None, SYNCHRONIZE_CACHE, [NEEDS_MEDIUM], LONG,
        [0x91, 0x06, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x3F, CTL];
    WriteSame16, 0x93, None, "WRITE SAME(16)", Out, WRITE, [WRITES_MEDIUM, NEEDS_MEDIUM], LONG,
        [0x93, 0xF9, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x3F, CTL];
    WriteAtomic16, 0x9C, None, "WRITE ATOMIC(16)", Out, WRITE, [WRITES_MEDIUM, NEEDS_MEDIUM, LBA_EXCLUSIVE], MEDIUM,
        [0x9C, 0xF8, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x3F, CTL];
    ReadCapacity16, 0x9E, Some(0x10), "READ CAPACITY(16)", In, READ_CAPACITY, [IMPLICIT_HEAD_OF_QUEUE, NEEDS_MEDIUM], SHORT,
        [0x9E, 0x10, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x01, CTL];
    ReadLong16, 0x9E, Some(0x11), "READ LONG(16)", In, OTHER, [NEEDS_MEDIUM], MEDIUM,
        [0x9E, 0x11, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0, 0xFF, 0xFF, 0x03, CTL];
    GetLbaStatus, 0x9E, Some(0x12), "GET LBA STATUS", In, READ, [NEEDS_MEDIUM], MEDIUM,
        [0x9E, 0x12, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0, CTL];
    ReportReferrals, 0x9E, Some(0x13), "REPORT REFERRALS", In, REPORT_INFORMATION, [], SHORT,
        [0x9E, 0x13, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x01, CTL];
    WriteLong16, 0x9F, Some(0x11), "WRITE LONG(16)", Out, WRITE, [WRITES_MEDIUM, NEEDS_MEDIUM], MEDIUM,
        [0x9F, 0xF1, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0, 0xFF, 0xFF, 0, CTL];
    ReportLuns, 0xA0, None, "REPORT LUNS", In, REPORT_LUNS, [IMPLICIT_HEAD_OF_QUEUE, PASSES_UNIT_ATTENTION, WITHOUT_LOGICAL_UNIT, DURING_FORMAT], SHORT,
        [0xA0, 0, 0xFF, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0, CTL];
    SecurityProtocolIn, 0xA2, None, "SECURITY PROTOCOL IN", In, SECURITY_IN, [], SHORT,
        [0xA2, 0xFF, 0xFF, 0xFF, 0x80, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0, CTL];
    ReportIdentifyingInformation, 0xA3, Some(0x05), "REPORT IDENTIFYING INFORMATION", In, REPORT_INFORMATION, [], SHORT,
        [0xA3, 0x05, 0, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0xFE, CTL];
    ReportTargetPortGroups, 0xA3, Some(0x0A), "REPORT TARGET PORT GROUPS", In, RTPG, [OUTSIDE_GATE], SHORT,
        [0xA3, 0xEA, 0, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0, CTL];
    ReportAliases, 0xA3, Some(0x0B), "REPORT ALIASES", In, REPORT_INFORMATION, [], SHORT,
        [0xA3, 0x0B, 0, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0, CTL];
    ReportSupportedOperationCodes, 0xA3, Some(0x0C), "REPORT SUPPORTED OPERATION CODES", In, REPORT_CAPABILITIES, [], SHORT,
        [0xA3, 0x0C, 0x87, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0, CTL];
    ReportSupportedTaskManagementFunctions, 0xA3, Some(0x0D), "REPORT SUPPORTED TASK MANAGEMENT FUNCTIONS", In, REPORT_CAPABILITIES, [], SHORT,
        [0xA3, 0x0D, 0x80, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0, CTL];
    ReportPriority, 0xA3, Some(0x0E), "REPORT PRIORITY", In, REPORT_INFORMATION, [], SHORT,
        [0xA3, 0x0E, 0xC0, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0, CTL];
    ReportTimestamp, 0xA3, Some(0x0F), "REPORT TIMESTAMP", In, REPORT_INFORMATION, [], SHORT,
        [0xA3, 0x0F, 0, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0, CTL];
    SetIdentifyingInformation, 0xA4, Some(0x06), "SET IDENTIFYING INFORMATION", Out, SET_INFORMATION, [], SHORT,
        [0xA4, 0x06, 0, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0xFE, CTL];
    SetTargetPortGroups, 0xA4, Some(0x0A), "SET TARGET PORT GROUPS", Out, STPG, [OUTSIDE_GATE], SHORT,
        [0xA4, 0x0A, 0, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0, CTL];
    ChangeAliases, 0xA4, Some(0x0B), "CHANGE ALIASES", Out, SET_INFORMATION, [], SHORT,
        [0xA4, 0x0B, 0, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0, CTL];
    SetPriority, 0xA4, Some(0x0E), "SET PRIORITY", Out, SET_INFORMATION, [], SHORT,
        [0xA4, 0x0E, 0xC0, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0, CTL];
    SetTimestamp, 0xA4, Some(0x0F), "SET TIMESTAMP", Out, SET_INFORMATION, [], SHORT,
        [0xA4, 0x0F, 0, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0, CTL];
    Read12, 0xA8, None, "READ(12)", In, READ, [NEEDS_MEDIUM], MEDIUM,
        [0xA8, 0xFE, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x3F, CTL];
    Write12, 0xAA, None, "WRITE(12)", Out, WRITE, [WRITES_MEDIUM, NEEDS_MEDIUM], MEDIUM,
        [0xAA, 0xFA, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x3F, CTL];
    ReadMediaSerialNumber, 0xAB, Some(0x01), "READ MEDIA SERIAL NUMBER", In, REPORT_INFORMATION, [], SHORT,
        [0xAB, 0x01, 0, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0, CTL];
    ReadDiscStructure, 0xAD, None, "READ DISC STRUCTURE", In, READ, [NEEDS_MEDIUM], SHORT,
        [0xAD, 0x0F, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xC0, CTL];
    WriteAndVerify12, 0xAE, None, "WRITE AND VERIFY(12)", Out, WRITE, [WRITES_MEDIUM, NEEDS_MEDIUM], MEDIUM,
        [0xAE, 0xF6, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x3F, CTL];
    Verify12, 0xAF, None, "VERIFY(12)", Out, READ, [NEEDS_MEDIUM], MEDIUM,
        [0xAF, 0xF6, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x3F, CTL];
    SecurityProtocolOut, 0xB5, None, "SECURITY PROTOCOL OUT", Out, OTHER, [], SHORT,
        [0xB5, 0xFF, 0xFF, 0xFF, 0x80, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0, CTL];
    ReadDefectData12, 0xB7, None, "READ DEFECT DATA(12)", In, READ, [NEEDS_MEDIUM], MEDIUM,
        [0xB7, 0x1F, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0, CTL];
    MechanismStatus, 0xBD, None, "MECHANISM STATUS", In, READ, [], SHORT,
        [0xBD, 0, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF, 0, CTL];
    ReadCd, 0xBE, None, "READ CD", In, READ, [NEEDS_MEDIUM], MEDIUM,
        [0xBE, 0x1E, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFE, 0x07, CTL];
}

impl CommandId {
    /// The row of this command.
    #[must_use]
    pub fn entry(self) -> &'static OpcodeEntry {
        &TABLE[self as usize]
    }
}

/// For each opcode the first row and the number of rows, built at compile time.
static INDEX: [(u8, u8); 256] = {
    let mut index = [(0, 0); 256];
    let mut row = 0;
    while row < TABLE.len() {
        let opcode = TABLE[row].opcode as usize;
        if index[opcode].1 == 0 {
            index[opcode].0 = row as u8;
        }
        index[opcode].1 += 1;
        row += 1;
    }
    index
};

/// All rows of an opcode: none, one, or one for each service action.
#[must_use]
pub fn rows(opcode: u8) -> &'static [OpcodeEntry] {
    let (first, count) = INDEX[usize::from(opcode)];
    let first = usize::from(first);
    TABLE.get(first..first + usize::from(count)).unwrap_or(&[])
}

/// The row of a command by opcode and, where the opcode has them, service action.
#[must_use]
pub fn find(opcode: u8, service_action: Option<u16>) -> Option<&'static OpcodeEntry> {
    rows(opcode)
        .iter()
        .find(|row| row.service_action == service_action)
}

/// The row that describes `cdb`.
///
/// # Errors
/// ILLEGAL REQUEST: INVALID COMMAND OPERATION CODE for an opcode without row; INVALID FIELD IN CDB with
/// a field pointer for an unknown service action, without one for a CDB shorter than the command's.
#[inline]
pub fn lookup(cdb: &[u8]) -> Result<&'static OpcodeEntry, Sense> {
    let opcode = *cdb.first().ok_or_else(truncated)?;
    let row = match rows(opcode) {
        [row] if row.service_action.is_none() => row,
        rows => by_service_action(rows, opcode, cdb)?,
    };
    if cdb.len() < row.cdb_len() {
        Err(truncated())
    } else {
        Ok(row)
    }
}

fn by_service_action(
    rows: &'static [OpcodeEntry],
    opcode: u8,
    cdb: &[u8],
) -> Result<&'static OpcodeEntry, Sense> {
    if rows.is_empty() {
        return Err(Sense::illegal_request(Asc::INVALID_COMMAND_OPERATION_CODE));
    }
    let action = service_action(opcode, cdb).ok_or_else(truncated)?;
    let found = rows.iter().find(|row| row.service_action == Some(action));
    found.ok_or_else(|| service_action_sense(opcode))
}

/// The CDB ends before its command does.
#[cold]
fn truncated() -> Sense {
    Sense::illegal_request(Asc::INVALID_FIELD_IN_CDB)
}

/// The sense for a command that is in the table but not supported by the device: INVALID
/// FIELD IN CDB if the device supports another service action of the opcode, otherwise INVALID
/// COMMAND OPERATION CODE.
pub fn unsupported(entry: &OpcodeEntry, supported: impl Fn(CommandId) -> bool) -> Sense {
    if entry.service_action.is_some() && rows(entry.opcode).iter().any(|row| supported(row.id)) {
        service_action_sense(entry.opcode)
    } else {
        Sense::illegal_request(Asc::INVALID_COMMAND_OPERATION_CODE)
    }
}

/// The service action in a CDB whose opcode has one.
fn service_action(opcode: u8, cdb: &[u8]) -> Option<u16> {
    if opcode == 0x7F {
        return Some(u16::from_be_bytes([*cdb.get(8)?, *cdb.get(9)?]));
    }
    Some(u16::from(cdb.get(1)? & 0x1F))
}

fn service_action_sense(opcode: u8) -> Sense {
    if opcode == 0x7F {
        Sense::invalid_field_in_cdb(8, Some(7))
    } else {
        Sense::invalid_field_in_cdb(1, Some(4))
    }
}
