//! Where the control socket is: made for its owner alone, found again by clients, removed at the end.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

/// Where root's is.
pub const SYSTEM: &str = "/run/lunforge/control.sock";
/// Connections that wait to be accepted.
const BACKLOG: i32 = 64;

/// Where the control socket of a process of this user is, unless told: [`SYSTEM`] for root, and for others in
/// `$XDG_RUNTIME_DIR`, if that is set.
pub fn default_path() -> Option<PathBuf> {
    if rustix::process::geteuid().is_root() {
        return Some(PathBuf::from(SYSTEM));
    }
    let folder = std::env::var_os("XDG_RUNTIME_DIR").filter(|folder| !folder.is_empty())?;
    Some(PathBuf::from(folder).join("lunforge/control.sock"))
}

/// The environment variable that tells clients where a control socket is.
pub const VARIABLE: &str = "LUNFORGE_CONTROL";

/// Where a client looks unless told by an option: where [`VARIABLE`] says, else at the user's own, and at [`SYSTEM`] if
/// there is none.
pub fn path_to_ask() -> PathBuf {
    if let Some(path) = std::env::var_os(VARIABLE).filter(|path| !path.is_empty()) {
        return PathBuf::from(path);
    }
    default_path()
        .filter(|path| path.exists())
        .unwrap_or_else(|| PathBuf::from(SYSTEM))
}

/// Why there is no control socket.
#[derive(Debug, thiserror::Error)]
pub enum EndpointError {
    /// Somebody serves there.
    #[error(
        "the control socket {path} is that of a running process{who}: stop it, or give another --control PATH"
    )]
    Live {
        /// The socket.
        path: PathBuf,
        /// Its process, with a blank before it.
        who: String,
    },
    /// Something else has the name.
    #[error("{0} is no socket: remove it, or give another --control PATH")]
    Other(PathBuf),
    /// The folder would let others put a socket of theirs there.
    #[error("{folder} can be written by others (mode {mode:03o}): chmod go-w {folder}")]
    Open {
        /// The folder.
        folder: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// The system refuses.
    #[error("cannot {what} {path}: {source}")]
    System {
        /// What was tried.
        what: &'static str,
        /// With what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

/// Whose the socket is.
#[derive(Debug, Clone, Copy, Default)]
pub struct Owner {
    /// User and group that it is given to.
    pub user: Option<(u32, u32)>,
    /// The group whose members may use it too.
    pub group: Option<u32>,
}

/// A listening socket at a path; dropped, it is removed.
#[derive(Debug)]
pub struct Endpoint {
    path: PathBuf,
    identity: (u64, u64),
    pub(super) listener: UnixListener,
    /// The user who may use it besides root.
    pub(super) user: u32,
    pub(super) group: Option<u32>,
}

impl Endpoint {
    /// Makes the socket with mode 0600, or 0660 for a group, and its folder with 0700 (0710) if it is missing. A socket
    /// that a dead process left is replaced.
    ///
    /// # Errors
    /// [`EndpointError`].
    pub fn open(path: &Path, owner: Owner) -> Result<Self, EndpointError> {
        let folder = path.parent().filter(|p| !p.as_os_str().is_empty());
        let folder = folder.unwrap_or(Path::new("."));
        let failed = |what, source: Errno| EndpointError::System {
            what,
            path: path.to_owned(),
            source: source.into(),
        };
        // Two that start at a time take turns.
        let _lock = own_folder(folder, owner)?;
        clear(path)?;
        let flags = SocketFlags::CLOEXEC;
        let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)
            .map_err(|errno| failed("make", errno))?;
        // The name gets the mode that the socket has: it is never open to more.
        let mode = if owner.group.is_some() { 0o660 } else { 0o600 };
        rustix::fs::fchmod(&socket, Mode::from_raw_mode(mode))
            .map_err(|errno| failed("protect", errno))?;
        let address = SocketAddrUnix::new(path).map_err(|errno| failed("name", errno))?;
        rustix::net::bind(&socket, &address).map_err(|errno| failed("make", errno))?;
        let system = |what| {
            move |source| EndpointError::System {
                what,
                path: path.to_owned(),
                source,
            }
        };
        let metadata = fs::symlink_metadata(path).map_err(system("look at"))?;
        let endpoint = Self {
            path: path.to_owned(),
            identity: (metadata.dev(), metadata.ino()),
            listener: UnixListener::from(socket),
            user: owner
                .user
                .map_or_else(|| rustix::process::geteuid().as_raw(), |(uid, _)| uid),
            group: owner.group,
        };
        // A umask may have taken bits.
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(system("protect"))?;
        give(path, owner).map_err(system("give away"))?;
        rustix::net::listen(&endpoint.listener, BACKLOG)
            .map_err(|errno| failed("listen on", errno))?;
        Ok(endpoint)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether somebody has let everybody write to it.
    pub(super) fn is_open_to_all(&self) -> bool {
        fs::symlink_metadata(&self.path).is_ok_and(|metadata| metadata.mode() & 0o002 != 0)
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        let ours = fs::symlink_metadata(&self.path)
            .is_ok_and(|metadata| (metadata.dev(), metadata.ino()) == self.identity);
        if ours && let Err(error) = fs::remove_file(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "the control socket could not be removed");
        }
    }
}

fn give(path: &Path, owner: Owner) -> io::Result<()> {
    let user = owner.user.map(|(uid, _)| uid);
    let group = owner.group.or(owner.user.map(|(_, gid)| gid));
    if user.is_none() && group.is_none() {
        return Ok(());
    }
    std::os::unix::fs::lchown(path, user, group)
}

/// The folder, made if it is missing, and locked until the returned file is dropped.
fn own_folder(folder: &Path, owner: Owner) -> Result<File, EndpointError> {
    let system = |what| {
        move |source| EndpointError::System {
            what,
            path: folder.to_owned(),
            source,
        }
    };
    let mode = if owner.group.is_some() { 0o710 } else { 0o700 };
    match fs::DirBuilder::new().mode(mode).create(folder) {
        Ok(()) => give(folder, owner).map_err(|error| {
            // The error is what matters; an empty folder does no harm.
            let _ = fs::remove_dir(folder);
            system("give away")(error)
        })?,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(system("make the folder")(error)),
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let opened = rustix::fs::open(folder, flags, Mode::empty());
    let opened = File::from(opened.map_err(|errno| system("open the folder")(errno.into()))?);
    let mode = opened.metadata().map_err(system("look at"))?.mode();
    let sticky = 0o1000;
    if mode & 0o022 != 0 && mode & sticky == 0 {
        return Err(EndpointError::Open {
            folder: folder.to_owned(),
            mode: mode & 0o777,
        });
    }
    rustix::fs::flock(&opened, FlockOperation::LockExclusive)
        .map_err(|errno| system("lock")(errno.into()))?;
    Ok(opened)
}

/// Makes the name free: a socket on which nobody listens goes.
fn clear(path: &Path) -> Result<(), EndpointError> {
    let system = |what| {
        move |source| EndpointError::System {
            what,
            path: path.to_owned(),
            source,
        }
    };
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(system("look at")(error)),
        Ok(metadata) if metadata.file_type().is_socket() => {}
        Ok(_) => return Err(EndpointError::Other(path.to_owned())),
    }
    match answers(path) {
        Ok(None) => fs::remove_file(path).map_err(system("replace")),
        Ok(Some(who)) => Err(EndpointError::Live {
            path: path.to_owned(),
            who,
        }),
        Err(errno) => Err(system("connect to")(errno.into())),
    }
}

/// Who listens at `path`, if somebody does.
fn answers(path: &Path) -> Result<Option<String>, Errno> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    match rustix::net::connect(&socket, &SocketAddrUnix::new(path)?) {
        Ok(()) => {
            let peer = rustix::net::sockopt::socket_peercred(UnixStream::from(socket));
            let pid = peer.map(|peer| peer.pid.as_raw_nonzero());
            Ok(Some(pid.map_or_else(
                |_| String::new(),
                |pid| format!(" (process {pid})"),
            )))
        }
        // Its queue is full.
        Err(Errno::AGAIN) => Ok(Some(String::new())),
        Err(Errno::CONNREFUSED | Errno::NOENT) => Ok(None),
        Err(errno) => Err(errno),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(path: &Path) -> String {
        Endpoint::open(path, Owner::default())
            .unwrap_err()
            .to_string()
    }

    fn mode(path: &Path) -> u32 {
        fs::symlink_metadata(path).unwrap().mode() & 0o7777
    }

    #[test]
    fn socket_and_folder_are_their_owner_s_alone_and_the_socket_goes_at_the_end() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lunforge/control.sock");
        let endpoint = Endpoint::open(&path, Owner::default()).unwrap();
        assert_eq!(mode(&path), 0o600);
        assert_eq!(mode(path.parent().unwrap()), 0o700);
        UnixStream::connect(&path).unwrap();
        drop(endpoint);
        assert!(!path.exists());
    }

    #[test]
    fn a_group_may_use_it_when_told() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lunforge/control.sock");
        let group = rustix::process::getegid().as_raw();
        let owner = Owner {
            user: None,
            group: Some(group),
        };
        let _endpoint = Endpoint::open(&path, owner).unwrap();
        assert_eq!(mode(&path), 0o660);
        assert_eq!(mode(path.parent().unwrap()), 0o710);
        assert_eq!(fs::metadata(&path).unwrap().gid(), group);
    }

    #[test]
    fn a_dead_socket_is_replaced_and_a_live_one_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("control.sock");
        drop(UnixListener::bind(&path).unwrap());
        let endpoint = Endpoint::open(&path, Owner::default()).unwrap();
        let said = refusal(&path);
        let pid = format!("(process {})", std::process::id());
        assert!(said.contains("running") && said.contains(&pid), "{said}");
        UnixStream::connect(endpoint.path()).unwrap();
    }

    #[test]
    fn what_is_no_socket_stays() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("control.sock");
        fs::write(&path, "precious").unwrap();
        assert!(refusal(&path).contains("is no socket"));
        assert_eq!(fs::read(&path).unwrap(), b"precious");
        assert!(refusal(Path::new("/no/where/control.sock")).contains("make the folder"));
    }

    #[test]
    fn a_folder_in_which_others_could_put_theirs_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let open = fs::Permissions::from_mode(0o777);
        fs::set_permissions(dir.path(), open).unwrap();
        assert!(refusal(&dir.path().join("control.sock")).contains("chmod go-w"));
    }

    #[test]
    fn a_socket_that_took_its_name_since_is_not_removed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("control.sock");
        let endpoint = Endpoint::open(&path, Owner::default()).unwrap();
        fs::remove_file(&path).unwrap();
        let _other = UnixListener::bind(&path).unwrap();
        drop(endpoint);
        assert!(path.exists());
    }
}
