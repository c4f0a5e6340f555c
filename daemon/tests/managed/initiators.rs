//! What initiators change of what is configured.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use lunforge_daemon::control::paper::Paper;
use lunforge_daemon::control::protocol::{Call, Done, Values};
use lunforge_daemon::control::report::{Device, Reservation, Session, Status, Target};
use lunforge_daemon::control::{Answers, Observe};
use lunforge_daemon::manage::{Change, Failure, Model};
use lunforge_daemon::tree::Path;

use super::{disk, path, place, run};

const GROUP: &str = "device_groups/dg/target_groups/tg";

/// As on paper; an initiator may set the state of the one target group.
#[derive(Default)]
pub(super) struct Initiators {
    paper: Paper,
    set: Mutex<Option<&'static str>>,
}

impl Observe for Initiators {
    fn by_initiators(&self, model: &Model) -> Vec<Change> {
        let set = self.set.lock().unwrap();
        let now = model.value(&path(GROUP), "state");
        let set = set.filter(|set| now.is_some_and(|now| now != *set));
        let change = |state: &str| Change::Set {
            path: path(GROUP),
            attribute: "state".to_owned(),
            values: vec![state.to_owned()],
        };
        set.map(change).into_iter().collect()
    }

    fn read(&self, path: &Path, attribute: &str) -> Option<String> {
        Observe::read(&self.paper, path, attribute)
    }

    fn sessions(&self, model: &Model) -> Vec<Session> {
        self.paper.sessions(model)
    }

    fn devices(&self, model: &Model) -> Vec<Device> {
        self.paper.devices(model)
    }

    fn targets(&self, model: &Model) -> Vec<Target> {
        self.paper.targets(model)
    }

    fn reservations(&self, model: &Model) -> Vec<Reservation> {
        self.paper.reservations(model)
    }

    fn status(&self, model: &Model) -> Status {
        self.paper.status(model)
    }

    fn close_sessions(&self, target: &Path, id: Option<u64>) -> Result<(), Failure> {
        self.paper.close_sessions(target, id)
    }
}

#[test]
fn what_initiators_change_is_told_while_a_change_goes_on_and_kept_after_it() {
    let place = place();
    let create = |at: &str, given: &[(&str, &str)]| Change::Create {
        path: path(at),
        attributes: given
            .iter()
            .map(|(name, value)| ((*name).to_owned(), vec![(*value).to_owned()]))
            .collect(),
    };
    let group = [
        create("device_groups/dg", &[]),
        create(GROUP, &[("group_id", "1")]),
    ];
    place.ask::<Done>(run(group)).unwrap();
    place.ask::<Done>(Call::Save { all: false }).unwrap();
    place.done();
    let state = || {
        let (path, attribute) = (path(GROUP), "state".to_owned());
        place.ask::<Values>(Call::Get { path, attribute }).unwrap()
    };
    let managed = Arc::clone(&place.managed);
    let change = std::thread::spawn(move || managed.answer(run([disk("slow"), disk("bad")])));
    place.done.recv_timeout(Duration::from_secs(10)).unwrap();
    assert_eq!(state().values, ["active"]);
    *place.initiators.set.lock().unwrap() = Some("standby");
    assert_eq!(state().values, ["standby"]);
    assert!(place.printed().contains("state standby"));
    // Once to be made, once to be removed again.
    place.go.send(()).unwrap();
    place.go.send(()).unwrap();
    change.join().unwrap().unwrap_err();
    // Of the change that failed nothing is there.
    assert_eq!(place.disks(), [] as [&str; 0]);
    assert!(place.ask::<Status>(Call::Status).unwrap().unsaved);
    place.ask::<Done>(Call::Save { all: false }).unwrap();
    assert!(place.saved().contains("state standby"), "{}", place.saved());
    assert!(!place.ask::<Status>(Call::Status).unwrap().unsaved);
}
