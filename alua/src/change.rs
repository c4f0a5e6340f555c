//! One change of a device group's target port groups, from the old table to the new.
//!
//! Whatever is changed, the order is the same: the ports that gain or lose the medium are in transition, commands
//! that were let in have ended, stores are closed, stores are opened, the new states hold, initiators are told.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use lunforge_core::LogicalUnit;
use lunforge_core::asc::Asc;
use lunforge_core::nexus::NexusId;
use parking_lot::Mutex;

use crate::device_group::Shared;
use crate::error::AluaError;
use crate::state::AccessState;
use crate::table::{Table, TargetPortGroup};
use crate::unit::{AsymmetricAccess, Medium};

/// Threads that open or close stores at a time.
const THREADS: usize = 64;
/// What the core's bound on aborts leaves for a busy machine.
const AFTER_ABORT: Duration = Duration::from_secs(2);

/// A unit of the device group.
#[derive(Clone)]
pub(crate) struct Member {
    pub(crate) access: Arc<AsymmetricAccess>,
    pub(crate) unit: Arc<LogicalUnit>,
}

impl Member {
    fn serial(&self) -> String {
        self.unit.handler().identity().serial
    }

    /// Closes the store, whatever comes of it.
    pub(crate) fn deactivate(&self) -> Result<(), AluaError> {
        self.access.set_medium(Medium::Closed);
        let closed = guarded(|| self.unit.handler().deactivate());
        closed.map_err(|source| {
            let unit = self.serial();
            tracing::error!(unit, error = %source, "the medium was not given up cleanly");
            AluaError::Deactivate { unit, source }
        })
    }

    /// Opens the store.
    pub(crate) fn activate(&self) -> Result<(), AluaError> {
        match guarded(|| self.unit.handler().activate()) {
            Ok(()) => {
                self.access.set_medium(Medium::Open);
                Ok(())
            }
            Err(source) => {
                let unit = self.serial();
                tracing::error!(unit, error = %source, "the medium cannot be taken");
                Err(AluaError::Activate { unit, source })
            }
        }
    }

    /// Whether a table needs the unit's store open (`Some(true)`) or closed; `None`: as it is.
    ///
    /// It is needed as long as one port of this node leads to it. Ports in no group are not restricted, so they do, unless
    /// that was ruled out.
    fn wants_medium(&self, table: &Table) -> Option<bool> {
        let states = || table.local_ports().map(|(_, group)| group.state);
        let count = self.access.shared().is_none_or(|s| s.ungrouped_opens());
        let ungrouped = |port: &u16| count && table.of_local_port(*port).is_none();
        if states().any(AccessState::accesses_medium) || self.unit.ports().iter().any(ungrouped) {
            return Some(true);
        }
        let undecided = states().any(|state| state == AccessState::Transitioning);
        (!undecided && states().next().is_some()).then_some(false)
    }

    /// The store is to be closed before `table` is in force.
    pub(crate) fn closes_for(&self, table: &Table) -> bool {
        let open = self.access.medium() != Medium::Closed;
        self.access.is_bound() && open && self.wants_medium(table) == Some(false)
    }

    /// The store is to be opened before `table` is in force.
    pub(crate) fn opens_for(&self, table: &Table) -> bool {
        let closed = self.access.medium() != Medium::Open;
        self.access.is_bound() && closed && self.wants_medium(table) == Some(true)
    }
}

/// A handler that panics has failed; the change goes on without it.
fn guarded(work: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
    let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
    done.unwrap_or_else(|_| Err(io::Error::other("the handler panicked")))
}

/// See the module's head. Made with [`Shared::changes`] held.
pub(crate) struct Change<'a> {
    pub(crate) shared: &'a Shared,
    pub(crate) members: Vec<Member>,
    pub(crate) before: Arc<Table>,
    pub(crate) after: Arc<Table>,
    /// The nexus whose SET TARGET PORT GROUPS it is: it is not told what it did.
    pub(crate) origin: Option<NexusId>,
}

impl Change<'_> {
    pub(crate) fn carry_out(self) -> Result<(), AluaError> {
        let those = |wanted: fn(&Member, &Table) -> bool| -> Vec<Member> {
            let members = self.members.iter().filter(|m| wanted(m, &self.after));
            members.cloned().collect()
        };
        let (closing, opening) = (those(Member::closes_for), those(Member::opens_for));
        if self.before == self.after && closing.is_empty() && opening.is_empty() {
            return Ok(());
        }
        // Before any word is published: a session that joins by a port in no group finds the store closed, too.
        let was: Vec<_> = closing.iter().map(|m| m.access.medium()).collect();
        closing
            .iter()
            .for_each(|m| m.access.set_medium(Medium::Closed));
        let turning = self.turning();
        if !turning.is_empty() {
            self.install(&Arc::new(in_state(
                &self.after,
                &turning,
                AccessState::Transitioning,
            )));
        }
        if self.loses_access()
            && let Err(error) = drain(&self.members, self.shared.drain_bound())
        {
            let restore = |(m, was): (&Member, Medium)| m.access.set_medium(was);
            closing.iter().zip(was).for_each(restore);
            self.install(&self.before);
            self.wake();
            return Err(error);
        }
        let closed = first_error(in_parallel(&closing, Member::deactivate));
        let opened = first_error(in_parallel(&opening, Member::activate));
        if opened.is_err() {
            self.give_up(&opening);
            return opened;
        }
        self.finish(&self.after, self.origin);
        closed
    }

    /// Puts a table in force and tells of it.
    fn finish(&self, table: &Arc<Table>, origin: Option<NexusId>) {
        self.install(table);
        self.tell(table, origin);
        self.wake();
    }

    /// Stores could not be opened: the groups that were to get access by it are unavailable. If it was no state that was
    /// changed, all stays as it was.
    fn give_up(&self, opening: &[Member]) {
        let gains = |group: &&TargetPortGroup| {
            let before = self.before.group(group.id);
            before.is_ok_and(|b| !b.state.accesses_medium()) && group.state.accesses_medium()
        };
        let gaining: Vec<u16> = self.after.groups().filter(gains).map(|g| g.id).collect();
        let table = if gaining.is_empty() {
            Arc::clone(&self.before)
        } else {
            Arc::new(in_state(&self.after, &gaining, AccessState::Unavailable))
        };
        let again: Vec<_> = opening
            .iter()
            .filter(|m| m.closes_for(&table))
            .cloned()
            .collect();
        self.finish(&table, None);
        // Logged where they happen; the reason that counts is why the others could not be opened.
        let _ = in_parallel(&again, Member::deactivate);
    }

    /// Groups in the new table of which a port gains or loses access to the medium.
    fn turning(&self) -> Vec<u16> {
        let changes = |(port, group): &(u16, &TargetPortGroup)| {
            accesses(&self.before, *port) != group.state.accesses_medium()
        };
        let mut groups: Vec<_> = self
            .after
            .local_ports()
            .filter(changes)
            .map(|(_, g)| g.id)
            .collect();
        groups.sort_unstable();
        groups.dedup();
        groups
    }

    /// Whether a command may be at the medium that must not be there by the new table.
    fn loses_access(&self) -> bool {
        let mut ports = self.after.local_ports().map(|(port, _)| port);
        ports.any(|port| accesses(&self.before, port) && !accesses(&self.after, port))
    }

    fn install(&self, table: &Arc<Table>) {
        self.shared.set_table(table);
        self.members.iter().for_each(|m| m.access.publish());
    }

    /// Commands that waited for the end of the transition go on.
    fn wake(&self) {
        self.members.iter().for_each(|m| m.unit.access_changed());
    }

    /// Unit attentions by what has changed for the port that a nexus uses. Entering transition is not told: the end will
    /// be (SPC-4 5.15.2.5).
    fn tell(&self, now: &Table, origin: Option<NexusId>) {
        for itl in self.members.iter().flat_map(|m| m.unit.itls()) {
            let port = itl.nexus.target.relative_port();
            let (was, is) = (self.before.of_local_port(port), now.of_local_port(port));
            let id = |group: Option<&TargetPortGroup>| group.map(|g| g.id);
            if id(was) != id(is) {
                // The target port group designator of VPD page 83h.
                itl.ua.establish(Asc::INQUIRY_DATA_HAS_CHANGED);
            }
            let seen = |group: Option<&TargetPortGroup>| {
                group.map_or((AccessState::ActiveOptimized, false), |g| {
                    (g.state, g.preferred)
                })
            };
            let entering = seen(is).0 == AccessState::Transitioning;
            if seen(was) != seen(is) && !entering && origin != Some(itl.nexus.id) {
                itl.ua.establish(Asc::ASYMMETRIC_ACCESS_STATE_CHANGED);
            }
        }
    }
}

/// Whether a port leads to the medium; one in no group does.
fn accesses(table: &Table, port: u16) -> bool {
    let group = table.of_local_port(port);
    group.is_none_or(|group| group.state.accesses_medium())
}

/// The table with some groups in another state.
fn in_state(table: &Table, groups: &[u16], state: AccessState) -> Table {
    let mut table = table.clone();
    for id in groups {
        // They are in the table.
        let _ = table.set_state(*id, state, crate::table::StatusCode::Implicit);
    }
    table
}

/// Returns when no command executes that was let in before; then the gates are open again. Commands that do not end
/// within `bound` are aborted, as a logical unit reset would.
///
/// The gate is only passed through, not held while stores are closed: access words keep commands from the medium, and
/// a logical unit reset, which needs the gate, stays bounded.
pub(crate) fn drain(members: &[Member], bound: Duration) -> Result<(), AluaError> {
    let (done, ended) = mpsc::channel();
    for (at, member) in members.iter().enumerate() {
        let done = done.clone();
        member.unit.close_gate(move |closed| {
            drop(closed);
            // The change may have given up.
            let _ = done.send(at);
        });
    }
    drop(done);
    let mut left: Vec<Option<&Member>> = members.iter().map(Some).collect();
    if collect(&ended, &mut left, bound) {
        return Ok(());
    }
    for member in left.iter().flatten() {
        let nexuses: Vec<_> = member.unit.itls().iter().map(|itl| itl.nexus.id).collect();
        tracing::warn!(
            unit = member.serial(),
            "commands do not end; they are aborted"
        );
        let told = Some(Asc::COMMANDS_CLEARED_BY_DEVICE_SERVER);
        member.unit.abort_nexuses(nexuses, told, || ());
    }
    collect(&ended, &mut left, AFTER_ABORT);
    match left.into_iter().flatten().next() {
        None => Ok(()),
        Some(member) => Err(AluaError::StillRunning(member.serial())),
    }
}

/// Crosses off who has reported; true when all have within `bound`.
fn collect(ended: &mpsc::Receiver<usize>, left: &mut [Option<&Member>], bound: Duration) -> bool {
    let end = Instant::now() + bound;
    while left.iter().any(Option::is_some) {
        let wait = end.saturating_duration_since(Instant::now());
        match ended.recv_timeout(wait) {
            Ok(at) => {
                if let Some(slot) = left.get_mut(at) {
                    *slot = None;
                }
            }
            Err(_) => return false,
        }
    }
    true
}

/// Does the same for all members, on several threads; this one is the first.
pub(crate) fn in_parallel(
    members: &[Member],
    work: fn(&Member) -> Result<(), AluaError>,
) -> Vec<AluaError> {
    let (next, errors) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    // Relaxed: the counter only hands out places; the end of the scope orders the rest.
    let take = || members.get(next.fetch_add(1, Ordering::Relaxed));
    let serve = || {
        while let Some(member) = take() {
            if let Err(error) = work(member) {
                errors.lock().push(error);
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..members.len().min(THREADS) {
            let thread = std::thread::Builder::new().name("lun-alua".into());
            // With fewer threads it takes longer.
            if thread.spawn_scoped(scope, serve).is_err() {
                break;
            }
        }
        serve();
    });
    errors.into_inner()
}

/// The first of the errors, which are all logged.
pub(crate) fn first_error(errors: Vec<AluaError>) -> Result<(), AluaError> {
    errors.into_iter().next().map_or(Ok(()), Err)
}
