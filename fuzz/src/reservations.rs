//! Reservations: the parameter list, the state machine, the file.

use std::collections::BTreeSet;

use crc_fast::{CrcAlgorithm, checksum};
use lunforge_core::asc::Asc;
use lunforge_core::cdb::CommandClass;
use lunforge_core::sense::{SenseKey, SenseSpecific};
use lunforge_core::transport_id::{IscsiName, TransportId};
use lunforge_pr::{
    Effects, Event, ItNexus, ListedId, Refusal, Registration, ReservationKey, ReserveOut,
    ScopeType, Setting, State, allowed, apply, decode, encode, parse_reserve_out, reserve_in,
    takes_rights,
};

/// Byte 0 is the service action, byte 1 SCOPE and TYPE, the rest the parameter list.
pub fn pr_out(bytes: &[u8]) {
    let Some((&[action, scope_type], list)) = bytes.split_first_chunk() else {
        return;
    };
    let scope_type = ScopeType {
        scope: scope_type >> 4,
        kind: scope_type & 0x0F,
    };
    match parse_reserve_out(action, scope_type, list) {
        Err(sense) => {
            assert_eq!(sense.key, SenseKey::IllegalRequest);
            if let SenseSpecific::FieldPointer { in_cdb, byte, .. } = sense.specific {
                let len = if in_cdb { 10 } else { list.len() };
                assert!(usize::from(byte) < len);
            }
        }
        Ok(command) => {
            let listed: &[ListedId] = match &command {
                ReserveOut::Register {
                    initiators: Some(ids),
                    ..
                } => ids,
                ReserveOut::RegisterAndMove { initiator, .. } => std::slice::from_ref(initiator),
                _ => &[],
            };
            assert!(!listed.is_empty() || list.len() == 24);
            for id in listed {
                let at = &list[usize::from(id.offset)..];
                assert_eq!(TransportId::parse(at).map(|(id, _)| id), Ok(id.id.clone()));
            }
        }
    }
}

/// Initiator ports: five of two devices, so that a device stands for several.
fn initiator(choice: u8) -> TransportId {
    let name = if choice % 5 < 3 { "iqn.a" } else { "iqn.b" };
    TransportId::iscsi(name, [0, 0, 0, 0, 0, choice % 5]).expect("a name")
}

fn nexus(choice: u8) -> ItNexus {
    ItNexus::new(initiator(choice), 1 + u16::from(choice >> 7))
}

/// Six bytes an event: what, whence, key, other key, type and flags, somebody.
pub fn pr_sequence(bytes: &[u8]) {
    let mut state = State::default();
    for step in bytes.as_chunks::<6>().0.iter().take(500) {
        let event = event(&state, *step);
        match apply(&state, &event) {
            Err(Refusal::Conflict) => {}
            Err(Refusal::Check(sense)) => assert_eq!(sense.key, SenseKey::IllegalRequest),
            Ok((new, effects)) => {
                change_holds(&state, &new, &effects, &event);
                state_holds(&new);
                state = new;
            }
        }
    }
}

fn event(state: &State, [what, whence, key, other, flags, who]: [u8; 6]) -> Event {
    let from = nexus(whence);
    let other = ReservationKey(u64::from(other % 4));
    // Mostly the right key: else histories end before they begin.
    let key = match state.key_of(&from) {
        Some(own) if key % 8 != 0 => own,
        None if key % 8 != 0 => ReservationKey::ZERO,
        _ => ReservationKey(u64::from(key % 5)),
    };
    let scope_type = ScopeType {
        scope: u8::from(flags == 0xFF),
        kind: flags & 0x0F,
    };
    let registration = Registration {
        key: other,
        all_target_ports: flags & 0x10 != 0,
        aptpl: flags & 0x20 != 0,
    };
    let id = if flags & 0x40 == 0 {
        initiator(who)
    } else {
        TransportId::IscsiDevice(IscsiName::new("iqn.a").expect("a name"))
    };
    let listed = ListedId { offset: 28, id };
    let command = match what % 16 {
        0..=2 => ReserveOut::Register {
            key,
            registration,
            initiators: (flags & 0x80 != 0).then(|| vec![listed]),
        },
        3 | 4 => ReserveOut::RegisterAndIgnoreExistingKey(registration),
        5 | 6 => ReserveOut::Reserve { key, scope_type },
        7 => ReserveOut::Release { key, scope_type },
        8 => ReserveOut::Clear { key },
        9 | 10 => ReserveOut::Preempt {
            key,
            victim: other,
            scope_type,
            abort: flags & 0x80 != 0,
        },
        11 => ReserveOut::RegisterAndMove {
            key,
            new_key: other,
            unregister: flags & 0x80 != 0,
            aptpl: flags & 0x20 != 0,
            port: 1 + u16::from(who >> 7),
            initiator: listed,
        },
        12 => return Event::Reserve { from },
        13 => return Event::Release { from },
        14 => return Event::NexusLoss { nexus: from },
        _ if flags & 0x80 == 0 => return Event::Reset,
        _ => return Event::ReserveIn,
    };
    let setting = Setting {
        ports: vec![1, 2],
        connected: (0..3).map(|n| nexus(n | who & 0x80)).collect(),
        aptpl_capable: who & 0x40 == 0,
    };
    Event::ReserveOut {
        from,
        command,
        setting,
    }
}

/// What holds of every state.
fn state_holds(state: &State) {
    let parts = State::from_parts(
        state.generation(),
        state.registrants().clone(),
        state.reservation().cloned(),
        state.aptpl(),
    );
    let parts = parts.expect("holders are registered, no key is zero");
    assert!(state.reserved_by().is_none() || state.registrants().is_empty());
    let kept = decode(&encode(&parts)).expect("what was written can be read");
    assert_eq!(
        (kept.registrants(), kept.reservation()),
        (state.registrants(), state.reservation())
    );
    for choice in (0..5).flat_map(|n| [n, n | 0x80]) {
        let nexus = nexus(choice);
        let writes = allowed(state, &nexus) & CommandClass::WRITE.bits() != 0;
        let entitled = match (state.reserved_by(), state.reservation()) {
            (Some(holder), _) => *holder == nexus,
            (None, Some(_)) => state.shares(&nexus),
            (None, None) => true,
        };
        assert_eq!(writes, entitled);
        assert!(!state.holds(&nexus) || state.key_of(&nexus).is_some());
        assert_ne!(allowed(state, &nexus) & CommandClass::INQUIRY.bits(), 0);
    }
    for action in 0..4 {
        let data = reserve_in(action, state, true).expect("a service action");
        let len = u32::from_be_bytes(*data[4..].first_chunk().expect("a header"));
        assert!(action == 2 || len as usize + 8 == data.len());
    }
}

/// What holds of every change.
fn change_holds(old: &State, new: &State, effects: &Effects, event: &Event) {
    let step = new.generation().wrapping_sub(old.generation());
    assert!(step <= 1);
    let counts = old.registrants() == new.registrants() || step == 1;
    assert!(counts, "registrations change with the generation only");
    let from = match event {
        Event::ReserveOut { from, .. } => Some(from),
        _ => None,
    };
    let mut told = BTreeSet::new();
    for (nexus, asc) in &effects.unit_attentions {
        assert!(
            Some(nexus) != from && told.insert(nexus),
            "told once, others only"
        );
        assert!(old.key_of(nexus).is_some());
        let stays = *asc == Asc::RESERVATIONS_RELEASED;
        assert_eq!(new.key_of(nexus).is_some(), stays);
    }
    for choice in (0..5).flat_map(|n| [n, n | 0x80]) {
        let nexus = nexus(choice);
        let wrote = allowed(old, &nexus) & CommandClass::WRITE.bits() != 0;
        let writes = allowed(new, &nexus) & CommandClass::WRITE.bits() != 0;
        let aborted = effects.abort.contains(&nexus);
        assert!(!wrote || writes || aborted || takes_rights(old, new, &effects.abort));
    }
}

/// An APTPL file. Its checksum is made right, so that what it covers is looked at.
pub fn aptpl_file(bytes: &[u8]) {
    let _ = decode(bytes);
    let Some((content, _)) = bytes.split_last_chunk::<4>() else {
        return;
    };
    let sum = checksum(CrcAlgorithm::Crc32Iscsi, content) as u32;
    let file = [content, &sum.to_be_bytes()].concat();
    let Ok(state) = decode(&file) else { return };
    assert_eq!(state.generation(), 0);
    assert!(state.aptpl());
    let again = encode(&state);
    assert_eq!(decode(&again), Ok(state));
    // Names are kept in lower case; nothing else has two forms of the same length.
    assert!(again.len() <= file.len());
}
