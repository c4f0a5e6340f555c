//! Event channels and identifiers of RDMA/CM.

#![allow(unsafe_code, reason = "calls librdmacm")]

use std::ffi::c_uint;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::ptr;
use std::sync::Arc;

use rustix::fs::OFlags;

use super::ffi::{self, CmEvent, CmId, EventChannel, Verbs};

/// An event channel.
pub(super) struct Events {
    pub(super) verbs: Arc<Verbs>,
    pub(super) raw: *mut EventChannel,
}

// SAFETY: librdmacm may be called from any thread; the pointer is only passed to it.
unsafe impl Send for Events {}
// SAFETY: as above, by several threads at a time.
unsafe impl Sync for Events {}

impl Events {
    pub(super) fn new(verbs: &Arc<Verbs>) -> io::Result<Arc<Self>> {
        // SAFETY: it has no condition.
        let raw = ffi::some(unsafe { (verbs.rdma_create_event_channel)() })?;
        let events = Arc::new(Self {
            verbs: Arc::clone(verbs),
            raw,
        });
        never_block(events.fd())?;
        Ok(events)
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        // SAFETY: the descriptor is the channel's for as long as it exists.
        unsafe { BorrowedFd::borrow_raw((*self.raw).fd) }
    }

    /// The next event, as `look` sees it. It is acknowledged when `look` returns.
    pub(super) fn next<T>(&self, look: impl FnOnce(&CmEvent) -> T) -> Option<T> {
        let mut event = ptr::null_mut();
        // SAFETY: the channel exists, and the event is acknowledged once, after its last use.
        unsafe {
            if (self.verbs.rdma_get_cm_event)(self.raw, &raw mut event) != 0 {
                return None;
            }
            let seen = look(&*event);
            (self.verbs.rdma_ack_cm_event)(event);
            Some(seen)
        }
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        // SAFETY: its ids hold it, so they were destroyed before.
        unsafe { (self.verbs.rdma_destroy_event_channel)(self.raw) };
    }
}

/// Has reads of a descriptor end instead of waiting.
pub(super) fn never_block(fd: BorrowedFd<'_>) -> io::Result<()> {
    let flags = rustix::fs::fcntl_getfl(fd)?;
    Ok(rustix::fs::fcntl_setfl(fd, flags | OFlags::NONBLOCK)?)
}

/// An identifier of RDMA/CM: a listener, or a connection. It holds the channel to which its events go, which may be that of
/// a listener that has ended.
pub(super) struct Id {
    pub(super) raw: *mut CmId,
    events: Arc<Events>,
}

// SAFETY: as of `Events`.
unsafe impl Send for Id {}

impl Id {
    /// A new one, whose events go to the channel.
    pub(super) fn new(verbs: &Verbs, events: &Arc<Events>, space: c_uint) -> io::Result<Self> {
        let mut raw = ptr::null_mut();
        // SAFETY: the channel exists, and the call makes the id.
        ffi::check(unsafe {
            (verbs.rdma_create_id)(events.raw, &raw mut raw, ptr::null_mut(), space)
        })?;
        Ok(Self::of(raw, events))
    }

    /// One that came with an event of the channel, and is its taker's from then on.
    pub(super) fn of(raw: *mut CmId, events: &Arc<Events>) -> Self {
        Self {
            raw,
            events: Arc::clone(events),
        }
    }

    /// Has its events go to another channel.
    pub(super) fn migrate(&mut self, to: &Arc<Events>) -> io::Result<()> {
        // SAFETY: the id and the channel exist.
        ffi::check(unsafe { (to.verbs.rdma_migrate_id)(self.raw, to.raw) })?;
        self.events = Arc::clone(to);
        Ok(())
    }
}

impl Drop for Id {
    fn drop(&mut self) {
        // SAFETY: its queue pair, if it had one, was destroyed before, and its events are acknowledged.
        unsafe { (self.events.verbs.rdma_destroy_id)(self.raw) };
    }
}

/// Descriptors of one source, joined in one.
pub(super) fn join<const N: usize>(fds: [BorrowedFd<'_>; N]) -> io::Result<OwnedFd> {
    use rustix::event::epoll;
    let joined = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    for fd in fds {
        let data = epoll::EventData::new_u64(0);
        epoll::add(&joined, fd, data, epoll::EventFlags::IN)?;
    }
    Ok(joined)
}
