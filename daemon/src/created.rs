//! What an export makes before it serves.

use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use anyhow::Context;
use lunforge_daemon::confine::User;

use crate::state::{State, give, give_folder};

/// Files and folders made for this export; they go again if it does not come about.
#[derive(Default)]
pub(crate) struct Created {
    files: Vec<PathBuf>,
    folders: Vec<PathBuf>,
    state_folder: Option<PathBuf>,
}

impl Created {
    /// Makes a file of `size` bytes that nobody but its owner has access to.
    pub(crate) fn file(
        &mut self,
        path: &Path,
        size: u64,
        user: Option<&User>,
    ) -> anyhow::Result<()> {
        let shown = path.display();
        let file = std::fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path);
        let file = file.with_context(|| format!("cannot create {shown}"))?;
        self.files.push(path.to_owned());
        give(&file, path, user)?;
        file.set_len(size)
            .with_context(|| format!("cannot make {shown} {size} bytes long"))
    }

    /// Remembers a folder that was made for the state.
    pub(crate) fn state_folder(&mut self, path: &Path) {
        self.state_folder = Some(path.to_owned());
    }

    /// Makes a folder that nobody but its owner has access to, if it is missing.
    pub(crate) fn folder(&mut self, path: &Path, user: Option<&User>) -> anyhow::Result<()> {
        let shown = path.display();
        match std::fs::DirBuilder::new().mode(0o700).create(path) {
            Ok(()) => self.folders.push(path.to_owned()),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists && path.is_dir() => {
                return Ok(());
            }
            Err(error) => return Err(error).with_context(|| format!("cannot create {shown}")),
        }
        give_folder(path, user)
    }

    /// All went well: nothing is removed.
    pub(crate) fn keep(mut self) {
        self.files.clear();
        self.folders.clear();
        self.state_folder = None;
    }
}

impl Drop for Created {
    fn drop(&mut self) {
        for path in &self.files {
            // The error that brought us here is the one to report.
            let _ = std::fs::remove_file(path);
        }
        for path in &self.folders {
            let _ = std::fs::remove_dir(path);
        }
        if let Some(folder) = &self.state_folder {
            State::unmake(folder);
        }
    }
}
