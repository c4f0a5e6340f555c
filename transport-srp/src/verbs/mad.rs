//! Device management: a thread that tells initiators on InfiniBand what targets there are.
//!
//! It is a thread, not a source of a shard: to send a datagram may take the kernel a while, and nothing here is fast.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::Mutex;
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};

use super::VerbsError;
use super::umad::{self, PACKET_LEN, Umad};
use crate::proto::mad::{Datagram, IoUnit};

/// How often is looked for a port that is gone.
const LOOK: Duration = Duration::from_secs(5);
/// Datagrams of one port between two looks at the others.
const BATCH: usize = 16;

/// Which ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MadPorts {
    /// Those of InfiniBand.
    InfiniBand,
    /// Those of RoCE too, where no initiator asks: for tests.
    All,
}

/// The ports are open, and nothing is answered yet.
pub struct DeviceManagement {
    ports: Vec<Umad>,
    which: MadPorts,
}

impl std::fmt::Debug for DeviceManagement {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let ports: Vec<_> = self.ports.iter().map(|port| &port.name).collect();
        f.debug_tuple("DeviceManagement").field(&ports).finish()
    }
}

impl DeviceManagement {
    /// Opens the ports, for which it takes the rights of root. These may be given up after that.
    ///
    /// # Errors
    /// [`VerbsError::Management`]; [`VerbsError::NoInfiniBand`].
    pub fn open(which: MadPorts) -> Result<Self, VerbsError> {
        let names = umad::ports(which == MadPorts::InfiniBand);
        if names.is_empty() && !super::port::any_infiniband() {
            return Err(VerbsError::NoInfiniBand);
        }
        if names.is_empty() {
            let port = "/sys/class/infiniband_mad".to_owned();
            let source = io::ErrorKind::NotFound.into();
            return Err(VerbsError::Management { port, source });
        }
        let open = |name: String| {
            Umad::open(&name).map_err(|source| VerbsError::Management { port: name, source })
        };
        let ports = names.into_iter().map(open).collect::<Result<_, _>>()?;
        Ok(Self { ports, which })
    }

    /// Answers for this I/O unit on all ports, until what is returned is dropped.
    ///
    /// # Errors
    /// That of the system when there is no thread to be had.
    pub fn serve(self, unit: IoUnit) -> io::Result<ServedUnit> {
        let stop = Arc::new(eventfd(0, EventfdFlags::CLOEXEC)?);
        let unit = Arc::new(Mutex::new(unit));
        let served = Served {
            expected: self.ports.len(),
            ports: self.ports,
            which: self.which,
            unit: Arc::clone(&unit),
            stop: Arc::clone(&stop),
        };
        let thread = std::thread::Builder::new()
            .name("lunforge-mad".to_owned())
            .spawn(move || served.run())?;
        Ok(ServedUnit {
            unit,
            stop,
            thread: Some(thread),
        })
    }
}

/// An I/O unit that initiators are told of.
#[derive(Debug)]
pub struct ServedUnit {
    unit: Arc<Mutex<IoUnit>>,
    stop: Arc<OwnedFd>,
    thread: Option<JoinHandle<()>>,
}

impl ServedUnit {
    /// Tells initiators of this from now on. Its change identifier becomes another one if it is another unit.
    pub fn set(&self, unit: IoUnit) {
        let mut now = self.unit.lock();
        let change_id = now.change_id;
        let other = now.controllers != unit.controllers;
        *now = IoUnit {
            change_id: change_id.wrapping_add(other.into()),
            ..unit
        };
    }
}

impl Drop for ServedUnit {
    fn drop(&mut self) {
        let told = rustix::io::write(&*self.stop, &1_u64.to_ne_bytes());
        if let (Ok(_), Some(thread)) = (told, self.thread.take()) {
            // It has nothing to tell; if it has panicked, that was said.
            let _ = thread.join();
        }
    }
}

struct Served {
    ports: Vec<Umad>,
    which: MadPorts,
    expected: usize,
    unit: Arc<Mutex<IoUnit>>,
    stop: Arc<OwnedFd>,
}

impl Served {
    fn run(mut self) {
        loop {
            match self.wait() {
                Ok(true) => return,
                Ok(false) => {}
                Err(error) => {
                    tracing::warn!(%error, "initiators are not told of SRP targets any more");
                    return;
                }
            }
            let unit = Arc::clone(&self.unit);
            self.ports.retain(|port| {
                let answered = answer_some(port, &unit);
                if let Err(error) = &answered {
                    tracing::warn!(port = port.name, %error, "an InfiniBand port is gone");
                }
                answered.is_ok()
            });
            if self.ports.len() < self.expected {
                self.look();
            }
        }
    }

    /// Waits for a datagram; true at the end.
    fn wait(&self) -> rustix::io::Result<bool> {
        let stop = self.stop.as_fd();
        let fds = std::iter::once(stop).chain(self.ports.iter().map(Umad::as_fd));
        let mut fds: Vec<_> = fds
            .map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN))
            .collect();
        let missing = self.ports.len() < self.expected;
        let look = Timespec::try_from(LOOK).ok().filter(|_| missing);
        match poll(&mut fds, look.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error),
        }
        Ok(fds.first().is_some_and(|stop| !stop.revents().is_empty()))
    }

    /// Looks whether a port is back.
    fn look(&mut self) {
        for name in umad::ports(self.which == MadPorts::InfiniBand) {
            let known = self.ports.iter().any(|port| port.name == name);
            if !known && let Ok(port) = Umad::open(&name) {
                tracing::warn!(
                    port = name,
                    "initiators are told of SRP targets by this port again"
                );
                self.ports.push(port);
            }
        }
    }
}

/// Answers what has come in, or a part of it. An error is one of the port.
fn answer_some(port: &Umad, unit: &Mutex<IoUnit>) -> io::Result<()> {
    let mut packet = [0; PACKET_LEN];
    for _ in 0..BATCH {
        if !port.take(&mut packet)? {
            return Ok(());
        }
        let question = umad::datagram(&packet).and_then(|bytes| Datagram::parse(bytes).ok());
        let answer = question.and_then(|question| question.answer(&unit.lock()));
        if let Some(answer) = answer {
            umad::turn(&mut packet, &answer.emit());
            if let Err(error) = port.send(&packet) {
                // Who asked is not to be reached any more, and asks again if it matters.
                tracing::debug!(port = port.name, %error, "an answer cannot be sent");
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::mad::Profile;
    use crate::proto::port::PortId;

    #[test]
    fn a_machine_without_infiniband_says_so() {
        let error = DeviceManagement::open(MadPorts::InfiniBand).unwrap_err();
        let said = error.to_string();
        assert!(
            said.starts_with("no RDMA device has") || said.starts_with("cannot answer"),
            "{said}"
        );
    }

    #[test]
    fn another_unit_has_another_change_identifier_and_the_same_has_not() {
        let none = DeviceManagement {
            ports: Vec::new(),
            which: MadPorts::InfiniBand,
        };
        let unit = |n| {
            let port = PortId::new(n, 1);
            IoUnit::srp([port], 7, &Profile::srp(0, "one"))
        };
        let served = none.serve(unit(1)).unwrap();
        let change = || served.unit.lock().change_id;
        let first = change();
        served.set(unit(1));
        assert_eq!(change(), first);
        served.set(unit(2));
        assert_eq!(change(), first + 1);
        assert_eq!(served.unit.lock().controllers, unit(2).controllers);
        // Ends its thread.
        drop(served);
    }
}
