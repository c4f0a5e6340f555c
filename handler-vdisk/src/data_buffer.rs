//! READ BUFFER and WRITE BUFFER (SPC-4 6.17, 6.49): echo buffer and data buffer, to test the path to the unit.
//!
//! Every nexus has its own, so that none sees what another wrote (EBOS is 1). What was never written is not returned:
//! the echo buffer answers COMMAND SEQUENCE ERROR, the data buffer is zero.

use std::collections::VecDeque;

use lunforge_core::asc::Asc;
use lunforge_core::cdb::Cdb;
use lunforge_core::handler::{Execute, Execution, Outcome, Transfer};
use lunforge_core::nexus::NexusId;
use lunforge_core::sense::Sense;
use parking_lot::Mutex;

use crate::check::{room, unsupported};
use crate::handler::answer;

/// Bytes of the echo buffer; the field has 13 bits.
const ECHO: usize = 4096;
/// Bytes of the data buffer, BUFFER ID 00h.
const DATA: usize = 16 << 10;
/// Nexuses with buffers; beyond, the one that wrote least recently loses its own.
const NEXUSES: usize = 256;

/// MODE: data, descriptor, echo buffer, echo buffer descriptor. Microcode and error history are not supported.
const MODE_DATA: u8 = 0x02;
const MODE_DESCRIPTOR: u8 = 0x03;
const MODE_ECHO: u8 = 0x0A;
const MODE_ECHO_DESCRIPTOR: u8 = 0x0B;

#[derive(Debug)]
struct Own {
    nexus: NexusId,
    echo: Option<Vec<u8>>,
    data: Vec<u8>,
}

/// The buffers of all nexuses, the one that wrote last at the end.
#[derive(Debug, Default)]
pub(crate) struct Buffers(Mutex<VecDeque<Own>>);

fn usize_of(value: u32) -> usize {
    usize::try_from(value).unwrap_or(usize::MAX)
}

/// Checks READ BUFFER (10).
pub(crate) fn check_read(cdb: &Cdb) -> Result<Transfer, Sense> {
    let Cdb::ReadBuffer {
        mode,
        mode_specific,
        id,
        offset,
        alloc,
    } = *cdb
    else {
        return Err(unsupported());
    };
    if mode_specific != 0 {
        return Err(Sense::invalid_field_in_cdb(1, Some(7)));
    }
    match mode {
        MODE_DATA if id != 0 => Err(Sense::invalid_field_in_cdb(2, Some(7))),
        MODE_DATA if usize_of(offset) > DATA => Err(Sense::invalid_field_in_cdb(3, Some(7))),
        MODE_DATA => Ok(room(alloc, DATA)),
        MODE_DESCRIPTOR | MODE_ECHO_DESCRIPTOR => Ok(room(alloc, 4)),
        MODE_ECHO => Ok(room(alloc, ECHO)),
        _ => Err(Sense::invalid_field_in_cdb(1, Some(4))),
    }
}

/// Checks WRITE BUFFER. Exactly the bytes that the CDB names must come: what did not arrive could not be told from
/// what was there.
pub(crate) fn check_write(cdb: &Cdb) -> Result<Transfer, Sense> {
    let Cdb::WriteBuffer {
        mode,
        mode_specific,
        id,
        offset,
        parameter_list_len,
    } = *cdb
    else {
        return Err(unsupported());
    };
    if mode_specific != 0 {
        return Err(Sense::invalid_field_in_cdb(1, Some(7)));
    }
    let (offset, len) = (usize_of(offset), usize_of(parameter_list_len));
    let end = match mode {
        MODE_DATA if id != 0 => return Err(Sense::invalid_field_in_cdb(2, Some(7))),
        MODE_DATA if offset > DATA => return Err(Sense::invalid_field_in_cdb(3, Some(7))),
        MODE_DATA => DATA - offset,
        // BUFFER ID and BUFFER OFFSET are ignored (SPC-4 6.49.9).
        MODE_ECHO => ECHO,
        _ => return Err(Sense::invalid_field_in_cdb(1, Some(4))),
    };
    if len > end {
        return Err(Sense::invalid_field_in_cdb(6, Some(7)));
    }
    Ok(match len {
        0 => Transfer::None,
        len => Transfer::OutExactly(len),
    })
}

impl Buffers {
    /// Executes READ BUFFER (10).
    pub(crate) fn read(&self, command: &mut Execution<'_>) -> Execute {
        let Cdb::ReadBuffer {
            mode, id, offset, ..
        } = *command.cdb()
        else {
            return Execute::Done(unsupported().into());
        };
        let nexus = command.nexus();
        match mode {
            MODE_DATA => {
                let data = self.data_from(nexus, usize_of(offset));
                answer(command, &data)
            }
            // A buffer that there is not has a descriptor of zeroes (SPC-4 6.17.5).
            MODE_DESCRIPTOR if id != 0 => answer(command, &[0; 4]),
            MODE_DESCRIPTOR => answer(command, &descriptor(0, DATA)),
            // EBOS.
            MODE_ECHO_DESCRIPTOR => answer(command, &descriptor(1, ECHO)),
            _ => match self.echo(nexus) {
                Some(data) => answer(command, &data),
                None => Execute::Done(Sense::illegal_request(Asc::COMMAND_SEQUENCE_ERROR).into()),
            },
        }
    }

    /// Executes WRITE BUFFER.
    pub(crate) fn write(&self, command: &mut Execution<'_>) -> Execute {
        let Cdb::WriteBuffer { mode, offset, .. } = *command.cdb() else {
            return Execute::Done(unsupported().into());
        };
        let buf = command.take_buf();
        let bytes = buf.to_vec(0..buf.len());
        let mut all = self.0.lock();
        let at = all.iter().position(|own| own.nexus == command.nexus());
        let mut own = at.and_then(|at| all.remove(at)).unwrap_or_else(|| Own {
            nexus: command.nexus(),
            echo: None,
            data: Vec::new(),
        });
        if mode == MODE_ECHO {
            own.echo = Some(bytes);
        } else {
            let offset = usize_of(offset);
            own.data.resize(DATA, 0);
            if let Some(place) = own.data.get_mut(offset..offset + bytes.len()) {
                place.copy_from_slice(&bytes);
            }
        }
        if all.len() >= NEXUSES {
            all.pop_front();
        }
        all.push_back(own);
        Execute::Done(Outcome::good())
    }

    fn data_from(&self, nexus: NexusId, offset: usize) -> Vec<u8> {
        let all = self.0.lock();
        let own = all.iter().find(|own| own.nexus == nexus);
        match own.and_then(|own| own.data.get(offset..)) {
            Some(data) if !data.is_empty() => data.to_vec(),
            _ => vec![0; DATA.saturating_sub(offset)],
        }
    }

    fn echo(&self, nexus: NexusId) -> Option<Vec<u8>> {
        let all = self.0.lock();
        all.iter().find(|own| own.nexus == nexus)?.echo.clone()
    }

    /// Forgets the nexus.
    pub(crate) fn nexus_lost(&self, nexus: NexusId) {
        self.0.lock().retain(|own| own.nexus != nexus);
    }

    /// Forgets every nexus.
    pub(crate) fn reset(&self) {
        self.0.lock().clear();
    }
}

/// A byte, then three of capacity.
fn descriptor(first: u8, capacity: usize) -> [u8; 4] {
    let [_, b, c, d] = u32::try_from(capacity).unwrap_or(0).to_be_bytes();
    [first, b, c, d]
}
