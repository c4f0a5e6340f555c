//! [`DeviceHandler`] of a virtual disk: which commands there are, what is checked before data moves, who executes.

use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

use lunforge_core::cdb::{Attributes, Cdb, CommandId, ParsedCdb};
use lunforge_core::handler::{
    ControlMode, DeviceHandler, DeviceProfile, Execute, Execution, Fence, Identity, Outcome,
    Transfer, UnitEvents,
};
use lunforge_core::nexus::NexusId;
use lunforge_core::sense::Sense;
use lunforge_core::units::{BlockCount, Lba};

use crate::store::Capabilities;
use crate::{
    Vdisk, capacity, cdrom, check, compare_and_write, copy, defects, diagnostic, format_unit,
    identifying, lba_status, log, mode, orwrite, pre_fetch, read, sanitize, start_stop, sync_cache,
    unmap, verify, vpd, write, write_atomic, write_same,
};

/// How long operations inside a store are waited for before it is left fenced, but open.
const CLOSE_PATIENCE: Duration = Duration::from_secs(10);
/// How long the end of the engine, or of the store, waits for a piece of a format or sanitize operation.
const OPERATION_PATIENCE: Duration = Duration::from_secs(5);

impl DeviceHandler for Vdisk {
    fn identity(&self) -> Identity {
        self.disk.face.identity()
    }

    fn profile(&self) -> DeviceProfile {
        self.disk.settings.profile.clone()
    }

    fn vendor_specific(&self) -> Vec<u8> {
        self.disk.face.vendor_specific()
    }

    fn supports(&self, command: CommandId) -> bool {
        use CommandId as Id;
        if self.disk.cdrom.is_some() {
            return cdrom::supports(command);
        }
        match command {
            Id::Unmap | Id::GetLbaStatus => self.disk.settings.thin,
            Id::Read6 | Id::Read10 | Id::Read12 | Id::Read16 => true,
            Id::Write6 | Id::Write10 | Id::Write12 | Id::Write16 => true,
            Id::Verify10 | Id::Verify12 | Id::Verify16 => true,
            Id::WriteAndVerify10 | Id::WriteAndVerify12 | Id::WriteAndVerify16 => true,
            Id::WriteSame10 | Id::WriteSame16 => true,
            Id::SynchronizeCache10 | Id::SynchronizeCache16 => true,
            Id::ReadCapacity10 | Id::ReadCapacity16 => true,
            Id::ModeSense6 | Id::ModeSense10 | Id::ModeSelect6 | Id::ModeSelect10 => true,
            Id::StartStopUnit => true,
            Id::PreventAllowMediumRemoval => self.disk.settings.removable,
            Id::SendDiagnostic | Id::ReceiveDiagnosticResults => true,
            Id::LogSense | Id::LogSelect => true,
            Id::ReadDefectData10 | Id::ReadDefectData12 => true,
            Id::ReadBuffer10 | Id::WriteBuffer => true,
            Id::ReportIdentifyingInformation | Id::SetIdentifyingInformation => {
                self.disk.parameters.is_some()
            }
            Id::ReportTimestamp | Id::SetTimestamp => true,
            Id::CompareAndWrite | Id::Orwrite16 | Id::PreFetch10 | Id::PreFetch16 => true,
            Id::FormatUnit | Id::SanitizeOverwrite | Id::SanitizeExitFailureMode => true,
            Id::SanitizeBlockErase => self.disk.settings.thin,
            Id::WriteAtomic16 => self.disk.has(Capabilities::ATOMIC_WRITE),
            _ => false,
        }
    }

    fn vpd_pages(&self) -> Vec<u8> {
        vpd::pages(&self.disk)
    }

    fn vpd(&self, page: u8) -> Option<Vec<u8>> {
        vpd::page(&self.disk, page)
    }

    fn ready(&self) -> Result<(), Sense> {
        self.disk.ready()
    }

    fn volatile_cache(&self) -> bool {
        self.disk.has(Capabilities::VOLATILE_CACHE)
    }

    fn control(&self) -> ControlMode {
        self.disk.modes.control()
    }

    fn prepare(&self, cdb: &ParsedCdb) -> Result<Transfer, Sense> {
        let disk = &*self.disk;
        disk.background.check(cdb.entry)?;
        if cdb.entry.has(Attributes::NEEDS_MEDIUM) {
            disk.medium()?;
            // Where the size is known, it is told while the store is closed, too; and who may not come to the medium learns
            // why when the command executes, since access states change meanwhile.
            if disk.blocks().0 == 0 {
                disk.opened()?;
            }
        }
        let transfer = check::check(disk, cdb)?;
        if cdb.entry.has(Attributes::WRITES_MEDIUM) {
            disk.check_writable()?;
        }
        Ok(transfer)
    }

    fn execute(&self, command: &mut Execution<'_>) -> Execute {
        let disk = &self.disk;
        // Once more: an operation may have begun since.
        if let Err(sense) = disk.background.check(command.parsed().entry) {
            return Execute::Done(sense.into());
        }
        if disk.cdrom.is_some()
            && command.parsed().entry.has(Attributes::NEEDS_MEDIUM)
            && let Err(sense) = disk.medium().and_then(|()| cdrom::overtaken(command))
        {
            return Execute::Done(sense.into());
        }
        match *command.cdb() {
            Cdb::Read { lba, fua, .. } => read::execute(disk, command, lba, fua),
            Cdb::Write { lba, fua, .. } => write::execute(disk, command, lba, fua),
            Cdb::WriteAndVerify { lba, bytchk, .. } => {
                verify::write_and_verify(disk, command, lba, bytchk)
            }
            Cdb::Verify { .. } => verify::verify(disk, command),
            Cdb::SynchronizeCache { immed, .. } => sync_cache::execute(disk, command, immed),
            Cdb::WriteSame { .. } => match write_same::Fields::of(command.cdb()) {
                Some(fields) => write_same::execute(disk, command, fields),
                None => unsupported(),
            },
            Cdb::Unmap {
                parameter_list_len, ..
            } => unmap::execute(disk, command, parameter_list_len),
            Cdb::GetLbaStatus { lba, .. } => lba_status::execute(disk, command, lba),
            Cdb::CompareAndWrite { .. } => compare_and_write::execute(disk, command),
            Cdb::FormatUnit { .. } => format_unit::execute(disk, command),
            Cdb::Sanitize { .. } => sanitize::execute(disk, command),
            Cdb::Orwrite { .. } => orwrite::execute(disk, command),
            Cdb::WriteAtomic16 { .. } => write_atomic::execute(disk, command),
            Cdb::PreFetch { .. } => pre_fetch::execute(disk, command),
            Cdb::ReadCapacity10 => answer(command, &capacity::ten(disk)),
            Cdb::ReadCapacity16 { .. } => answer(command, &capacity::sixteen(disk)),
            Cdb::ModeSense { .. } => mode::sense(disk, command),
            Cdb::ModeSelect { .. } => mode::select(disk, command),
            Cdb::StartStopUnit { .. } => match start_stop::Fields::of(command.cdb()) {
                Some(fields) => start_stop::execute(disk, command, fields),
                None => unsupported(),
            },
            Cdb::PreventAllow { prevent } => disk.removal.execute(command.nexus(), prevent),
            Cdb::SendDiagnostic { .. } => diagnostic::send(disk, command),
            Cdb::ReceiveDiagnosticResults { .. } => diagnostic::receive(command),
            Cdb::LogSense { .. } => log::sense(disk, command),
            Cdb::LogSelect { .. } => log::select(disk, command),
            Cdb::ReadDefectData { .. } => defects::execute(command),
            Cdb::ReadBuffer { .. } => disk.buffers.read(command),
            Cdb::WriteBuffer { .. } => disk.buffers.write(command),
            Cdb::ReportIdentifyingInformation { kind, .. } => {
                identifying::report(disk, command, kind)
            }
            Cdb::SetIdentifyingInformation {
                kind,
                parameter_list_len,
            } => identifying::set(disk, command, kind, parameter_list_len),
            Cdb::ReportTimestamp { .. } => answer(command, &disk.clock.report()),
            Cdb::SetTimestamp { parameter_list_len } => disk.clock.set(command, parameter_list_len),
            _ => match &disk.cdrom {
                Some(drive) => cdrom::execute(disk, drive, command),
                None => unsupported(),
            },
        }
    }

    fn reset(&self) {
        let disk = &self.disk;
        disk.modes.reset();
        disk.removal.reset();
        disk.buffers.reset();
        disk.self_tests.abort(false);
        disk.background.reset();
    }

    fn nexus_lost(&self, nexus: NexusId) {
        self.disk.removal.nexus_lost(nexus);
        self.disk.buffers.nexus_lost(nexus);
        if let Some(drive) = &self.disk.cdrom {
            drive.events.nexus_lost(nexus);
        }
    }

    fn pollable_sense(&self) -> Option<Sense> {
        let disk = &self.disk;
        disk.self_tests
            .in_progress()
            .or_else(|| disk.exceptions.on_request(&disk.modes.values()))
    }

    fn as_any(&self) -> Option<&dyn Any> {
        Some(self)
    }

    fn copies_from(&self, source: &Arc<dyn DeviceHandler>) -> bool {
        copy::possible(&self.disk, source)
    }

    fn copy_from(
        &self,
        command: &mut Execution<'_>,
        source: &Arc<dyn DeviceHandler>,
        from: Lba,
        to: Lba,
        blocks: BlockCount,
    ) -> Option<Execute> {
        copy::start(&self.disk, command, source, from, to, blocks)
    }

    fn fence(&self) -> Fence {
        self.renew()
    }

    fn attached(&self, events: UnitEvents) {
        *self.disk.events.lock() = events;
    }

    fn deactivate(&self) -> std::io::Result<()> {
        self.disk.background.shut_down(OPERATION_PATIENCE);
        let flushed = self.flush();
        let closed = Vdisk::deactivate(self, CLOSE_PATIENCE);
        flushed.and(closed).map_err(std::io::Error::other)
    }

    fn activate(&self) -> std::io::Result<()> {
        self.reactivate().map_err(std::io::Error::other)
    }

    fn shutdown(&self) -> std::io::Result<()> {
        self.disk.background.shut_down(OPERATION_PATIENCE);
        self.flush().map_err(std::io::Error::other)
    }
}

fn unsupported() -> Execute {
    Execute::Done(check::unsupported().into())
}

/// Parameter data, cut to the room there is.
pub(crate) fn answer(command: &mut Execution<'_>, data: &[u8]) -> Execute {
    let sent = command.buf().write_at(0, data);
    Execute::Done(Outcome::data(sent))
}
