//! Where connection requests come in; each goes to the shard where its session is, or is to be.

use std::sync::Arc;

use lunforge_core::shard::{Event, Readiness, ShardCx, Source};

use super::registry::Place;
use super::service::{Notice, Service};
use crate::fabric::{self, Waker};

/// Requests taken in one turn: established sessions are served in between.
const BATCH: usize = 64;

pub(super) struct Listener {
    fabric: Box<dyn fabric::Listener>,
    service: Arc<Service>,
    me: Place,
}

impl Listener {
    pub(super) fn start(
        cx: &mut ShardCx<'_>,
        mut fabric: Box<dyn fabric::Listener>,
        service: Arc<Service>,
        lane: usize,
    ) -> Option<Box<dyn Source>> {
        let me = Place {
            lane,
            shard: cx.handle(),
            source: cx.this(),
        };
        fabric.wake_by(waker(&me));
        if let Some(fd) = fabric.wait_fd() {
            cx.watch(fd, true, false).ok()?;
        }
        Some(Box::new(Self {
            fabric,
            service,
            me,
        }))
    }

    fn take(&mut self, cx: &mut ShardCx<'_>) {
        let shards = Arc::clone(cx.shards());
        for _ in 0..BATCH {
            match self.fabric.poll() {
                Some(request) => self.service.place(&shards, request, cx.now()),
                None => {
                    let at = self.fabric.poll_again().map(|wait| cx.now() + wait);
                    return cx.set_timer(at);
                }
            }
        }
        self.me.tell(Notice::Poll);
    }
}

/// Tells a source to poll.
pub(super) fn waker(to: &Place) -> Waker {
    let to = to.clone();
    Waker::new(move || to.tell(Notice::Poll))
}

impl Source for Listener {
    fn ready(&mut self, cx: &mut ShardCx<'_>, _: Readiness) {
        self.take(cx);
    }

    fn event(&mut self, cx: &mut ShardCx<'_>, event: Event) {
        match event {
            Event::Stop => cx.remove_source(),
            Event::Message(_) => self.take(cx),
            _ => {}
        }
    }

    fn timeout(&mut self, cx: &mut ShardCx<'_>) {
        self.take(cx);
    }

    fn flush(&mut self, _: &mut ShardCx<'_>) {}
}
