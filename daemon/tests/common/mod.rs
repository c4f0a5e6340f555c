//! A running `lunforge export` for tests, as this user or as nobody.
#![allow(dead_code, reason = "each test uses its part")]

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use lunforge_bench::initiator::{Error, Initiator, Options, Reply};
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter};

/// The user number of nobody on every Linux.
pub(crate) const NOBODY: u32 = 65_534;
const BINARY: &str = env!("CARGO_BIN_EXE_lunforge");

pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Who runs the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Who {
    /// The user of the tests.
    Us,
    /// Nobody, if the tests run as root; else us.
    Ordinary,
}

/// A folder that `who` owns, and the program where `who` can start it.
pub(crate) struct Place {
    pub(crate) dir: tempfile::TempDir,
    who: Who,
    binary: PathBuf,
}

impl Place {
    pub(crate) fn new(who: Who) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut binary = PathBuf::from(BINARY);
        if who == Who::Ordinary && is_root() {
            own(dir.path(), NOBODY);
            // The folder that the program was built in may be root's alone.
            let reached = as_nobody(Command::new(&binary).arg("--version")).output();
            if !reached.is_ok_and(|output| output.status.success()) {
                let copy = dir.path().join("lunforge");
                fs::copy(&binary, &copy).unwrap();
                fs::set_permissions(&copy, fs::Permissions::from_mode(0o755)).unwrap();
                binary = copy;
            }
        }
        Self { dir, who, binary }
    }

    pub(crate) fn path(&self, name: &str) -> String {
        self.dir.path().join(name).to_str().unwrap().to_owned()
    }

    /// A file of `who`'s.
    pub(crate) fn file(&self, name: &str, mode: u32, bytes: impl AsRef<[u8]>) -> String {
        let path = self.path(name);
        // One that may not be written to stands in the way.
        let _ = fs::remove_file(&path);
        fs::write(&path, bytes).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        if self.who == Who::Ordinary && is_root() {
            own(Path::new(&path), NOBODY);
        }
        path
    }

    /// `lunforge export` with these arguments.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        self.lunforge(&[&["export"], args].concat())
    }

    /// `lunforge` with these arguments.
    pub(crate) fn lunforge(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.binary);
        command.args(args).current_dir(self.dir.path());
        if self.who == Who::Ordinary && is_root() {
            as_nobody(&mut command);
        }
        command
    }

    /// What it says and how it ends.
    pub(crate) fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    /// Refused: exit code 2, one line that contains `about`, nothing on standard output.
    pub(crate) fn refused(&self, args: &[&str], about: &str) -> String {
        let output = self.run(args);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{args:?}: {said}");
        assert_eq!(said.lines().count(), 1, "{args:?}: {said}");
        assert!(said.contains(about), "{args:?}: {said}");
        assert!(output.stdout.is_empty());
        said
    }

    /// A running target with a free port.
    pub(crate) fn start(&self, args: &[&str]) -> Export {
        let args = [&["--portal", "127.0.0.1:0"], args].concat();
        self.serve(self.command(&args))
    }

    /// Starts `command` and waits for its first line.
    pub(crate) fn serve(&self, mut command: Command) -> Export {
        let log = self.dir.path().join(format!("log.{:?}", Instant::now()));
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(File::create(&log).unwrap())
            .spawn()
            .unwrap();
        let mut url = String::new();
        let mut lines = BufReader::new(child.stdout.take().unwrap());
        lines.read_line(&mut url).unwrap();
        let url = url.trim().to_owned();
        let mut parts = url.trim_start_matches("iscsi://").split('/');
        let (Some(address), Some(target)) = (parts.next(), parts.next()) else {
            panic!("no target: {}", fs::read_to_string(&log).unwrap());
        };
        Export {
            address: address.parse().unwrap(),
            target: target.to_owned(),
            url: url.clone(),
            child,
            log,
        }
    }
}

/// Makes `uid` the owner.
pub(crate) fn own(path: &Path, uid: u32) {
    std::os::unix::fs::chown(path, Some(uid), Some(uid)).unwrap();
}

fn as_nobody(command: &mut Command) -> &mut Command {
    command.uid(NOBODY).gid(NOBODY)
}

/// Runs `f`, and what it starts, where these system calls fail with `errno`.
pub(crate) fn without<T: Send>(calls: &[i64], errno: i32, f: impl FnOnce() -> T + Send) -> T {
    let rules = calls.iter().map(|call| (*call, Vec::new())).collect();
    let filter = SeccompFilter::new(
        rules,
        SeccompAction::Allow,
        SeccompAction::Errno(u32::try_from(errno).unwrap()),
        std::env::consts::ARCH.try_into().unwrap(),
    );
    let program: BpfProgram = filter.unwrap().try_into().unwrap();
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            seccompiler::apply_filter(&program).unwrap();
            f()
        });
        thread.join().unwrap()
    })
}

/// A running target, killed with SIGKILL when dropped.
pub(crate) struct Export {
    pub(crate) child: Child,
    pub(crate) address: SocketAddr,
    pub(crate) target: String,
    pub(crate) url: String,
    log: PathBuf,
}

impl Drop for Export {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        self.child.wait().expect("a process to wait for");
    }
}

impl Export {
    pub(crate) fn options(name: &str) -> Options {
        Options {
            initiator_name: format!("iqn.2026-11.org.example:{name}"),
            ..Options::default()
        }
    }

    pub(crate) fn connect(&self, options: &Options) -> Result<Initiator, Error> {
        Initiator::connect(self.address, &self.target, options)
    }

    pub(crate) fn login(&self, name: &str) -> Initiator {
        self.connect(&Self::options(name)).unwrap()
    }

    /// What it wrote to standard error until now.
    pub(crate) fn said(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    pub(crate) fn signal(&self, name: &str) {
        let status = Command::new("kill")
            .args([name, &self.child.id().to_string()])
            .status();
        assert!(status.unwrap().success());
    }

    pub(crate) fn wait(&mut self) -> std::process::ExitStatus {
        let end = Instant::now() + Duration::from_secs(20);
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < end, "the target does not end");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// SIGTERM, and a clean end.
    pub(crate) fn stop(mut self) {
        self.signal("-TERM");
        let status = self.wait();
        assert_eq!(status.code(), Some(0), "{status}: {}", self.said());
    }

    /// A line of /proc/PID/status for each thread.
    pub(crate) fn of_threads(&self, field: &str) -> Vec<String> {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.child.id())).unwrap();
        let status = |task: std::io::Result<fs::DirEntry>| {
            let path = task.unwrap().path().join("status");
            // A thread may have ended meanwhile.
            let text = fs::read_to_string(path).ok()?;
            let line = text.lines().find_map(|line| line.strip_prefix(field));
            Some(
                line.unwrap_or_default()
                    .trim_matches([':', '\t', ' '])
                    .to_owned(),
            )
        };
        tasks.filter_map(status).collect()
    }
}

/// A command on LUN 0; unit attentions are taken first.
pub(crate) fn command(i: &mut Initiator, cdb: &[u8], out: &[u8], len: u32) -> Reply {
    for _ in 0..8 {
        let reply = i.command(0, cdb, out, len).unwrap();
        if reply.sense_key() != Some(6) {
            return reply;
        }
    }
    panic!("unit attentions without end");
}

/// PERSISTENT RESERVE OUT with this service action.
pub(crate) fn reserve_out(i: &mut Initiator, action: u8, key: u64, new_key: u64, flags: u8) -> u8 {
    let mut list = [0; 24];
    list[..8].copy_from_slice(&key.to_be_bytes());
    list[8..16].copy_from_slice(&new_key.to_be_bytes());
    list[20] = flags;
    let exclusive_access = 3;
    let cdb = [0x5F, action, exclusive_access, 0, 0, 0, 0, 0, 24, 0];
    command(i, &cdb, &list, 0).status
}

/// Keys of PERSISTENT RESERVE IN, READ KEYS.
pub(crate) fn keys(i: &mut Initiator) -> Vec<u64> {
    let data = command(i, &[0x5E, 0, 0, 0, 0, 0, 0, 1, 0, 0], &[], 256).data;
    let key = |bytes: &[u8]| u64::from_be_bytes(bytes.try_into().unwrap());
    data[8..].chunks_exact(8).map(key).collect()
}

/// The status class and detail with which a login was refused.
pub(crate) fn refusal<T>(result: Result<T, Error>) -> (u8, u8) {
    match result.err() {
        Some(Error::Login(lunforge_bench::initiator::LoginError::Refused { class, detail })) => {
            (class, detail)
        }
        other => panic!("not refused: {other:?}"),
    }
}
