//! Shared secrets: wiped on drop, never printed, compared in constant time.

use std::fmt;
use std::sync::Arc;

use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// Shortest secret in bytes: 96 bits (RFC 7143 §9.2.1).
const MIN_SECRET_LEN: usize = 12;
/// Secrets below this many bytes deserve a warning: 128 bits (RFC 7143 §9.2.1).
pub const RECOMMENDED_SECRET_LEN: usize = 16;
/// Longest secret in bytes.
const MAX_SECRET_LEN: usize = 256;

/// Why a secret is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    /// Below 12 bytes.
    #[error("CHAP secret must have at least {MIN_SECRET_LEN} bytes: 96 bits (RFC 7143 9.2.1)")]
    TooShort,
    /// Above 256 bytes.
    #[error("CHAP secret must have at most {MAX_SECRET_LEN} bytes")]
    TooLong,
}

/// A CHAP secret of 12 to 256 bytes. Clones share one buffer, which is wiped when the last is dropped.
#[derive(Clone)]
pub struct Secret(Arc<Zeroizing<Vec<u8>>>);

impl Secret {
    /// Takes a copy of `bytes`.
    ///
    /// # Errors
    /// [`SecretError`] if the length is out of its limits.
    pub fn new(bytes: &[u8]) -> Result<Self, SecretError> {
        match bytes.len() {
            0..MIN_SECRET_LEN => Err(SecretError::TooShort),
            MIN_SECRET_LEN..=MAX_SECRET_LEN => Ok(Self(Arc::new(Zeroizing::new(bytes.to_vec())))),
            _ => Err(SecretError::TooLong),
        }
    }

    /// Whether the secret is shorter than [`RECOMMENDED_SECRET_LEN`].
    #[must_use]
    pub fn is_weak(&self) -> bool {
        self.0.len() < RECOMMENDED_SECRET_LEN
    }

    /// The bytes, for digests and for writing the configuration back. Never log them.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_slice().ct_eq(other.0.as_slice()).into()
    }
}

impl Eq for Secret {}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(redacted)")
    }
}
