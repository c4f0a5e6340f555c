//! Saves that end before their time, and what is to stay as it was.

use std::collections::BTreeMap;
use std::os::unix::fs::symlink;
use std::sync::{Arc, Mutex};

use super::*;

/// A directory of which every step may be the last. Content that was not synced is there in part or not at all; names
/// that were not synced are the old or the new ones.
#[derive(Clone, Default)]
struct Fragile(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    /// Content of each file ever made, and whether it is durable.
    files: Vec<(Vec<u8>, bool)>,
    /// Every set of names since the last sync, the durable one first and the present one last.
    names: Vec<BTreeMap<String, usize>>,
    /// Steps left before each further one fails.
    left: usize,
}

impl Fragile {
    fn with(name: &str, content: &[u8], left: usize) -> Self {
        Self(Arc::new(Mutex::new(Inner {
            files: vec![(content.to_vec(), true)],
            names: vec![[(name.to_owned(), 0)].into()],
            left,
        })))
    }

    fn step(&self) -> io::Result<std::sync::MutexGuard<'_, Inner>> {
        let mut inner = self.0.lock().unwrap();
        inner.left = inner.left.checked_sub(1).ok_or(io::ErrorKind::Other)?;
        Ok(inner)
    }

    /// What the file may hold after the power failed now.
    fn after(&self, name: &str) -> Vec<Option<Vec<u8>>> {
        let inner = self.0.lock().unwrap();
        let mut all = Vec::new();
        for names in &inner.names {
            let Some(file) = names.get(name) else {
                all.push(None);
                continue;
            };
            let (content, durable) = &inner.files[*file];
            let parts = if *durable { 4..=4 } else { 0..=4 };
            all.extend(parts.map(|part| Some(content[..content.len() * part / 4].to_vec())));
        }
        all
    }
}

impl Inner {
    fn change(&mut self, change: impl FnOnce(&mut BTreeMap<String, usize>)) {
        let mut names = self.names.last().unwrap().clone();
        change(&mut names);
        self.names.push(names);
    }
}

impl Directory for Fragile {
    fn write(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let failed = self.step().is_err();
        let mut inner = self.0.lock().unwrap();
        let file = inner.files.len();
        let len = if failed { bytes.len() / 2 } else { bytes.len() };
        inner.files.push((bytes[..len].to_vec(), false));
        inner.change(|names| {
            names.insert(name.to_owned(), file);
        });
        if failed {
            Err(io::ErrorKind::StorageFull.into())
        } else {
            Ok(())
        }
    }

    fn sync_file(&self, name: &str) -> io::Result<()> {
        let mut inner = self.step()?;
        let file = inner.names.last().unwrap()[name];
        inner.files[file].1 = true;
        Ok(())
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.step()?.change(|names| {
            let file = names.remove(from).unwrap();
            names.insert(to.to_owned(), file);
        });
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.step()?.change(|names| {
            names.remove(name);
        });
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut inner = self.step()?;
        let last = inner.names.pop().unwrap();
        inner.names = vec![last];
        Ok(())
    }

    fn read(&self, name: &str, _: usize) -> io::Result<Option<Vec<u8>>> {
        Ok(self.after(name).pop().flatten())
    }

    fn path(&self, name: &str) -> String {
        name.to_owned()
    }
}

fn replace(directory: Fragile, text: &[u8]) -> io::Result<()> {
    let new = Replacement::new(directory, "scst.conf".to_owned());
    new.write(text)?;
    new.commit()
}

#[test]
fn n57_a_save_that_ends_at_any_step_leaves_the_old_or_the_new_file() {
    let (old, new) = (b"the old one".to_vec(), b"the new one, longer".to_vec());
    let mut done = 0;
    for left in 0..10 {
        let directory = Fragile::with("scst.conf", &old, left);
        let result = replace(directory.clone(), &new);
        let after = directory.after("scst.conf");
        if result.is_ok() {
            done += 1;
            assert!(after.iter().all(|file| *file == Some(new.clone())));
        } else {
            let whole =
                |file: &Option<Vec<u8>>| *file == Some(old.clone()) || *file == Some(new.clone());
            assert!(after.iter().all(whole), "after {left} steps: {after:?}");
        }
    }
    // Five steps, each of which was the first to fail once.
    assert_eq!(done, 5);
}

fn place() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("scst.conf");
    fs::write(&path, "old").unwrap();
    (dir, path)
}

fn save(path: &Path, text: &str) -> Result<(), FileError> {
    ConfigFile::new(path).stage(text)?.commit()
}

fn entries(dir: &Path) -> usize {
    fs::read_dir(dir).unwrap().count()
}

#[test]
fn the_mode_is_kept_and_a_new_file_is_its_owner_s_alone() {
    let (dir, path) = place();
    for mode in [0o640, 0o400, 0o666] {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        save(&path, "new").unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, mode);
    }
    let fresh = dir.path().join("fresh.conf");
    save(&fresh, "text").unwrap();
    assert_eq!(fs::metadata(&fresh).unwrap().mode() & 0o777, 0o600);
    assert_eq!(entries(dir.path()), 2);
}

#[test]
fn the_owner_is_kept() {
    let (_dir, path) = place();
    if !rustix::process::geteuid().is_root() {
        return;
    }
    std::os::unix::fs::chown(&path, Some(65_534), Some(7)).unwrap();
    save(&path, "new").unwrap();
    let metadata = fs::metadata(&path).unwrap();
    assert_eq!((metadata.uid(), metadata.gid()), (65_534, 7));
}

#[test]
fn a_link_stays_and_its_file_is_replaced() {
    let (dir, path) = place();
    let elsewhere = tempfile::tempdir().unwrap();
    let link = elsewhere.path().join("link.conf");
    symlink(&path, &link).unwrap();
    save(&link, "new").unwrap();
    assert!(link.is_symlink());
    assert_eq!(fs::read_to_string(&path).unwrap(), "new");
    assert_eq!((entries(dir.path()), entries(elsewhere.path())), (1, 1));
    assert_eq!(
        ConfigFile::new(&link).folder().unwrap(),
        fs::canonicalize(dir.path()).unwrap()
    );
}

#[test]
fn a_link_that_leads_nowhere_and_what_is_no_file_are_refused() {
    let (dir, _) = place();
    let link = dir.path().join("link.conf");
    symlink(dir.path().join("nothing"), &link).unwrap();
    assert!(save(&link, "new").is_err());
    assert!(link.is_symlink() && !dir.path().join("nothing").exists());
    let folder = dir.path().join("folder");
    fs::create_dir(&folder).unwrap();
    assert!(matches!(save(&folder, "new"), Err(FileError::NoFile(_))));
    assert!(matches!(
        ConfigFile::new(&folder).read(),
        Err(FileError::NoFile(_))
    ));
}

#[test]
fn what_lies_under_the_temporary_name_is_not_written_through() {
    let (dir, path) = place();
    let victim = dir.path().join("victim");
    fs::write(&victim, "precious").unwrap();
    symlink(&victim, dir.path().join(".scst.conf.new")).unwrap();
    save(&path, "new").unwrap();
    assert_eq!(fs::read_to_string(&victim).unwrap(), "precious");
    assert_eq!(fs::read_to_string(&path).unwrap(), "new");
}

#[test]
fn what_is_staged_and_not_committed_leaves_nothing() {
    let (dir, path) = place();
    drop(ConfigFile::new(&path).stage("new").unwrap());
    assert_eq!(fs::read_to_string(&path).unwrap(), "old");
    assert_eq!(entries(dir.path()), 1);
}

#[test]
fn n57_one_writes_at_a_time() {
    let (_dir, path) = place();
    let first = ConfigFile::new(&path).stage("first").unwrap();
    let second = {
        let path = path.clone();
        std::thread::spawn(move || save(&path, "second"))
    };
    std::thread::sleep(Duration::from_millis(100));
    assert!(!second.is_finished());
    first.commit().unwrap();
    second.join().unwrap().unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), "second");
}

#[test]
fn a_file_is_read_or_told_why_not() {
    let (dir, path) = place();
    let read = |path: &Path| ConfigFile::new(path).read();
    assert_eq!(read(&path).unwrap().as_deref(), Some("old"));
    assert_eq!(read(&dir.path().join("missing")).unwrap(), None);
    fs::write(&path, b"ok \xff").unwrap();
    assert!(matches!(read(&path), Err(FileError::NoText { at: 3, .. })));
}
