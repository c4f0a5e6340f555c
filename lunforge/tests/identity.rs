//! Who is who: two units that an initiator would take for one are refused, whatever makes them look alike.

use std::sync::Arc;

use lunforge::Unit;
use lunforge::core::designator::{Designator, DesignatorKind};
use lunforge::core::target::{TargetError, check_identities};
use lunforge::iscsi::{AttachError, IscsiTransport};
use lunforge::vdisk::store::RamStore;
use lunforge::vdisk::{Vdisk, VdiskBuilder};
use lunforge::{Engine, Target};

const A: &str = "iqn.2026-11.org.example:a";
const B: &str = "iqn.2026-11.org.example:b";

fn ram(serial: &str) -> VdiskBuilder {
    Vdisk::store(Arc::new(RamStore::new(1 << 20))).serial(serial)
}

fn disk(serial: &str) -> Vdisk {
    ram(serial).open().unwrap()
}

fn with_naa(serial: &str, naa: u64) -> Vdisk {
    let designator = Designator::logical_unit(DesignatorKind::Naa(naa));
    ram(serial).designators(vec![designator]).open().unwrap()
}

#[test]
fn n57_two_units_of_one_serial_number_or_designator_are_refused() {
    let built = Target::builder(A)
        .lun(0, disk("x"))
        .lun(1, disk("x"))
        .build();
    assert_eq!(built.unwrap_err(), TargetError::DuplicateSerial("x".into()));
    let naa = 0x5000_0000_0000_0001;
    let built = Target::builder(A)
        .lun(0, with_naa("x", naa))
        .lun(1, with_naa("y", naa))
        .build();
    let twins = TargetError::DuplicateDesignator("y".into(), "x".into());
    assert_eq!(built.unwrap_err(), twins);
    let target = Target::builder(A)
        .lun(0, with_naa("x", naa))
        .build()
        .unwrap();
    assert_eq!(target.add_lun(1, with_naa("y", naa)), Err(twins));
    assert_eq!(target.luns().len(), 1, "nothing was changed");
    target.add_lun(1, with_naa("y", naa + 1)).unwrap();
}

#[test]
fn n57_a_unit_may_be_seen_twice_and_is_no_twin_of_itself() {
    let unit = Unit::new(disk("x")).build();
    let target = Target::builder(A)
        .lun(0, Arc::clone(&unit))
        .lun(1, unit)
        .build()
        .unwrap();
    assert_eq!(check_identities(target.luns().values().cloned()), Ok(()));
}

#[test]
fn n57_twins_in_two_targets_of_a_transport_are_refused() {
    let engine = Engine::builder().shards(1).start().unwrap();
    let bind = || IscsiTransport::bind("127.0.0.1:0").unwrap();
    let target = |name, serial| Target::builder(name).lun(0, disk(serial)).build().unwrap();
    let refused = engine.attach(bind(), vec![target(A, "x"), target(B, "x")]);
    assert!(matches!(
        refused,
        Err(AttachError::Identity(TargetError::DuplicateSerial(_)))
    ));
    let refused = engine.attach(bind(), vec![target(A, "x"), target(A, "y")]);
    assert!(matches!(refused, Err(AttachError::DuplicateTarget(_))));
    engine
        .attach(bind(), vec![target(A, "x"), target(B, "y")])
        .unwrap();
}

#[test]
fn n57_two_ports_of_a_unit_have_relative_identifiers_of_their_own() {
    let unit = Unit::new(disk("x")).build();
    let first = Target::builder(A)
        .lun(0, Arc::clone(&unit))
        .build()
        .unwrap();
    let port = |n| {
        Target::builder(B)
            .relative_port(n)
            .lun(0, Arc::clone(&unit))
            .build()
    };
    assert_eq!(port(1).unwrap_err(), TargetError::DuplicatePort(1));
    port(2).unwrap();
    assert_eq!(first.relative_port(), 1);
}

#[test]
fn n57_names_of_ten_mebibytes_are_refused_with_a_short_word() {
    let long = "x".repeat(10 << 20);
    for name in [String::new(), "x".repeat(224), long.clone()] {
        let error = Target::builder(name).build().unwrap_err();
        assert!(error.to_string().len() < 200);
    }
    Target::builder("x".repeat(223)).build().unwrap();
    let error = ram(&long).open().unwrap_err();
    assert!(error.to_string().len() < 200, "{}", error.to_string().len());
}
