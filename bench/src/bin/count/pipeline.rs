//! READ(10) through a shard, without a transport and without a medium.

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
    DeviceHandler, Engine, Event, Execute, Execution, LogicalUnit, Outcome, ShardCx, Source,
    Target, Transfer,
};
use lunforge_pr::{ItNexus, Reservation, ReservationKey, ReservationType, Reservations, State};

use crate::READ_4K;

const READER: &str = "iqn.2026-11.org.lunforge:bench";

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

/// A unit without services.
pub(super) fn plain(times: u64) -> Option<()> {
    run(LogicalUnit::new(Null), times)
}

/// A unit that somebody else has reserved for its registrants, of whom the reader is one.
pub(super) fn reserved(times: u64) -> Option<()> {
    let nexus = |name: String| Some(ItNexus::new(TransportId::iscsi(&name, [0; 6]).ok()?, 1));
    let holder = nexus("iqn.2026-11.org.lunforge:holder".into())?;
    let others = (0..998).map(|n| nexus(format!("iqn.2026-11.org.lunforge:{n}")));
    let registrants = [Some(holder.clone()), nexus(READER.into())]
        .into_iter()
        .chain(others)
        .enumerate()
        .map(|(n, nexus)| Some((nexus?, ReservationKey(n as u64 + 1))))
        .collect::<Option<_>>()?;
    let kind = ReservationType::ExclusiveAccessRegistrantsOnly;
    let reservation = Reservation::new(kind, holder);
    let state = State::from_parts(1000, registrants, Some(reservation), false).ok()?;
    let reservations = Reservations::volatile();
    reservations.restore(state, |_| ());
    let unit = LogicalUnit::builder(Arc::new(Null)).service(Arc::new(reservations));
    run(unit.build(), times)
}

fn run(unit: Arc<LogicalUnit>, times: u64) -> Option<()> {
    let target = Target::builder("iqn.2026-11.org.lunforge:count")
        .lun(0, unit)
        .build()
        .ok()?;
    let (engine, mut shards) = Engine::builder().shards(1).parts().ok()?;
    let (good, done) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicBool::new(false)),
    );
    let initiator = TransportId::iscsi(READER, [0; 6]).ok()?;
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
