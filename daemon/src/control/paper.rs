//! A machine on paper: takes every change and serves nobody. For tests of what talks to a target, and for
//! `lunforge serve --pretend`.

use std::time::Instant;

use super::dialect::{Dialect, Live, Wrong};
use super::observe::Observe;
use super::protocol::Mode;
use super::report::{Device, Reservation, Session, Status, Target};
use crate::manage::{Change, Failure, Machine, Manager, Model, Plan};
use crate::schema;
use crate::tree::{Attributes, Kind, Object, Path};

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

/// A dialect in which a line is `PATH ATTRIBUTE=VALUE…`, an object to be.
#[derive(Debug, Clone, Copy, Default)]
pub struct Plain;

impl Plain {
    fn read(text: &str) -> Result<Model, Wrong> {
        let mut model = Manager::new(Model::new(), Paper::default());
        for (line, words) in text.lines().enumerate() {
            let wrong = |message: String| Wrong {
                line: line + 1,
                column: 1,
                message,
            };
            let mut words = words.split_whitespace();
            let Some(path) = words.next().filter(|word| !word.starts_with('#')) else {
                continue;
            };
            let path: Path = path.parse().map_err(|error| wrong(format!("{error}")))?;
            let mut attributes = Attributes::new();
            for word in words {
                let (name, value) = word
                    .split_once('=')
                    .ok_or_else(|| wrong(format!("{word:?} is no ATTRIBUTE=VALUE")))?;
                let values = attributes.entry(name.to_owned()).or_default();
                values.push(value.to_owned());
            }
            let change = Change::Create { path, attributes };
            model
                .run(&[change])
                .map_err(|refused| wrong(refused.to_string()))?;
        }
        Ok(model.model().clone())
    }
}

impl Dialect for Plain {
    fn plan(&self, text: &str, mode: Mode, model: &Model) -> Result<Plan, Wrong> {
        let wanted = Self::read(text)?;
        let (mut remove, mut rest) = (Vec::new(), Vec::new());
        model.tree().walk(|path, object| {
            if by_itself(path) {
                return;
            }
            let same = wanted.tree().get(path).is_some_and(|other| {
                // Another object of this name: it goes, and comes again.
                path.kind() != Kind::Device || other.attributes == object.attributes
            });
            if !same && mode == Mode::Replace {
                remove.push(Change::Remove { path: path.clone() });
            }
        });
        let gone = |path: &Path| remove.iter().any(|change| change.path() == path);
        wanted.tree().walk(|path, object| {
            if by_itself(path) {
                return;
            }
            let before = model.tree().get(path).filter(|_| !gone(path));
            let Some(before) = before else {
                let (path, attributes) = (path.clone(), object.attributes.clone());
                rest.push(Change::Create { path, attributes });
                return;
            };
            for (attribute, values) in &object.attributes {
                if before.attributes.get(attribute) != Some(values) {
                    rest.push(Change::Set {
                        path: path.clone(),
                        attribute: attribute.clone(),
                        values: values.clone(),
                    });
                }
            }
        });
        // What stands in something goes before it, and what uses a device before that.
        remove.sort_by_key(|change| {
            (
                change.path().kind() == Kind::Device,
                std::cmp::Reverse(change.path().keys().len()),
            )
        });
        remove.append(&mut rest);
        Ok(Plan {
            changes: remove,
            notices: Vec::new(),
        })
    }

    fn print(&self, model: &Model, _: Live<'_>, _: bool) -> String {
        let mut text = String::new();
        model.tree().walk(|path, object| {
            let builtin = matches!(path.kind(), Kind::Root | Kind::Handler | Kind::Driver);
            if builtin || by_itself(path) {
                return;
            }
            text += &path.to_string();
            for (name, values) in &object.attributes {
                for value in values {
                    text += &format!(" {name}={value}");
                }
            }
            text.push('\n');
        });
        text
    }
}
