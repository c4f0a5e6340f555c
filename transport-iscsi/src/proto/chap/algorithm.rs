//! The digest algorithms of CHAP_A.

use md5::{Digest, Md5};
use zeroize::Zeroize;

/// Digest size of the longest algorithm, in bytes.
pub const MAX_DIGEST_LEN: usize = 32;

/// A CHAP algorithm, named by its number on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum ChapAlgorithm {
    /// MD5, mandatory to implement (RFC 7143 §12.1.3).
    Md5 = 5,
    /// SHA-1.
    Sha1 = 6,
    /// SHA-256.
    Sha256 = 7,
    /// SHA3-256.
    Sha3_256 = 8,
}

impl ChapAlgorithm {
    /// Every algorithm built in, strongest first.
    pub const ALL: [Self; 4] = [Self::Sha3_256, Self::Sha256, Self::Sha1, Self::Md5];

    /// The algorithm of one CHAP_A list item, if known.
    #[must_use]
    pub fn from_text(item: &str) -> Option<Self> {
        match crate::proto::text::parse_number(item)? {
            5 => Some(Self::Md5),
            6 => Some(Self::Sha1),
            7 => Some(Self::Sha256),
            8 => Some(Self::Sha3_256),
            _ => None,
        }
    }

    /// The number on the wire, as text.
    #[must_use]
    pub fn text(self) -> &'static str {
        match self {
            Self::Md5 => "5",
            Self::Sha1 => "6",
            Self::Sha256 => "7",
            Self::Sha3_256 => "8",
        }
    }

    /// Size of the digest in bytes.
    #[must_use]
    pub fn digest_len(self) -> usize {
        match self {
            Self::Md5 => 16,
            Self::Sha1 => 20,
            Self::Sha256 | Self::Sha3_256 => 32,
        }
    }

    /// Response to a challenge: the digest of identifier, secret and challenge in this order (RFC 1994 §4.1).
    /// The result is the used part of `out`.
    pub fn response<'a>(
        self,
        identifier: u8,
        secret: &[u8],
        challenge: &[u8],
        out: &'a mut [u8; MAX_DIGEST_LEN],
    ) -> &'a [u8] {
        let parts = [&[identifier], secret, challenge];
        let used = match self {
            Self::Md5 => digest::<Md5>(parts, out),
            Self::Sha1 => digest::<sha1::Sha1>(parts, out),
            Self::Sha256 => digest::<sha2::Sha256>(parts, out),
            Self::Sha3_256 => digest::<sha3::Sha3_256>(parts, out),
        };
        wipe_stack();
        used
    }
}

/// Not inlined, so that all it leaves on the stack is where [`wipe_stack`] wipes.
#[inline(never)]
fn digest<'a, D: Digest>(parts: [&[u8]; 3], out: &'a mut [u8; MAX_DIGEST_LEN]) -> &'a [u8] {
    let mut hash = D::new();
    for part in parts {
        hash.update(part);
    }
    let result = hash.finalize();
    let len = result.len().min(MAX_DIGEST_LEN);
    let (used, _) = out.split_at_mut(len);
    used.copy_from_slice(result.get(..len).unwrap_or_default());
    used
}

/// Overwrites the part of the stack that functions called before have used: digests move their state about, and with it
/// the secret, and wipe only its last place.
#[inline(never)]
fn wipe_stack() {
    let mut used = [1_u8; 16 * 1024];
    used.zeroize();
}
