//! An I/O unit: what a port offers.

use std::collections::BTreeMap;

use zerocopy::big_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::attribute::{ENTRIES, NO_ENTRY, padded};
use super::{DATA_LEN, IoUnitInfo, ServiceEntries, ServiceEntry, Slot, status};
use crate::proto::port::PortId;

/// IOClass of SRP revision 16a (SRP table B.7).
pub const IO_CLASS: u16 = 0x0100;
/// IOSubClass: that of the committee T10.
pub const IO_SUBCLASS: u16 = 0x609E;
/// Protocol.
pub const PROTOCOL: u16 = 0x0108;
/// Protocol version.
pub const PROTOCOL_VERSION: u16 = 1;

/// Bits of [`Profile::operations`].
pub mod operation {
    /// Messages to the controller.
    pub const SEND_TO: u8 = 0x01;
    /// Messages from the controller.
    pub const SEND_FROM: u8 = 0x02;
    /// RDMA reads by the controller.
    pub const RDMA_READ_FROM: u8 = 0x08;
    /// RDMA writes by the controller.
    pub const RDMA_WRITE_FROM: u8 = 0x20;
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct ProfileWire {
    guid: U64,
    /// 24 bits, and a reserved byte.
    vendor_id: U32,
    device_id: U32,
    device_version: U16,
    reserved: [u8; 2],
    subsystem_vendor_id: U32,
    subsystem_id: U32,
    io_class: U16,
    io_subclass: U16,
    protocol: U16,
    protocol_version: U16,
    service_connections: U16,
    initiators: U16,
    send_depth: U16,
    reserved2: u8,
    read_depth: u8,
    send_len: U32,
    transfer_len: U32,
    operations: u8,
    services: u8,
    service_entries: u8,
    reserved3: [u8; 9],
    name: [u8; 64],
}
const _: () = assert!(size_of::<ProfileWire>() == 128);

/// IOControllerProfile (IBTA 16.3.3.4, SRP table B.7).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Profile {
    /// The GUID of the controller: the second half of the identifiers of its target ports.
    pub guid: u64,
    /// VendorID: 24 bits.
    pub vendor_id: u32,
    /// DeviceID.
    pub device_id: u32,
    /// Device Version.
    pub device_version: u16,
    /// IOClass.
    pub io_class: u16,
    /// IOSubClass.
    pub io_subclass: u16,
    /// Protocol.
    pub protocol: u16,
    /// Protocol version.
    pub protocol_version: u16,
    /// Send Message Depth: requests that a channel may have at a time.
    pub send_depth: u16,
    /// RDMA Read Depth: reads that the controller has under way at a time.
    pub read_depth: u8,
    /// Send Message Size: longest information unit to the target, in bytes.
    pub send_len: u32,
    /// RDMA Transfer Size: longest transfer by RDMA, in bytes.
    pub transfer_len: u32,
    /// Controller Operations Capability Mask: bits of [`operation`].
    pub operations: u8,
    /// Service Entries: how many there are.
    pub service_entries: u8,
    /// ID String, with zeros behind it.
    pub name: [u8; 64],
}

impl Profile {
    /// That of an SRP target without vendor or limits of its own.
    #[must_use]
    pub fn srp(guid: u64, name: &str) -> Self {
        let mut text = [0; 64];
        // At least one zero stays: readers take it for a string of C.
        let printable = name.bytes().filter(|b| matches!(b, 0x20..=0x7E)).take(63);
        text.iter_mut()
            .zip(printable)
            .for_each(|(to, from)| *to = from);
        Self {
            guid,
            vendor_id: 0,
            device_id: 0,
            device_version: 0,
            io_class: IO_CLASS,
            io_subclass: IO_SUBCLASS,
            protocol: PROTOCOL,
            protocol_version: PROTOCOL_VERSION,
            send_depth: 0,
            read_depth: 4,
            send_len: 0,
            transfer_len: 1 << 24,
            operations: operation::SEND_TO
                | operation::SEND_FROM
                | operation::RDMA_READ_FROM
                | operation::RDMA_WRITE_FROM,
            service_entries: 0,
            name: text,
        }
    }

    /// Parses it.
    #[must_use]
    pub fn parse(data: &[u8; DATA_LEN]) -> Option<Self> {
        let (wire, _) = ProfileWire::ref_from_prefix(data).ok()?;
        Some(Self {
            guid: wire.guid.get(),
            vendor_id: wire.vendor_id.get() >> 8,
            device_id: wire.device_id.get(),
            device_version: wire.device_version.get(),
            io_class: wire.io_class.get(),
            io_subclass: wire.io_subclass.get(),
            protocol: wire.protocol.get(),
            protocol_version: wire.protocol_version.get(),
            send_depth: wire.send_depth.get(),
            read_depth: wire.read_depth,
            send_len: wire.send_len.get(),
            transfer_len: wire.transfer_len.get(),
            operations: wire.operations,
            service_entries: wire.service_entries,
            name: wire.name,
        })
    }

    /// Its bytes. The subsystem is the vendor's.
    #[must_use]
    pub fn emit(&self) -> [u8; DATA_LEN] {
        let vendor_id = (self.vendor_id << 8).into();
        padded(&ProfileWire {
            guid: self.guid.into(),
            vendor_id,
            device_id: self.device_id.into(),
            device_version: self.device_version.into(),
            reserved: [0; 2],
            subsystem_vendor_id: vendor_id,
            subsystem_id: 0.into(),
            io_class: self.io_class.into(),
            io_subclass: self.io_subclass.into(),
            protocol: self.protocol.into(),
            protocol_version: self.protocol_version.into(),
            service_connections: 0.into(),
            initiators: 0.into(),
            send_depth: self.send_depth.into(),
            reserved2: 0,
            read_depth: self.read_depth,
            send_len: self.send_len.into(),
            transfer_len: self.transfer_len.into(),
            operations: self.operations,
            services: 0,
            service_entries: self.service_entries,
            reserved3: [0; 9],
            name: self.name,
        })
    }
}

/// An I/O controller and its services.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Controller {
    /// What is said of it; how many entries there are is counted when it is asked for.
    pub profile: Profile,
    /// Its services, at most 255.
    pub services: Vec<ServiceEntry>,
}

impl Controller {
    pub(super) fn emit(&self) -> [u8; DATA_LEN] {
        let profile = Profile {
            service_entries: u8::try_from(self.services.len()).unwrap_or(u8::MAX),
            ..self.profile.clone()
        };
        profile.emit()
    }

    /// The entries from `first` to `last`, four at most. Behind the last one that there is they are zero: the target of Linux
    /// has it so, and readers ask for whole datagrams.
    pub(super) fn entries(&self, first: u8, last: u8) -> Result<ServiceEntries, u16> {
        let wanted = usize::from(last.checked_sub(first).ok_or(status::INVALID_VALUE)?) + 1;
        let there = self.services.get(first.into()..).unwrap_or_default();
        if there.is_empty() || wanted > ENTRIES {
            return Err(status::INVALID_VALUE);
        }
        let entries = there.iter().copied().take(wanted);
        let mut entries = entries.chain(std::iter::repeat(NO_ENTRY));
        Ok(ServiceEntries(std::array::from_fn(|_| {
            entries.next().unwrap_or(NO_ENTRY)
        })))
    }
}

/// An I/O unit.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct IoUnit {
    /// Another one whenever the rest has changed.
    pub change_id: u16,
    /// The controllers, from slot 1 on, at most 255.
    pub controllers: Vec<Controller>,
}

impl IoUnit {
    /// That of targets which are all reached by one service id: a controller for each GUID, in the order of GUIDs, and an
    /// entry for each target port. `profile` is that of each but for its GUID. Of more than 255 of either the rest is left
    /// out.
    #[must_use]
    pub fn srp(
        ports: impl IntoIterator<Item = PortId>,
        service_id: u64,
        profile: &Profile,
    ) -> Self {
        let mut services: BTreeMap<u64, Vec<ServiceEntry>> = BTreeMap::new();
        for port in ports {
            let of_guid = services.entry(port.guid()).or_default();
            if of_guid.len() < usize::from(u8::MAX) {
                of_guid.push(ServiceEntry::srp(port.extension(), service_id));
            }
        }
        let controller = |(guid, services)| Controller {
            profile: Profile {
                guid,
                ..profile.clone()
            },
            services,
        };
        Self {
            change_id: 1,
            controllers: services
                .into_iter()
                .take(u8::MAX.into())
                .map(controller)
                .collect(),
        }
    }

    /// IOUnitInfo.
    #[must_use]
    pub fn info(&self) -> IoUnitInfo {
        IoUnitInfo {
            change_id: self.change_id,
            flags: 0,
            slots: self.controllers.iter().map(|_| Slot::Present).collect(),
        }
    }

    /// The controller in a slot, the first of which is 1.
    pub(super) fn controller(&self, slot: u32) -> Result<&Controller, u16> {
        let slot = u8::try_from(slot).map_err(|_| status::INVALID_VALUE)?;
        let index = slot.checked_sub(1).ok_or(status::INVALID_VALUE)?;
        let there = self.controllers.get(usize::from(index));
        there.ok_or(status::NO_CONTROLLER)
    }
}
