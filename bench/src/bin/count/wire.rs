//! READ(10) through the protocol engine of a connection, without a transport and without a shard.

use std::time::Instant;

use lunforge_iscsi::proto::connection::{Answer, Connection, ConnectionParams, Event};
use lunforge_iscsi::proto::pdu::{ScsiCommand, TaskAttribute};
use lunforge_iscsi::proto::session::{Session, SessionParams};
use lunforge_iscsi::record::{Tap, TapLimits};

use crate::READ_4K;

const LEN: u32 = 4096;

/// Not recorded.
pub(super) fn plain(times: u64) -> Option<()> {
    run(times, None)
}

/// Recorded as by default: 256 PDUs, 64 KiB, 128 bytes of data.
pub(super) fn recorded(times: u64) -> Option<()> {
    let limits = TapLimits {
        pdus: 256,
        bytes: 64 << 10,
        data: 128,
    };
    run(times, Some(Box::new(Tap::new(limits))))
}

fn run(times: u64, tap: Option<Box<Tap>>) -> Option<()> {
    let now = Instant::now();
    let mut connection = Connection::new(ConnectionParams::default(), 1, now);
    let mut session = Session::new(SessionParams::default(), 1);
    if let Some(tap) = tap {
        connection.record(tap);
    }
    let buffer = [0; LEN as usize];
    for n in 0..u32::try_from(times).ok()? {
        let wire = command(n).emit();
        let step = connection.next(&mut session, &wire, now);
        let Event::Command(command) = step.event else {
            return None;
        };
        let answer = Answer {
            data_in: LEN,
            total_in: LEN.into(),
            ..Answer::default()
        };
        connection.respond(&mut session, command.task, &answer);
        connection.fill(&mut session);
        connection.show(now, |_, range, tap| {
            tap.sent_part(buffer.get(range).unwrap_or_default());
        });
        let sent = connection.ready().map(|pdu| pdu.wire_len()).sum();
        connection.sent(&mut session, sent, now, |_| ());
    }
    (session.tasks_in_flight() == 0).then_some(())
}

fn command(n: u32) -> ScsiCommand {
    ScsiCommand {
        immediate: false,
        is_final: true,
        read: true,
        write: false,
        attribute: TaskAttribute::Simple,
        ahs_words: 0,
        data_segment_length: 0,
        lun: [0; 8],
        itt: n,
        expected_data_transfer_length: LEN,
        cmd_sn: n.wrapping_add(1),
        exp_stat_sn: 1,
        cdb: READ_4K,
    }
}
