//! What a third-party copy saves: the same blocks copied by the host, with READ and WRITE over the wire, and by the
//! target, with EXTENDED COPY.

use std::time::{Duration, Instant};

use crate::initiator::{Error, Initiator, Options, Request, Url, rw_cdb};
use crate::json::Object;
use crate::load::LoadError;
use crate::procfs::Usage;

/// Bytes of one READ or WRITE of the host.
const HOST_BYTES: u64 = 1 << 20;
/// Such commands at a time.
const HOST_DEPTH: u64 = 4;
/// Blocks of one segment: what its field can hold, in whole 4 KiB.
const SEGMENT_BLOCKS: u64 = 0xFFF8;
/// Bytes that one EXTENDED COPY is asked to move.
const COMMAND_BYTES: u64 = 64 << 20;

/// One way of copying.
#[derive(Debug, Clone, Copy, Default)]
pub struct Side {
    /// Time, s.
    pub seconds: f64,
    /// CPU time of the target, s.
    pub cpu: f64,
}

/// Medians of both ways, over the same bytes in alternating rounds.
#[derive(Debug, Clone)]
pub struct Copy {
    /// Bytes copied in each round.
    pub bytes: u64,
    /// READ and WRITE.
    pub host: Side,
    /// EXTENDED COPY.
    pub target: Side,
}

/// Both units, by one session.
struct Pair {
    session: Initiator,
    from: u16,
    to: u16,
    block: u32,
    blocks: u64,
}

/// Copies the first `bytes` of the unit that `url` names onto LUN `to` of the same target, `rounds` times each way. What
/// was there is lost.
///
/// # Errors
/// No session, units of different block size, a command that fails, blocks that differ after a copy.
pub fn run(
    url: &Url,
    login: &Options,
    to: u16,
    bytes: u64,
    rounds: usize,
    pids: &[u32],
) -> Result<Copy, LoadError> {
    let mut pair = Pair::open(url, login, to, bytes)?;
    let (mut host, mut target) = (Vec::new(), Vec::new());
    for round in 0..rounds.max(1) {
        pair.mark(round as u8)?;
        host.push(measured(pids, || pair.by_host())?);
        pair.check()?;
        pair.mark(round as u8 ^ 0xFF)?;
        target.push(measured(pids, || pair.by_target())?);
        pair.check()?;
    }
    Ok(Copy {
        bytes: pair.blocks * u64::from(pair.block),
        host: median(&mut host),
        target: median(&mut target),
    })
}

fn measured(pids: &[u32], copy: impl FnOnce() -> Result<(), LoadError>) -> Result<Side, LoadError> {
    let (before, start) = (Usage::sample(pids)?, Instant::now());
    copy()?;
    Ok(Side {
        seconds: start.elapsed().as_secs_f64(),
        cpu: Usage::sample(pids)?.since(&before).run_ns as f64 / 1e9,
    })
}

/// Of each figure by itself.
fn median(sides: &mut [Side]) -> Side {
    let mut middle = |of: fn(&Side) -> f64| {
        sides.sort_by(|a, b| of(a).total_cmp(&of(b)));
        sides.get(sides.len() / 2).map_or(0.0, of)
    };
    Side {
        seconds: middle(|side| side.seconds),
        cpu: middle(|side| side.cpu),
    }
}

impl Pair {
    fn open(url: &Url, login: &Options, to: u16, bytes: u64) -> Result<Self, LoadError> {
        let mut session = Initiator::connect(url.address(), &url.iqn, login)?;
        session.set_timeout(Duration::from_secs(120));
        let mut measure = |lun: u16| -> Result<(u64, u32), LoadError> {
            session.ready(lun, 8)?;
            Ok(session.capacity(lun)?)
        };
        let ((from_blocks, block), (to_blocks, other)) = (measure(url.lun)?, measure(to)?);
        if block != other || block == 0 {
            return Err(LoadError::Argument(format!(
                "blocks of {block} and of {other} bytes cannot be copied onto each other"
            )));
        }
        let whole = HOST_BYTES * HOST_DEPTH / u64::from(block);
        let blocks = (bytes / u64::from(block)).min(from_blocks).min(to_blocks) / whole * whole;
        if blocks == 0 {
            return Err(LoadError::Argument("the units are too small".into()));
        }
        Ok(Self {
            session,
            from: url.lun,
            to,
            block,
            blocks,
        })
    }

    /// Makes the first and the last block of the source differ from the last round's.
    fn mark(&mut self, fill: u8) -> Result<(), LoadError> {
        let data = vec![fill; self.block as usize];
        for lba in [0, self.blocks - 1] {
            self.session.write(self.from, lba, &data, self.block)?;
        }
        Ok(())
    }

    fn check(&mut self) -> Result<(), LoadError> {
        for lba in [0, self.blocks / 2, self.blocks - 1] {
            let from = self.session.read(self.from, lba, 1, self.block)?;
            if from != self.session.read(self.to, lba, 1, self.block)? {
                return Err(LoadError::Argument(format!("block {lba} was not copied")));
            }
        }
        Ok(())
    }

    fn by_host(&mut self) -> Result<(), LoadError> {
        let step = HOST_BYTES / u64::from(self.block);
        for start in (0..self.blocks).step_by((step * HOST_DEPTH) as usize) {
            let at = |n: u64| start + n * step;
            let mut reads = Vec::new();
            for n in 0..HOST_DEPTH {
                let (cdb, len) = rw_cdb(false, at(n), step as u32);
                let cdb = cdb.get(..len).unwrap_or(&cdb);
                let read = Request::new(self.from, cdb).data_in(HOST_BYTES as u32);
                reads.push(self.session.submit(&read)?);
            }
            let mut writes = Vec::new();
            for (n, read) in (0..).zip(reads) {
                let data = self.session.wait(read)?.require_good("READ")?.data;
                let (cdb, len) = rw_cdb(true, at(n), step as u32);
                let cdb = cdb.get(..len).unwrap_or(&cdb);
                let write = Request::new(self.to, cdb).data_out(&data);
                writes.push(self.session.submit(&write)?);
            }
            for write in writes {
                self.session.wait(write)?.require_good("WRITE")?;
            }
        }
        Ok(())
    }

    fn by_target(&mut self) -> Result<(), LoadError> {
        let names = [self.name(self.from)?, self.name(self.to)?];
        let most = COMMAND_BYTES / u64::from(self.block);
        for start in (0..self.blocks).step_by(most as usize) {
            let list = copy_list(&names, start, most.min(self.blocks - start));
            let mut cdb = [0; 16];
            cdb[0] = 0x83;
            cdb[10..14].copy_from_slice(&(list.len() as u32).to_be_bytes());
            self.session
                .command(self.from, &cdb, &list, 0)?
                .require_good("EXTENDED COPY")?;
        }
        Ok(())
    }

    /// A designator by which the unit is found (VPD page 83h): the first NAA one of the logical unit.
    fn name(&mut self, lun: u16) -> Result<Vec<u8>, LoadError> {
        let page = self
            .session
            .command(lun, &[0x12, 1, 0x83, 4, 0, 0], &[], 1024)?
            .require_good("INQUIRY")?
            .data;
        let mut rest = page.get(4..).unwrap_or_default();
        while let &[code, kind, _, len, ref tail @ ..] = rest {
            let (body, next) = tail.split_at_checked(len.into()).unwrap_or((tail, &[]));
            if kind & 0x3F == 3 && body.len() <= 20 {
                return Ok([&[code & 0x0F, kind & 0x3F, 0, len], body].concat());
            }
            rest = next;
        }
        let error = Error::Argument(format!("LUN {lun} has no NAA designator"));
        Err(LoadError::Initiator(error))
    }
}

/// The parameter list of EXTENDED COPY(LID1) (SPC-4 6.4): two units, block to block.
fn copy_list(names: &[Vec<u8>; 2], start: u64, blocks: u64) -> Vec<u8> {
    let mut units = Vec::new();
    for name in names {
        let mut unit = vec![0; 32];
        unit[0] = 0xE4;
        unit[4..4 + name.len()].copy_from_slice(name);
        unit[29..32].copy_from_slice(&[0, 2, 0]); // 512 bytes a block; the target knows better
        units.extend(unit);
    }
    let mut segments = Vec::new();
    for at in (start..start + blocks).step_by(SEGMENT_BLOCKS as usize) {
        let count = SEGMENT_BLOCKS.min(start + blocks - at) as u16;
        segments.extend([0x02, 0, 0, 0x18, 0, 0, 0, 1, 0, 0]);
        segments.extend(count.to_be_bytes());
        segments.extend(at.to_be_bytes());
        segments.extend(at.to_be_bytes());
    }
    let mut list = vec![0; 16];
    list[0] = 1;
    list[2..4].copy_from_slice(&(units.len() as u16).to_be_bytes());
    list[8..12].copy_from_slice(&(segments.len() as u32).to_be_bytes());
    [list, units, segments].concat()
}

impl Copy {
    /// One JSON object.
    pub fn json(&self) -> Object {
        let mut o = Object::new();
        o.int("bytes", self.bytes);
        for (name, side) in [("host", &self.host), ("target", &self.target)] {
            o.float(&format!("{name}_seconds"), side.seconds)
                .float(&format!("{name}_cpu_seconds"), side.cpu);
        }
        o
    }
}

impl std::fmt::Display for Copy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mib = self.bytes as f64 / f64::from(1 << 20);
        for (name, side) in [
            ("READ and WRITE", &self.host),
            ("EXTENDED COPY", &self.target),
        ] {
            let (rate, cpu) = (mib / side.seconds, side.cpu * 1e6 / mib);
            writeln!(
                f,
                "{name:<15} {rate:8.0} MiB/s, {cpu:6.0} us of the target's CPU per MiB"
            )?;
        }
        let ratio = |of: fn(&Side) -> f64| of(&self.target) / of(&self.host);
        let (time, cpu) = (ratio(|s| s.seconds), ratio(|s| s.cpu));
        write!(
            f,
            "{:<15} {time:8.2} of the time, {cpu:6.2} of the CPU",
            "ratio"
        )
    }
}
