//! The socket layer: listeners, connections, and what they share.

mod catalogue;
mod connection;
mod counters;
mod doorway;
mod full_feature;
mod gate;
mod interfaces;
mod limits;
mod link;
mod listener;
mod login;
mod manage;
mod offenders;
mod portals;
mod recorder;
mod registry;
mod service;
mod sessions;
mod settings;
mod socket;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lunforge_core::Target;
use lunforge_core::engine::Transport;
use lunforge_core::shard::ShardHandle;
use lunforge_core::target::{TargetError, check_identities};

use crate::proto::chap::{OsRandom, Random};
use crate::proto::keys::TargetParams;
use crate::proto::login::{Access, AuthConfig, LoginStatus};
use crate::record::{Archive, Memory, RecorderStatistics, Recording};
use catalogue::Catalogue;
use portals::Interfaces;
use recorder::{Ask, Records};
use service::Service;

pub use connection::Ends;
pub use counters::Counters;
pub use limits::Limits;
pub use link::{Moved, Stream, Waker};
pub use manage::ChangeError;
pub use recorder::Dump;
pub use sessions::{Closing, SessionId, SessionInfo};
pub use settings::{NotAnAddress, Redirect, TargetSettings};

/// Why a portal cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// The address does not resolve.
    #[error("{0:?} is no address and port")]
    Address(String),
    /// Nothing to listen on.
    #[error("an iSCSI transport needs a portal")]
    NoPortal,
    /// The system refuses.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The portal.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// A listener that was handed in is no listening TCP socket.
    #[error("the given descriptor is no TCP socket: {0}")]
    Listener(#[source] std::io::Error),
}

/// Why the transport cannot serve.
#[derive(Debug, thiserror::Error)]
pub enum AttachError {
    /// A shard did not take a listener.
    #[error("cannot serve the portal {0}")]
    Portal(SocketAddr),
    /// A name is given twice.
    #[error("two targets are named {0:?}")]
    DuplicateTarget(String),
    /// An access list is for a target that is not served.
    #[error("there is an access list for {0:?}, but no such target")]
    AccessWithoutTarget(String),
    /// Units of two targets would claim to be the same device.
    #[error(transparent)]
    Identity(TargetError),
    /// There is no folder for recordings, or none that can be written to.
    #[error("cannot write recordings to {folder}: {source}")]
    Recording {
        /// The folder.
        folder: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

/// The transport, or the address, has as many connections as it may, or the address is refused for a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no further connection is allowed")]
pub struct LimitReached;

/// iSCSI over TCP on some portals, listening but not yet serving.
#[derive(Debug)]
pub struct IscsiTransport {
    listeners: Vec<(OwnedFd, SocketAddr)>,
    params: TargetParams,
    auth: AuthConfig,
    access: BTreeMap<String, Access>,
    limits: Limits,
    random: RandomSource,
    recording: Option<Recording>,
    interfaces: Interfaces,
}

/// Where the random bytes of each login come from.
#[derive(Clone)]
struct RandomSource(Arc<dyn Fn() -> Box<dyn Random + Send> + Send + Sync>);

impl RandomSource {
    fn make(&self) -> Box<dyn Random + Send> {
        (self.0)()
    }
}

impl Default for RandomSource {
    fn default() -> Self {
        Self(Arc::new(|| Box::new(OsRandom)))
    }
}

impl std::fmt::Debug for RandomSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RandomSource")
    }
}

/// Describes a transport.
#[derive(Debug, Default)]
pub struct IscsiBuilder {
    portals: Vec<SocketAddr>,
    listeners: Vec<OwnedFd>,
    params: TargetParams,
    auth: AuthConfig,
    access: BTreeMap<String, Access>,
    limits: Limits,
    random: RandomSource,
    recording: Option<Recording>,
    interfaces: Interfaces,
}

impl IscsiBuilder {
    /// Adds a portal. Port 0 takes a free one.
    #[must_use]
    pub fn portal(mut self, address: SocketAddr) -> Self {
        self.portals.push(address);
        self
    }

    /// Adds a portal over a listening TCP socket of the caller's, for instance from socket activation.
    #[must_use]
    pub fn listener(mut self, fd: OwnedFd) -> Self {
        self.listeners.push(fd);
        self
    }

    /// Sets the target's side of the negotiation.
    #[must_use]
    pub fn params(mut self, params: TargetParams) -> Self {
        self.params = params;
        self
    }

    /// Sets how initiators prove themselves, in normal and in discovery sessions.
    #[must_use]
    pub fn auth(mut self, auth: AuthConfig) -> Self {
        self.auth = auth;
        self
    }

    /// Sets who may use the target of this name. Others get status 0202, after authentication where that is demanded,
    /// and do not find the target in SendTargets answers.
    #[must_use]
    pub fn access(mut self, target: &str, access: Access) -> Self {
        self.access.insert(target.to_ascii_lowercase(), access);
        self
    }

    /// Sets the limits.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Takes the random bytes of CHAP from there instead of from the operating system: one source for each login. They
    /// have to be as strong, but for a simulation that is to repeat itself.
    #[must_use]
    pub fn random(
        mut self,
        source: impl Fn() -> Box<dyn Random + Send> + Send + Sync + 'static,
    ) -> Self {
        self.random = RandomSource(Arc::new(source));
        self
    }

    /// Takes the addresses of the machine's interfaces from there, instead of asking the system: SendTargets answers list
    /// them for a portal at a wildcard address. Called on a shard: must not block.
    #[must_use]
    pub fn interfaces(mut self, source: impl Fn() -> Vec<IpAddr> + Send + Sync + 'static) -> Self {
        self.interfaces = Interfaces(Arc::new(source));
        self
    }

    /// Has connections recorded. They are not unless this is set.
    #[must_use]
    pub fn record(mut self, recording: Recording) -> Self {
        self.recording = Some(recording);
        self
    }

    /// Opens the portals: from here on connections queue up.
    ///
    /// # Errors
    /// [`BindError`]; nothing stays open.
    pub fn bind(mut self) -> Result<IscsiTransport, BindError> {
        let mut listeners = Vec::new();
        for &address in &self.portals {
            listeners.push(
                socket::listen(address, self.limits.receive_buffer)
                    .map_err(|source| BindError::Listen { address, source })?,
            );
        }
        for fd in std::mem::take(&mut self.listeners) {
            listeners.push(socket::adopt(fd).map_err(BindError::Listener)?);
        }
        if listeners.is_empty() {
            return Err(BindError::NoPortal);
        }
        if listeners.iter().any(|(_, at)| at.ip().is_unspecified()) {
            // Later this process may have given up the right to ask.
            (self.interfaces.0)();
        }
        Ok(IscsiTransport {
            listeners,
            ..self.portless()
        })
    }

    /// A transport without portals: its connections are those that [`IscsiAttachment::serve`] is given. Portals that
    /// were named are not opened.
    pub fn portless(self) -> IscsiTransport {
        IscsiTransport {
            listeners: Vec::new(),
            params: self.params,
            auth: self.auth,
            access: self.access,
            limits: self.limits,
            random: self.random,
            recording: self.recording,
            interfaces: self.interfaces,
        }
    }
}

impl IscsiTransport {
    /// One portal with default parameters and no authentication.
    ///
    /// # Errors
    /// [`BindError`].
    pub fn bind(address: impl ToSocketAddrs + std::fmt::Debug) -> Result<Self, BindError> {
        let unresolved = || BindError::Address(format!("{address:?}"));
        let resolved = address
            .to_socket_addrs()
            .map_err(|_| unresolved())?
            .next()
            .ok_or_else(unresolved)?;
        Self::builder().portal(resolved).bind()
    }

    /// Starts to describe a transport.
    pub fn builder() -> IscsiBuilder {
        IscsiBuilder::default()
    }

    /// The portals as opened.
    pub fn portals(&self) -> Vec<SocketAddr> {
        self.listeners.iter().map(|(_, address)| *address).collect()
    }
}

/// A running transport. It goes on until its engine stops.
#[derive(Debug)]
pub struct IscsiAttachment {
    service: Arc<Service>,
    shards: Arc<[ShardHandle]>,
}

impl IscsiAttachment {
    /// The portals.
    pub fn portals(&self) -> Vec<SocketAddr> {
        self.service.portals.addresses()
    }

    /// Serves a connection over a stream of the caller's, on the shard with the fewest sessions. It counts as a connection
    /// of any portal does, from here on.
    ///
    /// # Errors
    /// [`LimitReached`]; the stream is dropped.
    pub fn serve(&self, stream: Box<dyn Stream>, ends: Ends) -> Result<(), LimitReached> {
        let permit = self
            .service
            .admit_connection(ends.peer)
            .ok_or(LimitReached)?;
        let service = Arc::clone(&self.service);
        if let Some(shard) = self.shards.iter().min_by_key(|shard| shard.load()) {
            shard.run(move |cx| {
                if service.refuses(ends.peer, cx.now()) {
                    return;
                }
                cx.add_source_with(|cx| {
                    let link = link::Link::stream(cx, stream);
                    connection::Connection::start(cx, link, ends, service, permit)
                });
            });
        }
        Ok(())
    }

    /// Connections now, those that log in included.
    pub fn connections(&self) -> usize {
        self.service.connections()
    }

    /// What happened so far. The shards have counters of their own ([`ShardHandle::counters`]).
    pub fn counters(&self) -> Counters {
        self.service.tally.snapshot()
    }

    /// Logins that were refused, by the status that told so (RFC 7143 11.13.5); those of which a login under way is not
    /// told are not among them.
    pub fn refusals(&self) -> Vec<(LoginStatus, u64)> {
        self.service.refusals.snapshot()
    }

    /// Normal sessions now.
    pub fn sessions(&self) -> usize {
        self.service.sessions()
    }

    /// Has the recordings of all normal sessions written. Does not block; [`Dump::wait`] does. Nothing comes of it when
    /// nothing is recorded, and when this is asked too often.
    pub fn dump(&self) -> Dump {
        let (tell, told) = std::sync::mpsc::channel();
        let admitted = |records: &Arc<Records>| records.archive.admits(Instant::now());
        if self.service.records().is_some_and(admitted) {
            for place in self.service.places() {
                let ask = Box::new(Ask(tell.clone()));
                place.shard.send(place.source, ask);
            }
        }
        Dump(told)
    }

    /// What the recorder has done; `None` when nothing is recorded.
    pub fn recorder_statistics(&self) -> Option<RecorderStatistics> {
        let records = self.service.records()?;
        Some(records.statistics())
    }

    /// Waits until the recordings of everything that has happened are written, at most for `bound`; false when they are
    /// not. Blocks. Useful after the engine has stopped, before the process ends.
    pub fn settle_recordings(&self, bound: Duration) -> bool {
        self.service
            .records()
            .is_none_or(|records| records.archive.settle(bound))
    }
}

impl Transport for IscsiTransport {
    type Attachment = IscsiAttachment;
    type Error = AttachError;

    fn attach(
        self,
        shards: &Arc<[ShardHandle]>,
        targets: Vec<Arc<Target>>,
    ) -> Result<IscsiAttachment, AttachError> {
        // A misspelt name must not leave the target open to everybody.
        let served = |name: &String| targets.iter().any(|t| t.name().eq_ignore_ascii_case(name));
        if let Some(name) = self.access.keys().find(|name| !served(name)) {
            return Err(AttachError::AccessWithoutTarget(name.clone()));
        }
        let units = targets
            .iter()
            .flat_map(|t| t.luns().values().cloned().collect::<Vec<_>>());
        check_identities(units).map_err(AttachError::Identity)?;
        let mut access = self.access;
        let mut catalogue = Catalogue::new(self.auth.clone());
        for target in targets {
            let settings = TargetSettings {
                params: self.params.clone(),
                auth: self.auth.clone(),
                access: access
                    .remove(&target.name().to_ascii_lowercase())
                    .unwrap_or_default(),
                ..TargetSettings::default()
            };
            let name = target.name().to_owned();
            catalogue
                .insert(target, settings)
                .map_err(|_| AttachError::DuplicateTarget(name))?;
        }
        let mut service = Service::new(
            catalogue,
            self.params,
            self.interfaces,
            self.limits,
            self.random,
        );
        if let Some(recording) = self.recording {
            service.record(open_records(recording, &self.limits)?);
        }
        let service = Arc::new(service);
        for (i, (fd, address)) in self.listeners.into_iter().enumerate() {
            manage::listen(&service, &shards[i % shards.len()], fd, address)
                .map_err(|_| AttachError::Portal(address))?;
        }
        Ok(IscsiAttachment {
            service,
            shards: Arc::clone(shards),
        })
    }
}

fn open_records(settings: Recording, limits: &Limits) -> Result<Records, AttachError> {
    let archive = Archive::open(&settings, Instant::now()).map_err(|source| {
        let folder = settings.folder().to_owned();
        AttachError::Recording { folder, source }
    })?;
    Ok(Records {
        settings,
        archive: Arc::new(archive),
        memory: Memory::new(limits.recorder_bytes, limits.log_lines),
    })
}
