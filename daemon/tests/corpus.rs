//! Replays `fuzz/corpus/` through what the fuzz targets of this crate run.

#[allow(
    missing_docs,
    unreachable_pub,
    reason = "public in the library of the fuzz targets"
)]
#[path = "../../fuzz/src/configuration.rs"]
mod configuration;
#[allow(
    missing_docs,
    unreachable_pub,
    reason = "public in the library of the fuzz targets"
)]
#[path = "../../fuzz/src/control.rs"]
mod control;
#[allow(unreachable_pub, reason = "shared by the crates")]
#[path = "../../fuzz/src/replay.rs"]
mod replay;

use replay::replay;

#[test]
fn the_corpus_of_scst_conf_holds() {
    replay("scst_conf", 40, configuration::scst_conf);
}

#[test]
fn the_corpus_of_ietd_conf_holds() {
    replay("ietd_conf", 25, configuration::ietd_conf);
}

#[test]
fn the_corpus_of_the_control_socket_holds() {
    replay("control", 40, control::control);
}
