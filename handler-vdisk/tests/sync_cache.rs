//! SYNCHRONIZE CACHE with IMMED: flushes that no command waits for.

mod common;

use std::time::Duration;

use common::*;
use lunforge_vdisk::Vdisk;
use lunforge_vdisk::store::*;
use lunforge_vdisk::testing::{Hold, OpKind, SlowStore};

const PATIENCE: Duration = Duration::from_secs(20);

fn flushes(store: &SlowStore) -> usize {
    let held = store.held();
    assert!(held.iter().all(|held| held.kind == OpKind::Flush));
    held.len()
}

#[test]
fn flushes_that_nobody_waits_for_are_one_in_the_store_and_one_that_follows() {
    let capabilities = RamStore::new(0).volatile_cache(true).capabilities();
    let store = SlowStore::with(MIB, capabilities);
    let mut rig = Rig::new(Vdisk::store(store.clone()).serial("s").open().unwrap());
    let immed = cdb10(0x35, 0x02, 0, 0);
    store.hold(Hold::Everything);
    for _ in 0..100 {
        rig.good(&immed, &[], 0);
    }
    store.wait_held(1, PATIENCE);
    assert_eq!(flushes(&store), 1);
    // What was written after the first flush began is flushed by a second one.
    assert_eq!(store.complete_all(), 1);
    store.wait_held(1, PATIENCE);
    assert_eq!(flushes(&store), 1);
    assert_eq!(store.complete_all(), 1);
    assert_eq!(flushes(&store), 0);

    rig.good(&immed, &[], 0);
    let held = store.wait_held(1, PATIENCE);
    assert!(store.fail(held[0].id, StoreError::Medium { offset: 0 }));
    rig.good(&immed, &[], 0);
    assert_eq!(flushes(&store), 1, "a failed flush keeps no later one back");
    store.let_go();
    rig.good(&cdb10(0x35, 0, 0, 0), &[], 0);
}
