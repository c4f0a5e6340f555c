//! Replays `fuzz/corpus/` through what the fuzz targets of this crate run.

use lunforge_srp::proto::fuzzing::{fuzz_iu, fuzz_mad};

#[allow(unreachable_pub, reason = "shared by the crates")]
#[path = "../../fuzz/src/replay.rs"]
mod replay;
#[allow(
    missing_docs,
    unreachable_pub,
    reason = "public in the library of the fuzz targets"
)]
#[path = "../../fuzz/src/srp_channel.rs"]
mod srp_channel;

use replay::replay;

#[test]
fn srp_iu_corpus_holds() {
    replay("srp_iu", 40, fuzz_iu);
}

#[test]
fn srp_mad_corpus_holds() {
    replay("srp_mad", 20, fuzz_mad);
}

#[test]
fn srp_channel_corpus_holds() {
    replay("srp_channel", 40, srp_channel::srp_channel);
}
