//! A shard's turn: who is served, and when what is ready leaves.

use std::io::Write;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::Mutex;
use std::time::Instant;

use lunforge_core::engine::Engine;
use lunforge_core::shard::{Event, Readiness, ShardCx, Source};

type Log = Arc<Mutex<Vec<(&'static str, usize)>>>;

/// Notes when it is called.
struct Noted {
    number: usize,
    _stream: UnixStream,
    log: Log,
}

impl Noted {
    fn note(&self, what: &'static str) {
        self.log.lock().unwrap().push((what, self.number));
    }
}

impl Source for Noted {
    fn ready(&mut self, _: &mut ShardCx<'_>, _: Readiness) {
        self.note("ready");
    }

    fn event(&mut self, cx: &mut ShardCx<'_>, event: Event) {
        if matches!(event, Event::Stop) {
            cx.remove_source();
        }
    }

    fn timeout(&mut self, _: &mut ShardCx<'_>) {}

    fn flush(&mut self, _: &mut ShardCx<'_>) {
        self.note("flush");
    }
}

#[test]
fn what_a_source_has_ready_leaves_before_the_next_source_is_served() {
    let (engine, mut shards) = Engine::builder().shards(1).parts().unwrap();
    let shard = &mut shards[0];
    let log = Log::default();
    let mut peers = Vec::new();
    for number in 0..5 {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        theirs.write_all(b"x").unwrap();
        peers.push(theirs);
        let log = Arc::clone(&log);
        engine.shards()[0].run(move |cx| {
            cx.add_source_with(|cx| {
                cx.watch(ours.as_fd(), true, false).ok()?;
                let _stream = ours;
                Some(Box::new(Noted {
                    number,
                    _stream,
                    log,
                }))
            });
        });
    }
    // The first turn takes the sources in, the second one finds them all readable.
    shard.poll(Instant::now());
    log.lock().unwrap().clear();
    shard.poll(Instant::now());
    let seen = log.lock().unwrap().clone();
    let served: Vec<_> = seen.iter().filter(|(what, _)| *what == "ready").collect();
    assert_eq!(served.len(), 5, "{seen:?}");
    for pair in seen.chunks(2) {
        assert!(
            matches!(pair, [("ready", a), ("flush", b)] if a == b),
            "{seen:?}"
        );
    }
}
