//! Status codes a command ends with (SAM-5 5.3.1).

use std::fmt;

/// The status a logical unit returns for a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Status {
    /// The command completed without error.
    Good,
    /// Sense data tells what happened.
    CheckCondition,
    /// The requested operation is satisfied (PRE-FETCH with all blocks cached).
    ConditionMet,
    /// The logical unit is busy; try later.
    Busy,
    /// A reservation of another I_T nexus forbids the command.
    ReservationConflict,
    /// The task set has no room although this nexus has commands in it.
    TaskSetFull,
    /// An ACA condition exists and forbids the command.
    AcaActive,
    /// The command was aborted by another I_T nexus and TAS is one.
    TaskAborted,
}

impl Status {
    /// The code on the wire.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Good => 0x00,
            Self::CheckCondition => 0x02,
            Self::ConditionMet => 0x04,
            Self::Busy => 0x08,
            Self::ReservationConflict => 0x18,
            Self::TaskSetFull => 0x28,
            Self::AcaActive => 0x30,
            Self::TaskAborted => 0x40,
        }
    }

    /// The status with this code, `None` for reserved and obsolete codes.
    #[must_use]
    pub const fn from_code(code: u8) -> Option<Self> {
        Some(match code {
            0x00 => Self::Good,
            0x02 => Self::CheckCondition,
            0x04 => Self::ConditionMet,
            0x08 => Self::Busy,
            0x18 => Self::ReservationConflict,
            0x28 => Self::TaskSetFull,
            0x30 => Self::AcaActive,
            0x40 => Self::TaskAborted,
            _ => return None,
        })
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Good => "GOOD",
            Self::CheckCondition => "CHECK CONDITION",
            Self::ConditionMet => "CONDITION MET",
            Self::Busy => "BUSY",
            Self::ReservationConflict => "RESERVATION CONFLICT",
            Self::TaskSetFull => "TASK SET FULL",
            Self::AcaActive => "ACA ACTIVE",
            Self::TaskAborted => "TASK ABORTED",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_reads_back_as_its_own_status() {
        let known: Vec<u8> = (0..=u8::MAX)
            .filter(|&c| Status::from_code(c).is_some())
            .collect();
        assert_eq!(known, [0x00, 0x02, 0x04, 0x08, 0x18, 0x28, 0x30, 0x40]);
        for code in known {
            assert_eq!(Status::from_code(code).map(Status::code), Some(code));
        }
    }
}
