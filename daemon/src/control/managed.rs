//! Where the calls of clients are done.
//!
//! Changes take turns: the [`Manager`] is under a lock for the whole of a run. Questions never take that lock. They look
//! at a copy of the model, to which the changes of a run are made when it has come to its end, and ask [`Observe`].
//!
//! What initiators change ([`Observe::by_initiators`]) comes into both models before the next change or question.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard, RwLock};
use serde::Serialize;
use serde_json::Value;

use super::dialect::Dialect;
use super::file::{ConfigFile, FileError};
use super::observe::Observe;
use super::paper::Paper;
use super::protocol::{
    Call, Code, Done, Error, Hello, Mode, Planned, Printed, Shown, ShownAttribute, VERSION, Values,
};
use super::server::Answers;
use crate::heap;
use crate::manage::{Change, Machine, Manager, Model, Plan, Refusal, RunError};
use crate::schema::{Access, Attribute, Effect, Key};
use crate::tree::{Kind, Path};

/// How long a change waits for its turn.
const TURN: Duration = Duration::from_secs(60);

/// A machine under management, with its configuration file if it has one.
pub struct Managed<M> {
    changing: Mutex<Manager<M>>,
    model: RwLock<Arc<Model>>,
    observe: Arc<dyn Observe>,
    dialect: Box<dyn Dialect>,
    file: Option<ConfigFile>,
    unsaved: AtomicBool,
}

impl Managed<Paper> {
    /// One of which nothing is served.
    pub fn on_paper(dialect: impl Dialect) -> Self {
        let paper = Paper::default();
        let manager = Manager::new(Model::new(), paper);
        Self::new(manager, Arc::new(paper), dialect, None)
    }
}

impl<M: Machine> Managed<M> {
    /// `observe` tells of the machine in `manager`.
    pub fn new(
        manager: Manager<M>,
        observe: Arc<dyn Observe>,
        dialect: impl Dialect,
        file: Option<ConfigFile>,
    ) -> Self {
        Self {
            model: RwLock::new(Arc::new(manager.model().clone())),
            changing: Mutex::new(manager),
            observe,
            dialect: Box::new(dialect),
            file,
            unsaved: AtomicBool::new(false),
        }
    }

    /// What is configured, as of the last run that came to its end, and what initiators changed since.
    pub fn model(&self) -> Arc<Model> {
        let model = Arc::clone(&self.model.read());
        let changes = self.observe.by_initiators(&model);
        if changes.is_empty() {
            return model;
        }
        if let Some(mut manager) = self.changing.try_lock() {
            drop(model);
            self.adopt(&mut manager);
            return Arc::clone(&self.model.read());
        }
        // A change is under way, which is not waited for: whoever has the next turn adopts them.
        let mut now = Manager::new((*model).clone(), Paper::default());
        now.adopt(&changes);
        Arc::new(now.model().clone())
    }

    /// Has both models take what initiators changed.
    fn adopt(&self, manager: &mut Manager<M>) {
        let changes = self.observe.by_initiators(manager.model());
        if changes.is_empty() {
            return;
        }
        manager.adopt(&changes);
        self.unsaved.store(true, Ordering::Relaxed);
        self.share(manager.model(), &changes);
    }

    /// What tells how it is.
    pub fn observe(&self) -> &dyn Observe {
        &*self.observe
    }

    /// Says that what is configured is what the file says, whose text is `text`; whether that is all. Identifiers of
    /// ports that were found, and that it does not have, are not saved.
    pub fn is_saved(&self, text: &str) -> bool {
        let all = self.dialect.with_ports(text, &self.model()).is_none();
        self.unsaved.store(!all, Ordering::Relaxed);
        all
    }

    /// What tells how it is, for whoever outlives this.
    pub fn observer(&self) -> &Arc<dyn Observe> {
        &self.observe
    }

    /// The machine again, when nobody else uses it.
    pub fn into_manager(self) -> Manager<M> {
        self.changing.into_inner()
    }

    /// Applies the configuration file again: what is not in it goes.
    ///
    /// # Errors
    /// [`Error`], also when there is no file.
    pub fn reload(&self) -> Result<Planned, Error> {
        let file = self.file.as_ref().ok_or_else(no_file)?;
        // Whose turn it is before may replace the file: it is read, and is what is configured, within one turn.
        let mut manager = self.turn()?;
        let failed = |error: FileError| Error::new(Code::Failed, error.to_string());
        let text = file.read().map_err(failed)?;
        let text = text.ok_or_else(|| {
            let message = format!("there is no file {}", file.path().display());
            Error::new(Code::Failed, message)
        })?;
        let planned = self.apply_with(&mut manager, &text, Mode::Replace, false)?;
        self.is_saved(&text);
        heap::discard(());
        Ok(planned)
    }

    /// Applies a configuration, wholly or not at all. It is on the disk under another name before anything is changed,
    /// and takes the file's name when all is.
    ///
    /// # Errors
    /// [`Error`].
    pub fn apply(&self, text: &str, mode: Mode, save: bool) -> Result<Planned, Error> {
        let applied = self.apply_with(&mut *self.turn()?, text, mode, save);
        heap::discard(());
        applied
    }

    fn apply_with(
        &self,
        manager: &mut Manager<M>,
        text: &str,
        mode: Mode,
        save: bool,
    ) -> Result<Planned, Error> {
        let plan = self.dialect.plan(text, mode, manager.model())?;
        let staged = match (save, &self.file) {
            (false, _) => None,
            (true, None) => return Err(no_file()),
            (true, Some(file)) => {
                let text = self.to_save(manager.model(), &plan, text, mode)?;
                Some(file.stage(&text).map_err(not_saved)?)
            }
        };
        self.run(manager, &plan.changes)?;
        let planned = told(&plan);
        if let Some(staged) = staged {
            staged.commit().map_err(|error| Error {
                stuck: planned.steps.clone(),
                ..Error::new(
                    Code::Failed,
                    format!("the configuration is applied, but it is not saved: {error}"),
                )
            })?;
            self.unsaved.store(false, Ordering::Relaxed);
        }
        Ok(planned)
    }

    /// The text of the configuration to which a plan leads: the one that is applied, with the identifiers of ports that
    /// are found, or what becomes of two.
    fn to_save(&self, model: &Model, plan: &Plan, text: &str, mode: Mode) -> Result<String, Error> {
        let mut after = Manager::new(model.clone(), Paper::default());
        after.run(&plan.changes).map_err(refused)?;
        let after = after.model();
        Ok(match mode {
            Mode::Replace => self.dialect.with_ports(text, after),
            Mode::Merge => Some(self.print(after, false)),
        }
        .unwrap_or_else(|| text.to_owned()))
    }

    /// What would change, if it may.
    fn plan(&self, text: &str, mode: Mode) -> Result<Planned, Error> {
        let model = self.model();
        let plan = self.dialect.plan(text, mode, &model)?;
        let mut paper = Manager::new((*model).clone(), Paper::default());
        paper.rehearse(&plan.changes).map_err(refused)?;
        Ok(told(&plan))
    }

    fn print(&self, model: &Model, all: bool) -> String {
        let live = |path: &Path, attribute: &str| self.observe.read(path, attribute);
        self.dialect.print(model, &live, all)
    }

    fn turn(&self) -> Result<MutexGuard<'_, Manager<M>>, Error> {
        let turn = self.changing.try_lock_for(TURN);
        let mut manager = turn.ok_or_else(|| {
            let message = "another change is under way: try again later".to_owned();
            Error::new(Code::Failed, message)
        })?;
        self.adopt(&mut manager);
        Ok(manager)
    }

    fn run(&self, manager: &mut Manager<M>, changes: &[Change]) -> Result<(), Error> {
        if changes.is_empty() {
            return Ok(());
        }
        let done = manager.run(changes).map_err(refused)?;
        self.unsaved.store(true, Ordering::Relaxed);
        self.share(manager.model(), &done);
        Ok(())
    }

    /// Makes the copy of the model what the model is, which took these changes.
    fn share(&self, model: &Model, changes: &[Change]) {
        let mut shared = self.model.write();
        // Copied only where a question still looks at it.
        let copy = Arc::make_mut(&mut shared);
        if let Some(refusal) = changes.iter().find_map(|change| copy.apply(change).err()) {
            tracing::error!(%refusal, "the copy of the model was not like the model");
            *copy = model.clone();
        }
    }

    fn save(&self, all: bool) -> Result<(), Error> {
        let file = self.file.as_ref().ok_or_else(no_file)?;
        let manager = self.turn()?;
        let text = self.print(manager.model(), all);
        let saved = file.stage(&text).and_then(|staged| staged.commit());
        saved.map_err(not_saved)?;
        self.unsaved.store(false, Ordering::Relaxed);
        Ok(())
    }

    fn trigger(&self, path: &Path, name: &str, value: &str) -> Result<(), Error> {
        let mut manager = self.turn()?;
        manager.model().object(path).map_err(missing)?;
        let definition = manager.model().definition(path, name).map_err(missing)?;
        if !definition.access.contains(Access::TRIGGER) {
            let message = format!("{name} of {path} does nothing when it is written: set it");
            return Err(Error::new(Code::Refused, message));
        }
        let checked = definition.value.check(value);
        checked.map_err(|wrong| Error::new(Code::Refused, format!("{name}: {wrong}")))?;
        let done = manager.machine_mut().trigger(path, definition.name, value);
        done.map_err(|failure| Error::new(Code::Failed, failure.to_string()))
    }

    fn values(&self, model: &Model, path: &Path, definition: &Attribute) -> Vec<String> {
        model.values(path, definition).unwrap_or_else(|| {
            let live = self.observe.read(path, definition.name);
            live.into_iter().collect()
        })
    }

    fn get(&self, path: &Path, name: &str) -> Result<Values, Error> {
        let model = self.model();
        model.object(path).map_err(missing)?;
        let definition = model.definition(path, name).map_err(missing)?;
        if !definition.access.contains(Access::READ) {
            let message = format!("{name} of {path} cannot be read");
            return Err(Error::new(Code::Refused, message));
        }
        let values = self.values(&model, path, definition);
        Ok(Values { values })
    }

    fn show(&self, path: &Path) -> Result<Shown, Error> {
        let model = self.model();
        let object = model.object(path).map_err(missing)?;
        let shown = |definition: &Attribute| {
            let readable = definition.access.contains(Access::READ);
            let values = if readable {
                self.values(&model, path, definition)
            } else {
                Vec::new()
            };
            let given = object.attributes.contains_key(definition.name);
            (definition.name.to_owned(), shown(definition, values, given))
        };
        let names = |kind: Kind| {
            let names = object.of(kind).map(|(key, _)| key.name().to_owned());
            (folder(kind).to_owned(), names.collect())
        };
        Ok(Shown {
            attributes: model.definitions(path).iter().map(shown).collect(),
            children: path.kind().children().iter().copied().map(names).collect(),
        })
    }

    fn hello(&self) -> Hello {
        Hello {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            protocol: VERSION,
            pid: std::process::id(),
            config: self.file_name(),
        }
    }

    fn file_name(&self) -> Option<String> {
        let file = self.file.as_ref()?;
        Some(file.path().display().to_string())
    }
}

impl<M: Machine + Send + 'static> Answers for Arc<Managed<M>> {
    fn answer(&self, call: Call) -> Result<Value, Error> {
        let done = |result: Result<(), Error>| result.and_then(|()| value(Done::default()));
        match call {
            Call::Hello => value(self.hello()),
            Call::Show { path } => value(self.show(&path)?),
            Call::Get { path, attribute } => value(self.get(&path, &attribute)?),
            Call::Run { changes } => {
                let turn = self.turn();
                let ran = turn.and_then(|mut manager| self.run(&mut manager, &changes));
                heap::discard(changes);
                done(ran)
            }
            Call::Trigger {
                path,
                attribute,
                value,
            } => done(self.trigger(&path, &attribute, &value)),
            Call::Plan { config, mode } => value(self.plan(&config, mode)?),
            Call::Apply { config, mode, save } => value(self.apply(&config, mode, save)?),
            Call::Print { all } => value(Printed {
                config: self.print(&self.model(), all),
            }),
            Call::Save { all } => done(self.save(all)),
            Call::CloseSessions { target, id } => {
                self.model().object(&target).map_err(missing)?;
                let closed = self.observe.close_sessions(&target, id);
                done(closed.map_err(|failure| Error::new(Code::Failed, failure.to_string())))
            }
            Call::Sessions => value(self.observe.sessions(&self.model())),
            Call::Devices => value(self.observe.devices(&self.model())),
            Call::Targets => value(self.observe.targets(&self.model())),
            Call::Reservations => value(self.observe.reservations(&self.model())),
            Call::Status => {
                let mut status = self.observe.status(&self.model());
                status.config = self.file_name();
                status.unsaved = self.unsaved.load(Ordering::Relaxed);
                value(status)
            }
        }
    }
}

fn value(answer: impl Serialize) -> Result<Value, Error> {
    serde_json::to_value(answer).map_err(|error| Error::new(Code::Failed, error.to_string()))
}

fn told(plan: &Plan) -> Planned {
    Planned {
        steps: plan.changes.iter().flat_map(Change::lines).collect(),
        notices: plan.notices.clone(),
    }
}

fn shown(definition: &Attribute, values: Vec<String>, given: bool) -> ShownAttribute {
    ShownAttribute {
        values,
        key: match definition.key {
            Key::Always => true,
            Key::WhenGiven => given,
            Key::Never => false,
        },
        create: definition.access.contains(Access::CREATE),
        read: definition.access.contains(Access::READ),
        write: definition.access.contains(Access::WRITE),
        trigger: definition.access.contains(Access::TRIGGER),
        repeated: definition.repeated,
        kept: match definition.effect {
            Effect::Works => None,
            Effect::Kept(why) => Some(why.to_owned()),
        },
        help: definition.help.to_owned(),
    }
}

/// Where SCST's sysfs has objects of a kind.
fn folder(kind: Kind) -> &'static str {
    match kind {
        Kind::Root => "",
        Kind::Handler => "handlers",
        Kind::Device | Kind::GroupDevice => "devices",
        Kind::Driver | Kind::Target | Kind::GroupTarget => "targets",
        Kind::Group => "ini_groups",
        Kind::Lun => "luns",
        Kind::Initiator => "initiators",
        Kind::DeviceGroup => "device_groups",
        Kind::TargetGroup => "target_groups",
    }
}

fn missing(refusal: Refusal) -> Error {
    Error::new(Code::Missing, refusal.to_string())
}

fn no_file() -> Error {
    let message = "there is no configuration file to save to".to_owned();
    Error::new(Code::Refused, message)
}

fn not_saved(error: FileError) -> Error {
    Error::new(Code::Failed, format!("nothing is saved: {error}"))
}

fn refused(error: RunError) -> Error {
    let message = error.to_string();
    match error {
        RunError::Refused { at, refusal, .. } => {
            let code = match refusal {
                Refusal::Missing(_) | Refusal::UnknownAttribute { .. } => Code::Missing,
                _ => Code::Refused,
            };
            Error {
                at: Some(at),
                ..Error::new(code, message)
            }
        }
        RunError::Failed { at, stuck, .. } => Error {
            at: Some(at),
            stuck: stuck
                .iter()
                .map(|(change, failure)| format!("could not {change}: {failure}"))
                .collect(),
            ..Error::new(Code::Failed, message)
        },
    }
}
