//! A managed target on loopback, and initiators.

use std::net::SocketAddr;
use std::time::Duration;

use lunforge::Engine;
use lunforge::iscsi::IscsiTransport;
use lunforge_bench::initiator::{Error, Initiator, LoginError, Options, Reply};
use lunforge_daemon::control::Observe;
use lunforge_daemon::control::protocol::Mode;
use lunforge_daemon::live::{Live, Settings, SrpSetup};
use lunforge_daemon::manage::{Change, Machine, Manager, Model, RunError, plan};
use lunforge_daemon::tree::{Attributes, Path, Tree};
use lunforge_daemon::{conf, config};

pub(crate) const IQN: &str = "iqn.2026-11.org.example:t";
pub(crate) const TARGET: &str = "targets/iscsi/iqn.2026-11.org.example:t";
pub(crate) const TEST_UNIT_READY: [u8; 6] = [0; 6];

pub(crate) const LUNS_CHANGED: (u8, u8) = (0x3F, 0x0E);
pub(crate) const INQUIRY_CHANGED: (u8, u8) = (0x3F, 0x03);
pub(crate) const CAPACITY_CHANGED: (u8, u8) = (0x2A, 0x09);

pub(crate) struct Bed {
    pub(crate) manager: Manager<Live>,
    pub(crate) address: SocketAddr,
    pub(crate) dir: tempfile::TempDir,
}

pub(crate) fn path(text: &str) -> Path {
    text.parse().unwrap()
}

fn attributes(given: &[(&str, &str)]) -> Attributes {
    let mut attributes = Attributes::new();
    for (name, value) in given {
        let values: &mut Vec<String> = attributes.entry((*name).to_owned()).or_default();
        values.push((*value).to_owned());
    }
    attributes
}

pub(crate) fn create(at: &str, given: &[(&str, &str)]) -> Change {
    Change::Create {
        path: path(at),
        attributes: attributes(given),
    }
}

pub(crate) fn remove(at: &str) -> Change {
    Change::Remove { path: path(at) }
}

pub(crate) fn set(at: &str, attribute: &str, values: &[&str]) -> Change {
    Change::Set {
        path: path(at),
        attribute: attribute.to_owned(),
        values: values.iter().map(|value| (*value).to_owned()).collect(),
    }
}

pub(crate) fn reopen(at: &str, given: &[(&str, &str)]) -> Change {
    Change::Reopen {
        path: path(at),
        attributes: attributes(given),
    }
}

impl Bed {
    /// A driver that listens, and nothing else.
    pub(crate) fn new() -> Self {
        Self::with(Settings::default())
    }

    pub(crate) fn with(settings: Settings) -> Self {
        Self::with_srp(settings, SrpSetup::default())
    }

    pub(crate) fn with_srp(settings: Settings, srp: SrpSetup) -> Self {
        let engine = Engine::builder().shards(2).start().unwrap();
        let transport = IscsiTransport::builder().portless();
        let iscsi = engine.attach(transport, Vec::new()).unwrap();
        let live = Live::new(engine, iscsi, srp, settings).unwrap();
        let mut manager = Manager::new(Model::new(), live);
        manager
            .run(&[
                set("targets/iscsi", "portal", &["127.0.0.1:0"]),
                set("targets/iscsi", "enabled", &["1"]),
            ])
            .unwrap();
        let status = manager.machine().registry().status(manager.model());
        let address = status.portals[0].parse().unwrap();
        let dir = tempfile::tempdir().unwrap();
        Self {
            manager,
            address,
            dir,
        }
    }

    /// With a null disk `d` of 1 MiB as LUN 0 of an enabled target.
    pub(crate) fn serving() -> Self {
        let mut bed = Self::new();
        bed.run(&[
            null("d"),
            create(TARGET, &[]),
            create(&lun(0), &[("device", "d")]),
            set(TARGET, "enabled", &["1"]),
        ]);
        bed
    }

    #[track_caller]
    pub(crate) fn run(&mut self, changes: &[Change]) {
        self.manager.run(changes).unwrap();
    }

    /// A run that the machine fails at the change of this number; what is said.
    #[track_caller]
    pub(crate) fn fails(&mut self, changes: &[Change], number: usize) -> String {
        match self.manager.run(changes) {
            Err(RunError::Failed {
                at, failure, stuck, ..
            }) => {
                assert!(stuck.is_empty(), "{stuck:?}");
                assert_eq!(at, number, "{failure}");
                failure.to_string()
            }
            other => panic!("not failed: {other:?}"),
        }
    }

    /// What is saved.
    pub(crate) fn configuration(&self) -> String {
        let live = |path: &Path, attribute: &str| self.manager.machine().read(path, attribute);
        conf::print(&config::write(self.manager.model(), &live, false))
    }

    /// Does what leads to a configuration; what that was. The portals stay.
    pub(crate) fn apply_text(&mut self, text: &str) -> Vec<String> {
        let mut tree = config::load(text, &Tree::default()).unwrap();
        let driver = path("targets/iscsi");
        let now = self.manager.model().object(&driver).unwrap();
        tree.get_mut(&driver).unwrap().attributes = now.attributes.clone();
        let changes = plan(self.manager.model(), &tree, Mode::Replace).changes;
        self.run(&changes);
        changes.iter().map(Change::to_string).collect()
    }

    pub(crate) fn trigger(&mut self, at: &str, attribute: &str, value: &str) {
        let machine = self.manager.machine_mut();
        machine.trigger(&path(at), attribute, value).unwrap();
    }

    pub(crate) fn read(&self, at: &str, attribute: &str) -> Option<String> {
        self.manager.machine().read(&path(at), attribute)
    }

    pub(crate) fn file(&self, name: &str) -> String {
        self.dir.path().join(name).to_str().unwrap().to_owned()
    }

    /// A file of 1 MiB.
    pub(crate) fn disk(&self, name: &str) -> String {
        let file = std::fs::File::create(self.dir.path().join(name)).unwrap();
        file.set_len(1 << 20).unwrap();
        self.file(name)
    }

    pub(crate) fn connect(&self, iqn: &str, options: &Options) -> Result<Initiator, Error> {
        Initiator::connect(self.address, iqn, options)
    }

    /// A session that has been told of its power on at LUN 0.
    pub(crate) fn login(&self, name: &str) -> Initiator {
        let mut initiator = self.connect(IQN, &host(name)).unwrap();
        initiator.ready(0, 3).unwrap();
        initiator
    }
}

pub(crate) fn host(name: &str) -> Options {
    Options {
        initiator_name: format!("iqn.2026-11.org.example:{name}"),
        timeout: Duration::from_secs(20),
        ..Options::default()
    }
}

pub(crate) fn null(name: &str) -> Change {
    create(
        &format!("devices/{name}"),
        &[("handler", "vdisk_nullio"), ("size", "1M")],
    )
}

pub(crate) fn lun(number: u16) -> String {
    format!("{TARGET}/luns/{number}")
}

/// The sense of a command, if it has one.
pub(crate) fn asc(reply: &Reply) -> Option<(u8, u8)> {
    reply.asc_ascq()
}

/// What a session is told at a LUN, until nothing is left.
pub(crate) fn told(initiator: &mut Initiator, lun: u16) -> Vec<(u8, u8)> {
    let mut told = Vec::new();
    loop {
        let reply = initiator.command(lun, &TEST_UNIT_READY, &[], 0).unwrap();
        if reply.sense_key() != Some(6) {
            assert!(reply.is_good(), "{reply:?}");
            return told;
        }
        told.extend(asc(&reply));
    }
}

pub(crate) fn inquiry(initiator: &mut Initiator, lun: u16, page: Option<u8>) -> Vec<u8> {
    let evpd = u8::from(page.is_some());
    let cdb = [0x12, evpd, page.unwrap_or(0), 0, 255, 0];
    let reply = initiator.command(lun, &cdb, &[], 255).unwrap();
    reply.require_good("INQUIRY").unwrap().data
}

/// Status class and detail of a refused login.
pub(crate) fn refusal(login: Result<Initiator, Error>) -> (u8, u8) {
    match login.err() {
        Some(Error::Login(LoginError::Refused { class, detail })) => (class, detail),
        other => panic!("not refused: {other:?}"),
    }
}
