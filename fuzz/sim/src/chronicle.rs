//! What happened, in order: numbers, a hash, on demand the words, and the first rule that was broken.

use parking_lot::Mutex;

/// A place in the order of all events of a run.
pub(crate) type Seq = u64;

/// A broken rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The rule's name: what stays the same when a run is shrunk.
    pub rule: &'static str,
    /// What was seen.
    pub detail: String,
    /// The step in which it was seen.
    pub step: u32,
}

#[derive(Debug, Default)]
struct State {
    seq: Seq,
    hash: u64,
    step: u32,
    nanos: u64,
    failure: Option<Failure>,
    words: Option<Vec<String>>,
}

/// See the module's head.
#[derive(Debug, Default)]
pub(crate) struct Chronicle(Mutex<State>);

impl Chronicle {
    /// With `words`, events are kept in words as well.
    pub(crate) fn new(words: bool) -> Self {
        let state = State {
            words: words.then(Vec::new),
            ..State::default()
        };
        Self(Mutex::new(state))
    }

    /// Step `step` begins at `nanos` of virtual time.
    pub(crate) fn begin_step(&self, step: u32, nanos: u64) {
        let mut state = self.0.lock();
        (state.step, state.nanos) = (step, nanos);
    }

    /// An event: its number.
    pub(crate) fn note(&self, what: u64, detail: u64, words: impl FnOnce() -> String) -> Seq {
        let mut state = self.0.lock();
        state.seq += 1;
        state.hash = (state.hash.rotate_left(5) ^ what).wrapping_mul(0x517C_C1B7_2722_0A95);
        state.hash = (state.hash.rotate_left(5) ^ detail).wrapping_mul(0x517C_C1B7_2722_0A95);
        let (seq, step, nanos) = (state.seq, state.step, state.nanos);
        if let Some(kept) = &mut state.words {
            let time = nanos / 1000;
            let step = if step == u32::MAX {
                "end".into()
            } else {
                step.to_string()
            };
            kept.push(format!("{step:>4} {time:>10} us #{seq:<6} {}", words()));
        }
        seq
    }

    /// The number of the last event.
    pub(crate) fn seq(&self) -> Seq {
        self.0.lock().seq
    }

    /// A rule is broken. The first one counts.
    pub(crate) fn fail(&self, rule: &'static str, detail: String) {
        self.note(0xFA11, 0, || format!("BROKEN {rule}: {detail}"));
        let mut state = self.0.lock();
        let step = state.step;
        state.failure.get_or_insert(Failure { rule, detail, step });
    }

    pub(crate) fn failed(&self) -> bool {
        self.0.lock().failure.is_some()
    }

    pub(crate) fn failure(&self) -> Option<Failure> {
        self.0.lock().failure.clone()
    }

    pub(crate) fn hash(&self) -> u64 {
        self.0.lock().hash
    }

    pub(crate) fn take_words(&self) -> Vec<String> {
        self.0.lock().words.take().unwrap_or_default()
    }
}
