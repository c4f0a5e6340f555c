//! From bytes to fields: the common checks and the commands that address an extent of blocks.

use super::class::CommandClass;
use super::fields::decode_fields;
use super::table::{CommandId, OpcodeEntry};
use super::typed::{ByteCheck, Cdb, PowerCondition};
use super::{Control, ParsedCdb};
use crate::asc::Asc;
use crate::sense::Sense;
use crate::units::{BlockCount, Lba};

/// The first sixteen bytes of a CDB. Fields are read at constant offsets.
pub(super) type Head = [u8; 16];

impl ParsedCdb {
    /// Checks reserved bits against the usage mask and decodes the fields of `cdb`, which
    /// [`super::lookup`] found to be described by `entry`.
    ///
    /// # Errors
    /// ILLEGAL REQUEST, INVALID FIELD IN CDB, with a field pointer unless the CDB is too short.
    #[inline]
    pub fn decode(entry: &'static OpcodeEntry, cdb: &[u8]) -> Result<Self, Sense> {
        let len = entry.cdb_len();
        let Some(control) = cdb.get(len - 1) else {
            return Err(Sense::illegal_request(Asc::INVALID_FIELD_IN_CDB));
        };
        // Bytes beyond the CDB may be in here; neither the check nor the fields reach them.
        let head = first_sixteen(cdb);
        if let Some((byte, bit)) = entry.reserved_in_head(u128::from_be_bytes(head)) {
            return Err(Sense::invalid_field_in_cdb(byte, Some(bit)));
        }
        if len > 16 {
            return decode_long(entry, &head, cdb);
        }
        let cdb = decode(entry, &head)?;
        Ok(Self {
            entry,
            cdb,
            control: Control(*control),
            class: class(entry, &cdb),
        })
    }
}

/// The 32-byte CDBs, whose CONTROL byte is byte 1.
fn decode_long(entry: &'static OpcodeEntry, head: &Head, cdb: &[u8]) -> Result<ParsedCdb, Sense> {
    let tail = first_sixteen(cdb.get(16..).unwrap_or(&[]));
    if let Some((byte, bit)) = entry.reserved_in_tail(u128::from_be_bytes(tail)) {
        return Err(Sense::invalid_field_in_cdb(byte, Some(bit)));
    }
    let cdb = decode_32(entry.id, head, &tail)?;
    Ok(ParsedCdb {
        entry,
        cdb,
        control: Control(head[1]),
        class: entry.class,
    })
}

/// The first sixteen bytes, zero-padded if there are fewer.
#[inline]
fn first_sixteen(bytes: &[u8]) -> Head {
    if let Some(head) = bytes.first_chunk() {
        return *head;
    }
    let mut head = [0; 16];
    for (to, from) in head.iter_mut().zip(bytes) {
        *to = *from;
    }
    head
}

/// The class of the row, made milder where the fields allow it (the reservation tables of SPC-4 and SBC-4).
fn class(entry: &OpcodeEntry, cdb: &Cdb) -> CommandClass {
    match cdb {
        Cdb::StartStopUnit {
            start: true,
            power_condition: PowerCondition { condition: 0, .. },
            ..
        } => CommandClass::START,
        Cdb::PreventAllow { prevent: 0 } => CommandClass::ALLOW_REMOVAL,
        _ => entry.class,
    }
}

#[inline]
fn decode(entry: &OpcodeEntry, c: &Head) -> Result<Cdb, Sense> {
    use CommandId as Id;
    let id = entry.id;
    let at = || extent(entry.cdb_len(), c);
    Ok(match id {
        Id::Read6 | Id::Read10 | Id::Read12 | Id::Read16 => read(id, at(), c),
        Id::Write6 | Id::Write10 | Id::Write12 | Id::Write16 => write(id, at(), c),
        Id::WriteAndVerify10 | Id::WriteAndVerify12 | Id::WriteAndVerify16 => {
            let (lba, blocks) = at();
            write_and_verify(lba, blocks, c[1], 1)?
        }
        Id::Verify10 | Id::Verify12 | Id::Verify16 => {
            let (lba, blocks) = at();
            verify(lba, blocks, c[1], 1)?
        }
        Id::WriteSame10 | Id::WriteSame16 => {
            let (lba, blocks) = at();
            write_same(lba, blocks, c[1])
        }
        Id::PreFetch10 | Id::PreFetch16 => {
            let (lba, blocks) = at();
            Cdb::PreFetch {
                lba,
                blocks,
                immed: c[1] & 0x02 != 0,
            }
        }
        Id::SynchronizeCache10 | Id::SynchronizeCache16 => {
            let (lba, blocks) = at();
            Cdb::SynchronizeCache {
                lba,
                blocks,
                immed: c[1] & 0x02 != 0,
            }
        }
        Id::Orwrite16 | Id::WriteAtomic16 | Id::CompareAndWrite => atomic(id, at(), c),
        _ => decode_fields(id, c)?,
    })
}

/// LBA and length of the forms whose layout follows from the size of the CDB alone.
#[inline]
fn extent(cdb_len: usize, c: &Head) -> (Lba, BlockCount) {
    let (lba, blocks) = match cdb_len {
        10 => (
            u64::from(be32([c[2], c[3], c[4], c[5]])),
            u32::from(be16([c[7], c[8]])),
        ),
        12 => (
            u64::from(be32([c[2], c[3], c[4], c[5]])),
            be32([c[6], c[7], c[8], c[9]]),
        ),
        16 => (be64(c), be32([c[10], c[11], c[12], c[13]])),
        // The six-byte forms: 21 bits of LBA, and length zero stands for 256 blocks (SBC-4 5.14).
        _ => {
            let blocks = if c[4] == 0 { 256 } else { u32::from(c[4]) };
            (u64::from(be32([0, c[1] & 0x1F, c[2], c[3]])), blocks)
        }
    };
    (Lba(lba), BlockCount(blocks.into()))
}

#[inline]
fn read(id: CommandId, (lba, blocks): (Lba, BlockCount), c: &Head) -> Cdb {
    // Byte 1 of the six-byte form is part of the LBA.
    let flags = if id == CommandId::Read6 { 0 } else { c[1] };
    read_of(lba, blocks, flags)
}

fn read_of(lba: Lba, blocks: BlockCount, flags: u8) -> Cdb {
    Cdb::Read {
        lba,
        blocks,
        dpo: flags & 0x10 != 0,
        fua: flags & 0x08 != 0,
        rarc: flags & 0x04 != 0,
        protect: flags >> 5,
    }
}

#[inline]
fn write(id: CommandId, (lba, blocks): (Lba, BlockCount), c: &Head) -> Cdb {
    let flags = if id == CommandId::Write6 { 0 } else { c[1] };
    write_of(lba, blocks, flags)
}

fn write_of(lba: Lba, blocks: BlockCount, flags: u8) -> Cdb {
    // FUA_NV (bit 1, SBC-3) asks for non-volatile storage; FUA gives at least that.
    Cdb::Write {
        lba,
        blocks,
        dpo: flags & 0x10 != 0,
        fua: flags & 0x0A != 0,
        protect: flags >> 5,
    }
}

fn byte_check(flags: u8, byte: u16, one_block: bool) -> Result<ByteCheck, Sense> {
    match flags >> 1 & 0x03 {
        0 => Ok(ByteCheck::None),
        1 => Ok(ByteCheck::Whole),
        3 if one_block => Ok(ByteCheck::OneBlock),
        _ => Err(Sense::invalid_field_in_cdb(byte, Some(2))),
    }
}

fn verify(lba: Lba, blocks: BlockCount, flags: u8, byte: u16) -> Result<Cdb, Sense> {
    let bytchk = byte_check(flags, byte, true)?;
    Ok(Cdb::Verify {
        lba,
        blocks,
        bytchk,
        dpo: flags & 0x10 != 0,
        protect: flags >> 5,
    })
}

fn write_and_verify(lba: Lba, blocks: BlockCount, flags: u8, byte: u16) -> Result<Cdb, Sense> {
    let bytchk = byte_check(flags, byte, false)?;
    Ok(Cdb::WriteAndVerify {
        lba,
        blocks,
        bytchk,
        dpo: flags & 0x10 != 0,
        protect: flags >> 5,
    })
}

fn write_same(lba: Lba, blocks: BlockCount, flags: u8) -> Cdb {
    Cdb::WriteSame {
        lba,
        blocks,
        unmap: flags & 0x08 != 0,
        anchor: flags & 0x10 != 0,
        ndob: flags & 0x01 != 0,
        protect: flags >> 5,
    }
}

fn atomic(id: CommandId, (lba, blocks): (Lba, BlockCount), c: &Head) -> Cdb {
    let (dpo, fua, protect) = (c[1] & 0x10 != 0, c[1] & 0x0A != 0, c[1] >> 5);
    match id {
        CommandId::CompareAndWrite => Cdb::CompareAndWrite {
            lba,
            blocks: c[13],
            dpo,
            fua,
            protect,
        },
        CommandId::WriteAtomic16 => {
            let (boundary, blocks) = (be16([c[10], c[11]]), be16([c[12], c[13]]));
            Cdb::WriteAtomic16 {
                lba,
                blocks: BlockCount(blocks.into()),
                boundary,
                dpo,
                fua,
                protect,
            }
        }
        _ => Cdb::Orwrite {
            lba,
            blocks,
            dpo,
            fua,
            protect,
        },
    }
}

/// The 32-byte forms (SBC-4 5.16): flags in byte 10, LBA in bytes 12 to 19, length in bytes 28 to 31.
fn decode_32(id: CommandId, c: &Head, d: &Head) -> Result<Cdb, Sense> {
    if c[7] != 0x18 {
        return Err(Sense::invalid_field_in_cdb(7, None));
    }
    let lba = Lba(u64::from_be_bytes([
        c[12], c[13], c[14], c[15], d[0], d[1], d[2], d[3],
    ]));
    let blocks = BlockCount(be32([d[12], d[13], d[14], d[15]]).into());
    Ok(match id {
        CommandId::Read32 => read_of(lba, blocks, c[10]),
        CommandId::Write32 => write_of(lba, blocks, c[10]),
        CommandId::Verify32 => verify(lba, blocks, c[10], 10)?,
        CommandId::WriteAndVerify32 => write_and_verify(lba, blocks, c[10], 10)?,
        CommandId::WriteSame32 => write_same(lba, blocks, c[10]),
        _ => Cdb::Other(id),
    })
}

pub(super) const fn be16(bytes: [u8; 2]) -> u16 {
    u16::from_be_bytes(bytes)
}

pub(super) const fn be32(bytes: [u8; 4]) -> u32 {
    u32::from_be_bytes(bytes)
}

/// The LBA of the sixteen-byte forms, bytes 2 to 9.
pub(super) fn be64(c: &Head) -> u64 {
    u64::from_be_bytes([c[2], c[3], c[4], c[5], c[6], c[7], c[8], c[9]])
}
