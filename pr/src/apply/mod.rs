//! The rules: a state and an event give a new state and effects, or a refusal (SPC-4 5.13).

mod preempt;
mod register;
mod register_and_move;
mod reserve;
mod spc2;

use lunforge_core::asc::Asc;
use lunforge_core::sense::Sense;

use crate::event::{Effects, Event, Refusal, ReserveOut, ScopeType};
use crate::kind::{ReservationKey, ReservationType};
use crate::state::{ItNexus, State};

/// Registrations that a unit takes; further ones get INSUFFICIENT REGISTRATION RESOURCES.
pub const MAX_REGISTRANTS: usize = 16_384;

/// What becomes of `state` by `event`. No I/O, clock or lock; a refusal changes nothing.
///
/// # Errors
/// [`Refusal`]: RESERVATION CONFLICT, or ILLEGAL REQUEST as the clause of the service action says.
pub fn apply(state: &State, event: &Event) -> Result<(State, Effects), Refusal> {
    match event {
        Event::ReserveOut {
            from,
            command,
            setting,
        } => {
            no_spc2_reservation(state)?;
            let mut change = Change::new(state, from);
            match command {
                ReserveOut::Register {
                    key,
                    registration,
                    initiators,
                } => change.register(*key, *registration, initiators.as_deref(), setting)?,
                ReserveOut::RegisterAndIgnoreExistingKey(registration) => {
                    change.register_and_ignore_existing_key(*registration, setting)?;
                }
                ReserveOut::Reserve { key, scope_type } => change.reserve(*key, *scope_type)?,
                ReserveOut::Release { key, scope_type } => change.release(*key, *scope_type)?,
                ReserveOut::Clear { key } => change.clear(*key)?,
                ReserveOut::Preempt {
                    key,
                    victim,
                    scope_type,
                    abort,
                } => change.preempt(*key, *victim, *scope_type, *abort)?,
                ReserveOut::RegisterAndMove { .. } => change.register_and_move(command, setting)?,
            }
            change.bounded()?;
            Ok((change.state, change.effects))
        }
        Event::ReserveIn => {
            no_spc2_reservation(state)?;
            Ok((state.clone(), Effects::default()))
        }
        Event::Reserve { from } => spc2::reserve(state, from),
        Event::Release { from } => spc2::release(state, from),
        Event::NexusLoss { nexus } => Ok(spc2::end(state, |holder| holder == nexus)),
        Event::Reset => Ok(spc2::end(state, |_| true)),
    }
}

/// While a unit is reserved by RESERVE, PERSISTENT RESERVE IN and OUT conflict, whoever sends them (SPC-2 5.5.1).
fn no_spc2_reservation(state: &State) -> Result<(), Refusal> {
    match state.reserved_by {
        None => Ok(()),
        Some(_) => Err(Refusal::Conflict),
    }
}

/// A PERSISTENT RESERVE OUT under way.
struct Change<'a> {
    /// Before.
    old: &'a State,
    /// After.
    state: State,
    /// The nexus that the command came by.
    from: &'a ItNexus,
    effects: Effects,
}

impl<'a> Change<'a> {
    fn new(old: &'a State, from: &'a ItNexus) -> Self {
        Self {
            old,
            state: old.clone(),
            from,
            effects: Effects::default(),
        }
    }

    /// The nexus is registered, and with this key (SPC-4 5.13.4).
    fn authorized(&self, key: ReservationKey) -> Result<(), Refusal> {
        if self.old.key_of(self.from) == Some(key) {
            Ok(())
        } else {
            Err(Refusal::Conflict)
        }
    }

    /// Registrations stay within the bound (SPC-4 5.13.7); those that are there are no matter.
    fn bounded(&self) -> Result<(), Refusal> {
        let now = self.state.registrants.len();
        if now > MAX_REGISTRANTS && now > self.old.registrants.len() {
            let asc = Asc::INSUFFICIENT_REGISTRATION_RESOURCES;
            return Err(Sense::illegal_request(asc).into());
        }
        Ok(())
    }

    /// PRGENERATION counts what succeeds and may change registrations (SPC-4 6.15.2); it wraps.
    fn count(&mut self) {
        self.state.generation = self.state.generation.wrapping_add(1);
    }

    /// Establishes a unit attention condition for every nexus that is registered now, but for the one that the command
    /// came by.
    fn tell_registrants(&mut self, asc: Asc) {
        let others = self.state.registrants.keys().filter(|n| *n != self.from);
        let told = others.map(|n| (n.clone(), asc));
        self.effects.unit_attentions.extend(told);
    }

    /// Removes a registration, and with it the reservation if that has lost its last holder (SPC-4 5.13.11.3).
    /// Gives the type of a reservation that went.
    fn unregister(&mut self, nexus: &ItNexus) -> Option<ReservationType> {
        let held = self.state.holds(nexus);
        self.state.registrants.remove(nexus)?;
        let reservation = self.state.reservation.as_ref().filter(|_| held)?;
        let kind = reservation.kind();
        if kind.all_registrants() && !self.state.registrants.is_empty() {
            return None;
        }
        self.state.reservation = None;
        Some(kind)
    }
}

impl ScopeType {
    /// The type, where scope and type are evaluated.
    ///
    /// # Errors
    /// INVALID FIELD IN CDB: only the logical unit scope is there, obsolete and reserved types are not.
    fn kind(self) -> Result<ReservationType, Refusal> {
        if self.scope != 0 {
            return Err(Sense::invalid_field_in_cdb(2, Some(7)).into());
        }
        ReservationType::from_code(self.kind)
            .ok_or_else(|| Sense::invalid_field_in_cdb(2, Some(3)).into())
    }
}
