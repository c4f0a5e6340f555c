//! Text of login and text PDUs (RFC 7143 6.1).

use super::login::LoginError;

/// A decimal or `0x` number (RFC 7143 6.1).
pub fn number(text: &str) -> Option<u32> {
    match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(hex) => u32::from_str_radix(hex, 16).ok(),
        None => text.parse().ok(),
    }
}

/// The value a key has last in `keys`.
pub fn value<'a>(keys: &'a [(String, String)], key: &str) -> Option<&'a str> {
    keys.iter()
        .rev()
        .find(|(k, _)| k == key)
        .map(|(_, v)| v.as_str())
}

/// `key=value` pairs, each ended by NUL (RFC 7143 6.1).
pub fn text(keys: &[(String, String)]) -> Vec<u8> {
    let mut out = Vec::new();
    for (k, v) in keys {
        out.extend_from_slice(k.as_bytes());
        out.push(b'=');
        out.extend_from_slice(v.as_bytes());
        out.push(0);
    }
    out
}

/// The pairs of a data segment; an error when one has no `=` or is not UTF-8.
pub fn parse_text(data: &[u8]) -> Result<Vec<(String, String)>, LoginError> {
    data.split(|b| *b == 0)
        .filter(|part| !part.is_empty())
        .map(|part| {
            let pair = std::str::from_utf8(part)
                .ok()
                .and_then(|t| t.split_once('='));
            let (k, v) = pair.ok_or_else(|| LoginError::Rule("a text item without '='".into()))?;
            Ok((k.to_owned(), v.to_owned()))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_come_back_as_they_were_written() {
        let keys = vec![
            ("A".to_owned(), "1".to_owned()),
            ("B".to_owned(), "x=y".to_owned()),
        ];
        assert_eq!(parse_text(&text(&keys)).unwrap(), keys);
        assert_eq!(value(&keys, "B"), Some("x=y"));
    }

    #[test]
    fn n59_text_without_equals_or_not_utf8_is_an_error() {
        assert!(parse_text(b"abc\0").is_err());
        assert!(parse_text(b"a=\xff\0").is_err());
        assert_eq!(parse_text(b"\0\0").unwrap(), []);
    }

    #[test]
    fn numbers_are_decimal_or_hex_and_bounded() {
        assert_eq!(
            (number("8192"), number("0x10"), number("0XfF")),
            (Some(8192), Some(16), Some(255))
        );
        for bad in ["", "-1", "4294967296", "0x", "1 "] {
            assert_eq!(number(bad), None, "{bad}");
        }
    }
}
