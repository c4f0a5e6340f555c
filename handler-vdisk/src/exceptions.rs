//! Informational exceptions (SPC-4 7.5.15): what the owner of a disk warns of, and the test that mode page 1Ch asks for.

use lunforge_core::asc::Asc;
use lunforge_core::sense::{Sense, SenseKey};
use parking_lot::Mutex;

use crate::disk::Disk;
use crate::mode::{ReportExceptions, Values};

/// The exception that there is.
#[derive(Debug, Default)]
pub(crate) struct Exceptions(Mutex<Option<Asc>>);

impl Exceptions {
    /// The exception to show: none with DEXCPT, a false one with TEST.
    pub(crate) fn present(&self, values: &Values) -> Option<Asc> {
        if values.dexcpt {
            None
        } else if values.test {
            Some(Asc::FAILURE_PREDICTION_THRESHOLD_EXCEEDED_FALSE)
        } else {
            *self.0.lock()
        }
    }

    /// What REQUEST SENSE tells by MRIE 6h.
    pub(crate) fn on_request(&self, values: &Values) -> Option<Sense> {
        if values.mrie != ReportExceptions::OnRequest {
            return None;
        }
        self.present(values)
            .map(|asc| Sense::new(SenseKey::NoSense, asc))
    }

    /// A new exception, or the end of one.
    pub(crate) fn set(&self, disk: &Disk, exception: Option<Asc>) {
        let old = std::mem::replace(&mut *self.0.lock(), exception);
        if old != exception {
            self.report(disk, &disk.modes.values());
        }
    }

    /// A MODE SELECT: a test that begins is reported.
    pub(crate) fn modes_changed(&self, disk: &Disk, old: &Values, new: &Values) {
        if new.test && !old.test {
            self.report(disk, new);
        }
    }

    fn report(&self, disk: &Disk, values: &Values) {
        if values.mrie == ReportExceptions::UnitAttention
            && let Some(asc) = self.present(values)
        {
            disk.announce(asc);
        }
    }
}
