//! The making of a target.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use parking_lot::Mutex;

use super::error::shown;
use super::group::Maps;
use super::{NEXT_TARGET, Target, TargetError, TargetId};
use crate::lu::{IntoLogicalUnit, LogicalUnit};

/// Longest name of a target in bytes (RFC 7143 4.2.7.1).
const MAX_NAME: usize = 223;

/// Describes a target.
#[derive(Debug)]
pub struct TargetBuilder {
    name: String,
    luns: Vec<(u64, Arc<LogicalUnit>)>,
    relative_port: u16,
}

impl TargetBuilder {
    pub(super) fn new(name: String) -> Self {
        Self {
            name,
            luns: Vec::new(),
            relative_port: 1,
        }
    }

    /// Maps a unit to a LUN of the default map.
    #[must_use]
    pub fn lun(mut self, lun: u64, unit: impl IntoLogicalUnit) -> Self {
        self.luns.push((lun, unit.into_logical_unit()));
        self
    }

    /// Sets the RELATIVE TARGET PORT IDENTIFIER; 1 unless set.
    #[must_use]
    pub fn relative_port(mut self, id: u16) -> Self {
        self.relative_port = id;
        self
    }

    /// Makes the target.
    ///
    /// # Errors
    /// [`TargetError`]: a bad name, a LUN out of range or used twice, a serial number or designator used twice, a relative
    /// target port by which one of the units is reached already.
    pub fn build(self) -> Result<Arc<Target>, TargetError> {
        if self.name.is_empty() || self.name.len() > MAX_NAME {
            return Err(TargetError::Name(shown(&self.name)));
        }
        let target = Arc::new_cyclic(|this| Target {
            id: TargetId(NEXT_TARGET.fetch_add(1, Ordering::Relaxed)),
            name: self.name,
            this: this.clone(),
            relative_port: AtomicU16::new(self.relative_port),
            maps: Mutex::new(Maps::default()),
            sessions: Mutex::new(BTreeMap::new()),
            shards: Mutex::default(),
        });
        // A target that is dropped halfway is none of its units' any more.
        for (lun, unit) in self.luns {
            target.add_lun(lun, unit)?;
        }
        Ok(target)
    }
}
