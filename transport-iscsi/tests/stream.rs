//! Random streams of almost legal PDUs through the engine, with the invariants that the fuzz target checks.

use lunforge_iscsi::proto::digest::crc32c;
use lunforge_iscsi::proto::pdu::opcode;
use proptest::prelude::*;

#[allow(missing_docs, unreachable_pub, reason = "shared with the fuzz targets")]
#[path = "../../fuzz/src/pdu_stream.rs"]
mod pdu_stream;

/// One PDU: its fields come from small ranges, so that tags, numbers and offsets meet each other.
fn pdu() -> impl Strategy<Value = ([u8; 48], Vec<u8>)> {
    let codes = prop::sample::select(vec![
        opcode::SCSI_COMMAND,
        opcode::SCSI_COMMAND,
        opcode::SCSI_COMMAND,
        opcode::DATA_OUT,
        opcode::DATA_OUT,
        opcode::DATA_OUT,
        opcode::NOP_OUT,
        opcode::TASK_MANAGEMENT_REQUEST,
        opcode::TEXT_REQUEST,
        opcode::LOGOUT_REQUEST,
        opcode::SNACK,
        opcode::LOGIN_REQUEST,
        0x1c,
    ]);
    let tag = prop_oneof![4 => 0u32..4, 1 => Just(u32::MAX)];
    let word = prop_oneof![4 => 0u32..8, 2 => (0u32..20).prop_map(|n| n * 256), 1 => any::<u32>()];
    let len =
        prop_oneof![3 => Just(0usize), 2 => (0usize..5).prop_map(|n| n * 256), 1 => 0usize..1500];
    (
        codes,
        any::<bool>(),
        any::<u8>(),
        tag.clone(),
        tag,
        prop::array::uniform6(word),
        len,
    )
        .prop_map(|(code, immediate, flags, itt, ttt, words, len)| {
            let mut bhs = [0u8; 48];
            bhs[0] = code | u8::from(immediate) << 6;
            bhs[1] = flags & 0xe7;
            bhs[4..8].copy_from_slice(&(len as u32).to_be_bytes());
            bhs[16..20].copy_from_slice(&itt.to_be_bytes());
            // Data-Out has its transfer tag where a command has its expected length.
            let second = if code == opcode::SCSI_COMMAND {
                words[0]
            } else {
                ttt
            };
            bhs[20..24].copy_from_slice(&second.to_be_bytes());
            for (at, word) in words.iter().enumerate() {
                bhs[24 + at * 4..28 + at * 4].copy_from_slice(&word.to_be_bytes());
            }
            (bhs, vec![itt as u8; len])
        })
}

/// The bytes of the PDUs with the digests that `negotiated` asks for, commands numbered in order.
fn stream(setup: [u8; 4], pdus: &[([u8; 48], Vec<u8>)], in_order: bool) -> Vec<u8> {
    let mut out = setup.to_vec();
    let mut cmd_sn = 1u32;
    for (bhs, data) in pdus {
        let mut bhs = *bhs;
        let numbered = bhs[0] & 0x3f != opcode::DATA_OUT && bhs[0] & 0x3f != opcode::SNACK;
        if in_order && numbered {
            bhs[24..28].copy_from_slice(&cmd_sn.to_be_bytes());
            cmd_sn += u32::from(bhs[0] & 0x40 == 0);
        }
        out.extend(bhs);
        if setup[0] & 1 != 0 {
            out.extend(crc32c(&bhs));
        }
        if !data.is_empty() {
            let mut data = data.clone();
            data.resize(data.len().next_multiple_of(4), 0);
            out.extend(&data);
            if setup[0] & 2 != 0 {
                out.extend(crc32c(&data));
            }
        }
    }
    out
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn almost_legal_streams_keep_the_invariants(
        setup in any::<[u8; 4]>(),
        pdus in prop::collection::vec(pdu(), 1..60),
        in_order in prop::bool::weighted(0.9),
    ) {
        // A discovery session ends at the first command: one in eight is enough.
        let mut setup = setup;
        if setup[3] & 0x70 != 0 {
            setup[0] &= !0x04;
        }
        pdu_stream::pdu_stream(&stream(setup, &pdus, in_order));
    }

    #[test]
    fn arbitrary_bytes_keep_the_invariants(bytes in prop::collection::vec(any::<u8>(), 0..3000)) {
        pdu_stream::pdu_stream(&bytes);
    }
}
