//! A snapshot in which there is something of everything.

use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use lunforge::LogicalUnit;
use lunforge::core::shard::Census;
use lunforge::core::testing::doubles::Blank;
use lunforge::core::testing::{Bed, Send};
use lunforge::core::tmf::Function;
use lunforge::iscsi::io::Counters;
use lunforge::iscsi::proto::login::LoginStatus;
use lunforge::iscsi::record::RecorderStatistics;
use lunforge::srp::io as srp;
use lunforge_daemon::control::report::{self, Reservation, Target};
use lunforge_daemon::metrics::{Device, Shard, Snapshot, Srp, Transport};

/// A unit that was used: a read that took three seconds, a command that failed, an abort.
fn used() -> Device {
    let blank = Blank::default();
    let controls = std::sync::Arc::clone(&blank.0);
    let unit = LogicalUnit::new(blank);
    let mut bed = Bed::new(1, std::sync::Arc::clone(&unit));
    // The power on condition, and the unknown opcode.
    let session = bed.session(0, "iqn.2026-11.org.example:a");
    bed.command(session, 0, &[0xFF, 0, 0, 0, 0, 0], &[], 0);
    let read = Send {
        cdb: vec![0x28, 0, 0, 0, 0, 0, 0, 0, 1, 0],
        expected_in: 512,
        ..Send::default()
    };
    controls.hold.store(true, Relaxed);
    let tag = bed.send(session, read);
    bed.tmf(session, 0, Function::QueryTask(tag + 7));
    bed.advance(Duration::from_secs(3));
    controls.complete_all();
    bed.wait(session, tag);
    Device::new(told("disk \"1\"\\\n", Some("/dev/x")), &unit)
}

fn told(name: &str, filename: Option<&str>) -> report::Device {
    report::Device {
        name: name.to_owned(),
        handler: "vdisk_blockio".to_owned(),
        filename: filename.map(str::to_owned),
        size: filename.map(|_| 1 << 40),
        block_size: 512,
        active: filename.is_some(),
        dead: filename.is_none(),
        oldest_ms: 1500,
        luns: vec!["targets/iscsi/iqn.2026-11.org.example:t/luns/0".to_owned()],
        access_state: Some("Active/Optimized".to_owned()),
        reads: 1,
        writes: 2,
        others: 3,
        read_bytes: 4096,
        write_bytes: 8192,
        ..report::Device::default()
    }
}

pub(crate) fn snapshot() -> Snapshot {
    let target = Target {
        driver: "iscsi".to_owned(),
        name: "iqn.2026-11.org.example:t".to_owned(),
        enabled: true,
        rel_tgt_id: 1,
        sessions: 2,
        luns: 1,
        ..Target::default()
    };
    let reservation = Reservation {
        device: "spare".to_owned(),
        generation: 7,
        kind: Some("Write Exclusive".to_owned()),
        holders: vec!["iqn.2026-11.org.example:a,i,0x000000000001 port 1".to_owned()],
        registrants: vec![(String::new(), 1, String::new()); 2],
        aptpl: true,
    };
    let spare = Device {
        other_sense: 3,
        timed_out: 4,
        detached: 5,
        ..Device {
            told: told("spare", None),
            ..Device::default()
        }
    };
    Snapshot {
        version: "1.2.3".to_owned(),
        uptime: Duration::from_millis(1500),
        devices: vec![used(), spare],
        targets: vec![target],
        reservations: vec![reservation],
        transport: Some(transport()),
        srp: Some(Srp {
            channels: 4,
            sessions: 2,
            counters: srp::Counters {
                logins: 5,
                rejects: 6,
                logouts: 7,
                lost: 8,
                ..srp::Counters::default()
            },
        }),
        shards: vec![
            Shard {
                census: Some(Census {
                    nexuses: 2,
                    commands: 3,
                    buffer_bytes: 65_536,
                    ..Census::default()
                }),
                full_commands: 1,
                full_session: 2,
                full_shard: 3,
                shed: 4,
                dropped: 5,
            },
            Shard::default(),
        ],
    }
}

fn transport() -> Transport {
    Transport {
        connections: 3,
        sessions: 2,
        counters: Counters::default(),
        refusals: vec![
            (LoginStatus::AuthenticationFailure, 2),
            (LoginStatus::NotFound, 1),
        ],
        recorder: Some(RecorderStatistics {
            written: 1,
            failed: 2,
            left_out: 3,
            shortened: 4,
            unrecorded: 5,
        }),
    }
}
