//! SendTargets in a discovery session (RFC 7143 appendix C).

use std::net::ToSocketAddrs;

use super::text::parse_text;
use super::{Error, Initiator, Options};

/// One target of a SendTargets answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetRecord {
    /// TargetName.
    pub name: String,
    /// TargetAddress values, `host:port,tag`.
    pub addresses: Vec<String>,
}

/// Opens a discovery session, asks SendTargets=All and logs out.
pub fn send_targets(
    address: impl ToSocketAddrs,
    options: &Options,
) -> Result<Vec<TargetRecord>, Error> {
    let mut session = Initiator::discover(address, options)?;
    let answer = session.text(&[("SendTargets", "All")])?;
    session.logout()?;
    records(&answer)
}

/// Groups TargetName and TargetAddress keys into records.
fn records(data: &[u8]) -> Result<Vec<TargetRecord>, Error> {
    let mut out: Vec<TargetRecord> = Vec::new();
    for (key, value) in parse_text(data)? {
        match key.as_str() {
            "TargetName" => out.push(TargetRecord {
                name: value,
                addresses: Vec::new(),
            }),
            "TargetAddress" => {
                if let Some(last) = out.last_mut() {
                    last.addresses.push(value);
                }
            }
            _ => {}
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_belong_to_the_name_before_them() {
        let data = b"TargetName=a\0TargetAddress=1:3260,1\0TargetAddress=2:3260,2\0TargetName=b\0";
        let got = records(data).unwrap();
        assert_eq!(got.len(), 2);
        assert_eq!(got[0].addresses, ["1:3260,1", "2:3260,2"]);
        assert!(got[1].addresses.is_empty());
    }
}
