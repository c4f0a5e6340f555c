use super::*;
use crate::proto::text::{TextAccumulator, TextAnswer, parse};

const A: &str = "iqn.2026-11.org.example:a";
const B: &str = "iqn.2026-11.org.example:b";

fn visible() -> Vec<DiscoveredTarget> {
    vec![
        DiscoveredTarget {
            name: A.into(),
            portals: vec![
                ("192.0.2.1:3260".parse().unwrap(), 1),
                ("[2001:db8::1]:3260".parse().unwrap(), 2),
                ("[fe80::1%3]:3260".parse().unwrap(), 1),
            ],
        },
        DiscoveredTarget {
            name: B.into(),
            portals: vec![("[::ffff:192.0.2.9]:3261".parse().unwrap(), 1)],
        },
    ]
}

fn ask(request: &str, scope: DiscoveryScope<'_>, options: DiscoveryOptions) -> String {
    let mut out = TextWriter::new(MAX_ANSWER);
    send_targets(request, scope, &visible(), options, &mut out).unwrap();
    String::from_utf8(out.finish())
        .unwrap()
        .replace('\0', " ")
        .trim_end()
        .to_owned()
}

#[test]
fn all_lists_visible_targets_with_bracketed_ipv6_and_without_link_local() {
    let answer = ask(
        "All",
        DiscoveryScope::Discovery,
        DiscoveryOptions::default(),
    );
    let a =
        format!("TargetName={A} TargetAddress=192.0.2.1:3260,1 TargetAddress=[2001:db8::1]:3260,2");
    assert_eq!(
        answer,
        format!("{a} TargetName={B} TargetAddress=192.0.2.9:3261,1")
    );
}

#[test]
fn link_local_is_listed_without_zone_when_asked_for() {
    let answer = ask(
        A,
        DiscoveryScope::Discovery,
        DiscoveryOptions { link_local: true },
    );
    assert!(
        answer.ends_with("TargetAddress=[fe80::1]:3260,1"),
        "{answer}"
    );
    assert!(!answer.contains(B));
}

#[test]
fn scope_decides_which_requests_are_answered() {
    let normal = DiscoveryScope::Normal { target: B };
    let own = format!("TargetName={B} TargetAddress=192.0.2.9:3261,1");
    let options = DiscoveryOptions::default();
    assert_eq!(ask("", normal, options), own);
    assert_eq!(ask(B, normal, options), own);
    assert_eq!(ask("All", normal, options), "SendTargets=Reject");
    assert_eq!(
        ask("", DiscoveryScope::Discovery, options),
        "SendTargets=Reject"
    );
}

#[test]
fn n10_targets_out_of_sight_give_an_empty_answer() {
    let options = DiscoveryOptions::default();
    assert_eq!(
        ask(
            "iqn.2026-11.org.example:hidden",
            DiscoveryScope::Discovery,
            options
        ),
        ""
    );
    assert_eq!(ask(A, DiscoveryScope::Normal { target: B }, options), "");
    let mut out = TextWriter::new(MAX_ANSWER);
    send_targets("All", DiscoveryScope::Discovery, &[], options, &mut out).unwrap();
    assert!(out.is_empty());
}

#[test]
fn unspecified_and_multicast_addresses_are_never_listed() {
    for address in ["0.0.0.0:3260", "[::]:3260", "224.0.0.1:3260"] {
        assert_eq!(
            portal_text(
                address.parse().unwrap(),
                DiscoveryOptions { link_local: true }
            ),
            None
        );
    }
}

#[test]
fn n11_answer_of_a_thousand_targets_survives_512_byte_pieces() {
    let many: Vec<_> = (0..1000)
        .map(|n| DiscoveredTarget {
            name: format!("iqn.2026-11.org.example:disk{n}"),
            portals: vec![("192.0.2.1:3260".parse().unwrap(), 1)],
        })
        .collect();
    let mut out = TextWriter::new(MAX_ANSWER);
    send_targets(
        "All",
        DiscoveryScope::Discovery,
        &many,
        DiscoveryOptions::default(),
        &mut out,
    )
    .unwrap();
    let whole = out.finish();
    assert!(whole.len() > 64 * 1024);
    let (mut answer, mut joined) = (
        TextAnswer::new(whole.clone()),
        TextAccumulator::new(MAX_ANSWER),
    );
    let received = loop {
        let piece = answer.next_piece(512);
        if let Some(text) = joined.push(piece.data, piece.more).unwrap() {
            break text;
        }
    };
    assert_eq!(received, whole);
    // The parser of requests would refuse the repeated keys of this answer; they are legal from a target only.
    assert!(parse(&received).is_err());
}
