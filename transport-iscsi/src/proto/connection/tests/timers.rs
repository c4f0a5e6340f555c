//! Pings of our own, and peers that make no progress.

use super::*;

const SECOND: Duration = Duration::from_secs(1);

impl Bench {
    /// Moves the clock from timer to timer, at most by `by`.
    fn advance(&mut self, by: Duration) {
        let end = self.now + by;
        while self.conn.closed().is_none() {
            match self.conn.next_timeout().filter(|at| *at <= end) {
                Some(at) => {
                    self.now = self.now.max(at);
                    self.conn.handle_timeout(&mut self.session, self.now);
                }
                None => break,
            }
        }
        self.now = end;
    }
}

fn pong(ttt: u32) -> Vec<u8> {
    NopOut {
        immediate: true,
        data_segment_length: 0,
        lun: [0; 8],
        itt: RESERVED_TAG,
        ttt,
        cmd_sn: 1,
        exp_stat_sn: 100,
    }
    .emit()
    .to_vec()
}

fn ping(bench: &mut Bench) -> NopIn {
    let (bhs, _) = bench.one();
    assert_eq!(pdu::opcode_of(&bhs), opcode::NOP_IN);
    NopIn::parse(&bhs).expect("legal")
}

#[test]
fn n28_a_silent_initiator_is_pinged_and_dropped_when_it_does_not_answer() {
    let mut bench = Bench::new();
    bench.advance(29 * SECOND);
    assert_eq!(bench.sent(), []);
    bench.advance(SECOND);
    let first = ping(&mut bench);
    assert_eq!(
        (first.itt, first.stat_sn),
        (RESERVED_TAG, 100),
        "it takes no StatSN"
    );
    assert_eq!(bench.feed(&pong(first.ttt)), []);
    bench.advance(30 * SECOND);
    let second = ping(&mut bench);
    assert_ne!(first.ttt, second.ttt);
    bench.advance(29 * SECOND);
    assert_eq!(bench.conn.closed(), None);
    bench.advance(SECOND);
    assert_eq!(
        bench.conn.closed(),
        Some(Close::Violation(Violation::NopTimeout))
    );
    assert_eq!(
        bench.feed(&pong(second.ttt)),
        [Seen::Closed(Close::Violation(Violation::NopTimeout))]
    );
}

#[test]
fn n28_a_ping_behind_data_that_a_slow_line_still_takes_is_not_overdue() {
    let mut bench = Bench::new();
    bench.feed(&read(1, 1, 4096));
    bench.good_read(1, &pattern(4096), 4096);
    for _ in 0..10 {
        bench.advance(20 * SECOND);
        let now = bench.now;
        bench.conn.sent(&mut bench.session, 100, now, |_| ());
        assert_eq!(bench.conn.closed(), None);
    }
    bench.advance(29 * SECOND);
    assert_eq!(bench.conn.closed(), None);
    bench.advance(SECOND);
    assert_eq!(
        bench.conn.closed(),
        Some(Close::Violation(Violation::NopTimeout))
    );
}

#[test]
fn n28_an_answer_to_no_ping_means_nothing() {
    let mut bench = Bench::new();
    assert_eq!(bench.feed(&pong(4711)), []);
    assert_eq!(bench.sent(), []);
    bench.advance(30 * SECOND);
    let real = ping(&mut bench);
    assert_eq!(bench.feed(&pong(real.ttt.wrapping_add(1))), []);
    bench.advance(15 * SECOND);
    assert_eq!(bench.conn.closed(), None);
}

#[test]
fn a_ping_that_was_just_made_is_not_output_that_does_not_drain() {
    let mut bench = Bench::with(|_, connection| {
        connection.nop_in_interval = 30 * SECOND;
        connection.send_timeout = 30 * SECOND;
    });
    let idle = bench.now + 30 * SECOND;
    for _ in 0..3 {
        bench.conn.handle_timeout(&mut bench.session, idle);
        assert_eq!(bench.conn.closed(), None);
    }
    assert!(bench.conn.next_timeout().is_some_and(|at| at > idle));
}

#[test]
fn an_initiator_that_sends_is_not_pinged() {
    let mut bench = Bench::with(|session, _| session.queued_commands = 64);
    for sn in 1..=20 {
        bench.advance(20 * SECOND);
        assert_eq!(bench.feed(&no_data(sn, sn)), [Seen::Command(sn)]);
        assert_eq!(bench.sent(), []);
    }
}

#[test]
fn pings_can_be_switched_off() {
    let mut bench = Bench::with(|_, connection| connection.nop_in_interval = Duration::ZERO);
    assert_eq!(bench.conn.next_timeout(), None);
    bench.advance(3600 * SECOND);
    assert_eq!((bench.sent(), bench.conn.closed()), (Vec::new(), None));
}

#[test]
fn data_asked_for_has_to_come_within_rsp_timeout() {
    let mut bench = Bench::with(|_, connection| connection.nop_in_interval = Duration::ZERO);
    bench.feed(&write(1, 1, 4096, &[], true));
    let ttt = bench.r2t().ttt;
    bench.advance(60 * SECOND);
    bench.feed(&data_out(1, ttt, 0, 0, &[0; 512], false));
    bench.advance(80 * SECOND);
    assert_eq!(bench.conn.closed(), None, "there was progress");
    bench.advance(40 * SECOND);
    assert_eq!(
        bench.conn.closed(),
        Some(Close::Violation(Violation::ResponseTimeout))
    );
}

#[test]
fn a_command_in_the_device_has_no_timeout_here() {
    let mut bench = Bench::with(|_, connection| connection.nop_in_interval = Duration::ZERO);
    bench.feed(&write(1, 1, 8, &[0; 8], true));
    bench.feed(&read(2, 2, 4096));
    bench.advance(1000 * SECOND);
    assert_eq!(bench.conn.closed(), None);
    bench.good(1);
    assert_eq!(bench.sent().len(), 1);
}

#[test]
fn n30_output_that_does_not_drain_ends_the_connection() {
    let mut bench = Bench::with(|_, connection| connection.nop_in_interval = Duration::ZERO);
    bench.feed(&read(1, 1, 4096));
    bench.good_read(1, &pattern(4096), 4096);
    let now = bench.now;
    bench.conn.output_started(now);
    bench.advance(60 * SECOND);
    let now = bench.now;
    bench.conn.sent(&mut bench.session, 100, now, |_| ());
    bench.advance(89 * SECOND);
    assert_eq!(bench.conn.closed(), None);
    bench.advance(SECOND);
    assert_eq!(
        bench.conn.closed(),
        Some(Close::Violation(Violation::ResponseTimeout))
    );
}
