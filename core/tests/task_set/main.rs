//! The task set through the pipeline: ACA, QERR, TAS, TST, UA_INTLCK_CTRL (SAM-5 5.9, 8; SPC-4 7.5.8).
#![cfg(not(loom))]

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use lunforge_core::asc::Asc;
use lunforge_core::handler::{ControlMode, Outcome, QueueError, UnitAttentionInterlock};
use lunforge_core::sense::Sense;
use lunforge_core::status::Status;
use lunforge_core::task_set::TaskAttribute::{self, Aca, HeadOfQueue, Ordered, Simple};
use lunforge_core::testing::doubles::{Blank, Controls};
use lunforge_core::testing::{Bed, Send, Session};
use lunforge_core::tmf::{BOUND, Function, Response};

mod aborts;
mod aca;
mod interlock;
mod order;

const READ_1: [u8; 10] = [0x28, 0, 0, 0, 0, 0, 0, 0, 1, 0];
/// An invalid field, so CHECK CONDITION at once.
const BAD: [u8; 6] = [0, 1, 0, 0, 0, 0];
const TUR: [u8; 6] = [0; 6];
const A: &str = "iqn.2026-11.org.example:a";
const B: &str = "iqn.2026-11.org.example:b";
const CLEARED: Option<(u8, u8)> = Some((0x2F, 0));
const GOOD: Status = Status::Good;

/// Two nexuses on two shards, and a unit with this control mode page.
struct Two {
    bed: Bed,
    unit: Arc<Controls>,
    a: Session,
    b: Session,
}

fn two(control: ControlMode) -> Two {
    let blank = Blank::default();
    let unit = Arc::clone(&blank.0);
    *unit.control.lock() = control;
    let mut bed = Bed::new(2, blank);
    let (a, b) = (bed.session(0, A), bed.session(1, B));
    Two { bed, unit, a, b }
}

fn shared() -> ControlMode {
    ControlMode {
        shared_task_set: true,
        ..ControlMode::default()
    }
}

fn with_naca(cdb: &[u8]) -> Vec<u8> {
    let mut cdb = cdb.to_vec();
    *cdb.last_mut().unwrap() |= 0x04;
    cdb
}

fn read(attribute: TaskAttribute) -> Send {
    Send {
        cdb: READ_1.to_vec(),
        expected_in: 512,
        attribute,
        ..Send::default()
    }
}

fn write(attribute: TaskAttribute) -> Send {
    Send {
        cdb: [0x2A, 0, 0, 0, 0, 0, 0, 0, 1, 0].to_vec(),
        data_out: vec![0; 512],
        attribute,
        ..Send::default()
    }
}

impl Two {
    fn status(&mut self, session: Session, cdb: &[u8]) -> Status {
        self.bed.command(session, 0, cdb, &[], 512).status
    }

    fn asc(&mut self, session: Session) -> Option<(u8, u8)> {
        self.bed.command(session, 0, &TUR, &[], 0).asc()
    }

    /// CHECK CONDITION with NACA.
    fn fault(&mut self, session: Session) {
        assert_eq!(
            self.status(session, &with_naca(&BAD)),
            Status::CheckCondition
        );
    }

    fn aca_command(&mut self, session: Session, cdb: &[u8]) -> u64 {
        let send = Send {
            cdb: cdb.to_vec(),
            attribute: Aca,
            expected_in: 512,
            ..Send::default()
        };
        self.bed.send(session, send)
    }

    fn clear_aca(&mut self, session: Session) -> Response {
        self.bed.tmf(session, 0, Function::ClearAca)
    }

    fn hold(&self, hold: bool) {
        self.unit.hold.store(hold, Relaxed);
    }

    /// Lets mail between the shards arrive.
    fn settle(&mut self) {
        (0..4).for_each(|_| self.bed.poll());
    }
}

fn failure() -> Outcome {
    Outcome::check(Sense::hardware(Asc::INTERNAL_TARGET_FAILURE))
}
