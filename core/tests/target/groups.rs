//! Which LUN map a session sees, and what becomes of it when that changes.

use std::time::{Duration, Instant};

use lunforge_core::target::{Draft, Identities, LunMap, MAX_GROUP, TargetError};
use proptest::prelude::*;

use super::*;

/// LUN 0 and 1 by default; in the group "own" LUN 0 is the same unit, and LUN 2 another one.
fn bed_with_group() -> (Bed, Arc<Target>, Vec<Arc<Controls>>) {
    let units = ["zero", "one", "two"].map(unit);
    let target = target(&[&units[0].0, &units[1].0]);
    target.add_group("own").unwrap();
    for (lun, of) in [(0, 0), (2, 2)] {
        let unit = Arc::clone(&units[of].0);
        target.add_lun_in(Some("own"), lun, unit).unwrap();
    }
    let bed = Bed::with_target(2, Arc::clone(&target));
    (bed, target, units.map(|(_, controls)| controls).into())
}

#[test]
fn a_session_sees_the_map_of_the_first_group_that_is_for_it_else_the_default_one() {
    let (mut bed, target, _) = bed_with_group();
    target.add_group("later").unwrap();
    target.add_initiator("later", "*").unwrap();
    target.add_initiator("own", "IQN.*:A").unwrap();
    let (a, b) = (bed.session(0, A), bed.session(1, B));
    assert_eq!(luns(&mut bed, a), [0, 2]);
    assert_eq!(luns(&mut bed, b), []);
    assert_eq!(target.group_of(A).as_deref(), Some("own"));
    target.remove_group("later").unwrap();
    assert_eq!(luns(&mut bed, b), [0, 1]);
    assert_eq!(target.group_of(B), None);
    assert_eq!(target.luns_of(A).len(), 2);
    assert!(target.luns_of(B).contains_key(&1));
}

#[test]
fn a_session_that_comes_into_a_group_loses_what_is_gone_and_keeps_what_stays() {
    let (mut bed, target, units) = bed_with_group();
    let (a, b) = (bed.session(0, A), bed.session(1, B));
    for session in [a, b] {
        told(&mut bed, session, 0);
        told(&mut bed, session, 1);
    }
    let stays = held(&mut bed, a, 0, &units[0]);
    let goes = held(&mut bed, a, 1, &units[1]);
    let of_another = held(&mut bed, b, 1, &units[1]);
    target.add_initiator("own", A).unwrap();
    bed.poll();
    units.iter().for_each(|unit| unit.complete_all());
    assert_eq!(bed.wait(a, stays).status, Status::Good);
    assert_eq!(bed.wait(a, goes).asc(), Some(NO_UNIT), "it was aborted");
    assert_eq!(bed.wait(b, of_another).status, Status::Good);
    assert_eq!(told(&mut bed, a, 0), [LUNS_CHANGED]);
    assert_eq!(told(&mut bed, a, 1), [NO_UNIT]);
    assert_eq!(told(&mut bed, a, 2), [POWER_ON]);
    for lun in [0, 1] {
        assert_eq!(told(&mut bed, b, lun), [], "the other session saw nothing");
    }
}

#[test]
fn a_change_of_a_group_concerns_its_sessions_only() {
    let (mut bed, target, _) = bed_with_group();
    target.add_initiator("own", A).unwrap();
    let (a, b) = (bed.session(0, A), bed.session(1, B));
    target.add_lun_in(Some("own"), 3, plain("three")).unwrap();
    assert_eq!(told(&mut bed, a, 0), [LUNS_CHANGED]);
    assert_eq!(told(&mut bed, b, 0), []);
    target.remove_lun_in(Some("own"), 2).unwrap();
    assert_eq!(told(&mut bed, a, 0), [LUNS_CHANGED]);
    target.remove_lun(1).unwrap();
    assert_eq!(told(&mut bed, a, 0), []);
    assert_eq!(told(&mut bed, b, 0), [LUNS_CHANGED]);
    target.clear_luns(Some("own")).unwrap();
    assert_eq!(luns(&mut bed, a), []);
    assert_eq!(told(&mut bed, b, 0), []);
}

#[test]
fn a_session_that_moves_between_groups_with_one_map_sees_nothing_of_it() {
    let (mut bed, target, units) = bed_with_group();
    target.add_initiator("own", A).unwrap();
    let a = bed.session(0, A);
    told(&mut bed, a, 2);
    target.add_group("alike").unwrap();
    for (lun, unit) in target.luns_in(Some("own")).unwrap().iter() {
        let unit = Arc::clone(unit);
        target
            .add_lun_in(Some("alike"), u64::from(*lun), unit)
            .unwrap();
    }
    let running = held(&mut bed, a, 2, &units[2]);
    target.move_initiator("own", A, "alike").unwrap();
    units.iter().for_each(|unit| unit.complete_all());
    assert_eq!(bed.wait(a, running).status, Status::Good);
    assert_eq!(told(&mut bed, a, 0), []);
    assert_eq!(target.group_of(A).as_deref(), Some("alike"));
}

#[test]
fn another_unit_at_a_lun_is_told_when_a_session_comes_into_a_group() {
    let (mut bed, target, _) = bed_with_group();
    target.add_lun_in(Some("own"), 1, plain("other")).unwrap();
    let a = bed.session(0, A);
    told(&mut bed, a, 1);
    target.add_initiator("own", A).unwrap();
    assert_eq!(told(&mut bed, a, 1), [INQUIRY_CHANGED, LUNS_CHANGED]);
    assert_eq!(serial(&mut bed, a, 1), "other");
}

#[test]
fn patterns_are_added_removed_and_cleared_for_sessions_that_are_there() {
    let (mut bed, target, _) = bed_with_group();
    let a = bed.session(0, A);
    let own = |bed: &mut Bed| luns(bed, a) == [0, 2];
    target.add_initiator("own", "!*:a").unwrap();
    assert!(!own(&mut bed));
    target.add_initiator("own", "*:?").unwrap();
    assert!(own(&mut bed));
    target.remove_initiator("own", "*:?").unwrap();
    assert!(!own(&mut bed));
    target.add_initiator("own", A).unwrap();
    assert!(own(&mut bed));
    target.clear_initiators("own").unwrap();
    assert!(!own(&mut bed));
    target.add_initiator("own", A).unwrap();
    target.remove_group("own").unwrap();
    assert!(!own(&mut bed));
    assert_eq!(target.groups().len(), 0);
}

#[test]
fn the_first_group_that_is_for_a_session_is_that_of_the_order_and_not_of_the_creation() {
    let (mut bed, target, _) = bed_with_group();
    target.add_group("later").unwrap();
    for group in ["own", "later"] {
        target.add_initiator(group, "*").unwrap();
    }
    let a = bed.session(0, A);
    assert_eq!(luns(&mut bed, a), [0, 2]);
    target.place_group("later", Some("own")).unwrap();
    assert_eq!(luns(&mut bed, a), []);
    let names: Vec<_> = target.groups().into_iter().map(|g| g.name).collect();
    assert_eq!(names, ["later", "own"]);
    // A pattern more of a group that was made earlier and comes later changes nothing.
    target.add_initiator("own", A).unwrap();
    assert_eq!(luns(&mut bed, a), []);
    target.place_group("later", Some("later")).unwrap();
    assert_eq!(luns(&mut bed, a), []);
    target.place_group("later", None).unwrap();
    assert_eq!(luns(&mut bed, a), [0, 2]);
    let none = || Err(TargetError::NoSuchGroup("none".into()));
    assert_eq!(target.place_group("none", None), none());
    assert_eq!(target.place_group("own", Some("none")), none());
}

#[test]
fn a_group_takes_the_place_of_another_in_one_step_and_a_session_that_sees_the_same_notices_nothing()
{
    let (mut bed, target, units) = bed_with_group();
    target.add_initiator("own", A).unwrap();
    let (a, b) = (bed.session(0, A), bed.session(1, B));
    for lun in [0, 1, 2] {
        told(&mut bed, a, lun);
        told(&mut bed, b, lun);
    }
    let running = held(&mut bed, a, 2, &units[2]);
    let map = target.luns_in(Some("own")).unwrap();
    target
        .edit(|draft| {
            draft.remove_group("own")?;
            draft.add_group("other")?;
            for (lun, unit) in map.iter() {
                draft.add_lun(Some("other"), u64::from(*lun), Arc::clone(unit), false)?;
            }
            draft.add_initiator("other", A)?;
            draft.add_lun(None, 5, plain("five"), false)?;
            draft.remove_lun(None, 1)
        })
        .unwrap();
    bed.poll();
    units.iter().for_each(|unit| unit.complete_all());
    assert_eq!(bed.wait(a, running).status, Status::Good);
    for lun in [0, 2] {
        assert_eq!(told(&mut bed, a, lun), []);
    }
    assert_eq!(target.group_of(A).as_deref(), Some("other"));
    assert_eq!(luns(&mut bed, b), [0, 5]);
    assert_eq!(told(&mut bed, b, 1), [NO_UNIT]);
    assert_eq!(map.get(&2).map(|unit| unit.targets().len()), Some(1));
}

#[test]
fn a_unit_takes_the_place_of_another_at_all_its_luns_in_one_step() {
    let (mut bed, target, _) = bed_with_group();
    let a = bed.session(0, A);
    let old = target.luns()[&0].clone();
    target.add_lun(7, Arc::clone(&old)).unwrap();
    target.add_lun_in(Some("own"), 9, Arc::clone(&old)).unwrap();
    let new = plain("new");
    (0..8).for_each(|lun| drop(told(&mut bed, a, lun)));
    target.replace_unit(&old, Arc::clone(&new)).unwrap();
    let of_new = |map: &LunMap| {
        let of_new = map.iter().filter(|(_, unit)| **unit == new);
        of_new.map(|(lun, _)| *lun).collect::<Vec<_>>()
    };
    assert_eq!(of_new(&target.luns()), [0, 7]);
    assert!(of_new(&target.luns_in(Some("own")).unwrap()).contains(&9));
    assert_eq!((old.targets().len(), new.targets().len()), (0, 1));
    assert_eq!(told(&mut bed, a, 7), [INQUIRY_CHANGED]);
    // One that another unit is alike to takes no place.
    let twin = plain("new");
    let other = target.luns()[&1].clone();
    let refused = target.replace_unit(&other, Arc::clone(&twin));
    assert_eq!(refused, Err(TargetError::DuplicateSerial("new".into())));
    assert!(twin.targets().is_empty() && target.luns()[&1] == other);
}

#[test]
fn changes_in_one_step_of_which_one_cannot_be_made_change_nothing() {
    let (mut bed, target, _) = bed_with_group();
    let a = bed.session(0, A);
    told(&mut bed, a, 0);
    let new = plain("new");
    let refused = target.edit(|draft| {
        draft.add_lun(Some("own"), 3, Arc::clone(&new), false)?;
        draft.replace_lun(None, 0, Arc::clone(&new))?;
        draft.add_initiator("own", A)?;
        draft.move_initiator("own", A, "none")
    });
    assert_eq!(refused, Err(TargetError::NoSuchGroup("none".into())));
    assert!(new.targets().is_empty());
    assert_eq!(told(&mut bed, a, 0), []);
    assert_eq!(target.group_of(A), None);
    assert_eq!(luns(&mut bed, a), [0, 1]);
    assert!(!target.luns_in(Some("own")).unwrap().contains_key(&3));
}

#[test]
fn what_a_group_cannot_do_is_refused_and_changes_nothing() {
    let (_bed, target, _) = bed_with_group();
    let no_group = || Err(TargetError::NoSuchGroup("none".into()));
    assert_eq!(
        target.add_group(""),
        Err(TargetError::GroupName(String::new()))
    );
    assert!(target.add_group(&"g".repeat(MAX_GROUP + 1)).is_err());
    assert_eq!(
        target.add_group("own"),
        Err(TargetError::GroupInUse("own".into()))
    );
    assert_eq!(target.remove_group("none"), no_group());
    assert_eq!(target.add_initiator("none", A), no_group());
    assert_eq!(target.add_lun_in(Some("none"), 0, plain("x")), no_group());
    assert_eq!(
        target.add_initiator("own", ""),
        Err(TargetError::Pattern(String::new()))
    );
    target.add_initiator("own", "*:A").unwrap();
    let twice = TargetError::InitiatorInUse("own".into(), "*:a".into());
    assert_eq!(target.add_initiator("own", "*:a"), Err(twice));
    let absent = || Err(TargetError::NoSuchInitiator("own".into(), B.into()));
    assert_eq!(target.remove_initiator("own", B), absent());
    target.add_group("other").unwrap();
    assert_eq!(target.move_initiator("own", B, "other"), absent());
    assert_eq!(target.move_initiator("own", "*:a", "none"), no_group());
    let groups = target.groups();
    assert_eq!(groups[0].initiators, ["*:A"]);
    assert!(groups[1].initiators.is_empty());
}

#[test]
fn a_unit_may_be_a_lun_of_several_maps_and_is_its_targets_until_the_last() {
    let shared = plain("shared");
    let target = target(&[&shared]);
    target.add_group("own").unwrap();
    target
        .add_lun_in(Some("own"), 5, Arc::clone(&shared))
        .unwrap();
    target.remove_lun(0).unwrap();
    assert_eq!(shared.targets().len(), 1);
    assert_eq!(shared.ports(), [1]);
    target.remove_group("own").unwrap();
    assert_eq!(shared.targets().len(), 0);
}

#[test]
fn two_units_with_one_serial_number_are_refused_in_one_map_only() {
    let target = target(&[&plain("same")]);
    let same = Err(TargetError::DuplicateSerial("same".into()));
    assert_eq!(target.add_lun(1, plain("same")), same);
    target.add_group("own").unwrap();
    target.add_lun_in(Some("own"), 0, plain("same")).unwrap();
    let mut index = Identities::default();
    let (one, other) = (plain("x"), plain("x"));
    index.insert(&one).unwrap();
    index.insert(&one).unwrap();
    assert!(index.insert(&other).is_err());
    index.remove(&one);
    assert!(index.insert(&other).is_err());
    index.remove(&one);
    index.insert(&other).unwrap();
}

#[test]
fn a_thousand_luns_and_groups_are_added_in_little_time() {
    let begun = Instant::now();
    let target = target(&[]);
    let mut bed = Bed::with_target(1, Arc::clone(&target));
    for n in 0..1000 {
        target.add_lun(n, plain(&format!("unit-{n}"))).unwrap();
        let group = format!("group-{n}");
        target.add_group(&group).unwrap();
        target
            .add_initiator(&group, &format!("iqn.2026-11.org.example:{n}"))
            .unwrap();
        let unit = plain(&format!("own-{n}"));
        target.add_lun_in(Some(&group), 0, unit).unwrap();
    }
    let last = bed.raw_session(0, "iqn.2026-11.org.example:999");
    assert_eq!(serial(&mut bed, last, 0), "own-999");
    let took = begun.elapsed();
    assert!(took < Duration::from_secs(5), "{took:?}");
}

/// A change of groups.
#[derive(Debug, Clone)]
enum Step {
    Add(usize, usize),
    Remove(usize, usize),
    Move(usize, usize, usize),
    Clear(usize),
    Delete(usize),
    Place(usize, Option<usize>),
    /// As the others, in one step.
    Together(Vec<Step>),
}

fn step() -> impl Strategy<Value = Step> {
    let together = proptest::collection::vec(single(), 1..5);
    prop_oneof![
        4 => single(),
        1 => together.prop_map(Step::Together),
    ]
}

fn single() -> impl Strategy<Value = Step> {
    let (g, p) = (0..3usize, 0..PATTERNS.len());
    let before = proptest::option::of(g.clone());
    prop_oneof![
        1 => (g.clone(), before).prop_map(|(g, before)| Step::Place(g, before)),
        4 => (g.clone(), p.clone()).prop_map(|(g, p)| Step::Add(g, p)),
        2 => (g.clone(), p.clone()).prop_map(|(g, p)| Step::Remove(g, p)),
        2 => (g.clone(), p, g.clone()).prop_map(|(g, p, h)| Step::Move(g, p, h)),
        1 => g.clone().prop_map(Step::Clear),
        1 => g.prop_map(Step::Delete),
    ]
}

const PATTERNS: [&str; 6] = [A, B, "*:?", "!*:a", "!*:b", "*:c"];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    /// Groups change a session's map as a login afterwards would choose it.
    #[test]
    fn sessions_see_the_map_that_a_new_session_of_their_name_would(
        steps in proptest::collection::vec(step(), 1..12),
    ) {
        let target = target(&[&plain("zero")]);
        let mut bed = Bed::with_target(1, Arc::clone(&target));
        let sessions = [A, B, C].map(|name| (name, bed.session(0, name)));
        for n in 0..3u64 {
            make(&target, n);
        }
        for step in steps {
            let _refused = match step {
                Step::Add(g, p) => target.add_initiator(&name(g), PATTERNS[p]),
                Step::Remove(g, p) => target.remove_initiator(&name(g), PATTERNS[p]),
                Step::Move(g, p, h) => target.move_initiator(&name(g), PATTERNS[p], &name(h)),
                Step::Clear(g) => target.clear_initiators(&name(g)),
                Step::Delete(g) => {
                    target.remove_group(&name(g)).unwrap();
                    make(&target, g as u64);
                    Ok(())
                }
                Step::Place(g, before) => {
                    target.place_group(&name(g), before.map(name).as_deref())
                }
                Step::Together(steps) => {
                    target.edit(|draft| steps.iter().try_for_each(|step| edit(draft, step)))
                }
            };
            for (name, session) in sessions {
                let expected: Vec<_> = target.luns_of(name).keys().map(|n| *n as u8).collect();
                prop_assert_eq!(luns(&mut bed, session), expected);
            }
        }
    }
}

/// A group whose map tells which it is.
fn make(target: &Target, n: u64) {
    let name = format!("g{n}");
    target.add_group(&name).unwrap();
    target.add_lun_in(Some(&name), n + 1, plain(&name)).unwrap();
}

fn name(g: usize) -> String {
    format!("g{g}")
}

fn edit(draft: &mut Draft<'_>, step: &Step) -> Result<(), TargetError> {
    match *step {
        Step::Add(g, p) => draft.add_initiator(&name(g), PATTERNS[p]),
        Step::Remove(g, p) => draft.remove_initiator(&name(g), PATTERNS[p]),
        Step::Move(g, p, h) => draft.move_initiator(&name(g), PATTERNS[p], &name(h)),
        Step::Place(g, before) => draft.place_group(&name(g), before.map(name).as_deref()),
        Step::Delete(g) | Step::Clear(g) => {
            draft.remove_group(&name(g))?;
            draft.add_group(&name(g))?;
            draft.add_lun(Some(&name(g)), g as u64 + 1, plain(&name(g)), false)
        }
        Step::Together(_) => Ok(()),
    }
}
