//! `--metrics`: the port at which the running target is scraped.

use std::net::{SocketAddr, TcpListener};

use anyhow::Context;
use lunforge::core::shard::ShardHandle;
use lunforge::iscsi::IscsiAttachment;
use lunforge::{LogicalUnit, Target};
use lunforge_daemon::control::report;
use lunforge_daemon::metrics::{Bounds, Device, Server, Shard, Snapshot, Transport};

use std::sync::Arc;
use std::time::Instant;

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
    /// A handler's name and a path for each LUN.
    pub(crate) media: Vec<(&'static str, Option<String>)>,
    pub(crate) begun: Instant,
}

impl Exported {
    pub(crate) fn snapshot(&self) -> Snapshot {
        let luns = self.target.luns();
        let device = |(lun, unit): (&u16, &Arc<LogicalUnit>)| {
            let medium = self.media.get(usize::from(*lun));
            let (handler, filename) = medium.cloned().unwrap_or_default();
            let mut device = Device::of_unit(&format!("lun{lun}"), handler, unit);
            device.told.filename = filename;
            device.told.luns = vec![lun.to_string()];
            device
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
            reservations: Vec::new(),
            transport: Some(Transport::new(&self.attached)),
            shards: Shard::all(&self.shards),
        }
    }
}
