//! Recorded sessions of foreign initiators, replayed over TCP to a target in this process: the answers are those that the
//! recorded target gave.

use std::path::{Path, PathBuf};
use std::time::Duration;

use lunforge::iscsi::{DataKept, IscsiAttachment, IscsiTransport, Recording};
use lunforge::vdisk::Vdisk;
use lunforge::{Engine, Target, Unit};
use lunforge_bench::initiator::{Initiator, Options, Tmf};
use lunforge_bench::replay::{self, Conversation, Outcome, ReplayOptions};

const IQN: &str = "iqn.2026-11.org.lunforge:disk";
const BOUND: Duration = Duration::from_secs(20);

/// A target like `lunforge export disk.img --size 64M --thin`, with which the recordings were made.
struct Served {
    engine: Engine,
    iscsi: IscsiAttachment,
    folder: tempfile::TempDir,
}

impl Served {
    fn start(recording: Option<Recording>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("disk.img");
        std::fs::File::create(&path)
            .unwrap()
            .set_len(64 << 20)
            .unwrap();
        let disk = Vdisk::file(&path)
            .thin(true)
            .serial("recorded")
            .open()
            .unwrap();
        let target = Target::builder(IQN)
            .lun(0, Unit::new(disk))
            .build()
            .unwrap();
        let engine = Engine::builder().shards(1).start().unwrap();
        let mut transport = IscsiTransport::builder().portal("127.0.0.1:0".parse().unwrap());
        if let Some(recording) = recording {
            transport = transport.record(recording);
        }
        let iscsi = engine.attach(transport.bind().unwrap(), target).unwrap();
        Self {
            engine,
            iscsi,
            folder,
        }
    }

    fn replay(&self, recorded: &Conversation) -> Outcome {
        let options = ReplayOptions {
            login: Options::default(),
            initiator_name: None,
            patience: BOUND,
        };
        replay::run(self.iscsi.portals()[0], IQN, recorded, &options).unwrap()
    }
}

fn read(file: &Path) -> Vec<Conversation> {
    let bytes = std::fs::read(file).unwrap();
    replay::read(&bytes).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

fn recordings() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../transport-iscsi/tests/recordings");
    let files = std::fs::read_dir(folder).unwrap();
    let mut files: Vec<_> = files
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "pcapng"))
        .collect();
    files.sort();
    files
}

#[test]
fn every_recording_is_answered_as_it_was() {
    let files = recordings();
    assert!(files.len() >= 3, "{files:?}");
    for file in files {
        let served = Served::start(None);
        for recorded in read(&file) {
            let outcome = served.replay(&recorded);
            assert_eq!(outcome.different, 0, "{}: {outcome}", file.display());
            assert!(outcome.answered > 0, "{}: {outcome}", file.display());
        }
    }
}

/// Records a session of our own initiator that does a bit of everything, and returns the recording.
fn recorded(data: DataKept) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let recording = Recording::new(folder.path()).data(data).ring(4096, 4 << 20);
    let served = Served::start(Some(recording));
    let options = Options {
        first_burst_length: 8192,
        header_digest: true,
        data_digest: true,
        ..Options::default()
    };
    let mut i = Initiator::connect(served.iscsi.portals()[0], IQN, &options).unwrap();
    i.ready(0, 4).unwrap();
    // With an R2T, and without.
    i.write(0, 0, &vec![0xa5; 256 << 10], 512).unwrap();
    i.write(0, 8, &[0x5a; 512], 512).unwrap();
    assert_eq!(i.read(0, 0, 512, 512).unwrap().len(), 256 << 10);
    // An error, a ping, text, task management.
    i.command(0, &[0x28, 0, 0xff, 0xff, 0xff, 0xff, 0, 0, 1, 0], &[], 512)
        .unwrap();
    i.nop(b"ping").unwrap();
    i.text(&[("SendTargets", "")]).unwrap();
    i.tmf(Tmf::LogicalUnitReset, 0, 0).unwrap();
    i.ready(0, 4).unwrap();
    let files = served.iscsi.dump().wait(BOUND);
    assert_eq!(files.len(), 1);
    i.logout().unwrap();
    (folder, files[0].clone())
}

#[test]
fn a_recording_of_ours_replays_without_a_difference_and_writes_what_was_written() {
    let (_folder, file) = recorded(DataKept::Whole);
    let conversations = read(&file);
    assert_eq!(conversations.len(), 1);
    let served = Served::start(None);
    let outcome = served.replay(&conversations[0]);
    assert_eq!((outcome.different, outcome.filled), (0, 0), "{outcome}");
    assert!(outcome.answered >= 10, "{outcome}");
    let mut i = Initiator::connect(served.iscsi.portals()[0], IQN, &Options::default()).unwrap();
    i.ready(0, 4).unwrap();
    let data = i.read(0, 0, 512, 512).unwrap();
    assert!(data[..4096].iter().all(|byte| *byte == 0xa5));
    assert!(data[4096..4608].iter().all(|byte| *byte == 0x5a));
    assert!(data[4608..].iter().all(|byte| *byte == 0xa5));
}

#[test]
fn data_that_was_not_recorded_is_filled_with_zeros_and_counted() {
    let (_folder, file) = recorded(DataKept::First(128));
    let served = Served::start(None);
    let outcome = served.replay(&read(&file)[0]);
    assert_eq!(outcome.different, 0, "{outcome}");
    assert!(outcome.filled >= 2, "{outcome}");
    let disk = std::fs::read(served.folder.path().join("disk.img")).unwrap();
    assert!(disk[..128].iter().all(|byte| *byte == 0xa5));
    assert!(disk[128..512].iter().all(|byte| *byte == 0));
}

#[test]
fn another_answer_than_recorded_is_a_difference() {
    let (_folder, file) = recorded(DataKept::Whole);
    let mut recorded = read(&file).remove(0);
    let good = recorded
        .pdus
        .iter_mut()
        .find(|pdu| !pdu.from_initiator && pdu.header.opcode() == 0x21 && pdu.header.status() == 0);
    good.unwrap().header.0[3] = 0x18;
    let outcome = Served::start(None).replay(&recorded);
    assert_eq!(outcome.different, 1);
    assert!(
        outcome.differences[0].contains("recorded status 0x18, now status 0x00"),
        "{outcome}"
    );
}

#[test]
fn a_recording_from_the_middle_of_a_session_replays_what_it_has_whole() {
    let folder = tempfile::tempdir().unwrap();
    let recording = Recording::new(folder.path()).ring(21, 1 << 20);
    let served = Served::start(Some(recording));
    let options = Options {
        immediate_data: false,
        initial_r2t: true,
        ..Options::default()
    };
    let mut i = Initiator::connect(served.iscsi.portals()[0], IQN, &options).unwrap();
    i.ready(0, 4).unwrap();
    for lba in 0..20 {
        i.write(0, lba * 8, &[lba as u8; 4096], 512).unwrap();
    }
    let files = served.iscsi.dump().wait(BOUND);
    let recorded = read(&files[0]).remove(0);
    assert!(!recorded.has_login());
    let outcome = Served::start(None).replay(&recorded);
    assert_eq!(outcome.different, 0, "{outcome}");
    // 21 PDUs are five writes of four, and the end of one before.
    assert_eq!(outcome.answered, 5, "{outcome}");
    drop(served.engine);
}
