//! Repeats one operation of the target a given number of times, for counting instructions.
//!
//! `bench/instructions.sh` runs this under callgrind with two numbers and divides the difference.

use std::hint::black_box;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use lunforge_core::cdb::{Cdb, CommandId, ParsedCdb};
use lunforge_core::handler::{DeviceProfile, Identity};
use lunforge_core::pipeline::{Begun, CommandRequest};
use lunforge_core::sense::Sense;
use lunforge_core::shard::{NexusKey, Readiness};
use lunforge_core::task_set::TaskAttribute;
use lunforge_core::transport_id::TransportId;
use lunforge_core::{
    DeviceHandler, Engine, Event, Execute, Execution, Outcome, ShardCx, Source, Target, Transfer,
};
use lunforge_iscsi::proto::pdu::{DataIn, ScsiCommand, frame};

/// An operation to repeat.
type Case = fn(u64) -> Option<()>;

const CASES: [(&str, &str, Case); 4] = [
    ("cdb-read10", "parse the CDB of READ(10)", cdb_read10),
    ("pdu-parse", "frame and parse a SCSI Command PDU", pdu_parse),
    (
        "pdu-emit",
        "emit the header of a Data-In with status",
        pdu_emit,
    ),
    (
        "pipeline-read4k",
        "READ(10) of 4 KiB through a shard, null unit, no transport",
        pipeline,
    ),
];

const READ_4K: [u8; 16] = [0x28, 0, 0, 0, 1, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0];

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let (name, times) = (args.next(), args.next().and_then(|n| n.parse().ok()));
    let case = CASES.iter().find(|(n, ..)| name.as_deref() == Some(n));
    match (case, times) {
        (Some((name, _, run)), Some(times)) => match run(times) {
            Some(()) => ExitCode::SUCCESS,
            None => {
                eprintln!("count: {name} did not do what it measures");
                ExitCode::FAILURE
            }
        },
        _ => {
            eprintln!("usage: count CASE TIMES");
            for (name, what, _) in CASES {
                println!("{name}\t{what}");
            }
            ExitCode::from(2)
        }
    }
}

fn cdb_read10(times: u64) -> Option<()> {
    for _ in 0..times {
        black_box(Cdb::parse(black_box(&READ_4K[..10])).ok()?);
    }
    Some(())
}

fn pdu_parse(times: u64) -> Option<()> {
    let mut wire = [0u8; 48];
    (wire[0], wire[1], wire[19], wire[22], wire[27]) = (0x01, 0xc1, 7, 0x10, 9);
    wire[32..].copy_from_slice(&READ_4K);
    for _ in 0..times {
        let pdu = frame(black_box(&wire), 8192).ok()??;
        black_box(ScsiCommand::parse(pdu.bhs).ok()?);
    }
    Some(())
}

fn pdu_emit(times: u64) -> Option<()> {
    let mut bhs = [0u8; 48];
    (bhs[0], bhs[1], bhs[6], bhs[19]) = (0x25, 0x81, 0x10, 7);
    let data_in = DataIn::parse(&bhs).ok()?;
    for _ in 0..times {
        black_box(black_box(&data_in).emit());
    }
    Some(())
}

/// A unit of which only READ matters, and that leaves the buffer as it is.
struct Null;

impl DeviceHandler for Null {
    fn identity(&self) -> Identity {
        Identity {
            vendor: "LUNFORGE".into(),
            product: "COUNT".into(),
            revision: "1".into(),
            serial: "count".into(),
            designators: Vec::new(),
        }
    }
    fn profile(&self) -> DeviceProfile {
        DeviceProfile {
            device_type: 0,
            removable: false,
            version_descriptors: Vec::new(),
        }
    }
    fn supports(&self, command: CommandId) -> bool {
        command == CommandId::Read10
    }
    fn vpd_pages(&self) -> Vec<u8> {
        Vec::new()
    }
    fn vpd(&self, _: u8) -> Option<Vec<u8>> {
        None
    }
    fn ready(&self) -> Result<(), Sense> {
        Ok(())
    }
    fn prepare(&self, cdb: &ParsedCdb) -> Result<Transfer, Sense> {
        Ok(match cdb.cdb {
            Cdb::Read { .. } => Transfer::In(4096),
            _ => Transfer::None,
        })
    }
    fn execute(&self, command: &mut Execution<'_>) -> Execute {
        Execute::Done(Outcome::data(command.buf().len()))
    }
}

/// A transport without a wire: as soon as a command ends the next one begins.
struct Driver {
    nexus: NexusKey,
    left: u64,
    outstanding: u64,
    good: Arc<AtomicBool>,
    done: Arc<AtomicBool>,
}

impl Driver {
    fn begin(&mut self, cx: &mut ShardCx<'_>) {
        let request = CommandRequest {
            nexus: self.nexus,
            lun: [0; 8],
            cdb: &READ_4K,
            attribute: TaskAttribute::Simple,
            tag: self.left,
            expected_in: 4096,
            expected_out: 0,
        };
        self.left -= 1;
        self.outstanding += 1;
        let begun = cx.begin(&request);
        debug_assert!(matches!(begun, Begun::Running));
    }
}

impl Source for Driver {
    fn ready(&mut self, _: &mut ShardCx<'_>, _: Readiness) {}

    fn event(&mut self, cx: &mut ShardCx<'_>, event: Event) {
        match event {
            Event::Message(_) => self.begin(cx),
            Event::Finished(finished) => {
                self.outstanding -= 1;
                self.good.store(finished.data_in == 4096, Ordering::Relaxed);
                cx.pool().recycle(finished.buf);
                if self.left > 0 {
                    self.begin(cx);
                } else if self.outstanding == 0 {
                    self.done.store(true, Ordering::Relaxed);
                }
            }
            Event::Stop => cx.remove_source(),
            Event::TaskManagement { .. } | Event::NexusClosed(_) => {}
        }
    }

    fn timeout(&mut self, _: &mut ShardCx<'_>) {}

    fn flush(&mut self, _: &mut ShardCx<'_>) {}
}

fn pipeline(times: u64) -> Option<()> {
    let target = Target::builder("iqn.2026-11.org.lunforge:count")
        .lun(0, Null)
        .build()
        .ok()?;
    let (engine, mut shards) = Engine::builder().shards(1).parts().ok()?;
    let (good, done) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicBool::new(false)),
    );
    let initiator = TransportId::iscsi("iqn.2026-11.org.lunforge:bench", [0; 6]).ok()?;
    let (tell, told) = std::sync::mpsc::channel();
    let (good_there, done_there) = (Arc::clone(&good), Arc::clone(&done));
    engine.shards().first()?.run(move |cx| {
        let source = cx.add_source_with(|cx| {
            let nexus = cx.open_nexus(&target, initiator);
            let (good, done) = (good_there, done_there);
            // One more: the first command takes the power on unit attention.
            Some(Box::new(Driver {
                nexus,
                left: times + 1,
                outstanding: 0,
                good,
                done,
            }))
        });
        // The receiver lives until the source has come.
        let _ = tell.send(source);
    });
    let shard = shards.first_mut()?;
    let now = Instant::now();
    shard.poll(now);
    let source = told.try_recv().ok()??;
    engine.shards().first()?.send(source, Box::new(()));
    while !done.load(Ordering::Relaxed) {
        shard.poll(now);
    }
    good.load(Ordering::Relaxed).then_some(())
}
