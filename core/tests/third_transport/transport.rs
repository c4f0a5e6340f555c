//! A transport over a stream socket: what a third one has to write, and nothing else.
//!
//! A session begins with a name of eight bytes. A request is a kind (0 command, 1 ABORT TASK, 2 LOGICAL UNIT RESET), a tag, a
//! LUN and the length of a CDB, a byte each, the lengths of Data-In and Data-Out in two, then the CDB and Data-Out. An answer
//! is a tag and a status, a byte each, the lengths of sense data and Data-In in two, then both.

use std::io::{ErrorKind, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use lunforge_core::Target;
use lunforge_core::engine::Transport;
use lunforge_core::pipeline::{Begun, CommandRequest, Finished};
use lunforge_core::shard::{Event, NexusKey, Readiness, ShardCx, ShardHandle, Source};
use lunforge_core::task_set::TaskAttribute;
use lunforge_core::tmf::{Function, Response};
use lunforge_core::transport_id::TransportId;

/// Longest CDB and Data-Out together: what a request may bring.
const MOST: usize = 64 << 10;
const HEADER: usize = 8;

/// Takes the target; sessions come by [`Tiny::serve`].
pub(crate) struct TinyTransport;

/// A running transport.
pub(crate) struct Tiny {
    target: Arc<Target>,
    shards: Arc<[ShardHandle]>,
}

impl Transport for TinyTransport {
    type Attachment = Tiny;
    type Error = std::convert::Infallible;

    fn attach(
        self,
        shards: &Arc<[ShardHandle]>,
        mut targets: Vec<Arc<Target>>,
    ) -> Result<Tiny, Self::Error> {
        Ok(Tiny {
            target: targets.pop().expect("a target"),
            shards: Arc::clone(shards),
        })
    }
}

impl Tiny {
    /// Serves a connection, on the shard with the fewest sessions.
    pub(crate) fn serve(&self, stream: UnixStream) -> std::io::Result<()> {
        stream.set_nonblocking(true)?;
        let target = Arc::clone(&self.target);
        let shard = self.shards.iter().min_by_key(|shard| shard.load());
        shard.expect("a shard").run(move |cx| {
            cx.add_source_with(|cx| {
                cx.watch(stream.as_fd(), true, false).ok()?;
                Some(Box::new(Connection {
                    stream,
                    target,
                    nexus: None,
                    received: Vec::new(),
                    out: Vec::new(),
                    in_core: 0,
                    closing: false,
                }))
            });
        });
        Ok(())
    }
}

/// A connection: an event source of its shard.
struct Connection {
    stream: UnixStream,
    target: Arc<Target>,
    nexus: Option<NexusKey>,
    received: Vec<u8>,
    out: Vec<u8>,
    /// Commands and functions that the core has.
    in_core: usize,
    closing: bool,
}

impl Connection {
    /// Takes the requests that are whole.
    fn work(&mut self, cx: &mut ShardCx<'_>) {
        let received = std::mem::take(&mut self.received);
        let mut rest = received.as_slice();
        while !self.closing {
            let Some(nexus) = self.nexus else {
                let Some((name, after)) = rest.split_first_chunk::<8>() else {
                    break;
                };
                rest = after;
                self.log_in(cx, name);
                continue;
            };
            let Some((header, after)) = rest.split_first_chunk::<HEADER>() else {
                break;
            };
            let [kind, tag, lun, cdb, in_high, in_low, out_high, out_low] = *header;
            let data_in = usize::from(u16::from_be_bytes([in_high, in_low]));
            let data_out = usize::from(u16::from_be_bytes([out_high, out_low]));
            let cdb = usize::from(cdb);
            if cdb + data_out > MOST || kind > 2 {
                return self.close(cx);
            }
            let Some((body, after)) = after.split_at_checked(cdb + data_out) else {
                break;
            };
            rest = after;
            let lun = [0, lun, 0, 0, 0, 0, 0, 0];
            self.in_core += 1;
            let function = match kind {
                1 => Function::AbortTask(body.first().copied().unwrap_or_default().into()),
                2 => Function::LogicalUnitReset,
                _ => {
                    let (cdb, data) = body.split_at(cdb);
                    command(cx, nexus, lun, tag, cdb, data_in, data);
                    continue;
                }
            };
            cx.task_management(nexus, lun, function, tag.into());
        }
        self.received = rest.to_vec();
    }

    fn log_in(&mut self, cx: &mut ShardCx<'_>, name: &[u8; 8]) {
        let mut id = [0; 24];
        // No specific protocol.
        id[0] = 0x0F;
        id[16..].copy_from_slice(name);
        self.nexus = Some(cx.open_nexus(&self.target, TransportId::Other(id)));
    }

    fn answer(&mut self, tag: u64, status: u8, sense: &[u8], data: &[u8]) {
        let len = |bytes: &[u8]| u16::try_from(bytes.len()).unwrap_or(u16::MAX).to_be_bytes();
        self.out.extend([tag as u8, status]);
        self.out.extend(len(sense));
        self.out.extend(len(data));
        self.out.extend_from_slice(sense);
        self.out.extend_from_slice(data);
    }

    fn finished(&mut self, cx: &mut ShardCx<'_>, finished: Finished) {
        self.in_core -= 1;
        if finished.respond && !self.closing {
            let sense = finished.sense.as_ref();
            let sense = sense.map_or(&[][..], |sense| sense.as_slice());
            let data = finished.buf.to_vec(0..finished.data_in);
            self.answer(finished.tag, finished.status.code(), sense, &data);
        }
        cx.pool().recycle(finished.buf);
    }

    /// The peer is gone, or has to go.
    fn close(&mut self, cx: &mut ShardCx<'_>) {
        if std::mem::replace(&mut self.closing, true) {
            return;
        }
        let _ = cx.unwatch(self.stream.as_fd());
        let _ = self.stream.shutdown(std::net::Shutdown::Both);
        match self.nexus {
            Some(nexus) => cx.close_nexus(nexus),
            None => cx.remove_source(),
        }
    }
}

fn command(
    cx: &mut ShardCx<'_>,
    nexus: NexusKey,
    lun: [u8; 8],
    tag: u8,
    cdb: &[u8],
    expected_in: usize,
    data: &[u8],
) {
    let begun = cx.begin(&CommandRequest {
        nexus,
        lun,
        cdb,
        attribute: TaskAttribute::Simple,
        tag: tag.into(),
        expected_in,
        expected_out: data.len(),
    });
    // Data-Out is here already: whoever has to fetch it fills the buffer later.
    if let Begun::DataOut { command, mut buf } = begun {
        buf.write_at(0, data);
        cx.data_out(command, buf);
    }
}

impl Source for Connection {
    fn ready(&mut self, cx: &mut ShardCx<'_>, readiness: Readiness) {
        if !readiness.readable {
            return;
        }
        let mut part = [0; 4096];
        match self.stream.read(&mut part) {
            Ok(0) => self.close(cx),
            Ok(n) => {
                self.received.extend_from_slice(&part[..n]);
                self.work(cx);
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(_) => self.close(cx),
        }
    }

    fn event(&mut self, cx: &mut ShardCx<'_>, event: Event) {
        match event {
            Event::Finished(finished) => self.finished(cx, finished),
            Event::TaskManagement { tag, response } => {
                self.in_core -= 1;
                let done = matches!(response, Response::Complete | Response::NoSuchTask);
                self.answer(tag, u8::from(!done), &[], &[]);
            }
            Event::NexusClosed(_) => cx.remove_source(),
            Event::Message(_) => {}
            // What runs gets a moment.
            Event::Stop => {
                let at = cx.now() + Duration::from_millis(100);
                cx.set_timer(Some(at));
            }
        }
    }

    fn timeout(&mut self, cx: &mut ShardCx<'_>) {
        self.close(cx);
    }

    fn flush(&mut self, cx: &mut ShardCx<'_>) {
        while !self.out.is_empty() && !self.closing {
            match self.stream.write(&self.out) {
                Ok(n) => drop(self.out.drain(..n)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(_) => return self.close(cx),
            }
        }
        // A peer that does not read is not heard, either, until it does.
        let waits = !self.out.is_empty();
        if !self.closing {
            let _ = cx.rewatch(self.stream.as_fd(), !waits, waits);
        }
    }
}
