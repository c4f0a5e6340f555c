//! Designation descriptors of the Device Identification VPD page (SPC-4 7.8.6.1).

use crate::transport_id::ProtocolId;

/// What a designator names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Association {
    /// 00b: the logical unit.
    LogicalUnit,
    /// 01b: the target port the command came through.
    TargetPort,
    /// 10b: the target device.
    TargetDevice,
    /// 11b: reserved.
    Reserved,
}

impl Association {
    const fn code(self) -> u8 {
        match self {
            Self::LogicalUnit => 0,
            Self::TargetPort => 1,
            Self::TargetDevice => 2,
            Self::Reserved => 3,
        }
    }

    const fn from_low_bits(code: u8) -> Self {
        match code & 0x03 {
            0 => Self::LogicalUnit,
            1 => Self::TargetPort,
            2 => Self::TargetDevice,
            _ => Self::Reserved,
        }
    }
}

/// CODE SET.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CodeSet {
    /// 1h.
    Binary,
    /// 2h.
    Ascii,
    /// 3h.
    Utf8,
    /// A reserved code, four bits.
    Reserved(u8),
}

impl CodeSet {
    const fn code(self) -> u8 {
        match self {
            Self::Binary => 1,
            Self::Ascii => 2,
            Self::Utf8 => 3,
            Self::Reserved(code) => code & 0x0F,
        }
    }

    const fn from_low_bits(code: u8) -> Self {
        match code & 0x0F {
            1 => Self::Binary,
            2 => Self::Ascii,
            3 => Self::Utf8,
            code => Self::Reserved(code),
        }
    }
}

/// The designator itself.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum DesignatorKind {
    /// Type 1h: T10 vendor identification, blank-padded, and what the vendor appends.
    T10VendorId {
        /// T10 VENDOR IDENTIFICATION.
        vendor: [u8; 8],
        /// VENDOR SPECIFIC IDENTIFIER.
        id: Vec<u8>,
    },
    /// Type 2h, 8 bytes.
    Eui64([u8; 8]),
    /// Type 2h, 12 bytes: EUI-64 and directory id.
    Eui64Directory([u8; 12]),
    /// Type 2h, 16 bytes: identifier extension and EUI-64.
    Eui64Extended([u8; 16]),
    /// Type 3h, 8 bytes: NAA 2h, 3h or 5h in the upper four bits.
    Naa(u64),
    /// Type 3h, 16 bytes: NAA 6h in the upper four bits.
    NaaExtended(u128),
    /// Type 4h: relative target port identifier.
    RelativeTargetPort(u16),
    /// Type 5h: target port group.
    TargetPortGroup(u16),
    /// Type 6h: logical unit group.
    LogicalUnitGroup(u16),
    /// Type 8h: SCSI name string, without its terminating nulls.
    ScsiName(String),
    /// Type Ah: UUID.
    Uuid([u8; 16]),
    /// Any other type, or contents that do not fit their type.
    Other {
        /// DESIGNATOR TYPE, four bits.
        kind: u8,
        /// CODE SET.
        code_set: CodeSet,
        /// The designator.
        bytes: Vec<u8>,
    },
}

/// One designation descriptor.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Designator {
    /// What is named.
    pub association: Association,
    /// The protocol, if the descriptor gives one (PIV is one).
    pub protocol: Option<ProtocolId>,
    /// The designator.
    pub kind: DesignatorKind,
}

impl Designator {
    /// A designator of the logical unit.
    #[must_use]
    pub const fn logical_unit(kind: DesignatorKind) -> Self {
        Self {
            association: Association::LogicalUnit,
            protocol: None,
            kind,
        }
    }

    /// A designator of the target port, which speaks `protocol`.
    #[must_use]
    pub const fn target_port(protocol: ProtocolId, kind: DesignatorKind) -> Self {
        Self {
            association: Association::TargetPort,
            protocol: Some(protocol),
            kind,
        }
    }

    /// A designator of the target device, which speaks `protocol`.
    #[must_use]
    pub const fn target_device(protocol: ProtocolId, kind: DesignatorKind) -> Self {
        Self {
            association: Association::TargetDevice,
            protocol: Some(protocol),
            kind,
        }
    }

    /// The T10 vendor id designator of a logical unit: `vendor` cut or blank-padded to eight bytes, then `id`.
    #[must_use]
    pub fn t10_vendor_id(vendor: &str, id: &str) -> Self {
        let mut padded = [b' '; 8];
        for (to, from) in padded.iter_mut().zip(vendor.bytes()) {
            *to = from;
        }
        Self::logical_unit(DesignatorKind::T10VendorId {
            vendor: padded,
            id: id.as_bytes().to_vec(),
        })
    }

    /// CODE SET, which follows from the kind.
    #[must_use]
    pub const fn code_set(&self) -> CodeSet {
        match &self.kind {
            DesignatorKind::T10VendorId { .. } => CodeSet::Ascii,
            DesignatorKind::ScsiName(_) => CodeSet::Utf8,
            DesignatorKind::Other { code_set, .. } => *code_set,
            _ => CodeSet::Binary,
        }
    }

    /// Appends the descriptor. A designator is cut after 255 bytes, since DESIGNATOR LENGTH has eight bits
    /// (a SCSI name string after 252, so that its last null stays).
    pub fn emit(&self, out: &mut Vec<u8>) {
        let piv = if self.protocol.is_some() { 0x80 } else { 0 };
        let protocol = self.protocol.map_or(0, |protocol| protocol.0 << 4);
        let association = self.association.code() << 4;
        let start = out.len();
        out.extend_from_slice(&[
            protocol | self.code_set().code(),
            piv | association | self.type_code(),
            0,
            0,
        ]);
        self.emit_body(out);
        out.truncate(start + 4 + 255);
        let len = out.len() - start - 4;
        if let (Some(field), Ok(len)) = (out.get_mut(start + 3), u8::try_from(len)) {
            *field = len;
        }
    }

    /// Reads the descriptors of a Device Identification page one after the other, ending at the first
    /// one that is cut off. `data` starts behind the page header.
    pub fn parse_all(data: &[u8]) -> impl Iterator<Item = Self> {
        let mut rest = data;
        std::iter::from_fn(move || {
            let (&[first, second, _, len], tail) = rest.split_first_chunk()?;
            let (body, next) = tail.split_at_checked(len.into())?;
            rest = next;
            Some(Self {
                association: Association::from_low_bits(second >> 4),
                protocol: (second & 0x80 != 0).then_some(ProtocolId(first >> 4)),
                kind: DesignatorKind::parse(second & 0x0F, CodeSet::from_low_bits(first), body),
            })
        })
    }

    const fn type_code(&self) -> u8 {
        match &self.kind {
            DesignatorKind::T10VendorId { .. } => 0x1,
            DesignatorKind::Eui64(_)
            | DesignatorKind::Eui64Directory(_)
            | DesignatorKind::Eui64Extended(_) => 0x2,
            DesignatorKind::Naa(_) | DesignatorKind::NaaExtended(_) => 0x3,
            DesignatorKind::RelativeTargetPort(_) => 0x4,
            DesignatorKind::TargetPortGroup(_) => 0x5,
            DesignatorKind::LogicalUnitGroup(_) => 0x6,
            DesignatorKind::ScsiName(_) => 0x8,
            DesignatorKind::Uuid(_) => 0xA,
            DesignatorKind::Other { kind, .. } => *kind & 0x0F,
        }
    }

    fn emit_body(&self, out: &mut Vec<u8>) {
        match &self.kind {
            DesignatorKind::T10VendorId { vendor, id } => {
                out.extend_from_slice(vendor);
                out.extend_from_slice(id);
            }
            DesignatorKind::Eui64(bytes) => out.extend_from_slice(bytes),
            DesignatorKind::Eui64Directory(bytes) => out.extend_from_slice(bytes),
            DesignatorKind::Eui64Extended(bytes) => out.extend_from_slice(bytes),
            DesignatorKind::Naa(value) => out.extend_from_slice(&value.to_be_bytes()),
            DesignatorKind::NaaExtended(value) => out.extend_from_slice(&value.to_be_bytes()),
            DesignatorKind::RelativeTargetPort(value)
            | DesignatorKind::TargetPortGroup(value)
            | DesignatorKind::LogicalUnitGroup(value) => {
                let [high, low] = value.to_be_bytes();
                out.extend_from_slice(&[0, 0, high, low]);
            }
            DesignatorKind::ScsiName(name) => emit_scsi_name(name, out),
            DesignatorKind::Uuid(uuid) => {
                out.extend_from_slice(&[0x10, 0]);
                out.extend_from_slice(uuid);
            }
            DesignatorKind::Other { bytes, .. } => out.extend_from_slice(bytes),
        }
    }
}

/// Null-terminated and padded to a multiple of four (SPC-4 7.8.6.11).
fn emit_scsi_name(name: &str, out: &mut Vec<u8>) {
    let text: Vec<u8> = name.bytes().take(251).collect();
    let end = out.len() + (text.len() + 1).next_multiple_of(4);
    out.extend_from_slice(&text);
    out.resize(end, 0);
}

impl DesignatorKind {
    /// A locally assigned NAA designator (NAA 3h): the low 60 bits of `value`.
    #[must_use]
    pub const fn naa_locally_assigned(value: u64) -> Self {
        Self::Naa(0x3 << 60 | (value & 0x0FFF_FFFF_FFFF_FFFF))
    }

    /// An IEEE Registered NAA designator (NAA 5h): 24 bits of company id, 36 bits of the vendor's.
    #[must_use]
    pub const fn naa_ieee_registered(company: u32, vendor: u64) -> Self {
        Self::Naa(0x5 << 60 | ((company & 0xFF_FFFF) as u64) << 36 | (vendor & 0xF_FFFF_FFFF))
    }

    /// An IEEE Registered Extended NAA designator (NAA 6h): as [`Self::naa_ieee_registered`] and 64 bits more.
    #[must_use]
    pub const fn naa_ieee_registered_extended(company: u32, vendor: u64, extension: u64) -> Self {
        let upper = 0x6 << 60 | ((company & 0xFF_FFFF) as u64) << 36 | (vendor & 0xF_FFFF_FFFF);
        Self::NaaExtended((upper as u128) << 64 | extension as u128)
    }

    /// The locally assigned NAA designator that follows from a serial number or any other text that names
    /// the device: the 64-bit FNV-1a hash, mixed so that the four bits given up do not matter.
    /// The mapping is part of the on-disk contract of every initiator and never changes.
    #[must_use]
    pub const fn naa_from_serial(serial: &str) -> Self {
        Self::naa_locally_assigned(stable_hash(serial.as_bytes()))
    }

    fn parse(kind: u8, code_set: CodeSet, body: &[u8]) -> Self {
        Self::parse_known(kind, code_set, body).unwrap_or_else(|| Self::Other {
            kind,
            code_set,
            bytes: body.to_vec(),
        })
    }

    fn parse_known(kind: u8, code_set: CodeSet, body: &[u8]) -> Option<Self> {
        let number = || match *body {
            [0, 0, high, low] => Some(u16::from_be_bytes([high, low])),
            _ => None,
        };
        Some(match (kind, code_set) {
            (0x1, CodeSet::Ascii) => {
                let (vendor, id) = body.split_first_chunk()?;
                Self::T10VendorId {
                    vendor: *vendor,
                    id: id.to_vec(),
                }
            }
            (0x2, CodeSet::Binary) => match body.len() {
                8 => Self::Eui64(body.try_into().ok()?),
                12 => Self::Eui64Directory(body.try_into().ok()?),
                _ => Self::Eui64Extended(body.try_into().ok()?),
            },
            (0x3, CodeSet::Binary) if body.len() == 8 => {
                Self::Naa(u64::from_be_bytes(body.try_into().ok()?))
            }
            (0x3, CodeSet::Binary) => Self::NaaExtended(u128::from_be_bytes(body.try_into().ok()?)),
            (0x4, CodeSet::Binary) => Self::RelativeTargetPort(number()?),
            (0x5, CodeSet::Binary) => Self::TargetPortGroup(number()?),
            (0x6, CodeSet::Binary) => Self::LogicalUnitGroup(number()?),
            (0x8, CodeSet::Utf8) => parse_scsi_name(body)?,
            (0xA, CodeSet::Binary) => match body.split_first_chunk() {
                Some((&[0x10, 0], uuid)) => Self::Uuid(uuid.try_into().ok()?),
                _ => return None,
            },
            _ => return None,
        })
    }
}

/// A name whose emitted form is `body` again; everything else is kept as bytes.
fn parse_scsi_name(body: &[u8]) -> Option<DesignatorKind> {
    let end = body.iter().position(|&byte| byte == 0)?;
    let (text, padding) = body.split_at_checked(end)?;
    let exact =
        body.len() == (end + 1).next_multiple_of(4) && padding.iter().all(|&byte| byte == 0);
    let text = std::str::from_utf8(text).ok()?;
    exact.then(|| DesignatorKind::ScsiName(text.to_owned()))
}

/// FNV-1a over `bytes`, finished with the mixer of SplitMix64.
#[must_use]
pub const fn stable_hash(bytes: &[u8]) -> u64 {
    let mut hash = 0xCBF2_9CE4_8422_2325u64;
    let mut at = 0;
    while at < bytes.len() {
        hash = (hash ^ bytes[at] as u64).wrapping_mul(0x0000_0100_0000_01B3);
        at += 1;
    }
    hash = (hash ^ hash >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    hash = (hash ^ hash >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
    hash ^ hash >> 31
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn emitted(designator: &Designator) -> Vec<u8> {
        let mut out = Vec::new();
        designator.emit(&mut out);
        out
    }

    #[test]
    fn descriptors_as_the_standard_lays_them_out() {
        let port = |kind| emitted(&Designator::target_port(ProtocolId::ISCSI, kind));
        assert_eq!(
            port(DesignatorKind::RelativeTargetPort(1)),
            [0x51, 0x94, 0, 4, 0, 0, 0, 1]
        );
        assert_eq!(
            port(DesignatorKind::TargetPortGroup(0x102)),
            [0x51, 0x95, 0, 4, 0, 0, 1, 2]
        );
        let naa = DesignatorKind::naa_ieee_registered(0x00_0C29, 0x1_2345_6789);
        let expect = [
            0x01, 0x03, 0, 8, 0x50, 0x00, 0xC2, 0x91, 0x23, 0x45, 0x67, 0x89,
        ];
        assert_eq!(emitted(&Designator::logical_unit(naa)), expect);
        let vendor = emitted(&Designator::t10_vendor_id("LUN", "disk"));
        assert_eq!(vendor, *b"\x02\x01\0\x0cLUN     disk");
        let name = DesignatorKind::ScsiName("iqn.a:b".into());
        let device = emitted(&Designator::target_device(ProtocolId::ISCSI, name));
        assert_eq!(device, *b"\x53\xa8\0\x08iqn.a:b\0");
    }

    #[test]
    fn names_from_serials_never_change() {
        let name = |serial| match DesignatorKind::naa_from_serial(serial) {
            DesignatorKind::Naa(value) => value,
            other => panic!("{other:?}"),
        };
        assert_eq!(name("") >> 60, 3);
        assert_eq!(name(""), GOLDEN[0]);
        assert_eq!(name("disk1"), GOLDEN[1]);
        assert_eq!(name("6b2f9d6e-5c1e-4f3a-9d5e-0a1b2c3d4e5f"), GOLDEN[2]);
    }

    /// Computed apart from this code; a change here renames every device in the field.
    const GOLDEN: [u64; 3] = [
        0x352A_15E9_A9B5_E89B,
        0x3F22_38E6_7DBF_295B,
        0x3DCF_6983_D4F5_B4F7,
    ];

    #[test]
    fn overlong_designators_are_cut_to_what_the_length_field_can_say() {
        let long = Designator::logical_unit(DesignatorKind::ScsiName("x".repeat(400)));
        let bytes = emitted(&long);
        assert_eq!((bytes.len(), bytes[3]), (4 + 252, 252));
        let long = Designator::t10_vendor_id("V", &"y".repeat(400));
        assert_eq!(emitted(&long).len(), 4 + 255);
    }

    #[test]
    fn contents_that_do_not_fit_their_type_are_kept_as_bytes() {
        for bytes in [
            &[0x01, 0x04, 0, 4, 1, 0, 0, 1][..],
            &[0x01, 0x03, 0, 3, 1, 2, 3],
            &[0x03, 0x08, 0, 4, b'a', b'b', b'c', b'd'],
            &[
                0x01, 0x07, 0, 16, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15,
            ],
        ] {
            let all: Vec<_> = Designator::parse_all(bytes).collect();
            assert!(matches!(
                all[..],
                [Designator {
                    kind: DesignatorKind::Other { .. },
                    ..
                }]
            ));
            assert_eq!(emitted(&all[0]), bytes);
        }
    }

    proptest! {
        #[test]
        fn any_page_is_read_without_panic_and_written_back(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
            let mut out = Vec::new();
            for designator in Designator::parse_all(&bytes) {
                let start = out.len();
                designator.emit(&mut out);
                // Reserved bits and a protocol without PIV are not kept; lengths and contents are.
                prop_assert_eq!(&out[start + 3..], &bytes[start + 3..out.len()]);
            }
        }
    }
}
