//! What a power cut left.

use std::path::Path;

use super::record::{Appender, Line};
use super::{DurableError, Finding, Ledger, UnderTest, ask, record_of};
use crate::initiator::Options;

/// Bytes of one READ.
const READ: u32 = 256 << 10;
/// Descriptions kept per unit.
const EXAMPLES: usize = 3;

/// The state of one unit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally {
    /// Writes that were ever acknowledged as durable.
    pub acked: u64,
    /// Blocks of which something is promised.
    pub owed: u64,
    /// Blocks that hold a write later than what is promised of them.
    pub later: u64,
    /// Blocks that hold less than was promised.
    pub lost: u64,
    /// Blocks that hold what was never written to them.
    pub torn: u64,
    /// The first findings that should not be.
    pub examples: Vec<String>,
}

impl Tally {
    /// Takes the finding of a block into account.
    pub(super) fn count(&mut self, lba: u64, finding: &Finding) {
        let text = match finding {
            Finding::Kept => return,
            Finding::Later => {
                self.later += 1;
                return;
            }
            Finding::Lost { found, promised } => {
                self.lost += 1;
                format!("LBA {lba} holds write {found} instead of {promised}")
            }
            Finding::Torn(what) => {
                self.torn += 1;
                format!("LBA {lba} holds {what}")
            }
        };
        if self.examples.len() < EXAMPLES {
            self.examples.push(text);
        }
    }
}

/// Reads every block of every unit and judges it by the unit's record. A loss is written to the record, so that the next
/// time it is not found again.
///
/// # Errors
/// [`DurableError`]: a unit that cannot be read, a record.
pub fn run(
    units: &[UnderTest],
    records: &Path,
    login: &Options,
) -> Result<Vec<Tally>, DurableError> {
    let verified = (1_u32..)
        .zip(units)
        .map(|(number, unit)| one(unit, records, login, number));
    verified.collect()
}

fn one(
    unit: &UnderTest,
    records: &Path,
    login: &Options,
    number: u32,
) -> Result<Tally, DurableError> {
    let path = record_of(records, &unit.name);
    let ledger = Ledger::read(&path)?;
    let mut record = Appender::open(path)?;
    let mut session = ask::open(unit, login, number)?;
    let mut tally = Tally {
        acked: ledger.acked(),
        owed: ledger.owed(),
        ..Tally::default()
    };
    let len = ledger.unit.block_len;
    let step = (READ / len.max(1)).max(1);
    let mut lba = 0;
    while lba < ledger.unit.blocks {
        let blocks = u32::try_from(ledger.unit.blocks - lba)
            .unwrap_or(u32::MAX)
            .min(step);
        let data = session
            .read(unit.url.lun, lba, blocks, len)
            .map_err(|e| ask::failed(unit, e))?;
        for (lba, block) in (lba..).zip(data.chunks(len as usize)) {
            let finding = ledger.judge(lba, block);
            tally.count(lba, &finding);
            if let Finding::Lost { found: number, .. } = finding {
                record.line(Line::Lowered { lba, number })?;
            }
        }
        lba += u64::from(blocks);
    }
    // A failed logout takes nothing from what was read.
    let _ = session.logout();
    Ok(tally)
}
