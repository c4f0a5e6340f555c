//! Where an object stands, written as SCST's sysfs does.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use super::Kind;

/// Longest name of an object in bytes: a name of iSCSI (RFC 7143 4.2.7.1) has 223, with a portal's address behind it.
const MAX_NAME: usize = 256;
/// Greatest LUN that SCST takes.
pub const MAX_LUN: u16 = 16_383;
/// How much of a wrong name is told.
const SHOWN: usize = 64;

/// Why a text is no path.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// There is nothing of this name here.
    #[error("{0:?} has no place in {1}")]
    Place(String, &'static str),
    /// A folder without a name behind it.
    #[error("a name is missing behind {0:?}")]
    Missing(String),
    /// A name that no object can have.
    #[error("{0:?} is no name: 1 to 256 bytes, without '/' and control characters")]
    Name(String),
    /// A LUN that is no number.
    #[error("{0:?} is no LUN: 0 to 16383")]
    Lun(String),
}

/// Tells the objects in one place apart. LUNs are ordered by number. A clone shares the name.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Key {
    kind: Kind,
    name: Arc<str>,
}

impl Key {
    /// # Errors
    /// [`PathError::Name`], [`PathError::Lun`].
    pub fn new(kind: Kind, name: impl AsRef<str>) -> Result<Self, PathError> {
        let name = name.as_ref();
        let shown = || name.chars().take(SHOWN).collect();
        if name.is_empty()
            || name.len() > MAX_NAME
            || name.chars().any(|c| c == '/' || c.is_control())
        {
            return Err(PathError::Name(shown()));
        }
        if kind == Kind::Lun {
            let number = name.parse::<u16>().ok().filter(|n| *n <= MAX_LUN);
            let number = number.ok_or_else(|| PathError::Lun(shown()))?;
            return Ok(Self::lun(number));
        }
        Ok(Self {
            kind,
            name: name.into(),
        })
    }

    /// That of a LUN.
    pub fn lun(number: u16) -> Self {
        Self {
            kind: Kind::Lun,
            name: number.to_string().into(),
        }
    }

    /// Less than every key of this kind, and greater than all of the kinds before.
    pub(super) fn least(kind: Kind) -> Self {
        Self {
            kind,
            name: Arc::default(),
        }
    }

    /// What it names.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The number of a LUN.
    pub fn number(&self) -> Option<u16> {
        (self.kind == Kind::Lun)
            .then(|| self.name.parse().ok())
            .flatten()
    }
}

impl Ord for Key {
    fn cmp(&self, other: &Self) -> Ordering {
        // LUNs are written without leading zeros: of two the shorter is smaller.
        let length = |key: &Self| (key.kind == Kind::Lun).then_some(key.name.len());
        (self.kind, length(self), &self.name).cmp(&(other.kind, length(other), &other.name))
    }
}

impl PartialOrd for Key {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// The keys from the root to an object; the root's own is empty.
///
/// As text it is what SCST's sysfs has: `targets/iscsi/iqn.2026-11.org.example:a/ini_groups/hosts/luns/0`.
///
/// A large configuration has each of its paths in many places, for some only as long as it is loaded: a clone allocates
/// nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Path(Arc<[Key]>);

impl Path {
    /// That of the root.
    pub fn root() -> Self {
        Self::default()
    }

    /// That of a device.
    ///
    /// # Errors
    /// [`PathError::Name`].
    pub fn device(name: &str) -> Result<Self, PathError> {
        Self::root().child(Kind::Device, name)
    }

    /// That of a target.
    ///
    /// # Errors
    /// [`PathError::Name`].
    pub fn target(driver: &str, name: &str) -> Result<Self, PathError> {
        Self::root()
            .child(Kind::Driver, driver)?
            .child(Kind::Target, name)
    }

    /// That of an object in this one. It is not checked that one of this kind may stand here.
    ///
    /// # Errors
    /// [`PathError::Name`], [`PathError::Lun`].
    pub fn child(&self, kind: Kind, name: impl AsRef<str>) -> Result<Self, PathError> {
        Ok(self.with(Key::new(kind, name)?))
    }

    /// That of the object of this key in this one.
    #[must_use]
    pub fn with(&self, key: Key) -> Self {
        Self(self.0.iter().cloned().chain([key]).collect())
    }

    /// From the root on.
    pub fn keys(&self) -> &[Key] {
        &self.0
    }

    /// What kind of object it leads to.
    pub fn kind(&self) -> Kind {
        self.0.last().map_or(Kind::Root, Key::kind)
    }

    /// The object's name; empty for the root.
    pub fn name(&self) -> &str {
        self.0.last().map_or("", Key::name)
    }

    /// The place of the object that this one stands in, and the key in it; `None` for the root.
    pub fn split(&self) -> Option<(Self, &Key)> {
        let (last, before) = self.0.split_last()?;
        Some((Self(before.into()), last))
    }

    /// The name of the object of this kind that it leads through or to.
    pub fn name_of(&self, kind: Kind) -> Option<&str> {
        let key = self.0.iter().find(|key| key.kind == kind)?;
        Some(key.name())
    }

    /// The part that leads to the object of this kind, if it leads through or to one.
    pub fn up_to(&self, kind: Kind) -> Option<Self> {
        let at = self.0.iter().position(|key| key.kind == kind)?;
        Some(Self(self.0.iter().take(at + 1).cloned().collect()))
    }

    /// Whether it leads to an object inside of the one at `other`, or to that one.
    pub fn is_within(&self, other: &Self) -> bool {
        self.0.starts_with(&other.0)
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut between = "";
        for key in &*self.0 {
            f.write_str(between)?;
            between = "/";
            if let Some(folder) = key.kind.folder() {
                write!(f, "{folder}/")?;
            }
            f.write_str(&key.name)?;
        }
        Ok(())
    }
}

impl FromStr for Path {
    type Err = PathError;

    /// Slashes at both ends do no harm; `handlers/H/DEVICE` is taken for `devices/DEVICE`, which it is a link to in SCST.
    fn from_str(text: &str) -> Result<Self, PathError> {
        let mut path = Self::root();
        let mut words = text.split('/').filter(|word| !word.is_empty()).peekable();
        while let Some(word) = words.next() {
            let here = path.kind();
            if here == Kind::Handler {
                path = Self::device(word)?;
                continue;
            }
            let place =
                |word: &str| PathError::Place(word.chars().take(SHOWN).collect(), here.title());
            let mut kinds = here.children().iter().copied();
            let (kind, name) = match kinds.clone().find(|kind| kind.folder() == Some(word)) {
                Some(kind) => {
                    let name = words
                        .next()
                        .ok_or_else(|| PathError::Missing(word.to_owned()))?;
                    (kind, name)
                }
                None => {
                    let direct = kinds.find(|kind| kind.folder().is_none());
                    (direct.ok_or_else(|| place(word))?, word)
                }
            };
            path = path.child(kind, name)?;
        }
        Ok(path)
    }
}

impl serde::Serialize for Path {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for Path {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_written_as_sysfs_has_them_and_read_back() {
        for text in [
            "",
            "handlers/vdisk_fileio",
            "devices/disk1",
            "targets/iscsi",
            "targets/iscsi/iqn.2026-11.org.example:a",
            "targets/iscsi/iqn.2026-11.org.example:a/luns/0",
            "targets/iscsi/iqn.2026-11.org.example:a/ini_groups/hosts/luns/12",
            "targets/iscsi/iqn.2026-11.org.example:a/ini_groups/hosts/initiators/iqn.*",
            "device_groups/esos/devices/vg1",
            "device_groups/esos/target_groups/local/iqn.2026-11.org.example:a",
        ] {
            let path: Path = text.parse().unwrap();
            assert_eq!(path.to_string(), text);
        }
    }

    #[test]
    fn a_device_is_found_through_its_handler_too() {
        let path: Path = "/handlers/vdisk_fileio/disk1/".parse().unwrap();
        assert_eq!(path, Path::device("disk1").unwrap());
    }

    #[test]
    fn what_has_no_place_is_named() {
        let refusal = |text: &str| text.parse::<Path>().unwrap_err().to_string();
        assert_eq!(
            refusal("nowhere/x"),
            "\"nowhere\" has no place in the target system"
        );
        assert_eq!(refusal("devices/a/b"), "\"b\" has no place in device");
        assert_eq!(refusal("devices"), "a name is missing behind \"devices\"");
        assert_eq!(
            refusal("targets/iscsi/a/luns/x"),
            "\"x\" is no LUN: 0 to 16383"
        );
    }

    #[test]
    fn luns_are_ordered_by_number_and_written_in_one_way() {
        assert!(Key::lun(2) < Key::lun(10));
        assert_eq!(Key::new(Kind::Lun, "007").unwrap(), Key::lun(7));
        assert!(Key::new(Kind::Lun, "16384").is_err());
    }
}
