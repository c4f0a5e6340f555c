//! A scripted initiator that checks everything it is told.

use std::collections::{BTreeMap, VecDeque};

use lunforge_iscsi::proto::connection::ConnectionParams;
use lunforge_iscsi::proto::digest::crc32c;
use lunforge_iscsi::proto::pdu::scsi_response::Residual;
use lunforge_iscsi::proto::pdu::{
    self, BHS_LEN, Bhs, DataIn, DataOut, NopIn, NopOut, R2t, RESERVED_TAG, ScsiCommand,
    ScsiResponse, TaskAttribute, TaskManagementRequest, TaskManagementResponse, opcode,
};
use lunforge_iscsi::proto::session::{SessionParams, serial_lt};

use super::{Agreed, Rng, SLOT, SLOTS};

const LUN: [u8; 8] = [0; 8];

#[derive(Debug)]
enum What {
    Read { got: usize, data_sn: u32 },
    Write { data: Vec<u8>, r2t_sn: u32 },
    Nothing,
    Ping(Vec<u8>),
    Abort { of: u32 },
}

#[derive(Debug)]
struct Task {
    what: What,
    cmd_sn: u32,
    slot: usize,
    expected: usize,
    actual: usize,
    read: Vec<u8>,
    /// Place in the stream where its unsolicited data ends.
    unsolicited_end: u64,
}

/// See the module's head.
pub(crate) struct Initiator {
    session: SessionParams,
    connection: ConnectionParams,
    cmd_sn: u32,
    max_cmd_sn: u32,
    stat_sn: u32,
    next_itt: u32,
    tasks: BTreeMap<u32, Task>,
    /// What a slot holds; `None` when a write of it was lost or aborted.
    slots: Vec<Option<Vec<u8>>>,
    out: VecDeque<u8>,
    /// Bytes that left in all.
    left: u64,
    input: Vec<u8>,
    issuing: bool,
}

impl std::fmt::Debug for Initiator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Initiator")
            .field("tasks", &self.tasks.keys())
            .field("out", &self.out.len())
            .field("input", &self.input.len())
            .field("cmd_sn", &self.cmd_sn)
            .field("max_cmd_sn", &self.max_cmd_sn)
            .finish_non_exhaustive()
    }
}

impl Initiator {
    pub(crate) fn new(agreed: &Agreed, first: u32) -> Self {
        Self {
            session: agreed.session.clone(),
            connection: agreed.connection.clone(),
            cmd_sn: first,
            max_cmd_sn: first.wrapping_add(agreed.session.queued_commands - 1),
            stat_sn: first,
            next_itt: 1,
            tasks: BTreeMap::new(),
            slots: vec![Some(vec![0; SLOT]); SLOTS],
            out: VecDeque::new(),
            left: 0,
            input: Vec::new(),
            issuing: true,
        }
    }

    /// A new session after the old one was lost; what was in flight may or may not have happened.
    pub(crate) fn reconnect(&mut self, agreed: &Agreed, first: u32) {
        let tasks = std::mem::take(&mut self.tasks);
        for task in tasks
            .values()
            .filter(|task| matches!(task.what, What::Write { .. }))
        {
            self.slots[task.slot] = None;
        }
        let slots = std::mem::take(&mut self.slots);
        let next_itt = self.next_itt;
        *self = Self {
            slots,
            next_itt,
            ..Self::new(agreed, first)
        };
    }

    pub(crate) fn stop_issuing(&mut self) {
        self.issuing = false;
    }

    pub(crate) fn is_done(&self) -> bool {
        self.tasks.is_empty() && self.out.is_empty()
    }

    /// At most `room` bytes for the wire.
    pub(crate) fn transmit(&mut self, room: usize) -> Vec<u8> {
        let len = room.min(self.out.len());
        self.left += len as u64;
        self.out.drain(..len).collect()
    }

    fn send(&mut self, bhs: Bhs, data: &[u8]) {
        self.out.extend(bhs);
        if self.connection.header_digest {
            self.out.extend(crc32c(&bhs));
        }
        if !data.is_empty() {
            let mut padded = data.to_vec();
            padded.resize(data.len().next_multiple_of(4), 0);
            self.out.extend(&padded);
            if self.connection.data_digest {
                self.out.extend(crc32c(&padded));
            }
        }
    }

    /// Does one random thing.
    pub(crate) fn issue(&mut self, rng: &mut Rng) {
        if !self.issuing || self.out.len() > 200_000 {
            return;
        }
        if rng.one_in(12) {
            return self.ping(rng);
        }
        if rng.one_in(12) {
            return self.abort(rng);
        }
        if serial_lt(self.max_cmd_sn, self.cmd_sn) {
            return;
        }
        let slot = rng.below(SLOTS);
        if self.tasks.values().any(|task| task.slot == slot) {
            return;
        }
        let actual = rng.pick(&[0, 1, 511, 512, 4096, SLOT]);
        // Now and then more or less than the command is going to move.
        let expected = if rng.one_in(5) {
            rng.pick(&[0, 100, 512, SLOT])
        } else {
            actual
        };
        match rng.below(5) {
            0 => self.no_data(slot),
            1 | 2 => self.read(slot, expected, actual),
            _ => self.write(rng, slot, expected, actual),
        }
    }

    fn itt(&mut self) -> u32 {
        self.next_itt = self.next_itt.wrapping_add(1) % 0xffff_fff0;
        self.next_itt
    }

    fn command(&mut self, slot: usize, opcode: u8, actual: usize) -> ScsiCommand {
        let cmd_sn = self.cmd_sn;
        self.cmd_sn = cmd_sn.wrapping_add(1);
        let mut cdb = [0; 16];
        cdb[0] = opcode;
        cdb[2..6].copy_from_slice(&((slot * SLOT) as u32).to_be_bytes());
        cdb[6..10].copy_from_slice(&(actual as u32).to_be_bytes());
        ScsiCommand {
            immediate: false,
            is_final: true,
            read: false,
            write: false,
            attribute: TaskAttribute::Simple,
            ahs_words: 0,
            data_segment_length: 0,
            lun: LUN,
            itt: self.itt(),
            expected_data_transfer_length: 0,
            cmd_sn,
            exp_stat_sn: self.stat_sn,
            cdb,
        }
    }

    fn track(&mut self, command: &ScsiCommand, what: What, slot: usize, actual: usize) {
        let expected = command.expected_data_transfer_length as usize;
        let (cmd_sn, read) = (command.cmd_sn, Vec::new());
        let task = Task {
            what,
            cmd_sn,
            slot,
            expected,
            actual,
            read,
            unsolicited_end: 0,
        };
        assert!(self.tasks.insert(command.itt, task).is_none());
    }

    fn no_data(&mut self, slot: usize) {
        let command = self.command(slot, 0x00, 0);
        self.track(&command, What::Nothing, slot, 0);
        self.send(command.emit(), &[]);
    }

    fn read(&mut self, slot: usize, expected: usize, actual: usize) {
        let command = ScsiCommand {
            read: true,
            expected_data_transfer_length: expected as u32,
            ..self.command(slot, 0x28, actual)
        };
        self.track(&command, What::Read { got: 0, data_sn: 0 }, slot, actual);
        self.send(command.emit(), &[]);
    }

    fn write(&mut self, rng: &mut Rng, slot: usize, expected: usize, actual: usize) {
        let start = rng.next() as usize;
        let data: Vec<u8> = (0..expected)
            .map(|at| (start + at * 7 % 251) as u8)
            .collect();
        let first_burst = expected.min(self.session.first_burst_length as usize);
        let segment = self.connection.max_recv_data_segment_length as usize;
        let immediate = if self.session.immediate_data && !rng.one_in(3) {
            rng.below(first_burst.min(segment) + 1)
        } else {
            0
        };
        let unsolicited = !self.session.initial_r2t && rng.one_in(2);
        let command = ScsiCommand {
            write: true,
            is_final: !unsolicited,
            expected_data_transfer_length: expected as u32,
            data_segment_length: immediate as u32,
            ..self.command(slot, 0x2a, actual)
        };
        self.send(command.emit(), &data[..immediate]);
        if unsolicited {
            self.sequence(
                rng.below(400) + 1,
                command.itt,
                RESERVED_TAG,
                immediate,
                &data[..first_burst],
            );
        }
        self.track(&command, What::Write { data, r2t_sn: 0 }, slot, actual);
        let end = self.left + self.out.len() as u64;
        if let Some(task) = self.tasks.get_mut(&command.itt).filter(|_| unsolicited) {
            task.unsolicited_end = end;
        }
    }

    /// Sends `data[from..]` as one sequence of Data-Out PDUs; it may be empty but for its final PDU.
    fn sequence(&mut self, shave: usize, itt: u32, ttt: u32, from: usize, data: &[u8]) {
        let segment = self.connection.max_recv_data_segment_length as usize;
        let segment = if shave.is_multiple_of(3) {
            segment - shave.min(segment - 1)
        } else {
            segment
        };
        let (mut offset, mut data_sn) = (from, 0);
        loop {
            let len = segment.min(data.len() - offset);
            let end = offset + len;
            let pdu = DataOut {
                is_final: end == data.len(),
                data_segment_length: len as u32,
                lun: LUN,
                itt,
                ttt,
                exp_stat_sn: self.stat_sn,
                data_sn,
                buffer_offset: offset as u32,
            };
            self.send(pdu.emit(), &data[offset..end]);
            (offset, data_sn) = (end, data_sn + 1);
            if end == data.len() {
                return;
            }
        }
    }

    fn ping(&mut self, rng: &mut Rng) {
        let most = (self.connection.max_recv_data_segment_length as usize).min(900);
        let data = vec![rng.next() as u8; rng.below(most)];
        let itt = self.itt();
        let pdu = NopOut {
            immediate: true,
            data_segment_length: data.len() as u32,
            lun: LUN,
            itt,
            ttt: RESERVED_TAG,
            cmd_sn: self.cmd_sn,
            exp_stat_sn: self.stat_sn,
        };
        self.send(pdu.emit(), &data);
        let (cmd_sn, slot) = (self.cmd_sn, usize::MAX);
        let what = What::Ping(data);
        self.tasks.insert(
            itt,
            Task {
                what,
                cmd_sn,
                slot,
                expected: 0,
                actual: 0,
                read: Vec::new(),
                unsolicited_end: 0,
            },
        );
    }

    fn abort(&mut self, rng: &mut Rng) {
        let aborts = self
            .tasks
            .values()
            .filter(|task| matches!(task.what, What::Abort { .. }))
            .count();
        let at = rng.below(self.tasks.len());
        let Some((&of, victim)) = self.tasks.iter().nth(at).filter(|_| aborts < 4) else {
            return;
        };
        if matches!(victim.what, What::Ping(_) | What::Abort { .. }) {
            return;
        }
        let ref_cmd_sn = victim.cmd_sn;
        let itt = self.itt();
        let pdu = TaskManagementRequest {
            immediate: true,
            function: pdu::task_management_request::function::ABORT_TASK,
            lun: LUN,
            itt,
            referenced_task_tag: of,
            cmd_sn: self.cmd_sn,
            exp_stat_sn: self.stat_sn,
            ref_cmd_sn,
            exp_data_sn: 0,
        };
        self.send(pdu.emit(), &[]);
        let (what, slot) = (What::Abort { of }, usize::MAX);
        let task = Task {
            what,
            cmd_sn: 0,
            slot,
            expected: 0,
            actual: 0,
            read: Vec::new(),
            unsolicited_end: 0,
        };
        self.tasks.insert(itt, task);
    }

    /// Takes bytes off the wire.
    pub(crate) fn receive(&mut self, bytes: &[u8]) {
        self.input.extend_from_slice(bytes);
        while let Some((bhs, data, len)) = self.whole_pdu() {
            self.input.drain(..len);
            self.pdu(&bhs, data);
        }
    }

    fn whole_pdu(&self) -> Option<(Bhs, Vec<u8>, usize)> {
        let digest = |on: bool| if on { 4 } else { 0 };
        let bhs = *self.input.first_chunk::<BHS_LEN>()?;
        let len = pdu::data_segment_len(&bhs) as usize;
        let start = BHS_LEN + digest(self.connection.header_digest);
        let padded = len.next_multiple_of(4);
        let trailer = digest(self.connection.data_digest && len > 0);
        let end = start + padded + trailer;
        let whole = self.input.get(..end)?;
        if self.connection.header_digest {
            assert_eq!(whole[BHS_LEN..start], crc32c(&bhs));
        }
        if trailer > 0 {
            assert_eq!(
                whole[start + padded..],
                crc32c(&whole[start..start + padded])
            );
        }
        assert!(len <= self.connection.max_xmit_data_segment_length as usize);
        Some((bhs, whole[start..start + len].to_vec(), end))
    }

    fn window(&mut self, bhs: &Bhs) {
        let word = |at: usize| u32::from_be_bytes(*bhs[at..].first_chunk().expect("four"));
        let (exp, max) = (word(28), word(32));
        assert!(!serial_lt(max, self.max_cmd_sn), "MaxCmdSN went back");
        assert!(
            !serial_lt(self.cmd_sn, exp),
            "ExpCmdSN of a command never sent"
        );
        assert!(max.wrapping_sub(exp).wrapping_add(1) <= self.session.queued_commands);
        self.max_cmd_sn = max;
    }

    fn status(&mut self, stat_sn: u32) {
        assert_eq!(stat_sn, self.stat_sn, "StatSN");
        self.stat_sn = stat_sn.wrapping_add(1);
    }

    fn pdu(&mut self, bhs: &Bhs, data: Vec<u8>) {
        self.window(bhs);
        match pdu::opcode_of(bhs) {
            opcode::SCSI_RESPONSE => {
                self.scsi_response(&ScsiResponse::parse(bhs).expect("legal"), &data)
            }
            opcode::DATA_IN => self.data_in(&DataIn::parse(bhs).expect("legal"), &data),
            opcode::R2T => self.r2t(&R2t::parse(bhs).expect("legal")),
            opcode::NOP_IN => self.nop_in(&NopIn::parse(bhs).expect("legal"), &data),
            opcode::TASK_MANAGEMENT_RESPONSE => {
                self.aborted(&TaskManagementResponse::parse(bhs).expect("legal"));
            }
            other => panic!("unexpected opcode {other:#04x}"),
        }
    }

    fn data_in(&mut self, pdu: &DataIn, data: &[u8]) {
        let burst = self.session.max_burst_length as usize;
        let task = self
            .tasks
            .get_mut(&pdu.itt)
            .expect("data of a task in flight");
        let What::Read { got, data_sn } = &mut task.what else {
            panic!("Data-In for no read")
        };
        assert_eq!((pdu.data_sn, pdu.buffer_offset as usize), (*data_sn, *got));
        assert!(!data.is_empty() && *got + data.len() <= task.expected.min(task.actual));
        let before = *got % burst;
        assert!(
            before + data.len() <= burst,
            "a sequence longer than MaxBurstLength"
        );
        *got += data.len();
        *data_sn += 1;
        task.read.extend_from_slice(data);
        if let Some((status, residual)) = pdu.status {
            assert!(pdu.is_final && status == 0);
            self.status(pdu.stat_sn);
            self.read_done(pdu.itt, residual);
        }
    }

    fn read_done(&mut self, itt: u32, residual: Residual) {
        let task = self.tasks.remove(&itt).expect("a task in flight");
        let len = task.expected.min(task.actual);
        assert_eq!(task.read.len(), len);
        assert_eq!(
            residual,
            Residual::between(task.expected as u32, task.actual as u64)
        );
        match &self.slots[task.slot] {
            Some(known) => assert_eq!(task.read, known[..len], "slot {}", task.slot),
            None => {
                // What is read now stays until it is written again, as far as it was read.
                if len == SLOT {
                    self.slots[task.slot] = Some(task.read);
                }
            }
        }
    }

    fn scsi_response(&mut self, response: &ScsiResponse, sense: &[u8]) {
        self.status(response.stat_sn);
        let task = self
            .tasks
            .get(&response.itt)
            .expect("status of a task in flight");
        assert!(
            self.left >= task.unsolicited_end,
            "a status before the unsolicited data ended"
        );
        if response.status != 0 {
            assert_eq!((response.status, sense.len()), (2, 20));
            let (total, numbers) = match &task.what {
                What::Read { data_sn, .. } => (task.actual, *data_sn),
                What::Write { r2t_sn, .. } => (0, *r2t_sn),
                other => panic!("refused: {other:?}"),
            };
            let residual = Residual::between(task.expected as u32, total as u64);
            assert_eq!(response.residual, residual);
            assert_eq!(response.exp_data_sn, numbers);
            self.tasks.remove(&response.itt);
            return;
        }
        match &task.what {
            What::Read { data_sn, .. } => {
                assert_eq!(response.exp_data_sn, *data_sn);
                self.read_done(response.itt, response.residual);
            }
            What::Write { r2t_sn, .. } => {
                assert_eq!(response.exp_data_sn, *r2t_sn);
                self.write_done(response.itt, response.residual);
            }
            What::Nothing => {
                self.tasks.remove(&response.itt);
            }
            other => panic!("a SCSI status for {other:?}"),
        }
    }

    fn write_done(&mut self, itt: u32, residual: Residual) {
        let task = self.tasks.remove(&itt).expect("a task in flight");
        let What::Write { data, .. } = task.what else {
            return;
        };
        assert_eq!(
            residual,
            Residual::between(task.expected as u32, task.actual as u64)
        );
        let len = task.expected.min(task.actual);
        match &mut self.slots[task.slot] {
            Some(known) => known[..len].copy_from_slice(&data[..len]),
            unknown if len == SLOT => *unknown = Some(data),
            _ => {}
        }
    }

    fn r2t(&mut self, pdu: &R2t) {
        assert_eq!((pdu.lun, pdu.stat_sn), (LUN, self.stat_sn));
        assert!(pdu.desired_data_transfer_length <= self.session.max_burst_length);
        let task = self
            .tasks
            .get_mut(&pdu.itt)
            .expect("an R2T for a task in flight");
        let What::Write { data, r2t_sn } = &mut task.what else {
            panic!("an R2T for no write")
        };
        assert_eq!(pdu.r2t_sn, *r2t_sn);
        *r2t_sn += 1;
        let start = pdu.buffer_offset as usize;
        let end = start + pdu.desired_data_transfer_length as usize;
        assert!(end <= task.expected.min(task.actual));
        let data = data[..end].to_vec();
        self.sequence(end % 500, pdu.itt, pdu.ttt, start, &data);
    }

    fn nop_in(&mut self, pdu: &NopIn, data: &[u8]) {
        if pdu.itt != RESERVED_TAG {
            self.status(pdu.stat_sn);
            let task = self.tasks.remove(&pdu.itt).expect("the answer to a ping");
            let What::Ping(sent) = task.what else {
                panic!("a NOP-In for no ping")
            };
            let most = self.connection.max_xmit_data_segment_length as usize;
            assert_eq!(data, &sent[..sent.len().min(most)]);
            return;
        }
        assert_eq!(pdu.stat_sn, self.stat_sn);
        let answer = NopOut {
            immediate: true,
            data_segment_length: 0,
            lun: pdu.lun,
            itt: RESERVED_TAG,
            ttt: pdu.ttt,
            cmd_sn: self.cmd_sn,
            exp_stat_sn: self.stat_sn,
        };
        self.send(answer.emit(), &[]);
    }

    fn aborted(&mut self, pdu: &TaskManagementResponse) {
        self.status(pdu.stat_sn);
        let task = self
            .tasks
            .remove(&pdu.itt)
            .expect("the answer to a function");
        let What::Abort { of } = task.what else {
            panic!("a function's answer for a command")
        };
        let victim = self.tasks.remove(&of);
        match pdu.response {
            0 => {
                if let Some(victim) = victim.filter(|task| matches!(task.what, What::Write { .. }))
                {
                    self.slots[victim.slot] = None;
                }
            }
            1 => assert!(
                victim.is_none(),
                "a task that exists no more has been answered"
            ),
            other => panic!("function response {other}"),
        }
    }
}
