//! Which transport serves a target, and how.

use std::sync::Arc;

use lunforge::core::target;
use lunforge::srp::PortId;

use super::super::srp::SRP;
use super::super::wanted::Wanted;
use super::super::{Done, Live};
use super::{Target, attributes};
use crate::manage::Failure;
use crate::tree::Kind;

impl Live {
    /// Serves a new target. Its port, if it is one of SRP.
    pub(super) fn serve(
        &self,
        core: &Arc<target::Target>,
        wanted: &Wanted<'_>,
        enabled: bool,
    ) -> Result<Option<PortId>, Failure> {
        if !is_srp(wanted) {
            let settings = attributes::settings(wanted)?;
            self.front.add(core, settings, enabled)?;
            return Ok(None);
        }
        let srp = &self.front.srp;
        let port = srp.port_of(wanted.name(), wanted.given("port_id"));
        srp.add(port, core, enabled)?;
        Ok(Some(port))
    }

    pub(super) fn enable(&self, target: &Target, enabled: bool) -> Done {
        match target.srp_port() {
            Some(port) => self.front.srp.enable(port, enabled),
            None => self.front.enable(&target.name, enabled),
        }
    }

    /// Serves a target as it is wanted now. One of SRP that gets another port loses its sessions.
    pub(super) fn serve_anew(
        &self,
        target: &Target,
        core: &Arc<target::Target>,
        wanted: &Wanted<'_>,
    ) -> Done {
        let Some(before) = target.srp_port() else {
            let settings = attributes::settings(wanted)?;
            return self.front.set(&target.name, settings);
        };
        let srp = &self.front.srp;
        let port = srp.port_of(&target.name, wanted.given("port_id"));
        if port == before {
            return Ok(());
        }
        srp.add(port, core, target.is_enabled())?;
        srp.remove(before, &target.name)?;
        // Its removal took the shards from it.
        core.serve(&self.registry.shards);
        *target.srp.lock() = Some(port);
        Ok(())
    }

    /// Serves a target no more.
    pub(super) fn withdraw(&self, target: &Target) -> Done {
        match (target.srp_port(), &target.core) {
            (Some(port), _) => self.front.srp.remove(port, &target.name),
            (None, Some(_)) => self.front.remove(&target.name),
            (None, None) => Ok(()),
        }
    }
}

fn is_srp(wanted: &Wanted<'_>) -> bool {
    wanted.path.name_of(Kind::Driver) == Some(SRP)
}
