//! Credits without a response to carry them: SRP_CRED_REQ and SRP_CRED_RSP (SRP 6.10, 6.11).

use zerocopy::IntoBytes;
use zerocopy::big_endian::{U32, U64};

use super::{FormatError, SOLNT, Wire, opcode, wire};

wire!(RequestWire, opcode::CRED_REQ, 16, {
    kind: u8, solicited: u8, reserved: [u8; 2], request_limit_delta: U32, tag: U64,
});
wire!(ResponseWire, opcode::CRED_RSP, 16, { kind: u8, reserved: [u8; 7], tag: U64 });

/// SRP_CRED_REQ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CreditRequest {
    /// TAG, of the target's choice.
    pub tag: u64,
    /// SOLNT.
    pub solicited: bool,
    /// REQUEST LIMIT DELTA: how many requests more the initiator may send.
    pub request_limit_delta: u32,
}

impl CreditRequest {
    /// Parses it.
    ///
    /// # Errors
    /// [`FormatError::Length`], [`FormatError::Type`].
    pub fn parse(iu: &[u8]) -> Result<Self, FormatError> {
        let (wire, _) = RequestWire::of(iu)?;
        Ok(Self {
            tag: wire.tag.get(),
            solicited: wire.solicited & SOLNT != 0,
            request_limit_delta: wire.request_limit_delta.get(),
        })
    }

    /// Appends it.
    pub fn emit(&self, out: &mut Vec<u8>) {
        let wire = RequestWire {
            kind: opcode::CRED_REQ,
            solicited: u8::from(self.solicited),
            reserved: [0; 2],
            request_limit_delta: self.request_limit_delta.into(),
            tag: self.tag.into(),
        };
        out.extend_from_slice(wire.as_bytes());
    }
}

/// SRP_CRED_RSP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CreditResponse {
    /// TAG of the request.
    pub tag: u64,
}

impl CreditResponse {
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
            kind: opcode::CRED_RSP,
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
        fn credit_requests_and_responses_come_back(bytes in any::<[u8; 16]>()) {
            let mut bytes = bytes;
            bytes[0] = opcode::CRED_REQ;
            let request = CreditRequest::parse(&bytes).unwrap();
            let mut out = Vec::new();
            request.emit(&mut out);
            prop_assert_eq!(CreditRequest::parse(&out), Ok(request));
            bytes[0] = opcode::CRED_RSP;
            let response = CreditResponse::parse(&bytes).unwrap();
            let mut out = Vec::new();
            response.emit(&mut out);
            prop_assert_eq!(CreditResponse::parse(&out), Ok(response));
        }
    }
}
