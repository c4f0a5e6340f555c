//! `--metrics`: the port at which the running target is scraped.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Instant;

use anyhow::Context;
use lunforge::core::shard::ShardHandle;
use lunforge::iscsi::IscsiAttachment;
use lunforge::pr::Reservations;
use lunforge::vdisk::Vdisk;
use lunforge::{LogicalUnit, Target};
use lunforge_daemon::control::report;
use lunforge_daemon::live::reservation;
use lunforge_daemon::metrics::{Bounds, Device, Server, Shard, Snapshot, Transport};

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

/// What `lunforge export` serves: one target with its LUNs.
pub(crate) struct Exported {
    pub(crate) target: Arc<Target>,
    pub(crate) attached: Arc<IscsiAttachment>,
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
        let luns = self.target.luns();
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
        let target = report::Target {
            driver: "iscsi".to_owned(),
            name: self.target.name().to_owned(),
            enabled: true,
            sessions: u64::try_from(self.attached.sessions()).unwrap_or(u64::MAX),
            luns: u64::try_from(luns.iter().count()).unwrap_or(u64::MAX),
            ..report::Target::default()
        };
        Snapshot {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            uptime: self.begun.elapsed(),
            devices: luns.iter().map(device).collect(),
            targets: vec![target],
            reservations: luns.iter().filter_map(reservation).collect(),
            transport: Some(Transport::new(&self.attached)),
            shards: Shard::all(&self.shards),
        }
    }
}

/// What a LUN is called among devices.
fn name(lun: u16) -> String {
    format!("lun{lun}")
}
