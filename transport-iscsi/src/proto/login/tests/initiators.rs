//! Logins as known initiators send them.

use super::*;

const OUR_RECV: &str = "MaxRecvDataSegmentLength=1048576 TargetAlias=Disk";

#[test]
fn open_iscsi_without_chap() {
    let mut wire = Wire::new(Site::default());
    let reply = wire.send(
        "0->1",
        &format!("{} InitiatorAlias=host AuthMethod=None", names()),
    );
    assert_eq!(reply, "0->1 0000 TargetPortalGroupTag=1 AuthMethod=None");
    let reply = wire.send(
        "1->3",
        "HeaderDigest=None DataDigest=None DefaultTime2Wait=2 DefaultTime2Retain=0 IFMarker=No OFMarker=No \
         ErrorRecoveryLevel=0 InitialR2T=No ImmediateData=Yes MaxBurstLength=16776192 FirstBurstLength=262144 \
         MaxOutstandingR2T=1 MaxConnections=1 DataPDUInOrder=Yes DataSequenceInOrder=Yes \
         MaxRecvDataSegmentLength=262144",
    );
    let answer = "HeaderDigest=None DataDigest=None DefaultTime2Wait=2 DefaultTime2Retain=0 IFMarker=No OFMarker=No \
                  ErrorRecoveryLevel=0 InitialR2T=No ImmediateData=Yes MaxBurstLength=1048576 \
                  FirstBurstLength=65536 MaxOutstandingR2T=1 MaxConnections=1 DataPDUInOrder=Yes \
                  DataSequenceInOrder=Yes";
    assert_eq!(reply, format!("1->3 0000 {answer} {OUR_RECV}"));
    let done = wire.done.unwrap();
    assert_eq!(
        (done.tsih, done.session_type, done.target_name.as_deref()),
        (7, SessionType::Normal, Some(TARGET))
    );
    assert_eq!(
        (
            done.initiator_name.as_str(),
            done.initiator_alias.as_deref()
        ),
        (INITIATOR, Some("host"))
    );
    assert_eq!(
        (done.portal_group_tag, done.cmd_sn, done.auth_user),
        (1, 1, None)
    );
    assert_eq!(
        (
            done.params.max_xmit,
            done.params.max_recv_data_segment_length
        ),
        (262_144, 1_048_576)
    );
    assert_eq!(
        (done.params.first_burst_length, done.params.initial_r2t),
        (65_536, false)
    );
}

#[test]
fn open_iscsi_discovery() {
    let mut wire = Wire::new(Site::default());
    let reply = wire.send(
        "0->1",
        &format!("InitiatorName={INITIATOR} SessionType=Discovery AuthMethod=None"),
    );
    assert_eq!(reply, "0->1 0000 AuthMethod=None");
    let reply = wire.send(
        "1->3",
        "HeaderDigest=None DataDigest=None MaxRecvDataSegmentLength=32768",
    );
    assert_eq!(
        reply,
        "1->3 0000 HeaderDigest=None DataDigest=None MaxRecvDataSegmentLength=1048576"
    );
    let done = wire.done.unwrap();
    assert_eq!(
        (done.session_type, done.target_name, done.params.max_xmit),
        (SessionType::Discovery, None, 32_768)
    );
}

#[test]
fn libiscsi_repeats_its_names_in_the_operational_stage() {
    let mut wire = Wire::new(Site::default());
    let names = format!(
        "InitiatorName={INITIATOR} InitiatorAlias=me TargetName={TARGET} SessionType=Normal"
    );
    assert!(
        wire.send("0->1", &format!("{names} AuthMethod=None"))
            .starts_with("0->1 0000")
    );
    let reply = wire.send(
        "1->3",
        &format!(
            "{names} HeaderDigest=None,CRC32C DataDigest=None InitialR2T=No ImmediateData=Yes MaxBurstLength=262144 \
             FirstBurstLength=262144 MaxRecvDataSegmentLength=262144 DataPDUInOrder=Yes DefaultTime2Wait=2 \
             DefaultTime2Retain=0 IFMarker=No OFMarker=No MaxConnections=1 MaxOutstandingR2T=1 ErrorRecoveryLevel=0 \
             DataSequenceInOrder=Yes"
        ),
    );
    assert!(reply.starts_with("1->3 0000 HeaderDigest=None"), "{reply}");
    assert_eq!(wire.done.unwrap().params.max_burst_length, 262_144);
}

#[test]
fn libiscsi_starts_in_the_operational_stage_without_authentication() {
    let mut wire = Wire::new(Site::default());
    let reply = wire.send("1->3", &format!("{} MaxBurstLength=262144", names()));
    assert_eq!(
        reply,
        format!("1->3 0000 TargetPortalGroupTag=1 MaxBurstLength=262144 {OUR_RECV}")
    );
    assert!(wire.done.is_some());
}

#[test]
fn windows_offers_chap_and_none_and_asks_for_markers() {
    let mut wire = Wire::new(Site::default());
    let reply = wire.send(
        "0->1",
        &format!(
            "InitiatorName={INITIATOR} SessionType=Normal AuthMethod=None,CHAP TargetName={TARGET}"
        ),
    );
    assert_eq!(reply, "0->1 0000 TargetPortalGroupTag=1 AuthMethod=None");
    let reply = wire.send(
        "1->3",
        "HeaderDigest=None,CRC32C DataDigest=None,CRC32C ErrorRecoveryLevel=2 InitialR2T=No ImmediateData=Yes \
         MaxRecvDataSegmentLength=65536 MaxBurstLength=262144 FirstBurstLength=65536 MaxConnections=1 \
         DataPDUInOrder=Yes DataSequenceInOrder=Yes DefaultTime2Wait=0 DefaultTime2Retain=60 MaxOutstandingR2T=16",
    );
    assert!(
        reply.contains("ErrorRecoveryLevel=0") && reply.contains("DefaultTime2Retain=0"),
        "{reply}"
    );
    assert_eq!(wire.done.unwrap().params.max_outstanding_r2t, 16);
}

#[test]
fn esxi_negotiates_step_by_step_with_empty_requests() {
    let site = Site {
        params: TargetParams {
            header_digest: DigestChoice::ANY,
            data_digest: DigestChoice::ANY,
            ..Default::default()
        },
        ..Site::default()
    };
    let mut wire = Wire::new(site);
    let text = format!(
        "InitiatorName={INITIATOR} InitiatorAlias=esx.example TargetName={TARGET} SessionType=Normal AuthMethod=CHAP,None"
    );
    assert_eq!(
        wire.send("0", &text),
        "0 0000 TargetPortalGroupTag=1 AuthMethod=None"
    );
    assert_eq!(wire.send("0->1", ""), "0->1 0000");
    let reply = wire.send(
        "1",
        "HeaderDigest=CRC32C,None DataDigest=CRC32C,None InitialR2T=Yes ImmediateData=Yes",
    );
    let answer = "HeaderDigest=CRC32C DataDigest=CRC32C InitialR2T=Yes ImmediateData=Yes";
    assert_eq!(reply, format!("1 0000 {answer} {OUR_RECV}"));
    assert_eq!(
        wire.send("1", "MaxRecvDataSegmentLength=131072 X-com.vmware.hint=1"),
        "1 0000 X-com.vmware.hint=NotUnderstood"
    );
    assert_eq!(wire.send("1->3", ""), "1->3 0000");
    let params = wire.done.unwrap().params;
    assert_eq!(
        (params.header_digest, params.data_digest),
        (Digest::Crc32c, Digest::Crc32c)
    );
    assert_eq!((params.max_xmit, params.initial_r2t), (131_072, true));
}

#[test]
fn boot_firmware_goes_from_security_straight_to_full_feature() {
    let mut wire = Wire::new(Site::default());
    let reply = wire.send("0->3", &format!("{} AuthMethod=None", names()));
    assert_eq!(reply, "0->3 0000 TargetPortalGroupTag=1 AuthMethod=None");
    let params = wire.done.unwrap().params;
    assert_eq!(
        (
            params.max_recv_data_segment_length,
            params.max_xmit,
            params.max_burst_length
        ),
        (8192, 8192, 262_144)
    );
}

#[test]
fn session_type_defaults_to_normal_and_auth_method_may_be_left_out() {
    let mut wire = Wire::new(Site::default());
    let reply = wire.send(
        "0->1",
        &format!("InitiatorName={INITIATOR} TargetName={TARGET}"),
    );
    assert_eq!(reply, "0->1 0000 TargetPortalGroupTag=1");
}

#[test]
fn keys_spread_over_continued_requests_are_joined_before_parsing() {
    let mut wire = Wire::new(Site::default());
    let data = segment(&format!("{} AuthMethod=None", names()));
    let pieces: Vec<_> = data.chunks(37).collect();
    for piece in &pieces[..pieces.len() - 1] {
        let reply = wire.raw(&LoginRequest {
            cont: true,
            data: piece,
            ..wire.template
        });
        assert_eq!(
            (reply.status, reply.transit, reply.data.len()),
            (LoginStatus::Success, false, 0)
        );
    }
    let reply = wire.raw(&LoginRequest {
        transit: true,
        nsg: 1,
        data: pieces[pieces.len() - 1],
        ..wire.template
    });
    assert_eq!(reply.data, b"TargetPortalGroupTag=1\0AuthMethod=None\0");
    assert!(wire.send("1->3", "").starts_with("1->3 0000"));
}

#[test]
fn stricter_target_offers_what_the_initiator_left_out_before_it_lets_go() {
    let mut params = TargetParams::default();
    params.set("ImmediateData", "No").unwrap();
    params.set("HeaderDigest", "CRC32C").unwrap();
    let mut wire = Wire::new(Site {
        params,
        ..Site::default()
    });
    wire.send("0->1", &format!("{} AuthMethod=None", names()));
    let reply = wire.send("1->3", "InitialR2T=Yes");
    assert_eq!(
        reply,
        format!("1 0000 InitialR2T=Yes {OUR_RECV} HeaderDigest=CRC32C ImmediateData=No")
    );
    assert_eq!(
        wire.send("1->3", "HeaderDigest=CRC32C ImmediateData=No"),
        "1->3 0000"
    );
    let params = wire.done.unwrap().params;
    assert_eq!(
        (params.header_digest, params.immediate_data),
        (Digest::Crc32c, false)
    );
}

#[test]
fn reply_carries_the_new_tsih_only_at_the_end() {
    let mut wire = Wire::new(Site::default());
    assert_eq!(wire.reply("0->1", &names()).tsih, 0);
    assert_eq!(wire.reply("1->3", "").tsih, 7);
}
