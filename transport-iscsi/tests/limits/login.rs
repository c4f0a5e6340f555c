//! Logins cut anywhere, lengths that lie, and what comes in the same segment.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use lunforge_iscsi::proto::pdu::{RESERVED_TAG, TextRequest, opcode};
use lunforge_iscsi::{AuthConfig, ChapAccount, ChapConfig};

use super::bed::{Login, Peer, Recipe, transfer, whole};

#[test]
fn n01_a_login_cut_inside_its_header_ends_without_a_word() {
    let mut bed = Recipe::default().serve();
    let login = Login::of(1).emit();
    for len in 0..48 {
        let mut peer = bed.connect(1);
        peer.send(&login[..len]);
        bed.settle();
        assert!(!peer.is_closed() && peer.pdus().is_empty(), "{len}");
        peer.hang_up();
        bed.settle();
        assert!(peer.is_closed() && peer.pdus().is_empty(), "{len}");
    }
    // One that does not hang up has its time.
    let mut peer = bed.connect(1);
    peer.send(&login[..47]);
    bed.pass(Duration::from_secs(6));
    assert!(peer.is_closed() && peer.pdus().is_empty());
    assert_eq!(bed.iscsi.connections(), 0);
}

#[test]
fn n02_a_data_segment_beyond_8192_before_the_login_is_through_is_refused_by_its_header_alone() {
    let mut bed = Recipe::default().serve();
    for len in [8193u32, 8196, 65_536, 1 << 20, (1 << 24) - 1] {
        let mut peer = bed.connect(1);
        let mut login = Login::of(1).emit();
        login[5..8].copy_from_slice(&len.to_be_bytes()[1..]);
        // Nothing of the data: it is not waited for.
        peer.send(&login[..48]);
        bed.settle();
        assert!(peer.is_closed(), "{len}");
    }
    // The largest that is allowed is taken.
    let mut peer = bed.connect(1);
    let mut login = Login::of(1).emit();
    login[5..8].copy_from_slice(&8192u32.to_be_bytes()[1..]);
    peer.send(&login);
    bed.settle();
    assert!(!peer.is_closed());
}

#[test]
fn n08_commands_in_the_segment_of_the_last_login_pdu_are_served_at_every_split() {
    let mut bed = Recipe::default().serve();
    for isid in 1..=6u8 {
        let login = Login {
            isid,
            ..Login::of(1)
        };
        let mut bytes = login.emit();
        let end = bytes.len();
        let mut peer = bed.connect(1);
        // A unit attention, and a write with its data.
        bytes.extend(command(0, &[0], 1, 1, 0));
        bytes.extend(command(0x2a, &transfer(0x2a, 1), 2, 2, 512));
        let mut data = vec![7; 512];
        bytes.append(&mut data);
        let split = match isid {
            1 => bytes.len(),
            2 => end - 1,
            3 => end + 47,
            4 => end + 48,
            5 => bytes.len() - 511,
            _ => 1,
        };
        let (first, rest) = bytes.split_at(split);
        peer.send(first);
        bed.settle();
        peer.send(rest);
        bed.settle();
        assert_eq!(peer.statuses(), [2, 0], "{isid}");
    }
    assert_eq!(bed.iscsi.sessions(), 6);
}

/// A command with `data` bytes of immediate data to come.
fn command(operation: u8, cdb: &[u8], itt: u32, cmd_sn: u32, data: u32) -> Vec<u8> {
    use lunforge_iscsi::proto::pdu::{ScsiCommand, TaskAttribute};
    let mut block = [0; 16];
    block[..cdb.len()].copy_from_slice(cdb);
    let bhs = ScsiCommand {
        immediate: false,
        is_final: true,
        read: false,
        write: operation == 0x2a,
        attribute: TaskAttribute::Simple,
        ahs_words: 0,
        data_segment_length: data,
        lun: [0; 8],
        itt,
        expected_data_transfer_length: data,
        cmd_sn,
        exp_stat_sn: 0,
        cdb: block,
    };
    bhs.emit().to_vec()
}

fn guarded() -> AuthConfig {
    let account = ChapAccount::new("user", "a-long-enough-secret").unwrap();
    AuthConfig::Chap(Arc::new(ChapConfig::new(vec![account], None).unwrap()))
}

#[test]
fn n08_a_login_that_hangs_up_in_any_state_leaves_nothing() {
    let mut bed = Recipe {
        auth: guarded(),
        ..Recipe::default()
    }
    .serve();
    let security = Login::security("AuthMethod=CHAP\0");
    let mut offer = Login::of(1);
    offer.stages = (0, 1);
    offer.keys = "CHAP_A=5\0".to_owned();
    let mut wrong = offer.clone();
    wrong.keys = "CHAP_N=user\0CHAP_R=0x00000000000000000000000000000000\0".to_owned();
    let steps = [security.emit(), offer.emit(), wrong.emit()];
    for done in 0..=steps.len() {
        for cut in [0, 1, 47, 48, 60] {
            let mut peer = bed.connect(1);
            for step in &steps[..done] {
                peer.send(step);
                bed.settle();
            }
            if let Some(next) = steps.get(done) {
                peer.send(&next[..cut]);
                bed.settle();
            }
            peer.hang_up();
            bed.settle();
            assert!(peer.is_closed(), "{done} {cut}");
        }
    }
    assert_eq!((bed.iscsi.connections(), bed.iscsi.sessions()), (0, 0));
}

#[test]
fn n08_a_login_that_waits_for_an_older_session_sees_its_peers_end() {
    let mut bed = Recipe::default().serve();
    let mut old = bed.session(1);
    bed.controls
        .hold
        .store(true, std::sync::atomic::Ordering::Relaxed);
    old.read(1);
    bed.settle();
    let mut new = bed.connect(1);
    new.send(&Login::of(1).emit());
    bed.settle();
    // The old session's command is with a backend that does not end it: up to half a second.
    assert!(old.is_closed() && !new.is_closed() && new.pdus().is_empty());
    new.hang_up();
    bed.settle();
    assert!(new.is_closed());
    bed.pass(Duration::from_secs(1));
    assert_eq!((bed.iscsi.connections(), bed.iscsi.sessions()), (0, 0));
    bed.controls.complete_all();
    bed.settle();
}

fn text(itt: u32, ttt: u32, is_final: bool, is_continue: bool, keys: &[u8]) -> Vec<u8> {
    let bhs = TextRequest {
        immediate: true,
        is_final,
        is_continue,
        data_segment_length: keys.len() as u32,
        lun: [0; 8],
        itt,
        ttt,
        cmd_sn: 1,
        exp_stat_sn: 0,
    };
    whole(bhs.emit(), keys)
}

fn ttt_of(peer: &mut Peer) -> (u8, u32) {
    let (bhs, _) = peer.pdus().pop().expect("an answer");
    let ttt = u32::from_be_bytes([bhs[20], bhs[21], bhs[22], bhs[23]]);
    (bhs[0] & 0x3f, ttt)
}

fn discovery(bed: &mut super::bed::Bed) -> Peer {
    let mut peer = bed.connect(1);
    let login = Login {
        keys: "SessionType=Discovery\0MaxRecvDataSegmentLength=512\0".to_owned(),
        ..Login::of(1)
    };
    assert_eq!(bed.log_in(&mut peer, &login).status_class, 0);
    peer
}

#[test]
fn n06_a_chain_of_texts_has_an_end_in_parts_in_bytes_and_in_time() {
    let mut bed = Recipe::default().serve();
    let mut peer = discovery(&mut bed);
    // Empty with C: asked for more, until the parts are used up.
    let mut ttt = RESERVED_TAG;
    for part in 0..=256 {
        peer.send(&text(9, ttt, false, true, &[]));
        bed.settle();
        let (code, next) = ttt_of(&mut peer);
        assert_eq!(code == opcode::REJECT, part == 256, "{part}");
        ttt = next;
    }
    // The tag that was given for it means nothing any more.
    peer.send(&text(9, 1, false, true, b"X=1\0"));
    bed.settle();
    assert_eq!(ttt_of(&mut peer).0, opcode::REJECT);
    // Too many bytes.
    let mut ttt = RESERVED_TAG;
    let mut refused = false;
    for _ in 0..9 {
        peer.send(&text(9, ttt, false, true, &[b'x'; 8000]));
        bed.settle();
        let (code, next) = ttt_of(&mut peer);
        refused |= code == opcode::REJECT;
        ttt = next;
    }
    assert!(refused);
    // Too long.
    peer.send(&text(9, RESERVED_TAG, false, true, b"SendTargets="));
    bed.settle();
    let (_, ttt) = ttt_of(&mut peer);
    bed.pass(Duration::from_secs(16));
    peer.pdus();
    peer.send(&text(9, ttt, true, false, b"All\0"));
    bed.settle();
    assert_eq!(ttt_of(&mut peer).0, opcode::REJECT);
    assert_eq!(bed.counters().text_exchanges_cut, 3);
    // And one in order still works.
    peer.send(&text(9, RESERVED_TAG, true, false, b"SendTargets=All\0"));
    bed.settle();
    assert_eq!(ttt_of(&mut peer), (opcode::TEXT_RESPONSE, RESERVED_TAG));
}

#[test]
fn n11_a_long_answer_comes_in_parts_of_512_bytes_in_order_over_the_whole_stack() {
    let mut bed = Recipe {
        more_targets: 999,
        ..Recipe::default()
    }
    .serve();
    let mut peer = discovery(&mut bed);
    let (mut all, mut ttt, mut keys) = (Vec::new(), RESERVED_TAG, &b"SendTargets=All\0"[..]);
    loop {
        peer.send(&text(9, ttt, true, false, keys));
        bed.settle();
        let (bhs, data) = peer.pdus().pop().expect("a part");
        assert!(bhs[0] & 0x3f == opcode::TEXT_RESPONSE && data.len() <= 512);
        all.extend(data);
        if bhs[1] & 0x40 == 0 {
            break;
        }
        ttt = u32::from_be_bytes([bhs[20], bhs[21], bhs[22], bhs[23]]);
        keys = &[];
    }
    assert!(all.len() > 40_000, "{}", all.len());
    let text = String::from_utf8(all).unwrap();
    let names: Vec<_> = text
        .split('\0')
        .filter_map(|pair| pair.strip_prefix("TargetName="))
        .collect();
    let different: HashSet<_> = names.iter().collect();
    assert_eq!((names.len(), different.len()), (1000, 1000));
}

#[test]
fn n12_challenges_differ_over_logins_and_over_a_restart() {
    let mut seen = HashSet::new();
    for _ in 0..2 {
        let mut bed = Recipe {
            auth: guarded(),
            ..Recipe::default()
        }
        .serve();
        for _ in 0..100 {
            let mut peer = bed.connect(1);
            peer.send(&Login::security("AuthMethod=CHAP\0").emit());
            let mut offer = Login::security("");
            offer.keys = "CHAP_A=5\0".to_owned();
            peer.send(&offer.emit());
            bed.settle();
            let (_, data) = peer.pdus().pop().expect("a challenge");
            let text = String::from_utf8(data).unwrap();
            let challenge = text.split('\0').find(|pair| pair.starts_with("CHAP_C="));
            assert!(seen.insert(challenge.expect("CHAP_C").to_owned()));
            peer.hang_up();
            bed.settle();
        }
    }
    assert_eq!(seen.len(), 200);
}
