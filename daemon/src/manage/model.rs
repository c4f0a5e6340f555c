//! What is configured, as a value that knows which changes it takes.

mod index;

use std::collections::BTreeSet;

use crate::schema::value::WrongValue;
use crate::schema::{self, Access, Attribute, Preset};
use crate::tree::{Attributes, Key, Kind, Object, Path, PathError, Tree};

use super::Change;
use index::Index;

/// How many of the places that hold an object are told.
const PLACES_TOLD: usize = 3;

/// Why the model does not take a change. Nothing has changed then.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// There is no such object.
    #[error("there is no {kind} {path}", kind = .0.kind().title(), path = .0)]
    Missing(Path),
    /// There is such an object.
    #[error("there is a {kind} {path} already", kind = .0.kind().title(), path = .0)]
    Exists(Path),
    /// Objects of this kind are there or not; nobody makes or removes them.
    #[error("a {0} cannot be made or removed: {1}")]
    Fixed(&'static str, String),
    /// Something stands in it.
    #[error("{0} is not empty")]
    NotEmpty(Path),
    /// Something uses it.
    #[error("{path} is in use by {users}")]
    InUse {
        /// The device.
        path: Path,
        /// Some of those that use it.
        users: String,
    },
    /// A kind of object has no attribute of this name.
    #[error("a {kind}{of} has no attribute {name:?}")]
    UnknownAttribute {
        /// Of what.
        kind: &'static str,
        /// Of which handler or driver, with a blank and words before it.
        of: String,
        /// Which.
        name: String,
    },
    /// Objects of this kind are made with this attribute.
    #[error("a {kind} needs the attribute {name:?}")]
    AttributeMissing {
        /// What.
        kind: &'static str,
        /// Which.
        name: &'static str,
    },
    /// An attribute cannot be given or set.
    #[error("{name} cannot be {when}")]
    NotSettable {
        /// Which.
        name: String,
        /// When not.
        when: &'static str,
    },
    /// An attribute has one value.
    #[error("{0} has one value, not several")]
    Repeated(String),
    /// A value that its attribute does not take.
    #[error("{name}: {wrong}")]
    Value {
        /// Which attribute.
        name: String,
        /// What is wrong.
        #[source]
        wrong: WrongValue,
    },
    /// Two objects would be taken for one.
    #[error("{attribute} {value:?} is that of {other} already")]
    Duplicate {
        /// Which identification.
        attribute: &'static str,
        /// Its value.
        value: String,
        /// Whose it is.
        other: Path,
    },
    /// A change that objects of this kind do not have.
    #[error("{0} is no {1}")]
    WrongKind(Path, &'static str),
    /// A name that no object can have.
    #[error(transparent)]
    Name(#[from] PathError),
}

/// See the module's head. [`Tree`]s that it gives out satisfy all its rules.
#[derive(Debug, Clone)]
pub struct Model {
    tree: Tree,
    index: Index,
}

impl Default for Model {
    fn default() -> Self {
        Self::new()
    }
}

impl Model {
    /// With the handlers and drivers that this program has, and nothing else.
    pub fn new() -> Self {
        let mut tree = Tree::default();
        if let Some(root) = tree.get_mut(&Path::root()) {
            for (key, object) in schema::builtin() {
                root.insert(key, object);
            }
        }
        let index = Index::default();
        Self { tree, index }
    }

    /// What is configured.
    pub fn tree(&self) -> &Tree {
        &self.tree
    }

    /// The object at `path`.
    ///
    /// # Errors
    /// [`Refusal::Missing`].
    pub fn object(&self, path: &Path) -> Result<&Object, Refusal> {
        self.tree
            .get(path)
            .ok_or_else(|| Refusal::Missing(path.clone()))
    }

    /// The LUNs and device groups that a device is in.
    pub fn users(&self, device: &str) -> impl Iterator<Item = &Path> {
        self.index.users(device)
    }

    /// What is known of an attribute of the object at `path`.
    ///
    /// # Errors
    /// [`Refusal::UnknownAttribute`].
    pub fn definition(&self, path: &Path, name: &str) -> Result<&'static Attribute, Refusal> {
        let family = self
            .tree
            .get(path)
            .map_or("", |object| family(path, &object.attributes));
        definition(path.kind(), family, name)
    }

    /// The attributes that the object at `path` may have.
    pub fn definitions(&self, path: &Path) -> &'static [Attribute] {
        let family = self
            .tree
            .get(path)
            .map_or("", |object| family(path, &object.attributes));
        schema::attributes(path.kind(), family)
    }

    /// The values of an attribute: those that were given, or its default. `None` where only the running target knows.
    pub fn values(&self, path: &Path, definition: &Attribute) -> Option<Vec<String>> {
        values(&self.tree, path, definition)
    }

    /// The one value of an attribute, as [`Model::values`] has it; `None` too if there is no such attribute.
    pub fn value(&self, path: &Path, name: &str) -> Option<String> {
        let definition = self.definition(path, name).ok()?;
        self.values(path, definition)?.into_iter().next()
    }

    /// Takes a change, and returns the one that takes it back. What several changes only together make right, as two
    /// targets that exchange their identifiers, [`Model::check`] looks at when all of them are taken.
    ///
    /// # Errors
    /// [`Refusal`].
    pub fn apply(&mut self, change: &Change) -> Result<Change, Refusal> {
        match change {
            Change::Create { path, attributes } => self.create(path, attributes),
            Change::Remove { path } => self.remove(path),
            Change::Set {
                path,
                attribute,
                values,
            } => self.set(path, attribute, values),
            Change::Reopen { path, attributes } => self.reopen(path, attributes),
            Change::Replace { path, device, tell } => self.replace(path, device, *tell),
            Change::Move { path, group } => self.move_initiator(path, group),
        }
    }

    /// Whether the object of a change that was taken can be told from all others.
    ///
    /// # Errors
    /// [`Refusal::Duplicate`].
    pub fn check(&self, change: &Change) -> Result<(), Refusal> {
        self.index.check(change.path())
    }

    fn create(&mut self, path: &Path, attributes: &Attributes) -> Result<Change, Refusal> {
        let Some((parent, key)) = path.split() else {
            return Err(Refusal::Exists(Path::root()));
        };
        fixed(path)?;
        if self.tree.get(path).is_some() {
            return Err(Refusal::Exists(path.clone()));
        }
        self.object(&parent)?;
        if !parent.kind().children().contains(&path.kind()) {
            return Err(Refusal::WrongKind(parent, "place for it"));
        }
        let object = Object::new(self.accepted(path, attributes, Access::CREATE)?);
        self.check_references(path, &object)?;
        if let Some(parent) = self.tree.get_mut(&parent) {
            parent.insert(key.clone(), object);
        }
        self.index.add(&self.tree, path);
        Ok(Change::Remove { path: path.clone() })
    }

    fn remove(&mut self, path: &Path) -> Result<Change, Refusal> {
        fixed(path)?;
        let object = self.object(path)?;
        if !object.is_leaf() {
            return Err(Refusal::NotEmpty(path.clone()));
        }
        if path.kind() == Kind::Device {
            self.unused(path)?;
        }
        let attributes = object.attributes.clone();
        self.index.remove(path);
        if let Some((parent, key)) = path.split()
            && let Some(parent) = self.tree.get_mut(&parent)
        {
            parent.remove(key);
        }
        let path = path.clone();
        Ok(Change::Create { path, attributes })
    }

    fn unused(&self, path: &Path) -> Result<(), Refusal> {
        let users: Vec<_> = self
            .users(path.name())
            .take(PLACES_TOLD)
            .map(Path::to_string)
            .collect();
        if users.is_empty() {
            return Ok(());
        }
        let path = path.clone();
        let users = users.join(", ");
        Err(Refusal::InUse { path, users })
    }

    fn set(&mut self, path: &Path, name: &str, values: &[String]) -> Result<Change, Refusal> {
        self.object(path)?;
        let definition = self.definition(path, name)?;
        settable(definition, Access::WRITE)?;
        check_values(definition, values)?;
        let before = self.exchange(path, definition.name, values.to_vec());
        if path.kind() == Kind::Root {
            // Names of devices that were not given one follow from the root's attributes.
            self.index = Index::of(&self.tree);
        } else {
            self.index.add(&self.tree, path);
        }
        Ok(Change::Set {
            path: path.clone(),
            attribute: definition.name.to_owned(),
            values: before,
        })
    }

    /// Gives an attribute other values; returns the ones before.
    fn exchange(&mut self, path: &Path, name: &str, values: Vec<String>) -> Vec<String> {
        let Some(object) = self.tree.get_mut(path) else {
            return Vec::new();
        };
        let before = if values.is_empty() {
            object.attributes.remove(name)
        } else {
            object.attributes.insert(name.to_owned(), values)
        };
        before.unwrap_or_default()
    }

    fn reopen(&mut self, path: &Path, attributes: &Attributes) -> Result<Change, Refusal> {
        if path.kind() != Kind::Device {
            return Err(Refusal::WrongKind(path.clone(), Kind::Device.title()));
        }
        self.object(path)?;
        let attributes = self.accepted(path, attributes, Access::CREATE)?;
        let Some(object) = self.tree.get_mut(path) else {
            return Err(Refusal::Missing(path.clone()));
        };
        let before = std::mem::replace(&mut object.attributes, attributes);
        self.index.add(&self.tree, path);
        Ok(Change::Reopen {
            path: path.clone(),
            attributes: before,
        })
    }

    fn replace(&mut self, path: &Path, device: &str, tell: bool) -> Result<Change, Refusal> {
        if path.kind() != Kind::Lun {
            return Err(Refusal::WrongKind(path.clone(), Kind::Lun.title()));
        }
        self.object(path)?;
        self.object(&Path::device(device)?)?;
        let before = self.exchange(path, "device", vec![device.to_owned()]);
        self.index.add(&self.tree, path);
        Ok(Change::Replace {
            path: path.clone(),
            device: before.into_iter().next().unwrap_or_default(),
            tell,
        })
    }

    fn move_initiator(&mut self, path: &Path, group: &str) -> Result<Change, Refusal> {
        if path.kind() != Kind::Initiator {
            return Err(Refusal::WrongKind(path.clone(), Kind::Initiator.title()));
        }
        self.object(path)?;
        let Some((from, key)) = path.split() else {
            return Err(Refusal::Missing(path.clone()));
        };
        let Some((target, from_key)) = from.split() else {
            return Err(Refusal::Missing(path.clone()));
        };
        let to = target.child(Kind::Group, group)?;
        let there = to.with(key.clone());
        if self.object(&to)?.child(key).is_some() {
            return Err(Refusal::Exists(there));
        }
        let object = self.tree.get_mut(&from).and_then(|group| group.remove(key));
        if let (Some(object), Some(to)) = (object, self.tree.get_mut(&to)) {
            to.insert(key.clone(), object);
        }
        let group = from_key.name().to_owned();
        Ok(Change::Move { path: there, group })
    }

    /// The attributes under their own names, if the object may be given all of them and lacks none.
    fn accepted(&self, path: &Path, given: &Attributes, at: Access) -> Result<Attributes, Refusal> {
        let family = family(path, given);
        let mut accepted = Attributes::new();
        for (name, values) in given {
            let definition = definition(path.kind(), family, name)?;
            settable(definition, at | Access::WRITE)?;
            check_values(definition, values)?;
            accepted
                .entry(definition.name.to_owned())
                .or_default()
                .extend(values.iter().cloned());
        }
        let needed = |definition: &&Attribute| definition.is_needed();
        for definition in schema::attributes(path.kind(), family)
            .iter()
            .filter(needed)
        {
            if !accepted.contains_key(definition.name) {
                let (kind, name) = (path.kind().title(), definition.name);
                return Err(Refusal::AttributeMissing { kind, name });
            }
        }
        Ok(accepted)
    }

    /// That what a new object names is there.
    fn check_references(&self, path: &Path, object: &Object) -> Result<(), Refusal> {
        match path.kind() {
            Kind::Device => {
                let handler = object.first("handler").unwrap_or_default();
                self.object(&Path::root().child(Kind::Handler, handler)?)?;
            }
            Kind::Lun => {
                self.object(&Path::device(object.first("device").unwrap_or_default())?)?;
            }
            Kind::GroupDevice => {
                self.object(&Path::device(path.name())?)?;
                let in_group = |user: &&Path| user.kind() == Kind::GroupDevice;
                if let Some(other) = self.users(path.name()).find(in_group) {
                    return Err(Refusal::InUse {
                        path: Path::device(path.name())?,
                        users: other.to_string(),
                    });
                }
            }
            _ => {}
        }
        Ok(())
    }
}

/// The values of an attribute in a tree: given, or its default; `None` where only the running target knows.
pub(super) fn values(tree: &Tree, path: &Path, definition: &Attribute) -> Option<Vec<String>> {
    if let Some(given) = tree.get(path)?.attributes.get(definition.name) {
        return Some(given.clone());
    }
    match definition.preset {
        Preset::None => Some(Vec::new()),
        Preset::Is(text) => Some(vec![text.to_owned()]),
        Preset::Follows(from) => Some(vec![from(tree, path)]),
        Preset::Live => None,
    }
}

/// The handler or driver on which the attributes of the object at `path` depend, whose own attributes are these.
fn family<'a>(path: &'a Path, attributes: &'a Attributes) -> &'a str {
    if path.kind() == Kind::Device {
        let handler = attributes.get("handler").and_then(|values| values.first());
        return handler.map_or("", String::as_str);
    }
    path.name_of(Kind::Driver)
        .or_else(|| path.name_of(Kind::Handler))
        .unwrap_or_default()
}

fn definition(kind: Kind, family: &str, name: &str) -> Result<&'static Attribute, Refusal> {
    schema::find(kind, family, name).ok_or_else(|| Refusal::UnknownAttribute {
        kind: kind.title(),
        of: if family.is_empty() {
            String::new()
        } else {
            format!(" of {family}")
        },
        name: name.chars().take(64).collect(),
    })
}

fn fixed(path: &Path) -> Result<(), Refusal> {
    let builtin: BTreeSet<Key> = match path.kind() {
        Kind::Root | Kind::Handler | Kind::Driver => {
            schema::builtin().map(|(key, _)| key).collect()
        }
        _ => return Ok(()),
    };
    let kind = path.kind();
    let there: Vec<_> = builtin
        .iter()
        .filter(|key| key.kind() == kind)
        .map(Key::name)
        .collect();
    Err(Refusal::Fixed(
        kind.title(),
        format!("there are {}", there.join(", ")),
    ))
}

fn settable(definition: &Attribute, at: Access) -> Result<(), Refusal> {
    if definition.access.intersects(at) {
        return Ok(());
    }
    let when = if definition.access.contains(Access::CREATE) {
        "changed while the object lives"
    } else {
        "set"
    };
    let name = definition.name.to_owned();
    Err(Refusal::NotSettable { name, when })
}

fn check_values(definition: &Attribute, values: &[String]) -> Result<(), Refusal> {
    if values.len() > 1 && !definition.repeated {
        return Err(Refusal::Repeated(definition.name.to_owned()));
    }
    for value in values {
        definition.value.check(value).map_err(|mut wrong| {
            if definition.secret {
                "...".clone_into(&mut wrong.found);
            }
            let name = definition.name.to_owned();
            Refusal::Value { name, wrong }
        })?;
    }
    Ok(())
}
