//! The PERSISTENT RESERVE OUT parameter list (SPC-4 6.16.3, 6.16.4).

use lunforge_core::asc::Asc;
use lunforge_core::sense::Sense;
use lunforge_core::transport_id::{TransportId, TransportIdError};

use crate::event::{ListedId, Registration, ReserveOut, ScopeType};
use crate::kind::ReservationKey;

/// Length of a list without TransportIDs.
const BASIC_LEN: usize = 24;
/// Longest list that is taken. It holds 30 TransportIDs of the longest iSCSI names, or 340 of SRP.
const MAX_LEN: usize = 8192;

/// SPEC_I_PT, in byte 20.
const SPEC_I_PT: u8 = 0x08;
/// ALL_TG_PT, in byte 20.
const ALL_TG_PT: u8 = 0x04;
/// APTPL, in byte 20, and in byte 17 of REGISTER AND MOVE.
const APTPL: u8 = 0x01;
/// UNREG, in byte 17 of REGISTER AND MOVE.
const UNREG: u8 = 0x02;

const REGISTER: u8 = 0x00;
const RESERVE: u8 = 0x01;
const RELEASE: u8 = 0x02;
const CLEAR: u8 = 0x03;
const PREEMPT: u8 = 0x04;
const PREEMPT_AND_ABORT: u8 = 0x05;
const REGISTER_AND_IGNORE_EXISTING_KEY: u8 = 0x06;
const REGISTER_AND_MOVE: u8 = 0x07;

/// PARAMETER LIST LENGTH ERROR.
pub(crate) const LENGTH_ERROR: Sense = Sense::illegal_request(Asc::PARAMETER_LIST_LENGTH_ERROR);

/// Checks PARAMETER LIST LENGTH as far as that can be done before the list is there.
///
/// # Errors
/// PARAMETER LIST LENGTH ERROR for a list that no service action could take.
pub fn check_len(len: usize) -> Result<(), Sense> {
    if (BASIC_LEN..=MAX_LEN).contains(&len) {
        Ok(())
    } else {
        Err(LENGTH_ERROR)
    }
}

/// Reads the list of a service action, which has exactly the length that the CDB gave.
///
/// # Errors
/// ILLEGAL REQUEST: PARAMETER LIST LENGTH ERROR; INVALID FIELD IN PARAMETER LIST with a field pointer; INVALID FIELD IN
/// CDB for an unknown service action.
pub fn parse(service_action: u8, scope_type: ScopeType, list: &[u8]) -> Result<ReserveOut, Sense> {
    check_len(list.len())?;
    let head: &[u8; BASIC_LEN] = list.first_chunk().ok_or(LENGTH_ERROR)?;
    let [
        k0,
        k1,
        k2,
        k3,
        k4,
        k5,
        k6,
        k7,
        s0,
        s1,
        s2,
        s3,
        s4,
        s5,
        s6,
        s7,
        rest @ ..,
    ] = *head;
    let key = ReservationKey(u64::from_be_bytes([k0, k1, k2, k3, k4, k5, k6, k7]));
    let action_key = ReservationKey(u64::from_be_bytes([s0, s1, s2, s3, s4, s5, s6, s7]));
    if service_action == REGISTER_AND_MOVE {
        return register_and_move(key, action_key, rest, list);
    }
    let [.., flags, _, _, _] = rest;
    let spec_i_pt = flags & SPEC_I_PT != 0;
    if spec_i_pt && service_action != REGISTER {
        return Err(Sense::invalid_field_in_parameter_list(20, Some(3)));
    }
    if !spec_i_pt && list.len() != BASIC_LEN {
        return Err(LENGTH_ERROR);
    }
    let registration = Registration {
        key: action_key,
        all_target_ports: flags & ALL_TG_PT != 0,
        aptpl: flags & APTPL != 0,
    };
    Ok(match service_action {
        REGISTER => ReserveOut::Register {
            key,
            registration,
            initiators: spec_i_pt.then(|| transport_ids(list)).transpose()?,
        },
        RESERVE => ReserveOut::Reserve { key, scope_type },
        RELEASE => ReserveOut::Release { key, scope_type },
        CLEAR => ReserveOut::Clear { key },
        PREEMPT | PREEMPT_AND_ABORT => ReserveOut::Preempt {
            key,
            victim: action_key,
            scope_type,
            abort: service_action == PREEMPT_AND_ABORT,
        },
        REGISTER_AND_IGNORE_EXISTING_KEY => ReserveOut::RegisterAndIgnoreExistingKey(registration),
        _ => return Err(Sense::invalid_field_in_cdb(1, Some(4))),
    })
}

/// The TransportIDs of SPEC_I_PT (SPC-4 6.16.3): their length in four bytes, then one after the other.
fn transport_ids(list: &[u8]) -> Result<Vec<ListedId>, Sense> {
    let (head, mut rest) = list
        .split_at_checked(BASIC_LEN)
        .and_then(|(_, tail)| tail.split_first_chunk::<4>())
        .ok_or(LENGTH_ERROR)?;
    let said = usize::try_from(u32::from_be_bytes(*head)).map_err(|_| LENGTH_ERROR)?;
    // A list cut short, and one that goes on after the last TransportID, are both no list of that length.
    if said != rest.len() || said % 4 != 0 {
        return Err(LENGTH_ERROR);
    }
    let mut ids = Vec::new();
    while !rest.is_empty() {
        let offset = list.len() - rest.len();
        let (listed, used) = transport_id(rest, offset)?;
        ids.push(listed);
        rest = rest.get(used..).unwrap_or_default();
    }
    if ids.is_empty() {
        // SPEC_I_PT without a TransportID specifies nobody.
        return Err(Sense::invalid_field_in_parameter_list(24, Some(7)));
    }
    Ok(ids)
}

/// One TransportID. One that is longer than what is left of the list is a truncated list (SPC-4 6.16.3).
fn transport_id(bytes: &[u8], offset: usize) -> Result<(ListedId, usize), Sense> {
    let offset = u16::try_from(offset).unwrap_or(u16::MAX);
    match TransportId::parse(bytes) {
        Ok((id, used)) => Ok((ListedId { offset, id }, used)),
        Err(TransportIdError::Truncated) => Err(LENGTH_ERROR),
        Err(TransportIdError::Length(_)) => Err(Sense::invalid_field_in_parameter_list(
            offset.saturating_add(2),
            Some(7),
        )),
        Err(TransportIdError::Format(_)) => {
            Err(Sense::invalid_field_in_parameter_list(offset, Some(7)))
        }
        Err(TransportIdError::Name | TransportIdError::Isid) => Err(
            Sense::invalid_field_in_parameter_list(offset.saturating_add(4), Some(7)),
        ),
    }
}

/// The list of REGISTER AND MOVE (SPC-4 6.16.4). `rest` is bytes 16 to 23.
fn register_and_move(
    key: ReservationKey,
    new_key: ReservationKey,
    rest: [u8; 8],
    list: &[u8],
) -> Result<ReserveOut, Sense> {
    let [_, flags, p0, p1, l0, l1, l2, l3] = rest;
    let said = usize::try_from(u32::from_be_bytes([l0, l1, l2, l3])).map_err(|_| LENGTH_ERROR)?;
    let tail = list.get(BASIC_LEN..).unwrap_or_default();
    if said != tail.len() || said < 24 || said % 4 != 0 {
        return Err(LENGTH_ERROR);
    }
    let (initiator, used) = transport_id(tail, BASIC_LEN)?;
    if used != tail.len() {
        return Err(LENGTH_ERROR);
    }
    Ok(ReserveOut::RegisterAndMove {
        key,
        new_key,
        unregister: flags & UNREG != 0,
        aptpl: flags & APTPL != 0,
        port: u16::from_be_bytes([p0, p1]),
        initiator,
    })
}
