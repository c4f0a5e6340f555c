//! SET TARGET PORT GROUPS (SPC-4 6.45).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use lunforge_core::asc::Asc;
use lunforge_core::handler::{Execute, Execution, Outcome};
use lunforge_core::nexus::NexusId;
use lunforge_core::sense::Sense;
use lunforge_core::status::Status;

use crate::agent::{self, StateChange};
use crate::device_group::Shared;
use crate::state::AccessState;
use crate::table::Table;

/// Header of the parameter list.
const HEADER: usize = 4;
/// Length of a descriptor.
const DESCRIPTOR: usize = 4;
/// Most descriptors of a list; SCST takes 64.
const MAX_DESCRIPTORS: usize = 1024;

/// A SET TARGET PORT GROUPS command in progress.
pub(crate) struct Asked {
    pub(crate) nexus: NexusId,
    pub(crate) changes: Vec<StateChange>,
}

/// A set target port group descriptor: what it says, not whether it may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SetDescriptor {
    /// ASYMMETRIC ACCESS STATE, four bits.
    pub state: u8,
    /// TARGET PORT GROUP OR TARGET PORT: a port with state Eh, else a group.
    pub id: u16,
}

/// Checks PARAMETER LIST LENGTH before any data moves.
///
/// # Errors
/// INVALID FIELD IN CDB when it is longer than any list that is taken; PARAMETER LIST LENGTH ERROR when it cuts a
/// descriptor. Zero is no error: nothing is to be set.
pub(crate) fn list_len(len: u32) -> Result<usize, Sense> {
    let most = HEADER + MAX_DESCRIPTORS * DESCRIPTOR;
    match usize::try_from(len) {
        Ok(0) => Ok(0),
        Ok(len) if len > most => Err(Sense::invalid_field_in_cdb(6, Some(7))),
        Ok(len) if len % DESCRIPTOR != 0 => Err(length_error()),
        Ok(len) => Ok(len),
        Err(_) => Err(Sense::invalid_field_in_cdb(6, Some(7))),
    }
}

/// Reads a parameter list. Reserved fields are not looked at.
///
/// # Errors
/// PARAMETER LIST LENGTH ERROR when the header or a descriptor is cut.
pub fn parse(list: &[u8]) -> Result<Vec<SetDescriptor>, Sense> {
    let Some((_header, rest)) = list.split_first_chunk::<HEADER>() else {
        return Err(length_error());
    };
    let (descriptors, []) = rest.as_chunks::<DESCRIPTOR>() else {
        return Err(length_error());
    };
    let read = |&[state, _, high, low]: &[u8; DESCRIPTOR]| SetDescriptor {
        state: state & 0x0F,
        id: u16::from_be_bytes([high, low]),
    };
    Ok(descriptors.iter().map(read).collect())
}

/// The changes that a list asks for: all, or an error. Groups that are in the state already are left out.
///
/// Offline is set by port. A group is offline as a whole, so the list has to name all of its ports.
///
/// # Errors
/// INVALID FIELD IN PARAMETER LIST for a state that may not be set, a group or port that there is not, one that is
/// named twice, and a part of a group that is to be offline.
pub(crate) fn resolve(list: &[SetDescriptor], table: &Table) -> Result<Vec<StateChange>, Sense> {
    let mut wanted = BTreeMap::new();
    let mut offline = Offline::new();
    for (at, descriptor) in list.iter().enumerate() {
        use AccessState as S;
        let state = match AccessState::from_code(descriptor.state) {
            Some(
                s @ (S::ActiveOptimized | S::ActiveNonOptimized | S::Standby | S::Unavailable),
            ) => s,
            Some(S::Offline) => {
                let group = table.of_port(descriptor.id).ok_or_else(|| wrong_id(at))?;
                offline
                    .entry(group.id)
                    .or_default()
                    .push((at, descriptor.id));
                continue;
            }
            _ => return Err(wrong(at, 0, Some(3))),
        };
        table.group(descriptor.id).map_err(|_| wrong_id(at))?;
        if wanted.insert(descriptor.id, state).is_some() {
            return Err(wrong_id(at));
        }
    }
    take_offline(&offline, table, &mut wanted)?;
    let change = |(group, to): (u16, AccessState)| {
        let from = table.group(group).ok()?.state;
        (from != to).then_some(StateChange { group, from, to })
    };
    Ok(wanted.into_iter().filter_map(change).collect())
}

/// Ports that are to be offline, by their groups, each with the number of its descriptor.
type Offline = BTreeMap<u16, Vec<(usize, u16)>>;

/// Groups of which all ports are to be offline, each named once.
fn take_offline(
    offline: &Offline,
    table: &Table,
    wanted: &mut BTreeMap<u16, AccessState>,
) -> Result<(), Sense> {
    for (group, ports) in offline {
        let mut seen = BTreeSet::new();
        let twice = ports.iter().find(|(_, port)| !seen.insert(*port));
        let first = ports.first();
        let at = twice.or(first).map_or(0, |(at, _)| *at);
        let all = table
            .group(*group)
            .is_ok_and(|group| group.ports.len() == ports.len());
        if twice.is_some() || !all || wanted.insert(*group, AccessState::Offline).is_some() {
            return Err(wrong_id(at));
        }
    }
    Ok(())
}

/// Executes the command: checks the list here, has the change made on a thread of its own.
pub(crate) fn execute(shared: &Arc<Shared>, command: &mut Execution<'_>, len: u32) -> Execute {
    if len == 0 {
        return Execute::Done(Outcome::good());
    }
    let buf = command.buf();
    let list = buf.to_vec(0..buf.len());
    // Of an initiator that sends less than it announces, the list is cut.
    let whole = usize::try_from(len).is_ok_and(|len| list.len() == len);
    let parsed = if whole {
        parse(&list)
    } else {
        Err(length_error())
    };
    let changes = parsed.and_then(|list| resolve(&list, &shared.table()));
    let changes = match changes {
        Ok(changes) if changes.is_empty() => return Execute::Done(Outcome::good()),
        Ok(changes) => changes,
        Err(sense) => return Execute::Done(sense.into()),
    };
    let nexus = command.nexus();
    let asked = Asked {
        nexus,
        changes: changes.clone(),
    };
    if !shared.begin_asked(asked) {
        // Another is in progress; an initiator repeats the command.
        return Execute::Done(Outcome::status(Status::Busy));
    }
    agent::carry_out(shared, command, changes);
    Execute::Pending
}

fn length_error() -> Sense {
    Sense::illegal_request(Asc::PARAMETER_LIST_LENGTH_ERROR)
}

/// INVALID FIELD IN PARAMETER LIST, pointing into a descriptor.
fn wrong(descriptor: usize, byte: usize, bit: Option<u8>) -> Sense {
    let at = HEADER + descriptor * DESCRIPTOR + byte;
    Sense::invalid_field_in_parameter_list(u16::try_from(at).unwrap_or(u16::MAX), bit)
}

fn wrong_id(descriptor: usize) -> Sense {
    wrong(descriptor, 2, None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::{TargetPort, TargetPortGroup};
    use lunforge_core::sense::SenseSpecific;

    fn table() -> Table {
        let mut table = Table::default();
        let local = |id, ports: &[u16]| {
            let add = |group: TargetPortGroup, port: &u16| group.with(TargetPort::Local(*port));
            ports.iter().fold(TargetPortGroup::new(id), add)
        };
        table.add_group(local(1, &[11])).unwrap();
        table.add_group(local(2, &[21, 22])).unwrap();
        table
    }

    fn ask(list: &[(u8, u16)]) -> Result<Vec<(u16, AccessState)>, u16> {
        let list: Vec<_> = list
            .iter()
            .map(|&(state, id)| SetDescriptor { state, id })
            .collect();
        match resolve(&list, &table()) {
            Ok(changes) => Ok(changes.iter().map(|c| (c.group, c.to)).collect()),
            Err(Sense {
                asc: Asc::INVALID_FIELD_IN_PARAMETER_LIST,
                specific,
                ..
            }) => match specific {
                SenseSpecific::FieldPointer {
                    in_cdb: false,
                    byte,
                    ..
                } => Err(byte),
                other => panic!("{other:?}"),
            },
            Err(other) => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_length_is_that_of_header_and_whole_descriptors() {
        for len in 0..=4 + 4 * MAX_DESCRIPTORS as u32 + 9 {
            let result = list_len(len);
            if len > 4 + 4 * MAX_DESCRIPTORS as u32 {
                assert_eq!(result, Err(Sense::invalid_field_in_cdb(6, Some(7))));
            } else if len % 4 != 0 {
                assert_eq!(result, Err(length_error()));
            } else {
                assert_eq!(result, Ok(len as usize));
            }
        }
        assert!(list_len(u32::MAX).is_err());
    }

    #[test]
    fn a_list_is_read_by_fours_behind_its_header() {
        assert_eq!(parse(&[0; 4]), Ok(vec![]));
        for cut in [0, 3, 5, 7, 9] {
            assert_eq!(parse(&[0; 9][..cut]), Err(length_error()), "{cut}");
        }
        let list = [9, 9, 9, 9, 0xF2, 9, 1, 2];
        assert_eq!(
            parse(&list),
            Ok(vec![SetDescriptor {
                state: 2,
                id: 0x102
            }])
        );
    }

    #[test]
    fn states_that_may_not_be_set_are_refused_at_their_byte() {
        for code in 0..16 {
            let settable = matches!(code, 0..=3);
            assert_eq!(ask(&[(2, 1), (code, 2)]).is_ok(), settable, "{code}");
            if !settable && code != 0xE {
                assert_eq!(ask(&[(2, 1), (code, 2)]), Err(8));
            }
        }
    }

    #[test]
    fn unknown_groups_and_groups_named_twice_are_refused_at_their_field() {
        assert_eq!(ask(&[(2, 1), (2, 3)]), Err(10));
        assert_eq!(ask(&[(2, 1), (2, 2), (2, 1)]), Err(14));
        assert_eq!(ask(&[(2, 1), (3, 1)]), Err(10));
    }

    #[test]
    fn a_state_that_holds_already_is_no_change() {
        assert_eq!(
            ask(&[(0, 1), (1, 2)]),
            Ok(vec![(2, AccessState::ActiveNonOptimized)])
        );
        assert_eq!(ask(&[]), Ok(vec![]));
    }

    #[test]
    fn offline_names_ports_and_takes_all_of_a_group() {
        let offline = |group| (group, AccessState::Offline);
        assert_eq!(ask(&[(0xE, 11)]), Ok(vec![offline(1)]));
        assert_eq!(ask(&[(0xE, 22), (1, 1), (0xE, 21)]).map(|c| c.len()), Ok(2));
        assert_eq!(ask(&[(0xE, 21)]), Err(6), "a part of a group");
        assert_eq!(ask(&[(0xE, 1)]), Err(6), "a group is no port");
        assert_eq!(ask(&[(0xE, 21), (0xE, 21)]), Err(10), "twice");
        assert_eq!(ask(&[(0, 1), (0xE, 11)]), Err(10), "two states");
    }

    #[test]
    fn lists_of_more_than_64_descriptors_are_taken() {
        let mut table = Table::default();
        for id in 1..=1024 {
            table.add_group(TargetPortGroup::new(id)).unwrap();
        }
        let list: Vec<_> = (1..=1024)
            .map(|id| SetDescriptor { state: 2, id })
            .collect();
        assert_eq!(resolve(&list, &table).map(|c| c.len()), Ok(1024));
    }
}
