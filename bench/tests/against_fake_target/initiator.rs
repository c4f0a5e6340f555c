//! The blocking initiator against a target that behaves, and one that does not (N59).

use std::time::Duration;

use crate::fake_target::{BLOCK, FakeTarget, Fault};
use lunforge_bench::initiator::{
    Connection, Error, Event, Initiator, LoginError, Options, Request, Tmf, Violation,
};

fn options() -> Options {
    Options {
        timeout: Duration::from_secs(2),
        ..Options::default()
    }
}

fn connect(target: &FakeTarget, options: &Options) -> Result<Initiator, Error> {
    Initiator::connect(target.address, "iqn.2026-11.test:fake", options)
}

#[test]
fn data_written_is_read_back_for_every_transfer_form() {
    for (immediate, initial_r2t, digests) in [
        (true, false, false),
        (true, true, true),
        (false, true, false),
        (false, false, true),
    ] {
        let target = FakeTarget::with_keys(Fault::None, &[("MaxRecvDataSegmentLength", "1024")]);
        let login = Options {
            immediate_data: immediate,
            initial_r2t,
            header_digest: digests,
            data_digest: digests,
            first_burst_length: 2048,
            ..options()
        };
        let mut i = connect(&target, &login).unwrap();
        assert_eq!(i.params().header_digest, digests);
        let data: Vec<u8> = (0..40 * BLOCK).map(|n| (n * 7 % 253) as u8).collect();
        i.write(0, 3, &data, 512).unwrap();
        assert_eq!(i.read(0, 3, 40, 512).unwrap(), data);
        assert_eq!(i.capacity(0).unwrap(), (8192, 512));
        assert_eq!(i.nop(b"hello").unwrap(), b"hello");
        assert_eq!(i.tmf(Tmf::LogicalUnitReset, 0, 0).unwrap(), 0);
        assert_eq!(i.logout().unwrap(), 0);
    }
}

#[test]
fn several_commands_may_be_outstanding_and_end_in_any_order_of_waiting() {
    let target = FakeTarget::start(Fault::Pings);
    let mut i = connect(&target, &options()).unwrap();
    let tags: Vec<_> = (0..8)
        .map(|_| i.submit(&Request::new(0, &[0; 6])).unwrap())
        .collect();
    for tag in tags.into_iter().rev() {
        assert!(i.wait(tag).unwrap().is_good());
    }
    assert_eq!(
        i.events()
            .iter()
            .filter(|e| matches!(e, Event::Ping(_)))
            .count(),
        8
    );
}

#[test]
fn n59_every_broken_rule_ends_in_an_error_that_names_it() {
    let violation = |fault: Fault| {
        let target = FakeTarget::start(fault);
        let mut i = connect(&target, &options())?;
        i.write(0, 0, &[1; 64 * BLOCK], 512)?;
        i.read(0, 0, 8, 512).map(drop)
    };
    use Violation as V;
    type Check = fn(&Error) -> bool;
    let cases: [(Fault, Check); 12] = [
        (Fault::RepeatsStatSn, |e| {
            matches!(e, Error::Violation(V::StatSn { .. }))
        }),
        (Fault::WrongDataSn, |e| {
            matches!(e, Error::Violation(V::DataSn { .. }))
        }),
        (Fault::SendsTooMuch, |e| {
            matches!(e, Error::Violation(V::Beyond { .. }))
        }),
        (Fault::ShortRead, |e| {
            matches!(e, Error::Violation(V::Residual { .. }))
        }),
        (Fault::UnknownTag, |e| {
            matches!(e, Error::Violation(V::UnknownTag { .. }))
        }),
        (Fault::R2tBeyond, |e| {
            matches!(e, Error::Violation(V::Offset { .. }))
        }),
        (Fault::R2tForRead, |e| {
            matches!(e, Error::Violation(V::Direction { .. }))
        }),
        (Fault::HugeSegment, |e| matches!(e, Error::Wire(_))),
        (Fault::BrokenWindow, |e| {
            matches!(e, Error::Violation(V::Window { .. }))
        }),
        (Fault::ClosesMidway, |e| matches!(e, Error::Closed)),
        (Fault::OverBidsBurst, |e| {
            matches!(e, Error::Login(LoginError::Key { .. }))
        }),
        (Fault::Stalls, |e| matches!(e, Error::Timeout(_))),
    ];
    for (fault, expected) in cases {
        let error = if fault == Fault::R2tBeyond {
            let target = FakeTarget::start(fault);
            let login = Options {
                initial_r2t: true,
                immediate_data: false,
                ..options()
            };
            connect(&target, &login)
                .unwrap()
                .write(0, 0, &[1; 64 * BLOCK], 512)
                .unwrap_err()
        } else {
            violation(fault).unwrap_err()
        };
        assert!(expected(&error), "{fault:?}: {error}");
    }
}

#[test]
fn n59_sense_length_is_bounded_by_the_segment() {
    let target = FakeTarget::start(Fault::LyingSense);
    let reply = connect(&target, &options())
        .unwrap()
        .command(0, &[0xff; 16], &[], 0)
        .unwrap();
    assert_eq!((reply.status, reply.sense.len()), (2, 18));
    assert_eq!(
        (reply.sense_key(), reply.asc_ascq()),
        (Some(5), Some((0x20, 0)))
    );
}

#[test]
fn n59_random_pdus_end_in_an_error_or_are_served() {
    use std::io::Write as _;
    let mut x = 0x9e37_79b9_7f4a_7c15u64;
    let mut random = move || {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        x
    };
    for _ in 0..300 {
        let target = FakeTarget::start(Fault::Stalls);
        let mut i = connect(&target, &options()).unwrap();
        let cdb = [0x28, 0, 0, 0, 0, 0, 0, 0, 8, 0];
        let tag = i.submit(&Request::new(0, &cdb).data_in(4096)).unwrap();
        let (_, params, sequence) = i.into_connection();
        // The session goes on over a socket whose other end sends noise.
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut noise, _) = listener.accept().unwrap();
        let connection = Connection::from_stream(stream, Duration::from_secs(1)).unwrap();
        let mut i = Initiator::resume(connection, params, sequence);
        let tag2 = i.submit(&Request::new(0, &cdb).data_in(4096)).unwrap();
        for _ in 0..20 {
            let opcodes = [0x20u8, 0x21, 0x22, 0x24, 0x25, 0x26, 0x31, 0x32, 0x3f, 0x05];
            let mut h = [0u8; 48];
            h[0] = opcodes[random() as usize % opcodes.len()];
            h[1] = random() as u8;
            h[3] = random() as u8 & 2;
            h[7] = random() as u8 & 0x7c;
            let itt = if random() % 4 == 0 { tag } else { tag2 };
            h[16..20].copy_from_slice(&itt.to_be_bytes());
            h[24..28].copy_from_slice(&sequence.exp_stat_sn.to_be_bytes());
            h[28..32].copy_from_slice(&sequence.exp_cmd_sn.to_be_bytes());
            h[32..36].copy_from_slice(&sequence.max_cmd_sn.to_be_bytes());
            if random() % 2 == 0 {
                h[36..48].iter_mut().for_each(|b| *b = random() as u8);
            }
            let data = vec![random() as u8; usize::from(h[7])];
            if noise
                .write_all(&h)
                .and_then(|()| noise.write_all(&data))
                .is_err()
            {
                break;
            }
        }
        drop(noise);
        assert!(
            (0..25).any(|_| i.pump().is_err()),
            "the closed connection must show"
        );
    }
}
