//! A format or sanitize operation that the process does not survive shows as failed when the disk is in use again,
//! provided that the disk has a parameters file.

mod common;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use common::*;
use lunforge_core::offload::Offload;
use lunforge_core::testing::Send;
use lunforge_core::tmf::{BOUND, Function, Response};
use lunforge_vdisk::Vdisk;
use lunforge_vdisk::store::BackingStore;
use lunforge_vdisk::testing::{Hold, SlowStore};

const FORMAT: [u8; 6] = [4, 0x10, 0, 0, 0, 0];
/// The parameter list of FORMAT UNIT with IMMED.
const IMMED: [u8; 4] = [0, 2, 0, 0];
const PATIENCE: Duration = Duration::from_secs(10);
const INVALID_FIELD: (u8, u8, u8) = (5, 0x24, 0);
const FORMAT_FAILED: (u8, u8, u8) = (3, 0x31, 1);
const FORMAT_CORRUPTED: (u8, u8, u8) = (3, 0x31, 0);
const SANITIZE_FAILED: (u8, u8, u8) = (3, 0x31, 3);

/// OVERWRITE with one pass of one byte of pattern.
const OVERWRITE: [u8; 5] = [1, 0, 0, 1, 0xAA];

/// With IMMED, and AUSE if wanted.
fn sanitize(ause: bool) -> [u8; 10] {
    let flags = 0x80 | if ause { 0x20 } else { 0 };
    cdb10(0x48, flags | 1, 0, OVERWRITE.len() as u16)
}

fn rig(state: &Path) -> (Arc<SlowStore>, Rig) {
    let store = SlowStore::new(8 * MIB);
    let disk = Vdisk::store(Arc::clone(&store) as Arc<dyn BackingStore>).serial("SN-1");
    (store, Rig::new(disk.parameters_file(state).open().unwrap()))
}

fn ready(rig: &mut Rig) -> Option<(u8, u8, u8)> {
    let sense = rig.run(&[0; 6], &[], 0).sense?;
    Some((sense.key.code(), sense.asc.asc, sense.asc.ascq))
}

/// Begins an operation, ends the process, as it were, while the first piece hangs in the store, and opens the disk
/// again.
fn cut_off(cdb: &[u8], data: &[u8], state: &Path) -> Rig {
    let (store, mut first) = rig(state);
    store.hold(Hold::Everything);
    first.good(cdb, data, 0);
    let left = std::fs::read(state).expect("on record before the answer");
    store.wait_held(1, PATIENCE);
    store.let_go();
    drop(first);
    std::fs::write(state, left).unwrap();
    rig(state).1
}

#[test]
fn a_format_that_was_cut_off_leaves_the_medium_corrupt_until_one_succeeds() {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("state");
    let mut again = cut_off(&FORMAT, &IMMED, &state);
    assert_eq!(ready(&mut again), Some(FORMAT_CORRUPTED));
    again.fails(&cdb10(0x28, 0, 0, 1), &[], 512, FORMAT_CORRUPTED);
    drop(again);
    let mut again = rig(&state).1;
    assert_eq!(ready(&mut again), Some(FORMAT_CORRUPTED), "and stays so");
    again.good(&[4, 0, 0, 0, 0, 0], &[], 0);
    assert_eq!(ready(&mut again), None);
    drop(again);
    assert_eq!(ready(&mut rig(&state).1), None);
}

#[test]
fn a_sanitize_that_was_cut_off_failed_and_is_left_as_ause_allows() {
    for ause in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("state");
        let mut again = cut_off(&sanitize(ause), &OVERWRITE, &state);
        assert_eq!(ready(&mut again), Some(SANITIZE_FAILED));
        let exit = cdb10(0x48, 0x1F, 0, 0);
        if ause {
            again.good(&exit, &[], 0);
            assert_eq!(ready(&mut again), None);
        } else {
            again.fails(&exit, &[], 0, INVALID_FIELD);
        }
        drop(again);
        let want = (!ause).then_some(SANITIZE_FAILED);
        assert_eq!(ready(&mut rig(&state).1), want);
    }
}

#[test]
fn an_operation_that_cannot_be_noted_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("state");
    let (store, mut rig) = rig(&state);
    rig.good(&cdb10(0x2A, 0, 5, 1), &[7; 512], 0);
    // A folder in the way of the new file.
    std::fs::create_dir(dir.path().join("state.new")).unwrap();
    let landed = store.record().len();
    rig.fails(&FORMAT, &IMMED, 0, FORMAT_FAILED);
    rig.fails(&sanitize(false), &OVERWRITE, 0, SANITIZE_FAILED);
    assert_eq!(ready(&mut rig), None);
    assert_eq!(store.record().len(), landed);
    assert_eq!(rig.good(&cdb10(0x28, 0, 5, 1), &[], 512), [7; 512]);
}

#[test]
fn a_format_that_was_aborted_before_its_answer_does_not_begin() {
    let dir = tempfile::tempdir().unwrap();
    let (offload, jobs) = Offload::by_hand(16);
    let store = SlowStore::new(8 * MIB);
    let disk = Vdisk::store(Arc::clone(&store) as Arc<dyn BackingStore>)
        .serial("SN-1")
        .parameters_file(dir.path().join("state"))
        .offload(offload);
    let mut rig = Rig::new(disk.open().unwrap());
    while jobs.run_one() {}
    rig.good(&cdb10(0x2A, 0, 5, 1), &[7; 512], 0);
    let landed = store.record().len();
    let format = Send {
        cdb: FORMAT.to_vec(),
        data_out: IMMED.to_vec(),
        ..Send::default()
    };
    let tag = rig.bed.send(rig.session, format);
    assert_eq!(jobs.waiting(), 1);
    let abort = rig.bed.begin_tmf(rig.session, 0, Function::AbortTask(tag));
    rig.bed.advance(2 * BOUND);
    let answer = rig.bed.tmf_ended(rig.session, abort);
    assert_eq!(answer, Some(Response::Complete));
    while jobs.run_one() {}
    assert_eq!(ready(&mut rig), None);
    assert_eq!(store.record().len(), landed);
    assert_eq!(rig.good(&cdb10(0x28, 0, 5, 1), &[], 512), [7; 512]);
}
