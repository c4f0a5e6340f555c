//! PDU framing as an initiator sees it (RFC 7143 clause 11): header fields, digests, bounds.
//!
//! Everything read here comes from a target that is not trusted: lengths are checked
//! against what was declared at login before a byte is looked at.

/// Length of the basic header segment, bytes (RFC 7143 11.2).
pub const BHS_LEN: usize = 48;
/// The tag value that means "no tag" (RFC 7143 11.2.1.8, 11.19).
pub const RESERVED_TAG: u32 = 0xffff_ffff;
/// Digest length on the wire, bytes (RFC 7143 11.2.3, CRC32C).
const DIGEST_LEN: usize = 4;

/// Opcodes, without the immediate bit (RFC 7143 11.2.1.2).
pub mod opcode {
    /// NOP-Out.
    pub const NOP_OUT: u8 = 0x00;
    /// SCSI Command.
    pub const SCSI_COMMAND: u8 = 0x01;
    /// Task Management Function Request.
    pub const TASK_MANAGEMENT: u8 = 0x02;
    /// Login Request.
    pub const LOGIN_REQUEST: u8 = 0x03;
    /// Text Request.
    pub const TEXT_REQUEST: u8 = 0x04;
    /// SCSI Data-Out.
    pub const DATA_OUT: u8 = 0x05;
    /// Logout Request.
    pub const LOGOUT_REQUEST: u8 = 0x06;
    /// SNACK Request.
    pub const SNACK: u8 = 0x10;
    /// NOP-In.
    pub const NOP_IN: u8 = 0x20;
    /// SCSI Response.
    pub const SCSI_RESPONSE: u8 = 0x21;
    /// Task Management Function Response.
    pub const TASK_MANAGEMENT_RESPONSE: u8 = 0x22;
    /// Login Response.
    pub const LOGIN_RESPONSE: u8 = 0x23;
    /// Text Response.
    pub const TEXT_RESPONSE: u8 = 0x24;
    /// SCSI Data-In.
    pub const DATA_IN: u8 = 0x25;
    /// Logout Response.
    pub const LOGOUT_RESPONSE: u8 = 0x26;
    /// Ready To Transfer.
    pub const R2T: u8 = 0x31;
    /// Asynchronous Message.
    pub const ASYNC_MESSAGE: u8 = 0x32;
    /// Reject.
    pub const REJECT: u8 = 0x3f;
}

/// What is wrong with bytes received from a target.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// The data segment is longer than the MaxRecvDataSegmentLength declared (RFC 7143 13.12).
    #[error("data segment of {len} bytes in opcode {opcode:#04x}, {limit} declared")]
    DataTooLong {
        /// DataSegmentLength received, bytes.
        len: usize,
        /// The limit, bytes.
        limit: usize,
        /// Opcode of the PDU.
        opcode: u8,
    },
    /// The CRC32C over BHS and AHS differs.
    #[error("header digest mismatch: computed {computed:#010x}, received {received:#010x}")]
    HeaderDigest {
        /// Computed here.
        computed: u32,
        /// Found on the wire.
        received: u32,
    },
    /// The CRC32C over data and padding differs.
    #[error("data digest mismatch: computed {computed:#010x}, received {received:#010x}")]
    DataDigest {
        /// Computed here.
        computed: u32,
        /// Found on the wire.
        received: u32,
    },
}

/// Which digests a connection uses (RFC 7143 13.1).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Digests {
    /// CRC32C over BHS and AHS.
    pub header: bool,
    /// CRC32C over the data segment and its padding.
    pub data: bool,
}

/// CRC32C (Castagnoli) as iSCSI digests use it.
pub fn crc32c(bytes: &[u8]) -> u32 {
    crc_fast::crc32_iscsi(bytes)
}

/// Number of padding bytes after `len` bytes (RFC 7143 11.1).
#[inline]
pub const fn padding(len: usize) -> usize {
    len.wrapping_neg() & 3
}

/// A basic header segment. Offsets are those of RFC 7143 clause 11.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Header(pub [u8; BHS_LEN]);

impl std::fmt::Debug for Header {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Header(")?;
        for b in self.0 {
            write!(f, "{b:02x}")?;
        }
        write!(f, ")")
    }
}

impl Header {
    /// A zeroed header with this opcode byte (immediate bit included by the caller).
    #[inline]
    pub fn new(opcode: u8) -> Self {
        let mut bytes = [0; BHS_LEN];
        bytes[0] = opcode;
        Self(bytes)
    }
    /// Opcode without the immediate bit.
    #[inline]
    pub fn opcode(&self) -> u8 {
        self.0[0] & 0x3f
    }
    /// The I bit.
    pub fn immediate(&self) -> bool {
        self.0[0] & 0x40 != 0
    }
    /// Byte 1: opcode-specific flags.
    #[inline]
    pub fn flags(&self) -> u8 {
        self.0[1]
    }
    /// Byte 2: response, reason or function.
    #[inline]
    pub fn response(&self) -> u8 {
        self.0[2]
    }
    /// Byte 3: SCSI status in a SCSI Response or a Data-In with S.
    #[inline]
    pub fn status(&self) -> u8 {
        self.0[3]
    }
    /// TotalAHSLength in bytes.
    #[inline]
    pub fn ahs_len(&self) -> usize {
        usize::from(self.0[4]) * 4
    }
    /// DataSegmentLength in bytes.
    #[inline]
    pub fn data_len(&self) -> usize {
        usize::from(self.0[5]) << 16 | usize::from(self.0[6]) << 8 | usize::from(self.0[7])
    }
    /// The big-endian word at a byte offset fixed by the standard.
    #[inline]
    pub fn word(&self, at: usize) -> u32 {
        let mut b = [0; 4];
        b.copy_from_slice(&self.0[at..at + 4]);
        u32::from_be_bytes(b)
    }
    /// The big-endian halfword at a byte offset fixed by the standard.
    pub fn half(&self, at: usize) -> u16 {
        u16::from_be_bytes([self.0[at], self.0[at + 1]])
    }
    /// LUN field, bytes 8 to 15.
    pub fn lun(&self) -> [u8; 8] {
        let mut b = [0; 8];
        b.copy_from_slice(&self.0[8..16]);
        b
    }
    /// Initiator Task Tag.
    #[inline]
    pub fn itt(&self) -> u32 {
        self.word(16)
    }
    /// Target Transfer Tag (or Referenced Task Tag).
    #[inline]
    pub fn ttt(&self) -> u32 {
        self.word(20)
    }
    /// StatSN of a target PDU.
    #[inline]
    pub fn stat_sn(&self) -> u32 {
        self.word(24)
    }
    /// ExpCmdSN of a target PDU.
    #[inline]
    pub fn exp_cmd_sn(&self) -> u32 {
        self.word(28)
    }
    /// MaxCmdSN of a target PDU.
    #[inline]
    pub fn max_cmd_sn(&self) -> u32 {
        self.word(32)
    }
    /// DataSN of a Data-In, R2TSN of an R2T, ExpDataSN of a SCSI Response.
    #[inline]
    pub fn data_sn(&self) -> u32 {
        self.word(36)
    }
    /// Buffer Offset of a Data-In or an R2T, bytes.
    #[inline]
    pub fn buffer_offset(&self) -> u32 {
        self.word(40)
    }
    /// Residual Count, or Desired Data Transfer Length of an R2T, bytes.
    #[inline]
    pub fn residual_count(&self) -> u32 {
        self.word(44)
    }
    /// Writes a big-endian word.
    #[inline]
    pub fn put_word(&mut self, at: usize, value: u32) -> &mut Self {
        self.0[at..at + 4].copy_from_slice(&value.to_be_bytes());
        self
    }
    /// Sets byte 1.
    #[inline]
    pub fn put_flags(&mut self, flags: u8) -> &mut Self {
        self.0[1] = flags;
        self
    }
    /// Sets the LUN field.
    #[inline]
    pub fn put_lun(&mut self, lun: [u8; 8]) -> &mut Self {
        self.0[8..16].copy_from_slice(&lun);
        self
    }
    /// Sets DataSegmentLength (the low 24 bits of `len`).
    #[inline]
    pub fn put_data_len(&mut self, len: u32) -> &mut Self {
        let [_, a, b, c] = len.to_be_bytes();
        self.0[5] = a;
        self.0[6] = b;
        self.0[7] = c;
        self
    }
}

/// One PDU with its own memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pdu {
    /// Basic header segment; lengths are filled in by [`Pdu::emit`].
    pub header: Header,
    /// Additional header segments, already formatted (RFC 7143 11.2.2).
    pub ahs: Vec<u8>,
    /// Data segment without padding.
    pub data: Vec<u8>,
}

impl Pdu {
    /// A PDU without AHS and with this data segment.
    pub fn new(header: Header, data: impl Into<Vec<u8>>) -> Self {
        Self {
            header,
            ahs: Vec::new(),
            data: data.into(),
        }
    }

    /// Appends the wire form to `out`: lengths set, padded, digests as asked.
    pub fn emit(&self, digests: Digests, out: &mut Vec<u8>) {
        let mut header = self.header;
        header.put_data_len(u32::try_from(self.data.len()).unwrap_or(u32::MAX));
        header.0[4] = u8::try_from(self.ahs.len().div_ceil(4)).unwrap_or(u8::MAX);
        let start = out.len();
        out.extend_from_slice(&header.0);
        out.extend_from_slice(&self.ahs);
        out.resize(out.len() + padding(self.ahs.len()), 0);
        if digests.header {
            let crc = crc32c(out.get(start..).unwrap_or(&[]));
            out.extend_from_slice(&crc.to_le_bytes());
        }
        let start = out.len();
        out.extend_from_slice(&self.data);
        out.resize(out.len() + padding(self.data.len()), 0);
        if digests.data && !self.data.is_empty() {
            let crc = crc32c(out.get(start..).unwrap_or(&[]));
            out.extend_from_slice(&crc.to_le_bytes());
        }
    }
}

/// A whole PDU found at the start of a receive buffer.
#[derive(Debug, Clone, Copy)]
pub struct Frame<'a> {
    /// Basic header segment.
    pub header: Header,
    /// Additional header segments.
    pub ahs: &'a [u8],
    /// Data segment without padding.
    pub data: &'a [u8],
    /// Bytes of the buffer this PDU takes, digests and padding included.
    pub wire_len: usize,
}

impl Frame<'_> {
    /// Copies the frame into its own memory.
    pub fn to_pdu(self) -> Pdu {
        Pdu {
            header: self.header,
            ahs: self.ahs.to_vec(),
            data: self.data.to_vec(),
        }
    }
}

fn le_word(bytes: &[u8]) -> u32 {
    bytes
        .first_chunk::<4>()
        .map_or(0, |b| u32::from_le_bytes(*b))
}

/// Looks for one whole PDU at the start of `buf`.
///
/// `Ok(None)` means more bytes are needed. `max_data` is the MaxRecvDataSegmentLength this
/// side declared; a longer segment is an error before its bytes arrive.
#[inline]
pub fn parse(
    buf: &[u8],
    digests: Digests,
    max_data: usize,
) -> Result<Option<Frame<'_>>, WireError> {
    let Some((bhs, rest)) = buf.split_first_chunk::<BHS_LEN>() else {
        return Ok(None);
    };
    let header = Header(*bhs);
    let (len, ahs_len) = (header.data_len(), header.ahs_len());
    if len > max_data {
        return Err(WireError::DataTooLong {
            len,
            limit: max_data,
            opcode: header.opcode(),
        });
    }
    let header_digest = if digests.header { DIGEST_LEN } else { 0 };
    let data_digest = if digests.data && len > 0 {
        DIGEST_LEN
    } else {
        0
    };
    let padded = len + padding(len);
    let tail = ahs_len + header_digest + padded + data_digest;
    let Some((rest, _)) = rest.split_at_checked(tail) else {
        return Ok(None);
    };
    let (ahs, rest) = rest.split_at(ahs_len);
    let (head_crc, rest) = rest.split_at(header_digest);
    let (segment, data_crc) = rest.split_at(padded);
    if digests.header {
        let computed = crc32c(buf.get(..BHS_LEN + ahs_len).unwrap_or(&[]));
        let received = le_word(head_crc);
        if computed != received {
            return Err(WireError::HeaderDigest { computed, received });
        }
    }
    if data_digest > 0 {
        let (computed, received) = (crc32c(segment), le_word(data_crc));
        if computed != received {
            return Err(WireError::DataDigest { computed, received });
        }
    }
    let data = segment.get(..len).unwrap_or(&[]);
    Ok(Some(Frame {
        header,
        ahs,
        data,
        wire_len: BHS_LEN + tail,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(len: usize) -> Pdu {
        let mut header = Header::new(opcode::DATA_IN);
        header.put_flags(0x81).put_word(16, 7).put_word(24, 9);
        Pdu::new(
            header,
            (0..len).map(|i| (i % 251) as u8).collect::<Vec<_>>(),
        )
    }

    #[test]
    fn emitted_pdu_parses_back_for_every_digest_and_padding() {
        for header in [false, true] {
            for data in [false, true] {
                for len in [0, 1, 2, 3, 4, 5, 511, 4096] {
                    let digests = Digests { header, data };
                    let mut wire = Vec::new();
                    let pdu = sample(len);
                    pdu.emit(digests, &mut wire);
                    let frame = parse(&wire, digests, 8192).unwrap().unwrap();
                    assert_eq!(frame.wire_len, wire.len());
                    assert_eq!(frame.data, pdu.data);
                    assert_eq!(frame.header.itt(), 7);
                    for cut in 0..wire.len() {
                        assert!(
                            parse(&wire[..cut], digests, 8192).unwrap().is_none(),
                            "cut {cut}"
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn ahs_is_kept_and_counted_in_words() {
        let mut pdu = sample(5);
        pdu.ahs = vec![0, 17, 1, 0, 1, 2, 3, 4];
        let mut wire = Vec::new();
        pdu.emit(
            Digests {
                header: true,
                data: true,
            },
            &mut wire,
        );
        assert_eq!(wire[4], 2);
        let frame = parse(
            &wire,
            Digests {
                header: true,
                data: true,
            },
            64,
        )
        .unwrap()
        .unwrap();
        assert_eq!(frame.ahs, pdu.ahs);
    }

    #[test]
    fn n59_data_segment_longer_than_declared_is_refused_from_the_header_alone() {
        let mut wire = Vec::new();
        sample(9000).emit(Digests::default(), &mut wire);
        let err = parse(&wire[..BHS_LEN], Digests::default(), 8192).unwrap_err();
        assert!(matches!(
            err,
            WireError::DataTooLong {
                len: 9000,
                limit: 8192,
                ..
            }
        ));
    }

    #[test]
    fn n59_flipped_bits_are_caught_by_digests() {
        let digests = Digests {
            header: true,
            data: true,
        };
        let mut wire = Vec::new();
        sample(100).emit(digests, &mut wire);
        for bit in [8 * 20, 8 * 60] {
            let mut bad = wire.clone();
            bad[bit / 8] ^= 1;
            assert!(parse(&bad, digests, 8192).is_err());
        }
    }

    #[test]
    fn n59_arbitrary_bytes_never_panic() {
        let mut x = 0x1234_5678_9abc_def1u64;
        let mut buf = vec![0u8; 600];
        for round in 0..20_000 {
            for b in &mut buf {
                x ^= x << 13;
                x ^= x >> 7;
                x ^= x << 17;
                *b = x as u8;
            }
            let digests = Digests {
                header: round % 2 == 0,
                data: round % 3 == 0,
            };
            let _ = parse(&buf[..round % 600], digests, 1 << 16);
        }
    }

    #[test]
    fn crc32c_of_32_zero_bytes_is_the_value_in_rfc_7143_appendix() {
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(crc32c(&[0xff; 32]), 0x62a8_ab43);
    }
}
