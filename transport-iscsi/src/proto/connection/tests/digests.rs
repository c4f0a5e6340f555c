//! Header and data digests.

use super::*;
use crate::proto::pdu::reject::reason;

fn bench() -> Bench {
    Bench::with(|_, connection| {
        connection.header_digest = true;
        connection.data_digest = true;
    })
}

/// Adds both digests to a padded PDU.
fn sealed(pdu: &[u8]) -> Vec<u8> {
    let (header, data) = pdu.split_at(BHS_LEN);
    let mut out = [header, &crc32c(header)].concat();
    if !data.is_empty() {
        out.extend_from_slice(data);
        out.extend_from_slice(&crc32c(data));
    }
    out
}

#[test]
fn good_digests_pass_both_ways_at_every_byte_split() {
    let mut stream = sealed(&write(1, 1, 2001, &pattern(2001), true));
    stream.extend(sealed(&read(2, 2, 1003)));
    for cut in 0..stream.len() {
        let mut bench = bench();
        let mut seen = bench.feed(&stream[..cut]);
        seen.extend(bench.feed(&stream[cut..]));
        assert_eq!(
            seen,
            [Seen::Command(1), Seen::Complete(1), Seen::Command(2)]
        );
        assert_eq!(bench.buffer(1), pattern(2001));
        bench.good_read(2, &pattern(1003), 1003);
        bench.good(1);
        assert_eq!(bench.sent().len(), 2, "their digests are checked in `sent`");
    }
}

#[test]
fn n22_a_bad_header_digest_ends_the_connection_without_effect() {
    let mut bench = bench();
    let mut pdu = sealed(&no_data(1, 1));
    pdu[20] ^= 1;
    let close = Close::Violation(Violation::HeaderDigest);
    assert_eq!(bench.feed(&pdu), [Seen::Closed(close)]);
    assert_eq!(bench.sent(), []);
    assert_eq!(bench.session.exp_cmd_sn(), 1);
}

#[test]
fn n22_a_bad_digest_of_immediate_data_is_rejected_and_the_command_aborted() {
    let mut bench = bench();
    let mut pdu = sealed(&write(1, 1, 512, &[5; 512], true));
    pdu[100] ^= 0x80;
    assert_eq!(
        bench.feed(&pdu),
        [Seen::Command(1), Seen::Failed(1, 0x47, 0x05)]
    );
    assert_eq!(bench.reject_reason(), reason::DATA_DIGEST_ERROR);
    bench.answer(
        1,
        &Answer {
            status: 2,
            sense: &[0x70; 18],
            ..Answer::default()
        },
    );
    assert_eq!(bench.response().0.status, 2);
    assert_eq!(bench.feed(&sealed(&no_data(2, 2))), [Seen::Command(2)]);
}

#[test]
fn n22_a_bad_digest_of_solicited_data_fails_the_command_when_all_is_in() {
    let mut bench = bench();
    assert_eq!(
        bench.feed(&sealed(&write(1, 1, 4096, &[], true))),
        [Seen::Command(1)]
    );
    let ttt = bench.r2t().ttt;
    let mut bad = sealed(&data_out(1, ttt, 0, 0, &[1; 2048], false));
    let last = bad.len() - 1;
    bad[last] ^= 1;
    assert_eq!(bench.feed(&bad), []);
    assert_eq!(bench.reject_reason(), reason::DATA_DIGEST_ERROR);
    let seen = bench.feed(&sealed(&data_out(1, ttt, 1, 2048, &[1; 2048], true)));
    assert_eq!(seen, [Seen::Failed(1, 0x47, 0x05)]);
    assert_eq!(bench.conn.statistics().digest_errors, 1);
}

#[test]
fn n22_a_bad_digest_of_text_or_ping_is_rejected_and_the_pdu_forgotten() {
    let mut bench = bench();
    let ping = NopOut {
        immediate: true,
        data_segment_length: 5,
        lun: [0; 8],
        itt: 1,
        ttt: RESERVED_TAG,
        cmd_sn: 1,
        exp_stat_sn: 100,
    };
    let text = TextRequest {
        immediate: true,
        is_final: true,
        is_continue: false,
        data_segment_length: 16,
        lun: [0; 8],
        itt: 2,
        ttt: RESERVED_TAG,
        cmd_sn: 1,
        exp_stat_sn: 100,
    };
    for pdu in [
        padded(ping.emit(), b"hello"),
        padded(text.emit(), b"SendTargets=All\0"),
    ] {
        let mut pdu = sealed(&pdu);
        pdu[53] ^= 4;
        assert_eq!(bench.feed(&pdu), []);
        assert_eq!(bench.reject_reason(), reason::DATA_DIGEST_ERROR);
    }
    assert_eq!(bench.feed(&sealed(&padded(ping.emit(), b"hello"))), []);
    assert_eq!(bench.one().1, b"hello");
}
