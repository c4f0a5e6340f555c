//! A login is under way while its target changes: what counts is how things are when it would get in.

use std::sync::Arc;

use lunforge_core::Target;
use lunforge_core::target::Pattern;
use lunforge_core::testing::doubles::Blank;
use lunforge_iscsi::{Access, AuthConfig, ChapAccount, ChapConfig, TargetSettings};

use super::bed::{Bed, IQN, Login, Peer, Recipe};
use super::guessing::{SECRETS, challenged, guarded};

const NOT_FOUND: (u8, u8) = (2, 3);
const NOT_AUTHENTICATED: (u8, u8) = (2, 1);
const FORBIDDEN: (u8, u8) = (2, 2);

fn chap(accounts: &[(&str, &str)]) -> AuthConfig {
    let accounts = accounts
        .iter()
        .map(|(user, secret)| ChapAccount::new(user, secret).unwrap());
    AuthConfig::Chap(Arc::new(ChapConfig::new(accounts.collect(), None).unwrap()))
}

fn settings(bed: &Bed, change: impl FnOnce(&mut TargetSettings)) {
    let (_, settings, _) = bed.iscsi.target(IQN).unwrap();
    let mut settings = (*settings).clone();
    change(&mut settings);
    bed.iscsi.set_target(IQN, settings).unwrap();
}

/// A login that has left SecurityNegotiation.
fn begun(bed: &mut Bed) -> Peer {
    let mut peer = bed.connect(1);
    let answer = bed.log_in(&mut peer, &Login::security("AuthMethod=None\0"));
    assert_eq!((answer.status_class, answer.next_stage), (0, 1));
    peer
}

/// How the login ends, and whether there is a session then.
fn end(bed: &mut Bed, peer: &mut Peer) -> (u8, u8) {
    let answer = bed.log_in(peer, &Login::of(1));
    let status = (answer.status_class, answer.status_detail);
    assert_eq!(peer.is_closed(), status != (0, 0));
    assert_eq!(bed.iscsi.sessions(), usize::from(status == (0, 0)));
    status
}

#[test]
fn a_login_to_a_target_that_is_disabled_meanwhile_does_not_find_it() {
    let mut bed = Recipe::default().serve();
    let mut peer = begun(&mut bed);
    bed.iscsi.set_enabled(IQN, false).unwrap();
    assert_eq!(end(&mut bed, &mut peer), NOT_FOUND);
    // It is the end that counts.
    bed.iscsi.set_enabled(IQN, true).unwrap();
    let mut peer = begun(&mut bed);
    bed.iscsi.set_enabled(IQN, false).unwrap();
    bed.iscsi.set_enabled(IQN, true).unwrap();
    assert_eq!(end(&mut bed, &mut peer), (0, 0));
}

#[test]
fn a_login_to_a_target_that_is_made_anew_meanwhile_does_not_find_it() {
    let mut bed = Recipe::default().serve();
    let same = bed.iscsi.target(IQN).unwrap().0;
    let other = Target::builder(IQN).lun(0, Blank::default()).build();
    for new in [same, other.unwrap()] {
        let mut peer = begun(&mut bed);
        bed.iscsi.remove_target(IQN).unwrap();
        let settings = TargetSettings {
            auth: chap(&SECRETS[..1]),
            ..TargetSettings::default()
        };
        bed.iscsi.add_target(new, settings).unwrap();
        assert_eq!(end(&mut bed, &mut peer), NOT_FOUND);
        self::settings(&bed, |settings| settings.auth = AuthConfig::None);
    }
}

#[test]
fn a_proof_that_is_demanded_meanwhile_has_to_be_given() {
    let mut bed = Recipe::default().serve();
    let mut peer = begun(&mut bed);
    settings(&bed, |settings| settings.auth = chap(&SECRETS));
    assert_eq!(end(&mut bed, &mut peer), NOT_AUTHENTICATED);
    // It was not a proof that failed.
    assert_eq!(bed.counters().authentication_failures, 0);
    assert_eq!(bed.counters().logins_refused, 1);
}

#[test]
fn a_secret_that_is_changed_meanwhile_proves_nothing() {
    let [own, other] = SECRETS;
    let now = [
        // Gone; changed; that of somebody else; the same, of one configuration more.
        (vec![other], NOT_AUTHENTICATED),
        (
            vec![(own.0, "one-that-is-quite-new"), other],
            NOT_AUTHENTICATED,
        ),
        (vec![(own.0, other.1), (other.0, own.1)], NOT_AUTHENTICATED),
        (vec![own, (other.0, "one-that-is-quite-new")], (0, 0)),
    ];
    for (now, status) in now {
        let mut bed = guarded(8);
        let mut peer = challenged(&mut bed, 1).prove(&mut bed, own);
        settings(&bed, |settings| settings.auth = chap(&now));
        assert_eq!(end(&mut bed, &mut peer), status);
    }
}

#[test]
fn no_proof_is_missed_where_none_is_demanded_any_more() {
    let mut bed = guarded(8);
    let mut peer = challenged(&mut bed, 1).prove(&mut bed, SECRETS[0]);
    settings(&bed, |settings| settings.auth = AuthConfig::None);
    assert_eq!(end(&mut bed, &mut peer), (0, 0));
}

#[test]
fn rights_that_go_meanwhile_are_gone() {
    let mut bed = Recipe::default().serve();
    let mut peer = begun(&mut bed);
    settings(&bed, |settings| {
        settings.access = Access::only(["iqn.2026-11.org.example:b"]).unwrap()
    });
    assert_eq!(end(&mut bed, &mut peer), FORBIDDEN);
    settings(&bed, |settings| settings.access = Access::everybody());
    let mut peer = begun(&mut bed);
    settings(&bed, |settings| {
        settings.allowed_portals = vec![Pattern::new("192.0.2.*").unwrap()]
    });
    assert_eq!(end(&mut bed, &mut peer), NOT_FOUND);
    settings(&bed, |settings| settings.allowed_portals.clear());
    let mut peer = begun(&mut bed);
    settings(&bed, |settings| {
        settings.alias = Some("what demands nothing".into())
    });
    assert_eq!(end(&mut bed, &mut peer), (0, 0));
}

#[test]
fn a_proof_that_discovery_demands_meanwhile_has_to_be_given() {
    let mut bed = Recipe::default().serve();
    let discovery = |stages| Login {
        stages,
        keys: "SessionType=Discovery\0".into(),
        ..Login::of(1)
    };
    let mut peer = bed.connect(1);
    let answer = bed.log_in(&mut peer, &discovery((0, 1)));
    assert_eq!(answer.status_class, 0);
    bed.iscsi.set_discovery_auth(chap(&SECRETS));
    let answer = bed.log_in(&mut peer, &discovery((1, 3)));
    assert_eq!(
        (answer.status_class, answer.status_detail),
        NOT_AUTHENTICATED
    );
    assert!(peer.is_closed());
}

#[test]
fn nobody_goes_on_with_a_session_that_may_not_be_begun_any_more() {
    let mut bed = Recipe::default().serve();
    let mut old = bed.connect(1);
    let tsih = bed.log_in(&mut old, &Login::of(1)).tsih;
    let go_on = |stages, keys: &str| Login {
        tsih,
        stages,
        keys: format!("TargetName={IQN}\0{keys}"),
        ..Login::of(1)
    };
    let mut new = bed.connect(1);
    let answer = bed.log_in(&mut new, &go_on((0, 1), "AuthMethod=None\0"));
    assert_eq!(answer.status_class, 0);
    settings(&bed, |settings| settings.auth = chap(&SECRETS));
    let answer = bed.log_in(&mut new, &go_on((1, 3), ""));
    assert_eq!(
        (answer.status_class, answer.status_detail),
        NOT_AUTHENTICATED
    );
    assert!(new.is_closed());
    // The session was not touched.
    old.command(&[0], 0);
    bed.settle();
    assert_eq!(old.statuses(), [2]);
}

#[test]
fn nobody_goes_on_with_a_session_that_is_told_to_end() {
    let mut told = 0;
    // The shard of the login comes before or after that of the session.
    for first in [0, 1] {
        let mut bed = Recipe {
            shards: 2,
            ..Recipe::default()
        }
        .serve();
        let mut old = bed.connect(1);
        let tsih = bed.log_in(&mut old, &Login::of(1)).tsih;
        let mut new = bed.connect(1);
        let login = Login {
            tsih,
            ..Login::of(1)
        };
        new.send(&login.emit());
        let closing = bed.iscsi.remove_target(IQN).unwrap();
        let target = Target::builder(IQN).lun(0, Blank::default()).build();
        let added = bed
            .iscsi
            .add_target(target.unwrap(), TargetSettings::default());
        added.unwrap();
        bed.shards[first].poll(bed.now);
        bed.settle();
        assert!(closing.is_done());
        assert!(old.is_closed() && new.is_closed());
        assert_eq!(bed.iscsi.sessions(), 0);
        let answer = new
            .login_response()
            .map(|r| (r.status_class, r.status_detail));
        assert!(matches!(answer, None | Some((2, 10))), "{answer:?}");
        told += usize::from(answer.is_some());
    }
    assert!(told > 0);
}
