//! As much of HTTP/1.1 (RFC 9110, RFC 9112) as a scrape takes: GET and HEAD of /metrics and /healthz, one request a
//! connection.
//!
//! A client has no name here: who reaches the port reads. Nothing of a client outlives its bounds: clients at a time,
//! length of a request, time for it and for taking the answer. When there are as many clients as may be, the oldest of
//! those that have not sent their request gives way to a new one; where there is none, the oldest that has its answer,
//! or does not take it. So whoever comes and asks at once is answered, whatever others do.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use super::render::render;
use super::snapshot::Snapshot;

/// How long answers under way are waited for at the end.
const LEAVING: Duration = Duration::from_secs(1);

/// The bounds of a server.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Clients at a time. Beyond, one that is waited for gives way to a new one.
    pub clients: usize,
    /// Bytes of a request's head.
    pub request: usize,
    /// Time for a request, and as much for taking the answer.
    pub time: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            clients: 8,
            request: 8 << 10,
            time: Duration::from_secs(5),
        }
    }
}

/// A server. Dropped, it ends; answers under way have a second.
#[derive(Debug)]
pub struct Server {
    listener: Arc<TcpListener>,
    ended: Arc<AtomicBool>,
    accepting: Option<JoinHandle<()>>,
    shared: Arc<Shared>,
}

/// What serves a client.
struct Shared {
    source: Box<dyn Fn() -> Snapshot + Send + Sync>,
    bounds: Bounds,
    clients: Mutex<Clients>,
    /// A client is gone.
    gone: Condvar,
}

/// The clients by the order in which they came.
#[derive(Default)]
struct Clients {
    all: BTreeMap<u64, Client>,
    last: u64,
}

struct Client {
    stream: Arc<TcpStream>,
    waits: Waits,
}

/// What a client is waited for; the first give way first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Waits {
    /// It is to send its request.
    Request,
    /// It has its answer and is to end.
    End,
    /// It is to take its answer.
    Taking,
    /// Its answer is made: it does not give way.
    No,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared")
            .field("bounds", &self.bounds)
            .finish_non_exhaustive()
    }
}

impl Server {
    /// Begins to serve what `source` gives, on a thread for each client. `source` may block.
    ///
    /// # Errors
    /// No thread could be started.
    pub fn start(
        listener: TcpListener,
        source: impl Fn() -> Snapshot + Send + Sync + 'static,
        bounds: Bounds,
    ) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            source: Box::new(source),
            bounds,
            clients: Mutex::default(),
            gone: Condvar::new(),
        });
        let (listener, ended) = (Arc::new(listener), Arc::<AtomicBool>::default());
        let accept = {
            let (listener, ended) = (Arc::clone(&listener), Arc::clone(&ended));
            let shared = Arc::clone(&shared);
            move || accept(&listener, &ended, &shared)
        };
        let thread = std::thread::Builder::new().name("metrics".to_owned());
        let accepting = Some(thread.spawn(accept)?);
        Ok(Self {
            listener,
            ended,
            accepting,
            shared,
        })
    }

    /// Where it listens.
    ///
    /// # Errors
    /// As getsockname(2).
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Release: whoever wakes up by the shutdown sees it.
        self.ended.store(true, Ordering::Release);
        // Ends accept(2).
        if let Err(errno) = rustix::net::shutdown(&*self.listener, rustix::net::Shutdown::Both) {
            tracing::error!(%errno, "the port of the metrics cannot be shut");
            return;
        }
        self.shared.fewer_than(1, LEAVING);
        let accepting = self.accepting.take();
        if accepting.is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the thread of the metrics has panicked");
        }
    }
}

fn accept(listener: &TcpListener, ended: &AtomicBool, shared: &Arc<Shared>) {
    loop {
        let accepted = listener.accept();
        if ended.load(Ordering::Acquire) {
            return;
        }
        match accepted {
            Ok((stream, _)) => shared.admit(stream),
            Err(error) => {
                tracing::debug!(%error, "a client of the metrics could not be accepted");
                // Descriptors may be short: others will leave.
                std::thread::sleep(Duration::from_millis(100));
            }
        }
    }
}

/// A client's place, free again however its thread ends.
struct Place {
    shared: Arc<Shared>,
    id: u64,
}

impl Place {
    fn waits(&self, waits: Waits) {
        if let Some(client) = self.shared.clients.lock().all.get_mut(&self.id) {
            client.waits = waits;
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.shared.clients.lock().all.remove(&self.id);
        self.shared.gone.notify_all();
    }
}

impl Shared {
    /// Waits until there are fewer clients, at most for `bound`; whether there are.
    fn fewer_than(&self, most: usize, bound: Duration) -> bool {
        let end = Instant::now() + bound;
        let mut clients = self.clients.lock();
        while clients.all.len() >= most {
            if self.gone.wait_until(&mut clients, end).timed_out() {
                return clients.all.len() < most;
            }
        }
        true
    }

    /// Has a client that is waited for give way, if there is no place.
    fn make_room(&self) {
        let clients = self.clients.lock();
        if clients.all.len() < self.bounds.clients {
            return;
        }
        let waiting = clients.all.iter().filter(|(_, c)| c.waits != Waits::No);
        if let Some((_, client)) = waiting.min_by_key(|(id, c)| (c.waits, **id)) {
            // Ends whatever its thread does with it.
            let _ = client.stream.shutdown(Shutdown::Both);
        }
    }

    fn admit(self: &Arc<Self>, stream: TcpStream) {
        self.make_room();
        if !self.fewer_than(self.bounds.clients, LEAVING) {
            return;
        }
        let stream = Arc::new(stream);
        let id = {
            let mut clients = self.clients.lock();
            clients.last += 1;
            let id = clients.last;
            let client = Client {
                stream: Arc::clone(&stream),
                waits: Waits::Request,
            };
            clients.all.insert(id, client);
            id
        };
        let place = Place {
            shared: Arc::clone(self),
            id,
        };
        let thread = std::thread::Builder::new().name("metrics-client".to_owned());
        let serve = move || {
            if let Err(error) = place.serve(&stream) {
                tracing::debug!(%error, "a client of the metrics is gone");
            }
        };
        if let Err(error) = thread.spawn(serve) {
            tracing::debug!(%error, "a client of the metrics could not be served");
        }
    }
}

impl Place {
    fn serve(&self, stream: &TcpStream) -> io::Result<()> {
        let bounds = self.shared.bounds;
        let request = self.shared.request(stream)?;
        self.waits(Waits::No);
        let response = match request {
            Some(head) => self.shared.respond(&head),
            None => Response::error("431 Request Header Fields Too Large", &[]),
        };
        self.waits(Waits::Taking);
        send(stream, &response.bytes(), Instant::now() + bounds.time)?;
        // What the client may still send is no reason to reset the connection before it has read.
        stream.shutdown(Shutdown::Write)?;
        self.waits(Waits::End);
        let end = Instant::now() + bounds.time.min(Duration::from_secs(1));
        let mut left = bounds.request;
        let mut chunk = [0; 512];
        while left > 0 {
            match receive(stream, &mut chunk, end) {
                Ok(0) | Err(_) => break,
                Ok(n) => left = left.saturating_sub(n),
            }
        }
        Ok(())
    }
}

impl Shared {
    /// A request's head; `None` when it is too long.
    fn request(&self, stream: &TcpStream) -> io::Result<Option<Vec<u8>>> {
        let end = Instant::now() + self.bounds.time;
        let mut head = Vec::new();
        let mut chunk = [0; 1024];
        while !ends(&head) {
            if head.len() > self.bounds.request {
                return Ok(None);
            }
            match receive(stream, &mut chunk, end)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                n => head.extend_from_slice(chunk.get(..n).unwrap_or_default()),
            }
        }
        Ok(Some(head))
    }

    fn respond(&self, head: &[u8]) -> Response {
        let Some((method, path)) = request_line(head) else {
            return Response::error("400 Bad Request", &[]);
        };
        if !matches!(method, "GET" | "HEAD") {
            return Response::error("405 Method Not Allowed", &[("Allow", "GET, HEAD")]);
        }
        let mut response = match path {
            "/metrics" => Response {
                status: "200 OK",
                kind: "text/plain; version=0.0.4; charset=utf-8",
                body: render(&(self.source)()),
                ..Response::default()
            },
            "/healthz" => Response::text("200 OK", "ok\n"),
            _ => Response::error("404 Not Found", &[]),
        };
        response.head_only = method == "HEAD";
        response
    }
}

/// Whether a request's head is whole.
fn ends(head: &[u8]) -> bool {
    head.windows(4).any(|end| end == b"\r\n\r\n") || head.windows(2).any(|end| end == b"\n\n")
}

/// Method and path, without the query, of a request of HTTP/1.
fn request_line(head: &[u8]) -> Option<(&str, &str)> {
    let line = head.split(|byte| *byte == b'\n').next()?;
    let line = std::str::from_utf8(line).ok()?;
    let line = line.strip_suffix('\r').unwrap_or(line);
    let mut words = line.split(' ');
    let (method, target, version) = (words.next()?, words.next()?, words.next()?);
    let right = words.next().is_none() && version.starts_with("HTTP/1.") && target.starts_with('/');
    let path = target.split('?').next()?;
    right.then_some((method, path))
}

#[derive(Default)]
struct Response {
    status: &'static str,
    kind: &'static str,
    more: &'static [(&'static str, &'static str)],
    body: String,
    head_only: bool,
}

impl Response {
    fn text(status: &'static str, body: &str) -> Self {
        Self {
            status,
            kind: "text/plain; charset=utf-8",
            body: body.to_owned(),
            ..Self::default()
        }
    }

    fn error(status: &'static str, more: &'static [(&'static str, &'static str)]) -> Self {
        Self {
            more,
            ..Self::text(status, &format!("{status}\n"))
        }
    }

    fn bytes(&self) -> Vec<u8> {
        let (status, kind, len) = (self.status, self.kind, self.body.len());
        let mut text = format!(
            "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len}\r\nConnection: close\r\n"
        );
        for (name, value) in self.more {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        text.push_str("\r\n");
        if !self.head_only {
            text.push_str(&self.body);
        }
        text.into_bytes()
    }
}

/// Reads what there is, and waits for it until `end`.
fn receive(mut stream: &TcpStream, chunk: &mut [u8], end: Instant) -> io::Result<usize> {
    loop {
        stream.set_read_timeout(Some(left(end)?))?;
        match stream.read(chunk) {
            Err(error) if is_passing(&error) => {}
            read => return read,
        }
    }
}

/// Sends all of it until `end`.
fn send(mut stream: &TcpStream, mut bytes: &[u8], end: Instant) -> io::Result<()> {
    while !bytes.is_empty() {
        stream.set_write_timeout(Some(left(end)?))?;
        match stream.write(bytes) {
            Err(error) if is_passing(&error) => {}
            Err(error) => return Err(error),
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(n) => bytes = bytes.get(n..).unwrap_or_default(),
        }
    }
    Ok(())
}

fn is_passing(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock
    )
}

fn left(end: Instant) -> io::Result<Duration> {
    let left = end.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return Err(io::ErrorKind::TimedOut.into());
    }
    Ok(left)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_line_has_three_words_of_which_the_last_is_a_version() {
        for (head, expected) in [
            ("GET /metrics HTTP/1.1\r\n\r\n", Some(("GET", "/metrics"))),
            ("GET /metrics?a=b HTTP/1.0\n\n", Some(("GET", "/metrics"))),
            ("GET /metrics\r\n\r\n", None),
            ("GET  /metrics HTTP/1.1\r\n\r\n", None),
            ("GET /metrics HTTP/1.1 x\r\n\r\n", None),
            ("GET metrics HTTP/1.1\r\n\r\n", None),
            ("GET /metrics HTTP/2\r\n\r\n", None),
            ("\r\n\r\n", None),
        ] {
            assert_eq!(request_line(head.as_bytes()), expected, "{head:?}");
        }
        assert_eq!(request_line(b"GET /\xFF HTTP/1.1\r\n\r\n"), None);
    }
}
