//! One disk by iSCSI over TCP and by SRP over a fabric in memory at once: one set of reservations, of tasks and of unit
//! attentions.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use lunforge::core::LogicalUnit;
use lunforge::core::handler::ControlMode;
use lunforge::core::testing::doubles::{Blank, Controls};
use lunforge::iscsi::IscsiTransport;
use lunforge::srp::proto::iu::login::LoginForm;
use lunforge::srp::proto::iu::response::ResponseCode;
use lunforge::srp::proto::iu::task::function;
use lunforge::srp::testing::{self, Channel, Form, Send, until};
use lunforge::srp::{PortId, SrpTransport};
use lunforge::vdisk::Vdisk;
use lunforge::vdisk::store::RamStore;
use lunforge::{Engine, Target, Unit};
use lunforge_bench::initiator::{Initiator, Options, Request, Tmf};

const IQN: &str = "iqn.2026-11.org.example:disk";
const PORT: PortId = PortId([3; 16]);
const TUR: [u8; 6] = [0; 6];
const GOOD: u8 = 0x00;
const CONFLICT: u8 = 0x18;
const TASK_ABORTED: u8 = 0x40;

struct Bed {
    _engine: Engine,
    iscsi: Initiator,
    srp: Channel,
}

/// The unit behind a port of each transport, with a session by each of them.
fn serve(unit: Arc<LogicalUnit>) -> Bed {
    let target = |name: &str, port| {
        let target = Target::builder(name).relative_port(port);
        target.lun(0, Arc::clone(&unit)).build().unwrap()
    };
    let engine = Engine::builder().shards(2).start().unwrap();
    let transport = IscsiTransport::bind("127.0.0.1:0").unwrap();
    let iscsi = engine.attach(transport, target(IQN, 1)).unwrap();
    let transport = SrpTransport::new().port("srp", PORT);
    let srp = engine.attach(transport, target("srp", 2)).unwrap();
    let mut session = Initiator::connect(iscsi.portals()[0], IQN, &Options::default()).unwrap();
    session.ready(0, 3).unwrap();
    let login = testing::login(PortId::new(1, 1), PORT);
    let (request, mut channel) = testing::connect(&login, LoginForm::Rdma, "192.0.2.1");
    srp.serve(request);
    until(|| {
        channel.pump();
        channel.terms
    })
    .unwrap();
    run(&mut channel, &TUR, &[], 0);
    Bed {
        _engine: engine,
        iscsi: session,
        srp: channel,
    }
}

fn run(channel: &mut Channel, cdb: &[u8], data_out: &[u8], expected_in: usize) -> testing::Reply {
    let tag = channel.send(&Send {
        cdb,
        data_out,
        expected_in,
        out_form: Form::Indirect(2),
        in_form: Form::Table(2, 0),
        ..Send::default()
    });
    until(|| channel.reply(tag))
}

fn reserve_out(action: u8, key: u64, new: u64) -> ([u8; 10], Vec<u8>) {
    let list = [key.to_be_bytes(), new.to_be_bytes(), [0; 8]].concat();
    ([0x5F, action, 1, 0, 0, 0, 0, 0, 24, 0], list)
}

const WRITE: [u8; 10] = [0x2A, 0, 0, 0, 0, 9, 0, 0, 4, 0];
const READ: [u8; 10] = [0x28, 0, 0, 0, 0, 9, 0, 0, 4, 0];

fn disk() -> Arc<LogicalUnit> {
    let disk = Vdisk::store(Arc::new(RamStore::new(1 << 20)));
    Unit::new(disk.serial("two-transports").open().unwrap()).build()
}

#[test]
fn what_one_transport_writes_the_other_reads_and_a_reservation_holds_over_both() {
    let Bed {
        _engine,
        mut iscsi,
        mut srp,
    } = serve(disk());
    let data: Vec<u8> = (0..2048u32).map(|i| (i * 7) as u8).collect();
    assert_eq!(run(&mut srp, &WRITE, &data, 0).status, GOOD);
    assert!(iscsi.command(0, &READ, &[], 2048).unwrap().data == data);
    let more: Vec<u8> = data.iter().map(|byte| !byte).collect();
    assert_eq!(iscsi.command(0, &WRITE, &more, 0).unwrap().status, GOOD);
    assert!(run(&mut srp, &READ, &[], 2048).data == more);

    // The SRP port reserves; the iSCSI port sees it, registers, and preempts.
    for (action, key, new) in [(0, 0, 5), (1, 5, 0)] {
        let (cdb, list) = reserve_out(action, key, new);
        assert_eq!(run(&mut srp, &cdb, &list, 0).status, GOOD);
    }
    assert_eq!(iscsi.command(0, &WRITE, &data, 0).unwrap().status, CONFLICT);
    for (action, key, new) in [(0, 0, 6), (5, 6, 5)] {
        let (cdb, list) = reserve_out(action, key, new);
        assert_eq!(iscsi.command(0, &cdb, &list, 0).unwrap().status, GOOD);
    }
    let told = run(&mut srp, &TUR, &[], 0);
    assert_eq!(told.asc(), Some((0x2A, 5)));
    assert_eq!(run(&mut srp, &WRITE, &data, 0).status, CONFLICT);
    assert_eq!(iscsi.command(0, &WRITE, &data, 0).unwrap().status, GOOD);
    // Both ports are known by their protocols' names.
    let full = run(&mut srp, &[0x5E, 3, 0, 0, 0, 0, 0, 2, 0, 0], &[], 512).data;
    assert_eq!((full[8 + 24] & 0x0F, full[8 + 7]), (5, 6));
}

fn blank(control: ControlMode) -> (Arc<LogicalUnit>, Arc<Controls>) {
    let blank = Blank::default();
    let controls = Arc::clone(&blank.0);
    *controls.control.lock() = control;
    (LogicalUnit::builder(Arc::new(blank)).build(), controls)
}

#[test]
fn a_reset_by_one_transport_ends_the_commands_of_the_other_and_is_told_there() {
    let (unit, controls) = blank(ControlMode {
        task_aborted_status: true,
        ..ControlMode::default()
    });
    let mut bed = serve(unit);
    controls.can_fence.store(true, Relaxed);
    controls.hold.store(true, Relaxed);
    let read = [0x28, 0, 0, 0, 0, 0, 0, 0, 1, 0];
    let tag = bed.srp.send(&Send {
        cdb: &read,
        expected_in: 512,
        ..Send::default()
    });
    until(|| (controls.held() == 1).then_some(()));
    let answer = bed.iscsi.tmf(Tmf::LogicalUnitReset, 0, u32::MAX).unwrap();
    assert_eq!(answer, 0);
    let reply = until(|| bed.srp.reply(tag));
    assert_eq!(reply.status, TASK_ABORTED);
    controls.hold.store(false, Relaxed);
    assert_eq!(run(&mut bed.srp, &TUR, &[], 0).asc(), Some((0x29, 3)));
    assert_eq!(run(&mut bed.srp, &TUR, &[], 0).status, GOOD);

    controls.hold.store(true, Relaxed);
    bed.iscsi.command(0, &TUR, &[], 0).ok();
    let request = Request::new(0, &read).data_in(512);
    let victim = bed.iscsi.submit(&request).unwrap();
    until(|| (controls.held() >= 2).then_some(()));
    let tag = bed.srp.manage(function::LOGICAL_UNIT_RESET, [0; 8], 0);
    let reply = until(|| bed.srp.reply(tag));
    assert_eq!(reply.code, Some(ResponseCode::Complete));
    assert_eq!(bed.iscsi.wait(victim).unwrap().status, TASK_ABORTED);
    controls.hold.store(false, Relaxed);
    let told = bed.iscsi.command(0, &TUR, &[], 0).unwrap();
    assert_eq!(told.asc_ascq(), Some((0x29, 3)));
}

#[test]
fn a_shared_task_set_orders_commands_of_both_transports() {
    let (unit, controls) = blank(ControlMode {
        shared_task_set: true,
        ..ControlMode::default()
    });
    let mut bed = serve(unit);
    controls.hold.store(true, Relaxed);
    let read = [0x28, 0, 0, 0, 0, 0, 0, 0, 1, 0];
    let simple = bed
        .iscsi
        .submit(&Request::new(0, &read).data_in(512))
        .unwrap();
    until(|| (controls.held() == 1).then_some(()));
    // ORDERED: after everything older, of whatever session.
    let ordered = bed.srp.send(&Send {
        cdb: &read,
        expected_in: 512,
        attribute: 2,
        ..Send::default()
    });
    std::thread::sleep(Duration::from_millis(20));
    assert_eq!(controls.held(), 1);
    controls.complete_all();
    assert_eq!(bed.iscsi.wait(simple).unwrap().status, GOOD);
    until(|| (controls.held() == 1).then_some(()));
    controls.complete_all();
    assert_eq!(until(|| bed.srp.reply(ordered)).status, GOOD);
}
