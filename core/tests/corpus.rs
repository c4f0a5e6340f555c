//! Replays `fuzz/corpus/` through what the fuzz targets of this crate run.

#[allow(unreachable_pub, reason = "shared by the crates")]
#[path = "../../fuzz/src/replay.rs"]
mod replay;
#[allow(
    missing_docs,
    unreachable_pub,
    reason = "public in the library of the fuzz targets"
)]
#[path = "../../fuzz/src/vocabulary.rs"]
mod vocabulary;

use replay::replay;

#[test]
fn cdb_corpus_holds() {
    replay("cdb", 115, vocabulary::cdb);
}

#[test]
fn sense_corpus_holds() {
    replay("sense", 30, vocabulary::sense);
}

#[test]
fn identifier_corpus_holds() {
    replay("transport_id_designator_lun", 50, vocabulary::identifiers);
}
