//! The seam below the protocol: reliable connected channels that send information units and reach into the memory of the
//! other end.
//!
//! A buffer that an [`Endpoint`] was given belongs to it until it comes back with a [`Completion`], of success or not. So no
//! fabric ever writes into memory that somebody else has by then, however a connection ended. What is still out when an
//! endpoint is dropped is dropped by it, after its hardware cannot reach it any more.
//!
//! Whoever calls these lives on a shard: nothing here may block.

use std::any::Any;
use std::os::fd::BorrowedFd;
use std::sync::{Arc, Weak};
use std::time::Duration;

use lunforge_core::buffer::IoBuf;
use parking_lot::Mutex;

use crate::proto::data::Remote;
use crate::proto::iu::login::LoginForm;
use crate::proto::port::PortId;

#[cfg(feature = "testing")]
pub mod memory;

/// Tells a source that there is something to poll. May be called from any thread, also after the source is gone.
#[derive(Clone)]
pub struct Waker(Arc<dyn Fn() + Send + Sync>);

impl Waker {
    /// A waker that calls `wake`.
    pub fn new(wake: impl Fn() + Send + Sync + 'static) -> Self {
        Self(Arc::new(wake))
    }

    /// There is something to poll.
    pub fn wake(&self) {
        (self.0)();
    }
}

impl std::fmt::Debug for Waker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Waker")
    }
}

/// Why a piece of work has no effect, or perhaps a part of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WorkError {
    /// The other end refuses access to its memory, or does not answer. The connection is lost.
    #[error("the other end's memory cannot be reached")]
    Remote,
    /// The connection was lost before.
    #[error("the connection is lost")]
    Flushed,
}

/// What came of something.
#[derive(Debug)]
pub enum Completion {
    /// The other end knows that it is connected. May come after the first [`Completion::Received`].
    Established,
    /// An information unit came: so many bytes at the start of a buffer that was given for one.
    Received(IoBuf, usize),
    /// An information unit has left. They leave in order.
    Sent,
    /// A read has ended.
    Read {
        /// As it was given.
        id: u64,
        /// Its buffer.
        buf: IoBuf,
        /// Whether the buffer has the bytes.
        result: Result<(), WorkError>,
    },
    /// A write has ended.
    Wrote {
        /// As it was given.
        id: u64,
        /// Its buffer.
        buf: IoBuf,
        /// Whether the other end has the bytes.
        result: Result<(), WorkError>,
    },
    /// A buffer for an information unit is not used any more.
    Unused(IoBuf),
    /// The connection is lost, or the other end has ended it. Buffers still come back, if need be only after
    /// [`Endpoint::disconnect`].
    Disconnected,
}

impl Completion {
    /// The buffer that comes back with it.
    pub(crate) fn buf(&self) -> Option<&IoBuf> {
        match self {
            Self::Received(buf, _) | Self::Unused(buf) => Some(buf),
            Self::Read { buf, .. } | Self::Wrote { buf, .. } => Some(buf),
            Self::Established | Self::Sent | Self::Disconnected => None,
        }
    }

    /// As [`Completion::buf`].
    pub(crate) fn buf_mut(&mut self) -> Option<&mut IoBuf> {
        match self {
            Self::Received(buf, _) | Self::Unused(buf) => Some(buf),
            Self::Read { buf, .. } | Self::Wrote { buf, .. } => Some(buf),
            Self::Established | Self::Sent | Self::Disconnected => None,
        }
    }
}

/// One reliable connected channel.
///
/// Work is done in order: what is sent after a write arrives after it.
pub trait Endpoint: Send {
    /// A descriptor that becomes readable when there is something to poll; `None` if the waker is called instead.
    fn wait_fd(&self) -> Option<BorrowedFd<'_>>;

    /// Takes the waker of its source. Comes before anything else.
    fn wake_by(&mut self, waker: Waker);

    /// Gives a buffer for an information unit.
    fn receive(&mut self, buf: IoBuf);

    /// Sends a copy of an information unit.
    fn send(&mut self, iu: &[u8]);

    /// Reads the other end's memory into the start of a buffer, one part behind the other.
    fn read(&mut self, id: u64, buf: IoBuf, from: &[Remote]);

    /// Writes the start of a buffer to the other end's memory, one part behind the other.
    fn write(&mut self, id: u64, buf: IoBuf, to: &[Remote]);

    /// Puts what was given since the last call on its way, all of it together.
    fn flush(&mut self);

    /// Appends a batch of what has come. False if that is nothing: the next thing wakes the source.
    fn poll(&mut self, into: &mut Vec<Completion>) -> bool;

    /// Ends the connection. All buffers come back soon after.
    fn disconnect(&mut self);

    /// Buffers that have not come back.
    fn in_flight(&self) -> usize;
}

/// A connection cannot be set up.
#[derive(Debug, thiserror::Error)]
#[error("the connection cannot be set up: {0}")]
pub struct ConnectError(pub String);

/// What an endpoint is made for.
#[derive(Debug)]
pub struct Setup {
    /// Buffers for information units, which are there before the other end can send one.
    pub receives: Vec<IoBuf>,
    /// Requests at a time: each has a send, and a read or a write.
    pub depth: u32,
    /// Longest information unit to the initiator, in bytes.
    pub send_len: u32,
    /// Memory for information units to the initiator: [`Setup::sends_len`] bytes.
    pub sends: IoBuf,
    /// Where receives are shared: buffers that are given are for whoever needs one, and stay when the endpoint ends.
    pub shared: Option<Arc<Shared>>,
    /// How long an endpoint may poll for more before it waits to be woken.
    pub spin: Duration,
}

/// Buffers for information units that all endpoints of a shard share, those of one device each: a shared receive queue.
///
/// The endpoints hold the queue, this finds it again: when the last of them ends, its buffers are freed.
#[derive(Debug)]
pub struct Shared {
    size: usize,
    queues: Mutex<Vec<Box<dyn Any + Send + Sync>>>,
}

impl Shared {
    /// Room for `size` buffers.
    #[must_use]
    pub fn new(size: usize) -> Self {
        Self {
            size,
            queues: Mutex::default(),
        }
    }

    /// Buffers of one queue at most.
    #[must_use]
    pub fn size(&self) -> usize {
        self.size
    }

    /// The fabric's queue of a type for which `is` holds, made if there is none.
    pub(crate) fn queue<T: Any + Send + Sync, E>(
        &self,
        is: impl Fn(&T) -> bool,
        make: impl FnOnce() -> Result<Arc<T>, E>,
    ) -> Result<Arc<T>, E> {
        let mut queues = self.queues.lock();
        let held = |one: &Box<dyn Any + Send + Sync>| one.downcast_ref::<Weak<T>>()?.upgrade();
        if let Some(known) = queues.iter().filter_map(held).find(|one| is(one)) {
            return Ok(known);
        }
        queues.retain(|one| held(one).is_some());
        let made = make()?;
        queues.push(Box::new(Arc::downgrade(&made)));
        Ok(made)
    }
}

impl Setup {
    /// Memory for information units of `send_len` bytes that leave, in bytes: an answer for each of `depth` requests, and a few
    /// that the target sends of itself.
    #[must_use]
    pub fn sends_len(depth: u32, send_len: u32) -> usize {
        let place = (send_len.max(1) as usize).next_power_of_two();
        (depth as usize + 4).saturating_mul(place)
    }
}

/// The other half of a connection request.
pub trait Pending: Send {
    /// Buffers for information units that are wanted of an endpoint that shares its receives, `most` of one that has its own.
    fn wants(&self, shared: &Shared, most: usize) -> usize;

    /// Accepts it, with an answer to the private data. The initiator may have gone away meanwhile.
    ///
    /// # Errors
    /// [`ConnectError`].
    fn accept(
        self: Box<Self>,
        answer: &[u8],
        setup: Setup,
    ) -> Result<Box<dyn Endpoint>, ConnectError>;

    /// Rejects it, with an answer to the private data.
    fn reject(self: Box<Self>, answer: &[u8]);
}

/// Somebody wants to connect. Dropped, it is neither accepted nor rejected; the fabric gives it up.
pub struct Request {
    /// What the initiator says: a login.
    pub private_data: Vec<u8>,
    /// The form of it.
    pub form: LoginForm,
    /// Who it is as the fabric knows: an IP address for RDMA/CM, a GID for IB/CM.
    pub peer: String,
    /// The address at which it came in, in the same form.
    pub local: String,
    /// The GID of the port at which it came in, as far as the fabric has such.
    pub port: Option<PortId>,
    /// How to answer.
    pub pending: Box<dyn Pending>,
}

impl std::fmt::Debug for Request {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Request")
            .field("form", &self.form)
            .field("peer", &self.peer)
            .finish_non_exhaustive()
    }
}

/// Where requests come in.
pub trait Listener: Send {
    /// A descriptor that becomes readable when there is something to poll; `None` if the waker is called instead.
    fn wait_fd(&self) -> Option<BorrowedFd<'_>>;

    /// Takes the waker of its source. Comes before anything else.
    fn wake_by(&mut self, waker: Waker);

    /// The next request. `None`: the next one wakes the source.
    fn poll(&mut self) -> Option<Request>;

    /// In what time to poll even if nothing wakes the source, looked at when [`poll`](Self::poll) gave nothing. A listener
    /// that has lost what it listens on looks for it then.
    fn poll_again(&self) -> Option<Duration> {
        None
    }
}
