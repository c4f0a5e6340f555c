//! A machine on paper: takes every change and serves nobody. For tests of what talks to a target, and for
//! `lunforge serve --pretend`.

use std::time::Instant;

use super::observe::Observe;
use super::report::{Device, Reservation, Session, Status, Target};
use crate::manage::{Change, Failure, Machine, Model};
use crate::schema;
use crate::tree::{Kind, Object, Path};

/// See the module's head.
#[derive(Debug, Clone, Copy)]
pub struct Paper {
    begun: Instant,
}

impl Default for Paper {
    fn default() -> Self {
        Self {
            begun: Instant::now(),
        }
    }
}

impl Machine for Paper {
    fn perform(&mut self, _: &Change, _: &Model) -> Result<(), Failure> {
        Ok(())
    }

    fn trigger(&mut self, _: &Path, _: &str, _: &str) -> Result<(), Failure> {
        Ok(())
    }

    fn read(&self, _: &Path, _: &str) -> Option<String> {
        None
    }
}

impl Observe for Paper {
    fn read(&self, _: &Path, _: &str) -> Option<String> {
        None
    }

    fn sessions(&self, _: &Model) -> Vec<Session> {
        Vec::new()
    }

    fn devices(&self, model: &Model) -> Vec<Device> {
        let root = model.tree().root();
        let device = |(key, object): (&crate::tree::Key, &Object)| {
            let luns = model.users(key.name()).filter(|u| u.kind() == Kind::Lun);
            Device {
                name: key.name().to_owned(),
                handler: object.first("handler").unwrap_or_default().to_owned(),
                filename: object.first("filename").map(str::to_owned),
                block_size: 512,
                luns: luns.map(Path::to_string).collect(),
                ..Device::default()
            }
        };
        root.of(Kind::Device).map(device).collect()
    }

    fn targets(&self, model: &Model) -> Vec<Target> {
        let mut targets = Vec::new();
        model.tree().walk(|path, object| {
            if path.kind() == Kind::Target && !by_itself(path) {
                targets.push(target(path, object));
            }
        });
        targets
    }

    fn reservations(&self, _: &Model) -> Vec<Reservation> {
        Vec::new()
    }

    fn status(&self, model: &Model) -> Status {
        let targets = self.targets(model);
        let count = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
        Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            uptime: self.begun.elapsed().as_secs(),
            targets: count(targets.len()),
            enabled_targets: count(targets.iter().filter(|target| target.enabled).count()),
            devices: count(model.tree().root().of(Kind::Device).count()),
            luns: targets.iter().map(|target| target.luns).sum(),
            ..Status::default()
        }
    }

    fn close_sessions(&self, _: &Path, _: Option<u64>) -> Result<(), Failure> {
        Ok(())
    }
}

fn target(path: &Path, object: &Object) -> Target {
    let groups = || object.of(Kind::Group);
    let own = object.of(Kind::Lun).count();
    let of_groups: usize = groups().map(|(_, group)| group.of(Kind::Lun).count()).sum();
    Target {
        driver: path.name_of(Kind::Driver).unwrap_or_default().to_owned(),
        name: path.name().to_owned(),
        enabled: object.first("enabled") == Some("1"),
        luns: u64::try_from(own + of_groups).unwrap_or(u64::MAX),
        groups: groups().map(|(key, _)| key.name().to_owned()).collect(),
        ..Target::default()
    }
}

/// Whether it comes and goes with other objects.
fn by_itself(path: &Path) -> bool {
    path.is_within(&schema::copy_manager())
}
