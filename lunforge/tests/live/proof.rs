//! What a stranger learns where some targets demand a proof and others none (N10).

use lunforge::iscsi::Redirect;
use lunforge_bench::initiator::Chap;

use super::*;

const SECRET: &str = "a-secret-of-alice";

fn alice(secret: &str) -> Options {
    Options {
        chap: Some(Chap::new("alice", secret)),
        ..host(1)
    }
}

fn guarded() -> TargetSettings {
    TargetSettings {
        auth: chap("alice", SECRET),
        ..TargetSettings::default()
    }
}

/// Target A demands a proof, B none.
fn mixed() -> Served {
    let served = Served::new();
    served.add(A, guarded());
    served.add(B, TargetSettings::default());
    served
}

#[test]
fn n10_a_stranger_is_told_of_no_target_that_demands_a_proof() {
    let served = mixed();
    assert_eq!(served.listed(&host(1)), [B]);
    let open = TargetSettings {
        public_name: true,
        ..guarded()
    };
    served.iscsi.set_target(A, open).unwrap();
    assert_eq!(served.listed(&host(1)), [A, B]);
}

#[test]
fn n10_a_name_that_is_not_there_looks_like_one_that_demands_a_proof() {
    let served = mixed();
    let absent = "iqn.2026-11.org.example:absent";
    for options in [host(1), alice("a-wrong-secret-16")] {
        assert_eq!(served.refused(A, &options), FAILED);
        assert_eq!(served.refused(absent, &options), FAILED);
    }
    // A target without proof that is not there for him is no other than those.
    served.iscsi.set_enabled(B, false).unwrap();
    assert_eq!(served.refused(B, &host(1)), FAILED);
    // With nothing to guard there is nothing to hide.
    let _closing = served.iscsi.remove_target(A).unwrap();
    assert_eq!(served.refused(absent, &host(1)), NOT_FOUND);
    assert_eq!(served.refused(B, &host(1)), NOT_FOUND);
}

#[test]
fn n10_what_becomes_of_a_login_is_said_after_the_proof() {
    let served = mixed();
    let redirect = TargetSettings {
        redirect: Some(Redirect::new("192.0.2.1", false).unwrap()),
        ..guarded()
    };
    served.iscsi.set_target(A, redirect).unwrap();
    assert_eq!(served.refused(A, &host(1)), FAILED);
    assert_eq!(served.refused(A, &alice("a-wrong-secret-16")), FAILED);
    assert_eq!(served.refused(A, &alice(SECRET)), "192.0.2.1:3260");
    served.iscsi.set_enabled(A, false).unwrap();
    assert_eq!(served.refused(A, &alice("a-wrong-secret-16")), FAILED);
    assert_eq!(served.refused(A, &alice(SECRET)), NOT_FOUND);
}

#[test]
fn discovery_has_a_proof_of_its_own() {
    let served = mixed();
    served
        .iscsi
        .set_discovery_auth(chap("bob", "a-secret-of-bob-x"));
    let bob = Options {
        chap: Some(Chap::new("bob", "a-secret-of-bob-x")),
        ..host(1)
    };
    send_targets(served.address(), &host(1)).expect_err("no proof");
    send_targets(served.address(), &alice(SECRET)).expect_err("not his");
    assert_eq!(served.listed(&bob), [A, B]);
    // It is none for a target, and a target's is none for another one.
    assert_eq!(served.refused(A, &bob), FAILED);
    assert_eq!(served.refused(A, &alice(SECRET)), "0000");
    assert_eq!(served.refused(B, &host(1)), "0000");
    served.iscsi.set_discovery_auth(AuthConfig::None);
    assert_eq!(served.listed(&host(1)), [B]);
}

#[test]
fn a_session_is_told_of_its_own_target() {
    let served = mixed();
    let mut session = Initiator::connect(served.address(), A, &alice(SECRET)).unwrap();
    let answer = session.text(&[("SendTargets", "")]).unwrap();
    assert!(answer.windows(A.len()).any(|part| part == A.as_bytes()));
    let answer = session.text(&[("SendTargets", B)]).unwrap();
    assert!(answer.is_empty());
}
