//! [`DeviceHandler`] of a virtual disk: which commands there are, what is checked before data moves, who executes.

use lunforge_core::asc::Asc;
use lunforge_core::cdb::{Attributes, ByteCheck, Cdb, CommandId, ParsedCdb};
use lunforge_core::handler::{
    ControlMode, DeviceHandler, DeviceProfile, Execute, Execution, Fence, Identity, Outcome,
    Transfer, UnitEvents,
};
use lunforge_core::sense::Sense;
use lunforge_core::units::{BlockCount, Lba};

use crate::disk::Disk;
use crate::drive::{self, Next, Step};
use crate::store::{Capabilities, StoreOp};
use crate::{
    Vdisk, capacity, lba_status, mode, read, start_stop, sync_cache, unmap, verify, vpd, write,
    write_same,
};

impl DeviceHandler for Vdisk {
    fn identity(&self) -> Identity {
        self.disk.settings.identity.clone()
    }

    fn profile(&self) -> DeviceProfile {
        self.disk.settings.profile.clone()
    }

    fn supports(&self, command: CommandId) -> bool {
        use CommandId as Id;
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
            Id::StartStopUnit | Id::SendDiagnostic => true,
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
        self.disk.medium()
    }

    fn volatile_cache(&self) -> bool {
        self.disk.has(Capabilities::VOLATILE_CACHE)
    }

    fn control(&self) -> ControlMode {
        self.disk.modes.control()
    }

    fn prepare(&self, cdb: &ParsedCdb) -> Result<Transfer, Sense> {
        let disk = &*self.disk;
        if cdb.entry.has(Attributes::NEEDS_MEDIUM) {
            disk.medium()?;
        }
        let transfer = check(disk, cdb)?;
        if cdb.entry.has(Attributes::WRITES_MEDIUM) {
            disk.check_writable()?;
        }
        Ok(transfer)
    }

    fn execute(&self, command: &mut Execution<'_>) -> Execute {
        let disk = &self.disk;
        match *command.cdb() {
            Cdb::Read { lba, fua, .. } => read::execute(disk, command, lba, fua),
            Cdb::Write { lba, fua, .. } => write::execute(disk, command, lba, fua),
            Cdb::WriteAndVerify { lba, bytchk, .. } => {
                verify::write_and_verify(disk, command, lba, bytchk)
            }
            Cdb::Verify {
                lba,
                blocks,
                bytchk,
                ..
            } => verify::verify(disk, command, lba, blocks, bytchk),
            Cdb::SynchronizeCache { immed, .. } => sync_cache::execute(disk, command, immed),
            Cdb::WriteSame { .. } => match write_same_fields(command.cdb()) {
                Some(fields) => write_same::execute(disk, command, fields),
                None => unsupported(),
            },
            Cdb::Unmap {
                parameter_list_len, ..
            } => unmap::execute(disk, command, parameter_list_len),
            Cdb::GetLbaStatus { lba, .. } => lba_status::execute(disk, command, lba),
            Cdb::ReadCapacity10 => answer(command, &capacity::ten(disk)),
            Cdb::ReadCapacity16 { .. } => answer(command, &capacity::sixteen(disk)),
            Cdb::ModeSense {
                dbd,
                llbaa,
                pc,
                page,
                subpage,
                ten,
                ..
            } => {
                match mode::sense(
                    disk,
                    mode::Ask {
                        dbd,
                        llbaa,
                        pc,
                        page,
                        subpage,
                        ten,
                    },
                ) {
                    Ok(data) => answer(command, &data),
                    Err(sense) => Execute::Done(sense.into()),
                }
            }
            Cdb::ModeSelect {
                parameter_list_len,
                ten,
                ..
            } => self.mode_select(command, parameter_list_len, ten),
            Cdb::StartStopUnit {
                power_condition,
                no_flush,
                loej,
                start,
                ..
            } => {
                let fields = start_stop::Fields {
                    power_condition,
                    no_flush,
                    loej,
                    start,
                };
                start_stop::execute(disk, command, fields)
            }
            Cdb::SendDiagnostic { .. } => Execute::Done(Outcome::good()),
            _ => unsupported(),
        }
    }

    fn reset(&self) {
        self.disk.modes.reset();
    }

    fn fence(&self) -> Fence {
        self.renew()
    }

    fn attached(&self, events: UnitEvents) {
        *self.disk.events.lock() = events;
    }

    fn shutdown(&self) -> std::io::Result<()> {
        self.flush().map_err(std::io::Error::other)
    }
}

impl Vdisk {
    fn mode_select(&self, command: &mut Execution<'_>, len: u32, ten: bool) -> Execute {
        let buf = command.take_buf();
        let selected = match mode::apply(
            &self.disk,
            &buf,
            usize::try_from(len).unwrap_or(usize::MAX),
            ten,
        ) {
            Ok(selected) => selected,
            Err(sense) => return Execute::Done(sense.into()),
        };
        if !matches!(selected, mode::Selected::Same) {
            let but = Some(command.nexus());
            command
                .unit()
                .unit_attention(Asc::MODE_PARAMETERS_CHANGED, but);
        }
        if !matches!(selected, mode::Selected::Flush) {
            return Execute::Done(Outcome::good());
        }
        let step = Step::Machine(Box::new(sync_cache::Flush));
        drive::start(&self.disk, command, step, Next::Submit(StoreOp::Flush))
    }
}

fn unsupported() -> Execute {
    Execute::Done(Sense::illegal_request(Asc::INVALID_COMMAND_OPERATION_CODE).into())
}

/// Parameter data, cut to the room there is.
fn answer(command: &mut Execution<'_>, data: &[u8]) -> Execute {
    let sent = command.buf().write_at(0, data);
    Execute::Done(Outcome::data(sent))
}

/// Protection information is not supported: RDPROTECT, WRPROTECT and VRPROTECT must be zero (SBC-4 5.14).
fn no_protection(protect: u8) -> Result<(), Sense> {
    if protect == 0 {
        Ok(())
    } else {
        Err(Sense::invalid_field_in_cdb(1, Some(7)))
    }
}

/// The CDB byte at which the TRANSFER LENGTH field starts.
fn length_at(cdb: &ParsedCdb) -> u16 {
    match cdb.entry.cdb_len() {
        6 => 4,
        10 => 7,
        12 => 6,
        _ => 10,
    }
}

/// Checks a transfer of blocks and gives its bytes.
fn blocks_in_range(
    disk: &Disk,
    cdb: &ParsedCdb,
    lba: Lba,
    blocks: BlockCount,
) -> Result<usize, Sense> {
    disk.check_extent(lba, blocks)?;
    if blocks.0 > disk.max_transfer_blocks() {
        return Err(Sense::invalid_field_in_cdb(length_at(cdb), Some(7)));
    }
    usize::try_from(disk.bytes(blocks))
        .map_err(|_| Sense::invalid_field_in_cdb(length_at(cdb), Some(7)))
}

fn out(len: usize) -> Transfer {
    if len == 0 {
        Transfer::None
    } else {
        Transfer::Out(len)
    }
}

/// Room for parameter data of at most `most` bytes.
fn room(alloc: u32, most: usize) -> Transfer {
    match usize::try_from(alloc).map_or(most, |alloc| alloc.min(most)) {
        0 => Transfer::None,
        len => Transfer::In(len),
    }
}

/// Room that a MODE SENSE can need.
const MODE_ROOM: usize = 512;

fn check(disk: &Disk, cdb: &ParsedCdb) -> Result<Transfer, Sense> {
    match cdb.cdb {
        Cdb::Read {
            lba,
            blocks,
            protect,
            ..
        } => {
            no_protection(protect)?;
            let len = blocks_in_range(disk, cdb, lba, blocks)?;
            Ok(if len == 0 {
                Transfer::None
            } else {
                Transfer::In(len)
            })
        }
        Cdb::Write {
            lba,
            blocks,
            protect,
            ..
        }
        | Cdb::WriteAndVerify {
            lba,
            blocks,
            protect,
            ..
        } => {
            no_protection(protect)?;
            blocks_in_range(disk, cdb, lba, blocks).map(out)
        }
        Cdb::Verify {
            lba,
            blocks,
            bytchk,
            protect,
            ..
        } => {
            no_protection(protect)?;
            let whole = blocks_in_range(disk, cdb, lba, blocks)?;
            Ok(out(match bytchk {
                ByteCheck::None => 0,
                ByteCheck::Whole => whole,
                ByteCheck::OneBlock => {
                    whole.min(usize::try_from(disk.block().bytes()).unwrap_or(0))
                }
            }))
        }
        Cdb::SynchronizeCache { lba, blocks, .. } => {
            disk.check_extent(lba, blocks).map(|()| Transfer::None)
        }
        Cdb::WriteSame {
            lba,
            blocks,
            protect,
            ndob,
            ..
        } => {
            no_protection(protect)?;
            if let Some(fields) = write_same_fields(&cdb.cdb) {
                write_same::check(disk, fields, length_at(cdb))?;
            }
            disk.check_extent(lba, blocks)?;
            Ok(if ndob {
                Transfer::None
            } else {
                Transfer::OutExactly(usize::try_from(disk.block().bytes()).unwrap_or(0))
            })
        }
        _ => check_other(disk, cdb),
    }
}

fn write_same_fields(cdb: &Cdb) -> Option<write_same::Fields> {
    match *cdb {
        Cdb::WriteSame {
            lba,
            blocks,
            unmap,
            anchor,
            ndob,
            ..
        } => Some(write_same::Fields {
            lba,
            blocks,
            unmap,
            anchor,
            ndob,
        }),
        _ => None,
    }
}

fn check_other(disk: &Disk, cdb: &ParsedCdb) -> Result<Transfer, Sense> {
    let list = |len: u32| Ok(out(usize::try_from(len).unwrap_or(usize::MAX)));
    match cdb.cdb {
        Cdb::Unmap {
            anchor,
            parameter_list_len,
        } => {
            if anchor {
                return Err(Sense::invalid_field_in_cdb(1, Some(0)));
            }
            list(parameter_list_len)
        }
        Cdb::GetLbaStatus { lba, alloc } => {
            disk.check_extent(lba, BlockCount(1))?;
            Ok(room(alloc, lba_status::MAX_LEN))
        }
        Cdb::ReadCapacity10 => Ok(Transfer::In(8)),
        Cdb::ReadCapacity16 { alloc } => Ok(room(alloc, 32)),
        Cdb::ModeSense { alloc, .. } => Ok(room(alloc, MODE_ROOM)),
        Cdb::ModeSelect {
            pf,
            sp,
            parameter_list_len,
            ..
        } => {
            if !pf {
                return Err(Sense::invalid_field_in_cdb(1, Some(4)));
            }
            // Saved pages are not supported.
            if sp {
                return Err(Sense::invalid_field_in_cdb(1, Some(0)));
            }
            list(parameter_list_len)
        }
        Cdb::StartStopUnit {
            power_condition,
            no_flush,
            loej,
            start,
            ..
        } => {
            start_stop::check(
                disk,
                start_stop::Fields {
                    power_condition,
                    no_flush,
                    loej,
                    start,
                },
            )?;
            Ok(Transfer::None)
        }
        Cdb::SendDiagnostic {
            code,
            parameter_list_len,
            ..
        } => {
            // Only the default self-test, which has nothing to do (SPC-4 6.42).
            if code != 0 {
                return Err(Sense::invalid_field_in_cdb(1, Some(7)));
            }
            if parameter_list_len != 0 {
                return Err(Sense::invalid_field_in_cdb(3, Some(7)));
            }
            Ok(Transfer::None)
        }
        _ => Err(Sense::illegal_request(Asc::INVALID_COMMAND_OPERATION_CODE)),
    }
}
