//! Relative target port identifiers: one for each target of this node. A target that is given none has a makeshift, which
//! gives way to one that is given; before it is enabled it is given one.

use std::sync::Arc;

use super::super::failure::failure;
use super::super::undo::Undo;
use super::super::{Done, Live};
use super::Target;
use crate::manage::Failure;
use crate::schema::REL_TGT_ID;
use crate::tree::Path;

impl Live {
    /// `wanted`, or where that is zero a makeshift.
    pub(super) fn free_port(&mut self, wanted: u16) -> Result<u16, Failure> {
        if wanted == 0 {
            return self.makeshift(wanted);
        }
        let Some(other) = self.registry.target_at(wanted) else {
            return Ok(wanted);
        };
        if other.is_enabled() || other.first(REL_TGT_ID).is_some() {
            return Err(failure(format!(
                "relative target port identifier {wanted} is that of {} still",
                other.name
            )));
        }
        let away = self.makeshift(wanted)?;
        self.put_port(&other, away)?;
        Ok(wanted)
    }

    fn makeshift(&self, but: u16) -> Result<u16, Failure> {
        let port = self.registry.free_port(but);
        port.ok_or_else(|| failure("all relative target port identifiers are in use"))
    }

    /// Gives a target the identifier that is wanted, or with zero leaves the one that it has.
    pub(super) fn set_port(&mut self, target: &Arc<Target>, wanted: u16) -> Done {
        if wanted == 0 || target.port() == Some(wanted) {
            return Ok(());
        }
        let port = self.free_port(wanted)?;
        self.put_port(target, port)
    }

    /// Gives a target the identifier back that it had.
    pub(in super::super) fn put_port_back(&mut self, target: &Path, before: u16) -> Done {
        let Some(target) = self.registry.target(target) else {
            return Ok(());
        };
        if target.port() == Some(before) {
            return Ok(());
        }
        if let Some(other) = self.registry.target_at(before) {
            return Err(failure(format!(
                "the relative target port identifier {before} of {} has become that of {}",
                target.name, other.name
            )));
        }
        self.put_port(&target, before)
    }

    /// Changes the identifier, and the target group in which it stands.
    fn put_port(&mut self, target: &Arc<Target>, port: u16) -> Done {
        let before = target.port().unwrap_or(0);
        target.each(|core| core.set_relative_port(port))?;
        self.registry.move_port(target, before, port);
        let settled = self.settle_groups(&target.name);
        if settled.is_err() {
            target.each(|core| core.set_relative_port(before))?;
            self.registry.move_port(target, port, before);
            self.settle_groups(&target.name)?;
            return settled;
        }
        self.note_port(target, before);
        Ok(())
    }

    /// A change of this target's identifier is to be taken back with the change under way.
    pub(super) fn note_port(&mut self, target: &Target, before: u16) {
        if let Ok(target) = Path::target(&target.driver, &target.name) {
            self.journal.note(Undo::Port { target, before });
        }
    }

    /// Has the device groups look at the target again.
    pub(super) fn settle_groups(&self, target: &str) -> Done {
        let local = |name: &str| self.registry.local_port(name);
        for group in self.registry.groups() {
            if group.names(target) {
                group.settle(&local)?;
            }
        }
        Ok(())
    }
}
