//! Mixed commands, as many as wanted, every byte read compared (`area` says with what).
//!
//! ```text
//!  choice ── what comes next        area ── what each block holds
//!     └────────── link ── one session: commands out, answers in ── task management beside
//! ```
//! One thread drives all sessions by epoll. Each session has a part of the unit of its own.

mod area;
mod choice;
mod link;
mod operation;
mod task_management;

use std::time::{Duration, Instant};

use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};

use super::AbuseError;
use super::findings::Findings;
use super::site::Site;
use crate::initiator::Initiator;
use crate::load::LoadError;
use area::Area;
use choice::Abilities;
use link::Link;
use operation::Kind;

/// Sessions.
const SESSIONS: u64 = 8;
/// Most bytes of one session's part.
const PART: u64 = 16 << 20;
/// No command ended for this long: the target has stalled.
const STALL: Duration = Duration::from_secs(20);

pub(super) fn run(site: &Site, count: u64, findings: &mut Findings) -> Result<(), AbuseError> {
    let abilities = Abilities::of(site, &mut site.session(0)?)?;
    let mut links = Vec::new();
    for number in 0..SESSIONS {
        let session = site.session(number as u32)?;
        links.push(link(site, session, number, count / SESSIONS, abilities)?);
    }
    let start = Instant::now();
    let outcome = drive(&mut links);
    let seconds = start.elapsed().as_secs_f64();
    let mut kinds = [0u64; Kind::ALL.len()];
    let (mut ended, mut verified) = (0, 0);
    for link in &links {
        ended += link.tally.ended;
        verified += link.tally.verified;
        for (sum, n) in kinds.iter_mut().zip(&link.tally.kinds) {
            *sum += n;
        }
        for message in &link.tally.messages {
            findings.fault(message.clone());
        }
    }
    if let Err(error) = outcome {
        findings.fault(error.to_string());
    }
    findings.note(format!(
        "{ended} commands in {seconds:.1} s, {:.0} per s, {:.1} GiB read and compared",
        ended as f64 / seconds,
        verified as f64 / f64::from(1 << 30)
    ));
    let words: Vec<_> = Kind::ALL
        .iter()
        .zip(&kinds)
        .map(|(kind, n)| format!("{} {n}", kind.name()))
        .collect();
    findings.note(words.join(", "));
    links.into_iter().for_each(Link::logout);
    Ok(())
}

fn link(
    site: &Site,
    session: Initiator,
    number: u64,
    quota: u64,
    abilities: Abilities,
) -> Result<Link, AbuseError> {
    let free = site.blocks - site.first();
    let blocks = (PART / u64::from(site.block_len)).min(free / SESSIONS);
    let first = site.first() + number * blocks;
    let area = Area::new(first, blocks as u32, site.pattern());
    Link::new(
        site,
        session,
        area,
        site.rng(100 + number),
        quota,
        abilities,
    )
    .map_err(AbuseError::Socket)
}

/// Until every session has used up its quota and read its part back.
fn drive(links: &mut [Link]) -> Result<(), LoadError> {
    let io = |e: rustix::io::Errno| LoadError::Socket(e.into());
    let epoll = epoll::create(CreateFlags::CLOEXEC).map_err(io)?;
    for (number, link) in links.iter_mut().enumerate() {
        let data = EventData::new_u64(number as u64);
        epoll::add(&epoll, &link.stream, data, EventFlags::IN).map_err(io)?;
        link.submit();
        link.flush()?;
    }
    let mut events: Vec<epoll::Event> = Vec::with_capacity(64);
    let (mut ended, mut progress) = (0, Instant::now());
    while links.iter().any(|link| !link.is_done()) {
        let nap = rustix::time::Timespec {
            tv_sec: 0,
            tv_nsec: 200_000_000,
        };
        match epoll::wait(
            &epoll,
            rustix::buffer::spare_capacity(&mut events),
            Some(&nap),
        ) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(io(e)),
        }
        for event in events.drain(..) {
            let number = event.data.u64();
            let Some(link) = links.get_mut(number as usize) else {
                continue;
            };
            link.input()?;
            link.submit();
            let full = !link.flush()?;
            if full != link.wants_out {
                let out = if full {
                    EventFlags::OUT
                } else {
                    EventFlags::empty()
                };
                let data = EventData::new_u64(number);
                epoll::modify(&epoll, &link.stream, data, EventFlags::IN | out).map_err(io)?;
                link.wants_out = full;
            }
        }
        let now: u64 = links.iter().map(|link| link.tally.ended).sum();
        if now != ended {
            (ended, progress) = (now, Instant::now());
        } else if progress.elapsed() > STALL {
            let left = links.iter().map(Link::in_flight).sum();
            return Err(LoadError::Stalled(left));
        }
    }
    Ok(())
}
