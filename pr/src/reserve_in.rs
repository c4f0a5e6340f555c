//! PERSISTENT RESERVE IN parameter data (SPC-4 6.15), in full; the command cuts it to the allocation length.

use crate::kind::{ReservationKey, ReservationType};
use crate::state::{ItNexus, State};

const READ_KEYS: u8 = 0x00;
const READ_RESERVATION: u8 = 0x01;
const REPORT_CAPABILITIES: u8 = 0x02;
const READ_FULL_STATUS: u8 = 0x03;

/// The data of a service action, `None` for an unknown one. `aptpl_capable` is PTPL_C.
#[must_use]
pub fn respond(service_action: u8, state: &State, aptpl_capable: bool) -> Option<Vec<u8>> {
    match service_action {
        READ_KEYS => Some(read_keys(state)),
        READ_RESERVATION => Some(read_reservation(state)),
        REPORT_CAPABILITIES => Some(report_capabilities(state, aptpl_capable)),
        READ_FULL_STATUS => Some(read_full_status(state)),
        _ => None,
    }
}

/// PRGENERATION and the length of what follows.
fn with_head(state: &State, body: &[u8]) -> Vec<u8> {
    let len = u32::try_from(body.len()).unwrap_or(u32::MAX);
    let mut data = Vec::with_capacity(8 + body.len());
    data.extend_from_slice(&state.generation.to_be_bytes());
    data.extend_from_slice(&len.to_be_bytes());
    data.extend_from_slice(body);
    data
}

/// READ KEYS (SPC-4 6.15.2): a key for each registered nexus.
fn read_keys(state: &State) -> Vec<u8> {
    let keys: Vec<u8> = state
        .registrants
        .values()
        .flat_map(|key| key.0.to_be_bytes())
        .collect();
    with_head(state, &keys)
}

/// READ RESERVATION (SPC-4 6.15.3). For all registrants types RESERVATION KEY is zero.
fn read_reservation(state: &State) -> Vec<u8> {
    let Some(reservation) = &state.reservation else {
        return with_head(state, &[]);
    };
    let holder = reservation.holder().and_then(|h| state.key_of(h));
    let mut body = Vec::with_capacity(16);
    body.extend_from_slice(&holder.unwrap_or(ReservationKey::ZERO).0.to_be_bytes());
    body.extend_from_slice(&[0, 0, 0, 0, 0, reservation.kind().code(), 0, 0]);
    with_head(state, &body)
}

/// REPORT CAPABILITIES (SPC-4 6.15.4).
fn report_capabilities(state: &State, aptpl_capable: bool) -> Vec<u8> {
    const CRH: u8 = 0x10;
    const SIP_C: u8 = 0x08;
    const ATP_C: u8 = 0x04;
    const PTPL_C: u8 = 0x01;
    const TMV: u8 = 0x80;
    // 100b: TEST UNIT READY passes every type; MODE SENSE, READ ATTRIBUTE, READ BUFFER, RECEIVE DIAGNOSTIC RESULTS, READ
    // DEFECT DATA and the REPORT SUPPORTED commands pass the write exclusive ones.
    const ALLOW_COMMANDS: u8 = 4 << 4;
    const PTPL_A: u8 = 0x01;
    let flags = CRH | SIP_C | ATP_C | if aptpl_capable { PTPL_C } else { 0 };
    let state = TMV | ALLOW_COMMANDS | if state.aptpl { PTPL_A } else { 0 };
    let [low, high] = type_mask().to_le_bytes();
    vec![0, 8, flags, state, low, high, 0, 0]
}

/// PERSISTENT RESERVATION TYPE MASK: byte 4 has the bits of types 1 to 7, byte 5 that of type 8.
fn type_mask() -> u16 {
    let bits = ReservationType::ALL.map(|kind| 1u16 << kind.code());
    bits.into_iter().fold(0, |mask, bit| mask | bit)
}

/// READ FULL STATUS (SPC-4 6.15.5): one descriptor for each registered nexus.
fn read_full_status(state: &State) -> Vec<u8> {
    let mut body = Vec::new();
    for (nexus, key) in &state.registrants {
        full_status(&mut body, state, nexus, *key);
    }
    with_head(state, &body)
}

fn full_status(body: &mut Vec<u8>, state: &State, nexus: &ItNexus, key: ReservationKey) {
    let held = state.reservation.as_ref().filter(|_| state.holds(nexus));
    body.extend_from_slice(&key.0.to_be_bytes());
    // ALL_TG_PT is zero: a descriptor is for one nexus, with its relative target port.
    body.extend_from_slice(&[0, 0, 0, 0, u8::from(held.is_some())]);
    body.push(held.map_or(0, |r| r.kind().code()));
    body.extend_from_slice(&[0; 4]);
    body.extend_from_slice(&nexus.port.to_be_bytes());
    let id_len = u32::try_from(nexus.initiator.emitted_len()).unwrap_or(u32::MAX);
    body.extend_from_slice(&id_len.to_be_bytes());
    nexus.initiator.emit(body);
}
