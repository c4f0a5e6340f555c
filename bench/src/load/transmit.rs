//! The send side: headers gathered in one buffer, payload taken from where it lies, one `writev`.

use std::collections::VecDeque;
use std::io::{IoSlice, Write as _};
use std::net::TcpStream;

use crate::initiator::Digests;
use crate::initiator::pdu::{Header, crc32c, padding};

/// Segments per `writev`.
const MAX_SLICES: usize = 128;
/// Unsent header bytes moved to the front beyond this much sent.
const COMPACT: usize = 1 << 18;

#[derive(Debug, Clone, Copy)]
enum Segment {
    /// The next `len` bytes of the own buffer.
    Own { len: usize },
    /// Bytes of the shared payload.
    Shared { start: usize, len: usize },
}

/// PDUs waiting to be sent.
#[derive(Debug, Default)]
pub(crate) struct Transmit {
    own: Vec<u8>,
    sent: usize,
    segments: VecDeque<Segment>,
}

/// Where the payload of a PDU comes from.
pub(crate) enum Payload<'a> {
    None,
    /// A range of the shared payload.
    Shared {
        start: usize,
        len: usize,
    },
    /// Bytes to copy.
    Copy(&'a [u8]),
}

impl Transmit {
    /// Queues one PDU; DataSegmentLength must be set in the header already.
    #[inline]
    pub(crate) fn push(
        &mut self,
        header: &Header,
        payload: Payload<'_>,
        shared: &[u8],
        digests: Digests,
    ) {
        self.put(&header.0);
        if digests.header {
            self.put(&crc32c(&header.0).to_le_bytes());
        }
        let len = match payload {
            Payload::None => return,
            Payload::Shared { start, len } => {
                self.segments.push_back(Segment::Shared { start, len });
                len
            }
            Payload::Copy(bytes) => {
                self.put(bytes);
                bytes.len()
            }
        };
        self.put(&[0; 3][..padding(len)]);
        if digests.data && len > 0 {
            let crc = match payload {
                Payload::Shared { start, len } => payload_crc(shared.get(start..start + len)),
                Payload::Copy(bytes) => payload_crc(Some(bytes)),
                Payload::None => 0,
            };
            self.put(&crc.to_le_bytes());
        }
    }

    #[inline]
    fn put(&mut self, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        self.own.extend_from_slice(bytes);
        match self.segments.back_mut() {
            Some(Segment::Own { len }) => *len += bytes.len(),
            _ => self.segments.push_back(Segment::Own { len: bytes.len() }),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.segments.is_empty()
    }

    /// Sends until all is gone (`true`) or the socket is full (`false`).
    pub(crate) fn flush(&mut self, mut stream: &TcpStream, shared: &[u8]) -> std::io::Result<bool> {
        while !self.segments.is_empty() {
            let mut slices = [IoSlice::new(&[]); MAX_SLICES];
            let mut at = self.sent;
            let mut count = 0;
            for (slice, segment) in slices.iter_mut().zip(&self.segments) {
                let bytes = match *segment {
                    Segment::Own { len } => {
                        at += len;
                        self.own.get(at - len..at)
                    }
                    Segment::Shared { start, len } => shared.get(start..start + len),
                };
                *slice = IoSlice::new(bytes.unwrap_or(&[]));
                count += 1;
            }
            let outcome = stream.write_vectored(slices.get(..count).unwrap_or(&[]));
            match outcome {
                Ok(0) => return Err(std::io::ErrorKind::WriteZero.into()),
                Ok(n) => self.consume(n),
                Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => return Ok(false),
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(true)
    }

    fn consume(&mut self, mut n: usize) {
        while let Some(segment) = self.segments.front_mut() {
            let (Segment::Own { len } | Segment::Shared { len, .. }) = segment;
            let step = n.min(*len);
            *len -= step;
            n -= step;
            let empty = *len == 0;
            match segment {
                Segment::Own { .. } => self.sent += step,
                Segment::Shared { start, .. } => *start += step,
            }
            if !empty {
                break;
            }
            self.segments.pop_front();
        }
        if self.segments.is_empty() {
            self.own.clear();
            self.sent = 0;
        } else if self.sent > COMPACT {
            self.own.drain(..self.sent);
            self.sent = 0;
        }
    }
}

fn payload_crc(data: Option<&[u8]>) -> u32 {
    let data = data.unwrap_or(&[]);
    if padding(data.len()) == 0 {
        return crc32c(data);
    }
    let mut padded = data.to_vec();
    padded.resize(data.len() + padding(data.len()), 0);
    crc32c(&padded)
}
