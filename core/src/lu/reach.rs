//! By which targets a unit is reached.

use std::sync::{Arc, Weak};

use super::LogicalUnit;
use crate::target::{Target, TargetError};

/// A target in which a unit is a LUN.
pub(super) struct Reach {
    target: Weak<Target>,
    /// Its relative target port identifier.
    port: u16,
    /// How often, over all of its LUN maps.
    times: usize,
}

impl LogicalUnit {
    /// The targets in which the unit is a LUN.
    pub fn targets(&self) -> Vec<Arc<Target>> {
        let targets = self.targets.lock();
        let reach = targets.iter().map(|reach| &reach.target);
        reach.filter_map(Weak::upgrade).collect()
    }

    /// RELATIVE TARGET PORT IDENTIFIERs of the ports by which the unit can be reached, ascending.
    pub fn ports(&self) -> Vec<u16> {
        let targets = self.targets.lock();
        let alive = targets.iter().filter(|r| r.target.strong_count() > 0);
        let mut ports: Vec<_> = alive.map(|reach| reach.port).collect();
        ports.sort_unstable();
        ports
    }

    /// The unit becomes a LUN of a target, once more if it is one.
    ///
    /// # Errors
    /// [`TargetError::DuplicatePort`].
    pub(crate) fn mapped(&self, target: &Weak<Target>, port: u16) -> Result<(), TargetError> {
        let mut targets = self.targets.lock();
        targets.retain(|reach| reach.target.strong_count() > 0);
        if let Some(reach) = targets.iter_mut().find(|r| r.target.ptr_eq(target)) {
            reach.times += 1;
            return Ok(());
        }
        check_port(&targets, port)?;
        targets.push(Reach {
            target: Weak::clone(target),
            port,
            times: 1,
        });
        Ok(())
    }

    /// The unit is a LUN of a target once less.
    pub(crate) fn unmapped(&self, target: &Weak<Target>) {
        let mut targets = self.targets.lock();
        if let Some(reach) = targets.iter_mut().find(|r| r.target.ptr_eq(target)) {
            reach.times -= 1;
        }
        targets.retain(|reach| reach.times > 0);
    }

    /// A target's relative port identifier becomes another one.
    ///
    /// # Errors
    /// [`TargetError::DuplicatePort`].
    pub(crate) fn reached_by(&self, target: &Weak<Target>, port: u16) -> Result<(), TargetError> {
        let mut targets = self.targets.lock();
        let Some(at) = targets.iter().position(|r| r.target.ptr_eq(target)) else {
            return Ok(());
        };
        // A unit that is several LUNs of the target comes here several times.
        if targets.get(at).is_some_and(|reach| reach.port != port) {
            check_port(&targets, port)?;
        }
        if let Some(reach) = targets.get_mut(at) {
            reach.port = port;
        }
        Ok(())
    }

    /// The services are told that sessions of a target have another name; commands that waited go on under it.
    pub(crate) fn renamed(&self, target: &Target) {
        for itl in self.itls() {
            if std::ptr::eq(&*itl.nexus.target, target) {
                for service in &self.services {
                    service.renamed(&itl);
                }
            }
        }
        self.access_changed();
    }
}

/// Relative target port identifiers are unique among the ports of a unit (SPC-4 7.8.6.7).
fn check_port(targets: &[Reach], port: u16) -> Result<(), TargetError> {
    let taken = |reach: &Reach| reach.port == port && reach.target.strong_count() > 0;
    match targets.iter().any(taken) {
        true => Err(TargetError::DuplicatePort(port)),
        false => Ok(()),
    }
}
