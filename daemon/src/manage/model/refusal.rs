//! Why a change is not taken.

use crate::schema::value::WrongValue;
use crate::tree::{Path, PathError};

/// Why the model does not take a change. Nothing has changed then.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// There is no such object.
    #[error("there is no {kind} {path}", kind = .0.kind().title(), path = .0)]
    Missing(Path),
    /// There is such an object.
    #[error("there is {kind} {path} already", kind = .0.kind().one(), path = .0)]
    Exists(Path),
    /// Objects of this kind are there or not; nobody makes or removes them.
    #[error("{0} cannot be made or removed: {1}")]
    Fixed(String, String),
    /// Something stands in it.
    #[error("{0} is not empty")]
    NotEmpty(Path),
    /// Something uses it.
    #[error("{path} is in use by {users}")]
    InUse {
        /// The device.
        path: Path,
        /// Some of those that use it.
        users: String,
    },
    /// A kind of object has no attribute of this name.
    #[error("{kind}{of} has no attribute {name:?}")]
    UnknownAttribute {
        /// Of what.
        kind: String,
        /// Of which handler or driver, with a blank and words before it.
        of: String,
        /// Which.
        name: String,
    },
    /// Objects of this kind are made with this attribute.
    #[error("{kind} needs the attribute {name:?}")]
    AttributeMissing {
        /// What.
        kind: String,
        /// Which.
        name: &'static str,
    },
    /// An attribute cannot be given or set.
    #[error("{name} cannot be {when}")]
    NotSettable {
        /// Which.
        name: String,
        /// When not, or why.
        when: String,
    },
    /// An attribute has one value.
    #[error("{0} has one value, not several")]
    Repeated(String),
    /// A value of an attribute that has several stands there already.
    #[error("{name} has {value:?} twice")]
    Twice {
        /// Which attribute.
        name: String,
        /// The value, or the name of the user in it.
        value: String,
    },
    /// A value that its attribute does not take.
    #[error("{name}: {wrong}")]
    Value {
        /// Which attribute.
        name: String,
        /// What is wrong.
        #[source]
        wrong: WrongValue,
    },
    /// Attributes of one object that exclude each other: one sentence.
    #[error("{path}: {why}")]
    Together {
        /// Of which object.
        path: Path,
        /// Which, and why.
        why: String,
    },
    /// Two objects would be taken for one.
    #[error("{attribute} {value:?} is that of {other} already")]
    Duplicate {
        /// Which identification.
        attribute: &'static str,
        /// Its value.
        value: String,
        /// Whose it is.
        other: Path,
    },
    /// A change that objects of this kind do not have.
    #[error("{0} is no {1}")]
    WrongKind(Path, &'static str),
    /// A change of something else than who sees what of a target.
    #[error("{change} is not done in one step with changes of what initiators see of {target}")]
    NotAtOnce {
        /// Which.
        change: String,
        /// The target.
        target: Path,
    },
    /// A name that no object can have.
    #[error(transparent)]
    Name(#[from] PathError),
    /// A character that no name of a target of iSCSI has (RFC 7143 4.2.7.1).
    #[error(
        "a name of iSCSI has no {0:?}, but letters, digits, '-', '.' and ':', as iqn.2026-11.org.example:disk1"
    )]
    IscsiName(char),
    /// A name that is too long for an object of its kind.
    #[error("the name of {0} has at most {1} bytes")]
    LongName(String, usize),
}
