//! What every serving process does around its targets: signals, rights, the end.

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use anyhow::Context;
use lunforge::Engine;
use lunforge::core::engine::Stopped;
use lunforge::iscsi::IscsiAttachment;
use lunforge_daemon::confine::{self, Mode, Reach, User, core_dumps};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::{flag, iterator::Signals};

use crate::args::Serving;

/// How long running commands may take to end when the target stops.
pub(crate) const STOP_BOUND: Duration = Duration::from_secs(5);
/// How long recordings may take to be written.
pub(crate) const RECORDINGS_BOUND: Duration = Duration::from_secs(5);
/// Exit code of the second signal: as a shell names SIGINT's.
const EXIT_SECOND_SIGNAL: i32 = 130;
/// Exit code when a cache could not be flushed.
pub(crate) const EXIT_NOT_DURABLE: u8 = 1;

impl Serving {
    /// Before a secret is read.
    pub(crate) fn guard_memory(&self) -> anyhow::Result<()> {
        if self.core_dumps {
            Ok(())
        } else {
            core_dumps::forbid().context("cannot forbid core dumps")
        }
    }

    /// The user to become.
    pub(crate) fn find_user(&self) -> anyhow::Result<Option<User>> {
        Ok(self.user.as_deref().map(User::find).transpose()?)
    }
}

/// SIGINT, SIGTERM, and `more`. The first of the two arms the second, which then ends the process whatever goes on.
pub(crate) fn signals(more: &[i32]) -> anyhow::Result<Signals> {
    let armed = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        flag::register_conditional_shutdown(signal, EXIT_SECOND_SIGNAL, Arc::clone(&armed))?;
        flag::register(signal, Arc::clone(&armed))?;
    }
    Ok(Signals::new([SIGINT, SIGTERM].iter().chain(more))?)
}

/// Ports, files and rings are open: what else this process may is given up, before it has a second thread.
pub(crate) fn give_up_privileges(
    serving: &Serving,
    user: Option<&User>,
    mode: Mode,
    reach: &Reach,
) -> anyhow::Result<()> {
    confine::no_new_privileges()?;
    match user {
        Some(user) => user.become_it()?,
        None if mode != Mode::Off => confine::give_up()?,
        None => {}
    }
    // A change of user sets anew who may look into the process.
    if serving.core_dumps {
        core_dumps::allow().context("cannot allow core dumps")?;
    } else {
        core_dumps::forbid().context("cannot forbid core dumps")?;
    }
    for missing in reach.confine(mode)? {
        tracing::warn!(%missing, "this process is less confined than it could be");
    }
    Ok(())
}

/// Writes the recordings of all sessions.
pub(crate) fn dump(attached: &IscsiAttachment) {
    if attached.recorder_statistics().is_none() {
        eprintln!("lunforge: nothing is recorded: --record was not given");
        return;
    }
    let files = attached.dump().wait(RECORDINGS_BOUND);
    eprintln!("Recordings written: {}", files.len());
}

/// Ends the engine, and tells of units that could not be flushed.
pub(crate) fn stop(engine: Engine, attached: &IscsiAttachment) -> ExitCode {
    let stopped = engine.stop(STOP_BOUND);
    attached.settle_recordings(RECORDINGS_BOUND);
    told(&stopped)
}

/// Tells of units that could not be flushed.
pub(crate) fn told(stopped: &Stopped) -> ExitCode {
    for (unit, error) in &stopped.not_flushed {
        eprintln!("lunforge: {unit} could not be flushed: {error}");
    }
    if stopped.not_flushed.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(EXIT_NOT_DURABLE)
    }
}
