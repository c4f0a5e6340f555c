//! A transport that changes while it serves, over TCP: its targets, what they demand, its portals, its sessions.

mod portals;
mod proof;
mod replacement;
mod sessions;
mod targets;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use lunforge::iscsi::io::ChangeError;
use lunforge::iscsi::{
    AuthConfig, ChapAccount, ChapConfig, IscsiAttachment, IscsiBuilder, IscsiTransport,
    TargetSettings,
};
use lunforge::vdisk::Vdisk;
use lunforge::vdisk::store::RamStore;
use lunforge::{Engine, LogicalUnit, Target};
use lunforge_bench::initiator::{Initiator, LoginError, Options, send_targets};

const A: &str = "iqn.2026-11.org.example:a";
const B: &str = "iqn.2026-11.org.example:b";
const HOST: &str = "iqn.2026-11.org.example:host";
const LOCAL: &str = "127.0.0.1:0";
/// Longer than any change takes.
const BOUND: Duration = Duration::from_secs(5);
const NOT_FOUND: &str = "0203";
const FAILED: &str = "0201";

struct Served {
    iscsi: IscsiAttachment,
    // After what it serves.
    _engine: Engine,
}

impl Served {
    /// Without targets.
    fn new() -> Self {
        Self::with(|builder| builder)
    }

    fn with(settings: impl FnOnce(IscsiBuilder) -> IscsiBuilder) -> Self {
        let builder = IscsiTransport::builder().portal(LOCAL.parse().unwrap());
        let interfaces: [IpAddr; 2] = ["192.0.2.1", "198.51.100.1"].map(|ip| ip.parse().unwrap());
        let transport = settings(builder.interfaces(move || interfaces.to_vec()));
        let engine = Engine::builder().shards(2).start().unwrap();
        let iscsi = engine.attach(transport.bind().unwrap(), vec![]).unwrap();
        Self {
            iscsi,
            _engine: engine,
        }
    }

    fn add(&self, name: &str, settings: TargetSettings) -> Arc<Target> {
        let target = target(name);
        self.iscsi
            .add_target(Arc::clone(&target), settings)
            .unwrap();
        target
    }

    fn address(&self) -> SocketAddr {
        self.iscsi.portals()[0]
    }

    fn login(&self, name: &str) -> Initiator {
        let mut session = Initiator::connect(self.address(), name, &host(1)).expect("a login");
        session.ready(0, 3).expect("a unit that is ready");
        session
    }

    /// The status of a login, or where it is sent.
    fn refused(&self, name: &str, options: &Options) -> String {
        match Initiator::connect(self.address(), name, options) {
            Ok(_) => "0000".to_owned(),
            Err(lunforge_bench::initiator::Error::Login(LoginError::Refused { class, detail })) => {
                format!("{class:02x}{detail:02x}")
            }
            Err(lunforge_bench::initiator::Error::Login(LoginError::Redirect(to))) => to,
            Err(other) => panic!("{other}"),
        }
    }

    fn listed(&self, options: &Options) -> Vec<String> {
        let found = send_targets(self.address(), options).unwrap();
        found.into_iter().map(|record| record.name).collect()
    }
}

fn unit(serial: &str) -> Arc<LogicalUnit> {
    let disk = Vdisk::store(Arc::new(RamStore::new(1 << 20))).serial(serial);
    LogicalUnit::new(disk.open().unwrap())
}

/// A target of this name with a unit of this serial number.
fn target(name: &str) -> Arc<Target> {
    Target::builder(name).lun(0, unit(name)).build().unwrap()
}

fn host(n: u32) -> Options {
    Options {
        initiator_name: HOST.into(),
        ..Options::default()
    }
    .isid_number(n)
}

fn chap(user: &str, secret: &str) -> AuthConfig {
    let account = ChapAccount::new(user, secret).unwrap();
    AuthConfig::Chap(Arc::new(ChapConfig::new(vec![account], None).unwrap()))
}

fn works(session: &mut Initiator) {
    session.ready(0, 1).expect("nothing to tell");
}
