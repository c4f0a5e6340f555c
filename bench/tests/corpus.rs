//! Replays `fuzz/corpus/` through what the fuzz targets of this crate run.

#[allow(
    missing_docs,
    unreachable_pub,
    reason = "public in the library of the fuzz targets"
)]
#[path = "../../fuzz/src/initiator.rs"]
mod initiator;
#[allow(
    missing_docs,
    unreachable_pub,
    reason = "public in the library of the fuzz targets"
)]
#[path = "../../fuzz/src/recording.rs"]
mod recording;
#[allow(unreachable_pub, reason = "shared by the crates")]
#[path = "../../fuzz/src/replay.rs"]
mod replay;

#[test]
fn n59_the_corpus_of_the_initiator_holds() {
    replay::replay("initiator", 20, initiator::initiator);
}

#[test]
fn n59_the_corpus_of_recordings_holds() {
    replay::replay("recording", 20, recording::recording);
}
