//! Additional header segments (RFC 7143 §11.2.2): extended CDB and bidirectional read length.

use super::FormatError;

/// Longest CDB accepted: 16 bytes of the header and 244 of the extended-CDB segment (SPC-4 260).
pub const MAX_CDB_LEN: usize = 260;

/// The additional headers of one SCSI Command.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ahs {
    /// CDB bytes from the 17th on; empty when the CDB fits the header.
    pub extended_cdb: Vec<u8>,
    /// Bidirectional Expected Read-Data Length in bytes.
    pub read_length: Option<u32>,
}

const EXTENDED_CDB: u8 = 1;
const BIDI_READ_LENGTH: u8 = 2;

impl Ahs {
    /// Parses all additional headers of one PDU.
    ///
    /// # Errors
    /// [`FormatError::Ahs`] for a segment that is cut short, of unknown type, repeated, or of a
    /// length its type does not have.
    pub fn parse(mut bytes: &[u8]) -> Result<Self, FormatError> {
        let mut ahs = Self::default();
        let mut seen_cdb = false;
        while let Some((&[hi, lo, kind], rest)) = bytes.split_first_chunk::<3>() {
            let len = usize::from(u16::from_be_bytes([hi, lo]));
            // Segments are padded to words; AHSLength counts neither its own two bytes nor the
            // type (RFC 7143 §11.2.2.2), so the byte after the type belongs to it.
            let padded = (len + 3).next_multiple_of(4) - 3;
            let Some((segment, next)) = rest.split_at_checked(padded) else {
                return Err(FormatError::Ahs("cut short"));
            };
            match kind & 0x3f {
                EXTENDED_CDB if !seen_cdb => {
                    seen_cdb = true;
                    ahs.extended_cdb = extended_cdb(segment, len)?;
                }
                BIDI_READ_LENGTH if ahs.read_length.is_none() => {
                    ahs.read_length = Some(read_length(segment, len)?);
                }
                EXTENDED_CDB | BIDI_READ_LENGTH => return Err(FormatError::Ahs("repeated")),
                _ => return Err(FormatError::Ahs("unknown type")),
            }
            bytes = next;
        }
        if bytes.is_empty() {
            Ok(ahs)
        } else {
            Err(FormatError::Ahs("cut short"))
        }
    }

    /// Emits the segments, padded to words.
    #[must_use]
    pub fn emit(&self) -> Vec<u8> {
        let mut out = Vec::new();
        if !self.extended_cdb.is_empty() {
            let len = u16::try_from(self.extended_cdb.len() + 1).unwrap_or(u16::MAX);
            out.extend_from_slice(&len.to_be_bytes());
            out.extend_from_slice(&[EXTENDED_CDB, 0]);
            out.extend_from_slice(&self.extended_cdb);
            out.resize(out.len().next_multiple_of(4), 0);
        }
        if let Some(length) = self.read_length {
            out.extend_from_slice(&[0, 5, BIDI_READ_LENGTH, 0]);
            out.extend_from_slice(&length.to_be_bytes());
        }
        out
    }
}

fn extended_cdb(segment: &[u8], len: usize) -> Result<Vec<u8>, FormatError> {
    // AHSLength is the CDB length minus 15: the 16 bytes of the header and one reserved byte.
    let cdb = segment
        .get(1..len)
        .ok_or(FormatError::Ahs("extended CDB length"))?;
    if cdb.is_empty() || cdb.len() > MAX_CDB_LEN - 16 {
        return Err(FormatError::Ahs("extended CDB length"));
    }
    Ok(cdb.to_vec())
}

fn read_length(segment: &[u8], len: usize) -> Result<u32, FormatError> {
    match segment {
        [_, a, b, c, d] if len == 5 => Ok(u32::from_be_bytes([*a, *b, *c, *d])),
        _ => Err(FormatError::Ahs("bidirectional read length")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn both_segments_round_trip() {
        for extra in [1usize, 3, 16, 244] {
            let ahs = Ahs {
                extended_cdb: vec![0xa5; extra],
                read_length: Some(0x0102_0304),
            };
            assert_eq!(Ahs::parse(&ahs.emit()), Ok(ahs));
        }
    }

    #[test]
    fn n03_malformed_segments_are_refused() {
        for (bytes, why) in [
            (&[0u8, 5, 2, 0, 1, 2, 3][..], "cut short"),
            (
                &[0, 5, 2, 0, 0, 0, 0, 1, 0, 5, 2, 0, 0, 0, 0, 1],
                "repeated",
            ),
            (&[0, 1, 9, 0], "unknown type"),
            (&[0xff, 0xff, 1, 0], "cut short"),
            (&[0, 1, 1, 0], "extended CDB length"),
            (&[0, 0, 2, 0], "cut short"),
        ] {
            let got = Ahs::parse(bytes);
            assert!(
                matches!(got, Err(FormatError::Ahs(_))),
                "{bytes:?} {why} {got:?}"
            );
        }
        assert!(
            Ahs::parse(
                &Ahs {
                    extended_cdb: vec![0; 245],
                    read_length: None
                }
                .emit()
            )
            .is_err()
        );
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..1100)) {
            let _ = Ahs::parse(&bytes);
        }
    }
}
