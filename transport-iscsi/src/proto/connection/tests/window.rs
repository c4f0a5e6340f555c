//! CmdSN window and task tags.

use super::*;

#[test]
fn n17_commands_outside_of_the_window_are_ignored_with_their_data() {
    let mut bench = Bench::new();
    assert_eq!(bench.feed(&write(1, 5, 8, &[1; 8], true)), []);
    assert_eq!(bench.feed(&write(1, 0, 8, &[1; 8], true)), []);
    assert_eq!(bench.sent(), []);
    assert_eq!(bench.conn.statistics().ignored, 2);
    assert_eq!(bench.feed(&no_data(1, 1)), [Seen::Command(1)]);
}

#[test]
fn n17_the_window_closes_with_queued_commands_and_opens_with_the_status() {
    let mut bench = Bench::new();
    for sn in 1..=4 {
        assert_eq!(bench.feed(&no_data(sn, sn)), [Seen::Command(sn)]);
    }
    assert_eq!(bench.feed(&no_data(5, 5)), []);
    bench.good(2);
    let (response, _) = bench.response();
    assert_eq!((response.itt, response.stat_sn), (2, 100));
    assert_eq!((response.exp_cmd_sn, response.max_cmd_sn), (5, 5));
    assert_eq!(bench.feed(&no_data(5, 5)), [Seen::Command(5)]);
}

#[test]
fn n17_a_gap_in_the_numbers_ends_the_only_connection() {
    let mut bench = Bench::new();
    let gap = Close::Violation(Violation::CommandGap);
    assert_eq!(bench.feed(&no_data(1, 2)), [Seen::Closed(gap)]);
}

#[test]
fn n17_immediate_commands_take_no_number_and_are_bounded() {
    let mut bench = Bench::new();
    let most = crate::proto::session::MAX_IMMEDIATE;
    for itt in 0..most {
        let command = ScsiCommand {
            immediate: true,
            ..base(itt, 1)
        };
        assert_eq!(bench.feed(&command.emit()), [Seen::Command(itt)]);
    }
    let command = ScsiCommand {
        immediate: true,
        ..base(most, 1)
    };
    assert_eq!(bench.feed(&command.emit()), []);
    assert_eq!(
        bench.reject_reason(),
        pdu::reject::reason::TOO_MANY_IMMEDIATE
    );
    assert_eq!(bench.feed(&no_data(900, 1)), [Seen::Command(900)]);
}

#[test]
fn n18_a_tag_in_use_is_rejected_and_free_again_after_the_status() {
    let mut bench = Bench::new();
    assert_eq!(bench.feed(&no_data(7, 1)), [Seen::Command(7)]);
    assert_eq!(bench.feed(&no_data(7, 2)), []);
    assert_eq!(bench.reject_reason(), pdu::reject::reason::TASK_IN_PROGRESS);
    bench.good(7);
    assert_eq!(bench.response().0.itt, 7);
    assert_eq!(bench.feed(&no_data(7, 3)), [Seen::Command(7)]);
}

#[test]
fn n18_the_reserved_tag_is_rejected_on_commands() {
    let mut bench = Bench::new();
    assert_eq!(bench.feed(&no_data(RESERVED_TAG, 1)), []);
    assert_eq!(
        bench.reject_reason(),
        pdu::reject::reason::INVALID_PDU_FIELD
    );
    assert_eq!(bench.feed(&no_data(1, 2)), [Seen::Command(1)]);
}

#[test]
fn n23_a_segment_longer_than_declared_is_rejected_and_ends_the_connection() {
    let mut bench = Bench::new();
    let seen = bench.feed(&write(1, 1, 8192, &[0; 4097], true));
    assert_eq!(
        seen,
        [Seen::Closed(Close::Violation(Violation::SegmentTooLong))]
    );
    assert_eq!(bench.reject_reason(), pdu::reject::reason::PROTOCOL_ERROR);
}

#[test]
fn n30_output_that_is_not_read_stops_the_input() {
    let mut bench = Bench::with(|_, connection| connection.max_xmit_data_segment_length = 1 << 20);
    let ping = NopOut {
        immediate: true,
        data_segment_length: 4096,
        lun: [0; 8],
        itt: 1,
        ttt: RESERVED_TAG,
        cmd_sn: 1,
        exp_stat_sn: 100,
    };
    let ping = padded(ping.emit(), &[0; 4096]);
    let mut seen = Vec::new();
    let mut pings = 0;
    while seen.is_empty() {
        seen = bench.feed(&ping);
        pings += 1;
        assert!(pings < 200, "input goes on without bound");
    }
    assert_eq!(seen, [Seen::Congested]);
    assert_eq!(bench.sent().len(), pings);
    assert_eq!(
        bench.feed(&ping),
        [],
        "it goes on when the output has drained"
    );
    assert_eq!(bench.sent().len(), 1);
}

#[test]
fn every_byte_split_gives_the_same_events() {
    let mut stream = write(1, 1, 3000, &pattern(1001), true);
    stream.extend(read(2, 2, 512));
    stream.extend(no_data(3, 3));
    for cut in 0..stream.len() {
        let mut bench = Bench::new();
        let mut seen = bench.feed(&stream[..cut]);
        seen.extend(bench.feed(&stream[cut..]));
        assert_eq!(
            seen,
            [Seen::Command(1), Seen::Command(2), Seen::Command(3)],
            "cut at {cut}"
        );
        assert_eq!(bench.buffer(1)[..1001], pattern(1001));
        assert_eq!(bench.r2t().buffer_offset, 1001);
    }
}
