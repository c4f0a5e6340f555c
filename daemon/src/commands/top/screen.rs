//! A terminal as a screen: cleared, without echo, as it was when dropped.

use std::io;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};

use super::super::say;

/// Another screen, without a cursor; and back.
const BEGIN: &str = "\x1b[?1049h\x1b[?25l";
const END: &str = "\x1b[?25h\x1b[?1049l";

pub(super) enum Key {
    Quit,
    Other,
    None,
}

pub(super) struct Screen {
    before: Termios,
}

impl Screen {
    pub(super) fn take() -> io::Result<Self> {
        let before = tcgetattr(io::stdin())?;
        let mut now = before.clone();
        // A key at a time, and not shown. Ctrl-C stays a signal.
        now.local_modes -= LocalModes::ICANON | LocalModes::ECHO;
        tcsetattr(io::stdin(), OptionalActions::Flush, &now)?;
        say(BEGIN);
        Ok(Self { before })
    }

    /// Columns and lines.
    pub(super) fn size(&self) -> (usize, usize) {
        match tcgetwinsize(io::stdout()) {
            Ok(size) if size.ws_col > 0 && size.ws_row > 0 => {
                (size.ws_col.into(), size.ws_row.into())
            }
            _ => (80, 24),
        }
    }

    pub(super) fn show(&self, lines: &[String]) {
        // Each line clears what it leaves of the one before: nothing flickers.
        let lines: Vec<_> = lines.iter().map(|line| format!("{line}\x1b[K")).collect();
        say(&format!("\x1b[H{}\x1b[J", lines.join("\n")));
    }

    /// Waits for a key. A signal ends the wait, too.
    pub(super) fn key(&self, wait: Duration) -> io::Result<Key> {
        let stdin = io::stdin();
        let mut fds = [PollFd::new(&stdin, PollFlags::IN)];
        let wait = Timespec::try_from(wait).unwrap_or(Timespec {
            tv_sec: 1,
            tv_nsec: 0,
        });
        match poll(&mut fds, Some(&wait)) {
            Ok(0) | Err(Errno::INTR) => return Ok(Key::None),
            other => other?,
        };
        let mut key = [0];
        // Past the buffer of the standard library, of which poll knows nothing.
        match rustix::io::read(&stdin, &mut key) {
            Ok(0) => Ok(Key::Quit),
            Ok(_) if matches!(key, [b'q' | b'Q' | 4]) => Ok(Key::Quit),
            Ok(_) => Ok(Key::Other),
            Err(Errno::INTR | Errno::AGAIN) => Ok(Key::None),
            Err(errno) => Err(errno.into()),
        }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        say(END);
        // A terminal that is gone needs nothing.
        let _ = tcsetattr(io::stdin(), OptionalActions::Flush, &self.before);
    }
}
