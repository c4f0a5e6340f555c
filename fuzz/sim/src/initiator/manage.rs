//! What an initiator sends beside commands: task management, pings, logout.

use lunforge::iscsi::proto::pdu::task_management_request::function;
use lunforge::iscsi::proto::pdu::{LogoutRequest, NopOut, RESERVED_TAG, TaskManagementRequest};

use super::issue::lun;
use super::{Initiator, Phase, Task, What};
use crate::attention::{self, Raise};
use crate::model::SessionId;
use crate::rng::Rng;

/// Immediate requests in flight at a time.
const IMMEDIATE: usize = 8;

impl Initiator {
    fn immediates(&self) -> usize {
        self.tasks
            .values()
            .filter(|task| !task.is_command())
            .count()
    }

    pub(super) fn ping(&mut self, rng: &mut Rng) {
        if self.immediates() >= IMMEDIATE {
            return;
        }
        let most = self.agreed.target_recv.min(300);
        let data = vec![rng.next() as u8; rng.below(most)];
        let itt = self.tag();
        let pdu = NopOut {
            immediate: true,
            data_segment_length: data.len() as u32,
            lun: [0; 8],
            itt,
            ttt: RESERVED_TAG,
            cmd_sn: self.cmd_sn,
            exp_stat_sn: self.stat_sn,
        };
        self.send(&pdu.emit(), &data, false);
        let sent = self.note(41, 0, || "pings".into());
        let task = Task::new(What::Ping(data), 0, self.cmd_sn, sent, 0);
        self.tasks.insert(itt, task);
    }

    pub(crate) fn logout(&mut self) {
        if self.phase != Phase::Full || self.tasks.values().any(|task| task.what == What::Logout) {
            return;
        }
        let itt = self.tag();
        let pdu = LogoutRequest {
            immediate: true,
            reason: 0,
            itt,
            cid: 0,
            cmd_sn: self.cmd_sn,
            exp_stat_sn: self.stat_sn,
        };
        let end = self.send(&pdu.emit(), &[], false);
        let sent = self.note(42, 0, || "logs out".into());
        let mut task = Task::new(What::Logout, 0, self.cmd_sn, sent, 0);
        task.header_end = end;
        self.tasks.insert(itt, task);
    }

    pub(super) fn manage(&mut self, rng: &mut Rng, session: SessionId, reset: bool) {
        if self.immediates() >= IMMEDIATE
            || self.tasks.values().any(|task| task.what == What::Logout)
        {
            return;
        }
        let function = if reset {
            rng.pick(&[
                function::LOGICAL_UNIT_RESET,
                function::LOGICAL_UNIT_RESET,
                function::LOGICAL_UNIT_RESET,
                function::TARGET_WARM_RESET,
                function::TARGET_COLD_RESET,
            ])
        } else {
            rng.pick(&[1, 1, 1, 2, 4, 3])
        };
        let mut unit = rng.below(self.shared.config.units.len());
        let (mut of, mut ref_cmd_sn) = (RESERVED_TAG, 0);
        if function == function::ABORT_TASK {
            let commands: Vec<u32> = self
                .tasks
                .iter()
                .filter(|(_, t)| t.is_command())
                .map(|(itt, _)| *itt)
                .collect();
            if commands.is_empty() {
                return;
            }
            of = rng.pick(&commands);
            (unit, ref_cmd_sn) = (self.tasks[&of].unit, self.tasks[&of].cmd_sn);
        }
        let itt = self.tag();
        let pdu = TaskManagementRequest {
            immediate: true,
            function,
            lun: lun(unit),
            itt,
            referenced_task_tag: of,
            cmd_sn: self.cmd_sn,
            exp_stat_sn: self.stat_sn,
            ref_cmd_sn,
            exp_data_sn: 0,
        };
        let end = self.send(&pdu.emit(), &[], false);
        let sent = self.note(43, u64::from(function), || {
            format!("sends task management {function} for unit {unit}, tag {of}, as {itt}")
        });
        let mut task = Task::new(What::Manage { function, of }, unit, self.cmd_sn, sent, 0);
        task.header_end = end;
        self.announce(function, unit, session, &task);
        self.tasks.insert(itt, task);
    }

    /// What other nexuses may see of a function.
    fn announce(&self, function: u8, unit: usize, session: SessionId, task: &Task) {
        let mut model = self.shared.model.lock();
        let shared = self.shared.config.units[unit].shared_task_set;
        let units = 0..self.shared.config.units.len();
        let met = units.filter(|u| *u == unit || matches!(function, 6 | 7));
        for unit in met {
            match function {
                5..=7 => {
                    model.sweep_sent(unit, session, task.sent);
                    model.raise(unit, attention::RESET, Raise::Open(task.sent), |_| true);
                    model.units[unit].modes = None;
                }
                4 if shared => {
                    model.sweep_sent(unit, session, task.sent);
                    let me = self.index;
                    model.raise(
                        unit,
                        attention::COMMANDS_CLEARED,
                        Raise::Open(task.sent),
                        |who| who != me,
                    );
                }
                _ => {}
            }
        }
    }
}
