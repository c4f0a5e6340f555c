//! Many sessions at once, that end in disorder.

use std::net::Shutdown;
use std::time::{Duration, Instant};

use super::AbuseError;
use super::findings::Findings;
use super::site::{Parked, Site, make_room, reset};
use crate::initiator::{Initiator, Request, rw_cdb};

/// Every session is heard of within this time: a target asks idle ones whether they live.
const SWEEP: Duration = Duration::from_secs(10);

pub(super) fn run(site: &Site, count: u64, findings: &mut Findings) -> Result<(), AbuseError> {
    make_room(count)?;
    let count = u32::try_from(count).unwrap_or(u32::MAX);
    let start = Instant::now();
    let mut all = Vec::new();
    let mut slowest = Duration::ZERO;
    for number in 0..count {
        let begin = Instant::now();
        let mut session = site.session(number)?;
        slowest = slowest.max(begin.elapsed());
        exchange(site, &mut session, number)?;
        all.push((number, Some(Parked::new(session))));
    }
    let rate = f64::from(count) / start.elapsed().as_secs_f64();
    findings.note(format!(
        "{rate:.0} logins with a write and a read per s, the slowest login {:.1} ms",
        slowest.as_secs_f64() * 1e3
    ));
    idle(site, &mut all)?;
    site.rng(2).shuffle(&mut all);
    for (number, parked) in &mut all {
        resumed(parked, |session| read_back(site, session, *number))?;
    }
    end_in_disorder(site, all)
}

/// Every session uses a block of its own.
fn lba(site: &Site, number: u32) -> u64 {
    site.first() + u64::from(number) % (site.blocks - site.first())
}

fn exchange(site: &Site, session: &mut Initiator, number: u32) -> Result<(), AbuseError> {
    let mut data = Vec::new();
    let lba = lba(site, number);
    site.pattern()
        .emit(lba, number + 1, 0, site.block_len as usize, &mut data);
    session.write(site.url.lun, lba, &data, site.block_len)?;
    read_back(site, session, number)
}

fn read_back(site: &Site, session: &mut Initiator, number: u32) -> Result<(), AbuseError> {
    let lba = lba(site, number);
    let data = session.read(site.url.lun, lba, 1, site.block_len)?;
    let mut scratch = Vec::new();
    Ok(site
        .pattern()
        .check(lba, number + 1, 0, &data, &mut scratch)?)
}

/// Uses a parked session for a moment.
fn resumed(
    parked: &mut Option<Parked>,
    with: impl FnOnce(&mut Initiator) -> Result<(), AbuseError>,
) -> Result<(), AbuseError> {
    if let Some(at_rest) = parked.take() {
        let mut session = at_rest.resume()?;
        with(&mut session)?;
        *parked = Some(Parked::new(session));
    }
    Ok(())
}

/// Nothing but an answer to whoever asks, for the time that attacks are held.
fn idle(site: &Site, all: &mut [(u32, Option<Parked>)]) -> Result<(), AbuseError> {
    let end = Instant::now() + site.hold;
    loop {
        let left = end.saturating_duration_since(Instant::now());
        std::thread::sleep(left.min(SWEEP));
        if left <= SWEEP {
            return Ok(());
        }
        for (_, parked) in all.iter_mut() {
            resumed(parked, |session| {
                session.nop(b"still here")?;
                Ok(())
            })?;
        }
    }
}

/// By logout, FIN, RST, and RST with commands outstanding, in turn.
fn end_in_disorder(site: &Site, all: Vec<(u32, Option<Parked>)>) -> Result<(), AbuseError> {
    for (way, (number, parked)) in all.into_iter().enumerate() {
        let Some(parked) = parked else { continue };
        match way % 4 {
            0 => drop(parked.resume()?.logout()?),
            1 => {
                let _ = parked.stream.shutdown(Shutdown::Write);
            }
            2 => reset(&parked.stream),
            _ => {
                let mut session = parked.resume()?;
                for _ in 0..4 {
                    let (cdb, len) = rw_cdb(false, lba(site, number), 1);
                    let cdb = cdb.get(..len).unwrap_or(&cdb);
                    session.submit(&Request::new(site.url.lun, cdb).data_in(site.block_len))?;
                }
                reset(session.connection().stream());
            }
        }
    }
    Ok(())
}
