//! One generator thread: epoll over its sessions.

use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};

use super::link::{Link, Surroundings};
use super::workload::Workload;
use super::{Edge, LoadError, LoadOptions};
use crate::pin;

/// No command ended for this long: the target has stalled.
const STALL: Duration = Duration::from_secs(10);
/// Longest sleep in one wait.
const NAP: Duration = Duration::from_millis(200);

/// When a phase ends.
pub(crate) struct Plan<'a> {
    /// Start and end of the measured window; `None`: until the workload has no more.
    window: Option<(Instant, Instant)>,
    spin: bool,
    pids: &'a [u32],
}

impl<'a> Plan<'a> {
    pub(crate) fn timed(options: &'a LoadOptions, start: Instant) -> Self {
        let first = start + options.warmup;
        Self {
            window: Some((first, first + options.measure)),
            spin: options.spin,
            pids: &options.pids,
        }
    }

    pub(crate) fn untimed(options: &'a LoadOptions) -> Self {
        Self {
            window: None,
            spin: options.spin,
            pids: &options.pids,
        }
    }
}

/// A thread's sessions.
pub(crate) struct Worker {
    epoll: OwnedFd,
    links: Vec<Link>,
    cpu: Option<usize>,
}

impl Worker {
    pub(crate) fn new(links: Vec<Link>, cpu: Option<usize>) -> Result<Self, LoadError> {
        let io = |e: rustix::io::Errno| LoadError::Socket(e.into());
        let epoll = epoll::create(CreateFlags::CLOEXEC).map_err(io)?;
        for (number, link) in links.iter().enumerate() {
            let data = EventData::new_u64(number as u64);
            epoll::add(&epoll, &link.stream, data, EventFlags::IN).map_err(io)?;
        }
        Ok(Self { epoll, links, cpu })
    }

    pub(crate) fn into_links(self) -> Vec<Link> {
        self.links
    }

    /// Runs one phase. Only the thread that `samples` returns edges.
    pub(crate) fn run(
        &mut self,
        plan: &Plan<'_>,
        shared: &[u8],
        enter: fn(&mut Workload),
        samples: bool,
    ) -> Result<Option<(Edge, Edge)>, LoadError> {
        if let Some(cpu) = self.cpu {
            pin::this_thread(cpu).map_err(|source| LoadError::Pin { cpu, source })?;
        }
        let base = Instant::now();
        let clock = || u64::try_from(base.elapsed().as_nanos()).unwrap_or(u64::MAX);
        let around = Surroundings {
            shared,
            now: &clock,
        };
        let mut run = Run {
            first: None,
            last: None,
            ended: 0,
            progress: base,
        };
        for link in &mut self.links {
            enter(&mut link.workload);
        }
        for number in 0..self.links.len() {
            self.step(number, &around, false)?;
        }
        let mut events = Vec::with_capacity(64);
        loop {
            self.edges(plan, samples, &mut run)?;
            let in_flight: usize = self.links.iter().map(Link::in_flight).sum();
            if in_flight == 0 && (run.last.is_some() || plan.window.is_none()) {
                return Ok(run.first.zip(run.last).and_then(|(a, b)| a.zip(b)));
            }
            self.wait(plan, &mut events)?;
            for event in events.drain(..) {
                let number = usize::try_from(event.data.u64()).unwrap_or(usize::MAX);
                let flags = event.flags;
                let readable = flags.intersects(EventFlags::IN | EventFlags::HUP | EventFlags::ERR);
                self.step(number, &around, readable)?;
            }
            self.stall(&mut run, in_flight)?;
        }
    }

    fn wait(&self, plan: &Plan<'_>, events: &mut Vec<epoll::Event>) -> Result<(), LoadError> {
        let nap = if plan.spin {
            Duration::ZERO
        } else {
            let now = Instant::now();
            let ahead = plan.window.into_iter().flat_map(|(a, b)| [a, b]);
            ahead
                .map(|t| t.saturating_duration_since(now))
                .filter(|d| !d.is_zero())
                .fold(NAP, Duration::min)
        };
        let spec = rustix::time::Timespec {
            tv_sec: 0,
            tv_nsec: i64::from(nap.subsec_nanos()),
        };
        let buffer = rustix::buffer::spare_capacity(events);
        match epoll::wait(&self.epoll, buffer, Some(&spec)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(e) => Err(LoadError::Socket(e.into())),
        }
    }

    fn edges(&mut self, plan: &Plan<'_>, samples: bool, run: &mut Run) -> Result<(), LoadError> {
        let Some((start, end)) = plan.window else {
            return Ok(());
        };
        if run.last.is_some() {
            return Ok(());
        }
        let now = Instant::now();
        let take = |yes: bool| {
            if yes {
                Edge::sample(plan.pids).map(Some)
            } else {
                Ok(None)
            }
        };
        if run.first.is_none() && now >= start {
            run.first = Some(take(samples)?);
            self.links.iter_mut().for_each(|l| l.measuring = true);
        }
        if run.first.is_some() && now >= end {
            run.last = Some(take(samples)?);
            for link in &mut self.links {
                link.measuring = false;
                link.workload.stop();
            }
        }
        Ok(())
    }

    fn stall(&self, run: &mut Run, in_flight: usize) -> Result<(), LoadError> {
        let ended: u64 = self.links.iter().map(|l| l.tally.ended).sum();
        if ended != run.ended {
            run.ended = ended;
            run.progress = Instant::now();
        } else if run.progress.elapsed() > STALL {
            return Err(LoadError::Stalled(in_flight));
        }
        Ok(())
    }

    fn step(
        &mut self,
        number: usize,
        around: &Surroundings<'_>,
        readable: bool,
    ) -> Result<(), LoadError> {
        let Some(link) = self.links.get_mut(number) else {
            return Ok(());
        };
        if readable {
            link.input(around)?;
        }
        link.submit(around);
        let empty = link.flush(around.shared)?;
        if empty == link.wants_out {
            let flags = if empty {
                EventFlags::IN
            } else {
                EventFlags::IN | EventFlags::OUT
            };
            let data = EventData::new_u64(number as u64);
            epoll::modify(&self.epoll, &link.stream, data, flags)
                .map_err(|e| LoadError::Socket(e.into()))?;
            link.wants_out = !empty;
        }
        Ok(())
    }
}

/// Progress of one phase.
struct Run {
    first: Option<Option<Edge>>,
    last: Option<Option<Edge>>,
    ended: u64,
    progress: Instant,
}
