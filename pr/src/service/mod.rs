//! Reservations as a service of a logical unit: commands in, rights and unit attentions out.

mod change;
mod commands;
mod turn;

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, OnceLock, Weak};

use lunforge_core::asc::Asc;
use lunforge_core::lu::{Closed, LogicalUnit};
use lunforge_core::nexus::{Itl, Nexus, NexusId, Policy};
use lunforge_core::sense::Sense;
use parking_lot::Mutex;

use crate::access::{UNKNOWN, allowed};
use crate::apply::apply;
use crate::event::{Effects, Event};
use crate::persistence::{OnDamage, Persistence, PersistenceError, Volatile};
use crate::state::{ItNexus, State};
use turn::{Turn, Turns};

/// The reservations of one logical unit; clones are handles on the same.
///
/// To be given to the unit as a service. Its owner may look at the state, import one, and be told of changes.
#[derive(Clone)]
pub struct Reservations(Arc<Shared>);

impl std::fmt::Debug for Reservations {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Reservations")
            .field(&self.0.inner.lock().state)
            .finish()
    }
}

/// Keeps reservations as they are, see [`Reservations::freeze`]. Dropped, changes have their turns again.
pub struct Frozen {
    /// Held, that nobody else has it.
    _turn: Turn,
}

impl std::fmt::Debug for Frozen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Frozen").finish_non_exhaustive()
    }
}

/// Called with the new state after each change, on the thread that made it. Must not block.
pub type OnChange = Box<dyn Fn(&State) + Send + Sync>;

struct Shared {
    persistence: Arc<dyn Persistence>,
    inner: Mutex<Inner>,
    turns: Arc<Turns>,
    unit: OnceLock<Weak<LogicalUnit>>,
    on_change: OnceLock<OnChange>,
}

struct Inner {
    state: Arc<State>,
    /// What was kept is damaged: nobody knows who has which rights.
    unknown: bool,
    /// The session that sent the last RESERVE of SPC-2: with it, and not with a predecessor of the same name that is
    /// still closing, the reservation ends.
    reserver: Option<NexusId>,
}

impl Reservations {
    /// Reservations that end with the process: none yet, and APTPL is refused.
    #[must_use]
    pub fn volatile() -> Self {
        Self::open(Volatile, OnDamage::StartClean)
    }

    /// Reservations as `persistence` kept them; none where it kept nothing. Blocks.
    ///
    /// PRGENERATION begins at zero, as after a loss of power (SPC-4 6.15.2). Where what was kept cannot be read,
    /// `on_damage` decides. With [`OnDamage::RefuseMediumAccess`] no command reaches the medium, nor changes or reads
    /// reservations, before [`Reservations::restore`]: all of these are answered NOT READY, LOGICAL UNIT NOT READY,
    /// MANUAL INTERVENTION REQUIRED.
    pub fn open(persistence: impl Persistence, on_damage: OnDamage) -> Self {
        let (state, unknown) = match persistence.load() {
            Ok(state) => (state.unwrap_or_default(), false),
            Err(error) => {
                let clean = on_damage == OnDamage::StartClean;
                tracing::error!(%error, ?on_damage, "kept reservations cannot be read");
                let aside = clean.then(|| persistence.set_aside());
                if let Some(Err(error)) = &aside {
                    tracing::error!(%error, "nor put aside: medium access is refused");
                }
                (State::default(), !matches!(aside, Some(Ok(()))))
            }
        };
        let state = Arc::new(state);
        Self(Arc::new(Shared {
            persistence: Arc::new(persistence),
            inner: Mutex::new(Inner {
                state,
                unknown,
                reserver: None,
            }),
            turns: Arc::default(),
            unit: OnceLock::new(),
            on_change: OnceLock::new(),
        }))
    }

    /// The state now: generation, holder, registrants. Does not block.
    #[must_use]
    pub fn snapshot(&self) -> Arc<State> {
        Arc::clone(&self.0.inner.lock().state)
    }

    /// Whether the reservations are known, see [`Reservations::open`].
    #[must_use]
    pub fn is_known(&self) -> bool {
        !self.0.inner.lock().unknown
    }

    /// Has `told` called after each change. One owner is told: of several calls the first counts.
    pub fn on_change(&self, told: impl Fn(&State) + Send + Sync + 'static) {
        // A second owner is the caller's mistake and takes nothing from the first.
        let _ = self.0.on_change.set(Box::new(told));
    }

    /// Keeps changes from being made while a [`Frozen`] is there, so that a snapshot is what initiators have been told:
    /// for a successor of the unit. Commands that would change something wait for their turn, and end with the I_T_L
    /// nexus when the unit leaves its LUNs.
    ///
    /// Waits for the change under way without a thread; then calls `then`, which must not block.
    pub fn freeze(&self, then: impl FnOnce(Frozen) + Send + 'static) {
        let work = move |turn| then(Frozen { _turn: turn });
        self.0.turns.take_always(Box::new(work));
    }

    /// Ends a reservation of SPC-2 whose I_T nexus has no session that sees the unit: for a successor of another unit,
    /// which alone was told of sessions that ended before they were the successor's. Does not block; waits for its turn
    /// without a thread.
    pub fn end_without_session(&self) {
        let Some(unit) = self.0.unit() else { return };
        let (state, reserver) = {
            let inner = self.0.inner.lock();
            (Arc::clone(&inner.state), inner.reserver)
        };
        // Whoever reserved this unit itself is a session of it, whose end is told.
        let Some(nexus) = state.reserved_by().filter(|_| reserver.is_none()) else {
            return;
        };
        if !self.0.setting(&unit).connected.contains(nexus) {
            let nexus = nexus.clone();
            self.0.end_spc2(Event::NexusLoss { nexus });
        }
    }

    /// Replaces the state by one from elsewhere (another node, a predecessor of this process), with its generation.
    ///
    /// Waits for its turn without a thread; then stores, which blocks the thread that it runs on: not to be called on a
    /// shard. `then` is called when the rights are published, with the gate of the unit closed, and must not block.
    ///
    /// Commands that execute are waited for as long as the unit's ladder lets one wait
    /// ([`Ladder::hold`](lunforge_core::Ladder)); those that a backend has not ended by then are aborted.
    pub fn restore(
        &self,
        state: State,
        then: impl FnOnce(Result<(), PersistenceError>) + Send + 'static,
    ) {
        let shared = Arc::clone(&self.0);
        let work = move |turn: Turn| {
            if let Err(error) = shared.persistence.store(&state) {
                drop(turn);
                return then(Err(error));
            }
            let state = Arc::new(state);
            let Some(unit) = shared.unit() else {
                shared.set(&state);
                drop(turn);
                return then(Ok(()));
            };
            let (at, stuck) = (Arc::clone(&unit), Arc::clone(&unit));
            let publish = move |closed: Closed| {
                shared.publish(&at, &state, &Effects::default());
                then(Ok(()));
                drop(closed);
                drop(turn);
            };
            unit.close_gate_within(unit.ladder().hold, move |closed| match closed {
                Some(closed) => publish(closed),
                None => {
                    // Closed before the abort, so that nothing begins in between.
                    stuck.close_gate(publish);
                    let nexuses = stuck.itls().iter().map(|itl| itl.nexus.id).collect();
                    let told = Some(Asc::COMMANDS_CLEARED_BY_DEVICE_SERVER);
                    stuck.abort_nexuses(nexuses, told, || ());
                }
            });
        };
        self.0.turns.take_always(Box::new(work));
    }
}

impl Shared {
    /// The state.
    ///
    /// # Errors
    /// What every command gets while nobody knows it.
    fn known(&self) -> Result<Arc<State>, Sense> {
        let inner = self.inner.lock();
        if inner.unknown {
            return Err(Sense::not_ready(
                Asc::LOGICAL_UNIT_NOT_READY_MANUAL_INTERVENTION_REQUIRED,
            ));
        }
        Ok(Arc::clone(&inner.state))
    }

    fn unit(&self) -> Option<Arc<LogicalUnit>> {
        self.unit.get()?.upgrade()
    }

    /// A command was GOOD.
    fn succeeded(&self, event: &Event, session: NexusId) {
        if matches!(event, Event::Reserve { .. }) {
            self.inner.lock().reserver = Some(session);
        }
    }

    /// A session ended.
    fn lost(self: &Arc<Self>, itl: &Itl) {
        let other = |session: NexusId| session != itl.nexus.id;
        if !self.inner.lock().reserver.is_some_and(other) {
            let nexus = name(&itl.nexus);
            self.end_spc2(Event::NexusLoss { nexus });
        }
    }

    fn set(&self, state: &Arc<State>) {
        let mut inner = self.inner.lock();
        inner.state = Arc::clone(state);
        inner.unknown = false;
    }

    /// Makes `state` the state: rights of all sessions, then unit attentions, then the owner.
    ///
    /// A session that joins meanwhile either is in the unit's list by now, or takes its rights from the new state: both
    /// happen under the lock.
    fn publish(&self, unit: &LogicalUnit, state: &Arc<State>, effects: &Effects) {
        let itls = {
            let mut inner = self.inner.lock();
            inner.state = Arc::clone(state);
            inner.unknown = false;
            let itls = unit.itls();
            for itl in &itls {
                let rights = allowed(state, &name(&itl.nexus));
                itl.access.publish(Policy::Reservation, rights);
            }
            itls
        };
        if !effects.unit_attentions.is_empty() {
            let told: HashMap<_, _> = effects
                .unit_attentions
                .iter()
                .map(|(n, a)| (n, *a))
                .collect();
            for itl in &itls {
                if let Some(asc) = told.get(&name(&itl.nexus)) {
                    itl.ua.establish(*asc);
                }
            }
        }
        // Commands that were held back look again; those without rights are told so.
        unit.access_changed();
        if let Some(told) = self.on_change.get() {
            told(state);
        }
    }

    /// An event that ends an SPC-2 reservation, in its turn: two of them, by the loss of a nexus and by a reset, may come
    /// at once, and the later one must not undo what was reserved after the earlier. The turn comes soon: while such a
    /// reservation is there no persistent one changes, and a RESERVE under way is aborted before the event.
    fn end_spc2(self: &Arc<Self>, event: Event) {
        if self.inner.lock().state.reserved_by().is_none() {
            return;
        }
        let shared = Arc::clone(self);
        let work = move |turn: Turn| {
            let state = Arc::clone(&shared.inner.lock().state);
            if let Some(unit) = shared.unit()
                && let Ok((new, effects)) = apply(&state, &event)
                && new != *state
            {
                shared.publish(&unit, &Arc::new(new), &effects);
            }
            drop(turn);
        };
        self.turns.take_always(Box::new(work));
    }

    /// Publishes what a new session may do.
    fn admit(&self, itl: &Itl) {
        let inner = self.inner.lock();
        let rights = if inner.unknown {
            UNKNOWN
        } else {
            allowed(&inner.state, &name(&itl.nexus))
        };
        itl.access.publish(Policy::Reservation, rights);
    }
}

/// The name of a session in reservations.
fn name(nexus: &Nexus) -> ItNexus {
    ItNexus::new(nexus.initiator.clone(), nexus.target.relative_port())
}

/// The sessions of these nexuses that have used the unit.
fn nexuses_of(unit: &LogicalUnit, wanted: &[ItNexus]) -> Vec<NexusId> {
    if wanted.is_empty() {
        return Vec::new();
    }
    let wanted: BTreeSet<_> = wanted.iter().collect();
    let itls = unit.itls();
    let found = itls.iter().filter(|itl| wanted.contains(&name(&itl.nexus)));
    found.map(|itl| itl.nexus.id).collect()
}
