//! A portal: accepts connections and places each on the shard with the fewest sessions.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use lunforge_core::shard::{Event, Readiness, ShardCx, Source};
use rustix::io::Errno;

use super::connection::{Connection, Ends};
use super::link::Link;
use super::service::Service;
use super::socket;

/// Connections accepted in one turn: established sessions are served in between.
const BATCH: usize = 64;
/// How long to rest when no descriptor is left.
const REST: Duration = Duration::from_millis(100);

pub(super) struct Listener {
    fd: OwnedFd,
    service: Arc<Service>,
    next_shard: usize,
}

impl Listener {
    pub(super) fn start(
        cx: &mut ShardCx<'_>,
        fd: OwnedFd,
        service: Arc<Service>,
    ) -> Option<Box<dyn Source>> {
        cx.watch(fd.as_fd(), true, false).ok()?;
        Some(Box::new(Self {
            fd,
            service,
            next_shard: 0,
        }))
    }

    fn place(&mut self, cx: &mut ShardCx<'_>, fd: OwnedFd, peer: std::net::SocketAddr) {
        let Some(permit) = self.service.admit_connection() else {
            tracing::debug!(%peer, "connection refused: limit reached");
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
}

impl Source for Listener {
    fn ready(&mut self, cx: &mut ShardCx<'_>, _: Readiness) {
        for _ in 0..BATCH {
            match socket::accept(&self.fd) {
                Ok((fd, peer)) => self.place(cx, fd, peer),
                Err(error) => {
                    let errno = error.raw_os_error().unwrap_or_default();
                    let passing = [Errno::AGAIN, Errno::INTR, Errno::CONNABORTED];
                    if passing.iter().all(|e| e.raw_os_error() != errno) {
                        tracing::warn!(%error, "cannot accept connections for a while");
                        let _ = cx.unwatch(self.fd.as_fd());
                        let at = cx.now() + REST;
                        cx.set_timer(Some(at));
                    }
                    break;
                }
            }
        }
    }

    fn event(&mut self, cx: &mut ShardCx<'_>, event: Event) {
        if matches!(event, Event::Stop) {
            cx.remove_source();
        }
    }

    fn timeout(&mut self, cx: &mut ShardCx<'_>) {
        if cx.watch(self.fd.as_fd(), true, false).is_err() {
            let at = cx.now() + REST;
            cx.set_timer(Some(at));
        }
    }

    fn flush(&mut self, _: &mut ShardCx<'_>) {}
}
