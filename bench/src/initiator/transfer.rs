//! Data of one task: what is expected, what has come, what is still to be sent (sans-IO).

use super::pdu::{Header, RESERVED_TAG};
use super::session::Violation;

/// One Data-Out PDU of a sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DataOutPart {
    /// Buffer Offset, bytes.
    pub offset: u32,
    /// Data segment length, bytes.
    pub len: u32,
    /// DataSN, from 0 in each sequence.
    pub data_sn: u32,
    /// F: last of the sequence.
    pub last: bool,
}

/// Cuts a sequence of `len` bytes at `offset` into Data-Out PDUs of at most `max` bytes.
pub fn data_out_parts(offset: u32, len: u32, max: u32) -> impl Iterator<Item = DataOutPart> {
    let max = max.max(1);
    (0..len.div_ceil(max)).map(move |data_sn| {
        let done = data_sn * max;
        let part = (len - done).min(max);
        DataOutPart {
            offset: offset.wrapping_add(done),
            len: part,
            data_sn,
            last: done + part == len,
        }
    })
}

/// Residual of a command (RFC 7143 11.4.5), bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Residual {
    /// Exactly as much as expected.
    None,
    /// Less was moved.
    Underflow(u32),
    /// More would have been moved.
    Overflow(u32),
}

/// A solicited sequence asked for by an R2T.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Solicited {
    /// Target Transfer Tag to return.
    pub ttt: u32,
    /// Buffer Offset, bytes.
    pub offset: u32,
    /// Length, bytes.
    pub len: u32,
}

/// Data of one task: what is expected and what has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Transfer {
    /// The command reads (R bit).
    pub read: bool,
    /// The command writes (W bit).
    pub write: bool,
    /// Expected Data Transfer Length, bytes.
    pub expected: u32,
    /// Data-In bytes received in order.
    pub received: u32,
    /// Bytes of a write already sent or asked for, in order.
    pub requested: u32,
    /// Data-In and R2T PDUs seen.
    pub sn: u32,
}

impl Transfer {
    /// A read of `expected` bytes.
    pub fn read(expected: u32) -> Self {
        Self {
            read: true,
            write: false,
            expected,
            received: 0,
            requested: 0,
            sn: 0,
        }
    }
    /// A write of `expected` bytes, the first `unsolicited` of which go without R2T.
    pub fn write(expected: u32, unsolicited: u32) -> Self {
        Self {
            read: false,
            write: true,
            expected,
            received: 0,
            requested: unsolicited,
            sn: 0,
        }
    }
    /// No data at all.
    pub fn none() -> Self {
        Self {
            read: false,
            write: false,
            expected: 0,
            received: 0,
            requested: 0,
            sn: 0,
        }
    }

    fn next_sn(&mut self, what: &'static str, got: u32) -> Result<(), Violation> {
        if got != self.sn {
            return Err(Violation::DataSn {
                what,
                got,
                expected: self.sn,
            });
        }
        self.sn = self.sn.wrapping_add(1);
        Ok(())
    }

    /// Checks a Data-In of `len` bytes; returns its offset in the read buffer.
    #[inline]
    pub fn data_in(&mut self, header: &Header, len: usize) -> Result<u32, Violation> {
        let what = "Data-In";
        if !self.read {
            return Err(Violation::Direction { what });
        }
        let offset = header.buffer_offset();
        if offset != self.received && len > 0 {
            return Err(Violation::Offset {
                what,
                got: offset,
                expected: self.received,
            });
        }
        self.next_sn("DataSN", header.data_sn())?;
        let len = u32::try_from(len).unwrap_or(u32::MAX);
        if len > self.expected - self.received {
            return Err(Violation::Beyond {
                what,
                offset,
                len,
                expected: self.expected,
            });
        }
        self.received += len;
        Ok(offset)
    }

    /// Checks an R2T; returns the sequence to send.
    pub fn r2t(&mut self, header: &Header, max_burst: u32) -> Result<Solicited, Violation> {
        let what = "R2T";
        if !self.write {
            return Err(Violation::Direction { what });
        }
        if header.ttt() == RESERVED_TAG {
            let detail = " with the reserved Target Transfer Tag".into();
            return Err(Violation::Unexpected {
                opcode: header.opcode(),
                detail,
            });
        }
        self.next_sn("R2TSN", header.data_sn())?;
        let (offset, len) = (header.buffer_offset(), header.residual_count());
        if len == 0 || len > max_burst {
            return Err(Violation::R2tLength { len, max_burst });
        }
        if offset != self.requested {
            return Err(Violation::Offset {
                what,
                got: offset,
                expected: self.requested,
            });
        }
        if len > self.expected.saturating_sub(self.requested) {
            return Err(Violation::Beyond {
                what,
                offset,
                len,
                expected: self.expected,
            });
        }
        self.requested += len;
        Ok(Solicited {
            ttt: header.ttt(),
            offset,
            len,
        })
    }

    /// Checks the residual of a final PDU against what came (RFC 7143 11.4.5.2, 11.7.6).
    ///
    /// `good` says that the status is GOOD: only then must the received bytes and an underflow
    /// add up; after CHECK CONDITION a target may stop anywhere, within the same bound.
    #[inline]
    pub fn finish(&self, header: &Header, good: bool) -> Result<Residual, Violation> {
        let flags = header.flags() & 0x06;
        let count = header.residual_count();
        let wrong = Violation::Residual {
            received: self.received,
            expected: self.expected,
            flags,
            residual: count,
        };
        let residual = match flags {
            0 => Residual::None,
            0x02 if count <= self.expected => Residual::Underflow(count),
            0x04 => Residual::Overflow(count),
            _ => return Err(wrong),
        };
        if self.read && good {
            let missing = match residual {
                Residual::Underflow(n) => n,
                _ => 0,
            };
            if self.received != self.expected - missing {
                return Err(wrong);
            }
        }
        Ok(residual)
    }

    /// Checks ExpDataSN of a SCSI Response (RFC 7143 11.4.8): number of Data-In or R2T PDUs.
    ///
    /// Some targets leave it zero, which the RFC allows when nothing is to be acknowledged.
    pub fn exp_data_sn(&self, header: &Header) -> Result<(), Violation> {
        let got = header.data_sn();
        if got != self.sn && got != 0 {
            return Err(Violation::ExpDataSn { got, sent: self.sn });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::pdu::opcode;
    use super::*;

    #[test]
    fn data_out_parts_cover_the_sequence_once_and_end_with_f() {
        let parts: Vec<_> = data_out_parts(1000, 20_000, 8192).collect();
        assert_eq!(parts.len(), 3);
        assert_eq!(parts.iter().map(|p| p.len).sum::<u32>(), 20_000);
        assert_eq!(
            parts[1],
            DataOutPart {
                offset: 9192,
                len: 8192,
                data_sn: 1,
                last: false
            }
        );
        assert!(parts[2].last);
        assert_eq!(data_out_parts(0, 0, 8192).count(), 0);
    }

    #[test]
    fn n59_data_in_beyond_the_buffer_is_refused() {
        let mut t = Transfer::read(4096);
        let mut h = Header::new(opcode::DATA_IN);
        assert!(t.data_in(&h, 4096).is_ok());
        h.put_word(36, 1).put_word(40, 4096);
        assert!(matches!(t.data_in(&h, 1), Err(Violation::Beyond { .. })));
        h.put_word(36, 2).put_word(40, 0xffff_fff0);
        assert!(matches!(t.data_in(&h, 32), Err(Violation::Offset { .. })));
    }

    #[test]
    fn n59_r2t_outside_the_write_is_refused() {
        let mut h = Header::new(opcode::R2T);
        h.put_word(40, 0).put_word(44, 8192);
        assert!(Transfer::write(4096, 0).r2t(&h, 16384).is_err());
        assert!(Transfer::write(65536, 0).r2t(&h, 4096).is_err());
        assert!(Transfer::read(65536).r2t(&h, 16384).is_err());
        assert!(Transfer::write(65536, 0).r2t(&h, 16384).is_ok());
        h.put_word(44, 0);
        assert!(Transfer::write(65536, 0).r2t(&h, 16384).is_err());
    }

    #[test]
    fn short_good_read_without_underflow_is_a_violation() {
        let mut t = Transfer::read(4096);
        let mut h = Header::new(opcode::DATA_IN);
        t.data_in(&h, 4000).unwrap();
        assert!(t.finish(&h, true).is_err());
        h.put_flags(0x02).put_word(44, 96);
        assert_eq!(t.finish(&h, true), Ok(Residual::Underflow(96)));
    }
}
