//! Capabilities and no_new_privs.

use std::io;

use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, clear_ambient_capability_set,
    remove_capability_from_bounding_set, set_capabilities, set_no_new_privs,
};

/// Why rights could not be given up.
#[derive(Debug, thiserror::Error)]
pub enum RightsError {
    /// The system refuses.
    #[error("cannot {what}: {source}")]
    Refused {
        /// What was tried.
        what: &'static str,
        /// Why not.
        source: io::Error,
    },
    /// They were given up, and are still there.
    #[error("capabilities are left: {0:?}")]
    Left(CapabilitySet),
}

fn refused(what: &'static str) -> impl FnOnce(rustix::io::Errno) -> RightsError {
    move |errno| RightsError::Refused {
        what,
        source: errno.into(),
    }
}

/// No program that this process could start has more rights than it (prctl(2), PR_SET_NO_NEW_PRIVS). Threads that are
/// started later inherit it.
///
/// # Errors
/// [`RightsError::Refused`].
pub fn no_new_privileges() -> Result<(), RightsError> {
    set_no_new_privs(true).map_err(refused("set no_new_privs"))
}

/// Gives up every capability of the calling thread. Root that stays root keeps CAP_DAC_OVERRIDE: files of others that it
/// was told to serve may have to be opened again.
///
/// # Errors
/// [`RightsError`].
pub fn give_up() -> Result<(), RightsError> {
    let keep = if rustix::process::geteuid().is_root() {
        CapabilitySet::DAC_OVERRIDE
    } else {
        CapabilitySet::empty()
    };
    shrink_bounds(keep);
    clear_ambient_capability_set().map_err(refused("clear the ambient capabilities"))?;
    reduce_to(keep)
}

/// The bounding set limits what starting a program could give; without CAP_SETPCAP it cannot be changed, and with
/// no_new_privs it does not matter.
pub(super) fn shrink_bounds(keep: CapabilitySet) {
    for capability in CapabilitySet::all().difference(keep).iter() {
        if remove_capability_from_bounding_set(capability).is_err() {
            return;
        }
    }
}

/// Leaves of what there is at most `keep`, and looks whether that is so.
pub(super) fn reduce_to(keep: CapabilitySet) -> Result<(), RightsError> {
    let have = capabilities(None).map_err(refused("read the capabilities"))?;
    let sets = CapabilitySets {
        effective: have.permitted & keep,
        permitted: have.permitted & keep,
        inheritable: CapabilitySet::empty(),
    };
    set_capabilities(None, sets).map_err(refused("give up capabilities"))?;
    let left = capabilities(None).map_err(refused("read the capabilities"))?;
    let left = (left.effective | left.permitted | left.inheritable) - keep;
    if left.is_empty() {
        Ok(())
    } else {
        Err(RightsError::Left(left))
    }
}
