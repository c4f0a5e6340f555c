//! What calls do to a machine, its model and its file.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use lunforge_daemon::control::protocol::{
    Call, Code, Done, Error, Mode, Planned, Printed, Shown, Values,
};
use lunforge_daemon::control::report::{Device, Status, Target};
use lunforge_daemon::control::{Answers, ConfigFile, Managed, ScstConf};
use lunforge_daemon::manage::{Change, Failure, Machine, Manager, Model};
use lunforge_daemon::schema;
use lunforge_daemon::tree::Path;
use serde::de::DeserializeOwned;

#[path = "managed/initiators.rs"]
mod initiators;

use initiators::Initiators;

const TARGET: &str = "targets/iscsi/iqn.2026-11.org.example:a";

/// Says what is done to it, what is done by itself left out; a change of something named "bad" fails, and one of "slow"
/// waits for the test. With "gone" the folder of the configuration goes, and "stays" cannot be removed.
struct Double {
    done: Sender<String>,
    slow: Receiver<()>,
    folder: PathBuf,
}

impl Machine for Double {
    fn perform(&mut self, change: &Change, _: &Model) -> Result<(), Failure> {
        if !change.path().is_within(&schema::copy_manager()) {
            self.done.send(change.to_string()).unwrap();
        }
        match change.path().name() {
            "gone" => {
                fs::remove_dir_all(&self.folder).unwrap();
                Ok(())
            }
            "stays" if matches!(change, Change::Remove { .. }) => {
                Err(Failure("it is busy".to_owned()))
            }
            "bad" => Err(Failure("the disk is broken".to_owned())),
            "slow" => {
                self.slow.recv().unwrap();
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn trigger(&mut self, _: &Path, _: &str, _: &str) -> Result<(), Failure> {
        Ok(())
    }

    fn read(&self, _: &Path, _: &str) -> Option<String> {
        None
    }
}

struct Place {
    initiators: Arc<Initiators>,
    managed: Arc<Managed<Double>>,
    done: Receiver<String>,
    go: Sender<()>,
    file: PathBuf,
    _dir: tempfile::TempDir,
}

/// A configuration of these disks.
fn config(names: &[&str]) -> String {
    let devices: String = names
        .iter()
        .map(|name| format!("\tDEVICE {name}\n"))
        .collect();
    format!("HANDLER vdisk_nullio {{\n{devices}}}\n")
}

fn place() -> Place {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("scst.conf");
    fs::write(&file, "").unwrap();
    let (told, done) = channel();
    let (go, slow) = channel();
    let double = Double {
        done: told,
        slow,
        folder: dir.path().to_owned(),
    };
    let manager = Manager::new(Model::new(), double);
    let initiators = Arc::<Initiators>::default();
    let observe = Arc::clone(&initiators);
    let managed = Managed::new(manager, observe, ScstConf, Some(ConfigFile::new(&file)));
    Place {
        initiators,
        managed: Arc::new(managed),
        done,
        go,
        file,
        _dir: dir,
    }
}

impl Place {
    fn ask<T: DeserializeOwned>(&self, call: Call) -> Result<T, Error> {
        let answer = self.managed.answer(call)?;
        Ok(serde_json::from_value(answer).unwrap())
    }

    fn refusal(&self, call: Call) -> Error {
        self.managed.answer(call).unwrap_err()
    }

    fn apply(&self, config: &str, mode: Mode, save: bool) -> Result<Planned, Error> {
        let config = config.to_owned();
        self.ask(Call::Apply { config, mode, save })
    }

    fn done(&self) -> Vec<String> {
        self.done.try_iter().collect()
    }

    fn printed(&self) -> String {
        self.ask::<Printed>(Call::Print { all: false })
            .unwrap()
            .config
    }

    /// The disks that there are.
    fn disks(&self) -> Vec<String> {
        let mut shown: Shown = self.ask(Call::Show { path: path("") }).unwrap();
        shown.children.remove("devices").unwrap()
    }

    fn saved(&self) -> String {
        fs::read_to_string(&self.file).unwrap()
    }
}

fn path(text: &str) -> Path {
    text.parse().unwrap()
}

fn disk(name: &str) -> Change {
    Change::Create {
        path: Path::device(name).unwrap(),
        attributes: [("handler".to_owned(), vec!["vdisk_nullio".to_owned()])].into(),
    }
}

fn run(changes: impl IntoIterator<Item = Change>) -> Call {
    let changes = changes.into_iter().collect();
    Call::Run { changes }
}

#[test]
fn changes_are_done_and_seen_by_who_asks() {
    let place = place();
    place.ask::<Done>(run([disk("a"), disk("b")])).unwrap();
    assert_eq!(place.done(), ["make devices/a", "make devices/b"]);
    let shown: Shown = place.ask(Call::Show { path: path("") }).unwrap();
    assert_eq!(shown.children["devices"], ["a", "b"]);
    assert_eq!(shown.children["device_groups"], [] as [&str; 0]);
    let device: Shown = place
        .ask(Call::Show {
            path: path("devices/a"),
        })
        .unwrap();
    let handler = &device.attributes["handler"];
    assert_eq!(handler.values, ["vdisk_nullio"]);
    assert!(handler.key && handler.create && handler.read && !handler.write);
    let values: Values = place
        .ask(Call::Get {
            path: path("devices/a"),
            attribute: "handler".to_owned(),
        })
        .unwrap();
    assert_eq!(values.values, ["vdisk_nullio"]);
    let devices: Vec<Device> = place.ask(Call::Devices).unwrap();
    assert_eq!(devices.len(), 2);
}

#[test]
fn groups_are_listed_and_saved_in_the_order_in_which_they_are_asked() {
    let place = place();
    let group = |name: &str| format!("{TARGET}/ini_groups/{name}");
    let changes = serde_json::json!([
        {"create": {"path": TARGET}},
        {"create": {"path": group("z")}},
        {"create": {"path": group("a")}},
        {"at_once": {"path": TARGET, "changes": [
            {"create": {"path": group("m")}},
            {"create": {"path": format!("{}/initiators/*", group("m"))}},
            {"order": {"path": group("m"), "before": "z"}},
        ]}},
        {"order": {"path": group("z")}},
    ]);
    let changes: Vec<Change> = serde_json::from_value(changes).unwrap();
    place.ask::<Done>(run(changes)).unwrap();
    let shown: Shown = place.ask(Call::Show { path: path(TARGET) }).unwrap();
    assert_eq!(shown.children["ini_groups"], ["m", "a", "z"]);
    let targets: Vec<Target> = place.ask(Call::Targets).unwrap();
    let target = targets.iter().find(|target| !target.groups.is_empty());
    assert_eq!(target.unwrap().groups, ["m", "a", "z"]);
    place.ask::<Done>(Call::Save { all: false }).unwrap();
    let at = |name: &str| place.saved().find(&format!("GROUP {name} {{")).unwrap();
    assert!(at("m") < at("a") && at("a") < at("z"), "{}", place.saved());
    let again = place.apply(&place.saved(), Mode::Replace, false).unwrap();
    assert_eq!(again, Planned::default());
    // The names of groups in the opposite order.
    let names = [("GROUP m {", "GROUP z {"), ("GROUP z {", "GROUP m {")];
    let renamed: String = place
        .saved()
        .lines()
        .map(|line| {
            let name = names.iter().find(|(name, _)| line.trim() == *name);
            format!("{}\n", name.map_or(line, |(_, name)| name))
        })
        .collect();
    let planned = place.apply(&renamed, Mode::Replace, true).unwrap();
    assert_eq!(
        planned.steps,
        [
            format!("change what initiators see of {TARGET} in one step"),
            format!("  move {}/initiators/* to z", group("m")),
            format!("  put {} behind the other groups", group("m")),
            format!("  put {} before m", group("a")),
        ]
    );
    let shown: Shown = place.ask(Call::Show { path: path(TARGET) }).unwrap();
    assert_eq!(shown.children["ini_groups"], ["z", "a", "m"]);
}

#[test]
fn a_run_that_is_refused_or_fails_leaves_nothing() {
    let place = place();
    let error = place.refusal(run([disk("a"), disk("a")]));
    assert_eq!((error.code, error.at), (Code::Refused, Some(1)));
    assert!(error.message.contains("already"), "{error}");
    assert_eq!(place.done(), [] as [&str; 0]);
    let error = place.refusal(run([disk("a"), disk("bad")]));
    assert_eq!((error.code, error.at), (Code::Failed, Some(1)));
    assert!(error.message.contains("the disk is broken"), "{error}");
    assert_eq!(
        place.done(),
        ["make devices/a", "make devices/bad", "remove devices/a"]
    );
    assert_eq!(place.disks(), [] as [&str; 0]);
}

#[test]
fn what_is_not_there_is_told_as_missing() {
    let place = place();
    let (gone, attribute) = (path("devices/gone"), "size".to_owned());
    for call in [
        Call::Show { path: gone.clone() },
        Call::Get {
            path: gone.clone(),
            attribute: attribute.clone(),
        },
        Call::Get {
            path: path(""),
            attribute: "no such".to_owned(),
        },
        Call::Trigger {
            path: gone.clone(),
            attribute,
            value: "1".to_owned(),
        },
        Call::CloseSessions {
            target: path(TARGET),
            id: None,
        },
        run([Change::Remove { path: gone }]),
    ] {
        assert_eq!(place.refusal(call.clone()).code, Code::Missing, "{call:?}");
    }
}

#[test]
fn what_only_can_be_set_is_not_triggered() {
    let place = place();
    let error = place.refusal(Call::Trigger {
        path: path(""),
        attribute: "setup_id".to_owned(),
        value: "1".to_owned(),
    });
    assert_eq!(error.code, Code::Refused);
}

#[test]
fn a_configuration_is_applied_once() {
    let place = place();
    let config = config(&["a"]);
    let planned: Planned = place
        .ask(Call::Plan {
            config: config.clone(),
            mode: Mode::Replace,
        })
        .unwrap();
    assert_eq!(planned.steps.first().unwrap(), "make devices/a");
    assert_eq!(place.done(), [] as [&str; 0]);
    let applied = place.apply(&config, Mode::Replace, false).unwrap();
    assert_eq!(applied, planned);
    assert_eq!(place.done(), ["make devices/a"]);
    let again = place.apply(&config, Mode::Replace, false).unwrap();
    assert_eq!(again, Planned::default());
    assert_eq!(place.saved(), "");
}

#[test]
fn a_wrong_configuration_is_told_with_its_place_and_changes_nothing() {
    let place = place();
    let wrong = "HANDLER vdisk_nullio {\n\tDEVICE a\n\tDEVISE b\n}\n";
    let error = place.apply(wrong, Mode::Replace, true).unwrap_err();
    assert_eq!(
        (error.code, error.line, error.column),
        (Code::Config, Some(3), Some(2))
    );
    assert_eq!((place.disks(), place.saved()), (Vec::new(), String::new()));
    let nobody = "TARGET_DRIVER iscsi {\n\tTARGET a {\n\t\tLUN 0 nobody\n\t}\n}\n";
    let config = nobody.to_owned();
    let mode = Mode::Replace;
    assert_eq!(
        place.refusal(Call::Plan { config, mode }).code,
        Code::Config
    );
}

#[test]
fn a_replacing_configuration_is_saved_as_it_was_written_and_a_merged_one_with_what_was_there() {
    let place = place();
    let first = format!("# mine\n{}", config(&["a"]));
    place.apply(&first, Mode::Replace, true).unwrap();
    assert_eq!(place.saved(), first);
    let more = config(&["b"]);
    let merged = place.apply(&more, Mode::Merge, true).unwrap();
    assert!(merged.notices[0].contains("devices/a"), "{merged:?}");
    assert_eq!(place.disks(), ["a", "b"]);
    assert_eq!(place.saved(), place.printed());
    place.apply(&more, Mode::Replace, true).unwrap();
    assert_eq!((place.saved(), place.disks()), (more, vec!["b".to_owned()]));
}

#[test]
fn identifiers_of_ports_that_are_found_are_saved_with_what_is_applied_and_missed_in_a_file_without_them()
 {
    let place = place();
    let target =
        |name: &str, port: &str| format!("\tTARGET {name} {{\n{port}\t\tenabled 1\n\t}}\n");
    let file = |targets: &[String]| {
        let targets = targets.concat();
        format!("# mine\nTARGET_DRIVER iscsi {{\n{targets}}}\n")
    };
    let port = |number| format!("\t\trel_tgt_id {number}\n");
    let unsaved = || place.ask::<Status>(Call::Status).unwrap().unsaved;
    let one = file(&[target("b", "")]);
    place.apply(&one, Mode::Replace, true).unwrap();
    assert_eq!(place.saved(), file(&[target("b", &port(1))]));
    let both = file(&[target("a", ""), target("b", "")]);
    place.apply(&both, Mode::Replace, true).unwrap();
    let kept = file(&[target("a", &port(2)), target("b", &port(1))]);
    assert_eq!((place.saved(), unsaved()), (kept.clone(), false));
    let (config, mode) = (both.clone(), Mode::Replace);
    let planned: Planned = place.ask(Call::Plan { config, mode }).unwrap();
    assert_eq!(planned.steps, [] as [&str; 0]);
    fs::write(&place.file, &both).unwrap();
    assert_eq!(place.managed.reload().unwrap().steps, [] as [&str; 0]);
    assert_eq!((place.saved(), unsaved()), (both, true));
    fs::write(&place.file, &kept).unwrap();
    place.managed.reload().unwrap();
    assert!(!unsaved());
    place.apply(&one, Mode::Merge, true).unwrap();
    assert!(place.saved().contains("rel_tgt_id 2"), "{}", place.saved());
    assert_eq!(place.saved(), place.printed());
}

#[test]
fn what_is_saved_leads_back_to_what_was() {
    let place = place();
    place
        .apply(&config(&["a", "b"]), Mode::Replace, false)
        .unwrap();
    let again = |all| {
        let printed: Printed = place.ask(Call::Print { all }).unwrap();
        let again = place.apply(&printed.config, Mode::Replace, false);
        again.unwrap().steps
    };
    assert_eq!(again(false), [] as [&str; 0]);
    // What followed from other attributes is given from then on.
    assert!(again(true).iter().all(|step| step.starts_with("set ")));
    assert_eq!(again(true), [] as [&str; 0]);
}

#[test]
fn what_cannot_be_saved_or_done_is_neither() {
    let place = place();
    let error = place
        .apply(&config(&["a", "bad"]), Mode::Replace, true)
        .unwrap_err();
    assert_eq!(error.code, Code::Failed);
    assert_eq!(place.saved(), "");
    place.done();
    fs::remove_file(&place.file).unwrap();
    fs::create_dir(&place.file).unwrap();
    let error = place
        .apply(&config(&["a"]), Mode::Replace, true)
        .unwrap_err();
    assert_eq!(error.code, Code::Failed);
    assert_eq!(place.done(), [] as [&str; 0]);
}

#[test]
fn what_is_done_and_cannot_be_saved_or_taken_back_is_told() {
    let place = place();
    let error = place
        .apply(&config(&["gone"]), Mode::Replace, true)
        .unwrap_err();
    assert_eq!(error.code, Code::Failed);
    assert!(
        error.message.contains("is applied, but it is not saved"),
        "{error}"
    );
    assert_eq!(error.stuck.first().unwrap(), "make devices/gone");
    assert_eq!(place.disks(), ["gone"]);
    assert!(place.ask::<Status>(Call::Status).unwrap().unsaved);
    let error = place.refusal(run([disk("stays"), disk("bad")]));
    assert_eq!((error.code, error.at), (Code::Failed, Some(1)));
    assert_eq!(error.stuck, ["could not remove devices/stays: it is busy"]);
}

#[test]
fn status_says_what_is_not_saved() {
    let place = place();
    let unsaved = || place.ask::<Status>(Call::Status).unwrap().unsaved;
    assert!(!unsaved());
    place.ask::<Done>(run([disk("a")])).unwrap();
    assert!(unsaved());
    place.ask::<Done>(Call::Save { all: false }).unwrap();
    assert!(!unsaved());
    assert_eq!(place.saved(), place.printed());
}

#[test]
fn the_file_is_applied_again_and_what_is_not_in_it_goes() {
    let place = place();
    place.ask::<Done>(run([disk("a"), disk("b")])).unwrap();
    place.done();
    fs::write(&place.file, config(&["b"])).unwrap();
    place.managed.reload().unwrap();
    assert_eq!(place.done(), ["remove devices/a"]);
    fs::remove_file(&place.file).unwrap();
    assert_eq!(place.managed.reload().unwrap_err().code, Code::Failed);
    assert_eq!(place.disks(), ["b"]);
}

#[test]
fn questions_are_answered_while_a_change_goes_on() {
    let place = place();
    let managed = Arc::clone(&place.managed);
    let change = std::thread::spawn(move || managed.answer(run([disk("a"), disk("slow")])));
    let begun = || place.done.recv_timeout(Duration::from_secs(10)).unwrap();
    assert_eq!([begun(), begun()], ["make devices/a", "make devices/slow"]);
    // None of it is there yet.
    for call in [
        Call::Hello,
        Call::Status,
        Call::Sessions,
        Call::Devices,
        Call::Targets,
        Call::Reservations,
    ] {
        place.managed.answer(call).unwrap();
    }
    assert_eq!(place.disks(), [] as [&str; 0]);
    assert!(!place.printed().contains("DEVICE"));
    place.go.send(()).unwrap();
    change.join().unwrap().unwrap();
    assert_eq!(place.ask::<Vec<Device>>(Call::Devices).unwrap().len(), 2);
}

#[test]
fn changes_take_turns() {
    let place = place();
    let managed = Arc::clone(&place.managed);
    let first = std::thread::spawn(move || managed.answer(run([disk("slow")])));
    place.done.recv_timeout(Duration::from_secs(10)).unwrap();
    let managed = Arc::clone(&place.managed);
    let second = std::thread::spawn(move || managed.answer(run([disk("a")])));
    assert!(place.done.recv_timeout(Duration::from_millis(200)).is_err());
    place.go.send(()).unwrap();
    first.join().unwrap().unwrap();
    second.join().unwrap().unwrap();
    assert_eq!(place.done(), ["make devices/a"]);
}
