//! The typed CDB.

use super::table::CommandId;
use crate::units::{BlockCount, BlockSize, Lba};

/// BYTCHK: what a verification compares with (SBC-4, VERIFY(10)).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ByteCheck {
    /// 00b: medium only, no Data-Out.
    None,
    /// 01b: every block with its own Data-Out block.
    Whole,
    /// 11b: every block with the one Data-Out block.
    OneBlock,
}

/// PC of MODE SENSE, LOG SENSE and LOG SELECT. For logs the same codes mean threshold, cumulative, default
/// threshold and default cumulative.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PageControl {
    /// 00b: current values.
    Current,
    /// 01b: changeable values.
    Changeable,
    /// 10b: default values.
    Default,
    /// 11b: saved values.
    Saved,
}

/// POWER CONDITION and its modifier in START STOP UNIT, raw.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PowerCondition {
    /// POWER CONDITION, 4 bits; zero is START_VALID.
    pub condition: u8,
    /// POWER CONDITION MODIFIER, 4 bits.
    pub modifier: u8,
}

/// Protection fields that only the 32-byte CDBs carry (SBC-4 5.16).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ProtectionTags {
    /// EXPECTED INITIAL LOGICAL BLOCK REFERENCE TAG.
    pub reference: u32,
    /// EXPECTED LOGICAL BLOCK APPLICATION TAG.
    pub application: u16,
    /// LOGICAL BLOCK APPLICATION TAG MASK.
    pub mask: u16,
}

impl ProtectionTags {
    /// The tags of a 32-byte CDB, `None` for every other one.
    #[must_use]
    pub fn of(cdb: &[u8]) -> Option<Self> {
        if cdb.first() != Some(&0x7F) {
            return None;
        }
        let &[a, b, c, d, e, f, g, h] = cdb.get(20..)?.first_chunk()?;
        Some(Self {
            reference: u32::from_be_bytes([a, b, c, d]),
            application: u16::from_be_bytes([e, f]),
            mask: u16::from_be_bytes([g, h]),
        })
    }
}

/// A decoded CDB. `alloc` is an ALLOCATION LENGTH and `parameter_list_len` a PARAMETER LIST LENGTH, both in bytes;
/// `protect` is RDPROTECT, WRPROTECT, VRPROTECT or ORPROTECT, which the device judges. GROUP NUMBER is ignored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(
    missing_docs,
    reason = "the fields carry the names the command's standard gives them"
)]
pub enum Cdb {
    /// TEST UNIT READY.
    TestUnitReady,
    /// REQUEST SENSE; `desc` asks for descriptor format.
    RequestSense { desc: bool, alloc: u32 },
    /// INQUIRY; `vpd` is the page code if EVPD is one.
    Inquiry { vpd: Option<u8>, alloc: u32 },
    /// REPORT LUNS with SELECT REPORT.
    ReportLuns { select: u8, alloc: u32 },
    /// READ CAPACITY (10).
    ReadCapacity10,
    /// READ CAPACITY (16).
    ReadCapacity16 { alloc: u32 },
    /// READ (6), (10), (12), (16), (32).
    Read {
        lba: Lba,
        blocks: BlockCount,
        dpo: bool,
        fua: bool,
        rarc: bool,
        protect: u8,
    },
    /// WRITE (6), (10), (12), (16), (32). FUA_NV of SBC-3 counts as FUA.
    Write {
        lba: Lba,
        blocks: BlockCount,
        dpo: bool,
        fua: bool,
        protect: u8,
    },
    /// WRITE AND VERIFY (10), (12), (16), (32); `bytchk` is `None` or `Whole`.
    WriteAndVerify {
        lba: Lba,
        blocks: BlockCount,
        bytchk: ByteCheck,
        dpo: bool,
        protect: u8,
    },
    /// VERIFY (10), (12), (16), (32).
    Verify {
        lba: Lba,
        blocks: BlockCount,
        bytchk: ByteCheck,
        dpo: bool,
        protect: u8,
    },
    /// SYNCHRONIZE CACHE (10), (16); zero blocks mean up to the end of the medium.
    SynchronizeCache {
        lba: Lba,
        blocks: BlockCount,
        immed: bool,
    },
    /// WRITE SAME (10), (16), (32); what zero blocks mean depends on WSNZ.
    WriteSame {
        lba: Lba,
        blocks: BlockCount,
        unmap: bool,
        anchor: bool,
        ndob: bool,
        protect: u8,
    },
    /// UNMAP.
    Unmap {
        anchor: bool,
        parameter_list_len: u32,
    },
    /// GET LBA STATUS.
    GetLbaStatus { lba: Lba, alloc: u32 },
    /// COMPARE AND WRITE; Data-Out is the verify part followed by the write part.
    CompareAndWrite {
        lba: Lba,
        blocks: u8,
        dpo: bool,
        fua: bool,
        protect: u8,
    },
    /// ORWRITE (16).
    Orwrite {
        lba: Lba,
        blocks: BlockCount,
        dpo: bool,
        fua: bool,
        protect: u8,
    },
    /// WRITE ATOMIC (16); `boundary` is ATOMIC BOUNDARY.
    WriteAtomic16 {
        lba: Lba,
        blocks: BlockCount,
        boundary: u16,
        dpo: bool,
        fua: bool,
        protect: u8,
    },
    /// PRE-FETCH (10), (16).
    PreFetch {
        lba: Lba,
        blocks: BlockCount,
        immed: bool,
    },
    /// FORMAT UNIT; `protection` is FMTPINFO, `defect_list_format` three bits.
    FormatUnit {
        protection: u8,
        long_list: bool,
        format_data: bool,
        complete_list: bool,
        defect_list_format: u8,
    },
    /// SANITIZE, all service actions.
    Sanitize {
        service_action: u8,
        immed: bool,
        ause: bool,
        parameter_list_len: u32,
    },
    /// START STOP UNIT.
    StartStopUnit {
        immed: bool,
        power_condition: PowerCondition,
        no_flush: bool,
        loej: bool,
        start: bool,
    },
    /// PREVENT ALLOW MEDIUM REMOVAL; bit 0 of `prevent` prevents.
    PreventAllow { prevent: u8 },
    /// READ DEFECT DATA (10), (12); `index` is ADDRESS DESCRIPTOR INDEX of the 12-byte form.
    ReadDefectData {
        primary: bool,
        grown: bool,
        format: u8,
        index: u32,
        alloc: u32,
        twelve: bool,
    },
    /// READ TOC/PMA/ATIP; `format` from byte 2 or, where that is zero, from the place of SFF 8020.
    ReadToc {
        msf: bool,
        format: u8,
        track: u8,
        alloc: u32,
    },
    /// GET CONFIGURATION; `rt` as it came, `feature` is STARTING FEATURE NUMBER.
    GetConfiguration { rt: u8, feature: u16, alloc: u32 },
    /// GET EVENT STATUS NOTIFICATION; a bit of `classes` for each notification class.
    GetEventStatusNotification {
        polled: bool,
        classes: u8,
        alloc: u32,
    },
    /// READ DISC INFORMATION; `kind` is DATA TYPE.
    ReadDiscInformation { kind: u8, alloc: u32 },
    /// READ DISC STRUCTURE.
    ReadDiscStructure {
        media_type: u8,
        address: u32,
        layer: u8,
        format: u8,
        alloc: u32,
    },
    /// MECHANISM STATUS.
    MechanismStatus { alloc: u32 },
    /// READ CD; `sector` is EXPECTED SECTOR TYPE, `fields` byte 9 (what of a sector is wanted), `sub_channel` byte 10.
    ReadCd {
        lba: Lba,
        blocks: BlockCount,
        sector: u8,
        fields: u8,
        sub_channel: u8,
    },
    /// MODE SENSE (6), (10).
    ModeSense {
        dbd: bool,
        llbaa: bool,
        pc: PageControl,
        page: u8,
        subpage: u8,
        alloc: u32,
        ten: bool,
    },
    /// MODE SELECT (6), (10).
    ModeSelect {
        pf: bool,
        sp: bool,
        parameter_list_len: u32,
        ten: bool,
    },
    /// LOG SENSE; `pointer` is PARAMETER POINTER.
    LogSense {
        sp: bool,
        pc: PageControl,
        page: u8,
        subpage: u8,
        pointer: u16,
        alloc: u32,
    },
    /// LOG SELECT.
    LogSelect {
        pcr: bool,
        sp: bool,
        pc: PageControl,
        page: u8,
        subpage: u8,
        parameter_list_len: u32,
    },
    /// SEND DIAGNOSTIC; `code` is SELF-TEST CODE.
    SendDiagnostic {
        code: u8,
        pf: bool,
        self_test: bool,
        devoffl: bool,
        unitoffl: bool,
        parameter_list_len: u32,
    },
    /// RECEIVE DIAGNOSTIC RESULTS; `page` is the page code if PCV is one.
    ReceiveDiagnosticResults { page: Option<u8>, alloc: u32 },
    /// READ BUFFER (10).
    ReadBuffer {
        mode: u8,
        mode_specific: u8,
        id: u8,
        offset: u32,
        alloc: u32,
    },
    /// WRITE BUFFER.
    WriteBuffer {
        mode: u8,
        mode_specific: u8,
        id: u8,
        offset: u32,
        parameter_list_len: u32,
    },
    /// RESERVE (6), (10) of SPC-2: the whole logical unit, for the requester itself.
    ReserveUnit,
    /// RELEASE (6), (10) of SPC-2.
    ReleaseUnit,
    /// PERSISTENT RESERVE IN.
    PersistentReserveIn { service_action: u8, alloc: u32 },
    /// PERSISTENT RESERVE OUT; `kind` is TYPE.
    PersistentReserveOut {
        service_action: u8,
        scope: u8,
        kind: u8,
        parameter_list_len: u32,
    },
    /// REPORT TARGET PORT GROUPS; `extended` asks for the extended header.
    ReportTargetPortGroups { extended: bool, alloc: u32 },
    /// SET TARGET PORT GROUPS.
    SetTargetPortGroups { parameter_list_len: u32 },
    /// REPORT SUPPORTED OPERATION CODES; fields as they came, judged by [`super::rsoc::respond`].
    ReportSupportedOpcodes {
        rctd: bool,
        options: u8,
        opcode: u8,
        service_action: u16,
        alloc: u32,
    },
    /// REPORT SUPPORTED TASK MANAGEMENT FUNCTIONS; `repd` asks for the extended form.
    ReportSupportedTmf { repd: bool, alloc: u32 },
    /// REPORT IDENTIFYING INFORMATION; `kind` is IDENTIFYING INFORMATION TYPE, seven bits.
    ReportIdentifyingInformation { kind: u8, alloc: u32 },
    /// SET IDENTIFYING INFORMATION.
    SetIdentifyingInformation { kind: u8, parameter_list_len: u32 },
    /// REPORT TIMESTAMP.
    ReportTimestamp { alloc: u32 },
    /// SET TIMESTAMP.
    SetTimestamp { parameter_list_len: u32 },
    /// EXTENDED COPY (LID1) and (LID4), by service action.
    ExtendedCopy {
        service_action: u8,
        parameter_list_len: u32,
    },
    /// COPY OPERATION ABORT.
    CopyOperationAbort { list_id: u32 },
    /// The receiving side of third-party copy, by service action; `list_id` has 8 or 32 bits, zero where
    /// the service action has none.
    ReceiveCopyResults {
        service_action: u8,
        list_id: u32,
        alloc: u32,
    },
    /// Classified by its table row, fields not decoded.
    Other(CommandId),
}

impl Cdb {
    /// The bytes this command transfers when nothing goes wrong, before truncation of Data-In to what is
    /// available. Protection information is not counted. `None` where the length does not follow
    /// from the decoded fields or does not fit 64 bits.
    #[must_use]
    pub fn data_len(&self, block_size: BlockSize) -> Option<u64> {
        let bytes = |count: BlockCount| block_size.to_bytes(count).map(|len| len.0);
        let one = u64::from(block_size.bytes());
        match *self {
            Self::Read { blocks, .. }
            | Self::Write { blocks, .. }
            | Self::WriteAndVerify { blocks, .. }
            | Self::Orwrite { blocks, .. }
            | Self::WriteAtomic16 { blocks, .. } => bytes(blocks),
            Self::Verify { blocks, bytchk, .. } => match bytchk {
                ByteCheck::None => Some(0),
                ByteCheck::Whole => bytes(blocks),
                ByteCheck::OneBlock => Some(if blocks.is_zero() { 0 } else { one }),
            },
            Self::WriteSame { ndob, .. } => Some(if ndob { 0 } else { one }),
            Self::CompareAndWrite { blocks, .. } => bytes(BlockCount(u64::from(blocks) * 2)),
            Self::ReadCapacity10 => Some(8),
            Self::FormatUnit {
                format_data: true, ..
            }
            | Self::ReadCd { .. }
            | Self::Other(_) => None,
            Self::TestUnitReady
            | Self::SynchronizeCache { .. }
            | Self::PreFetch { .. }
            | Self::FormatUnit { .. }
            | Self::StartStopUnit { .. }
            | Self::PreventAllow { .. }
            | Self::CopyOperationAbort { .. }
            | Self::ReserveUnit
            | Self::ReleaseUnit => Some(0),
            _ => self.byte_length().map(u64::from),
        }
    }

    /// The extent of blocks this command addresses, `None` for commands without one.
    #[must_use]
    pub const fn extent(&self) -> Option<(Lba, BlockCount)> {
        match *self {
            Self::Read { lba, blocks, .. }
            | Self::Write { lba, blocks, .. }
            | Self::WriteAndVerify { lba, blocks, .. }
            | Self::Verify { lba, blocks, .. }
            | Self::SynchronizeCache { lba, blocks, .. }
            | Self::WriteSame { lba, blocks, .. }
            | Self::Orwrite { lba, blocks, .. }
            | Self::WriteAtomic16 { lba, blocks, .. }
            | Self::ReadCd { lba, blocks, .. }
            | Self::PreFetch { lba, blocks, .. } => Some((lba, blocks)),
            Self::CompareAndWrite { lba, blocks, .. } => Some((lba, BlockCount(blocks as u64))),
            _ => None,
        }
    }

    /// The ALLOCATION LENGTH or PARAMETER LIST LENGTH field, `None` for commands that count blocks or
    /// transfer nothing.
    #[must_use]
    pub const fn byte_length(&self) -> Option<u32> {
        match *self {
            Self::RequestSense { alloc, .. }
            | Self::Inquiry { alloc, .. }
            | Self::ReportLuns { alloc, .. }
            | Self::ReadCapacity16 { alloc }
            | Self::GetLbaStatus { alloc, .. }
            | Self::ReadDefectData { alloc, .. }
            | Self::ReadToc { alloc, .. }
            | Self::GetConfiguration { alloc, .. }
            | Self::GetEventStatusNotification { alloc, .. }
            | Self::ReadDiscInformation { alloc, .. }
            | Self::ReadDiscStructure { alloc, .. }
            | Self::MechanismStatus { alloc }
            | Self::ModeSense { alloc, .. }
            | Self::LogSense { alloc, .. }
            | Self::ReceiveDiagnosticResults { alloc, .. }
            | Self::ReadBuffer { alloc, .. }
            | Self::PersistentReserveIn { alloc, .. }
            | Self::ReportTargetPortGroups { alloc, .. }
            | Self::ReportSupportedOpcodes { alloc, .. }
            | Self::ReportSupportedTmf { alloc, .. }
            | Self::ReportIdentifyingInformation { alloc, .. }
            | Self::ReportTimestamp { alloc }
            | Self::ReceiveCopyResults { alloc, .. } => Some(alloc),
            Self::Unmap {
                parameter_list_len, ..
            }
            | Self::Sanitize {
                parameter_list_len, ..
            }
            | Self::ModeSelect {
                parameter_list_len, ..
            }
            | Self::LogSelect {
                parameter_list_len, ..
            }
            | Self::SendDiagnostic {
                parameter_list_len, ..
            }
            | Self::WriteBuffer {
                parameter_list_len, ..
            }
            | Self::PersistentReserveOut {
                parameter_list_len, ..
            }
            | Self::SetTargetPortGroups { parameter_list_len }
            | Self::SetIdentifyingInformation {
                parameter_list_len, ..
            }
            | Self::SetTimestamp { parameter_list_len }
            | Self::ExtendedCopy {
                parameter_list_len, ..
            } => Some(parameter_list_len),
            _ => None,
        }
    }
}
