//! CHAP from the initiator's side (RFC 7143 12.1.3, RFC 1994).

use md5::Digest as _;

/// CHAP_A values (RFC 7143 12.1.3 and the IANA registry).
const MD5: u32 = 5;
const SHA1: u32 = 6;
const SHA256: u32 = 7;
const SHA3_256: u32 = 8;

/// Longest CHAP_C or CHAP_R taken, bytes (RFC 7143 12.1.3: 1024).
const MAX_BINARY: usize = 1024;

/// A name and its secret.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// CHAP_N.
    pub user: String,
    /// The shared secret.
    pub secret: Vec<u8>,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials")
            .field("user", &self.user)
            .finish_non_exhaustive()
    }
}

/// What this side knows for CHAP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chap {
    /// Our name and secret.
    pub own: Credentials,
    /// The target's name and secret, when it must prove itself too.
    pub mutual: Option<Credentials>,
    /// CHAP_A offer, a comma list such as `7,5`.
    pub algorithms: String,
}

impl Chap {
    /// One-way CHAP that offers SHA3-256, SHA-256 and MD5.
    pub fn new(user: impl Into<String>, secret: impl Into<Vec<u8>>) -> Self {
        Self {
            own: Credentials {
                user: user.into(),
                secret: secret.into(),
            },
            mutual: None,
            algorithms: "8,7,5".into(),
        }
    }
}

/// The CHAP response of `algorithm`, or `None` when it is not one of those known here.
pub fn response(algorithm: u32, id: u8, secret: &[u8], challenge: &[u8]) -> Option<Vec<u8>> {
    let parts: [&[u8]; 3] = [&[id], secret, challenge];
    Some(match algorithm {
        MD5 => parts
            .iter()
            .fold(md5::Md5::new(), |h, p| h.chain_update(p))
            .finalize()
            .to_vec(),
        SHA1 => parts
            .iter()
            .fold(sha1::Sha1::new(), |h, p| h.chain_update(p))
            .finalize()
            .to_vec(),
        SHA256 => parts
            .iter()
            .fold(sha2::Sha256::new(), |h, p| h.chain_update(p))
            .finalize()
            .to_vec(),
        SHA3_256 => parts
            .iter()
            .fold(sha3::Sha3_256::new(), |h, p| h.chain_update(p))
            .finalize()
            .to_vec(),
        _ => return None,
    })
}

/// `0x` and hex digits (RFC 7143 6.1, hex-constant).
pub fn to_hex(bytes: &[u8]) -> String {
    let mut out = String::from("0x");
    for b in bytes {
        out.push_str(&format!("{b:02x}"));
    }
    out
}

/// A binary value in hex (`0x…`) or base64 (`0b…`) form (RFC 7143 6.1); `None` when malformed.
pub fn from_text(text: &str) -> Option<Vec<u8>> {
    let (prefix, body) = text.split_at_checked(2)?;
    let out = match prefix {
        "0x" | "0X" => hex(body)?,
        "0b" | "0B" => base64(body)?,
        _ => return None,
    };
    (!out.is_empty() && out.len() <= MAX_BINARY).then_some(out)
}

fn hex(body: &str) -> Option<Vec<u8>> {
    let mut nibbles = Vec::with_capacity(body.len() + 1);
    if body.len() % 2 == 1 {
        nibbles.push(0);
    }
    for c in body.chars() {
        nibbles.push(u8::try_from(c.to_digit(16)?).ok()?);
    }
    Some(
        nibbles
            .chunks_exact(2)
            .map(|p| p.iter().fold(0u8, |a, n| a << 4 | n))
            .collect(),
    )
}

fn base64(body: &str) -> Option<Vec<u8>> {
    let (mut acc, mut bits, mut out) = (0u32, 0u32, Vec::new());
    for c in body.trim_end_matches('=').bytes() {
        let value = match c {
            b'A'..=b'Z' => c - b'A',
            b'a'..=b'z' => c - b'a' + 26,
            b'0'..=b'9' => c - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        acc = (acc << 6 | u32::from(value)) & 0xff_ffff;
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            out.push((acc >> bits & 0xff) as u8);
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hex_and_base64_values_decode_alike() {
        assert_eq!(from_text("0x01fF").unwrap(), [1, 255]);
        assert_eq!(from_text("0xfff").unwrap(), [15, 255]);
        assert_eq!(from_text("0bAf8=").unwrap(), [1, 255]);
        assert_eq!(from_text(&to_hex(&[9, 8, 7])).unwrap(), [9, 8, 7]);
        for bad in ["", "0", "0x", "0xg0", "0b!", "12", "0é"] {
            assert!(from_text(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn responses_are_digests_of_id_secret_challenge() {
        // Expected values from md5sum, sha256sum and openssl over the same bytes.
        let hex = |algorithm, secret: &[u8], challenge: &[u8]| {
            to_hex(&response(algorithm, 1, secret, challenge).unwrap())
        };
        assert_eq!(
            hex(MD5, b"secret", &[2, 3]),
            "0xf506c24f35d1c70e450edb8fdf933478"
        );
        assert_eq!(
            hex(SHA256, b"s", &[0]),
            "0xf0e9d29393f36093d79816b5f311743066d0a940219d8daa7738777f72b6ba48"
        );
        assert_eq!(
            hex(SHA3_256, b"s", &[0]),
            "0x71a0198219eedd34bf89f162493bb60dea7b811116430c5f66ea9c1e81c0e590"
        );
        assert!(response(99, 1, b"s", &[0]).is_none());
    }
}
