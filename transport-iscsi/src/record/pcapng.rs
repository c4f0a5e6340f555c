//! pcapng files (draft-ietf-opsawg-pcapng): one section, one interface, enhanced packet blocks.
//!
//! Little endian, times in nanoseconds. Built in memory: what goes in is bounded.

use std::time::{SystemTime, UNIX_EPOCH};

/// LINKTYPE_RAW: a packet begins with its IPv4 or IPv6 header.
const LINKTYPE_RAW: u16 = 101;
/// Longest option value: the length is two bytes, and texts need not be longer.
const MAX_OPTION: usize = 4096;

const OPT_END: u16 = 0;
const OPT_COMMENT: u16 = 1;
const SHB_OS: u16 = 3;
const SHB_USERAPPL: u16 = 4;
const IF_NAME: u16 = 2;
const IF_DESCRIPTION: u16 = 3;
const IF_TSRESOL: u16 = 9;
const EPB_FLAGS: u16 = 2;

/// One packet.
#[derive(Debug)]
pub(super) struct Packet<'a> {
    pub(super) at: SystemTime,
    /// It came in; else it went out.
    pub(super) inbound: bool,
    /// What was captured of it.
    pub(super) captured: &'a [u8],
    /// Its length on the wire.
    pub(super) len: usize,
    /// A comment on it; may be empty.
    pub(super) comment: &'a str,
}

/// A file under construction.
#[derive(Debug)]
pub(super) struct Writer(Vec<u8>);

impl Writer {
    /// Section header and interface description.
    pub(super) fn new(comment: &str, name: &str, description: &str) -> Self {
        let mut file = Self(Vec::new());
        file.block(0x0a0d_0d0a, |body| {
            body.extend_from_slice(&0x1a2b_3c4du32.to_le_bytes());
            body.extend_from_slice(&[1, 0, 0, 0]);
            // The length of the section is not given.
            body.extend_from_slice(&u64::MAX.to_le_bytes());
            option(body, OPT_COMMENT, comment.as_bytes());
            option(body, SHB_OS, std::env::consts::OS.as_bytes());
            let program = concat!(env!("CARGO_PKG_NAME"), " ", env!("CARGO_PKG_VERSION"));
            option(body, SHB_USERAPPL, program.as_bytes());
            option(body, OPT_END, &[]);
        });
        file.block(1, |body| {
            body.extend_from_slice(&LINKTYPE_RAW.to_le_bytes());
            // Reserved; no limit of the captured length.
            body.extend_from_slice(&[0; 6]);
            option(body, IF_NAME, name.as_bytes());
            option(body, IF_DESCRIPTION, description.as_bytes());
            option(body, IF_TSRESOL, &[9]);
            option(body, OPT_END, &[]);
        });
        file
    }

    /// Adds a packet.
    pub(super) fn packet(&mut self, packet: &Packet<'_>) {
        let since = packet.at.duration_since(UNIX_EPOCH).unwrap_or_default();
        let nanos = u64::try_from(since.as_nanos()).unwrap_or(u64::MAX);
        let word = |n: usize| u32::try_from(n).unwrap_or(u32::MAX).to_le_bytes();
        self.block(6, |body| {
            body.extend_from_slice(&0u32.to_le_bytes());
            let (high, low) = ((nanos >> 32) as u32, nanos as u32);
            body.extend_from_slice(&high.to_le_bytes());
            body.extend_from_slice(&low.to_le_bytes());
            body.extend_from_slice(&word(packet.captured.len()));
            body.extend_from_slice(&word(packet.len));
            body.extend_from_slice(packet.captured);
            pad(body);
            if !packet.comment.is_empty() {
                option(body, OPT_COMMENT, packet.comment.as_bytes());
            }
            let direction = if packet.inbound { 1u32 } else { 2 };
            option(body, EPB_FLAGS, &direction.to_le_bytes());
            option(body, OPT_END, &[]);
        });
    }

    /// The file.
    pub(super) fn finish(self) -> Vec<u8> {
        self.0
    }

    fn block(&mut self, kind: u32, fill: impl FnOnce(&mut Vec<u8>)) {
        let start = self.0.len();
        self.0.extend_from_slice(&kind.to_le_bytes());
        self.0.extend_from_slice(&[0; 4]);
        fill(&mut self.0);
        let len = u32::try_from(self.0.len() - start + 4)
            .unwrap_or(u32::MAX)
            .to_le_bytes();
        self.0.extend_from_slice(&len);
        if let Some(place) = self.0.get_mut(start + 4..start + 8) {
            place.copy_from_slice(&len);
        }
    }
}

fn option(body: &mut Vec<u8>, code: u16, value: &[u8]) {
    let value = value.get(..MAX_OPTION).unwrap_or(value);
    body.extend_from_slice(&code.to_le_bytes());
    body.extend_from_slice(&(value.len() as u16).to_le_bytes());
    body.extend_from_slice(value);
    pad(body);
}

/// Blocks, options and packets end at a multiple of four, counted from the start of the file: blocks begin at one.
fn pad(body: &mut Vec<u8>) {
    body.resize(body.len().next_multiple_of(4), 0);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    /// Types and bodies of the blocks of a file, each of which has to say its length twice.
    fn blocks(file: &[u8]) -> Vec<(u32, Vec<u8>)> {
        let word = |at: usize| u32::from_le_bytes(file[at..at + 4].try_into().unwrap());
        let (mut at, mut found) = (0, Vec::new());
        while at < file.len() {
            let len = word(at + 4) as usize;
            assert!(len.is_multiple_of(4) && word(at + len - 4) as usize == len);
            found.push((word(at), file[at + 8..at + len - 4].to_vec()));
            at += len;
        }
        found
    }

    #[test]
    fn a_file_has_a_section_an_interface_and_a_block_for_each_packet() {
        let mut writer = Writer::new("why", "disk", "initiator x");
        writer.packet(&Packet {
            at: UNIX_EPOCH + Duration::new(5, 7),
            inbound: true,
            captured: &[1, 2, 3, 4, 5],
            len: 99,
            comment: "here",
        });
        let blocks = blocks(&writer.finish());
        assert_eq!(
            blocks.iter().map(|b| b.0).collect::<Vec<_>>(),
            [0x0a0d_0d0a, 1, 6]
        );
        assert_eq!(&blocks[0].1[..8], [0x4d, 0x3c, 0x2b, 0x1a, 1, 0, 0, 0]);
        assert_eq!(&blocks[1].1[..8], [101, 0, 0, 0, 0, 0, 0, 0]);
        let packet = &blocks[2].1;
        let nanos = 5_000_000_007u64;
        let mut wanted = vec![0; 4];
        wanted.extend(((nanos >> 32) as u32).to_le_bytes());
        wanted.extend((nanos as u32).to_le_bytes());
        wanted.extend([5, 0, 0, 0, 99, 0, 0, 0, 1, 2, 3, 4, 5, 0, 0, 0]);
        wanted.extend(*b"\x01\0\x04\0here");
        wanted.extend([2, 0, 4, 0, 1, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(*packet, wanted);
    }

    #[test]
    fn a_text_that_is_too_long_is_cut() {
        let file = Writer::new(&"x".repeat(100_000), "", "").finish();
        assert!(file.len() < 5000);
        blocks(&file);
    }
}
