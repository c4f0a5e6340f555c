//! Capture files: pcapng and pcap, as `pcap-parser` reads them.

use pcap_parser::{Block, Linktype, PcapBlockOwned};
use pcap_parser::{LegacyPcapSlice, PcapError, PcapNGSlice};

use super::ReadError;

/// Interfaces that one section may describe.
const MAX_INTERFACES: usize = 4096;

/// One packet as it was captured.
#[derive(Debug, Clone, Copy)]
pub(super) struct Packet<'a> {
    pub(super) link: Linktype,
    /// What was captured of it, from its start.
    pub(super) bytes: &'a [u8],
}

/// Calls `each` with every packet.
pub(super) fn packets(
    file: &[u8],
    each: impl FnMut(Packet<'_>) -> Result<(), ReadError>,
) -> Result<(), ReadError> {
    let mut reader = Reader {
        links: Vec::new(),
        seen: 0,
        each,
    };
    if let Ok(blocks) = PcapNGSlice::from_slice(file) {
        check_lengths(file)?;
        return blocks.into_iter().try_for_each(|block| reader.next(block));
    }
    let blocks = LegacyPcapSlice::from_slice(file).map_err(|_| ReadError::Format)?;
    // The iterator keeps the header, which has the link type, to itself.
    reader.links.push(blocks.header.network);
    blocks.into_iter().try_for_each(|block| reader.next(block))
}

/// Type of a section header block, the same in either byte order.
const SECTION: [u8; 4] = [0x0A, 0x0D, 0x0D, 0x0A];
/// Type, length, and length again: what every block has.
const FRAME: usize = 12;

/// Every block of a pcapng file is at least as long as its frame: `pcap-parser` 0.17 takes that for granted.
fn check_lengths(file: &[u8]) -> Result<(), ReadError> {
    let (mut rest, mut little) = (file, true);
    while let Some((head, after)) = rest.split_first_chunk::<8>() {
        let [kind @ .., a, b, c, d] = *head;
        if kind == SECTION {
            little = after.starts_with(&[0x4D, 0x3C, 0x2B, 0x1A]);
        }
        let len = [a, b, c, d];
        let len = if little {
            u32::from_le_bytes(len)
        } else {
            u32::from_be_bytes(len)
        };
        let len = usize::try_from(len).unwrap_or(usize::MAX);
        if len < FRAME {
            return Err(ReadError::Damaged {
                packets: 0,
                reason: format!("a block of {len} bytes is shorter than its frame"),
            });
        }
        // One that is cut off is for the parser to tell.
        rest = rest.get(len..).unwrap_or_default();
    }
    Ok(())
}

struct Reader<F> {
    /// Link types of the section's interfaces.
    links: Vec<Linktype>,
    seen: usize,
    each: F,
}

impl<F: FnMut(Packet<'_>) -> Result<(), ReadError>> Reader<F> {
    fn next(
        &mut self,
        block: Result<PcapBlockOwned<'_>, nom_error::Error<'_>>,
    ) -> Result<(), ReadError> {
        let block = block.map_err(|error| ReadError::Damaged {
            packets: self.seen,
            reason: nom_error::reason(&error),
        })?;
        match block {
            PcapBlockOwned::LegacyHeader(_) => {}
            PcapBlockOwned::Legacy(packet) => self.packet(0, packet.data, packet.caplen)?,
            PcapBlockOwned::NG(Block::SectionHeader(_)) => self.links.clear(),
            PcapBlockOwned::NG(Block::InterfaceDescription(interface)) => {
                if self.links.len() >= MAX_INTERFACES {
                    let (limit, what) = (MAX_INTERFACES, "interfaces");
                    return Err(ReadError::TooMany { limit, what });
                }
                self.links.push(interface.linktype);
            }
            PcapBlockOwned::NG(Block::EnhancedPacket(packet)) => {
                self.packet(packet.if_id, packet.data, packet.caplen)?;
            }
            // Statistics, names, and packets without an interface.
            PcapBlockOwned::NG(_) => {}
        }
        Ok(())
    }

    fn packet(&mut self, interface: u32, data: &[u8], captured: u32) -> Result<(), ReadError> {
        let bytes = data.get(..captured as usize).unwrap_or(data);
        let link = self.links.get(interface as usize).copied();
        let link = link.ok_or_else(|| ReadError::Damaged {
            packets: self.seen,
            reason: format!("interface {interface} is not described"),
        })?;
        self.seen += 1;
        (self.each)(Packet { link, bytes })
    }
}

/// The parser's errors come wrapped in a type of a crate of its own.
mod nom_error {
    use super::PcapError;

    pub(super) type Error<'a> = pcap_parser::nom::Err<PcapError<&'a [u8]>>;

    pub(super) fn reason(error: &Error<'_>) -> String {
        match error {
            Error::Incomplete(_) => "it ends in the middle of a block".to_owned(),
            Error::Error(error) | Error::Failure(error) => match error {
                PcapError::NomError(_, kind) | PcapError::OwnedNomError(_, kind) => {
                    format!("a block breaks its format ({kind:?})")
                }
                other => other.to_string(),
            },
        }
    }
}
