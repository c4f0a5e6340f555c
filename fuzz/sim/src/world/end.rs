//! The end of a run: no more faults, everything gets time, and then nothing may be left.

use lunforge::core::engine::Engine;
use lunforge::core::shard::Census;

use super::{ROOM, World};
use crate::config::Fault;
use crate::rng::Rng;
use crate::wire::Life;

/// Rounds that everything gets: more than a silent initiator has (RspTimeout, and two NOP timeouts).
const ROUNDS: u32 = 200;
/// Virtual time of a round.
const PAUSE: u64 = 500_000_000;

impl World {
    pub(super) fn finish(&mut self) {
        let rng = &mut Rng::of(self.seed, 7, 0);
        self.shared
            .chronicle
            .note(90, 0, || "all faults end".into());
        self.luns.iter().for_each(|lun| lun.medium.calm());
        self.initiators
            .iter()
            .for_each(|initiator| initiator.give_room(ROOM));
        if !self.settle(rng, |world| world.initiators.iter().all(|i| i.tasks() == 0)) {
            self.initiators
                .iter()
                .for_each(|initiator| initiator.check_answered());
        }
        self.part(rng);
        if !self.failed() {
            self.stop(rng);
        }
    }

    /// Rounds until `done`, or until there were enough. False when there were.
    fn settle(&mut self, rng: &mut Rng, done: impl Fn(&Self) -> bool) -> bool {
        for _ in 0..ROUNDS {
            let mut busy = false;
            for _ in 0..4 {
                busy |= self.round(rng);
            }
            if self.failed() {
                return true;
            }
            if !busy && done(self) {
                return true;
            }
            self.now += PAUSE;
            self.shared.chronicle.begin_step(u32::MAX, self.now);
        }
        done(self)
    }

    /// Everything that waits gets through, and each shard has a turn.
    fn round(&mut self, rng: &mut Rng) -> bool {
        let mut busy = false;
        for initiator in &mut self.initiators {
            busy |= initiator.undelivered() > 0;
            initiator.deliver(usize::MAX);
        }
        while self.jobs.run_one() {
            busy = true;
        }
        for lun in &self.luns {
            while lun.medium.let_go_one() {
                busy = true;
            }
        }
        for at in 0..self.shards.len() {
            self.drive(at, rng);
        }
        busy
    }

    /// All sessions end; nothing of them may be left.
    fn part(&mut self, rng: &mut Rng) {
        for at in 0..self.initiators.len() {
            match rng.below(3) {
                0 => self.initiators[at].logout(),
                1 => self.initiators[at].forget(Some(Life::Finished)),
                _ => self.initiators[at].forget(Some(Life::Reset)),
            }
            self.initiators[at].end_abandoned();
        }
        let quiet = self.settle(rng, |world| world.census() == Census::default());
        if !quiet {
            let census = self.census();
            self.shared
                .chronicle
                .fail("left-behind", format!("{census:?}"));
        }
        let (connections, sessions) = (self.iscsi.connections(), self.iscsi.sessions());
        if !self.failed() && (connections, sessions) != (0, 0) {
            let detail = format!("{connections} connections, {sessions} sessions");
            self.shared.chronicle.fail("left-behind", detail);
        }
    }

    /// What there is on all shards.
    fn census(&self) -> Census {
        let all = self.shards.iter().flatten().map(|shard| shard.census());
        all.fold(Census::default(), |sum, one| Census {
            sources: sum.sources + one.sources,
            nexuses: sum.nexuses + one.nexuses,
            commands: sum.commands + one.commands,
            task_management: sum.task_management + one.task_management,
            waiting: sum.waiting + one.waiting,
            ranges: sum.ranges + one.ranges,
            closers: sum.closers + one.closers,
            timers: sum.timers + one.timers,
            copies: sum.copies + one.copies,
            buffer_bytes: sum.buffer_bytes + one.buffer_bytes,
        })
    }

    fn stop(&mut self, rng: &mut Rng) {
        let Some(engine) = self.engine.take() else {
            return;
        };
        let dropped: u64 = engine
            .shards()
            .iter()
            .map(|shard| shard.dropped_tokens())
            .sum();
        let explained = [Fault::BrokenStore, Fault::Offload];
        if dropped > 0 && !explained.iter().any(|fault| self.shared.config.on(*fault)) {
            self.shared
                .chronicle
                .fail("dropped-token", format!("{dropped}"));
        }
        Engine::begin_stop(&engine);
        let ended = self.settle(rng, |world| world.shards.iter().all(Option::is_none));
        if !ended {
            self.shared
                .chronicle
                .fail("late", "shards without sessions do not end".into());
        }
        // By hand what the engine's end does on threads of its own.
        for at in 0..self.luns.len() {
            if let Err(error) = self.luns[at].unit.handler().shutdown() {
                self.shared
                    .chronicle
                    .fail("not-flushed", format!("unit {at}: {error}"));
            }
            if self.luns[at].mapped {
                self.map(at);
            }
        }
        let stopped = engine.stop(std::time::Duration::ZERO);
        if !stopped.not_flushed.is_empty() {
            self.shared
                .chronicle
                .fail("not-flushed", format!("{stopped:?}"));
        }
    }
}
