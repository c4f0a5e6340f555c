//! Values with a form of their own. Each gives the form in which the value is kept, or says what is expected.

use std::net::{IpAddr, SocketAddr};

use lunforge::iscsi::DigestChoice;

use super::value;

/// Longest text of these.
const MAX: usize = 520;
/// Shortest and longest secret of CHAP in bytes.
const SECRET: std::ops::RangeInclusive<usize> = 12..=256;

type Checked = Result<String, String>;

fn kept(text: &str, right: bool, expected: &str) -> Checked {
    if right && text.len() <= MAX && !text.chars().any(char::is_control) {
        Ok(text.to_owned())
    } else {
        Err(expected.to_owned())
    }
}

/// Bytes of a logical block.
pub(super) fn block_size(text: &str) -> Checked {
    value::number(text)
        .filter(|n| (512..=65_536).contains(n) && n.count_ones() == 1)
        .map(|n| n.to_string())
        .ok_or_else(|| "a power of two from 512 to 65536".to_owned())
}

/// Nothing, or an absolute path.
pub(super) fn medium(text: &str) -> Checked {
    kept(
        text,
        text.is_empty() || text.starts_with('/'),
        "an absolute path, or nothing",
    )
}

/// What is written to `block`; SCST reads two counts there.
pub(super) fn block(text: &str) -> Checked {
    let right = matches!(text, "0" | "1") || text.starts_with("11 ");
    kept(text, right, "0, 1, or 11 and data for the event")
}

/// NAA designators of 8 and 16 bytes (SPC-4 7.8.6.6).
pub(super) fn naa(text: &str) -> Checked {
    let digits = hex(text);
    let right = match (digits.len(), digits.chars().next()) {
        (0, _) | (16, Some('2' | '3' | '5')) | (32, Some('6')) => all_hex(&digits),
        _ => false,
    };
    kept(
        &digits,
        right,
        "16 hexadecimal digits of which the first is 2, 3 or 5, or 32 that begin with 6",
    )
}

/// EUI-64 based designators of 8, 12 and 16 bytes (SPC-4 7.8.6.5).
pub(super) fn eui64(text: &str) -> Checked {
    let digits = hex(text);
    let right = matches!(digits.len(), 0 | 16 | 24 | 32) && all_hex(&digits);
    kept(&digits, right, "16, 24 or 32 hexadecimal digits")
}

/// A GUID, kept as 0x and 16 digits.
pub(super) fn guid(text: &str) -> Checked {
    let digits = hex(&text.replace(':', ""));
    let right = (1..=16).contains(&digits.len()) && all_hex(&digits);
    kept(
        &format!("0x{digits:0>16}"),
        right,
        "a GUID of 16 hexadecimal digits",
    )
}

/// A port identifier of SRP, kept in eight groups.
pub(super) fn port_id(text: &str) -> Checked {
    let port = text.parse::<lunforge::srp::PortId>();
    port.map(|port| port.to_string())
        .map_err(|error| error.to_string())
}

fn hex(text: &str) -> String {
    let digits = text.strip_prefix("0x").unwrap_or(text);
    digits.to_ascii_lowercase()
}

fn all_hex(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// The name of a user, and behind blanks the secret.
pub(super) fn account(text: &str) -> Checked {
    let expected = "a name and a secret of 12 to 256 bytes";
    let (name, secret) = text
        .split_once([' ', '\t'])
        .ok_or_else(|| expected.to_owned())?;
    let secret = secret.trim();
    let right = !name.is_empty()
        && name.len() <= 255
        && SECRET.contains(&secret.len())
        && !secret.contains([' ', '\t']);
    kept(&format!("{name} {secret}"), right, expected)
}

/// Patterns for addresses of portals.
pub(super) fn portal_pattern(text: &str) -> Checked {
    let taken =
        |c: char| c.is_ascii_hexdigit() || ".:[]*?!%".contains(c) || c.is_ascii_alphanumeric();
    let right = !text.is_empty() && text.chars().all(|c| taken(c) || c == ' ');
    kept(
        text,
        right,
        "an address of a portal, with *, ? and ! if you like",
    )
}

/// An address to listen on.
pub(super) fn portal(text: &str) -> Checked {
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Ok(address.to_string());
    }
    let plain = text
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    let address: IpAddr = plain.unwrap_or(text).parse().map_err(
        |_| "an address, with a port if you like: 192.0.2.1, 192.0.2.1:3260 or [2001:db8::1]:3260",
    )?;
    Ok(SocketAddr::new(address, 3260).to_string())
}

/// Where a login is sent to: address, port, and for how long.
pub(super) fn redirect(text: &str) -> Checked {
    let expected = "an address, with a port if you like, and temp or perm; or nothing";
    if text.is_empty() {
        return Ok(String::new());
    }
    let mut words = text.split_whitespace();
    let (Some(address), Some(kind), None) = (words.next(), words.next(), words.next()) else {
        return Err(expected.to_owned());
    };
    let address = portal(address).map_err(|_| expected.to_owned())?;
    kept(
        &format!("{address} {kind}"),
        matches!(kind, "temp" | "perm"),
        expected,
    )
}

/// `None`, `CRC32C`, or a list of both.
pub(super) fn digest(text: &str) -> Checked {
    text.parse::<DigestChoice>()
        .map(|digest| digest.to_string())
        .map_err(|()| "None, CRC32C or a list of both".to_owned())
}

/// `auto`, `this_group_only`, `never`, or a number of a group.
pub(super) fn io_grouping(text: &str) -> Checked {
    let word = matches!(text, "auto" | "this_group_only" | "never");
    let number = value::number(text).is_some_and(|n| (1..=i64::from(i32::MAX)).contains(&n));
    kept(
        text,
        word || number,
        "auto, this_group_only, never or a number from 1",
    )
}

/// A mask of processors: words of 32 bits in hexadecimal.
pub(super) fn cpu_mask(text: &str) -> Checked {
    let word = |word: &str| (1..=8).contains(&word.len()) && all_hex(word);
    kept(
        text,
        text.split(',').all(word),
        "hexadecimal words with commas between them",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_form_is_kept_in_one_way_and_what_is_wrong_is_refused() {
        assert_eq!(
            naa("0x6001405AB00000000000000000000000").unwrap(),
            "6001405ab00000000000000000000000"
        );
        assert!(naa("6001405ab0000000").is_err() && naa("500140500000000g").is_err());
        assert_eq!(eui64("").unwrap(), "");
        assert!(eui64("0011").is_err());
        assert_eq!(portal("192.0.2.1").unwrap(), "192.0.2.1:3260");
        assert_eq!(portal("[2001:db8::1]").unwrap(), "[2001:db8::1]:3260");
        assert!(portal("example").is_err());
        assert_eq!(redirect("192.0.2.1 temp").unwrap(), "192.0.2.1:3260 temp");
        assert!(redirect("192.0.2.1").is_err() && redirect("192.0.2.1 never").is_err());
        assert_eq!(digest("CRC32C,None").unwrap(), "CRC32C,None");
        assert!(digest("MD5").is_err());
        assert!(
            cpu_mask("ffffffff,0f").is_ok() && cpu_mask("").is_err() && cpu_mask("fg").is_err()
        );
        assert!(block_size("4096").is_ok() && block_size("768").is_err());
        assert!(io_grouping("3").is_ok() && io_grouping("0").is_err());
        assert!(portal_pattern("!10.0.0.*").is_ok() && portal_pattern("").is_err());
        assert!(block("11 data").is_ok() && block("0 0").is_err());
    }

    #[test]
    fn an_account_is_a_name_and_a_secret_of_twelve_bytes_or_more() {
        assert_eq!(account("joe  0123456789ab").unwrap(), "joe 0123456789ab");
        for wrong in [
            "joe",
            "joe short",
            " 0123456789ab",
            "joe 0123456789ab more",
            "",
        ] {
            let expected = account(wrong).unwrap_err();
            assert_eq!(expected, "a name and a secret of 12 to 256 bytes");
        }
    }
}
