//! What a device tells of itself and of its connections, without being asked.
//!
//! Whoever looks takes all that there is: a listener is woken for it, and a connection that waits for its own looks, too.

#![allow(unsafe_code, reason = "calls libibverbs")]

use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Instant;

use lunforge_core::quiet::Quiet;
use parking_lot::Mutex;

use super::ffi::{AsyncEvent, Context, Verbs, event};
use crate::fabric::Waker;

/// Log lines a minute of one device.
const LINES: u32 = 30;

/// What devices told since the process began; it only grows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DeviceEvents {
    /// Connections that go on by their alternate path.
    pub path_migrations: u64,
    /// Connections that could not.
    pub path_migration_errors: u64,
    /// Ports that have failed, or have been taken down.
    pub port_errors: u64,
    /// Devices that work no more, or are removed.
    pub fatal: u64,
    /// Connections and queues that failed.
    pub queue_errors: u64,
    /// Shared receive queues that were nearly empty.
    pub shared_low: u64,
}

static PATH_MIGRATIONS: AtomicU64 = AtomicU64::new(0);
static PATH_MIGRATION_ERRORS: AtomicU64 = AtomicU64::new(0);
static PORT_ERRORS: AtomicU64 = AtomicU64::new(0);
static FATAL: AtomicU64 = AtomicU64::new(0);
static QUEUE_ERRORS: AtomicU64 = AtomicU64::new(0);
static SHARED_LOW: AtomicU64 = AtomicU64::new(0);

/// What devices told so far.
pub fn device_events() -> DeviceEvents {
    // Relaxed here and below: they are counts and nothing depends on them.
    let value = |count: &AtomicU64| count.load(Ordering::Relaxed);
    DeviceEvents {
        path_migrations: value(&PATH_MIGRATIONS),
        path_migration_errors: value(&PATH_MIGRATION_ERRORS),
        port_errors: value(&PORT_ERRORS),
        fatal: value(&FATAL),
        queue_errors: value(&QUEUE_ERRORS),
        shared_low: value(&SHARED_LOW),
    }
}

/// What a connection is to be told.
pub(super) struct Watch {
    /// Its queue pair, its completion queue, and the shared queue that it uses: their addresses.
    queues: [usize; 3],
    lost: AtomicBool,
    last_taken: AtomicBool,
    /// What RDMA/CM is to be told: bits by the number of the event.
    notices: AtomicU32,
    waker: Mutex<Option<Waker>>,
}

impl Watch {
    /// The device, or what the connection is made of, works no more.
    pub(super) fn is_lost(&self) -> bool {
        self.lost.load(Ordering::Acquire)
    }

    /// The queue pair takes nothing more from the shared queue.
    pub(super) fn last_is_taken(&self) -> bool {
        self.last_taken.load(Ordering::Acquire)
    }

    /// Events that RDMA/CM is to be told of now.
    pub(super) fn notices(&self) -> impl Iterator<Item = u32> {
        let notices = match self.notices.load(Ordering::Relaxed) {
            0 => 0,
            _ => self.notices.swap(0, Ordering::Acquire),
        };
        (0..32).filter(move |code| notices >> code & 1 == 1)
    }

    pub(super) fn wake_by(&self, waker: Waker) {
        *self.waker.lock() = Some(waker);
    }

    fn tell(&self, what: &AtomicBool) {
        // Release, and Acquire where it is read: who sees it finds in its queues what came before.
        what.store(true, Ordering::Release);
        self.wake();
    }

    fn notice(&self, code: u32) {
        self.notices.fetch_or(1 << code, Ordering::Release);
        self.wake();
    }

    fn wake(&self) {
        if let Some(waker) = &*self.waker.lock() {
            waker.wake();
        }
    }
}

/// Whom an event is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum About {
    All,
    Queue,
    Nobody,
}

/// An event with its name, counter, and who is lost by it.
fn meaning(code: u32) -> (&'static str, Option<&'static AtomicU64>, About) {
    match code {
        event::CQ_ERR => (
            "a completion queue failed",
            Some(&QUEUE_ERRORS),
            About::Queue,
        ),
        event::QP_FATAL | event::QP_REQ_ERR | event::QP_ACCESS_ERR => {
            ("a connection failed", Some(&QUEUE_ERRORS), About::Queue)
        }
        event::SRQ_ERR => (
            "a shared receive queue failed",
            Some(&QUEUE_ERRORS),
            About::Queue,
        ),
        event::PATH_MIG => (
            "a connection goes by its alternate path",
            Some(&PATH_MIGRATIONS),
            About::Nobody,
        ),
        event::PATH_MIG_ERR => (
            "a connection has no alternate path to go by",
            Some(&PATH_MIGRATION_ERRORS),
            About::Nobody,
        ),
        event::DEVICE_FATAL => ("the device works no more", Some(&FATAL), About::All),
        event::PORT_ACTIVE => ("a port is up", None, About::Nobody),
        event::PORT_ERR => ("a port is down", Some(&PORT_ERRORS), About::Nobody),
        event::SRQ_LIMIT_REACHED => (
            "a shared receive queue is nearly empty",
            Some(&SHARED_LOW),
            About::Nobody,
        ),
        // Of no interest: those of subnet management, and each connection that is established or ends.
        _ => ("", None, About::Nobody),
    }
}

/// The events of a device.
pub(super) struct DeviceWatch {
    name: String,
    watches: Mutex<Vec<Weak<Watch>>>,
    quiet: Quiet,
}

impl DeviceWatch {
    pub(super) fn new(name: String) -> Self {
        Self {
            name,
            watches: Mutex::default(),
            quiet: Quiet::new(LINES),
        }
    }

    /// Has a connection told of what these queues meet.
    pub(super) fn watch(&self, queues: [usize; 3]) -> Arc<Watch> {
        let watch = Arc::new(Watch {
            queues,
            lost: AtomicBool::new(false),
            last_taken: AtomicBool::new(false),
            notices: AtomicU32::new(0),
            waker: Mutex::default(),
        });
        let mut watches = self.watches.lock();
        watches.retain(|watch| watch.strong_count() > 0);
        watches.push(Arc::downgrade(&watch));
        watch
    }

    /// Takes what the device tells; the device's context is open.
    pub(super) fn take(&self, verbs: &Verbs, context: *mut Context) {
        let mut told = AsyncEvent::default();
        // SAFETY: the context is open and does not block; each event is acknowledged once.
        while unsafe { (verbs.ibv_get_async_event)(context, &raw mut told) } == 0 {
            let (code, of) = (told.event_type, told.element);
            // Before it is acknowledged: until then what it is about is not destroyed, and nothing else has its address.
            self.tell(code, of);
            // SAFETY: as above.
            unsafe { (verbs.ibv_ack_async_event)(&raw mut told) };
        }
    }

    fn tell(&self, code: u32, of: usize) {
        let (what, counter, about) = meaning(code);
        if let Some(counter) = counter {
            counter.fetch_add(1, Ordering::Relaxed);
        }
        if !what.is_empty()
            && let Some(left_out) = self.quiet.say(Instant::now())
        {
            tracing::warn!(device = %self.name, code, left_out, "RDMA: {what}");
        }
        let watches: Vec<_> = {
            let watches = self.watches.lock();
            watches.iter().filter_map(Weak::upgrade).collect()
        };
        let named = |watch: &&Arc<Watch>| watch.queues.contains(&of);
        match about {
            About::All => watches.iter().for_each(|watch| watch.tell(&watch.lost)),
            About::Queue => watches
                .iter()
                .filter(named)
                .for_each(|watch| watch.tell(&watch.lost)),
            About::Nobody if code == event::QP_LAST_WQE_REACHED => watches
                .iter()
                .filter(named)
                .for_each(|watch| watch.tell(&watch.last_taken)),
            // RDMA/CM cannot see that somebody sends, or that a path has changed.
            About::Nobody if matches!(code, event::COMM_EST | event::PATH_MIG) => watches
                .iter()
                .filter(named)
                .for_each(|watch| watch.notice(code)),
            About::Nobody => {}
        }
    }
}

/// Where a device tells.
///
/// # Safety
/// The context has to be open as long as this is used.
pub(super) unsafe fn descriptor<'a>(context: *mut Context) -> BorrowedFd<'a> {
    // SAFETY: the descriptor is the context's for as long as that is open.
    unsafe { BorrowedFd::borrow_raw((*context).async_fd) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_connection_is_told_of_its_own_queues_and_all_of_their_device() {
        let device = DeviceWatch::new("rxe0".to_owned());
        let (one, two) = (device.watch([1, 2, 9]), device.watch([3, 4, 9]));
        device.tell(event::QP_LAST_WQE_REACHED, 3);
        assert_eq!((one.last_is_taken(), two.last_is_taken()), (false, true));
        device.tell(event::QP_FATAL, 1);
        assert_eq!((one.is_lost(), two.is_lost()), (true, false));
        device.tell(event::PORT_ERR, 1);
        assert!(!two.is_lost());
        let three = device.watch([5, 6, 0]);
        device.tell(event::SRQ_ERR, 9);
        assert_eq!((two.is_lost(), three.is_lost()), (true, false));
        device.tell(event::DEVICE_FATAL, 0);
        assert!(three.is_lost());
    }

    #[test]
    fn whoever_is_told_is_woken() {
        let device = DeviceWatch::new("rxe0".to_owned());
        let watch = device.watch([1, 2, 0]);
        let woken = Arc::new(AtomicBool::new(false));
        let wakes = Arc::clone(&woken);
        watch.wake_by(Waker::new(move || wakes.store(true, Ordering::Relaxed)));
        device.tell(event::PORT_ERR, 1);
        assert!(!woken.load(Ordering::Relaxed));
        device.tell(event::CQ_ERR, 2);
        assert!(woken.load(Ordering::Relaxed));
    }

    #[test]
    fn the_connection_manager_is_told_once_of_what_it_cannot_see() {
        let device = DeviceWatch::new("rxe0".to_owned());
        let (one, two) = (device.watch([1, 2, 0]), device.watch([3, 4, 0]));
        device.tell(event::COMM_EST, 1);
        device.tell(event::PATH_MIG, 1);
        let all: Vec<u32> = one.notices().collect();
        assert_eq!(all, [event::COMM_EST, event::PATH_MIG]);
        assert_eq!(one.notices().chain(two.notices()).next(), None);
    }
}
