//! The machine that is managed: the engine with its devices, targets and groups.
//!
//! ```text
//!   Manager ──perform──► Live ──► Device: Vdisk, LogicalUnit, AsymmetricAccess, Reservations
//!                          │      Target: core's Target, served by the attachment of iSCSI or SRP
//!                          │      Group:  DeviceGroup with its target port groups
//!                          ▼
//!                       Registry ◄── reports: looked at while a change is under way
//! ```
//!
//! [`Live`] is changed by one thread at a time, which may wait: for commands that leave a device, for sessions that end, for
//! a file that opens. What it has is in the [`Registry`], whose locks are held for a few instructions, and so are those of
//! each object.
//!
//! A device that is not open answers NOT READY, and tells what it is as far as that is known. So are those that are not
//! active; those over a DRBD Secondary; and those bound to access states (`bind_alua_state`) on a node that stands by,
//! where the file or device may be missing. They are opened when they are activated, or by the access state.

mod adapters;
mod device;
mod failure;
mod front;
mod group;
mod identity;
mod registry;
mod report;
mod settings;
mod srp;
mod stpg;
mod target;
mod text;
mod undo;
mod wanted;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use lunforge::Engine;
use lunforge::core::engine::Stopped;
use lunforge::iscsi::IscsiAttachment;

use crate::manage::{Change, Failure, Machine, Model};
use crate::schema;
use crate::tree::{Attributes, Kind, Path};

use failure::{DENIED, failure};
use front::Front;
use identity::Derived;

pub use adapters::{Adapters, Port};
pub use registry::Registry;
pub use report::reservation;
pub use settings::Settings;
pub use srp::{SrpSetup, login_to, own_port};
pub use stpg::StpgScript;

/// What a change comes to.
type Done = Result<(), Failure>;

/// See the module's head.
pub struct Live {
    registry: Arc<Registry>,
    settings: Settings,
    front: Front,
    derived: Derived,
    /// What the driver of iSCSI was given.
    driver: Attributes,
    journal: undo::Journal,
    engine: Option<Engine>,
}

/// Without what the driver was given: secrets are among that.
impl std::fmt::Debug for Live {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Live")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

impl Live {
    /// A machine without devices and targets, over an engine and transports that it serves without any: portals of iSCSI
    /// are opened when the driver is enabled, listeners of SRP are there from the start.
    ///
    /// # Errors
    /// The folders of the state cannot be made.
    pub fn new(
        engine: Engine,
        iscsi: IscsiAttachment,
        srp: SrpSetup,
        settings: Settings,
    ) -> std::io::Result<Self> {
        settings.prepare()?;
        let iscsi = Arc::new(iscsi);
        let srp = Arc::new(srp::Srp::new(&engine, srp)?);
        let shards = Arc::clone(engine.shards());
        let registry = Registry::new(Arc::clone(&iscsi), Arc::clone(&srp), shards);
        // It is there from the start. A copy finds its units among the LUNs of the session that asks for it.
        let copies = target::Target::kept(schema::COPY_MANAGER, schema::COPY_MANAGER_TARGET);
        registry.add_target(&schema::copy_manager(), copies);
        Ok(Self {
            registry: Arc::new(registry),
            settings,
            front: Front::new(iscsi, srp),
            derived: Derived::default(),
            driver: Attributes::new(),
            journal: undo::Journal::default(),
            engine: Some(engine),
        })
    }

    /// What tells of the machine, from any thread.
    pub fn registry(&self) -> &Arc<Registry> {
        &self.registry
    }

    /// The transport by which targets are served.
    pub fn iscsi(&self) -> &Arc<IscsiAttachment> {
        &self.front.iscsi
    }

    /// Ends it, as [`Engine::stop`] does; devices that are no LUN are made durable too.
    pub fn stop(&mut self, bound: Duration) -> Stopped {
        let mut stopped = self
            .engine
            .take()
            .map(|engine| engine.stop(bound))
            .unwrap_or_default();
        for device in self.registry.devices() {
            if device.places().is_empty()
                && let Err(error) = device.parts().disk.flush()
            {
                let error = std::io::Error::other(error);
                stopped.not_flushed.push((device.name.clone(), error));
            }
        }
        stopped
    }

    fn create(&mut self, path: &Path, given: &Attributes, model: &Model) -> Done {
        match path.kind() {
            Kind::Device => self.create_device(path, given, model),
            Kind::Target => self.create_target(path, given, model),
            Kind::Group => self.create_initiator_group(path),
            Kind::Lun => self.create_lun(path, given, model),
            Kind::Initiator => self.create_initiator(path),
            Kind::DeviceGroup => self.create_group(path),
            Kind::GroupDevice => self.create_group_device(path),
            Kind::TargetGroup => self.create_target_group(path, given, model),
            Kind::GroupTarget => self.put_group_target(path, given, model),
            Kind::Root | Kind::Handler | Kind::Driver => Err(fixed(path)),
        }
    }

    fn remove(&mut self, path: &Path, model: &Model) -> Done {
        match path.kind() {
            Kind::Device => self.remove_device(path, model),
            Kind::Target => self.remove_target(path),
            Kind::Group => self.remove_initiator_group(path),
            Kind::Lun => self.remove_lun(path),
            Kind::Initiator => self.remove_initiator(path),
            Kind::DeviceGroup => self.remove_group(path),
            Kind::GroupDevice => self.remove_group_device(path),
            Kind::TargetGroup => self.remove_target_group(path),
            Kind::GroupTarget => self.remove_group_target(path),
            Kind::Root | Kind::Handler | Kind::Driver => Err(fixed(path)),
        }
    }

    fn set(&mut self, path: &Path, name: &str, values: &[String], model: &Model) -> Done {
        match path.kind() {
            Kind::Root if name == "setup_id" => self.identify_all(model),
            Kind::Root if name == "measure_latency" => self.measure_latency(values),
            Kind::Device => self.set_device(path, name, values, model),
            Kind::Driver => self.set_driver(path, name, values, model),
            Kind::Target => self.set_target(path, name, values, model),
            Kind::TargetGroup => self.set_target_group(path, name, values, model),
            Kind::GroupTarget => {
                let given = Attributes::from([(name.to_owned(), values.to_vec())]);
                self.put_group_target(path, &given, model)
            }
            // The rest is kept, and changes nothing here.
            _ => Ok(()),
        }
    }
}

impl Live {
    fn measure_latency(&self, values: &[String]) -> Done {
        let on = values.first().is_some_and(|value| value == "1");
        if let Some(engine) = &self.engine {
            // Relaxed: nothing is published through it.
            engine.measure_latency().store(on, Ordering::Relaxed);
        }
        Ok(())
    }
}

impl Live {
    fn change(&mut self, change: &Change, model: &Model) -> Done {
        match change {
            Change::Create { path, attributes } => self.create(path, attributes, model),
            Change::Remove { path } => self.remove(path, model),
            Change::Set {
                path,
                attribute,
                values,
            } => self.set(path, attribute, values, model),
            Change::Reopen { path, attributes } => self.reopen_device(path, attributes, model),
            Change::Replace { path, device, tell } => self.replace_lun(path, device, *tell),
            Change::Move { path, group } => self.move_initiator(path, group),
            Change::Order { path, before } => self.order_group(path, before.as_deref()),
            Change::AtOnce { path, changes } => self.change_at_once(path, changes, model),
        }
    }
}

impl Live {
    /// Where a confined process is denied something: what may be the reason.
    fn out_of_reach(&self, of: Kind, Failure(text): Failure) -> Failure {
        if !self.settings.confined || !text.contains(DENIED) {
            return Failure(text);
        }
        Failure(match of {
            Kind::Driver => format!(
                "{text}; a confined process listens only on ports that the configuration or --portal named at its start (see --confine)"
            ),
            _ => format!(
                "{text}; a confined process reaches only what --allow names, or else the folders of the files in its configuration and /dev, and makes files only beside the configuration (see --confine)"
            ),
        })
    }
}

impl Machine for Live {
    fn begin(&mut self) {
        self.journal.begin();
    }

    fn perform(&mut self, change: &Change, model: &Model) -> Done {
        let done = self.change(change, model);
        let done = done.map_err(|failure| self.out_of_reach(change.path().kind(), failure));
        self.end_step(done)
    }

    fn take_back(&mut self, inverse: &Change, model: &Model) -> Done {
        self.take_back_step(|live| live.change(inverse, model))
    }

    fn trigger(&mut self, path: &Path, attribute: &str, value: &str) -> Done {
        match path.kind() {
            Kind::Device => self.trigger_device(path.name(), attribute, value),
            _ => Err(failure(format!("{attribute} cannot be written"))),
        }
    }

    fn read(&self, path: &Path, attribute: &str) -> Option<String> {
        self.registry.read_attribute(path, attribute)
    }
}

fn fixed(path: &Path) -> Failure {
    failure(format!(
        "{path} is there or not; it cannot be made or removed"
    ))
}
