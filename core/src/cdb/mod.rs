//! Command descriptor blocks: from bytes to a typed [`Cdb`], driven by the one table of opcodes.
//!
//! ```text
//! bytes ── lookup ──► &OpcodeEntry ── device supports it? ── decode ──► ParsedCdb { entry, cdb, control, class }
//!            │20-00, 24-00              │unsupported()             │24-00 with field pointer
//! ```
//!
//! Nothing here allocates, except the answers of REPORT SUPPORTED OPERATION CODES in [`rsoc`].

mod class;
mod decode;
mod fields;
pub mod rsoc;
pub mod table;
mod typed;

pub use class::{Attributes, CommandClass, Direction, Timeouts};
pub use table::{CommandId, OpcodeEntry, lookup, unsupported};
pub use typed::{ByteCheck, Cdb, PageControl, PowerCondition, ProtectionTags};

use crate::sense::Sense;

/// The CONTROL byte (SAM-5 5.2). Its vendor specific bits are ignored; the others are checked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Control(u8);

impl Control {
    /// The CONTROL byte of a CDB of which no more than the opcode need be right; zero where it has none. The opcode's
    /// group tells the length (SPC-4 4.2.5.1).
    #[must_use]
    pub fn of(cdb: &[u8]) -> Self {
        let at = match cdb.first() {
            Some(0x7F) => 1,
            Some(0x00..=0x1F) => 5,
            Some(0x20..=0x5F) => 9,
            Some(0x80..=0x9F) => 15,
            Some(0xA0..=0xBF) => 11,
            _ => return Self(0),
        };
        Self(cdb.get(at).copied().unwrap_or(0))
    }

    /// NACA: CHECK CONDITION establishes an ACA condition.
    #[must_use]
    pub const fn naca(self) -> bool {
        self.0 & 0x04 != 0
    }

    /// The byte as it came.
    #[must_use]
    pub const fn byte(self) -> u8 {
        self.0
    }
}

/// A CDB that passed all checks that need no knowledge of the device.
#[derive(Clone, Copy, Debug)]
pub struct ParsedCdb {
    /// The row of the table.
    pub entry: &'static OpcodeEntry,
    /// The fields.
    pub cdb: Cdb,
    /// The CONTROL byte.
    pub control: Control,
    /// The access class, with START STOP UNIT and PREVENT ALLOW MEDIUM REMOVAL told apart by their fields.
    pub class: CommandClass,
}

impl Cdb {
    /// Looks the opcode up and decodes the fields. Use [`lookup`] and [`ParsedCdb::decode`] apart where
    /// support by the device is to be checked in between: an unsupported opcode is not an invalid field.
    ///
    /// # Errors
    /// Those of [`lookup`] and [`ParsedCdb::decode`].
    #[inline]
    pub fn parse(cdb: &[u8]) -> Result<ParsedCdb, Sense> {
        ParsedCdb::decode(lookup(cdb)?, cdb)
    }
}

#[cfg(test)]
mod tests;
