//! The configuration file: read, and written so that at any moment it is the old one or the new one, whole.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use lunforge::pr::{Directory, OsDirectory};
use rustix::fs::FlockOperation;
use rustix::io::Errno;

/// Longest file that is read.
const MAX_LEN: u64 = 64 << 20;
/// How long another writer may take.
const TURN: Duration = Duration::from_secs(10);

/// Why a configuration is not read or not saved.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The system refuses.
    #[error("cannot {what} {path}: {source}")]
    System {
        /// What was tried.
        what: &'static str,
        /// With which file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A folder, a device, a link that leads nowhere.
    #[error("{0} is no file")]
    NoFile(PathBuf),
    /// More than is read.
    #[error("{0} is larger than a configuration may be (64 MiB)")]
    TooLong(PathBuf),
    /// It is no text.
    #[error("{path}: byte {at} is no UTF-8 text")]
    NoText {
        /// The file.
        path: PathBuf,
        /// The first wrong byte, from 0.
        at: usize,
    },
    /// A new file would be another user's.
    #[error("cannot keep {path} the file of user {user} and group {group}: {source}")]
    Owner {
        /// The file.
        path: PathBuf,
        /// Its owner's number.
        user: u32,
        /// Its group's.
        group: u32,
        /// Why not.
        source: io::Error,
    },
    /// Somebody else is saving.
    #[error("another process has locked {0}")]
    Locked(PathBuf),
}

/// A configuration file by its name, which may be a link.
#[derive(Debug, Clone)]
pub struct ConfigFile {
    path: PathBuf,
}

impl ConfigFile {
    /// The one at `path`.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// Its name.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The folder in which it is replaced: that to which a link leads.
    ///
    /// # Errors
    /// [`FileError`].
    pub fn folder(&self) -> Result<PathBuf, FileError> {
        Ok(self.place()?.0)
    }

    /// What it holds; `None` if there is no such file.
    ///
    /// # Errors
    /// [`FileError`].
    pub fn read(&self) -> Result<Option<String>, FileError> {
        let path = || self.path.clone();
        // A pipe in its place is refused below, and is not waited for here.
        let nonblocking = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
        let mut options = File::options();
        options.read(true).custom_flags(nonblocking);
        let file = match options.open(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other.map_err(self.system("open"))?,
        };
        if !file.metadata().map_err(self.system("look at"))?.is_file() {
            return Err(FileError::NoFile(path()));
        }
        let mut bytes = Vec::new();
        let mut limited = file.take(MAX_LEN + 1);
        limited
            .read_to_end(&mut bytes)
            .map_err(self.system("read"))?;
        if bytes.len() as u64 > MAX_LEN {
            return Err(FileError::TooLong(path()));
        }
        let text = String::from_utf8(bytes).map_err(|error| FileError::NoText {
            path: path(),
            at: error.utf8_error().valid_up_to(),
        })?;
        Ok(Some(text))
    }

    /// Writes `text` beside the file, durable, with the file's mode and owner. Waits a while for another writer.
    ///
    /// # Errors
    /// [`FileError`]; the file is as it was.
    pub fn stage(&self, text: &str) -> Result<Staged, FileError> {
        let (folder, name) = self.place()?;
        let lock = lock(&folder)?;
        let before = match fs::symlink_metadata(folder.join(&name)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            other => Some(other.map_err(self.system("look at"))?),
        };
        if before.as_ref().is_some_and(|metadata| !metadata.is_file()) {
            return Err(FileError::NoFile(self.path.clone()));
        }
        let staged = Staged {
            new: Replacement::new(OsDirectory::new(&folder), name),
            path: self.path.clone(),
            _lock: lock,
        };
        staged
            .new
            .write(text.as_bytes())
            .map_err(self.system("write beside"))?;
        if let Some(before) = before {
            self.dress(&folder.join(&staged.new.temporary), &before)?;
        }
        Ok(staged)
    }

    /// Gives the new file mode and owner of the one before.
    fn dress(&self, new: &Path, before: &Metadata) -> Result<(), FileError> {
        let file = OpenOptions::new().write(true).open(new);
        let file = file.map_err(self.system("write beside"))?;
        let now = file.metadata().map_err(self.system("look at"))?;
        let (user, group) = (before.uid(), before.gid());
        if (now.uid(), now.gid()) != (user, group) {
            std::os::unix::fs::fchown(&file, Some(user), Some(group)).map_err(|source| {
                FileError::Owner {
                    path: self.path.clone(),
                    user,
                    group,
                    source,
                }
            })?;
        }
        let mode = fs::Permissions::from_mode(before.mode() & 0o7777);
        let dressed = file.set_permissions(mode).and_then(|()| file.sync_all());
        dressed.map_err(self.system("protect what is beside"))
    }

    /// The folder and the name in it, of the file itself where this is a link.
    fn place(&self) -> Result<(PathBuf, String), FileError> {
        let no_file = || FileError::NoFile(self.path.clone());
        let real = match fs::canonicalize(&self.path) {
            Ok(real) => real,
            Err(error) if error.kind() == io::ErrorKind::NotFound && !self.path.is_symlink() => {
                let parent = self.path.parent().filter(|p| !p.as_os_str().is_empty());
                let parent = fs::canonicalize(parent.unwrap_or(Path::new(".")));
                let name = self.path.file_name().ok_or_else(no_file)?;
                parent.map_err(self.system("find"))?.join(name)
            }
            Err(error) => return Err(self.system("find")(error)),
        };
        let name = real.file_name().and_then(|name| name.to_str());
        let name = name.ok_or_else(no_file)?.to_owned();
        let folder = real.parent().ok_or_else(no_file)?;
        Ok((folder.to_owned(), name))
    }

    fn system(&self, what: &'static str) -> impl Fn(io::Error) -> FileError + '_ {
        move |source| FileError::System {
            what,
            path: self.path.clone(),
            source,
        }
    }
}

/// Locks a folder against other writers until the returned file is dropped.
fn lock(folder: &Path) -> Result<File, FileError> {
    let system = |what, source| FileError::System {
        what,
        path: folder.to_owned(),
        source,
    };
    let opened = File::open(folder).map_err(|error| system("open", error))?;
    let end = Instant::now() + TURN;
    loop {
        match rustix::fs::flock(&opened, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(opened),
            Err(Errno::WOULDBLOCK | Errno::INTR) if Instant::now() < end => {
                std::thread::sleep(Duration::from_millis(10));
            }
            Err(Errno::WOULDBLOCK) => return Err(FileError::Locked(folder.to_owned())),
            Err(errno) => return Err(system("lock", errno.into())),
        }
    }
}

/// A new configuration on the disk, not yet under its name. Dropped, it is forgotten.
#[derive(Debug)]
pub struct Staged {
    new: Replacement<OsDirectory>,
    path: PathBuf,
    _lock: File,
}

impl Staged {
    /// Gives it its name, for good.
    ///
    /// # Errors
    /// [`FileError`]; the file is as it was, or the new one of which a power cut may make the old one.
    pub fn commit(self) -> Result<(), FileError> {
        let path = self.path.clone();
        self.new.commit().map_err(|source| FileError::System {
            what: "replace",
            path,
            source,
        })
    }
}

/// A file on its way to a name, in steps of which each may be the last.
#[derive(Debug)]
struct Replacement<D: Directory> {
    directory: D,
    name: String,
    temporary: String,
}

impl<D: Directory> Replacement<D> {
    fn new(directory: D, name: String) -> Self {
        // Always the same: what a killed process left is used again.
        let temporary = format!(".{name}.new");
        Self {
            directory,
            name,
            temporary,
        }
    }

    fn write(&self, bytes: &[u8]) -> io::Result<()> {
        // Not through what somebody may have put there.
        self.directory.remove(&self.temporary)?;
        self.directory.write(&self.temporary, bytes)?;
        self.directory.sync_file(&self.temporary)
    }

    fn commit(self) -> io::Result<()> {
        self.directory.rename(&self.temporary, &self.name)?;
        self.directory.sync()
    }
}

impl<D: Directory> Drop for Replacement<D> {
    fn drop(&mut self) {
        // There is none after a commit; else the next one that is written takes its place.
        let _ = self.directory.remove(&self.temporary);
    }
}

#[cfg(test)]
mod tests;
