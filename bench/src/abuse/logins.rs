//! One initiator port that logs in again and again (N29).

use std::time::{Duration, Instant};

use super::AbuseError;
use super::findings::Findings;
use super::site::Site;
use crate::histogram::Histogram;
use crate::initiator::{Error, Initiator, LoginError};

/// Its number among the initiator ports.
const NUMBER: u32 = 0x7e00_0000;
/// A new session is there within this time (N29).
const SOON: Duration = Duration::from_secs(1);
/// One login in so many looks at what became of the session before.
const LOOK: u64 = 16;

pub(super) fn run(site: &Site, count: u64, findings: &mut Findings) -> Result<(), AbuseError> {
    let mut times = Histogram::new();
    let start = Instant::now();
    let mut last: Option<Initiator> = None;
    for turn in 0..count {
        let begin = Instant::now();
        // The source address changes, the initiator port does not.
        let mut session = site.session_with(turn as u32, &site.login(NUMBER))?;
        times.record(u64::try_from(begin.elapsed().as_nanos()).unwrap_or(u64::MAX));
        if turn % LOOK == 0 {
            session.ready(site.url.lun, 8)?;
            if let Some(old) = last.take() {
                findings.must(is_over(old), || {
                    format!("login {turn}: the session it takes the place of is not over")
                });
            }
        }
        last = Some(session);
    }
    if let Some(last) = last {
        last.logout()?;
    }
    let ms = |share| times.quantile(share) as f64 / 1e6;
    findings.note(format!(
        "{:.0} reinstatements per s; p50 {:.2} ms, p99 {:.2}, max {:.1}",
        count as f64 / start.elapsed().as_secs_f64(),
        ms(0.5),
        ms(0.99),
        times.max() as f64 / 1e6
    ));
    findings.must(u128::from(times.quantile(0.999)) < SOON.as_nanos(), || {
        format!("one login in a thousand took {:.0} ms", ms(0.999))
    });
    two_at_once(site, count / 10, findings)?;
    Ok(site.serves(NUMBER)?)
}

/// Whether the target ends the session. What it said before that does not matter.
fn is_over(mut session: Initiator) -> bool {
    session.set_timeout(SOON);
    loop {
        match session.recv_pdu() {
            Ok(_) => {}
            Err(Error::Timeout(_)) => return false,
            Err(_) => return true,
        }
    }
}

/// Two that fight for one port. Each attempt ends in a session, a refusal, or a closed connection, soon.
fn two_at_once(site: &Site, count: u64, findings: &mut Findings) -> Result<(), AbuseError> {
    let outcomes = std::thread::scope(|scope| {
        let one = || {
            let (mut sessions, mut refused) = (0u64, 0u64);
            for turn in 0..count / 2 {
                match site.session_with(turn as u32, &site.login(NUMBER)) {
                    Ok(_) => sessions += 1,
                    Err(Error::Closed | Error::Login(LoginError::Refused { class: 3, .. })) => {
                        refused += 1;
                    }
                    Err(other) => return Err(other),
                }
            }
            Ok((sessions, refused))
        };
        let handles = [scope.spawn(one), scope.spawn(one)];
        handles.map(|handle| handle.join().unwrap_or(Err(Error::Closed)))
    });
    for outcome in outcomes {
        let (sessions, refused) = outcome?;
        findings.note(format!(
            "one of two for the same port: {sessions} sessions, {refused} refused or closed"
        ));
    }
    Ok(())
}
