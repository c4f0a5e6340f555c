//! Capture files that a replay reads: nothing in one is trusted.

use lunforge_bench::replay::{ReadError, read};

/// Reads the bytes as a capture file, and checks what comes of it.
pub fn recording(bytes: &[u8]) {
    let conversations = match read(bytes) {
        Ok(conversations) => conversations,
        Err(ReadError::NoSession { packets }) => {
            // The smallest packet that counts has a header of its own in the file.
            assert!(packets <= bytes.len() / 8);
            return;
        }
        Err(error) => {
            assert!(!error.to_string().is_empty());
            return;
        }
    };
    let (mut kept, mut headers) = (0, 0);
    for conversation in &conversations {
        assert!(!conversation.pdus.is_empty());
        for pdu in &conversation.pdus {
            assert!(pdu.data.len() + pdu.missing() == pdu.header.data_len());
            assert!(pdu.ahs.len() <= pdu.header.ahs_len());
            headers += 48;
            kept += pdu.data.len() + pdu.ahs.len();
        }
    }
    // What is held is what the file holds, whatever lengths it claims.
    assert!(kept + headers <= bytes.len());
}
