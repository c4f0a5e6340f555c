//! Targets, their groups, LUNs and initiators.

mod at_once;
mod attributes;
mod port;
mod serve;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use lunforge::LogicalUnit;
use lunforge::core::target;
use lunforge::core::target::TargetError;
use lunforge::srp::PortId;
use parking_lot::Mutex;

use super::device::{Device, Place};
use super::failure::{failure, missing};
use super::srp::SRP;
use super::wanted::Wanted;
use super::{Done, Live};
use crate::manage::{Failure, Model};
use crate::schema;
use crate::tree::{Attributes, Kind, Path};

/// The driver of iSCSI.
pub(super) const ISCSI: &str = "iscsi";

/// A target. One of a driver that serves nothing by itself, as the copy manager's, has no core.
pub(super) struct Target {
    pub(super) driver: String,
    pub(super) name: String,
    pub(super) core: Option<Arc<target::Target>>,
    /// Its port, if it is one of SRP.
    srp: Mutex<Option<PortId>>,
    enabled: AtomicBool,
    given: Mutex<Attributes>,
}

/// Without what it was given: secrets are among that.
impl std::fmt::Debug for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Target")
            .field("driver", &self.driver)
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl Target {
    /// One that is kept and not served.
    pub(super) fn kept(driver: &str, name: &str) -> Self {
        Self {
            driver: driver.to_owned(),
            name: name.to_owned(),
            core: None,
            srp: Mutex::default(),
            enabled: AtomicBool::new(false),
            given: Mutex::default(),
        }
    }

    /// Puts another unit under a LUN.
    pub(super) fn replace_lun(
        &self,
        group: Option<&str>,
        number: u16,
        unit: &Arc<LogicalUnit>,
        tell: bool,
    ) -> Done {
        self.each(|core| core.replace_lun_in(group, number, Arc::clone(unit), tell))
    }

    /// Puts another unit under all LUNs of one, in one step.
    pub(super) fn replace_unit(&self, old: &Arc<LogicalUnit>, new: &Arc<LogicalUnit>) -> Done {
        self.each(|core| core.replace_unit(old, Arc::clone(new)))
    }

    /// The identity of one of its units has changed.
    pub(super) fn identities_changed(&self) {
        if let Some(core) = &self.core {
            core.identities_changed();
        }
    }

    /// Whether initiators may log in.
    pub(super) fn is_enabled(&self) -> bool {
        // Relaxed, here and below: told for a report.
        self.enabled.load(Ordering::Relaxed)
    }

    /// Its port by SRP.
    pub(super) fn srp_port(&self) -> Option<PortId> {
        *self.srp.lock()
    }

    /// The identifier of its port, which may be a makeshift.
    pub(super) fn port(&self) -> Option<u16> {
        self.core.as_ref().map(|core| core.relative_port())
    }

    /// The identifier that its port was given; zero: none yet.
    pub(super) fn given_port(&self) -> u16 {
        let given = self.first(schema::REL_TGT_ID);
        given.and_then(|port| port.parse().ok()).unwrap_or(0)
    }

    /// What it was given for an attribute.
    pub(super) fn first(&self, name: &str) -> Option<String> {
        let given = self.given.lock();
        let values = given.get(name)?;
        values.first().cloned()
    }

    fn each(&self, change: impl FnOnce(&target::Target) -> Result<(), TargetError>) -> Done {
        self.core
            .as_ref()
            .map_or(Ok(()), |core| change(core).map_err(failure))
    }
}

impl Live {
    fn target(&self, path: &Path) -> Result<Arc<Target>, Failure> {
        let path = path.up_to(Kind::Target).unwrap_or_default();
        let target = self.registry.target(&path);
        target.ok_or_else(|| missing(format_args!("the target {path}")))
    }

    pub(super) fn create_target(&mut self, path: &Path, given: &Attributes, model: &Model) -> Done {
        let wanted = Wanted { path, given, model };
        let driver = path.name_of(Kind::Driver).unwrap_or_default();
        let enabled = wanted.flag("enabled");
        let core = if matches!(driver, ISCSI | SRP) {
            let port = self.free_port(wanted.number("rel_tgt_id").unwrap_or(0))?;
            let builder = target::Target::builder(path.name()).relative_port(port);
            Some(builder.build().map_err(failure)?)
        } else {
            None
        };
        let srp = match &core {
            Some(core) => self.serve(core, &wanted, enabled)?,
            None => None,
        };
        let target = Target {
            driver: driver.to_owned(),
            name: path.name().to_owned(),
            core,
            srp: Mutex::new(srp),
            enabled: AtomicBool::new(enabled),
            given: Mutex::new(given.clone()),
        };
        self.registry.add_target(path, target);
        let settled = self.settle_groups(path.name());
        if settled.is_err() {
            self.drop_target(path)?;
        }
        settled
    }

    pub(super) fn remove_target(&mut self, path: &Path) -> Done {
        let target = self.target(path)?;
        let port = target.port();
        self.drop_target(path)?;
        if let Some(port) = port {
            // One that was found would not be found again.
            self.note_port(&target, port);
        }
        if let Err(error) = self.settle_groups(&target.name) {
            // It is gone; its port leads nowhere.
            tracing::error!(target = target.name, %error, "its target group could not be changed");
        }
        Ok(())
    }

    fn drop_target(&mut self, path: &Path) -> Done {
        let target = self.target(path)?;
        self.withdraw(&target)?;
        self.registry.remove_target(path);
        Ok(())
    }

    pub(super) fn set_target(
        &mut self,
        path: &Path,
        name: &str,
        values: &[String],
        model: &Model,
    ) -> Done {
        let target = self.target(path)?;
        let mut given = target.given.lock().clone();
        if values.is_empty() {
            given.remove(name);
        } else {
            given.insert(name.to_owned(), values.to_vec());
        }
        let wanted = Wanted {
            path,
            given: &given,
            model,
        };
        match (name, &target.core) {
            (_, None) => {}
            ("enabled", Some(_)) => self.enable(&target, wanted.flag(name))?,
            ("rel_tgt_id", Some(_)) => self.set_port(&target, wanted.number(name).unwrap_or(0))?,
            (_, Some(core)) => self.serve_anew(&target, core, &wanted)?,
        }
        if name == "enabled" {
            let enabled = wanted.flag(name);
            target.enabled.store(enabled, Ordering::Relaxed);
        }
        *target.given.lock() = given;
        Ok(())
    }

    pub(super) fn create_initiator_group(&mut self, path: &Path) -> Done {
        self.target(path)?.each(|core| core.add_group(path.name()))
    }

    pub(super) fn remove_initiator_group(&mut self, path: &Path) -> Done {
        self.target(path)?
            .each(|core| core.remove_group(path.name()))
    }

    pub(super) fn create_initiator(&mut self, path: &Path) -> Done {
        let group = path.name_of(Kind::Group).unwrap_or_default();
        self.target(path)?
            .each(|core| core.add_initiator(group, path.name()))
    }

    pub(super) fn remove_initiator(&mut self, path: &Path) -> Done {
        let group = path.name_of(Kind::Group).unwrap_or_default();
        self.target(path)?
            .each(|core| core.remove_initiator(group, path.name()))
    }

    pub(super) fn move_initiator(&mut self, path: &Path, group: &str) -> Done {
        let from = path.name_of(Kind::Group).unwrap_or_default();
        self.target(path)?
            .each(|core| core.move_initiator(from, path.name(), group))
    }

    pub(super) fn order_group(&mut self, path: &Path, before: Option<&str>) -> Done {
        self.target(path)?
            .each(|core| core.place_group(path.name(), before))
    }

    pub(super) fn create_lun(&mut self, path: &Path, given: &Attributes, model: &Model) -> Done {
        let wanted = Wanted { path, given, model };
        let device = self.device(wanted.given("device").unwrap_or_default())?;
        let place = self.place(path)?;
        let (group, number) = (place.group.as_deref(), u64::from(place.number));
        let unit = Arc::clone(&device.parts().unit);
        place.target.each(|core| {
            if wanted.flag("read_only") {
                core.add_read_only_lun_in(group, number, unit)
            } else {
                core.add_lun_in(group, number, unit)
            }
        })?;
        self.enter_place(path, &device, place);
        Ok(())
    }

    pub(super) fn remove_lun(&mut self, path: &Path) -> Done {
        let place = self.place(path)?;
        let group = place.group.as_deref();
        place
            .target
            .each(|core| core.remove_lun_in(group, place.number))?;
        self.leave_place(path);
        Ok(())
    }

    pub(super) fn replace_lun(&mut self, path: &Path, device: &str, tell: bool) -> Done {
        let device = self.device(device)?;
        let place = self.place(path)?;
        let unit = Arc::clone(&device.parts().unit);
        let group = place.group.as_deref();
        place.target.replace_lun(group, place.number, &unit, tell)?;
        self.leave_place(path);
        self.enter_place(path, &device, place);
        Ok(())
    }

    fn enter_place(&mut self, path: &Path, device: &Device, place: Place) {
        self.registry.add_lun(path, &device.name);
        device.places.lock().insert(path.clone(), place);
    }

    fn leave_place(&mut self, path: &Path) {
        let device = self.registry.remove_lun(path);
        if let Some(device) = device.and_then(|name| self.registry.device(&name)) {
            device.places.lock().remove(path);
        }
    }

    fn place(&self, path: &Path) -> Result<Place, Failure> {
        let number = path.keys().last().and_then(|key| key.number());
        Ok(Place {
            target: self.target(path)?,
            group: path.name_of(Kind::Group).map(str::to_owned),
            number: number.ok_or_else(|| missing(format_args!("the LUN {path}")))?,
        })
    }

    pub(super) fn set_driver(
        &mut self,
        path: &Path,
        name: &str,
        values: &[String],
        model: &Model,
    ) -> Done {
        if path.name() != ISCSI {
            return Ok(());
        }
        let mut given = self.driver.clone();
        if values.is_empty() {
            given.remove(name);
        } else {
            given.insert(name.to_owned(), values.to_vec());
        }
        let wanted = Wanted {
            path,
            given: &given,
            model,
        };
        match name {
            "enabled" | "portal" => {
                let portals = attributes::portals(&wanted, &self.settings.portals)?;
                self.front.listen(&portals)?;
            }
            "IncomingUser" | "OutgoingUser" => {
                self.front.demand(attributes::auth(&wanted)?);
            }
            _ => {}
        }
        self.driver = given;
        Ok(())
    }
}
