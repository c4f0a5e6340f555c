//! The end of an engine's units: every one is made durable, and none keeps the others or the caller waiting.
//!
//! A few threads take the units one after the other. As long as one of them is at work and nothing ends, there is another
//! thread for the next unit: a backend that does not answer holds up its own thread only, which is left behind.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::lu::LogicalUnit;

/// Threads at the beginning.
const THREADS: usize = 8;
/// Time without an end of any unit, after which there is another thread.
const STALLED: Duration = Duration::from_millis(50);
/// What units get whose backends are known to be dead.
const DEAD: Duration = Duration::from_millis(20);

/// A unit with the name under which it is reported.
pub(super) struct Last {
    pub(super) name: String,
    pub(super) unit: Arc<LogicalUnit>,
}

type Work = Arc<Mutex<VecDeque<(usize, Last)>>>;
type End = (usize, io::Result<()>);

/// Makes units durable and lets go of them, until `end` at most; those of dead backends get little time. What could not
/// be made durable, with the reason.
pub(super) fn flush(units: Vec<Last>, end: Instant) -> Vec<(String, io::Error)> {
    let names: Vec<_> = units.iter().map(|last| last.name.clone()).collect();
    let dead: Vec<_> = units.iter().map(|u| u.unit.backend().is_dead()).collect();
    // Dead ones last: none of them is in another's way.
    let (last, first): (Vec<_>, Vec<_>) = units
        .into_iter()
        .enumerate()
        .partition(|(at, _)| dead.get(*at) == Some(&true));
    let (alive, all) = (first.len(), first.len() + last.len());
    let work: Work = Arc::new(Mutex::new(first.into_iter().chain(last).collect()));
    let (done, ended) = channel();
    let threads = (0..all.min(THREADS)).filter_map(|_| start(&work, &done));
    let mut wait = Wait {
        results: names.iter().map(|_| None).collect(),
        dead,
        alive,
        left: all,
        threads: threads.collect(),
    };
    if wait.threads.is_empty() {
        // No thread can be had: one after the other, on this one.
        serve(&work, &done);
    }
    wait.collect(&ended, &work, &done, end);
    wait.join();
    names
        .into_iter()
        .zip(wait.results)
        .filter_map(|(name, result)| match result {
            Some(Ok(())) => None,
            Some(Err(error)) => Some((name, error)),
            None => Some((name, no_answer())),
        })
        .collect()
}

fn no_answer() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "its backend does not answer")
}

fn start(work: &Work, done: &Sender<End>) -> Option<JoinHandle<()>> {
    let (work, done) = (Arc::clone(work), done.clone());
    let thread = thread::Builder::new().name("lun-last-flush".into());
    thread.spawn(move || serve(&work, &done)).ok()
}

fn serve(work: &Work, done: &Sender<End>) {
    loop {
        let Some((at, Last { unit, .. })) = work.lock().pop_front() else {
            return;
        };
        let result = unit.handler().shutdown();
        // Its last owner closes the device: done means that it is closed.
        drop(unit);
        if done.send((at, result)).is_err() {
            return;
        }
    }
}

struct Wait {
    results: Vec<Option<io::Result<()>>>,
    dead: Vec<bool>,
    /// Units that have not ended and whose backends are not known to be dead.
    alive: usize,
    left: usize,
    threads: Vec<JoinHandle<()>>,
}

impl Wait {
    fn collect(&mut self, ended: &Receiver<End>, work: &Work, done: &Sender<End>, end: Instant) {
        let mut of_dead: Option<Instant> = None;
        while self.left > 0 {
            let now = Instant::now();
            let until = if self.alive > 0 {
                end
            } else {
                end.min(*of_dead.get_or_insert(now + DEAD))
            };
            if now >= until {
                return;
            }
            match ended.recv_timeout((until - now).min(STALLED)) {
                Ok((at, result)) => self.ended(at, result),
                Err(_) if !work.lock().is_empty() => self.threads.extend(start(work, done)),
                Err(_) => {}
            }
        }
    }

    /// Threads end when nothing is left for them; one with a backend that does not answer is left behind.
    fn join(&mut self) {
        for thread in self.threads.drain(..) {
            if self.left == 0 || thread.is_finished() {
                // A handler that panicked has not ended its unit, which is reported.
                let _ = thread.join();
            }
        }
    }

    fn ended(&mut self, at: usize, result: io::Result<()>) {
        self.left -= 1;
        self.alive -= usize::from(self.dead.get(at) == Some(&false));
        if let Some(slot) = self.results.get_mut(at) {
            *slot = Some(result);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::cdb::{CommandId, ParsedCdb};
    use crate::handler::{DeviceHandler, DeviceProfile, Execute, Execution, Identity, Transfer};
    use crate::sense::Sense;
    use crate::testing::doubles::Blank;

    thread_local! {
        static AT_THE_END: RefCell<Option<Ending>> = const { RefCell::new(None) };
    }

    /// Counts threads that have come to their very end, which takes them a while.
    struct Ending(Arc<AtomicUsize>);

    impl Drop for Ending {
        fn drop(&mut self) {
            thread::sleep(Duration::from_millis(50));
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    struct Watched(Blank, Arc<AtomicUsize>);

    impl DeviceHandler for Watched {
        fn identity(&self) -> Identity {
            self.0.identity()
        }
        fn profile(&self) -> DeviceProfile {
            self.0.profile()
        }
        fn supports(&self, command: CommandId) -> bool {
            self.0.supports(command)
        }
        fn vpd_pages(&self) -> Vec<u8> {
            self.0.vpd_pages()
        }
        fn vpd(&self, page: u8) -> Option<Vec<u8>> {
            self.0.vpd(page)
        }
        fn ready(&self) -> Result<(), Sense> {
            self.0.ready()
        }
        fn prepare(&self, cdb: &ParsedCdb) -> Result<Transfer, Sense> {
            self.0.prepare(cdb)
        }
        fn execute(&self, command: &mut Execution<'_>) -> Execute {
            self.0.execute(command)
        }
        fn shutdown(&self) -> io::Result<()> {
            AT_THE_END.set(Some(Ending(Arc::clone(&self.1))));
            Ok(())
        }
    }

    #[test]
    fn threads_of_units_that_have_ended_have_ended_too() {
        let ended = Arc::new(AtomicUsize::new(0));
        let watched = Watched(Blank::default(), Arc::clone(&ended));
        let last = Last {
            name: "unit".to_owned(),
            unit: LogicalUnit::builder(Arc::new(watched)).build(),
        };
        assert!(flush(vec![last], Instant::now() + Duration::from_secs(60)).is_empty());
        assert_eq!(ended.load(Ordering::SeqCst), 1);
    }
}
