//! Disks that lose power: files served over NBD through a volatile write cache, for guest machines of tests.
//!
//! What a client writes stays in this process's memory until the client flushes or writes with FUA, or until the disk
//! puts it on its medium of its own accord, in any order, as real disks do. SIGKILL is the power cut: it takes the cache
//! and leaves the file with what a disk would have kept. (The page cache of the machine that runs this is the medium.)
//!
//! The protocol is the simple half of NBD's fixed newstyle: NBD_OPT_GO, READ, WRITE, FLUSH, FUA, DISC.

mod cache;
mod nbd;

use std::fs::OpenOptions;
use std::io;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::{Arc, Mutex};

pub use cache::VolatileDisk;

/// A file and the name under which it is served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Export {
    /// Name that NBD clients ask for.
    pub name: String,
    /// The medium; its length is the disk's, in whole sectors of 512 bytes.
    pub file: PathBuf,
}

impl FromStr for Export {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once('=') {
            Some((name, file)) if !name.is_empty() && !file.is_empty() => Ok(Self {
                name: name.to_owned(),
                file: file.into(),
            }),
            _ => Err("expected NAME=FILE"),
        }
    }
}

/// Disks by name, shared by all connections.
pub(crate) type Disks = Vec<(String, Mutex<VolatileDisk>)>;

/// Serves the disks on a Unix socket, one thread per connection, until the process is killed. `seed` decides what the
/// disks put on their media unasked.
///
/// # Errors
/// A file that cannot be opened or is no whole number of sectors; the socket.
pub fn serve(socket: &Path, exports: &[Export], seed: u64) -> io::Result<()> {
    let mut disks = Disks::new();
    for (number, export) in (0_u64..).zip(exports) {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .open(&export.file)
            .map_err(|e| io::Error::new(e.kind(), format!("{}: {e}", export.file.display())))?;
        let disk = VolatileDisk::new(file, seed ^ number << 32)?;
        disks.push((export.name.clone(), Mutex::new(disk)));
    }
    let disks = Arc::new(disks);
    for stream in UnixListener::bind(socket)?.incoming() {
        let (stream, disks) = (stream?, Arc::clone(&disks));
        std::thread::spawn(move || {
            if let Err(error) = nbd::serve(stream, &disks) {
                eprintln!("lunforge-bench: a client of the disks: {error}");
            }
        });
    }
    Ok(())
}
