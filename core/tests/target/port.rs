//! The relative target port identifier (SPC-4 7.8.6.7).

use lunforge_core::target::TargetError;

use super::*;

fn named(name: &str, port: u16, unit: &Arc<LogicalUnit>) -> Arc<Target> {
    let target = Target::builder(format!("iqn.2026-11.org.example:{name}"));
    let target = target.relative_port(port).lun(0, Arc::clone(unit));
    target.build().unwrap()
}

/// The relative target port identifier of VPD page 83h.
fn told_port(bed: &mut Bed, session: Session) -> u16 {
    let data = bed
        .command(session, 0, &[0x12, 1, 0x83, 1, 0, 0], &[], 256)
        .data;
    let at = data.windows(4).position(|w| w == [0x51, 0x94, 0, 4]);
    let at = at.expect("a relative target port designator");
    u16::from_be_bytes([data[at + 6], data[at + 7]])
}

#[test]
fn a_port_changes_for_its_own_sessions_and_stays_unique() {
    let unit = plain("unit");
    let (one, two) = (named("one", 1, &unit), named("two", 2, &unit));
    let mut bed = Bed::with_targets(1, Arc::clone(&one), &[Arc::clone(&two)]);
    let (a, b) = (bed.session_with(&one, 0, A), bed.session_with(&two, 0, B));
    assert_eq!(one.set_relative_port(2), Err(TargetError::DuplicatePort(2)));
    assert_eq!(told_port(&mut bed, a), 1);
    assert_eq!(told(&mut bed, a, 0), []);
    one.set_relative_port(7).unwrap();
    assert_eq!(one.relative_port(), 7);
    assert_eq!(unit.ports(), [2, 7]);
    assert_eq!(told_port(&mut bed, a), 7);
    assert_eq!(told(&mut bed, a, 0), [INQUIRY_CHANGED]);
    assert_eq!(told(&mut bed, b, 0), []);
    // What it had is free.
    two.set_relative_port(1).unwrap();
    assert_eq!(unit.ports(), [1, 7]);
}

#[test]
fn a_port_that_one_of_several_units_has_already_is_taken_for_none() {
    let (first, second) = (plain("first"), plain("second"));
    let (one, _two) = (named("one", 1, &first), named("two", 2, &second));
    one.add_lun(1, Arc::clone(&second)).unwrap();
    one.add_lun(2, Arc::clone(&first)).unwrap();
    assert_eq!(one.set_relative_port(2), Err(TargetError::DuplicatePort(2)));
    assert_eq!((first.ports(), second.ports()), (vec![1], vec![1, 2]));
    one.set_relative_port(3).unwrap();
    assert_eq!((first.ports(), second.ports()), (vec![3], vec![2, 3]));
}
