//! A small in-memory target that can be told to misbehave in one way.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use lunforge_bench::initiator::pdu::{Header, RESERVED_TAG, opcode};
use lunforge_bench::initiator::{Connection, Digests, Pdu, Url};

pub(crate) const BLOCK: usize = 512;
pub(crate) const BLOCKS: usize = 8192;

/// The one thing that is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    None,
    /// The 20th write on a connection is answered GOOD and not done.
    LosesAWrite,
    /// Reads return the next block's data.
    MisplacesReads,
    /// StatSN stands still.
    RepeatsStatSn,
    /// DataSN starts at 1.
    WrongDataSn,
    /// More data than asked for.
    SendsTooMuch,
    /// GOOD status and one block less, no residual.
    ShortRead,
    /// Answers a tag nobody used.
    UnknownTag,
    /// R2T past the end of the write.
    R2tBeyond,
    /// R2T for a read.
    R2tForRead,
    /// DataSegmentLength over what was declared.
    HugeSegment,
    /// MaxCmdSN far below ExpCmdSN.
    BrokenWindow,
    /// Closes in the middle of a PDU.
    ClosesMidway,
    /// Sense length longer than the segment.
    LyingSense,
    /// MaxBurstLength over the offer.
    OverBidsBurst,
    /// Never answers a READ.
    Stalls,
    /// Asks for an answer by NOP-In before every status.
    Pings,
}

/// A running target; ends with its last connection.
pub(crate) struct FakeTarget {
    pub(crate) address: SocketAddr,
}

impl FakeTarget {
    pub(crate) fn start(fault: Fault) -> Self {
        Self::with_keys(fault, &[])
    }

    /// `keys` are answered in the operational stage in addition to the usual ones.
    pub(crate) fn with_keys(fault: Fault, keys: &[(&str, &str)]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let disk = Arc::new(Mutex::new(vec![0u8; BLOCK * BLOCKS]));
        let keys: Vec<_> = keys
            .iter()
            .map(|(k, v)| (k.to_string(), v.to_string()))
            .collect();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (disk, keys) = (disk.clone(), keys.clone());
                std::thread::spawn(move || Portal::new(stream, fault, disk, keys).serve());
            }
        });
        Self { address }
    }

    pub(crate) fn url(&self) -> Url {
        format!("iscsi://{}/iqn.2026-11.test:fake/0", self.address)
            .parse()
            .unwrap()
    }
}

struct Portal {
    connection: Connection,
    fault: Fault,
    disk: Arc<Mutex<Vec<u8>>>,
    keys: Vec<(String, String)>,
    stat_sn: u32,
    exp_cmd_sn: u32,
    writes: u32,
}

impl Portal {
    fn new(
        stream: TcpStream,
        fault: Fault,
        disk: Arc<Mutex<Vec<u8>>>,
        keys: Vec<(String, String)>,
    ) -> Self {
        let connection = Connection::from_stream(stream, Duration::from_secs(20)).unwrap();
        Self {
            connection,
            fault,
            disk,
            keys,
            stat_sn: 1,
            exp_cmd_sn: 1,
            writes: 0,
        }
    }

    fn serve(mut self) -> Option<()> {
        self.login()?;
        loop {
            let pdu = self.connection.recv().ok()?;
            let h = pdu.header;
            if !h.immediate() && h.opcode() != opcode::DATA_OUT {
                self.exp_cmd_sn = h.stat_sn().wrapping_add(1);
            }
            match h.opcode() {
                opcode::SCSI_COMMAND => self.command(&pdu)?,
                opcode::NOP_OUT if h.itt() != RESERVED_TAG => {
                    self.status_pdu(opcode::NOP_IN, &h, pdu.data)?;
                }
                opcode::TASK_MANAGEMENT => {
                    self.status_pdu(opcode::TASK_MANAGEMENT_RESPONSE, &h, vec![])?;
                }
                opcode::LOGOUT_REQUEST => self.status_pdu(opcode::LOGOUT_RESPONSE, &h, vec![])?,
                _ => {}
            }
        }
    }

    fn login(&mut self) -> Option<()> {
        let (mut header, mut data) = (false, false);
        loop {
            let pdu = self.connection.recv().ok()?;
            let h = pdu.header;
            let text = String::from_utf8(pdu.data).ok()?;
            let mut answer = String::new();
            for item in text.split('\0').filter(|i| !i.is_empty()) {
                let (key, value) = item.split_once('=')?;
                let value = match key {
                    "InitiatorName" | "TargetName" | "SessionType" => continue,
                    "MaxBurstLength" if self.fault == Fault::OverBidsBurst => "16000000",
                    "HeaderDigest" | "DataDigest" => value.split(',').next()?,
                    _ => value,
                };
                header |= key == "HeaderDigest" && value == "CRC32C";
                data |= key == "DataDigest" && value == "CRC32C";
                answer.push_str(&format!("{key}={value}\0"));
            }
            let stage = h.flags() >> 2 & 3;
            if stage == 1 {
                for (k, v) in self.keys.drain(..) {
                    answer.push_str(&format!("{k}={v}\0"));
                }
            }
            let mut r = Header::new(opcode::LOGIN_RESPONSE);
            r.put_flags(h.flags());
            r.0[8..16].copy_from_slice(&h.0[8..16]);
            r.0[15] = 1;
            r.put_word(16, h.itt());
            self.send(r, answer.into_bytes(), true)?;
            if h.flags() & 0x83 == 0x83 {
                self.connection
                    .set_params(Digests { header, data }, 1 << 24);
                return Some(());
            }
        }
    }

    fn send(&mut self, mut h: Header, data: Vec<u8>, status: bool) -> Option<()> {
        if h.opcode() != opcode::DATA_IN || status {
            h.put_word(24, self.stat_sn);
        }
        let window = if self.fault == Fault::BrokenWindow && h.opcode() != opcode::LOGIN_RESPONSE {
            self.exp_cmd_sn.wrapping_sub(100)
        } else {
            self.exp_cmd_sn.wrapping_add(63)
        };
        h.put_word(28, self.exp_cmd_sn).put_word(32, window);
        let frozen = self.fault == Fault::RepeatsStatSn && h.opcode() != opcode::LOGIN_RESPONSE;
        if status && !frozen {
            self.stat_sn = self.stat_sn.wrapping_add(1);
        }
        self.connection.send(&Pdu::new(h, data)).ok()
    }

    fn status_pdu(&mut self, opcode: u8, request: &Header, data: Vec<u8>) -> Option<()> {
        let mut h = Header::new(opcode);
        h.put_flags(0x80)
            .put_word(16, request.itt())
            .put_word(20, RESERVED_TAG);
        self.send(h, data, true)
    }

    fn command(&mut self, pdu: &Pdu) -> Option<()> {
        let h = pdu.header;
        let cdb = &h.0[32..48];
        let lba = u32::from_be_bytes([cdb[2], cdb[3], cdb[4], cdb[5]]) as usize;
        let count = usize::from(u16::from_be_bytes([cdb[7], cdb[8]]));
        if self.fault == Fault::Pings {
            let mut ping = Header::new(opcode::NOP_IN);
            ping.put_flags(0x80)
                .put_word(16, RESERVED_TAG)
                .put_word(20, 77);
            self.send(ping, vec![], false)?;
        }
        match cdb[0] {
            0x9e => {
                let mut data = vec![0; 32];
                data[..8].copy_from_slice(&(BLOCKS as u64 - 1).to_be_bytes());
                data[8..12].copy_from_slice(&(BLOCK as u32).to_be_bytes());
                self.data_in(&h, data)
            }
            0x28 if self.fault == Fault::Stalls => Some(()),
            0x28 => {
                let from = if self.fault == Fault::MisplacesReads {
                    lba + 1
                } else {
                    lba
                };
                let from = from.min(BLOCKS - count);
                let data = self.disk.lock().ok()?[from * BLOCK..(from + count) * BLOCK].to_vec();
                self.read(&h, data)
            }
            0x2a => self.write(pdu, lba * BLOCK, count * BLOCK),
            0x00 | 0x35 | 0x91 => self.response(&h, 0, vec![]),
            // MODE SENSE (10): the caching page, WCE and DPOFUA set.
            0x5a => {
                let mut data = vec![0; 64];
                (data[3], data[8], data[9], data[10]) = (0x10, 0x08, 0x12, 0x04);
                self.data_in(&h, data)
            }
            _ => {
                let mut sense = vec![
                    0, 18, 0x70, 0, 5, 0, 0, 0, 0, 10, 0, 0, 0, 0, 0x20, 0, 0, 0, 0, 0,
                ];
                if self.fault == Fault::LyingSense {
                    sense[..2].copy_from_slice(&[0xff, 0xff]);
                }
                self.response(&h, 2, sense)
            }
        }
    }

    fn read(&mut self, h: &Header, mut data: Vec<u8>) -> Option<()> {
        match self.fault {
            Fault::SendsTooMuch => data.resize(data.len() + BLOCK, 0),
            Fault::ShortRead => data.truncate(data.len() - BLOCK),
            Fault::R2tForRead => {
                let mut r2t = Header::new(opcode::R2T);
                r2t.put_flags(0x80)
                    .put_word(16, h.itt())
                    .put_word(20, 9)
                    .put_word(44, 512);
                self.send(r2t, vec![], false)?;
            }
            Fault::HugeSegment => {
                let mut huge = Header::new(opcode::DATA_IN);
                huge.put_flags(0x81)
                    .put_word(16, h.itt())
                    .put_data_len(0xff_ffff);
                return self.connection.send_raw(&huge.0).ok();
            }
            Fault::ClosesMidway => {
                let mut half = Header::new(opcode::DATA_IN);
                half.put_flags(0x81).put_word(16, h.itt()).put_data_len(512);
                self.connection.send_raw(&half.0).ok()?;
                return None;
            }
            _ => {}
        }
        self.data_in(h, data)
    }

    fn data_in(&mut self, h: &Header, data: Vec<u8>) -> Option<()> {
        let itt = if self.fault == Fault::UnknownTag {
            0x00ab_cdef
        } else {
            h.itt()
        };
        let parts: Vec<&[u8]> = data.chunks(2048).collect();
        for (sn, part) in parts.iter().enumerate() {
            let last = sn + 1 == parts.len();
            let shift = u32::from(self.fault == Fault::WrongDataSn);
            let mut d = Header::new(opcode::DATA_IN);
            d.put_flags(if last { 0x81 } else { 0 })
                .put_word(16, itt)
                .put_word(20, RESERVED_TAG);
            d.put_word(36, sn as u32 + shift)
                .put_word(40, sn as u32 * 2048);
            self.send(d, part.to_vec(), last)?;
        }
        Some(())
    }

    fn response(&mut self, h: &Header, status: u8, sense: Vec<u8>) -> Option<()> {
        let mut r = Header::new(opcode::SCSI_RESPONSE);
        r.put_flags(0x80).put_word(16, h.itt());
        r.0[3] = status;
        self.send(r, sense, true)
    }

    /// Takes unsolicited data, then one R2T per 4 KiB.
    fn write(&mut self, pdu: &Pdu, at: usize, len: usize) -> Option<()> {
        let h = pdu.header;
        let mut data = pdu.data.clone();
        let mut last = h.flags() & 0x80 != 0;
        let mut queued = Vec::new();
        let mut r2t_sn = 0;
        while data.len() < len {
            if last {
                let beyond = u32::from(self.fault == Fault::R2tBeyond) * 1_000_000;
                let mut r = Header::new(opcode::R2T);
                r.put_flags(0x80)
                    .put_word(16, h.itt())
                    .put_word(20, 5)
                    .put_word(36, r2t_sn);
                r.put_word(40, data.len() as u32 + beyond);
                r.put_word(44, (len - data.len()).min(4096) as u32);
                self.send(r, vec![], false)?;
                r2t_sn += 1;
            }
            loop {
                let next = self.connection.recv().ok()?;
                if next.header.opcode() != opcode::DATA_OUT || next.header.itt() != h.itt() {
                    queued.push(next);
                    continue;
                }
                assert_eq!(next.header.buffer_offset() as usize, data.len());
                data.extend_from_slice(&next.data);
                last = next.header.flags() & 0x80 != 0;
                if last {
                    break;
                }
            }
        }
        self.writes += 1;
        if self.fault != Fault::LosesAWrite || self.writes != 20 {
            self.disk.lock().ok()?[at..at + len].copy_from_slice(&data);
        }
        self.response(&h, 0, vec![])?;
        for pdu in queued {
            if pdu.header.opcode() == opcode::SCSI_COMMAND {
                self.exp_cmd_sn = pdu.header.stat_sn().wrapping_add(1);
                self.command(&pdu)?;
            }
        }
        Some(())
    }
}
