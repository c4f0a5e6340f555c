//! Which command comes next.

use super::area::{Area, Cell};
use super::operation::{Kind, Operation};
use crate::abuse::AbuseError;
use crate::abuse::rng::Rng;
use crate::abuse::site::Site;
use crate::initiator::Initiator;

/// Blocks that UNMAP starts at and counts in: no target has finer granules.
const GRANULE: u32 = 8;

/// What the unit can do beside READ and WRITE.
#[derive(Debug, Clone, Copy)]
pub(super) struct Abilities {
    unmap: bool,
    /// Unmapped blocks read as zeroes (LBPRZ, SBC-4 5.20).
    pub(super) unmapped_is_zero: bool,
    write_same: bool,
    compare_and_write: bool,
}

impl Abilities {
    /// Asks the unit.
    pub(super) fn of(site: &Site, session: &mut Initiator) -> Result<Self, AbuseError> {
        let mut cdb = [0; 16];
        (cdb[0], cdb[1], cdb[13]) = (0x9e, 0x10, 32);
        let capacity = session
            .command(site.url.lun, &cdb, &[], 32)?
            .require_good("READ CAPACITY(16)")?;
        let provisioning = capacity.data.get(14).copied().unwrap_or(0);
        let (first, len) = (site.first(), site.block_len as usize);
        let zeroes = vec![0; len];
        session.write(site.url.lun, first, &zeroes, site.block_len)?;
        // WRITE SAME(16) and COMPARE AND WRITE of one block have the same fields (SBC-4 5.3, 5.56).
        let mut cdb = [0; 16];
        cdb[2..10].copy_from_slice(&first.to_be_bytes());
        (cdb[0], cdb[13]) = (0x93, 1);
        let write_same = session.command(site.url.lun, &cdb, &zeroes, 0)?.is_good();
        cdb[0] = 0x89;
        let pair = vec![0; 2 * len];
        let compare_and_write = session.command(site.url.lun, &cdb, &pair, 0)?.is_good();
        Ok(Self {
            unmap: provisioning & 0x80 != 0,
            unmapped_is_zero: provisioning & 0x40 != 0,
            write_same,
            compare_and_write,
        })
    }
}

/// Of a thousand commands.
fn kind(dice: u64) -> Kind {
    match dice {
        0..560 => Kind::Read,
        560..890 => Kind::Write,
        890..910 => Kind::CompareAndWrite,
        910..915 => Kind::Miscompare,
        915..925 => Kind::WriteSame,
        925..935 => Kind::Unmap,
        935..940 => Kind::Flush,
        940..960 => Kind::Inquiry,
        960..980 => Kind::TestUnitReady,
        980..990 => Kind::ReadCapacity,
        990..999 => Kind::AbortTask,
        _ => Kind::AbortTaskSet,
    }
}

/// Blocks of 512 bytes: mostly one, seldom 256 KiB.
fn length(rng: &mut Rng) -> u32 {
    let up_to = |rng: &mut Rng, least: u64, most: u64| (least + rng.below(most - least + 1)) as u32;
    match rng.below(1000) {
        0..700 => 1,
        700..950 => up_to(rng, 2, 8),
        950..995 => up_to(rng, 9, 64),
        _ => up_to(rng, 65, 512),
    }
}

/// The next command, its blocks claimed; `None` when none could be had.
pub(super) fn next(area: &mut Area, rng: &mut Rng, abilities: Abilities) -> Option<Operation> {
    for _ in 0..16 {
        let mut operation = drawn(area, rng, abilities);
        if !area.claim(&operation) {
            continue;
        }
        if operation.kind.changes() || operation.kind == Kind::Miscompare {
            operation.generation = area.next_generation();
        }
        return Some(operation);
    }
    None
}

fn drawn(area: &Area, rng: &mut Rng, abilities: Abilities) -> Operation {
    let mut kind = kind(rng.below(1000));
    let able = match kind {
        Kind::Unmap => abilities.unmap,
        Kind::WriteSame => abilities.write_same,
        Kind::CompareAndWrite | Kind::Miscompare => abilities.compare_and_write,
        _ => true,
    };
    if !able {
        kind = Kind::Write;
    }
    let blocks = match kind {
        Kind::Read | Kind::Write | Kind::WriteSame | Kind::Flush => length(rng),
        Kind::CompareAndWrite | Kind::Miscompare => 1,
        Kind::Unmap => GRANULE * (1 + rng.below(8) as u32),
        _ => 0,
    };
    let mut start = rng.below(u64::from(area.blocks().saturating_sub(blocks))) as u32;
    if kind == Kind::Unmap {
        // The parts of all sessions start at whole granules, too.
        start -= start % GRANULE;
    }
    let compares = matches!(kind, Kind::CompareAndWrite | Kind::Miscompare);
    if compares && area.cell(start) == Cell::Unknown {
        kind = Kind::Write;
    }
    Operation {
        kind,
        start,
        blocks,
        generation: 0,
    }
}

/// What a status other than GOOD may be: COMPARE AND WRITE that was to find a difference.
pub(super) fn is_expected(kind: Kind, status: u8, sense: Option<(u8, u8, u8)>) -> bool {
    match kind {
        Kind::Miscompare => status == 2 && sense == Some((0x0e, 0x1d, 0)),
        _ => status == 0,
    }
}
