//! `lunforge export`: from the plan to a running target and back.

use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use anyhow::Context;
use lunforge::iscsi::{IscsiAttachment, IscsiTransport};
use lunforge::pr::{FileStore, Reservations};
use lunforge::vdisk::Vdisk;
use lunforge::{Engine, Target, Unit};
use lunforge_daemon::confine::{self, Mode, core_dumps};
use signal_hook::consts::{SIGINT, SIGTERM, SIGUSR2};
use signal_hook::{flag, iterator::Signals};

use crate::args::Export;
use crate::created::Created;
use crate::plan::{Lun, Medium, Plan};
use crate::report;
use crate::state::State;

/// How long running commands may take to end when the target stops.
const STOP_BOUND: Duration = Duration::from_secs(5);
/// How long recordings may take to be written.
const RECORDINGS_BOUND: Duration = Duration::from_secs(5);
/// Exit code of the second signal: as a shell names SIGINT's.
const EXIT_SECOND_SIGNAL: i32 = 130;
/// Exit code when a cache could not be flushed.
const EXIT_NOT_DURABLE: u8 = 1;

/// Serves until a signal comes. An error means that nothing was created or changed.
pub(crate) fn run(args: &Export) -> anyhow::Result<ExitCode> {
    // Before a secret is read.
    if !args.core_dumps {
        core_dumps::forbid().context("cannot forbid core dumps")?;
    }
    let plan = Plan::new(args)?;
    // The first signal arms the second, which then ends the process whatever goes on.
    let armed = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        flag::register_conditional_shutdown(signal, EXIT_SECOND_SIGNAL, Arc::clone(&armed))?;
        flag::register(signal, Arc::clone(&armed))?;
    }
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGUSR2])?;

    let mut transport = IscsiTransport::builder()
        .params(plan.params.clone())
        .auth(plan.auth.clone())
        .limits(plan.limits.iscsi)
        .access(&plan.target, plan.access.clone());
    if let Some(recording) = args.record.settings() {
        transport = transport.record(recording);
    }
    for &portal in &plan.portals {
        transport = transport.portal(portal);
    }
    // Ports first: when one is in use, no file has been created yet.
    let transport = transport.bind()?;
    let portals = transport.portals();
    let mut created = Created::default();
    let claim = |state: &State| state.claim(plan.user.as_ref(), &mut created);
    let _claim = plan.state.as_ref().map(claim).transpose()?;
    args.record.claim(plan.user.as_ref(), &mut created)?;
    let mut target = Target::builder(plan.target.clone());
    for (number, lun) in plan.luns.iter().enumerate() {
        let disk = open(args, &plan, lun, &mut created)?;
        let mut unit = Unit::new(disk).ladder(args.timeouts.0)?;
        if let Some(state) = &plan.state {
            unit = unit.reservations(reservations(state, lun)?);
        }
        target = target.lun(number as u64, unit);
    }
    let target = target.build()?;
    // Asked for here: it reads files that are out of reach from now on.
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    give_up_privileges(args, &plan)?;
    let shards = args.shards.map_or(processors, usize::from);
    let engine = Engine::builder()
        .shards(shards)
        .limits(plan.limits.shard)
        .start()?;
    let attached = engine.attach(transport, target)?;
    created.keep();

    announce(&plan, &portals);
    until_stopped(&mut signals, &attached);
    eprintln!("Stopping.");
    let stopped = engine.stop(STOP_BOUND);
    attached.settle_recordings(RECORDINGS_BOUND);
    for (unit, error) in &stopped.not_flushed {
        eprintln!("lunforge: {unit} could not be flushed: {error}");
    }
    Ok(if stopped.not_flushed.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(EXIT_NOT_DURABLE)
    })
}

/// Ports, files and rings are open: what else this process may is given up, before it has a second thread.
fn give_up_privileges(args: &Export, plan: &Plan) -> anyhow::Result<()> {
    confine::no_new_privileges()?;
    match &plan.user {
        Some(user) => user.become_it()?,
        None if plan.confine != Mode::Off => confine::give_up()?,
        None => {}
    }
    // A change of user sets anew who may look into the process.
    if args.core_dumps {
        core_dumps::allow().context("cannot allow core dumps")?;
    } else {
        core_dumps::forbid().context("cannot forbid core dumps")?;
    }
    for missing in plan.reach(args).confine(plan.confine)? {
        tracing::warn!(%missing, "this process is less confined than it could be");
    }
    Ok(())
}

/// Serves until a signal ends it. SIGUSR2 does not: it asks for the recordings of all sessions.
fn until_stopped(signals: &mut Signals, attached: &IscsiAttachment) {
    for signal in signals.forever() {
        if signal != SIGUSR2 {
            return;
        }
        if attached.recorder_statistics().is_none() {
            eprintln!("lunforge: nothing is recorded: --record was not given");
            continue;
        }
        let files = attached.dump().wait(RECORDINGS_BOUND);
        eprintln!("Recordings written: {}", files.len());
    }
}

fn announce(plan: &Plan, portals: &[std::net::SocketAddr]) {
    eprint!("{}", report::explanation(plan, portals));
    let mut out = std::io::stdout().lock();
    for url in report::urls(plan, portals) {
        // Whoever closed standard output does not want to know.
        let _ = writeln!(out, "{url}");
    }
    let _ = out.flush();
}

fn open(args: &Export, plan: &Plan, lun: &Lun, created: &mut Created) -> anyhow::Result<Vdisk> {
    let mut disk = match &lun.medium {
        Medium::File { path, .. } => Vdisk::file(path),
        Medium::NewFile { path, size } => {
            created.file(path, size.0, plan.user.as_ref())?;
            Vdisk::file(path)
        }
        Medium::Block { path } => Vdisk::block(path),
        Medium::Null { size } => Vdisk::null(size.0),
    };
    disk = disk
        .block_size(plan.block_size)
        .removable(args.removable)
        .read_only(args.read_only)
        .thin(args.thin)
        .write_through(args.write_through)
        .nv_cache(args.nv_cache)
        .ring_at_open(plan.confine != Mode::Off);
    if args.direct {
        disk = disk.direct(true);
    }
    if let Some(size) = plan.physical_block_size {
        disk = disk.physical_block_size(size);
    }
    if let Some(state) = &plan.state {
        disk = disk.parameters_file(state.file(&lun.serial, "parameters"));
    }
    Ok(disk.serial(&lun.serial).open()?)
}

/// The reservations of a LUN, as an earlier run kept them.
fn reservations(state: &State, lun: &Lun) -> anyhow::Result<Reservations> {
    let path = state.file(&lun.serial, "reservations");
    let store = FileStore::new(&path).with_context(|| format!("cannot use {}", path.display()))?;
    Ok(Reservations::open(store, state.on_damage))
}
