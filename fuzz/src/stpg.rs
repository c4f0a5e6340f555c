//! SET TARGET PORT GROUPS: parameter lists against a unit, beside a model of SPC-4 6.45.

use std::collections::BTreeMap;

use lunforge_alua::{AccessState, AsymmetricAccess, DeviceGroup, TargetPort, TargetPortGroup};
use lunforge_core::sense::SenseSpecific;
use lunforge_core::status::Status;
use lunforge_core::testing::Bed;
use lunforge_core::testing::doubles::Blank;
use lunforge_core::{LogicalUnit, Target};

/// Groups with their ports; the port of the third is another node's.
const GROUPS: [(u16, &[u16]); 4] = [(1, &[0x101]), (2, &[0x201, 0x202]), (3, &[0x301]), (4, &[])];
/// Header and 1024 descriptors.
const MOST: usize = 4 + 4 * 1024;

type States = BTreeMap<u16, u8>;

/// Byte 0: by how much the list is announced longer than it is. Byte 1: the states before, two bits each. Then the list.
pub fn stpg(bytes: &[u8]) {
    let Some((&[skew, states], list)) = bytes.split_first_chunk::<2>() else {
        return;
    };
    let announced = list.len() + usize::from(skew);
    let (group, mut bed) = unit(states);
    let before = states_of(&group);
    let session = bed.session(0, "iqn.2026-11.org.example:fuzz");
    let [a, b, c, d] = u32::try_from(announced)
        .expect("fuzz inputs are short")
        .to_be_bytes();
    let cdb = [0xA4, 0x0A, 0, 0, 0, 0, a, b, c, d, 0, 0];
    let reply = bed.command(session, 0, &cdb, list, 0);
    match model(&before, announced, list) {
        Ok(after) => {
            assert_eq!(reply.status, Status::Good, "{reply:?}");
            assert_eq!(states_of(&group), after);
        }
        Err(asc) => {
            assert_eq!(reply.asc(), Some(asc), "{reply:?}");
            assert_eq!(states_of(&group), before, "nothing changes by a wrong list");
            let specific = reply.sense.expect("an asc").specific;
            if let SenseSpecific::FieldPointer {
                in_cdb: false,
                byte,
                ..
            } = specific
            {
                assert!(usize::from(byte) < list.len());
            }
        }
    }
    let parsed = lunforge_alua::parse_set_target_port_groups(list);
    let whole = list.len() >= 4 && list.len() % 4 == 0;
    assert_eq!(
        parsed.map(|d| d.len()).ok(),
        whole.then(|| list.len() / 4 - 1)
    );
}

fn unit(states: u8) -> (DeviceGroup, Bed) {
    let access = AsymmetricAccess::new();
    access.explicit(true);
    let unit = LogicalUnit::builder(std::sync::Arc::new(Blank::default()));
    let unit = unit.service(access.clone()).build();
    let target = Target::builder("iqn.2026-11.org.example:fuzzed").relative_port(0x101);
    let target = target.lun(0, unit).build().expect("a target");
    let group = DeviceGroup::new("fuzz");
    for (at, (id, ports)) in GROUPS.into_iter().enumerate() {
        let state = AccessState::from_code(states >> (2 * at) & 3).expect("a primary state");
        let named = |relative_port| match id {
            3 => TargetPort::Remote {
                target: "iqn.2026-11.org.example:far".into(),
                relative_port,
            },
            _ => TargetPort::Local(relative_port),
        };
        let all = ports.iter().map(|port| named(*port));
        let all = all.fold(
            TargetPortGroup::new(id).in_state(state),
            TargetPortGroup::with,
        );
        group.add_target_port_group(all).expect("a group");
    }
    group.add_unit(&access).expect("a unit");
    (group, Bed::with_target(1, target))
}

fn states_of(group: &DeviceGroup) -> States {
    let groups = group.target_port_groups();
    groups.iter().map(|g| (g.id(), g.state().code())).collect()
}

/// What the list does: the states after it, or the additional sense code.
fn model(before: &States, announced: usize, list: &[u8]) -> Result<States, (u8, u8)> {
    let (length, field) = (Err((0x1A, 0)), (0x26, 0));
    match announced {
        0 => return Ok(before.clone()),
        len if len > MOST => return Err((0x24, 0)),
        len if len % 4 != 0 || len != list.len() => return length,
        _ => {}
    }
    let mut after = States::new();
    let mut offline: Vec<u16> = Vec::new();
    for descriptor in list[4..].chunks(4) {
        let id = u16::from_be_bytes([descriptor[2], descriptor[3]]);
        match descriptor[0] & 0x0F {
            state @ 0..=3 if before.contains_key(&id) => {
                if after.insert(id, state).is_some() {
                    return Err(field);
                }
            }
            0xE if !offline.contains(&id) => offline.push(id),
            _ => return Err(field),
        }
    }
    for (id, ports) in GROUPS {
        let named = ports.iter().filter(|port| offline.contains(port)).count();
        if named == 0 {
            continue;
        }
        offline.retain(|port| !ports.contains(port));
        if named < ports.len() || after.insert(id, 0xE).is_some() {
            return Err(field);
        }
    }
    if !offline.is_empty() {
        return Err(field);
    }
    Ok(before
        .iter()
        .map(|(id, state)| (*id, *after.get(id).unwrap_or(state)))
        .collect())
}
