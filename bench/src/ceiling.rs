//! The generator's own limit: load against a peer that answers at once and does nothing else.
//!
//! A figure near this limit says more about the generator than about a target.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};

use crate::initiator::pdu::{Frame, Header, RESERVED_TAG, opcode, parse};
use crate::initiator::text::{parse_text, text};
use crate::initiator::{Digests, Pdu, Url};
use crate::load::LoadError;

/// Blocks of 512 bytes that the peer claims to have: 1 GiB.
const BLOCKS: u64 = 1 << 21;
/// MaxRecvDataSegmentLength and FirstBurstLength of the peer, bytes.
const SEGMENT: usize = 262_144;
/// Receive buffer, bytes.
const RECEIVE: usize = 4 << 20;
/// Commands the peer has room for.
const WINDOW: u32 = 2048;

/// Starts the peer on a loopback port; it ends with the process.
pub fn start() -> Result<Url, LoadError> {
    let listener = TcpListener::bind("127.0.0.1:0").map_err(LoadError::Socket)?;
    let port = listener.local_addr().map_err(LoadError::Socket)?.port();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || Peer::new(stream).serve());
        }
    });
    let iqn = "iqn.2026-11.org.lunforge:ceiling".to_owned();
    Ok(Url {
        host: "127.0.0.1".into(),
        port,
        iqn,
        lun: 0,
    })
}

struct Peer {
    stream: TcpStream,
    stat_sn: u32,
    exp_cmd_sn: u32,
    answers: Vec<u8>,
    full_feature: bool,
}

impl Peer {
    fn new(stream: TcpStream) -> Self {
        Self {
            stream,
            stat_sn: 1,
            exp_cmd_sn: 1,
            answers: Vec::new(),
            full_feature: false,
        }
    }

    /// Answers until the other side closes. Whatever it does not know ends the connection.
    fn serve(mut self) -> Option<()> {
        self.stream.set_nodelay(true).ok()?;
        let mut buffer = vec![0; RECEIVE];
        let (mut head, mut tail) = (0, 0);
        loop {
            let got = self.stream.read(buffer.get_mut(tail..)?).ok()?;
            tail += got;
            while let Some(frame) =
                parse(buffer.get(head..tail)?, Digests::default(), SEGMENT).ok()?
            {
                self.pdu(&frame)?;
                head += frame.wire_len;
            }
            if got == 0 {
                return None;
            }
            self.stream.write_all(&self.answers).ok()?;
            self.answers.clear();
            buffer.copy_within(head..tail, 0);
            (head, tail) = (0, tail - head);
        }
    }

    fn pdu(&mut self, frame: &Frame<'_>) -> Option<()> {
        let h = &frame.header;
        if !h.immediate() && h.opcode() != opcode::DATA_OUT {
            self.exp_cmd_sn = h.stat_sn().wrapping_add(1);
        }
        match h.opcode() {
            opcode::LOGIN_REQUEST if !self.full_feature => self.login(frame),
            opcode::SCSI_COMMAND => self.command(h),
            opcode::DATA_OUT if h.flags() & 0x80 != 0 => self.response(h),
            opcode::DATA_OUT => Some(()),
            opcode::LOGOUT_REQUEST => {
                let mut r = Header::new(opcode::LOGOUT_RESPONSE);
                r.put_flags(0x80).put_word(16, h.itt());
                self.answer(r, &[])
            }
            _ => None,
        }
    }

    fn login(&mut self, frame: &Frame<'_>) -> Option<()> {
        let h = &frame.header;
        let mut keys = parse_text(frame.data).ok()?;
        keys.retain(|(k, _)| !["InitiatorName", "TargetName", "SessionType"].contains(&k.as_str()));
        for (key, value) in &mut keys {
            match key.as_str() {
                "HeaderDigest" | "DataDigest" => "None".clone_into(value),
                "MaxRecvDataSegmentLength" => *value = SEGMENT.to_string(),
                _ => {}
            }
        }
        let mut r = Header::new(opcode::LOGIN_RESPONSE);
        r.put_flags(h.flags())
            .put_lun(h.lun())
            .put_word(16, h.itt());
        r.0[15] = 1;
        self.full_feature = h.flags() & 0x83 == 0x83;
        self.answer(r, &text(&keys))
    }

    fn command(&mut self, h: &Header) -> Option<()> {
        match h.0[32] {
            0x9e => {
                let mut data = [0; 32];
                data[..8].copy_from_slice(&(BLOCKS - 1).to_be_bytes());
                data[10] = 2;
                self.data_in(h, &data)
            }
            0x28 | 0x88 => {
                static ZEROES: [u8; SEGMENT] = [0; SEGMENT];
                let len = usize::try_from(h.ttt()).ok()?;
                match ZEROES.get(..len) {
                    Some(data) => self.data_in(h, data),
                    None => None,
                }
            }
            0x2a | 0x8a if h.flags() & 0x80 == 0 => Some(()),
            // Data beyond the first burst would need an R2T, which this peer does not send.
            0x2a | 0x8a if usize::try_from(h.ttt()).ok()? > SEGMENT => None,
            0x00 | 0x2a | 0x35 | 0x8a => self.response(h),
            _ => None,
        }
    }

    fn data_in(&mut self, h: &Header, data: &[u8]) -> Option<()> {
        let mut d = Header::new(opcode::DATA_IN);
        d.put_flags(0x81)
            .put_word(16, h.itt())
            .put_word(20, RESERVED_TAG);
        self.answer(d, data)
    }

    fn response(&mut self, h: &Header) -> Option<()> {
        let mut r = Header::new(opcode::SCSI_RESPONSE);
        r.put_flags(0x80).put_word(16, h.itt());
        self.answer(r, &[])
    }

    fn answer(&mut self, mut h: Header, data: &[u8]) -> Option<()> {
        h.put_word(24, self.stat_sn).put_word(28, self.exp_cmd_sn);
        h.put_word(32, self.exp_cmd_sn.wrapping_add(WINDOW));
        self.stat_sn = self.stat_sn.wrapping_add(1);
        if data.len() < 4096 {
            Pdu::new(h, data).emit(Digests::default(), &mut self.answers);
        } else {
            h.put_data_len(u32::try_from(data.len()).ok()?);
            self.answers.extend_from_slice(&h.0);
            self.answers.extend_from_slice(data);
        }
        Some(())
    }
}
