//! What the command tests share: a bed over a disk, CDB builders, a recording store.
#![allow(dead_code, reason = "each test binary uses a part")]

use std::sync::Arc;

use lunforge_core::cdb::{CommandId, ParsedCdb};
use lunforge_core::handler::{
    DeviceHandler, DeviceProfile, Execute, Execution, Identity, Transfer,
};
use lunforge_core::nexus::NexusId;
use lunforge_core::sense::Sense;
use lunforge_core::status::Status;
use lunforge_core::testing::{Bed, Reply, Session};
use lunforge_vdisk::Vdisk;
use lunforge_vdisk::store::*;
use parking_lot::Mutex;

pub(crate) const MIB: u64 = 1 << 20;
pub(crate) const BLOCKS: u64 = 8 * MIB / 512;

/// A disk under test and one session to it.
pub(crate) struct Rig {
    pub(crate) bed: Bed,
    pub(crate) session: Session,
    pub(crate) disk: Vdisk,
}

impl Rig {
    pub(crate) fn new(disk: Vdisk) -> Self {
        let mut bed = Bed::new(1, disk.clone());
        let session = bed.session(0, "iqn.2026-11.org.example:a");
        Self { bed, session, disk }
    }

    pub(crate) fn run(&mut self, cdb: &[u8], data_out: &[u8], room: usize) -> Reply {
        self.bed.command(self.session, 0, cdb, data_out, room)
    }

    /// Runs a command that must end with GOOD; its Data-In.
    #[track_caller]
    pub(crate) fn good(&mut self, cdb: &[u8], data_out: &[u8], room: usize) -> Vec<u8> {
        let reply = self.run(cdb, data_out, room);
        assert_eq!(reply.status, Status::Good, "{cdb:02x?}: {:?}", reply.sense);
        reply.data
    }

    /// Runs a command that must end with this key, ASC and ASCQ.
    #[track_caller]
    pub(crate) fn fails(
        &mut self,
        cdb: &[u8],
        data_out: &[u8],
        room: usize,
        want: (u8, u8, u8),
    ) -> Reply {
        let reply = self.run(cdb, data_out, room);
        let sense = reply
            .sense
            .unwrap_or_else(|| panic!("{cdb:02x?} ends with {}", reply.status));
        assert_eq!(
            (sense.key.code(), sense.asc.asc, sense.asc.ascq),
            want,
            "{cdb:02x?}: {sense:?}"
        );
        reply
    }
}

/// A RAM store behind a record of the operations, with faults to inject.
pub(crate) struct Recorder {
    inner: RamStore,
    capabilities: Capabilities,
    pub(crate) log: Mutex<Vec<String>>,
    pub(crate) fault: Mutex<Option<StoreError>>,
}

impl Recorder {
    pub(crate) fn new(capabilities: Capabilities) -> Arc<Self> {
        let inner = RamStore::new(8 * MIB);
        Arc::new(Self {
            inner,
            capabilities,
            log: Mutex::default(),
            fault: Mutex::default(),
        })
    }

    pub(crate) fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.log.lock())
    }
}

impl BackingStore for Recorder {
    fn limits(&self) -> Limits {
        self.inner.limits()
    }

    fn capabilities(&self) -> Capabilities {
        self.capabilities
    }

    fn submit(&self, op: StoreOp, cx: &mut StoreCx<'_>) -> Submitted {
        let name = match &op {
            StoreOp::Read { .. } => "read",
            StoreOp::Write { fua: false, .. } => "write",
            StoreOp::Write { fua: true, .. } => "write fua",
            StoreOp::Flush => "flush",
            StoreOp::Discard { .. } => "discard",
            StoreOp::WriteZeroes {
                may_unmap: false, ..
            } => "zero",
            StoreOp::WriteZeroes {
                may_unmap: true, ..
            } => "zero unmap",
            StoreOp::AllocationStatus { .. } => "status",
            StoreOp::Prefetch { .. } => "prefetch",
            StoreOp::CopyFrom { .. } => "copy",
        };
        self.log.lock().push(name.into());
        let fault = *self.fault.lock();
        match fault {
            Some(error) => op.done(Err(error)),
            None if matches!(op, StoreOp::CopyFrom { .. }) => op.done(Ok(Answer::Done)),
            None => self.inner.submit(op, cx),
        }
    }

    fn renew(&self, epoch: u64) -> Option<usize> {
        self.inner.renew(epoch)
    }
}

/// Every capability of a thin store with a volatile cache.
pub(crate) fn thin_volatile() -> Capabilities {
    Capabilities::all() - Capabilities::READ_ONLY - Capabilities::ROTATIONAL
}

pub(crate) fn over(store: Arc<dyn BackingStore>) -> Rig {
    let thin = store.capabilities().contains(Capabilities::DISCARD);
    Rig::new(
        Vdisk::store(store)
            .serial("test")
            .block_size(512)
            .thin(thin)
            .open()
            .unwrap(),
    )
}

pub(crate) fn cdb10(op: u8, flags: u8, lba: u32, len: u16) -> [u8; 10] {
    let ([a, b, c, d], [e, f]) = (lba.to_be_bytes(), len.to_be_bytes());
    [op, flags, a, b, c, d, 0, e, f, 0]
}

pub(crate) fn cdb12(op: u8, flags: u8, lba: u32, len: u32) -> [u8; 12] {
    let mut cdb = [0; 12];
    cdb[0] = op;
    cdb[1] = flags;
    cdb[2..6].copy_from_slice(&lba.to_be_bytes());
    cdb[6..10].copy_from_slice(&len.to_be_bytes());
    cdb
}

pub(crate) fn cdb16(op: u8, flags: u8, lba: u64, len: u32) -> [u8; 16] {
    let mut cdb = [0; 16];
    cdb[0] = op;
    cdb[1] = flags;
    cdb[2..10].copy_from_slice(&lba.to_be_bytes());
    cdb[10..14].copy_from_slice(&len.to_be_bytes());
    cdb
}

pub(crate) fn pattern(blocks: usize, seed: u8) -> Vec<u8> {
    (0..blocks * 512)
        .map(|i| {
            seed.wrapping_add((i / 512) as u8)
                .wrapping_mul(3)
                .wrapping_add(i as u8)
        })
        .collect()
}

pub(crate) fn caching(wce: bool) -> Vec<u8> {
    let mut list = vec![0, 0, 0, 0, 0x08, 0x12];
    list.resize(24, 0);
    list[6] = 0x10 | u8::from(wce) << 2;
    list
}

pub(crate) fn control(byte2: u8, byte3: u8, byte4: u8, byte5: u8) -> Vec<u8> {
    vec![
        0, 0, 0, 0, 0x0A, 0x0A, byte2, byte3, byte4, byte5, 0, 0, 0, 0, 0, 1,
    ]
}

/// A disk that notes the nexus of the last command it executed.
pub(crate) struct Spy {
    disk: Vdisk,
    seen: Arc<Mutex<Option<NexusId>>>,
}

/// A handler over `disk`, and where the nexus of its last command is.
pub(crate) fn spy(disk: Vdisk) -> (Arc<Mutex<Option<NexusId>>>, Spy) {
    let seen = Arc::<Mutex<_>>::default();
    let spy = Spy {
        disk,
        seen: Arc::clone(&seen),
    };
    (seen, spy)
}

impl DeviceHandler for Spy {
    fn identity(&self) -> Identity {
        self.disk.identity()
    }

    fn profile(&self) -> DeviceProfile {
        self.disk.profile()
    }

    fn supports(&self, command: CommandId) -> bool {
        self.disk.supports(command)
    }

    fn vpd_pages(&self) -> Vec<u8> {
        self.disk.vpd_pages()
    }

    fn vpd(&self, page: u8) -> Option<Vec<u8>> {
        self.disk.vpd(page)
    }

    fn ready(&self) -> Result<(), Sense> {
        self.disk.ready()
    }

    fn prepare(&self, cdb: &ParsedCdb) -> Result<Transfer, Sense> {
        self.disk.prepare(cdb)
    }

    fn execute(&self, command: &mut Execution<'_>) -> Execute {
        *self.seen.lock() = Some(command.nexus());
        self.disk.execute(command)
    }
}
