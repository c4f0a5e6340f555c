//! Logical unit numbers (SAM-5 4.7): the eight bytes on the wire and the number they name.

use std::fmt;

/// The number of a logical unit within a target, as an administrator writes it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lun(u32);

impl Lun {
    /// LUN 0, which every target has.
    pub const ZERO: Self = Self(0);
    /// The largest number that can be given to a logical unit: 14 bits.
    pub const MAX: u32 = 0x3FFF;

    /// The LUN of this number, `None` above [`Self::MAX`].
    #[must_use]
    pub const fn new(number: u32) -> Option<Self> {
        if number <= Self::MAX {
            Some(Self(number))
        } else {
            None
        }
    }

    /// The number.
    #[must_use]
    pub const fn number(self) -> u32 {
        self.0
    }

    /// The address of this LUN in the given method. The peripheral method has room for 256 numbers
    /// only; larger ones take the flat method.
    #[must_use]
    pub fn address(self, method: AddressMethod) -> LunAddress {
        // A `Lun` holds 14 bits by construction, so both conversions succeed where they are used.
        let number = u16::try_from(self.0).unwrap_or(0x3FFF);
        match (method, u8::try_from(number)) {
            (AddressMethod::LogicalUnit, _) => LunAddress::LogicalUnit(number),
            (AddressMethod::Peripheral, Ok(number)) => LunAddress::Peripheral(number),
            _ => LunAddress::Flat(number),
        }
    }
}

impl fmt::Display for Lun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// How a target writes the LUNs it reports.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum AddressMethod {
    /// 00b with bus 0 below 256, flat space above.
    #[default]
    Peripheral,
    /// 01b, flat space.
    Flat,
    /// 10b, with the number in the fourteen bits of bus, target and LUN.
    LogicalUnit,
}

/// A LUN field, classified by addressing method. Only single-level addresses are told apart:
/// whatever else arrives is kept as it came and names no logical unit here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LunAddress {
    /// Peripheral device addressing, bus 0 (SAM-5 4.7.7.2).
    Peripheral(u8),
    /// Flat space addressing, 14 bits (4.7.7.3).
    Flat(u16),
    /// Logical unit addressing, the 14 bits of bus, target and LUN taken as one number (4.7.7.4).
    LogicalUnit(u16),
    /// Extended flat space addressing, 24 bits (4.7.7.5).
    ExtendedFlat(u32),
    /// Long extended flat space addressing, 40 bits (4.7.7.5).
    LongExtendedFlat(u64),
    /// A well known logical unit (4.7.7.5): 01h REPORT LUNS, 02h ACCESS CONTROLS, 03h TARGET LOG PAGES,
    /// 04h SECURITY PROTOCOL, 05h MANAGEMENT PROTOCOL.
    WellKnown(u8),
    /// Logical unit not specified (4.7.7.5): all ones.
    NotSpecified,
    /// Anything else, among it addresses with a second level.
    Other([u8; 8]),
}

impl LunAddress {
    /// The REPORT LUNS well known logical unit, C101h.
    pub const REPORT_LUNS: Self = Self::WellKnown(0x01);

    /// Classifies a LUN field. Never fails: what is not understood is kept.
    #[must_use]
    pub fn parse(field: [u8; 8]) -> Self {
        let other = Self::Other(field);
        match (field[0] >> 6, field) {
            (_, [0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF]) => Self::NotSpecified,
            (0, [0, lun, 0, 0, 0, 0, 0, 0]) => Self::Peripheral(lun),
            (1, [high, low, 0, 0, 0, 0, 0, 0]) => {
                Self::Flat(u16::from_be_bytes([high & 0x3F, low]))
            }
            (2, [high, low, 0, 0, 0, 0, 0, 0]) => {
                Self::LogicalUnit(u16::from_be_bytes([high & 0x3F, low]))
            }
            (3, [0xC1, id, 0, 0, 0, 0, 0, 0]) => Self::WellKnown(id),
            (3, [0xD2, a, b, c, 0, 0, 0, 0]) => {
                Self::ExtendedFlat(u32::from_be_bytes([0, a, b, c]))
            }
            (3, [0xE2, a, b, c, d, e, 0, 0]) => {
                Self::LongExtendedFlat(u64::from_be_bytes([0, 0, 0, a, b, c, d, e]))
            }
            _ => other,
        }
    }

    /// The field this address came from or goes into.
    #[must_use]
    pub fn emit(self) -> [u8; 8] {
        let short = |method: u8, number: u16| {
            let [high, low] = number.to_be_bytes();
            [method << 6 | (high & 0x3F), low, 0, 0, 0, 0, 0, 0]
        };
        match self {
            Self::Peripheral(lun) => [0, lun, 0, 0, 0, 0, 0, 0],
            Self::Flat(number) => short(1, number),
            Self::LogicalUnit(number) => short(2, number),
            Self::ExtendedFlat(number) => {
                let [_, a, b, c] = number.to_be_bytes();
                [0xD2, a, b, c, 0, 0, 0, 0]
            }
            Self::LongExtendedFlat(number) => {
                let [_, _, _, a, b, c, d, e] = number.to_be_bytes();
                [0xE2, a, b, c, d, e, 0, 0]
            }
            Self::WellKnown(id) => [0xC1, id, 0, 0, 0, 0, 0, 0],
            Self::NotSpecified => [0xFF; 8],
            Self::Other(field) => field,
        }
    }

    /// The LUN this address names by number, `None` for well known logical units, for numbers no
    /// logical unit can have and for addresses that are not understood.
    #[must_use]
    pub fn resolve(self) -> Option<Lun> {
        let number = match self {
            Self::Peripheral(lun) => lun.into(),
            Self::Flat(number) | Self::LogicalUnit(number) => number.into(),
            Self::ExtendedFlat(number) => number,
            Self::LongExtendedFlat(number) => u32::try_from(number).ok()?,
            Self::WellKnown(_) | Self::NotSpecified | Self::Other(_) => return None,
        };
        Lun::new(number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn field(head: &[u8]) -> [u8; 8] {
        let mut out = [0; 8];
        out[..head.len()].copy_from_slice(head);
        out
    }

    fn resolved(head: &[u8]) -> Option<u32> {
        LunAddress::parse(field(head)).resolve().map(Lun::number)
    }

    #[test]
    fn n32_every_addressing_method_reaches_its_number() {
        assert_eq!(resolved(&[0x00, 0x00]), Some(0));
        assert_eq!(resolved(&[0x00, 0xFF]), Some(255));
        assert_eq!(resolved(&[0x41, 0x00]), Some(256));
        assert_eq!(resolved(&[0x40, 0x07]), Some(7));
        assert_eq!(resolved(&[0x7F, 0xFF]), Some(16383));
        assert_eq!(resolved(&[0x80, 0x05]), Some(5));
        assert_eq!(resolved(&[0xBF, 0xFF]), Some(16383));
        assert_eq!(resolved(&[0xD2, 0x00, 0x01, 0x00]), Some(256));
        assert_eq!(resolved(&[0xE2, 0, 0, 0, 0x3F, 0xFF]), Some(16383));
    }

    #[test]
    fn n32_malformed_or_foreign_addresses_name_no_logical_unit() {
        for head in [
            &[0x01, 0x00][..],
            &[0x00, 0x01, 0x00, 0x01],
            &[0x40, 0x01, 0, 0, 0, 0, 0, 1],
            &[0xC1, 0x01],
            &[0xC1, 0x01, 0x01],
            &[0xD2, 0x01, 0x00, 0x00],
            &[0xD2, 0x00, 0x00, 0x01, 0x01],
            &[0xE2, 0x01, 0, 0, 0, 0],
            &[0xC0, 0x00],
            &[0xFF; 8],
        ] {
            assert_eq!(resolved(head), None, "{head:02x?}");
        }
    }

    #[test]
    fn report_luns_well_known_logical_unit_is_c101() {
        assert_eq!(
            LunAddress::parse(field(&[0xC1, 0x01])),
            LunAddress::REPORT_LUNS
        );
        assert_eq!(LunAddress::REPORT_LUNS.emit(), field(&[0xC1, 0x01]));
    }

    #[test]
    fn numbers_too_large_for_the_peripheral_method_take_the_flat_one() {
        let emit = |n, method| Lun::new(n).unwrap().address(method).emit();
        assert_eq!(emit(255, AddressMethod::Peripheral), field(&[0x00, 0xFF]));
        assert_eq!(emit(256, AddressMethod::Peripheral), field(&[0x41, 0x00]));
        assert_eq!(emit(1, AddressMethod::Flat), field(&[0x40, 0x01]));
        assert_eq!(
            emit(16383, AddressMethod::LogicalUnit),
            field(&[0xBF, 0xFF])
        );
        assert_eq!(Lun::new(16384), None);
    }

    proptest! {
        #[test]
        fn any_field_survives_parse_and_emit(bytes in any::<[u8; 8]>(), zeros in 0usize..8) {
            let mut bytes = bytes;
            bytes[8 - zeros..].fill(0);
            prop_assert_eq!(LunAddress::parse(bytes).emit(), bytes);
        }

        #[test]
        fn every_number_resolves_to_itself_in_every_method(n in 0..=Lun::MAX) {
            let lun = Lun::new(n).unwrap();
            for method in [AddressMethod::Peripheral, AddressMethod::Flat, AddressMethod::LogicalUnit] {
                prop_assert_eq!(LunAddress::parse(lun.address(method).emit()).resolve(), Some(lun));
            }
        }
    }
}
