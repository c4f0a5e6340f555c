use super::*;
use crate::proto::text::{MAX_LOGIN_TEXT, Pair, TextWriter, parse};
use std::time::Duration;

fn run(negotiation: &mut Negotiation, text: &str) -> Result<String, KeyError> {
    let bytes = text
        .split_whitespace()
        .map(|pair| format!("{pair}\0"))
        .collect::<String>();
    let pairs: Vec<Pair<'_>> = parse(bytes.as_bytes()).unwrap();
    for pair in &pairs {
        negotiation.admit(Stage::Operational, pair.key)?;
    }
    let mut out = TextWriter::new(MAX_LOGIN_TEXT);
    negotiation.answer(&pairs, &mut out)?;
    Ok(String::from_utf8(out.finish())
        .unwrap()
        .replace('\0', " ")
        .trim_end()
        .to_owned())
}

fn normal(ours: TargetParams) -> Negotiation {
    Negotiation::new(ours, false)
}

fn set(pairs: &[(&str, &str)]) -> TargetParams {
    let mut params = TargetParams::default();
    for (name, value) in pairs {
        params.set(name, value).unwrap();
    }
    params
}

#[test]
fn each_key_is_answered_by_its_result_function() {
    let strict = set(&[
        ("InitialR2T", "Yes"),
        ("ImmediateData", "No"),
        ("MaxBurstLength", "65536"),
        ("FirstBurstLength", "4096"),
        ("DefaultTime2Wait", "5"),
        ("HeaderDigest", "CRC32C,None"),
        ("DataDigest", "CRC32C"),
    ]);
    let lax = TargetParams::default();
    // (our side, offer, answer)
    let cases: [(&TargetParams, &str, &str); 44] = [
        (&lax, "InitialR2T=No", "InitialR2T=No"),
        (&lax, "InitialR2T=Yes", "InitialR2T=Yes"),
        (&strict, "InitialR2T=No", "InitialR2T=Yes"),
        (&lax, "ImmediateData=Yes", "ImmediateData=Yes"),
        (&lax, "ImmediateData=No", "ImmediateData=No"),
        (&strict, "ImmediateData=Yes", "ImmediateData=No"),
        (&lax, "ImmediateData=yes", "ImmediateData=Reject"),
        (&lax, "ImmediateData=", "ImmediateData=Reject"),
        (&lax, "MaxBurstLength=16776192", "MaxBurstLength=1048576"),
        (&strict, "MaxBurstLength=262144", "MaxBurstLength=65536"),
        (&lax, "MaxBurstLength=0x1000", "MaxBurstLength=4096"),
        (&lax, "FirstBurstLength=262144", "FirstBurstLength=65536"),
        (&strict, "FirstBurstLength=262144", "FirstBurstLength=4096"),
        (
            &strict,
            "FirstBurstLength=262144 InitialR2T=No ImmediateData=Yes",
            "FirstBurstLength=Irrelevant InitialR2T=Yes ImmediateData=No",
        ),
        (&lax, "DefaultTime2Wait=2", "DefaultTime2Wait=2"),
        (&strict, "DefaultTime2Wait=2", "DefaultTime2Wait=5"),
        (&lax, "DefaultTime2Retain=20", "DefaultTime2Retain=0"),
        (&lax, "MaxOutstandingR2T=1", "MaxOutstandingR2T=1"),
        (&lax, "MaxOutstandingR2T=100", "MaxOutstandingR2T=32"),
        (&lax, "MaxConnections=8", "MaxConnections=1"),
        (&lax, "ErrorRecoveryLevel=2", "ErrorRecoveryLevel=0"),
        (&lax, "DataPDUInOrder=Yes", "DataPDUInOrder=Yes"),
        (&lax, "DataSequenceInOrder=No", "DataSequenceInOrder=Yes"),
        (&lax, "HeaderDigest=CRC32C,None", "HeaderDigest=None"),
        (&lax, "HeaderDigest=CRC32C", "HeaderDigest=Reject"),
        (&strict, "HeaderDigest=CRC32C,None", "HeaderDigest=CRC32C"),
        (&strict, "HeaderDigest=None,CRC32C", "HeaderDigest=None"),
        (&strict, "DataDigest=None,CRC32C", "DataDigest=CRC32C"),
        (&strict, "DataDigest=X#foo,CRC32C", "DataDigest=CRC32C"),
        (&lax, "MaxRecvDataSegmentLength=262144", ""),
        (&lax, "IFMarker=Yes", "IFMarker=No"),
        (&lax, "OFMarker=No", "OFMarker=No"),
        (&lax, "IFMarkInt=2048~65535", "IFMarkInt=Reject"),
        (&lax, "OFMarkInt=2048", "OFMarkInt=Reject"),
        (&lax, "RDMAExtensions=Yes", "RDMAExtensions=No"),
        (&lax, "iSCSIProtocolLevel=2", "iSCSIProtocolLevel=1"),
        (&lax, "iSCSIProtocolLevel=32", "iSCSIProtocolLevel=Reject"),
        (
            &lax,
            "TaskReporting=FastAbort,RFC3720",
            "TaskReporting=RFC3720",
        ),
        (&lax, "TaskReporting=FastAbort", "TaskReporting=Reject"),
        (
            &lax,
            "X-com.example.turbo=Yes",
            "X-com.example.turbo=NotUnderstood",
        ),
        (
            &lax,
            "InitiatorRecvDataSegmentLength=512",
            "InitiatorRecvDataSegmentLength=NotUnderstood",
        ),
        (&lax, "maxburstlength=512", "maxburstlength=NotUnderstood"),
        (&lax, "DataPDUInOrder=Reject", "DataPDUInOrder=Reject"),
        (&lax, "", ""),
    ];
    for (ours, offer, answer) in cases {
        assert_eq!(
            run(&mut normal(ours.clone()), offer).as_deref(),
            Ok(answer),
            "{offer}"
        );
    }
}

#[test]
fn keys_of_normal_sessions_are_irrelevant_in_discovery() {
    let mut negotiation = Negotiation::new(TargetParams::default(), true);
    let offer = "MaxConnections=1 InitialR2T=Yes ImmediateData=No MaxBurstLength=512 FirstBurstLength=512 \
                 MaxOutstandingR2T=1 DataPDUInOrder=Yes DataSequenceInOrder=Yes TaskReporting=RFC3720";
    let answer = run(&mut negotiation, offer).unwrap();
    assert!(
        answer.split(' ').all(|pair| pair.ends_with("=Irrelevant")),
        "{answer}"
    );
    assert_eq!(
        run(&mut negotiation, "ErrorRecoveryLevel=0").as_deref(),
        Ok("ErrorRecoveryLevel=0")
    );
    assert_eq!(negotiation.finish().unwrap().max_burst_length, 262_144);
}

#[test]
fn result_without_any_key_is_the_defaults_of_the_rfc() {
    let result = normal(TargetParams::default()).finish().unwrap();
    assert_eq!(result, OperationalParams::default());
}

#[test]
fn defaults_of_the_table_and_of_the_result_agree() {
    let result = OperationalParams::default();
    let table = |name| lookup(name).unwrap().1.default;
    assert_eq!(table("MaxBurstLength"), result.max_burst_length.to_string());
    assert_eq!(
        table("FirstBurstLength"),
        result.first_burst_length.to_string()
    );
    assert_eq!(
        table("MaxRecvDataSegmentLength"),
        result.max_xmit.to_string()
    );
    assert_eq!(
        table("DefaultTime2Wait"),
        result.default_time2wait.as_secs().to_string()
    );
    assert_eq!(
        table("DefaultTime2Retain"),
        result.default_time2retain.as_secs().to_string()
    );
    for (index, spec) in KEYS.iter().enumerate() {
        assert_eq!(
            lookup(spec.name).unwrap().0,
            index,
            "{} is listed twice",
            spec.name
        );
    }
}

#[test]
fn n07_illegal_numbers_are_rejected_and_leave_the_default() {
    for value in [
        "0",
        "511",
        "16777216",
        "4294967808",
        "-1",
        "0x",
        "",
        "1e6",
        "99999999999999999999999",
    ] {
        let mut negotiation = normal(TargetParams::default());
        let answer = run(&mut negotiation, &format!("MaxBurstLength={value}"));
        assert_eq!(answer.as_deref(), Ok("MaxBurstLength=Reject"), "{value}");
        assert_eq!(negotiation.finish().unwrap().max_burst_length, 262_144);
        let declared = run(
            &mut negotiation,
            &format!("MaxRecvDataSegmentLength={value}"),
        );
        assert_eq!(
            declared,
            Err(KeyError::BadDeclaration("MaxRecvDataSegmentLength")),
            "{value}"
        );
    }
    for (key, value) in [
        ("DefaultTime2Wait", "3601"),
        ("MaxOutstandingR2T", "65536"),
        ("MaxConnections", "0"),
        ("ErrorRecoveryLevel", "3"),
    ] {
        let answer = run(
            &mut normal(TargetParams::default()),
            &format!("{key}={value}"),
        );
        assert_eq!(answer, Ok(format!("{key}=Reject")));
    }
}

#[test]
fn n07_first_burst_never_exceeds_max_burst_in_any_order() {
    for offer in [
        "FirstBurstLength=65536 MaxBurstLength=4096",
        "MaxBurstLength=4096 FirstBurstLength=65536",
    ] {
        let mut negotiation = normal(TargetParams::default());
        let answer = run(&mut negotiation, offer).unwrap();
        assert!(
            answer.contains("FirstBurstLength=4096") && answer.contains("MaxBurstLength=4096"),
            "{answer}"
        );
    }
    let mut negotiation = normal(TargetParams::default());
    run(&mut negotiation, "FirstBurstLength=65536").unwrap();
    assert_eq!(
        run(&mut negotiation, "MaxBurstLength=4096"),
        Err(KeyError::FirstBurstAboveMaxBurst)
    );
    let mut negotiation = normal(TargetParams::default());
    run(&mut negotiation, "MaxBurstLength=4096").unwrap();
    assert_eq!(negotiation.finish().unwrap().first_burst_length, 4096);
}

#[test]
fn n05_repeated_keys_and_unknown_key_floods_are_refused() {
    let mut negotiation = normal(TargetParams::default());
    run(&mut negotiation, "ImmediateData=Yes").unwrap();
    assert_eq!(
        run(&mut negotiation, "ImmediateData=No"),
        Err(KeyError::Repeated("ImmediateData"))
    );
    let mut negotiation = normal(TargetParams::default());
    for n in 0..64 {
        run(&mut negotiation, &format!("X-{n}=1")).unwrap();
    }
    assert_eq!(
        run(&mut negotiation, "X-64=1"),
        Err(KeyError::TooManyUnknown)
    );
}

#[test]
fn keys_of_other_stages_and_of_targets_are_refused() {
    let mut negotiation = normal(TargetParams::default());
    for key in ["AuthMethod", "CHAP_A", "CHAP_R", "SendTargets"] {
        assert_eq!(
            negotiation.admit(Stage::Operational, key),
            Err(KeyError::WrongStage(key))
        );
    }
    assert_eq!(
        negotiation.admit(Stage::Security, "MaxBurstLength"),
        Err(KeyError::WrongStage("MaxBurstLength"))
    );
    for key in ["TargetAlias", "TargetAddress", "TargetPortalGroupTag"] {
        assert_eq!(
            negotiation.admit(Stage::Operational, key),
            Err(KeyError::WrongSender(key))
        );
    }
}

fn offers(negotiation: &mut Negotiation) -> String {
    let mut out = TextWriter::new(MAX_LOGIN_TEXT);
    let any = negotiation.offer_missing(&mut out).unwrap();
    assert_eq!(any, !out.is_empty());
    String::from_utf8(out.finish())
        .unwrap()
        .replace('\0', " ")
        .trim_end()
        .to_owned()
}

#[test]
fn target_offers_only_what_its_configuration_needs() {
    assert_eq!(offers(&mut normal(TargetParams::default())), "");
    let ours = set(&[
        ("ImmediateData", "No"),
        ("MaxBurstLength", "65536"),
        ("DataDigest", "CRC32C"),
    ]);
    let mut negotiation = normal(ours.clone());
    assert_eq!(
        offers(&mut negotiation),
        "DataDigest=CRC32C ImmediateData=No MaxBurstLength=65536"
    );
    assert_eq!(offers(&mut negotiation), "");
    let answer = run(
        &mut negotiation,
        "DataDigest=CRC32C ImmediateData=No MaxBurstLength=8192",
    )
    .unwrap();
    assert_eq!(answer, "", "an answer is not answered");
    let result = negotiation.finish().unwrap();
    assert_eq!(
        (
            result.data_digest,
            result.immediate_data,
            result.max_burst_length
        ),
        (Digest::Crc32c, false, 8192)
    );
    let mut negotiation = normal(ours);
    offers(&mut negotiation);
    assert_eq!(
        run(&mut negotiation, "ImmediateData=Yes"),
        Err(KeyError::BadAnswer("ImmediateData"))
    );
    assert_eq!(
        run(&mut negotiation, "MaxBurstLength=65537"),
        Err(KeyError::BadAnswer("MaxBurstLength"))
    );
    assert_eq!(
        run(&mut negotiation, "DataDigest=NotUnderstood").as_deref(),
        Ok("")
    );
    assert_eq!(
        negotiation.finish(),
        Err(KeyError::DigestRequired("DataDigest"))
    );
}

#[test]
fn declared_limits_rule_both_directions() {
    let mut negotiation = normal(TargetParams::default());
    run(&mut negotiation, "MaxRecvDataSegmentLength=16777215").unwrap();
    let before = negotiation.finish().unwrap();
    assert_eq!(
        (before.max_recv_data_segment_length, before.max_xmit),
        (8192, 1_048_576)
    );
    let mut out = TextWriter::new(100);
    negotiation.declare(&mut out).unwrap();
    negotiation.declare(&mut out).unwrap();
    assert_eq!(out.finish(), b"MaxRecvDataSegmentLength=1048576\0");
    assert_eq!(
        negotiation.finish().unwrap().max_recv_data_segment_length,
        1_048_576
    );
    assert_eq!(before.default_time2wait, Duration::from_secs(2));
}

#[test]
fn parameters_have_the_names_and_defaults_of_scst() {
    let expected = "InitialR2T=No ImmediateData=Yes MaxConnections=1 MaxRecvDataSegmentLength=1048576 \
        MaxXmitDataSegmentLength=1048576 MaxBurstLength=1048576 FirstBurstLength=65536 DefaultTime2Wait=0 \
        DefaultTime2Retain=0 MaxOutstandingR2T=32 DataPDUInOrder=No DataSequenceInOrder=No ErrorRecoveryLevel=0 \
        HeaderDigest=None DataDigest=None IFMarker=No OFMarker=No RDMAExtensions=No QueuedCommands=32 RspTimeout=90 \
        NopInInterval=30 NopInTimeout=30 MaxSessions=0";
    let params = TargetParams::default();
    let shown: Vec<_> = TargetParams::names()
        .map(|name| format!("{name}={}", params.value(name).unwrap()))
        .collect();
    assert_eq!(shown, expected.split_whitespace().collect::<Vec<_>>());
    for name in TargetParams::names() {
        let value = params.value(name).unwrap();
        let mut copy = params.clone();
        copy.set(name, &value).unwrap();
        assert_eq!(copy, params);
    }
}

#[test]
fn parameters_out_of_range_are_refused_with_the_range() {
    let mut params = TargetParams::default();
    let refused = |params: &mut TargetParams, name: &str, value: &str| {
        params.set(name, value).unwrap_err().to_string()
    };
    assert_eq!(
        refused(&mut params, "MaxOutstandingR2T", "0"),
        "MaxOutstandingR2T: \"0\" is not a number from 1 to 65535"
    );
    assert_eq!(
        refused(&mut params, "MaxConnections", "2"),
        "MaxConnections: \"2\" is not 1: no other value is supported"
    );
    assert_eq!(
        refused(&mut params, "InitialR2T", "yes"),
        "InitialR2T: \"yes\" is not Yes or No"
    );
    assert_eq!(
        refused(&mut params, "Nonsense", "1"),
        "no iSCSI target parameter is named \"Nonsense\""
    );
    for (name, value) in [
        ("MaxRecvDataSegmentLength", "511"),
        ("MaxBurstLength", "16777216"),
        ("QueuedCommands", "2049"),
        ("RspTimeout", "1"),
        ("NopInTimeout", "1"),
        ("ErrorRecoveryLevel", "1"),
        ("HeaderDigest", "CRC32C,CRC32C"),
        ("HeaderDigest", "MD5"),
        ("IFMarker", "Yes"),
        ("RspTimeout", "-3"),
        ("RspTimeout", ""),
    ] {
        assert!(params.set(name, value).is_err(), "{name}={value}");
    }
    assert_eq!(params, TargetParams::default());
    params.set("MaxBurstLength", "4096").unwrap();
    assert_eq!(
        params.validate(),
        Err(ParamError::FirstBurstAboveMaxBurst {
            first: 65_536,
            max: 4096
        })
    );
    params.set("FirstBurstLength", "4096").unwrap();
    assert_eq!(params.validate(), Ok(()));
}

#[test]
fn n07_full_feature_text_changes_no_login_key() {
    let bytes = b"SendTargets=All\0MaxRecvDataSegmentLength=512\0ImmediateData=No\0X-a=1\0InitiatorAlias=me\0";
    let pairs = parse(bytes).unwrap();
    let text = full_feature(&pairs, 1000).unwrap();
    assert_eq!(text.send_targets, Some("All"));
    assert_eq!(
        text.out.finish(),
        b"MaxRecvDataSegmentLength=Reject\0ImmediateData=Reject\0X-a=NotUnderstood\0"
    );
}
