//! The flight recorder over loopback TCP: what has a recording written, and what a peer cannot do with it.

mod bed;

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use lunforge_core::testing::doubles::Blank;
use lunforge_core::{Engine, Target};
use lunforge_iscsi::io::Limits;
use lunforge_iscsi::proto::pdu::{
    self, BHS_LEN, TaskManagementRequest, opcode, task_management_request::function,
};
use lunforge_iscsi::{AuthConfig, ChapAccount, ChapConfig, DataKept, IscsiTransport, Recording};

use bed::*;

#[test]
fn a_reject_has_the_session_written_with_what_led_to_it() {
    let served = serve(|r| r);
    let mut client = Client::login(&served, 1);
    client.command(&[0x2a, 0, 0, 0, 0, 0, 0, 0, 8, 0], 4096);
    client.pdu().unwrap();
    client.snack();
    client.pdu().expect("a Reject");
    let recorded = served.recording("reject");
    let wanted = [
        opcode::LOGIN_REQUEST,
        opcode::LOGIN_RESPONSE,
        opcode::SCSI_COMMAND,
        opcode::SCSI_RESPONSE,
        opcode::SCSI_COMMAND,
        opcode::SCSI_RESPONSE,
        opcode::SNACK,
        opcode::REJECT,
    ];
    assert_eq!(recorded.opcodes(), wanted);
    // The data of the write, cut.
    assert_eq!(recorded.pdus[4].len(), 48 + 128);
    assert_eq!(recorded.pdus[4][48..], [0x5a; 128]);
    assert!(recorded.holds(b"a Reject was sent, reason 0x03"));
    assert!(recorded.holds(IQN.as_bytes()));
}

#[test]
fn a_dropped_connection_is_written() {
    let served = serve(|r| r);
    let mut client = Client::login(&served, 1);
    client.cmd_sn += 2;
    client.read();
    assert!(client.pdu().is_none());
    assert!(served.recording("drop").holds(b"CmdSN out of order"));
}

#[test]
fn bytes_that_are_no_login_are_written_cut() {
    let served = serve(|r| r);
    let mut client = Client::connect(&served);
    client.stream.write_all(&[0xff; 20_000]).unwrap();
    let recorded = served.recording("login");
    assert!(recorded.pdus[0].len() <= 512);
}

#[test]
fn the_first_task_management_function_is_written_and_no_other() {
    let served = serve(|r| r);
    let mut client = Client::login(&served, 1);
    for _ in 0..5 {
        client.itt += 1;
        let request = TaskManagementRequest {
            immediate: true,
            function: function::ABORT_TASK_SET,
            lun: [0; 8],
            itt: client.itt,
            referenced_task_tag: pdu::RESERVED_TAG,
            cmd_sn: client.cmd_sn,
            exp_stat_sn: 0,
            ref_cmd_sn: 0,
            exp_data_sn: 0,
        };
        client.send(request.emit(), &[]);
        client.pdu().expect("a response");
    }
    served.recording("task-management");
    assert!(served.iscsi.settle_recordings(PATIENCE));
    assert_eq!(served.statistics().written, 1);
}

#[test]
fn a_command_without_an_answer_is_written_while_it_waits() {
    let served = serve(|r| r.unanswered(Duration::from_millis(30)));
    let mut client = Client::login(&served, 1);
    served.controls.hold.store(true, Ordering::Relaxed);
    client.read();
    let recorded = served.recording("unanswered");
    assert_eq!(recorded.opcodes().last(), Some(&opcode::SCSI_COMMAND));
    assert_eq!(served.controls.held(), 1);
    served.controls.complete_all();
    client.pdu().expect("an answer");
}

#[test]
fn a_slow_command_is_written_with_its_answer() {
    let served = serve(|r| r.slow(Duration::from_nanos(1)));
    let mut client = Client::login(&served, 1);
    served.controls.hold.store(true, Ordering::Relaxed);
    client.read();
    wait_until("the device has it", || served.controls.held() == 1);
    served.controls.complete_all();
    let (bhs, _) = client.pdu().expect("an answer");
    let recorded = served.recording("slow");
    assert_eq!(recorded.pdus.last().unwrap()[..BHS_LEN], bhs);
}

#[test]
fn a_connection_that_ends_with_commands_under_way_is_written() {
    let served = serve(|r| r);
    served.controls.can_fence.store(true, Ordering::Relaxed);
    let mut client = Client::login(&served, 1);
    served.controls.hold.store(true, Ordering::Relaxed);
    client.read();
    wait_until("the device has it", || served.controls.held() == 1);
    drop(client);
    let recorded = served.recording("lost");
    assert!(recorded.holds(b"the connection ended with 1 commands under way"));
    served.controls.complete_all();
}

#[test]
fn a_session_that_ends_in_order_is_written_if_that_is_wanted() {
    for wanted in [false, true] {
        let served = serve(|r| r.ended_sessions(wanted).data(DataKept::Whole));
        let mut client = Client::login(&served, 1);
        client.read();
        client.pdu().unwrap();
        drop(client);
        wait_until("it ends", || served.iscsi.connections() == 0);
        assert!(served.iscsi.settle_recordings(PATIENCE));
        assert_eq!(served.statistics().written, u64::from(wanted));
        if wanted {
            assert_eq!(
                served.recording("end").pdus.last().unwrap().len(),
                48 + 4096
            );
        }
    }
}

#[test]
fn all_sessions_are_written_on_demand_and_a_thousand_demands_are_few_files() {
    let served = serve(|r| r.files(100, 1 << 20));
    let mut clients: Vec<_> = (0..5).map(|isid| Client::login(&served, isid)).collect();
    let files = served.iscsi.dump().wait(PATIENCE);
    assert_eq!(files.len(), 5);
    for file in &files {
        assert_eq!(file.parent(), Some(served.folder.path()));
        let name = file.file_name().unwrap().to_str().unwrap();
        let plain = |c: char| c.is_ascii_alphanumeric() || "-.".contains(c);
        assert!(name.chars().all(plain), "{name}");
        assert_eq!(Recorded::read(file).opcodes().len(), 4);
    }
    for _ in 0..1000 {
        drop(served.iscsi.dump());
    }
    for client in &mut clients {
        client.read();
        assert_eq!(client.pdu().unwrap().0[0], opcode::DATA_IN);
    }
    assert!(served.iscsi.settle_recordings(PATIENCE));
    let statistics = served.statistics();
    // Sixteen in a burst, one of them before; each is five files. One more for each second that this takes.
    assert!(statistics.written <= 5 * 26, "{statistics:?}");
    assert!(statistics.left_out >= 975, "{statistics:?}");
    assert!(names(served.folder.path()).len() <= 100);
}

#[test]
fn a_peer_that_breaks_rules_all_day_does_not_fill_the_folder_and_keeps_nobody_out() {
    let served = serve(|r| r.files(3, 1 << 20));
    let mut client = Client::login(&served, 1);
    for _ in 0..1000 {
        client.snack();
        client.pdu().expect("a Reject");
    }
    let mut other = Client::login(&served, 2);
    other.snack();
    other.pdu().expect("a Reject");
    served.recording("reject");
    wait_until("the other's is written, too", || {
        served.statistics().written >= 2
    });
    assert!(names(served.folder.path()).len() <= 3);
}

#[test]
fn a_demand_while_sessions_close_ends_and_the_engine_stops() {
    let served = serve(|r| r);
    served.controls.can_fence.store(true, Ordering::Relaxed);
    for round in 0..20 {
        let mut client = Client::login(&served, round);
        served.controls.hold.store(true, Ordering::Relaxed);
        client.read();
        drop(client);
        let files = served.iscsi.dump().wait(PATIENCE);
        assert!(files.len() <= 2, "{files:?}");
        served.controls.hold.store(false, Ordering::Relaxed);
        served.controls.complete_all();
    }
    let _ = Client::login(&served, 99);
    let dump = served.iscsi.dump();
    let stopped = served.engine.stop(Duration::from_secs(3));
    assert_eq!(stopped.stuck_shards, 0);
    let begun = Instant::now();
    dump.wait(PATIENCE);
    assert!(begun.elapsed() < PATIENCE, "nobody is left to write it");
    assert!(served.iscsi.settle_recordings(PATIENCE));
}

#[test]
fn a_login_with_chap_leaves_no_response_in_any_recording() {
    let account = ChapAccount::new("user", "a-long-enough-secret").unwrap();
    let chap = ChapConfig::new(vec![account], None).unwrap();
    let served = serve_with(|r| r, AuthConfig::Chap(Arc::new(chap)), Limits::default());
    let mut client = Client::connect(&served);
    client.send_login(
        1,
        "AuthMethod=CHAP\0CHAP_R=0xfeedfacefeedface\0X-Secret=feedface\0",
    );
    // Whatever the answer is, what follows is a rule broken.
    let _ = client.pdu();
    let _ = client.stream.write_all(&[0; 48]);
    let recorded = served.recording("login");
    assert!(!recorded.holds(b"feedface"));
    assert!(recorded.holds(b"AuthMethod=CHAP\0CHAP_R=******************\0X-Secret=********\0"));
}

#[test]
fn without_a_folder_that_can_be_written_the_transport_does_not_start() {
    let transport = IscsiTransport::builder()
        .portal("127.0.0.1:0".parse().unwrap())
        .record(Recording::new("/proc/nothing/here"))
        .bind()
        .unwrap();
    let target = Target::builder(IQN)
        .lun(0, Blank::default())
        .build()
        .unwrap();
    let engine = Engine::builder().shards(1).start().unwrap();
    let error = engine.attach(transport, target).unwrap_err();
    assert!(error.to_string().contains("/proc/nothing/here"), "{error}");
}

#[test]
fn n30_recorders_take_no_more_memory_together_than_they_may() {
    // Two connections have what a recorder begins with, and there is no more.
    let limits = Limits {
        recorder_bytes: 10_100,
        ..Limits::default()
    };
    let served = serve_with(|r| r, AuthConfig::None, limits);
    let mut talkative = Client::login(&served, 1);
    let first = Client::login(&served, 2);
    let mut second = Client::login(&served, 3);
    assert_eq!(served.statistics().unrecorded, 1);
    second.snack();
    second.pdu().expect("a Reject");
    for _ in 0..30 {
        talkative.command(&[0], 0);
        talkative.pdu().expect("an answer");
    }
    talkative.snack();
    talkative.pdu().expect("a Reject");
    let recorded = served.recording("reject");
    assert_eq!(recorded.pdus.len(), 16);
    assert!(
        recorded
            .opcodes()
            .ends_with(&[opcode::SNACK, opcode::REJECT])
    );
    assert!(served.iscsi.settle_recordings(PATIENCE));
    let statistics = served.statistics();
    assert_eq!((statistics.written, statistics.shortened), (1, 1));
    // What a connection had is there for the next one.
    drop(first);
    wait_until("it is gone", || served.iscsi.sessions() == 2);
    let mut next = Client::login(&served, 4);
    next.snack();
    next.pdu().expect("a Reject");
    wait_until("it is written", || served.statistics().written == 2);
    assert_eq!(served.statistics().unrecorded, 1);
}
