//! Where a state is kept so that it survives a loss of power (APTPL, SPC-4 5.13.5).

mod directory;
mod file;
mod format;

use std::io;

use crate::state::State;

pub use directory::{Directory, OsDirectory};
pub use file::FileStore;
pub use format::{Damage, decode, encode};

/// Why a state could not be kept or found again.
#[derive(Debug, thiserror::Error)]
pub enum PersistenceError {
    /// The medium failed.
    #[error("{path}: {source}")]
    Io {
        /// What was accessed.
        path: String,
        /// What went wrong.
        source: io::Error,
    },
    /// What is there cannot be read as a state.
    #[error("{path}: {source}")]
    Damaged {
        /// What was read.
        path: String,
        /// What is wrong with it.
        source: Damage,
    },
}

/// Makes a change of reservations hold before it takes effect: on a disk now, on other nodes too where there are any.
///
/// The calls block. They come from threads that may, one at a time for a unit.
pub trait Persistence: Send + Sync + 'static {
    /// PTPL_C: whether APTPL of one is accepted.
    fn capable(&self) -> bool;

    /// Whether the change from `old` to `new` is to be stored before it takes effect.
    fn concerns(&self, old: &State, new: &State) -> bool {
        let durable = |state: &State| state.aptpl;
        (durable(old) || durable(new))
            && (old.aptpl, &old.registrants, &old.reservation)
                != (new.aptpl, &new.registrants, &new.reservation)
    }

    /// Keeps `state`, or forgets what was kept if its APTPL is zero. Returns when that is durable.
    ///
    /// # Errors
    /// [`PersistenceError`]; then what was kept before counts, and [`Persistence::store`] may be tried again.
    fn store(&self, state: &State) -> Result<(), PersistenceError>;

    /// What was kept last, `None` for nothing.
    ///
    /// # Errors
    /// [`PersistenceError`].
    fn load(&self) -> Result<Option<State>, PersistenceError>;

    /// Puts what was kept, and cannot be read, out of the way, where somebody may look at it. Durable on return.
    ///
    /// # Errors
    /// [`PersistenceError`].
    fn set_aside(&self) -> Result<(), PersistenceError>;
}

/// What to do where the kept state cannot be read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnDamage {
    /// Nobody gets at the medium until the owner says who may: a guess could let two nodes write.
    #[default]
    RefuseMediumAccess,
    /// Nothing is registered. What was kept is put aside.
    StartClean,
}

/// Keeps nothing: APTPL is refused.
#[derive(Clone, Copy, Debug, Default)]
pub struct Volatile;

impl Persistence for Volatile {
    fn capable(&self) -> bool {
        false
    }

    fn store(&self, _: &State) -> Result<(), PersistenceError> {
        Ok(())
    }

    fn load(&self) -> Result<Option<State>, PersistenceError> {
        Ok(None)
    }

    fn set_aside(&self) -> Result<(), PersistenceError> {
        Ok(())
    }
}
