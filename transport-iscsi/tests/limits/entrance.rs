//! Who comes in: floods, slow logins, guesses.

use std::sync::Arc;
use std::time::Duration;

use lunforge_iscsi::io::Limits;
use lunforge_iscsi::{AuthConfig, ChapAccount, ChapConfig};

use super::bed::{Bed, Login, Peer, Recipe};

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn n30_a_flood_of_logins_gives_way_to_an_initiator_of_another_address() {
    let mut bed = Recipe::with(Limits {
        half_open: 8,
        ..Limits::default()
    })
    .serve();
    let flood: Vec<_> = (0..1000).map(|_| bed.connect(66)).collect();
    assert_eq!(bed.iscsi.connections(), 8);
    let mut good = bed.connect(1);
    let more: Vec<_> = (0..1000).map(|_| bed.connect(66)).collect();
    let answer = bed.log_in(&mut good, &Login::of(1));
    assert_eq!((answer.status_class, bed.iscsi.sessions()), (0, 1));
    assert!(flood.iter().all(|peer| peer.is_closed()));
    assert_eq!(more.iter().filter(|peer| !peer.is_closed()).count(), 7);
    assert_eq!(bed.counters().gave_way, 1993);
    drop(more);
}

#[test]
fn n30_an_address_and_the_whole_have_their_connections_and_sessions_live_on() {
    let mut bed = Recipe::with(Limits {
        connections: 6,
        connections_per_address: 4,
        ..Limits::default()
    })
    .serve();
    let mut session = bed.session(1);
    let held: Vec<_> = (0..3).map(|_| bed.connect(1)).collect();
    assert!(bed.try_connect(1).is_none());
    let others: Vec<_> = (0..2).map(|_| bed.connect(2)).collect();
    assert!(bed.try_connect(3).is_none());
    let counters = bed.counters();
    assert_eq!((counters.refused_address, counters.refused_full), (1, 1));
    session.read(1);
    bed.settle();
    assert_eq!(session.statuses(), [0]);
    drop((held, others));
}

#[test]
fn n30_a_login_that_trickles_ends_with_its_step_and_a_busy_one_with_its_time() {
    let mut bed = Recipe::default().serve();
    let mut slow = bed.connect(1);
    for byte in Login::of(1).emit() {
        slow.send(&[byte]);
        bed.pass(SECOND);
        if slow.is_closed() {
            break;
        }
    }
    assert!(slow.is_closed());
    assert_eq!(
        (bed.counters().login_timeouts, bed.iscsi.connections()),
        (1, 0)
    );
    // Step by step, each in time: an operational stage that is never left.
    let mut busy = bed.connect(1);
    let mut login = Login::of(1).emit();
    login[1] &= 0x7f;
    for _ in 0..6 {
        busy.send(&login);
        bed.pass(3 * SECOND);
        let text = "X-none=1\0".len();
        login.truncate(48 + text.next_multiple_of(4));
        login[48..48 + text].copy_from_slice(b"X-none=1\0");
        login[7] = text as u8;
        login[6] = 0;
    }
    assert!(busy.is_closed());
    assert_eq!(bed.iscsi.connections(), 0);
}

#[test]
fn n30_an_initiator_and_a_target_have_their_sessions() {
    let mut bed = Recipe::with(Limits {
        sessions_per_initiator: 2,
        sessions_per_target: 3,
        ..Limits::default()
    })
    .serve();
    let mut full = 0;
    let mut peers = Vec::new();
    for (initiator, isid) in [(1, 1), (1, 2), (1, 3), (2, 1), (3, 1)] {
        let mut peer = bed.connect(initiator);
        let login = Login {
            isid,
            ..Login::of(initiator)
        };
        let answer = bed.log_in(&mut peer, &login);
        full += u64::from((answer.status_class, answer.status_detail) == (3, 2));
        peers.push(peer);
    }
    assert_eq!((full, bed.iscsi.sessions()), (2, 3));
    assert_eq!(bed.counters().sessions_full, 2);
    // A place that is given back is there again.
    peers[0].hang_up();
    bed.settle();
    let mut peer = bed.connect(3);
    assert_eq!(bed.log_in(&mut peer, &Login::of(3)).status_class, 0);
}

#[test]
fn n30_a_flood_of_discovery_sessions_displaces_itself_and_takes_no_places_of_normal_sessions() {
    let mut bed = Recipe::with(Limits {
        connections: 12,
        discovery_sessions: 8,
        discovery_sessions_per_address: 6,
        ..Limits::default()
    })
    .serve();
    let discover = |bed: &mut Bed, from| {
        let mut peer = bed.connect(from);
        let login = Login {
            keys: "SessionType=Discovery\0".to_owned(),
            ..Login::of(from)
        };
        assert_eq!(bed.log_in(&mut peer, &login).status_class, 0);
        bed.settle();
        peer
    };
    let open = |peers: &[Peer]| peers.iter().filter(|peer| !peer.is_closed()).count();
    let mut session = bed.session(1);
    let good = discover(&mut bed, 2);
    let flood: Vec<_> = (0..100).map(|_| discover(&mut bed, 66)).collect();
    assert_eq!((open(&flood), bed.counters().discoveries_gave_way), (6, 94));
    let second: Vec<_> = (0..3).map(|_| discover(&mut bed, 67)).collect();
    // The newest are those that stay, and who has few of them is left alone.
    assert!(flood[..96].iter().all(Peer::is_closed));
    assert!(!good.is_closed() && open(&flood) == 4 && open(&second) == 3);
    assert_eq!(bed.counters().discoveries_gave_way, 96);
    // There is room for normal sessions, and those there are live on.
    let others = [bed.session(3), bed.session(4), bed.session(5)];
    session.read(1);
    bed.settle();
    assert_eq!((session.statuses(), bed.iscsi.sessions()), (vec![0], 4));
    let peers = flood.iter().chain(&second).chain([&good]);
    peers.for_each(Peer::hang_up);
    bed.settle();
    assert_eq!((bed.iscsi.connections(), others.len()), (4, 3));
}

fn guarded(limits: Limits) -> Recipe {
    let account = ChapAccount::new("user", "a-long-enough-secret").unwrap();
    let chap = ChapConfig::new(vec![account], None).unwrap();
    Recipe {
        auth: AuthConfig::Chap(Arc::new(chap)),
        ..Recipe::with(limits)
    }
}

#[test]
fn n16_no_authentication_where_it_is_demanded_is_refused_late_counted_and_in_the_end_not_heard() {
    let mut bed = guarded(Limits {
        failures_refused: 8,
        ..Limits::default()
    })
    .serve();
    let login = Login::security("AuthMethod=None\0");
    let mut waited = Vec::new();
    for _ in 0..8 {
        let mut peer = bed.connect(1);
        peer.send(&login.emit());
        bed.settle();
        let mut seconds = 0;
        let answer = loop {
            if let Some(answer) = peer.login_response() {
                break answer;
            }
            bed.pass(SECOND);
            seconds += 1;
        };
        assert_eq!((answer.status_class, answer.status_detail), (2, 1));
        assert!(peer.is_closed());
        waited.push(seconds);
    }
    assert_eq!(waited, [1, 1, 1, 1, 1, 2, 4, 8]);
    let refused = bed.connect(1);
    assert!(refused.is_closed());
    let counters = bed.counters();
    assert_eq!(
        (counters.authentication_failures, counters.refused_offender),
        (8, 1)
    );
    // Others are heard, and so is this address after a while.
    assert!(!bed.connect(2).is_closed());
    bed.pass(60 * SECOND);
    assert!(!bed.connect(1).is_closed());
}

#[test]
fn n16_many_guesses_at_once_get_few_answers() {
    let mut bed = guarded(Limits::default()).serve();
    let login = Login::security("AuthMethod=None\0");
    let mut peers: Vec<_> = (0..20).map(|_| bed.connect(1)).collect();
    peers.iter_mut().for_each(|peer| peer.send(&login.emit()));
    bed.settle();
    for _ in 0..10 {
        bed.pass(SECOND);
    }
    let answered = peers.iter_mut().filter_map(|peer| peer.login_response());
    assert_eq!(answered.count(), 4);
    assert_eq!(bed.counters().unanswered_failures, 16);
    assert_eq!(bed.iscsi.connections(), 0);
}
