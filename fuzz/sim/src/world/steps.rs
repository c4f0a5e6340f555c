//! One step: something happens, chosen by the seed and the step's number alone, so that a run without some of its steps
//! has the others as they were.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use lunforge::iscsi::io::Ends;

use super::{ROOM, World};
use crate::attention::{self, Raise};
use crate::config::Fault;
use crate::initiator::Phase;
use crate::pattern::BLOCK;
use crate::rng::Rng;
use crate::wire::Life;

const MILLISECOND: u64 = 1_000_000;
const SECOND: u64 = 1000 * MILLISECOND;

fn ends() -> Ends {
    let here = |port| SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port);
    Ends {
        peer: here(1),
        local: here(3260),
    }
}

impl World {
    pub(super) fn step(&mut self, step: u32) {
        let rng = &mut Rng::of(self.seed, 3, u64::from(step));
        match rng.weighted(&[36, 24, 26, 5, 12, 6, 6, 3, 2]) {
            0 => self.turn(step, rng),
            1 => self.deliver(rng),
            2 => self.issue(rng),
            3 => self.pass(rng),
            4 => self.store(rng),
            5 => self.offload(rng),
            6 => self.connections(rng),
            7 => self.room(rng),
            _ => self.administer(rng),
        }
    }

    fn on(&self, fault: Fault) -> u32 {
        self.shared.config.strength(fault)
    }

    /// A shard has a turn, or two have.
    fn turn(&mut self, step: u32, rng: &mut Rng) {
        let at = rng.below(self.shards.len());
        if rng.chance(self.on(Fault::Starved) / 4) {
            self.starved[at] = step + rng.range(5, 80) as u32;
        }
        if self.starved[at] <= step {
            self.drive(at, rng);
        }
    }

    fn deliver(&mut self, rng: &mut Rng) {
        let split = rng.chance(self.on(Fault::Split) * 2);
        let at = rng.below(self.initiators.len());
        let most = if split {
            rng.pick(&[1, 3, 47, 48, 100, 700])
        } else {
            usize::MAX
        };
        self.initiators[at].deliver(most);
    }

    fn issue(&mut self, rng: &mut Rng) {
        let at = rng.below(self.initiators.len());
        let initiator = &mut self.initiators[at];
        if initiator.phase == Phase::Out {
            return self.connect(at, rng);
        }
        for _ in 0..rng.pick(&[1, 1, 2, 4]) {
            initiator.issue(rng);
        }
        if !rng.chance(self.on(Fault::Split) * 2) {
            self.initiators[at].deliver(usize::MAX);
        }
    }

    fn connect(&mut self, at: usize, rng: &mut Rng) {
        let slow = rng.chance(self.on(Fault::SlowReader) * 2);
        let room = if slow { rng.pick(&[0, 40, 500]) } else { ROOM };
        if rng.one_in(6) {
            self.initiators[at].err_at_login();
        }
        let wire = self.initiators[at].connect(room);
        // A transport that has as many connections as it may drops the stream.
        let _ = self.iscsi.serve(wire.target_end(), ends());
        self.initiators[at].deliver(usize::MAX);
    }

    fn pass(&mut self, rng: &mut Rng) {
        let leap = rng.chance(self.on(Fault::Leap));
        self.now += match (leap, rng.below(4)) {
            (true, 0) => 120 * SECOND,
            (true, 1) => 11 * SECOND,
            (true, _) => rng.below(SECOND as usize) as u64,
            (false, 0) => rng.below(60 * MILLISECOND as usize) as u64,
            (false, _) => rng.below(MILLISECOND as usize) as u64,
        };
    }

    fn store(&mut self, rng: &mut Rng) {
        let at = rng.below(self.luns.len());
        let medium = &self.luns[at].medium;
        for _ in 0..rng.pick(&[1, 1, 3]) {
            medium.step(rng);
        }
    }

    fn offload(&mut self, rng: &mut Rng) {
        if rng.chance(self.on(Fault::Offload)) {
            self.jobs.lose_one();
        } else {
            self.jobs.run_one();
        }
    }

    /// Connections come and go.
    fn connections(&mut self, rng: &mut Rng) {
        let at = rng.below(self.initiators.len());
        if self.initiators[at].phase == Phase::Out {
            return self.connect(at, rng);
        }
        if rng.chance(self.on(Fault::Lost)) {
            let life = rng.pick(&[Life::Finished, Life::Reset]);
            return self.initiators[at].forget(Some(life));
        }
        if rng.chance(self.on(Fault::HalfOpen)) {
            self.initiators[at].forget(None);
            if rng.one_in(2) {
                self.connect(at, rng);
            }
            return;
        }
        if rng.chance(self.on(Fault::Reinstatement)) {
            for _ in 0..rng.range(1, 4) {
                self.connect(at, rng);
            }
        }
    }

    fn room(&mut self, rng: &mut Rng) {
        let at = rng.below(self.initiators.len());
        let room = rng.pick(&[1, 48, 300, 5000, 100_000]);
        self.initiators[at].give_room(room);
    }

    /// What the owner of the target does.
    fn administer(&mut self, rng: &mut Rng) {
        let at = rng.below(self.luns.len());
        let (luns, resize, stop) = (
            self.on(Fault::Luns),
            self.on(Fault::Resize),
            self.on(Fault::Stop),
        );
        if rng.chance(luns) {
            if self.luns[at].mapped && rng.one_in(2) {
                self.replace(at, rng.one_in(2));
            } else {
                self.map(at);
            }
        } else if rng.chance(resize) {
            self.resize(at, rng);
        } else if rng.chance(stop / 4) && self.stop.is_none() {
            self.shared
                .chronicle
                .note(80, 0, || "the engine is told to stop".into());
            self.begin_stop();
        }
    }

    /// A LUN goes, or comes back.
    pub(super) fn map(&mut self, at: usize) {
        let mapped = !self.luns[at].mapped;
        self.shared
            .chronicle
            .note(81, at as u64, || format!("LUN {at} is mapped: {mapped}"));
        self.luns[at].mapped = mapped;
        self.shared.model.lock().unit_left(at);
        let changed = if mapped {
            self.target.add_lun(at as u64, self.luns[at].unit.clone())
        } else {
            self.target.remove_lun(at as u16)
        };
        if let Err(error) = changed {
            self.shared
                .chronicle
                .fail("administration", error.to_string());
        }
        let mut model = self.shared.model.lock();
        model.map_changed = self.shared.chronicle.seq();
        for (unit, lun) in self.luns.iter().enumerate() {
            // A unit that came or went tells of itself only to those who have used it.
            let raise = if lun.mapped && unit != at {
                Raise::MustUnused
            } else {
                Raise::May
            };
            model.raise(unit, attention::LUNS_CHANGED, raise, |_| true);
        }
    }

    /// A LUN gets a unit in its unit's place: the same one, anew.
    fn replace(&mut self, at: usize, tell: bool) {
        self.shared.chronicle.note(83, at as u64, || {
            format!("LUN {at} is replaced, told: {tell}")
        });
        self.shared.model.lock().unit_left(at);
        let unit = self.luns[at].unit.clone();
        if let Err(error) = self.target.replace_lun(at as u16, unit, tell) {
            self.shared
                .chronicle
                .fail("administration", error.to_string());
        }
        let mut model = self.shared.model.lock();
        if tell {
            model.units[at].told = Some(self.shared.chronicle.seq());
            model.raise(at, attention::INQUIRY_CHANGED, Raise::May, |_| true);
        }
    }

    fn resize(&mut self, at: usize, rng: &mut Rng) {
        let most = self.shared.config.units[at].blocks as usize;
        let blocks = rng.range(most / 2, most + 1) as u64;
        let before = self.shared.model.lock().units[at].blocks;
        self.shared
            .chronicle
            .note(82, blocks, || format!("unit {at} gets {blocks} blocks"));
        if let Err(error) = self.luns[at].disk.resize(blocks * BLOCK as u64) {
            self.shared
                .chronicle
                .fail("administration", error.to_string());
        }
        if blocks != before {
            let mut model = self.shared.model.lock();
            model.raise(at, attention::CAPACITY_CHANGED, Raise::Must, |_| true);
        }
    }
}
