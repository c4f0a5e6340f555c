//! A connection: what its channel asks of it, done by a queue pair.

use std::collections::VecDeque;
use std::io;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lunforge_core::buffer::IoBuf;

use super::cm::Id;
use super::device::Device;
use super::events::Watch;
use super::ffi::{ConnParam, WC_SUCCESS, WC_WR_FLUSH_ERR, Wc, cm};
use super::memory::{self, Local, Use};
use super::places::Places;
use super::queues::{BATCH, Depths, From, Queues};
use super::receives::Receives;
use super::shared::SharedQueue;
use super::work::{Request, Work};
use crate::fabric::{Completion, Endpoint, Setup, Waker, WorkError};
use crate::proto::data::Remote;

/// Marks the completion of a receive, in its id.
const RECEIVE: u64 = 1 << 63;

/// Where receives are.
enum Incoming {
    Own(Receives),
    Shared(Arc<SharedQueue>),
}

impl Incoming {
    fn new(device: &Arc<Device>, setup: &Setup) -> io::Result<Self> {
        let shared = setup.shared.as_deref();
        let shared = shared.map(|shared| SharedQueue::of(device, shared));
        Ok(match shared.transpose()?.flatten() {
            Some(queue) => Self::Shared(queue),
            None => Self::Own(Receives::new(setup.receives.len())),
        })
    }

    /// How many may come at a time: a peer that sends more than it may has the shared ones, too.
    fn size(&self) -> usize {
        match self {
            Self::Own(receives) => receives.size(),
            Self::Shared(queue) => queue.size(),
        }
    }

    /// The address of the queue that is shared.
    fn address(&self) -> usize {
        match self {
            Self::Own(_) => 0,
            Self::Shared(queue) => queue.raw().addr(),
        }
    }

    fn from(&self) -> From {
        match self {
            Self::Own(_) => From::Own,
            Self::Shared(queue) => From::Shared(queue.raw()),
        }
    }
}

/// See the module's head. The fields are dropped in their order: the queue pair before the memory that it can reach.
pub(super) struct VerbsEndpoint {
    queues: Queues,
    incoming: Incoming,
    places: Places,
    work: Work,
    done: VecDeque<Completion>,
    /// Memory of what is being given, empty in between.
    locals: VecDeque<Local>,
    dead: bool,
    told: bool,
    watch: Arc<Watch>,
    /// How long it is polled for more before it waits to be woken.
    spin: Duration,
    device: Arc<Device>,
}

impl VerbsEndpoint {
    /// Sets up a queue pair for a connection request, and gives it the receives.
    pub(super) fn new(device: Arc<Device>, id: Id, setup: Setup) -> io::Result<Self> {
        let incoming = Incoming::new(&device, &setup)?;
        let places = Places::registered(&device, setup.sends, setup.send_len as usize)?;
        let receives = incoming.size();
        let limits = device.limits;
        let depths = Depths {
            sends: (2 * (setup.depth as usize + 4))
                .min(limits.work)
                .min(limits.completions.saturating_sub(receives + 1))
                .max(1),
            receives,
        };
        let queues = Queues::new(&device, id, depths, incoming.from())?;
        let [qp, cq] = queues.addresses();
        let mut this = Self {
            watch: device.watch.watch([qp, cq, incoming.address()]),
            queues,
            incoming,
            spin: setup.spin,
            places,
            work: Work::new(depths.sends),
            done: VecDeque::new(),
            locals: VecDeque::new(),
            dead: false,
            told: false,
            device,
        };
        setup.receives.into_iter().for_each(|buf| this.receive(buf));
        Ok(this)
    }

    /// Accepts the connection.
    pub(super) fn accept(&self, param: &mut ConnParam) -> io::Result<()> {
        self.queues.accept(param)
    }

    /// The connection is lost, or to be ended: what has not been posted comes back.
    fn die(&mut self) {
        if std::mem::replace(&mut self.dead, true) {
            return;
        }
        self.queues.disconnect();
        self.work.give_up(&mut self.places, &mut self.done);
    }

    fn lose(&mut self) {
        self.die();
        if !std::mem::replace(&mut self.told, true) {
            self.done.push_back(Completion::Disconnected);
        }
    }

    /// Posts what there is room for, together.
    fn pump(&mut self) {
        while !self.dead {
            let mut any = false;
            while self.queues.room() > 0
                && let Some((id, request, signalled)) =
                    self.work.next(self.queues.room(), &mut self.places)
            {
                let local = match request {
                    Request::Send { place, len, .. } => self.places.local(place, len),
                    Request::Piece(piece) => piece.local,
                };
                self.queues.take(id, request, local, signalled);
                any = true;
            }
            if !any {
                return;
            }
            let refused = self.queues.post();
            if refused > 0 {
                let (places, done) = (&mut self.places, &mut self.done);
                self.work.refused(refused, places, done);
                self.lose();
            }
        }
        self.mark();
    }

    /// Of a dead connection whatever is posted completes; what was done before it died and asked for no completion is told of
    /// by a marker behind it.
    fn mark(&mut self) {
        if let Some(id) = self.work.marker()
            && !self.queues.post_marker(id)
        {
            self.work.no_marker();
        }
    }

    fn completed(&mut self, wc: &Wc) {
        let result = match wc.status {
            WC_SUCCESS => Ok(()),
            WC_WR_FLUSH_ERR => Err(WorkError::Flushed),
            _ => Err(WorkError::Remote),
        };
        if wc.wr_id & RECEIVE != 0 {
            self.received(wc.wr_id & !RECEIVE, result.is_ok().then_some(wc.byte_len));
        } else {
            let (places, done) = (&mut self.places, &mut self.done);
            self.work.completed(wc.wr_id, result, places, done);
        }
        if result.is_err() {
            self.lose();
        }
    }

    fn received(&mut self, id: u64, len: Option<u32>) {
        let buf = match &mut self.incoming {
            Incoming::Own(receives) => receives.take(id),
            Incoming::Shared(queue) => queue.take(id),
        };
        if let Some(buf) = buf {
            self.done.push_back(match len {
                Some(len) => {
                    let len = buf.len().min(len as usize);
                    Completion::Received(buf, len)
                }
                None => Completion::Unused(buf),
            });
        }
    }

    /// Takes a batch of completions; how many they were.
    fn take(&mut self) -> usize {
        let mut batch = [Wc::default(); BATCH];
        let n = self.queues.poll(&mut batch);
        batch.iter().take(n).for_each(|wc| self.completed(wc));
        n
    }

    fn connection_events(&mut self) {
        while let Some(event) = self.queues.event() {
            match event {
                cm::ESTABLISHED => self.done.push_back(Completion::Established),
                cm::DISCONNECTED | cm::CONNECT_ERROR | cm::UNREACHABLE | cm::REJECTED => {
                    self.lose();
                }
                cm::DEVICE_REMOVAL => {
                    self.device.removed();
                    self.lose();
                }
                _ => {}
            }
        }
    }

    /// Whether the queue pair may still have buffers of those that are shared.
    fn holds_shared(&self) -> bool {
        let shared = matches!(self.incoming, Incoming::Shared(_));
        shared && self.dead && !self.watch.last_is_taken() && self.device.tells_last()
    }

    /// What the queue pair has taken from the shared queue goes back there: completions that nobody sees any more would
    /// leave the others with so many buffers less, for good.
    fn give_shared_back(&mut self) {
        let Incoming::Shared(queue) = &self.incoming else {
            return;
        };
        let queue = Arc::clone(queue);
        self.die();
        while self.take() > 0 {}
        for completion in self.done.drain(..) {
            if let Completion::Received(buf, _) | Completion::Unused(buf) = completion {
                // Refused, it is freed.
                let _ = queue.give(buf, RECEIVE);
            }
        }
    }

    /// Polls for a while, since more may come soon; whether something came.
    fn spin(&mut self) -> bool {
        if self.spin.is_zero() || self.dead {
            return false;
        }
        // What is to be answered first is on its way meanwhile.
        self.pump();
        let until = Instant::now() + self.spin;
        while self.take() == 0 {
            if Instant::now() >= until {
                return false;
            }
            std::hint::spin_loop();
        }
        true
    }

    fn op(&mut self, writes: bool, id: u64, mut buf: IoBuf, parts: &[Remote]) {
        let total: usize = parts.iter().map(|part| part.len as usize).sum();
        let (device, locals) = (&self.device, &mut self.locals);
        let mut own = Vec::new();
        let for_use = if writes { Use::Local } else { Use::ReadSink };
        let ready = !self.dead
            && total <= buf.len()
            && memory::register(device, &mut buf, total, for_use, locals, &mut own).is_ok();
        if ready {
            let op = (id, writes, buf);
            self.work.op(op, own, locals, parts, &mut self.done);
            return;
        }
        locals.clear();
        drop(own);
        let result = Err(WorkError::Flushed);
        self.done.push_back(match writes {
            true => Completion::Wrote { id, buf, result },
            false => Completion::Read { id, buf, result },
        });
        self.lose();
    }
}

impl Endpoint for VerbsEndpoint {
    fn wait_fd(&self) -> Option<BorrowedFd<'_>> {
        Some(self.queues.fd())
    }

    fn wake_by(&mut self, waker: Waker) {
        self.watch.wake_by(waker);
    }

    fn receive(&mut self, buf: IoBuf) {
        let given = match &mut self.incoming {
            Incoming::Own(_) if self.dead => Err((buf, false)),
            Incoming::Own(receives) => {
                let queues = &self.queues;
                let post = |id, local| queues.post_receive(RECEIVE | id, local);
                receives.give(&self.device, buf, post)
            }
            // For the others, too, so also when this one is dead.
            Incoming::Shared(queue) => queue.give(buf, RECEIVE),
        };
        if let Err((buf, refused)) = given {
            self.done.push_back(Completion::Unused(buf));
            if refused {
                self.lose();
            }
        }
    }

    fn send(&mut self, iu: &[u8]) {
        if !self.dead {
            self.work.send(iu, &mut self.places);
        }
    }

    fn read(&mut self, id: u64, buf: IoBuf, from: &[Remote]) {
        self.op(false, id, buf, from);
    }

    fn write(&mut self, id: u64, buf: IoBuf, to: &[Remote]) {
        self.op(true, id, buf, to);
    }

    fn flush(&mut self) {
        self.pump();
    }

    fn poll(&mut self, into: &mut Vec<Completion>) -> bool {
        if self.watch.is_lost() {
            self.lose();
        }
        self.watch
            .notices()
            .for_each(|event| self.queues.notify(event));
        if self.take() == 0 && self.done.is_empty() && !self.spin() {
            // Only when nothing else is to do: a connection that works is not lost. Nor when the completion queue has woken it,
            // which saves a call to the system each time: what the connection has to say wakes it again.
            if !self.queues.rearm() {
                self.connection_events();
            }
            if self.holds_shared() {
                self.device.take_events();
            }
            // What came in between wakes nobody.
            self.take();
        }
        self.pump();
        let some = !self.done.is_empty();
        let device = &self.device;
        into.extend(self.done.drain(..).map(|mut completion| {
            if let Some(buf) = completion.buf_mut() {
                memory::relieve(device, buf);
            }
            completion
        }));
        some
    }

    fn disconnect(&mut self) {
        self.die();
    }

    fn in_flight(&self) -> usize {
        let done = self.done.iter().filter(|done| done.buf().is_some());
        let own = match &self.incoming {
            Incoming::Own(receives) => receives.len(),
            Incoming::Shared(_) => usize::from(self.holds_shared()),
        };
        own + self.work.ops() + done.count()
    }
}

impl Drop for VerbsEndpoint {
    fn drop(&mut self) {
        if self.holds_shared() {
            self.device.tells_no_last();
        }
        self.give_shared_back();
    }
}
