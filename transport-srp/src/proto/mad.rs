//! Device management datagrams (IBTA 16.3, SRP annex B): how initiators on InfiniBand find out which I/O controllers a port
//! offers, and by which service id each target is reached.
//!
//! What a reader knows is one I/O unit for each port, with controllers in slots. A controller of SRP has the GUID that is the
//! second half of the identifiers of its target ports, and a service entry for each of them, whose name has the first half.

pub mod attribute;
pub mod unit;

use zerocopy::big_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

pub use attribute::{ClassPortInfo, IoUnitInfo, ServiceEntries, ServiceEntry, Slot};
pub use unit::{Controller, IoUnit, Profile};

/// Length of a datagram, in bytes.
pub const DATAGRAM_LEN: usize = 256;
/// Length of an attribute in a datagram of device management, in bytes.
pub const DATA_LEN: usize = 192;
/// The device management class.
pub const CLASS: u8 = 0x06;
/// Versions of the header and of the class.
const VERSION: u8 = 1;

/// Methods (IBTA 13.4.5).
pub mod method {
    /// Get().
    pub const GET: u8 = 0x01;
    /// Set().
    pub const SET: u8 = 0x02;
    /// GetResp(), to both of them.
    pub const GET_RESP: u8 = 0x81;
    /// The bit of methods that answer.
    pub const RESPONSE: u8 = 0x80;
    /// Send(), Trap() and TrapRepress() are not answered.
    pub const UNANSWERED: [u8; 3] = [0x03, 0x05, 0x07];
}

/// Attributes of device management (IBTA 16.3.3).
pub mod attribute_id {
    /// ClassPortInfo.
    pub const CLASS_PORT_INFO: u16 = 0x0001;
    /// IOUnitInfo.
    pub const IO_UNIT_INFO: u16 = 0x0010;
    /// IOControllerProfile; the attribute modifier is a slot.
    pub const IO_CONTROLLER_PROFILE: u16 = 0x0011;
    /// ServiceEntries; the attribute modifier is a slot and a range of entries.
    pub const SERVICE_ENTRIES: u16 = 0x0012;
}

/// Status of answers (IBTA 13.4.7, 16.3.1.1).
pub mod status {
    /// The version of the header or of the class is not supported.
    pub const BAD_VERSION: u16 = 0x0004;
    /// The method is not supported.
    pub const UNSUPPORTED_METHOD: u16 = 0x0008;
    /// The method is not supported for the attribute.
    pub const UNSUPPORTED_ATTRIBUTE: u16 = 0x000C;
    /// A value in the attribute or its modifier is not valid.
    pub const INVALID_VALUE: u16 = 0x001C;
    /// There is no I/O controller in the slot.
    pub const NO_CONTROLLER: u16 = 0x0100;
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct DatagramWire {
    base_version: u8,
    class: u8,
    class_version: u8,
    method: u8,
    status: U16,
    class_specific: [u8; 2],
    transaction: U64,
    attribute: U16,
    reserved: [u8; 2],
    modifier: U32,
    /// RMPP, which is not used, and what device management reserves.
    reserved2: [u8; 40],
    data: [u8; DATA_LEN],
}
const _: () = assert!(size_of::<DatagramWire>() == DATAGRAM_LEN);

/// Why bytes are no datagram of device management.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DatagramError {
    /// It is shorter.
    #[error("a datagram has 256 bytes, and not {0}")]
    Length(usize),
    /// It is of another class.
    #[error("a datagram of management class {0:#04x} is not for device management")]
    Class(u8),
}

/// A datagram of device management.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Datagram {
    /// Version of the header.
    pub base_version: u8,
    /// Version of the class.
    pub class_version: u8,
    /// One of [`method`], or another.
    pub method: u8,
    /// Bits of [`status`].
    pub status: u16,
    /// TransactionID.
    pub transaction: u64,
    /// One of [`attribute_id`], or another.
    pub attribute: u16,
    /// AttributeModifier.
    pub modifier: u32,
    /// The attribute.
    pub data: [u8; DATA_LEN],
}

impl Datagram {
    /// Parses it. Bytes behind it are ignored.
    ///
    /// # Errors
    /// [`DatagramError`].
    pub fn parse(bytes: &[u8]) -> Result<Self, DatagramError> {
        let (wire, _) =
            DatagramWire::ref_from_prefix(bytes).map_err(|_| DatagramError::Length(bytes.len()))?;
        if wire.class != CLASS {
            return Err(DatagramError::Class(wire.class));
        }
        Ok(Self {
            base_version: wire.base_version,
            class_version: wire.class_version,
            method: wire.method,
            status: wire.status.get(),
            transaction: wire.transaction.get(),
            attribute: wire.attribute.get(),
            modifier: wire.modifier.get(),
            data: wire.data,
        })
    }

    /// Its bytes.
    #[must_use]
    pub fn emit(&self) -> [u8; DATAGRAM_LEN] {
        zerocopy::transmute!(DatagramWire {
            base_version: self.base_version,
            class: CLASS,
            class_version: self.class_version,
            method: self.method,
            status: self.status.into(),
            class_specific: [0; 2],
            transaction: self.transaction.into(),
            attribute: self.attribute.into(),
            reserved: [0; 2],
            modifier: self.modifier.into(),
            reserved2: [0; 40],
            data: self.data,
        })
    }

    /// A Get() of an attribute.
    #[must_use]
    pub fn get(transaction: u64, attribute: u16, modifier: u32) -> Self {
        Self {
            base_version: VERSION,
            class_version: VERSION,
            method: method::GET,
            status: 0,
            transaction,
            attribute,
            modifier,
            data: [0; DATA_LEN],
        }
    }

    /// What is to be answered for an I/O unit; `None` to what is itself an answer, or is not answered.
    #[must_use]
    pub fn answer(&self, unit: &IoUnit) -> Option<Self> {
        let answers = self.method & method::RESPONSE != 0;
        if answers || method::UNANSWERED.contains(&self.method) {
            return None;
        }
        let mut answer = self.clone();
        answer.method = method::GET_RESP;
        answer.status = 0;
        match self.attribute_for(unit) {
            Ok(data) => answer.data = data,
            Err(status) => answer.status = status,
        }
        Some(answer)
    }

    /// The attribute that is asked for, or the status that says why there is none.
    fn attribute_for(&self, unit: &IoUnit) -> Result<[u8; DATA_LEN], u16> {
        if (self.base_version, self.class_version) != (VERSION, VERSION) {
            return Err(status::BAD_VERSION);
        }
        match self.method {
            method::GET => {}
            // Nothing can be set: no trap is sent, so nobody is registered for one.
            method::SET => return Err(status::UNSUPPORTED_ATTRIBUTE),
            _ => return Err(status::UNSUPPORTED_METHOD),
        }
        match self.attribute {
            attribute_id::CLASS_PORT_INFO => Ok(ClassPortInfo::default().emit()),
            attribute_id::IO_UNIT_INFO => Ok(unit.info().emit()),
            attribute_id::IO_CONTROLLER_PROFILE => Ok(unit.controller(self.modifier)?.emit()),
            attribute_id::SERVICE_ENTRIES => {
                let [high, low, last, first] = self.modifier.to_be_bytes();
                let slot = u16::from_be_bytes([high, low]);
                let controller = unit.controller(slot.into())?;
                Ok(controller.entries(first, last)?.emit())
            }
            _ => Err(status::UNSUPPORTED_ATTRIBUTE),
        }
    }
}

/// Parses bytes as each attribute; what parses comes back from its emitted form.
pub(super) fn check_attributes(data: &[u8; DATA_LEN]) {
    if let Some(info) = ClassPortInfo::parse(data) {
        assert_eq!(ClassPortInfo::parse(&info.emit()), Some(info));
    }
    if let Some(info) = IoUnitInfo::parse(data) {
        assert_eq!(IoUnitInfo::parse(&info.emit()), Some(info));
    }
    if let Some(profile) = Profile::parse(data) {
        assert_eq!(Profile::parse(&profile.emit()), Some(profile));
    }
    let entries = ServiceEntries::parse(data);
    assert_eq!(entries.emit(), *data);
    for entry in entries.0 {
        if let Some(extension) = entry.extension() {
            let again = ServiceEntry::srp(extension, entry.id);
            assert_eq!(again.extension(), Some(extension));
        }
    }
}

#[cfg(test)]
mod tests;
