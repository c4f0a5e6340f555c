//! CHAP secrets from files: who may read them, what stands in them, and that none of it is shown.
//!
//! The file's bytes live in one buffer that is wiped; errors name the file and the line, never a word of it: who swaps
//! name and secret by mistake finds neither in a log.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use lunforge::iscsi::proto::chap::ChapConfigError;
use lunforge::iscsi::{ChapAccount, ChapConfig};
use lunforge_daemon::confine::User;
use rustix::fs::{Mode, OFlags};
use zeroize::Zeroizing;

/// More than any list of users needs.
const MAX_LEN: usize = 1 << 20;

/// Where secrets are read from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Source {
    /// A file that nobody but its owner has access to.
    File(PathBuf),
    /// A descriptor that whoever started the process has opened.
    Descriptor(u16),
}

impl std::str::FromStr for Source {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.strip_prefix("fd:") {
            Some(number) => number
                .parse()
                .map(Self::Descriptor)
                .map_err(|_| "expected fd: and the number of a descriptor"),
            None if text.is_empty() => Err("expected the name of a file"),
            None => Ok(Self::File(text.into())),
        }
    }
}

impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Descriptor(number) => write!(f, "fd:{number}"),
        }
    }
}

/// Why secrets cannot be used. `at` is the file.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SecretsError {
    #[error("cannot {what} the secrets in {at}: {source}")]
    Io {
        what: &'static str,
        at: String,
        source: std::io::Error,
    },
    #[error("the secrets in {at} cannot be used: it is no regular file")]
    Kind { at: String },
    #[error(
        "the secrets in {at} cannot be used: others have access to it (mode {mode:03o}): chmod 600 {at}"
    )]
    Access { at: String, mode: u32 },
    #[error(
        "the secrets in {at} cannot be used: it belongs to user {owner}, who could change them: chown {wanted} {at}"
    )]
    Owner { at: String, owner: u32, wanted: u32 },
    #[error("the secrets in {at} cannot be used: more than {MAX_LEN} bytes")]
    Length { at: String },
    #[error("{at} holds no name and secret")]
    Empty { at: String },
    #[error("{at}, line {line}: {why}")]
    Line {
        at: String,
        line: usize,
        why: String,
    },
    #[error(transparent)]
    Config(#[from] ChapConfigError),
}

/// A line of a file.
struct Entry {
    at: String,
    line: usize,
    account: ChapAccount,
}

impl Entry {
    fn error(&self, why: impl Into<String>) -> SecretsError {
        SecretsError::Line {
            at: self.at.clone(),
            line: self.line,
            why: why.into(),
        }
    }
}

/// What CHAP demands of initiators by `incoming`, and how the target proves itself by `outgoing`. Besides this process's
/// own user and root, `user` may own the files. Blocks; a descriptor is read to its end.
pub(crate) fn chap(
    incoming: &[Source],
    outgoing: Option<&Source>,
    user: Option<&User>,
) -> Result<ChapConfig, SecretsError> {
    let mut accounts: Vec<Entry> = Vec::new();
    for source in incoming {
        for entry in entries(source, user)? {
            let twin = |other: &&Entry| other.account.user == entry.account.user;
            if let Some(other) = accounts.iter().find(twin) {
                let why = format!("the name stands in {}, line {}", other.at, other.line);
                return Err(entry.error(why + ", already"));
            }
            accounts.push(entry);
        }
    }
    let outgoing = outgoing.map(|source| answer(source, user)).transpose()?;
    if let Some(outgoing) = &outgoing
        && let Some(same) = accounts
            .iter()
            .find(|entry| entry.account.secret == outgoing.secret)
    {
        return Err(same.error(
            "the target proves itself by the same secret; each direction needs its own (RFC 7143 9.2.1)",
        ));
    }
    accounts.iter().filter(|entry| entry.account.secret.is_weak()).for_each(|entry| {
        tracing::warn!(file = %entry.at, line = entry.line, "a secret of less than 16 bytes (128 bits) can be guessed");
    });
    let accounts = accounts.into_iter().map(|entry| entry.account).collect();
    Ok(ChapConfig::new(accounts, outgoing)?)
}

/// The one account by which the target proves itself.
fn answer(source: &Source, user: Option<&User>) -> Result<ChapAccount, SecretsError> {
    let mut entries = entries(source, user)?.into_iter();
    match (entries.next(), entries.next()) {
        (Some(only), None) => Ok(only.account),
        (_, Some(second)) => Err(second.error("the target has one name and secret, not several")),
        (None, None) => Err(SecretsError::Empty {
            at: source.to_string(),
        }),
    }
}

/// The lines of a file; at least one.
fn entries(source: &Source, user: Option<&User>) -> Result<Vec<Entry>, SecretsError> {
    let at = source.to_string();
    let bytes = read(source, user)?;
    let mut entries = Vec::new();
    for (index, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
        let parsed = parse(line).map_err(|why| SecretsError::Line {
            at: at.clone(),
            line: index + 1,
            why,
        })?;
        entries.extend(parsed.map(|account| Entry {
            at: at.clone(),
            line: index + 1,
            account,
        }));
    }
    if entries.is_empty() {
        return Err(SecretsError::Empty { at });
    }
    Ok(entries)
}

/// A name and, as the last word, its secret; `None` for an empty line or a comment. The error says nothing of the line.
fn parse(line: &[u8]) -> Result<Option<ChapAccount>, String> {
    let line = std::str::from_utf8(line).map_err(|_| "this is no UTF-8")?;
    let line = line
        .strip_suffix('\r')
        .unwrap_or(line)
        .trim_matches([' ', '\t']);
    if line.is_empty() || line.starts_with('#') {
        return Ok(None);
    }
    if line.chars().any(|c| c.is_control() && c != '\t') {
        return Err("there is a control character in it".to_owned());
    }
    let (name, secret) = line
        .rsplit_once([' ', '\t'])
        .ok_or("expected a name and a secret with a blank between them")?;
    ChapAccount::new(name.trim_end_matches([' ', '\t']), secret)
        .map(Some)
        .map_err(|error| error.to_string())
}

/// The bytes of a file whose owner and mode are as they should be, or of a descriptor.
fn read(source: &Source, user: Option<&User>) -> Result<Zeroizing<Vec<u8>>, SecretsError> {
    let io = |what, source_error: std::io::Error| SecretsError::Io {
        what,
        at: source.to_string(),
        source: source_error,
    };
    let (path, flags) = match source {
        // Without NONBLOCK a FIFO would hold us up before we see that it is one.
        Source::File(path) => (path.clone(), OFlags::NONBLOCK | OFlags::NOCTTY),
        Source::Descriptor(number) => (format!("/proc/self/fd/{number}").into(), OFlags::empty()),
    };
    let flags = flags | OFlags::RDONLY | OFlags::CLOEXEC;
    let fd = rustix::fs::open(&path, flags, Mode::empty()).map_err(|e| io("open", e.into()))?;
    let mut file = File::from(fd);
    if matches!(source, Source::File(_)) {
        check(
            source,
            &file.metadata().map_err(|e| io("examine", e))?,
            user,
        )?;
    }
    // All of its room at once: a buffer that grows leaves copies behind.
    let mut bytes = Zeroizing::new(vec![0; MAX_LEN + 1]);
    let mut len = 0;
    while let Some(room) = bytes.get_mut(len..).filter(|room| !room.is_empty()) {
        match file.read(room) {
            Ok(0) => {
                bytes.truncate(len);
                return Ok(bytes);
            }
            Ok(n) => len += n,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(io("read", error)),
        }
    }
    Err(SecretsError::Length {
        at: source.to_string(),
    })
}

/// A regular file of ours, root's or `user`'s that nobody else can read or write.
fn check(
    source: &Source,
    metadata: &std::fs::Metadata,
    user: Option<&User>,
) -> Result<(), SecretsError> {
    let at = source.to_string();
    if !metadata.is_file() {
        return Err(SecretsError::Kind { at });
    }
    let us = rustix::process::geteuid().as_raw();
    let owner = metadata.uid();
    if owner != us && owner != 0 && user.is_none_or(|user| user.uid() != owner) {
        let wanted = us;
        return Err(SecretsError::Owner { at, owner, wanted });
    }
    let mode = metadata.mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(SecretsError::Access { at, mode });
    }
    Ok(())
}

#[cfg(test)]
mod tests;
