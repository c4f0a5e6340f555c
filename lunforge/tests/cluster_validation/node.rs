//! A node of a cluster: paths to shared disks and a reservation key, with the commands that a cluster's storage
//! validation uses.

use std::net::SocketAddr;

use lunforge_bench::initiator::{Error, Initiator, Options, Reply};

/// Write exclusive, registrants only: what a failover cluster reserves its disks with.
pub(crate) const REGISTRANTS_ONLY: u8 = 5;

/// RESERVATION CONFLICT.
pub(crate) const CONFLICT: u8 = 0x18;
/// GOOD.
pub(crate) const GOOD: u8 = 0x00;

/// Service actions of PERSISTENT RESERVE OUT.
#[derive(Clone, Copy, Debug)]
#[repr(u8)]
pub(crate) enum Out {
    Register = 0,
    Reserve = 1,
    Release = 2,
    Clear = 3,
    Preempt = 4,
    PreemptAndAbort = 5,
    RegisterAndIgnore = 6,
}

/// What READ RESERVATION says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Held {
    pub(crate) key: u64,
    pub(crate) kind: u8,
}

/// A node, with a session for each of its paths.
pub(crate) struct Node {
    pub(crate) name: String,
    pub(crate) key: u64,
    pub(crate) paths: Vec<Initiator>,
}

impl Node {
    /// Logs in over every path. The unit attentions of the first contact are cleared.
    pub(crate) fn new(number: u8, portals: &[(SocketAddr, &str)], luns: u8) -> Self {
        let name = format!("iqn.2026-11.org.example:node{number}");
        let options = Options {
            initiator_name: name.clone(),
            ..Options::default()
        };
        let connect = |&(address, target): &(SocketAddr, &str)| {
            let mut path = Initiator::connect(address, target, &options).expect("a login");
            for lun in 0..luns {
                path.ready(u16::from(lun), 4).expect("a disk that is ready");
            }
            path
        };
        Self {
            name,
            key: 0xA000 + u64::from(number),
            paths: portals.iter().map(connect).collect(),
        }
    }

    /// The first path.
    pub(crate) fn path(&mut self) -> &mut Initiator {
        &mut self.paths[0]
    }

    /// Runs a command on the first path; a pending unit attention is taken and the command sent again, as every
    /// initiator's driver does.
    pub(crate) fn command(&mut self, lun: u8, cdb: &[u8], out: &[u8], len: u32) -> Reply {
        retried(self.path(), lun, cdb, out, len)
    }

    /// PERSISTENT RESERVE OUT on the first path; its status.
    pub(crate) fn out(&mut self, lun: u8, action: Out, key: u64, service_action_key: u64) -> u8 {
        out(self.path(), lun, action, key, service_action_key)
    }

    /// Registers this node's key over every path, whatever was registered.
    pub(crate) fn register(&mut self, lun: u8) {
        let key = self.key;
        for path in &mut self.paths {
            assert_eq!(out(path, lun, Out::RegisterAndIgnore, 0, key), GOOD);
        }
    }

    pub(crate) fn reserve(&mut self, lun: u8) -> u8 {
        self.out(lun, Out::Reserve, self.key, 0)
    }

    pub(crate) fn release(&mut self, lun: u8) -> u8 {
        self.out(lun, Out::Release, self.key, 0)
    }

    pub(crate) fn preempt(&mut self, lun: u8, victim: u64) -> u8 {
        self.out(lun, Out::Preempt, self.key, victim)
    }

    /// READ KEYS: generation and keys.
    pub(crate) fn keys(&mut self, lun: u8) -> (u32, Vec<u64>) {
        let data = self.pr_in(lun, 0);
        let keys = data[8..].chunks_exact(8).map(be64).collect();
        (be32(&data), keys)
    }

    /// READ RESERVATION.
    pub(crate) fn reservation(&mut self, lun: u8) -> Option<Held> {
        let data = self.pr_in(lun, 1);
        (be32(&data[4..]) != 0).then(|| Held {
            key: be64(&data[8..]),
            kind: data[21] & 0x0F,
        })
    }

    fn pr_in(&mut self, lun: u8, action: u8) -> Vec<u8> {
        let cdb = [0x5E, action, 0, 0, 0, 0, 0, 0x20, 0, 0];
        let reply = self.command(lun, &cdb, &[], 0x2000);
        assert_eq!(reply.status, GOOD, "PERSISTENT RESERVE IN {action}");
        let len = 8 + be32(&reply.data[4..]) as usize;
        assert_eq!(reply.data.len(), len, "all of it was asked for");
        reply.data
    }

    /// Writes a block; the status.
    pub(crate) fn write(&mut self, lun: u8, lba: u8, fill: u8) -> u8 {
        let cdb = [0x2A, 0, 0, 0, 0, lba, 0, 0, 1, 0];
        self.command(lun, &cdb, &[fill; 512], 0).status
    }

    /// Reads a block; its content, or the status.
    pub(crate) fn read(&mut self, lun: u8, lba: u8) -> Result<Vec<u8>, u8> {
        let cdb = [0x28, 0, 0, 0, 0, lba, 0, 0, 1, 0];
        let reply = self.command(lun, &cdb, &[], 512);
        if reply.status == GOOD {
            Ok(reply.data)
        } else {
            Err(reply.status)
        }
    }

    /// VPD page 83h, as every path shows it.
    pub(crate) fn identities(&mut self, lun: u8) -> Vec<Vec<u8>> {
        let ask = |path: &mut Initiator| {
            let data = retried(path, lun, &[0x12, 1, 0x83, 4, 0, 0], &[], 1024).data;
            lun_designators(&data)
        };
        self.paths.iter_mut().map(ask).collect()
    }
}

/// PERSISTENT RESERVE OUT with the basic parameter list; the status.
fn out(path: &mut Initiator, lun: u8, action: Out, key: u64, service_action_key: u64) -> u8 {
    let kind = match action {
        Out::Register | Out::RegisterAndIgnore | Out::Clear => 0,
        _ => REGISTRANTS_ONLY,
    };
    let cdb = [0x5F, action as u8, kind, 0, 0, 0, 0, 0, 24, 0];
    let mut list = [0; 24];
    list[..8].copy_from_slice(&key.to_be_bytes());
    list[8..16].copy_from_slice(&service_action_key.to_be_bytes());
    retried(path, lun, &cdb, &list, 0).status
}

fn retried(path: &mut Initiator, lun: u8, cdb: &[u8], out: &[u8], len: u32) -> Reply {
    const UNIT_ATTENTION: u8 = 6;
    for _ in 0..8 {
        let reply = path
            .command(u16::from(lun), cdb, out, len)
            .unwrap_or_else(gone);
        if reply.sense_key() != Some(UNIT_ATTENTION) {
            return reply;
        }
    }
    panic!("eight unit attentions in a row");
}

fn gone(error: Error) -> Reply {
    panic!("a path was lost: {error}")
}

/// The designators that name the logical unit (association 00b): those must be alike on all paths.
fn lun_designators(page: &[u8]) -> Vec<u8> {
    let mut rest = &page[4..];
    let mut found = Vec::new();
    while let [_, association, _, len, tail @ ..] = rest {
        let (body, next) = tail.split_at(usize::from(*len));
        if association >> 4 & 3 == 0 {
            found.extend_from_slice(body);
        }
        rest = next;
    }
    found
}

fn be32(bytes: &[u8]) -> u32 {
    u32::from_be_bytes(bytes[..4].try_into().expect("four bytes"))
}

fn be64(bytes: &[u8]) -> u64 {
    u64::from_be_bytes(bytes[..8].try_into().expect("eight bytes"))
}
