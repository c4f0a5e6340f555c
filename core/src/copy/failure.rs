//! The sense data of copies that fail (SPC-4 5.17).

use crate::asc::Asc;
use crate::command::Finished;
use crate::sense::{Forwarded, Sense, SenseKey};
use crate::status::Status;

/// COPY ABORTED in segment `segment`; its number, counted from zero, is in COMMAND-SPECIFIC INFORMATION.
pub(super) fn aborted(asc: Asc, segment: u16) -> Sense {
    Sense::new(SenseKey::CopyAborted, asc).with_command_specific(segment.into())
}

/// The unit that a CSCD descriptor names is not among those that the session may see.
pub(super) fn not_reachable(segment: u16) -> Sense {
    aborted(Asc::COPY_TARGET_DEVICE_NOT_REACHABLE, segment)
}

/// A segment's blocks are not all on the unit.
///
/// The additional sense code says nothing, since libiscsi's suite takes no other one here that would be true; what is
/// wrong stands in the unit's own sense data, which goes along.
pub(super) fn out_of_range(destination: bool, segment: u16) -> Sense {
    aborted(Asc::NO_ADDITIONAL_SENSE_INFORMATION, segment).with_forwarded(Forwarded {
        destination,
        status: Status::CheckCondition.code(),
        sense: Some((
            SenseKey::IllegalRequest,
            Asc::LOGICAL_BLOCK_ADDRESS_OUT_OF_RANGE,
            None,
        )),
    })
}

/// A source or destination answered a command of the copy otherwise than with GOOD.
pub(super) fn third_party(
    destination: bool,
    segment: u16,
    status: Status,
    sense: Option<Sense>,
) -> Sense {
    if sense.is_some_and(|s| s == Sense::logical_unit_not_supported()) {
        return not_reachable(segment);
    }
    let sense = sense.map(|sense| {
        let information = sense
            .information
            .and_then(|value| u32::try_from(value).ok());
        (sense.key, sense.asc, information)
    });
    aborted(Asc::THIRD_PARTY_DEVICE_FAILURE, segment).with_forwarded(Forwarded {
        destination,
        status: status.code(),
        sense,
    })
}

/// As [`third_party`], of a command that ended. One that was aborted is one whose unit was taken away.
pub(super) fn of_finished(destination: bool, segment: u16, finished: &Finished) -> Sense {
    if !finished.respond {
        return not_reachable(segment);
    }
    let sense = finished.sense.as_ref().and_then(|s| Sense::parse(s));
    third_party(destination, segment, finished.status, sense)
}
