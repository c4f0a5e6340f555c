//! `lunforge export`: from the plan to a running target and back.

use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use anyhow::Context;
use lunforge::core::target::TargetError;
use lunforge::iscsi::{IscsiAttachment, IscsiTransport};
use lunforge::pr::{FileStore, Reservations};
use lunforge::vdisk::Vdisk;
use lunforge::{Engine, LogicalUnit, Target, Unit};
use lunforge_daemon::confine::Mode;
use signal_hook::consts::SIGUSR2;
use signal_hook::iterator::Signals;

use crate::args::Export;
use crate::created::Created;
use crate::plan::{Lun, Medium, Plan};
use crate::process;
use crate::report;
use crate::scrape::{Exported, ExportedLun, Port};
use crate::srp::Srp;
use crate::state::State;

/// Serves until a signal comes. An error means that nothing was created or changed.
pub(crate) fn run(args: &Export) -> anyhow::Result<ExitCode> {
    let serving = &args.serving;
    serving.guard_memory()?;
    let plan = Plan::new(args)?;
    let mut signals = process::signals(&[SIGUSR2])?;

    let metrics = Port::open(serving.metrics)?;
    // Ports first: when one is in use, no file has been created yet.
    let transport = iscsi(args, &plan)?;
    plan.srp.as_ref().map_or(Ok(()), Srp::try_out)?;
    let portals = transport.portals();
    let mut created = Created::default();
    let claim = |state: &State| state.claim(plan.user.as_ref(), &mut created);
    let _claim = plan.state.as_ref().map(claim).transpose()?;
    serving.record.claim(plan.user.as_ref(), &mut created)?;
    let mut units = Vec::new();
    let mut luns = Vec::new();
    for lun in &plan.luns {
        let disk = open(args, &plan, lun, &mut created)?;
        let reservations = match &plan.state {
            Some(state) => reservations(state, lun)?,
            None => Reservations::volatile(),
        };
        let unit = Unit::new(disk.clone()).reservations(reservations.clone());
        units.push(unit.ladder(serving.timeouts.0)?.build());
        luns.push(ExportedLun::new(&lun.medium, disk, reservations));
    }
    let by_iscsi = (!portals.is_empty()).then(|| port(&plan.target, &units));
    let by_iscsi = by_iscsi.transpose()?;
    // Asked for here: it reads files that are out of reach from now on.
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    process::give_up_privileges(serving, plan.user.as_ref(), plan.confine, &plan.reach(args))?;
    let srp = plan.srp.as_ref().map(|srp| srp.transport(plan.limits.srp));
    let srp = srp.transpose()?;
    let shards = serving.shards.map_or(processors, usize::from);
    let engine = Engine::builder()
        .shards(shards)
        .limits(plan.limits.shard)
        .start()?;
    // Relaxed: nothing is published through it.
    let measures = engine.measure_latency();
    measures.store(args.measure_latency, Ordering::Relaxed);
    let attached = engine.attach(transport, Vec::from_iter(by_iscsi.clone()))?;
    let attached = Arc::new(attached);
    let srp = match (srp, &plan.srp) {
        (Some(transport), Some(srp)) => {
            let target = srp.target(&units)?;
            Some((Arc::clone(&target), engine.attach(transport, target)?))
        }
        _ => None,
    };
    created.keep();

    announce(&plan, &portals);
    let exported = Exported {
        iscsi: by_iscsi,
        attached: Arc::clone(&attached),
        srp,
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

/// The transport of iSCSI, with its portals open if it has some.
fn iscsi(args: &Export, plan: &Plan) -> anyhow::Result<IscsiTransport> {
    let mut transport = IscsiTransport::builder()
        .params(plan.params.clone())
        .auth(plan.auth.clone())
        .limits(plan.limits.iscsi);
    if let Some(recording) = args.serving.record.settings() {
        transport = transport.record(recording);
    }
    if plan.portals.is_empty() {
        return Ok(transport.portless());
    }
    transport = transport.access(&plan.target, plan.access.clone());
    for &portal in &plan.portals {
        transport = transport.portal(portal);
    }
    Ok(transport.bind()?)
}

/// The target by iSCSI: the units are the same by SRP.
fn port(name: &str, units: &[Arc<LogicalUnit>]) -> Result<Arc<Target>, TargetError> {
    let target = Target::builder(name).relative_port(1);
    let units = (0..).zip(units);
    units
        .fold(target, |target, (lun, unit)| {
            target.lun(lun, Arc::clone(unit))
        })
        .build()
}

fn announce(plan: &Plan, portals: &[std::net::SocketAddr]) {
    eprint!("{}", report::explanation(plan, portals));
    let mut out = std::io::stdout().lock();
    let srp = plan.srp.iter().flat_map(Srp::lines);
    for url in report::urls(plan, portals).into_iter().chain(srp) {
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
