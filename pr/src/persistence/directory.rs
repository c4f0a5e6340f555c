//! The few steps on a file system that a store consists of, each of which a crash may follow.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// A directory, by names in it. All calls block.
pub trait Directory: Send + Sync + 'static {
    /// Creates or empties a file and writes `bytes`. Neither the file nor its name is durable yet.
    ///
    /// # Errors
    /// Of the file system.
    fn write(&self, name: &str, bytes: &[u8]) -> io::Result<()>;

    /// Makes the content of a file durable.
    ///
    /// # Errors
    /// Of the file system.
    fn sync_file(&self, name: &str) -> io::Result<()>;

    /// Gives a file another name, in place of what has that name.
    ///
    /// # Errors
    /// Of the file system.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a file; that there is none is no error.
    ///
    /// # Errors
    /// Of the file system.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Makes the names durable.
    ///
    /// # Errors
    /// Of the file system.
    fn sync(&self) -> io::Result<()>;

    /// The content of a file, at most `limit` bytes; `None` if there is no such file.
    ///
    /// # Errors
    /// Of the file system.
    fn read(&self, name: &str, limit: usize) -> io::Result<Option<Vec<u8>>>;

    /// The path of a file, for messages.
    fn path(&self, name: &str) -> String;
}

/// A directory of the operating system.
#[derive(Clone, Debug)]
pub struct OsDirectory(PathBuf);

impl OsDirectory {
    /// The directory at `path`; it is to exist.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// The directory itself: the parent of a bare file name is an empty path.
    fn here(&self) -> &Path {
        if self.0.as_os_str().is_empty() {
            Path::new(".")
        } else {
            &self.0
        }
    }
}

impl Directory for OsDirectory {
    fn write(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        // Keys let an initiator take a disk over: nobody else is to read them.
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(self.file(name))?;
        file.write_all(bytes)
    }

    fn sync_file(&self, name: &str) -> io::Result<()> {
        OpenOptions::new()
            .write(true)
            .open(self.file(name))?
            .sync_all()
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.file(from), self.file(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        match fs::remove_file(self.file(name)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }

    fn sync(&self) -> io::Result<()> {
        File::open(self.here())?.sync_all()
    }

    fn read(&self, name: &str, limit: usize) -> io::Result<Option<Vec<u8>>> {
        let file = match File::open(self.file(name)) {
            // A directory that is not there, maybe not mounted, is not one without the file.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return File::open(self.here()).map(|_| None);
            }
            other => other?,
        };
        let mut bytes = Vec::new();
        let limit = u64::try_from(limit).unwrap_or(u64::MAX);
        file.take(limit).read_to_end(&mut bytes)?;
        Ok(Some(bytes))
    }

    fn path(&self, name: &str) -> String {
        self.file(name).display().to_string()
    }
}
