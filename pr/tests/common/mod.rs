//! A unit with reservations on a bed, and the commands that tests send it.
#![allow(dead_code, reason = "each test binary uses a part")]

use lunforge_core::LogicalUnit;
use lunforge_core::handler::DeviceHandler;
use lunforge_core::status::Status;
use lunforge_core::testing::{Bed, Reply, Send, Session};
use lunforge_pr::{OnDamage, Persistence, Reservations};
use std::sync::Arc;

pub(crate) const REGISTER: u8 = 0;
pub(crate) const RESERVE: u8 = 1;
pub(crate) const RELEASE: u8 = 2;
pub(crate) const CLEAR: u8 = 3;
pub(crate) const PREEMPT: u8 = 4;
pub(crate) const PREEMPT_AND_ABORT: u8 = 5;
pub(crate) const REGISTER_AND_IGNORE: u8 = 6;
pub(crate) const REGISTER_AND_MOVE: u8 = 7;

pub(crate) const TEST_UNIT_READY: [u8; 6] = [0; 6];
pub(crate) const READ: [u8; 10] = [0x28, 0, 0, 0, 0, 0, 0, 0, 1, 0];
pub(crate) const WRITE: [u8; 10] = [0x2A, 0, 0, 0, 0, 0, 0, 0, 1, 0];
pub(crate) const BLOCK: [u8; 512] = [7; 512];

/// A PERSISTENT RESERVE OUT command: service action, TYPE, RESERVATION KEY, SERVICE ACTION RESERVATION KEY, byte 20.
pub(crate) struct Out(
    pub(crate) u8,
    pub(crate) u8,
    pub(crate) u64,
    pub(crate) u64,
    pub(crate) u8,
);

impl Out {
    pub(crate) fn cdb(&self, len: usize) -> [u8; 10] {
        [
            0x5F,
            self.0,
            self.1,
            0,
            0,
            0,
            0,
            (len >> 8) as u8,
            len as u8,
            0,
        ]
    }

    pub(crate) fn list(&self) -> Vec<u8> {
        let mut list = Vec::from(self.2.to_be_bytes());
        list.extend(self.3.to_be_bytes());
        list.extend([0, 0, 0, 0, self.4, 0, 0, 0]);
        list
    }

    pub(crate) fn command(&self) -> Send {
        let data_out = self.list();
        let cdb = self.cdb(data_out.len()).to_vec();
        Send {
            cdb,
            data_out,
            ..Send::default()
        }
    }
}

pub(crate) fn unit(
    handler: impl DeviceHandler,
    persistence: impl Persistence,
) -> (Arc<LogicalUnit>, Reservations) {
    let reservations = Reservations::open(persistence, OnDamage::RefuseMediumAccess);
    let unit = LogicalUnit::builder(Arc::new(handler))
        .service(Arc::new(reservations.clone()))
        .build();
    (unit, reservations)
}

/// Sends a PERSISTENT RESERVE OUT command and waits for its end.
pub(crate) fn out(bed: &mut Bed, session: Session, command: &Out) -> Reply {
    let tag = bed.send(session, command.command());
    bed.wait(session, tag)
}

/// As [`out`]; it is to be GOOD.
#[track_caller]
pub(crate) fn good(bed: &mut Bed, session: Session, command: &Out) {
    let reply = out(bed, session, command);
    assert_eq!(reply.status, Status::Good, "{:?}", reply.sense);
}

pub(crate) fn status(bed: &mut Bed, session: Session, cdb: &[u8]) -> Status {
    let writes = cdb[0] == 0x2A;
    let data: &[u8] = if writes { &BLOCK } else { &[] };
    bed.command(session, 0, cdb, data, if cdb[0] == 0x28 { 512 } else { 0 })
        .status
}

/// The next unit attention of a session.
pub(crate) fn attention(bed: &mut Bed, session: Session) -> Option<(u8, u8)> {
    let reply = bed.command(session, 0, &TEST_UNIT_READY, &[], 0);
    (reply.status == Status::CheckCondition).then(|| reply.asc().unwrap())
}

/// PERSISTENT RESERVE IN.
pub(crate) fn reserve_in(bed: &mut Bed, session: Session, service_action: u8, alloc: u16) -> Reply {
    let [high, low] = alloc.to_be_bytes();
    let cdb = [0x5E, service_action, 0, 0, 0, 0, 0, high, low, 0];
    bed.command(session, 0, &cdb, &[], usize::from(alloc))
}
