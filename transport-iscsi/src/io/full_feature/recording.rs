//! What the session's recorder is told: how long commands take, the first task management function.

use std::time::{Duration, Instant};

use super::FullFeature;
use crate::record::{Incident, Recording, Tap};

/// Watches the time that commands take, for the recorder.
#[derive(Debug)]
pub(super) struct Watch {
    slow: Option<Duration>,
    unanswered: Option<Duration>,
    /// When to look for commands without an answer.
    next_look: Option<Instant>,
    /// A task management function has come before.
    task_management_seen: bool,
}

/// Since when the core has had a command.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Begun {
    at: Option<Instant>,
    /// It was told that it has no answer.
    told: bool,
}

impl FullFeature {
    /// Has the session recorded from here on.
    pub(in crate::io) fn record(&mut self, tap: Box<Tap>, recording: &Recording) {
        self.wire.record(tap);
        self.watch = Some(Watch {
            slow: recording.slow_after(),
            unanswered: recording.unanswered_after(),
            next_look: None,
            task_management_seen: false,
        });
    }

    /// The session's recorder.
    pub(in crate::io) fn tap(&mut self) -> Option<&mut Tap> {
        self.wire.tap()
    }

    /// Commands and functions under way.
    pub(in crate::io) fn under_way(&self) -> usize {
        self.in_core
    }

    pub(super) fn next_look(&self) -> Option<Instant> {
        self.watch.as_ref().and_then(|watch| watch.next_look)
    }

    /// A command begins; what its slot is to keep.
    pub(super) fn begins(&mut self, now: Instant) -> Begun {
        let Some(watch) = &mut self.watch else {
            return Begun::default();
        };
        if let (Some(unanswered), None) = (watch.unanswered, watch.next_look) {
            watch.next_look = Some(now + unanswered);
        }
        Begun {
            at: Some(now),
            told: false,
        }
    }

    /// A command ended.
    pub(super) fn took(&mut self, begun: Begun, now: Instant) {
        let slow = self.watch.as_ref().and_then(|watch| watch.slow);
        if let (Some(slow), Some(at)) = (slow, begun.at) {
            let took = now.saturating_duration_since(at);
            if took >= slow {
                self.note(Incident::Slow(took));
            }
        }
    }

    /// A task management function came.
    pub(super) fn task_management_came(&mut self, function: u8) {
        if let Some(watch) = &mut self.watch
            && !std::mem::replace(&mut watch.task_management_seen, true)
        {
            self.note(Incident::TaskManagement(function));
        }
    }

    /// Looks for commands that have had no answer for too long, when it is time to.
    pub(super) fn look_for_unanswered(&mut self, now: Instant) {
        let Some(watch) = &mut self.watch else { return };
        let Some(bound) = watch.unanswered.filter(|_| watch.next_look <= Some(now)) else {
            return;
        };
        let (mut longest, mut oldest) = (None, None);
        for slot in self.slots.iter_mut().filter(|slot| slot.begun) {
            let Begun {
                at: Some(at),
                told: false,
            } = slot.since
            else {
                continue;
            };
            let waited = now.saturating_duration_since(at);
            if waited >= bound {
                slot.since.told = true;
                longest = longest.max(Some(waited));
            } else if oldest.is_none_or(|oldest| at < oldest) {
                oldest = Some(at);
            }
        }
        watch.next_look = oldest.map(|at| at + bound);
        if let Some(longest) = longest {
            self.note(Incident::Unanswered(longest));
        }
    }

    fn note(&mut self, incident: Incident) {
        if let Some(tap) = self.wire.tap() {
            tap.note(incident);
        }
    }
}
