//! From the attributes of a target, and of its driver, to what the transport takes.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use lunforge::core::target::Pattern;
use lunforge::iscsi::{
    AuthConfig, ChapAccount, ChapConfig, Redirect, TargetParams, TargetSettings,
};

use super::super::failure::failure;
use super::super::wanted::Wanted;
use crate::manage::Failure;

/// The port of iSCSI (RFC 7143 13.8).
const PORT: u16 = 3260;

/// How a target is served. As SCST does it, one is there for those initiators only that have LUNs.
pub(super) fn settings(wanted: &Wanted<'_>) -> Result<TargetSettings, Failure> {
    Ok(TargetSettings {
        params: params(wanted)?,
        auth: auth(wanted)?,
        allowed_portals: allowed_portals(wanted)?,
        per_portal_acl: wanted.flag("per_portal_acl"),
        alias: wanted.some("alias"),
        redirect: redirect(wanted)?,
        hide_without_luns: true,
        // In SCST whoever may use a target finds it by discovery, whatever it demands itself.
        public_name: true,
        ..TargetSettings::default()
    })
}

/// The keys of the negotiation.
fn params(wanted: &Wanted<'_>) -> Result<TargetParams, Failure> {
    let mut params = TargetParams::default();
    for name in TargetParams::names() {
        // What our tables do not have is left at its default, and so is iSER, which is not there.
        if let Some(value) = wanted.text(name).filter(|_| name != "RDMAExtensions") {
            params.set(name, &value).map_err(failure)?;
        }
    }
    params.validate().map_err(failure)?;
    Ok(params)
}

/// Who proves himself by which secret.
pub(super) fn auth(wanted: &Wanted<'_>) -> Result<AuthConfig, Failure> {
    let incoming: Vec<_> = accounts(wanted, "IncomingUser")?;
    // SCST has one of them; of several the first is used.
    let outgoing = accounts(wanted, "OutgoingUser")?.into_iter().next();
    if incoming.is_empty() {
        return Ok(AuthConfig::None);
    }
    let config = ChapConfig::new(incoming, outgoing).map_err(failure)?;
    Ok(AuthConfig::Chap(config.into()))
}

fn accounts(wanted: &Wanted<'_>, name: &str) -> Result<Vec<ChapAccount>, Failure> {
    let account = |text: &str| {
        let (user, secret) = text.split_once(' ').unwrap_or((text, ""));
        ChapAccount::new(user, secret.trim()).map_err(failure)
    };
    wanted.all(name).map(account).collect()
}

fn allowed_portals(wanted: &Wanted<'_>) -> Result<Vec<Pattern>, Failure> {
    let words = wanted.all("allowed_portal").flat_map(str::split_whitespace);
    let pattern = |text: &str| {
        let pattern = Pattern::new(text);
        pattern.ok_or_else(|| failure(format!("{text:?} is no pattern of portals")))
    };
    words.map(pattern).collect()
}

fn redirect(wanted: &Wanted<'_>) -> Result<Option<Redirect>, Failure> {
    let Some(text) = wanted.some("redirect") else {
        return Ok(None);
    };
    let (address, kind) = text.split_once(' ').unwrap_or((&text, "temp"));
    let redirect = Redirect::new(address, kind == "perm").map_err(failure)?;
    Ok(Some(redirect))
}

/// Where the driver listens: nowhere unless it is enabled, at `unless_said` unless addresses are given, and everywhere if
/// that is empty.
pub(super) fn portals(
    wanted: &Wanted<'_>,
    unless_said: &[SocketAddr],
) -> Result<Vec<SocketAddr>, Failure> {
    if !wanted.flag("enabled") {
        return Ok(Vec::new());
    }
    let given = wanted
        .all("portal")
        .map(|text| text.parse().map_err(failure))
        .collect::<Result<Vec<_>, _>>()?;
    if !given.is_empty() {
        return Ok(given);
    }
    if !unless_said.is_empty() {
        return Ok(unless_said.to_vec());
    }
    Ok(vec![
        (Ipv4Addr::UNSPECIFIED, PORT).into(),
        (Ipv6Addr::UNSPECIFIED, PORT).into(),
    ])
}
