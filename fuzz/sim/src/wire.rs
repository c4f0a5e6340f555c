//! Byte streams in memory.
//!
//! Bytes to the target travel slowly: the initiator's end keeps them until a step delivers some. Bytes from the target
//! are seen the moment they are sent, with the place of that in the order of events: so "nothing happens after the
//! answer" means after it left the target. A slow reader is a pipe with little room.

use std::collections::VecDeque;
use std::io::{IoSlice, IoSliceMut};
use std::sync::Arc;

use lunforge::core::shard::Readiness;
use lunforge::iscsi::io::{Moved, Stream, Waker};
use parking_lot::Mutex;

use crate::chronicle::{Chronicle, Seq};

/// How a stream stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Life {
    #[default]
    Open,
    /// The initiator ended it: what was delivered can still be read.
    Finished,
    /// Gone at once.
    Reset,
}

#[derive(Debug, Default)]
pub(crate) struct Pipe {
    to_target: VecDeque<u8>,
    /// Bytes that the target took in all.
    pub(crate) consumed: u64,
    from_target: Vec<u8>,
    /// Ends of what was sent at a time, counted from the start of `from_target`, and when.
    marks: Vec<(usize, Seq)>,
    pub(crate) room: usize,
    pub(crate) life: Life,
    /// The target let go of its end.
    pub(crate) closed: bool,
    waker: Option<Waker>,
}

/// What the target sent, and where in it each of its sends ended, and when that was.
#[derive(Debug)]
pub(crate) struct Sent {
    pub(crate) bytes: Vec<u8>,
    pub(crate) ends: Vec<(usize, Seq)>,
}

/// Both ends' hold on a stream.
#[derive(Debug, Clone)]
pub(crate) struct Wire {
    pipe: Arc<Mutex<Pipe>>,
    chronicle: Arc<Chronicle>,
}

impl Wire {
    pub(crate) fn new(chronicle: &Arc<Chronicle>, room: usize) -> Self {
        let pipe = Pipe {
            room,
            ..Pipe::default()
        };
        Self {
            pipe: Arc::new(Mutex::new(pipe)),
            chronicle: Arc::clone(chronicle),
        }
    }

    /// The target's end.
    pub(crate) fn target_end(&self) -> Box<dyn Stream> {
        Box::new(TargetEnd(self.clone()))
    }

    pub(crate) fn look<R>(&self, look: impl FnOnce(&Pipe) -> R) -> R {
        look(&self.pipe.lock())
    }

    fn change(&self, change: impl FnOnce(&mut Pipe)) {
        let waker = {
            let mut pipe = self.pipe.lock();
            change(&mut pipe);
            pipe.waker.clone()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    pub(crate) fn deliver(&self, bytes: impl Iterator<Item = u8>) {
        self.change(|pipe| pipe.to_target.extend(bytes));
    }

    pub(crate) fn end(&self, life: Life) {
        self.change(|pipe| pipe.life = life);
    }

    pub(crate) fn give_room(&self, room: usize) {
        self.change(|pipe| pipe.room += room);
    }

    /// What the target sent since the last call, and when.
    pub(crate) fn take(&self) -> Option<Sent> {
        let mut pipe = self.pipe.lock();
        if pipe.from_target.is_empty() {
            return None;
        }
        Some(Sent {
            bytes: std::mem::take(&mut pipe.from_target),
            ends: std::mem::take(&mut pipe.marks),
        })
    }
}

#[derive(Debug)]
struct TargetEnd(Wire);

impl Stream for TargetEnd {
    fn opened(&mut self, waker: Waker) {
        self.0.pipe.lock().waker = Some(waker);
    }

    fn receive(&mut self, into: &mut [IoSliceMut<'_>]) -> Moved {
        let mut pipe = self.0.pipe.lock();
        let mut moved = 0;
        if pipe.life == Life::Reset {
            return Moved::Gone;
        }
        for part in into {
            let (front, _) = pipe.to_target.as_slices();
            let n = front.len().min(part.len());
            part[..n].copy_from_slice(&front[..n]);
            pipe.to_target.drain(..n);
            moved += n;
            if n < part.len() {
                break;
            }
        }
        pipe.consumed += moved as u64;
        match (moved, pipe.life) {
            (0, Life::Open) => Moved::WouldBlock,
            (0, _) => Moved::Gone,
            (n, _) => Moved::Bytes(n),
        }
    }

    fn send(&mut self, from: &[IoSlice<'_>]) -> Moved {
        let mut pipe = self.0.pipe.lock();
        if pipe.life == Life::Reset {
            return Moved::Gone;
        }
        let before = pipe.from_target.len();
        for part in from {
            let n = part.len().min(pipe.room);
            pipe.room -= n;
            pipe.from_target.extend_from_slice(&part[..n]);
        }
        let end = pipe.from_target.len();
        if end == before {
            return Moved::WouldBlock;
        }
        let sent = end - before;
        let seq = self
            .0
            .chronicle
            .note(1, sent as u64, || format!("the target sends {sent} bytes"));
        pipe.marks.push((end, seq));
        Moved::Bytes(sent)
    }

    fn readiness(&self) -> Readiness {
        let pipe = self.0.pipe.lock();
        Readiness {
            readable: !pipe.to_target.is_empty() || pipe.life != Life::Open,
            writable: pipe.room > 0 || pipe.life == Life::Reset,
        }
    }
}

impl Drop for TargetEnd {
    fn drop(&mut self) {
        self.0.pipe.lock().closed = true;
    }
}
