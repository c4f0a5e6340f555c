//! Where to listen and who connects, as RDMA/CM has it: `sockaddr_in`, `sockaddr_in6`, `sockaddr_ib`.

use std::ffi::c_uint;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::num::NonZero;

use super::ffi::{PS_IB, PS_TCP, SockaddrIb};
use crate::proto::port::PortId;

const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;
const AF_IB: u16 = 27;
/// The service ids that RDMA/CM gives the port space `RDMA_PS_IB` (IBTA annex A11.2; `RDMA_IB_IP_PS_IB` of Linux).
const SERVICES: u64 = (PS_IB as u64) << 16;

/// A service id of IB/CM that user space can listen on: one of the 65535 of RDMA/CM's port space for InfiniBand.
///
/// Linux has had no IB/CM for user space since 5.3, and RDMA/CM takes service ids of its port spaces only. The ports below
/// 1024 are for who has CAP_NET_BIND_SERVICE.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServicePort(pub NonZero<u16>);

impl ServicePort {
    /// The service id: what an initiator gives as `service_id`.
    #[must_use]
    pub fn service_id(self) -> u64 {
        SERVICES | u64::from(self.0.get())
    }
}

/// As Linux initiators take it: sixteen hexadecimal digits.
impl fmt::Display for ServicePort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.service_id())
    }
}

/// Where a listener listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Address(SocketAddr),
    /// On all ports of all devices.
    Service(ServicePort),
}

impl Place {
    pub(super) fn port_space(self) -> c_uint {
        match self {
            Self::Address(_) => PS_TCP,
            Self::Service(_) => PS_IB,
        }
    }

    /// It at the start of a `sockaddr_storage`.
    pub(super) fn storage(self) -> [u8; 128] {
        match self {
            Self::Address(address) => of_address(address),
            Self::Service(port) => SockaddrIb {
                family: AF_IB,
                service_id: port.service_id().to_be_bytes(),
                service_mask: [0xFF; 8],
                ..SockaddrIb::default()
            }
            .storage(),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Service(port) => write!(f, "service id {port}"),
        }
    }
}

fn of_address(address: SocketAddr) -> [u8; 128] {
    let mut out = [0; 128];
    let mut put = |at: usize, bytes: &[u8]| {
        out.iter_mut()
            .skip(at)
            .zip(bytes)
            .for_each(|(to, from)| *to = *from);
    };
    put(2, &address.port().to_be_bytes());
    match address {
        SocketAddr::V4(v4) => {
            put(0, &AF_INET.to_ne_bytes());
            put(4, &v4.ip().octets());
        }
        SocketAddr::V6(v6) => {
            put(0, &AF_INET6.to_ne_bytes());
            put(8, &v6.ip().octets());
            put(24, &v6.scope_id().to_ne_bytes());
        }
    }
    out
}

/// The same address as in a `sockaddr_storage` with a port that the kernel chooses, and its port space.
pub(super) fn of_any_port(storage: &[u8; 128]) -> ([u8; 128], c_uint) {
    let mut out = *storage;
    let [f0, f1, rest @ ..] = &mut out;
    if u16::from_ne_bytes([*f0, *f1]) == AF_IB {
        // A service id of which no bit is asked for, behind the GID.
        rest.iter_mut().skip(22).take(16).for_each(|byte| *byte = 0);
        return (out, PS_IB);
    }
    rest.iter_mut().take(2).for_each(|byte| *byte = 0);
    (out, PS_TCP)
}

/// The IP address or GID in a `sockaddr_storage`.
pub(super) fn ip_or_gid(storage: &[u8; 128]) -> String {
    let [f0, f1, _, _, a, b, c, d, rest @ ..] = storage;
    let Some(&sixteen) = rest.first_chunk::<16>() else {
        return String::new();
    };
    match u16::from_ne_bytes([*f0, *f1]) {
        AF_INET => IpAddr::V4(Ipv4Addr::new(*a, *b, *c, *d)).to_string(),
        AF_INET6 => IpAddr::V6(Ipv6Addr::from(sixteen))
            .to_canonical()
            .to_string(),
        // A GID is written as a port identifier is.
        AF_IB => PortId(sixteen).to_string(),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(port: u16) -> ServicePort {
        ServicePort(NonZero::new(port).unwrap())
    }

    #[test]
    fn addresses_come_back_from_their_wire_form() {
        for text in ["192.0.2.7:3260", "[2001:db8::5]:1"] {
            let socket: SocketAddr = text.parse().unwrap();
            assert_eq!(ip_or_gid(&of_address(socket)), socket.ip().to_string());
        }
        assert_eq!(ip_or_gid(&[0; 128]), "");
    }

    #[test]
    fn an_initiator_on_infiniband_is_named_by_its_gid() {
        let gid = PortId::new(0xFE80 << 48, 0x0002_C903_0000_0001);
        let storage = SockaddrIb {
            family: AF_IB,
            gid: gid.0,
            ..SockaddrIb::default()
        }
        .storage();
        assert_eq!(
            ip_or_gid(&storage),
            "fe80:0000:0000:0000:0002:c903:0000:0001"
        );
    }

    #[test]
    fn an_address_without_its_port_is_the_same_one() {
        let socket = |text: &str| of_address(text.parse().unwrap());
        for (with, without) in [
            ("192.0.2.7:3260", "192.0.2.7:0"),
            ("[2001:db8::5]:1", "[2001:db8::5]:0"),
        ] {
            assert_eq!(of_any_port(&socket(with)), (socket(without), PS_TCP));
        }
        let ib = |id: u64, mask: u8| SockaddrIb {
            family: AF_IB,
            pkey: [0xFF; 2],
            gid: [3; 16],
            service_id: id.to_be_bytes(),
            service_mask: [mask; 8],
            ..SockaddrIb::default()
        };
        let found = of_any_port(&ib(service(5555).service_id(), 0xFF).storage());
        assert_eq!(found, (ib(0, 0).storage(), PS_IB));
    }

    #[test]
    fn a_service_is_one_of_rdma_cm_s_port_space_on_every_port() {
        assert_eq!(service(5555).to_string(), "00000000013f15b3");
        let place = Place::Service(service(0xABCD));
        let storage = place.storage();
        assert_eq!(storage[..2], 27_u16.to_ne_bytes());
        assert_eq!(storage[8..24], [0; 16]);
        assert_eq!(storage[24..32], [0, 0, 0, 0, 1, 0x3F, 0xAB, 0xCD]);
        assert_eq!(storage[32..40], [0xFF; 8]);
        assert_eq!(place.to_string(), "service id 00000000013fabcd");
    }
}
