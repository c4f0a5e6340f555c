//! Asynchronous events: SRP_AER_REQ and SRP_AER_RSP (SRP 6.12, 6.13).

use zerocopy::IntoBytes;
use zerocopy::big_endian::{U32, U64};

use super::{FormatError, SOLNT, Wire, field_len, opcode, wire};

wire!(RequestWire, opcode::AER_REQ, 36, {
    kind: u8, solicited: u8, reserved: [u8; 2], request_limit_delta: U32, tag: U64, reserved2: [u8; 4], lun: [u8; 8],
    sense_len: U32, reserved3: [u8; 4],
});
wire!(ResponseWire, opcode::AER_RSP, 16, { kind: u8, reserved: [u8; 7], tag: U64 });

/// SRP_AER_REQ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AsyncEvent<'a> {
    /// TAG, of the target's choice.
    pub tag: u64,
    /// SOLNT.
    pub solicited: bool,
    /// REQUEST LIMIT DELTA.
    pub request_limit_delta: u32,
    /// LUN.
    pub lun: [u8; 8],
    /// Sense data.
    pub sense: &'a [u8],
}

impl<'a> AsyncEvent<'a> {
    /// Parses it.
    ///
    /// # Errors
    /// [`FormatError::Length`], also when sense data is missing; [`FormatError::Type`].
    pub fn parse(iu: &'a [u8]) -> Result<Self, FormatError> {
        let (wire, rest) = RequestWire::of(iu)?;
        let sense = usize::try_from(wire.sense_len.get()).unwrap_or(usize::MAX);
        Ok(Self {
            tag: wire.tag.get(),
            solicited: wire.solicited & SOLNT != 0,
            request_limit_delta: wire.request_limit_delta.get(),
            lun: wire.lun,
            sense: rest.get(..sense).ok_or(FormatError::Length(iu.len()))?,
        })
    }

    /// Appends it.
    pub fn emit(&self, out: &mut Vec<u8>) {
        let wire = RequestWire {
            kind: opcode::AER_REQ,
            solicited: u8::from(self.solicited),
            reserved: [0; 2],
            request_limit_delta: self.request_limit_delta.into(),
            tag: self.tag.into(),
            reserved2: [0; 4],
            lun: self.lun,
            sense_len: field_len(self.sense.len()).into(),
            reserved3: [0; 4],
        };
        out.extend_from_slice(wire.as_bytes());
        out.extend_from_slice(self.sense);
    }
}

/// SRP_AER_RSP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AsyncEventResponse {
    /// TAG of the request.
    pub tag: u64,
}

impl AsyncEventResponse {
    /// Parses it.
    ///
    /// # Errors
    /// [`FormatError::Length`], [`FormatError::Type`].
    pub fn parse(iu: &[u8]) -> Result<Self, FormatError> {
        let (wire, _) = ResponseWire::of(iu)?;
        Ok(Self {
            tag: wire.tag.get(),
        })
    }

    /// Appends it.
    pub fn emit(&self, out: &mut Vec<u8>) {
        let wire = ResponseWire {
            kind: opcode::AER_RSP,
            reserved: [0; 7],
            tag: self.tag.into(),
        };
        out.extend_from_slice(wire.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn events_come_back_with_their_sense_data(
            bytes in proptest::collection::vec(any::<u8>(), 36..300), sense in 0u8..=255
        ) {
            let mut bytes = bytes;
            bytes[0] = opcode::AER_REQ;
            bytes[28..32].copy_from_slice(&[0, 0, 0, sense]);
            let parsed = AsyncEvent::parse(&bytes);
            if bytes.len() < 36 + usize::from(sense) {
                prop_assert_eq!(parsed, Err(FormatError::Length(bytes.len())));
            } else {
                let event = parsed.unwrap();
                let mut out = Vec::new();
                event.emit(&mut out);
                prop_assert_eq!(AsyncEvent::parse(&out), Ok(event));
                prop_assert_eq!(out.len(), 36 + usize::from(sense));
            }
        }

        #[test]
        fn responses_to_events_come_back(tag: u64) {
            let mut out = Vec::new();
            AsyncEventResponse { tag }.emit(&mut out);
            prop_assert_eq!(AsyncEventResponse::parse(&out), Ok(AsyncEventResponse { tag }));
        }
    }

    #[test]
    fn a_length_of_sense_data_beyond_everything_is_refused() {
        let mut bytes = [0xff; 64];
        bytes[0] = opcode::AER_REQ;
        assert_eq!(AsyncEvent::parse(&bytes), Err(FormatError::Length(64)));
    }
}
