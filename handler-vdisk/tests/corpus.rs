//! Replays `fuzz/corpus/` through what the fuzz targets of this crate run.

#[allow(
    missing_docs,
    unreachable_pub,
    reason = "public in the library of the fuzz targets"
)]
#[path = "../../fuzz/src/extended_copy.rs"]
mod extended_copy;
#[allow(
    missing_docs,
    unreachable_pub,
    reason = "public in the library of the fuzz targets"
)]
#[path = "../../fuzz/src/lists.rs"]
mod lists;
#[allow(unreachable_pub, reason = "shared by the crates")]
#[path = "../../fuzz/src/replay.rs"]
mod replay;

#[allow(
    missing_docs,
    unreachable_pub,
    reason = "public in the library of the fuzz targets"
)]
#[path = "../../fuzz/src/mode_select.rs"]
mod mode_select;

use replay::replay;

#[test]
fn unmap_list_corpus_holds() {
    replay("unmap_list", 27, lists::unmap);
}

#[test]
fn format_sanitize_lists_corpus_holds() {
    replay("format_sanitize_lists", 41, lists::format_sanitize);
}

#[test]
fn extended_copy_corpus_holds() {
    replay("extended_copy", 80, extended_copy::extended_copy);
}

#[test]
fn mode_select_corpus_holds() {
    replay("mode_select", 40, mode_select::mode_select);
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(64))]
    #[test]
    fn mode_select_holds_for_pages_of_any_bytes(kind in 0u8..16, which in 0usize..8, body in proptest::collection::vec(proptest::num::u8::ANY, 0..34)) {
        // Heads of real pages, so that most lists reach the comparison of the body.
        let head: &[u8] = [&[0x0A, 10][..], &[0x08, 18], &[0x1C, 10], &[0x5C, 2, 0, 20], &[0x01, 10], &[0x4A, 1, 0, 28], &[0x8A, 10], &[]][which];
        let header = if kind & 8 == 0 { 4 } else { 8 };
        let list = [&[kind][..], &vec![0; header], head, &body].concat();
        mode_select::mode_select(&list);
    }

    #[test]
    fn lists_of_any_bytes_are_read_or_refused(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..64)) {
        lists::unmap(&bytes);
        lists::format_sanitize(&bytes);
    }
}
