//! Output: PDUs that are ready become I/O vectors over headers and task buffers.

use std::io::IoSlice;

use lunforge_core::shard::ShardCx;

use super::memory::Held;
use super::{FullFeature, Slot};
use crate::io::link::{Link, Moved};
use crate::proto::connection::{Connection, TxPayload};

/// I/O vectors in one call.
const MAX_VECTORS: usize = 512;

/// Bytes sent in one turn of the shard: a peer that reads as fast as that does not have the shard to itself.
const TURN_BYTES: usize = 4 << 20;

impl FullFeature {
    /// Sends what is ready, as far as the link and [`TURN_BYTES`] go. False when the peer is gone.
    pub(in crate::io) fn send(&mut self, cx: &mut ShardCx<'_>, link: &mut Link) -> bool {
        self.adapt_window();
        let alive = self.send_ready(cx, link);
        self.account(cx.now());
        alive
    }

    fn send_ready(&mut self, cx: &mut ShardCx<'_>, link: &mut Link) -> bool {
        let Self {
            wire,
            session,
            slots,
            blocked,
            memory,
            ..
        } = self;
        wire.fill(session);
        let mut budget = TURN_BYTES;
        while wire.has_output() {
            wire.seal(|task, range, crc| {
                if let Some(slot) = slots.get(task.index()) {
                    slot.buf.slices(range).for_each(|part| crc.update(part));
                }
            });
            wire.show(cx.now(), |task, range, tap| {
                if let Some(slot) = slots.get(task.index()) {
                    slot.buf.slices(range).for_each(|part| tap.sent_part(part));
                }
            });
            let (vectors, total) = gather(wire, slots);
            let sent = match link.send(&vectors) {
                Moved::Bytes(n) => n,
                Moved::WouldBlock => {
                    // RspTimeout counts from here, not from the last thing that was sent.
                    if !std::mem::replace(blocked, true) {
                        wire.output_started(cx.now());
                    }
                    return true;
                }
                Moved::Gone => return false,
            };
            drop(vectors);
            *blocked = false;
            memory.moved += sent as u64;
            wire.sent(session, sent, cx.now(), |task| {
                if let Some(slot) = slots.get_mut(task.index()) {
                    cx.pool().recycle(std::mem::take(&mut slot.buf));
                }
            });
            budget = budget.saturating_sub(sent);
            // The rest goes when the socket is writable, which it may be at once. One that took a part is full: nobody
            // tries it again until then, so this is where a peer that stops reading is seen.
            *blocked = sent < total;
            if *blocked || budget == 0 && wire.has_output() {
                return true;
            }
        }
        // Output has left: a connection that was held back may go on.
        self.held = Held::No;
        true
    }
}

/// I/O vectors over what is ready, and their length in all.
fn gather<'a>(wire: &'a Connection, slots: &'a [Slot]) -> (Vec<IoSlice<'a>>, usize) {
    let mut vectors = Vec::with_capacity(64);
    let (mut skip, mut total) = (wire.front_sent(), 0);
    let mut push = |bytes: &'a [u8], vectors: &mut Vec<IoSlice<'a>>| {
        let n = skip.min(bytes.len());
        skip -= n;
        if let Some(rest) = bytes.get(n..).filter(|rest| !rest.is_empty()) {
            total += rest.len();
            vectors.push(IoSlice::new(rest));
        }
    };
    for pdu in wire.ready() {
        if vectors.len() >= MAX_VECTORS {
            break;
        }
        push(pdu.head(), &mut vectors);
        match pdu.data() {
            TxPayload::None => {}
            TxPayload::Own(bytes) => push(bytes, &mut vectors),
            TxPayload::Task { task, offset, len } => {
                let start = *offset as usize;
                if let Some(slot) = slots.get(task.index()) {
                    slot.buf
                        .slices(start..start + *len as usize)
                        .for_each(|part| push(part, &mut vectors));
                }
            }
        }
        push(pdu.tail(), &mut vectors);
    }
    (vectors, total)
}
