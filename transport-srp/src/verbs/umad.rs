//! Management datagrams for user space (`ib_umad` of Linux): what `rdma/ib_user_mad.h` says, and the file that it is about.

#![allow(unsafe_code, reason = "ioctl(2) has the types that its header says")]

use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::ioctl::{NoArg, Opcode, Updater, ioctl, opcode};
use zerocopy::big_endian::U32;
use zerocopy::native_endian as native;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::proto::mad::{CLASS, DATAGRAM_LEN, method};

/// `IB_USER_MAD_ENABLE_PKEY`.
pub(super) const ENABLE_PKEY: Opcode = opcode::none(0x1B, 3);
/// `IB_USER_MAD_REGISTER_AGENT2`.
pub(super) const REGISTER_AGENT2: Opcode = opcode::read_write::<Registration>(0x1B, 4);
/// The Q_Key of queue pair 1 (IBTA 10.2.5), which datagrams of this class go to.
const QKEY: u32 = 0x8001_0000;
const HEADER_LEN: usize = 64;
/// Length of a datagram with its header, in bytes.
pub(super) const PACKET_LEN: usize = HEADER_LEN + DATAGRAM_LEN;

/// `struct ib_user_mad_reg_req2`.
#[repr(C)]
pub(super) struct Registration {
    pub(super) id: u32,
    pub(super) qpn: u32,
    pub(super) class: u8,
    pub(super) class_version: u8,
    pub(super) reserved: u16,
    pub(super) flags: u32,
    pub(super) methods: [u64; 2],
    pub(super) oui: u32,
    pub(super) rmpp_version: u8,
    pub(super) reserved2: [u8; 3],
}

/// `struct ib_user_mad_hdr`: who has sent a datagram, or is to get it.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct Header {
    pub(super) id: native::U32,
    pub(super) status: native::U32,
    pub(super) timeout_ms: native::U32,
    pub(super) retries: native::U32,
    pub(super) length: native::U32,
    pub(super) qpn: U32,
    pub(super) qkey: U32,
    pub(super) lid: [u8; 2],
    pub(super) sl: u8,
    pub(super) path_bits: u8,
    pub(super) grh_present: u8,
    pub(super) gid_index: u8,
    pub(super) hop_limit: u8,
    pub(super) traffic_class: u8,
    pub(super) gid: [u8; 16],
    pub(super) flow_label: [u8; 4],
    pub(super) pkey_index: native::U16,
    pub(super) reserved: [u8; 6],
}
const _: () = assert!(size_of::<Header>() == HEADER_LEN);

/// A packet: a header, and a datagram.
pub(super) type Packet = [u8; PACKET_LEN];

/// Turns what was received into what answers it.
pub(super) fn turn(packet: &mut Packet, answer: &[u8; DATAGRAM_LEN]) {
    let Ok((header, datagram)) = Header::mut_from_prefix(packet.as_mut_slice()) else {
        return;
    };
    header.status = 0.into();
    // Nobody answers an answer.
    header.timeout_ms = 0.into();
    header.retries = 0.into();
    header.qkey = QKEY.into();
    datagram
        .iter_mut()
        .zip(answer)
        .for_each(|(to, from)| *to = *from);
}

/// The datagram of a packet, and whether it is one that has come in and not one of ours that has come back.
pub(super) fn datagram(packet: &Packet) -> Option<&[u8]> {
    let (header, datagram) = packet.split_at_checked(HEADER_LEN)?;
    let header = Header::read_from_bytes(header).ok()?;
    (header.status.get() == 0).then_some(datagram)
}

/// The management datagrams of a port.
pub(super) struct Umad {
    pub(super) name: String,
    fd: OwnedFd,
}

impl Umad {
    /// Opens `/dev/infiniband/<name>` and asks for the datagrams of device management.
    pub(super) fn open(name: &str) -> io::Result<Self> {
        let path = Path::new("/dev/infiniband").join(name);
        let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let fd = rustix::fs::open(&path, flags, Mode::empty())?;
        let mut registration = Registration {
            id: 0,
            qpn: 1,
            class: CLASS,
            class_version: 1,
            reserved: 0,
            flags: 0,
            methods: [1 << method::GET | 1 << method::SET, 0],
            oui: 0,
            rmpp_version: 0,
            reserved2: [0; 3],
        };
        // SAFETY: these have no argument, and this structure.
        unsafe {
            ioctl(&fd, NoArg::<ENABLE_PKEY>::new())?;
            ioctl(
                &fd,
                Updater::<REGISTER_AGENT2, Registration>::new(&mut registration),
            )?;
        }
        let name = name.to_owned();
        Ok(Self { name, fd })
    }

    /// Takes a packet; false when there is none.
    pub(super) fn take(&self, packet: &mut Packet) -> io::Result<bool> {
        match rustix::io::read(&self.fd, packet.as_mut_slice()) {
            Ok(n) => Ok(n == PACKET_LEN),
            Err(Errno::AGAIN | Errno::INTR) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Sends one. On Ethernet the kernel may look for the way there and wait for it.
    pub(super) fn send(&self, packet: &Packet) -> io::Result<()> {
        rustix::io::write(&self.fd, packet)?;
        Ok(())
    }
}

impl AsFd for Umad {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// The ports that have management datagrams, as they are named below `/dev/infiniband`.
pub(super) fn ports(only_infiniband: bool) -> Vec<String> {
    ports_in(Path::new("/sys/class"), only_infiniband)
}

fn ports_in(class: &Path, only_infiniband: bool) -> Vec<String> {
    let devices = fs::read_dir(class.join("infiniband_mad"));
    let mut names: Vec<String> = devices
        .into_iter()
        .flatten()
        .flatten()
        .filter(|device| !only_infiniband || is_infiniband(class, device.path()))
        .filter_map(|device| device.file_name().into_string().ok())
        .filter(|name| name.starts_with("umad"))
        .collect();
    names.sort();
    names
}

fn is_infiniband(class: &Path, umad: PathBuf) -> bool {
    let told = |what: &str| fs::read_to_string(umad.join(what));
    let (Ok(device), Ok(port)) = (told("ibdev"), told("port")) else {
        return false;
    };
    let device = class.join("infiniband").join(device.trim_end());
    super::port::is_infiniband(&device.join("ports").join(port.trim_end()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_goes_to_where_the_question_came_from() {
        let mut packet = [0; PACKET_LEN];
        for (byte, n) in packet.iter_mut().zip(1..=200) {
            *byte = n;
        }
        let asked = packet;
        turn(&mut packet, &[0xEE; DATAGRAM_LEN]);
        // The agent, the queue pair, the path.
        assert_eq!(packet[..4], asked[..4]);
        assert_eq!(packet[16..24], asked[16..24]);
        assert_eq!(packet[28..64], asked[28..64]);
        assert_eq!(packet[4..16], [0; 12]);
        assert_eq!(packet[24..28], [0x80, 1, 0, 0]);
        assert_eq!(packet[64..], [0xEE; DATAGRAM_LEN]);
    }

    #[test]
    fn what_could_not_be_sent_is_no_question() {
        let mut packet = [0; PACKET_LEN];
        assert_eq!(datagram(&packet).map(<[u8]>::len), Some(DATAGRAM_LEN));
        packet[4..8].copy_from_slice(&110_u32.to_ne_bytes());
        assert_eq!(datagram(&packet), None);
    }

    #[test]
    fn ports_are_named_by_their_link_layer() {
        let class = std::env::temp_dir().join(format!("lunforge-umad-{}", std::process::id()));
        let write = |file: &str, text: &str| {
            let path = class.join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        assert!(ports_in(&class, false).is_empty());
        write("infiniband_mad/abi_version", "5\n");
        write("infiniband_mad/issm1/ibdev", "mlx4_0\n");
        write("infiniband_mad/issm1/port", "2\n");
        for (umad, port, layer) in [("umad1", "2", "InfiniBand"), ("umad0", "1", "Ethernet")] {
            write(&format!("infiniband_mad/{umad}/ibdev"), "mlx4_0\n");
            write(&format!("infiniband_mad/{umad}/port"), &format!("{port}\n"));
            let link_layer = format!("infiniband/mlx4_0/ports/{port}/link_layer");
            write(&link_layer, &format!("{layer}\n"));
        }
        assert_eq!(ports_in(&class, false), ["umad0", "umad1"]);
        assert_eq!(ports_in(&class, true), ["umad1"]);
        fs::remove_dir_all(&class).unwrap();
    }
}
