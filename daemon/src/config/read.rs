//! A syntax tree as a tree of objects.

use std::collections::HashMap;

use crate::conf::{self, Document, Item, Span, Statement, Word};
use crate::manage::{self, Model, Refusal};
use crate::schema::{self, Attribute, Preset};
use crate::tree::{Attributes, Key, Kind, Object, Path, Tree};

use super::error::quoted;
use super::{Error, NON_KEY};

/// What each section is called, what stands in it, and where.
const SECTIONS: [(Kind, &str, Kind); 11] = [
    (Kind::Root, "HANDLER", Kind::Handler),
    (Kind::Root, "TARGET_DRIVER", Kind::Driver),
    (Kind::Root, "DEVICE_GROUP", Kind::DeviceGroup),
    (Kind::Handler, "DEVICE", Kind::Device),
    (Kind::Driver, "TARGET", Kind::Target),
    (Kind::Target, "LUN", Kind::Lun),
    (Kind::Target, "GROUP", Kind::Group),
    (Kind::Group, "LUN", Kind::Lun),
    (Kind::Group, "INITIATOR", Kind::Initiator),
    (Kind::DeviceGroup, "DEVICE", Kind::GroupDevice),
    (Kind::DeviceGroup, "TARGET_GROUP", Kind::TargetGroup),
];
/// A section around device groups that old files have.
const ALUA: &str = "ALUA";
/// A flag of targets that are ports of an adapter. They are known to be.
const HW_TARGET: &str = "HW_TARGET";
/// These attributes are said by the place and by the head of a section.
const STRUCTURE: [(Kind, &str); 2] = [(Kind::Device, "handler"), (Kind::Lun, "device")];
/// Another way to say the size: where nobody gave it, it is shown beside the size.
const SIZE_MB: &str = "size_mb";

/// Reads the text of an scst.conf: [`conf::parse`] and [`read`].
///
/// # Errors
/// The first thing that is wrong, with the place.
pub fn load(text: impl AsRef<[u8]>, stays: &Tree) -> Result<Tree, conf::Error> {
    let document = conf::parse(text.as_ref())?;
    read(&document, stays).map_err(|error| error.within(&String::from_utf8_lossy(text.as_ref())))
}

/// What a configuration says, with the handlers and drivers that are always there. `stays` is what there is beside it:
/// LUNs may be devices of both. Each disk that the file has is a LUN of the copy manager, whether the file says it or not.
///
/// What a dump with all attributes has is taken as SCST takes it: attributes that can only be read are left out, and so
/// is what the running target found out for itself (the size of a file) if it stands below the comment "Non-key
/// attributes". A value that is the default stands in the tree all the same, since it may be another one now.
///
/// # Errors
/// The first thing that is wrong.
pub fn read(document: &Document, stays: &Tree) -> Result<Tree, Error> {
    let mut reader = Reader {
        tree: Model::new().tree().clone(),
        stays,
        lines: HashMap::new(),
        devices: Vec::new(),
        near: Span {
            line: 1,
            column: 1,
            ..Span::default()
        },
    };
    let read = reader.body(&Path::root(), &Word::default(), &document.items);
    read.and_then(|()| reader.check_devices())
        .map_err(|error| error.or_near(reader.near))?;
    manage::complete_copies(&mut reader.tree);
    Ok(reader.tree)
}

struct Reader<'a> {
    tree: Tree,
    stays: &'a Tree,
    /// The line at which an object stands.
    lines: HashMap<Path, u32>,
    /// Devices that are named by LUNs and device groups.
    devices: Vec<&'a Word>,
    /// The last place that was read: what was converted from another form has no place of its own.
    near: Span,
}

/// An attribute as it was read.
struct Given<'a> {
    definition: &'static Attribute,
    values: Vec<String>,
    at: &'a Word,
}

impl<'a> Reader<'a> {
    /// The inside of the section of the object at `path`, whose head begins with `head`.
    fn body(&mut self, path: &Path, head: &Word, items: &'a [Item]) -> Result<(), Error>
    where
        'a: 'a,
    {
        let mut non_key = false;
        let mut given: Vec<Given<'_>> = Vec::new();
        for item in items {
            let statement = match item {
                Item::Blank => continue,
                Item::Comment(text) => {
                    non_key |= text.trim() == NON_KEY;
                    continue;
                }
                Item::Statement(statement) => statement,
            };
            let words = std::iter::once(&statement.keyword).chain(&statement.arguments);
            if let Some(word) = words.into_iter().find(|word| word.span.line > 0) {
                self.near = word.span;
            }
            if self.section(path, statement)? {
                continue;
            }
            let Some(attribute) = self.attribute(path, statement)? else {
                continue;
            };
            let definition = attribute.definition;
            let found_out = matches!(definition.preset, Preset::Live) || definition.name == SIZE_MB;
            if non_key && found_out {
                continue;
            }
            let same = |other: &&Given<'_>| other.definition.name == definition.name;
            if let Some(first) = given.iter().find(same)
                && !definition.repeated
            {
                return Err(twice(attribute.at, first.at.span.line));
            }
            given.push(attribute);
        }
        self.attributes(path, head, given)
    }

    /// Gives an object what was read.
    fn attributes(&mut self, path: &Path, head: &Word, given: Vec<Given<'_>>) -> Result<(), Error> {
        let mut attributes = match self.tree.get(path) {
            Some(object) => object.attributes.clone(),
            None => return Ok(()),
        };
        let last = given.last().map_or(head, |given| given.at).clone();
        for Given {
            definition, values, ..
        } in given
        {
            let name = definition.name.to_owned();
            attributes.entry(name).or_default().extend(values);
        }
        let there = self.stays.get(path).is_some();
        let attributes =
            manage::given(path, &attributes, there).map_err(|refusal| match refusal {
                Refusal::AttributeMissing { name, .. } => Error::new(
                    head,
                    format!("{} without {name}", head.text),
                    "one that has it",
                ),
                Refusal::Twice { .. } => Error::new(&last, refusal.to_string(), "it once"),
                refusal => Error::new(&last, refusal.to_string(), "attributes that agree"),
            })?;
        if let Some(object) = self.tree.get_mut(path) {
            object.attributes = attributes;
        }
        Ok(())
    }

    /// Reads a statement if it is a section; whether it is.
    fn section(&mut self, path: &Path, statement: &'a Statement) -> Result<bool, Error> {
        let (here, keyword) = (path.kind(), &*statement.keyword.text);
        if here == Kind::Root && keyword == ALUA {
            self.alua(statement)?;
            return Ok(true);
        }
        if here == Kind::Target && keyword == HW_TARGET {
            return hardware(path, statement).map(|()| true);
        }
        let mut sections = SECTIONS.iter().filter(|(_, word, _)| *word == keyword);
        let target = (here, keyword) == (Kind::TargetGroup, "TARGET");
        let kind = match sections.clone().find(|(place, _, _)| *place == here) {
            Some((_, _, kind)) => *kind,
            None if target => Kind::GroupTarget,
            None if sections.next().is_some() => {
                let found = format!("{keyword} in {}", here.one());
                return Err(Error::new(&statement.keyword, found, expected(here, path)));
            }
            None => return Ok(false),
        };
        let (path, attributes) = self.head(path, kind, statement)?;
        self.put(&path, attributes, statement)?;
        let items = statement.body.as_deref().unwrap_or_default();
        self.body(&path, &statement.keyword, items)?;
        Ok(true)
    }

    fn alua(&mut self, statement: &'a Statement) -> Result<(), Error> {
        for inner in statement.statements() {
            if inner.keyword.text != "DEVICE_GROUP" || !self.section(&Path::root(), inner)? {
                let found = quoted(&inner.keyword);
                return Err(Error::new(&inner.keyword, found, "DEVICE_GROUP"));
            }
        }
        Ok(())
    }

    /// The path of a section, and the attributes that its head says.
    fn head(
        &mut self,
        path: &Path,
        kind: Kind,
        statement: &'a Statement,
    ) -> Result<(Path, Attributes), Error> {
        let keyword = &statement.keyword;
        let mut attributes = Attributes::new();
        let name = match (kind, &*statement.arguments) {
            (Kind::Lun, [number, device]) => {
                self.devices.push(device);
                attributes.insert("device".to_owned(), vec![device.text.clone()]);
                number
            }
            (Kind::Lun, _) => {
                let expected = "a number and a device behind it";
                return Err(Error::new(keyword, "LUN", expected));
            }
            (_, [name]) => name,
            (_, []) => {
                let found = format!("{} alone", keyword.text);
                return Err(Error::new(keyword, found, "a name behind it"));
            }
            (_, [_, more, ..]) => {
                return Err(Error::new(
                    more,
                    quoted(more),
                    "one name, and { or the end of the line",
                ));
            }
        };
        let wrong = |error: crate::tree::PathError| {
            Error::new(name, quoted(name), format!("a name: {error}"))
        };
        let path = match kind {
            Kind::Device => {
                let handler = vec![path.name().to_owned()];
                attributes.insert("handler".to_owned(), handler);
                Path::device(name).map_err(wrong)?
            }
            _ => path.child(kind, &*name.text).map_err(wrong)?,
        };
        manage::name(&path)
            .map_err(|refusal| Error::new(name, quoted(name), format!("a name: {refusal}")))?;
        if kind == Kind::GroupDevice {
            self.devices.push(name);
        }
        Ok((path, attributes))
    }

    /// Puts an object into the tree. A handler or driver is there, and may have several sections.
    fn put(
        &mut self,
        path: &Path,
        attributes: Attributes,
        statement: &Statement,
    ) -> Result<(), Error> {
        let name = statement.arguments.first().unwrap_or(&statement.keyword);
        if schema::is_builtin(path) {
            return match self.tree.get(path) {
                Some(_) => Ok(()),
                None => {
                    let found = format!("the {} {}", path.kind().title(), quoted(name));
                    Err(Error::new(name, found, self.those_there(path)))
                }
            };
        }
        let line = statement.keyword.span.line;
        if let Some(first) = self.lines.insert(path.clone(), line) {
            return Err(twice(name, first));
        }
        if let Some((parent, key)) = path.split()
            && let Some(parent) = self.tree.get_mut(&parent)
        {
            parent.insert(key.clone(), Object::new(attributes));
        }
        Ok(())
    }

    /// The names of one kind that there are in place of a wrong one.
    fn those_there(&self, path: &Path) -> String {
        let parent = path.split().and_then(|(parent, _)| self.tree.get(&parent));
        let there = parent.into_iter().flat_map(|parent| parent.of(path.kind()));
        let names: Vec<_> = there.map(|(key, _)| key.name()).collect();
        format!("one of {}", names.join(", "))
    }

    /// An attribute; `None` if it cannot be given.
    fn attribute(&self, path: &Path, statement: &'a Statement) -> Result<Option<Given<'a>>, Error> {
        let (kind, at) = (path.kind(), &statement.keyword);
        let family = match kind {
            Kind::Device => self
                .tree
                .get(path)
                .and_then(|device| device.first("handler")),
            _ => path.name_of(Kind::Driver).or(path.name_of(Kind::Handler)),
        };
        let family = family.unwrap_or_default();
        let definition = schema::find(kind, family, &at.text)
            .filter(|found| !STRUCTURE.contains(&(kind, found.name)));
        let Some(definition) = definition else {
            return Err(Error::new(at, quoted(at), expected(kind, path)));
        };
        if statement.body.is_some() {
            let found = format!("{{ behind the attribute {}", definition.name);
            return Err(Error::new(at, found, "a value and the end of the line"));
        }
        if !definition.is_settable() {
            return Ok(None);
        }
        let Some(first) = statement.arguments.first() else {
            let found = format!("{} alone", definition.name);
            return Err(Error::new(at, found, definition.value.expected()));
        };
        let values = texts(definition, &statement.arguments)
            .iter()
            .map(|text| definition.value.canonical(text))
            .collect::<Result<Vec<_>, _>>()
            .map_err(|wrong| {
                let found = if definition.secret {
                    format!("another value of {}", definition.name)
                } else {
                    format!("{} as {}", quoted(&wrong.found), definition.name)
                };
                Error::new(first, found, wrong.expected)
            })?;
        Ok(Some(Given {
            definition,
            values,
            at,
        }))
    }

    /// That every device that is named is there.
    fn check_devices(&self) -> Result<(), Error> {
        for name in &self.devices {
            let there = |tree: &Tree| {
                let key = Key::new(Kind::Device, &*name.text).ok();
                key.is_some_and(|key| tree.root().child(&key).is_some())
            };
            if !there(&self.tree) && !there(self.stays) {
                let found = format!("the device {}", quoted(name));
                let expected = "one that a HANDLER of the file has, or that is there";
                return Err(Error::new(name, found, expected));
            }
        }
        Ok(())
    }
}

fn hardware(path: &Path, statement: &Statement) -> Result<(), Error> {
    if path.name_of(Kind::Driver) == Some("ib_srpt") {
        return Ok(());
    }
    Err(Error::new(
        &statement.keyword,
        format!(
            "HW_TARGET in a target of {}",
            path.name_of(Kind::Driver).unwrap_or_default()
        ),
        "it in targets of ib_srpt only",
    ))
}

/// The values that words are. An attribute of one value has all of them, with blanks between; so has one of several
/// where the words are a name and a secret.
fn texts(definition: &Attribute, words: &[Word]) -> Vec<String> {
    let all = || {
        let words: Vec<_> = words.iter().map(|word| &*word.text).collect();
        words.join(" ")
    };
    let pair = definition.secret
        && words.len() == 2
        && words.iter().all(|word| !word.text.contains([' ', '\t']));
    if definition.repeated && !pair {
        words.iter().map(|word| word.text.clone()).collect()
    } else {
        vec![all()]
    }
}

/// What may stand in a section.
fn expected(kind: Kind, path: &Path) -> String {
    let mut words: Vec<_> = SECTIONS
        .iter()
        .filter(|(place, _, _)| *place == kind)
        .map(|(_, word, _)| *word)
        .collect();
    if kind == Kind::TargetGroup {
        words.push("TARGET");
    }
    let of = path
        .name_of(Kind::Driver)
        .map_or(String::new(), |driver| format!(" of {driver}"));
    let attribute = format!("an attribute of {}{of}", kind.one());
    if words.is_empty() {
        return attribute;
    }
    format!("{} or {attribute}", words.join(", "))
}

fn twice(at: &Word, first: u32) -> Error {
    let found = format!("{} again", quoted(at));
    Error::new(at, found, format!("it once: it stands at line {first}"))
}
