//! A shared receive queue: buffers for whatever comes by any of the connections of a shard over one device.

#![allow(unsafe_code, reason = "calls libibverbs")]

use std::io;
use std::ptr;
use std::sync::Arc;

use lunforge_core::buffer::IoBuf;
use parking_lot::Mutex;

use super::device::Device;
use super::ffi::{self, Srq, SrqInitAttr};
use super::memory::Local;
use super::queues::receive_request;
use super::receives::Receives;
use crate::fabric::Shared;

/// The fields are dropped in their order, after the queue is destroyed: its last queue pair is gone then.
pub(super) struct SharedQueue {
    raw: *mut Srq,
    receives: Mutex<Receives>,
    device: Arc<Device>,
}

// SAFETY: libibverbs may be called from any thread; the pointer is only passed to it.
unsafe impl Send for SharedQueue {}
// SAFETY: as above.
unsafe impl Sync for SharedQueue {}

impl SharedQueue {
    /// That of a shard for a device, made if there is none. `None`: the device has no such queues.
    pub(super) fn of(device: &Arc<Device>, shared: &Shared) -> io::Result<Option<Arc<Self>>> {
        let size = shared.size().min(device.limits.shared);
        if size == 0 {
            return Ok(None);
        }
        let is = |queue: &Self| Arc::ptr_eq(&queue.device, device);
        shared
            .queue(is, || Self::new(device, size).map(Arc::new))
            .map(Some)
    }

    fn new(device: &Arc<Device>, size: usize) -> io::Result<Self> {
        let mut attr = SrqInitAttr {
            srq_context: ptr::null_mut(),
            max_wr: u32::try_from(size).unwrap_or(u32::MAX),
            max_sge: 1,
            srq_limit: 0,
        };
        // SAFETY: the protection domain exists.
        let raw = unsafe { (device.verbs.ibv_create_srq)(device.pd, &raw mut attr) };
        Ok(Self {
            raw: ffi::some(raw)?,
            receives: Mutex::new(Receives::new(size)),
            device: Arc::clone(device),
        })
    }

    pub(super) fn raw(&self) -> *mut Srq {
        self.raw
    }

    /// Buffers that it has room for.
    pub(super) fn room(&self) -> usize {
        self.receives.lock().room()
    }

    /// Buffers that it can hold.
    pub(super) fn size(&self) -> usize {
        self.receives.lock().size()
    }

    /// As [`Receives::give`].
    pub(super) fn give(&self, buf: IoBuf, mark: u64) -> Result<(), (IoBuf, bool)> {
        let post = |id, local| self.post(mark | id, local);
        self.receives.lock().give(&self.device, buf, post)
    }

    fn post(&self, id: u64, local: Local) -> bool {
        receive_request(id, local, |request, bad| {
            // SAFETY: the queue exists, the memory is registered, and the request lives for the call.
            unsafe { ((*(*self.raw).context).post_srq_recv)(self.raw, request, bad) == 0 }
        })
    }

    /// As [`Receives::take`].
    pub(super) fn take(&self, id: u64) -> Option<IoBuf> {
        self.receives.lock().take(id)
    }
}

impl Drop for SharedQueue {
    fn drop(&mut self) {
        // SAFETY: it exists, and its queue pairs do not any more: their endpoints hold this.
        unsafe { (self.device.verbs.ibv_destroy_srq)(self.raw) };
    }
}
