//! Replays `fuzz/corpus/` through what the fuzz target of this crate runs.

#[allow(unreachable_pub, reason = "shared by the crates")]
#[path = "../../fuzz/src/replay.rs"]
mod replay;
#[allow(
    missing_docs,
    unreachable_pub,
    reason = "public in the library of the fuzz targets"
)]
#[path = "../../fuzz/src/stpg.rs"]
mod stpg;

use replay::replay;

#[test]
fn stpg_corpus_holds() {
    replay("stpg", 45, stpg::stpg);
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(256))]
    #[test]
    fn stpg_holds_for_lists_of_any_groups_and_states(
        before in 0u8..=u8::MAX,
        list in proptest::collection::vec((0u8..16, 0usize..9), 0..5),
    ) {
        // Mostly states and groups that there are, so that most lists are carried out.
        let ids = [1, 2, 3, 4, 0x101, 0x201, 0x202, 0x301, 9];
        let mut bytes = vec![0, before, 0, 0, 0, 0];
        for (state, at) in list {
            let state = if state < 12 { state % 4 } else { state };
            let id: u16 = ids[if state < 4 { at % 4 } else { at }];
            bytes.extend_from_slice(&[state, 0]);
            bytes.extend_from_slice(&id.to_be_bytes());
        }
        stpg::stpg(&bytes);
    }
}
