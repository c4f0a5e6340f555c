//! By what initiator groups know a session.

/// The name of a session, and what else it is known by. A pattern that begins with `!` looks at the name alone: it says who
/// is not meant, and what else a session is called must not let it in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionName {
    name: String,
    others: Vec<String>,
}

impl SessionName {
    /// A session of this name.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            others: Vec::new(),
        }
    }

    /// Known by this, too.
    #[must_use]
    pub fn also(mut self, other: impl Into<String>) -> Self {
        self.others.push(other.into());
        self
    }

    /// Its name.
    pub fn as_str(&self) -> &str {
        &self.name
    }

    /// What else it is known by.
    pub fn others(&self) -> &[String] {
        &self.others
    }

    pub(super) fn to_ascii_lowercase(&self) -> Self {
        let others = self.others.iter();
        Self {
            name: self.name.to_ascii_lowercase(),
            others: others.map(|other| other.to_ascii_lowercase()).collect(),
        }
    }
}

impl From<&str> for SessionName {
    fn from(name: &str) -> Self {
        Self::new(name)
    }
}
