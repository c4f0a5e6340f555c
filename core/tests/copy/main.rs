//! Third-party copy through the pipeline: sessions without a wire over disks in memory.
#![cfg(not(loom))]

mod aborts;
mod lists;
mod offload;
mod ram;
mod rights;
mod status;
mod transfers;

use std::sync::Arc;

use lunforge_core::copy::{
    CopyLimits, CopyManager, Cscd, CscdId, ListFormat, ListIdUsage, ParameterList, Segment,
};
use lunforge_core::deadline::Ladder;
use lunforge_core::designator::{Designator, DesignatorKind};
use lunforge_core::testing::{Bed, Reply, Send, Session};
use lunforge_core::{LogicalUnit, Target};
use ram::{Disk, Ram};

const A: &str = "iqn.2026-11.org.example:a";
const B: &str = "iqn.2026-11.org.example:b";
const BLOCKS: usize = 4096;

/// Two disks of 2 MiB at LUN 0 and 1, each with a copy manager, and one of 4 KiB blocks at LUN 2.
struct Setup {
    bed: Bed,
    session: Session,
    disks: [Arc<Disk>; 3],
    units: [Arc<LogicalUnit>; 3],
    managers: [Arc<CopyManager>; 3],
}

fn setup_with(shards: usize, limits: CopyLimits) -> Setup {
    setup_of(shards, limits, Ladder::default())
}

fn setup_of(shards: usize, limits: CopyLimits, ladder: Ladder) -> Setup {
    let rams = [
        Ram::new(0, 512, BLOCKS),
        Ram::new(1, 512, BLOCKS),
        Ram::new(2, 4096, BLOCKS / 8),
    ];
    let managers = [0, 1, 2].map(|_| Arc::new(CopyManager::new(limits)));
    let unit = |n: usize| {
        LogicalUnit::builder(Arc::new(rams[n].clone()))
            .service(Arc::clone(&managers[n]) as _)
            .service(Arc::new(rights::Conflicts))
            .ladder(ladder)
            .unwrap()
            .build()
    };
    let units = [0, 1, 2].map(unit);
    let target = (0..3).fold(
        Target::builder("iqn.2026-11.org.example:copy"),
        |target, n| target.lun(n as u64, Arc::clone(&units[n])),
    );
    let mut bed = Bed::with_target(shards, target.build().unwrap());
    let session = open(&mut bed, 0, A);
    let disks = rams.map(|ram| ram.0);
    Setup {
        bed,
        session,
        disks,
        units,
        managers,
    }
}

/// Small chunks, so that a copy takes many.
fn setup(shards: usize) -> Setup {
    setup_with(
        shards,
        CopyLimits {
            chunk_bytes: 16 * 512,
            ..CopyLimits::default()
        },
    )
}

/// A session that has seen the unit attentions of all units.
fn open(bed: &mut Bed, shard: usize, initiator: &str) -> Session {
    let session = bed.raw_session(shard, initiator);
    for lun in 0..3 {
        bed.command(session, lun, &[0; 6], &[], 0);
    }
    session
}

fn cscd_of(kind: DesignatorKind, block: u32) -> Cscd {
    let mut bytes = Vec::new();
    Designator::logical_unit(kind).emit(&mut bytes);
    let [_, high, middle, low] = block.to_be_bytes();
    Cscd {
        device_type: 0,
        relative_initiator_port: 0,
        code_set: bytes[0] & 0x0F,
        association: 0,
        designator_type: bytes[1] & 0x0F,
        designator: bytes[4..].to_vec(),
        device_specific: [0, high, middle, low],
    }
}

fn cscd(number: u8) -> Cscd {
    cscd_of(ram::naa(number), if number == 2 { 4096 } else { 512 })
}

fn segment(from: (u16, u64), to: (u16, u64), blocks: u16) -> Segment {
    Segment::BlockToBlock {
        destination_count: false,
        cat: false,
        source: CscdId(from.0),
        destination: CscdId(to.0),
        blocks,
        source_lba: from.1,
        destination_lba: to.1,
    }
}

/// A LID1 list over the three disks, by their numbers.
fn list(list_id: u32, segments: &[Segment]) -> ParameterList {
    ParameterList {
        format: ListFormat::Lid1,
        list_id,
        usage: ListIdUsage::Hold,
        sequential_striped: false,
        priority: 0,
        immediate: false,
        cscds: (0..3).map(cscd).collect(),
        segments: segments.to_vec(),
    }
}

fn cdb(opcode: u8, service_action: u8, list_id: u32, len: u32) -> [u8; 16] {
    let mut cdb = [0; 16];
    (cdb[0], cdb[1]) = (opcode, service_action);
    match (opcode, service_action) {
        (0x84, 0 | 1 | 4) => cdb[2] = list_id as u8,
        _ => cdb[2..6].copy_from_slice(&list_id.to_be_bytes()),
    }
    cdb[10..14].copy_from_slice(&len.to_be_bytes());
    cdb
}

impl Setup {
    fn begin(&mut self, list: &ParameterList) -> u64 {
        let session = self.session;
        self.begin_by(session, 0, list)
    }

    fn begin_by(&mut self, session: Session, lun: u16, list: &ParameterList) -> u64 {
        let action = u8::from(list.format == ListFormat::Lid4);
        let data_out = list.emit();
        let send = Send {
            lun,
            cdb: cdb(0x83, action, 0, data_out.len() as u32).to_vec(),
            data_out,
            ..Send::default()
        };
        self.bed.send(session, send)
    }

    fn copy(&mut self, list: &ParameterList) -> Reply {
        let tag = self.begin(list);
        self.bed.wait(self.session, tag)
    }

    fn raw(&mut self, bytes: &[u8]) -> Reply {
        let cdb = cdb(0x83, 0, 0, bytes.len() as u32);
        self.bed.command(self.session, 0, &cdb, bytes, 0)
    }

    fn receive(&mut self, action: u8, list_id: u32) -> Reply {
        let cdb = cdb(0x84, action, list_id, 512);
        self.bed.command(self.session, 0, &cdb, &[], 512)
    }

    /// COPY COMMAND STATUS with HDD, segments, bytes of RECEIVE COPY STATUS(LID1).
    fn status(&mut self, list_id: u32) -> (u8, u16, u32) {
        let data = self.receive(0, list_id).data;
        assert_eq!(data[..4], [0, 0, 0, 8]);
        (
            data[4],
            u16::from_be_bytes([data[5], data[6]]),
            u32::from_be_bytes([data[8], data[9], data[10], data[11]]),
        )
    }

    fn bytes(&self, disk: usize, from: usize, len: usize) -> Vec<u8> {
        self.disks[disk].bytes.lock().unwrap()[from..from + len].to_vec()
    }

    fn snapshot(&self) -> Vec<Vec<u8>> {
        let bytes = |disk: &Arc<Disk>| disk.bytes.lock().unwrap().clone();
        self.disks.iter().map(bytes).collect()
    }
}
