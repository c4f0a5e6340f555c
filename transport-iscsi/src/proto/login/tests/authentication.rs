//! AuthMethod and CHAP inside a login.

use super::*;

fn offer_chap(wire: &mut Wire, algorithms: &str) -> String {
    let reply = wire.send("0->1", &format!("{} AuthMethod=CHAP,None", names()));
    assert_eq!(reply, "0 0000 TargetPortalGroupTag=1 AuthMethod=CHAP");
    wire.send("0", &format!("CHAP_A={algorithms}"))
}

#[test]
fn one_way_chap_with_each_algorithm_and_form() {
    for algorithm in ChapAlgorithm::ALL {
        for form in [BinaryForm::Hex, BinaryForm::Base64] {
            let mut wire = Wire::new(chap(false));
            let reply = offer_chap(&mut wire, algorithm.text());
            assert_eq!(value(&reply, "CHAP_A"), algorithm.text());
            let proof = prove(&reply, algorithm, "alice", SECRET, form);
            assert_eq!(wire.send("0->1", &proof), "0->1 0000");
            wire.send("1->3", "");
            assert_eq!(wire.done.unwrap().auth_user.as_deref(), Some("alice"));
        }
    }
}

#[test]
fn initiators_order_of_algorithms_decides() {
    let mut wire = Wire::new(chap(false));
    assert_eq!(value(&offer_chap(&mut wire, "7,8,5"), "CHAP_A"), "7");
}

#[test]
fn mutual_chap_proves_the_target() {
    let mut wire = Wire::new(chap(true));
    let reply = offer_chap(&mut wire, "7");
    let proof = prove(
        &reply,
        ChapAlgorithm::Sha256,
        "alice",
        SECRET,
        BinaryForm::Hex,
    );
    let reply = wire.send(
        "0->1",
        &format!("{proof} CHAP_I=9 CHAP_C=0x000102030405060708090a0b0c0d0e0f"),
    );
    let challenge: Vec<u8> = (0..16).collect();
    let expected = encode_binary(
        &response(ChapAlgorithm::Sha256, 9, "another long key", &challenge),
        BinaryForm::Hex,
    );
    assert_eq!(reply, format!("0->1 0000 CHAP_N=target CHAP_R={expected}"));
}

#[test]
fn stage_may_be_left_one_request_after_the_proof() {
    let mut wire = Wire::new(chap(false));
    let reply = offer_chap(&mut wire, "5");
    assert_eq!(
        wire.send(
            "0",
            &prove(&reply, ChapAlgorithm::Md5, "alice", SECRET, BinaryForm::Hex)
        ),
        "0 0000"
    );
    assert_eq!(wire.send("0->3", ""), "0->3 0000");
    assert!(wire.done.is_some());
}

#[test]
fn method_and_algorithm_may_come_in_one_request() {
    let mut wire = Wire::new(chap(false));
    let reply = wire.send("0", &format!("{} AuthMethod=CHAP CHAP_A=5", names()));
    assert!(
        reply.contains("AuthMethod=CHAP CHAP_A=5 CHAP_I="),
        "{reply}"
    );
}

#[test]
fn discovery_demands_its_own_authentication() {
    let mut wire = Wire::new(chap(false));
    let discovery = format!("InitiatorName={INITIATOR} SessionType=Discovery");
    assert_eq!(
        wire.send("0->1", &format!("{discovery} AuthMethod=CHAP")),
        "0 0000 AuthMethod=CHAP"
    );
    let mut wire = Wire::new(chap(false));
    assert_eq!(
        wire.send("0->1", &format!("{discovery} AuthMethod=None")),
        "0 0201"
    );
    let mut wire = Wire::new(chap(false));
    assert_eq!(wire.send("1->3", &discovery), "1 0201");
}

#[test]
fn n09_full_feature_is_never_reached_without_proof() {
    for (flags, text) in [
        ("1->3", ""),
        ("1", ""),
        ("0->3", ""),
        ("0->1", ""),
        ("0->3", "AuthMethod=None"),
        ("0->1", "AuthMethod=SRP,KRB5"),
    ] {
        let mut wire = Wire::new(chap(false));
        let reply = wire.reply(flags, &format!("{} {text}", names()));
        assert_eq!(
            reply.status,
            LoginStatus::AuthenticationFailure,
            "{flags} {text}"
        );
        assert!(reply.data.is_empty());
        assert!(wire.failure.is_some() && wire.done.is_none());
    }
    // Asking to leave in the middle of the exchange is answered without T, for as long as it is asked.
    let mut wire = Wire::new(chap(false));
    assert_eq!(
        wire.send("0->3", &format!("{} AuthMethod=CHAP", names())),
        "0 0000 TargetPortalGroupTag=1 AuthMethod=CHAP"
    );
    assert_eq!(wire.send("0->3", ""), "0 0000");
    assert!(wire.send("0->3", "CHAP_A=5").starts_with("0 0000 CHAP_A=5"));
    assert_eq!(wire.send("0->3", ""), "0 0000");
    assert_eq!(wire.send("1->3", ""), "1 0200");
}

#[test]
fn n12_failing_entropy_fails_the_login() {
    let mut wire = Wire::with(Arc::new(chap(false)), Box::new(Broken));
    assert_eq!(offer_chap(&mut wire, "7"), "0 0300");
    assert!(wire.failure.is_some());
}

#[test]
fn n13_malformed_responses_are_refused() {
    let long_base64 = format!("0b{}", "QUFB".repeat(1300));
    let long_hex = format!("0x{}", "ab".repeat(2000));
    for answer in [
        "",
        "abc",
        "0x",
        "0b",
        "0xzz",
        "0b!!",
        &long_base64,
        &long_hex,
    ] {
        let mut wire = Wire::new(chap(false));
        offer_chap(&mut wire, "5");
        assert_eq!(
            wire.send("0->1", &format!("CHAP_N=alice CHAP_R={answer}")),
            "0 0201",
            "{answer}"
        );
    }
}

#[test]
fn n14_wrong_secret_user_and_replayed_response_are_refused() {
    let mut first = Wire::new(chap(false));
    let old = prove(
        &offer_chap(&mut first, "5"),
        ChapAlgorithm::Md5,
        "alice",
        SECRET,
        BinaryForm::Hex,
    );
    for (user, secret) in [("alice", "sixteen byte kez"), ("bob", SECRET)] {
        let mut wire = Wire::new(chap(false));
        let reply = offer_chap(&mut wire, "5");
        assert_eq!(
            wire.send(
                "0->1",
                &prove(&reply, ChapAlgorithm::Md5, user, secret, BinaryForm::Hex)
            ),
            "0 0201"
        );
    }
    let mut wire = Wire::with(Arc::new(chap(false)), Box::new(Counting(1000)));
    offer_chap(&mut wire, "5");
    assert_eq!(wire.send("0->1", &old), "0 0201");
}

#[test]
fn n15_reflected_challenge_is_refused() {
    let mut wire = Wire::new(chap(true));
    let reply = offer_chap(&mut wire, "5");
    let proof = prove(&reply, ChapAlgorithm::Md5, "alice", SECRET, BinaryForm::Hex);
    let own = value(&reply, "CHAP_C").to_owned();
    assert_eq!(
        wire.send("0->1", &format!("{proof} CHAP_I=1 CHAP_C={own}")),
        "0 0201"
    );
}

#[test]
fn n15_mutual_challenge_is_not_answered_before_the_initiator_has_proved_itself() {
    let mut wire = Wire::new(chap(true));
    offer_chap(&mut wire, "5");
    let reply = wire.send("0->1", "CHAP_N=alice CHAP_R=0x00 CHAP_I=1 CHAP_C=0x0102");
    assert_eq!(reply, "0 0201");
    let mut wire = Wire::new(chap(true));
    offer_chap(&mut wire, "5");
    assert_eq!(wire.send("0", "CHAP_I=1 CHAP_C=0x0102"), "0 0200");
}

#[test]
fn n16_downgrades_are_refused_and_failures_are_counted() {
    let strong = config(false)
        .with_algorithms(&[ChapAlgorithm::Sha256])
        .unwrap();
    let site = Arc::new(Site {
        auth: AuthConfig::Chap(Arc::new(strong)),
        ..Site::default()
    });
    let start = || Wire::with(Arc::clone(&site), Box::new(Counting(0)));
    assert_eq!(
        start().send("0->1", &format!("{} AuthMethod=None", names())),
        "0 0201"
    );
    assert_eq!(offer_chap(&mut start(), "5,6"), "0 0201");
    assert_eq!(offer_chap(&mut start(), ""), "0 0201");
    let mut wire = start();
    offer_chap(&mut wire, "7");
    assert_eq!(wire.send("0", "AuthMethod=None"), "0 0200");
    let mut wire = start();
    offer_chap(&mut wire, "7");
    assert_eq!(wire.send("0", "CHAP_A=5"), "0 0200");
    assert_eq!(site.failures.load(Ordering::Relaxed), 3);
    assert_eq!(*site.last_failed.lock().unwrap(), INITIATOR);
}

#[test]
fn keys_of_chap_out_of_turn_are_refused() {
    for text in [
        "CHAP_A=5",
        "AuthMethod=None CHAP_A=5",
        "CHAP_N=alice CHAP_R=0x00",
    ] {
        let mut wire = Wire::new(Site::default());
        assert_eq!(
            wire.send("0->1", &format!("{} {text}", names())),
            "0 0200",
            "{text}"
        );
    }
    for (text, status) in [("CHAP_N=alice", "0 0207"), ("CHAP_R=0x00", "0 0207")] {
        let mut wire = Wire::new(chap(false));
        offer_chap(&mut wire, "5");
        assert_eq!(wire.send("0->1", text), status, "{text}");
    }
}

#[test]
fn n10_hidden_target_looks_like_one_with_another_secret() {
    let mut hidden = Wire::new(chap(false));
    let mut real = Wire::new(chap(false));
    let hello = |name: &str| format!("InitiatorName={INITIATOR} TargetName={name} AuthMethod=CHAP");
    assert_eq!(
        hidden.send("0->1", &hello("hidden")),
        real.send("0->1", &hello(TARGET))
    );
    let (a, b) = (hidden.send("0", "CHAP_A=7"), real.send("0", "CHAP_A=7"));
    assert_eq!(a.len(), b.len());
    let guess = |reply: &str| {
        prove(
            reply,
            ChapAlgorithm::Sha256,
            "alice",
            "guessed wrongly!",
            BinaryForm::Hex,
        )
    };
    assert_eq!(
        hidden.send("0->1", &guess(&a)),
        real.send("0->1", &guess(&b))
    );
}

/// A login that proves itself rightly or wrongly and then leaves the stage.
fn log_in(site: Site, tsih: u16, secret: &str) -> String {
    let mut wire = Wire::new(site);
    wire.template.tsih = tsih;
    let hello = wire.send("0->1", &format!("{} AuthMethod=CHAP", names()));
    assert!(
        hello.starts_with("0 0000"),
        "nothing before the proof: {hello}"
    );
    let reply = wire.send("0", "CHAP_A=7");
    let proof = prove(
        &reply,
        ChapAlgorithm::Sha256,
        "alice",
        secret,
        BinaryForm::Hex,
    );
    wire.send("0->1", &proof)
}

#[test]
fn n10_what_an_initiator_may_is_told_only_after_its_proof() {
    let forbidden = || Site {
        forbidden: true,
        ..chap(false)
    };
    assert_eq!(log_in(forbidden(), 0, "guessed wrongly!"), "0 0201");
    assert_eq!(log_in(forbidden(), 0, SECRET), "0 0202");
    let open = Site {
        forbidden: true,
        ..Site::default()
    };
    assert_eq!(
        Wire::new(open).send("0->1", &format!("{} AuthMethod=None", names())),
        "0 0202"
    );
}

#[test]
fn n10_a_stranger_does_not_learn_which_sessions_exist() {
    for (session, status) in [
        (SessionLookup::Unknown, "0 020a"),
        (SessionLookup::TooManyConnections, "0 0206"),
    ] {
        let site = || Site {
            session,
            ..chap(false)
        };
        assert_eq!(log_in(site(), 9, "guessed wrongly!"), "0 0201");
        assert_eq!(log_in(site(), 9, SECRET), status);
    }
}
