//! `iscsi://HOST:PORT/IQN/LUN`.

use std::str::FromStr;

/// A logical unit named by address, target and number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Url {
    /// Host name or address, without brackets.
    pub host: String,
    /// TCP port, 3260 when not given.
    pub port: u16,
    /// Target name.
    pub iqn: String,
    /// Logical unit number.
    pub lun: u16,
}

impl Url {
    /// Host and port in the form `ToSocketAddrs` takes.
    pub fn address(&self) -> (&str, u16) {
        (&self.host, self.port)
    }
}

impl std::fmt::Display for Url {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.host.contains(':') {
            write!(
                f,
                "iscsi://[{}]:{}/{}/{}",
                self.host, self.port, self.iqn, self.lun
            )
        } else {
            write!(
                f,
                "iscsi://{}:{}/{}/{}",
                self.host, self.port, self.iqn, self.lun
            )
        }
    }
}

/// Why a text is no such URL.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not iscsi://HOST[:PORT]/TARGET/LUN: {reason}")]
pub struct UrlError {
    text: String,
    reason: &'static str,
}

impl FromStr for Url {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<Self, UrlError> {
        split(text).map_err(|reason| UrlError {
            text: text.to_owned(),
            reason,
        })
    }
}

fn split(text: &str) -> Result<Url, &'static str> {
    let rest = text
        .strip_prefix("iscsi://")
        .ok_or("it does not start with iscsi://")?;
    let (authority, path) = rest.split_once('/').ok_or("there is no target name")?;
    let (iqn, lun) = path.rsplit_once('/').ok_or("there is no LUN")?;
    let lun = lun
        .parse()
        .ok()
        .filter(|n| *n < 16_384)
        .ok_or("the LUN is not 0 to 16383")?;
    let (host, port) = if let Some(v6) = authority.strip_prefix('[') {
        let (host, port) = v6.split_once(']').ok_or("the bracket is not closed")?;
        (
            host,
            port.strip_prefix(':')
                .or(if port.is_empty() { Some("3260") } else { None }),
        )
    } else {
        match authority.rsplit_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (authority, Some("3260")),
        }
    };
    let port = port
        .and_then(|p| p.parse().ok())
        .filter(|p| *p != 0)
        .ok_or("the port is bad")?;
    if host.is_empty() {
        return Err("there is no host");
    }
    if iqn.is_empty() || iqn.contains('/') {
        return Err("the target name is empty or has a slash");
    }
    Ok(Url {
        host: host.to_owned(),
        port,
        iqn: iqn.to_owned(),
        lun,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_port_target_and_lun_are_split_and_printed_back() {
        for text in [
            "iscsi://127.0.0.1:13260/iqn.2026-01.a:b/1",
            "iscsi://[::1]:3260/iqn.x/0",
        ] {
            assert_eq!(text.parse::<Url>().unwrap().to_string(), text);
        }
        let url: Url = "iscsi://localhost/iqn.a:b:c/7".parse().unwrap();
        assert_eq!(
            (url.host.as_str(), url.port, url.lun),
            ("localhost", 3260, 7)
        );
    }

    #[test]
    fn bad_urls_are_refused_with_a_reason() {
        for text in [
            "",
            "http://a/b/0",
            "iscsi://",
            "iscsi://a",
            "iscsi://a/b",
            "iscsi://a:0/b/0",
            "iscsi://a:x/b/0",
            "iscsi://:3260/b/0",
            "iscsi://a//0",
            "iscsi://a/b/c/0",
            "iscsi://a/b/16384",
            "iscsi://a/b/-1",
            "iscsi://[::1/b/0",
            "iscsi://[::1]x/b/0",
        ] {
            let error = text.parse::<Url>().unwrap_err().to_string();
            assert!(error.contains("iscsi://HOST"), "{error}");
        }
    }
}
