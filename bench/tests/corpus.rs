//! Replays `fuzz/corpus/` through what the fuzz target of this crate runs.

#[allow(
    missing_docs,
    unreachable_pub,
    reason = "public in the library of the fuzz targets"
)]
#[path = "../../fuzz/src/initiator.rs"]
mod initiator;
#[allow(unreachable_pub, reason = "shared by the crates")]
#[path = "../../fuzz/src/replay.rs"]
mod replay;

#[test]
fn n59_the_corpus_of_the_initiator_holds() {
    replay::replay("initiator", 20, initiator::initiator);
}
