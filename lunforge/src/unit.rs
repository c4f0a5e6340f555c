//! A logical unit with all that an initiator expects of one.

use std::sync::Arc;

use lunforge_core::copy::CopyManager;
use lunforge_core::deadline::{Ladder, LadderError};
use lunforge_core::lu::{IntoLogicalUnit, LogicalUnitBuilder};
use lunforge_core::{DeviceHandler, LogicalUnit, UnitService};
use lunforge_pr::Reservations;

/// PERIPHERAL DEVICE TYPE of a CD or DVD drive.
const CD_DVD: u8 = 0x05;

/// Describes a logical unit over a device handler: with reservations (kept in memory unless told otherwise), third-party
/// copy unless it is a CD drive, and whatever services its owner adds.
///
/// A handler given to [`TargetBuilder::lun`](lunforge_core::TargetBuilder::lun) as it is makes a unit without services:
/// no reservations, one access state, no third-party copy.
pub struct Unit {
    unit: LogicalUnitBuilder,
    /// Third-party copy is a matter of block devices: MMC has none.
    copied: bool,
    services: Vec<Arc<dyn UnitService>>,
    reservations: Option<Reservations>,
    copies: Option<Arc<CopyManager>>,
}

impl std::fmt::Debug for Unit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Unit")
            .field("services", &self.services.len())
            .finish_non_exhaustive()
    }
}

impl Unit {
    /// A unit over `handler`.
    pub fn new(handler: impl DeviceHandler) -> Self {
        Self::from_arc(Arc::new(handler))
    }

    /// As [`Unit::new`], for a handler that its owner keeps a hand on.
    pub fn from_arc(handler: Arc<dyn DeviceHandler>) -> Self {
        Self {
            copied: handler.profile().device_type != CD_DVD,
            unit: LogicalUnit::builder(handler),
            services: Vec::new(),
            reservations: None,
            copies: None,
        }
    }

    /// Adds a service. Of several that refuse a command the first added explains; reservations come last.
    #[must_use]
    pub fn service(mut self, service: Arc<dyn UnitService>) -> Self {
        self.services.push(service);
        self
    }

    /// Uses these reservations, for instance such as a file keeps.
    #[must_use]
    pub fn reservations(mut self, reservations: Reservations) -> Self {
        self.reservations = Some(reservations);
        self
    }

    /// Uses this copy manager, for instance one with other limits or whose counters are looked at. It serves this unit
    /// only.
    #[must_use]
    pub fn copies(mut self, copies: Arc<CopyManager>) -> Self {
        self.copies = Some(copies);
        self
    }

    /// Sets the times after which a command that its backend does not answer, or that waits, is answered all the same, to
    /// suit the unit's initiators: [`Ladder::linux`], [`Ladder::windows`], [`Ladder::esxi`], or other times.
    ///
    /// # Errors
    /// Those of [`Ladder::check`].
    pub fn ladder(mut self, ladder: Ladder) -> Result<Self, LadderError> {
        self.unit = self.unit.ladder(ladder)?;
        Ok(self)
    }

    /// Makes the unit.
    pub fn build(self) -> Arc<LogicalUnit> {
        let reservations = self.reservations.unwrap_or_else(Reservations::volatile);
        let copies = self.copied.then(|| self.copies.unwrap_or_default() as _);
        self.services
            .into_iter()
            .chain(copies)
            .chain([Arc::new(reservations) as Arc<dyn UnitService>])
            .fold(self.unit, |unit, service| unit.service(service))
            .build()
    }
}

impl IntoLogicalUnit for Unit {
    fn into_logical_unit(self) -> Arc<LogicalUnit> {
        self.build()
    }
}
