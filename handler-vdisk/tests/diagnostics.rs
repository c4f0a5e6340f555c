//! Self-tests, diagnostic pages, logs, buffers, defects.

mod common;

use common::*;
use lunforge_core::status::Status;
use lunforge_vdisk::Vdisk;
use lunforge_vdisk::store::*;

#[test]
fn the_default_self_test_passes_and_others_are_refused() {
    let mut rig = Rig::new(Vdisk::null(MIB).open().unwrap());
    rig.good(&[0x1D, 0x04, 0, 0, 0, 0], &[], 0);
    rig.good(&[0x1D, 0x00, 0, 0, 0, 0], &[], 0);
    rig.fails(&[0x1D, 0x20, 0, 0, 0, 0], &[], 0, (5, 0x24, 0));
    rig.fails(&[0x1D, 0x10, 0, 0, 4, 0], &[0; 4], 0, (5, 0x24, 0));
}
