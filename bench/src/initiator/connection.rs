//! A TCP connection that carries PDUs, before or without login.

use std::io::{Read as _, Write as _};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

use super::Error;
use super::pdu::{self, Digests, Pdu};

/// Longest data segment taken during login (RFC 7143 13.12: 8192 is the default).
const LOGIN_MAX_DATA: usize = 8192;
/// Bytes asked of the socket at once.
const CHUNK: usize = 65_536;

/// A connection that sends bytes and receives whole PDUs.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    received: Vec<u8>,
    digests: Digests,
    max_data: usize,
    timeout: Duration,
}

impl Connection {
    /// Connects; `timeout` bounds the connect and every later wait.
    pub fn open(address: impl ToSocketAddrs, timeout: Duration) -> Result<Self, Error> {
        let failed = |address: String, source| Error::Connect { address, source };
        let unresolved = |source| failed("an address with this name".to_owned(), source);
        let mut last = unresolved(std::io::Error::other("the name has no address"));
        for address in address.to_socket_addrs().map_err(unresolved)? {
            match TcpStream::connect_timeout(&address, timeout) {
                Ok(stream) => return Self::from_stream(stream, timeout),
                Err(source) => last = failed(address.to_string(), source),
            }
        }
        Err(last)
    }

    /// Takes over a connected stream.
    pub fn from_stream(stream: TcpStream, timeout: Duration) -> Result<Self, Error> {
        let io = |source| Error::Io {
            action: "socket option",
            source,
        };
        stream.set_nodelay(true).map_err(io)?;
        stream.set_write_timeout(Some(timeout)).map_err(io)?;
        Ok(Self {
            stream,
            received: Vec::new(),
            digests: Digests::default(),
            max_data: LOGIN_MAX_DATA,
            timeout,
        })
    }

    /// Puts back bytes that [`Self::into_parts`] gave away.
    pub fn with_received(mut self, received: Vec<u8>) -> Self {
        self.received = received;
        self
    }

    /// Sets what login agreed; `max_data` is the MaxRecvDataSegmentLength declared here, bytes.
    pub fn set_params(&mut self, digests: Digests, max_data: usize) {
        self.digests = digests;
        self.max_data = max_data;
    }

    /// Longest wait for one PDU.
    pub fn set_timeout(&mut self, timeout: Duration) {
        self.timeout = timeout;
    }

    /// The stream itself.
    pub fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// The stream and the bytes received but not yet taken.
    pub fn into_parts(self) -> (TcpStream, Vec<u8>) {
        (self.stream, self.received)
    }

    /// Sends these bytes as they are.
    pub fn send_raw(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.stream
            .write_all(bytes)
            .map_err(|source| match source.kind() {
                std::io::ErrorKind::BrokenPipe | std::io::ErrorKind::ConnectionReset => {
                    Error::Closed
                }
                std::io::ErrorKind::WouldBlock => Error::Timeout(self.timeout),
                _ => Error::Io {
                    action: "sending",
                    source,
                },
            })
    }

    /// Sends one PDU with the digests in force.
    pub fn send(&mut self, pdu: &Pdu) -> Result<(), Error> {
        let mut wire = Vec::with_capacity(64 + pdu.data.len());
        pdu.emit(self.digests, &mut wire);
        self.send_raw(&wire)
    }

    /// Waits for the next whole PDU.
    pub fn recv(&mut self) -> Result<Pdu, Error> {
        let deadline = Instant::now() + self.timeout;
        loop {
            if let Some(frame) = pdu::parse(&self.received, self.digests, self.max_data)? {
                let (pdu, len) = (frame.to_pdu(), frame.wire_len);
                self.received.drain(..len);
                return Ok(pdu);
            }
            self.fill(deadline)?;
        }
    }

    /// A PDU that is already here or comes within `wait`; `None` otherwise.
    pub fn poll(&mut self, wait: Duration) -> Result<Option<Pdu>, Error> {
        let keep = std::mem::replace(&mut self.timeout, wait);
        let outcome = self.recv();
        self.timeout = keep;
        match outcome {
            Ok(pdu) => Ok(Some(pdu)),
            Err(Error::Timeout(_)) => Ok(None),
            Err(e) => Err(e),
        }
    }

    fn fill(&mut self, deadline: Instant) -> Result<(), Error> {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(Error::Timeout(self.timeout));
        }
        let io = |source| Error::Io {
            action: "receiving",
            source,
        };
        self.stream.set_read_timeout(Some(left)).map_err(io)?;
        let start = self.received.len();
        self.received.resize(start + CHUNK, 0);
        let outcome = self
            .stream
            .read(self.received.get_mut(start..).unwrap_or(&mut []));
        self.received
            .truncate(start + *outcome.as_ref().unwrap_or(&0));
        match outcome {
            Ok(0) => Err(Error::Closed),
            Ok(_) => Ok(()),
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => Ok(()),
            Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => {
                Err(Error::Timeout(self.timeout))
            }
            Err(e) if e.kind() == std::io::ErrorKind::TimedOut => Err(Error::Timeout(self.timeout)),
            Err(e) if e.kind() == std::io::ErrorKind::ConnectionReset => Err(Error::Closed),
            Err(e) => Err(io(e)),
        }
    }
}
