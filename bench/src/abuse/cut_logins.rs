//! Logins that end in the middle.

use std::io::Write as _;

use super::AbuseError;
use super::findings::Findings;
use super::rng::Rng;
use super::site::{Site, reset};
use crate::initiator::login::{Login, Step};
use crate::initiator::{Connection, Digests, Error, Pdu};

pub(super) fn run(site: &Site, count: u64, findings: &mut Findings) -> Result<(), AbuseError> {
    let mut rng = site.rng(3);
    let (mut cut, mut garbage) = (0u64, 0u64);
    for number in 0..count {
        let number = u32::try_from(number).unwrap_or(u32::MAX);
        let mut connection = site.connection(number)?;
        // The target may close at any time, and may have.
        let outcome = match rng.below(8) {
            0 => {
                garbage += 1;
                random_bytes(&mut connection, &mut rng)
            }
            _ => {
                cut += 1;
                cut_login(site, &mut connection, number, &mut rng)
            }
        };
        match outcome {
            Ok(()) | Err(Error::Closed | Error::Login(_)) => {}
            Err(other) => return Err(other.into()),
        }
        if rng.below(2) == 0 {
            reset(connection.stream());
        }
    }
    findings.note(format!(
        "{cut} logins cut, {garbage} connections with random bytes"
    ));
    Ok(site.serves(1)?)
}

/// Some rounds as they should be, then a part of the next request.
fn cut_login(
    site: &Site,
    connection: &mut Connection,
    number: u32,
    rng: &mut Rng,
) -> Result<(), Error> {
    let login = site.login(number);
    let mut login = Login::new(&login, Some(&site.url.iqn));
    let mut request = login.start();
    for _ in 0..rng.below(4) {
        connection.send(&request)?;
        match login.reply(&connection.recv()?)? {
            Step::Send(next) => request = next,
            // In after all: cut in full feature phase.
            Step::Done(..) => break,
        }
    }
    let bytes = wire(&request);
    let part = bytes.get(..rng.index(bytes.len() + 1)).unwrap_or(&bytes);
    connection.send_raw(part)
}

fn random_bytes(connection: &mut Connection, rng: &mut Rng) -> Result<(), Error> {
    let mut bytes = vec![0; rng.index(4096)];
    rng.fill(&mut bytes);
    // Half of them claim to be a login.
    if let (Some(first), 0) = (bytes.first_mut(), rng.below(2)) {
        *first = 0x43;
    }
    connection
        .stream()
        .write_all(&bytes)
        .map_err(|_| Error::Closed)
}

fn wire(pdu: &Pdu) -> Vec<u8> {
    let mut bytes = Vec::new();
    pdu.emit(Digests::default(), &mut bytes);
    bytes
}
