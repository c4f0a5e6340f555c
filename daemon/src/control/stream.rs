//! Lines on a stream, each within its time and length.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::line::{MAX_CONFIG_LINE, MAX_LINE};
use super::server::Settings;

const CHUNK: usize = 16 << 10;

/// What a client has sent.
pub(super) enum Incoming<'a> {
    /// A line, without its end; and if it is long, the place that it takes.
    Line(Vec<u8>, Option<LongLine<'a>>),
    /// A line that is not read, and why. The next one may be better.
    Refused(&'static str),
    /// Nothing more.
    End,
}

/// The right to hold a long line.
pub(super) struct LongLine<'a>(&'a AtomicBool);

impl<'a> LongLine<'a> {
    fn take(taken: &'a AtomicBool) -> Option<Self> {
        // Nothing but the right itself is handed over.
        let free = taken.compare_exchange(false, true, Ordering::Relaxed, Ordering::Relaxed);
        free.is_ok().then_some(Self(taken))
    }
}

impl Drop for LongLine<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

/// The lines of a client.
pub(super) struct Lines<'a> {
    stream: &'a UnixStream,
    settings: &'a Settings,
    long: &'a AtomicBool,
    /// What came and was not yet given out.
    buffer: Vec<u8>,
    /// How much of it is known to hold no end of a line.
    searched: usize,
}

impl<'a> Lines<'a> {
    pub(super) fn new(
        stream: &'a UnixStream,
        settings: &'a Settings,
        long: &'a AtomicBool,
    ) -> Self {
        Self {
            stream,
            settings,
            long,
            buffer: Vec::new(),
            searched: 0,
        }
    }

    /// The next line. An error ends the connection.
    pub(super) fn next(&mut self) -> io::Result<Incoming<'a>> {
        let mut end = (!self.buffer.is_empty()).then(|| Instant::now() + self.settings.line);
        let mut place = None;
        let mut refused = None;
        let mut skipped = 0;
        loop {
            if let Some(line) = self.take_line() {
                return Ok(match refused {
                    Some(why) => Incoming::Refused(why),
                    None => Incoming::Line(line, place),
                });
            }
            if refused.is_none() && self.buffer.len() > MAX_LINE && place.is_none() {
                place = LongLine::take(self.long);
                if place.is_none() {
                    refused = Some("another long line is being read: try again");
                }
            }
            if refused.is_none() && self.buffer.len() > MAX_CONFIG_LINE {
                refused = Some("the line is too long");
                place = None;
            }
            if refused.is_some() {
                skipped += self.buffer.len();
                self.buffer = Vec::new();
                self.searched = 0;
                if skipped > 2 * MAX_CONFIG_LINE {
                    return Err(io::Error::other("a line does not end"));
                }
            }
            let idle = Instant::now() + self.settings.idle;
            if self.fill(end.unwrap_or(idle))? == 0 {
                return Ok(Incoming::End);
            }
            end = end.or_else(|| Some(Instant::now() + self.settings.line));
        }
    }

    fn take_line(&mut self) -> Option<Vec<u8>> {
        let fresh = self.buffer.get(self.searched..).unwrap_or_default();
        let Some(at) = fresh.iter().position(|byte| *byte == b'\n') else {
            self.searched = self.buffer.len();
            return None;
        };
        let rest = self.buffer.split_off(self.searched + at + 1);
        let mut line = std::mem::replace(&mut self.buffer, rest);
        line.pop();
        self.searched = 0;
        Some(line)
    }

    /// Reads what there is, and waits for it until `end`.
    fn fill(&mut self, end: Instant) -> io::Result<usize> {
        let mut chunk = [0; CHUNK];
        let mut stream = self.stream;
        loop {
            stream.set_read_timeout(Some(left(end)?))?;
            match stream.read(&mut chunk) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
                Ok(n) => {
                    self.buffer
                        .extend_from_slice(chunk.get(..n).unwrap_or_default());
                    return Ok(n);
                }
            }
        }
    }
}

/// Sends all of it within `bound`, or none of it matters.
pub(super) fn send(mut stream: &UnixStream, mut bytes: &[u8], bound: Duration) -> io::Result<()> {
    let end = Instant::now() + bound;
    while !bytes.is_empty() {
        if !bound.is_zero() {
            stream.set_write_timeout(Some(left(end)?))?;
        }
        match stream.write(bytes) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(n) => bytes = bytes.get(n..).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && !bound.is_zero() => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// The time until `end`; an error when that is over.
fn left(end: Instant) -> io::Result<Duration> {
    let left = end.saturating_duration_since(Instant::now());
    if left.is_zero() {
        Err(io::ErrorKind::TimedOut.into())
    } else {
        Ok(left)
    }
}
