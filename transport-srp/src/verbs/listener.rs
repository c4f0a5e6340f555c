//! Where RDMA/CM brings connection requests.

#![allow(unsafe_code, reason = "calls librdmacm")]

use std::ffi::c_void;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::ptr;
use std::sync::Arc;

use rustix::fs::OFlags;

use super::VerbsError;
use super::device::Device;
use super::endpoint::VerbsEndpoint;
use super::ffi::{self, CmEvent, CmId, ConnParam, EventChannel, PS_TCP, Verbs, cm};
use crate::fabric::{ConnectError, Endpoint, Listener, Pending, Request, Setup, Waker};
use crate::proto::iu::login::LoginForm;
use crate::proto::port::PortId;

/// Requests that wait to be looked at, at most.
const BACKLOG: i32 = 128;
const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;

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
    /// Takes an identifier whose events go to this channel.
    pub(super) fn new(raw: *mut CmId, events: &Arc<Events>) -> Self {
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

/// A listener of RDMA/CM.
pub struct VerbsListener {
    _id: Id,
    events: Arc<Events>,
    verbs: Arc<Verbs>,
}

impl std::fmt::Debug for VerbsListener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("VerbsListener")
    }
}

impl VerbsListener {
    /// Opens rdma-core and listens on an address. A wildcard address is that of every RDMA device.
    ///
    /// # Errors
    /// [`VerbsError`].
    pub fn bind(address: SocketAddr) -> Result<Self, VerbsError> {
        let verbs = Verbs::open()?;
        let events = Events::new(&verbs).map_err(VerbsError::ConnectionManager)?;
        let id = listen(&verbs, &events, address)
            .map_err(|source| VerbsError::Listen { address, source })?;
        Ok(Self {
            _id: id,
            events,
            verbs,
        })
    }

    fn request(&self, event: &CmEvent) -> Option<Request> {
        if event.event != cm::CONNECT_REQUEST {
            return None;
        }
        let id = Id {
            raw: event.id,
            events: Arc::clone(&self.events),
        };
        let conn = event.conn;
        let private_data = if conn.private_data.is_null() {
            Vec::new()
        } else {
            let start = conn.private_data.cast::<u8>();
            // SAFETY: the event has so many bytes there until it is acknowledged.
            unsafe { std::slice::from_raw_parts(start, conn.private_data_len.into()) }.to_vec()
        };
        // SAFETY: the id of a request exists until it is destroyed.
        let (peer, local, gid) = unsafe {
            let id = &*id.raw;
            (address(&id.dst_addr), address(&id.src_addr), id.sgid)
        };
        Some(Request {
            private_data,
            form: LoginForm::Rdma,
            peer,
            local,
            port: (gid != [0; 16]).then_some(PortId(gid)),
            pending: Box::new(VerbsPending {
                id,
                verbs: Arc::clone(&self.verbs),
                responder_resources: conn.responder_resources,
                initiator_depth: conn.initiator_depth,
            }),
        })
    }
}

fn listen(verbs: &Arc<Verbs>, events: &Arc<Events>, address: SocketAddr) -> io::Result<Id> {
    let mut raw = ptr::null_mut();
    let mut to = socket_address(address);
    // SAFETY: the channel exists, the id is made by the first call, the address is one.
    unsafe {
        ffi::check((verbs.rdma_create_id)(
            events.raw,
            &raw mut raw,
            ptr::null_mut(),
            PS_TCP,
        ))?;
        let id = Id {
            raw,
            events: Arc::clone(events),
        };
        let start = to.as_mut_ptr().cast::<c_void>();
        ffi::check((verbs.rdma_bind_addr)(raw, start))?;
        ffi::check((verbs.rdma_listen)(raw, BACKLOG))?;
        Ok(id)
    }
}

/// A `sockaddr_in` or `sockaddr_in6` at the start of a `sockaddr_storage`.
fn socket_address(address: SocketAddr) -> [u8; 128] {
    let mut out = [0; 128];
    let mut put = |at: usize, bytes: &[u8]| {
        out.iter_mut()
            .skip(at)
            .zip(bytes)
            .for_each(|(to, from)| *to = *from);
    };
    put(2, &address.port().to_be_bytes());
    match address {
        SocketAddr::V4(v4) => {
            put(0, &AF_INET.to_ne_bytes());
            put(4, &v4.ip().octets());
        }
        SocketAddr::V6(v6) => {
            put(0, &AF_INET6.to_ne_bytes());
            put(8, &v6.ip().octets());
            put(24, &v6.scope_id().to_ne_bytes());
        }
    }
    out
}

/// The IP address in a `sockaddr_storage`.
fn address(storage: &[u8; 128]) -> String {
    let [f0, f1, _, _, a, b, c, d, v6 @ ..] = storage;
    let ip = match u16::from_ne_bytes([*f0, *f1]) {
        AF_INET => IpAddr::V4(Ipv4Addr::new(*a, *b, *c, *d)),
        AF_INET6 => match v6.first_chunk::<16>() {
            Some(octets) => IpAddr::V6(Ipv6Addr::from(*octets)),
            None => return String::new(),
        },
        _ => return String::new(),
    };
    ip.to_canonical().to_string()
}

impl Listener for VerbsListener {
    fn wait_fd(&self) -> Option<BorrowedFd<'_>> {
        Some(self.events.fd())
    }

    fn wake_by(&mut self, _: Waker) {}

    fn poll(&mut self) -> Option<Request> {
        loop {
            // Other events are those of requests that nobody has accepted yet, and of a device that is removed.
            if let Some(request) = self.events.next(|event| self.request(event))? {
                return Some(request);
            }
        }
    }
}

struct VerbsPending {
    id: Id,
    verbs: Arc<Verbs>,
    responder_resources: u8,
    initiator_depth: u8,
}

impl Pending for VerbsPending {
    fn accept(
        self: Box<Self>,
        answer: &[u8],
        setup: Setup,
    ) -> Result<Box<dyn Endpoint>, ConnectError> {
        let failed = |error: io::Error| ConnectError(error.to_string());
        let Self { id, verbs, .. } = *self;
        let device = Device::of(&verbs, &id).map_err(failed)?;
        let limits = device.limits;
        let endpoint = VerbsEndpoint::new(device, id, setup).map_err(failed)?;
        let mut param = ConnParam {
            private_data: answer.as_ptr().cast(),
            private_data_len: u8::try_from(answer.len()).unwrap_or(u8::MAX),
            responder_resources: self.responder_resources.min(limits.reads_in),
            // Data-Out is read, so it is one at least; if the other end allows none, the first read tells.
            initiator_depth: self.initiator_depth.min(limits.reads_out).max(1),
            flow_control: 1,
            retry_count: 7,
            rnr_retry_count: 7,
            srq: 0,
            qp_num: 0,
        };
        endpoint.accept(&mut param).map_err(failed)?;
        Ok(Box::new(endpoint))
    }

    fn reject(self: Box<Self>, answer: &[u8]) {
        let len = u8::try_from(answer.len()).unwrap_or(u8::MAX);
        // SAFETY: the id is that of a request, and the answer is so long. If it fails, destroying the id rejects.
        unsafe { (self.verbs.rdma_reject)(self.id.raw, answer.as_ptr().cast(), len) };
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_come_back_from_their_wire_form() {
        for text in ["192.0.2.7:3260", "[2001:db8::5]:1"] {
            let socket: SocketAddr = text.parse().unwrap();
            assert_eq!(address(&socket_address(socket)), socket.ip().to_string());
        }
        assert_eq!(address(&[0; 128]), "");
    }

    #[test]
    fn a_machine_without_rdma_says_what_is_missing() {
        let address = "192.0.2.1:5555".parse().unwrap();
        // There is no such address here, and perhaps nothing else either.
        let error = VerbsListener::bind(address).unwrap_err().to_string();
        assert!(
            error.starts_with("SRP needs") || error.starts_with("cannot listen for RDMA"),
            "{error}"
        );
    }
}
