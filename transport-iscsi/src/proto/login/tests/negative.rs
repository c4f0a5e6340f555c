//! Wrong headers, stages, names and floods.

use super::*;
use crate::proto::fuzzing::{fuzz_login, fuzz_text_keys, run_login};
use proptest::prelude::*;

fn status(site: Site, change: impl Fn(&mut LoginRequest<'_>)) -> u16 {
    let mut wire = Wire::new(site);
    let data = segment(&format!("{} AuthMethod=None", names()));
    let mut request = LoginRequest {
        transit: true,
        nsg: 1,
        data: &data,
        ..wire.template
    };
    change(&mut request);
    wire.raw(&request).status.code()
}

#[test]
fn n04_header_errors_of_the_first_request_have_their_status() {
    let site = Site::default;
    assert_eq!(status(site(), |_| ()), 0x0000);
    assert_eq!(
        status(site(), |r| (r.version_min, r.version_max) = (1, 1)),
        0x0205
    );
    assert_eq!(status(site(), |r| r.version_max = 9), 0x0000);
    assert_eq!(status(site(), |r| r.csg = 2), 0x0200);
    assert_eq!(status(site(), |r| (r.csg, r.nsg) = (3, 3)), 0x0200);
    assert_eq!(status(site(), |r| r.nsg = 2), 0x0200);
    assert_eq!(status(site(), |r| r.nsg = 0), 0x0200);
    assert_eq!(status(site(), |r| (r.csg, r.nsg) = (1, 0)), 0x0200);
    assert_eq!(status(site(), |r| r.cont = true), 0x0200);
    assert_eq!(status(site(), |r| r.tsih = 77), 0x020a);
    let session = |session| Site {
        session,
        ..Site::default()
    };
    assert_eq!(
        status(session(SessionLookup::TooManyConnections), |r| r.tsih = 7),
        0x0206
    );
    assert_eq!(
        status(session(SessionLookup::CannotInclude), |r| r.tsih = 7),
        0x0208
    );
    let admission = |admission| Site {
        admission,
        ..Site::default()
    };
    assert_eq!(
        status(admission(Admission::ServiceUnavailable), |_| ()),
        0x0301
    );
    assert_eq!(status(admission(Admission::OutOfResources), |_| ()), 0x0302);
}

#[test]
fn n04_names_and_targets_have_their_status() {
    let i = format!("InitiatorName={INITIATOR}");
    let long = format!("InitiatorName={} TargetName={TARGET}", "i".repeat(224));
    let cases = [
        ("", "0 0207"),
        (&format!("TargetName={TARGET}"), "0 0207"),
        (&i, "0 0207"),
        (&format!("{i} SessionType=Normal"), "0 0207"),
        (&format!("{i} SessionType=Boot"), "0 0209"),
        (&format!("{i} SessionType="), "0 0209"),
        (&format!("{i} TargetName=iqn.none"), "0 0203"),
        (&format!("{i} TargetName=forbidden"), "0 0202"),
        (
            &format!("{i} TargetName=moved"),
            "0 0101 TargetAddress=192.0.2.7:3260",
        ),
        (
            &format!("{i} TargetName=gone"),
            "0 0102 TargetAddress=[2001:db8::7]:3260,2",
        ),
        (&format!("{i} TargetName=removed"), "0 0204"),
        (&format!("{i} TargetName=offline"), "0 0301"),
        (&format!("{i} TargetName="), "0 0200"),
        (&format!("InitiatorName= TargetName={TARGET}"), "0 0200"),
        (&long, "0 0200"),
    ];
    for (text, expected) in cases {
        let mut wire = Wire::new(Site::default());
        assert_eq!(wire.send("0->1", text), expected, "{text}");
        assert!(wire.machine.is_none() && wire.failure.is_some());
    }
}

#[test]
fn n04_stage_must_follow_what_was_granted() {
    for (flags, wanted) in [
        ("0->1", "0 0200"),
        ("3", "3 0200"),
        ("1->1", "1 0200"),
        ("1->2", "1 0200"),
    ] {
        let mut wire = Wire::new(Site::default());
        wire.send("0->1", &names());
        assert_eq!(wire.send(flags, ""), wanted);
    }
    let mut wire = Wire::new(Site::default());
    wire.send("0", &names());
    assert_eq!(
        wire.send("1->3", ""),
        "1 0200",
        "the transition was not granted yet"
    );
}

#[test]
fn n04_identity_must_not_change_during_login() {
    let changes: [fn(&mut LoginRequest<'static>); 3] =
        [|r| r.isid = [1; 6], |r| r.tsih = 3, |r| r.cid = 1];
    for change in changes {
        let mut wire = Wire::new(Site::default());
        wire.send("0->1", &names());
        change(&mut wire.template);
        assert_eq!(wire.send("1->3", ""), "1 0200");
    }
    for text in [
        "InitiatorName=iqn.other",
        "TargetName=hidden",
        "SessionType=Discovery",
    ] {
        let mut wire = Wire::new(Site::default());
        wire.send("0->1", &names());
        assert_eq!(wire.send("1->3", text), "1 0200", "{text}");
    }
}

#[test]
fn n04_other_pdu_during_login_is_status_020b() {
    let reply = LoginReply::failure(&LoginFailure::NotLogin, &LoginRequest::default());
    assert_eq!((reply.status.class(), reply.status.detail()), (2, 0x0b));
}

#[test]
fn no_tsih_left_is_out_of_resources() {
    let mut wire = Wire::new(Site {
        tsih: None,
        ..Site::default()
    });
    assert_eq!(wire.send("0->3", &names()), "0 0302");
}

/// `MaxRecvDataSegmentLength=1048576`, `TargetAlias=Disk` and their NULs.
const OUR_RECV_LEN: usize = 33 + 17;

#[test]
fn n05_malformed_text_and_floods_end_the_login_with_a_small_reply() {
    let flood: String = (0..2000).map(|n| format!("a{n}=b ")).collect();
    for text in [
        flood.as_str(),
        "nonsense",
        "ImmediateData=Yes ImmediateData=No",
        "k\u{1}=v",
    ] {
        let mut wire = Wire::new(Site::default());
        wire.send("0->1", &names());
        assert_eq!(wire.send("1", text), "1 0200", "{text}");
    }
    let unknown: String = (0..60)
        .map(|n| format!("{}{n:03}=v ", "k".repeat(60)))
        .collect();
    let mut wire = Wire::new(Site::default());
    wire.send("0->1", &names());
    let reply = wire.reply("1", &unknown);
    assert_eq!(
        (reply.status, reply.data.len()),
        (LoginStatus::Success, 60 * (63 + 15) + OUR_RECV_LEN)
    );
    assert_eq!(wire.send("1", "l1=v l2=v l3=v l4=v l5=v"), "1 0200");
}

#[test]
fn n06_endless_continuation_ends_the_login() {
    let mut wire = Wire::new(Site::default());
    let reply = wire.raw(&LoginRequest {
        cont: true,
        ..wire.template
    });
    assert_eq!(reply.status, LoginStatus::InitiatorError);
    let mut wire = Wire::new(Site::default());
    let mut sent = 0;
    while wire.machine.is_some() {
        wire.raw(&LoginRequest {
            cont: true,
            data: b"a",
            ..wire.template
        });
        sent += 1;
    }
    assert_eq!(
        (sent, wire.failure),
        (MAX_EXCHANGES + 1, Some(LoginFailure::TooManyExchanges))
    );
    let mut wire = Wire::new(Site::default());
    assert_eq!(
        wire.raw(&LoginRequest {
            cont: true,
            data: &[b'a'; 8192],
            ..wire.template
        })
        .status,
        LoginStatus::Success
    );
    wire.raw(&LoginRequest {
        data: b"b",
        ..wire.template
    });
    assert!(matches!(wire.failure, Some(LoginFailure::Text(_))));
}

#[test]
fn endless_empty_requests_end_the_login() {
    let mut wire = Wire::new(Site::default());
    wire.send("0", &names());
    let mut sent = 1;
    while wire.machine.is_some() {
        wire.send("0", "");
        sent += 1;
    }
    assert_eq!(sent, MAX_EXCHANGES + 1);
}

#[test]
fn n07_illegal_declaration_fails_and_illegal_offer_is_rejected() {
    let mut wire = Wire::new(Site::default());
    wire.send("0->1", &names());
    assert!(
        wire.send("1", "MaxBurstLength=0")
            .starts_with("1 0000 MaxBurstLength=Reject")
    );
    assert_eq!(wire.send("1", "MaxRecvDataSegmentLength=511"), "1 0200");
}

#[test]
fn required_digest_that_was_never_agreed_fails_the_login() {
    let params = || TargetParams {
        header_digest: DigestChoice::CRC32C,
        ..TargetParams::default()
    };
    let mut wire = Wire::new(Site {
        params: params(),
        ..Site::default()
    });
    assert_eq!(wire.send("0->3", &names()), "0 0200");
    let mut wire = Wire::new(Site {
        params: params(),
        ..Site::default()
    });
    wire.send("0->1", &names());
    assert_eq!(wire.send("1->3", "HeaderDigest=None"), "1 0200");
}

#[test]
fn keys_of_the_wrong_stage_end_the_login() {
    for (flags, text) in [
        ("0->1", "MaxBurstLength=512"),
        ("0->1", "SendTargets=All"),
        ("1->3", "AuthMethod=None"),
    ] {
        let mut wire = Wire::new(Site::default());
        assert!(
            wire.reply(flags, &format!("{} {text}", names())).status == LoginStatus::InitiatorError,
            "{text}"
        );
    }
}

#[test]
fn secrets_and_responses_are_not_shown_by_debug() {
    let mut wire = Wire::new(chap(true));
    wire.send("0", &format!("{} AuthMethod=CHAP", names()));
    let reply = wire.reply("0", "CHAP_A=7");
    let shown = format!("{reply:?} {:?}", wire.machine);
    assert!(
        !shown.contains("CHAP_C") && !shown.contains(SECRET),
        "{shown}"
    );
}

/// Text that reaches past the first checks more often than random bytes do.
fn plausible() -> impl Strategy<Value = Vec<u8>> {
    let pair = prop_oneof![
        Just(format!("InitiatorName={INITIATOR}")),
        Just("TargetName=t".to_owned()),
        Just("TargetName=moved".to_owned()),
        "SessionType=(Normal|Discovery|X)",
        "AuthMethod=(CHAP|None|CHAP,None|KRB5)",
        "CHAP_A=[4-9](,[4-9])?",
        "CHAP_N=(fuzz|x)",
        "CHAP_R=0(x|b)[0-9A-Fa-f=]{0,70}",
        "CHAP_(I|C)=(0x|0b)?[0-9]{0,9}",
        "(Header|Data)Digest=(None|CRC32C|CRC32C,None|Reject)",
        "(MaxBurst|FirstBurst|MaxRecvDataSegment)Length=(0x)?[0-9]{1,8}",
        "(InitialR2T|ImmediateData|IFMarker|DataPDUInOrder)=(Yes|No|yes|)",
        "X-[a-z]{1,70}=[ -~]{0,300}",
    ];
    proptest::collection::vec(pair, 0..8).prop_map(|pairs| {
        pairs
            .into_iter()
            .flat_map(|pair| [pair.as_bytes(), b"\0"].concat())
            .collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn arbitrary_bytes_never_break_a_login(bytes in proptest::collection::vec(any::<u8>(), 0..2000)) {
        fuzz_login(&bytes);
        fuzz_text_keys(&bytes);
    }

    #[test]
    fn plausible_sequences_never_break_a_login(
        choice in any::<u8>(),
        steps in proptest::collection::vec((any::<u8>(), any::<u8>(), plausible()), 0..12),
    ) {
        let mut bytes = vec![choice];
        for (flags, rare, text) in steps {
            fuzz_text_keys(&text);
            bytes.extend(record(flags, rare, &text));
        }
        fuzz_login(&bytes);
    }

    #[test]
    fn proved_sequences_never_break_a_login(
        choice in any::<u8>(),
        algorithm in 5_u8..9,
        steps in proptest::collection::vec((any::<u8>(), plausible()), 0..6),
    ) {
        let hello = format!("InitiatorName={INITIATOR}\0TargetName=t\0AuthMethod=CHAP\0CHAP_A={algorithm}\0");
        let mut bytes = vec![choice | 1];
        bytes.extend(record(0, 0, hello.as_bytes()));
        let (first, rest) = steps.split_first().map_or((None, &steps[..]), |(first, rest)| (Some(first), rest));
        let text = first.map(|(_, text)| text.clone()).unwrap_or_default();
        bytes.extend(record(0x81, 0xfc, if choice & 8 == 0 { b"" } else { &text }));
        for (flags, text) in rest {
            bytes.extend(record((flags & 0x80) | 0x07, 0, text));
        }
        fuzz_login(&bytes);
    }
}

/// One request in the form that [`fuzz_login`] reads.
fn record(flags: u8, rare: u8, text: &[u8]) -> Vec<u8> {
    let len = u16::try_from(text.len()).unwrap().to_le_bytes();
    [&[flags, rare], &len[..], text].concat()
}

#[test]
fn fuzz_entry_reaches_the_full_feature_phase_with_the_right_proof() {
    let hello = format!("InitiatorName={INITIATOR}\0TargetName=t\0AuthMethod=CHAP\0CHAP_A=7\0");
    let bytes = [
        &[1][..],
        &record(0, 0, hello.as_bytes()),
        &record(0x83, 0xfc, b""),
        &record(0, 0xff, b""),
    ]
    .concat();
    let done = run_login(&bytes).unwrap();
    assert_eq!(done.auth_user.as_deref(), Some("fuzz"));
}
