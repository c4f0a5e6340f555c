//! Immediate, unsolicited and solicited data.

use super::*;
use crate::proto::pdu::reject::reason;

#[test]
fn immediate_data_that_is_all_completes_at_once() {
    let mut bench = Bench::new();
    let seen = bench.feed(&write(1, 1, 2048, &pattern(2048), true));
    assert_eq!(seen, [Seen::Command(1), Seen::Complete(1)]);
    assert_eq!(bench.buffer(1), pattern(2048));
    bench.answer(
        1,
        &Answer {
            total_out: 2048,
            ..Answer::default()
        },
    );
    let (response, _) = bench.response();
    assert_eq!((response.status, response.residual.bits()), (0, 0));
}

#[test]
fn immediate_then_unsolicited_then_r2ts_of_max_burst() {
    let mut bench = Bench::new();
    let data = pattern(8000);
    assert_eq!(
        bench.feed(&write(1, 1, 8000, &data[..1000], false)),
        [Seen::Command(1)]
    );
    assert_eq!(bench.sent(), [], "no R2T while unsolicited data comes");
    assert_eq!(
        bench.feed(&data_out(
            1,
            RESERVED_TAG,
            0,
            1000,
            &data[1000..1500],
            false
        )),
        []
    );
    assert_eq!(
        bench.feed(&data_out(1, RESERVED_TAG, 1, 1500, &data[1500..2048], true)),
        []
    );
    let first = bench.r2t();
    assert_eq!(
        (first.buffer_offset, first.desired_data_transfer_length),
        (2048, 4096)
    );
    assert_eq!((first.r2t_sn, first.lun, first.stat_sn), (0, LUN, 100));
    assert_eq!(
        bench.feed(&data_out(1, first.ttt, 0, 2048, &data[2048..6000], false)),
        []
    );
    assert_eq!(
        bench.feed(&data_out(1, first.ttt, 1, 6000, &data[6000..6144], true)),
        []
    );
    let second = bench.r2t();
    assert_eq!(
        (second.buffer_offset, second.desired_data_transfer_length),
        (6144, 1856)
    );
    assert_eq!(second.r2t_sn, 1);
    assert_ne!(second.ttt, first.ttt);
    let seen = bench.feed(&data_out(1, second.ttt, 0, 6144, &data[6144..], true));
    assert_eq!(seen, [Seen::Complete(1)]);
    assert_eq!(bench.buffer(1), data);
    bench.good(1);
    assert_eq!(bench.response().0.exp_data_sn, 2);
}

#[test]
fn no_more_r2ts_are_outstanding_than_negotiated_and_any_order_of_them_is_taken() {
    let mut bench = Bench::with(|session, _| {
        session.max_outstanding_r2t = 3;
        session.max_burst_length = 512;
    });
    let data = pattern(2048);
    assert_eq!(
        bench.feed(&write(1, 1, 2048, &[], true)),
        [Seen::Command(1)]
    );
    let r2ts: Vec<_> = bench
        .sent()
        .iter()
        .map(|(bhs, _)| R2t::parse(bhs).expect("R2T"))
        .collect();
    assert_eq!(r2ts.len(), 3);
    assert_eq!(
        bench.feed(&data_out(1, r2ts[1].ttt, 0, 512, &data[512..1024], true)),
        []
    );
    let last = bench.r2t();
    assert_eq!(last.buffer_offset, 1536);
    assert_eq!(
        bench.feed(&data_out(1, r2ts[0].ttt, 0, 0, &data[..512], true)),
        []
    );
    assert_eq!(
        bench.feed(&data_out(1, last.ttt, 0, 1536, &data[1536..], true)),
        []
    );
    let seen = bench.feed(&data_out(1, r2ts[2].ttt, 0, 1024, &data[1024..1536], true));
    assert_eq!(seen, [Seen::Complete(1)]);
    assert_eq!(bench.buffer(1), data);
}

#[test]
fn n20_immediate_data_beyond_what_is_allowed_fails_the_command() {
    for (change, immediate, sense) in [
        (false, 2052usize, (0x0c, 0x0c)),
        (true, 4, (0x0c, 0x0c)),
        (false, 1028, (0x0c, 0x0d)),
    ] {
        let mut bench = Bench::with(|session, _| session.immediate_data = !change);
        let len = if immediate == 1028 { 1024 } else { 4096 };
        let seen = bench.feed(&write(1, 1, len, &pattern(immediate), true));
        assert_eq!(seen, [Seen::Failed(1, sense.0, sense.1)]);
        bench.answer(
            1,
            &Answer {
                status: 2,
                sense: &[0x70; 18],
                ..Answer::default()
            },
        );
        assert_eq!(bench.response().0.status, 2);
        assert_eq!(bench.feed(&no_data(2, 2)), [Seen::Command(2)]);
    }
}

#[test]
fn n20_unsolicited_data_against_initial_r2t_fails_after_its_final_pdu() {
    let mut bench = Bench::with(|session, _| session.initial_r2t = true);
    assert_eq!(bench.feed(&write(1, 1, 4096, &[], false)), []);
    assert_eq!(
        bench.feed(&data_out(1, RESERVED_TAG, 0, 0, &[1; 512], false)),
        []
    );
    let seen = bench.feed(&data_out(1, RESERVED_TAG, 1, 512, &[1; 512], true));
    assert_eq!(seen, [Seen::Failed(1, 0x0c, 0x0c)]);
}

#[test]
fn n20_unsolicited_stream_beyond_first_burst_fails() {
    let mut bench = Bench::new();
    bench.feed(&write(1, 1, 8000, &[], false));
    assert_eq!(
        bench.feed(&data_out(1, RESERVED_TAG, 0, 0, &[1; 2048], false)),
        []
    );
    let seen = bench.feed(&data_out(1, RESERVED_TAG, 1, 2048, &[2; 4], true));
    assert_eq!(seen, [Seen::Failed(1, 0x0c, 0x0c)]);
    assert!(
        bench.buffer(1)[2048..].iter().all(|byte| *byte == 0),
        "nothing written beyond"
    );
}

/// A write of 4096 bytes, its R2T already sent.
fn solicited() -> (Bench, u32) {
    let mut bench = Bench::new();
    bench.feed(&write(1, 1, 4096, &[], true));
    let r2t = bench.r2t();
    (bench, r2t.ttt)
}

#[test]
fn n19_solicited_data_out_of_sequence_fails_the_command_and_writes_nothing() {
    for (data_sn, offset, len, is_final) in [
        (1u32, 0u32, 4096usize, true), // DataSN gap
        (0, 4, 4092, true),            // gap in the offsets
        (0, 4092, 8, true),            // past the end
        (0, u32::MAX - 3, 8, true),    // offset wraps
        (0, 0, 4000, true),            // final too early
        (0, 0, 4096, false),           // final missing
    ] {
        let (mut bench, ttt) = solicited();
        let seen = bench.feed(&data_out(1, ttt, data_sn, offset, &vec![9; len], is_final));
        assert_eq!(
            seen,
            [Seen::Failed(1, 0x0c, 0x0d)],
            "{data_sn} {offset} {len} {is_final}"
        );
        assert!(bench.buffer(1).iter().all(|byte| *byte == 0));
        bench.answer(
            1,
            &Answer {
                status: 2,
                sense: &[0x70; 18],
                ..Answer::default()
            },
        );
        assert_eq!(bench.response().0.itt, 1);
        // What still comes for it means nothing.
        assert_eq!(bench.feed(&data_out(1, ttt, 1, 0, &[1; 64], true)), []);
        assert_eq!(bench.sent(), []);
    }
}

#[test]
fn n19_a_second_pdu_that_overlaps_the_first_fails() {
    let (mut bench, ttt) = solicited();
    assert_eq!(bench.feed(&data_out(1, ttt, 0, 0, &[7; 2048], false)), []);
    let seen = bench.feed(&data_out(1, ttt, 1, 1024, &[9; 2048], false));
    assert_eq!(seen, [Seen::Failed(1, 0x0c, 0x0d)]);
    assert_eq!(bench.buffer(1)[..2048], [7; 2048]);
    assert_eq!(bench.buffer(1)[2048..], [0; 2048]);
}

#[test]
fn n19_unknown_transfer_tag_or_foreign_lun_is_rejected_without_effect() {
    let (mut bench, ttt) = solicited();
    assert_eq!(
        bench.feed(&data_out(1, ttt + 1, 0, 0, &[9; 4096], true)),
        []
    );
    assert_eq!(bench.reject_reason(), reason::INVALID_PDU_FIELD);
    let mut foreign = data_out(1, ttt, 0, 0, &[9; 4096], true);
    foreign[9] = 2;
    assert_eq!(bench.feed(&foreign), []);
    assert_eq!(bench.reject_reason(), reason::INVALID_PDU_FIELD);
    assert!(bench.buffer(1).iter().all(|byte| *byte == 0));
    let seen = bench.feed(&data_out(1, ttt, 0, 0, &[5; 4096], true));
    assert_eq!(seen, [Seen::Complete(1)]);
    assert_eq!(bench.buffer(1), [5; 4096]);
}

#[test]
fn n19_data_for_a_complete_or_a_read_command_is_rejected() {
    let mut bench = Bench::new();
    bench.feed(&write(1, 1, 8, &[1; 8], true));
    bench.feed(&read(2, 2, 8));
    for itt in [1, 2] {
        assert_eq!(
            bench.feed(&data_out(itt, RESERVED_TAG, 0, 0, &[9; 8], true)),
            []
        );
        assert_eq!(bench.reject_reason(), reason::INVALID_PDU_FIELD);
    }
    assert_eq!(bench.buffer(1), [1; 8]);
}

#[test]
fn n19_unsolicited_data_nobody_announced_fails_the_command() {
    let (mut bench, ttt) = solicited();
    assert_eq!(
        bench.feed(&data_out(1, RESERVED_TAG, 0, 0, &[9; 64], true)),
        []
    );
    let seen = bench.feed(&data_out(1, ttt, 0, 0, &[9; 4096], true));
    assert_eq!(
        seen,
        [Seen::Failed(1, 0x0c, 0x0c)],
        "when the R2T is answered"
    );
}

#[test]
fn n19_data_for_an_unknown_task_is_ignored() {
    let mut bench = Bench::new();
    assert_eq!(bench.feed(&data_out(9, 1, 0, 0, &[1; 512], true)), []);
    assert_eq!(bench.sent(), []);
    assert_eq!(bench.feed(&no_data(1, 1)), [Seen::Command(1)]);
}

#[test]
fn n24_only_what_the_command_wants_is_taken_and_asked_for() {
    let mut bench = Bench::new();
    bench.wanted = Some(2560);
    let data = pattern(8192);
    bench.feed(&write(1, 1, 8192, &data[..2048], true));
    let r2t = bench.r2t();
    assert_eq!(
        (r2t.buffer_offset, r2t.desired_data_transfer_length),
        (2048, 512)
    );
    let seen = bench.feed(&data_out(1, r2t.ttt, 0, 2048, &data[2048..2560], true));
    assert_eq!(seen, [Seen::Complete(1)]);
    assert_eq!(bench.buffer(1), &data[..2560]);
    bench.answer(
        1,
        &Answer {
            total_out: 2560,
            ..Answer::default()
        },
    );
    let residual = bench.response().0.residual;
    assert_eq!((residual.bits(), residual.count()), (1, 8192 - 2560));

    bench.wanted = Some(512);
    let seen = bench.feed(&write(2, 2, 2048, &data[..2048], true));
    assert_eq!(
        seen,
        [Seen::Command(2), Seen::Complete(2)],
        "the rest is thrown away"
    );
    assert_eq!(bench.buffer(2), &data[..512]);
}

#[test]
fn n24_a_command_that_wants_more_than_is_announced_gets_what_is_announced() {
    let mut bench = Bench::new();
    bench.wanted = Some(4096);
    let seen = bench.feed(&write(1, 1, 512, &[3; 512], true));
    assert_eq!(seen, [Seen::Command(1), Seen::Complete(1)]);
    bench.answer(
        1,
        &Answer {
            total_out: 4096,
            ..Answer::default()
        },
    );
    let residual = bench.response().0.residual;
    assert_eq!((residual.bits(), residual.count()), (2, 4096 - 512));
}

#[test]
fn an_answer_before_the_data_waits_for_the_end_of_the_unsolicited_data() {
    let mut bench = Bench::new();
    bench.wanted = None;
    bench.feed(&write(1, 1, 8000, &[], false));
    bench.answer(
        1,
        &Answer {
            status: 0x18,
            ..Answer::default()
        },
    );
    assert_eq!(bench.sent(), []);
    assert_eq!(
        bench.feed(&data_out(1, RESERVED_TAG, 0, 0, &[1; 512], false)),
        []
    );
    assert_eq!(bench.sent(), []);
    assert_eq!(
        bench.feed(&data_out(1, RESERVED_TAG, 1, 512, &[1; 512], true)),
        []
    );
    let (response, _) = bench.response();
    assert_eq!(response.status, 0x18);
    assert_eq!(
        (response.residual.bits(), response.residual.count()),
        (1, 8000)
    );
    assert_eq!(bench.session.tasks_in_flight(), 0);
}

#[test]
fn an_answer_that_waits_survives_broken_rules_in_the_data() {
    let mut bench = Bench::new();
    bench.wanted = None;
    bench.feed(&write(1, 1, 8000, &[], false));
    bench.answer(
        1,
        &Answer {
            status: 0x18,
            ..Answer::default()
        },
    );
    assert_eq!(
        bench.feed(&data_out(1, RESERVED_TAG, 5, 64, &[1; 512], false)),
        []
    );
    assert_eq!(bench.feed(&data_out(1, RESERVED_TAG, 6, 0, &[], true)), []);
    assert_eq!(bench.response().0.status, 0x18);
}

#[test]
fn data_that_comes_before_the_decision_waits_in_the_stream() {
    let mut bench = Bench::new();
    bench.wanted = None;
    let data = pattern(1024);
    assert_eq!(
        bench.feed(&write(1, 1, 1024, &data, true)),
        [Seen::Command(1)]
    );
    assert_eq!(bench.feed(&no_data(2, 2)), []);
    assert_eq!(bench.accept(1, 1024), 1024);
    assert_eq!(bench.feed(&[]), [Seen::Complete(1), Seen::Command(2)]);
    assert_eq!(bench.buffer(1), data);
}

#[test]
fn n25_an_abandoned_task_receives_nothing_more() {
    let mut bench = Bench::new();
    let pdu = write(1, 1, 1024, &[7; 1024], true);
    assert_eq!(bench.feed(&pdu[..500]), [Seen::Command(1)]);
    let task = bench.keys[&1];
    bench.conn.abandon(&mut bench.session, task);
    assert_eq!(bench.conn.payload(&bench.session), None);
    assert_eq!(bench.feed(&pdu[500..]), []);
    assert_eq!(bench.buffer(1)[452..], [0; 572]);
    assert_eq!(bench.sent(), []);
    assert_eq!(bench.feed(&no_data(1, 2)), [Seen::Command(1)]);
}
