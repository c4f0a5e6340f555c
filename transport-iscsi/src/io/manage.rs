//! Changes of a running transport: its targets, what they demand, its portals, its sessions. None of them concerns a
//! session that it does not name, and each costs as much as it changes.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

use lunforge_core::Target;
use lunforge_core::shard::ShardHandle;

use super::listener::Listener;
use super::registry::Place;
use super::service::{Notice, Service};
use super::sessions::{Closing, SessionId, SessionInfo};
use super::settings::TargetSettings;
use super::{BindError, IscsiAttachment, socket};
use crate::proto::login::AuthConfig;

/// How long is waited for a shard to begin or to end a listener. An embedder that drives its shards by hand may do so
/// afterwards: nobody answers then, and that is fine.
const PATIENCE: Duration = Duration::from_millis(500);
/// How much of a wrong name is told.
const SHOWN: usize = 64;

/// Why a running transport cannot be changed as asked. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// The name is taken; case does not matter.
    #[error("there is a target {0:?} already")]
    DuplicateTarget(String),
    /// There is no such target; the beginning of its name.
    #[error("there is no target {0:?}")]
    NoSuchTarget(String),
    /// There is no such portal.
    #[error("there is no portal {0}")]
    NoSuchPortal(SocketAddr),
    /// There is no such session.
    #[error("there is no session {0}")]
    NoSuchSession(SessionId),
    /// The portal cannot be opened.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// A shard did not take the listener.
    #[error("cannot serve the portal {0}")]
    Portal(SocketAddr),
}

impl ChangeError {
    pub(super) fn no_target(name: &str) -> Self {
        Self::NoSuchTarget(name.chars().take(SHOWN).collect())
    }
}

/// To a listener: end; dropped when its socket is closed.
pub(super) struct EndListener {
    _told: Sender<()>,
}

impl IscsiAttachment {
    /// Serves one more target. That no initiator takes its units for those of another target is the caller's to see to
    /// ([`Identities`](lunforge_core::target::Identities)).
    ///
    /// # Errors
    /// [`ChangeError::DuplicateTarget`].
    pub fn add_target(
        &self,
        target: Arc<Target>,
        settings: TargetSettings,
    ) -> Result<(), ChangeError> {
        let mut catalogue = self.service.catalogue.write();
        catalogue.insert(Arc::clone(&target), settings)?;
        // Before a login finds it.
        target.serve(&self.shards);
        Ok(())
    }

    /// Serves a target no more, and begins to end its sessions. Does not block; [`Closing::wait`] does.
    /// The engine does not flush its units at its end then, unless another transport serves it: they are the caller's.
    ///
    /// # Errors
    /// [`ChangeError::NoSuchTarget`].
    pub fn remove_target(&self, name: &str) -> Result<Closing, ChangeError> {
        let removed = self.service.catalogue.write().remove(name)?;
        removed.target.retire(&self.shards);
        // A login that found it before is in the registry by now, or finds it no more.
        Ok(self.close_all(name))
    }

    /// Changes what a target demands, for sessions from now on. A login under way gets in if it has shown that.
    ///
    /// # Errors
    /// [`ChangeError::NoSuchTarget`].
    pub fn set_target(&self, name: &str, settings: TargetSettings) -> Result<(), ChangeError> {
        self.service.catalogue.write().set(name, settings)
    }

    /// Takes logins to a target or, as if there were no such target, does not; it is not listed then, either. Sessions that
    /// there are go on. A target is enabled at first.
    ///
    /// # Errors
    /// [`ChangeError::NoSuchTarget`].
    pub fn set_enabled(&self, name: &str, enabled: bool) -> Result<(), ChangeError> {
        self.service.catalogue.write().enable(name, enabled)
    }

    /// The targets in the order in which they came, with what they demand, and whether they are enabled.
    pub fn targets(&self) -> Vec<(Arc<Target>, Arc<TargetSettings>, bool)> {
        let catalogue = self.service.catalogue.read();
        let all = catalogue.iter().cloned();
        all.map(|s| (s.target, s.settings, s.enabled)).collect()
    }

    /// One target, as [`IscsiAttachment::targets`] has it.
    pub fn target(&self, name: &str) -> Option<(Arc<Target>, Arc<TargetSettings>, bool)> {
        let served = self.service.catalogue.read().get(name).cloned()?;
        Some((served.target, served.settings, served.enabled))
    }

    /// Changes how initiators prove themselves in discovery sessions from now on. It says nothing of the targets. Whoever
    /// has proved himself for discovery is told the names of all targets that he may use; others those of targets that
    /// demand no proof, or that are public ([`TargetSettings::public_name`]).
    pub fn set_discovery_auth(&self, auth: AuthConfig) {
        self.service.catalogue.write().discovery = auth;
    }

    /// Opens one more portal; its address, with the port that it got where none was given.
    ///
    /// # Errors
    /// [`ChangeError::Bind`], [`ChangeError::Portal`].
    pub fn add_portal(&self, address: SocketAddr) -> Result<SocketAddr, ChangeError> {
        let (fd, bound) = socket::listen(address, self.service.limits.receive_buffer)
            .map_err(|source| BindError::Listen { address, source })?;
        let at = self.service.portals.addresses().len() % self.shards.len().max(1);
        if let Some(shard) = self.shards.get(at) {
            listen(&self.service, shard, fd, bound)?;
        }
        Ok(bound)
    }

    /// Closes a portal. Sessions that came by it go on.
    ///
    /// # Errors
    /// [`ChangeError::NoSuchPortal`].
    pub fn remove_portal(&self, address: SocketAddr) -> Result<(), ChangeError> {
        let (found, listeners) = self.service.portals.remove(address);
        if found == 0 {
            return Err(ChangeError::NoSuchPortal(address));
        }
        let (tell, told) = channel();
        for Place { shard, source } in listeners {
            shard.send(
                source,
                Box::new(EndListener {
                    _told: tell.clone(),
                }),
            );
        }
        drop(tell);
        // Nobody sends anything: it ends when the last listener is gone.
        let _ = told.recv_timeout(PATIENCE);
        Ok(())
    }

    /// The normal sessions, the oldest first.
    pub fn sessions_list(&self) -> Vec<SessionInfo> {
        self.service.registry.lock().infos()
    }

    /// A session that is open.
    pub fn session(&self, id: SessionId) -> Option<SessionInfo> {
        self.service.registry.lock().info(id)
    }

    /// Begins to end a session. Its initiator may log in again.
    ///
    /// # Errors
    /// [`ChangeError::NoSuchSession`].
    pub fn close_session(&self, id: SessionId) -> Result<Closing, ChangeError> {
        let place = self.service.registry.lock().place(id);
        let place = place.ok_or(ChangeError::NoSuchSession(id))?;
        end(&place);
        Ok(self.closing(vec![id]))
    }

    /// Begins to end the sessions of a target.
    ///
    /// # Errors
    /// [`ChangeError::NoSuchTarget`].
    pub fn close_sessions(&self, name: &str) -> Result<Closing, ChangeError> {
        if self.service.catalogue.read().get(name).is_none() {
            return Err(ChangeError::no_target(name));
        }
        Ok(self.close_all(name))
    }

    fn close_all(&self, name: &str) -> Closing {
        let sessions = {
            let registry = self.service.registry.lock();
            registry.of_target(&name.to_ascii_lowercase())
        };
        sessions.iter().for_each(|(_, _, place)| end(place));
        self.closing(sessions.into_iter().map(|(id, ..)| id).collect())
    }

    fn closing(&self, sessions: Vec<SessionId>) -> Closing {
        Closing {
            service: Arc::clone(&self.service),
            sessions,
        }
    }
}

fn end(place: &Place) {
    let notice = Box::new(Notice::End);
    place.shard.send(place.source, notice);
}

/// Has a shard listen on a socket.
pub(super) fn listen(
    service: &Arc<Service>,
    shard: &ShardHandle,
    fd: OwnedFd,
    address: SocketAddr,
) -> Result<(), ChangeError> {
    let id = service.portals.insert(address);
    let of_shard = Arc::clone(service);
    let (tell, told) = channel();
    shard.run(move |cx| {
        let added = cx.add_source_with(|cx| {
            let at = Place {
                shard: cx.handle(),
                source: cx.this(),
            };
            // It may have been removed meanwhile.
            let wanted = of_shard.portals.listens(id, at);
            wanted.then(|| Listener::start(cx, fd, of_shard)).flatten()
        });
        let _ = tell.send(added.is_some());
    });
    if told.recv_timeout(PATIENCE) == Ok(false) {
        service.portals.forget(id);
        return Err(ChangeError::Portal(address));
    }
    Ok(())
}
