//! What a scenario saw, and what was wrong.

/// Faults kept word by word; beyond, they are counted.
const MOST: usize = 10;

/// Notes and faults of one scenario.
#[derive(Debug, Clone, Default)]
pub(crate) struct Findings {
    pub(crate) notes: Vec<String>,
    pub(crate) faults: Vec<String>,
    pub(crate) fault_count: u64,
}

impl Findings {
    /// Something worth knowing.
    pub(crate) fn note(&mut self, text: String) {
        self.notes.push(text);
    }

    /// Something that must not be.
    pub(crate) fn fault(&mut self, text: String) {
        self.fault_count += 1;
        if self.faults.len() < MOST {
            self.faults.push(text);
        }
    }

    /// A fault unless `holds`.
    pub(crate) fn must(&mut self, holds: bool, text: impl FnOnce() -> String) {
        if !holds {
            self.fault(text());
        }
    }

    pub(crate) fn merge(&mut self, other: Self) {
        self.notes.extend(other.notes);
        self.fault_count += other.fault_count;
        let room = MOST.saturating_sub(self.faults.len());
        self.faults.extend(other.faults.into_iter().take(room));
    }
}
