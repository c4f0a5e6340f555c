//! The one table from a store's error to what the initiator is told.

use lunforge_core::asc::Asc;
use lunforge_core::handler::Outcome;
use lunforge_core::sense::{Sense, SenseKey};
use lunforge_core::status::Status;
use lunforge_core::units::BlockSize;

use crate::store::StoreError;

/// What was being done, to pick the additional sense code of a medium error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Doing {
    Read,
    Write,
}

/// The outcome for `error` (SBC-4 4.18 for medium errors, 4.7.3.5 for space).
pub(crate) fn of_error(error: StoreError, doing: Doing, block: BlockSize) -> Outcome {
    let medium = |offset: u64| {
        let asc = match doing {
            Doing::Read => Asc::UNRECOVERED_READ_ERROR,
            Doing::Write => Asc::WRITE_ERROR,
        };
        Sense::medium_error(asc, offset >> block.shift())
    };
    let sense = match error {
        StoreError::Transient => return Outcome::status(Status::Busy),
        StoreError::NoSpace => Sense::data_protect(Asc::SPACE_ALLOCATION_FAILED_WRITE_PROTECT),
        StoreError::Medium { offset } | StoreError::Short { offset } => medium(offset),
        // Not a deferred error: an initiator that sends the command again must not take the next answer for GOOD.
        StoreError::Lost => Sense::new(SenseKey::MediumError, Asc::WRITE_ERROR),
        StoreError::ReadOnly => Sense::data_protect(Asc::WRITE_PROTECTED),
        // The initiator retries; by then the path has a new owner or the core says where to go.
        StoreError::Fenced => Sense::aborted(Asc::COMMANDS_CLEARED_BY_DEVICE_SERVER),
        StoreError::Inactive => Sense::not_ready(Asc::LOGICAL_UNIT_NOT_READY_CAUSE_NOT_REPORTABLE),
        StoreError::Unsupported => Sense::illegal_request(Asc::INVALID_FIELD_IN_CDB),
        StoreError::Io(_) | StoreError::Dropped => Sense::hardware(Asc::INTERNAL_TARGET_FAILURE),
    };
    Outcome::check(sense)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::io::Errno;

    fn sense(errno: Errno, doing: Doing) -> (u8, u8, u8, Option<u64>) {
        let outcome = of_error(StoreError::from_errno(errno, 8192), doing, BlockSize::B4096);
        let sense = outcome.sense.expect("check condition");
        (
            sense.key.code(),
            sense.asc.asc,
            sense.asc.ascq,
            sense.information,
        )
    }

    #[test]
    fn errno_becomes_the_sense_that_the_rules_name() {
        assert_eq!(sense(Errno::NOSPC, Doing::Write), (0x7, 0x27, 0x07, None));
        assert_eq!(sense(Errno::DQUOT, Doing::Write), (0x7, 0x27, 0x07, None));
        assert_eq!(sense(Errno::IO, Doing::Read), (0x3, 0x11, 0x00, Some(2)));
        assert_eq!(sense(Errno::IO, Doing::Write), (0x3, 0x0C, 0x00, Some(2)));
        assert_eq!(sense(Errno::ROFS, Doing::Write), (0x7, 0x27, 0x00, None));
        assert_eq!(sense(Errno::INVAL, Doing::Write), (0x4, 0x44, 0x00, None));
        assert_eq!(sense(Errno::NODEV, Doing::Read), (0x2, 0x04, 0x00, None));
        let busy = of_error(
            StoreError::from_errno(Errno::AGAIN, 0),
            Doing::Read,
            BlockSize::B512,
        );
        assert_eq!(busy, Outcome::status(Status::Busy));
    }
}
