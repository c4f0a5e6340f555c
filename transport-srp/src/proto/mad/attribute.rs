//! Attributes of device management, as bytes.

use zerocopy::big_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::DATA_LEN;

/// Slots that IOUnitInfo has room for. MaxControllers is a byte, so the last one is never used.
const SLOTS: usize = 255;
/// Service entries in one datagram.
pub const ENTRIES: usize = 4;

/// An attribute with zeros behind it.
pub(super) fn padded(attribute: &(impl IntoBytes + Immutable)) -> [u8; DATA_LEN] {
    let mut out = [0; DATA_LEN];
    let to = out.iter_mut();
    to.zip(attribute.as_bytes())
        .for_each(|(to, from)| *to = *from);
    out
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct ClassPortInfoWire {
    base_version: u8,
    class_version: u8,
    capabilities: U16,
    /// The low five bits of the last byte are RespTimeValue.
    response_time: U32,
    /// Where requests are redirected to, and where traps go.
    redirect_and_trap: [u8; 64],
}
const _: () = assert!(size_of::<ClassPortInfoWire>() == 72);

/// ClassPortInfo (IBTA 13.4.8.1), of a class that is not redirected and sends no traps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClassPortInfo {
    /// CapabilityMask.
    pub capabilities: u16,
    /// RespTimeValue: an answer comes within 4.096 µs times two to the power of it. Five bits.
    pub response_time: u8,
}

impl Default for ClassPortInfo {
    /// Answers come within four seconds.
    fn default() -> Self {
        Self {
            capabilities: 0,
            response_time: 20,
        }
    }
}

impl ClassPortInfo {
    /// Parses it.
    #[must_use]
    pub fn parse(data: &[u8; DATA_LEN]) -> Option<Self> {
        let (wire, _) = ClassPortInfoWire::ref_from_prefix(data).ok()?;
        let [.., response_time] = wire.response_time.to_bytes();
        Some(Self {
            capabilities: wire.capabilities.get(),
            response_time: response_time & 0x1F,
        })
    }

    /// Its bytes.
    #[must_use]
    pub fn emit(&self) -> [u8; DATA_LEN] {
        padded(&ClassPortInfoWire {
            base_version: super::VERSION,
            class_version: super::VERSION,
            capabilities: self.capabilities.into(),
            response_time: u32::from(self.response_time & 0x1F).into(),
            redirect_and_trap: [0; 64],
        })
    }
}

/// What is in a slot for an I/O controller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Slot {
    /// Nothing.
    Empty,
    /// An I/O controller.
    Present,
    /// There is no such slot.
    Missing,
    /// A reserved code.
    Reserved(u8),
}

impl Slot {
    fn parse(code: u8) -> Self {
        match code {
            0 => Self::Empty,
            1 => Self::Present,
            0xF => Self::Missing,
            code => Self::Reserved(code),
        }
    }

    fn code(self) -> u8 {
        match self {
            Self::Empty => 0,
            Self::Present => 1,
            Self::Missing => 0xF,
            Self::Reserved(code) => code & 0xF,
        }
    }
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct IoUnitInfoWire {
    change_id: U16,
    max_controllers: u8,
    flags: u8,
    /// Four bits a slot, the first one in the high ones.
    controllers: [u8; 128],
}
const _: () = assert!(size_of::<IoUnitInfoWire>() == 132);

/// IOUnitInfo (IBTA 16.3.3.3, SRP table B.6).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IoUnitInfo {
    /// Another one whenever a slot or a controller has changed.
    pub change_id: u16,
    /// Diag DeviceID and Option ROM.
    pub flags: u8,
    /// The slots, the first one is slot 1. At most 255.
    pub slots: Vec<Slot>,
}

impl IoUnitInfo {
    /// Parses it.
    #[must_use]
    pub fn parse(data: &[u8; DATA_LEN]) -> Option<Self> {
        let (wire, _) = IoUnitInfoWire::ref_from_prefix(data).ok()?;
        let codes = wire.controllers.iter().flat_map(|&b| [b >> 4, b & 0xF]);
        Some(Self {
            change_id: wire.change_id.get(),
            flags: wire.flags,
            slots: codes
                .take(wire.max_controllers.into())
                .map(Slot::parse)
                .collect(),
        })
    }

    /// Its bytes. Slots beyond 255 are left out.
    #[must_use]
    pub fn emit(&self) -> [u8; DATA_LEN] {
        let slots = || self.slots.iter().take(SLOTS);
        let mut codes = slots()
            .copied()
            .chain(std::iter::repeat(Slot::Missing))
            .map(Slot::code);
        let mut next = || codes.next().unwrap_or_default();
        padded(&IoUnitInfoWire {
            change_id: self.change_id.into(),
            max_controllers: u8::try_from(slots().count()).unwrap_or(u8::MAX),
            flags: self.flags,
            controllers: std::array::from_fn(|_| next() << 4 | next()),
        })
    }
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct ServiceEntryWire {
    name: [u8; 40],
    id: U64,
}
const _: () = assert!(size_of::<ServiceEntryWire>() * ENTRIES == DATA_LEN);

/// An entry of ServiceEntries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServiceEntry {
    /// ServiceName, with zeros behind it.
    pub name: [u8; 40],
    /// ServiceID.
    pub id: u64,
}

/// What the name of a service of SRP begins with (SRP table B.8).
const PREFIX: &[u8] = b"SRP.T10:";

impl ServiceEntry {
    /// The service of a target port with this identifier extension.
    #[must_use]
    pub fn srp(extension: u64, id: u64) -> Self {
        let digits = format!("{extension:016x}");
        let mut name = [0; 40];
        let text = PREFIX.iter().chain(digits.as_bytes());
        name.iter_mut().zip(text).for_each(|(to, from)| *to = *from);
        Self { name, id }
    }

    /// The identifier extension, if it is a service of SRP.
    #[must_use]
    pub fn extension(&self) -> Option<u64> {
        let digits = self.name.strip_prefix(PREFIX)?;
        let end = digits.iter().position(|&b| b == 0)?;
        let digits = std::str::from_utf8(digits.get(..end)?).ok()?;
        let hexadecimal = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
        let extension = u64::from_str_radix(digits, 16).ok()?;
        hexadecimal.then_some(extension)
    }

    fn wire(self) -> ServiceEntryWire {
        ServiceEntryWire {
            name: self.name,
            id: self.id.into(),
        }
    }
}

/// ServiceEntries (IBTA 16.3.3.5, SRP table B.8): up to four entries, from the first that was asked for on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceEntries(pub [ServiceEntry; ENTRIES]);

/// No entry.
pub(super) const NO_ENTRY: ServiceEntry = ServiceEntry {
    name: [0; 40],
    id: 0,
};

impl ServiceEntries {
    /// Parses it. Entries that were not asked for are zero.
    #[must_use]
    pub fn parse(data: &[u8; DATA_LEN]) -> Self {
        let wires: &[ServiceEntryWire; ENTRIES] = zerocopy::transmute_ref!(data);
        Self(std::array::from_fn(|i| {
            wires.get(i).map_or(NO_ENTRY, |wire| ServiceEntry {
                name: wire.name,
                id: wire.id.get(),
            })
        }))
    }

    /// Its bytes.
    #[must_use]
    pub fn emit(&self) -> [u8; DATA_LEN] {
        padded(&self.0.map(ServiceEntry::wire))
    }
}
