//! What must not be in a recording: the values by which a peer proves who it is.

use crate::proto::keys;

/// Stands for each byte of a value that was blanked: lengths stay as they were.
const BLANK: u8 = b'*';
/// Longest key name (RFC 7143 6.1); what is longer is no name and not kept.
const MAX_KEY: usize = crate::proto::text::MAX_KEY_LEN;

/// Blanks values in the text of one direction's login PDUs, in place.
///
/// Only the values of keys that are known and no secret are kept: CHAP_R goes (RFC 7143 12.1.3), and so do other
/// methods' proofs and whatever has a name that means nothing here. A key or value may be cut anywhere, for a sequence
/// of PDUs with the C bit is one text.
#[derive(Debug, Default)]
pub(super) struct Blanker {
    key: Vec<u8>,
    value: Option<Keep>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Keep {
    Yes,
    No,
}

impl Blanker {
    /// Blanks the data segment of one PDU; `continued` says that the text goes on in the next one.
    pub(super) fn blank(&mut self, text: &mut [u8], continued: bool) {
        for byte in text {
            match self.value {
                _ if *byte == 0 => *self = Self::default(),
                Some(Keep::Yes) => {}
                Some(Keep::No) => *byte = BLANK,
                None if *byte == b'=' => self.value = Some(judge(&self.key)),
                None if self.key.len() < MAX_KEY => self.key.push(*byte),
                None => *byte = BLANK,
            }
        }
        if !continued {
            *self = Self::default();
        }
    }
}

fn judge(key: &[u8]) -> Keep {
    match std::str::from_utf8(key).ok().and_then(keys::lookup) {
        Some((_, spec)) if spec.name != "CHAP_R" => Keep::Yes,
        _ => Keep::No,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &[u8] = b"CHAP_N=alice\0CHAP_R=0x0123456789abcdef\0CHAP_I=7\0chap_r=x\0SRP_M=y\0";
    const BLANKED: &[u8] =
        b"CHAP_N=alice\0CHAP_R=******************\0CHAP_I=7\0chap_r=*\0SRP_M=*\0";

    #[test]
    fn proofs_are_blanked_in_place_and_names_stay() {
        let mut text = TEXT.to_vec();
        Blanker::default().blank(&mut text, false);
        assert_eq!(
            text.escape_ascii().to_string(),
            BLANKED.escape_ascii().to_string()
        );
    }

    #[test]
    fn a_proof_is_blanked_wherever_its_pdu_is_cut() {
        for first in 0..=TEXT.len() {
            for second in first..=TEXT.len() {
                let mut text = TEXT.to_vec();
                let mut blanker = Blanker::default();
                blanker.blank(&mut text[..first], true);
                blanker.blank(&mut text[first..second], true);
                blanker.blank(&mut text[second..], false);
                assert_eq!(text, BLANKED, "cut at {first} and {second}");
            }
        }
    }

    #[test]
    fn a_new_text_begins_with_a_key_whatever_the_last_one_ended_in() {
        let mut blanker = Blanker::default();
        let mut text = b"CHAP_R=0x".to_vec();
        blanker.blank(&mut text, false);
        let mut next = b"InitiatorName=iqn.x\0".to_vec();
        blanker.blank(&mut next, false);
        assert_eq!(
            (&text[..], &next[..]),
            (&b"CHAP_R=**"[..], &b"InitiatorName=iqn.x\0"[..])
        );
    }

    #[test]
    fn what_is_too_long_for_a_key_is_not_kept() {
        let mut text = vec![b'a'; 200];
        Blanker::default().blank(&mut text, false);
        assert_eq!(text.iter().filter(|byte| **byte == b'a').count(), MAX_KEY);
    }
}
