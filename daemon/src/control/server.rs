//! The control socket's serving side: a thread for each client, a line at a time.
//!
//! Nothing of a client outlives its bounds: clients at a time, length of a line and time for it, time without a request,
//! time to take an answer. Of lines longer than [`MAX_LINE`] one is held at a time.

use std::collections::BTreeMap;
use std::io;
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use rustix::net::UCred;

use super::endpoint::Endpoint;
#[cfg(doc)]
use super::line::MAX_LINE;
use super::line::Malformed;
use super::protocol::{Answer, Call, Code, Error, Request};
use super::stream::{Incoming, Lines, send};

/// What requests are put to. Called from many threads at a time; a call may block.
pub trait Answers: Send + Sync + 'static {
    /// # Errors
    /// [`Error`], for the client.
    fn answer(&self, call: Call) -> Result<serde_json::Value, Error>;
}

/// The bounds of a server.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// Clients at a time.
    pub clients: usize,
    /// How long a client may be silent between two requests.
    pub idle: Duration,
    /// How long a line may take from its first byte on.
    pub line: Duration,
    /// How long an answer may take to be read.
    pub send: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            clients: 64,
            idle: Duration::from_secs(600),
            line: Duration::from_secs(60),
            send: Duration::from_secs(30),
        }
    }
}

/// A served control socket. Dropped, it ends; changes under way are not waited for.
#[derive(Debug)]
pub struct Server {
    shared: Arc<Shared>,
    accepting: Option<JoinHandle<()>>,
}

struct Shared {
    endpoint: Endpoint,
    answers: Box<dyn Answers>,
    settings: Settings,
    clients: Mutex<Clients>,
    left: Condvar,
    long: AtomicBool,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared")
            .field("endpoint", &self.endpoint)
            .finish_non_exhaustive()
    }
}

#[derive(Default)]
struct Clients {
    ended: bool,
    next: u64,
    streams: BTreeMap<u64, Arc<UnixStream>>,
}

impl Server {
    /// Begins to serve root, the user whose the endpoint is, and its group.
    ///
    /// # Errors
    /// No thread could be started.
    pub fn start(
        endpoint: Endpoint,
        answers: impl Answers,
        settings: Settings,
    ) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            endpoint,
            answers: Box::new(answers),
            settings,
            clients: Mutex::default(),
            left: Condvar::new(),
            long: AtomicBool::new(false),
        });
        let accept = {
            let shared = Arc::clone(&shared);
            move || shared.accept()
        };
        let thread = std::thread::Builder::new().name("control".to_owned());
        let accepting = Some(thread.spawn(accept)?);
        Ok(Self { shared, accepting })
    }

    /// Ends it: no new client and no new request; an answer that comes within `bound` is still sent. Whether all have
    /// left by then.
    pub fn stop(mut self, bound: Duration) -> bool {
        self.close();
        let end = Instant::now() + bound;
        let mut clients = self.shared.clients.lock();
        while !clients.streams.is_empty() {
            if self.shared.left.wait_until(&mut clients, end).timed_out() {
                return clients.streams.is_empty();
            }
        }
        true
    }

    fn close(&mut self) {
        let Some(accepting) = self.accepting.take() else {
            return;
        };
        let mut clients = self.shared.clients.lock();
        clients.ended = true;
        for stream in clients.streams.values() {
            // One that has left is no matter.
            let _ = stream.shutdown(Shutdown::Read);
        }
        drop(clients);
        // Ends accept(2).
        if let Err(errno) =
            rustix::net::shutdown(&self.shared.endpoint.listener, rustix::net::Shutdown::Both)
        {
            tracing::error!(%errno, "the control socket cannot be shut");
            return;
        }
        if accepting.join().is_err() {
            tracing::error!("the thread of the control socket has panicked");
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.close();
    }
}

impl Shared {
    fn accept(self: Arc<Self>) {
        loop {
            let accepted = self.endpoint.listener.accept();
            if self.clients.lock().ended {
                return;
            }
            match accepted {
                Ok((stream, _)) => self.admit(stream),
                Err(error) => {
                    tracing::warn!(%error, "a client of the control socket could not be accepted");
                    // Descriptors may be short: others will leave.
                    std::thread::sleep(Duration::from_millis(100));
                }
            }
        }
    }

    fn admit(self: &Arc<Self>, stream: UnixStream) {
        match rustix::net::sockopt::socket_peercred(&stream) {
            Ok(peer) if self.allows(&peer) => {}
            Ok(peer) => {
                let uid = peer.uid.as_raw();
                tracing::warn!(uid, "a user was refused at the control socket");
                let message = format!("user {uid} may not use this socket");
                return refuse(&stream, Error::new(Code::Forbidden, message));
            }
            Err(errno) => {
                tracing::warn!(%errno, "a client of the control socket has no name");
                return;
            }
        }
        let stream = Arc::new(stream);
        let Some(id) = self.enter(&stream) else {
            let most = self.settings.clients;
            let message = format!("{most} clients are connected already: try again later");
            return refuse(&stream, Error::new(Code::Failed, message));
        };
        let serve = {
            let (shared, stream) = (Arc::clone(self), Arc::clone(&stream));
            move || {
                let place = Place { shared, id };
                place.shared.serve(&stream);
            }
        };
        let thread = std::thread::Builder::new().name("control-client".to_owned());
        if let Err(error) = thread.spawn(serve) {
            tracing::warn!(%error, "a client of the control socket could not be served");
            self.leave(id);
        }
    }

    fn allows(&self, peer: &UCred) -> bool {
        let uid = peer.uid.as_raw();
        // The kernel let in who may write to the socket, and that is the group, unless somebody has opened it to all.
        let member = |group| peer.gid.as_raw() == group || !self.endpoint.is_open_to_all();
        uid == 0 || uid == self.endpoint.user || self.endpoint.group.is_some_and(member)
    }

    fn enter(&self, stream: &Arc<UnixStream>) -> Option<u64> {
        let mut clients = self.clients.lock();
        if clients.ended || clients.streams.len() >= self.settings.clients {
            return None;
        }
        let id = clients.next;
        clients.next += 1;
        clients.streams.insert(id, Arc::clone(stream));
        Some(id)
    }

    fn leave(&self, id: u64) {
        self.clients.lock().streams.remove(&id);
        self.left.notify_all();
    }

    /// Until the client leaves, is silent for too long, or does not read.
    fn serve(&self, stream: &UnixStream) {
        let mut lines = Lines::new(stream, &self.settings, &self.long);
        loop {
            let answer = match lines.next() {
                Ok(Incoming::Line(line, _long)) => self.reply(&line),
                Ok(Incoming::Refused(why)) => {
                    let error = Error::new(Code::Request, why.to_owned());
                    Answer::new(0, Err(error))
                }
                Ok(Incoming::End) => return,
                Err(error) => {
                    tracing::debug!(%error, "a client of the control socket is gone");
                    return;
                }
            };
            if let Err(error) = send(stream, &line(&answer), self.settings.send) {
                tracing::warn!(%error, "a client of the control socket does not read");
                return;
            }
        }
    }

    fn reply(&self, line: &[u8]) -> Answer {
        match Request::parse(line) {
            Ok(Request { id, call, .. }) => Answer::new(id, self.answers.answer(call)),
            Err(Malformed { id, error }) => Answer::new(id, Err(error)),
        }
    }
}

fn line(answer: &Answer) -> Vec<u8> {
    let mut line = serde_json::to_vec(answer).unwrap_or_default();
    line.push(b'\n');
    line
}

/// Told if it listens at once: nobody waits for a stranger.
fn refuse(stream: &UnixStream, error: Error) {
    if stream.set_nonblocking(true).is_ok() {
        let _ = send(stream, &line(&Answer::new(0, Err(error))), Duration::ZERO);
    }
}

/// A client's place, free again however its thread ends.
struct Place {
    shared: Arc<Shared>,
    id: u64,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.shared.leave(self.id);
    }
}
