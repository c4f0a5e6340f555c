//! `lunforge export`: from the plan to a running target and back.

use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use anyhow::Context;
use lunforge::iscsi::{IscsiAttachment, IscsiTransport};
use lunforge::pr::{FileStore, Reservations};
use lunforge::vdisk::Vdisk;
use lunforge::{Engine, Target, Unit};
use lunforge_daemon::confine::Mode;
use signal_hook::consts::SIGUSR2;
use signal_hook::iterator::Signals;

use crate::args::Export;
use crate::created::Created;
use crate::plan::{Lun, Medium, Plan};
use crate::process;
use crate::report;
use crate::scrape::{Exported, ExportedLun, Port};
use crate::state::State;

/// Serves until a signal comes. An error means that nothing was created or changed.
pub(crate) fn run(args: &Export) -> anyhow::Result<ExitCode> {
    let serving = &args.serving;
    serving.guard_memory()?;
    let plan = Plan::new(args)?;
    let mut signals = process::signals(&[SIGUSR2])?;

    let mut transport = IscsiTransport::builder()
        .params(plan.params.clone())
        .auth(plan.auth.clone())
        .limits(plan.limits.iscsi)
        .access(&plan.target, plan.access.clone());
    if let Some(recording) = serving.record.settings() {
        transport = transport.record(recording);
    }
    for &portal in &plan.portals {
        transport = transport.portal(portal);
    }
    let metrics = Port::open(serving.metrics)?;
    // Ports first: when one is in use, no file has been created yet.
    let transport = transport.bind()?;
    let portals = transport.portals();
    let mut created = Created::default();
    let claim = |state: &State| state.claim(plan.user.as_ref(), &mut created);
    let _claim = plan.state.as_ref().map(claim).transpose()?;
    serving.record.claim(plan.user.as_ref(), &mut created)?;
    let mut target = Target::builder(plan.target.clone());
    let mut luns = Vec::new();
    for (number, lun) in plan.luns.iter().enumerate() {
        let disk = open(args, &plan, lun, &mut created)?;
        let reservations = match &plan.state {
            Some(state) => reservations(state, lun)?,
            None => Reservations::volatile(),
        };
        let unit = Unit::new(disk.clone()).reservations(reservations.clone());
        target = target.lun(number as u64, unit.ladder(serving.timeouts.0)?);
        luns.push(ExportedLun::new(&lun.medium, disk, reservations));
    }
    let target = target.build()?;
    // Asked for here: it reads files that are out of reach from now on.
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    process::give_up_privileges(serving, plan.user.as_ref(), plan.confine, &plan.reach(args))?;
    let shards = serving.shards.map_or(processors, usize::from);
    let engine = Engine::builder()
        .shards(shards)
        .limits(plan.limits.shard)
        .start()?;
    // Relaxed: nothing is published through it.
    let measures = engine.measure_latency();
    measures.store(args.measure_latency, Ordering::Relaxed);
    let attached = Arc::new(engine.attach(transport, Arc::clone(&target))?);
    created.keep();

    announce(&plan, &portals);
    let exported = Exported {
        target,
        attached: Arc::clone(&attached),
        shards: Arc::clone(engine.shards()),
        luns,
        begun: Instant::now(),
    };
    let metrics = metrics.serve(move || exported.snapshot())?;
    until_stopped(&mut signals, &attached);
    eprintln!("Stopping.");
    drop(metrics);
    Ok(process::stop(engine, &attached))
}

/// Serves until a signal ends it. SIGUSR2 does not: it asks for the recordings of all sessions.
fn until_stopped(signals: &mut Signals, attached: &IscsiAttachment) {
    for signal in signals.forever() {
        if signal != SIGUSR2 {
            return;
        }
        process::dump(attached);
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
        Medium::Image { path } => Vdisk::cdrom(Some(path)),
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
