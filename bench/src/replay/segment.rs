//! From a captured packet to its TCP segment: link layer, IPv4 or IPv6, TCP. Only what was captured is looked at.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use pcap_parser::Linktype;

use super::capture::Packet;

const ETHERTYPE_IPV4: u16 = 0x0800;
const ETHERTYPE_IPV6: u16 = 0x86dd;
/// 802.1Q and 802.1ad tags.
const TAGS: [u16; 2] = [0x8100, 0x88a8];
const TCP: u8 = 6;

/// A TCP segment of which all or the first part was captured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Segment<'a> {
    pub(super) from: SocketAddr,
    pub(super) to: SocketAddr,
    pub(super) sequence: u32,
    pub(super) syn: bool,
    /// Bytes of payload that the wire had.
    pub(super) len: usize,
    /// Those that were captured.
    pub(super) payload: &'a [u8],
}

/// The segment in a packet; `None` when there is none, or its headers were cut.
pub(super) fn parse<'a>(packet: &Packet<'a>) -> Option<Segment<'a>> {
    let bytes = packet.bytes;
    match packet.link {
        Linktype::RAW | Linktype::IPV4 | Linktype::IPV6 => ip(bytes),
        Linktype::ETHERNET => ethernet(bytes.get(12..)?),
        Linktype::NULL | Linktype::LOOP => ip(bytes.get(4..)?),
        Linktype::LINUX_SLL => ethernet(bytes.get(14..)?),
        Linktype::LINUX_SLL2 => match half(bytes, 0)? {
            ETHERTYPE_IPV4 | ETHERTYPE_IPV6 => ip(bytes.get(20..)?),
            _ => None,
        },
        _ => None,
    }
}

fn half(bytes: &[u8], at: usize) -> Option<u16> {
    let pair = bytes.get(at..)?.first_chunk::<2>()?;
    Some(u16::from_be_bytes(*pair))
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    let word = bytes.get(at..)?.first_chunk::<4>()?;
    Some(u32::from_be_bytes(*word))
}

/// From an EtherType on.
fn ethernet(mut bytes: &[u8]) -> Option<Segment<'_>> {
    while TAGS.contains(&half(bytes, 0)?) {
        bytes = bytes.get(4..)?;
    }
    match half(bytes, 0)? {
        ETHERTYPE_IPV4 | ETHERTYPE_IPV6 => ip(bytes.get(2..)?),
        _ => None,
    }
}

fn ip(bytes: &[u8]) -> Option<Segment<'_>> {
    match bytes.first()? >> 4 {
        4 => ipv4(bytes),
        6 => ipv6(bytes),
        _ => None,
    }
}

fn ipv4(bytes: &[u8]) -> Option<Segment<'_>> {
    let header = usize::from(bytes.first()? & 0x0f) * 4;
    let total = usize::from(half(bytes, 2)?);
    let fragment = half(bytes, 6)? & 0x3fff;
    if *bytes.get(9)? != TCP || fragment != 0 || header < 20 {
        return None;
    }
    let address = |at: usize| Some(IpAddr::V4(Ipv4Addr::from(word(bytes, at)?)));
    let rest = bytes.get(header..)?;
    // A length of 0 is a packet that the network card was to cut: all of it is there.
    let len = if total == 0 {
        rest.len()
    } else {
        total.checked_sub(header)?
    };
    tcp(address(12)?, address(16)?, rest, len)
}

fn ipv6(bytes: &[u8]) -> Option<Segment<'_>> {
    let total = usize::from(half(bytes, 4)?);
    // Extension headers are not used by anything that speaks iSCSI.
    if *bytes.get(6)? != TCP {
        return None;
    }
    let address = |at: usize| {
        let octets = bytes.get(at..)?.first_chunk::<16>()?;
        Some(IpAddr::V6(Ipv6Addr::from(*octets)))
    };
    let rest = bytes.get(40..)?;
    let len = if total == 0 { rest.len() } else { total };
    tcp(address(8)?, address(24)?, rest, len)
}

fn tcp(from: IpAddr, to: IpAddr, bytes: &[u8], len: usize) -> Option<Segment<'_>> {
    const SYN: u8 = 0x02;
    let header = usize::from(bytes.get(12)? >> 4) * 4;
    if header < 20 {
        return None;
    }
    let len = len.checked_sub(header)?;
    let payload = bytes.get(header..)?;
    Some(Segment {
        from: SocketAddr::new(from, half(bytes, 0)?),
        to: SocketAddr::new(to, half(bytes, 2)?),
        sequence: word(bytes, 4)?,
        syn: bytes.get(13)? & SYN != 0,
        len,
        // Beyond the segment there may be padding of the link.
        payload: payload.get(..len).unwrap_or(payload),
    })
}
