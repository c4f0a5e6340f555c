//! A device that connections come by: its limits, and the protection domain of what is registered there.

#![allow(unsafe_code, reason = "calls libibverbs and librdmacm")]

use std::ffi::CStr;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use rustix::event::epoll;

use super::address;
use super::cm::{Events, Id, never_block};
use super::events::{self, DeviceWatch};
use super::ffi::{self, Context, DeviceAttr, TRANSPORT_IWARP, Verbs};
use super::quota::Quota;

/// What is asked of a device at most, from what it says of itself.
#[derive(Debug, Clone, Copy)]
pub(super) struct DeviceLimits {
    /// Work requests of a queue.
    pub(super) work: usize,
    /// Entries of a completion queue.
    pub(super) completions: usize,
    /// Receives of a shared queue; 0: there is none.
    pub(super) shared: usize,
    /// RDMA reads of one connection at a time that the other end may ask for.
    pub(super) reads_in: u8,
    /// The same, that this end may ask for.
    pub(super) reads_out: u8,
}

impl DeviceLimits {
    fn new(attr: &DeviceAttr) -> Self {
        let size = |n| usize::try_from(n).unwrap_or(0).max(1);
        let reads = |n| u8::try_from(n).unwrap_or(u8::MAX);
        Self {
            work: size(attr.max_qp_wr),
            completions: size(attr.max_cqe),
            // What is in it may complete all at once, in the completion queue of any of the connections.
            shared: match attr.max_srq {
                ..1 => 0,
                _ => usize::try_from(attr.max_srq_wr)
                    .unwrap_or(0)
                    .min(size(attr.max_cqe) / 2),
            },
            reads_in: reads(attr.max_qp_rd_atom.max(0)),
            reads_out: reads(attr.max_qp_init_rd_atom.max(0)),
        }
    }
}

/// A device, shared by its endpoints and by what is registered in its protection domain.
pub(super) struct Device {
    pub(super) verbs: Arc<Verbs>,
    pub(super) pd: *mut ffi::Pd,
    pub(super) limits: DeviceLimits,
    /// What an RDMA read fills has to let the other end write (RFC 5040 5.1: the sink is named by an STag).
    pub(super) iwarp: bool,
    /// librdmacm closes a device that is gone when no identifier uses it; this one does while anything is registered there.
    _kept: Id,
    /// Of registrations that stay with their memory.
    pub(super) quota: Quota,
    context: *mut Context,
    pub(super) watch: DeviceWatch,
    /// What is woken by events: epoll sets of listeners.
    told: Mutex<Vec<Weak<OwnedFd>>>,
    /// It tells when a queue pair takes nothing more from a shared queue; until one did not.
    tells_last: AtomicBool,
}

// SAFETY: libibverbs may be called from any thread; the pointer is only passed to it.
unsafe impl Send for Device {}
// SAFETY: as above.
unsafe impl Sync for Device {}

/// The devices in use, by the address of their context.
static DEVICES: Mutex<Vec<(usize, Weak<Device>)>> = Mutex::new(Vec::new());

impl Device {
    /// That of the identifier of a connection request: librdmacm keeps one context for each.
    pub(super) fn of(verbs: &Arc<Verbs>, id: &Id) -> io::Result<Arc<Self>> {
        // SAFETY: the id of a request is bound to a device, whose context it has.
        let context = unsafe { (*id.raw).verbs };
        let mut devices = DEVICES.lock();
        devices.retain(|(_, device)| device.strong_count() > 0);
        let known = devices.iter().find(|(of, _)| *of == context.addr());
        if let Some(device) = known.and_then(|(_, device)| device.upgrade()) {
            return Ok(device);
        }
        let device = Arc::new(Self::new(verbs, id, context)?);
        devices.push((context.addr(), Arc::downgrade(&device)));
        Ok(device)
    }

    fn new(verbs: &Arc<Verbs>, id: &Id, context: *mut Context) -> io::Result<Self> {
        let mut attr = MaybeUninit::<DeviceAttr>::zeroed();
        // SAFETY: the context is open; all bytes of the attributes are numbers, and there is room for them.
        let (attr, transport, name) = unsafe {
            ffi::check((verbs.ibv_query_device)(context, attr.as_mut_ptr()))?;
            let device = &*(*context).device;
            (attr.assume_init(), device.transport_type, device.name)
        };
        // SAFETY: as above.
        never_block(unsafe { events::descriptor(context) })?;
        let name = CStr::from_bytes_until_nul(&name).unwrap_or_default();
        let kept = keep(verbs, id)?;
        // SAFETY: as above.
        let pd = ffi::some(unsafe { (verbs.ibv_alloc_pd)(context) })?;
        Ok(Self {
            verbs: Arc::clone(verbs),
            pd,
            limits: DeviceLimits::new(&attr),
            iwarp: transport == TRANSPORT_IWARP,
            _kept: kept,
            quota: Quota::new(usize::try_from(attr.max_mr).unwrap_or(0)),
            context,
            watch: DeviceWatch::new(name.to_string_lossy().into_owned()),
            told: Mutex::default(),
            tells_last: AtomicBool::new(true),
        })
    }

    /// Has an epoll set become readable when the device tells something.
    pub(super) fn tell(&self, set: &Arc<OwnedFd>) {
        let mut told = self.told.lock();
        told.retain(|set| set.strong_count() > 0);
        if told.iter().any(|one| one.as_ptr() == Arc::as_ptr(set)) {
            return;
        }
        // SAFETY: the context is open as long as this exists, which ends it.
        let fd = unsafe { events::descriptor(self.context) };
        let data = epoll::EventData::new_u64(0);
        match epoll::add(set, fd, data, epoll::EventFlags::IN) {
            Ok(()) => told.push(Arc::downgrade(set)),
            Err(error) => tracing::warn!(%error, "an RDMA device's events are not heard"),
        }
    }

    /// Takes what the device has told.
    pub(super) fn take_events(&self) {
        self.watch.take(&self.verbs, self.context);
    }

    /// Takes what all devices have told.
    pub(super) fn take_all_events() {
        let devices: Vec<_> = {
            let devices = DEVICES.lock();
            devices
                .iter()
                .filter_map(|(_, one)| one.upgrade())
                .collect()
        };
        devices.iter().for_each(|device| device.take_events());
    }

    /// Whether it is to be waited for the word that a queue pair takes nothing more from a shared queue.
    pub(super) fn tells_last(&self) -> bool {
        self.tells_last.load(Ordering::Relaxed)
    }

    /// It was waited for in vain: drivers of devices in software do not tell.
    pub(super) fn tells_no_last(&self) {
        self.tells_last.store(false, Ordering::Relaxed);
    }

    /// It is removed: nothing stays registered, so that the context is closed once its connections have ended and the pools
    /// have given back what they keep.
    pub(super) fn removed(&self) {
        self.quota.none();
        self.tells_no_last();
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        // SAFETY: the context is open until the identifier goes, after this.
        let fd = unsafe { events::descriptor(self.context) };
        for set in self.told.get_mut().iter().filter_map(Weak::upgrade) {
            let _ = epoll::delete(&set, fd);
        }
        // SAFETY: what was made of it holds it, and the identifier that keeps its context goes after this.
        unsafe { (self.verbs.ibv_dealloc_pd)(self.pd) };
    }
}

/// An identifier on the same device as another one, which nobody connects.
fn keep(verbs: &Arc<Verbs>, like: &Id) -> io::Result<Id> {
    let events = Events::new(verbs)?;
    // SAFETY: the id exists.
    let (mut address, space) = address::of_any_port(unsafe { &(*like.raw).src_addr });
    let id = Id::new(verbs, &events, space)?;
    // SAFETY: the ids exist, the address is that of the other one, without its port.
    unsafe {
        let start = address.as_mut_ptr().cast();
        ffi::check((verbs.rdma_bind_addr)(id.raw, start))?;
        match (*id.raw).verbs == (*like.raw).verbs {
            true => Ok(id),
            false => Err(io::ErrorKind::AddrNotAvailable.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(max_srq: i32, max_srq_wr: i32, max_cqe: i32) -> DeviceLimits {
        // SAFETY: all of it is numbers.
        let mut attr: DeviceAttr = unsafe { MaybeUninit::zeroed().assume_init() };
        (attr.max_srq, attr.max_srq_wr, attr.max_cqe) = (max_srq, max_srq_wr, max_cqe);
        DeviceLimits::new(&attr)
    }

    #[test]
    fn what_is_shared_leaves_room_in_a_completion_queue() {
        assert_eq!(limits(1, 1 << 20, 32_767).shared, 16_383);
        assert_eq!(limits(1, 4095, 32_767).shared, 4095);
        assert_eq!(limits(0, 4095, 32_767).shared, 0);
        assert_eq!(limits(1, -1, -1).shared, 0);
    }
}
