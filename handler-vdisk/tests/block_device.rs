//! Block devices. Needs one to overwrite: `LUNFORGE_TEST_BLOCK_DEVICE=/dev/loop0 cargo test -p lunforge-vdisk --test
//! block_device`; without it the test passes and does nothing.

mod common;

use common::*;
use lunforge_vdisk::{Engine, Vdisk};

#[test]
fn a_block_device_is_a_thin_disk_of_its_own_size() {
    let Ok(path) = std::env::var("LUNFORGE_TEST_BLOCK_DEVICE") else {
        return;
    };
    for engine in [Engine::Auto, Engine::Inline, Engine::Uring, Engine::Threads] {
        for direct in [true, false] {
            let disk = Vdisk::block(&path)
                .engine(engine)
                .direct(direct)
                .serial("block")
                .open()
                .unwrap();
            assert!(disk.size() >= 8 * MIB);
            let second = Vdisk::block(&path).open().unwrap_err();
            assert!(second.to_string().contains("in use"), "{second}");
            let mut rig = Rig::new(disk);
            let data = pattern(100, engine as u8);
            rig.good(&cdb16(0x8A, 8, 3, 100), &data, 0);
            assert_eq!(rig.good(&cdb16(0x88, 8, 3, 100), &[], 51200), data);
            rig.good(&cdb10(0x35, 0, 0, 0), &[], 0);
            rig.good(&cdb16(0x93, 0x01, 3, 50), &[], 0);
            assert_eq!(rig.good(&cdb16(0x88, 0, 3, 50), &[], 25600), vec![0; 25600]);
            rig.good(&cdb16(0x93, 0x08, 53, 50), &[0; 512], 0);
            assert_eq!(
                rig.good(&cdb16(0x88, 0, 53, 50), &[], 25600),
                vec![0; 25600]
            );
            rig.good(&cdb16(0x8F, 0x02, 3, 100), &vec![0; 51200], 0);
            rig.good(&[0x12, 1, 0xB2, 0, 64, 0], &[], 64);
            rig.fails(
                &cdb16(0x88, 0, rig.disk.size() / 512, 1),
                &[],
                512,
                (5, 0x21, 0),
            );
        }
    }
}

/// Needs a device that has less space than it says, and is full: `truncate -s
/// 16M` in a tmpfs of two mebibytes, `losetup --show -f` of that, and its name in `LUNFORGE_TEST_FULL_DEVICE`.
#[test]
fn n54_no_space_at_write_back_is_a_loss_and_no_space_for_the_write_itself_is_none() {
    let Ok(path) = std::env::var("LUNFORGE_TEST_FULL_DEVICE") else {
        return;
    };
    let data = vec![7; 4 << 20];
    for engine in [Engine::Auto, Engine::Inline, Engine::Uring, Engine::Threads] {
        for direct in [true, false] {
            let disk = Vdisk::block(&path).engine(engine).direct(direct);
            let mut rig = Rig::new(disk.serial("full").open().unwrap());
            let stable = cdb16(0x8A, 0x08, 8192, 8192);
            let flush = cdb10(0x35, 0, 0, 0);
            if direct {
                rig.fails(&stable, &data, 0, (7, 0x27, 7));
                rig.good(&flush, &[], 0);
            } else {
                rig.fails(&stable, &data, 0, (3, 0x0C, 0));
                rig.fails(&flush, &[], 0, (3, 0x0C, 0));
            }
        }
    }
}
