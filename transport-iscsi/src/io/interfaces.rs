//! The addresses of the machine's interfaces, from the kernel (rtnetlink(7)).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use parking_lot::Mutex;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socket_with,
};

const HEADER: usize = 16;
/// struct ifaddrmsg.
const ADDRESS_HEADER: usize = 8;
const RTM_NEWADDR: u16 = 20;
const RTM_GETADDR: u16 = 22;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const NLM_F_REQUEST: u16 = 0x1;
const NLM_F_DUMP: u16 = 0x300;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
/// Parts of one answer, at most.
const PARTS: usize = 256;

/// Asks the kernel each time; where it does not answer, for a process that has given that right up, what it said last.
pub(super) fn of_system() -> impl Fn() -> Vec<IpAddr> + Send + Sync {
    let last = Mutex::new(Vec::new());
    move || {
        let mut last = last.lock();
        if let Some(now) = ask() {
            *last = now;
        }
        last.clone()
    }
}

fn ask() -> Option<Vec<IpAddr>> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(
        AddressFamily::NETLINK,
        SocketType::RAW,
        flags,
        // NETLINK_ROUTE is zero.
        None,
    );
    let socket = socket.ok()?;
    send(&socket, &request(), SendFlags::empty()).ok()?;
    let mut addresses = Vec::new();
    let mut part = vec![0; 32 << 10];
    for _ in 0..PARTS {
        // The kernel writes the answer while it takes the request, or the next part of it.
        let (_, len) = recv(&socket, &mut part[..], RecvFlags::empty()).ok()?;
        match read(part.get(..len)?, &mut addresses) {
            Part::Last => return Some(addresses),
            Part::More => {}
            Part::Refused => return None,
        }
    }
    None
}

fn request() -> Vec<u8> {
    let len = HEADER + ADDRESS_HEADER;
    let mut out = (len as u32).to_ne_bytes().to_vec();
    out.extend_from_slice(&RTM_GETADDR.to_ne_bytes());
    out.extend_from_slice(&(NLM_F_REQUEST | NLM_F_DUMP).to_ne_bytes());
    // Sequence number, port; then of every family, prefix, scope and interface.
    out.resize(len, 0);
    out
}

#[derive(Debug, PartialEq, Eq)]
enum Part {
    More,
    Last,
    Refused,
}

/// Reads the messages of one part of the answer.
fn read(mut part: &[u8], addresses: &mut Vec<IpAddr>) -> Part {
    while let Some((header, _)) = part.split_first_chunk::<HEADER>() {
        let [a, b, c, d, e, f, ..] = *header;
        let len = u32::from_ne_bytes([a, b, c, d]) as usize;
        let Some(body) = part.get(HEADER..len) else {
            return Part::Refused;
        };
        match u16::from_ne_bytes([e, f]) {
            NLMSG_DONE => return Part::Last,
            NLMSG_ERROR => return Part::Refused,
            RTM_NEWADDR => addresses.extend(address(body)),
            _ => {}
        }
        part = part.get(len.next_multiple_of(4)..).unwrap_or_default();
    }
    Part::More
}

/// The address of one message: IFA_LOCAL is ours where IFA_ADDRESS is that of the other end.
fn address(body: &[u8]) -> Option<IpAddr> {
    let mut rest = body.get(ADDRESS_HEADER..)?;
    let (mut own, mut other) = (None, None);
    while let Some((&[a, b, c, d], _)) = rest.split_first_chunk() {
        let len = usize::from(u16::from_ne_bytes([a, b]));
        let value = rest.get(4..len)?;
        match u16::from_ne_bytes([c, d]) {
            IFA_LOCAL => own = ip(value),
            IFA_ADDRESS => other = ip(value),
            _ => {}
        }
        rest = rest.get(len.next_multiple_of(4)..).unwrap_or_default();
    }
    own.or(other)
}

fn ip(bytes: &[u8]) -> Option<IpAddr> {
    if let Ok(four) = <[u8; 4]>::try_from(bytes) {
        return Some(Ipv4Addr::from(four).into());
    }
    let six = <[u8; 16]>::try_from(bytes).ok()?;
    Some(Ipv6Addr::from(six).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: u16, body: &[u8]) -> Vec<u8> {
        let mut out = ((HEADER + body.len()) as u32).to_ne_bytes().to_vec();
        out.extend_from_slice(&kind.to_ne_bytes());
        out.resize(HEADER, 0);
        out.extend_from_slice(body);
        out
    }

    fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
        let mut out = ((4 + value.len()) as u16).to_ne_bytes().to_vec();
        out.extend_from_slice(&kind.to_ne_bytes());
        out.extend_from_slice(value);
        out.resize(out.len().next_multiple_of(4), 0);
        out
    }

    fn new_address(attributes: &[Vec<u8>]) -> Vec<u8> {
        let body = [vec![0; ADDRESS_HEADER], attributes.concat()].concat();
        message(RTM_NEWADDR, &body)
    }

    #[test]
    fn an_answer_is_read_to_its_end() {
        let six = Ipv6Addr::LOCALHOST;
        let part = [
            new_address(&[
                attribute(IFA_ADDRESS, &[192, 0, 2, 9]),
                attribute(IFA_LOCAL, &[192, 0, 2, 1]),
                attribute(3, b"eth0\0"),
            ]),
            message(16, &[0; 16]),
            new_address(&[attribute(IFA_ADDRESS, &six.octets())]),
        ];
        let mut found = Vec::new();
        assert_eq!(read(&part.concat(), &mut found), Part::More);
        assert_eq!(found, [IpAddr::from([192, 0, 2, 1]), six.into()]);
        assert_eq!(read(&message(NLMSG_DONE, &[0; 4]), &mut found), Part::Last);
        assert_eq!(
            read(&message(NLMSG_ERROR, &[0; 20]), &mut found),
            Part::Refused
        );
    }

    #[test]
    fn an_answer_that_is_cut_anywhere_is_read_without_a_panic_and_without_end() {
        let whole = new_address(&[attribute(IFA_LOCAL, &[192, 0, 2, 1])]);
        for len in 0..whole.len() {
            let mut found = Vec::new();
            read(&whole[..len], &mut found);
            assert!(found.is_empty(), "{len}");
        }
        // A length that says nothing ends it.
        assert_eq!(read(&[0; 64], &mut Vec::new()), Part::Refused);
        assert_eq!(address(&[0; 32]), None);
    }
}
