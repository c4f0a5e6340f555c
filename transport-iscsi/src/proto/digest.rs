//! CRC32C digests (RFC 7143 §13.1), streamed over slices, by instruction where the CPU has one.

use crc_fast::{CrcAlgorithm, Digest};

/// A running CRC32C.
#[derive(Debug, Clone)]
pub struct Crc32c(Digest);

impl Default for Crc32c {
    fn default() -> Self {
        Self(Digest::new(CrcAlgorithm::Crc32Iscsi))
    }
}

impl Crc32c {
    /// Adds the next bytes of the segment.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The digest as it stands on the wire, least significant byte first.
    #[must_use]
    pub fn finish(&self) -> [u8; 4] {
        // A 32-bit CRC: the upper half is always zero.
        (self.0.finalize() as u32).to_le_bytes()
    }
}

/// Digest of one slice as it stands on the wire.
#[must_use]
pub fn crc32c(bytes: &[u8]) -> [u8; 4] {
    crc_fast::crc32_iscsi(bytes).to_le_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn examples_of_rfc_7143_appendix_a_4() {
        let rising: Vec<u8> = (0..32).collect();
        let falling: Vec<u8> = (0..32).rev().collect();
        for (bytes, wire) in [
            (&[0u8; 32][..], [0xaa, 0x36, 0x91, 0x8a]),
            (&[0xff; 32], [0x43, 0xab, 0xa8, 0x62]),
            (&rising, [0x4e, 0x79, 0xdd, 0x46]),
            (&falling, [0x5c, 0xdb, 0x3f, 0x11]),
        ] {
            assert_eq!(crc32c(bytes), wire);
            for cut in 0..=bytes.len() {
                let mut crc = Crc32c::default();
                crc.update(&bytes[..cut]);
                crc.update(&bytes[cut..]);
                assert_eq!(crc.finish(), wire);
            }
        }
    }
}
