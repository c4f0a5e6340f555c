//! Loads and targets as a command line names them.

use std::str::FromStr;

use crate::initiator::Url;
use crate::load::Mode;

/// One kind of load.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Name in tables.
    pub name: String,
    /// Which commands.
    pub mode: Mode,
    /// Bytes per command.
    pub block: u32,
    /// Commands outstanding per session.
    pub depth: usize,
    /// Sessions.
    pub sessions: usize,
}

/// Rows known by name; the flag says that they run when none is named.
const ROWS: [(&str, Mode, u32, usize, usize, bool); 14] = [
    ("rr4k-q1", Mode::RandRead, 4 << 10, 1, 1, true),
    ("rw4k-q1", Mode::RandWrite, 4 << 10, 1, 1, true),
    ("rr4k-q32", Mode::RandRead, 4 << 10, 32, 1, true),
    ("rw4k-q32", Mode::RandWrite, 4 << 10, 32, 1, true),
    ("rr4k-q32x4", Mode::RandRead, 4 << 10, 32, 4, true),
    ("rw4k-q32x4", Mode::RandWrite, 4 << 10, 32, 4, true),
    ("sr128k-q8", Mode::Read, 128 << 10, 8, 1, true),
    ("sw128k-q8", Mode::Write, 128 << 10, 8, 1, true),
    ("sr1m-q4", Mode::Read, 1 << 20, 4, 1, true),
    ("sw1m-q4", Mode::Write, 1 << 20, 4, 1, true),
    ("rr4k-q1x4", Mode::RandRead, 4 << 10, 1, 4, false),
    ("mix4k-q32", Mode::RandRw, 4 << 10, 32, 1, false),
    ("flush4k-q32", Mode::Mixed, 4 << 10, 32, 1, false),
    ("sr128k-q8x4", Mode::Read, 128 << 10, 8, 4, false),
];

impl Row {
    fn known(entry: &(&str, Mode, u32, usize, usize, bool)) -> Self {
        let (name, mode, block, depth, sessions, _) = *entry;
        Self {
            name: name.to_owned(),
            mode,
            block,
            depth,
            sessions,
        }
    }

    /// All rows known by name, and whether each runs by default.
    pub fn all() -> impl Iterator<Item = (Self, bool)> {
        ROWS.iter().map(|r| (Self::known(r), r.5))
    }

    /// The rows that run when none is named.
    pub fn defaults() -> Vec<Self> {
        Self::all()
            .filter(|(_, default)| *default)
            .map(|(row, _)| row)
            .collect()
    }
}

impl FromStr for Row {
    type Err = String;

    /// A known name or `NAME:MODE:BYTES:DEPTH:SESSIONS`.
    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(entry) = ROWS.iter().find(|r| r.0 == text) {
            return Ok(Self::known(entry));
        }
        let bad = || format!("{text:?} is neither a known row nor NAME:MODE:BYTES:DEPTH:SESSIONS");
        let fields: Vec<&str> = text.split(':').collect();
        let [name, mode, block, depth, sessions] = fields[..] else {
            return Err(bad());
        };
        Ok(Self {
            name: name.to_owned(),
            mode: clap::ValueEnum::from_str(mode, true).map_err(|_| bad())?,
            block: block.parse().map_err(|_| bad())?,
            depth: depth.parse().map_err(|_| bad())?,
            sessions: sessions.parse().map_err(|_| bad())?,
        })
    }
}

/// One target of a comparison.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contender {
    /// Name in tables.
    pub label: String,
    /// Where it is.
    pub url: Url,
    /// Its processes.
    pub pids: Vec<u32>,
}

impl FromStr for Contender {
    type Err = String;

    /// `LABEL=URL,PID[+PID…]`.
    fn from_str(text: &str) -> Result<Self, String> {
        let bad = |why: &str| format!("{text:?} is not LABEL=URL,PID[+PID...]: {why}");
        let (label, rest) = text
            .split_once('=')
            .ok_or_else(|| bad("there is no label"))?;
        if label.is_empty() || label.contains(':') {
            return Err(bad("the label is empty or has a colon"));
        }
        let (url, pids) = rest
            .rsplit_once(',')
            .ok_or_else(|| bad("there is no process id"))?;
        let url = url
            .parse()
            .map_err(|e: crate::initiator::url::UrlError| bad(&e.to_string()))?;
        let pids: Result<Vec<u32>, _> = pids.split('+').map(str::parse).collect();
        let pids = pids.map_err(|_| bad("a process id is not a number"))?;
        Ok(Self {
            label: label.to_owned(),
            url,
            pids,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_known_by_name_or_spelled_out() {
        let row: Row = "sw1m-q4".parse().unwrap();
        assert_eq!(
            (row.mode, row.block, row.depth, row.sessions),
            (Mode::Write, 1 << 20, 4, 1)
        );
        let own: Row = "x:randread:8192:2:3".parse().unwrap();
        assert_eq!((own.block, own.depth, own.sessions), (8192, 2, 3));
        assert!("x:randread:8192:2".parse::<Row>().is_err());
        assert!("nothing".parse::<Row>().is_err());
        assert_eq!(Row::defaults().len(), 10);
    }

    #[test]
    fn contender_needs_label_url_and_pid() {
        let c: Contender = "new=iscsi://127.0.0.1:3260/iqn.a:b/0,12+13"
            .parse()
            .unwrap();
        assert_eq!((c.label.as_str(), c.pids), ("new", vec![12, 13]));
        for bad in [
            "iscsi://a/b/0,1",
            "x=iscsi://a/b/0",
            "x=iscsi://a/b/0,y",
            "=iscsi://a/b/0,1",
        ] {
            assert!(bad.parse::<Contender>().is_err(), "{bad}");
        }
    }
}
