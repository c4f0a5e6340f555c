//! `ietd.conf`, the configuration of the iSCSI Enterprise Target (IET), and what it becomes in scst.conf.
//!
//! A line is a keyword in any case and its values. A line whose first word begins with `#` is a comment; a backslash at
//! the end of a line joins the next one to it. What stands before the first `Target` is for all of them.
//!
//! # Identity
//! What initiators know a disk by in IET 1.4.20, and what is left of it:
//!
//! | where | IET | here |
//! |---|---|---|
//! | INQUIRY | vendor `IET`, product `VIRTUAL-DISK`, revision `0` | the same, by `t10_vend_id`, `prod_id`, `prod_rev_lvl` |
//! | page 80h | ScsiSN, blanks before it up to 16 characters | `usn`, without these blanks, which initiators do not count |
//! | page 80h without ScsiSN | the 16 bytes of ScsiId in hexadecimal digits | does not fit into `usn`: lost, with a warning |
//! | page 83h | a T10 designator in binary: `IET`, 5 zero bytes, ScsiId, zero bytes up to 16 | `t10_dev_id`: the same text, but in ASCII and with blanks: initiators that go by this page see a new disk |
//! | page 83h without ScsiId | the MD5 of target name and LUN; before 1.4.19, target number, inode and device | `t10_dev_id` is ScsiSN if there is one; else lost, with a warning |
//!
//! LUNs of several targets that say the same of the same file are one device, as an initiator with several paths needs.

mod attributes;
mod convert;
mod names;
mod parser;

pub use convert::{Converted, Warning};
pub use parser::parse;

use super::{Error, Span, Word};

/// A whole file.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Ietd {
    /// What stands before the first target.
    pub global: Vec<Setting>,
    /// In the order of the file; their names differ.
    pub targets: Vec<Target>,
}

/// A target and what stands behind it up to the next one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Its iSCSI name.
    pub name: Word,
    /// Its LUNs, whose numbers differ.
    pub luns: Vec<Lun>,
    /// All else.
    pub settings: Vec<Setting>,
}

/// A line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// The keyword, spelled as in the manual if it is known.
    pub key: Word,
    /// Its value.
    pub value: Value,
}

/// What stands behind a keyword.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// Of `IncomingUser` and `OutgoingUser`.
    Account {
        /// The name.
        user: Word,
        /// The secret.
        secret: Word,
    },
    /// `Yes` or `No`.
    Flag(bool),
    /// As C writes numbers: decimal, `0x…` or `0…`.
    Number(u32),
    /// A digest or several with commas.
    Digests(Word),
    /// Of `Alias` and `iSNSServer`.
    Text(String),
    /// The keyword is none of IET's.
    Unknown,
}

/// `Lun NUMBER KEY=VALUE,…`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lun {
    /// Where its line begins.
    pub span: Span,
    /// 0 to 16383.
    pub number: u16,
    /// `Type`; `fileio` unless said.
    pub kind: Kind,
    /// `Path`; only `nullio` goes without.
    pub path: Option<Word>,
    /// `IOMode`
    pub mode: Option<Mode>,
    /// `ScsiId`
    pub scsi_id: Option<Word>,
    /// `ScsiSN`
    pub scsi_sn: Option<Word>,
    /// `BlockSize` in bytes: a power of two from 512 to 4096.
    pub block_size: Option<u32>,
    /// `Sectors` or `Blocks`.
    pub blocks: Option<u64>,
    /// Parameters that IET does not know.
    pub unknown: Vec<Word>,
}

/// How IET reached the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Through the page cache.
    Fileio,
    /// Past it.
    Blockio,
    /// There is none.
    Nullio,
}

/// What a write waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Mode {
    /// There are no writes.
    ReadOnly,
    /// Memory.
    WriteBack,
    /// The disk.
    WriteThrough,
}

/// Reads `ietd.conf` and makes scst.conf of it.
///
/// # Errors
/// The first thing in the file that is wrong.
pub fn convert(file: impl AsRef<[u8]>) -> Result<Converted, Error> {
    parse(file).map(|ietd| ietd.convert())
}
