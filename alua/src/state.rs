//! Asymmetric access states and the commands that pass in each (SPC-4 5.15.2.4, 5.15.2.5).

use std::fmt;
use std::str::FromStr;

use lunforge_core::asc::Asc;
use lunforge_core::cdb::CommandClass;
use lunforge_core::sense::Sense;

/// The access state of a target port group.
///
/// SPC-4 calls offline a secondary state, which belongs to a port. Here, as SCST has it, a whole group is offline.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum AccessState {
    /// 0h.
    #[default]
    ActiveOptimized,
    /// 1h.
    ActiveNonOptimized,
    /// 2h: not at the medium, but mode pages and reservations work.
    Standby,
    /// 3h: the unit answers what it is and little else.
    Unavailable,
    /// 4h: depends on the block. REPORT REFERRALS, which would say how, is not supported, so every block is accessible.
    LogicalBlockDependent,
    /// Eh: as unavailable, for good.
    Offline,
    /// Fh: between two states.
    Transitioning,
}

/// Commands of every state but transitioning.
///
/// SPC-4 asks for the first line, READ BUFFER and WRITE BUFFER. READ CAPACITY is SCST's choice too: Linux takes a disk
/// that does not answer it for empty.
const ALWAYS: CommandClass = CommandClass::INQUIRY
    .union(CommandClass::REPORT_LUNS)
    .union(CommandClass::REQUEST_SENSE)
    .union(CommandClass::RTPG)
    .union(CommandClass::READ_BUFFER)
    .union(CommandClass::WRITE_BUFFER)
    .union(CommandClass::READ_CAPACITY);

/// Commands of standby (SPC-4 5.15.2.4.4), and RESERVE and RELEASE, as SCST does.
const STANDBY: CommandClass = ALWAYS
    .union(CommandClass::STPG)
    .union(CommandClass::MODE_SENSE)
    .union(CommandClass::MODE_SELECT)
    .union(CommandClass::LOG_SENSE)
    .union(CommandClass::LOG_SELECT)
    .union(CommandClass::DIAGNOSTIC)
    .union(CommandClass::PR_IN)
    .union(CommandClass::PR_OUT)
    .union(CommandClass::RESERVE)
    .union(CommandClass::RELEASE);

impl AccessState {
    /// All states, in the order of their codes.
    pub const ALL: [Self; 7] = [
        Self::ActiveOptimized,
        Self::ActiveNonOptimized,
        Self::Standby,
        Self::Unavailable,
        Self::LogicalBlockDependent,
        Self::Offline,
        Self::Transitioning,
    ];

    /// ASYMMETRIC ACCESS STATE (SPC-4 6.37), four bits.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::ActiveOptimized => 0x0,
            Self::ActiveNonOptimized => 0x1,
            Self::Standby => 0x2,
            Self::Unavailable => 0x3,
            Self::LogicalBlockDependent => 0x4,
            Self::Offline => 0xE,
            Self::Transitioning => 0xF,
        }
    }

    /// The state of a code; `None` for the reserved ones.
    #[must_use]
    pub const fn from_code(code: u8) -> Option<Self> {
        Some(match code {
            0x0 => Self::ActiveOptimized,
            0x1 => Self::ActiveNonOptimized,
            0x2 => Self::Standby,
            0x3 => Self::Unavailable,
            0x4 => Self::LogicalBlockDependent,
            0xE => Self::Offline,
            0xF => Self::Transitioning,
            _ => return None,
        })
    }

    /// Whether commands reach the medium in this state.
    #[must_use]
    pub const fn accesses_medium(self) -> bool {
        matches!(
            self,
            Self::ActiveOptimized | Self::ActiveNonOptimized | Self::LogicalBlockDependent
        )
    }

    /// The commands that pass. TEST UNIT READY does not in standby: it would say that the medium is at hand.
    #[must_use]
    pub const fn allowed(self) -> CommandClass {
        match self {
            Self::ActiveOptimized | Self::ActiveNonOptimized | Self::LogicalBlockDependent => {
                CommandClass::all()
            }
            Self::Standby => STANDBY,
            Self::Unavailable | Self::Offline => ALWAYS.union(CommandClass::STPG),
            Self::Transitioning => ALWAYS,
        }
    }

    /// What the other commands end with: NOT READY and why. `None` where all pass.
    ///
    /// Offline has a code of its own in SPC-4 (04h/12h). SCST gives that of unavailable; Linux takes both for a path
    /// that failed.
    #[must_use]
    pub const fn refusal(self) -> Option<Sense> {
        let asc = match self {
            Self::ActiveOptimized | Self::ActiveNonOptimized | Self::LogicalBlockDependent => {
                return None;
            }
            Self::Standby => Asc::LOGICAL_UNIT_NOT_ACCESSIBLE_TARGET_PORT_IN_STANDBY_STATE,
            Self::Unavailable => Asc::LOGICAL_UNIT_NOT_ACCESSIBLE_TARGET_PORT_IN_UNAVAILABLE_STATE,
            Self::Offline => Asc::LOGICAL_UNIT_NOT_READY_OFFLINE,
            Self::Transitioning => {
                Asc::LOGICAL_UNIT_NOT_ACCESSIBLE_ASYMMETRIC_ACCESS_STATE_TRANSITION
            }
        };
        Some(Sense::not_ready(asc))
    }

    /// Whether INQUIRY gives peripheral qualifier 001b: the device is there, but not accessible (SPC-4 6.6.2).
    ///
    /// SPC-4 5.15.2.4.5 wants it for unavailable, and SCST gives it for offline too. Linux binds no disk driver to a unit
    /// that it finds with this qualifier and does not look again by itself: a host that logs in during such a state
    /// sees the disk only after a rescan. A disk that it had before stays.
    #[must_use]
    pub const fn hides_device(self) -> bool {
        matches!(self, Self::Unavailable | Self::Offline)
    }
}

/// Names as administrators write them (those of scst.conf).
impl fmt::Display for AccessState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ActiveOptimized => "active",
            Self::ActiveNonOptimized => "nonoptimized",
            Self::Standby => "standby",
            Self::Unavailable => "unavailable",
            Self::LogicalBlockDependent => "lba-dependent",
            Self::Offline => "offline",
            Self::Transitioning => "transitioning",
        })
    }
}

/// The name is none of an access state.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no access state: active, nonoptimized, standby, unavailable, offline, transitioning or lba-dependent"
)]
pub struct UnknownState(pub String);

impl FromStr for AccessState {
    type Err = UnknownState;

    fn from_str(name: &str) -> Result<Self, UnknownState> {
        let named = |state: &Self| state.to_string() == name;
        let found = Self::ALL.into_iter().find(named);
        found.ok_or_else(|| UnknownState(name.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lunforge_core::cdb::CommandId;
    use lunforge_core::cdb::table::TABLE;

    #[test]
    fn codes_and_names_read_back_and_reserved_codes_are_none() {
        for code in 0..=u8::MAX {
            let state = AccessState::from_code(code);
            assert_eq!(state.is_some(), matches!(code, 0..=4 | 0xE | 0xF));
            if let Some(state) = state {
                assert_eq!(state.code(), code);
                assert_eq!(state.to_string().parse(), Ok(state));
            }
        }
        assert!("Active".parse::<AccessState>().is_err());
    }

    /// Rows that pass in every state but transitioning; SET TARGET PORT GROUPS aside, in that too.
    fn in_unavailable(id: CommandId) -> bool {
        use CommandId as Id;
        matches!(
            id,
            Id::Inquiry
                | Id::ReportLuns
                | Id::RequestSense
                | Id::ReportTargetPortGroups
                | Id::SetTargetPortGroups
                | Id::ReadBuffer10
                | Id::WriteBuffer
                | Id::ReadCapacity10
                | Id::ReadCapacity16
                | Id::ReadFormatCapacities
        )
    }

    fn in_standby(id: CommandId) -> bool {
        use CommandId as Id;
        in_unavailable(id)
            || matches!(
                id,
                Id::ModeSense6
                    | Id::ModeSense10
                    | Id::ModeSelect6
                    | Id::ModeSelect10
                    | Id::LogSense
                    | Id::LogSelect
                    | Id::SendDiagnostic
                    | Id::ReceiveDiagnosticResults
                    | Id::Reserve6
                    | Id::Reserve10
                    | Id::Release6
                    | Id::Release10
                    | Id::PrInReadKeys
                    | Id::PrInReadReservation
                    | Id::PrInReportCapabilities
                    | Id::PrInReadFullStatus
                    | Id::PrOutRegister
                    | Id::PrOutReserve
                    | Id::PrOutRelease
                    | Id::PrOutClear
                    | Id::PrOutPreempt
                    | Id::PrOutPreemptAndAbort
                    | Id::PrOutRegisterAndIgnoreExistingKey
                    | Id::PrOutRegisterAndMove
                    | Id::PrOutReplaceLostReservation
            )
    }

    #[test]
    fn every_row_of_the_opcode_table_passes_in_the_states_that_name_it() {
        use AccessState as S;
        for row in &TABLE {
            // READ BUFFER has further forms in later standards; whatever a row is called, its class decides.
            let (unavailable, standby) = (in_unavailable(row.id), in_standby(row.id));
            let transitioning = unavailable && row.id != CommandId::SetTargetPortGroups;
            for (state, expected) in [
                (S::ActiveOptimized, true),
                (S::ActiveNonOptimized, true),
                (S::LogicalBlockDependent, true),
                (S::Standby, standby),
                (S::Unavailable, unavailable),
                (S::Offline, unavailable),
                (S::Transitioning, transitioning),
            ] {
                let passes = state.allowed().contains(row.class);
                assert_eq!(passes, expected, "{} in {state}", row.name);
            }
        }
        // The milder forms of START STOP UNIT and PREVENT ALLOW MEDIUM REMOVAL are not exempt.
        for class in [CommandClass::START, CommandClass::ALLOW_REMOVAL] {
            let with: Vec<_> = S::ALL
                .iter()
                .filter(|s| s.allowed().contains(class))
                .collect();
            assert!(with.iter().all(|s| s.accesses_medium()) && with.len() == 3);
        }
    }

    #[test]
    fn each_state_that_keeps_from_the_medium_has_its_own_sense() {
        let code = |state: AccessState| state.refusal().map(|s| (s.asc.asc, s.asc.ascq));
        assert_eq!(code(AccessState::Standby), Some((0x04, 0x0B)));
        assert_eq!(code(AccessState::Unavailable), Some((0x04, 0x0C)));
        assert_eq!(code(AccessState::Offline), Some((0x04, 0x12)));
        assert_eq!(code(AccessState::Transitioning), Some((0x04, 0x0A)));
        for state in AccessState::ALL {
            assert_eq!(state.refusal().is_none(), state.accesses_medium());
        }
    }
}
