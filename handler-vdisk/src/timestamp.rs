//! REPORT TIMESTAMP and SET TIMESTAMP (SPC-4 5.2, 6.38, 6.46): the device clock, milliseconds since 1970 in UTC.
//!
//! It starts as the host's clock and from then on runs by itself; SET TIMESTAMP puts it elsewhere until the disk is
//! opened again.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use lunforge_core::asc::Asc;
use lunforge_core::handler::{Execute, Execution, Outcome};
use lunforge_core::sense::Sense;
use parking_lot::Mutex;

/// Bytes of the parameter data of both commands.
pub(crate) const LEN: usize = 12;
/// TIMESTAMP ORIGIN: set by SET TIMESTAMP, or by other means.
const BY_COMMAND: u8 = 0x02;
const BY_OTHER_MEANS: u8 = 0x03;
/// Highest first byte that can be set.
const HIGHEST: u8 = 0xF0;
/// The field has 48 bits.
const MASK: u64 = (1 << 48) - 1;

/// The device clock.
#[derive(Debug)]
pub(crate) struct Clock(Mutex<Reading>);

#[derive(Clone, Copy, Debug)]
struct Reading {
    origin: u8,
    milliseconds: u64,
    at: Instant,
}

impl Clock {
    /// Starts from the host's clock.
    pub(crate) fn new() -> Self {
        let since = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        Self(Mutex::new(Reading {
            origin: BY_OTHER_MEANS,
            milliseconds: u64::try_from(since.as_millis()).unwrap_or(0),
            at: Instant::now(),
        }))
    }

    /// The parameter data of REPORT TIMESTAMP.
    pub(crate) fn report(&self) -> [u8; LEN] {
        let reading = *self.0.lock();
        let passed = u64::try_from(reading.at.elapsed().as_millis()).unwrap_or(0);
        let now = reading.milliseconds.wrapping_add(passed) & MASK;
        let [_, _, a, b, c, d, e, f] = now.to_be_bytes();
        [0, 10, reading.origin, 0, a, b, c, d, e, f, 0, 0]
    }

    /// Executes SET TIMESTAMP with a parameter list of `len` bytes. None is no error and sets nothing.
    pub(crate) fn set(&self, command: &mut Execution<'_>, len: u32) -> Execute {
        if len == 0 {
            return Execute::Done(Outcome::good());
        }
        let buf = command.take_buf();
        let list = buf.to_vec(0..buf.len().min(LEN));
        let &[_, _, _, _, a, b, c, d, e, f, _, _] = list.as_slice() else {
            return Execute::Done(Sense::illegal_request(Asc::PARAMETER_LIST_LENGTH_ERROR).into());
        };
        if let Some(at) = [0, 1, 2, 3, 10, 11]
            .into_iter()
            .find(|&at| list.get(at) != Some(&0))
        {
            let at = u16::try_from(at).unwrap_or(0);
            return Execute::Done(Sense::invalid_field_in_parameter_list(at, None).into());
        }
        if a > HIGHEST {
            return Execute::Done(Sense::invalid_field_in_parameter_list(4, None).into());
        }
        *self.0.lock() = Reading {
            origin: BY_COMMAND,
            milliseconds: u64::from_be_bytes([0, 0, a, b, c, d, e, f]),
            at: Instant::now(),
        };
        let from = Some(command.nexus());
        command.unit().unit_attention(Asc::TIMESTAMP_CHANGED, from);
        Execute::Done(Outcome::good())
    }
}
