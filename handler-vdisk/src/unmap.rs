//! UNMAP (SBC-4 5.34). The whole list is checked before the first block is touched.

use std::sync::Arc;

use lunforge_core::asc::Asc;
use lunforge_core::buffer::IoBuf;
use lunforge_core::handler::{Execute, Execution, Outcome};
use lunforge_core::sense::Sense;
use lunforge_core::units::{BlockCount, Lba};
use zerocopy::byteorder::big_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned};

use crate::disk::{Disk, MAX_UNMAP_DESCRIPTORS, in_range};
use crate::drive::{self, Machine, Next, Step};
use crate::outcome::{Doing, of_error};
use crate::provisioning::Provisioning;
use crate::store::{StoreOp, StoreResult};

/// Header of the parameter list (SBC-4 table 87).
#[derive(FromBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Header {
    data_len: U16,
    descriptors_len: U16,
    reserved: [u8; 4],
}

/// Block descriptor (SBC-4 table 88).
#[derive(FromBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Descriptor {
    lba: U64,
    blocks: U32,
    reserved: [u8; 4],
}

/// Extents of the list, in blocks: start and length, in the list's order. `limit` is MAXIMUM UNMAP LBA COUNT.
pub(crate) fn parse(
    list: &[u8],
    capacity: BlockCount,
    limit: u64,
) -> Result<Vec<(u64, u64)>, Sense> {
    let short = || Sense::illegal_request(Asc::PARAMETER_LIST_LENGTH_ERROR);
    let (header, rest) = Header::ref_from_prefix(list).map_err(|_| short())?;
    let wanted = usize::from(header.descriptors_len.get());
    // The UNMAP DATA LENGTH counts the bytes after itself; it must hold the descriptors.
    if usize::from(header.data_len.get()) < wanted.saturating_add(6) {
        return Err(Sense::invalid_field_in_parameter_list(0, None));
    }
    let descriptors = rest.get(..wanted).ok_or_else(short)?;
    // An incomplete descriptor at the end is ignored (SBC-4 5.34.2).
    let count = wanted / size_of::<Descriptor>();
    if count as u64 > u64::from(MAX_UNMAP_DESCRIPTORS) {
        return Err(Sense::invalid_field_in_parameter_list(2, None));
    }
    let (descriptors, _) =
        <[Descriptor]>::ref_from_prefix_with_elems(descriptors, count).map_err(|_| short())?;
    let mut extents = Vec::with_capacity(count);
    let mut total = 0u64;
    for (n, descriptor) in descriptors.iter().enumerate() {
        let lba = Lba(descriptor.lba.get());
        let blocks = BlockCount(descriptor.blocks.get().into());
        // A descriptor of no blocks is no error (SBC-4 5.34.2), even right behind the last block.
        if !(blocks.is_zero() && lba.0 == capacity.0) {
            in_range(lba, blocks, capacity)?;
        }
        total = total.saturating_add(blocks.0);
        if total > limit {
            let at = n
                .saturating_mul(size_of::<Descriptor>())
                .saturating_add(8 + 8);
            return Err(Sense::invalid_field_in_parameter_list(
                u16::try_from(at).unwrap_or(u16::MAX),
                None,
            ));
        }
        if !blocks.is_zero() {
            extents.push((lba.0, blocks.0));
        }
    }
    Ok(extents)
}

/// Executes UNMAP on its parameter list of `len` bytes.
pub(crate) fn execute(disk: &Arc<Disk>, execution: &mut Execution<'_>, len: u32) -> Execute {
    let buf = execution.take_buf();
    let len = usize::try_from(len).unwrap_or(usize::MAX);
    if len == 0 {
        return Execute::Done(Outcome::good());
    }
    if buf.len() < len {
        return Execute::Done(Sense::illegal_request(Asc::PARAMETER_LIST_LENGTH_ERROR).into());
    }
    let extents = match parse(&buf.to_vec(0..len), disk.blocks(), disk.max_unmap_blocks()) {
        Ok(extents) if extents.is_empty() => return Execute::Done(Outcome::good()),
        Ok(extents) => extents,
        Err(sense) => return Execute::Done(sense.into()),
    };
    let bytes = |(lba, blocks)| (disk.offset(Lba(lba)), disk.bytes(BlockCount(blocks)));
    let left: Vec<_> = extents.into_iter().rev().map(bytes).collect();
    Provisioning::changed(disk, left.iter().map(|extent| extent.1).sum());
    let mut machine = Unmap {
        left,
        flushing: false,
    };
    let next = machine.next(disk);
    // A discard takes as long as the file system likes: never on the shard.
    drive::start_long(disk, execution, Step::Machine(Box::new(machine)), next)
}

struct Unmap {
    /// Extents to discard, the next one last.
    left: Vec<(u64, u64)>,
    flushing: bool,
}

impl Unmap {
    fn next(&mut self, disk: &Disk) -> Next {
        let Some((offset, len)) = self.left.pop() else {
            if disk.must_be_stable(false) {
                self.flushing = true;
                return Next::Submit(StoreOp::Flush);
            }
            return Next::end(Outcome::good());
        };
        let piece = len.min(disk.discard_chunk());
        if piece < len {
            self.left.push((offset.saturating_add(piece), len - piece));
        }
        Next::Submit(StoreOp::Discard { offset, len: piece })
    }
}

impl Machine for Unmap {
    fn advance(&mut self, disk: &Disk, result: StoreResult, _buf: Option<IoBuf>) -> Next {
        match result {
            Ok(_) if self.flushing => Next::end(Outcome::good()),
            Ok(_) => self.next(disk),
            Err(error) => Next::end(of_error(error, Doing::Write, disk.block())),
        }
    }
}
