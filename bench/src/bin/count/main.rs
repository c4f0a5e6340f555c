//! Repeats one operation of the target a given number of times, for counting instructions.
//!
//! `bench/instructions.sh` runs this under callgrind with two numbers and divides the difference.

mod pipeline;
mod wire;

use std::hint::black_box;
use std::process::ExitCode;

use lunforge_core::cdb::Cdb;
use lunforge_iscsi::proto::pdu::{DataIn, ScsiCommand, frame};

/// An operation to repeat.
type Case = fn(u64) -> Option<()>;

const CASES: [(&str, &str, Case); 7] = [
    ("cdb-read10", "parse the CDB of READ(10)", cdb_read10),
    ("pdu-parse", "frame and parse a SCSI Command PDU", pdu_parse),
    (
        "pdu-emit",
        "emit the header of a Data-In with status",
        pdu_emit,
    ),
    (
        "pipeline-read4k",
        "READ(10) of 4 KiB through a shard, null unit, no transport",
        pipeline::plain,
    ),
    (
        "pipeline-reserved",
        "the same by one of 1000 registrants of a reserved unit",
        pipeline::reserved,
    ),
    (
        "wire-read4k",
        "READ(10) of 4 KiB through the protocol engine of a connection",
        wire::plain,
    ),
    (
        "wire-recorded",
        "the same on a connection that is recorded",
        wire::recorded,
    ),
];

const READ_4K: [u8; 16] = [0x28, 0, 0, 0, 1, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0];

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let (name, times) = (args.next(), args.next().and_then(|n| n.parse().ok()));
    let case = CASES.iter().find(|(n, ..)| name.as_deref() == Some(n));
    match (case, times) {
        (Some((name, _, run)), Some(times)) => match run(times) {
            Some(()) => ExitCode::SUCCESS,
            None => {
                eprintln!("count: {name} did not do what it measures");
                ExitCode::FAILURE
            }
        },
        _ => {
            eprintln!("usage: count CASE TIMES");
            for (name, what, _) in CASES {
                println!("{name}\t{what}");
            }
            ExitCode::from(2)
        }
    }
}

fn cdb_read10(times: u64) -> Option<()> {
    for _ in 0..times {
        black_box(Cdb::parse(black_box(&READ_4K[..10])).ok()?);
    }
    Some(())
}

fn pdu_parse(times: u64) -> Option<()> {
    let mut wire = [0u8; 48];
    (wire[0], wire[1], wire[19], wire[22], wire[27]) = (0x01, 0xc1, 7, 0x10, 9);
    wire[32..].copy_from_slice(&READ_4K);
    for _ in 0..times {
        let pdu = frame(black_box(&wire), 8192).ok()??;
        black_box(ScsiCommand::parse(pdu.bhs).ok()?);
    }
    Some(())
}

fn pdu_emit(times: u64) -> Option<()> {
    let mut bhs = [0u8; 48];
    (bhs[0], bhs[1], bhs[6], bhs[19]) = (0x25, 0x81, 0x10, 7);
    let data_in = DataIn::parse(&bhs).ok()?;
    for _ in 0..times {
        black_box(black_box(&data_in).emit());
    }
    Some(())
}
