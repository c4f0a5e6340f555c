//! The task set as an iSCSI initiator sees it: the ACA attribute, CLEAR ACA, ACA ACTIVE, TASK ABORTED (RFC 7143 11.3.1,
//! 11.4.2, 11.5.1).

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use lunforge::core::handler::ControlMode;
use lunforge::core::testing::doubles::{Blank, Controls};
use lunforge::iscsi::IscsiTransport;
use lunforge::{Engine, Target};
use lunforge_bench::initiator::{Attribute, Initiator, Options, Request, Tmf};

const IQN: &str = "iqn.2026-11.org.example:blank";
const TUR: [u8; 6] = [0; 6];
/// An invalid field, and NACA.
const FAULT: [u8; 6] = [0, 1, 0, 0, 0, 4];
const READ_1: [u8; 10] = [0x28, 0, 0, 0, 0, 0, 0, 0, 1, 0];
const GOOD: u8 = 0x00;
const CHECK_CONDITION: u8 = 0x02;
const BUSY: u8 = 0x08;
const ACA_ACTIVE: u8 = 0x30;
const TASK_ABORTED: u8 = 0x40;
const COMPLETE: u8 = 0;
const REJECTED: u8 = 255;

/// A unit with this control mode page, and two sessions with it.
fn serve(control: ControlMode) -> (Engine, Arc<Controls>, [Initiator; 2]) {
    let blank = Blank::default();
    let unit = Arc::clone(&blank.0);
    *unit.control.lock() = control;
    let target = Target::builder(IQN).lun(0, blank).build().unwrap();
    let engine = Engine::builder().shards(2).start().unwrap();
    let transport = IscsiTransport::bind("127.0.0.1:0").unwrap();
    let iscsi = engine.attach(transport, target).unwrap();
    let sessions = [1, 2].map(|isid| {
        let options = Options::default().isid_number(isid);
        let mut session = Initiator::connect(iscsi.portals()[0], IQN, &options).unwrap();
        session.ready(0, 3).unwrap();
        session
    });
    (engine, unit, sessions)
}

fn status(session: &mut Initiator, cdb: &[u8]) -> u8 {
    session.command(0, cdb, &[], 0).unwrap().status
}

#[test]
fn an_initiator_establishes_works_in_and_clears_an_aca() {
    let (_engine, _, [mut a, mut b]) = serve(ControlMode {
        shared_task_set: true,
        ..ControlMode::default()
    });
    assert_eq!(status(&mut a, &FAULT), CHECK_CONDITION);
    assert_eq!(status(&mut a, &TUR), ACA_ACTIVE);
    assert_eq!(status(&mut b, &TUR), BUSY);
    let request = Request::new(0, &TUR).attribute(Attribute::Aca);
    assert_eq!(a.execute(&request).unwrap().status, GOOD);
    assert_eq!(b.tmf(Tmf::ClearAca, 0, u32::MAX).unwrap(), REJECTED);
    assert_eq!(a.tmf(Tmf::ClearAca, 0, u32::MAX).unwrap(), COMPLETE);
    assert_eq!(status(&mut a, &TUR), GOOD);
    assert_eq!(status(&mut b, &TUR), GOOD);
}

#[test]
fn with_tas_a_reset_by_another_initiator_ends_a_command_with_task_aborted() {
    let (_engine, unit, [mut a, mut b]) = serve(ControlMode {
        task_aborted_status: true,
        ..ControlMode::default()
    });
    unit.can_fence.store(true, Relaxed);
    unit.hold.store(true, Relaxed);
    let victim = b.submit(&Request::new(0, &READ_1).data_in(512)).unwrap();
    let end = Instant::now() + Duration::from_secs(20);
    while unit.held() == 0 {
        assert!(Instant::now() < end, "the command did not begin");
        std::thread::yield_now();
    }
    assert_eq!(a.tmf(Tmf::LogicalUnitReset, 0, u32::MAX).unwrap(), COMPLETE);
    assert_eq!(b.wait(victim).unwrap().status, TASK_ABORTED);
    unit.hold.store(false, Relaxed);
    let told = b.command(0, &TUR, &[], 0).unwrap();
    assert_eq!(told.asc_ascq(), Some((0x29, 3)));
    assert_eq!(status(&mut b, &TUR), GOOD);
}
