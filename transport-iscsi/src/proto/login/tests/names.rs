//! Who asks, and what a stranger learns: names of every length and content, discovery without proof.

use super::*;

fn status_of(initiator: &[u8], site: Site) -> (LoginStatus, Option<LoginFailure>, usize) {
    let mut wire = Wire::new(site);
    let mut data = b"InitiatorName=".to_vec();
    data.extend(initiator);
    data.extend(format!("\0SessionType=Normal\0TargetName={TARGET}\0AuthMethod=None\0").bytes());
    let reply = wire.raw(&LoginRequest {
        transit: true,
        nsg: 1,
        data: &data,
        ..wire.template
    });
    (reply.status, wire.failure, reply.data.len())
}

#[test]
fn n56_a_name_of_1_to_223_bytes_is_taken_and_no_other() {
    let site = Site::default;
    for len in 0..=300 {
        let (status, failure, _) = status_of(&vec![b'x'; len], site());
        let good = (1..=223).contains(&len);
        assert_eq!(status == LoginStatus::Success, good, "{len}");
        assert_eq!(failure.is_none(), good, "{len}");
    }
    // As long as a login's data can be; more does not fit a PDU before MaxRecvDataSegmentLength is declared.
    let (status, failure, sent) = status_of(&[b'x'; 8000], site());
    assert_eq!((status, sent), (LoginStatus::InitiatorError, 0));
    assert!(failure.expect("refused").to_string().len() < 500);
}

#[test]
fn n56_percent_signs_are_text_and_control_bytes_nul_and_broken_utf8_are_refused() {
    let site = Site::default;
    assert_eq!(
        status_of(b"iqn.%n%s%s%x", site()).0,
        LoginStatus::Success,
        "RFC 7143 4.2.7.1 is not ours to enforce"
    );
    for name in [
        &b"iqn.a\0iqn.b"[..],
        b"\0",
        b"iqn.\xff\xfe",
        b"iqn.\xc3",
        b"iqn.\x1b[2J",
        b"iqn.\nforged line",
        b"iqn.\x7f",
    ] {
        let (status, failure, _) = status_of(name, site());
        let failure = failure.expect("refused");
        assert_eq!(status, LoginStatus::InitiatorError, "{name:?}");
        let shown = failure.to_string();
        assert!(!shown.chars().any(char::is_control), "{shown:?}");
    }
}

#[test]
fn n10_discovery_without_proof_is_refused_in_one_way_whoever_asks() {
    let hello = |name: &str| format!("InitiatorName={name} SessionType=Discovery");
    for stranger in [INITIATOR, "iqn.2026-11.org.example:stranger", "x"] {
        let mut wire = Wire::new(chap(false));
        assert_eq!(
            wire.send("0->1", &format!("{} AuthMethod=None", hello(stranger))),
            "0 0201"
        );
        let mut wire = Wire::new(chap(false));
        assert_eq!(wire.send("1->3", &hello(stranger)), "1 0201", "no method");
        for user in ["alice", "nobody"] {
            let mut wire = Wire::new(chap(false));
            let first = format!("{} AuthMethod=CHAP", hello(stranger));
            assert_eq!(wire.send("0", &first), "0 0000 AuthMethod=CHAP");
            let reply = wire.send("0", "CHAP_A=7");
            let proof = prove(
                &reply,
                ChapAlgorithm::Sha256,
                user,
                "guessed wrongly!",
                BinaryForm::Hex,
            );
            assert_eq!(wire.send("0->1", &proof), "0 0201", "a wrong secret");
            assert!(wire.done.is_none());
        }
    }
}

#[test]
fn n10_a_target_that_needs_proof_is_not_told_from_one_that_does_not_exist() {
    // The policy gives a decoy for names it does not know; no status differs from that of a real target.
    for (flags, method) in [
        ("0->1", "AuthMethod=None"),
        ("0->1", "AuthMethod=KRB5"),
        ("1->3", ""),
    ] {
        let hello = |name: &str| format!("InitiatorName={INITIATOR} TargetName={name} {method}");
        let hidden = Wire::new(chap(false)).send(flags, &hello("hidden"));
        let real = Wire::new(chap(false)).send(flags, &hello(TARGET));
        assert_eq!(hidden, real, "{method}");
        assert!(real.ends_with("0201"), "{real}");
    }
}

#[test]
fn n07_a_declaration_is_made_once_and_a_range_is_no_number() {
    for again in [
        "MaxRecvDataSegmentLength=8192",
        "MaxRecvDataSegmentLength=4096",
    ] {
        let mut wire = Wire::new(Site::default());
        wire.send("0->1", &names());
        assert!(
            wire.send("1", "MaxRecvDataSegmentLength=8192")
                .starts_with("1 0000")
        );
        assert_eq!(wire.send("1->3", again), "1 0200", "RFC 7143 6.3");
    }
    for range in ["512~4096", "512,4096", "4096~512"] {
        let mut wire = Wire::new(Site::default());
        wire.send("0->1", &names());
        let reply = wire.send("1", &format!("MaxBurstLength={range}"));
        assert!(
            reply.starts_with("1 0000 MaxBurstLength=Reject"),
            "{range}: {reply}"
        );
    }
}

#[test]
fn n13_the_identifier_of_a_mutual_challenge_is_a_number_of_a_byte_in_any_form() {
    let challenge = "CHAP_C=0x000102030405060708090a0b0c0d0e0f";
    let answer = |identifier: &str| {
        let mut wire = Wire::new(chap(true));
        assert!(
            wire.send("0", &format!("{} AuthMethod=CHAP", names()))
                .starts_with("0 0000")
        );
        let reply = wire.send("0", "CHAP_A=7");
        let proof = prove(
            &reply,
            ChapAlgorithm::Sha256,
            "alice",
            SECRET,
            BinaryForm::Hex,
        );
        wire.send("0->1", &format!("{proof} CHAP_I={identifier} {challenge}"))
    };
    let nine = answer("9");
    assert!(nine.starts_with("0->1 0000 CHAP_N=target"), "{nine}");
    for same in ["0x9", "0x09", "0X09"] {
        assert_eq!(answer(same), nine, "{same}");
    }
    for wrong in ["256", "0x100", "-1", "0x", "nine", ""] {
        assert_eq!(answer(wrong), "0 0201", "{wrong}");
    }
}
