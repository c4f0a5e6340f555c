//! A target that is recorded, its recordings, and an initiator.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use lunforge_core::testing::doubles::{Blank, Controls};
use lunforge_core::{Engine, Target};
use lunforge_iscsi::io::Limits;
use lunforge_iscsi::proto::pdu::{
    self, BHS_LEN, Bhs, LoginRequest, ScsiCommand, Snack, TaskAttribute, opcode,
};
use lunforge_iscsi::record::RecorderStatistics;
use lunforge_iscsi::{AuthConfig, IscsiAttachment, IscsiTransport, Recording};

pub(crate) const IQN: &str = "iqn.2026-11.org.example:blank";
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

pub(crate) struct Served {
    pub(crate) iscsi: IscsiAttachment,
    pub(crate) engine: Engine,
    pub(crate) controls: Arc<Controls>,
    pub(crate) folder: tempfile::TempDir,
}

pub(crate) fn serve(set: impl FnOnce(Recording) -> Recording) -> Served {
    serve_with(set, AuthConfig::None, Limits::default())
}

pub(crate) fn serve_with(
    set: impl FnOnce(Recording) -> Recording,
    auth: AuthConfig,
    limits: Limits,
) -> Served {
    let folder = tempfile::tempdir().unwrap();
    let blank = Blank::default();
    let controls = Arc::clone(&blank.0);
    let target = Target::builder(IQN).lun(0, blank).build().unwrap();
    let engine = Engine::builder().shards(2).start().unwrap();
    let transport = IscsiTransport::builder()
        .portal("127.0.0.1:0".parse().unwrap())
        .auth(auth)
        .limits(limits)
        .record(set(Recording::new(folder.path())))
        .bind()
        .unwrap();
    let iscsi = engine.attach(transport, target).unwrap();
    Served {
        iscsi,
        engine,
        controls,
        folder,
    }
}

impl Served {
    pub(crate) fn statistics(&self) -> RecorderStatistics {
        self.iscsi.recorder_statistics().unwrap()
    }

    /// Waits for the first recording of this kind.
    pub(crate) fn recording(&self, kind: &str) -> Recorded {
        let end = Instant::now() + PATIENCE;
        loop {
            let found = names(self.folder.path())
                .into_iter()
                .find(|name| name.ends_with(&format!("-{kind}.pcapng")));
            if let Some(name) = found {
                return Recorded::read(&self.folder.path().join(name));
            }
            assert!(
                Instant::now() < end,
                "no recording of {kind}: {:?}",
                names(self.folder.path())
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

pub(crate) fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// A file, read back far enough for these tests.
pub(crate) struct Recorded {
    pub(crate) file: Vec<u8>,
    /// First bytes of each PDU, behind 40 bytes of IPv4 and TCP.
    pub(crate) pdus: Vec<Vec<u8>>,
}

impl Recorded {
    pub(crate) fn read(path: &PathBuf) -> Self {
        let file = std::fs::read(path).unwrap();
        let word = |at: usize| u32::from_le_bytes(file[at..at + 4].try_into().unwrap()) as usize;
        let (mut at, mut pdus) = (0, Vec::new());
        while at < file.len() {
            if word(at) == 6 {
                pdus.push(file[at + 28 + 40..at + 28 + word(at + 20)].to_vec());
            }
            at += word(at + 4);
        }
        Self { file, pdus }
    }

    pub(crate) fn opcodes(&self) -> Vec<u8> {
        self.pdus.iter().map(|pdu| pdu[0] & 0x3f).collect()
    }

    pub(crate) fn holds(&self, text: &[u8]) -> bool {
        self.file.windows(text.len()).any(|bytes| bytes == text)
    }
}

pub(crate) struct Client {
    pub(crate) stream: TcpStream,
    pub(crate) cmd_sn: u32,
    pub(crate) itt: u32,
}

impl Client {
    pub(crate) fn connect(served: &Served) -> Self {
        let stream = TcpStream::connect(served.iscsi.portals()[0]).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self {
            stream,
            cmd_sn: 1,
            itt: 0,
        }
    }

    pub(crate) fn login(served: &Served, isid: u8) -> Self {
        let mut client = Self::connect(served);
        client.send_login(isid, "");
        let (bhs, _) = client.pdu().expect("a login response");
        assert_eq!((bhs[36], bhs[37]), (0, 0));
        client.command(&[0], 0);
        client.pdu().expect("a unit attention");
        client
    }

    pub(crate) fn send_login(&mut self, isid: u8, more: &str) {
        let keys = format!(
            "InitiatorName=iqn.2026-11.org.example:../../x\0TargetName={IQN}\0SessionType=Normal\0{more}"
        );
        let header = LoginRequest {
            immediate: true,
            transit: more.is_empty(),
            is_continue: false,
            current_stage: u8::from(more.is_empty()),
            next_stage: 3 * u8::from(more.is_empty()),
            version_max: 0,
            version_min: 0,
            data_segment_length: keys.len() as u32,
            isid: [0x80, 0, 0, 0, 0, isid],
            tsih: 0,
            itt: 0,
            cid: 0,
            cmd_sn: self.cmd_sn,
            exp_stat_sn: 0,
        };
        self.send(header.emit(), keys.as_bytes());
    }

    pub(crate) fn send(&mut self, bhs: Bhs, data: &[u8]) {
        let mut bytes = bhs.to_vec();
        bytes.extend_from_slice(data);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        self.stream.write_all(&bytes).expect("a connection");
    }

    pub(crate) fn command(&mut self, cdb: &[u8], expected: u32) {
        self.itt += 1;
        let cmd_sn = self.cmd_sn;
        self.cmd_sn += 1;
        let mut whole = [0; 16];
        whole[..cdb.len()].copy_from_slice(cdb);
        let command = ScsiCommand {
            immediate: false,
            is_final: true,
            read: whole[0] == 0x28,
            write: whole[0] == 0x2a,
            attribute: TaskAttribute::Simple,
            ahs_words: 0,
            data_segment_length: if whole[0] == 0x2a { expected } else { 0 },
            lun: [0; 8],
            itt: self.itt,
            expected_data_transfer_length: expected,
            cmd_sn,
            exp_stat_sn: 0,
            cdb: whole,
        };
        let data = vec![0x5a; command.data_segment_length as usize];
        self.send(command.emit(), &data);
    }

    pub(crate) fn read(&mut self) {
        self.command(&[0x28, 0, 0, 0, 0, 0, 0, 0, 8, 0], 4096);
    }

    /// Something that is answered by a Reject, and by nothing worse.
    pub(crate) fn snack(&mut self) {
        self.itt += 1;
        let mut bhs = [0; BHS_LEN];
        (bhs[0], bhs[1]) = (opcode::SNACK, 0x80);
        let snack = Snack::parse(&bhs).unwrap();
        self.send(snack.emit(), &[]);
    }

    pub(crate) fn pdu(&mut self) -> Option<(Bhs, Vec<u8>)> {
        let mut bhs = [0; BHS_LEN];
        self.stream.read_exact(&mut bhs).ok()?;
        let len = pdu::data_segment_len(&bhs) as usize;
        let mut data = vec![0; len.next_multiple_of(4)];
        self.stream.read_exact(&mut data).ok()?;
        data.truncate(len);
        Some((bhs, data))
    }
}

pub(crate) fn wait_until(what: &str, mut reached: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !reached() {
        assert!(Instant::now() < end, "{what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}
