//! Memory on disk: a core dump would hold secrets and the data of others.

use std::io;

use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};

/// No core dumps of this process, and nobody of the same user may trace it or read its memory (prctl(2),
/// PR_SET_DUMPABLE). A change of user sets this anew: call again after it.
///
/// # Errors
/// As the system reports them.
pub fn forbid() -> io::Result<()> {
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    Ok(setrlimit(Resource::Core, none)?)
}

/// Core dumps as the surroundings limit them, also after a change of user.
///
/// # Errors
/// As the system reports them.
pub fn allow() -> io::Result<()> {
    Ok(set_dumpable_behavior(DumpableBehavior::Dumpable)?)
}
