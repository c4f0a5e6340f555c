//! The ends of commands and of task management functions.

use lunforge::iscsi::proto::pdu::TaskManagementResponse;
use lunforge::iscsi::proto::pdu::scsi_response::Residual;

use super::receive::residual_of;
use super::{Initiator, Task, What};
use crate::attention::{self, Asc, Raise};
use crate::chronicle::Seq;
use crate::config::Fault;
use crate::model::End;
use crate::pattern::{self, BLOCK};

const GOOD: u8 = 0x00;
const CHECK_CONDITION: u8 = 0x02;
const BUSY: u8 = 0x08;
const RESERVATION_CONFLICT: u8 = 0x18;
const TASK_SET_FULL: u8 = 0x28;
const TASK_ABORTED: u8 = 0x40;

const UNIT_ATTENTION: u8 = 0x06;
const ILLEGAL_REQUEST: u8 = 0x05;
const MISCOMPARE: u8 = 0x0E;
const NO_UNIT: Asc = (0x25, 0x00);

/// Sense key, ASC and ASCQ, of either format.
fn sense_of(sense: &[u8]) -> Option<(u8, Asc)> {
    match sense.first()? & 0x7F {
        0x70 => Some((sense.get(2)? & 0x0F, (*sense.get(12)?, *sense.get(13)?))),
        0x72 => Some((sense.get(1)? & 0x0F, (*sense.get(2)?, *sense.get(3)?))),
        _ => None,
    }
}

impl Initiator {
    pub(super) fn finish(
        &mut self,
        itt: u32,
        status: u8,
        sense: &[u8],
        residual: Residual,
        seq: Seq,
    ) {
        let Some(task) = self.tasks.remove(&itt) else {
            return self.fail("answered-twice", format!("status {status:#x} of {itt}"));
        };
        let sense = sense_of(sense);
        self.note(60, u64::from(status), || {
            format!(
                "has {itt} answered: {status:#x} {sense:x?}, {:?}",
                task.what
            )
        });
        if (status == CHECK_CONDITION) != sense.is_some() {
            self.fail("sense", format!("status {status:#x} with {sense:?}"));
        }
        self.check_status(&task, status, sense);
        self.check_attention(&task, status, sense, seq);
        if status == GOOD {
            self.check_residual(&task, residual);
        }
        self.conclude(&task, status, sense, seq);
    }

    fn on(&self, faults: &[Fault]) -> bool {
        faults.iter().any(|fault| self.shared.config.on(*fault))
    }

    /// Whether anything explains a status.
    fn check_status(&self, task: &Task, status: u8, sense: Option<(u8, Asc)>) {
        let explained = match (status, sense) {
            (GOOD | BUSY | TASK_SET_FULL, _) => true,
            (RESERVATION_CONFLICT, _) => self.on(&[Fault::Reservations]),
            (TASK_ABORTED, _) => self.on(&[Fault::Modes]) || self.unit_left(task),
            (CHECK_CONDITION, Some((key, asc))) => self.explained(task, key, asc),
            _ => false,
        };
        if !explained {
            self.fail(
                "unexplained-status",
                format!("{status:#x} {sense:x?} of {:?}", task.what),
            );
        }
    }

    /// Whether the unit went, or another one came in its place, after a command was sent.
    fn unit_left(&self, task: &Task) -> bool {
        let model = self.shared.model.lock();
        model.units[task.unit]
            .left
            .is_some_and(|left| left > task.sent)
    }

    fn explained(&self, task: &Task, key: u8, asc: Asc) -> bool {
        const STORE: [Fault; 4] = [
            Fault::FailingStore,
            Fault::BrokenStore,
            Fault::Resize,
            Fault::Unfenced,
        ];
        match (key, asc) {
            (UNIT_ATTENTION, _) => true,
            (ILLEGAL_REQUEST, NO_UNIT) => self.on(&[Fault::Luns]),
            (ILLEGAL_REQUEST, (0x21, 0)) => self.on(&[Fault::Resize]),
            (ILLEGAL_REQUEST, _) => {
                matches!(task.what, What::PrOut { .. } | What::ModeSelect { .. })
            }
            (0x02, (0x04, 0x01)) => {
                self.on(&[Fault::Unfenced, Fault::StuckStore, Fault::SlowStore])
            }
            (0x03, _) | (0x07, (0x27, 0x00 | 0x07)) => self.on(&STORE),
            (0x07, (0x27, 0x02)) => self.on(&[Fault::Modes]),
            (0x04, _) => self.on(&[Fault::BrokenStore, Fault::Offload, Fault::FailingStore]),
            (0x0B, (0x47, 0x05)) => self.on(&[Fault::BadDigest]),
            (0x0B, (0x2F, _)) => true,
            (0x0B, (0x08, 0x01)) => self.on(&[
                Fault::SlowStore,
                Fault::StuckStore,
                Fault::Offload,
                Fault::Leap,
                Fault::Starved,
                Fault::Reservations,
            ]),
            (MISCOMPARE, _) => matches!(task.what, What::Compare { .. }),
            _ => false,
        }
    }

    /// Unit attentions come before any other status, and only where there is a cause.
    fn check_attention(&self, task: &Task, status: u8, sense: Option<(u8, Asc)>, seq: Seq) {
        let Some(session) = self.session else { return };
        let mut model = self.shared.model.lock();
        let reported = match sense {
            Some((UNIT_ATTENTION, asc)) => Some(asc),
            _ if task.what == What::RequestSense && status == GOOD => sense_of(&task.read)
                .filter(|(key, _)| *key == UNIT_ATTENTION)
                .map(|(_, asc)| asc),
            _ => None,
        };
        let no_unit = matches!(sense, Some((ILLEGAL_REQUEST, NO_UNIT)));
        let attentions = model.attention(session, task.unit);
        if let Some(asc) = reported {
            if let Err(rule) = attentions.reported(asc, task.sent) {
                self.shared.chronicle.fail(
                    rule,
                    format!("initiator {} at #{seq}: {asc:02x?} by {task:?}", self.index),
                );
            }
        } else if !task.exempt && !no_unit {
            let missed = attentions.missed(task.sent);
            // One that was sent before may have it in its answer, which waits for its unsolicited data.
            let before = |other: &Task| {
                other.unit == task.unit && other.sent < task.sent && other.is_command()
            };
            let taken = self.tasks.values().any(before);
            if let (Some(asc), false) = (missed, taken) {
                let detail = format!(
                    "initiator {}: {asc:02x?} before {status:#x} of {task:?}",
                    self.index
                );
                self.shared.chronicle.fail("attention-missed", detail);
            }
        }
        if !task.exempt && !no_unit {
            model.attention(session, task.unit).used(task.sent);
        }
    }

    fn check_residual(&self, task: &Task, residual: Residual) {
        let due = match (&task.what, task.actual) {
            (What::Read { .. }, Some(actual)) => residual_of(task.expected, actual),
            _ if task.data.is_empty() => residual_of(task.expected, task.read.len()),
            _ => Residual::None,
        };
        if residual != due {
            self.fail(
                "residual",
                format!("{residual:?} where {due:?} is due: {:?}", task.what),
            );
        }
    }

    /// What follows from an answer.
    fn conclude(&mut self, task: &Task, status: u8, sense: Option<(u8, Asc)>, seq: Seq) {
        let good = status == GOOD;
        let mut model = self.shared.model.lock();
        match task.what {
            What::Read { lba, blocks } if good => {
                drop(model);
                self.check_read(task, lba, blocks, seq);
            }
            What::Write { id } => {
                model.end_write(id, seq, if good { End::Good } else { End::Failed })
            }
            What::Compare { id } => {
                if matches!(sense, Some((MISCOMPARE, _))) {
                    model.check_miscompare(id, seq);
                }
                model.end_write(id, seq, if good { End::Good } else { End::Failed });
            }
            What::Synchronize if good => model.synchronized(task.unit, task.sent),
            What::ReportLuns if good => {
                if let Some(session) = self.session {
                    for unit in 0..model.units.len() {
                        model
                            .attention(session, unit)
                            .cleared(attention::LUNS_CHANGED);
                    }
                }
            }
            What::ModeSense if good => {
                // Header of 4 bytes, no block descriptors (DBD).
                drop(model);
                self.control_pages[task.unit] = task.read.get(4..16).map(<[u8]>::to_vec);
            }
            What::ModeSelect { modes } => {
                let unit = &mut model.units[task.unit];
                unit.mode_selects -= 1;
                let alone = unit.mode_selects == 0;
                let before = unit.modes;
                if good {
                    unit.modes = (alone && before.is_some()).then_some(modes);
                } else if sense
                    .is_none_or(|(key, _)| key != UNIT_ATTENTION && key != ILLEGAL_REQUEST)
                {
                    unit.modes = None;
                }
                let certain = good && alone && before.is_some_and(|before| before != modes);
                model.settle(task.unit, task.sent, seq, certain);
            }
            What::PrOut { action, victim } => {
                drop(model);
                self.reserved(task, (action, victim), good, seq);
            }
            _ => {}
        }
    }

    fn check_read(&self, task: &Task, lba: u64, blocks: usize, seq: Seq) {
        let len = task.expected.min(blocks * BLOCK);
        if task.read.len() != len {
            return self.fail("data-in", format!("{} bytes of {len}", task.read.len()));
        }
        let mut contents = Vec::with_capacity(blocks);
        for block in task.read.chunks_exact(BLOCK) {
            match pattern::read(block) {
                Some(content) => contents.push(content),
                None => {
                    return self.fail("stale-or-foreign-read", format!("a torn block near {lba}"));
                }
            }
        }
        self.shared
            .model
            .lock()
            .check_read(task.unit, lba, &contents, task.sent, seq);
    }

    /// PERSISTENT RESERVE OUT is over, answered or aborted.
    fn reserved(&self, task: &Task, (action, victim): (u8, usize), good: bool, seq: Seq) {
        let mut model = self.shared.model.lock();
        model.units[task.unit]
            .pr_outs
            .retain(|out| out.sent != task.sent);
        if action == 5 {
            let me = self.index;
            model.sweep_answered(task.unit, task.sent, seq, |who| {
                good && who == victim && who != me
            });
            model.settle(task.unit, task.sent, seq, false);
        }
    }

    /// A function is answered.
    pub(super) fn managed(&mut self, pdu: &TaskManagementResponse, seq: Seq) {
        self.status(pdu.stat_sn);
        let Some(task) = self.tasks.remove(&pdu.itt) else {
            return self.fail("answered-twice", format!("no function: {pdu:?}"));
        };
        let What::Manage { function, of } = task.what else {
            return self.fail(
                "answered-twice",
                format!("a function's answer for {:?}", task.what),
            );
        };
        self.note(61, u64::from(pdu.response), || {
            format!("has function {function} answered: {}", pdu.response)
        });
        match (function, pdu.response) {
            (1, 0) => self.drop_tasks(seq, |itt, t| itt == of && t.sent < task.sent),
            (1, 1) => self.check_gone(of, &task, seq),
            (2 | 4 | 5, 0) => {
                self.drop_tasks(seq, |_, t| t.unit == task.unit && t.sent < task.sent)
            }
            (6 | 7, 0) => self.drop_tasks(seq, |_, t| t.sent < task.sent),
            (3, 0) => {}
            (_, 2) if self.on(&[Fault::Luns]) => {}
            _ => self.fail(
                "function-response",
                format!("{} to function {function}", pdu.response),
            ),
        }
        self.swept(function, &task, pdu.response == 0, seq);
    }

    fn swept(&self, function: u8, task: &Task, done: bool, seq: Seq) {
        let mut model = self.shared.model.lock();
        let config = &self.shared.config;
        let met = (0..config.units.len()).filter(|u| *u == task.unit || matches!(function, 6 | 7));
        for unit in met {
            let shared = config.units[unit].shared_task_set;
            // A unit that is no LUN now was not reset.
            let certain = done && !(config.on(Fault::Luns));
            match function {
                4 if shared => {
                    model.sweep_answered(unit, task.sent, seq, |_| certain);
                    model.settle(unit, task.sent, seq, false);
                }
                5..=7 => {
                    model.sweep_answered(unit, task.sent, seq, |_| certain);
                    model.settle(unit, task.sent, seq, certain);
                    model.reset_modes(unit);
                }
                _ => {}
            }
        }
    }

    /// "Task does not exist": it was answered, or another nexus ended it.
    fn check_gone(&mut self, of: u32, function: &Task, seq: Seq) {
        let Some(task) = self.tasks.get(&of).filter(|task| task.sent < function.sent) else {
            return;
        };
        if !self.may_be_gone(task) {
            let detail = format!("{of} is not answered: {task:?}");
            return self.fail("task-lost", detail);
        }
        self.drop_tasks(seq, |itt, _| itt == of);
    }

    /// Whether a command may have ended without an answer.
    pub(super) fn may_be_gone(&self, task: &Task) -> bool {
        // By a function of its own that is not answered yet, perhaps.
        let own = |other: &Task| match other.what {
            What::Manage { function: 1, of } => {
                self.tasks.get(&of).is_some_and(|it| it.sent == task.sent)
            }
            What::Manage { function, .. } => matches!(function, 6 | 7) || other.unit == task.unit,
            _ => false,
        };
        if self.tasks.values().any(own) {
            return true;
        }
        let session = self.session.unwrap_or(usize::MAX);
        self.shared
            .model
            .lock()
            .swept(task.unit, session, task.sent)
    }

    /// Commands that ended without an answer.
    fn drop_tasks(&mut self, seq: Seq, which: impl Fn(u32, &Task) -> bool) {
        let gone =
            |(itt, task): (&u32, &Task)| (task.is_command() && which(*itt, task)).then_some(*itt);
        let gone: Vec<u32> = self.tasks.iter().filter_map(gone).collect();
        for itt in gone {
            if let Some(task) = self.tasks.remove(&itt) {
                self.note(62, u64::from(itt), || format!("takes {itt} for aborted"));
                self.aborted(&task, seq);
            }
        }
    }

    fn aborted(&self, task: &Task, seq: Seq) {
        if let What::PrOut { action, victim } = task.what {
            self.reserved(task, (action, victim), false, seq);
        }
        let mut model = self.shared.model.lock();
        if let Some(id) = task.writes() {
            model.end_write(id, seq, End::Aborted);
        }
        if let What::ModeSelect { .. } = task.what {
            model.units[task.unit].modes = None;
            model.units[task.unit].mode_selects -= 1;
            model.settle(task.unit, task.sent, seq, false);
        }
        if let (Some(session), false) = (self.session, task.exempt) {
            // It may have taken a condition with it.
            model.attention(session, task.unit).doubt();
        }
    }

    /// What others see of a command that is sent now.
    pub(super) fn announce_command(&self, what: &What, unit: usize, sent: Seq) {
        if let What::ModeSelect { .. } = what {
            let (me, mut model) = (self.index, self.shared.model.lock());
            model.units[unit].mode_selects += 1;
            model.raise(unit, attention::MODE_CHANGED, Raise::Open(sent), |who| {
                who != me
            });
        }
    }
}
