//! Both formats, there and back.

use super::*;
use proptest::prelude::*;

#[test]
fn fixed_format_of_lba_out_of_range_with_field_pointer() {
    let sense = Sense::lba_out_of_range().with_specific(SenseSpecific::FieldPointer {
        in_cdb: true,
        byte: 2,
        bit: Some(7),
    });
    let expect = [
        0x70, 0, 5, 0, 0, 0, 0, 10, 0, 0, 0, 0, 0x21, 0, 0, 0xCF, 0, 2,
    ];
    assert_eq!(sense.emit_fixed(), expect);
}

#[test]
fn information_beyond_32_bits_is_not_valid_in_fixed_format() {
    let sense = Sense::medium_error(Asc::UNRECOVERED_READ_ERROR, 1 << 32);
    let fixed = sense.emit_fixed();
    assert_eq!(fixed[0], 0x70);
    assert_eq!(fixed[3..7], [0; 4]);
    assert_eq!(
        Sense::medium_error(Asc::WRITE_ERROR, 0xFFFF_FFFF).emit_fixed()[0],
        0xF0
    );
    assert_eq!(Sense::parse(&sense.emit_descriptor()), Some(sense));
}

#[test]
fn descriptor_format_of_a_miscompare() {
    let bytes = Sense::miscompare(0x0102).emit(SenseFormat::Descriptor);
    let expect = [
        0x72, 0x0E, 0x1D, 0, 0, 0, 0, 12, 0x00, 0x0A, 0x80, 0, 0, 0, 0, 0, 0, 0, 0x01, 0x02,
    ];
    assert_eq!(bytes.as_slice(), expect);
}

#[test]
fn parse_stays_within_the_additional_length() {
    let mut fixed = Sense::invalid_field_in_cdb(1, None).emit_fixed();
    fixed[7] = 6;
    let sense = Sense::parse(&fixed).unwrap();
    assert_eq!(sense.specific, SenseSpecific::None);
    assert_eq!(Sense::parse(&fixed[..13]), None);
    assert_eq!(Sense::parse(&[]), None);
    assert_eq!(Sense::parse(&[0x7F; 18]), None);
}

fn specific(key: SenseKey) -> BoxedStrategy<SenseSpecific> {
    let pointer = (any::<bool>(), any::<u16>(), prop::option::of(0u8..8));
    let some = match key {
        SenseKey::IllegalRequest => pointer
            .prop_map(|(in_cdb, byte, bit)| SenseSpecific::FieldPointer { in_cdb, byte, bit })
            .boxed(),
        SenseKey::CopyAborted => pointer
            .prop_map(|(in_descriptor, byte, bit)| SenseSpecific::SegmentPointer {
                in_descriptor,
                byte,
                bit,
            })
            .boxed(),
        SenseKey::RecoveredError | SenseKey::MediumError | SenseKey::HardwareError => {
            any::<u16>().prop_map(SenseSpecific::RetryCount).boxed()
        }
        SenseKey::NoSense | SenseKey::NotReady => {
            any::<u16>().prop_map(SenseSpecific::Progress).boxed()
        }
        SenseKey::UnitAttention => any::<bool>()
            .prop_map(SenseSpecific::UnitAttentionOverflow)
            .boxed(),
        _ => any::<[u8; 3]>()
            .prop_map(|[a, b, c]| SenseSpecific::Other([a | 0x80, b, c]))
            .boxed(),
    };
    prop_oneof![Just(SenseSpecific::None), some].boxed()
}

fn forwarded() -> impl Strategy<Value = Forwarded> {
    let sense = (0u8..16, any::<(u8, u8)>(), prop::option::of(any::<u32>())).prop_map(
        |(key, (asc, ascq), information)| {
            (
                SenseKey::from_low_bits(key),
                Asc::new(asc, ascq),
                information,
            )
        },
    );
    (any::<bool>(), any::<u8>(), prop::option::of(sense)).prop_map(
        |(destination, status, sense)| Forwarded {
            destination,
            status,
            sense,
        },
    )
}

#[test]
fn the_answer_of_a_copy_destination_stands_behind_the_fixed_format() {
    let sense = Sense::new(SenseKey::CopyAborted, Asc::THIRD_PARTY_DEVICE_FAILURE)
        .with_command_specific(3)
        .with_forwarded(Forwarded {
            destination: true,
            status: 0x18,
            sense: None,
        });
    let expect = [
        0x70, 0, 0xA, 0, 0, 0, 0, 11, 0, 18, 0, 3, 0x0D, 0x01, 0, 0, 0, 0, 0x18,
    ];
    assert_eq!(sense.emit(SenseFormat::Fixed).as_slice(), expect);
    assert_eq!(Sense::parse(&expect), Some(sense));
}

#[test]
fn the_answer_of_a_third_party_belongs_to_copy_aborted_only() {
    let mut bytes = [0x72, 0x0A, 0x0D, 0x02, 0, 0, 0, 4, 0x0C, 2, 1, 0x02];
    assert!(Sense::parse(&bytes).unwrap().forwarded.is_some());
    bytes[1] = 0x05;
    assert_eq!(Sense::parse(&bytes).unwrap().forwarded, None);
}

prop_compose! {
    fn any_sense()(code in 0u8..16)(
        key in Just(SenseKey::from_low_bits(code)),
        pair in any::<(u8, u8)>(),
        information in prop::option::of(any::<u64>()),
        command_specific in prop::option::of(1..=u64::MAX),
        specific in specific(SenseKey::from_low_bits(code)),
        flags in any::<[bool; 5]>(),
        fru in any::<u8>(),
        forwarded in prop::option::of(forwarded()).prop_map(move |f| f.filter(|_| code == 0xA)),
    ) -> Sense {
        let [deferred, filemark, eom, ili, overflow] = flags;
        let asc = Asc::new(pair.0, pair.1);
        Sense { key, asc, information, command_specific, specific, deferred, filemark, eom, ili, overflow, fru, forwarded }
    }
}

proptest! {
    #[test]
    fn descriptor_format_reads_back(sense in any_sense()) {
        let bytes = sense.emit(SenseFormat::Descriptor);
        prop_assert!(bytes.len() <= 70);
        prop_assert_eq!(Sense::parse(&bytes), Some(sense));
    }

    #[test]
    fn fixed_format_reads_back_what_fits_32_bits(sense in any_sense()) {
        let fits = |value: &u64| *value <= u64::from(u32::MAX);
        // With a third party's answer only the segment number has room.
        let specific = |value: u64| if sense.forwarded.is_some() { value & 0xFFFF } else { value };
        let expect = Sense {
            information: sense.information.filter(fits),
            command_specific: sense.command_specific.filter(fits).map(specific).filter(|&v| v != 0),
            ..sense
        };
        prop_assert_eq!(Sense::parse(&sense.emit(SenseFormat::Fixed)), Some(expect));
    }

    #[test]
    fn any_bytes_are_parsed_without_panic(head in 0x6Fu8..0x75, bytes in any::<[u8; 40]>(), len in 0usize..=40) {
        let mut bytes = bytes;
        bytes[0] = head;
        let _ = Sense::parse(&bytes[..len]);
    }
}
