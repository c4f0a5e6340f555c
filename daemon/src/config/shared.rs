//! Devices over one file.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path as FilePath, PathBuf};

use crate::manage::Model;
use crate::tree::{Kind, Object, Path};

/// What tells files apart, whatever their names are.
#[derive(Debug, PartialEq, Eq, Hash)]
enum Medium {
    Device(u64),
    File(u64, u64),
    /// It is not there, or not to be seen.
    Name(PathBuf),
}

impl Medium {
    fn at(path: &FilePath) -> Self {
        match fs::metadata(path) {
            Ok(meta) if meta.file_type().is_block_device() => Self::Device(meta.rdev()),
            Ok(meta) => Self::File(meta.dev(), meta.ino()),
            Err(_) => Self::Name(path.components().collect()),
        }
    }
}

/// Why two devices cannot both be opened: they have one file, and one of them writes to it. Looks at the files, and opens
/// none. Devices that are not open, or not always, are left out.
pub fn shared_file(model: &Model) -> Option<String> {
    let mut open: HashMap<Medium, (&str, bool)> = HashMap::new();
    for (key, device) in model.tree().root().of(Kind::Device) {
        let path = Path::root().with(key.clone());
        let Some(file) = device.first("filename").filter(|file| !file.is_empty()) else {
            continue;
        };
        if model.value(&path, "active").as_deref() == Some("0") || stands_by(model, &path) {
            continue;
        }
        let writes = writes(device);
        let medium = Medium::at(FilePath::new(file));
        match open.get(&medium) {
            Some((other, others)) if writes || *others => {
                return Some(format!(
                    "devices/{other} and devices/{} have one file, {file}: only devices that do not write may share one",
                    key.name()
                ));
            }
            Some(_) => {}
            None => {
                open.insert(medium, (key.name(), writes));
            }
        }
    }
    None
}

fn writes(device: &Object) -> bool {
    device.first("handler") != Some("vcdrom") && device.first("read_only") != Some("1")
}

/// Whether access states may have it closed.
fn stands_by(model: &Model, device: &Path) -> bool {
    let in_group = |user: &Path| user.kind() == Kind::GroupDevice;
    model.value(device, "bind_alua_state").as_deref() == Some("1")
        && model.users(device.name()).any(in_group)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::paper::Paper;
    use crate::control::protocol::Mode;
    use crate::manage::{Manager, plan};
    use crate::tree::Tree;

    /// What is said of file disks in which these lines stand.
    fn said(devices: &[String]) -> Option<String> {
        let section = |(at, body): (usize, &String)| format!("DEVICE d{at} {{\n{body}\n}}\n");
        let sections: String = devices.iter().enumerate().map(section).collect();
        let text = format!("HANDLER vdisk_fileio {{\n{sections}}}\n");
        let tree = crate::config::load(text, &Tree::default()).unwrap();
        let plan = plan(&Model::new(), &tree, Mode::Replace);
        let mut manager = Manager::new(Model::new(), Paper::default());
        manager.run(&plan.changes).unwrap();
        shared_file(manager.model())
    }

    #[test]
    fn two_devices_that_write_to_one_file_are_told_by_name() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
        fs::write(at("a"), []).unwrap();
        std::os::unix::fs::symlink(at("a"), at("link")).unwrap();
        let disk = |name: &str, more: &str| format!("filename {}\n{more}", at(name));
        let why = said(&[disk("a", ""), disk("link", "read_only 1")]).unwrap();
        assert!(
            why.starts_with("devices/d0 and devices/d1 have one file"),
            "{why}"
        );
        assert!(said(&[disk("new", ""), disk("new", "")]).is_some());
        for fine in [
            [disk("a", ""), disk("new", "")],
            [disk("a", "read_only 1"), disk("link", "read_only 1")],
            [disk("a", ""), disk("link", "active 0")],
        ] {
            assert_eq!(said(&fine), None);
        }
    }
}
