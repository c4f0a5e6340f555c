//! What is checked before data moves: one line a command here, the rules below or beside the command.

use lunforge_core::asc::Asc;
use lunforge_core::cdb::{ByteCheck, Cdb, ParsedCdb};
use lunforge_core::handler::Transfer;
use lunforge_core::sense::Sense;
use lunforge_core::units::{BlockCount, Lba};

use crate::disk::Disk;
use crate::{
    cdrom, compare_and_write, data_buffer, defects, diagnostic, format_unit, identifying,
    lba_status, log, mode, orwrite, pre_fetch, removal, sanitize, start_stop, timestamp,
    write_atomic, write_same,
};

/// Checks a command against the disk and says how much data it moves.
pub(crate) fn check(disk: &Disk, cdb: &ParsedCdb) -> Result<Transfer, Sense> {
    match cdb.cdb {
        Cdb::Read { .. } => read(disk, cdb),
        Cdb::Write { .. } | Cdb::WriteAndVerify { .. } => write(disk, cdb),
        Cdb::Verify { .. } => verify(disk, cdb),
        Cdb::SynchronizeCache { lba, blocks, .. } => {
            disk.check_extent(lba, blocks).map(|()| Transfer::None)
        }
        Cdb::WriteSame { .. } => write_same(disk, cdb),
        Cdb::Unmap { .. } => unmap(cdb),
        Cdb::GetLbaStatus { lba, alloc } => disk
            .check_extent(lba, BlockCount(1))
            .map(|()| room(alloc, lba_status::MAX_LEN)),
        Cdb::ReadCapacity10 => Ok(Transfer::In(8)),
        Cdb::ReadCapacity16 { alloc } => Ok(room(alloc, 32)),
        Cdb::ModeSense { alloc, .. } => Ok(room(alloc, mode::ROOM)),
        Cdb::ModeSelect { .. } => mode::check_select(disk, cdb),
        Cdb::StartStopUnit { .. } => match start_stop::Fields::of(&cdb.cdb) {
            Some(fields) => start_stop::check(disk, fields).map(|()| Transfer::None),
            None => Err(unsupported()),
        },
        Cdb::PreventAllow { prevent } => removal::check(prevent),
        Cdb::SendDiagnostic { .. } => diagnostic::check_send(disk, &cdb.cdb),
        Cdb::ReceiveDiagnosticResults { page, alloc } => diagnostic::check_receive(page, alloc),
        Cdb::LogSense { .. } => log::check_sense(disk, &cdb.cdb),
        Cdb::LogSelect { .. } => log::check_select(disk, &cdb.cdb),
        Cdb::ReadDefectData { alloc, .. } => Ok(room(alloc, defects::ROOM)),
        Cdb::ReadBuffer { .. } => data_buffer::check_read(&cdb.cdb),
        Cdb::WriteBuffer { .. } => data_buffer::check_write(&cdb.cdb),
        Cdb::ReportIdentifyingInformation { kind, alloc } => identifying::check_report(kind, alloc),
        Cdb::SetIdentifyingInformation {
            kind,
            parameter_list_len,
        } => identifying::check_set(kind, parameter_list_len),
        Cdb::ReportTimestamp { alloc } => Ok(room(alloc, timestamp::LEN)),
        Cdb::SetTimestamp { parameter_list_len } => Ok(list(parameter_list_len)),
        Cdb::CompareAndWrite { .. } => compare_and_write::check(disk, cdb),
        Cdb::FormatUnit { .. } => format_unit::check(disk, cdb),
        Cdb::Sanitize { .. } => sanitize::check(disk, cdb),
        Cdb::Orwrite { .. } => orwrite::check(disk, cdb),
        Cdb::WriteAtomic16 { .. } => write_atomic::check(disk, cdb),
        Cdb::PreFetch { .. } => pre_fetch::check(disk, cdb),
        _ if disk.cdrom.is_some() => cdrom::check(disk, cdb),
        _ => Err(unsupported()),
    }
}

/// The sense of a command that there is not.
pub(crate) fn unsupported() -> Sense {
    Sense::illegal_request(Asc::INVALID_COMMAND_OPERATION_CODE)
}

/// Protection information is not supported: RDPROTECT, WRPROTECT and VRPROTECT must be zero (SBC-4 5.14).
pub(crate) fn no_protection(protect: u8) -> Result<(), Sense> {
    if protect == 0 {
        Ok(())
    } else {
        Err(Sense::invalid_field_in_cdb(1, Some(7)))
    }
}

/// The CDB byte at which the TRANSFER LENGTH field starts.
pub(crate) fn length_at(cdb: &ParsedCdb) -> u16 {
    match cdb.entry.cdb_len() {
        6 => 4,
        10 => 7,
        12 => 6,
        _ => 10,
    }
}

/// Checks a transfer of blocks and gives its bytes.
pub(crate) fn blocks_in_range(
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

/// Data-Out of `len` bytes.
pub(crate) fn out(len: usize) -> Transfer {
    if len == 0 {
        Transfer::None
    } else {
        Transfer::Out(len)
    }
}

/// A parameter list of `len` bytes.
pub(crate) fn list(len: u32) -> Transfer {
    out(usize::try_from(len).unwrap_or(usize::MAX))
}

/// Room for parameter data of at most `most` bytes.
pub(crate) fn room(alloc: u32, most: usize) -> Transfer {
    match usize::try_from(alloc).map_or(most, |alloc| alloc.min(most)) {
        0 => Transfer::None,
        len => Transfer::In(len),
    }
}

fn read(disk: &Disk, cdb: &ParsedCdb) -> Result<Transfer, Sense> {
    let Cdb::Read {
        lba,
        blocks,
        protect,
        ..
    } = cdb.cdb
    else {
        return Err(unsupported());
    };
    no_protection(protect)?;
    Ok(match blocks_in_range(disk, cdb, lba, blocks)? {
        0 => Transfer::None,
        len => Transfer::In(len),
    })
}

fn write(disk: &Disk, cdb: &ParsedCdb) -> Result<Transfer, Sense> {
    let (Cdb::Write {
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
    }) = cdb.cdb
    else {
        return Err(unsupported());
    };
    no_protection(protect)?;
    blocks_in_range(disk, cdb, lba, blocks).map(out)
}

fn verify(disk: &Disk, cdb: &ParsedCdb) -> Result<Transfer, Sense> {
    let Cdb::Verify {
        lba,
        blocks,
        bytchk,
        protect,
        ..
    } = cdb.cdb
    else {
        return Err(unsupported());
    };
    no_protection(protect)?;
    let whole = blocks_in_range(disk, cdb, lba, blocks)?;
    Ok(out(match bytchk {
        ByteCheck::None => 0,
        ByteCheck::Whole => whole,
        ByteCheck::OneBlock => whole.min(usize::try_from(disk.block().bytes()).unwrap_or(0)),
    }))
}

fn write_same(disk: &Disk, cdb: &ParsedCdb) -> Result<Transfer, Sense> {
    let Cdb::WriteSame {
        lba,
        blocks,
        protect,
        ndob,
        ..
    } = cdb.cdb
    else {
        return Err(unsupported());
    };
    no_protection(protect)?;
    if let Some(fields) = write_same::Fields::of(&cdb.cdb) {
        write_same::check(disk, fields, length_at(cdb))?;
    }
    disk.check_extent(lba, blocks)?;
    Ok(if ndob {
        Transfer::None
    } else {
        Transfer::OutExactly(usize::try_from(disk.block().bytes()).unwrap_or(0))
    })
}

fn unmap(cdb: &ParsedCdb) -> Result<Transfer, Sense> {
    let Cdb::Unmap {
        anchor,
        parameter_list_len,
    } = cdb.cdb
    else {
        return Err(unsupported());
    };
    if anchor {
        return Err(Sense::invalid_field_in_cdb(1, Some(0)));
    }
    Ok(list(parameter_list_len))
}
