//! The commands that an initiator sends.

use lunforge::iscsi::proto::pdu::{DataOut, RESERVED_TAG, ScsiCommand, TaskAttribute};
use lunforge::iscsi::proto::session::serial_lt;

use super::{Initiator, Phase, Task, What};
use crate::attention::{self, Raise};
use crate::config::Fault;
use crate::model::{Kind, PrOut, SessionId, Write};
use crate::pattern::{self, BLOCK};
use crate::rng::Rng;

/// Tags in use at a time.
const TAGS: u32 = 256;

/// A command before it is sent.
#[derive(Default)]
struct Plan {
    cdb: [u8; 16],
    expected_in: usize,
    actual: Option<usize>,
    data: Vec<u8>,
    exempt: bool,
}

pub(super) fn lun(unit: usize) -> [u8; 8] {
    [0, unit as u8, 0, 0, 0, 0, 0, 0]
}

/// Puts a number into bytes of a CDB, most significant first.
fn put(cdb: &mut [u8], value: u64) {
    let bytes = value.to_be_bytes();
    cdb.copy_from_slice(&bytes[bytes.len() - cdb.len()..]);
}

fn short(opcode: u8, second: u8, at: usize, len: u8) -> Plan {
    let mut cdb = [0; 16];
    (cdb[0], cdb[1], cdb[at]) = (opcode, second, len);
    Plan {
        cdb,
        expected_in: usize::from(len),
        ..Plan::default()
    }
}

impl Initiator {
    /// Begins one thing, if it may.
    pub(crate) fn issue(&mut self, rng: &mut Rng) {
        let Some(session) = self.session.filter(|_| self.phase == Phase::Full) else {
            return;
        };
        let aborts = self.shared.config.strength(Fault::Aborts);
        let resets = self.shared.config.strength(Fault::Resets);
        if rng.chance(aborts / 2) {
            return self.manage(rng, session, false);
        }
        if rng.chance(resets / 6) {
            return self.manage(rng, session, true);
        }
        if rng.one_in(20) {
            return self.ping(rng);
        }
        if rng.one_in(300) {
            return self.logout();
        }
        let window = !serial_lt(self.max_cmd_sn, self.cmd_sn);
        if window && self.tasks.len() < self.config.depth && self.undelivered() < 100_000 {
            let unit = rng.below(self.shared.config.units.len());
            self.command(rng, session, unit);
        }
    }

    fn command(&mut self, rng: &mut Rng, session: SessionId, unit: usize) {
        let on = |fault| self.shared.config.strength(fault);
        let (reservations, modes) = (on(Fault::Reservations), on(Fault::Modes));
        if rng.chance(reservations / 2) {
            return self.reserve_out(rng, session, unit);
        }
        if rng.chance(modes / 4) {
            return self.mode(rng, unit);
        }
        match rng.weighted(&[30, 40, 6, 4, 3, 4, 6, 7]) {
            0 => self.read(rng, unit),
            1 => self.write(rng, session, unit),
            2 => self.compare(rng, session, unit),
            3 => self.write_same(rng, session, unit),
            4 => self.unmap(rng, session, unit),
            5 => self.synchronize(rng, unit),
            6 => {
                let plan = short(0x00, 0, 5, 0);
                self.begin(rng, unit, What::Plain, plan);
            }
            _ => self.informative(rng, unit),
        }
    }

    /// Commands that tell something.
    fn informative(&mut self, rng: &mut Rng, unit: usize) {
        let (what, plan) = match rng.below(6) {
            0 => (
                What::Plain,
                Plan {
                    exempt: true,
                    ..short(0x12, 0, 4, 96)
                },
            ),
            1 => (
                What::RequestSense,
                Plan {
                    exempt: true,
                    ..short(0x03, 0, 4, 252)
                },
            ),
            2 => (
                What::ReportLuns,
                Plan {
                    exempt: true,
                    ..short(0xA0, 0, 9, 128)
                },
            ),
            3 => (
                What::Plain,
                Plan {
                    expected_in: 8,
                    ..short(0x25, 0, 9, 0)
                },
            ),
            4 => (What::Plain, short(0x5E, rng.pick(&[0, 1, 3]), 8, 200)),
            _ => (What::Plain, short(0xA3, 0x0A, 9, 64)),
        };
        self.begin(rng, unit, what, plan);
    }

    fn extent(&self, rng: &mut Rng, unit: usize, most: usize) -> (u64, usize) {
        let config = &self.shared.config.units[unit];
        let (size, transfer) = (config.blocks as usize, config.max_transfer as usize / BLOCK);
        let blocks = rng.range(1, most.min(size).min(transfer) + 1);
        (rng.below(size - blocks + 1) as u64, blocks)
    }

    fn read(&mut self, rng: &mut Rng, unit: usize) {
        let most = rng.pick(&[1, 4, 20]);
        let (lba, blocks) = self.extent(rng, unit, most);
        let mut plan = Plan {
            expected_in: blocks * BLOCK,
            actual: Some(blocks * BLOCK),
            ..Plan::default()
        };
        // Now and then room for less or more than there is.
        if rng.one_in(10) {
            plan.expected_in = rng.pick(&[0, 100, 512, 4096]);
        }
        plan.cdb[0] = 0x28;
        plan.cdb[1] = u8::from(rng.one_in(8)) << 3;
        put(&mut plan.cdb[2..6], lba);
        put(&mut plan.cdb[7..9], blocks as u64);
        self.begin(rng, unit, What::Read { lba, blocks }, plan);
    }

    fn new_write(
        &mut self,
        session: SessionId,
        unit: usize,
        extent: (u64, usize),
        kind: Kind,
        fua: bool,
    ) -> u32 {
        let sent = self.shared.chronicle.seq() + 1;
        let (lba, blocks) = extent;
        self.shared
            .model
            .lock()
            .send_write(Write::new(unit, lba, blocks, session, kind, fua, sent))
    }

    fn write(&mut self, rng: &mut Rng, session: SessionId, unit: usize) {
        let most = rng.pick(&[1, 4, 20]);
        let (lba, blocks) = self.extent(rng, unit, most);
        let fua = rng.one_in(4);
        let id = self.new_write(session, unit, (lba, blocks), Kind::Plain, fua);
        let mut plan = Plan {
            data: data_of(id, blocks),
            ..Plan::default()
        };
        plan.cdb[0] = 0x2A;
        plan.cdb[1] = u8::from(fua) << 3;
        put(&mut plan.cdb[2..6], lba);
        put(&mut plan.cdb[7..9], blocks as u64);
        self.begin(rng, unit, What::Write { id }, plan);
    }

    fn compare(&mut self, rng: &mut Rng, session: SessionId, unit: usize) {
        let (lba, blocks) = self.extent(rng, unit, 2);
        let expected: Vec<_> = {
            let model = self.shared.model.lock();
            (0..blocks as u64)
                .map(|at| model.present(unit, lba + at))
                .collect()
        };
        let mut data = vec![0; blocks * BLOCK];
        for (block, content) in data.chunks_mut(BLOCK).zip(&expected) {
            pattern::fill(block, *content);
        }
        let id = self.new_write(session, unit, (lba, blocks), Kind::Compare(expected), false);
        data.extend(data_of(id, blocks));
        let mut plan = Plan {
            data,
            ..Plan::default()
        };
        (plan.cdb[0], plan.cdb[13]) = (0x89, blocks as u8);
        put(&mut plan.cdb[2..10], lba);
        self.begin(rng, unit, What::Compare { id }, plan);
    }

    fn write_same(&mut self, rng: &mut Rng, session: SessionId, unit: usize) {
        let (lba, blocks) = self.extent(rng, unit, 24);
        let zero = rng.one_in(2);
        let kind = if zero { Kind::Zero } else { Kind::Same };
        let id = self.new_write(session, unit, (lba, blocks), kind, false);
        let mut plan = Plan::default();
        plan.cdb[0] = 0x93;
        put(&mut plan.cdb[2..10], lba);
        put(&mut plan.cdb[10..14], blocks as u64);
        plan.data = if zero { vec![0; BLOCK] } else { data_of(id, 1) };
        self.begin(rng, unit, What::Write { id }, plan);
    }

    fn unmap(&mut self, rng: &mut Rng, session: SessionId, unit: usize) {
        if !self.shared.config.units[unit].thin {
            return;
        }
        let (lba, blocks) = self.extent(rng, unit, 24);
        let id = self.new_write(session, unit, (lba, blocks), Kind::Zero, false);
        let mut plan = Plan {
            data: vec![0; 24],
            ..Plan::default()
        };
        (plan.data[1], plan.data[3]) = (22, 16);
        put(&mut plan.data[8..16], lba);
        put(&mut plan.data[16..20], blocks as u64);
        (plan.cdb[0], plan.cdb[8]) = (0x42, 24);
        self.begin(rng, unit, What::Write { id }, plan);
    }

    fn synchronize(&mut self, rng: &mut Rng, unit: usize) {
        let immed = rng.one_in(4);
        let plan = Plan {
            ..short(0x35, u8::from(immed) << 1, 8, 0)
        };
        let what = if immed {
            What::Plain
        } else {
            What::Synchronize
        };
        self.begin(rng, unit, what, plan);
    }

    /// MODE SENSE of the control mode page, or MODE SELECT of one that was read, with other bits.
    fn mode(&mut self, rng: &mut Rng, unit: usize) {
        let Some(mut page) = self.control_pages[unit].clone().filter(|_| rng.one_in(2)) else {
            let plan = short(0x1A, 0x08, 4, 64);
            let mut plan = Plan { ..plan };
            plan.cdb[2] = 0x0A;
            return self.begin(rng, unit, What::ModeSense, plan);
        };
        let modes = rng.below(8) as u8 & rng.below(8) as u8;
        for (at, bit, on) in [(2, 2, 1), (4, 3, 2), (5, 6, 4)] {
            page[at] &= !(1 << bit);
            page[at] |= u8::from(modes & on != 0) << bit;
        }
        page[0] &= 0x3F;
        let plan = Plan {
            data: [&[0; 4], &page[..]].concat(),
            ..short(0x15, 0x10, 4, 4 + page.len() as u8)
        };
        let plan = Plan {
            expected_in: 0,
            ..plan
        };
        self.begin(rng, unit, What::ModeSelect { modes }, plan);
    }

    fn reserve_out(&mut self, rng: &mut Rng, session: SessionId, unit: usize) {
        let action = rng.pick(&[6, 6, 6, 1, 1, 2, 3, 4, 5, 5]);
        let victim = rng.below(self.shared.config.ports.len());
        let own = self.index as u64 + 0x100;
        let other = match action {
            6 if rng.one_in(6) => 0,
            6 => own,
            4 | 5 => victim as u64 + 0x100,
            _ => 0,
        };
        let mut list = vec![0; 24];
        if action != 6 {
            put(&mut list[0..8], own);
        }
        put(&mut list[8..16], other);
        let persistent = self.shared.config.units[unit].persistent;
        list[20] = u8::from(action == 6 && persistent && rng.one_in(2));
        let mut plan = Plan {
            data: list,
            ..short(0x5F, action, 8, 24)
        };
        plan.expected_in = 0;
        plan.cdb[2] = rng.pick(&[1, 3, 5, 6, 7, 8]);
        let sent = self.shared.chronicle.seq() + 1;
        {
            let mut model = self.shared.model.lock();
            model.units[unit].pr_outs.push(PrOut {
                session,
                action,
                sent,
            });
            if action == 5 {
                model.sweep_sent(unit, session, sent);
                model.raise(
                    unit,
                    attention::COMMANDS_CLEARED,
                    Raise::Open(sent),
                    |who| who == victim,
                );
            }
        }
        self.begin(rng, unit, What::PrOut { action, victim }, plan);
    }

    pub(super) fn tag(&mut self) -> u32 {
        loop {
            self.next_itt = (self.next_itt + 1) % TAGS;
            if !self.tasks.contains_key(&self.next_itt) {
                return self.next_itt;
            }
        }
    }

    fn begin(&mut self, rng: &mut Rng, unit: usize, what: What, plan: Plan) {
        let itt = self.tag();
        let attribute = match rng.below(12) {
            0 => TaskAttribute::Ordered,
            1 => TaskAttribute::HeadOfQueue,
            2 => TaskAttribute::Untagged,
            _ => TaskAttribute::Simple,
        };
        let cmd_sn = self.cmd_sn;
        self.cmd_sn = cmd_sn.wrapping_add(1);
        let (expected_in, write) = (plan.expected_in, !plan.data.is_empty());
        let expected = if write { plan.data.len() } else { expected_in };
        let sent = self.note(40, u64::from(itt), || {
            format!(
                "sends {what:?} to unit {unit} as {itt} {attribute:?}, cdb {:02x?}",
                &plan.cdb[..10]
            )
        });
        self.announce_command(&what, unit, sent);
        let damaged = write
            && self.agreed.data_digest
            && rng.chance(self.shared.config.strength(Fault::BadDigest));
        if damaged {
            self.rejects_due += 1;
            let id = match what {
                What::Write { id } | What::Compare { id } => id,
                _ => 0,
            };
            if let Some(write) = self.shared.model.lock().write(id) {
                write.damaged = true;
            }
        }
        let command = ScsiCommand {
            immediate: false,
            is_final: true,
            read: !write && expected_in > 0,
            write,
            attribute,
            ahs_words: 0,
            data_segment_length: 0,
            lun: lun(unit),
            itt,
            expected_data_transfer_length: expected as u32,
            cmd_sn,
            exp_stat_sn: self.stat_sn,
            cdb: plan.cdb,
        };
        let mut task = Task::new(what, unit, cmd_sn, sent, expected);
        (task.actual, task.exempt, task.damaged) = (plan.actual, plan.exempt, damaged);
        task.data = plan.data;
        self.send_command(rng, command, &mut task);
        self.tasks.insert(itt, task);
        self.unbegun.push_back(itt);
    }

    /// The command with its immediate and unsolicited data.
    fn send_command(&mut self, rng: &mut Rng, command: ScsiCommand, task: &mut Task) {
        let first_burst = task.data.len().min(self.agreed.first_burst);
        let mut immediate = 0;
        if self.agreed.immediate_data && !rng.one_in(3) {
            immediate = first_burst.min(self.agreed.target_recv);
            if rng.one_in(3) {
                immediate = rng.below(immediate + 1);
            }
        }
        let unsolicited = command.write && !self.agreed.initial_r2t && rng.one_in(2);
        let command = ScsiCommand {
            is_final: !unsolicited,
            data_segment_length: immediate as u32,
            ..command
        };
        let data = task.data.clone();
        let damaged = task.damaged && immediate > 0;
        task.header_end = self.send(&command.emit(), &data[..immediate], damaged);
        if unsolicited {
            // One damaged segment is enough.
            let damaged = task.damaged && immediate == 0;
            self.sequence(
                rng,
                (command.lun, command.itt, RESERVED_TAG),
                immediate,
                &data[..first_burst],
                damaged,
            );
            task.unsolicited_end = self.queued();
        }
        task.damaged &= immediate == 0 && !(unsolicited && immediate < first_burst);
    }

    /// Sends `data[from..]` as a sequence of Data-Out PDUs; it may be empty but for its final PDU.
    pub(super) fn sequence(
        &mut self,
        rng: &mut Rng,
        (lun, itt, ttt): ([u8; 8], u32, u32),
        from: usize,
        data: &[u8],
        damaged: bool,
    ) {
        let mut segment = self.agreed.target_recv.min(data.len().max(1));
        if rng.one_in(3) {
            segment = rng.range(1, segment + 1).max(segment / 4);
        }
        let (mut offset, mut data_sn) = (from, 0);
        loop {
            let end = data.len().min(offset + segment);
            let pdu = DataOut {
                is_final: end == data.len(),
                data_segment_length: (end - offset) as u32,
                lun,
                itt,
                ttt,
                exp_stat_sn: self.stat_sn,
                data_sn,
                buffer_offset: offset as u32,
            };
            self.send(&pdu.emit(), &data[offset..end], damaged && data_sn == 0);
            (offset, data_sn) = (end, data_sn + 1);
            if end == data.len() {
                return;
            }
        }
    }
}

fn data_of(id: u32, blocks: usize) -> Vec<u8> {
    let mut data = vec![0; blocks * BLOCK];
    for (at, block) in data.chunks_mut(BLOCK).enumerate() {
        pattern::fill(block, pattern::content(id, at));
    }
    data
}
