//! The commands of the service.

use std::sync::{Arc, Weak};

use lunforge_core::cdb::{Cdb, CommandId, ParsedCdb};
use lunforge_core::handler::{Execute, Execution, Outcome, Transfer};
use lunforge_core::lu::LogicalUnit;
use lunforge_core::nexus::{Itl, Nexus, Policy};
use lunforge_core::sense::Sense;
use lunforge_core::service::{Refusal, UnitService};
use lunforge_core::status::Status;
use parking_lot::Mutex;

use super::change::Deferred;
use super::{Reservations, Shared, name};
use crate::access::takes_rights;
use crate::apply::apply;
use crate::event::{Event, ReserveOut, ScopeType, Setting};
use crate::parameter_list;
use crate::reserve_in;

impl UnitService for Reservations {
    fn claims(&self, command: CommandId) -> bool {
        matches!(
            command.entry().opcode,
            0x16 | 0x17 | 0x56 | 0x57 | 0x5E | 0x5F
        )
    }

    fn supports(&self, command: CommandId) -> bool {
        self.claims(command) && command != CommandId::PrOutReplaceLostReservation
    }

    fn prepare(&self, cdb: &ParsedCdb) -> Result<Transfer, Sense> {
        Ok(match cdb.cdb {
            Cdb::PersistentReserveIn { alloc: 0, .. } => Transfer::None,
            Cdb::PersistentReserveIn { alloc, .. } => Transfer::In(byte_count(alloc)),
            Cdb::PersistentReserveOut {
                parameter_list_len, ..
            } => {
                parameter_list::check_len(byte_count(parameter_list_len))?;
                Transfer::Out(byte_count(parameter_list_len))
            }
            _ => Transfer::None,
        })
    }

    fn execute(&self, command: &mut Execution<'_>) -> Execute {
        let from = name(&command.itl().nexus);
        let event = match *command.cdb() {
            Cdb::PersistentReserveIn { service_action, .. } => {
                return Execute::Done(self.0.reserve_in(command, service_action));
            }
            Cdb::PersistentReserveOut {
                service_action,
                scope,
                kind,
                parameter_list_len,
            } => {
                let len = byte_count(parameter_list_len);
                let list = command.buf().to_vec(0..len);
                match parse_list(service_action, ScopeType { scope, kind }, &list, len) {
                    Err(sense) => return Execute::Done(sense.into()),
                    Ok(parsed) => Event::ReserveOut {
                        from,
                        command: parsed,
                        setting: self.0.setting(command.unit()),
                    },
                }
            }
            Cdb::ReserveUnit => Event::Reserve { from },
            _ => Event::Release { from },
        };
        self.0.change(command, event)
    }

    fn attached(&self, unit: Weak<LogicalUnit>) {
        if self.0.unit.set(unit).is_err() {
            tracing::error!("reservations belong to one logical unit and were given to two");
        }
    }

    fn joined(&self, itl: &Arc<Itl>) {
        self.0.admit(itl);
    }

    fn renamed(&self, itl: &Arc<Itl>) {
        self.0.admit(itl);
    }

    fn left(&self, itl: &Arc<Itl>) {
        self.0.lost(itl);
    }

    fn reset(&self) {
        self.0.end_spc2(Event::Reset);
    }

    fn refusal(&self, itl: &Itl, cdb: &ParsedCdb) -> Option<Refusal> {
        if itl.access.published(Policy::Reservation) & cdb.class.bits() != 0 {
            return None;
        }
        let answer = match self.0.known() {
            Ok(_) => Outcome::status(Status::ReservationConflict),
            Err(sense) => sense.into(),
        };
        Some(Refusal::Answer(answer))
    }
}

impl Shared {
    /// PERSISTENT RESERVE IN: the data, cut to the buffer, which has the allocation length.
    fn reserve_in(&self, command: &mut Execution<'_>, service_action: u8) -> Outcome {
        let state = match self.known() {
            Ok(state) => state,
            Err(sense) => return sense.into(),
        };
        if let Err(refusal) = apply(&state, &Event::ReserveIn) {
            return refusal.into();
        }
        match reserve_in::respond(service_action, &state, self.persistence.capable()) {
            Some(data) => Outcome::data(command.buf().write_at(0, &data)),
            None => Sense::invalid_field_in_cdb(1, Some(4)).into(),
        }
    }

    /// What the command meets: ports of the unit, and the sessions that could use it.
    pub(super) fn setting(&self, unit: &LogicalUnit) -> Setting {
        let targets = unit.targets();
        let sessions = targets.iter().flat_map(|target| target.sessions());
        let sees = |nexus: &Arc<Nexus>| nexus.luns().values().any(|seen| **seen == *unit);
        Setting {
            ports: unit.ports(),
            connected: sessions.filter(sees).map(|nexus| name(&nexus)).collect(),
            aptpl_capable: self.persistence.capable(),
        }
    }

    /// Makes a change at once if it takes nobody's rights and need not be stored; else defers its command.
    fn change(self: &Arc<Self>, command: &mut Execution<'_>, event: Event) -> Execute {
        let Some(turn) = self.turns.try_take() else {
            self.queue(self.defer(command, event));
            return Execute::Pending;
        };
        match self.change_at_once(command.unit(), &event) {
            Some(outcome) => {
                if outcome.status == Status::Good {
                    self.succeeded(&event, command.nexus());
                }
                Execute::Done(outcome)
            }
            None => {
                self.defer(command, event).run(turn);
                Execute::Pending
            }
        }
    }

    /// The outcome of a change that is made at once, or refused; `None` for one that takes time. Needs the turn.
    fn change_at_once(&self, unit: &LogicalUnit, event: &Event) -> Option<Outcome> {
        let state = match self.known() {
            Ok(state) => state,
            Err(sense) => return Some(sense.into()),
        };
        let (new, effects) = match apply(&state, event) {
            Ok(done) => done,
            Err(refusal) => return Some(refusal.into()),
        };
        let takes_time = !effects.abort.is_empty()
            || takes_rights(&state, &new, &[])
            || self.persistence.concerns(&state, &new);
        if takes_time {
            return None;
        }
        if new != *state {
            self.publish(unit, &Arc::new(new), &effects);
        }
        Some(Outcome::good())
    }

    /// Lets a command wait for its turn; BUSY if too many do.
    fn queue(self: &Arc<Self>, command: Deferred) {
        let watch = command.token.watch();
        let slot = Arc::new(Mutex::new(Some(command)));
        let mine = Arc::clone(&slot);
        let queued = Arc::downgrade(&slot);
        // One that is aborted does not keep the abort waiting for the changes before it.
        watch.on_abort(move || {
            let command = queued.upgrade().and_then(|slot| slot.lock().take());
            if let Some(command) = command {
                command.answer(Outcome::status(Status::TaskAborted));
            }
        });
        let work = move |turn| {
            let command = mine.lock().take();
            if let Some(command) = command {
                command.run(turn);
            }
        };
        if self.turns.take(Box::new(work)).is_err()
            && let Some(command) = slot.lock().take()
        {
            command.answer(Outcome::status(Status::Busy));
        }
    }

    fn defer(self: &Arc<Self>, command: &mut Execution<'_>, event: Event) -> Deferred {
        Deferred {
            shared: Arc::clone(self),
            unit: Arc::clone(command.unit()),
            event,
            session: command.nexus(),
            token: command.defer_cancellable(),
            buf: command.take_buf(),
            offload: command.offload(),
        }
    }
}

/// A length field, which a `usize` holds on every platform that Rust's standard library has.
fn byte_count(field: u32) -> usize {
    usize::try_from(field).unwrap_or(usize::MAX)
}

/// The list of PERSISTENT RESERVE OUT. An initiator that sent less than PARAMETER LIST LENGTH says has sent none.
fn parse_list(
    service_action: u8,
    scope_type: ScopeType,
    list: &[u8],
    len: usize,
) -> Result<ReserveOut, Sense> {
    if list.len() == len {
        parameter_list::parse(service_action, scope_type, list)
    } else {
        Err(parameter_list::LENGTH_ERROR)
    }
}
