//! What is true whatever the target does: every write with its beginning and end, what each block held when, who may
//! write.
//!
//! The medium is the witness. A write *lands* when the store changes its blocks; reads are right when each block holds
//! what the medium held at some moment between the read's sending and its answer. A write lands between its sending and
//! its end, each block once; when GOOD has left the target, all of it has landed. A write ends with its answer, with the
//! answer of the function that aborted it, or with the login that reinstated its session.

mod events;

use std::sync::Arc;

use crate::attention::{self, Asc, Attentions, Raise};
use crate::chronicle::{Chronicle, Seq};
use crate::config::UnitConfig;
use crate::pattern::{self, Content};

/// Names a session over the whole run.
pub(crate) type SessionId = usize;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    Plain,
    /// WRITE SAME: every block is the first.
    Same,
    /// UNMAP, or WRITE SAME of zeroes.
    Zero,
    /// COMPARE AND WRITE, and what it compares.
    Compare(Vec<Content>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Good,
    Failed,
    Aborted,
    Lost,
}

#[derive(Debug, Clone)]
pub(crate) struct Write {
    pub(crate) unit: usize,
    pub(crate) lba: u64,
    pub(crate) blocks: usize,
    pub(crate) session: SessionId,
    pub(crate) kind: Kind,
    pub(crate) fua: bool,
    pub(crate) sent: Seq,
    /// The target has read its header.
    pub(crate) began: Option<Seq>,
    pub(crate) end: Option<(Seq, End)>,
    landed: u64,
    /// Its data is damaged: it must not land.
    pub(crate) damaged: bool,
}

impl Write {
    pub(crate) fn new(
        unit: usize,
        lba: u64,
        blocks: usize,
        session: SessionId,
        kind: Kind,
        fua: bool,
        sent: Seq,
    ) -> Self {
        Self {
            unit,
            lba,
            blocks,
            session,
            kind,
            fua,
            sent,
            began: None,
            end: None,
            landed: 0,
            damaged: false,
        }
    }
}

/// Persistent reservations as far as writes go.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Rights {
    /// Type code; 0 for none.
    pub(crate) kind: u8,
    pub(crate) holder: Option<usize>,
    /// Bits of initiators.
    pub(crate) registrants: u32,
}

impl Rights {
    fn may_write(self, initiator: usize) -> bool {
        match self.kind {
            0 => true,
            1 | 3 => self.holder == Some(initiator),
            _ => self.registrants >> initiator & 1 != 0,
        }
    }
}

/// Something that ends commands of other nexuses.
#[derive(Debug, Clone, Copy)]
struct Sweep {
    by: SessionId,
    sent: Seq,
    answered: Option<Seq>,
}

/// A PERSISTENT RESERVE OUT that is not answered.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PrOut {
    pub(crate) session: SessionId,
    pub(crate) action: u8,
    pub(crate) sent: Seq,
}

#[derive(Debug)]
pub(crate) struct Unit {
    history: Vec<Vec<(Seq, Content)>>,
    stable: Vec<Seq>,
    live: Vec<u32>,
    sweeps: Vec<Sweep>,
    /// Events whose causes are not answered, and the causes.
    open: Vec<(Asc, Seq)>,
    pub(crate) blocks: u64,
    pub(crate) rights: Rights,
    pub(crate) pr_outs: Vec<PrOut>,
    /// D_SENSE, SWP, TAS as the last MODE SELECT left them, while that is certain.
    pub(crate) modes: Option<u8>,
    pub(crate) mode_selects: usize,
    /// When it went, or came, or took its own place, for the last time.
    pub(crate) left: Option<Seq>,
    /// When its nexuses were told that another one took its place, for the last time.
    pub(crate) told: Option<Seq>,
    /// Its store could not fence: a command of several steps goes on, while the medium is closed to others.
    pub(crate) unfenced: bool,
}

#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) initiator: usize,
    pub(crate) alive: bool,
    attentions: Vec<Attentions>,
}

#[derive(Debug)]
pub(crate) struct Model {
    chronicle: Arc<Chronicle>,
    pub(crate) units: Vec<Unit>,
    writes: Vec<Write>,
    pub(crate) sessions: Vec<Session>,
    /// When a LUN came or went for the last time.
    pub(crate) map_changed: Seq,
}

impl Model {
    pub(crate) fn new(chronicle: &Arc<Chronicle>, units: &[UnitConfig]) -> Self {
        let unit = |config: &UnitConfig| Unit {
            history: vec![vec![(0, 0)]; config.blocks as usize],
            stable: vec![0; config.blocks as usize],
            live: Vec::new(),
            sweeps: Vec::new(),
            open: Vec::new(),
            blocks: config.blocks,
            rights: Rights::default(),
            pr_outs: Vec::new(),
            modes: Some(0),
            mode_selects: 0,
            left: None,
            told: None,
            unfenced: false,
        };
        Self {
            chronicle: Arc::clone(chronicle),
            units: units.iter().map(unit).collect(),
            writes: Vec::new(),
            sessions: Vec::new(),
            map_changed: 0,
        }
    }

    pub(crate) fn fail(&self, rule: &'static str, detail: String) {
        self.chronicle.fail(rule, detail);
    }

    /// A session whose login was sent at `since`: the target has opened it at some moment from then on.
    pub(crate) fn open_session(&mut self, initiator: usize, since: Seq) -> SessionId {
        let seq = self.chronicle.seq();
        let mut attentions = vec![Attentions::new(); self.units.len()];
        for (unit, attentions) in self.units.iter().zip(&mut attentions) {
            let open = unit.open.iter();
            open.for_each(|(asc, cause)| attentions.raise(*asc, seq, Raise::Open(*cause)));
            if unit.told.is_some_and(|told| told >= since) {
                attentions.raise(attention::INQUIRY_CHANGED, seq, Raise::May);
            }
            if self.map_changed >= since {
                attentions.raise(attention::LUNS_CHANGED, seq, Raise::May);
            }
        }
        self.sessions.push(Session {
            initiator,
            alive: true,
            attentions,
        });
        self.sessions.len() - 1
    }

    pub(crate) fn send_write(&mut self, write: Write) -> u32 {
        let unit = write.unit;
        self.writes.push(write);
        let id = self.writes.len() as u32;
        self.units[unit].live.push(id);
        id
    }

    pub(crate) fn write(&mut self, id: u32) -> Option<&mut Write> {
        self.writes.get_mut((id as usize).checked_sub(1)?)
    }

    /// What a block holds now.
    pub(crate) fn present(&self, unit: usize, lba: u64) -> Content {
        let history = &self.units[unit].history[lba as usize];
        history.last().map_or(0, |(_, content)| *content)
    }

    /// The medium of a unit takes these blocks. `excused`: the target was told that this may come late.
    pub(crate) fn land(&mut self, unit: usize, lba: u64, contents: &[Content], excused: bool) {
        let seq = self.chronicle.seq();
        for (at, content) in contents.iter().enumerate() {
            let lba = lba + at as u64;
            if *content == 0 {
                self.land_zero(unit, lba, excused);
            } else {
                self.land_block(unit, lba, *content, excused);
            }
            self.units[unit].history[lba as usize].push((seq, *content));
        }
    }

    fn land_block(&mut self, unit: usize, lba: u64, content: Content, excused: bool) {
        let (id, at) = pattern::origin(content);
        let present = self.present(unit, lba);
        let Some(write) = self.write(id).map(|write| write.clone()) else {
            return self.fail(
                "garbage-written",
                format!("unit {unit} block {lba}: write {id}"),
            );
        };
        let place = match write.kind {
            Kind::Same => at == 0 && (write.lba..write.lba + write.blocks as u64).contains(&lba),
            _ => write.lba + at as u64 == lba,
        };
        if write.unit != unit || !place {
            self.fail(
                "misplaced-write",
                format!("unit {unit} block {lba}: {write:?}"),
            );
        }
        if write.damaged {
            self.fail(
                "damaged-write-landed",
                format!("unit {unit} block {lba}: write {id}"),
            );
        }
        if let Kind::Compare(expected) = &write.kind
            && expected.get(at) != Some(&present)
        {
            self.fail(
                "compare-not-atomic",
                format!("block {lba} held {present:#x}: {write:?}"),
            );
        }
        self.land_of(id, lba, excused);
    }

    /// A zero block: by whatever zeroing command is under way.
    fn land_zero(&mut self, unit: usize, lba: u64, excused: bool) {
        let covers = |write: &Write| {
            write.kind == Kind::Zero && (write.lba..write.lba + write.blocks as u64).contains(&lba)
        };
        let under_way = |id: &&u32| self.writes.get(**id as usize - 1).is_some_and(covers);
        let ids: Vec<u32> = self.units[unit]
            .live
            .iter()
            .filter(under_way)
            .copied()
            .collect();
        if ids.is_empty() && !excused && !self.units[unit].unfenced {
            self.fail(
                "write-after-end",
                format!("unit {unit} block {lba}: zeroes of nobody"),
            );
        }
        // Of several nobody can tell which one it is.
        for id in ids {
            if let Some(write) = self.write(id) {
                write.landed |= 1 << (lba - write.lba);
            }
        }
    }

    fn land_of(&mut self, id: u32, lba: u64, excused: bool) {
        let Some(write) = self.write(id) else { return };
        let bit = 1 << (lba - write.lba).min(63);
        let twice = write.landed & bit != 0;
        write.landed |= bit;
        let write = write.clone();
        let goes_on = self.units[write.unit].unfenced && write.kind != Kind::Plain;
        if let (Some((seq, end)), false) = (write.end, excused || goes_on) {
            self.fail(
                "write-after-end",
                format!("write {id} ended {end:?} at #{seq}: {write:?}"),
            );
        }
        if twice {
            self.fail(
                "written-twice",
                format!("write {id} block {lba}: {write:?}"),
            );
        }
        self.check_rights(id, &write);
    }

    fn check_rights(&self, id: u32, write: &Write) {
        let unit = &self.units[write.unit];
        let initiator = self.sessions[write.session].initiator;
        // While a PREEMPT AND ABORT is under way its victims' commands end, after the rights have gone.
        let preempted = unit.pr_outs.iter().any(|out| out.action == 5);
        if write.end.is_none() && !preempted && !unit.rights.may_write(initiator) {
            let rights = unit.rights;
            self.fail(
                "write-without-rights",
                format!("write {id} of {initiator}: {rights:?}"),
            );
        }
    }

    /// Everything that has landed is on stable storage.
    pub(crate) fn flushed(&mut self, unit: usize) {
        let seq = self.chronicle.seq();
        self.units[unit].stable.fill(seq);
    }

    pub(crate) fn stable(&mut self, unit: usize, lba: u64, blocks: usize) {
        let seq = self.chronicle.seq();
        self.units[unit].stable[lba as usize..lba as usize + blocks].fill(seq);
    }

    /// A write is answered.
    pub(crate) fn end_write(&mut self, id: u32, seq: Seq, end: End) {
        let Some(write) = self.write(id) else { return };
        let first = write.end.is_none();
        write.end.get_or_insert((seq, end));
        let write = write.clone();
        if first {
            self.units[write.unit].live.retain(|live| *live != id);
        }
        if end != End::Good {
            return;
        }
        let all = if write.blocks >= 64 {
            u64::MAX
        } else {
            (1 << write.blocks) - 1
        };
        if write.landed & all != all {
            self.fail(
                "acknowledged-write-lost",
                format!("write {id} at #{seq}: {write:?}"),
            );
        }
        if write.fua {
            self.check_stable(id, &write);
        }
    }

    fn check_stable(&self, id: u32, write: &Write) {
        let unit = &self.units[write.unit];
        for at in 0..write.blocks {
            let lba = write.lba as usize + at;
            let mine = |entry: &&(Seq, Content)| pattern::origin(entry.1).0 == id;
            let landed = unit.history[lba].iter().rev().find(mine);
            if landed.is_some_and(|(seq, _)| unit.stable[lba] < *seq) {
                self.fail("fua-not-stable", format!("write {id} block {lba}"));
            }
        }
    }

    /// SYNCHRONIZE CACHE that was sent at `sent` is GOOD: what was acknowledged before is stable.
    pub(crate) fn synchronized(&self, unit: usize, sent: Seq) {
        let it = &self.units[unit];
        for (lba, (history, stable)) in it.history.iter().zip(&it.stable).enumerate() {
            let Some((landed, content)) = history.iter().rev().find(|(seq, _)| *seq <= sent) else {
                continue;
            };
            let ended = self
                .writes
                .get(pattern::origin(*content).0 as usize - usize::from(*content != 0));
            let before = ended.is_some_and(|w| {
                w.end
                    .is_some_and(|(seq, end)| end == End::Good && seq < sent)
            });
            if *content != 0 && before && stable < landed {
                self.fail(
                    "flush-not-stable",
                    format!("unit {unit} block {lba}: {content:#x}"),
                );
            }
        }
    }

    /// A read that was sent at `sent` brought these blocks.
    pub(crate) fn check_read(
        &self,
        unit: usize,
        lba: u64,
        contents: &[Content],
        sent: Seq,
        seq: Seq,
    ) {
        for (at, content) in contents.iter().enumerate() {
            let lba = lba as usize + at;
            if !self.held(unit, lba, *content, sent, seq) {
                let now = self.present(unit, lba as u64);
                let detail = format!(
                    "unit {unit} block {lba} read {content:#x} between #{sent} and #{seq}, is {now:#x}"
                );
                self.fail("stale-or-foreign-read", detail);
            }
        }
    }

    /// Whether a block held something at some moment of an interval.
    fn held(&self, unit: usize, lba: usize, content: Content, from: Seq, to: Seq) -> bool {
        let Some(history) = self.units[unit].history.get(lba) else {
            return false;
        };
        for (seq, held) in history.iter().rev().filter(|(seq, _)| *seq <= to) {
            if *held == content {
                return true;
            }
            if *seq <= from {
                return false;
            }
        }
        false
    }

    /// COMPARE AND WRITE ended with MISCOMPARE: rightly, unless everything was equal all the time.
    pub(crate) fn check_miscompare(&self, id: u32, seq: Seq) {
        let Some(write) = self.writes.get(id as usize - 1) else {
            return;
        };
        let Kind::Compare(expected) = &write.kind else {
            return;
        };
        let always = |(at, content): (usize, &Content)| {
            let lba = write.lba as usize + at;
            let history = &self.units[write.unit].history[lba];
            let inside = history.iter().rev().filter(|(s, _)| *s <= seq);
            let mut differs = false;
            for (s, held) in inside {
                differs |= held != content;
                if *s <= write.sent {
                    break;
                }
            }
            !differs
        };
        if expected.iter().enumerate().all(always) {
            self.fail("miscompare-of-equals", format!("write {id}: {write:?}"));
        }
    }

    pub(crate) fn resized(&mut self, unit: usize, blocks: u64) {
        let seq = self.chronicle.seq();
        let unit = &mut self.units[unit];
        unit.blocks = blocks;
        let gone = unit.history.iter_mut().skip(blocks as usize);
        gone.for_each(|history| history.push((seq, 0)));
    }
}
