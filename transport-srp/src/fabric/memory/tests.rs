use std::time::Duration;

use super::*;

fn buf(bytes: &[u8]) -> IoBuf {
    IoBuf::from_slice(bytes).unwrap()
}

fn connected(receives: usize) -> (Box<dyn Endpoint>, Initiator) {
    let (request, initiator) = request(LoginForm::Rdma, b"hello", "192.0.2.1");
    assert_eq!(
        (request.private_data.as_slice(), initiator.answer()),
        (b"hello".as_slice(), Answer::Waiting)
    );
    let setup = Setup {
        receives: (0..receives).map(|_| buf(&[0; 64])).collect(),
        depth: 4,
        send_len: 64,
        sends: IoBuf::empty(),
        shared: None,
        spin: Duration::ZERO,
    };
    let endpoint = request.pending.accept(b"come", setup).unwrap();
    assert_eq!(initiator.answer(), Answer::Accepted(b"come".to_vec()));
    (endpoint, initiator)
}

fn polled(endpoint: &mut Box<dyn Endpoint>) -> Vec<Completion> {
    let mut all = Vec::new();
    while endpoint.poll(&mut all) {}
    all
}

#[test]
fn information_units_go_both_ways_and_those_without_room_are_counted() {
    let (mut endpoint, initiator) = connected(1);
    initiator.send(b"one");
    initiator.send(b"two");
    let all = polled(&mut endpoint);
    assert!(matches!(&all[..], [Completion::Received(buf, 3)] if buf.to_vec(0..3) == b"one"));
    endpoint.receive(buf(&[0; 64]));
    assert!(matches!(
        &polled(&mut endpoint)[..],
        [Completion::Received(_, 3)]
    ));
    initiator.post_receives(1);
    endpoint.send(b"a");
    endpoint.send(b"b");
    assert_eq!(initiator.take(), None);
    endpoint.flush();
    assert_eq!(initiator.take().unwrap(), b"a");
    assert_eq!(initiator.take().unwrap(), b"b");
    assert_eq!(initiator.overruns(), (1, 1));
    assert_eq!(polled(&mut endpoint).len(), 2);
}

#[test]
fn memory_is_read_and_written_in_parts_and_only_where_it_is() {
    let (mut endpoint, initiator) = connected(1);
    let one = initiator.map(b"abcdef".to_vec());
    let two = initiator.map(vec![0; 4]);
    let part = |of: Remote, at: u64, len| Remote {
        address: of.address + at,
        len,
        ..of
    };
    endpoint.read(1, buf(&[0; 8]), &[part(one, 4, 2), part(one, 0, 3)]);
    endpoint.write(
        2,
        buf(b"wxyz"),
        &[part(two, 0, 1), part(one, 5, 1), part(two, 1, 2)],
    );
    endpoint.flush();
    let all = polled(&mut endpoint);
    let [
        Completion::Read {
            id: 1,
            buf: read,
            result: Ok(()),
        },
        Completion::Wrote {
            id: 2,
            result: Ok(()),
            ..
        },
    ] = &all[..]
    else {
        panic!("{all:?}")
    };
    assert_eq!(read.to_vec(0..5), b"efabc");
    assert_eq!(initiator.unmap(one.key).unwrap(), b"abcdex");
    assert_eq!(initiator.unmap(two.key).unwrap(), b"wyz\0");
}

#[test]
fn a_wrong_address_loses_the_connection_and_every_buffer_comes_back() {
    for wrong in [
        Remote {
            address: 1,
            key: 1,
            len: 1,
        },
        Remote {
            address: REGION,
            key: 1,
            len: 9,
        },
        Remote {
            address: REGION + 8,
            key: 1,
            len: 1,
        },
        Remote {
            address: 9 * REGION,
            key: 9,
            len: 1,
        },
    ] {
        let (mut endpoint, initiator) = connected(2);
        initiator.map(vec![0; 8]);
        endpoint.read(1, buf(&[0; 16]), &[wrong]);
        endpoint.write(2, buf(&[0; 16]), &[]);
        endpoint.send(b"x");
        endpoint.flush();
        let all = polled(&mut endpoint);
        assert_eq!(all.len(), 5, "{all:?}");
        assert!(matches!(
            all[0],
            Completion::Read {
                result: Err(WorkError::Remote),
                ..
            }
        ));
        assert!(all.iter().any(|c| matches!(
            c,
            Completion::Wrote {
                result: Err(WorkError::Flushed),
                ..
            }
        )));
        assert_eq!(endpoint.in_flight(), 0);
        assert!(initiator.is_disconnected() && initiator.take().is_none());
    }
}

#[test]
fn buffers_stay_with_a_connection_that_the_initiator_ended_until_the_target_ends_it() {
    let (mut endpoint, initiator) = connected(2);
    initiator.disconnect();
    assert!(matches!(
        &polled(&mut endpoint)[..],
        [Completion::Disconnected]
    ));
    assert_eq!(endpoint.in_flight(), 2);
    initiator.hold_flush();
    endpoint.disconnect();
    assert_eq!(polled(&mut endpoint).len(), 0);
    initiator.release_flush();
    assert_eq!(polled(&mut endpoint).len(), 2);
    drop(endpoint);
    assert!(initiator.is_forgotten());
}

#[test]
fn a_connection_is_lost_at_the_step_that_was_asked_for() {
    for step in 1..=3 {
        let (mut endpoint, initiator) = connected(2);
        initiator.lose_at(step);
        initiator.send(b"1");
        endpoint.send(b"2");
        endpoint.write(3, buf(&[0; 16]), &[]);
        endpoint.flush();
        let all = polled(&mut endpoint);
        let done = all.iter().filter(|c| {
            matches!(
                c,
                Completion::Received(..)
                    | Completion::Sent
                    | Completion::Wrote { result: Ok(()), .. }
            )
        });
        assert_eq!(done.count() as u64, step - 1);
        assert_eq!(endpoint.in_flight(), 0);
    }
}

#[test]
fn a_request_is_rejected_or_withdrawn() {
    let (one, initiator) = request(LoginForm::Ib, &[], "fe80::1");
    one.pending.reject(b"no");
    assert_eq!(initiator.answer(), Answer::Rejected(b"no".to_vec()));
    let (two, initiator) = request(LoginForm::Ib, &[], "fe80::1");
    initiator.withdraw();
    let setup = Setup {
        receives: Vec::new(),
        depth: 1,
        send_len: 64,
        sends: IoBuf::empty(),
        shared: None,
        spin: Duration::ZERO,
    };
    assert!(two.pending.accept(&[], setup).is_err());
}
