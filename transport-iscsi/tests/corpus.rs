//! Replays `fuzz/corpus/` through what the fuzz targets of this crate run.

use lunforge_iscsi::proto::fuzzing::{fuzz_login, fuzz_text_keys};

#[allow(
    missing_docs,
    unreachable_pub,
    reason = "public in the library of the fuzz targets"
)]
#[path = "../../fuzz/src/pdu_stream.rs"]
mod pdu_stream;
#[allow(unreachable_pub, reason = "shared by the crates")]
#[path = "../../fuzz/src/replay.rs"]
mod replay;

use replay::replay;

#[test]
fn pdu_stream_corpus_holds() {
    replay("pdu_stream", 100, pdu_stream::pdu_stream);
}

#[test]
fn text_keys_corpus_holds() {
    replay("text_keys", 30, fuzz_text_keys);
}

#[test]
fn login_corpus_holds() {
    replay("login", 40, fuzz_login);
}
