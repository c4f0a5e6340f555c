//! What a command is, apart from its fields: access class, queueing attributes, data direction.

use bitflags::bitflags;

bitflags! {
    /// Access classes: one bit each, so that the reservation tables of SPC-4 and SBC-4 and the
    /// commands SPC-4 allows in each asymmetric access state are masks over them.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub struct CommandClass: u32 {
        /// INQUIRY.
        const INQUIRY = 1;
        /// REPORT LUNS.
        const REPORT_LUNS = 1 << 1;
        /// REQUEST SENSE.
        const REQUEST_SENSE = 1 << 2;
        /// TEST UNIT READY.
        const TEST_UNIT_READY = 1 << 3;
        /// READ CAPACITY (10) and (16).
        const READ_CAPACITY = 1 << 4;
        /// Commands that read or examine the medium and change nothing: READ, VERIFY, PRE-FETCH,
        /// GET LBA STATUS, READ DEFECT DATA, READ ATTRIBUTE, and those of MMC: READ TOC, READ CD, READ DISC INFORMATION
        /// and STRUCTURE, GET CONFIGURATION, GET EVENT STATUS NOTIFICATION, MECHANISM STATUS.
        const READ = 1 << 5;
        /// Commands that change the medium: WRITE, WRITE SAME, UNMAP, COMPARE AND WRITE, FORMAT UNIT,
        /// SANITIZE, REASSIGN BLOCKS and the like.
        const WRITE = 1 << 6;
        /// SYNCHRONIZE CACHE.
        const SYNCHRONIZE_CACHE = 1 << 7;
        /// MODE SENSE, and RECEIVE DIAGNOSTIC RESULTS, which every table of SPC-4 treats alike.
        const MODE_SENSE = 1 << 8;
        /// MODE SELECT.
        const MODE_SELECT = 1 << 9;
        /// LOG SENSE.
        const LOG_SENSE = 1 << 10;
        /// LOG SELECT.
        const LOG_SELECT = 1 << 11;
        /// RESERVE (6) and (10).
        const RESERVE = 1 << 12;
        /// RELEASE (6) and (10).
        const RELEASE = 1 << 13;
        /// PERSISTENT RESERVE IN.
        const PR_IN = 1 << 14;
        /// PERSISTENT RESERVE OUT; which service action may run is the reservation owner's to say.
        const PR_OUT = 1 << 15;
        /// REPORT TARGET PORT GROUPS.
        const RTPG = 1 << 16;
        /// SET TARGET PORT GROUPS.
        const STPG = 1 << 17;
        /// READ BUFFER.
        const READ_BUFFER = 1 << 18;
        /// WRITE BUFFER.
        const WRITE_BUFFER = 1 << 19;
        /// SEND DIAGNOSTIC.
        const DIAGNOSTIC = 1 << 20;
        /// START STOP UNIT with START one and POWER CONDITION zero.
        const START = 1 << 21;
        /// Every other START STOP UNIT.
        const STOP = 1 << 22;
        /// PREVENT ALLOW MEDIUM REMOVAL with PREVENT zero.
        const ALLOW_REMOVAL = 1 << 23;
        /// PREVENT ALLOW MEDIUM REMOVAL with PREVENT other than zero.
        const PREVENT_REMOVAL = 1 << 24;
        /// REPORT SUPPORTED OPERATION CODES and REPORT SUPPORTED TASK MANAGEMENT FUNCTIONS.
        const REPORT_CAPABILITIES = 1 << 25;
        /// Harmless reports any nexus may have: REPORT IDENTIFYING INFORMATION, REPORT ALIASES,
        /// REPORT PRIORITY, REPORT TIMESTAMP, ACCESS CONTROL IN and OUT.
        const REPORT_INFORMATION = 1 << 26;
        /// Their counterparts that set: SET IDENTIFYING INFORMATION, CHANGE ALIASES, SET PRIORITY,
        /// SET TIMESTAMP.
        const SET_INFORMATION = 1 << 27;
        /// RECEIVE COPY RESULTS, all service actions.
        const COPY_RESULTS = 1 << 28;
        /// EXTENDED COPY, all service actions.
        const COPY = 1 << 29;
        /// SECURITY PROTOCOL IN.
        const SECURITY_IN = 1 << 30;
        /// All the rest, among it SECURITY PROTOCOL OUT, READ LONG (which a write exclusive reservation refuses, unlike
        /// other reads).
        const OTHER = 1 << 31;
    }
}

bitflags! {
    /// How a command is queued and when it may run.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub struct Attributes: u16 {
        /// Treated as HEAD OF QUEUE when it arrives as SIMPLE.
        const IMPLICIT_HEAD_OF_QUEUE = 1;
        /// Runs in spite of a pending unit attention and does not report it (SAM-5, unit attention conditions).
        const PASSES_UNIT_ATTENTION = 1 << 1;
        /// Answered for a LUN at which there is no logical unit (SPC-4 6.6.2, 6.33, 6.39).
        const WITHOUT_LOGICAL_UNIT = 1 << 2;
        /// Runs while FORMAT UNIT or SANITIZE is in progress.
        const DURING_FORMAT = 1 << 3;
        /// Changes the medium: refused with DATA PROTECT where the medium is write protected.
        const WRITES_MEDIUM = 1 << 4;
        /// Needs a medium that is present.
        const NEEDS_MEDIUM = 1 << 5;
        /// Runs alone: no other command of the unit executes while it does.
        const EXCLUSIVE = 1 << 6;
        /// Does not enter the unit's gate: it touches no medium, and may itself close the gate.
        const OUTSIDE_GATE = 1 << 7;
        /// Atomic over its LBA extent: overlapping commands wait.
        const LBA_EXCLUSIVE = 1 << 8;
    }
}

/// Which way the data of a command goes, seen from the initiator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// No data.
    None,
    /// Target to initiator.
    In,
    /// Initiator to target.
    Out,
}

/// Command timeouts as REPORT SUPPORTED OPERATION CODES gives them (SPC-4 6.35.4), in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Timeouts {
    /// NOMINAL COMMAND PROCESSING TIMEOUT, zero for not indicated.
    pub nominal: u32,
    /// RECOMMENDED COMMAND TIMEOUT.
    pub recommended: u32,
}

impl Timeouts {
    /// Answered from memory.
    pub const SHORT: Self = Self {
        nominal: 0,
        recommended: 10,
    };
    /// Touches the medium.
    pub const MEDIUM: Self = Self {
        nominal: 0,
        recommended: 60,
    };
    /// Touches a large part of the medium.
    pub const LONG: Self = Self {
        nominal: 0,
        recommended: 900,
    };
    /// Goes over the whole medium.
    pub const WHOLE: Self = Self {
        nominal: 0,
        recommended: 14400,
    };
}
