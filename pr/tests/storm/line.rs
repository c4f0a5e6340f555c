//! A session without a wire on a shard that runs by itself.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use lunforge_core::Target;
use lunforge_core::pipeline::{Begun, CommandRequest};
use lunforge_core::shard::{Event, NexusKey, Readiness, ShardCx, ShardHandle, Source, SourceId};
use lunforge_core::status::Status;
use lunforge_core::task_set::TaskAttribute;
use lunforge_core::tmf::Function;
use lunforge_core::transport_id::TransportId;

/// How long an end may take before the test fails: more than every bound of the core together.
const PATIENCE: Duration = Duration::from_secs(60);

/// What an initiator sends.
pub(crate) enum Order {
    Command {
        cdb: Vec<u8>,
        data_out: Vec<u8>,
        expected_in: usize,
    },
    Function(Function),
    /// The session ends; what was sent before ends first, but functions may end later.
    Close,
    /// Nothing more is expected of the session.
    Leave,
}

impl Order {
    pub(crate) fn command(cdb: &[u8], data_out: Vec<u8>, expected_in: usize) -> Self {
        let cdb = cdb.to_vec();
        Self::Command {
            cdb,
            data_out,
            expected_in,
        }
    }
}

enum Report {
    Ended(u64, Option<Status>),
    Closed,
}

struct Port {
    nexus: NexusKey,
    reports: Sender<Report>,
}

impl Port {
    fn order(&mut self, cx: &mut ShardCx<'_>, tag: u64, order: Order) {
        let lun = [0; 8];
        match order {
            Order::Command {
                cdb,
                data_out,
                expected_in,
            } => {
                let request = CommandRequest {
                    nexus: self.nexus,
                    lun,
                    cdb: &cdb,
                    attribute: TaskAttribute::Simple,
                    tag,
                    expected_in,
                    expected_out: data_out.len(),
                };
                if let Begun::DataOut { command, mut buf } = cx.begin(&request) {
                    buf.write_at(0, &data_out);
                    cx.data_out(command, buf);
                }
            }
            Order::Function(function) => cx.task_management(self.nexus, lun, function, tag),
            Order::Close => cx.close_nexus(self.nexus),
            Order::Leave => cx.remove_source(),
        }
    }
}

impl Source for Port {
    fn ready(&mut self, _: &mut ShardCx<'_>, _: Readiness) {}

    fn event(&mut self, cx: &mut ShardCx<'_>, event: Event) {
        let report = match event {
            Event::Message(body) => {
                if let Ok(sent) = body.downcast::<(u64, Order)>() {
                    self.order(cx, sent.0, sent.1);
                }
                return;
            }
            Event::Finished(finished) => {
                let status = finished.respond.then_some(finished.status);
                cx.pool().recycle(finished.buf);
                Report::Ended(finished.tag, status)
            }
            Event::TaskManagement { tag, .. } => Report::Ended(tag, None),
            Event::NexusClosed(_) => Report::Closed,
            Event::Stop => return cx.remove_source(),
        };
        // The test may have failed already.
        let _ = self.reports.send(report);
    }

    fn timeout(&mut self, _: &mut ShardCx<'_>) {}

    fn flush(&mut self, _: &mut ShardCx<'_>) {}
}

/// The initiator's end.
pub(crate) struct Line {
    shard: ShardHandle,
    source: SourceId,
    reports: Receiver<Report>,
    sent: BTreeSet<u64>,
    statuses: BTreeMap<u64, Status>,
    last: u64,
    closing: bool,
    closed: bool,
}

impl Line {
    pub(crate) fn open(shard: ShardHandle, target: &Arc<Target>, key: u8) -> Self {
        let (reports, received) = channel();
        let (tell, told) = channel();
        let target = Arc::clone(target);
        shard.run(move |cx| {
            let source = cx.add_source_with(|cx| {
                let name = TransportId::iscsi("iqn.2026-11.org.example:i", [0, 0, 0, 0, 0, key]);
                let nexus = cx.open_nexus(&target, name.ok()?);
                Some(Box::new(Port { nexus, reports }))
            });
            let _ = tell.send(source);
        });
        let source = told.recv_timeout(PATIENCE).ok().flatten();
        Self {
            shard,
            source: source.expect("the source was added"),
            reports: received,
            sent: BTreeSet::new(),
            statuses: BTreeMap::new(),
            last: 0,
            closing: false,
            closed: false,
        }
    }

    /// Sends an order; its tag.
    pub(crate) fn send(&mut self, order: Order) -> u64 {
        self.last += 1;
        if matches!(order, Order::Close) {
            self.closing = true;
        } else {
            self.sent.insert(self.last);
        }
        self.shard.send(self.source, Box::new((self.last, order)));
        self.last
    }

    /// Waits until all that was sent has ended.
    pub(crate) fn settle(&mut self) {
        while !self.sent.is_empty() || self.closing && !self.closed {
            let report = self.reports.recv_timeout(PATIENCE);
            match report.unwrap_or_else(|_| panic!("{:?} do not end", self.sent)) {
                Report::Ended(tag, status) => {
                    assert!(self.sent.remove(&tag), "{tag} ended twice");
                    self.statuses.extend(status.map(|status| (tag, status)));
                }
                Report::Closed => self.closed = true,
            }
        }
        if self.closed {
            let leave = (self.last, Order::Leave);
            self.shard.send(self.source, Box::new(leave));
        }
    }

    /// The status of a command that was answered with one.
    pub(crate) fn status(&self, tag: u64) -> Option<Status> {
        self.statuses.get(&tag).copied()
    }

    /// The tag sent last.
    pub(crate) fn last(&self) -> u64 {
        self.last
    }

    pub(crate) fn closed(&self) -> bool {
        self.closed
    }
}
