//! Events for sources that are not there yet or not any more (N58), on a shard that the test drives.
#![cfg(not(loom))]

use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use lunforge_core::shard::{Readiness, SourceId};
use lunforge_core::{Engine, Event, Shard, ShardCx, Source};

type Heard = Arc<Mutex<Vec<String>>>;

/// Writes down what it is told, and goes away when it is told to.
struct Ear {
    name: &'static str,
    heard: Heard,
    _fd: Option<UnixStream>,
}

impl Ear {
    fn note(&self, what: &str) {
        let line = format!("{} {what}", self.name);
        self.heard.lock().unwrap().push(line);
    }
}

impl Source for Ear {
    fn ready(&mut self, _: &mut ShardCx<'_>, _: Readiness) {
        self.note("ready");
    }

    fn event(&mut self, cx: &mut ShardCx<'_>, event: Event) {
        match event {
            Event::Message(body) => {
                let word = *body.downcast::<&str>().expect("a word");
                self.note(word);
                if word == "go" {
                    cx.remove_source();
                }
            }
            Event::Stop => {
                self.note("stop");
                cx.remove_source();
            }
            _ => {}
        }
    }

    fn timeout(&mut self, _: &mut ShardCx<'_>) {
        self.note("timeout");
    }

    fn flush(&mut self, _: &mut ShardCx<'_>) {}
}

struct Rig {
    engine: Engine,
    shard: Shard,
    heard: Heard,
    now: Instant,
}

impl Rig {
    fn new() -> Self {
        let (engine, mut shards) = Engine::builder().shards(1).parts().unwrap();
        Self {
            engine,
            shard: shards.remove(0),
            heard: Heard::default(),
            now: Instant::now(),
        }
    }

    /// Adds an ear that has a timer in a second and hears when its peer writes.
    fn add(&mut self, name: &'static str) -> (SourceId, UnixStream) {
        let (fd, peer) = UnixStream::pair().unwrap();
        let heard = Arc::clone(&self.heard);
        let (tell, told) = std::sync::mpsc::channel();
        self.engine.shards()[0].run(move |cx| {
            cx.add_source_with(|cx| {
                cx.watch(fd.as_fd(), true, false).unwrap();
                let at = cx.now() + Duration::from_secs(1);
                cx.set_timer(Some(at));
                tell.send(cx.this()).unwrap();
                Some(Box::new(Ear {
                    name,
                    heard,
                    _fd: Some(fd),
                }))
            });
        });
        self.poll();
        (told.try_recv().expect("an ear"), peer)
    }

    fn send(&self, to: SourceId, word: &'static str) {
        self.engine.shards()[0].send(to, Box::new(word));
    }

    fn poll(&mut self) {
        for _ in 0..4 {
            self.shard.poll(self.now);
        }
    }

    fn heard(&self) -> Vec<String> {
        std::mem::take(&mut *self.heard.lock().unwrap())
    }
}

#[test]
fn n58_a_source_that_has_gone_hears_nothing_more_and_its_successor_nothing_of_what_was_its() {
    use std::io::Write;
    let mut rig = Rig::new();
    let (old, mut peer) = rig.add("old");
    // All of it waits for the same turn: the word that ends the source comes first.
    rig.send(old, "go");
    rig.send(old, "late");
    peer.write_all(b"x").ok();
    rig.poll();
    assert_eq!(rig.heard().last().map(String::as_str), Some("old go"));
    let (new, _peer) = rig.add("new");
    assert_ne!(new, old, "a place is used again under another name");
    rig.send(old, "late");
    rig.now += Duration::from_millis(1500);
    rig.poll();
    assert_eq!(
        rig.heard(),
        ["new timeout"],
        "the old one's timer went with it"
    );
}

#[test]
fn n58_a_source_that_does_not_come_to_be_leaves_no_descriptor_and_no_timer() {
    let mut rig = Rig::new();
    let (fd, peer) = UnixStream::pair().unwrap();
    rig.engine.shards()[0].run(move |cx| {
        let added = cx.add_source_with(|cx| {
            cx.watch(fd.as_fd(), true, false).unwrap();
            let at = cx.now() + Duration::from_secs(1);
            cx.set_timer(Some(at));
            None
        });
        assert!(added.is_none());
    });
    rig.poll();
    drop(peer);
    let (_, _peer) = rig.add("next");
    rig.now += Duration::from_millis(500);
    rig.poll();
    assert_eq!(
        rig.heard(),
        Vec::<String>::new(),
        "what was asked for by the other is nobody's"
    );
}

#[test]
fn n58_after_the_stop_nothing_is_begun_and_nobody_is_told() {
    let mut rig = Rig::new();
    let (ear, _peer) = rig.add("ear");
    rig.engine.begin_stop();
    rig.poll();
    assert_eq!(rig.heard(), ["ear stop"]);
    rig.send(ear, "late");
    let late = Arc::new(());
    let held = Arc::clone(&late);
    let heard = Arc::clone(&rig.heard);
    rig.engine.shards()[0].run(move |cx| {
        let _held = held;
        cx.add_source(Box::new(Ear {
            name: "late",
            heard,
            _fd: None,
        }));
    });
    rig.now += Duration::from_secs(3600);
    rig.poll();
    assert!(rig.shard.finished());
    let heard = rig.heard();
    assert!(
        heard.is_empty() || heard == ["late stop"],
        "a source that is added while the shard stops is told so at once: {heard:?}"
    );
    drop(rig);
    assert_eq!(Arc::strong_count(&late), 1, "the task was run or dropped");
}

#[test]
fn n62_a_clock_that_leaps_an_hour_fires_a_timer_once_and_one_that_goes_back_never_again() {
    let mut rig = Rig::new();
    let (_ear, _peer) = rig.add("ear");
    let before = rig.now;
    rig.now += Duration::from_secs(3600);
    rig.poll();
    assert_eq!(rig.heard(), ["ear timeout"]);
    rig.poll();
    // Such a clock is none, but an embedder's may be one.
    rig.now = before;
    rig.poll();
    rig.now += Duration::from_secs(1);
    rig.poll();
    assert_eq!(rig.heard(), Vec::<String>::new());
}
