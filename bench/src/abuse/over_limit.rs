//! More sessions than the target takes.

use std::time::{Duration, Instant};

use super::AbuseError;
use super::findings::Findings;
use super::site::{Parked, Site, make_room, reset};
use crate::initiator::Error;

/// Attempts when the target is full.
const BEYOND: u32 = 500;
/// A refusal comes within this time: nobody waits for what is not to be had.
const SOON: Duration = Duration::from_secs(2);

pub(super) fn run(site: &Site, count: u64, findings: &mut Findings) -> Result<(), AbuseError> {
    make_room(count)?;
    let mut all = Vec::new();
    let mut refusal = None;
    for number in 0..u32::try_from(count).unwrap_or(u32::MAX) {
        match site.session_with(number, &site.login(number)) {
            Ok(session) => all.push(Parked::new(session)),
            Err(error) => {
                refusal = Some(error);
                break;
            }
        }
    }
    match refusal {
        None => findings.note(format!("{} sessions: no limit reached", all.len())),
        Some(error) => {
            findings.note(format!("full with {} sessions: {error}", all.len()));
            beyond(site, findings);
        }
    }
    // Those that are in are not troubled by those that are not.
    for parked in all {
        let mut session = parked.resume()?;
        session.ready(site.url.lun, 8)?;
        reset(session.connection().stream());
    }
    let start = Instant::now();
    while let Err(error) = site.serves(1) {
        if start.elapsed() > SOON {
            findings.fault(format!("no login with the others gone: {error}"));
            break;
        }
        std::thread::sleep(SOON / 40);
    }
    Ok(())
}

fn beyond(site: &Site, findings: &mut Findings) {
    for number in 0..BEYOND {
        let start = Instant::now();
        let outcome = site.session_with(number, &site.login(u32::MAX - 1 - number));
        findings.must(outcome.is_err(), || "a session beyond the limit".to_owned());
        if let Err(Error::Timeout(_)) = outcome {
            findings.fault("no answer to a login beyond the limit".to_owned());
        }
        findings.must(start.elapsed() < SOON, || {
            format!("a refusal took {:?}", start.elapsed())
        });
    }
}
