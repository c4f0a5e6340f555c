//! A portal: accepts connections and places each on the shard with the fewest sessions.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use lunforge_core::shard::{Event, Readiness, ShardCx, Source};
use rustix::io::Errno;

use super::connection::{Connection, Ends};
use super::link::Link;
use super::manage::EndListener;
use super::service::Service;
use super::socket;

/// Connections accepted in one turn: established sessions are served in between.
const BATCH: usize = 64;
/// How long to rest when the system is out of memory, or out of descriptors with none to spare.
const REST: Duration = Duration::from_millis(100);

pub(super) struct Listener {
    fd: OwnedFd,
    /// A descriptor to give up when no other is left: so a peer sees its connection closed instead of waiting for us.
    spare: Option<OwnedFd>,
    service: Arc<Service>,
    next_shard: usize,
    /// Dropped after the socket.
    ended: Option<EndListener>,
}

impl Listener {
    pub(super) fn start(
        cx: &mut ShardCx<'_>,
        fd: OwnedFd,
        service: Arc<Service>,
    ) -> Option<Box<dyn Source>> {
        cx.watch(fd.as_fd(), true, false).ok()?;
        Some(Box::new(Self {
            spare: fd.try_clone().ok(),
            fd,
            service,
            next_shard: 0,
            ended: None,
        }))
    }

    fn place(&mut self, cx: &mut ShardCx<'_>, fd: OwnedFd, peer: SocketAddr) {
        if self.service.refuses(peer, cx.now()) {
            return;
        }
        let Some(permit) = self.service.admit_connection(peer) else {
            return;
        };
        let Ok(local) = socket::local(&fd) else {
            return;
        };
        let shards = Arc::clone(cx.shards());
        // Among equals take turns: sessions that still log in are not counted yet.
        self.next_shard = self.next_shard.wrapping_add(1);
        let turn = |i: usize| {
            i.wrapping_add(shards.len())
                .wrapping_sub(self.next_shard % shards.len())
                % shards.len()
        };
        let Some(place) = (0..shards.len()).min_by_key(|&i| (shards[i].load(), turn(i))) else {
            return;
        };
        let service = Arc::clone(&self.service);
        shards[place].run(move |cx| {
            cx.add_source_with(|cx| {
                Connection::start(cx, Link::Socket(fd), Ends { peer, local }, service, permit)
            });
        });
    }

    /// What an error of accept means. False: there is nothing more to accept in this turn.
    fn failed(&mut self, cx: &mut ShardCx<'_>, error: &io::Error) -> bool {
        match Errno::from_io_error(error) {
            Some(Errno::AGAIN) => false,
            // The peer was quicker, or a signal came.
            Some(Errno::INTR | Errno::CONNABORTED) => true,
            Some(Errno::MFILE | Errno::NFILE) if self.turn_away(cx) => true,
            _ => {
                self.log(cx, error);
                let _ = cx.unwatch(self.fd.as_fd());
                let at = cx.now() + REST;
                cx.set_timer(Some(at));
                false
            }
        }
    }

    /// Accepts a connection by the spare descriptor and closes it. False when there is none.
    fn turn_away(&mut self, cx: &mut ShardCx<'_>) -> bool {
        if self.spare.take().is_none() {
            self.spare = self.fd.try_clone().ok();
            return self.spare.is_some();
        }
        // Another thread may have taken the descriptor; then we rest, and the spare comes back when it can.
        let accepted = socket::accept(&self.fd);
        let turned_away = accepted.is_ok();
        if turned_away {
            // Before the peer can know.
            self.service.tally.refused_descriptors.add(1);
        }
        drop(accepted);
        self.spare = self.fd.try_clone().ok();
        if turned_away {
            self.log(cx, &Errno::MFILE.into());
        }
        turned_away
    }

    fn log(&self, cx: &ShardCx<'_>, error: &io::Error) {
        if let Some(left_out) = self.service.logs.descriptors.say(cx.now()) {
            tracing::warn!(%error, left_out, "cannot take connections");
        }
    }
}

impl Source for Listener {
    fn ready(&mut self, cx: &mut ShardCx<'_>, _: Readiness) {
        for _ in 0..BATCH {
            match socket::accept(&self.fd) {
                Ok((fd, peer)) => self.place(cx, fd, peer),
                Err(error) => {
                    if !self.failed(cx, &error) {
                        break;
                    }
                }
            }
        }
    }

    fn event(&mut self, cx: &mut ShardCx<'_>, event: Event) {
        match event {
            Event::Stop => cx.remove_source(),
            Event::Message(body) => {
                if let Ok(end) = body.downcast::<EndListener>() {
                    self.ended = Some(*end);
                    cx.remove_source();
                }
            }
            _ => {}
        }
    }

    fn timeout(&mut self, cx: &mut ShardCx<'_>) {
        if self.spare.is_none() {
            self.spare = self.fd.try_clone().ok();
        }
        if cx.watch(self.fd.as_fd(), true, false).is_err() {
            let at = cx.now() + REST;
            cx.set_timer(Some(at));
        }
    }

    fn flush(&mut self, _: &mut ShardCx<'_>) {}
}
