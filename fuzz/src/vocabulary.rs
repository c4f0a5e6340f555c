//! Parsers of the core. Each function takes arbitrary bytes and asserts what holds for any input.

use lunforge_core::cdb::{Cdb, CommandId, ParsedCdb, lookup, rsoc, table::TABLE};
use lunforge_core::deadline::Ladder;
use lunforge_core::designator::{Designator, DesignatorKind};
use lunforge_core::lun::{AddressMethod, Lun, LunAddress};
use lunforge_core::sense::{Sense, SenseBytes, SenseFormat, SenseKey, SenseSpecific};
use lunforge_core::transport_id::TransportId;
use lunforge_core::units::{BlockCount, BlockSize};

/// Reads the bytes as a CDB and asks for all that follows from its fields; then takes the first five as the
/// fields of REPORT SUPPORTED OPERATION CODES.
pub fn cdb(bytes: &[u8]) {
    match lookup(bytes) {
        Err(sense) => refusal(&sense, bytes),
        Ok(entry) => {
            assert_eq!(Some(&entry.opcode), bytes.first());
            assert!(entry.cdb_len() <= bytes.len());
            match ParsedCdb::decode(entry, bytes) {
                Err(sense) => refusal(&sense, &bytes[..entry.cdb_len()]),
                Ok(parsed) => decoded(&parsed, bytes),
            }
        }
    }
    if let Some(&[flags, opcode, high, low, seed]) = bytes.first_chunk() {
        supported_opcodes(flags, opcode, u16::from_be_bytes([high, low]), seed);
    }
}

fn decoded(parsed: &ParsedCdb, bytes: &[u8]) {
    let exact =
        Cdb::parse(&bytes[..parsed.entry.cdb_len()]).expect("bytes behind a CDB do not matter");
    assert_eq!(
        (exact.cdb, exact.class, exact.control),
        (parsed.cdb, parsed.class, parsed.control)
    );
    for size in [BlockSize::B512, BlockSize::B2048, BlockSize::B4096] {
        let len = parsed.cdb.data_len(size);
        if let Some(field) = parsed.cdb.byte_length() {
            assert_eq!(len, Some(u64::from(field)));
        }
        if let Some((lba, blocks)) = parsed.cdb.extent() {
            let capacity = BlockCount(1 << 40);
            let inside = lba
                .0
                .checked_add(blocks.0)
                .is_some_and(|end| end <= capacity.0);
            assert_eq!(lba.extent_fits(blocks, capacity), inside);
            assert_eq!(
                lba.checked_add(blocks).is_some(),
                lba.0.checked_add(blocks.0).is_some()
            );
        }
    }
}

/// A CDB is only ever refused as ILLEGAL REQUEST, and a field pointer points into it.
fn refusal(sense: &Sense, cdb: &[u8]) {
    assert_eq!(sense.key, SenseKey::IllegalRequest);
    match sense.specific {
        SenseSpecific::None => {}
        SenseSpecific::FieldPointer { in_cdb, byte, bit } => {
            assert!(in_cdb && usize::from(byte) < cdb.len() && bit.is_none_or(|bit| bit < 8));
        }
        other => panic!("{other:?}"),
    }
    for format in [SenseFormat::Fixed, SenseFormat::Descriptor] {
        assert_eq!(Sense::parse(&sense.emit(format)), Some(*sense));
    }
}

fn supported_opcodes(flags: u8, opcode: u8, service_action: u16, seed: u8) {
    let supported = |id: CommandId| (id as u8).wrapping_mul(167) >= seed;
    let rctd = flags & 0x80 != 0;
    let Ok(data) = rsoc::respond(
        rctd.then_some(&Ladder::linux()),
        flags & 0x07,
        opcode,
        service_action,
        supported,
    ) else {
        return;
    };
    let &head = data.first_chunk::<4>().expect("a header");
    if flags & 0x07 == 0 {
        let each = if rctd { 20 } else { 8 };
        let rows = TABLE.iter().filter(|row| supported(row.id)).count();
        assert_eq!(data.len(), 4 + rows * each);
        assert_eq!(u32::from_be_bytes(head) as usize + 4, data.len());
    } else if head[1] & 0x07 == 3 {
        let len = usize::from(u16::from_be_bytes([head[2], head[3]]));
        assert_eq!(data.len(), 4 + len + if rctd { 12 } else { 0 });
        assert_eq!(data[4], opcode);
    } else {
        assert_eq!(data.len(), 4);
    }
}

/// Reads the bytes as sense data, writes what was understood in both formats and reads it again.
pub fn sense(bytes: &[u8]) {
    let Some(sense) = Sense::parse(bytes) else {
        return;
    };
    assert_eq!(sense.key, SenseKey::from_low_bits(sense.key.code()));
    let descriptor = sense.emit(SenseFormat::Descriptor);
    assert!(descriptor.as_slice().len() < SenseBytes::CAPACITY);
    assert_eq!(Sense::parse(&descriptor), Some(sense));
    let in_32_bits = |value: &u64| *value <= u64::from(u32::MAX);
    // With a third party's answer only the segment number has room.
    let room = if sense.forwarded.is_some() {
        0xFFFF
    } else {
        u64::MAX
    };
    let fixed = Sense {
        information: sense.information.filter(in_32_bits),
        command_specific: sense
            .command_specific
            .filter(in_32_bits)
            .map(|value| value & room)
            .filter(|value| *value != 0),
        ..sense
    };
    assert_eq!(Sense::parse(&sense.emit(SenseFormat::Fixed)), Some(fixed));
    assert!(!sense.to_string().is_empty());
}

/// Byte 0 chooses the parser, the rest is its input.
pub fn identifiers(bytes: &[u8]) {
    match bytes.split_first() {
        None => {}
        Some((choice, rest)) if choice % 3 == 0 => transport_ids(rest),
        Some((choice, rest)) if choice % 3 == 1 => designators(rest),
        Some((_, rest)) => rest.chunks_exact(8).for_each(lun),
    }
}

/// A list of TransportIDs, as PERSISTENT RESERVE OUT with SPEC_I_PT carries.
fn transport_ids(mut rest: &[u8]) {
    while let Ok((id, used)) = TransportId::parse(rest) {
        assert!(used >= 24 && used % 4 == 0 && used <= rest.len());
        let mut out = Vec::new();
        id.emit(&mut out);
        assert_eq!(out.len(), id.emitted_len());
        assert_eq!(TransportId::parse(&out), Ok((id.clone(), out.len())));
        assert!(id.covers(&id));
        assert!(id.to_string().chars().all(|c| !c.is_control()));
        rest = &rest[used..];
    }
}

fn designators(rest: &[u8]) {
    for designator in Designator::parse_all(rest) {
        let mut out = Vec::new();
        designator.emit(&mut out);
        assert!((4..=4 + 255).contains(&out.len()));
        let again: Vec<_> = Designator::parse_all(&out).collect();
        assert_eq!(again.len(), 1);
        // A name may be longer than what can be written with its null.
        if !matches!(designator.kind, DesignatorKind::ScsiName(_)) {
            assert_eq!(again[0], designator);
        }
        let mut twice = Vec::new();
        again[0].emit(&mut twice);
        assert_eq!(out, twice);
    }
}

fn lun(field: &[u8]) {
    let field: [u8; 8] = field.try_into().expect("eight bytes");
    let address = LunAddress::parse(field);
    assert_eq!(address.emit(), field);
    let Some(lun) = address.resolve() else { return };
    assert!(lun.number() <= Lun::MAX);
    for method in [
        AddressMethod::Peripheral,
        AddressMethod::Flat,
        AddressMethod::LogicalUnit,
    ] {
        let address = lun.address(method);
        assert_eq!(LunAddress::parse(address.emit()), address);
        assert_eq!(address.resolve(), Some(lun));
    }
}
