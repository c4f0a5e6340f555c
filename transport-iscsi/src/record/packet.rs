//! IP and TCP headers around recorded bytes, as a capture on the wire would show them.

use std::net::{IpAddr, SocketAddr};

/// Longest TCP payload of one packet: a PDU that is longer is cut into several, for an IP packet is below 64 KiB.
pub(super) const MAX_SEGMENT: usize = 61_440;

const TCP: u8 = 6;
const TCP_HEADER: usize = 20;
const HOPS: u8 = 64;
/// PSH and ACK.
const FLAGS: u8 = 0x18;

/// Where a packet comes from, goes to and stands in its stream.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    pub(super) from: SocketAddr,
    pub(super) to: SocketAddr,
    pub(super) sequence: u32,
    pub(super) acknowledged: u32,
}

/// A packet with `payload`, of which the wire had `len` bytes. Returns its captured bytes and its length on the wire.
///
/// Checksums are right when all of it is there; a cut one has none, like a packet whose network card would add it.
pub(super) fn packet(place: Place, payload: &[u8], len: usize) -> (Vec<u8>, usize) {
    let mut tcp = Vec::with_capacity(TCP_HEADER + payload.len());
    tcp.extend_from_slice(&place.from.port().to_be_bytes());
    tcp.extend_from_slice(&place.to.port().to_be_bytes());
    tcp.extend_from_slice(&place.sequence.to_be_bytes());
    tcp.extend_from_slice(&place.acknowledged.to_be_bytes());
    // Data offset in words, flags, the widest window, no checksum yet, no urgent data.
    tcp.extend_from_slice(&[0x50, FLAGS, 0xff, 0xff, 0, 0, 0, 0]);
    tcp.extend_from_slice(payload);
    // The caller cuts at MAX_SEGMENT.
    let tcp_len = (TCP_HEADER + len) as u16;
    let (mut packet, addresses) = ip(place.from.ip(), place.to.ip(), tcp_len);
    if payload.len() == len {
        let pseudo = [&addresses[..], &[0, TCP], &tcp_len.to_be_bytes()].concat();
        let sum = checksum(&[&pseudo, &tcp]);
        if let Some(place) = tcp.get_mut(16..18) {
            place.copy_from_slice(&sum.to_be_bytes());
        }
    }
    let whole = packet.len() + TCP_HEADER + len;
    packet.extend_from_slice(&tcp);
    (packet, whole)
}

/// The IP header, and the addresses that the TCP checksum covers.
fn ip(from: IpAddr, to: IpAddr, tcp_len: u16) -> (Vec<u8>, Vec<u8>) {
    match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            let addresses = [from.octets(), to.octets()].concat();
            let mut header = vec![0x45, 0];
            header.extend_from_slice(&(20 + tcp_len).to_be_bytes());
            // No identification, "do not fragment", no checksum yet.
            header.extend_from_slice(&[0, 0, 0x40, 0, HOPS, TCP, 0, 0]);
            header.extend_from_slice(&addresses);
            let sum = checksum(&[&header]);
            if let Some(place) = header.get_mut(10..12) {
                place.copy_from_slice(&sum.to_be_bytes());
            }
            (header, addresses)
        }
        (from, to) => {
            let octets = |ip| match ip {
                IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
                IpAddr::V6(ip) => ip.octets(),
            };
            let addresses = [octets(from), octets(to)].concat();
            let mut header = vec![0x60, 0, 0, 0];
            header.extend_from_slice(&tcp_len.to_be_bytes());
            header.extend_from_slice(&[TCP, HOPS]);
            header.extend_from_slice(&addresses);
            (header, addresses)
        }
    }
}

/// The Internet checksum (RFC 1071) of parts, each but the last of even length.
fn checksum(parts: &[&[u8]]) -> u16 {
    let mut sum = 0u64;
    for pair in parts.iter().flat_map(|part| part.chunks(2)) {
        let high = pair.first().copied().unwrap_or_default();
        let low = pair.get(1).copied().unwrap_or_default();
        sum += u64::from(u16::from_be_bytes([high, low]));
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(from: &str, to: &str) -> Place {
        Place {
            from: from.parse().unwrap(),
            to: to.parse().unwrap(),
            sequence: 0x0102_0304,
            acknowledged: 9,
        }
    }

    #[test]
    fn headers_are_those_of_the_connection_and_their_checksums_are_right() {
        let (packet, len) = packet(place("10.0.0.1:3260", "10.0.0.2:40000"), b"hello", 5);
        assert_eq!((packet.len(), len), (45, 45));
        assert_eq!(&packet[..4], [0x45, 0, 0, 45]);
        assert_eq!(checksum(&[&packet[..20]]), 0);
        assert_eq!(&packet[20..28], [0x0c, 0xbc, 0x9c, 0x40, 1, 2, 3, 4]);
        let pseudo = [&packet[12..20], &[0, 6, 0, 25]].concat();
        assert_eq!(checksum(&[&pseudo, &packet[20..]]), 0);
    }

    #[test]
    fn a_cut_packet_says_how_long_it_was() {
        let (packet, len) = packet(place("[::1]:1", "[::1]:2"), &[7; 10], 1000);
        assert_eq!((packet.len(), len), (40 + 20 + 10, 40 + 20 + 1000));
        assert_eq!(&packet[4..7], [0x03, 0xfc, 6]);
        assert_eq!(&packet[56..58], [0, 0]);
    }
}
