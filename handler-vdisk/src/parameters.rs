//! What a disk keeps over restarts, in one small file: saved mode parameters, identifying information, and that a format
//! or sanitize operation has begun and not ended well.
//!
//! | bytes | what |
//! |---|---|
//! | 8 | `LunfParm` |
//! | 2 | version, 1 |
//! | each 1 + 2 + n | items: kind, length, value (big-endian); 1 mode parameters, 2 and 3 identifying information, 4 serial number, 5 unfinished operation |
//! | 8 | hash of all bytes before |
//!
//! The file is replaced whole: written beside itself, made stable, renamed, and the folder made stable. So there is
//! always the old file or the new one, and a file that does not check is damage that nobody but an operator can judge.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use lunforge_core::designator::stable_hash;
use parking_lot::Mutex;

use crate::background::Kind;
use crate::mode::Values;

const MAGIC: &[u8; 8] = b"LunfParm";
const VERSION: u16 = 1;
/// No file is larger: two texts, a serial number and a word.
const MAX_LEN: u64 = 1024;

const MODES: u8 = 1;
const INFORMATION: u8 = 2;
const TEXT: u8 = 3;
const SERIAL: u8 = 4;
const UNFINISHED: u8 = 5;

/// Longest peripheral device identifying information (SPC-4 6.32).
pub(crate) const MAX_INFORMATION: usize = 64;
/// Longest peripheral device text identifying information (SPC-4 6.32).
pub(crate) const MAX_TEXT: usize = 256;

/// Why a parameters file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ParametersError {
    /// The operating system refused.
    #[error("cannot {what} it: {source}")]
    Os {
        /// What was tried.
        what: &'static str,
        /// Why not.
        source: io::Error,
    },
    /// Not a parameters file, of another version, or changed since it was written.
    #[error("it is damaged or of an unknown version: {0}")]
    Damaged(&'static str),
    /// It belongs to a disk with another serial number.
    #[error("it belongs to the disk with serial number {0}")]
    Foreign(String),
}

/// What the file says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Contents {
    /// Saved mode parameters, as [`Values::pack`] gives them.
    pub(crate) modes: Option<u64>,
    /// Peripheral device identifying information.
    pub(crate) information: Vec<u8>,
    /// Peripheral device text identifying information.
    pub(crate) text: Vec<u8>,
    serial: Vec<u8>,
    /// The operation over the whole medium that has begun and not ended well.
    pub(crate) unfinished: Option<Kind>,
}

impl Contents {
    fn emit(&self) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        out.extend_from_slice(&VERSION.to_be_bytes());
        let mut item = |kind: u8, value: &[u8]| {
            out.push(kind);
            let len = u16::try_from(value.len()).unwrap_or(u16::MAX);
            out.extend_from_slice(&len.to_be_bytes());
            out.extend_from_slice(value);
        };
        if let Some(modes) = self.modes {
            item(MODES, &modes.to_be_bytes());
        }
        item(INFORMATION, &self.information);
        item(TEXT, &self.text);
        item(SERIAL, &self.serial);
        if let Some(kind) = self.unfinished {
            let code = match kind {
                Kind::Format => 0,
                Kind::Sanitize { restricted } => 1 + u8::from(restricted),
            };
            item(UNFINISHED, &[code]);
        }
        let hash = stable_hash(&out).to_be_bytes();
        out.extend_from_slice(&hash);
        out
    }

    fn parse(bytes: &[u8]) -> Result<Self, ParametersError> {
        let damaged = ParametersError::Damaged;
        let (body, hash) = bytes
            .split_last_chunk::<8>()
            .ok_or(damaged("it is too short"))?;
        if stable_hash(body).to_be_bytes() != *hash {
            return Err(damaged("the checksum is wrong"));
        }
        let rest = body
            .strip_prefix(MAGIC)
            .ok_or(damaged("the first bytes are not its own"))?;
        let mut rest = rest
            .strip_prefix(&VERSION.to_be_bytes())
            .ok_or(damaged("the version is not 1"))?;
        let mut contents = Self::default();
        while let &[kind, high, low, ref after @ ..] = rest {
            let len = usize::from(u16::from_be_bytes([high, low]));
            let (value, after) = after
                .split_at_checked(len)
                .ok_or(damaged("an item is cut off"))?;
            contents
                .take(kind, value)
                .ok_or(damaged("an item has no meaning"))?;
            rest = after;
        }
        if rest.is_empty() {
            Ok(contents)
        } else {
            Err(damaged("an item is cut off"))
        }
    }

    fn take(&mut self, kind: u8, value: &[u8]) -> Option<()> {
        match kind {
            MODES => {
                let word = u64::from_be_bytes(value.try_into().ok()?);
                Values::parse(word)?;
                self.modes = Some(word);
            }
            INFORMATION if value.len() <= MAX_INFORMATION => self.information = value.to_vec(),
            TEXT if value.len() <= MAX_TEXT => self.text = value.to_vec(),
            SERIAL => self.serial = value.to_vec(),
            UNFINISHED => {
                self.unfinished = Some(match value {
                    [0] => Kind::Format,
                    [code @ 1..=2] => Kind::Sanitize {
                        restricted: *code == 2,
                    },
                    _ => return None,
                });
            }
            _ => return None,
        }
        Some(())
    }
}

/// The file of one disk.
#[derive(Debug)]
pub(crate) struct Parameters {
    path: PathBuf,
    /// What the file says. Never held while the file is written.
    contents: Mutex<Contents>,
    /// One writer at a time. Only taken where blocking is allowed.
    writing: Mutex<()>,
}

impl Parameters {
    /// Reads the file of the disk with this serial number, or starts without one. Blocks.
    pub(crate) fn open(path: &Path, serial: &str) -> Result<Self, ParametersError> {
        let mut contents = match read(path) {
            Ok(bytes) => Contents::parse(&bytes)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Contents::default(),
            Err(source) => {
                return Err(ParametersError::Os {
                    what: "read",
                    source,
                });
            }
        };
        if !contents.serial.is_empty() && contents.serial != serial.as_bytes() {
            let other = String::from_utf8_lossy(&contents.serial)
                .escape_debug()
                .to_string();
            return Err(ParametersError::Foreign(other));
        }
        contents.serial = serial.as_bytes().to_vec();
        Ok(Self {
            path: path.to_owned(),
            contents: Mutex::new(contents),
            writing: Mutex::new(()),
        })
    }

    /// What the file says. Does not block.
    pub(crate) fn contents(&self) -> Contents {
        self.contents.lock().clone()
    }

    /// Changes the file. Blocks; when it fails, everything is as before.
    pub(crate) fn save(&self, change: impl FnOnce(&mut Contents)) -> io::Result<()> {
        let _one = self.writing.lock();
        let mut new = self.contents();
        change(&mut new);
        write(&self.path, &new.emit())?;
        *self.contents.lock() = new;
        Ok(())
    }
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?
        .take(MAX_LEN + 1)
        .read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Replaces the file at `path`.
fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    let new = PathBuf::from(name);
    // One that a crash left behind; then only a file that this process makes is written to.
    match std::fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&new)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(&new, path)?;
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Contents {
        Contents {
            modes: Some(0x0000_0040_0000_0009),
            information: b"shelf 3".to_vec(),
            text: "k\u{e4}se\0".as_bytes().to_vec(),
            serial: b"SN-1".to_vec(),
            unfinished: Some(Kind::Sanitize { restricted: true }),
        }
    }

    #[test]
    fn what_was_written_is_read_and_every_changed_byte_is_damage() {
        let bytes = sample().emit();
        assert_eq!(Contents::parse(&bytes).unwrap(), sample());
        for at in 0..bytes.len() {
            let mut wrong = bytes.clone();
            wrong[at] ^= 0x10;
            assert!(Contents::parse(&wrong).is_err(), "byte {at}");
            assert!(Contents::parse(&bytes[..at]).is_err(), "cut at {at}");
        }
    }

    #[test]
    fn items_without_meaning_are_damage_even_with_a_right_checksum() {
        let with = |tail: &[u8]| {
            let mut bytes = [MAGIC.as_slice(), &[0, 1], tail].concat();
            let hash = stable_hash(&bytes).to_be_bytes();
            bytes.extend(hash);
            Contents::parse(&bytes)
        };
        assert!(with(&[]).is_ok());
        for tail in [
            &[9, 0, 0][..],
            &[1, 0, 1, 0],
            &[1, 0],
            &[1, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0x20],
            &[2, 0, 65],
            &[2, 0xFF, 0xFF, 1],
            &[5, 0, 1, 3],
            &[5, 0, 2, 0, 0],
        ] {
            assert!(with(tail).is_err(), "{tail:?}");
        }
        let mut long = vec![2, 0, 65];
        long.extend([b'x'; 65]);
        assert!(with(&long).is_err());
    }

    #[test]
    fn a_failed_save_leaves_the_old_file_and_the_old_contents() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("p");
        let parameters = Parameters::open(&path, "SN-1").unwrap();
        parameters.save(|c| c.text = b"one\0".to_vec()).unwrap();
        // A folder in the way of the new file.
        std::fs::create_dir(dir.path().join("p.new")).unwrap();
        assert!(parameters.save(|c| c.text = b"two\0".to_vec()).is_err());
        assert_eq!(parameters.contents().text, b"one\0");
        let again = Parameters::open(&path, "SN-1").unwrap();
        assert_eq!(again.contents().text, b"one\0");
        assert!(matches!(
            Parameters::open(&path, "SN-2"),
            Err(ParametersError::Foreign(_))
        ));
    }
}
