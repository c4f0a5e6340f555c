//! `lunforge export`: from the plan to a running target and back.

use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use anyhow::Context;
use lunforge::iscsi::IscsiTransport;
use lunforge::pr::{FileStore, Reservations};
use lunforge::vdisk::Vdisk;
use lunforge::{Engine, Target, Unit};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::{flag, iterator::Signals};

use crate::args::Export;
use crate::plan::{Lun, Medium, Plan, State};
use crate::report;

/// How long running commands may take to end when the target stops.
const STOP_BOUND: Duration = Duration::from_secs(5);
/// Exit code of the second signal: as a shell names SIGINT's.
const EXIT_SECOND_SIGNAL: i32 = 130;
/// Exit code when a cache could not be flushed.
const EXIT_NOT_DURABLE: u8 = 1;

/// Serves until a signal comes. An error means that nothing was created or changed.
pub(crate) fn run(args: &Export) -> anyhow::Result<ExitCode> {
    let plan = Plan::new(args)?;
    // The first signal arms the second, which then ends the process whatever goes on.
    let armed = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        flag::register_conditional_shutdown(signal, EXIT_SECOND_SIGNAL, Arc::clone(&armed))?;
        flag::register(signal, Arc::clone(&armed))?;
    }
    let mut signals = Signals::new([SIGINT, SIGTERM])?;

    let mut transport = IscsiTransport::builder()
        .params(plan.params.clone())
        .auth(plan.auth.clone());
    for &portal in &plan.portals {
        transport = transport.portal(portal);
    }
    // Ports first: when one is in use, no file has been created yet.
    let transport = transport.bind()?;
    let portals = transport.portals();
    let mut created = Created::default();
    let mut target = Target::builder(plan.target.clone());
    for (number, lun) in plan.luns.iter().enumerate() {
        let disk = open(args, &plan, lun, &mut created)?;
        let mut unit = Unit::new(disk);
        if let Some(state) = &plan.state {
            unit = unit.reservations(reservations(state, lun)?);
        }
        target = target.lun(number as u64, unit);
    }
    let target = target.build()?;
    let mut engine = Engine::builder();
    if let Some(shards) = args.shards {
        engine = engine.shards(shards.into());
    }
    let engine = engine.start()?;
    let attached = engine.attach(transport, target)?;
    created.keep();

    announce(&plan, &portals);
    signals.forever().next();
    eprintln!("Stopping.");
    drop(attached);
    let stopped = engine.stop(STOP_BOUND);
    for (unit, error) in &stopped.not_flushed {
        eprintln!("lunforge: {unit} could not be flushed: {error}");
    }
    Ok(if stopped.not_flushed.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(EXIT_NOT_DURABLE)
    })
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
            created.file(path, size.0)?;
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
        .direct(args.direct);
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

/// Files made for this export; they go again if it does not come about.
#[derive(Default)]
struct Created(Vec<std::path::PathBuf>);

impl Created {
    fn file(&mut self, path: &std::path::Path, size: u64) -> anyhow::Result<()> {
        let shown = path.display();
        let file = std::fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(path);
        let file = file.with_context(|| format!("cannot create {shown}"))?;
        self.0.push(path.to_owned());
        file.set_len(size)
            .with_context(|| format!("cannot make {shown} {size} bytes long"))
    }

    fn keep(mut self) {
        self.0.clear();
    }
}

impl Drop for Created {
    fn drop(&mut self) {
        for path in &self.0 {
            // The error that brought us here is the one to report.
            let _ = std::fs::remove_file(path);
        }
    }
}
