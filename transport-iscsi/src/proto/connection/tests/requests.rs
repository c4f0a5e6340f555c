//! Ping, task management, text, logout, SNACK, discovery sessions.

use super::*;
use crate::proto::pdu::AsyncMessage;
use crate::proto::pdu::reject::reason;
use crate::proto::pdu::task_management_request::function;
use crate::proto::pdu::task_management_response::response;

fn tmf(itt: u32, function: u8, referenced: u32, ref_cmd_sn: u32) -> TaskManagementRequest {
    TaskManagementRequest {
        immediate: true,
        function,
        lun: LUN,
        itt,
        referenced_task_tag: referenced,
        cmd_sn: 2,
        exp_stat_sn: 100,
        ref_cmd_sn,
        exp_data_sn: 0,
    }
}

fn tmf_response(bench: &mut Bench) -> u8 {
    let (bhs, _) = bench.one();
    assert_eq!(pdu::opcode_of(&bhs), opcode::TASK_MANAGEMENT_RESPONSE);
    TaskManagementResponse::parse(&bhs).expect("legal").response
}

fn text(itt: u32, ttt: u32, keys: &[u8], is_continue: bool) -> Vec<u8> {
    let pdu = TextRequest {
        immediate: true,
        is_final: !is_continue,
        is_continue,
        data_segment_length: keys.len() as u32,
        lun: [0; 8],
        itt,
        ttt,
        cmd_sn: 1,
        exp_stat_sn: 100,
    };
    padded(pdu.emit(), keys)
}

fn logout(itt: u32, reason: u8, cid: u16) -> Vec<u8> {
    LogoutRequest {
        immediate: true,
        reason,
        itt,
        cid,
        cmd_sn: 1,
        exp_stat_sn: 100,
    }
    .emit()
    .to_vec()
}

fn logout_response(bench: &mut Bench) -> u8 {
    let (bhs, _) = bench.one();
    assert_eq!(pdu::opcode_of(&bhs), opcode::LOGOUT_RESPONSE);
    LogoutResponse::parse(&bhs).expect("legal").response
}

#[test]
fn a_ping_is_answered_with_its_data_cut_to_what_the_initiator_takes() {
    let mut bench = Bench::new();
    for len in [0usize, 3, 2000] {
        let data = pattern(len);
        let ping = NopOut {
            immediate: true,
            data_segment_length: len as u32,
            lun: LUN,
            itt: 9,
            ttt: RESERVED_TAG,
            cmd_sn: 1,
            exp_stat_sn: 100,
        };
        assert_eq!(bench.feed(&padded(ping.emit(), &data)), []);
        let (bhs, answer) = bench.one();
        let nop = NopIn::parse(&bhs).expect("legal");
        assert_eq!((nop.itt, nop.ttt, nop.lun), (9, RESERVED_TAG, LUN));
        assert_eq!(answer, data[..len.min(1024)]);
    }
}

#[test]
fn n26_abort_names_its_command_and_is_checked_by_ref_cmd_sn() {
    let mut bench = Bench::new();
    bench.feed(&no_data(1, 1));
    let abort = |itt, referenced, sn| tmf(itt, function::ABORT_TASK, referenced, sn).emit();
    assert_eq!(bench.feed(&abort(20, 1, 7)), []);
    assert_eq!(tmf_response(&mut bench), response::FUNCTION_REJECTED);
    assert_eq!(bench.feed(&abort(20, 55, 0)), []);
    assert_eq!(tmf_response(&mut bench), response::TASK_DOES_NOT_EXIST);
    let seen = bench.feed(&abort(20, 1, 1));
    assert_eq!(seen, [Seen::TaskManagement(function::ABORT_TASK, Some(1))]);
    assert_eq!(
        bench.feed(&abort(21, 20, 2)),
        [],
        "a function cannot be aborted"
    );
    assert_eq!(tmf_response(&mut bench), response::TASK_DOES_NOT_EXIST);
    let (victim, key) = (bench.keys[&1], bench.keys[&20]);
    bench.conn.abandon(&mut bench.session, victim);
    bench
        .conn
        .respond_task_management(&mut bench.session, key, 0);
    assert_eq!(tmf_response(&mut bench), response::FUNCTION_COMPLETE);
    bench.good(1);
    assert_eq!(bench.sent(), [], "an aborted command has no status");
}

#[test]
fn n26_an_abort_of_a_number_not_yet_sent_does_not_lock_the_window() {
    let mut bench = Bench::new();
    let abort = TaskManagementRequest {
        cmd_sn: 1,
        ..tmf(20, function::ABORT_TASK, 5, 1)
    };
    bench.feed(&abort.emit());
    assert_eq!(tmf_response(&mut bench), response::TASK_DOES_NOT_EXIST);
    assert_eq!(bench.feed(&no_data(5, 1)), [Seen::Command(5)]);
}

#[test]
fn n26_an_abort_of_a_command_lost_on_its_way_counts_it_as_received() {
    let mut bench = Bench::new();
    let abort = TaskManagementRequest {
        cmd_sn: 3,
        ..tmf(20, function::ABORT_TASK, 5, 1)
    };
    bench.feed(&abort.emit());
    assert_eq!(tmf_response(&mut bench), response::FUNCTION_COMPLETE);
    assert_eq!(bench.feed(&no_data(5, 1)), [], "it is not run any more");
    assert_eq!(bench.feed(&no_data(6, 2)), [Seen::Command(6)]);
}

#[test]
fn functions_are_handed_on_and_reassignment_is_not_supported() {
    let mut bench = Bench::new();
    for code in 2..=7 {
        assert_eq!(
            bench.feed(&tmf(30, code, RESERVED_TAG, 0).emit()),
            [Seen::TaskManagement(code, None)]
        );
        let key = bench.keys[&30];
        bench
            .conn
            .respond_task_management(&mut bench.session, key, 0);
        assert_eq!(tmf_response(&mut bench), 0);
    }
    bench.feed(&tmf(30, function::TASK_REASSIGN, 1, 1).emit());
    assert_eq!(
        tmf_response(&mut bench),
        response::REASSIGNMENT_NOT_SUPPORTED
    );
    for code in [0u8, 9, 12, 127] {
        bench.feed(&tmf(30, code, 1, 1).emit());
        assert_eq!(tmf_response(&mut bench), response::FUNCTION_NOT_SUPPORTED);
    }
}

#[test]
fn a_text_is_collected_over_continuations_and_answered_in_parts() {
    let mut bench = Bench::new();
    assert_eq!(bench.feed(&text(1, RESERVED_TAG, b"SendTar", true)), []);
    let (bhs, keys) = bench.one();
    let part = TextResponse::parse(&bhs).expect("legal");
    assert!(keys.is_empty() && !part.is_final && part.ttt != RESERVED_TAG);
    let seen = bench.feed(&text(1, part.ttt, b"gets=All\0", false));
    assert_eq!(seen, [Seen::Text(b"SendTargets=All\0".to_vec())]);
    // In more parts than the request may have.
    let answer = pattern(300_001);
    bench.conn.answer_text(&mut bench.session, answer.clone());
    let mut got = Vec::new();
    loop {
        let (bhs, keys) = bench.one();
        let part = TextResponse::parse(&bhs).expect("legal");
        assert!(keys.len() <= 1024);
        got.extend(keys);
        if part.is_final {
            assert_eq!((part.ttt, part.is_continue), (RESERVED_TAG, false));
            break;
        }
        assert!(part.is_continue);
        assert_eq!(bench.feed(&text(1, part.ttt, b"", false)), []);
    }
    assert_eq!(got, answer);
}

#[test]
fn n05_a_text_without_end_is_refused() {
    let mut bench = Bench::new();
    bench.feed(&text(1, RESERVED_TAG, &[b'a'; 4096], true));
    let ttt = TextResponse::parse(&bench.one().0).expect("legal").ttt;
    for round in 1..=16 {
        assert_eq!(bench.feed(&text(1, ttt, &[b'a'; 4096], true)), []);
        let (bhs, _) = bench.one();
        if round == 16 {
            assert_eq!(
                Reject::parse(&bhs).expect("legal").reason,
                reason::PROTOCOL_ERROR
            );
        }
    }
}

#[test]
fn a_text_with_a_foreign_tag_is_rejected() {
    let mut bench = Bench::new();
    assert_eq!(bench.feed(&text(1, 77, b"SendTargets=\0", false)), []);
    assert_eq!(bench.reject_reason(), reason::PROTOCOL_ERROR);
}

#[test]
fn n21_logout_waits_for_the_commands_and_nothing_counts_after_it() {
    let mut bench = Bench::new();
    bench.feed(&no_data(1, 1));
    assert_eq!(bench.feed(&logout(5, 0, 0)), [Seen::Logout]);
    assert_eq!(bench.sent(), []);
    assert_eq!(bench.feed(&logout(6, 0, 0)), []);
    assert_eq!(bench.feed(&no_data(2, 2)), []);
    bench.conn.complete_logout(&mut bench.session);
    assert_eq!(logout_response(&mut bench), 0);
    assert_eq!(bench.session.tasks_in_flight(), 0);
    bench.good(1);
    assert_eq!(bench.sent(), []);
    assert_eq!(bench.feed(&[]), [Seen::Closed(Close::Logout)]);
}

#[test]
fn n21_logout_of_another_connection_or_for_recovery_leaves_this_one() {
    let mut bench = Bench::new();
    bench.feed(&logout(5, 1, 9));
    assert_eq!(logout_response(&mut bench), 1);
    bench.feed(&logout(5, 2, 0));
    assert_eq!(logout_response(&mut bench), 2);
    bench.feed(&logout(5, 3, 0));
    assert_eq!(bench.reject_reason(), reason::INVALID_PDU_FIELD);
    assert_eq!(bench.feed(&logout(5, 1, 0)), [Seen::Logout]);
}

#[test]
fn snack_is_rejected_and_login_ends_the_connection() {
    let mut bench = Bench::new();
    let snack = Snack {
        kind: 0,
        lun: LUN,
        itt: 1,
        ttt: 1,
        exp_stat_sn: 100,
        begin_run: 0,
        run_length: 0,
    };
    assert_eq!(bench.feed(&snack.emit()), []);
    assert_eq!(bench.reject_reason(), reason::SNACK_REJECT);
    let mut login = [0u8; BHS_LEN];
    login[0] = 0x43;
    let close = Close::Violation(Violation::LoginAgain);
    assert_eq!(bench.feed(&login), [Seen::Closed(close)]);
}

#[test]
fn an_unknown_opcode_is_rejected_with_its_header() {
    let mut bench = Bench::new();
    let mut bhs = [0u8; BHS_LEN];
    bhs[0] = 0x1c;
    bhs[7] = 8;
    assert_eq!(bench.feed(&padded(bhs, &[1; 8])), []);
    let (reject, refused) = bench.one();
    let reject = Reject::parse(&reject).expect("legal");
    assert_eq!(reject.reason, reason::COMMAND_NOT_SUPPORTED);
    assert_eq!(refused, bhs);
}

#[test]
fn n03_a_broken_additional_header_is_rejected() {
    let mut bench = Bench::new();
    let command = ScsiCommand {
        ahs_words: 1,
        ..base(1, 1)
    };
    let mut pdu = command.emit().to_vec();
    pdu.extend([0, 1, 0x3f, 0]);
    assert_eq!(bench.feed(&pdu), []);
    assert_eq!(bench.reject_reason(), reason::INVALID_PDU_FIELD);
    assert_eq!(bench.feed(&no_data(1, 2)), [Seen::Command(1)]);
}

#[test]
fn a_discovery_session_has_text_and_logout_only() {
    let discovery = || Bench::with(|session, _| session.discovery = true);
    let mut bench = discovery();
    let seen = bench.feed(&text(1, RESERVED_TAG, b"SendTargets=All\0", false));
    assert_eq!(seen, [Seen::Text(b"SendTargets=All\0".to_vec())]);
    assert_eq!(bench.feed(&logout(2, 0, 0)), [Seen::Logout]);
    let close = Close::Violation(Violation::DiscoveryOnly);
    assert_eq!(discovery().feed(&no_data(1, 1)), [Seen::Closed(close)]);
}

#[test]
fn an_asynchronous_message_takes_a_status_number() {
    let mut bench = Bench::new();
    let message = AsyncMessage {
        data_segment_length: 0,
        lun: LUN,
        stat_sn: 0,
        exp_cmd_sn: 0,
        max_cmd_sn: 0,
        event: pdu::async_message::event::LOGOUT_REQUEST,
        vendor_code: 0,
        parameter1: 0,
        parameter2: 0,
        parameter3: 10,
    };
    bench.conn.send_async(&mut bench.session, message, &[]);
    let sent = AsyncMessage::parse(&bench.one().0).expect("legal");
    assert_eq!((sent.event, sent.parameter3, sent.stat_sn), (1, 10, 100));
    bench.conn.send_async(&mut bench.session, message, &[1; 18]);
    assert_eq!(bench.one().1.len(), 20);
}
