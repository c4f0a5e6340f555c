//! A short walk through everything the initiator can ask, as a first look at a target.

use crate::initiator::{Error, Initiator, Options, Request, Tmf, Url, send_targets};

/// Asks a target this and that; returns one line per answer. Nothing is written.
pub fn run(url: &Url, login: &Options) -> Result<Vec<String>, Error> {
    let mut out = Vec::new();
    let discovery = Options {
        chap: None,
        ..login.clone()
    };
    match send_targets(url.address(), &discovery) {
        Ok(records) => {
            for r in records {
                out.push(format!("target {} at {}", r.name, r.addresses.join(" ")));
            }
        }
        Err(e) => out.push(format!("discovery: {e}")),
    }
    let mut i = Initiator::connect(url.address(), &url.iqn, login)?;
    let keys: Vec<_> = i
        .params()
        .keys
        .iter()
        .map(|(k, v)| format!("{k}={v}"))
        .collect();
    out.push(format!("login: {}", keys.join(" ")));
    i.ready(url.lun, 8)?;
    let inquiry = i
        .command(url.lun, &[0x12, 0, 0, 0, 96, 0], &[], 96)?
        .require_good("INQUIRY")?;
    let name = inquiry
        .data
        .get(8..36)
        .map(String::from_utf8_lossy)
        .unwrap_or_default();
    out.push(format!(
        "INQUIRY: {:?}, residual {:?}",
        name.trim(),
        inquiry.residual
    ));
    let luns = i.command(0, &[0xa0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0], &[], 512)?;
    out.push(format!(
        "REPORT LUNS: status {:#04x}, {} bytes",
        luns.status,
        luns.data.len()
    ));
    let (blocks, block) = i.capacity(url.lun)?;
    out.push(format!("capacity: {blocks} blocks of {block} bytes"));
    out.push(format!(
        "READ: {} bytes",
        i.read(url.lun, 0, 8, block)?.len()
    ));
    out.push(format!(
        "NOP: {} bytes came back",
        i.nop(b"ping-pong")?.len()
    ));
    let bad = i.command(url.lun, &[0xff; 16], &[], 0)?;
    out.push(format!(
        "unknown opcode: status {:#04x}, {:?} {:02x?}",
        bad.status,
        bad.sense_key(),
        bad.asc_ascq()
    ));
    let far = i.command(
        url.lun,
        &[0x28, 0, 0xff, 0xff, 0xff, 0xff, 0, 0, 1, 0],
        &[],
        block,
    )?;
    out.push(format!(
        "READ past the end: {:?} {:02x?}",
        far.sense_key(),
        far.asc_ascq()
    ));
    let tag = i.submit(&Request::new(url.lun, &[0; 6]))?;
    let tmf = i.tmf(Tmf::AbortTask, url.lun, tag)?;
    let reply = i.wait_for(tag, std::time::Duration::from_millis(200))?;
    out.push(format!(
        "ABORT TASK: response {tmf}, the task {}",
        if reply.is_some() {
            "ended before"
        } else {
            "was aborted"
        }
    ));
    i.forget(tag);
    out.push(format!(
        "LOGICAL UNIT RESET: response {}",
        i.tmf(Tmf::LogicalUnitReset, url.lun, 0)?
    ));
    let after = i.command(url.lun, &[0; 6], &[], 0)?;
    out.push(format!(
        "TEST UNIT READY after it: status {:#04x} {:02x?}",
        after.status,
        after.asc_ascq()
    ));
    out.push(format!("logout: response {}", i.logout()?));
    Ok(out)
}
