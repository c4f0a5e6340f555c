//! Changes of a running transport: its targets and its sessions.

use std::sync::Arc;
use std::time::{Duration, Instant};

use lunforge_core::Target;

use super::SrpAttachment;
use super::service::{Notice, Service};
use super::session::{SessionId, SessionInfo};
use crate::proto::port::PortId;

/// How often is looked whether sessions have ended.
const LOOK: Duration = Duration::from_millis(2);

/// Why a running transport cannot be changed as asked. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// The port is taken.
    #[error("there is a target with the SRP port {0} already")]
    DuplicatePort(PortId),
    /// There is no such port.
    #[error("there is no target with the SRP port {0}")]
    NoSuchPort(PortId),
    /// There is no such session.
    #[error("there is no session {0}")]
    NoSuchSession(SessionId),
}

/// Sessions that are being closed. Dropped, it changes nothing.
#[derive(Debug)]
pub struct Closing {
    service: Arc<Service>,
    sessions: Vec<SessionId>,
}

impl Closing {
    /// Whether all of them have ended: nothing of them has an effect any more.
    pub fn is_done(&self) -> bool {
        let registry = self.service.registry.lock();
        self.sessions.iter().all(|id| !registry.has(*id))
    }

    /// Waits until all of them have ended, at most for `bound`; false when they have not. Blocks.
    pub fn wait(&self, bound: Duration) -> bool {
        let end = Instant::now() + bound;
        while !self.is_done() {
            if Instant::now() >= end {
                return false;
            }
            std::thread::sleep(LOOK);
        }
        true
    }
}

impl SrpAttachment {
    /// Serves one more target. That no initiator takes its units for those of another target is the caller's to see to
    /// ([`Identities`](lunforge_core::target::Identities)).
    ///
    /// # Errors
    /// [`ChangeError::DuplicatePort`].
    pub fn add_target(&self, port: PortId, target: Arc<Target>) -> Result<(), ChangeError> {
        self.add(port, target, true)
    }

    /// As [`SrpAttachment::add_target`], and takes no login until the target is enabled.
    ///
    /// # Errors
    /// [`ChangeError::DuplicatePort`].
    pub fn add_disabled_target(
        &self,
        port: PortId,
        target: Arc<Target>,
    ) -> Result<(), ChangeError> {
        self.add(port, target, false)
    }

    fn add(&self, port: PortId, target: Arc<Target>, enabled: bool) -> Result<(), ChangeError> {
        let mut catalogue = self.service.catalogue.write();
        catalogue.insert(port, Arc::clone(&target), enabled)?;
        // Before a login finds it.
        target.serve(&self.shards);
        Ok(())
    }

    /// Serves a target no more, and begins to end its sessions. Does not block; [`Closing::wait`] does. The engine does not
    /// flush its units at its end then, unless another transport serves it: they are the caller's.
    ///
    /// # Errors
    /// [`ChangeError::NoSuchPort`].
    pub fn remove_target(&self, port: PortId) -> Result<Closing, ChangeError> {
        let removed = self.service.catalogue.write().remove(port)?;
        removed.retire(&self.shards);
        // A login that found it before is in the registry by now, or finds it no more.
        Ok(self.end_all(port))
    }

    /// Takes logins to a target, or rejects them for want of resources and begins to end its sessions, as SCST does. A target
    /// that was not added as a disabled one is enabled at first.
    ///
    /// # Errors
    /// [`ChangeError::NoSuchPort`].
    pub fn set_enabled(&self, port: PortId, enabled: bool) -> Result<Closing, ChangeError> {
        self.service.catalogue.write().enable(port, enabled)?;
        Ok(if enabled {
            self.closing(Vec::new())
        } else {
            self.end_all(port)
        })
    }

    /// Begins to end the sessions of a target. Their initiators may log in again.
    pub fn close_sessions(&self, port: PortId) -> Closing {
        self.end_all(port)
    }

    fn end_all(&self, port: PortId) -> Closing {
        let sessions = self.service.registry.lock().ids_of(&port);
        sessions.iter().for_each(|id| self.end(*id));
        self.closing(sessions)
    }

    /// The sessions, the oldest first.
    pub fn sessions_list(&self) -> Vec<SessionInfo> {
        self.service.registry.lock().infos()
    }

    /// Begins to end a session. Its initiator may log in again.
    ///
    /// # Errors
    /// [`ChangeError::NoSuchSession`].
    pub fn close_session(&self, id: SessionId) -> Result<Closing, ChangeError> {
        if !self.service.registry.lock().has(id) {
            return Err(ChangeError::NoSuchSession(id));
        }
        self.end(id);
        Ok(self.closing(vec![id]))
    }

    fn end(&self, id: SessionId) {
        let channels = self.service.registry.lock().end(id);
        let channels = channels.into_iter().flatten();
        channels.for_each(|place| place.tell(Notice::End));
    }

    fn closing(&self, sessions: Vec<SessionId>) -> Closing {
        Closing {
            service: Arc::clone(&self.service),
            sessions,
        }
    }
}
