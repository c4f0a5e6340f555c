//! The rules of SPC-4 5.13, clause by clause, on the pure state machine.

mod registration;
mod reservation;

use lunforge_core::asc::Asc;
use lunforge_core::sense::{Sense, SenseKey, SenseSpecific};
use lunforge_core::transport_id::{IscsiName, TransportId};
use lunforge_pr::{
    Effects, Event, ItNexus, ListedId, MAX_REGISTRANTS, Refusal, Registration, ReservationKey,
    ReservationType, ReserveOut, ScopeType, Setting, State, allowed, apply, takes_rights,
};

const CONFLICT: Result<(), Refusal> = Err(Refusal::Conflict);

fn port(name: &str) -> TransportId {
    TransportId::iscsi(&format!("iqn.2026-11.org.example:{name}"), [0; 6]).unwrap()
}

/// The nexus of initiator `name` with target port 1.
fn nexus(name: &str) -> ItNexus {
    ItNexus::new(port(name), 1)
}

const fn key(key: u64) -> ReservationKey {
    ReservationKey(key)
}

const fn lu(kind: u8) -> ScopeType {
    ScopeType { scope: 0, kind }
}

fn registration(new: u64) -> Registration {
    Registration {
        key: key(new),
        all_target_ports: false,
        aptpl: false,
    }
}

fn register(present: u64, new: u64) -> ReserveOut {
    ReserveOut::Register {
        key: key(present),
        registration: registration(new),
        initiators: None,
    }
}

fn reserve(own: u64, kind: u8) -> ReserveOut {
    ReserveOut::Reserve {
        key: key(own),
        scope_type: lu(kind),
    }
}

fn release(own: u64, kind: u8) -> ReserveOut {
    ReserveOut::Release {
        key: key(own),
        scope_type: lu(kind),
    }
}

fn preempt(own: u64, victim: u64, kind: u8) -> ReserveOut {
    ReserveOut::Preempt {
        key: key(own),
        victim: key(victim),
        scope_type: lu(kind),
        abort: false,
    }
}

fn move_to(own: u64, new: u64, to: &str, unregister: bool) -> ReserveOut {
    ReserveOut::RegisterAndMove {
        key: key(own),
        new_key: key(new),
        unregister,
        aptpl: false,
        port: 2,
        initiator: ListedId {
            offset: 24,
            id: port(to),
        },
    }
}

/// A unit at ports 1 and 2.
struct Unit {
    state: State,
    setting: Setting,
}

impl Unit {
    fn new() -> Self {
        let setting = Setting {
            ports: vec![1, 2],
            connected: Vec::new(),
            aptpl_capable: true,
        };
        let state = State::default();
        Self { state, setting }
    }

    /// Keys 1, 2, 3 for a, b, c; a holds if there is a type.
    fn of_three(kind: u8) -> Self {
        let mut unit = Self::new();
        for (name, own) in [("a", 1), ("b", 2), ("c", 3)] {
            unit.good(name, register(0, own));
        }
        if kind != 0 {
            unit.good("a", reserve(1, kind));
        }
        unit
    }

    fn send(&mut self, from: ItNexus, command: ReserveOut) -> Result<Effects, Refusal> {
        let setting = self.setting.clone();
        let event = Event::ReserveOut {
            from,
            command,
            setting,
        };
        let (state, effects) = apply(&self.state, &event)?;
        self.state = state;
        Ok(effects)
    }

    #[track_caller]
    fn good(&mut self, from: &str, command: ReserveOut) -> Effects {
        self.send(nexus(from), command).unwrap()
    }

    /// Refused, and nothing changed.
    #[track_caller]
    fn refused(&mut self, from: &str, command: ReserveOut) -> Refusal {
        let before = self.state.clone();
        let refusal = self.send(nexus(from), command).unwrap_err();
        assert_eq!(self.state, before);
        refusal
    }

    fn key(&self, name: &str) -> Option<u64> {
        self.state.key_of(&nexus(name)).map(|key| key.0)
    }

    fn kind(&self) -> u8 {
        self.state.reservation().map_or(0, |r| r.kind().code())
    }
}

/// Who is told what, in short.
fn told(effects: &Effects) -> Vec<(String, u8)> {
    let name = |n: &ItNexus| match &*n.initiator {
        TransportId::IscsiPort(name, _) => name.as_str().rsplit(':').next().unwrap().to_owned(),
        other => other.to_string(),
    };
    let asc = |asc: &Asc| {
        assert_eq!(asc.asc, 0x2A);
        asc.ascq
    };
    effects
        .unit_attentions
        .iter()
        .map(|(n, a)| (name(n), asc(a)))
        .collect()
}

fn to(names: &[&str], ascq: u8) -> Vec<(String, u8)> {
    names
        .iter()
        .map(|name| ((*name).to_owned(), ascq))
        .collect()
}

/// ILLEGAL REQUEST with this code and a pointer into the parameter list or the CDB.
fn pointed(refusal: Refusal) -> (u8, u8, Option<(bool, u16)>) {
    let Refusal::Check(Sense {
        key, asc, specific, ..
    }) = refusal
    else {
        panic!("{refusal:?}");
    };
    assert_eq!(key, SenseKey::IllegalRequest);
    let pointer = match specific {
        SenseSpecific::FieldPointer { in_cdb, byte, .. } => Some((in_cdb, byte)),
        _ => None,
    };
    (asc.asc, asc.ascq, pointer)
}
