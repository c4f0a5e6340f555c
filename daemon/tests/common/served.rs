//! A running `lunforge serve` for tests, and the commands that are given to it.
#![allow(dead_code, reason = "each test uses its part")]

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Child, Output, Stdio};
use std::time::{Duration, Instant};

use crate::common::{Place, Who};

/// A running process with its control socket; killed with SIGKILL when dropped.
pub(crate) struct Served {
    pub(crate) place: Place,
    pub(crate) child: Child,
    log: PathBuf,
}

impl Drop for Served {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        self.child.wait().expect("a process to wait for");
    }
}

/// The arguments that every one of them has.
pub(crate) fn arguments(more: &[&str]) -> Vec<String> {
    [
        "serve",
        "--config",
        "scst.conf",
        "--control",
        "run/control.sock",
    ]
    .iter()
    .chain(more)
    .map(|arg| (*arg).to_owned())
    .collect()
}

impl Served {
    /// One that pretends, from this configuration.
    pub(crate) fn pretending(config: &str) -> Self {
        Self::start(Place::new(Who::Ordinary), config, &["--pretend"])
    }

    pub(crate) fn start(place: Place, config: &str, more: &[&str]) -> Self {
        place.file("scst.conf", 0o600, config);
        Self::again(place, more)
    }

    /// From the configuration that is there.
    pub(crate) fn again(place: Place, more: &[&str]) -> Self {
        let args = arguments(more);
        let args: Vec<_> = args.iter().map(String::as_str).collect();
        let mut command = place.lunforge(&args);
        Self::spawn(place, &mut command)
    }

    /// What `command` starts, once it serves.
    pub(crate) fn spawn(place: Place, command: &mut std::process::Command) -> Self {
        let log = place.dir.path().join("serve.log");
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&log).unwrap())
            .spawn()
            .unwrap();
        let mut served = Self { place, child, log };
        served.wait_for("Stop:");
        served
    }

    /// What it wrote to standard error until now.
    pub(crate) fn said(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    /// Waits until it has written `text` to standard error.
    pub(crate) fn wait_for(&mut self, text: &str) {
        let end = Instant::now() + Duration::from_secs(20);
        while !self.said().contains(text) {
            let ended = self.child.try_wait().unwrap();
            assert!(ended.is_none(), "{ended:?}: {}", self.said());
            assert!(Instant::now() < end, "no {text:?} in: {}", self.said());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// A command and its end.
    pub(crate) fn ask(&self, args: &[&str]) -> Output {
        let args = [args, &["--control", "run/control.sock"]].concat();
        self.place.lunforge(&args).output().unwrap()
    }

    /// Standard output of a command that does what it is told.
    pub(crate) fn told(&self, args: &[&str]) -> String {
        let output = self.ask(args);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{args:?}: {said}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Standard error of a command that ends with `code` and says `about` in one line.
    pub(crate) fn refused(&self, args: &[&str], code: i32, about: &str) -> String {
        let output = self.ask(args);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{args:?}: {said}");
        assert_eq!(said.lines().count(), 1, "{args:?}: {said}");
        assert!(said.contains(about), "{args:?}: {said}");
        said
    }

    pub(crate) fn config(&self) -> String {
        fs::read_to_string(self.place.path("scst.conf")).unwrap()
    }

    pub(crate) fn signal(&self, name: &str) {
        let status = std::process::Command::new("kill")
            .args([name, &self.child.id().to_string()])
            .status();
        assert!(status.unwrap().success());
    }

    /// SIGTERM, and a clean end.
    pub(crate) fn stop(mut self) {
        self.signal("-TERM");
        let end = Instant::now() + Duration::from_secs(20);
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(Instant::now() < end, "it does not end");
            std::thread::sleep(Duration::from_millis(5));
        };
        assert_eq!(status.code(), Some(0), "{}", self.said());
        assert!(!self.place.dir.path().join("run/control.sock").exists());
    }
}
