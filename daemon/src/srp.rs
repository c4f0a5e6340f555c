//! `--srp`: the target by SRP over RDMA/CM, beside its iSCSI portals or instead of them.

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};
use std::process::{Command, Stdio};
use std::sync::Arc;

use anyhow::{Context, anyhow, bail, ensure};
use clap::Args;
use lunforge::core::target::TargetError;
use lunforge::srp::io::Limits;
use lunforge::srp::verbs::{self, VerbsError, VerbsListener};
use lunforge::srp::{PortId, SrpTransport};
use lunforge::{LogicalUnit, Target};
use lunforge_daemon::live::{login_to, own_port};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::args::Export;
use crate::plan;
use crate::srpt::everywhere;

/// Its relative target port identifier: that of iSCSI is 1.
const PORT: u16 = 2;
/// The group of those who see its LUNs.
const GROUP: &str = "initiators";
/// What buffers of some sessions take.
const LOCKED: u64 = 64 << 20;

/// Where the target is to be found by SRP, and as what.
#[derive(Debug)]
pub(crate) struct Srp {
    pub(crate) addresses: Vec<SocketAddr>,
    port: PortId,
    /// Who sees the LUNs, if not everybody does: as initiator groups know him.
    initiators: Vec<String>,
}

impl Srp {
    /// Checks the arguments; `None` without `--srp`.
    pub(crate) fn new(args: &Export, target: &str) -> anyhow::Result<Option<Self>> {
        if args.srp.is_empty() {
            return Ok(None);
        }
        ensure!(
            args.chap.is_empty(),
            "initiators of SRP prove nothing: --srp cannot be had with --chap"
        );
        let initiators: Vec<_> = args.initiator.iter().flat_map(|name| names(name)).collect();
        ensure!(
            args.initiator.is_empty() || !initiators.is_empty(),
            "--srp with --initiator: name the address or the port identifier of an initiator of SRP, too"
        );
        ensure!(
            args.serving.record.record.is_none() || !args.portal.is_empty(),
            "--record is for iSCSI, and --srp without --portal serves none"
        );
        for (i, address) in args.srp.iter().enumerate() {
            ensure!(
                !address.ip().is_unspecified() && address.port() != 0,
                "--srp {address}: give the address of an RDMA device, and a port"
            );
            ensure!(
                !args.srp[..i].contains(address),
                "the address {address} is given twice"
            );
        }
        Ok(Some(Self {
            addresses: args.srp.clone(),
            port: own_port(&plan::machine(), target),
            initiators,
        }))
    }

    /// The name of the target by SRP, which says its port.
    pub(crate) fn name(&self) -> String {
        self.port.to_string()
    }

    /// The target by SRP: whoever may see it sees all units.
    pub(crate) fn target(&self, units: &[Arc<LogicalUnit>]) -> Result<Arc<Target>, TargetError> {
        let target = Target::builder(self.name()).relative_port(PORT).build()?;
        let group = (!self.initiators.is_empty()).then_some(GROUP);
        if let Some(group) = group {
            target.add_group(group)?;
        }
        for (lun, unit) in (0..).zip(units) {
            target.add_lun_in(group, lun, Arc::clone(unit))?;
        }
        for initiator in &self.initiators {
            target.add_initiator(GROUP, initiator)?;
        }
        Ok(target)
    }

    /// Looks whether there is what it takes, before anything is created; loads the libraries.
    ///
    /// Another process tries to listen: devices that this one opens now would be of no use when rights are given up, and
    /// librdmacm does not close them ([`verbs::load`]).
    pub(crate) fn try_out(&self) -> anyhow::Result<()> {
        let addresses: Vec<_> = self.addresses.iter().map(SocketAddr::to_string).collect();
        try_out(&addresses)
    }

    /// Listens, when rights are given up.
    pub(crate) fn transport(&self, limits: Limits) -> anyhow::Result<SrpTransport> {
        let transport = SrpTransport::new().limits(limits);
        let listeners = listeners(&self.addresses)?.into_iter();
        Ok(listeners.fold(transport, |transport, listener| {
            transport.listener(Box::new(listener))
        }))
    }

    /// What a Linux initiator writes into `add_target`, a line for each address.
    pub(crate) fn lines(&self) -> Vec<String> {
        let line = |to: &SocketAddr| format!("{},dest={to}", login_to(&self.port));
        self.addresses.iter().map(line).collect()
    }
}

/// An initiator as sessions of SRP are called: by its address, or by the digits of its port. Eight groups are an address, or a
/// GID: a port is what an initiator says of itself. Of another name, nothing.
pub(crate) fn names(initiator: &str) -> impl Iterator<Item = String> {
    let address = initiator.parse::<IpAddr>().ok();
    let address = address.map(|ip| ip.to_canonical().to_string());
    let port = initiator.parse::<PortId>().ok();
    let port = port.map(|port| match address {
        Some(_) => port.to_string(),
        None => format!("0x{}", port.digits()),
    });
    [address, port].into_iter().flatten()
}

/// See [`Srp::try_out`].
pub(crate) fn try_out(listeners: &[String]) -> anyhow::Result<()> {
    verbs::load().map_err(explained)?;
    let program = std::env::current_exe().context("cannot look for RDMA devices")?;
    let mut other = Command::new(program);
    other.arg("try-srp").stdin(Stdio::null()).args(listeners);
    let output = other.output().context("cannot look for RDMA devices")?;
    if output.status.success() {
        lock_memory();
        return Ok(());
    }
    // What rdma-core has to say comes before.
    let said = String::from_utf8_lossy(&output.stderr);
    let said = said.lines().last().unwrap_or_default();
    match said.strip_prefix("lunforge: ") {
        Some(sentence) => bail!("{sentence}"),
        None => bail!("cannot look for RDMA devices: {}", output.status),
    }
}

/// The process that tries.
#[derive(Debug, Args)]
pub(crate) struct TrySrp {
    addresses: Vec<SocketAddr>,
    /// At this port on all addresses.
    #[arg(long)]
    everywhere: Option<u16>,
}

impl TrySrp {
    /// An error says what is missing.
    pub(crate) fn run(&self) -> anyhow::Result<()> {
        if let Some(port) = self.everywhere {
            everywhere(port)?;
        }
        listeners(&self.addresses).map(drop)
    }
}

fn listeners(addresses: &[SocketAddr]) -> anyhow::Result<Vec<VerbsListener>> {
    let bind = |&address: &SocketAddr| VerbsListener::bind(address).map_err(explained);
    addresses.iter().map(bind).collect()
}

pub(crate) fn explained(error: VerbsError) -> anyhow::Error {
    let advice = advice(&error);
    anyhow!("{error}: {advice}")
}

/// What to do where SRP cannot be had.
fn advice(error: &VerbsError) -> &'static str {
    match error {
        VerbsError::Library { .. } => {
            "install rdma-core (on Debian librdmacm1 and ibverbs-providers)"
        }
        VerbsError::ConnectionManager(source) if source.kind() == ErrorKind::PermissionDenied => {
            "this user has to be allowed /dev/infiniband/rdma_cm"
        }
        VerbsError::ConnectionManager(_) => {
            "there has to be an RDMA device (`rdma link` shows them), its driver and the modules ib_uverbs and rdma_ucm"
        }
        VerbsError::Listen { source, .. } | VerbsError::Service { source, .. }
            if source.kind() == ErrorKind::AddrInUse =>
        {
            "another process listens there"
        }
        VerbsError::Service { .. } | VerbsError::NoInfiniBand | VerbsError::Management { .. } => {
            "there has to be an InfiniBand port, and ports below 1024 are root's (`rdma link` shows devices)"
        }
        VerbsError::Listen { .. } => {
            "the address has to be that of a network card which is an RDMA device (`rdma link` shows them)"
        }
    }
}

/// Buffers for RDMA are locked into memory: as much as may be.
fn lock_memory() {
    let unlimited = Rlimit {
        current: None,
        maximum: None,
    };
    if setrlimit(Resource::Memlock, unlimited).is_ok() {
        return;
    }
    let Some(most) = getrlimit(Resource::Memlock).maximum else {
        return;
    };
    let all = Rlimit {
        current: Some(most),
        maximum: Some(most),
    };
    // A limit that cannot be raised to its bound stays where it is.
    let _ = setrlimit(Resource::Memlock, all);
    if most < LOCKED {
        tracing::warn!(
            bytes = most,
            "few SRP sessions fit into the memory that may be locked: raise RLIMIT_MEMLOCK"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[test]
    fn an_initiator_is_told_the_port_and_each_address() {
        let srp = Srp {
            addresses: vec![
                "192.0.2.1:5555".parse().unwrap(),
                "[2001:db8::5]:1".parse().unwrap(),
            ],
            port: PortId::new(0x12, 0xfeed_0000_0000_0001),
            initiators: Vec::new(),
        };
        let told = "id_ext=0000000000000012,ioc_guid=feed000000000001,dest=";
        let expected = ["192.0.2.1:5555", "[2001:db8::5]:1"].map(|to| format!("{told}{to}"));
        assert_eq!(srp.lines(), expected);
        assert_eq!(srp.name(), "0000:0000:0000:0012:feed:0000:0000:0001");
    }

    #[test]
    fn only_those_who_are_named_see_the_luns() {
        let disk = lunforge::vdisk::Vdisk::null(1 << 20).open().unwrap();
        let units = [lunforge::Unit::new(disk).build()];
        let mut srp = Srp {
            addresses: Vec::new(),
            port: PortId::new(1, 2),
            initiators: Vec::new(),
        };
        let sees = |srp: &Srp, name: &str| !srp.target(&units).unwrap().luns_of(name).is_empty();
        assert!(sees(&srp, "192.0.2.7"));
        let port = "0x000000000000000000000000000000ab";
        srp.initiators = ["192.0.2.1", port]
            .iter()
            .flat_map(|name| names(name))
            .collect();
        assert!(sees(&srp, "192.0.2.1") && !sees(&srp, "192.0.2.7"));
        assert!(sees(&srp, port));
        // So is an address written, which an initiator could give its port.
        assert!(!sees(&srp, "0000:0000:0000:0000:0000:0000:0000:00ab"));
        assert_eq!(names(&port[2..]).collect::<Vec<_>>(), [port]);
        let told = |name: &str| names(name).collect::<Vec<_>>();
        assert_eq!(told("2001:db8::0:5"), ["2001:db8::5"]);
        let both = "fe80:0000:0000:0000:5054:00ff:fe77:0001";
        assert_eq!(told(both), ["fe80::5054:ff:fe77:1", both]);
        assert_eq!(told("iqn.2026-11.org.example:a"), [""; 0]);
    }

    #[test]
    fn whatever_is_missing_there_is_something_to_do() {
        let listen = |kind: ErrorKind| VerbsError::Listen {
            address: "192.0.2.1:5555".parse().unwrap(),
            source: kind.into(),
        };
        assert!(advice(&listen(ErrorKind::AddrInUse)).contains("another process"));
        assert!(advice(&listen(ErrorKind::AddrNotAvailable)).contains("rdma link"));
        let manager = |kind: ErrorKind| VerbsError::ConnectionManager(kind.into());
        assert!(advice(&manager(ErrorKind::NotFound)).contains("rdma_ucm"));
        assert!(advice(&manager(ErrorKind::PermissionDenied)).contains("this user"));
        assert!(advice(&VerbsError::NoInfiniBand).contains("an InfiniBand port"));
    }
}
