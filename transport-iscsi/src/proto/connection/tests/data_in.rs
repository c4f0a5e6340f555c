//! Data-In, phase collapse, residuals.

use super::*;

fn data_in_pdus(bench: &mut Bench) -> Vec<(DataIn, Vec<u8>)> {
    bench
        .sent()
        .into_iter()
        .map(|(bhs, data)| {
            assert_eq!(pdu::opcode_of(&bhs), opcode::DATA_IN);
            (DataIn::parse(&bhs).expect("legal"), data)
        })
        .collect()
}

#[test]
fn data_is_cut_at_the_peers_segment_length_and_at_max_burst_with_status_in_the_last() {
    let mut bench = Bench::with(|session, connection| {
        session.max_burst_length = 2560;
        connection.max_xmit_data_segment_length = 1024;
    });
    bench.feed(&read(1, 1, 6000));
    let data = pattern(6000);
    bench.good_read(1, &data, 6000);
    let pdus = data_in_pdus(&mut bench);
    let lens: Vec<_> = pdus.iter().map(|(_, data)| data.len()).collect();
    assert_eq!(lens, [1024, 1024, 512, 1024, 1024, 512, 880]);
    let finals: Vec<_> = pdus.iter().map(|(pdu, _)| pdu.is_final).collect();
    assert_eq!(finals, [false, false, true, false, false, true, true]);
    for (at, (pdu, _)) in pdus.iter().enumerate() {
        assert_eq!(
            (pdu.data_sn, pdu.itt, pdu.ttt),
            (at as u32, 1, RESERVED_TAG)
        );
        assert_eq!(pdu.status.is_some(), at == 6);
    }
    assert_eq!(pdus[6].0.stat_sn, 100);
    assert_eq!(
        pdus[6]
            .0
            .status
            .map(|(status, residual)| (status, residual.bits())),
        Some((0, 0))
    );
    assert_eq!(pdus.concat_data(), data);
    assert_eq!(bench.session.tasks_in_flight(), 0);
}

trait ConcatData {
    fn concat_data(&self) -> Vec<u8>;
}

impl ConcatData for Vec<(DataIn, Vec<u8>)> {
    fn concat_data(&self) -> Vec<u8> {
        self.iter().flat_map(|(_, data)| data.clone()).collect()
    }
}

#[test]
fn n23_no_segment_exceeds_the_peers_limit_at_its_extremes() {
    for max in [512u32, (1 << 24) - 1] {
        let mut bench = Bench::with(|session, connection| {
            session.max_burst_length = 1 << 20;
            connection.max_xmit_data_segment_length = max;
        });
        bench.feed(&read(1, 1, 300_001));
        let data = pattern(300_001);
        bench.good_read(1, &data, 300_001);
        let pdus = data_in_pdus(&mut bench);
        assert!(pdus.iter().all(|(_, data)| data.len() <= max as usize));
        assert_eq!(pdus.concat_data(), data);
    }
}

#[test]
fn n24_residuals_of_reads_both_ways_and_never_more_data_than_expected() {
    let mut bench = Bench::new();
    bench.feed(&read(1, 1, 512));
    bench.good_read(1, &[1; 1024], 1024);
    let pdus = data_in_pdus(&mut bench);
    assert_eq!(pdus.concat_data().len(), 512);
    let (_, residual) = pdus[0].0.status.expect("collapsed");
    assert_eq!((residual.bits(), residual.count()), (2, 512));

    bench.feed(&read(2, 2, 512));
    bench.good_read(2, &[1; 100], 100);
    let pdus = data_in_pdus(&mut bench);
    let (_, residual) = pdus[0].0.status.expect("collapsed");
    assert_eq!((residual.bits(), residual.count()), (1, 412));

    bench.feed(&read(3, 3, 512));
    bench.good_read(3, &[], 0);
    let (response, _) = bench.response();
    assert_eq!(
        (response.residual.bits(), response.residual.count()),
        (1, 512)
    );
}

#[test]
fn n24_data_of_a_command_sent_without_direction_is_an_overflow() {
    let mut bench = Bench::new();
    bench.feed(&no_data(1, 1));
    assert!(!bench.answer(
        1,
        &Answer {
            data_in: 96,
            total_in: 96,
            ..Answer::default()
        }
    ));
    let (response, _) = bench.response();
    assert_eq!(
        (response.residual.bits(), response.residual.count()),
        (2, 96)
    );
}

#[test]
fn n24_both_directions_have_their_own_residual() {
    let mut bench = Bench::new();
    let ahs = pdu::Ahs {
        extended_cdb: Vec::new(),
        read_length: Some(300),
    };
    let command = ScsiCommand {
        read: true,
        write: true,
        ahs_words: 2,
        expected_data_transfer_length: 8,
        data_segment_length: 8,
        ..base(1, 1)
    };
    let mut bytes = command.emit().to_vec();
    bytes.extend(ahs.emit());
    bytes.extend([6; 8]);
    assert_eq!(bench.feed(&bytes), [Seen::Command(1), Seen::Complete(1)]);
    bench.buffers.insert(bench.keys[&1], vec![5; 200]);
    let answer = Answer {
        data_in: 200,
        total_in: 200,
        total_out: 16,
        ..Answer::default()
    };
    assert!(bench.answer(1, &answer));
    let sent = bench.sent();
    assert_eq!(sent.len(), 2);
    assert_eq!(DataIn::parse(&sent[0].0).expect("legal").status, None);
    let response = ScsiResponse::parse(&sent[1].0).expect("legal");
    assert_eq!(
        (response.residual.bits(), response.residual.count()),
        (2, 8)
    );
    assert_eq!(
        (
            response.bidi_residual.bits(),
            response.bidi_residual.count()
        ),
        (1, 100)
    );
    assert_eq!(response.exp_data_sn, 1);
}

#[test]
fn sense_travels_behind_its_length_and_after_the_data() {
    let mut bench = Bench::new();
    bench.feed(&read(1, 1, 2048));
    bench.buffers.insert(bench.keys[&1], pattern(1500));
    let sense = [0x72, 3, 0x11, 0, 0, 0, 0, 0];
    let answer = Answer {
        status: 2,
        sense: &sense,
        data_in: 1500,
        total_in: 2048,
        ..Answer::default()
    };
    assert!(bench.answer(1, &answer));
    let sent = bench.sent();
    assert_eq!(sent.len(), 3);
    let response = ScsiResponse::parse(&sent[2].0).expect("legal");
    assert_eq!((response.status, response.exp_data_sn), (2, 2));
    assert_eq!(sent[2].1, [&[0, 8][..], &sense].concat());
}

#[test]
fn a_buffer_is_needed_until_its_last_byte_is_sent() {
    let mut bench = Bench::new();
    bench.feed(&read(1, 1, 2048));
    bench.good_read(1, &pattern(2048), 2048);
    let total: usize = bench.conn.ready().map(ReadyPdu::wire_len).sum();
    let mut finished = Vec::new();
    let now = bench.now;
    for _ in 1..total {
        bench
            .conn
            .sent(&mut bench.session, 1, now, |task| finished.push(task));
    }
    assert!(finished.is_empty());
    bench
        .conn
        .sent(&mut bench.session, 1, now, |task| finished.push(task));
    assert_eq!(finished, [bench.keys[&1]]);
    assert!(!bench.conn.has_output());
}

#[test]
fn status_numbers_rise_in_the_order_of_sending() {
    let mut bench = Bench::with(|session, _| session.queued_commands = 8);
    for itt in 1..=6u32 {
        bench.feed(&if itt % 2 == 0 {
            read(itt, itt, 3000)
        } else {
            no_data(itt, itt)
        });
    }
    for itt in (1..=6u32).rev() {
        if itt % 2 == 0 {
            bench.good_read(itt, &pattern(3000), 3000)
        } else {
            bench.good(itt)
        }
    }
    let numbers: Vec<_> = bench
        .sent()
        .iter()
        .filter(|(bhs, _)| pdu::opcode_of(bhs) == opcode::SCSI_RESPONSE || bhs[1] & 1 != 0)
        .map(|(bhs, _)| u32::from_be_bytes(*bhs[24..].first_chunk().expect("four")))
        .collect();
    assert_eq!(numbers, [100, 101, 102, 103, 104, 105]);
}

#[test]
fn an_answer_is_given_once() {
    let mut bench = Bench::new();
    bench.feed(&no_data(1, 1));
    bench.good(1);
    bench.good(1);
    assert_eq!(bench.sent().len(), 1);
}
