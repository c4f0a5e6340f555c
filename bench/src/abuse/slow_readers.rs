//! Sessions that ask for much and do not read it (N30).

use std::time::Duration;

use super::AbuseError;
use super::findings::Findings;
use super::site::{Site, reset};
use crate::initiator::{Error, Initiator, Request, rw_cdb};

/// Commands of each session.
const DEPTH: usize = 32;
/// Bytes of each,
const LEN: u32 = 1 << 20;
/// and of those of the last sessions, which take what little the others left.
const LITTLE: [u32; 4] = [65_536, 16_384, 4096, 4096];
/// A target gives up those that take nothing; ours after 90 s.
const GIVEN_UP: Duration = Duration::from_secs(95);

pub(super) fn run(site: &Site, count: u64, findings: &mut Findings) -> Result<(), AbuseError> {
    let mut all = Vec::new();
    let large = std::iter::repeat_n(LEN, usize::try_from(count).unwrap_or(0));
    let little = LITTLE.into_iter().flat_map(|len| [len; 2]);
    for (number, len) in (0u32..).zip(large.chain(little)) {
        let mut session = site.session(number)?;
        let tags = ask(site, &mut session, len)?;
        all.push((session, tags));
    }
    std::thread::sleep(site.hold);
    if !all.is_empty() {
        let (session, tags) = all.swap_remove(0);
        read_late(session, &tags, site.hold >= GIVEN_UP, findings);
    }
    for (mut session, _) in all {
        reset(session.connection().stream());
    }
    Ok(site.serves(1)?)
}

fn ask(site: &Site, session: &mut Initiator, len: u32) -> Result<Vec<u32>, Error> {
    let blocks = len / site.block_len;
    (0..DEPTH)
        .map(|_| {
            let (cdb, cdb_len) = rw_cdb(false, site.first(), blocks);
            let cdb = cdb.get(..cdb_len).unwrap_or(&cdb);
            session.submit(&Request::new(site.url.lun, cdb).data_in(len))
        })
        .collect()
}

/// One of them reads after all: it gets everything in order, or a busy unit, unless it was given up.
fn read_late(mut session: Initiator, tags: &[u32], given_up: bool, findings: &mut Findings) {
    let (mut good, mut refused) = (0, 0);
    for &tag in tags {
        match session.wait(tag) {
            Ok(reply) if reply.is_good() && reply.data.len() == LEN as usize => good += 1,
            // BUSY and TASK SET FULL (SAM-5 5.3.1): memory has an end.
            Ok(reply) if matches!(reply.status, 0x08 | 0x28) => refused += 1,
            Ok(reply) => findings.fault(format!(
                "late reader: status {:#04x}, {} bytes",
                reply.status,
                reply.data.len()
            )),
            Err(Error::Closed) if given_up => {
                return findings.note("late reader: given up by the target".to_owned());
            }
            Err(error) => return findings.fault(format!("late reader: {error}")),
        }
    }
    findings.must(!given_up, || {
        "a session that takes nothing is kept for ever".to_owned()
    });
    findings.note(format!(
        "late reader: {good} commands with all their data, {refused} busy or task set full"
    ));
}
