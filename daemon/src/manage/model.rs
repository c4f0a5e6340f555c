//! What is configured, as a value that knows which changes it takes.

mod accept;
mod at_once;
mod index;
mod refusal;
mod rules;

use crate::schema::{self, Attribute, Preset};
use crate::tree::{Attributes, Kind, Object, Path, Tree};

use super::Change;

use index::Index;

pub(super) use accept::family;
pub(crate) use accept::given;
pub use refusal::Refusal;
pub(crate) use rules::name;

/// How many of the places that hold an object are told.
const PLACES_TOLD: usize = 3;

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
        let index = Index::of(&tree);
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
    pub fn users(&self, device: &str) -> impl DoubleEndedIterator<Item = &Path> {
        self.index.users(device)
    }

    /// The LUNs of the copy manager that a device is: [`schema::copy_manager`].
    pub fn copy_luns(&self, device: &str) -> impl Iterator<Item = u16> {
        self.index.copy_luns(device)
    }

    /// The free LUNs of the copy manager, from the lowest on.
    pub fn free_copy_luns(&self) -> impl Iterator<Item = u16> {
        self.index.free_copy_luns()
    }

    /// The lowest relative target port identifier that `target` can have and that is not `taken`.
    pub(super) fn free_port(&self, target: &Path, taken: impl Fn(u16) -> bool) -> Option<u16> {
        self.index.free_port(&self.tree, target, taken)
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
        accept::definition(path.kind(), family, name)
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
            Change::Order { path, before } => self.order(path, before.as_deref()),
            Change::AtOnce { path, changes } => self.at_once(path, changes),
        }
    }

    /// Whether the object of a change that was taken can be told from all others, and its attributes go together.
    ///
    /// # Errors
    /// [`Refusal::Duplicate`], [`Refusal::Together`].
    pub fn check(&self, change: &Change) -> Result<(), Refusal> {
        for part in change.parts() {
            self.index.check(part.path())?;
            rules::together(&self.tree, part.path())?;
        }
        Ok(())
    }

    /// A change with attributes under their own names and values in the form in which they are kept.
    ///
    /// # Errors
    /// [`Refusal`], as [`Model::apply`] of the change would give it.
    pub fn canonical(&self, change: &Change) -> Result<Change, Refusal> {
        Ok(match change {
            Change::Create { path, attributes } => Change::Create {
                path: path.clone(),
                attributes: accept::all(path, attributes)?,
            },
            Change::Reopen { path, attributes } => Change::Reopen {
                path: path.clone(),
                attributes: accept::all(path, attributes)?,
            },
            Change::Set {
                path,
                attribute,
                values,
            } => {
                let family = family(path, &self.object(path)?.attributes);
                let (definition, values) = accept::one(path, family, attribute, values)?;
                Change::Set {
                    path: path.clone(),
                    attribute: definition.name.to_owned(),
                    values,
                }
            }
            Change::AtOnce { path, changes } => Change::AtOnce {
                path: path.clone(),
                changes: changes
                    .iter()
                    .map(|part| at_once::canonical(self, path, part))
                    .collect::<Result<_, _>>()?,
            },
            Change::Remove { .. }
            | Change::Replace { .. }
            | Change::Move { .. }
            | Change::Order { .. } => change.clone(),
        })
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
        rules::name(path)?;
        let object = Object::new(accept::all(path, attributes)?);
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
        let mut behind = None;
        if let Some((parent, key)) = path.split()
            && let Some(parent) = self.tree.get_mut(&parent)
        {
            behind = parent.group_behind(key).map(|key| key.name().to_owned());
            parent.remove(key);
        }
        let path = path.clone();
        Ok(match behind {
            Some(behind) => at_once::group(path, attributes, behind),
            None => Change::Create { path, attributes },
        })
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
        let family = family(path, &self.object(path)?.attributes);
        let (definition, values) = accept::one(path, family, name, values)?;
        let in_use = path.kind() == Kind::Device && self.is_exported(path.name());
        rules::set(&self.tree, path, definition.name, in_use)?;
        let before = self.exchange(path, definition.name, values);
        self.index.add(&self.tree, path);
        Ok(Change::Set {
            path: path.clone(),
            attribute: definition.name.to_owned(),
            values: before,
        })
    }

    /// Whether initiators reach a device: a LUN of the copy manager is for none.
    pub fn is_exported(&self, device: &str) -> bool {
        let copies = |user: &&Path| user.name_of(Kind::Driver) == Some(schema::COPY_MANAGER);
        self.users(device)
            .filter(|user| user.kind() == Kind::Lun)
            .any(|user| !copies(&user))
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
        let attributes = accept::all(path, attributes)?;
        rules::reopen(&self.tree, path, &attributes)?;
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

    /// That what a new object names is there.
    fn check_references(&self, path: &Path, object: &Object) -> Result<(), Refusal> {
        match path.kind() {
            Kind::Lun => {
                self.object(&Path::device(object.first("device").unwrap_or_default())?)?;
            }
            Kind::GroupDevice => {
                self.object(&Path::device(path.name())?)?;
                let last = self.users(path.name()).next_back();
                if let Some(other) = last.filter(|user| user.kind() == Kind::GroupDevice) {
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
        Preset::Follows(from) => Some(vec![from(tree, path)?]),
        Preset::Live => None,
    }
}

/// What is there from the start is neither made nor removed.
fn fixed(path: &Path) -> Result<(), Refusal> {
    if !schema::is_builtin(path) {
        return Ok(());
    }
    let kind = path.kind();
    let there: Vec<_> = match kind {
        Kind::Target => vec![schema::COPY_MANAGER_TARGET.to_owned()],
        _ => schema::builtin()
            .filter(|(key, _)| key.kind() == kind)
            .map(|(key, _)| key.name().to_owned())
            .collect(),
    };
    Err(Refusal::Fixed(
        kind.one(),
        format!("there are {}", there.join(", ")),
    ))
}
