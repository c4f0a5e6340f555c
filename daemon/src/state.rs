//! The folder of `--state`: where LUNs keep what outlives a restart.

use std::fs::{self, File, Metadata};
use std::os::fd::AsFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use lunforge::pr::OnDamage;
use lunforge_daemon::confine::User;
use rustix::fs::{FlockOperation, Mode, OFlags};

use crate::args::{DamagedArg, Serving};
use crate::created::Created;

/// Name of the file whose lock says that the folder is in use.
const LOCK: &str = "lock";

/// The folder, and what damaged reservations in it mean.
#[derive(Debug)]
pub(crate) struct State {
    folder: PathBuf,
    missing: bool,
    pub(crate) on_damage: OnDamage,
}

/// The folder is ours until this is dropped.
#[derive(Debug)]
pub(crate) struct Claim {
    _lock: File,
}

impl State {
    /// Looks at the folder. Changes nothing.
    pub(crate) fn new(serving: &Serving, user: Option<&User>) -> anyhow::Result<Option<Self>> {
        let Some(folder) = &serving.state else {
            return Ok(None);
        };
        let missing = match fs::metadata(folder) {
            Ok(metadata) => check(folder, &metadata, user).map(|()| false)?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let parent = folder.parent().filter(|p| !p.as_os_str().is_empty());
                let parent = parent.unwrap_or(Path::new("."));
                ensure!(
                    parent.is_dir(),
                    "{} cannot be created: there is no folder {}",
                    folder.display(),
                    parent.display()
                );
                true
            }
            Err(error) => bail!("cannot use {}: {error}", folder.display()),
        };
        let on_damage = match serving.damaged_reservations {
            DamagedArg::Refuse => OnDamage::RefuseMediumAccess,
            DamagedArg::Discard => OnDamage::StartClean,
        };
        Ok(Some(Self {
            folder: folder.clone(),
            missing,
            on_damage,
        }))
    }

    /// The folder.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Makes the folder if it is missing, for `user`, and takes it for this process.
    pub(crate) fn claim(
        &self,
        user: Option<&User>,
        created: &mut Created,
    ) -> anyhow::Result<Claim> {
        let shown = self.folder.display();
        if self.missing {
            let made = fs::DirBuilder::new().mode(0o700).create(&self.folder);
            made.with_context(|| format!("cannot create {shown}"))?;
            created.state_folder(&self.folder);
            give_folder(&self.folder, user)?;
        }
        let path = self.folder.join(LOCK);
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let lock = rustix::fs::open(&path, flags, Mode::RUSR | Mode::WUSR)
            .with_context(|| format!("cannot open {}", path.display()))?;
        let lock = File::from(lock);
        let metadata = lock.metadata()?;
        // In a folder of the user's this may be another name of a file that is not his: it must not become his.
        ensure!(
            metadata.is_file() && metadata.nlink() == 1,
            "{} is no file of its own: remove it",
            path.display()
        );
        match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Err(rustix::io::Errno::WOULDBLOCK) => {
                bail!("{shown} is in use by another process")
            }
            other => other.with_context(|| format!("cannot lock {}", path.display()))?,
        }
        give(&lock, &path, user)?;
        Ok(Claim { _lock: lock })
    }

    /// Removes a folder that [`State::claim`] made.
    pub(crate) fn unmake(folder: &Path) {
        // The error that led here is the one to report.
        let _ = fs::remove_file(folder.join(LOCK));
        let _ = fs::remove_dir(folder);
    }

    /// The file for one kind of state of the LUN with this serial number, which may hold any character.
    pub(crate) fn file(&self, serial: &str, kind: &str) -> PathBuf {
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c);
        let mut name = String::new();
        for c in serial.chars() {
            if plain(c) {
                name.push(c);
            } else {
                name += &format!("%{:x}", u32::from(c));
            }
        }
        self.folder.join(format!("{name}.{kind}"))
    }
}

/// Makes `user` the owner of what this process has just created. By its descriptor: who may rename it could put something
/// else in its place.
pub(crate) fn give(made: impl AsFd, path: &Path, user: Option<&User>) -> anyhow::Result<()> {
    let Some(user) = user else { return Ok(()) };
    std::os::unix::fs::fchown(made, Some(user.uid()), Some(user.gid()))
        .with_context(|| format!("cannot give {} to the user", path.display()))
}

/// As [`give`], for a folder.
pub(crate) fn give_folder(path: &Path, user: Option<&User>) -> anyhow::Result<()> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let folder = rustix::fs::open(path, flags, Mode::empty())
        .with_context(|| format!("cannot open {}", path.display()))?;
    give(folder, path, user)
}

/// What is in the folder decides who may write to a disk: nobody else may put it there.
fn check(folder: &Path, metadata: &Metadata, user: Option<&User>) -> anyhow::Result<()> {
    let shown = folder.display();
    ensure!(metadata.is_dir(), "{shown} is no folder");
    let wanted = user.map_or_else(|| rustix::process::geteuid().as_raw(), User::uid);
    let owner = metadata.uid();
    ensure!(
        owner == wanted || (owner == 0 && user.is_none()),
        "{shown} belongs to user {owner}, not to user {wanted} who is to use it: chown -R {wanted} {shown}"
    );
    ensure!(
        metadata.mode() & 0o022 == 0,
        "{shown} can be written by others (mode {:03o}): chmod 700 {shown}",
        metadata.mode() & 0o777
    );
    Ok(())
}
