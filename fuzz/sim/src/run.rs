//! One seed from its beginning to its end.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;

use crate::chronicle::Failure;
use crate::config::{Config, Mask};
use crate::medium::PANIC;
use crate::world::World;

/// How a run ended.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// A hash over all that happened: equal for equal seeds.
    pub hash: u64,
    /// The first rule that was broken.
    pub failure: Option<Failure>,
    /// What happened, in words, if they were asked for.
    pub words: Vec<String>,
}

/// Panics that are part of the simulation are not reported.
fn quiet_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if info.payload().downcast_ref::<&str>() != Some(&PANIC) {
                before(info);
            }
        }));
    });
}

fn message(payload: &(dyn Any + Send)) -> String {
    let text = payload
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned());
    let text = text.or_else(|| payload.downcast_ref::<String>().cloned());
    text.unwrap_or_else(|| "a panic".into())
}

/// Runs a seed. `words` asks for the events in words.
#[must_use]
pub fn run(seed: u64, mask: &Mask, words: bool) -> Outcome {
    quiet_panics();
    let mut world = match World::new(seed, mask, words) {
        Ok(world) => world,
        Err(error) => return failed("no-world", format!("{error:#}")),
    };
    let chronicle = world.chronicle();
    if let Err(payload) = catch_unwind(AssertUnwindSafe(|| world.run())) {
        chronicle.fail("panic", message(&*payload));
        // Its parts may be locked or half changed.
        std::mem::forget(world);
    } else {
        drop(world);
    }
    Outcome {
        hash: chronicle.hash(),
        failure: chronicle.failure(),
        words: chronicle.take_words(),
    }
}

fn failed(rule: &'static str, detail: String) -> Outcome {
    Outcome {
        hash: 0,
        failure: Some(Failure {
            rule,
            detail,
            step: 0,
        }),
        words: Vec::new(),
    }
}

/// The size of a seed's world: steps, initiators, shards and units.
#[must_use]
pub fn size(seed: u64, mask: &Mask) -> (u32, usize, usize, usize) {
    let config = Config::of(seed, mask);
    (
        config.steps,
        config.ports.len(),
        config.shards,
        config.units.len(),
    )
}
