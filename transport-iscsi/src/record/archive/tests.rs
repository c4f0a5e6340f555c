use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::record::{Direction, Tap, TapLimits};

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

fn archive(folder: &tempfile::TempDir, files: usize, bytes: u64) -> Arc<Archive> {
    let recording = Recording::new(folder.path().join("recordings")).files(files, bytes);
    Arc::new(Archive::open(&recording, Instant::now()).unwrap())
}

fn names(archive: &Archive) -> Vec<String> {
    let mut names: Vec<_> = std::fs::read_dir(&archive.path)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn snapshot() -> Snapshot {
    let mut tap = Tap::new(TapLimits {
        pdus: 8,
        bytes: 4096,
        data: 16,
    });
    tap.login(Instant::now(), Direction::Received, &[0; 48]);
    tap.snapshot()
}

fn about() -> About {
    About {
        peer: "10.0.0.2:50000".parse().unwrap(),
        local: "10.0.0.1:3260".parse().unwrap(),
        initiator: "../../etc/passwd".into(),
        target: "/".into(),
        isid: [0; 6],
        tsih: 0,
        cid: 0,
    }
}

fn moment() -> Moment {
    Moment {
        monotonic: Instant::now(),
        since_boot: Duration::ZERO,
        wall: UNIX_EPOCH + Duration::new(1_795_256_553, 123_456_789),
    }
}

const BOUND: Duration = Duration::from_secs(20);

#[test]
fn a_recording_is_for_its_owner_alone_and_its_name_is_ours() {
    let temporary = folder();
    let archive = archive(&temporary, 4, 1 << 20);
    let (tell, told) = mpsc::channel();
    archive.submit(snapshot(), about(), Incident::Asked, moment(), Some(tell));
    let file = told.recv_timeout(BOUND).unwrap();
    let name = file.file_name().unwrap().to_str().unwrap();
    assert_eq!(name, "lunforge-20261121T102233.123456Z-000000-asked.pcapng");
    let mode = |path: &std::path::Path| path.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&file), mode(&archive.path)), (0o600, 0o700));
    assert_eq!(archive.statistics().written, 1);
}

#[test]
fn the_oldest_recordings_go_and_nothing_else_does() {
    let temporary = folder();
    let archive = archive(&temporary, 4, 5000);
    std::fs::write(archive.path.join("lunforge-notes.txt"), "mine").unwrap();
    std::fs::write(archive.path.join("other.pcapng"), vec![0; 10_000]).unwrap();
    std::fs::write(archive.path.join("lunforge-0-crash.pcapng.part"), "half").unwrap();
    for serial in 0..40 {
        let name = format!("lunforge-{serial:03}.pcapng");
        archive
            .store(&name, 1000, |file| file.write_all(&[0; 1000]))
            .unwrap();
    }
    let wanted = [
        "lunforge-036.pcapng",
        "lunforge-037.pcapng",
        "lunforge-038.pcapng",
        "lunforge-039.pcapng",
        "lunforge-notes.txt",
        "other.pcapng",
    ];
    assert_eq!(names(&archive), wanted);
    archive
        .store("lunforge-040.pcapng", 4500, |file| {
            file.write_all(&[0; 4500])
        })
        .unwrap();
    let wanted = ["lunforge-040.pcapng", "lunforge-notes.txt", "other.pcapng"];
    assert_eq!(names(&archive), wanted);
    let too_large = archive.store("lunforge-041.pcapng", 5001, |_| Ok(()));
    assert_eq!(too_large.unwrap_err().kind(), io::ErrorKind::FileTooLarge);
}

#[test]
fn a_full_disk_leaves_nothing_behind_and_the_next_recording_is_written() {
    let temporary = folder();
    let archive = archive(&temporary, 4, 1 << 20);
    let full = archive.store("lunforge-1.pcapng", 100, |file| {
        file.write_all(&[0; 50])?;
        // What a full disk says, from the kernel itself.
        File::create("/dev/full")?.write_all(&[0; 50])
    });
    assert_eq!(full.unwrap_err().kind(), io::ErrorKind::StorageFull);
    assert_eq!(names(&archive), [] as [&str; 0]);
    archive.submit(snapshot(), about(), Incident::Asked, moment(), None);
    assert!(archive.settle(BOUND));
    assert_eq!(names(&archive).len(), 1);
}

#[test]
fn a_folder_that_is_gone_is_counted_and_not_made_anew() {
    let temporary = folder();
    let archive = archive(&temporary, 4, 1 << 20);
    std::fs::remove_dir(&archive.path).unwrap();
    archive.submit(snapshot(), about(), Incident::Asked, moment(), None);
    assert!(archive.settle(BOUND));
    let statistics = archive.statistics();
    assert_eq!((statistics.written, statistics.failed), (0, 1));
}

#[test]
fn a_thousand_incidents_in_a_second_are_recorded_sixteen_times() {
    let temporary = folder();
    let archive = archive(&temporary, 4, 1 << 20);
    let start = archive.pace.lock().since;
    let at = |ms: u64| start + Duration::from_millis(ms);
    assert_eq!((0..1000).filter(|ms| archive.admits(at(*ms))).count(), 16);
    assert_eq!(archive.statistics().left_out, 984);
    // Then one a second, and after a pause a burst again.
    assert_eq!((1000..5000).filter(|ms| archive.admits(at(*ms))).count(), 4);
    assert_eq!(
        (90_000..90_999)
            .filter(|ms| archive.admits(at(*ms)))
            .count(),
        16
    );
}

#[test]
fn what_waits_to_be_written_is_bounded() {
    let temporary = folder();
    let archive = archive(&temporary, 4, 1 << 20);
    let (hold, held) = mpsc::channel::<()>();
    let (begun, has_begun) = mpsc::channel();
    let job = move || {
        begun.send(()).unwrap();
        let _ = held.recv();
    };
    archive.writer.submit(Box::new(job)).unwrap();
    has_begun.recv_timeout(BOUND).unwrap();
    for _ in 0..1000 {
        archive.submit(snapshot(), about(), Incident::Asked, moment(), None);
    }
    assert_eq!(archive.statistics().left_out, 1000 - MAX_WAITING as u64);
    assert!(!archive.settle(Duration::from_millis(5)));
    drop(hold);
    assert!(archive.settle(BOUND));
    assert_eq!(archive.statistics().written, MAX_WAITING as u64);
    assert_eq!(archive.waiting.load(Ordering::Relaxed), 0);
}

#[test]
fn days_of_the_calendar_are_right() {
    let day = |year, month, day| (year, month, day);
    assert_eq!(civil(0), day(1970, 1, 1));
    assert_eq!(civil(11_016), day(2000, 2, 29));
    assert_eq!(civil(20_778), day(2026, 11, 21));
    assert_eq!(civil(47_540), day(2100, 2, 28));
    assert_eq!(civil(47_541), day(2100, 3, 1));
}
