//! The fields that MODE SELECT can change, as one value that fits an atomic and a file.

use lunforge_core::handler::{ControlMode, QueueError, UnitAttentionInterlock};

/// MRIE: how informational exceptions are reported (SPC-4 7.5.15). Those that would end other commands with an error of
/// theirs (03h to 05h) are not supported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReportExceptions {
    /// 0h: not at all.
    Never,
    /// 2h: by a unit attention.
    UnitAttention,
    /// 6h: to REQUEST SENSE only.
    OnRequest,
}

impl ReportExceptions {
    /// The field, or `None` for a method that is not supported.
    pub(crate) const fn parse(code: u8) -> Option<Self> {
        match code {
            0 => Some(Self::Never),
            2 => Some(Self::UnitAttention),
            6 => Some(Self::OnRequest),
            _ => None,
        }
    }

    pub(crate) const fn code(self) -> u8 {
        match self {
            Self::Never => 0,
            Self::UnitAttention => 2,
            Self::OnRequest => 6,
        }
    }
}

/// The fields that MODE SELECT can change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Values {
    /// WCE, page 08h.
    pub(crate) wce: bool,
    /// SWP, page 0Ah.
    pub(crate) swp: bool,
    /// D_SENSE, page 0Ah.
    pub(crate) d_sense: bool,
    /// QUEUE ALGORITHM MODIFIER 1: unrestricted reordering, page 0Ah.
    pub(crate) reorder: bool,
    /// QERR, page 0Ah.
    pub(crate) queue_error: QueueError,
    /// UA_INTLCK_CTRL, page 0Ah.
    pub(crate) interlock: UnitAttentionInterlock,
    /// TAS, page 0Ah.
    pub(crate) task_aborted: bool,
    /// TMF_ONLY, page 0Ah.
    pub(crate) tmf_only: bool,
    /// LBPERE, page 01h: thresholds are reported.
    pub(crate) lbpere: bool,
    /// DEXCPT, page 1Ch: no informational exceptions.
    pub(crate) dexcpt: bool,
    /// TEST, page 1Ch: there is a false failure prediction.
    pub(crate) test: bool,
    /// MRIE, page 1Ch.
    pub(crate) mrie: ReportExceptions,
    /// ENABLED of the threshold, page 1Ch/02h.
    pub(crate) threshold_enabled: bool,
    /// THRESHOLD COUNT in threshold sets, page 1Ch/02h.
    pub(crate) threshold_count: u32,
}

const fn flag(set: bool, bit: u32) -> u64 {
    (set as u64) << bit
}

impl Values {
    /// One word. The layout is that of the parameters file and does not change.
    pub(crate) const fn pack(self) -> u64 {
        let qerr = match self.queue_error {
            QueueError::Continue => 0,
            QueueError::AbortAll => 1,
            QueueError::AbortNexus => 3,
        };
        let interlock = match self.interlock {
            UnitAttentionInterlock::Clear => 0,
            UnitAttentionInterlock::Keep => 2,
            UnitAttentionInterlock::KeepAndEstablish => 3,
        };
        flag(self.wce, 0)
            | flag(self.swp, 1)
            | flag(self.d_sense, 2)
            | flag(self.reorder, 3)
            | qerr << 4
            | interlock << 6
            | flag(self.task_aborted, 8)
            | flag(self.tmf_only, 9)
            | flag(self.lbpere, 10)
            | flag(self.dexcpt, 11)
            | flag(self.test, 12)
            | (self.mrie.code() as u64) << 13
            | flag(self.threshold_enabled, 18)
            | (self.threshold_count as u64) << 32
    }

    /// Values of a word; what is no value becomes the mildest one.
    pub(crate) fn unpack(word: u64) -> Self {
        let set = |bit: u32| word >> bit & 1 != 0;
        let low = |bit: u32, mask: u8| u8::try_from(word >> bit & u64::from(mask)).unwrap_or(0);
        Self {
            wce: set(0),
            swp: set(1),
            d_sense: set(2),
            reorder: set(3),
            queue_error: queue_error(low(4, 3)).unwrap_or_default(),
            interlock: interlock(low(6, 3)).unwrap_or_default(),
            task_aborted: set(8),
            tmf_only: set(9),
            lbpere: set(10),
            dexcpt: set(11),
            test: set(12),
            mrie: ReportExceptions::parse(low(13, 15)).unwrap_or(ReportExceptions::Never),
            threshold_enabled: set(18),
            threshold_count: u32::try_from(word >> 32).unwrap_or(0),
        }
    }

    /// As [`Values::unpack`], but `None` for a word that [`Values::pack`] does not make.
    pub(crate) fn parse(word: u64) -> Option<Self> {
        let values = Self::unpack(word);
        (values.pack() == word).then_some(values)
    }

    /// What the pipeline obeys.
    pub(crate) fn control(self, shared_task_set: bool) -> ControlMode {
        ControlMode {
            descriptor_sense: self.d_sense,
            restricted_reordering: !self.reorder,
            shared_task_set,
            queue_error: self.queue_error,
            task_aborted_status: self.task_aborted,
            tmf_only: self.tmf_only,
            interlock: self.interlock,
        }
    }
}

/// QERR; `None` for the reserved 10b.
pub(crate) const fn queue_error(code: u8) -> Option<QueueError> {
    match code {
        0 => Some(QueueError::Continue),
        1 => Some(QueueError::AbortAll),
        3 => Some(QueueError::AbortNexus),
        _ => None,
    }
}

/// UA_INTLCK_CTRL; `None` for the reserved 01b.
pub(crate) const fn interlock(code: u8) -> Option<UnitAttentionInterlock> {
    match code {
        0 => Some(UnitAttentionInterlock::Clear),
        2 => Some(UnitAttentionInterlock::Keep),
        3 => Some(UnitAttentionInterlock::KeepAndEstablish),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_was_packed_is_unpacked(word in any::<u64>()) {
            let values = Values::unpack(word);
            prop_assert_eq!(Values::parse(values.pack()), Some(values));
        }
    }

    #[test]
    fn a_word_with_reserved_values_is_no_values() {
        assert_eq!(Values::parse(2 << 4), None, "QERR 10b");
        assert_eq!(Values::parse(1 << 6), None, "UA_INTLCK_CTRL 01b");
        assert_eq!(Values::parse(3 << 13), None, "MRIE 3h");
        assert_eq!(Values::parse(1 << 19), None, "an unused bit");
    }
}
