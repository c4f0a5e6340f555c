//! Input: bytes from the link to the phase that the connection is in, and what is left of them.

use std::io::IoSliceMut;

use lunforge_core::buffer::IoBuf;
use lunforge_core::shard::ShardCx;

use super::{Connection, Phase};
use crate::io::link::Moved;
use crate::io::login::Progress;
use crate::io::service::Notice;

/// Bytes read at a time beside payload that goes straight to its buffer, and kept at most.
const STAGE: usize = 64 << 10;
/// Reads in one turn: other connections are served in between.
const ROUNDS: usize = 16;

impl Connection {
    pub(super) fn receive(&mut self, cx: &mut ShardCx<'_>) {
        let mut stage = cx
            .pool()
            .take(STAGE)
            .or_else(|_| IoBuf::unpooled(STAGE))
            .unwrap_or_default();
        self.pdus = self.pdus_received() + self.service.limits.pdus_per_turn;
        for _ in 0..ROUNDS {
            if !self.wants_input() || !self.receive_once(cx, &mut stage) {
                break;
            }
        }
        cx.pool().recycle(stage);
    }

    /// One read. False when the socket has no more, or nothing more is wanted.
    fn receive_once(&mut self, cx: &mut ShardCx<'_>, stage: &mut IoBuf) -> bool {
        let Some(link) = &mut self.link else {
            return false;
        };
        let Some(room) = stage.contiguous_mut(0..STAGE) else {
            return false;
        };
        let kept = self.staged.len().min(STAGE);
        if kept == STAGE {
            return false;
        }
        room[..kept].copy_from_slice(&self.staged[..kept]);
        let (mut direct, mut space) = (0, STAGE - kept);
        let moved = match &mut self.phase {
            Phase::Full(full) if kept == 0 && full.payload().is_some() => {
                let mut parts = full.payload_slices();
                direct = parts.iter().map(|part| part.len()).sum();
                space += direct;
                parts.push(IoSliceMut::new(room));
                link.receive(&mut parts)
            }
            _ => link.receive(&mut [IoSliceMut::new(&mut room[kept..])]),
        };
        let received = match moved {
            Moved::Bytes(n) => n,
            Moved::WouldBlock => return false,
            Moved::Gone => {
                self.tear_down(cx);
                return false;
            }
        };
        self.staged.clear();
        let straight = received.min(direct);
        if let (Phase::Full(full), true) = (&mut self.phase, straight > 0) {
            full.payload_received(straight);
        }
        let end = kept + received - straight;
        let Some(bytes) = stage.contiguous(0..end).or((end == 0).then_some(&[])) else {
            return false;
        };
        self.digest(cx, bytes);
        received == space
    }

    /// Uses up bytes as far as the phase goes, keeps the rest.
    pub(super) fn digest(&mut self, cx: &mut ShardCx<'_>, bytes: &[u8]) {
        let mut used = 0;
        loop {
            let rest = bytes.get(used..).unwrap_or_default();
            match &mut self.phase {
                Phase::Login(login) if !self.last_words => {
                    let before = self.out.len();
                    let (n, progress) = login.feed(rest, &mut self.out, cx.now());
                    used += n;
                    let request = rest.get(..n).unwrap_or_default();
                    self.record_login(cx, request, before, &progress);
                    match progress {
                        Progress::Going => self.next_login_step(cx),
                        Progress::NeedBytes => break,
                        Progress::Failed => self.last_words = true,
                        Progress::Denied(initiator) => self.denied(cx, &initiator),
                        Progress::Done(finish) => self.logged_in(cx, finish),
                    }
                }
                Phase::Full(full) if !self.last_words => {
                    let (n, verdict) = full.process(cx, rest, self.pdus);
                    used += n;
                    self.obey(cx, verdict);
                    break;
                }
                _ => break,
            }
        }
        if let Some(rest) = bytes.get(used..) {
            self.staged.extend_from_slice(rest);
        }
        if matches!(self.phase, Phase::Moving(_)) {
            self.move_over(cx);
        }
    }

    pub(super) fn wants_input(&self) -> bool {
        self.link.is_some()
            && !self.last_words
            && !self.later
            && match &self.phase {
                Phase::Login(_) => true,
                // What comes early is kept, and an end is seen.
                Phase::Denied(..) | Phase::Waiting(_) => self.staged.len() < STAGE,
                Phase::Full(full) => !full.is_held(),
                _ => false,
            }
    }

    /// PDUs received so far in full feature phase.
    fn pdus_received(&self) -> u64 {
        match &self.phase {
            Phase::Full(full) => full.pdus_received(),
            _ => 0,
        }
    }

    /// Leaves the rest of the input to the next turn.
    pub(super) fn go_on_later(&mut self, cx: &mut ShardCx<'_>) {
        self.later = true;
        cx.handle().send(cx.this(), Box::new(Notice::GoOn));
    }

    /// The next turn has come.
    pub(super) fn go_on(&mut self, cx: &mut ShardCx<'_>) {
        self.later = false;
        self.pdus = self.pdus_received() + self.service.limits.pdus_per_turn;
        self.resume(cx);
    }

    /// Bytes that were held back, after what held them is gone.
    pub(super) fn resume(&mut self, cx: &mut ShardCx<'_>) {
        let uses = matches!(self.phase, Phase::Login(_) | Phase::Full(_));
        if uses && !self.staged.is_empty() && self.wants_input() {
            let bytes = std::mem::take(&mut self.staged);
            self.digest(cx, &bytes);
        }
    }
}
