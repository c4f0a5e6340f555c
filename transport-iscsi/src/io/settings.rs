//! What of a target is the transport's business.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use lunforge_core::target::Pattern;

use crate::proto::keys::TargetParams;
use crate::proto::login::{Access, AuthConfig, LoginFailure};

/// The port of iSCSI (RFC 7143 13.8).
const PORT: u16 = 3260;
/// Longest host of a redirection in bytes: a domain name.
const MAX_HOST: usize = 255;

/// How a target is served.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TargetSettings {
    /// Its side of the negotiation, and how many sessions it may have.
    pub params: TargetParams,
    /// How initiators prove themselves to it.
    pub auth: AuthConfig,
    /// Who may use it. Others get status 0202, after authentication where that is demanded, and do not find it in
    /// SendTargets answers.
    pub access: Access,
    /// Patterns of portal addresses, without port: it is there at a portal if one of the positive patterns matches, or if
    /// there are none, and all of the inverted ones (`!`) do.
    pub allowed_portals: Vec<Pattern>,
    /// LUN maps are chosen by `name#portal`, the initiator's name and the portal's address, instead of by the name.
    pub per_portal_acl: bool,
    /// TargetAlias.
    pub alias: Option<String>,
    /// Where initiators are sent instead, in normal sessions, unless they are there.
    pub redirect: Option<Redirect>,
    /// An initiator that would see no LUN is told that there is no such target.
    pub hide_without_luns: bool,
    /// Its name is told in discovery sessions to those who have proved nothing, although it demands a proof itself.
    /// Without this, and without a proof for discovery, it is not listed.
    pub public_name: bool,
}

impl TargetSettings {
    /// Whether it is there for who comes by this address of ours.
    pub(super) fn reachable_at(&self, portal: IpAddr) -> bool {
        if self.allowed_portals.is_empty() {
            return true;
        }
        let portal = portal.to_canonical().to_string();
        let (mut asked, mut granted) = (false, false);
        for pattern in &self.allowed_portals {
            let matches = pattern.matches(&portal);
            if pattern.is_inverted() {
                if !matches {
                    return false;
                }
            } else {
                asked = true;
                granted |= matches;
            }
        }
        granted || !asked
    }

    /// The name by which the LUN map of a session is chosen.
    pub(super) fn session_name(&self, initiator: &str, portal: SocketAddr) -> String {
        if self.per_portal_acl {
            format!("{initiator}#{}", portal.ip().to_canonical())
        } else {
            initiator.to_owned()
        }
    }

    /// How a login by this address ends that is sent elsewhere.
    pub(super) fn moved(&self, portal: SocketAddr) -> Option<LoginFailure> {
        let redirect = self.redirect.as_ref()?;
        let here = SocketAddr::new(portal.ip().to_canonical(), portal.port());
        (redirect.address != here.to_string()).then(|| LoginFailure::Moved {
            address: redirect.address.clone(),
            permanent: redirect.permanent,
        })
    }
}

/// No address that an initiator could be sent to; its beginning.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no address or host, with a port or without one")]
pub struct NotAnAddress(pub String);

/// A redirection to another portal (RFC 7143 11.13.5, status 0101 and 0102).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Redirect {
    address: String,
    permanent: bool,
}

impl Redirect {
    /// To an address or a host, with a port or without (3260); for good, or for the time being.
    ///
    /// # Errors
    /// [`NotAnAddress`].
    pub fn new(to: &str, permanent: bool) -> Result<Self, NotAnAddress> {
        let address = normal(to).ok_or_else(|| NotAnAddress(to.chars().take(64).collect()))?;
        Ok(Self { address, permanent })
    }

    /// TargetAddress: always with a port.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Whether it is for good.
    pub fn is_permanent(&self) -> bool {
        self.permanent
    }
}

fn normal(to: &str) -> Option<String> {
    if let Ok(address) = to.parse::<SocketAddr>() {
        return (address.port() != 0).then(|| address.to_string());
    }
    let bare = to.strip_prefix('[').and_then(|to| to.strip_suffix(']'));
    let ip = match bare {
        Some(six) => Some(six.parse::<Ipv6Addr>().ok()?.into()),
        None => to.parse::<IpAddr>().ok(),
    };
    if let Some(ip) = ip {
        return Some(SocketAddr::new(ip, PORT).to_string());
    }
    let (host, port) = match to.split_once(':') {
        Some((host, port)) => (host, port.parse::<u16>().ok().filter(|port| *port != 0)?),
        None => (to, PORT),
    };
    let of_host = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.';
    let numeric = host.chars().all(|c| c.is_ascii_digit() || c == '.');
    let good = host.len() <= MAX_HOST && host.chars().all(of_host) && !numeric;
    good.then(|| format!("{host}:{port}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(patterns: &[&str]) -> TargetSettings {
        TargetSettings {
            allowed_portals: patterns.iter().filter_map(|p| Pattern::new(p)).collect(),
            ..TargetSettings::default()
        }
    }

    #[test]
    fn one_positive_pattern_and_all_inverted_ones_have_to_allow_a_portal() {
        let at = |patterns: &[&str], ip: &str| settings(patterns).reachable_at(ip.parse().unwrap());
        assert!(at(&[], "192.0.2.1"));
        assert!(at(&["198.51.100.*", "192.0.2.?"], "192.0.2.1"));
        assert!(at(&["192.0.2.*"], "::ffff:192.0.2.1"));
        assert!(!at(&["198.51.100.*"], "192.0.2.1"));
        assert!(at(&["!198.51.100.*"], "192.0.2.1"));
        assert!(!at(&["!198.51.100.*", "!192.0.2.*"], "192.0.2.1"));
        assert!(!at(&["192.0.2.*", "!*.1"], "192.0.2.1"));
        assert!(at(&["192.0.2.*", "!*.1"], "192.0.2.2"));
        assert!(at(&["2001:DB8::*"], "2001:db8::1"));
    }

    #[test]
    fn a_redirection_has_an_address_and_a_port() {
        let to = |text: &str| Redirect::new(text, false).map(|r| r.address);
        let good = [
            ("192.0.2.1", "192.0.2.1:3260"),
            ("192.0.2.1:99", "192.0.2.1:99"),
            ("2001:db8::1", "[2001:db8::1]:3260"),
            ("[2001:db8::1]", "[2001:db8::1]:3260"),
            ("[2001:db8::1]:99", "[2001:db8::1]:99"),
            ("node-2.example.org", "node-2.example.org:3260"),
            ("node-2.example.org:99", "node-2.example.org:99"),
        ];
        for (given, address) in good {
            assert_eq!(to(given).as_deref(), Ok(address));
        }
        let bad = [
            "",
            ":99",
            "192.0.2",
            "192.0.2.1:0",
            "a b",
            "a:b",
            "[a]",
            "a\0",
        ];
        for given in bad {
            assert_eq!(to(given), Err(NotAnAddress(given.to_owned())));
        }
    }

    #[test]
    fn who_is_where_he_would_be_sent_is_not_sent() {
        let settings = TargetSettings {
            redirect: Redirect::new("192.0.2.1", true).ok(),
            ..TargetSettings::default()
        };
        let moved = |at: &str| settings.moved(at.parse().unwrap()).is_some();
        assert!(moved("192.0.2.2:3260"));
        assert!(moved("192.0.2.1:3261"));
        assert!(!moved("192.0.2.1:3260"));
        assert!(!moved("[::ffff:192.0.2.1]:3260"));
    }
}
