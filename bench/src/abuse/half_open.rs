//! Connections that never become sessions (N30).

use std::collections::VecDeque;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use super::AbuseError;
use super::findings::Findings;
use super::site::{Site, make_room, reset};
use crate::initiator::{Digests, login::Login};

/// Open at a time.
const RING: usize = 3000;
/// Time between two bytes, and between two logins that are meant well.
const TICK: Duration = Duration::from_secs(1);
/// A target ends a login that does not come to an end within this time; ours takes 15 s.
const LOGIN_TIME: Duration = Duration::from_secs(18);

struct Silent {
    stream: TcpStream,
    /// Sends a byte of its login at each tick.
    drips: bool,
    sent: usize,
}

#[derive(Default)]
struct Tally {
    closed: u64,
    logins: u64,
    refused: u64,
}

pub(super) fn run(site: &Site, count: u64, findings: &mut Findings) -> Result<(), AbuseError> {
    make_room(RING as u64)?;
    let mut request = Vec::new();
    Login::new(&site.login(0), Some(&site.url.iqn))
        .start()
        .emit(Digests::default(), &mut request);
    let mut ring = VecDeque::new();
    let mut tally = Tally::default();
    let start = Instant::now();
    let mut tick = start + TICK;
    for number in 0..count {
        let stream = site.stream(number as u32)?;
        stream.set_nonblocking(true)?;
        ring.push_back(Silent {
            stream,
            drips: number % 2 == 0,
            sent: 0,
        });
        if ring.len() >= RING
            && let Some(oldest) = ring.pop_front()
        {
            tally.closed += u64::from(!is_open(&oldest.stream));
            reset(&oldest.stream);
        }
        if Instant::now() >= tick {
            drip(&mut ring, &request, &mut tally);
            well_meant(site, number as u32, &mut tally);
            tick = Instant::now() + TICK;
        }
    }
    let rate = count as f64 / start.elapsed().as_secs_f64();
    hold(site, &mut ring, &request, &mut tally);
    let open = ring.iter().filter(|one| is_open(&one.stream)).count();
    findings.note(format!(
        "{rate:.0} connections per s; the target closed {} while the next came, {open} of the last {} were open after {:.0} s",
        tally.closed,
        ring.len(),
        site.hold.as_secs_f64()
    ));
    findings.note(format!(
        "logins meant well meanwhile: {} of {}",
        tally.logins,
        tally.logins + tally.refused
    ));
    if site.hold >= LOGIN_TIME {
        findings.must(open == 0, || format!("{open} logins go on for ever"));
    }
    ring.iter().for_each(|one| reset(&one.stream));
    drop(ring);
    again(site, findings);
    Ok(())
}

/// Whether the other side has neither closed nor reset it.
fn is_open(mut stream: &TcpStream) -> bool {
    match stream.read(&mut [0; 64]) {
        Ok(n) => n > 0,
        Err(e) => e.kind() == ErrorKind::WouldBlock,
    }
}

fn drip(ring: &mut VecDeque<Silent>, request: &[u8], tally: &mut Tally) {
    ring.retain_mut(|one| {
        let Some(byte) = request.get(one.sent..=one.sent).filter(|_| one.drips) else {
            return true;
        };
        one.sent += 1;
        let alive = one.stream.write(byte).is_ok();
        tally.closed += u64::from(!alive);
        alive
    });
}

/// A login of somebody who wants to work. It may be refused: places for logins are limited.
fn well_meant(site: &Site, number: u32, tally: &mut Tally) {
    match site.serves(number) {
        Ok(()) => tally.logins += 1,
        Err(_) => tally.refused += 1,
    }
}

fn hold(site: &Site, ring: &mut VecDeque<Silent>, request: &[u8], tally: &mut Tally) {
    let end = Instant::now() + site.hold;
    while let Some(left) = end.checked_duration_since(Instant::now()) {
        std::thread::sleep(left.min(TICK));
        drip(ring, request, tally);
        well_meant(site, 1, tally);
    }
}

/// With the attackers gone a login works, soon.
fn again(site: &Site, findings: &mut Findings) {
    let start = Instant::now();
    while let Err(error) = site.serves(1) {
        if start.elapsed() > TICK * 5 {
            return findings.fault(format!("no login with the attackers gone: {error}"));
        }
        std::thread::sleep(TICK / 20);
    }
}
