//! The control socket's asking side.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;

use super::protocol::{Answer, Call, Code, Error, Request, VERSION};

/// Longest answer that is read, in bytes.
const MAX_ANSWER: u64 = 256 << 20;

/// Why a call has no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody serves there.
    #[error(
        "no lunforge is running at {path}: start one with `lunforge serve --config FILE`, or say where it is with --control PATH"
    )]
    NotRunning {
        /// Where one was looked for.
        path: PathBuf,
    },
    /// The system does not let this user in.
    #[error(
        "you may not use {path}: be root or the user of the running lunforge, or have it started with --control-group GROUP"
    )]
    NotAllowed {
        /// The socket.
        path: PathBuf,
    },
    /// The connection broke.
    #[error("the running lunforge does not answer: {0}")]
    Broken(#[from] io::Error),
    /// What came is no answer.
    #[error("the running lunforge answers what this one does not understand: {0}")]
    Garbled(String),
    /// The answer is an error.
    #[error(transparent)]
    Refused(#[from] Error),
}

impl ClientError {
    /// Whether what was asked is not allowed or wrong, and not that it could not be done.
    pub fn is_refusal(&self) -> bool {
        match self {
            Self::Refused(error) => error.code != Code::Failed,
            Self::NotAllowed { .. } => true,
            Self::NotRunning { .. } | Self::Broken(_) | Self::Garbled(_) => false,
        }
    }
}

/// A connection to a running target.
#[derive(Debug)]
pub struct Client {
    stream: BufReader<UnixStream>,
    id: u64,
}

impl Client {
    /// # Errors
    /// [`ClientError::NotRunning`], [`ClientError::NotAllowed`], [`ClientError::Broken`].
    pub fn connect(path: &Path) -> Result<Self, ClientError> {
        let stream = UnixStream::connect(path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
                ClientError::NotRunning { path: path.into() }
            }
            io::ErrorKind::PermissionDenied => ClientError::NotAllowed { path: path.into() },
            _ => ClientError::Broken(error),
        })?;
        let stream = BufReader::new(stream);
        Ok(Self { stream, id: 0 })
    }

    /// Asks, and waits for the answer.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn call<T: DeserializeOwned>(&mut self, call: Call) -> Result<T, ClientError> {
        self.id += 1;
        let (v, id) = (VERSION, self.id);
        let garbled = |error: serde_json::Error| ClientError::Garbled(error.to_string());
        let mut line = serde_json::to_vec(&Request { v, id, call }).map_err(garbled)?;
        line.push(b'\n');
        // A refusal may have come and the connection be closed already.
        let sent = self.stream.get_mut().write_all(&line);
        let mut line = Vec::new();
        let read = Read::take(&mut self.stream, MAX_ANSWER).read_until(b'\n', &mut line);
        if line.last() != Some(&b'\n') {
            sent?;
            read?;
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        let answer: Answer = serde_json::from_slice(&line).map_err(garbled)?;
        match answer {
            Answer {
                error: Some(error), ..
            } => Err(error.into()),
            Answer { id, .. } if id != self.id => {
                Err(ClientError::Garbled(format!("an answer to request {id}")))
            }
            Answer { ok, .. } => serde_json::from_value(ok.unwrap_or_default()).map_err(garbled),
        }
    }
}
