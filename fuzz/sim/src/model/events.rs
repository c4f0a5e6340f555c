//! What concerns more than one nexus: functions that end others' commands, unit attentions, changes of rights.

use super::{End, Model, PrOut, Rights, SessionId, Sweep};
use crate::attention::{self, Asc, Attentions, Raise};
use crate::chronicle::Seq;

impl Model {
    /// A function that ends the commands of all nexuses of a unit, or of some, is sent.
    pub(crate) fn sweep_sent(&mut self, unit: usize, by: SessionId, sent: Seq) {
        self.units[unit].sweeps.push(Sweep {
            by,
            sent,
            answered: None,
        });
    }

    /// It is answered: the writes that it surely met have ended.
    pub(crate) fn sweep_answered(
        &mut self,
        unit: usize,
        sent: Seq,
        seq: Seq,
        victims: impl Fn(usize) -> bool,
    ) {
        for sweep in self.units[unit]
            .sweeps
            .iter_mut()
            .filter(|s| s.sent == sent)
        {
            sweep.answered = Some(seq);
        }
        let live = std::mem::take(&mut self.units[unit].live);
        for id in &live {
            let initiator = |session: SessionId| self.sessions[session].initiator;
            let Some(write) = self.writes.get(*id as usize - 1) else {
                continue;
            };
            let met = write.began.is_some_and(|began| began < sent);
            if met && victims(initiator(write.session)) {
                self.writes[*id as usize - 1].end = Some((seq, End::Aborted));
            }
        }
        let ended = |id: &u32| self.writes[*id as usize - 1].end.is_some();
        self.units[unit].live = live.into_iter().filter(|id| !ended(id)).collect();
    }

    /// Whether a command that was sent at `sent` may have been ended by what another nexus did, or by a reset under way.
    pub(crate) fn swept(&self, unit: usize, session: SessionId, sent: Seq) -> bool {
        // One of its own that was sent before it and answered after it may have met it, too.
        let other = |sweep: &Sweep| sweep.by != session || sweep.sent < sent;
        let met = |sweep: &Sweep| other(sweep) && sweep.answered.is_none_or(|at| at >= sent);
        self.units[unit].sweeps.iter().any(met)
    }

    /// The session is gone, and so are its commands.
    pub(crate) fn close_session(&mut self, session: SessionId, seq: Seq) {
        if let Some(session) = self.sessions.get_mut(session) {
            session.alive = false;
        }
        for write in &mut self.writes {
            if write.session == session && write.end.is_none() {
                write.end = Some((seq, End::Lost));
            }
        }
        for unit in &mut self.units {
            let ended = |id: &u32| self.writes[*id as usize - 1].end.is_some();
            unit.live.retain(|id| !ended(id));
            unit.pr_outs.retain(|out| out.session != session);
        }
    }

    /// A reset was answered: mode parameters are the default ones, if nobody changes them now.
    pub(crate) fn reset_modes(&mut self, unit: usize) {
        let unit = &mut self.units[unit];
        let answered = unit.sweeps.iter().all(|s| s.answered.is_some());
        // One that is no LUN now was not reset.
        let quiet = unit.mode_selects == 0 && unit.left.is_none() && answered;
        unit.modes = quiet.then_some(0);
    }

    /// The unit is a LUN no more, or again, or anew: what its nexuses know of it is uncertain.
    pub(crate) fn unit_left(&mut self, unit: usize) {
        let sent = self.chronicle.seq();
        self.units[unit].left = Some(sent);
        for session in &mut self.sessions {
            session.attentions[unit].left(sent);
        }
    }

    pub(crate) fn attention(&mut self, session: SessionId, unit: usize) -> &mut Attentions {
        &mut self.sessions[session].attentions[unit]
    }

    /// An event of a unit for all nexuses that `told` names by their initiator.
    pub(crate) fn raise(
        &mut self,
        unit: usize,
        asc: Asc,
        raise: Raise,
        told: impl Fn(usize) -> bool,
    ) {
        if let Raise::Open(cause) = raise {
            self.units[unit].open.push((asc, cause));
        }
        let seq = self.chronicle.seq();
        for session in self
            .sessions
            .iter_mut()
            .filter(|s| s.alive && told(s.initiator))
        {
            session.attentions[unit].raise(asc, seq, raise);
        }
    }

    /// The cause of an event was answered.
    pub(crate) fn settle(&mut self, unit: usize, cause: Seq, seq: Seq, certain: bool) {
        self.units[unit].open.retain(|(_, open)| *open != cause);
        for session in &mut self.sessions {
            session.attentions[unit].settle(cause, seq, certain);
        }
    }

    /// Reservations have changed, by one of the commands under way.
    pub(crate) fn rights_changed(&mut self, unit: usize, new: Rights) {
        let old = std::mem::replace(&mut self.units[unit].rights, new);
        self.chronicle
            .note(2, u64::from(new.kind), || format!("unit {unit}: {new:?}"));
        let registered = move |who: usize| old.registrants >> who & 1 != 0;
        let outs = &self.units[unit].pr_outs;
        let by = |out: &PrOut| self.sessions[out.session].initiator;
        let (from, action) = match outs[..] {
            [out] => (by(&out), out.action),
            _ => (usize::MAX, u8::MAX),
        };
        let other = move |who: usize| who != from && registered(who);
        match action {
            2 => self.raise(unit, attention::RESERVATIONS_RELEASED, released(old), other),
            3 => self.raise(unit, attention::RESERVATIONS_PREEMPTED, Raise::Must, other),
            4 | 5 => {
                let lost = move |who| other(who) && new.registrants >> who & 1 == 0;
                self.raise(unit, attention::REGISTRATIONS_PREEMPTED, Raise::Must, lost);
                self.raise(unit, attention::RESERVATIONS_RELEASED, Raise::May, other);
            }
            u8::MAX => {
                for asc in [
                    attention::RESERVATIONS_PREEMPTED,
                    attention::RESERVATIONS_RELEASED,
                    attention::REGISTRATIONS_PREEMPTED,
                ] {
                    self.raise(unit, asc, Raise::May, registered);
                }
            }
            _ => self.raise(unit, attention::RESERVATIONS_RELEASED, Raise::May, other),
        }
    }
}

/// RELEASE tells of a reservation of registrants, and of no other (SPC-4 5.13.11.2.2).
fn released(old: Rights) -> Raise {
    if old.kind >= 5 {
        Raise::Must
    } else {
        Raise::May
    }
}
