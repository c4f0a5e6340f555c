//! `--metrics`: the port at which the running target is scraped.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Instant;

use anyhow::Context;
use lunforge::core::shard::ShardHandle;
use lunforge::iscsi::IscsiAttachment;
use lunforge::pr::Reservations;
use lunforge::srp::SrpAttachment;
use lunforge::vdisk::Vdisk;
use lunforge::{LogicalUnit, Target};
use lunforge_daemon::control::report;
use lunforge_daemon::live::reservation;
use lunforge_daemon::metrics::{Bounds, Device, Server, Shard, Snapshot, Srp, Transport};

use crate::plan::Medium;

/// The port, if one is wanted.
pub(crate) struct Port(Option<TcpListener>);

impl Port {
    /// Opens it: before the rights to do so are given up.
    pub(crate) fn open(address: Option<SocketAddr>) -> anyhow::Result<Self> {
        let open = |address: SocketAddr| {
            TcpListener::bind(address)
                .with_context(|| format!("cannot listen on {address} for --metrics"))
        };
        Ok(Self(address.map(open).transpose()?))
    }

    /// Serves what `source` gives until the server is dropped.
    pub(crate) fn serve(
        self,
        source: impl Fn() -> Snapshot + Send + Sync + 'static,
    ) -> anyhow::Result<Option<Server>> {
        let Some(listener) = self.0 else {
            return Ok(None);
        };
        let server = Server::start(listener, source, Bounds::default())
            .context("cannot serve the metrics")?;
        eprintln!("Metrics: http://{}/metrics", server.address()?);
        Ok(Some(server))
    }
}

/// What `lunforge export` serves: one target with its LUNs, by one transport or two.
pub(crate) struct Exported {
    /// By iSCSI.
    pub(crate) iscsi: Option<Arc<Target>>,
    pub(crate) attached: Arc<IscsiAttachment>,
    /// By SRP.
    pub(crate) srp: Option<(Arc<Target>, SrpAttachment)>,
    pub(crate) shards: Arc<[ShardHandle]>,
    /// In the order of their numbers.
    pub(crate) luns: Vec<ExportedLun>,
    pub(crate) begun: Instant,
}

/// What a LUN does not tell of itself.
pub(crate) struct ExportedLun {
    handler: &'static str,
    filename: Option<String>,
    disk: Vdisk,
    reservations: Reservations,
}

impl ExportedLun {
    pub(crate) fn new(medium: &Medium, disk: Vdisk, reservations: Reservations) -> Self {
        let (handler, filename) = medium.told();
        Self {
            handler,
            filename,
            disk,
            reservations,
        }
    }
}

impl Exported {
    pub(crate) fn snapshot(&self) -> Snapshot {
        let by_srp = self.srp.as_ref().map(|(target, _)| target);
        // Those of both are the same.
        let target = self.iscsi.as_ref().or(by_srp);
        let luns = target.map(|target| target.luns()).unwrap_or_default();
        let known = |lun: u16| self.luns.get(usize::from(lun));
        let device = |(lun, unit): (&u16, &Arc<LogicalUnit>)| {
            let known = known(*lun);
            let handler = known.map_or("", |known| known.handler);
            let mut device = Device::of_unit(&name(*lun), handler, unit);
            device.told.size = known.map(|known| known.disk.size());
            device.told.filename = known.and_then(|known| known.filename.clone());
            device.told.luns = vec![lun.to_string()];
            device
        };
        let reservation = |(lun, _): (&u16, &Arc<LogicalUnit>)| {
            reservation(&name(*lun), &known(*lun)?.reservations.snapshot())
        };
        let number = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
        let target = |driver: &str, target: &Target, sessions| report::Target {
            driver: driver.to_owned(),
            name: target.name().to_owned(),
            enabled: true,
            sessions: number(sessions),
            luns: number(luns.iter().count()),
            ..report::Target::default()
        };
        let iscsi = self.iscsi.iter();
        let iscsi = iscsi.map(|by_iscsi| target("iscsi", by_iscsi, self.attached.sessions()));
        let srp = self.srp.iter();
        let srp = srp.map(|(by_srp, attached)| target("ib_srpt", by_srp, attached.sessions()));
        Snapshot {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            uptime: self.begun.elapsed(),
            devices: luns.iter().map(device).collect(),
            targets: iscsi.chain(srp).collect(),
            reservations: luns.iter().filter_map(reservation).collect(),
            transport: Some(Transport::new(&self.attached)),
            srp: self.srp.as_ref().map(|(_, attached)| Srp::new(attached)),
            shards: Shard::all(&self.shards),
        }
    }
}

/// What a LUN is called among devices.
fn name(lun: u16) -> String {
    format!("lun{lun}")
}
