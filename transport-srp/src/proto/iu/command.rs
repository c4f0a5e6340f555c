//! SRP_CMD (SRP 6.8).

use zerocopy::IntoBytes;
use zerocopy::big_endian::U64;

use super::{FormatError, Solicited, Wire, opcode, wire};
use crate::proto::data::{DataBuffer, DescriptorError, Direction};

/// Length of the fixed part: the additional CDB and the data buffer descriptors follow.
pub const FIXED_LEN: usize = 48;
/// Where the CDB begins.
const CDB_OFFSET: usize = 32;
/// Longest CDB in bytes, the additional CDB included.
pub const CDB_MAX: usize = 16 + 252;

wire!(CommandWire, opcode::CMD, 48, {
    kind: u8, solicited: u8, reserved: [u8; 3], formats: u8, out_count: u8, in_count: u8, tag: U64,
    reserved2: [u8; 4], lun: [u8; 8], reserved3: u8, attribute: u8, reserved4: u8, additional_cdb_len: u8, cdb: [u8; 16],
});

/// SRP_CMD.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command<'a> {
    /// When the response is wanted with solicited notification.
    pub solicited: Solicited,
    /// TAG.
    pub tag: u64,
    /// LUN.
    pub lun: [u8; 8],
    /// TASK ATTRIBUTE: 0 SIMPLE, 1 HEAD OF QUEUE, 2 ORDERED, 4 ACA; others are reserved.
    pub attribute: u8,
    /// The CDB with the additional CDB: 16 to 268 bytes, a multiple of four.
    pub cdb: &'a [u8],
    /// Where Data-Out comes from.
    pub data_out: DataBuffer<'a>,
    /// Where Data-In goes.
    pub data_in: DataBuffer<'a>,
}

impl<'a> Command<'a> {
    /// Parses it; `immediate` is where immediate data begins, if the login allowed it.
    ///
    /// # Errors
    /// [`FormatError`].
    pub fn parse(iu: &'a [u8], immediate: Option<u16>) -> Result<Self, FormatError> {
        let (wire, rest) = CommandWire::of(iu)?;
        let short = FormatError::Length(iu.len());
        // Bits 7..2 count four-byte words.
        let additional = usize::from(wire.additional_cdb_len & 0xFC);
        let cdb = iu.get(CDB_OFFSET..FIXED_LEN + additional).ok_or(short)?;
        let rest = rest.get(additional..).ok_or(short)?;
        let (data_out, rest) = DataBuffer::parse(
            Direction::Out,
            wire.formats >> 4,
            wire.out_count,
            rest,
            immediate.map(|offset| (iu, offset)),
        )
        .map_err(FormatError::DataOut)?;
        let (data_in, rest) = DataBuffer::parse(
            Direction::In,
            wire.formats & 0x0F,
            wire.in_count,
            rest,
            None,
        )
        .map_err(FormatError::DataIn)?;
        // Immediate data lies behind all descriptors.
        let overlaps = immediate.is_some_and(|at| usize::from(at) < iu.len() - rest.len());
        if overlaps && matches!(data_out, DataBuffer::Immediate(_)) {
            return Err(FormatError::DataOut(DescriptorError::Length));
        }
        Ok(Self {
            solicited: Solicited::parse(wire.solicited),
            tag: wire.tag.get(),
            lun: wire.lun,
            attribute: wire.attribute & 7,
            cdb,
            data_out,
            data_in,
        })
    }

    /// The tag of a command that cannot be parsed, if it has one, and when its response is wanted with solicited
    /// notification.
    #[must_use]
    pub fn tag_of(iu: &[u8]) -> Option<(u64, Solicited)> {
        let (wire, _) = CommandWire::of(iu).ok()?;
        Some((wire.tag.get(), Solicited::parse(wire.solicited)))
    }

    /// Appends it, for an initiator. A CDB is padded to 16 bytes, beyond them to a multiple of four; what is longer than
    /// [`CDB_MAX`] is cut. `immediate` is where immediate data is to begin, if there is any.
    pub fn emit(&self, immediate: u16, out: &mut Vec<u8>) {
        let start = out.len();
        let mut first = [0; 16];
        let head = self.cdb.len().min(first.len());
        let cut = self.cdb.get(..CDB_MAX).unwrap_or(self.cdb);
        let (own, additional) = cut.split_at(head);
        first.iter_mut().zip(own).for_each(|(to, from)| *to = *from);
        let padded = additional.len().next_multiple_of(4);
        let wire = CommandWire {
            kind: opcode::CMD,
            solicited: self.solicited.emit(),
            reserved: [0; 3],
            formats: self.data_out.format() << 4 | self.data_in.format(),
            out_count: self.data_out.count(),
            in_count: self.data_in.count(),
            tag: self.tag.into(),
            reserved2: [0; 4],
            lun: self.lun,
            reserved3: 0,
            attribute: self.attribute & 7,
            reserved4: 0,
            // At most 252.
            additional_cdb_len: u8::try_from(padded).unwrap_or(0xFC),
            cdb: first,
        };
        out.extend_from_slice(wire.as_bytes());
        out.extend_from_slice(additional);
        out.resize(start + FIXED_LEN + padded, 0);
        self.data_out.emit(out);
        self.data_in.emit(out);
        if let DataBuffer::Immediate(data) = &self.data_out {
            let at = (start + usize::from(immediate)).max(out.len());
            out.resize(at, 0);
            out.extend_from_slice(data);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::data::{Remote, Table};
    use proptest::prelude::*;

    fn buffer() -> impl Strategy<Value = (u8, u8, Vec<u8>)> {
        let whole = (1u8..8).prop_flat_map(|n| {
            (
                Just(n),
                proptest::collection::vec(any::<u8>(), 16 * usize::from(n)),
            )
        });
        prop_oneof![
            Just((0, 0, Vec::new())),
            any::<[u8; 15]>().prop_map(|bytes| (1, 0, [&[0], bytes.as_slice()].concat())),
            (whole, any::<[u8; 20]>()).prop_map(|((n, list), head)| {
                let mut bytes = head.to_vec();
                bytes[12..16].copy_from_slice(&(16 * u32::from(n)).to_be_bytes());
                bytes[..8].fill(1);
                let mut list = list;
                let mut total = 0;
                for one in list.chunks_exact_mut(16) {
                    one[0] = 0;
                    one[12..14].fill(0);
                    total += u32::from(u16::from_be_bytes([one[14], one[15]]));
                }
                bytes[16..20].copy_from_slice(&total.to_be_bytes());
                bytes.extend(list);
                (2, n, bytes)
            }),
        ]
    }

    proptest! {
        #[test]
        fn commands_come_back_with_every_form_of_descriptor(
            head in any::<[u8; 32]>(), cdb in any::<[u8; 16]>(), more in 0u8..=63,
            (out_format, out_count, out_bytes) in buffer(), (in_format, in_count, in_bytes) in buffer()
        ) {
            let mut bytes = [head.as_slice(), &cdb].concat();
            bytes[0] = opcode::CMD;
            bytes[5] = out_format << 4 | in_format;
            bytes[6] = out_count;
            bytes[7] = in_count;
            bytes[31] = more << 2 | 3;
            bytes.extend((0..usize::from(more) * 4).map(|i| i as u8));
            bytes.extend(out_bytes);
            bytes.extend(in_bytes);
            let command = Command::parse(&bytes, None).unwrap();
            prop_assert_eq!(command.cdb.len(), 16 + 4 * usize::from(more));
            let mut out = Vec::new();
            command.emit(0, &mut out);
            prop_assert_eq!(Command::parse(&out, None), Ok(command));
            prop_assert_eq!(out.len(), bytes.len());
            // One byte less, and something is missing.
            prop_assert!(Command::parse(&bytes[..bytes.len() - 1], None).is_err());
        }
    }

    fn command(data_out: DataBuffer<'_>) -> Vec<u8> {
        let mut out = Vec::new();
        Command {
            solicited: Solicited::default(),
            tag: 1,
            lun: [0; 8],
            attribute: 0,
            cdb: &[0x2A, 0, 0, 0, 0, 0, 0, 0, 1, 0],
            data_out,
            data_in: DataBuffer::None,
        }
        .emit(68, &mut out);
        out
    }

    #[test]
    fn immediate_data_is_found_where_the_login_said_and_only_if_it_did() {
        let bytes = command(DataBuffer::Immediate(b"abcd"));
        assert_eq!(bytes.len(), 72);
        let parsed = Command::parse(&bytes, Some(68)).unwrap();
        assert_eq!(parsed.data_out, DataBuffer::Immediate(b"abcd"));
        let not_allowed = FormatError::DataOut(DescriptorError::Format(3));
        assert_eq!(Command::parse(&bytes, None), Err(not_allowed));
        let missing = FormatError::DataOut(DescriptorError::Length);
        assert_eq!(Command::parse(&bytes[..71], Some(68)), Err(missing));
        // It may not lie over the descriptors.
        assert_eq!(Command::parse(&bytes, Some(48)), Err(missing));
    }

    #[test]
    fn reserved_formats_are_refused_on_their_side() {
        for format in 3..16u8 {
            let mut bytes = command(DataBuffer::None);
            bytes[5] = format << 4;
            let refused = FormatError::DataOut(DescriptorError::Format(format));
            assert_eq!(Command::parse(&bytes, None), Err(refused));
            bytes[5] = format;
            let refused = FormatError::DataIn(DescriptorError::Format(format));
            assert_eq!(Command::parse(&bytes, Some(68)), Err(refused));
        }
    }

    #[test]
    fn a_short_cdb_is_padded_and_a_long_one_goes_on_behind_the_fixed_part() {
        let bytes = command(DataBuffer::Direct(Remote {
            address: 1,
            key: 2,
            len: 512,
        }));
        assert_eq!((bytes.len(), bytes[31]), (64, 0));
        let cdb: Vec<u8> = (0..32).collect();
        let mut out = Vec::new();
        Command {
            cdb: &cdb,
            data_out: DataBuffer::None,
            data_in: DataBuffer::Indirect(Table::EMPTY),
            ..Command::parse(&bytes, None).unwrap()
        }
        .emit(0, &mut out);
        assert_eq!((out[31], &out[32..64]), (16, cdb.as_slice()));
        assert_eq!(Command::parse(&out, None).unwrap().cdb, cdb);
    }
}
