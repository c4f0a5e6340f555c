//! Aborts beside the commands of a session: a task that an abort has ended is heard of no more.

use super::link::Link;
use super::operation::Kind;
use crate::initiator::pdu::{Header, RESERVED_TAG, opcode};
use crate::initiator::session::Violation;
use crate::initiator::{Digests, Tmf};
use crate::load::LoadError;
use crate::load::transmit::Payload;

/// Set in the tags of functions, and in no command's.
const TAG: u32 = 0x4000_0000;

/// The function that is outstanding: one at a time.
#[derive(Debug, Default)]
pub(super) struct Functions {
    now: Option<Function>,
    uses: u32,
}

#[derive(Debug)]
struct Function {
    tag: u32,
    kind: Kind,
    /// Tags of the commands it may end.
    victims: Vec<u32>,
}

impl Functions {
    pub(super) fn outstanding(&self) -> bool {
        self.now.is_some()
    }
}

impl Link {
    /// Aborts one of the commands that are outstanding, or all of them. False when there is none, or another abort is.
    pub(super) fn task_management(&mut self, kind: Kind) -> bool {
        let mut victims: Vec<(u32, u32)> = self
            .tasks
            .iter()
            .filter(|task| task.live)
            .map(|task| (task.tag, task.cmd_sn))
            .collect();
        if self.functions.outstanding() || victims.is_empty() {
            return false;
        }
        let mut h = Header::new(opcode::TASK_MANAGEMENT | 0x40);
        let function = match kind {
            Kind::AbortTask => {
                let one = victims.swap_remove(self.rng.index(victims.len()));
                h.put_word(20, one.0).put_word(32, one.1);
                victims = vec![one];
                Tmf::AbortTask
            }
            _ => {
                h.put_word(20, RESERVED_TAG);
                Tmf::AbortTaskSet
            }
        };
        self.functions.uses = self.functions.uses.wrapping_add(1) & 0xff_ffff;
        let tag = TAG | self.functions.uses;
        h.put_flags(0x80 | function as u8)
            .put_lun(self.lun)
            .put_word(16, tag)
            .put_word(24, self.sequence.cmd_sn)
            .put_word(28, self.sequence.exp_stat_sn);
        self.transmit
            .push(&h, Payload::None, &[], Digests::default());
        self.functions.now = Some(Function {
            tag,
            kind,
            victims: victims.into_iter().map(|(tag, _)| tag).collect(),
        });
        true
    }

    /// The target's answer: what was ended before came before it, what comes later is a broken rule.
    pub(super) fn task_management_done(&mut self, h: &Header) -> Result<(), LoadError> {
        let itt = h.itt();
        let Some(function) = self.functions.now.take().filter(|f| f.tag == itt) else {
            let opcode = h.opcode();
            return Err(Violation::UnknownTag { opcode, itt }.into());
        };
        let alive: Vec<u32> = function
            .victims
            .into_iter()
            .filter(|tag| self.tasks.iter().any(|t| t.live && t.tag == *tag))
            .collect();
        match (h.response(), function.kind) {
            (0, _) => alive.iter().for_each(|tag| self.release(*tag, false)),
            // 1: the task does not exist, so it has been answered (RFC 7143 11.6.1).
            (1, Kind::AbortTask) if alive.is_empty() => {}
            (code, kind) => {
                let text = format!("{}: response {code}, {} alive", kind.name(), alive.len());
                self.tally.failed(text);
                alive.iter().for_each(|tag| self.release(*tag, false));
            }
        }
        self.tally.ended += 1;
        if let Some(n) = self.tally.kinds.get_mut(function.kind as usize) {
            *n += 1;
        }
        Ok(())
    }
}
