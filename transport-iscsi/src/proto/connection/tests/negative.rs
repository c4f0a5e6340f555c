//! What no initiator should send: additional headers, logins and late data where they have no place.

use super::*;

const SECOND: Duration = Duration::from_secs(1);

/// A PDU of this opcode with that many words of additional header, all bytes `fill`.
fn with_ahs(code: u8, words: u8, fill: u8) -> Vec<u8> {
    let mut pdu = match code {
        opcode::SCSI_COMMAND => no_data(1, 1),
        _ => {
            let mut bhs = vec![0; BHS_LEN];
            bhs[0] = code;
            bhs[1] = 0x80;
            bhs[16..20].copy_from_slice(&1u32.to_be_bytes());
            bhs[20..24].copy_from_slice(&RESERVED_TAG.to_be_bytes());
            bhs[24..28].copy_from_slice(&1u32.to_be_bytes());
            bhs
        }
    };
    pdu[4] = words;
    pdu.resize(BHS_LEN + usize::from(words) * 4, fill);
    pdu
}

#[test]
fn n03_an_additional_header_of_any_length_on_any_opcode_is_taken_whole_and_echoed_never_beyond() {
    let probe = ScsiCommand {
        immediate: true,
        ..base(900, 2)
    };
    for code in 0..=0x3f {
        for words in 1..=255u8 {
            for fill in [0, 1, 2, 0xff] {
                let mut bench = Bench::new();
                let pdu = with_ahs(code, words, fill);
                let mut seen = bench.feed(&pdu);
                for (bhs, data) in bench.sent() {
                    if pdu::opcode_of(&bhs) == opcode::REJECT {
                        assert!(data.len() <= pdu.len(), "{code:02x} {words} {fill}");
                        assert_eq!(data, pdu[..data.len()]);
                    }
                }
                // The next PDU is found where the additional header ends.
                seen.extend(bench.feed(&probe.emit()));
                let over = bench.conn.closed().is_some() || seen.contains(&Seen::Logout);
                assert!(
                    over || seen.last() == Some(&Seen::Command(900)),
                    "{code:02x} {words} {fill}: {seen:?}"
                );
            }
        }
    }
}

#[test]
fn n04_a_login_in_full_feature_phase_ends_the_connection_and_nothing_behind_it_counts() {
    let mut bench = Bench::new();
    let mut login = vec![0; BHS_LEN];
    login[0] = 0x43;
    login[1] = 0x87;
    login.extend(no_data(1, 1));
    let close = Close::Violation(Violation::LoginAgain);
    assert_eq!(bench.feed(&login), [Seen::Closed(close)]);
    assert_eq!(bench.session.tasks_in_flight(), 0);
}

fn logout(cmd_sn: u32) -> Vec<u8> {
    let request = LogoutRequest {
        immediate: true,
        reason: 0,
        itt: 5,
        cid: 0,
        cmd_sn,
        exp_stat_sn: 100,
    };
    request.emit().to_vec()
}

#[test]
fn n21_data_that_comes_after_a_logout_lands_nowhere() {
    let mut bench = Bench::new();
    bench.feed(&write(1, 1, 4096, &[], true));
    let ttt = bench.r2t().ttt;
    assert_eq!(bench.feed(&logout(2)), [Seen::Logout]);
    assert_eq!(bench.feed(&data_out(1, ttt, 0, 0, &[9; 4096], true)), []);
    bench.conn.complete_logout(&mut bench.session);
    let over = [Seen::Closed(Close::Logout)];
    assert_eq!(bench.feed(&data_out(1, ttt, 0, 0, &[9; 4096], true)), over);
    assert_eq!(bench.buffer(1), [0; 4096]);
}

/// A connection for each way to end, with a command in the device, data outstanding and a ping on its way.
fn ended() -> Vec<Bench> {
    let ways: [fn(&mut Bench); 4] = [
        |bench| bench.conn.close(),
        |bench| {
            let mut login = [0; BHS_LEN];
            login[0] = 0x43;
            bench.feed(&login);
        },
        |bench| {
            bench.feed(&logout(3));
            bench.conn.complete_logout(&mut bench.session);
        },
        |bench| {
            bench.now += 3600 * SECOND;
            bench.conn.handle_timeout(&mut bench.session, bench.now);
        },
    ];
    ways.into_iter()
        .map(|end| {
            let mut bench = Bench::new();
            bench.feed(&no_data(1, 1));
            bench.feed(&write(2, 2, 4096, &[], true));
            bench.now += 30 * SECOND;
            bench.conn.handle_timeout(&mut bench.session, bench.now);
            end(&mut bench);
            bench.feed(&[]);
            bench.sent();
            bench.feed(&[]);
            bench
        })
        .collect()
}

#[test]
fn n28_timers_of_a_connection_that_has_ended_do_nothing() {
    for (way, mut bench) in ended().into_iter().enumerate() {
        let closed = bench.conn.closed();
        assert!(closed.is_some(), "{way}");
        assert_eq!(bench.conn.next_timeout(), None, "{way}");
        for _ in 0..3 {
            bench.now += 3600 * SECOND;
            bench.conn.handle_timeout(&mut bench.session, bench.now);
            assert_eq!(bench.sent(), [], "{way}");
            assert_eq!(bench.conn.closed(), closed, "{way}");
        }
    }
}

fn text(ttt: u32, data: &[u8], is_continue: bool) -> Vec<u8> {
    let request = TextRequest {
        immediate: true,
        is_final: !is_continue,
        is_continue,
        data_segment_length: data.len() as u32,
        lun: [0; 8],
        itt: 1,
        ttt,
        cmd_sn: 1,
        exp_stat_sn: 100,
    };
    padded(request.emit(), data)
}

#[test]
fn n06_texts_without_data_that_are_to_be_continued_keep_nothing_and_end_nothing() {
    let mut bench = Bench::new();
    let mut ttt = RESERVED_TAG;
    for _ in 0..1000 {
        assert_eq!(bench.feed(&text(ttt, b"", true)), []);
        let (bhs, data) = bench.one();
        if pdu::opcode_of(&bhs) == opcode::REJECT {
            // There is a bound to continuations.
            break;
        }
        let part = TextResponse::parse(&bhs).expect("legal");
        assert!(data.is_empty() && !part.is_final);
        ttt = part.ttt;
    }
    // A new exchange takes the place of the one that never ended.
    let seen = bench.feed(&text(RESERVED_TAG, b"SendTargets=\0", false));
    assert_eq!(seen, [Seen::Text(b"SendTargets=\0".to_vec())]);
}

#[test]
fn n06_a_text_of_a_wrong_tag_is_rejected_whatever_it_carries() {
    let mut bench = Bench::new();
    for (data, is_continue) in [
        (&b""[..], true),
        (b"", false),
        (b"a", true),
        (b"a=b\0", false),
    ] {
        assert_eq!(bench.feed(&text(77, data, is_continue)), []);
        let reason = bench.reject_reason();
        assert_eq!(reason, crate::proto::pdu::reject::reason::PROTOCOL_ERROR);
    }
}
