//! `lunforge serve` and SRP: what a configuration wants of it, looked at before rights are given up, and its listeners,
//! opened after.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::num::NonZero;

use anyhow::anyhow;
use lunforge::srp::io::Limits;
use lunforge::srp::verbs::{ServedUnit, ServicePort, VerbsError, VerbsListener};
use lunforge_daemon::live::{Adapters, SrpSetup};
use lunforge_daemon::manage::Model;
use lunforge_daemon::schema::value::number;
use lunforge_daemon::tree::{Kind, Path};

use crate::infiniband::Infiniband;
use crate::plan;
use crate::srp::{explained, try_out};

const DRIVER: &str = "targets/ib_srpt";
/// `srpt_srq_size` when it is not given.
const SHARED: usize = 4095;

/// SRP as a configuration has it at the start.
#[derive(Debug)]
pub(crate) struct Srpt {
    /// At which port it is had; `None` without SRP.
    port: Option<u16>,
    setup: SrpSetup,
    infiniband: Option<Infiniband>,
}

impl Srpt {
    /// Looks whether there is what it takes; loads the libraries. Where something is missing, targets that are enabled
    /// make it an error; else the rest is served.
    pub(crate) fn prepare(model: &Model, limits: Limits) -> anyhow::Result<Self> {
        let mut this = Self {
            port: None,
            setup: SrpSetup {
                limits,
                machine: plan::machine(),
                ..SrpSetup::default()
            },
            infiniband: None,
        };
        let Some(wanted) = Wanted::of(model) else {
            return Ok(this);
        };
        wanted.limit(&mut this.setup.limits);
        let adapters = Adapters::found();
        let tried = if adapters.ports().is_empty() {
            Err(anyhow!("there is no RDMA device (`rdma link` shows them)"))
        } else {
            try_out(&["--everywhere".to_owned(), wanted.port.to_string()])
        };
        match tried {
            Ok(()) => {
                this.port = Some(wanted.port);
                this.setup.guid = wanted.guid.or_else(|| adapters.guid());
                this.setup.adapters = adapters;
                let (guid, limits) = (this.setup.guid, &this.setup.limits);
                this.infiniband = Infiniband::open(wanted.port, guid, limits);
            }
            Err(error) if wanted.enabled => {
                return Err(
                    error.context("targets of ib_srpt are enabled, and SRP cannot be served")
                );
            }
            Err(error) => {
                this.setup.missing = format!("{error:#}");
                eprintln!("Note: SRP is not served, though rdma_cm_port is set: {error:#}");
            }
        }
        Ok(this)
    }

    /// Whether RDMA devices will be opened.
    pub(crate) fn listens(&self) -> bool {
        self.port.is_some()
    }

    /// Tells initiators on InfiniBand what there is, when rights are given up, until what is returned is dropped.
    pub(crate) fn tell(&mut self) -> Option<ServedUnit> {
        self.infiniband.take()?.serve()
    }

    /// Listens, when rights are given up.
    pub(crate) fn listen(mut self) -> anyhow::Result<SrpSetup> {
        if let Some(port) = self.port {
            for listener in everywhere(port)? {
                self.setup.listeners.push(Box::new(listener));
            }
            self.setup.port = Some(port);
        }
        Ok(self.setup)
    }
}

/// What the driver's attributes say.
struct Wanted {
    port: u16,
    enabled: bool,
    guid: Option<u64>,
    request_bytes: Option<usize>,
    response_bytes: Option<usize>,
    shared_receives: Option<usize>,
}

impl Wanted {
    /// `None` where no port is given.
    fn of(model: &Model) -> Option<Self> {
        let path: Path = DRIVER.parse().ok()?;
        let driver = model.tree().get(&path)?;
        let given = |name: &str| number(driver.first(name)?);
        let size = |name: &str| usize::try_from(given(name)?).ok();
        let port = given("rdma_cm_port").and_then(|port| u16::try_from(port).ok());
        let guid = driver.first("srpt_service_guid");
        let guid = guid.map(|guid| u64::from_str_radix(guid.trim_start_matches("0x"), 16));
        let is_enabled =
            |target: &lunforge_daemon::tree::Object| target.first("enabled") == Some("1");
        Some(Self {
            port: port.filter(|port| *port != 0)?,
            enabled: driver
                .of(Kind::Target)
                .any(|(_, target)| is_enabled(target)),
            guid: guid.and_then(Result::ok),
            request_bytes: size("srp_max_req_size"),
            response_bytes: size("srp_max_rsp_size"),
            shared_receives: match driver.first("use_srq") {
                Some("1") => Some(size("srpt_srq_size").unwrap_or(SHARED)),
                _ => None,
            },
        })
    }

    /// What is given goes before what the command line says.
    fn limit(&self, limits: &mut Limits) {
        if let Some(bytes) = self.request_bytes {
            limits.request_bytes = bytes;
        }
        if let Some(bytes) = self.response_bytes {
            limits.response_bytes = bytes;
        }
        if let Some(buffers) = self.shared_receives {
            limits.shared_receives = buffers;
        }
    }
}

/// Listens at a port on all addresses. A listener of IPv6 takes IPv4 too, unless the system is told otherwise
/// (`net.ipv6.bindv6only`): then, and without IPv6, there is one of IPv4.
pub(crate) fn everywhere(port: u16) -> anyhow::Result<Vec<VerbsListener>> {
    let bind = |ip: std::net::IpAddr| VerbsListener::bind(SocketAddr::new(ip, port));
    let six = bind(Ipv6Addr::UNSPECIFIED.into());
    let four = bind(Ipv4Addr::UNSPECIFIED.into());
    let mut listeners = match (six, four) {
        (Ok(six), four) => [Some(six), four.ok()].into_iter().flatten().collect(),
        (Err(error), Ok(four)) => {
            tracing::warn!(%error, "initiators of SRP come by IPv4 only");
            vec![four]
        }
        (Err(error @ VerbsError::Library { .. }), _) | (_, Err(error)) => {
            return Err(explained(error));
        }
    };
    listeners.extend(by_service(port));
    Ok(listeners)
}

/// By IB/CM too, on the service id with the same number, where there is InfiniBand.
fn by_service(port: u16) -> Option<VerbsListener> {
    let port = ServicePort(NonZero::new(port)?);
    match VerbsListener::bind_service(port) {
        Ok(listener) => Some(listener),
        Err(VerbsError::NoInfiniBand) => None,
        Err(error) => {
            tracing::warn!(%error, "initiators of SRP come by RDMA/CM only");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lunforge_daemon::control::protocol::Mode;
    use lunforge_daemon::control::{Managed, ScstConf};

    fn wanted(driver: &str) -> Option<Wanted> {
        let text = format!("TARGET_DRIVER ib_srpt {{\n{driver}\n}}\n");
        let paper = Managed::on_paper(ScstConf);
        paper.apply(&text, Mode::Replace, false).unwrap();
        Wanted::of(&paper.model())
    }

    #[test]
    fn parameters_of_the_module_become_limits() {
        let limits = |driver: &str| {
            let mut limits = Limits::default();
            wanted(driver).unwrap().limit(&mut limits);
            limits
        };
        assert_eq!(limits("rdma_cm_port 5555"), Limits::default());
        let sizes = "rdma_cm_port 5555\nsrp_max_req_size 4200\nsrp_max_rsp_size 512";
        let sizes = limits(sizes);
        assert_eq!((sizes.request_bytes, sizes.response_bytes), (4200, 512));
        let shared = |more: &str| limits(&format!("rdma_cm_port 1\n{more}")).shared_receives;
        assert_eq!(shared("use_srq 1"), 4095);
        assert_eq!(shared("use_srq 1\nsrpt_srq_size 64"), 64);
        assert_eq!(shared("srpt_srq_size 64"), 0);
    }

    #[test]
    fn without_a_port_there_is_nothing_to_look_for() {
        assert!(wanted("TARGET a {\nenabled 1\n}").is_none());
        assert!(wanted("rdma_cm_port 0").is_none());
        let disabled = wanted("rdma_cm_port 5555\nTARGET a {\nenabled 0\n}").unwrap();
        assert!(!disabled.enabled && disabled.guid.is_none());
        let enabled = "rdma_cm_port 5555\nsrpt_service_guid 0x12\nTARGET a {\nenabled 1\n}";
        let enabled = wanted(enabled).unwrap();
        assert!(enabled.enabled);
        assert_eq!((enabled.port, enabled.guid), (5555, Some(0x12)));
    }
}
