//! EXTENDED COPY parameter lists, as lists and against two disks: what is accepted reads back, what is refused changes
//! nothing, and what is done is what a naive copy does.

use std::sync::Arc;

use lunforge_core::LogicalUnit;
use lunforge_core::copy::{
    CopyLimits, CopyManager, CscdId, ListFormat, ListIdUsage, ParameterList, Segment,
};
use lunforge_core::sense::{Sense, SenseKey, SenseSpecific};
use lunforge_core::status::Status;
use lunforge_core::testing::{Bed, Session};
use lunforge_core::{Target, designator::DesignatorKind};
use lunforge_vdisk::Vdisk;
use lunforge_vdisk::store::RamStore;

/// Bytes of a disk.
const SIZE: usize = 128 << 10;
/// Serial number and block length of the disks at LUN 0 and 1.
const DISKS: [(&str, usize); 2] = [("fuzz-a", 512), ("fuzz-b", 4096)];

/// Bit 0 of the first byte: LID4. The rest is the list.
pub fn extended_copy(bytes: &[u8]) {
    let Some((&kind, list)) = bytes.split_first() else {
        return;
    };
    let format = match kind & 1 {
        0 => ListFormat::Lid1,
        _ => ListFormat::Lid4,
    };
    let limits = CopyLimits::default();
    let parsed = ParameterList::parse(format, list, &limits);
    match &parsed {
        Ok(None) => assert!(list.is_empty()),
        Ok(Some(parsed)) => accepted(parsed, list, &limits),
        Err(sense) => refused(sense, list),
    }
    Rig::new().run(format, list, parsed.ok().flatten());
}

fn accepted(list: &ParameterList, bytes: &[u8], limits: &CopyLimits) {
    assert!(list.cscds.len() <= usize::from(limits.cscd_descriptors));
    assert!(list.segments.len() <= usize::from(limits.segment_descriptors));
    assert!(list.usage != ListIdUsage::None || list.list_id == 0);
    let emitted = list.emit();
    assert!(emitted.len() <= bytes.len());
    let again = ParameterList::parse(list.format, &emitted, limits);
    assert_eq!(again.as_ref(), Ok(&Some(list.clone())));
}

/// A list is only ever refused as ILLEGAL REQUEST, and a field pointer points into it.
fn refused(sense: &Sense, list: &[u8]) {
    assert_eq!(sense.key, SenseKey::IllegalRequest);
    match sense.specific {
        SenseSpecific::None => {}
        SenseSpecific::FieldPointer { in_cdb, byte, .. } => {
            assert!(!in_cdb && usize::from(byte) < list.len());
        }
        other => panic!("{other:?}"),
    }
}

/// Two disks and a session to them.
struct Rig {
    bed: Bed,
    session: Session,
}

impl Rig {
    fn new() -> Self {
        let mut target = Target::builder("iqn.2026-11.org.example:fuzz");
        for (lun, (serial, block)) in DISKS.iter().enumerate() {
            let disk = Vdisk::store(Arc::new(RamStore::new(SIZE as u64)))
                .serial(*serial)
                .block_size(*block as u32)
                .open()
                .expect("a disk in memory");
            let limits = CopyLimits {
                chunk_bytes: 8192,
                ..CopyLimits::default()
            };
            let unit = LogicalUnit::builder(Arc::new(disk))
                .service(Arc::new(CopyManager::new(limits)))
                .build();
            target = target.lun(lun as u64, unit);
        }
        let mut bed = Bed::with_target(1, target.build().expect("a target"));
        let session = bed.raw_session(0, "iqn.2026-11.org.example:fuzz");
        for lun in 0..2 {
            bed.command(session, lun, &[0; 6], &[], 0);
        }
        Self { bed, session }
    }

    fn medium(&mut self, opcode: u8, lun: u16, out: &[u8]) -> Vec<u8> {
        let blocks = (SIZE / DISKS[usize::from(lun)].1) as u32;
        let mut cdb = [0; 16];
        cdb[0] = opcode;
        cdb[10..14].copy_from_slice(&blocks.to_be_bytes());
        let room = if out.is_empty() { SIZE } else { 0 };
        let reply = self.bed.command(self.session, lun, &cdb, out, room);
        assert_eq!(reply.status, Status::Good);
        reply.data
    }

    fn run(&mut self, format: ListFormat, list: &[u8], parsed: Option<ParameterList>) {
        let mut media: Vec<Vec<u8>> = (0..2).map(pattern).collect();
        for (lun, medium) in (0..).zip(&media) {
            self.medium(0x8A, lun, medium);
        }
        let mut cdb = [0x83; 16];
        cdb[1..].fill(0);
        cdb[1] = u8::from(format == ListFormat::Lid4);
        cdb[10..14].copy_from_slice(&(list.len() as u32).to_be_bytes());
        let reply = self.bed.command(self.session, 0, &cdb, list, 0);
        let immediate = parsed.as_ref().is_some_and(|list| list.immediate);
        if immediate {
            // It may fail later; whoever wants to know asks.
            assert_eq!(reply.status, Status::Good);
            self.settle(parsed.as_ref().map_or(0, |list| list.list_id));
        } else if reply.status == Status::Good {
            parsed.iter().for_each(|list| model(list, &mut media));
        } else {
            let key = reply.sense.expect("sense data").key;
            assert!(matches!(
                key,
                SenseKey::IllegalRequest | SenseKey::CopyAborted
            ));
        }
        for (lun, medium) in (0..).zip(&media) {
            let now = self.medium(0x88, lun, &[]);
            assert!(immediate || now == *medium, "LUN {lun}");
        }
    }

    /// Waits for the end of a background copy.
    fn settle(&mut self, list_id: u32) {
        let mut cdb = [0; 16];
        (cdb[0], cdb[1], cdb[13]) = (0x84, 0x05, 64);
        cdb[2..6].copy_from_slice(&list_id.to_be_bytes());
        loop {
            let reply = self.bed.command(self.session, 0, &cdb, &[], 64);
            assert_eq!(reply.status, Status::Good);
            if reply.data[5] != 0x12 {
                return;
            }
        }
    }
}

fn pattern(disk: usize) -> Vec<u8> {
    let byte = |at: usize| (at / 512) as u8 ^ (at as u8).wrapping_mul(7) ^ (disk as u8) << 7;
    (0..SIZE).map(byte).collect()
}

/// Does what the segments of a list that ended with GOOD say.
fn model(list: &ParameterList, media: &mut [Vec<u8>]) {
    let disk = |id: CscdId| match list.cscds.get(usize::from(id.0)) {
        None => 0,
        Some(cscd) => {
            let names = |(serial, _): &(&str, usize)| {
                let DesignatorKind::Naa(naa) = DesignatorKind::naa_from_serial(serial) else {
                    return false;
                };
                cscd.designator == naa.to_be_bytes() || cscd.designator.ends_with(serial.as_bytes())
            };
            DISKS.iter().position(names).expect("a disk that there is")
        }
    };
    for segment in &list.segments {
        let (source, destination, from, to, len) = match *segment {
            Segment::VerifyCscd { .. } => continue,
            Segment::BlockToBlock {
                destination_count,
                source,
                destination,
                blocks,
                source_lba,
                destination_lba,
                ..
            } => {
                let (a, b) = (disk(source), disk(destination));
                let counted = DISKS[if destination_count { b } else { a }].1;
                let from = source_lba as usize * DISKS[a].1;
                let to = destination_lba as usize * DISKS[b].1;
                (a, b, from, to, usize::from(blocks) * counted)
            }
            Segment::BlockOffset {
                source,
                destination,
                bytes,
                source_lba,
                destination_lba,
                source_offset,
                destination_offset,
                ..
            } => {
                let (a, b) = (disk(source), disk(destination));
                let from = source_lba as usize * DISKS[a].1 + usize::from(source_offset);
                let to = destination_lba as usize * DISKS[b].1 + usize::from(destination_offset);
                (a, b, from, to, bytes as usize)
            }
        };
        let data = media[source][from..from + len].to_vec();
        media[destination][to..to + len].copy_from_slice(&data);
    }
}
