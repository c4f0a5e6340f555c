//! A queue pair with its completion queue.

#![allow(unsafe_code, reason = "calls libibverbs and librdmacm")]

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::ptr;
use std::sync::Arc;

use lunforge_core::buffer::IoBuf;

use super::ffi::{
    self, CompChannel, ConnParam, Cq, QPT_RC, QpInitAttr, RecvWr, SendWr, Sge, Verbs, WC_SUCCESS,
    Wc, cm, send_flag, wr,
};
use super::listener::{Events, Id, join, never_block};
use super::memory::{Pd, Places, Registered};
use crate::fabric::{Completion, Endpoint, Setup, Waker, WorkError};
use crate::proto::data::Remote;

/// Completions taken at a time, and work requests posted.
const BATCH: usize = 32;
/// Marks the completion of a receive, in its id.
const RECEIVE: u64 = 1 << 63;

/// A piece of work: one work request.
struct Piece {
    local: u64,
    lkey: u32,
    len: u32,
    remote: u64,
    rkey: u32,
}

/// A read or a write.
struct Op {
    id: u64,
    writes: bool,
    /// Before the buffer, so that they are dropped before it.
    _registered: Vec<Registered>,
    buf: IoBuf,
    pieces: VecDeque<Piece>,
    posted: usize,
    failed: Option<WorkError>,
}

impl Op {
    fn end(self) -> Completion {
        let Self {
            id,
            writes,
            _registered: registered,
            buf,
            failed,
            ..
        } = self;
        drop(registered);
        let result = failed.map_or(Ok(()), Err);
        if writes {
            Completion::Wrote { id, buf, result }
        } else {
            Completion::Read { id, buf, result }
        }
    }
}

enum Job {
    Send(Vec<u8>),
    Op(Op),
}

/// A work request that the queue pair has.
enum Posted {
    /// An information unit, at this place.
    Send(usize),
    Piece,
}

/// What the hardware has, in the order in which it has to go.
struct Queues {
    verbs: Arc<Verbs>,
    id: Id,
    cq: *mut Cq,
    channel: *mut CompChannel,
}

impl Drop for Queues {
    fn drop(&mut self) {
        // SAFETY: each exists, all events are acknowledged, and this is the order that libibverbs asks for.
        unsafe {
            if !(*self.id.raw).qp.is_null() {
                (self.verbs.rdma_destroy_qp)(self.id.raw);
            }
            if !self.cq.is_null() {
                (self.verbs.ibv_destroy_cq)(self.cq);
            }
            if !self.channel.is_null() {
                (self.verbs.ibv_destroy_comp_channel)(self.channel);
            }
        }
    }
}

/// See the module's head. The fields are dropped in their order: the queue pair before the memory that it can reach.
pub(super) struct VerbsEndpoint {
    joined: OwnedFd,
    queues: Queues,
    events: Arc<Events>,
    receives: Places,
    free_receives: Vec<usize>,
    sends: Places,
    free_sends: Vec<usize>,
    /// Buffers for information units, the oldest first.
    given: VecDeque<IoBuf>,
    jobs: VecDeque<Job>,
    posted: VecDeque<Posted>,
    /// Reads and writes of which something was posted.
    active: VecDeque<Op>,
    /// Work requests at a time.
    depth: usize,
    /// Those that are posted next. Their pointers are of use only while they are.
    batch: Vec<(Sge, SendWr)>,
    done: VecDeque<Completion>,
    dead: bool,
    told: bool,
    pd: Arc<Pd>,
}

// SAFETY: both libraries may be called from any thread; the pointers are only passed to them, by whoever has the endpoint.
unsafe impl Send for VerbsEndpoint {}

impl VerbsEndpoint {
    /// Sets up a queue pair for a connection request, and gives it the receives.
    pub(super) fn new(verbs: Arc<Verbs>, id: Id, setup: Setup) -> io::Result<Self> {
        // SAFETY: the id of a request is bound to a device, whose context it has.
        let context = unsafe { (*id.raw).verbs };
        let pd = Pd::of(&verbs, context)?;
        let receive_len = setup.receives.iter().map(IoBuf::len).max().unwrap_or(0);
        let receives = Places::new(&pd, setup.receives.len(), receive_len)?;
        let sends = setup.depth as usize + 4;
        let depth = 2 * sends;
        let places = Places::new(&pd, sends, setup.send_len as usize)?;
        let events = Events::new(&verbs)?;
        let mut queues = Queues {
            verbs: Arc::clone(&verbs),
            id,
            cq: ptr::null_mut(),
            channel: ptr::null_mut(),
        };
        queues.id.migrate(&events)?;
        let entries = i32::try_from(depth + setup.receives.len() + 1).unwrap_or(i32::MAX);
        // SAFETY: the device's context is open; what is made is kept in `queues`, which destroys it.
        unsafe {
            queues.channel = ffi::some((verbs.ibv_create_comp_channel)(context))?;
            let (channel, none) = (queues.channel, ptr::null_mut());
            queues.cq = ffi::some((verbs.ibv_create_cq)(context, entries, none, channel, 0))?;
            never_block(BorrowedFd::borrow_raw((*queues.channel).fd))?;
            let mut attr = QpInitAttr {
                qp_context: ptr::null_mut(),
                send_cq: queues.cq,
                recv_cq: queues.cq,
                srq: ptr::null_mut(),
                max_send_wr: u32::try_from(depth).unwrap_or(u32::MAX),
                max_recv_wr: u32::try_from(setup.receives.len()).unwrap_or(u32::MAX),
                max_send_sge: 1,
                max_recv_sge: 1,
                max_inline_data: 0,
                qp_type: QPT_RC,
                sq_sig_all: 0,
            };
            ffi::check((verbs.rdma_create_qp)(queues.id.raw, pd.raw, &raw mut attr))?;
        }
        // SAFETY: the descriptor is the channel's for as long as it exists.
        let completions = unsafe { BorrowedFd::borrow_raw((*queues.channel).fd) };
        let joined = join([completions, events.fd()])?;
        let mut this = Self {
            joined,
            queues,
            events,
            free_receives: (0..setup.receives.len()).collect(),
            receives,
            sends: places,
            free_sends: (0..sends).collect(),
            given: VecDeque::new(),
            jobs: VecDeque::new(),
            posted: VecDeque::new(),
            active: VecDeque::new(),
            depth,
            batch: Vec::with_capacity(BATCH),
            done: VecDeque::new(),
            dead: false,
            told: false,
            pd,
        };
        this.arm();
        setup.receives.into_iter().for_each(|buf| this.receive(buf));
        Ok(this)
    }

    /// Accepts the connection.
    pub(super) fn accept(&self, param: &mut ConnParam) -> io::Result<()> {
        // SAFETY: the id is that of a request and has a queue pair.
        ffi::check(unsafe { (self.queues.verbs.rdma_accept)(self.queues.id.raw, param) })
    }

    fn arm(&self) {
        let cq = self.queues.cq;
        // SAFETY: the completion queue exists. An error would be one of the device, which is told by its event.
        unsafe { ((*(*cq).context).req_notify_cq)(cq, 0) };
    }

    /// The connection is lost, or to be ended: what has not been posted comes back.
    fn die(&mut self) {
        if std::mem::replace(&mut self.dead, true) {
            return;
        }
        // SAFETY: the id exists. It also has the queue pair flush what it has; that the other end may be gone is no matter.
        unsafe { (self.queues.verbs.rdma_disconnect)(self.queues.id.raw) };
        for job in std::mem::take(&mut self.jobs) {
            if let Job::Op(mut op) = job {
                op.failed = Some(WorkError::Flushed);
                self.done.push_back(op.end());
            }
        }
        // Of one that was posted in part, the rest is not.
        if let Some(op) = self.active.back_mut() {
            op.pieces.clear();
        }
        while self.active.back().is_some_and(|op| op.posted == 0)
            && let Some(mut op) = self.active.pop_back()
        {
            op.failed = Some(WorkError::Flushed);
            self.done.push_back(op.end());
        }
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
            while self.batch.len() < BATCH
                && self.posted.len() < self.depth
                && let Some((sge, request)) = self.next()
            {
                self.batch.push((sge, request));
            }
            if self.batch.is_empty() {
                return;
            }
            self.post();
        }
    }

    /// The next work request; from here on it counts as posted.
    fn next(&mut self) -> Option<(Sge, SendWr)> {
        loop {
            if let Some(op) = self.active.back_mut()
                && let Some(piece) = op.pieces.pop_front()
            {
                op.posted += 1;
                self.posted.push_back(Posted::Piece);
                let opcode = if op.writes {
                    wr::RDMA_WRITE
                } else {
                    wr::RDMA_READ
                };
                let sge = Sge {
                    addr: piece.local,
                    length: piece.len,
                    lkey: piece.lkey,
                };
                return Some((sge, request(opcode, 0, piece.remote, piece.rkey)));
            }
            match self.jobs.pop_front()? {
                Job::Op(op) => self.active.push_back(op),
                Job::Send(iu) => match self.free_sends.pop() {
                    Some(place) => return Some(self.information_unit(place, &iu)),
                    None => {
                        self.jobs.push_front(Job::Send(iu));
                        return None;
                    }
                },
            }
        }
    }

    fn information_unit(&mut self, place: usize, iu: &[u8]) -> (Sge, SendWr) {
        let len = iu.len().min(self.sends.place_len());
        let to = self.sends.get_mut(place).iter_mut();
        to.zip(iu).for_each(|(to, from)| *to = *from);
        self.posted.push_back(Posted::Send(place));
        // SOLNT of whatever a target sends.
        let solicited = iu.get(1).is_some_and(|flags| flags & 1 != 0);
        let flag = if solicited { send_flag::SOLICITED } else { 0 };
        (self.sends.sge(place, len), request(wr::SEND, flag, 0, 0))
    }

    /// Posts the batch.
    fn post(&mut self) {
        let mut batch = std::mem::take(&mut self.batch);
        let mut next = ptr::null_mut();
        for (sge, request) in batch.iter_mut().rev() {
            request.sg_list = sge;
            request.next = next;
            next = request;
        }
        let mut bad = ptr::null_mut();
        // SAFETY: the queue pair exists, what the requests name is registered, and they live for the call.
        let refused = unsafe {
            let qp = (*self.queues.id.raw).qp;
            ((*(*qp).context).post_send)(qp, next, &raw mut bad) != 0
        };
        if refused {
            // From the bad one on none has been posted, and nothing completes for them.
            let place = batch.iter().position(|(_, request)| ptr::eq(request, bad));
            (0..batch.len() - place.unwrap_or(0)).for_each(|_| self.take_back());
            self.lose();
        }
        batch.clear();
        self.batch = batch;
    }

    /// The last work request has not been posted after all.
    fn take_back(&mut self) {
        match self.posted.pop_back() {
            Some(Posted::Send(place)) => self.free_sends.push(place),
            Some(Posted::Piece) => {
                if let Some(op) = self.active.iter_mut().rev().find(|op| op.posted > 0) {
                    op.posted -= 1;
                    op.failed = Some(WorkError::Flushed);
                }
            }
            None => {}
        }
    }

    fn completed(&mut self, wc: &Wc) {
        let ok = wc.status == WC_SUCCESS;
        if wc.wr_id & RECEIVE != 0 {
            self.received((wc.wr_id & !RECEIVE) as usize, ok.then_some(wc.byte_len));
        } else {
            match self.posted.pop_front() {
                Some(Posted::Send(place)) => {
                    self.free_sends.push(place);
                    if ok {
                        self.done.push_back(Completion::Sent);
                    }
                }
                Some(Posted::Piece) => self.piece_ended(ok),
                None => {}
            }
        }
        if !ok {
            self.lose();
        }
    }

    fn piece_ended(&mut self, ok: bool) {
        let dead = self.dead || !ok;
        if let Some(op) = self.active.front_mut() {
            op.posted -= 1;
            if !ok {
                op.failed = op.failed.or(Some(WorkError::Remote));
                op.pieces.clear();
            }
            if op.posted == 0
                && (op.pieces.is_empty() || dead)
                && let Some(op) = self.active.pop_front()
            {
                self.done.push_back(op.end());
            }
        }
    }

    fn received(&mut self, place: usize, len: Option<u32>) {
        self.free_receives.push(place);
        let Some(mut buf) = self.given.pop_front() else {
            return;
        };
        match len {
            Some(len) => {
                let iu = self.receives.get(place);
                let iu = iu.get(..len as usize).unwrap_or(iu);
                buf.write_at(0, iu);
                self.done.push_back(Completion::Received(buf, iu.len()));
            }
            None => self.done.push_back(Completion::Unused(buf)),
        }
    }

    /// Takes a batch of completions; how many they were.
    fn take(&mut self) -> usize {
        let mut batch = [Wc::default(); BATCH];
        let cq = self.queues.cq;
        // SAFETY: the completion queue exists, and there is room for so many.
        let n = unsafe { ((*(*cq).context).poll_cq)(cq, BATCH as i32, batch.as_mut_ptr()) };
        let n = usize::try_from(n).unwrap_or(0);
        batch.iter().take(n).for_each(|wc| self.completed(wc));
        n
    }

    /// Takes the wake-ups of the completion queue, and asks for the next one.
    fn rearm(&mut self) {
        let mut woken = 0;
        let (mut cq, mut context) = (ptr::null_mut(), ptr::null_mut());
        let Queues { verbs, channel, .. } = &self.queues;
        // SAFETY: the channel exists; it does not block.
        while unsafe { (verbs.ibv_get_cq_event)(*channel, &raw mut cq, &raw mut context) } == 0 {
            woken += 1;
        }
        if woken > 0 {
            // SAFETY: so many events were taken.
            unsafe { (verbs.ibv_ack_cq_events)(self.queues.cq, woken) };
        }
        self.arm();
    }

    fn connection_events(&mut self) {
        while let Some(event) = self.events.next(|event| event.event) {
            match event {
                cm::ESTABLISHED => self.done.push_back(Completion::Established),
                cm::DISCONNECTED
                | cm::CONNECT_ERROR
                | cm::UNREACHABLE
                | cm::REJECTED
                | cm::DEVICE_REMOVAL => self.lose(),
                _ => {}
            }
        }
    }

    fn op(&mut self, writes: bool, id: u64, mut buf: IoBuf, parts: &[Remote]) {
        let total: usize = parts.iter().map(|part| part.len as usize).sum();
        let mut registered = Vec::new();
        let mut locals = VecDeque::new();
        let mut failed = (self.dead || total > buf.len()).then_some(WorkError::Flushed);
        if failed.is_none() {
            for slice in buf.slices_mut(0..total) {
                match Registered::new(&self.pd, slice) {
                    Ok(one) => {
                        let start = slice.as_ptr().addr() as u64;
                        locals.push_back((start, slice.len(), one.lkey()));
                        registered.push(one);
                    }
                    Err(_) => failed = Some(WorkError::Flushed),
                }
            }
        }
        let op = Op {
            id,
            writes,
            _registered: registered,
            buf,
            pieces: pieces(locals, parts),
            posted: 0,
            failed,
        };
        if failed.is_some() || total == 0 {
            self.done.push_back(op.end());
            if failed.is_some() {
                self.lose();
            }
        } else {
            self.jobs.push_back(Job::Op(op));
        }
    }
}

/// A signalled work request of one piece of local memory.
fn request(opcode: u32, flags: u32, remote_addr: u64, rkey: u32) -> SendWr {
    SendWr {
        wr_id: 0,
        next: ptr::null_mut(),
        sg_list: ptr::null_mut(),
        num_sge: 1,
        opcode,
        send_flags: send_flag::SIGNALED | flags,
        imm_data: 0,
        remote_addr,
        rkey,
        rest: [0; 19],
    }
}

/// Cuts local and remote memory into pieces that lie in one of either.
fn pieces(mut locals: VecDeque<(u64, usize, u32)>, parts: &[Remote]) -> VecDeque<Piece> {
    let mut pieces = VecDeque::new();
    for part in parts {
        let (mut remote, mut left) = (part.address, part.len as usize);
        while left > 0 {
            let Some((start, len, lkey)) = locals.pop_front() else {
                return pieces;
            };
            let n = len.min(left);
            pieces.push_back(Piece {
                local: start,
                lkey,
                len: n as u32,
                remote,
                rkey: part.key,
            });
            remote += n as u64;
            left -= n;
            if n < len {
                locals.push_front((start + n as u64, len - n, lkey));
            }
        }
    }
    pieces
}

impl Endpoint for VerbsEndpoint {
    fn wait_fd(&self) -> Option<BorrowedFd<'_>> {
        Some(self.joined.as_fd())
    }

    fn wake_by(&mut self, _: Waker) {}

    fn receive(&mut self, buf: IoBuf) {
        let Some(place) = self.free_receives.pop().filter(|_| !self.dead) else {
            return self.done.push_back(Completion::Unused(buf));
        };
        let mut sge = self.receives.sge(place, self.receives.place_len());
        let mut request = RecvWr {
            wr_id: RECEIVE | place as u64,
            next: ptr::null_mut(),
            sg_list: &raw mut sge,
            num_sge: 1,
        };
        let mut bad = ptr::null_mut();
        // SAFETY: the queue pair exists, the place is registered, and the request lives for the call.
        let refused = unsafe {
            let qp = (*self.queues.id.raw).qp;
            ((*(*qp).context).post_recv)(qp, &raw mut request, &raw mut bad) != 0
        };
        if refused {
            self.free_receives.push(place);
            self.done.push_back(Completion::Unused(buf));
            self.lose();
        } else {
            self.given.push_back(buf);
        }
    }

    fn send(&mut self, iu: &[u8]) {
        if !self.dead {
            self.jobs.push_back(Job::Send(iu.to_vec()));
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
        if self.take() == 0 && self.done.is_empty() {
            // Only when nothing else is to do: a connection that works is not lost.
            self.connection_events();
            self.rearm();
            // What came in between wakes nobody.
            self.take();
        }
        self.pump();
        let some = !self.done.is_empty();
        into.extend(self.done.drain(..));
        some
    }

    fn disconnect(&mut self) {
        self.die();
    }

    fn in_flight(&self) -> usize {
        let jobs = self.jobs.iter().filter(|job| matches!(job, Job::Op(_)));
        let done = self.done.iter().filter(|completion| {
            !matches!(
                completion,
                Completion::Established | Completion::Sent | Completion::Disconnected
            )
        });
        self.given.len() + self.active.len() + jobs.count() + done.count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_is_cut_where_memory_ends_on_either_side() {
        let part = |address, len| Remote {
            address,
            key: 7,
            len,
        };
        let locals = VecDeque::from([(1000, 300, 1), (9000, 300, 2)]);
        let cut: Vec<_> = pieces(locals, &[part(10, 100), part(500, 0), part(20, 400)])
            .iter()
            .map(|p| (p.local, p.lkey, p.len, p.remote, p.rkey))
            .collect();
        let expected = [
            (1000, 1, 100, 10, 7),
            (1100, 1, 200, 20, 7),
            (9000, 2, 200, 220, 7),
        ];
        assert_eq!(cut, expected);
    }
}
