//! The examples, served to an initiator.

use std::sync::atomic::Ordering;

use lunforge_bench::initiator::{Initiator, Options};

#[allow(dead_code, reason = "its main is for the command line")]
#[path = "../examples/embed.rs"]
mod embed;
#[allow(dead_code, reason = "its main is for the command line")]
#[path = "../examples/own_store.rs"]
mod own_store;
#[allow(dead_code, reason = "its main is for the command line")]
#[path = "../examples/two_ports.rs"]
mod two_ports;

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

#[test]
fn two_ports_change_their_access_states_by_line_and_by_command() {
    let file = tempfile::NamedTempFile::new().unwrap();
    file.as_file().set_len(1 << 20).unwrap();
    let state = tempfile::tempdir().unwrap();
    let pr_file = state.path().join("reservations");
    let local = "127.0.0.1:0";
    let image = file.path().to_str().unwrap();
    let served = two_ports::serve(image, [local; 2], Some(&pr_file)).unwrap();
    let login = |port: usize, letter: char| {
        let target = format!("iqn.2026-11.org.example:{letter}");
        let portal = served.ports[port].portals()[0];
        let mut initiator = Initiator::connect(portal, &target, &Options::default()).unwrap();
        initiator.ready(0, 3).unwrap();
        initiator
    };
    let (mut a, mut b) = (login(0, 'a'), login(1, 'b'));
    a.write(0, 0, &[7; 512], 512).unwrap();
    assert_eq!(b.read(0, 0, 1, 512).unwrap(), [7; 512]);

    for wrong in [
        "",
        "state 3 standby",
        "state 1 asleep",
        "state x active",
        "prefer 1 2",
    ] {
        assert!(served.command(wrong).is_err(), "{wrong}");
    }
    served.command("state 1 standby").unwrap();
    let ready = |initiator: &mut Initiator| {
        let reply = initiator.command(0, &[0; 6], &[], 0).unwrap();
        (!reply.is_good()).then(|| reply.asc_ascq().unwrap())
    };
    assert_eq!(ready(&mut a), Some((0x2A, 0x06)));
    assert_eq!(ready(&mut a), Some((0x04, 0x0B)));
    assert_eq!(ready(&mut b), None);
    served.command("prefer 2 1").unwrap();
    assert_eq!(ready(&mut b), Some((0x2A, 0x06)));

    let rtpg = [0xA3, 0x0A, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0];
    let groups = a.command(0, &rtpg, &[], 256).unwrap().data;
    assert_eq!((groups[4], groups[16]), (0x02, 0x80), "{groups:x?}");
    let stpg = [0xA4, 0x0A, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0];
    let list = [0, 0, 0, 0, 0x01, 0, 0, 1];
    // Of its opcode there are other service actions, so that is the field which is wrong.
    let refused = b.command(0, &stpg, &list, 0).unwrap();
    assert_eq!(refused.asc_ascq(), Some((0x24, 0)));
    served.command("explicit on").unwrap();
    assert_eq!(ready(&mut b), Some((0x3F, 0x03)));
    assert!(b.command(0, &stpg, &list, 0).unwrap().is_good());
    // Two unit attentions, by their precedence: the state, and INQUIRY data.
    assert_eq!(ready(&mut a), Some((0x2A, 0x06)));
    assert_eq!(ready(&mut a), Some((0x3F, 0x03)));
    assert_eq!(a.read(0, 0, 1, 512).unwrap(), [7; 512]);
}
