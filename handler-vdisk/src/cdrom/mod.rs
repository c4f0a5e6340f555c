//! A CD or DVD drive: an image as a medium that is read and can be changed (MMC-6).
//!
//! ```text
//!   Vdisk ─▶ Disk { store: Tray, cdrom: Drive } ── READ, VERIFY, MODE SENSE, START STOP UNIT …: as a removable disk
//!                                              └── READ TOC, GET CONFIGURATION, GET EVENT STATUS NOTIFICATION …: here
//! ```
//!
//! The tray is a store ([`Tray`]) that has a medium or none. Whether it is closed is [`Disk`]'s `present`; with an empty
//! or an open tray the unit is NOT READY, MEDIUM NOT PRESENT. The medium is one session with one data track.

mod configuration;
mod disc;
mod events;
mod medium;
mod read_cd;
mod toc;

use std::sync::Arc;

use lunforge_core::asc::Asc;
use lunforge_core::cdb::{Cdb, CommandId, ParsedCdb};
use lunforge_core::handler::{Execute, Execution, Transfer};
use lunforge_core::sense::Sense;
use parking_lot::Mutex;

use crate::check::{room, unsupported};
use crate::disk::Disk;
use crate::handler::answer;
use crate::store::Tray;
pub(crate) use events::Events;
pub(crate) use medium::{change, open, settings};

/// Bytes of a logical block.
pub(crate) const BLOCK: u32 = 2048;
/// Blocks of a CD of 80 minutes; a larger medium is a DVD.
const CD_BLOCKS: u64 = 80 * 60 * 75;
/// Bytes that an answer can have.
const ROOM: usize = 4096;

/// What a drive has that a disk has not.
#[derive(Debug)]
pub(crate) struct Drive {
    pub(crate) tray: Arc<Tray>,
    pub(crate) events: Events,
    /// One change of medium at a time.
    changing: Mutex<()>,
}

impl Drive {
    pub(crate) fn new(tray: Arc<Tray>) -> Self {
        Self {
            tray,
            events: Events::default(),
            changing: Mutex::default(),
        }
    }
}

/// What the medium is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Profile {
    CdRom,
    DvdRom,
}

impl Profile {
    /// That of the medium that is in, by its size.
    fn of(disk: &Disk) -> Option<Self> {
        disk.medium().ok()?;
        Some(match disk.blocks().0 {
            0..=CD_BLOCKS => Self::CdRom,
            _ => Self::DvdRom,
        })
    }

    const fn code(self) -> u16 {
        match self {
            Self::CdRom => 0x0008,
            Self::DvdRom => 0x0010,
        }
    }
}

/// The commands of a drive. Those that would write are there to be refused with DATA PROTECT.
pub(crate) fn supports(command: CommandId) -> bool {
    use CommandId as Id;
    matches!(
        command,
        Id::Read6
            | Id::Read10
            | Id::Read12
            | Id::Read16
            | Id::Write6
            | Id::Write10
            | Id::Write12
            | Id::Write16
            | Id::WriteAndVerify10
            | Id::WriteAndVerify12
            | Id::WriteAndVerify16
            | Id::Verify10
            | Id::Verify12
            | Id::Verify16
            | Id::SynchronizeCache10
            | Id::SynchronizeCache16
            | Id::ReadCapacity10
            | Id::ModeSense6
            | Id::ModeSense10
            | Id::ModeSelect6
            | Id::ModeSelect10
            | Id::LogSense
            | Id::LogSelect
            | Id::SendDiagnostic
            | Id::ReceiveDiagnosticResults
            | Id::StartStopUnit
            | Id::PreventAllowMediumRemoval
            | Id::ReadToc
            | Id::ReadCd
            | Id::GetConfiguration
            | Id::GetEventStatusNotification
            | Id::ReadDiscInformation
            | Id::ReadDiscStructure
            | Id::MechanismStatus
    )
}

/// Checks a command of a drive that a disk has not.
pub(crate) fn check(disk: &Disk, cdb: &ParsedCdb) -> Result<Transfer, Sense> {
    match cdb.cdb {
        Cdb::ReadToc { alloc, .. } => toc::check(&cdb.cdb).map(|()| room(alloc, ROOM)),
        Cdb::ReadCd { .. } => read_cd::check(disk, cdb),
        Cdb::GetConfiguration { rt, alloc, .. } => {
            configuration::check(rt).map(|()| room(alloc, ROOM))
        }
        Cdb::GetEventStatusNotification { polled, alloc, .. } => {
            events::check(polled).map(|()| room(alloc, ROOM))
        }
        Cdb::ReadDiscInformation { kind, alloc } => {
            disc::check_information(kind).map(|()| room(alloc, ROOM))
        }
        Cdb::ReadDiscStructure { alloc, .. } => {
            disc::check_structure(disk, &cdb.cdb).map(|()| room(alloc, ROOM))
        }
        Cdb::MechanismStatus { alloc } => Ok(room(alloc, ROOM)),
        _ => Err(unsupported()),
    }
}

/// Executes a command of a drive that a disk has not.
pub(crate) fn execute(disk: &Arc<Disk>, drive: &Drive, command: &mut Execution<'_>) -> Execute {
    let cdb = *command.cdb();
    let data = match cdb {
        Cdb::ReadCd { .. } => return read_cd::execute(disk, command),
        Cdb::ReadToc {
            msf, format, track, ..
        } => toc::data(disk, msf, format, track),
        Cdb::GetConfiguration { rt, feature, .. } => configuration::data(disk, rt, feature),
        Cdb::GetEventStatusNotification { classes, .. } => {
            drive.events.data(disk, command.nexus(), classes)
        }
        Cdb::ReadDiscInformation { .. } => disc::information().to_vec(),
        Cdb::ReadDiscStructure { format, .. } => disc::structure(disk, format),
        Cdb::MechanismStatus { .. } => disc::mechanism(disk).to_vec(),
        _ => return Execute::Done(unsupported().into()),
    };
    answer(command, &data)
}

/// What a command for the medium gets that was let in before the medium changed: the initiator sends it again and is
/// told of the change. Such a nexus has a unit attention that the command has not met.
pub(crate) fn overtaken(command: &Execution<'_>) -> Result<(), Sense> {
    if command.itl().ua.any() {
        return Err(Sense::aborted(Asc::COMMANDS_CLEARED_BY_DEVICE_SERVER));
    }
    Ok(())
}
