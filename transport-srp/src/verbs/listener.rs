//! Where RDMA/CM brings connection requests.
//!
//! A listener on an address is bound to the device that has it, and ends with the device. It is made anew when a device has the
//! address again. One on a service id is on all devices, and the kernel adds those that come.

#![allow(unsafe_code, reason = "calls librdmacm")]

use std::ffi::{c_int, c_void};
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::ptr;
use std::sync::{Arc, Weak};
use std::time::Duration;

use super::VerbsError;
use super::address::{Place, ServicePort, ip_or_gid};
use super::cm::{Events, Id, join};
use super::device::Device;
use super::endpoint::VerbsEndpoint;
use super::ffi::{self, CmEvent, CmId, ConnParam, Verbs, cm};
use super::shared::SharedQueue;
use crate::fabric::{ConnectError, Endpoint, Listener, Pending, Request, Setup, Shared, Waker};
use crate::proto::iu::login::LoginForm;
use crate::proto::port::PortId;

/// Requests that wait to be looked at, at most.
const BACKLOG: i32 = 128;
/// How long after its end a listener is made anew; then twice as long each time, up to the other.
const FIRST_TRY: Duration = Duration::from_millis(250);
const LAST_TRY: Duration = Duration::from_secs(4);

/// A listener of RDMA/CM.
pub struct VerbsListener {
    place: Place,
    id: State,
    events: Arc<Events>,
    /// They, and the events of the devices that connections came by.
    joined: Arc<OwnedFd>,
    verbs: Arc<Verbs>,
}

enum State {
    Listening(Id),
    /// Its device is gone. What it waits before the next try, and how the last one failed.
    Lost(Duration, Option<io::ErrorKind>),
}

/// What an event of a listener's channel says.
enum Seen {
    Request(Request),
    /// The listener has ended.
    End(u32, c_int),
    Nothing,
}

impl std::fmt::Debug for VerbsListener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("VerbsListener").field(&self.place).finish()
    }
}

impl VerbsListener {
    /// Opens rdma-core and listens on an address. A wildcard address is that of every RDMA device.
    ///
    /// # Errors
    /// [`VerbsError`].
    pub fn bind(address: SocketAddr) -> Result<Self, VerbsError> {
        Self::listen(Place::Address(address))
            .map_err(|error| error.at(|source| VerbsError::Listen { address, source }))
    }

    /// Opens rdma-core and listens on a service id, on all InfiniBand ports: for initiators that connect by IB/CM, with the
    /// login that SRP annex B has for it.
    ///
    /// # Errors
    /// [`VerbsError`]; [`VerbsError::NoInfiniBand`] where no port is one, since nobody could connect.
    pub fn bind_service(port: ServicePort) -> Result<Self, VerbsError> {
        let listener = Self::listen(Place::Service(port))
            .map_err(|error| error.at(|source| VerbsError::Service { port, source }))?;
        if super::port::any_infiniband() {
            Ok(listener)
        } else {
            Err(VerbsError::NoInfiniBand)
        }
    }

    fn listen(place: Place) -> Result<Self, Failed> {
        let verbs = Verbs::open().map_err(Failed::Before)?;
        let events = Events::new(&verbs)
            .map_err(|error| Failed::Before(VerbsError::ConnectionManager(error)))?;
        let joined = join([events.fd()])
            .map_err(|error| Failed::Before(VerbsError::ConnectionManager(error)))?;
        let id = listen(&verbs, &events, place).map_err(Failed::There)?;
        Ok(Self {
            joined: Arc::new(joined),
            place,
            id: State::Listening(id),
            events,
            verbs,
        })
    }

    fn look(&self, event: &CmEvent) -> Seen {
        let of_listener =
            matches!(&self.id, State::Listening(id) if ptr::eq::<CmId>(id.raw, event.id));
        match event.event {
            cm::CONNECT_REQUEST => Seen::Request(self.request(event)),
            cm::ADDR_CHANGE if of_listener => {
                // A bond, say, works by another card now. The listener stays with its device, which is still there.
                tracing::warn!(place = %self.place, "the network card under SRP's listener has changed");
                Seen::Nothing
            }
            what if of_listener => Seen::End(what, event.status),
            // Of a request that nobody has accepted or rejected yet. To answer it fails then, and is told so.
            _ => Seen::Nothing,
        }
    }

    fn request(&self, event: &CmEvent) -> Request {
        let id = Id::of(event.id, &self.events);
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
            (ip_or_gid(&id.dst_addr), ip_or_gid(&id.src_addr), id.sgid)
        };
        Request {
            private_data,
            form: match self.place {
                Place::Address(_) => LoginForm::Rdma,
                Place::Service(_) => LoginForm::Ib,
            },
            peer,
            local,
            port: (gid != [0; 16]).then_some(PortId(gid)),
            pending: Box::new(VerbsPending {
                id,
                verbs: Arc::clone(&self.verbs),
                joined: Arc::downgrade(&self.joined),
                responder_resources: conn.responder_resources,
                initiator_depth: conn.initiator_depth,
            }),
        }
    }

    /// The listener is of no use any more.
    fn lose(&mut self, event: u32, status: c_int) {
        let place = self.place;
        tracing::warn!(%place, event, status, "an RDMA device is gone, and SRP's listener with it: tried again until it is back");
        // Nothing else holds the device.
        self.id = State::Lost(FIRST_TRY, None);
    }

    /// Tries to listen again; doubles the time until the next try otherwise.
    fn recover(&mut self) {
        let State::Lost(waited, last) = self.id else {
            return;
        };
        forget_devices(&self.verbs);
        match listen(&self.verbs, &self.events, self.place) {
            Ok(id) => {
                tracing::warn!(place = %self.place, "SRP listens again");
                self.id = State::Listening(id);
            }
            Err(error) => {
                if last != Some(error.kind()) {
                    tracing::warn!(place = %self.place, %error, "SRP cannot listen yet");
                }
                self.id = State::Lost((waited * 2).min(LAST_TRY), Some(error.kind()));
            }
        }
    }
}

/// Has librdmacm close devices that are gone. It does so when it looks for devices, and the kernel waits with the removal of a
/// device until then if its driver cannot take it away from a process. It looks when the list is asked for.
fn forget_devices(verbs: &Verbs) {
    let mut count = 0;
    // SAFETY: the list is given back at once.
    unsafe {
        let list = (verbs.rdma_get_devices)(&raw mut count);
        if !list.is_null() {
            (verbs.rdma_free_devices)(list);
        }
    }
}

/// Why there is no listener.
enum Failed {
    Before(VerbsError),
    There(io::Error),
}

impl Failed {
    fn at(self, there: impl FnOnce(io::Error) -> VerbsError) -> VerbsError {
        match self {
            Self::Before(error) => error,
            Self::There(error) => there(error),
        }
    }
}

fn listen(verbs: &Arc<Verbs>, events: &Arc<Events>, place: Place) -> io::Result<Id> {
    let id = Id::new(verbs, events, place.port_space())?;
    let mut to = place.storage();
    let start = to.as_mut_ptr().cast::<c_void>();
    // SAFETY: the id exists, the address is one.
    unsafe {
        ffi::check((verbs.rdma_bind_addr)(id.raw, start))?;
        ffi::check((verbs.rdma_listen)(id.raw, BACKLOG))?;
    }
    Ok(id)
}

impl Listener for VerbsListener {
    fn wait_fd(&self) -> Option<BorrowedFd<'_>> {
        Some(self.joined.as_fd())
    }

    fn wake_by(&mut self, _: Waker) {}

    fn poll(&mut self) -> Option<Request> {
        self.recover();
        loop {
            let Some(seen) = self.events.next(|event| self.look(event)) else {
                Device::take_all_events();
                return None;
            };
            match seen {
                Seen::Request(request) => return Some(request),
                Seen::End(event, status) => self.lose(event, status),
                Seen::Nothing => {}
            }
        }
    }

    fn poll_again(&self) -> Option<Duration> {
        match self.id {
            State::Listening(_) => None,
            State::Lost(wait, _) => Some(wait),
        }
    }
}

struct VerbsPending {
    id: Id,
    verbs: Arc<Verbs>,
    /// The listener's.
    joined: Weak<OwnedFd>,
    responder_resources: u8,
    initiator_depth: u8,
}

impl Pending for VerbsPending {
    fn wants(&self, shared: &Shared, most: usize) -> usize {
        let device = Device::of(&self.verbs, &self.id);
        let queue = device.and_then(|device| SharedQueue::of(&device, shared));
        // What cannot be had is told when the request is accepted.
        queue
            .ok()
            .flatten()
            .map_or(most, |queue| queue.room().min(most))
    }

    fn accept(
        self: Box<Self>,
        answer: &[u8],
        setup: Setup,
    ) -> Result<Box<dyn Endpoint>, ConnectError> {
        let failed = |error: io::Error| ConnectError(error.to_string());
        let Self { id, verbs, .. } = *self;
        let device = Device::of(&verbs, &id).map_err(failed)?;
        let limits = device.limits;
        if let Some(listener) = self.joined.upgrade() {
            device.tell(&listener);
        }
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
            // librdmacm fills in what the queue pair has.
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

#[cfg(test)]
mod tests {
    use std::num::NonZero;

    use super::*;

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

    #[test]
    fn a_machine_without_infiniband_has_no_service() {
        let port = ServicePort(NonZero::new(5555).unwrap());
        let error = VerbsListener::bind_service(port).unwrap_err().to_string();
        assert!(
            error.starts_with("SRP needs") || error.starts_with("no RDMA device"),
            "{error}"
        );
    }
}
