//! REPORT TARGET PORT GROUPS (SPC-4 6.37).

use crate::state::AccessState;
use crate::table::{Table, TargetPortGroup};

/// T_SUP, O_SUP, U_SUP, S_SUP, AN_SUP, AO_SUP.
const SUPPORTED: u8 = 0x80 | 0x40 | 0x08 | 0x04 | 0x02 | 0x01;
/// LBD_SUP. Not said to be supported, since referrals are not; but a group that is in the state is not denied it.
const LBD_SUP: u8 = 0x10;

/// Bytes of the parameter data.
pub(crate) fn len(table: &Table, extended: bool) -> usize {
    let each = |group: &TargetPortGroup| 8 + 4 * group.ports.len();
    let header = if extended { 8 } else { 4 };
    header + table.groups().map(each).sum::<usize>()
}

/// The parameter data: every group, also those of other nodes. `transition` is IMPLICIT TRANSITION TIME, in seconds.
pub(crate) fn emit(table: &Table, extended: bool, transition: u8) -> Vec<u8> {
    let len = len(table, extended);
    let mut out = Vec::with_capacity(len);
    // At most 65535 groups and ports, far below 2^32 bytes.
    out.extend_from_slice(&u32::try_from(len - 4).unwrap_or(u32::MAX).to_be_bytes());
    if extended {
        // FORMAT TYPE 001b.
        out.extend_from_slice(&[0x10, transition, 0, 0]);
    }
    table.groups().for_each(|group| emit_group(group, &mut out));
    out
}

fn emit_group(group: &TargetPortGroup, out: &mut Vec<u8>) {
    let [id_high, id_low] = group.id.to_be_bytes();
    let dependent = group.state == AccessState::LogicalBlockDependent;
    out.extend_from_slice(&[
        u8::from(group.preferred) << 7 | group.state.code(),
        SUPPORTED | if dependent { LBD_SUP } else { 0 },
        id_high,
        id_low,
        0,
        group.status as u8,
        0,
        u8::try_from(group.ports.len()).unwrap_or(u8::MAX),
    ]);
    for port in &group.ports {
        let [high, low] = port.relative_port().to_be_bytes();
        out.extend_from_slice(&[0, 0, high, low]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::{StatusCode, TargetPort};

    #[test]
    fn both_headers_and_all_groups_are_written_as_spc_4_6_37_shows() {
        let mut table = Table::default();
        let near = TargetPortGroup::new(1).preferring(true);
        table.add_group(near.with(TargetPort::Local(1))).unwrap();
        let far = TargetPort::Remote {
            target: "iqn.b".into(),
            relative_port: 0x102,
        };
        let far = TargetPortGroup::new(0x203)
            .with(far)
            .with(TargetPort::Local(3));
        table.add_group(far).unwrap();
        let explicit = StatusCode::Explicit;
        table
            .set_state(0x203, AccessState::Offline, explicit)
            .unwrap();
        let groups = [
            0x80, 0xCF, 0, 1, 0, 2, 0, 1, 0, 0, 0, 1, //
            0x0E, 0xCF, 2, 3, 0, 1, 0, 2, 0, 0, 1, 2, 0, 0, 0, 3,
        ];
        let short = emit(&table, false, 9);
        assert_eq!(short[..4], [0, 0, 0, 28]);
        assert_eq!(short[4..], groups);
        let long = emit(&table, true, 9);
        assert_eq!(long[..8], [0, 0, 0, 32, 0x10, 9, 0, 0]);
        assert_eq!(long[8..], groups);
        assert_eq!(emit(&Table::default(), false, 0), [0; 4]);
    }
}
