//! A unit's caching, asked and set (SBC-3 6.5.5), and its address in a session.

use super::{DurableError, Mode, UnderTest};
use crate::initiator::{Error, Initiator, Options};

/// Bytes of a mode parameter header (10).
const HEADER: usize = 8;
/// Unit attentions that a fresh session may meet.
const ATTENTIONS: u32 = 8;

/// A session with the unit, ready. Each unit has its own: `number` keeps sessions with one target apart.
pub(super) fn open(
    unit: &UnderTest,
    login: &Options,
    number: u32,
) -> Result<Initiator, DurableError> {
    let login = login.clone().isid_number(number);
    let opened = Initiator::connect(unit.url.address(), &unit.url.iqn, &login);
    let mut session = opened.map_err(|e| failed(unit, e))?;
    session
        .ready(unit.url.lun, ATTENTIONS)
        .map_err(|e| failed(unit, e))?;
    Ok(session)
}

pub(super) fn failed(unit: &UnderTest, source: Error) -> DurableError {
    DurableError::Unit {
        name: unit.name.clone(),
        source,
    }
}

pub(super) fn unfit(unit: &UnderTest, what: impl Into<String>) -> DurableError {
    DurableError::Unfit {
        name: unit.name.clone(),
        what: what.into(),
    }
}

/// Turns the cache off where the mode is [`Mode::CacheOff`], and checks that WCE and DPOFUA are as the mode needs them.
pub(super) fn caching(session: &mut Initiator, unit: &UnderTest) -> Result<(), DurableError> {
    if unit.mode == Mode::CacheOff {
        let mut page = sense(session, unit)?;
        let wce = page
            .get_mut(HEADER + 2)
            .ok_or_else(|| unfit(unit, "a short caching page"))?;
        if *wce & 4 == 0 {
            return Err(unfit(unit, "it has no cache that could be turned off"));
        }
        *wce &= !4;
        select(session, unit, page)?;
    }
    let page = sense(session, unit)?;
    let (device, caching) = (page.get(3), page.get(HEADER + 2));
    let (Some(device), Some(caching)) = (device, caching) else {
        return Err(unfit(unit, "a short caching page"));
    };
    if device & 0x10 == 0 {
        return Err(unfit(unit, "DPOFUA is zero"));
    }
    if (caching & 4 != 0) != unit.mode.wce() {
        return Err(unfit(
            unit,
            format!("WCE is {} in mode {}", caching >> 2 & 1, unit.mode.name()),
        ));
    }
    Ok(())
}

/// MODE SENSE (10) of the caching page, without block descriptors.
fn sense(session: &mut Initiator, unit: &UnderTest) -> Result<Vec<u8>, DurableError> {
    let cdb = [0x5A, 8, 0x08, 0, 0, 0, 0, 0, 64, 0];
    session
        .command(unit.url.lun, &cdb, &[], 64)
        .and_then(|reply| reply.require_good("MODE SENSE"))
        .map(|reply| reply.data)
        .map_err(|e| failed(unit, e))
}

/// MODE SELECT (10) of that page: header and PS bit are zero (SPC-4 6.12).
fn select(
    session: &mut Initiator,
    unit: &UnderTest,
    mut page: Vec<u8>,
) -> Result<(), DurableError> {
    for (at, byte) in page.iter_mut().enumerate().take(HEADER + 1) {
        *byte &= if at < HEADER { 0 } else { 0x3F };
    }
    let len = u8::try_from(page.len()).map_err(|_| unfit(unit, "a long caching page"))?;
    let cdb = [0x55, 0x10, 0, 0, 0, 0, 0, 0, len, 0];
    session
        .command(unit.url.lun, &cdb, &page, 0)
        .and_then(|reply| reply.require_good("MODE SELECT"))
        .map(drop)
        .map_err(|e| failed(unit, e))
}
