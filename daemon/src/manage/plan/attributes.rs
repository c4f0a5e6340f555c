//! Which attributes of an object change.

use std::collections::HashSet;

use crate::control::protocol::Mode;
use crate::schema::{self, Attribute};
use crate::tree::{Object, Path};

/// An attribute and the values that it shall have; none: its default.
pub(super) type Changed = (&'static str, Vec<String>);

/// The attributes that change, and the names of those that stay though the configuration does not have them, or not with
/// all their values.
pub(super) fn wanted(
    path: &Path,
    there: &Object,
    wanted: &Object,
    mode: Mode,
) -> (Vec<Changed>, Vec<&'static str>) {
    let family = crate::manage::model::family(path, &wanted.attributes);
    let (mut changed, mut stay) = (Vec::new(), Vec::new());
    for definition in schema::attributes(path.kind(), family) {
        let name = definition.name;
        let have = there.attributes.get(name).map_or(&[][..], Vec::as_slice);
        let want = match (wanted.attributes.get(name), mode) {
            (None, Mode::Merge) => {
                if !have.is_empty() {
                    stay.push(name);
                }
                continue;
            }
            (None, Mode::Replace) => Vec::new(),
            (Some(values), _) if definition.is_default(values) => Vec::new(),
            (Some(values), Mode::Merge) if definition.repeated => {
                let all = union(definition, values, have);
                if all.len() > values.len() {
                    stay.push(name);
                }
                all
            }
            (Some(values), _) => values.clone(),
        };
        if want != have {
            changed.push((name, want));
        }
    }
    (changed, stay)
}

/// The values of the configuration, and those that are there beside them. An account is replaced by one of its name.
fn union(definition: &Attribute, values: &[String], have: &[String]) -> Vec<String> {
    let key = |value: &String| {
        let name = definition.secret.then(|| value.split_once(' ')).flatten();
        name.map_or_else(|| value.clone(), |(name, _)| name.to_owned())
    };
    let named: HashSet<_> = values.iter().map(key).collect();
    let others = have.iter().filter(|have| !named.contains(&key(have)));
    values.iter().chain(others).cloned().collect()
}
