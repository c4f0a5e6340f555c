//! What a run of changes does beside what its changes say, and how it is taken back: identifiers of ports that were
//! found, files that were made or grew.

mod file;

use super::failure::failure;
use super::{Done, Live};
use crate::manage::Failure;
use crate::tree::Path;

pub(super) use file::Touched;

/// Something that a change did by the way, as it was before.
#[derive(Debug)]
pub(super) enum Undo {
    /// The identifier of a target's port.
    Port { target: Path, before: u16 },
    /// A file.
    File(Touched),
}

/// What the steps of a run did by the way, the first step first.
#[derive(Debug, Default)]
pub(super) struct Journal {
    steps: Vec<Vec<Undo>>,
    /// Of the step under way.
    now: Vec<Undo>,
}

impl Journal {
    pub(super) fn begin(&mut self) {
        *self = Self::default();
    }

    pub(super) fn note(&mut self, undo: Undo) {
        self.now.push(undo);
    }

    fn done(&mut self) {
        let mut now = std::mem::take(&mut self.now);
        now.retain_mut(|undo| match undo {
            Undo::File(touched) => touched.seal(),
            Undo::Port { .. } => true,
        });
        self.steps.push(now);
    }
}

impl Live {
    /// Ends a step of a run: what it did by the way is kept, or where it failed taken back.
    pub(super) fn end_step(&mut self, done: Done) -> Done {
        let Err(error) = done else {
            self.journal.done();
            return Ok(());
        };
        let now = std::mem::take(&mut self.journal.now);
        let left = self.put_back(now).err();
        Err(left.map_or(error.clone(), |left| failure(format!("{error}; {left}"))))
    }

    /// Takes back the last step of the run by what `inverse` does, and what it did by the way.
    pub(super) fn take_back_step(&mut self, inverse: impl FnOnce(&mut Self) -> Done) -> Done {
        let step = self.journal.steps.pop().unwrap_or_default();
        let done = inverse(self);
        let put_back = self.put_back(step);
        self.journal.now.clear();
        done.and(put_back)
    }

    /// The last first; one that cannot be put back does not keep the others.
    fn put_back(&mut self, step: Vec<Undo>) -> Done {
        let mut left: Option<Failure> = None;
        for undo in step.into_iter().rev() {
            let put = match &undo {
                Undo::Port { target, before } => self.put_port_back(target, *before),
                Undo::File(touched) => self.put_file_back(touched),
            };
            if let Err(error) = put {
                left = Some(left.map_or(error.clone(), |all| failure(format!("{all}; {error}"))));
            }
        }
        left.map_or(Ok(()), Err)
    }
}
