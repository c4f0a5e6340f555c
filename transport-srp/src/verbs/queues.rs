//! A queue pair, its completion queue, and the wake-ups of that.

#![allow(unsafe_code, reason = "calls libibverbs and librdmacm")]

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::ptr;
use std::sync::Arc;

use super::cm::{Events, Id, join, never_block};
use super::device::Device;
use super::ffi::{
    self, CompChannel, ConnParam, Cq, QPT_RC, Qp, QpInitAttr, RecvWr, SendWr, Sge, Srq, Verbs, Wc,
    send_flag, wr,
};
use super::memory::Local;
use super::work::{Piece, Request};

/// Completions taken at a time, and work requests posted.
pub(super) const BATCH: usize = 32;
/// What responses without sense data need: sent inline where the device can.
const INLINE: u32 = 64;

/// How much a queue pair is to hold.
#[derive(Debug, Clone, Copy)]
pub(super) struct Depths {
    pub(super) sends: usize,
    pub(super) receives: usize,
}

/// Where a queue pair's receives come from.
#[derive(Debug, Clone, Copy)]
pub(super) enum From {
    /// A queue of its own.
    Own,
    /// One that it shares.
    Shared(*mut Srq),
}

/// What the hardware has, in the order in which it has to go.
pub(super) struct Queues {
    verbs: Arc<Verbs>,
    id: Id,
    cq: *mut Cq,
    channel: *mut CompChannel,
    /// Longest information unit that is sent inline, in bytes.
    inline: usize,
    /// Those that are posted next. Their pointers are of use only while they are.
    batch: Vec<(Sge, SendWr)>,
    joined: OwnedFd,
    /// Of the connection.
    events: Arc<Events>,
}

// SAFETY: both libraries may be called from any thread; the pointers are only passed to them, by whoever has the queues.
unsafe impl Send for Queues {}

impl Drop for Queues {
    fn drop(&mut self) {
        // SAFETY: each exists, all events are acknowledged, and this is the order that libibverbs asks for.
        unsafe {
            if !self.qp().is_null() {
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

impl Queues {
    /// Sets up a queue pair for a connection request.
    pub(super) fn new(device: &Device, mut id: Id, depths: Depths, from: From) -> io::Result<Self> {
        let verbs = Arc::clone(&device.verbs);
        let events = Events::new(&verbs)?;
        id.migrate(&events)?;
        let mut this = Self {
            joined: join([events.fd()])?,
            verbs,
            id,
            cq: ptr::null_mut(),
            channel: ptr::null_mut(),
            inline: 0,
            batch: Vec::with_capacity(BATCH),
            events,
        };
        this.make_completion_queue(depths.sends + depths.receives + 1)?;
        this.make_queue_pair(device, depths, from)?;
        this.arm();
        Ok(this)
    }

    fn make_completion_queue(&mut self, entries: usize) -> io::Result<()> {
        let entries = i32::try_from(entries).unwrap_or(i32::MAX);
        let verbs = &self.verbs;
        // SAFETY: the device's context is open; what is made is kept here, which destroys it.
        unsafe {
            let context = (*self.id.raw).verbs;
            self.channel = ffi::some((verbs.ibv_create_comp_channel)(context))?;
            let (channel, none) = (self.channel, ptr::null_mut());
            self.cq = ffi::some((verbs.ibv_create_cq)(context, entries, none, channel, 0))?;
            let fd = BorrowedFd::borrow_raw((*channel).fd);
            never_block(fd)?;
            self.joined = join([fd, self.events.fd()])?;
        }
        Ok(())
    }

    /// One that sends inline, if there is one.
    fn make_queue_pair(&mut self, device: &Device, depths: Depths, from: From) -> io::Result<()> {
        let size = |n| u32::try_from(n).unwrap_or(u32::MAX);
        let (srq, receives) = match from {
            From::Own => (ptr::null_mut(), depths.receives),
            From::Shared(srq) => (srq, 0),
        };
        let attr = |inline| QpInitAttr {
            qp_context: ptr::null_mut(),
            send_cq: self.cq,
            recv_cq: self.cq,
            srq,
            max_send_wr: size(depths.sends),
            max_recv_wr: size(receives),
            max_send_sge: 1,
            max_recv_sge: 1,
            max_inline_data: inline,
            qp_type: QPT_RC,
            sq_sig_all: 0,
        };
        let make = |mut attr: QpInitAttr| {
            // SAFETY: the id is that of a request, the protection domain of its device, and the queues named in it exist.
            let made =
                unsafe { (self.verbs.rdma_create_qp)(self.id.raw, device.pd, &raw mut attr) };
            ffi::check(made).map(|()| attr.max_inline_data as usize)
        };
        let inline = make(attr(INLINE)).or_else(|_| make(attr(0)))?;
        self.inline = inline;
        Ok(())
    }

    fn qp(&self) -> *mut Qp {
        // SAFETY: the id exists.
        unsafe { (*self.id.raw).qp }
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.joined.as_fd()
    }

    /// The addresses of the queue pair and the completion queue.
    pub(super) fn addresses(&self) -> [usize; 2] {
        [self.qp().addr(), self.cq.addr()]
    }

    /// Accepts the connection.
    pub(super) fn accept(&self, param: &mut ConnParam) -> io::Result<()> {
        // SAFETY: the id is that of a request and has a queue pair.
        ffi::check(unsafe { (self.verbs.rdma_accept)(self.id.raw, param) })
    }

    /// Ends the connection, and has the queue pair flush what it has. That the other end may be gone is no matter.
    pub(super) fn disconnect(&self) {
        // SAFETY: the id exists.
        unsafe { (self.verbs.rdma_disconnect)(self.id.raw) };
    }

    /// Tells RDMA/CM of an event of the queue pair. What it does not care for is refused.
    pub(super) fn notify(&self, event: u32) {
        // SAFETY: the id exists.
        unsafe { (self.verbs.rdma_notify)(self.id.raw, event) };
    }

    /// The next event of the connection.
    pub(super) fn event(&self) -> Option<u32> {
        self.events.next(|event| event.event)
    }

    /// Takes a work request into the batch.
    pub(super) fn take(&mut self, id: u64, request: Request, local: Local, signalled: bool) {
        let mut flags = if signalled { send_flag::SIGNALED } else { 0 };
        let (opcode, remote_addr, rkey) = match request {
            Request::Send { len, solicited, .. } => {
                flags |= if solicited { send_flag::SOLICITED } else { 0 };
                flags |= if len <= self.inline {
                    send_flag::INLINE
                } else {
                    0
                };
                (wr::SEND, 0, 0)
            }
            Request::Piece(Piece {
                writes,
                remote,
                rkey,
                ..
            }) => {
                let opcode = if writes {
                    wr::RDMA_WRITE
                } else {
                    wr::RDMA_READ
                };
                (opcode, remote, rkey)
            }
        };
        let request = SendWr {
            wr_id: id,
            next: ptr::null_mut(),
            sg_list: ptr::null_mut(),
            num_sge: 1,
            opcode,
            send_flags: flags,
            imm_data: 0,
            remote_addr,
            rkey,
            rest: [0; 19],
        };
        self.batch.push((sge(local), request));
    }

    /// Room in the batch.
    pub(super) fn room(&self) -> usize {
        BATCH - self.batch.len()
    }

    /// Posts the batch; how many of its last ones were refused.
    pub(super) fn post(&mut self) -> usize {
        let mut next = ptr::null_mut();
        for (sge, request) in self.batch.iter_mut().rev() {
            request.sg_list = sge;
            request.next = next;
            next = request;
        }
        // From the bad one on none has been posted.
        let refused = self.post_send(next).map_or(0, |bad| {
            let bad = bad.cast_const();
            let place = self
                .batch
                .iter()
                .position(|(_, request)| ptr::eq(request, bad));
            self.batch.len() - place.unwrap_or(0)
        });
        self.batch.clear();
        refused
    }

    /// Posts a write of nothing that asks for a completion; false if it is refused.
    pub(super) fn post_marker(&mut self, id: u64) -> bool {
        let mut marker = SendWr {
            wr_id: id,
            next: ptr::null_mut(),
            sg_list: ptr::null_mut(),
            num_sge: 0,
            opcode: wr::RDMA_WRITE,
            send_flags: send_flag::SIGNALED,
            imm_data: 0,
            remote_addr: 0,
            rkey: 0,
            rest: [0; 19],
        };
        self.post_send(&raw mut marker).is_none()
    }

    /// The first of the chain that is refused.
    fn post_send(&self, first: *mut SendWr) -> Option<*mut SendWr> {
        let mut bad = ptr::null_mut();
        // SAFETY: the queue pair exists, what the requests name is registered, and they live for the call.
        let refused = unsafe {
            let qp = self.qp();
            ((*(*qp).context).post_send)(qp, first, &raw mut bad) != 0
        };
        refused.then_some(bad)
    }

    /// Posts a receive; false if it is refused.
    pub(super) fn post_receive(&self, id: u64, local: Local) -> bool {
        receive_request(id, local, |request, bad| {
            // SAFETY: the queue pair exists, the memory is registered, and the request lives for the call.
            unsafe {
                let qp = self.qp();
                ((*(*qp).context).post_recv)(qp, request, bad) == 0
            }
        })
    }

    /// Takes a batch of completions; how many they are.
    pub(super) fn poll(&self, into: &mut [Wc; BATCH]) -> usize {
        // SAFETY: the completion queue exists, and there is room for so many.
        let n =
            unsafe { ((*(*self.cq).context).poll_cq)(self.cq, BATCH as i32, into.as_mut_ptr()) };
        usize::try_from(n).unwrap_or(0)
    }

    fn arm(&self) {
        // SAFETY: the completion queue exists. An error would be one of the device, which is told by its event.
        unsafe { ((*(*self.cq).context).req_notify_cq)(self.cq, 0) };
    }

    /// Takes a wake-up of the completion queue, and asks for the next one; whether there was one. If there is another already, it
    /// wakes again: that is seldom, and to look for it would be a call to the system each time.
    pub(super) fn rearm(&self) -> bool {
        let (mut cq, mut context) = (ptr::null_mut(), ptr::null_mut());
        let Self { verbs, channel, .. } = self;
        // SAFETY: the channel exists; it does not block.
        let woken =
            unsafe { (verbs.ibv_get_cq_event)(*channel, &raw mut cq, &raw mut context) } == 0;
        if woken {
            // SAFETY: one event was taken.
            unsafe { (verbs.ibv_ack_cq_events)(self.cq, 1) };
        }
        self.arm();
        woken
    }
}

/// A receive for as long as it takes to post it.
pub(super) fn receive_request<T>(
    id: u64,
    local: Local,
    post: impl FnOnce(*mut RecvWr, *mut *mut RecvWr) -> T,
) -> T {
    let mut sge = sge(local);
    let mut request = RecvWr {
        wr_id: id,
        next: ptr::null_mut(),
        sg_list: &raw mut sge,
        num_sge: 1,
    };
    let mut bad = ptr::null_mut();
    post(&raw mut request, &raw mut bad)
}

fn sge(local: Local) -> Sge {
    Sge {
        addr: local.addr,
        // No piece is longer than a segment.
        length: local.len as u32,
        lkey: local.lkey,
    }
}
