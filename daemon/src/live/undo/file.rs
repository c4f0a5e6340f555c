//! Files that a device made or lengthened for the size that it was given.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, SeekFrom};
use rustix::io::Errno;

use super::super::device::{Device, hold};
use super::super::failure::failure;
use super::super::wanted::Wanted;
use super::super::{Done, Live};
use crate::manage::Failure;

/// How long a device that was closed may still have its file open.
const CLOSING: Duration = Duration::from_secs(1);
/// How often is looked whether it has.
const LOOK: Duration = Duration::from_millis(10);

/// A file that a change may make or lengthen.
#[derive(Debug)]
pub(in super::super) struct Touched {
    path: PathBuf,
    /// How long it is made, if it is shorter.
    size: u64,
    /// Its length before; `None` where there was no file.
    before: Option<u64>,
    /// Which file it is.
    id: Option<(u64, u64)>,
}

fn id(meta: &Metadata) -> (u64, u64) {
    (meta.dev(), meta.ino())
}

impl Touched {
    /// The file of a device that is about to be opened or to get another size, if that may change the file.
    pub(in super::super) fn by(wanted: &Wanted<'_>) -> Option<Self> {
        if wanted.handler() != "vdisk_fileio" || wanted.flag("read_only") {
            return None;
        }
        let (path, size) = (PathBuf::from(wanted.given("filename")?), wanted.size()?);
        let before = match fs::metadata(&path) {
            Ok(meta) if meta.is_file() && meta.len() < size => Some((meta.len(), id(&meta))),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            _ => return None,
        };
        Some(Self {
            path,
            size,
            before: before.map(|(len, _)| len),
            id: before.map(|(_, id)| id),
        })
    }

    /// The change is done: notes which file was made. False if there is nothing to put back.
    pub(super) fn seal(&mut self) -> bool {
        let meta = fs::metadata(&self.path).ok();
        let meta = meta.filter(|meta| self.is_it(meta) && Some(meta.len()) > self.before);
        self.id = meta.as_ref().map(id);
        meta.is_some()
    }

    fn is_it(&self, meta: &Metadata) -> bool {
        meta.is_file() && self.id.is_none_or(|wanted| wanted == id(meta))
    }

    fn stays(&self, why: impl std::fmt::Display) -> Failure {
        let path = self.path.display();
        failure(match self.before {
            None => format!("the file {path} was made and stays: {why}"),
            Some(len) => format!("the file {path} had {len} bytes and stays longer: {why}"),
        })
    }

    /// Makes it what it was. Nobody may write to it meanwhile.
    fn put_back(&self, file: &File) -> Done {
        let keep = self.before.unwrap_or(0);
        // Beyond there is nothing but a hole: nobody has written, and nothing is lost.
        match rustix::fs::seek(file, SeekFrom::Data(keep)) {
            Err(Errno::NXIO) => {}
            _ => return Err(self.stays("data has been written to what is new of it")),
        }
        let done = match self.before {
            Some(len) => file.set_len(len),
            None => fs::canonicalize(&self.path).and_then(fs::remove_file),
        };
        done.map_err(|error| self.stays(error))
    }
}

impl Live {
    /// Before the file is opened or lengthened.
    pub(in super::super) fn note_file(&mut self, wanted: &Wanted<'_>) {
        if let Some(touched) = Touched::by(wanted) {
            self.journal.note(super::Undo::File(touched));
        }
    }

    /// Cuts or removes a file, if nothing is lost by that.
    pub(super) fn put_file_back(&self, touched: &Touched) -> Done {
        let file = match OpenOptions::new()
            .read(true)
            .write(true)
            .open(&touched.path)
        {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(touched.stays(error)),
        };
        let meta = file.metadata().map_err(|error| touched.stays(error))?;
        if !touched.is_it(&meta) || Some(meta.len()) <= touched.before {
            return Ok(());
        }
        if meta.len() != touched.size {
            return Err(touched.stays("its length has changed since"));
        }
        let Some(device) = self.device_over(&meta) else {
            lock(&file).map_err(|why| touched.stays(why))?;
            return touched.put_back(&file);
        };
        let parts = device.parts();
        // A device that is blocked executes nothing anyway.
        let held = (!device.is_blocked()).then(|| hold(&parts)).transpose();
        let held = held.map_err(|error| touched.stays(error))?;
        if touched.before.is_none() {
            return Err(touched.stays(format_args!("{} has it open", device.name)));
        }
        touched.put_back(&file)?;
        let resynced = parts.disk.resync();
        drop(held);
        resynced.map(drop).map_err(failure)
    }

    /// The device that has this file open.
    fn device_over(&self, meta: &Metadata) -> Option<Arc<Device>> {
        let is_over = |device: &Arc<Device>| {
            let path = device.first("filename");
            let file = path.and_then(|path| fs::metadata(path).ok());
            device.parts().disk.is_active() && file.is_some_and(|file| id(&file) == id(meta))
        };
        self.registry.devices().into_iter().find(is_over)
    }
}

/// Has the file for oneself until it is closed.
fn lock(file: &File) -> Result<(), &'static str> {
    let end = Instant::now() + CLOSING;
    loop {
        match rustix::fs::flock(file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(()),
            Err(_) if Instant::now() < end => std::thread::sleep(LOOK),
            Err(_) => return Err("it is in use"),
        }
    }
}
