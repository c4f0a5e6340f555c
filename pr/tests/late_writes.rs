//! After PREEMPT or PREEMPT AND ABORT returned GOOD, no write of a victim reaches the medium, however late the store.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use common::*;
use lunforge_core::buffer::IoBuf;
use lunforge_core::cdb::{Cdb, CommandId, ParsedCdb};
use lunforge_core::handler::{
    DeviceHandler, DeviceProfile, Execute, Execution, Fence, Identity, Outcome, Transfer,
};
use lunforge_core::nexus::NexusId;
use lunforge_core::sense::Sense;
use lunforge_core::shard::completion::CompletionToken;
use lunforge_core::status::Status::Good;
use lunforge_core::testing::{Bed, Send, Session, doubles::Blank};
use lunforge_pr::Volatile;
use parking_lot::Mutex;

/// A medium on which writes land when the test says so.
#[derive(Clone, Default)]
struct Late(Arc<Mutex<Medium>>);

#[derive(Default)]
struct Medium {
    pending: Vec<Write>,
    /// Whose writes reached the medium, in order.
    landed: Vec<NexusId>,
}

struct Write {
    by: NexusId,
    token: CompletionToken,
    buf: IoBuf,
    /// It was fenced: it ends without reaching the medium.
    dead: bool,
}

impl Late {
    /// Lets one of the pending writes land, if there is one.
    fn land(&self, random: &mut Random) -> bool {
        let mut medium = self.0.lock();
        if medium.pending.is_empty() {
            return false;
        }
        let at = random.below(medium.pending.len());
        let write = medium.pending.swap_remove(at);
        if !write.dead {
            medium.landed.push(write.by);
        }
        write.token.complete(Outcome::good(), write.buf);
        true
    }
}

impl DeviceHandler for Late {
    fn identity(&self) -> Identity {
        Blank::default().identity()
    }

    fn profile(&self) -> DeviceProfile {
        Blank::default().profile()
    }

    fn supports(&self, command: CommandId) -> bool {
        Blank::default().supports(command)
    }

    fn vpd_pages(&self) -> Vec<u8> {
        Vec::new()
    }

    fn vpd(&self, _: u8) -> Option<Vec<u8>> {
        None
    }

    fn ready(&self) -> Result<(), Sense> {
        Ok(())
    }

    fn prepare(&self, cdb: &ParsedCdb) -> Result<Transfer, Sense> {
        Blank::default().prepare(cdb)
    }

    fn execute(&self, command: &mut Execution<'_>) -> Execute {
        if !matches!(command.cdb(), Cdb::Write { .. }) {
            return Execute::Done(Outcome::data(command.buf().len()));
        }
        let buf = command.take_buf();
        let (by, token) = (command.nexus(), command.defer());
        let dead = false;
        self.0.lock().pending.push(Write {
            by,
            token,
            buf,
            dead,
        });
        Execute::Pending
    }

    fn fence(&self) -> Fence {
        self.0
            .lock()
            .pending
            .iter_mut()
            .for_each(|write| write.dead = true);
        Fence::Fenced
    }
}

/// A sequence that looks random and is the same for the same seed.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % bound
    }
}

struct Scene {
    bed: Bed,
    late: Late,
    random: Random,
    victims: [(Session, NexusId); 2],
    /// Registered too, and not a victim.
    bystander: Session,
    preempter: Session,
}

impl Scene {
    /// Two victims with key 1 on two shards, one of which holds; others have keys 2 and 3.
    fn new(seed: u64) -> Self {
        let late = Late::default();
        let (unit, _) = unit(late.clone(), Volatile);
        let mut bed = Bed::new(2, unit);
        let mut open = |shard, name: &str, key| {
            let name = format!("iqn.2026-11.org.example:{name}");
            let session = bed.session(shard, &name);
            good(&mut bed, session, &Out(REGISTER, 0, 0, key, 0));
            let sessions = bed.target().sessions();
            let mine = |n: &&Arc<_>| format!("{:?}", n).contains(&name);
            let nexus = sessions.iter().find(mine).unwrap().id;
            (session, nexus)
        };
        let victims = [open(0, "v0", 1), open(1, "v1", 1)];
        let (bystander, preempter) = (open(0, "b", 3).0, open(1, "p", 2).0);
        good(&mut bed, victims[0].0, &Out(RESERVE, 5, 1, 0, 0));
        let random = Random(seed);
        Self {
            bed,
            late,
            random,
            victims,
            bystander,
            preempter,
        }
    }

    fn write(&mut self, session: Session) {
        let write = Send {
            cdb: WRITE.to_vec(),
            data_out: BLOCK.to_vec(),
            ..Send::default()
        };
        self.bed.send(session, write);
    }

    /// Somebody writes, or the shards have a turn.
    fn step(&mut self) {
        match self.random.below(4) {
            who @ (0 | 1) => self.write(self.victims[who].0),
            2 => self.write(self.bystander),
            _ => self.bed.poll(),
        }
    }

    fn victim_landed_after(&self, good_at: usize) -> bool {
        let medium = self.late.0.lock();
        let late = &medium.landed[good_at..];
        late.iter()
            .any(|by| self.victims.iter().any(|(_, victim)| victim == by))
    }
}

/// The store answers on this thread, between steps.
fn in_steps(seed: u64, action: u8) {
    let mut scene = Scene::new(seed);
    for _ in 0..scene.random.below(30) {
        scene.step();
        if scene.random.below(3) == 0 {
            scene.late.land(&mut scene.random);
        }
    }
    let preempt = scene
        .bed
        .send(scene.preempter, Out(action, 5, 2, 1, 0).command());
    let mut turns = 0;
    let reply = loop {
        if let Some(reply) = scene.bed.ended(scene.preempter, preempt) {
            break reply;
        }
        turns += 1;
        assert!(turns < 10_000, "seed {seed}: it does not end");
        scene.step();
        match action {
            // Without an abort it waits for the writes.
            PREEMPT => drop(scene.late.land(&mut scene.random)),
            // With one it does not need them: the clock is enough.
            _ => scene.bed.advance(lunforge_core::tmf::BOUND / 4),
        }
    };
    let good_at = scene.late.0.lock().landed.len();
    assert_eq!(reply.status, Good, "seed {seed}");
    for _ in 0..40 {
        scene.step();
        scene.late.land(&mut scene.random);
    }
    while scene.late.land(&mut scene.random) {
        scene.bed.poll();
    }
    assert!(!scene.victim_landed_after(good_at), "seed {seed}");
}

#[test]
fn n51_no_write_of_a_victim_lands_after_preempt() {
    (0..150).for_each(|seed| in_steps(seed, PREEMPT));
}

#[test]
fn n51_no_write_of_a_victim_lands_after_preempt_and_abort() {
    (0..150).for_each(|seed| in_steps(seed, PREEMPT_AND_ABORT));
}

#[test]
fn n51_no_write_of_a_victim_lands_after_preempt_while_a_store_answers_from_its_own_thread() {
    for (seed, action) in (0..60).zip([PREEMPT, PREEMPT_AND_ABORT].into_iter().cycle()) {
        let mut scene = Scene::new(seed);
        let stop = Arc::new(AtomicBool::new(false));
        let (late, stopped) = (scene.late.clone(), Arc::clone(&stop));
        let store = std::thread::spawn(move || {
            let mut random = Random(!seed);
            while !stopped.load(Ordering::Acquire) {
                if !late.land(&mut random) {
                    std::thread::yield_now();
                }
            }
            while late.land(&mut random) {}
        });
        for _ in 0..50 {
            scene.step();
        }
        let preempt = scene
            .bed
            .send(scene.preempter, Out(action, 5, 2, 1, 0).command());
        let reply = loop {
            if let Some(reply) = scene.bed.ended(scene.preempter, preempt) {
                break reply;
            }
            scene.step();
        };
        let good_at = scene.late.0.lock().landed.len();
        assert_eq!(reply.status, Good, "seed {seed}");
        for _ in 0..50 {
            scene.step();
        }
        stop.store(true, Ordering::Release);
        store.join().unwrap();
        assert!(!scene.victim_landed_after(good_at), "seed {seed}");
    }
}
