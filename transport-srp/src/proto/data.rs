//! Data buffers in the initiator's memory (SRP clause 5): where they are, checked before anything is moved.
//!
//! A buffer is one range of memory, or a table of ranges. The table lies in the initiator's memory; its beginning, often
//! all of it, also in the command. What a table lists has to be exactly as long as the buffer.

use zerocopy::big_endian::{U32, U64};
use zerocopy::{FromBytes, IntoBytes};

/// Length of a memory descriptor in bytes.
pub const DESCRIPTOR_LEN: usize = 16;
/// Most descriptors in a table: 64 KiB of them.
pub const MAX_DESCRIPTORS: usize = 4096;

/// Why a data buffer descriptor cannot be understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DescriptorError {
    /// The format is reserved, or was not agreed on at login.
    #[error("format {0} is not supported")]
    Format(u8),
    /// The information unit ends before the descriptor, or immediate data, does.
    #[error("it is incomplete")]
    Length,
    /// A count is not that of the table, or too large.
    #[error("the descriptor count does not fit the table")]
    Count,
    /// The parts together are longer or shorter than the buffer.
    #[error("the parts do not add up to the length")]
    Sum,
    /// A part goes beyond the end of the address space.
    #[error("a part goes beyond the end of memory")]
    Overflow,
}

/// A range of an initiator's memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Remote {
    /// Virtual address.
    pub address: u64,
    /// Memory handle (R_Key).
    pub key: u32,
    /// Length in bytes.
    pub len: u32,
}

#[derive(
    zerocopy::FromBytes,
    zerocopy::IntoBytes,
    zerocopy::KnownLayout,
    zerocopy::Immutable,
    zerocopy::Unaligned,
)]
#[repr(C)]
struct RemoteWire {
    address: U64,
    key: U32,
    len: U32,
}
const _: () = assert!(size_of::<RemoteWire>() == DESCRIPTOR_LEN);

impl Remote {
    fn split(bytes: &[u8]) -> Result<(Self, &[u8]), DescriptorError> {
        let (wire, rest) =
            RemoteWire::ref_from_prefix(bytes).map_err(|_| DescriptorError::Length)?;
        Ok((Self::of(wire), rest))
    }

    fn of(wire: &RemoteWire) -> Self {
        Self {
            address: wire.address.get(),
            key: wire.key.get(),
            len: wire.len.get(),
        }
    }

    fn checked(self) -> Result<Self, DescriptorError> {
        match self.address.checked_add(self.len.into()) {
            Some(_) => Ok(self),
            None => Err(DescriptorError::Overflow),
        }
    }

    /// Appends the descriptor.
    pub fn emit(&self, out: &mut Vec<u8>) {
        let wire = RemoteWire {
            address: self.address.into(),
            key: self.key.into(),
            len: self.len.into(),
        };
        out.extend_from_slice(wire.as_bytes());
    }
}

/// Which way data goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From the initiator.
    Out,
    /// To the initiator.
    In,
}

/// A table of descriptors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Table<'a> {
    /// Where the whole table is.
    pub table: Remote,
    /// Length of the buffer that it describes, in bytes.
    pub len: u32,
    /// The descriptors that are in the command, as they came; whole ones.
    list: &'a [u8],
}

impl<'a> Table<'a> {
    /// A table that lists nothing.
    pub const EMPTY: Self = Self {
        table: Remote {
            address: 0,
            key: 0,
            len: 0,
        },
        len: 0,
        list: &[],
    };

    /// A table at `table` that begins with the descriptors in `list`, for an initiator.
    ///
    /// # Errors
    /// [`DescriptorError`], by the rules of a target.
    pub fn new(table: Remote, len: u32, list: &'a [u8]) -> Result<Self, DescriptorError> {
        let all = table.checked()?.len as usize;
        let fits = list.len().is_multiple_of(DESCRIPTOR_LEN)
            && all.is_multiple_of(DESCRIPTOR_LEN)
            && all <= MAX_DESCRIPTORS * DESCRIPTOR_LEN
            && list.len() <= all.min(usize::from(u8::MAX) * DESCRIPTOR_LEN);
        if !fits {
            return Err(DescriptorError::Count);
        }
        let this = Self { table, len, list };
        if this.is_complete() {
            let mut sum = Sum(0);
            parts(list).try_for_each(|part| sum.add(part).map(drop))?;
            sum.is(len)?;
        } else {
            parts(list).try_for_each(|part| part.checked().map(drop))?;
        }
        Ok(this)
    }

    /// Whether the whole table is in the command.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.list.len() == self.table.len as usize
    }

    /// The descriptors that are in the command.
    pub fn parts(&self) -> impl Iterator<Item = Remote> + use<'a> {
        parts(self.list)
    }
}

fn parts(list: &[u8]) -> impl Iterator<Item = Remote> {
    list.chunks_exact(DESCRIPTOR_LEN)
        .filter_map(|one| RemoteWire::ref_from_bytes(one).ok())
        .map(Remote::of)
}

/// What parts add up to.
struct Sum(u64);

impl Sum {
    fn add(&mut self, part: Remote) -> Result<Remote, DescriptorError> {
        // At most 4096 times four gibibytes.
        self.0 += u64::from(part.len);
        part.checked()
    }

    fn is(&self, len: u32) -> Result<(), DescriptorError> {
        if self.0 == u64::from(len) {
            Ok(())
        } else {
            Err(DescriptorError::Sum)
        }
    }
}

/// Reads a table that was fetched from memory, for a buffer of `len` bytes. `into` has its parts then, and nothing else.
///
/// # Errors
/// [`DescriptorError`]; `into` is empty then.
pub fn read_table(bytes: &[u8], len: u32, into: &mut Vec<Remote>) -> Result<(), DescriptorError> {
    into.clear();
    let mut sum = Sum(0);
    let read = parts(bytes).try_for_each(|part| {
        into.push(sum.add(part)?);
        Ok(())
    });
    let read = read.and_then(|()| sum.is(len));
    if read.is_err() {
        into.clear();
    }
    read
}

/// Cuts parts to the first `len` bytes of what they describe.
pub fn cut(parts: &mut Vec<Remote>, len: usize) {
    let mut left = u32::try_from(len).unwrap_or(u32::MAX);
    parts.retain_mut(|part| {
        part.len = part.len.min(left);
        left -= part.len;
        part.len > 0
    });
}

/// A data buffer as a command describes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DataBuffer<'a> {
    /// There is none.
    None,
    /// One range.
    Direct(Remote),
    /// A table of ranges.
    Indirect(Table<'a>),
    /// The data itself, which is in the command: Data-Out only.
    Immediate(&'a [u8]),
}

mod format {
    pub(super) const NONE: u8 = 0;
    pub(super) const DIRECT: u8 = 1;
    pub(super) const INDIRECT: u8 = 2;
    pub(super) const IMMEDIATE: u8 = 3;
}

impl<'a> DataBuffer<'a> {
    /// Parses the descriptor at the start of `bytes`; what follows it. `immediate` has the whole information unit and where
    /// in it immediate data begins, where that is allowed.
    pub(super) fn parse(
        direction: Direction,
        code: u8,
        count: u8,
        bytes: &'a [u8],
        immediate: Option<(&'a [u8], u16)>,
    ) -> Result<(Self, &'a [u8]), DescriptorError> {
        match (code, direction, immediate) {
            (format::NONE, ..) => Ok((Self::None, bytes)),
            (format::DIRECT, ..) => {
                let (part, rest) = Remote::split(bytes)?;
                Ok((Self::Direct(part.checked()?), rest))
            }
            (format::INDIRECT, ..) => {
                let (table, rest) = Remote::split(bytes)?;
                let (len, rest) =
                    U32::ref_from_prefix(rest).map_err(|_| DescriptorError::Length)?;
                let here = rest.split_at_checked(usize::from(count) * DESCRIPTOR_LEN);
                let (list, rest) = here.ok_or(DescriptorError::Length)?;
                Ok((Self::Indirect(Table::new(table, len.get(), list)?), rest))
            }
            (format::IMMEDIATE, Direction::Out, Some((iu, offset))) => {
                let (len, rest) =
                    U32::ref_from_prefix(bytes).map_err(|_| DescriptorError::Length)?;
                let before = iu.len() - rest.len();
                let (start, len) = (usize::from(offset), len.get() as usize);
                let data = (start >= before).then(|| iu.get(start..)?.get(..len));
                let data = data.flatten().ok_or(DescriptorError::Length)?;
                Ok((Self::Immediate(data), rest))
            }
            (code, ..) => Err(DescriptorError::Format(code)),
        }
    }

    pub(super) fn format(&self) -> u8 {
        match self {
            Self::None => format::NONE,
            Self::Direct(_) => format::DIRECT,
            Self::Indirect(_) => format::INDIRECT,
            Self::Immediate(_) => format::IMMEDIATE,
        }
    }

    /// The descriptor count field.
    pub(super) fn count(&self) -> u8 {
        match self {
            Self::Indirect(table) => {
                u8::try_from(table.list.len() / DESCRIPTOR_LEN).unwrap_or(u8::MAX)
            }
            _ => 0,
        }
    }

    /// Appends the descriptor; of immediate data its length.
    pub(super) fn emit(&self, out: &mut Vec<u8>) {
        match self {
            Self::None => {}
            Self::Direct(part) => part.emit(out),
            Self::Indirect(table) => {
                table.table.emit(out);
                out.extend_from_slice(&table.len.to_be_bytes());
                out.extend_from_slice(table.list);
            }
            Self::Immediate(data) => {
                let len = u32::try_from(data.len()).unwrap_or(u32::MAX);
                out.extend_from_slice(&len.to_be_bytes());
            }
        }
    }

    /// Length of the buffer in bytes.
    #[must_use]
    pub fn len(&self) -> u32 {
        match self {
            Self::None => 0,
            Self::Direct(part) => part.len,
            Self::Indirect(table) => table.len,
            Self::Immediate(data) => u32::try_from(data.len()).unwrap_or(u32::MAX),
        }
    }

    /// Whether the buffer has no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn list(lens: &[u32]) -> Vec<u8> {
        let mut out = Vec::new();
        for (key, &len) in (0..).zip(lens) {
            let part = Remote {
                address: u64::from(key) << 20,
                key,
                len,
            };
            part.emit(&mut out);
        }
        out
    }

    fn table(bytes: u32) -> Remote {
        Remote {
            address: 0x1000,
            key: 9,
            len: bytes,
        }
    }

    #[test]
    fn a_whole_table_has_to_add_up_to_the_length_of_the_buffer() {
        let list = list(&[512, 0, 1024]);
        assert_eq!(
            Table::new(table(48), 1535, &list),
            Err(DescriptorError::Sum)
        );
        assert_eq!(
            Table::new(table(48), 1537, &list),
            Err(DescriptorError::Sum)
        );
        let whole = Table::new(table(48), 1536, &list).unwrap();
        assert!(whole.is_complete());
        assert_eq!(whole.parts().map(|part| part.len).sum::<u32>(), 1536);
        // Sums do not wrap.
        let many = super::tests::list(&[u32::MAX, 1]);
        assert_eq!(Table::new(table(32), 0, &many), Err(DescriptorError::Sum));
    }

    #[test]
    fn a_part_of_a_table_is_taken_and_more_than_the_table_is_not() {
        let list = list(&[512, 512]);
        let part = Table::new(table(48), 9999, &list).unwrap();
        assert!(!part.is_complete());
        let error = Err(DescriptorError::Count);
        assert_eq!(Table::new(table(16), 1024, &list), error);
        assert_eq!(Table::new(table(33), 1024, &list), error);
        assert_eq!(Table::new(table(65_536 + 16), 1024, &list), error);
        assert!(Table::new(table(65_536), 1024, &list).is_ok());
    }

    #[test]
    fn a_range_beyond_the_end_of_memory_is_refused_wherever_it_is() {
        let beyond = Remote {
            address: u64::MAX - 10,
            key: 1,
            len: 12,
        };
        let mut bytes = Vec::new();
        beyond.emit(&mut bytes);
        let parse = |code, bytes| DataBuffer::parse(Direction::In, code, 1, bytes, None);
        assert_eq!(parse(1, &bytes).unwrap_err(), DescriptorError::Overflow);
        let error = Err(DescriptorError::Overflow);
        assert_eq!(Table::new(table(16), 12, &bytes), error);
        assert_eq!(Table::new(table(32), 12, &bytes), error);
        assert_eq!(Table::new(beyond, 12, &[]), error);
        let mut parts = vec![beyond];
        assert_eq!(
            read_table(&bytes, 12, &mut parts),
            Err(DescriptorError::Overflow)
        );
        assert!(parts.is_empty());
    }

    #[test]
    fn every_length_short_of_a_descriptor_is_refused() {
        let list = list(&[4096]);
        let mut indirect = Vec::new();
        table(16).emit(&mut indirect);
        indirect.extend(4096u32.to_be_bytes());
        indirect.extend(&list);
        for (code, bytes) in [(1, &list), (2, &indirect)] {
            for len in 0..bytes.len() {
                let parsed = DataBuffer::parse(Direction::Out, code, 1, &bytes[..len], None);
                assert_eq!(parsed.unwrap_err(), DescriptorError::Length, "{code} {len}");
            }
            let (buffer, rest) = DataBuffer::parse(Direction::Out, code, 1, bytes, None).unwrap();
            assert_eq!((buffer.len(), rest.len()), (4096, 0));
        }
    }

    proptest! {
        #[test]
        fn parts_are_cut_to_a_length(lens in proptest::collection::vec(0u32..5000, 0..8), len in 0usize..20_000) {
            let total: usize = lens.iter().map(|len| *len as usize).sum();
            let mut parts: Vec<_> = super::parts(&list(&lens)).collect();
            cut(&mut parts, len);
            let left: usize = parts.iter().map(|part| part.len as usize).sum();
            prop_assert_eq!(left, total.min(len));
            prop_assert!(parts.iter().all(|part| part.len > 0));
        }

        #[test]
        fn a_table_in_memory_is_read_like_one_in_the_command(
            lens in proptest::collection::vec(0u32..5000, 0..8), off: bool
        ) {
            let total: u32 = lens.iter().sum::<u32>() + u32::from(off);
            let bytes = list(&lens);
            let here = Table::new(table(bytes.len() as u32), total, &bytes);
            let mut parts = vec![Remote::default()];
            let fetched = read_table(&bytes, total, &mut parts);
            prop_assert_eq!(fetched.is_err(), off);
            prop_assert_eq!(here.err(), fetched.err());
            if let Ok(table) = here {
                prop_assert_eq!(table.parts().collect::<Vec<_>>(), parts);
            }
        }
    }
}
