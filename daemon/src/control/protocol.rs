//! What is said on the control socket.
//!
//! ```text
//! → {"v":1,"id":7,"call":"get","path":"devices/disk1","attribute":"size"}
//! ← {"id":7,"ok":{"values":["1073741824"]}}
//! → {"v":1,"id":8,"call":"run","changes":[{"remove":{"path":"devices/disk2"}}]}
//! ← {"id":8,"error":{"code":"refused","message":"cannot remove devices/disk2: there is no device devices/disk2","at":0}}
//! ```
//!
//! A field that the receiver does not know is refused in a request and left out of account in an answer. A change of
//! either that is not so harmless is a new [`VERSION`].

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::manage::Change;
use crate::tree::Path;

/// The version of the protocol, the `v` of every request.
pub const VERSION: u32 = 1;

/// A request, on one line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// [`VERSION`].
    pub v: u32,
    /// Given back in the answer.
    pub id: u64,
    /// What is asked.
    #[serde(flatten)]
    pub call: Call,
}

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "call", rename_all = "snake_case", deny_unknown_fields)]
pub enum Call {
    /// Who answers: [`Hello`].
    Hello,
    /// An object, its attributes, and what stands in it: [`Shown`].
    Show {
        /// Which.
        path: Path,
    },
    /// The values of an attribute: [`Values`].
    Get {
        /// Of which object.
        path: Path,
        /// Which.
        attribute: String,
    },
    /// Does changes, all or none: [`Done`].
    Run {
        /// In this order.
        changes: Vec<Change>,
    },
    /// Writes to an attribute that does something once: [`Done`].
    Trigger {
        /// Of which object.
        path: Path,
        /// Which.
        attribute: String,
        /// What is written.
        #[serde(default)]
        value: String,
    },
    /// What would change if a configuration were applied: [`Planned`].
    Plan {
        /// The text of an scst.conf.
        config: String,
        /// What becomes of objects that it does not name.
        #[serde(default)]
        mode: Mode,
    },
    /// Applies a configuration, wholly or not at all: [`Planned`], with what was done.
    Apply {
        /// The text of an scst.conf.
        config: String,
        /// What becomes of objects that it does not name.
        #[serde(default)]
        mode: Mode,
        /// Whether it becomes what a restart begins with.
        #[serde(default)]
        save: bool,
    },
    /// The present configuration as an scst.conf: [`Printed`].
    Print {
        /// With attributes that are not key ones.
        #[serde(default)]
        all: bool,
    },
    /// Makes the present configuration what a restart begins with: [`Done`].
    Save {
        /// With attributes that are not key ones.
        #[serde(default)]
        all: bool,
    },
    /// The sessions: a list of [`Session`](super::report::Session).
    Sessions,
    /// Ends sessions of a target, or the one of this id: [`Done`]. Bounded; initiators may come back.
    CloseSessions {
        /// Of this target.
        target: Path,
        /// This one only.
        #[serde(default, rename = "session")]
        id: Option<u64>,
    },
    /// The devices and what they do: a list of [`Device`](super::report::Device).
    Devices,
    /// The targets: a list of [`Target`](super::report::Target).
    Targets,
    /// Persistent and SPC-2 reservations: a list of [`Reservation`](super::report::Reservation).
    Reservations,
    /// The whole at a glance: [`Status`](super::report::Status).
    Status,
}

/// What becomes of objects that a configuration does not name.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// They stay, and what is missing is made: `scstadmin -config`.
    #[default]
    Merge,
    /// They go: `scstadmin -config -force`, and `lunforge apply`.
    Replace,
}

/// An answer, on one line. It has one of `ok` and `error`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// That of the request; 0 for one that could not be read.
    pub id: u64,
    /// What was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ok: Option<serde_json::Value>,
    /// Why not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Error>,
}

impl Answer {
    /// What came of the request with this id.
    pub fn new(id: u64, result: Result<serde_json::Value, Error>) -> Self {
        let (ok, error) = match result {
            Ok(value) => (Some(value), None),
            Err(error) => (None, Some(error)),
        };
        Self { id, ok, error }
    }
}

/// Why a request was not done. Nothing has changed, but where `stuck` says otherwise.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    /// Which kind of error.
    pub code: Code,
    /// One sentence.
    pub message: String,
    /// The place of the change at fault in the run, from 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<usize>,
    /// The line of the configuration, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<usize>,
    /// The column in it, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub column: Option<usize>,
    /// What was done and could not be taken back.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stuck: Vec<String>,
}

impl Error {
    /// With nothing but its sentence.
    pub fn new(code: Code, message: String) -> Self {
        Self {
            code,
            message,
            at: None,
            line: None,
            column: None,
            stuck: Vec::new(),
        }
    }
}

/// Kinds of errors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Code {
    /// The line is no request of this version.
    Request,
    /// Who asks may not.
    Forbidden,
    /// There is no such object or attribute.
    Missing,
    /// A configuration is wrong.
    Config,
    /// The change is not allowed.
    Refused,
    /// The change is allowed and could not be done.
    Failed,
}

/// Answer to [`Call::Hello`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// Version of the program.
    pub version: String,
    /// [`VERSION`].
    pub protocol: u32,
    /// Its process id.
    pub pid: u32,
    /// The file that it begins with.
    pub config: Option<String>,
}

/// Answer to [`Call::Show`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shown {
    /// The attributes, by name.
    pub attributes: BTreeMap<String, ShownAttribute>,
    /// Names of what stands in it, by the folder in which SCST's sysfs has it (`luns`, `ini_groups`, ...; `targets` in a
    /// driver and in a target group).
    pub children: BTreeMap<String, Vec<String>>,
}

/// An attribute as it is now.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShownAttribute {
    /// Its values; none when it has none, or cannot be read.
    pub values: Vec<String>,
    /// Whether it is a key attribute now: a saved configuration has it.
    pub key: bool,
    /// Whether it can be given when the object is made.
    pub create: bool,
    /// Whether it can be read.
    pub read: bool,
    /// Whether it can be set.
    pub write: bool,
    /// Whether writing does something once.
    pub trigger: bool,
    /// Whether it may have several values.
    pub repeated: bool,
    /// Why setting it does nothing here, if so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kept: Option<String>,
    /// One sentence for the operator.
    pub help: String,
}

/// Answer to [`Call::Get`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Values {
    /// In their order.
    pub values: Vec<String>,
}

/// Answer to calls that only do something.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Done {
    /// What the operator should know all the same.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notices: Vec<String>,
}

/// Answer to [`Call::Plan`] and [`Call::Apply`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Planned {
    /// The changes in words, in their order; those that are made at once with two blanks before them, behind a line for all.
    pub steps: Vec<String>,
    /// What the operator should know, as of objects that stay though the configuration does not name them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notices: Vec<String>,
}

/// Answer to [`Call::Print`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Printed {
    /// The text of an scst.conf.
    pub config: String,
}
