//! What a queue pair's send queue is given, and who it is for when it completes: no hardware here.
//!
//! Work requests are done in the order in which they were posted, so a completion also tells of those before it that ask for
//! none (they are *unsignalled*). An RDMA read asks for one, since somebody waits for it; the last one of what is posted
//! together does, and one in a while. So nothing is posted that no completion will tell of. What fails or is flushed
//! completes in any case.
//!
//! A completion tells nothing of what asks for one itself: by iWARP (siw of Linux) what is sent behind a read may complete
//! before it, as nothing is left to be done for a read until its data comes.

use std::collections::VecDeque;

use lunforge_core::buffer::IoBuf;

use super::memory::{Local, Registered};
use super::places::Places;
use crate::fabric::{Completion, WorkError};
use crate::proto::data::Remote;

/// Memory for so many work requests that wait is kept. What tables of thousands of parts take is given back.
const KEPT: usize = 1024;

/// A work request of one piece of local memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Request {
    /// An information unit at this place.
    Send {
        place: usize,
        len: usize,
        solicited: bool,
    },
    Piece(Piece),
}

/// A part of a read or a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) writes: bool,
    pub(super) local: Local,
    pub(super) remote: u64,
    pub(super) rkey: u32,
}

/// A read or a write.
struct Op {
    id: u64,
    writes: bool,
    /// Before the buffer, so that they are dropped before it.
    registered: Vec<Registered>,
    buf: IoBuf,
    /// Pieces that have not completed.
    left: usize,
    failed: Option<WorkError>,
}

impl Op {
    fn end(self) -> Completion {
        drop(self.registered);
        let (id, buf) = (self.id, self.buf);
        let result = self.failed.map_or(Ok(()), Err);
        if self.writes {
            Completion::Wrote { id, buf, result }
        } else {
            Completion::Read { id, buf, result }
        }
    }
}

/// A work request that the queue pair has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Posted {
    what: What,
    signalled: bool,
    /// Once it has completed.
    result: Option<Result<(), WorkError>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum What {
    Send(usize),
    Piece,
    /// Nothing; it tells of what is before it.
    Marker,
}

/// What is to be posted.
enum Todo {
    Request(Request),
    /// An information unit for which no place was free.
    Late(Box<[u8]>),
}

/// The send queue.
pub(super) struct Work {
    todo: VecDeque<Todo>,
    /// How many of `todo` are late.
    late: usize,
    posted: VecDeque<Posted>,
    /// Number of the first of `posted`: the id that its completion has.
    first: u64,
    /// Reads and writes of which something is to be done, in their order.
    ops: VecDeque<Op>,
    /// Work requests at a time.
    depth: usize,
    /// Those posted last that ask for no completion.
    silent: usize,
}

impl Work {
    pub(super) fn new(depth: usize) -> Self {
        Self {
            todo: VecDeque::new(),
            late: 0,
            posted: VecDeque::with_capacity(depth),
            first: 0,
            ops: VecDeque::new(),
            depth,
            silent: 0,
        }
    }

    /// Sends a copy of an information unit.
    pub(super) fn send(&mut self, iu: &[u8], places: &mut Places) {
        // Not before one that waits for a place: it might wait for ever.
        let placed = if self.late == 0 {
            put(iu, places)
        } else {
            None
        };
        self.late += usize::from(placed.is_none());
        self.todo
            .push_back(placed.map_or_else(|| Todo::Late(iu.into()), Todo::Request));
    }

    /// Takes a read or a write of registered memory: `locals` is used up. One of no bytes is done at once.
    pub(super) fn op(
        &mut self,
        (id, writes, buf): (u64, bool, IoBuf),
        registered: Vec<Registered>,
        locals: &mut VecDeque<Local>,
        parts: &[Remote],
        done: &mut VecDeque<Completion>,
    ) {
        let before = self.todo.len();
        cut(writes, locals, parts, |piece| {
            self.todo.push_back(Todo::Request(Request::Piece(piece)));
        });
        let op = Op {
            id,
            writes,
            registered,
            buf,
            left: self.todo.len() - before,
            failed: None,
        };
        if op.left == 0 {
            done.push_back(op.end());
        } else {
            self.ops.push_back(op);
        }
    }

    /// The next work request to be posted, with its id, among at most `room` that are posted together; whether it asks for a
    /// completion. From here on it counts as posted.
    pub(super) fn next(
        &mut self,
        room: usize,
        places: &mut Places,
    ) -> Option<(u64, Request, bool)> {
        if self.posted.len() >= self.depth || self.is_blocked(places) {
            return None;
        }
        let Some(todo) = self.todo.pop_front() else {
            self.todo.shrink_to(KEPT);
            return None;
        };
        let request = match todo {
            Todo::Request(request) => request,
            Todo::Late(iu) => {
                self.late -= 1;
                put(&iu, places)?
            }
        };
        let full = room <= 1 || self.posted.len() + 1 >= self.depth;
        let last = full || self.todo.is_empty() || self.is_blocked(places);
        let signalled = last
            || self.silent + 1 >= (self.depth / 4).max(1)
            || matches!(request, Request::Piece(Piece { writes: false, .. }));
        let what = match request {
            Request::Send { place, .. } => What::Send(place),
            Request::Piece(_) => What::Piece,
        };
        let id = self.push(what, signalled);
        self.silent = if signalled { 0 } else { self.silent + 1 };
        Some((id, request, signalled))
    }

    /// Whether what is next has to wait for a place: those are posted, and completions will tell of them.
    fn is_blocked(&self, places: &Places) -> bool {
        places.are_full() && matches!(self.todo.front(), Some(Todo::Late(_)))
    }

    fn push(&mut self, what: What, signalled: bool) -> u64 {
        self.posted.push_back(Posted {
            what,
            signalled,
            result: None,
        });
        self.first + self.posted.len() as u64 - 1
    }

    /// The last `count` work requests have not been posted after all. Nothing more will be: what is left to do is done with.
    pub(super) fn refused(
        &mut self,
        count: usize,
        places: &mut Places,
        done: &mut VecDeque<Completion>,
    ) {
        self.give_up(places, done);
        for _ in 0..count {
            match self.posted.pop_back().map(|posted| posted.what) {
                Some(What::Send(place)) => places.free(place),
                Some(What::Piece) => self.last_piece_is_not_done(done),
                Some(What::Marker) | None => {}
            }
        }
    }

    /// What has not been posted comes back; it will not be.
    pub(super) fn give_up(&mut self, places: &mut Places, done: &mut VecDeque<Completion>) {
        while let Some(todo) = self.todo.pop_back() {
            match todo {
                Todo::Request(Request::Send { place, .. }) => places.free(place),
                Todo::Request(Request::Piece(_)) => self.last_piece_is_not_done(done),
                Todo::Late(_) => self.late -= 1,
            }
        }
    }

    fn last_piece_is_not_done(&mut self, done: &mut VecDeque<Completion>) {
        if let Some(op) = self.ops.back_mut() {
            op.failed = op.failed.or(Some(WorkError::Flushed));
            op.left -= 1;
        }
        if self.ops.back().is_some_and(|op| op.left == 0)
            && let Some(op) = self.ops.pop_back()
        {
            done.push_back(op.end());
        }
    }

    /// The id of a marker that has to be posted, as no completion will tell of what was posted last.
    pub(super) fn marker(&mut self) -> Option<u64> {
        let last = self.posted.back()?;
        (!last.signalled).then(|| self.push(What::Marker, true))
    }

    /// The marker could not be posted.
    pub(super) fn no_marker(&mut self) {
        let marker = |posted: &Posted| posted.what == What::Marker;
        if self.posted.back().is_some_and(marker) {
            self.posted.pop_back();
        }
    }

    /// A work request has completed, and with it those before it that ask for no completion.
    pub(super) fn completed(
        &mut self,
        id: u64,
        result: Result<(), WorkError>,
        places: &mut Places,
        done: &mut VecDeque<Completion>,
    ) {
        let Some(place) = id.checked_sub(self.first) else {
            return;
        };
        let place = usize::try_from(place).unwrap_or(usize::MAX);
        let behind = place.saturating_add(1).min(self.posted.len());
        let mut until = self.posted.range_mut(..behind).rev();
        if let Some(this) = until.next() {
            this.result = Some(result);
        }
        // Up to the one that told before.
        for before in until.take_while(|posted| posted.result.is_none()) {
            if !before.signalled {
                before.result = Some(Ok(()));
            }
        }
        self.settle(places, done);
    }

    /// What has completed is told of in order.
    fn settle(&mut self, places: &mut Places, done: &mut VecDeque<Completion>) {
        while let Some(Posted { what, result, .. }) = self.posted.front().copied()
            && let Some(result) = result
        {
            self.posted.pop_front();
            self.first += 1;
            match what {
                What::Send(place) => {
                    places.free(place);
                    if result.is_ok() {
                        done.push_back(Completion::Sent);
                    }
                }
                What::Piece => self.piece_ended(result, done),
                What::Marker => {}
            }
        }
    }

    fn piece_ended(&mut self, result: Result<(), WorkError>, done: &mut VecDeque<Completion>) {
        if let Some(op) = self.ops.front_mut() {
            op.failed = op.failed.or(result.err());
            op.left -= 1;
        }
        if self.ops.front().is_some_and(|op| op.left == 0)
            && let Some(op) = self.ops.pop_front()
        {
            done.push_back(op.end());
        }
    }

    /// Reads and writes that have not come back.
    pub(super) fn ops(&self) -> usize {
        self.ops.len()
    }
}

/// Puts an information unit in its place; `None` while there is none.
fn put(iu: &[u8], places: &mut Places) -> Option<Request> {
    let (place, len) = places.put(iu)?;
    // SOLNT of whatever a target sends.
    let solicited = iu.get(1).is_some_and(|flags| flags & 1 != 0);
    Some(Request::Send {
        place,
        len,
        solicited,
    })
}

/// Cuts local and remote memory into pieces that lie in one of either.
fn cut(writes: bool, locals: &mut VecDeque<Local>, parts: &[Remote], mut piece: impl FnMut(Piece)) {
    for part in parts {
        let (mut remote, mut left) = (part.address, part.len as usize);
        while left > 0 {
            let Some(local) = locals.front_mut() else {
                return;
            };
            let len = local.len.min(left);
            piece(Piece {
                writes,
                local: Local { len, ..*local },
                remote,
                rkey: part.key,
            });
            remote = remote.wrapping_add(len as u64);
            left -= len;
            local.addr += len as u64;
            local.len -= len;
            if local.len == 0 {
                locals.pop_front();
            }
        }
    }
    locals.clear();
}

#[cfg(test)]
mod tests;
