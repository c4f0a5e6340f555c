//! `lunforge serve`: from a configuration file to a machine under management, and back.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use lunforge::Engine;
use lunforge::iscsi::IscsiTransport;
use lunforge_daemon::confine::{Mode, Reach, User};
use lunforge_daemon::control::paper::Paper;
use lunforge_daemon::control::protocol::{Error, Mode as Naming, Planned};
use lunforge_daemon::control::{
    ConfigFile, Endpoint, Managed, Observe, Owner, ScstConf, Server, Settings, default_path,
};
use lunforge_daemon::heap;
use lunforge_daemon::live::{self, Live, SrpSetup};
use lunforge_daemon::manage::{Machine, Manager, Model};
use signal_hook::consts::{SIGHUP, SIGUSR2};
use signal_hook::iterator::Signals;

use crate::args::Serve;
use crate::commands::excerpt;
use crate::created::Created;
use crate::limits::Limits;
use crate::notify::Notify;
use crate::plan::confinement;
use crate::process;
use crate::reach::reach;
use crate::scrape::Port;
use crate::srpt::Srpt;
use crate::state::{State, give_folder};

/// Said of a file without the identifiers of ports that were found for its targets.
const NOT_SAVED: &str = "the file does not name the rel_tgt_id of every target; `lunforge save` has it keep what was found";
/// How long an answer on the control socket may take at the end.
const ANSWERS_BOUND: Duration = Duration::from_secs(5);

/// Serves until a signal comes. An error means that nothing was created or changed.
pub(crate) fn run(args: &Serve) -> anyhow::Result<ExitCode> {
    args.serving.guard_memory()?;
    let file = args.config()?;
    let text = read(file)?;
    // What is wrong is said before anything is there.
    let paper = Managed::on_paper(ScstConf);
    paper
        .apply(&text, Naming::Replace, false)
        .map_err(|error| wrong(file, &text, &error))?;
    warn_of_readers(file, &paper.model());
    let signals = process::signals(&[SIGHUP, SIGUSR2])?;
    if args.pretend {
        let ground = Ground::prepare(args, &paper.model(), false)?;
        drop(paper);
        let machine = Paper::default();
        let nothing = || eprintln!("lunforge: nothing is recorded of a pretence");
        host(
            args,
            &text,
            ground,
            signals,
            machine,
            Arc::new(machine),
            nothing,
        )?;
        return Ok(ExitCode::SUCCESS);
    }
    let limits = Limits::new(&args.serving.limit)?;
    // Asked for here: it reads files that are out of reach later.
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let mut srp = Srpt::prepare(&paper.model(), limits.srp)?;
    let mut ground = Ground::prepare(args, &paper.model(), srp.listens())?;
    drop(paper);
    let settings = ground.settings.take().unwrap_or_default();
    let _told = srp.tell();
    let live = start(args, limits, processors, srp.listen()?, settings)?;
    let observe = Arc::clone(live.registry());
    let iscsi = Arc::clone(live.iscsi());
    let dump = || process::dump(&iscsi);
    match host(args, &text, ground, signals, live, observe, dump)? {
        Some(mut live) => {
            let stopped = live.stop(process::STOP_BOUND);
            iscsi.settle_recordings(process::RECORDINGS_BOUND);
            Ok(process::told(&stopped))
        }
        None => Ok(ExitCode::from(process::EXIT_NOT_DURABLE)),
    }
}

/// The engine and its transport, as a machine without devices and targets.
fn start(
    args: &Serve,
    limits: Limits,
    processors: usize,
    srp: SrpSetup,
    settings: live::Settings,
) -> anyhow::Result<Live> {
    let mut transport = IscsiTransport::builder().limits(limits.iscsi);
    if let Some(recording) = args.serving.record.settings() {
        transport = transport.record(recording);
    }
    let engine = Engine::builder()
        .shards(args.serving.shards.map_or(processors, usize::from))
        .limits(limits.shard)
        .start()?;
    let attached = engine.attach(transport.portless(), Vec::new())?;
    Ok(Live::new(engine, attached, srp, settings)?)
}

/// What there is before the machine.
struct Ground {
    /// The configuration's absolute path: a confined process cannot find out where it is.
    config: PathBuf,
    notify: Notify,
    endpoint: Endpoint,
    metrics: Port,
    created: Created,
    /// For the machine.
    settings: Option<live::Settings>,
    _claim: Option<crate::state::Claim>,
}

impl Ground {
    /// Opens and makes what serving takes, and gives up what it does not.
    fn prepare(args: &Serve, model: &Model, rdma: bool) -> anyhow::Result<Self> {
        let serving = &args.serving;
        let user = serving.find_user()?;
        let mode = confinement(serving)?;
        let group = args.control_group.as_deref().map(find_group).transpose()?;
        let state = State::new(serving, user.as_ref())?;
        let notify = Notify::from_environment().context("cannot reach the service manager")?;
        let control = control_path(args)?;
        let owner = Owner {
            user: user.as_ref().map(|user| (user.uid(), user.gid())),
            group,
        };
        let endpoint = Endpoint::open(&control, owner)?;
        let metrics = Port::open(serving.metrics)?;
        let mut created = Created::default();
        let claim = |state: &State| state.claim(user.as_ref(), &mut created);
        let _claim = state.as_ref().map(claim).transpose()?;
        serving.record.claim(user.as_ref(), &mut created)?;
        let config = std::path::absolute(args.config()?)?;
        let settings = live::Settings {
            state: state.as_ref().map(|state| state.folder().to_owned()),
            on_damage: state
                .as_ref()
                .map_or_else(Default::default, |s| s.on_damage),
            ladder: serving.timeouts.0,
            portals: args.portal.clone(),
            confined: mode != Mode::Off,
            ..live::Settings::default()
        };
        settings
            .prepare()
            .context("cannot prepare the folder of the state")?;
        give_folders(state.as_ref(), user.as_ref())?;
        let mut reach = reach(args, model, &endpoint, state.as_ref())?;
        if rdma {
            reach.rdma();
        }
        give_up(args, user.as_ref(), mode, &reach)?;
        Ok(Self {
            config,
            notify,
            endpoint,
            metrics,
            created,
            settings: Some(settings),
            _claim,
        })
    }
}

/// What is in the state is the user's, too.
fn give_folders(state: Option<&State>, user: Option<&User>) -> anyhow::Result<()> {
    let Some(state) = state else { return Ok(()) };
    for entry in std::fs::read_dir(state.folder())? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            give_folder(&entry.path(), user)?;
        }
    }
    Ok(())
}

fn give_up(args: &Serve, user: Option<&User>, mode: Mode, reach: &Reach) -> anyhow::Result<()> {
    process::give_up_privileges(&args.serving, user, mode, reach)
}

/// Puts a machine under management until a signal ends it, and gives it back; not where a change is still under way.
fn host<M: Machine + Send + 'static>(
    args: &Serve,
    text: &str,
    ground: Ground,
    mut signals: Signals,
    machine: M,
    observe: Arc<dyn Observe>,
    dump: impl Fn(),
) -> anyhow::Result<Option<M>> {
    let manager = Manager::new(Model::new(), machine);
    let config = args.config()?;
    let file = ConfigFile::new(ground.config);
    let managed = Arc::new(Managed::new(manager, observe, ScstConf, Some(file)));
    let applied = managed
        .apply(text, Naming::Replace, false)
        .map_err(|error| wrong(config, text, &error))?;
    if !managed.is_saved(text) {
        eprintln!("Note: {NOT_SAVED}");
    }
    let path = ground.endpoint.path().to_owned();
    let server = Server::start(ground.endpoint, Arc::clone(&managed), Settings::default())
        .context("cannot serve the control socket")?;
    ground.created.keep();
    let notify = Arc::new(ground.notify);
    let watching = Watching::start(&notify, &managed)?;
    let metrics = ground.metrics.serve({
        // Not held: at the end the machine is to be had back.
        let (observe, managed) = (Arc::clone(managed.observer()), Arc::downgrade(&managed));
        move || {
            let model = managed.upgrade().map(|managed| managed.model());
            observe.metrics(&model.unwrap_or_default())
        }
    })?;
    announce(args, config, &applied, &path);
    heap::discard(applied);
    notify.ready("serving");
    until_stopped(&mut signals, &managed, config, &notify, dump);
    eprintln!("Stopping.");
    notify.stopping();
    drop(watching);
    drop(metrics);
    server.stop(ANSWERS_BOUND);
    let managed = alone(managed, ANSWERS_BOUND);
    if managed.is_none() {
        eprintln!("lunforge: a change does not come to its end; caches are not flushed");
    }
    Ok(managed.map(|managed| managed.into_manager().into_machine()))
}

/// What nobody else holds any more within `bound`.
fn alone<T>(mut shared: Arc<T>, bound: Duration) -> Option<T> {
    let end = Instant::now() + bound;
    loop {
        shared = match Arc::try_unwrap(shared) {
            Ok(alone) => return Some(alone),
            Err(_) if Instant::now() > end => return None,
            Err(shared) => shared,
        };
        // Threads that have answered their last client are about to end.
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Secrets in a file that others can read are secrets of theirs, too. It is said and not refused: the files of SCST are so.
fn warn_of_readers(config: &Path, model: &Model) {
    let others = std::fs::metadata(config).is_ok_and(|file| file.mode() & 0o077 != 0);
    if others && has_secrets(model) {
        let config = config.display();
        eprintln!("Note: {config} has secrets, and others can read it: chmod 600 {config}");
    }
}

fn has_secrets(model: &Model) -> bool {
    let mut found = false;
    model.tree().walk(|path, object| {
        let secret = |name: &String| model.definition(path, name).is_ok_and(|a| a.secret);
        found |= object.attributes.keys().any(secret);
    });
    found
}

fn read(config: &Path) -> anyhow::Result<String> {
    let text = ConfigFile::new(config).read()?;
    text.with_context(|| {
        let config = config.display();
        format!(
            "there is no file {config}: make an empty one with `touch {config}`, start again, and fill it with `lunforge add` and `lunforge save`"
        )
    })
}

/// A wrong configuration with its place.
fn wrong(config: &Path, text: &str, error: &Error) -> anyhow::Error {
    anyhow::Error::msg(excerpt(&config.display().to_string(), text, error))
}

fn control_path(args: &Serve) -> anyhow::Result<PathBuf> {
    args.control.clone().or_else(default_path).context(
        "there is no place for the control socket: XDG_RUNTIME_DIR is not set, give --control PATH",
    )
}

fn find_group(name: &str) -> anyhow::Result<u32> {
    if let Ok(number) = name.parse() {
        return Ok(number);
    }
    let entry = nix::unistd::Group::from_name(name).ok().flatten();
    let entry = entry.with_context(|| format!("there is no group {name:?}"))?;
    Ok(entry.gid.as_raw())
}

fn announce(args: &Serve, config: &Path, applied: &Planned, control: &Path) {
    for notice in &applied.notices {
        eprintln!("Note: {notice}");
    }
    let pretending = if args.pretend {
        "Nobody is served: this is a pretence.\n"
    } else {
        ""
    };
    let option = if args.control.is_some() {
        format!(" --control {}", control.display())
    } else {
        String::new()
    };
    eprint!(
        "{pretending}Configuration {}, control socket {}.\n\
         See: lunforge status{option}\n\
         Stop: Ctrl-C or SIGTERM; a second one leaves at once. SIGHUP applies the file again.\n",
        config.display(),
        control.display(),
    );
}

/// Until a signal ends it: SIGHUP applies the file again, SIGUSR2 asks for the recordings of all sessions.
fn until_stopped<M: Machine>(
    signals: &mut Signals,
    managed: &Managed<M>,
    config: &Path,
    notify: &Notify,
    dump: impl Fn(),
) {
    for signal in signals.forever() {
        match signal {
            SIGHUP => {
                notify.reloading();
                reload(managed, config);
                notify.ready("serving");
            }
            SIGUSR2 => dump(),
            _ => return,
        }
    }
}

fn reload<M: Machine>(managed: &Managed<M>, config: &Path) {
    let file = config.display();
    match managed.reload() {
        Ok(planned) if planned.steps.is_empty() => eprintln!("{file}: nothing to change."),
        Ok(planned) => {
            for step in &planned.steps {
                eprintln!("  {step}");
            }
            eprintln!("{file} is applied.");
        }
        Err(error) => {
            // It was read a moment ago; if it cannot be read now, the sentence is enough.
            let text = ConfigFile::new(config).read().ok().flatten();
            let said = excerpt(&file.to_string(), &text.unwrap_or_default(), &error);
            eprintln!("lunforge: {said}\nNothing has changed.");
        }
    }
}

/// A thread that tells the service manager that the process is alive, as long as it answers.
struct Watching {
    ended: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Watching {
    fn start<M: Machine + Send + 'static>(
        notify: &Arc<Notify>,
        managed: &Arc<Managed<M>>,
    ) -> anyhow::Result<Self> {
        let ended = Arc::new(AtomicBool::new(false));
        let Some(beat) = notify.beat() else {
            let thread = None;
            return Ok(Self { ended, thread });
        };
        let watch = {
            let (notify, managed, ended) =
                (Arc::clone(notify), Arc::clone(managed), Arc::clone(&ended));
            move || {
                while !ended.load(Ordering::Relaxed) {
                    // Asks the whole of it; one that hangs here is not alive.
                    managed.observe().status(&managed.model());
                    notify.alive();
                    std::thread::park_timeout(beat);
                }
            }
        };
        let thread = std::thread::Builder::new().name("watchdog".to_owned());
        let thread = Some(thread.spawn(watch).context("cannot start the watchdog")?);
        Ok(Self { ended, thread })
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // One that hangs is not waited for.
        }
    }
}
