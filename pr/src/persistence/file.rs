//! A state in a file of its own.

use std::io;
use std::path::Path;

use super::directory::{Directory, OsDirectory};
use super::format::{self, Damage, MAX_LEN};
use super::{Persistence, PersistenceError};
use crate::state::State;

/// Keeps the state of one unit in a file: APTPL is accepted, and on disk before GOOD.
///
/// A state is written beside the file, made durable, and takes its name: at any moment the file is whole. While APTPL
/// is zero there is no file.
#[derive(Debug)]
pub struct FileStore<D = OsDirectory> {
    directory: D,
    name: String,
}

impl FileStore {
    /// A store in the file at `path`, whose directory exists and belongs to one process.
    ///
    /// # Errors
    /// A path without a file name, or with one that is not UTF-8.
    pub fn new(path: impl AsRef<Path>) -> io::Result<Self> {
        let path = path.as_ref();
        let no_name = || io::Error::new(io::ErrorKind::InvalidInput, "not the path of a file");
        let name = path.file_name().and_then(|name| name.to_str());
        let name = name.ok_or_else(no_name)?;
        let directory = OsDirectory::new(path.parent().unwrap_or(Path::new("")));
        Ok(Self::within(directory, name))
    }
}

impl<D: Directory> FileStore<D> {
    /// A store in the file `name` of `directory`.
    pub fn within(directory: D, name: impl Into<String>) -> Self {
        let name = name.into();
        Self { directory, name }
    }

    /// Says which file an error is about.
    fn at<T>(&self, name: &str, result: io::Result<T>) -> Result<T, PersistenceError> {
        let path = || self.directory.path(name);
        result.map_err(|source| PersistenceError::Io {
            path: path(),
            source,
        })
    }

    fn write(&self, state: &State) -> Result<(), PersistenceError> {
        let new = format!("{}.new", self.name);
        self.at(&new, self.directory.write(&new, &format::encode(state)))?;
        self.at(&new, self.directory.sync_file(&new))?;
        self.at(&self.name, self.directory.rename(&new, &self.name))
    }
}

impl<D: Directory> Persistence for FileStore<D> {
    fn capable(&self) -> bool {
        true
    }

    fn store(&self, state: &State) -> Result<(), PersistenceError> {
        if state.aptpl() {
            self.write(state)?;
        } else {
            self.at(&self.name, self.directory.remove(&self.name))?;
        }
        self.at(&self.name, self.directory.sync())
    }

    fn load(&self) -> Result<Option<State>, PersistenceError> {
        let read = self.directory.read(&self.name, MAX_LEN + 1);
        let Some(file) = self.at(&self.name, read)? else {
            return Ok(None);
        };
        let state = if file.len() > MAX_LEN {
            Err(Damage::Length { len: file.len() })
        } else {
            format::decode(&file)
        };
        state.map(Some).map_err(|source| PersistenceError::Damaged {
            path: self.directory.path(&self.name),
            source,
        })
    }

    fn set_aside(&self) -> Result<(), PersistenceError> {
        let aside = format!("{}.damaged", self.name);
        self.at(&aside, self.directory.rename(&self.name, &aside))?;
        self.at(&aside, self.directory.sync())
    }
}
