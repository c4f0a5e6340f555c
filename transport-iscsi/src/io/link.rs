//! What carries a connection: a TCP socket, or a byte stream of the caller's.

use std::any::Any;
use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsFd, OwnedFd};

use lunforge_core::shard::{Readiness, ShardCx};

use super::service::{Notice, Place};
use super::socket;

/// What a transfer came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moved {
    /// So many bytes, at least one.
    Bytes(usize),
    /// Nothing now.
    WouldBlock,
    /// The peer is gone, orderly or not.
    Gone,
}

/// An ordered, reliable byte stream that is no TCP socket of ours: TLS, a pipe, memory. It lives on one shard, whose
/// thread calls it; no call may block.
///
/// It is level triggered: whoever changes what [`Stream::readiness`] says tells the [`Waker`].
pub trait Stream: Send {
    /// Takes the waker of the connection. Comes before anything else; and again when the connection goes on on another shard,
    /// to which the stream has moved, with the waker that counts from then on.
    fn opened(&mut self, waker: Waker);

    /// Moves received bytes into the buffers, in order.
    fn receive(&mut self, into: &mut [IoSliceMut<'_>]) -> Moved;

    /// Takes bytes to send, in order, as many as it likes. Nothing to take counts as blocked.
    fn send(&mut self, from: &[IoSlice<'_>]) -> Moved;

    /// Whether `receive` and `send` would do anything but block. The end of the stream counts as both.
    fn readiness(&self) -> Readiness;
}

/// Tells a connection that its stream is ready for something. May be called from any thread and after the connection
/// is gone.
#[derive(Debug, Clone)]
pub struct Waker(Place);

impl Waker {
    /// The stream's readiness has changed.
    pub fn wake(&self) {
        let notice: Box<dyn Any + Send> = Box::new(Notice::StreamReady);
        self.0.shard.send(self.0.source, notice);
    }
}

pub(super) enum Link {
    Socket(OwnedFd),
    Stream {
        stream: Box<dyn Stream>,
        waker: Waker,
        /// The waker has been called and the call has not come yet.
        called: bool,
    },
}

impl Link {
    pub(super) fn stream(cx: &ShardCx<'_>, mut stream: Box<dyn Stream>) -> Self {
        let waker = Waker(Place {
            shard: cx.handle(),
            source: cx.this(),
        });
        stream.opened(waker.clone());
        Self::Stream {
            stream,
            waker,
            called: false,
        }
    }

    /// The link has come to another source, perhaps on another shard.
    pub(super) fn moved(&mut self, cx: &ShardCx<'_>) {
        if let Self::Stream {
            stream,
            waker,
            called,
        } = self
        {
            *waker = Waker(Place {
                shard: cx.handle(),
                source: cx.this(),
            });
            *called = false;
            stream.opened(waker.clone());
        }
    }

    /// Reads into several buffers.
    pub(super) fn receive(&mut self, into: &mut [IoSliceMut<'_>]) -> Moved {
        match self {
            Self::Socket(fd) => socket::receive(fd, into),
            Self::Stream { stream, .. } => stream.receive(into),
        }
    }

    /// Writes several buffers.
    pub(super) fn send(&mut self, from: &[IoSlice<'_>]) -> Moved {
        match self {
            Self::Socket(fd) => socket::send(fd, from),
            Self::Stream { stream, .. } => stream.send(from),
        }
    }

    /// Begins to listen for bytes.
    pub(super) fn watch(&mut self, cx: &mut ShardCx<'_>) -> std::io::Result<()> {
        match self {
            Self::Socket(fd) => cx.watch(fd.as_fd(), true, false),
            Self::Stream { .. } => {
                self.call_again(true, false);
                Ok(())
            }
        }
    }

    /// Changes what is listened for, after a change only.
    pub(super) fn rewatch(
        &mut self,
        cx: &mut ShardCx<'_>,
        readable: bool,
        writable: bool,
    ) -> std::io::Result<()> {
        match self {
            Self::Socket(fd) => cx.rewatch(fd.as_fd(), readable, writable),
            Self::Stream { .. } => Ok(()),
        }
    }

    /// A stream has no kernel that reminds of what is still ready: it is looked at here, after each batch.
    pub(super) fn call_again(&mut self, readable: bool, writable: bool) {
        if let Self::Stream {
            stream,
            waker,
            called,
        } = self
        {
            let ready = stream.readiness();
            if !*called && (ready.readable && readable || ready.writable && writable) {
                *called = true;
                waker.wake();
            }
        }
    }

    /// What a call of the waker is about; `None` for a socket, which nobody wakes.
    pub(super) fn called(&mut self) -> Option<Readiness> {
        match self {
            Self::Socket(_) => None,
            Self::Stream { stream, called, .. } => {
                *called = false;
                Some(stream.readiness())
            }
        }
    }

    /// Ends the listening; dropping the link closes it.
    pub(super) fn unwatch(&self, cx: &mut ShardCx<'_>) {
        if let Self::Socket(fd) = self {
            let _ = cx.unwatch(fd.as_fd());
        }
    }
}
