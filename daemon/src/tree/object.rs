//! Objects and the tree of them.

use std::collections::BTreeMap;

use super::{Key, Kind, Path};

/// What an object was given, by name. An attribute that may be repeated has several values; one that was not given is
/// not there, and has its default.
pub type Attributes = BTreeMap<String, Vec<String>>;

/// An object with all that stands in it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Object {
    /// What it was given.
    pub attributes: Attributes,
    children: BTreeMap<Key, Object>,
    /// The initiator groups among them, in the order in which they are asked.
    groups: Vec<Key>,
}

impl Object {
    /// One of these attributes, with nothing in it.
    pub fn new(attributes: Attributes) -> Self {
        Self {
            attributes,
            ..Self::default()
        }
    }

    /// The first value of an attribute, if one was given.
    pub fn first(&self, attribute: &str) -> Option<&str> {
        let values = self.attributes.get(attribute)?;
        values.first().map(String::as_str)
    }

    /// What stands in it, by kind and name; initiator groups in the order in which they are asked.
    pub fn children(&self) -> impl Iterator<Item = (&Key, &Object)> {
        let first = Key::least(Kind::Group);
        let before = self.children.range(..first);
        let behind = self.children.range(Key::least(Kind::Lun)..);
        before.chain(self.groups()).chain(behind)
    }

    /// What of one kind stands in it, in the order of [`Object::children`].
    pub fn of(&self, kind: Kind) -> impl Iterator<Item = (&Key, &Object)> {
        let groups = (kind == Kind::Group).then(|| self.groups());
        let others = (kind != Kind::Group).then(|| {
            self.children
                .range(Key::least(kind)..)
                .take_while(move |(key, _)| key.kind() == kind)
        });
        groups
            .into_iter()
            .flatten()
            .chain(others.into_iter().flatten())
    }

    fn groups(&self) -> impl Iterator<Item = (&Key, &Object)> {
        let groups = self.groups.iter();
        groups.filter_map(|key| Some((key, self.children.get(key)?)))
    }

    /// Whether nothing stands in it.
    pub fn is_leaf(&self) -> bool {
        self.children.is_empty()
    }

    /// The object of this key in it.
    pub fn child(&self, key: &Key) -> Option<&Object> {
        self.children.get(key)
    }

    /// Puts an object into it, an initiator group behind the others; returns the one that had this key, whose place it has.
    pub fn insert(&mut self, key: Key, object: Object) -> Option<Object> {
        let group = (key.kind() == Kind::Group).then(|| key.clone());
        let before = self.children.insert(key, object);
        if before.is_none() {
            self.groups.extend(group);
        }
        before
    }

    /// Takes an object out of it.
    pub fn remove(&mut self, key: &Key) -> Option<Object> {
        let object = self.children.remove(key)?;
        let place = (key.kind() == Kind::Group).then(|| self.groups.iter().position(|k| k == key));
        if let Some(place) = place.flatten() {
            self.groups.remove(place);
        }
        Some(object)
    }

    /// The initiator group behind this one.
    pub fn group_behind(&self, key: &Key) -> Option<&Key> {
        let mut groups = self.groups.iter().skip_while(|group| *group != key);
        groups.nth(1)
    }

    /// Puts an initiator group before another one in the order in which they are asked, or behind all.
    pub fn place_group(&mut self, key: &Key, before: Option<&Key>) {
        if before == Some(key) || !self.groups.contains(key) {
            return;
        }
        self.groups.retain(|group| group != key);
        let at = self.groups.iter().position(|group| Some(group) == before);
        let at = at.unwrap_or(self.groups.len());
        self.groups.insert(at, key.clone());
    }

    fn child_mut(&mut self, key: &Key) -> Option<&mut Object> {
        self.children.get_mut(key)
    }
}

/// All objects. The root is always there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tree {
    root: Object,
}

impl Tree {
    /// The root.
    pub fn root(&self) -> &Object {
        &self.root
    }

    /// The object at `path`.
    pub fn get(&self, path: &Path) -> Option<&Object> {
        path.keys()
            .iter()
            .try_fold(&self.root, |object, key| object.child(key))
    }

    /// As [`Tree::get`].
    pub fn get_mut(&mut self, path: &Path) -> Option<&mut Object> {
        path.keys()
            .iter()
            .try_fold(&mut self.root, |object, key| object.child_mut(key))
    }

    /// Every object with its path, each before what stands in it, in the order of [`Object::children`].
    pub fn walk(&self, mut see: impl FnMut(&Path, &Object)) {
        fn walk(path: &Path, object: &Object, see: &mut impl FnMut(&Path, &Object)) {
            see(path, object);
            for (key, child) in object.children() {
                walk(&path.with(key.clone()), child, see);
            }
        }
        walk(&Path::root(), &self.root, &mut see);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(kind: Kind, name: &str) -> Key {
        Key::new(kind, name).unwrap()
    }

    #[test]
    fn the_children_of_a_kind_are_those_and_in_order() {
        let mut target = Object::default();
        for (kind, name) in [
            (Kind::Group, "b"),
            (Kind::Lun, "10"),
            (Kind::Group, "a"),
            (Kind::Lun, "9"),
        ] {
            target.insert(key(kind, name), Object::default());
        }
        let names = |kind| -> Vec<_> {
            target
                .of(kind)
                .map(|(key, _)| key.name().to_owned())
                .collect()
        };
        assert_eq!(names(Kind::Lun), ["9", "10"]);
        assert_eq!(names(Kind::Group), ["b", "a"]);
        assert!(names(Kind::Initiator).is_empty());
        let all: Vec<_> = target.children().map(|(key, _)| key.name()).collect();
        assert_eq!(all, ["b", "a", "9", "10"]);
    }

    #[test]
    fn groups_stand_in_the_order_in_which_they_came_until_they_are_placed() {
        let group = |name| key(Kind::Group, name);
        let mut target = Object::default();
        for name in ["c", "a", "b"] {
            target.insert(group(name), Object::default());
        }
        let names = |target: &Object| -> String {
            target.of(Kind::Group).map(|(key, _)| key.name()).collect()
        };
        assert_eq!(names(&target), "cab");
        assert_eq!(target.group_behind(&group("c")), Some(&group("a")));
        assert_eq!(target.group_behind(&group("b")), None);
        // One in place of another of its name.
        target.insert(group("a"), Object::default());
        assert_eq!(names(&target), "cab");
        let other = target.clone();
        target.place_group(&group("b"), Some(&group("c")));
        assert_eq!(names(&target), "bca");
        assert_ne!(target, other);
        target.place_group(&group("b"), Some(&group("b")));
        target.place_group(&group("x"), Some(&group("b")));
        assert_eq!(names(&target), "bca");
        target.place_group(&group("b"), None);
        assert_eq!(names(&target), "cab");
        target.remove(&group("a"));
        assert_eq!(names(&target), "cb");
    }

    #[test]
    fn an_object_is_found_by_its_path_and_walked_over_after_its_parent() {
        let mut tree = Tree::default();
        let mut driver = Object::default();
        driver.insert(key(Kind::Target, "t"), Object::default());
        tree.get_mut(&Path::root())
            .unwrap()
            .insert(key(Kind::Driver, "iscsi"), driver);
        assert!(tree.get(&"targets/iscsi/t".parse().unwrap()).is_some());
        assert!(tree.get(&"targets/iscsi/u".parse().unwrap()).is_none());
        let mut seen = Vec::new();
        tree.walk(|path, _| seen.push(path.to_string()));
        assert_eq!(seen, ["", "targets/iscsi", "targets/iscsi/t"]);
    }
}
