//! Attributes as they are given, and as they are kept: under their own names, values in one form, and without what says
//! nothing.

use std::collections::BTreeSet;

use crate::schema::{self, Access, Attribute};
use crate::tree::{Attributes, Key, Kind, Path};

use super::Refusal;

const SHIFT_OF_MIB: u32 = 20;

/// All that a new object is given, if it may have all of it and lacks nothing.
pub(super) fn all(path: &Path, given: &Attributes) -> Result<Attributes, Refusal> {
    let mut kept = self::given(path, given, false)?;
    let family = family(path, given);
    kept.retain(|name, values| {
        let definition = schema::find(path.kind(), family, name);
        definition.is_none_or(|definition| !definition.is_default(values))
    });
    Ok(kept)
}

/// What an object is given, under their own names and in one form, with values that are the default. It lacks nothing,
/// unless it is there already.
pub(crate) fn given(
    path: &Path,
    given: &Attributes,
    is_there: bool,
) -> Result<Attributes, Refusal> {
    let family = family(path, given);
    if path.kind() == Kind::Device {
        handler(family)?;
    }
    let mut kept = Attributes::new();
    for (name, values) in given {
        let definition = definition(path.kind(), family, name)?;
        settable(definition, Access::CREATE | Access::WRITE)?;
        let (definition, values) = in_one_form(path, family, definition, values)?;
        merge(&mut kept, definition, values)?;
    }
    for definition in schema::attributes(path.kind(), family) {
        match kept.get(definition.name) {
            Some(values) => one_each(definition, values)?,
            None if definition.is_needed() && !is_there => {
                let (kind, name) = (path.kind().one(), definition.name);
                return Err(Refusal::AttributeMissing { kind, name });
            }
            None => {}
        }
    }
    Ok(kept)
}

/// That there is a handler, before a device is refused for attributes that no other handler has.
fn handler(name: &str) -> Result<(), Refusal> {
    if name.is_empty() {
        let (kind, name) = (Kind::Device.one(), "handler");
        return Err(Refusal::AttributeMissing { kind, name });
    }
    let key = Key::new(Kind::Handler, name)?;
    if schema::builtin().any(|(there, _)| there == key) {
        return Ok(());
    }
    Err(Refusal::Missing(Path::root().with(key)))
}

/// The values that a living object gets, none if they are the default; and the attribute, which is another one than that
/// of this name where two names stand for one.
pub(super) fn one(
    path: &Path,
    family: &str,
    name: &str,
    values: &[String],
) -> Result<(&'static Attribute, Vec<String>), Refusal> {
    let definition = definition(path.kind(), family, name)?;
    settable(definition, Access::WRITE)?;
    let (definition, values) = in_one_form(path, family, definition, values)?;
    one_each(definition, &values)?;
    let values = if definition.is_default(&values) {
        Vec::new()
    } else {
        values
    };
    Ok((definition, values))
}

/// The handler or driver on which the attributes of the object at `path` depend, whose own attributes are these.
pub(in crate::manage) fn family<'a>(path: &'a Path, attributes: &'a Attributes) -> &'a str {
    if path.kind() == Kind::Device {
        let handler = attributes.get("handler").and_then(|values| values.first());
        return handler.map_or("", String::as_str);
    }
    path.name_of(Kind::Driver)
        .or_else(|| path.name_of(Kind::Handler))
        .unwrap_or_default()
}

pub(super) fn definition(
    kind: Kind,
    family: &str,
    name: &str,
) -> Result<&'static Attribute, Refusal> {
    schema::find(kind, family, name).ok_or_else(|| Refusal::UnknownAttribute {
        kind: kind.one(),
        of: if family.is_empty() {
            String::new()
        } else {
            format!(" of {family}")
        },
        name: name.chars().take(64).collect(),
    })
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
    Err(not_settable(definition.name, when))
}

pub(super) fn not_settable(name: &str, when: impl Into<String>) -> Refusal {
    let (name, when) = (name.to_owned(), when.into());
    Refusal::NotSettable { name, when }
}

/// Each value in the form in which it is kept. `size_mb` is another way to say `size`.
fn in_one_form(
    path: &Path,
    family: &str,
    definition: &'static Attribute,
    values: &[String],
) -> Result<(&'static Attribute, Vec<String>), Refusal> {
    let canonical = |value: &String| {
        definition.value.canonical(value).map_err(|mut wrong| {
            if definition.secret {
                "...".clone_into(&mut wrong.found);
            }
            let name = definition.name.to_owned();
            Refusal::Value { name, wrong }
        })
    };
    let values = values
        .iter()
        .map(canonical)
        .collect::<Result<Vec<_>, _>>()?;
    if (path.kind(), definition.name) != (Kind::Device, "size_mb") {
        return Ok((definition, values));
    }
    let bytes = |value: &String| value.parse().ok().map(|mib: u64| mib << SHIFT_OF_MIB);
    let size = self::definition(Kind::Device, family, "size")?;
    let values = values.iter().filter_map(bytes).map(|n| n.to_string());
    Ok((size, values.collect()))
}

fn merge(
    kept: &mut Attributes,
    definition: &Attribute,
    values: Vec<String>,
) -> Result<(), Refusal> {
    let before = kept.entry(definition.name.to_owned()).or_default();
    if definition.name != "size" || before.is_empty() {
        before.extend(values);
        return Ok(());
    }
    // Given as size and as size_mb: the one that is exact counts, if they agree.
    let bytes = |values: &[String]| values.first().and_then(|value| value.parse::<u64>().ok());
    let (Some(one), Some(other)) = (bytes(before), bytes(&values)) else {
        return Ok(());
    };
    if one >> SHIFT_OF_MIB != other >> SHIFT_OF_MIB {
        return Err(not_settable("size_mb", "another size than size"));
    }
    *before = vec![one.max(other).to_string()];
    Ok(())
}

/// That an attribute has one value, or several that differ. Of an account the name is what counts.
fn one_each(definition: &Attribute, values: &[String]) -> Result<(), Refusal> {
    let name = || definition.name.to_owned();
    if values.len() > 1 && !definition.repeated {
        return Err(Refusal::Repeated(name()));
    }
    let mut seen = BTreeSet::new();
    for value in values {
        let key = if definition.secret {
            value.split(' ').next().unwrap_or_default()
        } else {
            value
        };
        if !seen.insert(key) {
            let (name, value) = (name(), key.to_owned());
            return Err(Refusal::Twice { name, value });
        }
    }
    Ok(())
}
