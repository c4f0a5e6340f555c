//! Files that rename, exchange and order initiator groups, applied while sessions use them.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use lunforge_bench::initiator::Initiator;
use lunforge_daemon::config::load;
use lunforge_daemon::control::Observe;
use lunforge_daemon::control::protocol::Mode;
use lunforge_daemon::manage::{Change, plan};

use super::bed::*;

/// Blocks of the disks: by these a session knows what it sees.
const SIZES: [(&str, u64); 3] = [("d", 2048), ("e", 4096), ("f", 8192)];

/// A bed with a disk more for each of [`SIZES`], the first of them for everybody.
fn bed() -> Bed {
    let mut bed = Bed::serving();
    bed.run(&[
        null("e"),
        null("f"),
        set("devices/e", "size", &["2M"]),
        set("devices/f", "size", &["4M"]),
    ]);
    bed
}

/// A LUN 0 for those who are of no group.
fn lun_0(disk: &str) -> String {
    format!("LUN 0 {disk}\n")
}

/// A group with a LUN 0 for initiators of this pattern.
fn group(name: &str, disk: &str, pattern: &str) -> String {
    format!("GROUP {name} {{\nLUN 0 {disk}\nINITIATOR {pattern}\n}}\n")
}

impl Bed {
    /// Applies a configuration with these LUNs and groups, and the first disk for those who are of no group; what was done.
    fn apply(&mut self, luns: &[String]) -> Vec<Change> {
        self.apply_whole(&[&[lun_0("d")], luns].concat())
    }

    /// As [`Bed::apply`], without LUNs that are not told.
    fn apply_whole(&mut self, luns: &[String]) -> Vec<Change> {
        let driver = self.manager.model().object(&path("targets/iscsi")).unwrap();
        let portal = driver.first("portal").unwrap();
        let text = format!(
            "HANDLER vdisk_nullio {{\nDEVICE d {{\nsize 1M\n}}\nDEVICE e {{\nsize 2M\n}}\nDEVICE f {{\nsize 4M\n}}\n}}\n\
             TARGET_DRIVER iscsi {{\nenabled 1\nportal {portal}\nTARGET {IQN} {{\nenabled 1\n{}}}\n}}\n",
            luns.concat()
        );
        let tree = load(&text, self.manager.model().tree()).unwrap();
        let plan = plan(self.manager.model(), &tree, Mode::Replace);
        self.run(&plan.changes);
        plan.changes
    }

    /// The groups of the running target, in their order.
    fn groups(&self) -> Vec<String> {
        let registry = self.manager.machine().registry();
        let mut targets = registry.targets(self.manager.model());
        targets.retain(|target| target.name == IQN);
        targets.remove(0).groups
    }
}

fn disk(initiator: &mut Initiator) -> &'static str {
    let blocks = initiator.capacity(0).unwrap().0;
    SIZES.iter().find(|(_, size)| *size == blocks).unwrap().0
}

/// Applies configurations while a session looks at its disk all the time: it is this one, and nothing is told.
fn unnoticed(bed: &mut Bed, name: &str, sees: &str, files: &[&[String]]) {
    let mut initiator = bed.login(name);
    assert_eq!(disk(&mut initiator), sees);
    let end = AtomicBool::new(false);
    thread::scope(|scope| {
        let watch = scope.spawn(|| {
            let mut looks = 0;
            while !end.load(Ordering::Relaxed) || looks == 0 {
                let told = initiator.command(0, &TEST_UNIT_READY, &[], 0).unwrap();
                assert!(told.is_good(), "{told:?}");
                assert_eq!(disk(&mut initiator), sees);
                looks += 1;
            }
        });
        for _ in 0..20 {
            for file in files {
                bed.apply_whole(file);
            }
        }
        end.store(true, Ordering::Relaxed);
        watch.join().unwrap();
    });
}

#[test]
fn a_group_is_renamed_under_a_session_that_notices_nothing() {
    let mut bed = bed();
    let old = [lun_0("d"), group("old", "e", "*:member")];
    let new = [lun_0("d"), group("new", "e", "*:member")];
    bed.apply_whole(&old);
    unnoticed(&mut bed, "member", "e", &[&new, &old]);
    unnoticed(&mut bed, "guest", "d", &[&new, &old]);
}

#[test]
fn groups_exchange_names_and_initiators_under_sessions_that_notice_nothing() {
    let mut bed = bed();
    let one = [lun_0("d"), group("x", "e", "*:a"), group("y", "f", "*:b")];
    let names = [lun_0("d"), group("y", "e", "*:a"), group("x", "f", "*:b")];
    let other = [
        lun_0("f"),
        group("x", "f", "*:b"),
        group("z", "e", "*:a*"),
        group("y", "d", "*"),
    ];
    bed.apply_whole(&one);
    unnoticed(&mut bed, "a", "e", &[&names, &other, &one]);
    unnoticed(&mut bed, "b", "f", &[&names, &other, &one]);
}

#[test]
fn the_default_luns_and_a_group_exchange_initiators_under_sessions_that_notice_nothing() {
    let mut bed = bed();
    let all = [lun_0("d")];
    let own = [lun_0("e"), group("own", "d", "*:a")];
    unnoticed(&mut bed, "a", "d", &[&own, &all]);
}

#[test]
fn the_order_of_groups_changes_for_those_who_are_of_another_group_then() {
    let mut bed = bed();
    let (x, y) = (group("x", "e", "*:?"), group("y", "f", "*:a"));
    bed.apply(&[x.clone(), y.clone()]);
    let (mut a, mut b) = (bed.login("a"), bed.login("b"));
    assert_eq!((disk(&mut a), disk(&mut b)), ("e", "e"));
    bed.apply(&[y.clone(), x.clone()]);
    assert_eq!(bed.groups(), ["y", "x"]);
    let mut news = told(&mut a, 0);
    news.sort_unstable();
    assert_eq!(news, [INQUIRY_CHANGED, LUNS_CHANGED]);
    assert_eq!(told(&mut b, 0), []);
    assert_eq!((disk(&mut a), disk(&mut b)), ("f", "e"));
    assert_eq!(bed.apply(&[y, x]), []);
}

#[test]
fn a_disk_under_a_group_that_was_renamed_is_opened_anew_and_goes_with_its_luns() {
    let mut bed = bed();
    bed.apply(&[group("old", "e", "*:member")]);
    bed.apply(&[group("new", "e", "*:member")]);
    let mut member = bed.login("member");
    let other = [
        ("handler", "vdisk_nullio"),
        ("size", "4M"),
        ("removable", "1"),
    ];
    bed.run(&[reopen("devices/e", &other)]);
    assert!(told(&mut member, 0).contains(&INQUIRY_CHANGED));
    assert_eq!(member.capacity(0).unwrap().0, 8192);
    let group = format!("{TARGET}/ini_groups/new");
    let initiator = format!("{group}/initiators/*:member");
    let all = [&*initiator, &format!("{group}/luns/0"), &group, "devices/e"];
    bed.run(&all.map(remove));
    assert!(told(&mut member, 0).contains(&INQUIRY_CHANGED));
    assert_eq!(disk(&mut member), "d");
}

#[test]
fn what_was_done_in_one_step_is_taken_back_in_one_step() {
    let mut bed = bed();
    bed.apply(&[
        group("x", "e", "*:a"),
        group("y", "f", "*:b"),
        group("z", "d", "*"),
    ]);
    let (mut a, mut b) = (bed.login("a"), bed.login("b"));
    let at = |rest: &str| format!("{TARGET}/ini_groups/{rest}");
    let at_once = Change::AtOnce {
        path: path(TARGET),
        changes: vec![
            remove(&at("x/initiators/*:a")),
            remove(&at("x/luns/0")),
            remove(&at("x")),
            create(&at("w"), &[]),
            create(&at("w/luns/0"), &[("device", "e")]),
            create(&at("w/initiators/*:a"), &[]),
            Change::Replace {
                path: path(&at("z/luns/0")),
                device: "e".to_owned(),
                tell: true,
            },
            Change::Move {
                path: path(&at("y/initiators/*:b")),
                group: "w".to_owned(),
            },
        ],
    };
    let missing = [("handler", "vdisk_fileio"), ("filename", "/nowhere/at/all")];
    let before = bed.manager.model().tree().clone();
    bed.fails(&[at_once.clone(), create("devices/m", &missing)], 1);
    assert_eq!(bed.manager.model().tree(), &before);
    assert_eq!(bed.groups(), ["x", "y", "z"]);
    assert_eq!(told(&mut a, 0), []);
    assert_eq!(disk(&mut a), "e");
    assert!(told(&mut b, 0).contains(&INQUIRY_CHANGED));
    assert_eq!(disk(&mut b), "f");
    bed.run(&[at_once]);
    assert_eq!(bed.groups(), ["y", "z", "w"]);
    // The last group but one is for everybody.
    assert_eq!(told(&mut a, 0), []);
    assert!(told(&mut b, 0).contains(&INQUIRY_CHANGED));
    assert_eq!((disk(&mut a), disk(&mut b)), ("e", "e"));
}

#[test]
fn what_cannot_be_done_in_one_step_is_not_begun() {
    let mut bed = bed();
    bed.apply(&[group("x", "e", "*:a")]);
    let mut a = bed.login("a");
    // The model takes any name for a group; a running target does not.
    let long = format!("{TARGET}/ini_groups/{}", "g".repeat(256));
    let lun = format!("{TARGET}/ini_groups/x/luns/0");
    let changes = vec![
        remove(&lun),
        create(&lun, &[("device", "f")]),
        create(&long, &[]),
    ];
    let at_once = Change::AtOnce {
        path: path(TARGET),
        changes,
    };
    bed.fails(&[at_once], 0);
    assert_eq!(told(&mut a, 0), []);
    assert_eq!(disk(&mut a), "e");
    assert_eq!(bed.groups(), ["x"]);
}
