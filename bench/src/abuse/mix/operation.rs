//! One command of the mix: its CDB and how much data it moves.

use crate::initiator::rw_cdb;
use crate::initiator::transfer::Transfer;

/// What a command does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Kind {
    #[default]
    Read,
    Write,
    WriteSame,
    Unmap,
    CompareAndWrite,
    /// COMPARE AND WRITE that must find a difference, and write nothing.
    Miscompare,
    Flush,
    Inquiry,
    TestUnitReady,
    ReadCapacity,
    AbortTask,
    AbortTaskSet,
}

impl Kind {
    pub(super) const ALL: [Self; 12] = [
        Self::Read,
        Self::Write,
        Self::WriteSame,
        Self::Unmap,
        Self::CompareAndWrite,
        Self::Miscompare,
        Self::Flush,
        Self::Inquiry,
        Self::TestUnitReady,
        Self::ReadCapacity,
        Self::AbortTask,
        Self::AbortTaskSet,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Read => "READ",
            Self::Write => "WRITE",
            Self::WriteSame => "WRITE SAME",
            Self::Unmap => "UNMAP",
            Self::CompareAndWrite => "COMPARE AND WRITE",
            Self::Miscompare => "of them miscomparing",
            Self::Flush => "SYNCHRONIZE CACHE",
            Self::Inquiry => "INQUIRY",
            Self::TestUnitReady => "TEST UNIT READY",
            Self::ReadCapacity => "READ CAPACITY",
            Self::AbortTask => "ABORT TASK",
            Self::AbortTaskSet => "ABORT TASK SET",
        }
    }

    /// Whether it changes blocks.
    pub(super) fn changes(self) -> bool {
        use Kind::{CompareAndWrite, Unmap, Write, WriteSame};
        matches!(self, Write | WriteSame | Unmap | CompareAndWrite)
    }
}

/// Length of the parameter list of UNMAP with one descriptor (SBC-4 5.35).
const UNMAP_LEN: u32 = 24;
/// Length asked of INQUIRY.
const INQUIRY_LEN: u32 = 96;
/// Length asked of READ CAPACITY(16).
const CAPACITY_LEN: u32 = 32;

/// A command. Blocks are counted from the start of the session's part.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Operation {
    pub(super) kind: Kind,
    pub(super) start: u32,
    pub(super) blocks: u32,
    /// What it writes its blocks with.
    pub(super) generation: u32,
}

impl Operation {
    /// Bytes out and bytes in.
    pub(super) fn lengths(&self, block_len: u32) -> (u32, u32) {
        match self.kind {
            Kind::Read => (0, self.blocks * block_len),
            Kind::Write => (self.blocks * block_len, 0),
            Kind::WriteSame => (block_len, 0),
            Kind::CompareAndWrite | Kind::Miscompare => (2 * block_len, 0),
            Kind::Unmap => (UNMAP_LEN, 0),
            Kind::Inquiry => (0, INQUIRY_LEN),
            Kind::ReadCapacity => (0, CAPACITY_LEN),
            Kind::Flush | Kind::TestUnitReady | Kind::AbortTask | Kind::AbortTaskSet => (0, 0),
        }
    }

    pub(super) fn transfer(&self, block_len: u32, unsolicited: u32) -> Transfer {
        match self.lengths(block_len) {
            (0, 0) => Transfer::none(),
            (0, len) => Transfer::read(len),
            (len, _) => Transfer::write(len, unsolicited),
        }
    }

    /// The CDB, `first` being the first block of the session's part.
    pub(super) fn cdb(&self, first: u64) -> [u8; 16] {
        let lba = first + u64::from(self.start);
        let mut cdb = [0; 16];
        let long = |opcode: u8, cdb: &mut [u8; 16]| {
            cdb[0] = opcode;
            cdb[2..10].copy_from_slice(&lba.to_be_bytes());
        };
        match self.kind {
            Kind::Read => return rw_cdb(false, lba, self.blocks).0,
            Kind::Write => return rw_cdb(true, lba, self.blocks).0,
            Kind::WriteSame => {
                long(0x93, &mut cdb);
                cdb[10..14].copy_from_slice(&self.blocks.to_be_bytes());
            }
            Kind::CompareAndWrite | Kind::Miscompare => {
                long(0x89, &mut cdb);
                cdb[13] = 1;
            }
            Kind::Unmap => (cdb[0], cdb[8]) = (0x42, UNMAP_LEN as u8),
            Kind::Flush => {
                long(0x91, &mut cdb);
                cdb[10..14].copy_from_slice(&self.blocks.to_be_bytes());
            }
            Kind::Inquiry => (cdb[0], cdb[4]) = (0x12, INQUIRY_LEN as u8),
            Kind::ReadCapacity => {
                (cdb[0], cdb[1], cdb[13]) = (0x9e, 0x10, CAPACITY_LEN as u8);
            }
            Kind::TestUnitReady | Kind::AbortTask | Kind::AbortTaskSet => {}
        }
        cdb
    }

    /// UNMAP's parameter list.
    pub(super) fn unmap_list(&self, first: u64) -> [u8; UNMAP_LEN as usize] {
        let mut list = [0; UNMAP_LEN as usize];
        (list[1], list[3]) = (22, 16);
        list[8..16].copy_from_slice(&(first + u64::from(self.start)).to_be_bytes());
        list[16..20].copy_from_slice(&self.blocks.to_be_bytes());
        list
    }
}
