//! The APTPL file: what of a state survives a loss of power, as bytes.
//!
//! | offset | length | content, big-endian |
//! |---|---|---|
//! | 0 | 8 | `LUNFAPTL` |
//! | 8 | 4 | version, 1 |
//! | 12 | 4 | n, the number of registrants |
//! | 16 | 4 | place of the holder among them, FFFFFFFFh for none |
//! | 20 | 1 | TYPE of the reservation, 0 for none |
//! | 21 | 3 | zero |
//! | 24 | 4 | m, the number of bytes that the registrants take |
//! | 28 | m | n registrants, ascending: key (8), relative target port (2), zero (2), TransportID (SPC-4 7.6.4) |
//! | 28 + m | 4 | CRC-32C of all before it |
//!
//! PRGENERATION is not there: it begins at zero after a loss of power (SPC-4 6.15.2). Nor is APTPL: there is no file
//! where it is zero.

use std::collections::BTreeMap;
use std::sync::Arc;

use crc_fast::{CrcAlgorithm, checksum};
use lunforge_core::transport_id::{TransportId, TransportIdError};

use crate::kind::{ReservationKey, ReservationType};
use crate::state::{ItNexus, Reservation, State, StateError};

const MAGIC: [u8; 8] = *b"LUNFAPTL";
const VERSION: u32 = 1;
const NO_HOLDER: u32 = u32::MAX;
/// Longest file: more than the most registrants with the longest names need.
pub(super) const MAX_LEN: usize = 16 << 20;

/// Why bytes are no APTPL file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    /// It ends too early, goes on too long, or its counts contradict its length.
    #[error("{len} bytes are not the length of the file's content")]
    Length {
        /// Length of the file, or of as much of it as was read.
        len: usize,
    },
    /// The first bytes are another file's.
    #[error("this is no APTPL file")]
    Magic,
    /// A version that this code does not know.
    #[error("version {0} is not known; version {VERSION} is")]
    Version(u32),
    /// Bytes were changed.
    #[error("the checksum does not match")]
    Checksum,
    /// A TransportID cannot be read.
    #[error("byte {offset}: {source}")]
    TransportId {
        /// Where.
        offset: usize,
        /// Why.
        source: TransportIdError,
    },
    /// Registrants are not ascending, or a field has a value that none of this version has.
    #[error("byte {offset} has a value that it cannot have")]
    Value {
        /// Where.
        offset: usize,
    },
    /// The parts contradict each other.
    #[error(transparent)]
    State(#[from] StateError),
}

/// The file of a state.
#[must_use]
pub fn encode(state: &State) -> Vec<u8> {
    let holder = state.reservation().and_then(Reservation::holder);
    let mut place = NO_HOLDER;
    let mut body = Vec::new();
    for (at, (nexus, key)) in (0u32..).zip(state.registrants()) {
        if Some(nexus) == holder {
            place = at;
        }
        body.extend_from_slice(&key.0.to_be_bytes());
        body.extend_from_slice(&nexus.port.to_be_bytes());
        body.extend_from_slice(&[0; 2]);
        nexus.initiator.emit(&mut body);
    }
    let kind = state.reservation().map_or(0, |r| r.kind().code());
    let mut file = Vec::with_capacity(32 + body.len());
    file.extend_from_slice(&MAGIC);
    file.extend_from_slice(&VERSION.to_be_bytes());
    file.extend_from_slice(&count(state.registrants().len()).to_be_bytes());
    file.extend_from_slice(&place.to_be_bytes());
    file.extend_from_slice(&[kind, 0, 0, 0]);
    file.extend_from_slice(&count(body.len()).to_be_bytes());
    file.extend_from_slice(&body);
    file.extend_from_slice(&crc(&file).to_be_bytes());
    file
}

/// The state of a file, with APTPL of one and generation zero.
///
/// # Errors
/// [`Damage`]; nothing of a damaged file is used.
pub fn decode(file: &[u8]) -> Result<State, Damage> {
    let mut fields = Fields { file, at: 0 };
    if fields.take()? != MAGIC {
        return Err(Damage::Magic);
    }
    let version = fields.u32()?;
    if version != VERSION {
        return Err(Damage::Version(version));
    }
    let (registrants, place) = (fields.u32()?, fields.u32()?);
    let [kind, zeros @ ..] = fields.take::<4>()?;
    let body = usize::try_from(fields.u32()?).unwrap_or(usize::MAX);
    let (content, sum) = file
        .split_last_chunk::<4>()
        .filter(|(content, _)| content.len().checked_sub(fields.at) == Some(body))
        .ok_or_else(|| fields.length())?;
    if crc(content).to_be_bytes() != *sum {
        return Err(Damage::Checksum);
    }
    if zeros != [0; 3] {
        return Err(Damage::Value { offset: 21 });
    }
    let mut fields = Fields {
        file: content,
        at: fields.at,
    };
    let found = fields.registrants(registrants)?;
    let reservation = reservation(kind, place, &found)?;
    let registrants: BTreeMap<_, _> = found.into_iter().collect();
    Ok(State::from_parts(0, registrants, reservation, true)?)
}

/// The reservation of a TYPE byte and the holder's place.
fn reservation(
    kind: u8,
    place: u32,
    registrants: &[(ItNexus, ReservationKey)],
) -> Result<Option<Reservation>, Damage> {
    let holder = (place != NO_HOLDER).then(|| usize::try_from(place).unwrap_or(usize::MAX));
    let wrong_holder = Damage::Value { offset: 16 };
    if kind == 0 {
        return if holder.is_none() {
            Ok(None)
        } else {
            Err(wrong_holder)
        };
    }
    let kind = ReservationType::from_code(kind).ok_or(Damage::Value { offset: 20 })?;
    let Some(holder) = holder else {
        return Reservation::of_all_registrants(kind)
            .map(Some)
            .ok_or(wrong_holder);
    };
    match registrants.get(holder) {
        Some((nexus, _)) if !kind.all_registrants() => {
            Ok(Some(Reservation::new(kind, nexus.clone())))
        }
        _ => Err(wrong_holder),
    }
}

/// Fields of a file, one after the other.
struct Fields<'a> {
    file: &'a [u8],
    at: usize,
}

impl Fields<'_> {
    fn length(&self) -> Damage {
        Damage::Length {
            len: self.file.len(),
        }
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], Damage> {
        let field = self.file.get(self.at..).and_then(<[u8]>::first_chunk);
        let field = *field.ok_or_else(|| self.length())?;
        self.at += N;
        Ok(field)
    }

    fn u32(&mut self) -> Result<u32, Damage> {
        self.take().map(u32::from_be_bytes)
    }

    /// All registrants, up to the end.
    fn registrants(&mut self, count: u32) -> Result<Vec<(ItNexus, ReservationKey)>, Damage> {
        let mut found: Vec<(ItNexus, ReservationKey)> = Vec::new();
        for _ in 0..count {
            let offset = self.at;
            let registrant = self.registrant()?;
            if found.last().is_some_and(|(last, _)| *last >= registrant.0) {
                return Err(Damage::Value { offset });
            }
            found.push(registrant);
        }
        if self.at == self.file.len() {
            Ok(found)
        } else {
            Err(self.length())
        }
    }

    fn registrant(&mut self) -> Result<(ItNexus, ReservationKey), Damage> {
        let key = ReservationKey(u64::from_be_bytes(self.take()?));
        let port = u16::from_be_bytes(self.take()?);
        let offset = self.at;
        if self.take()? != [0, 0] {
            return Err(Damage::Value { offset });
        }
        let offset = self.at;
        let rest = self.file.get(self.at..).unwrap_or_default();
        let (id, used) =
            TransportId::parse(rest).map_err(|source| Damage::TransportId { offset, source })?;
        self.at += used;
        let initiator = Arc::new(id);
        Ok((ItNexus { initiator, port }, key))
    }
}

/// A number of registrants, or of their bytes, which the bound on registrants keeps far below the limit.
fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

fn crc(bytes: &[u8]) -> u32 {
    // The low 32 bits are the checksum.
    (checksum(CrcAlgorithm::Crc32Iscsi, bytes) & u64::from(u32::MAX)) as u32
}
