//! SendTargets discovery answers (RFC 7143 Appendix C).

use std::net::{IpAddr, SocketAddr, SocketAddrV6};

use super::text::{REJECT, TextError, TextWriter};

/// Most bytes of one SendTargets answer; it is sent in pieces of the peer's MaxRecvDataSegmentLength.
pub const MAX_ANSWER: usize = 4 * 1024 * 1024;

/// A target that the asking initiator may see, and where it is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiscoveredTarget {
    /// The target's iSCSI name.
    pub name: String,
    /// Portals with their portal group tag.
    pub portals: Vec<(SocketAddr, u16)>,
}

/// The session in which SendTargets is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DiscoveryScope<'a> {
    /// A discovery session: `All` or a name may be asked.
    Discovery,
    /// A normal session with this target: only the target itself may be asked for.
    Normal {
        /// Name of the session's target.
        target: &'a str,
    },
}

/// What of a SendTargets answer is left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DiscoveryOptions {
    /// List link-local IPv6 and IPv4 addresses too (SCST's `link_local`).
    pub link_local: bool,
}

/// Appends the answer to `SendTargets=<request>` for the targets in `visible`, in their order.
///
/// A target that is unknown or not visible gives an empty answer, so names do not leak. `All` in a normal
/// session and the empty value in a discovery session are answered `Reject` (Appendix C).
///
/// # Errors
/// [`TextError::TooLong`] if the answer does not fit into `out`.
pub fn send_targets(
    request: &str,
    scope: DiscoveryScope<'_>,
    visible: &[DiscoveredTarget],
    options: DiscoveryOptions,
    out: &mut TextWriter,
) -> Result<(), TextError> {
    let wanted = match (request, scope) {
        ("All", DiscoveryScope::Discovery) => None,
        ("", DiscoveryScope::Normal { target }) => Some(target),
        ("All", DiscoveryScope::Normal { .. }) | ("", DiscoveryScope::Discovery) => {
            return out.push("SendTargets", REJECT);
        }
        (name, DiscoveryScope::Discovery) => Some(name),
        (name, DiscoveryScope::Normal { target }) if name == target => Some(name),
        (_, DiscoveryScope::Normal { .. }) => return Ok(()),
    };
    for target in visible
        .iter()
        .filter(|target| wanted.is_none_or(|name| name == target.name))
    {
        out.push("TargetName", &target.name)?;
        for (address, tag) in &target.portals {
            if let Some(text) = portal_text(*address, options) {
                out.push("TargetAddress", &format!("{text},{tag}"))?;
            }
        }
    }
    Ok(())
}

/// `address:port` as TargetAddress has it (RFC 7143 §13.8): IPv6 in brackets and without zone, IPv4-mapped
/// addresses as IPv4. `None` for an address that cannot be reached by a peer, or is left out by `options`.
#[must_use]
pub fn portal_text(address: SocketAddr, options: DiscoveryOptions) -> Option<String> {
    let ip = address.ip().to_canonical();
    let link_local = match ip {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    };
    if ip.is_unspecified() || ip.is_multicast() || (link_local && !options.link_local) {
        return None;
    }
    Some(match ip {
        IpAddr::V4(v4) => SocketAddr::new(v4.into(), address.port()).to_string(),
        IpAddr::V6(v6) => SocketAddrV6::new(v6, address.port(), 0, 0).to_string(),
    })
}

#[cfg(test)]
mod tests;
