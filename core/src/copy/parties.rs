//! The units of a copy: found by what the segments name, and what each segment means on them.

use std::sync::Arc;

use super::CopyLimits;
use super::cscd::{BLOCK_TYPES, Cscd, Found};
use super::failure;
use super::parameter_list::ParameterList;
use super::plan::{Amount, Geometry, Side, Transfer};
use super::segment::{CscdId, Segment};
use crate::asc::Asc;
use crate::lu::LogicalUnit;
use crate::nexus::Nexus;
use crate::sense::Sense;

/// A unit of the copy.
#[derive(Debug)]
pub(super) struct Party {
    pub(super) found: Found,
    /// How often the unit had been reset when the copy began.
    resets: u64,
    /// The first segment that names it, and whether as destination.
    pub(super) first_use: (u16, bool),
    /// Read from or written to, so that its geometry is wanted.
    pub(super) medium: bool,
    pub(super) geometry: Option<Geometry>,
}

impl Party {
    /// Whether the unit was reset since the copy began.
    pub(super) fn was_reset(&self) -> bool {
        self.found.unit.resets() != self.resets
    }
}

/// A segment that can be done.
#[derive(Debug, Clone, Copy)]
pub(super) enum Step {
    Transfer(Transfer),
    Verify {
        party: usize,
        /// It must be ready, too.
        ready: bool,
    },
}

/// All units of a copy.
#[derive(Debug, Default)]
pub(super) struct Parties {
    pub(super) all: Vec<Party>,
    /// Source and destination of each segment, by place.
    roles: Vec<(usize, usize)>,
}

/// What finding needs to know.
struct Search<'a> {
    list: &'a ParameterList,
    nexus: &'a Nexus,
    /// The unit that got the command.
    manager: &'a Arc<LogicalUnit>,
    cscds: Vec<Option<Found>>,
}

impl Parties {
    /// Finds the units that the segments name. A CSCD descriptor that none names need not exist.
    ///
    /// # Errors
    /// COPY ABORTED with the number of the first segment that cannot be done: COPY TARGET DEVICE NOT REACHABLE,
    /// UNREACHABLE COPY TARGET (no such descriptor), INCORRECT COPY TARGET DEVICE TYPE, INVALID OPERATION FOR COPY
    /// SOURCE OR DESTINATION (not a block device).
    pub(super) fn find(
        list: &ParameterList,
        nexus: &Nexus,
        manager: &Arc<LogicalUnit>,
    ) -> Result<Self, Sense> {
        let search = Search {
            list,
            nexus,
            manager,
            cscds: Cscd::resolve(&list.cscds, nexus),
        };
        let mut parties = Self::default();
        for (number, segment) in list.segments.iter().enumerate() {
            let number = number as u16;
            let roles = match *segment {
                Segment::VerifyCscd { source, .. } => {
                    let place =
                        parties.take_in(search.find(number, source)?, number, (false, false))?;
                    (place, place)
                }
                Segment::BlockToBlock {
                    source,
                    destination,
                    ..
                }
                | Segment::BlockOffset {
                    source,
                    destination,
                    ..
                } => (
                    parties.take_in(search.find(number, source)?, number, (false, true))?,
                    parties.take_in(search.find(number, destination)?, number, (true, true))?,
                ),
            };
            parties.roles.push(roles);
        }
        Ok(parties)
    }

    /// The place of a unit in its role: whether it is the destination, and whether its medium is accessed.
    fn take_in(
        &mut self,
        found: Found,
        segment: u16,
        (destination, medium): (bool, bool),
    ) -> Result<usize, Sense> {
        let device_type = found.unit.handler().profile().device_type;
        if medium && !BLOCK_TYPES.contains(&device_type) {
            let asc = Asc::INVALID_OPERATION_FOR_COPY_SOURCE_OR_DESTINATION;
            return Err(failure::aborted(asc, segment));
        }
        if let Some(place) = self.all.iter().position(|p| p.found.unit == found.unit) {
            if let Some(party) = self.all.get_mut(place) {
                party.medium |= medium;
            }
            return Ok(place);
        }
        self.all.push(Party {
            resets: found.unit.resets(),
            found,
            first_use: (segment, destination),
            medium,
            geometry: None,
        });
        Ok(self.all.len() - 1)
    }

    /// Checks every segment against the geometries of its units.
    ///
    /// # Errors
    /// Those of [`Transfer::new`].
    pub(super) fn plan(
        &self,
        list: &ParameterList,
        limits: &CopyLimits,
    ) -> Result<Vec<Step>, Sense> {
        let each = list.segments.iter().zip(&self.roles).enumerate();
        each.map(|(number, (segment, roles))| {
            self.step(list, limits, number as u16, segment, *roles)
        })
        .collect()
    }

    fn step(
        &self,
        list: &ParameterList,
        limits: &CopyLimits,
        number: u16,
        segment: &Segment,
        (from, to): (usize, usize),
    ) -> Result<Step, Sense> {
        let side = |party: usize, (id, lba, offset): (CscdId, u64, u16)| {
            let geometry = self.all.get(party).and_then(|p| p.geometry);
            let geometry = geometry.ok_or_else(|| failure::not_reachable(number))?;
            Ok(Side {
                party,
                geometry,
                claimed: list.block_length(id),
                lba,
                offset,
            })
        };
        let (source, destination, amount) = match *segment {
            Segment::VerifyCscd {
                test_unit_ready: ready,
                ..
            } => return Ok(Step::Verify { party: from, ready }),
            Segment::BlockToBlock {
                destination_count,
                source,
                destination,
                blocks,
                source_lba,
                destination_lba,
                ..
            } => (
                (source, source_lba, 0),
                (destination, destination_lba, 0),
                match destination_count {
                    true => Amount::DestinationBlocks(blocks),
                    false => Amount::SourceBlocks(blocks),
                },
            ),
            Segment::BlockOffset {
                source,
                destination,
                bytes,
                source_lba,
                destination_lba,
                source_offset,
                destination_offset,
                ..
            } => (
                (source, source_lba, source_offset),
                (destination, destination_lba, destination_offset),
                Amount::Bytes(bytes),
            ),
        };
        let (source, destination) = (side(from, source)?, side(to, destination)?);
        let most = limits.chunk_bytes.into();
        let mut transfer = Transfer::new(number, &source, &destination, amount, most)?;
        transfer.by_handlers = transfer.block_by_block() && self.by_handlers(from, to);
        Ok(Step::Transfer(transfer))
    }

    /// Whether the handlers may be able to copy by themselves.
    fn by_handlers(&self, from: usize, to: usize) -> bool {
        match (self.all.get(from), self.all.get(to)) {
            (Some(from), Some(to)) => {
                let (source, destination) = (&from.found.unit, &to.found.unit);
                destination.handler().copies_from(source.handler())
            }
            _ => false,
        }
    }
}

impl Search<'_> {
    fn find(&self, segment: u16, id: CscdId) -> Result<Found, Sense> {
        if id == CscdId::THIS_UNIT {
            let map = self.nexus.luns();
            let this = map.iter().find(|(_, unit)| *unit == self.manager);
            let found = this.map(|(lun, unit)| Found {
                lun: *lun,
                unit: Arc::clone(unit),
            });
            return found.ok_or_else(|| failure::not_reachable(segment));
        }
        let place = usize::from(id.0);
        let Some(cscd) = self.list.cscds.get(place) else {
            return Err(failure::aborted(Asc::UNREACHABLE_COPY_TARGET, segment));
        };
        let found = self.cscds.get(place).cloned().flatten();
        let found = found.ok_or_else(|| failure::not_reachable(segment))?;
        if found.unit.handler().profile().device_type != cscd.device_type {
            let asc = Asc::INCORRECT_COPY_TARGET_DEVICE_TYPE;
            return Err(failure::aborted(asc, segment));
        }
        Ok(found)
    }
}
