//! Replays `fuzz/corpus/` through what the fuzz targets of this crate run.

#[allow(unreachable_pub, reason = "shared by the crates")]
#[path = "../../fuzz/src/replay.rs"]
mod replay;
#[allow(
    missing_docs,
    unreachable_pub,
    reason = "public in the library of the fuzz targets"
)]
#[path = "../../fuzz/src/reservations.rs"]
mod reservations;

use replay::replay;

#[test]
fn pr_out_corpus_holds() {
    replay("pr_out", 100, reservations::pr_out);
}

#[test]
fn pr_sequence_corpus_holds() {
    replay("pr_sequence", 200, reservations::pr_sequence);
}

#[test]
fn aptpl_file_corpus_holds() {
    replay("aptpl_file", 100, reservations::aptpl_file);
}
