//! A block device in memory that can be told to keep commands, to be busy, to fail.

use std::any::Any;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

use lunforge_core::asc::Asc;
use lunforge_core::buffer::IoBuf;
use lunforge_core::cdb::{Cdb, CommandId, ParsedCdb};
use lunforge_core::designator::{Designator, DesignatorKind};
use lunforge_core::handler::{
    DeviceHandler, DeviceProfile, Execute, Execution, Fence, Identity, Outcome, Transfer,
};
use lunforge_core::sense::Sense;
use lunforge_core::shard::completion::CompletionToken;
use lunforge_core::status::Status;
use lunforge_core::units::{BlockCount, Lba};

/// What a [`Ram`] shares with its test.
#[derive(Debug)]
pub(crate) struct Disk {
    pub(crate) block: usize,
    pub(crate) bytes: Mutex<Vec<u8>>,
    /// Keep READ and WRITE commands.
    pub(crate) hold: AtomicBool,
    /// READs and WRITEs from now on that fail; the first after so many.
    pub(crate) fail_after: AtomicU32,
    /// So many READs and WRITEs are answered BUSY.
    pub(crate) busy: AtomicUsize,
    pub(crate) reads: AtomicUsize,
    pub(crate) writes: AtomicUsize,
    pub(crate) fences: AtomicUsize,
    pub(crate) ready: AtomicBool,
    /// Copies from others of its kind by itself.
    pub(crate) copies: AtomicBool,
    /// Chunks that it copied, or was to copy.
    pub(crate) copied: AtomicUsize,
    /// MAXIMUM TRANSFER LENGTH in blocks.
    pub(crate) most: AtomicU32,
    held: Mutex<Vec<(CompletionToken, Cdb, IoBuf)>>,
    held_copies: Mutex<Vec<(CompletionToken, CopyOf)>>,
}

impl Disk {
    pub(crate) fn held(&self) -> usize {
        self.held.lock().unwrap().len() + self.held_copies.lock().unwrap().len()
    }

    /// Does and ends all held commands.
    pub(crate) fn complete_all(&self) {
        let copies: Vec<_> = self.held_copies.lock().unwrap().drain(..).collect();
        for (token, copy) in copies {
            let outcome = self.copy(&copy);
            token.complete(outcome, IoBuf::empty());
        }
        let held: Vec<_> = self.held.lock().unwrap().drain(..).collect();
        for (token, cdb, mut buf) in held {
            let outcome = self.access(&cdb, &mut buf);
            token.complete(outcome, buf);
        }
    }

    fn copy(&self, copy: &CopyOf) -> Outcome {
        if self.fail_after.load(Relaxed) == 0 {
            return Sense::medium_error(Asc::WRITE_ERROR, 1).into();
        }
        let (from, len) = (copy.from * self.block, copy.blocks * self.block);
        let data = copy.source.bytes.lock().unwrap()[from..from + len].to_vec();
        let to = copy.to * self.block;
        self.bytes.lock().unwrap()[to..to + len].copy_from_slice(&data);
        Outcome::good()
    }

    fn access(&self, cdb: &Cdb, buf: &mut IoBuf) -> Outcome {
        let (lba, len) = (cdb.extent().unwrap().0, buf.len());
        let at = lba.0 as usize * self.block;
        let mut bytes = self.bytes.lock().unwrap();
        match cdb {
            Cdb::Read { .. } => {
                buf.write_at(0, &bytes[at..at + len]);
                Outcome::data(len)
            }
            _ => {
                buf.read_at(0, &mut bytes[at..at + len]);
                Outcome::good()
            }
        }
    }
}

/// What the handlers copy by themselves.
#[derive(Debug)]
struct CopyOf {
    source: Arc<Disk>,
    from: usize,
    to: usize,
    blocks: usize,
}

#[derive(Debug, Clone)]
pub(crate) struct Ram(pub(crate) Arc<Disk>, pub(crate) u8);

/// The NAA designator of disk `number`.
pub(crate) fn naa(number: u8) -> DesignatorKind {
    DesignatorKind::naa_from_serial(&format!("ram{number}"))
}

impl Ram {
    /// A disk of so many blocks, whose bytes tell their place and disk.
    pub(crate) fn new(number: u8, block: usize, blocks: usize) -> Self {
        let byte = |at: usize| (at / 512) as u8 ^ (at as u8).wrapping_mul(31) ^ number;
        Self(
            Arc::new(Disk {
                block,
                // The bytes repeat after 128 KiB.
                bytes: Mutex::new(
                    (0..1 << 17)
                        .map(byte)
                        .collect::<Vec<_>>()
                        .repeat((block * blocks) >> 17),
                ),
                hold: AtomicBool::new(false),
                fail_after: AtomicU32::new(u32::MAX),
                busy: AtomicUsize::new(0),
                reads: AtomicUsize::new(0),
                writes: AtomicUsize::new(0),
                fences: AtomicUsize::new(0),
                ready: AtomicBool::new(true),
                copies: AtomicBool::new(false),
                copied: AtomicUsize::new(0),
                most: AtomicU32::new(0),
                held: Mutex::default(),
                held_copies: Mutex::default(),
            }),
            number,
        )
    }
}

impl DeviceHandler for Ram {
    fn identity(&self) -> Identity {
        let t10 = Designator::t10_vendor_id("LUNFORGE", &format!("ram{}", self.1));
        Identity {
            vendor: "LUNFORGE".into(),
            product: "RAM".into(),
            revision: "1".into(),
            serial: format!("ram{}", self.1),
            designators: vec![Designator::logical_unit(naa(self.1)), t10],
        }
    }

    fn profile(&self) -> DeviceProfile {
        DeviceProfile {
            device_type: 0,
            removable: false,
            version_descriptors: vec![],
        }
    }

    fn supports(&self, command: CommandId) -> bool {
        use CommandId as Id;
        matches!(
            command,
            Id::Read16 | Id::Write16 | Id::CompareAndWrite | Id::ReadCapacity16
        )
    }

    fn vpd_pages(&self) -> Vec<u8> {
        vec![0xB0]
    }

    fn vpd(&self, page: u8) -> Option<Vec<u8>> {
        let mut body = vec![0; 60];
        body[4..8].copy_from_slice(&self.0.most.load(Relaxed).to_be_bytes());
        (page == 0xB0).then_some(body)
    }

    fn ready(&self) -> Result<(), Sense> {
        match self.0.ready.load(Relaxed) {
            true => Ok(()),
            false => Err(Sense::not_ready(Asc::MEDIUM_NOT_PRESENT)),
        }
    }

    fn prepare(&self, cdb: &ParsedCdb) -> Result<Transfer, Sense> {
        let Some((lba, blocks)) = cdb.cdb.extent() else {
            return Ok(Transfer::In(32));
        };
        let capacity = self.0.bytes.lock().unwrap().len() / self.0.block;
        let most = self.0.most.load(Relaxed);
        if most != 0 && blocks.0 > most.into() {
            return Err(Sense::invalid_field_in_cdb(10, None));
        }
        if lba.0 + blocks.0 > capacity as u64 {
            return Err(Sense::lba_out_of_range());
        }
        let len = blocks.0 as usize * self.0.block;
        Ok(match cdb.cdb {
            Cdb::Read { .. } => Transfer::In(len),
            Cdb::CompareAndWrite { .. } => Transfer::OutExactly(2 * len),
            _ => Transfer::Out(len),
        })
    }

    fn execute(&self, command: &mut Execution<'_>) -> Execute {
        let (disk, cdb) = (&self.0, *command.cdb());
        match cdb {
            Cdb::ReadCapacity16 { .. } => {
                let last = (disk.bytes.lock().unwrap().len() / disk.block) as u64 - 1;
                let mut data = last.to_be_bytes().to_vec();
                data.extend_from_slice(&(disk.block as u32).to_be_bytes());
                data.resize(32, 0);
                return Execute::Done(Outcome::data(command.buf().write_at(0, &data)));
            }
            Cdb::CompareAndWrite { lba, .. } => {
                let half = command.buf().len() / 2;
                let data = command.buf().to_vec(0..2 * half);
                let at = lba.0 as usize * disk.block;
                let mut bytes = disk.bytes.lock().unwrap();
                if bytes[at..at + half] != data[..half] {
                    return Execute::Done(Sense::miscompare(0).into());
                }
                bytes[at..at + half].copy_from_slice(&data[half..]);
                return Execute::Done(Outcome::good());
            }
            Cdb::Read { .. } => disk.reads.fetch_add(1, Relaxed),
            _ => disk.writes.fetch_add(1, Relaxed),
        };
        let busy = |n: usize| n.checked_sub(1);
        if disk.busy.fetch_update(Relaxed, Relaxed, busy).is_ok() {
            return Execute::Done(Outcome::status(Status::Busy));
        }
        let left = disk.fail_after.load(Relaxed);
        if left == 0 {
            return Execute::Done(Sense::medium_error(Asc::UNRECOVERED_READ_ERROR, 5).into());
        }
        if left != u32::MAX {
            disk.fail_after.store(left - 1, Relaxed);
        }
        if disk.hold.load(Relaxed) {
            let buf = command.take_buf();
            let token = command.defer();
            disk.held.lock().unwrap().push((token, cdb, buf));
            return Execute::Pending;
        }
        Execute::Done(disk.access(&cdb, command.buf()))
    }

    fn as_any(&self) -> Option<&dyn Any> {
        Some(self)
    }

    fn copies_from(&self, source: &Arc<dyn DeviceHandler>) -> bool {
        let other = source.as_any().and_then(|any| any.downcast_ref::<Ram>());
        self.0.copies.load(Relaxed) && other.is_some()
    }

    fn copy_from(
        &self,
        command: &mut Execution<'_>,
        source: &Arc<dyn DeviceHandler>,
        from: Lba,
        to: Lba,
        blocks: BlockCount,
    ) -> Option<Execute> {
        let source = source.as_any()?.downcast_ref::<Ram>()?;
        let copy = CopyOf {
            source: Arc::clone(&source.0),
            from: from.0 as usize,
            to: to.0 as usize,
            blocks: blocks.0 as usize,
        };
        self.0.copied.fetch_add(1, Relaxed);
        if !self.0.copies.load(Relaxed) {
            return None;
        }
        if self.0.hold.load(Relaxed) {
            self.0
                .held_copies
                .lock()
                .unwrap()
                .push((command.defer(), copy));
            return Some(Execute::Pending);
        }
        Some(Execute::Done(self.0.copy(&copy)))
    }

    fn fence(&self) -> Fence {
        self.0.fences.fetch_add(1, Relaxed);
        Fence::Fenced
    }
}
