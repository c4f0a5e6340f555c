//! Least privilege: what the process gives up before it takes the first connection.
//!
//! ```text
//!   core_dumps::forbid      before a secret is read
//!   ports bound, files opened, rings made
//!   no_new_privs            always
//!   User::become_it         --user: groups, gid, uid, capabilities   | rights::give_up: capabilities of root
//!   Reach::confine          Landlock (files, TCP, signals), then seccomp
//!   RDMA listeners opened   those that were opened before would be of other rights: see Reach::rdma
//!   threads start           and inherit all of it
//! ```
//!
//! Landlock and the change of user act on the calling thread and on those that it starts: call from the main thread
//! before there are others. Nothing here can be undone by the process.

pub mod core_dumps;
mod files;
mod filter;
mod rights;
mod syscalls;
mod user;

use std::path::PathBuf;

pub use rights::{RightsError, give_up, no_new_privileges};
pub use user::{User, UserError};

/// How much confinement there has to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// What the kernel offers; the rest is reported.
    #[default]
    Auto,
    /// All of it, or nothing is served.
    Require,
    /// None.
    Off,
}

/// Why the process cannot be confined.
#[derive(Debug, thiserror::Error)]
pub enum ConfineError {
    /// A file that is to stay within reach cannot be found.
    #[error("cannot allow {path}: {source}")]
    Path {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: landlock::PathFdError,
    },
    /// Landlock refuses.
    #[error("Landlock: {0}")]
    Landlock(#[from] landlock::RulesetError),
    /// The system call filter cannot be made for this processor, or is refused.
    #[error("seccomp: {0}")]
    Seccomp(String),
    /// Something could not be had and was required.
    #[error("the process cannot be confined as required: {0}")]
    Missing(String),
}

/// What a confined process may still open by path. What is open stays usable.
#[derive(Debug, Clone, Default)]
pub struct Reach {
    files: Vec<Reachable>,
    folders: Vec<PathBuf>,
    places: Vec<PathBuf>,
    ports: Vec<u16>,
    changes: bool,
    rdma: bool,
}

#[derive(Debug, Clone)]
struct Reachable {
    path: PathBuf,
    writable: bool,
}

impl Reach {
    /// Allows a file or block device that exists: to be read, and written unless it is only to be read.
    pub fn file(&mut self, path: impl Into<PathBuf>, writable: bool) {
        self.files.push(Reachable {
            path: path.into(),
            writable,
        });
    }

    /// Allows a folder that exists: regular files in it may be made, read, written, renamed and removed.
    pub fn folder(&mut self, path: impl Into<PathBuf>) {
        self.folders.push(path.into());
    }

    /// Allows a file, or the files and devices in a folder, all of which exist: to be read and written, by those who may
    /// anyway. Nothing in the folder may be made or removed.
    pub fn place(&mut self, path: impl Into<PathBuf>) {
        self.places.push(path.into());
    }

    /// Allows to listen on a TCP port.
    pub fn port(&mut self, port: u16) {
        self.ports.push(port);
    }

    /// Allows what it takes to change what is served: rings of devices that are made later, what the kernel tells of
    /// devices, portals at the ports that are allowed, and a configuration file that is replaced.
    pub fn changes(&mut self) {
        self.changes = true;
    }

    /// Allows RDMA: devices below /dev/infiniband to be found and opened, and the one ioctl(2) of RDMA devices.
    ///
    /// Confining changes the credentials of the process, so devices have to be opened after it. The libraries have to be
    /// loaded before ([`load`](lunforge::srp::verbs::load)), since nothing allows to open them later.
    pub fn rdma(&mut self) {
        self.rdma = true;
    }

    /// Confines the calling thread and those that it starts, for good. Tells what could not be had; empty is best.
    ///
    /// # Errors
    /// With [`Mode::Require`] whatever could not be had; else only a file of the reach that does not exist.
    pub fn confine(&self, mode: Mode) -> Result<Vec<String>, ConfineError> {
        if mode == Mode::Off {
            return Ok(Vec::new());
        }
        let mut missing = Vec::new();
        missing.extend(files::restrict(self)?);
        match filter::install(self.changes, self.rdma) {
            Ok(()) => {}
            Err(error) => missing.push(error.to_string()),
        }
        match missing.first() {
            Some(first) if mode == Mode::Require => Err(ConfineError::Missing(first.clone())),
            _ => Ok(missing),
        }
    }
}

/// Whether [`Mode::Require`] can be satisfied, as far as that can be told without doing it.
///
/// # Errors
/// [`ConfineError::Missing`], [`ConfineError::Seccomp`].
pub fn check_support() -> Result<(), ConfineError> {
    if let Some(missing) = files::missing() {
        return Err(ConfineError::Missing(missing));
    }
    filter::compile(true, true).map(|_| ())
}
