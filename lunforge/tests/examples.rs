//! The examples, served to an initiator.

use std::sync::atomic::Ordering;

use lunforge_bench::initiator::{Initiator, Options};

#[allow(dead_code, reason = "its main is for the command line")]
#[path = "../examples/embed.rs"]
mod embed;
#[allow(dead_code, reason = "its main is for the command line")]
#[path = "../examples/own_store.rs"]
mod own_store;

#[test]
fn the_embedding_example_serves_a_file() {
    let file = tempfile::NamedTempFile::new().unwrap();
    file.as_file().set_len(1 << 20).unwrap();
    let (_engine, iscsi) = embed::serve(file.path().to_str().unwrap(), "127.0.0.1:0").unwrap();
    let target = "iqn.2026-11.org.example:disk";
    let mut initiator =
        Initiator::connect(iscsi.portals()[0], target, &Options::default()).unwrap();
    initiator.ready(0, 3).unwrap();
    initiator.write(0, 7, &[0x5A; 512], 512).unwrap();
    assert_eq!(
        std::fs::read(file.path()).unwrap()[7 * 512..][..512],
        [0x5A; 512]
    );
}

#[test]
fn an_embedders_own_store_is_a_disk() {
    let (_engine, iscsi, written) = own_store::serve("127.0.0.1:0").unwrap();
    let target = "iqn.2026-11.org.example:counted";
    let mut initiator =
        Initiator::connect(iscsi.portals()[0], target, &Options::default()).unwrap();
    initiator.ready(0, 3).unwrap();
    initiator.write(0, 0, &[1; 4096], 512).unwrap();
    assert_eq!(initiator.read(0, 0, 8, 512).unwrap(), [1; 4096]);
    assert_eq!(written.load(Ordering::Relaxed), 4096);
}
