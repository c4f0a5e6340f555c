//! TransportIDs (SPC-4 7.6.4): the name of an initiator port in persistent reservations.

use std::fmt;

use thiserror::Error;

/// Longest iSCSI name in bytes (RFC 7143 4.2.7.1).
const NAME_MAX: usize = 223;
/// The text between iSCSI name and ISID.
const SEPARATOR: &str = ",i,0x";
/// Largest ADDITIONAL LENGTH: name, separator, twelve digits, a null, padded to four.
const ADDITIONAL_MAX: usize = 244;

/// PROTOCOL IDENTIFIER (SPC-4 7.6.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ProtocolId(pub u8);

impl ProtocolId {
    /// Fibre Channel.
    pub const FIBRE_CHANNEL: Self = Self(0x0);
    /// SRP.
    pub const SRP: Self = Self(0x4);
    /// iSCSI.
    pub const ISCSI: Self = Self(0x5);
    /// SAS.
    pub const SAS: Self = Self(0x6);
    /// No specific protocol.
    pub const NONE: Self = Self(0xF);
}

/// The name of an initiator port. iSCSI names are folded to lower case (RFC 3722), so that equality and
/// hash are those of the protocol.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TransportId {
    /// Format 00b: an iSCSI initiator device, any of its ports.
    IscsiDevice(IscsiName),
    /// Format 01b: one iSCSI initiator port, name and ISID.
    IscsiPort(IscsiName, [u8; 6]),
    /// An SRP initiator port identifier.
    Srp([u8; 16]),
    /// Twenty-four bytes of another protocol, kept as they came.
    Other([u8; 24]),
}

/// An iSCSI name: 1 to 223 bytes of UTF-8 without control characters, comma or blanks, in lower case.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IscsiName(String);

impl IscsiName {
    /// Folds `name` to lower case and checks it.
    ///
    /// # Errors
    /// [`TransportIdError::Name`] if it is empty, too long or holds a character no iSCSI name may hold.
    pub fn new(name: &str) -> Result<Self, TransportIdError> {
        let forbidden = |c: char| c.is_control() || c.is_whitespace() || c == ',';
        if name.is_empty() || name.len() > NAME_MAX || name.contains(forbidden) {
            return Err(TransportIdError::Name);
        }
        Ok(Self(name.to_ascii_lowercase()))
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for IscsiName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why bytes are no TransportID.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum TransportIdError {
    /// The data ends before the TransportID does.
    #[error("TransportID is truncated")]
    Truncated,
    /// ADDITIONAL LENGTH is no multiple of four, below 20 or beyond what a name can need.
    #[error("TransportID additional length {0} is out of range")]
    Length(usize),
    /// FORMAT CODE is reserved for this protocol.
    #[error("TransportID format {0} is reserved")]
    Format(u8),
    /// The iSCSI name is not null-terminated, not UTF-8, or not an iSCSI name.
    #[error("TransportID holds no valid iSCSI name")]
    Name,
    /// The separator or the ISID of a format 01b TransportID is missing or malformed.
    #[error("TransportID holds no valid ISID")]
    Isid,
}

impl TransportId {
    /// The TransportID of an iSCSI initiator port.
    ///
    /// # Errors
    /// As [`IscsiName::new`].
    pub fn iscsi(name: &str, isid: [u8; 6]) -> Result<Self, TransportIdError> {
        Ok(Self::IscsiPort(IscsiName::new(name)?, isid))
    }

    /// The protocol.
    #[must_use]
    pub const fn protocol(&self) -> ProtocolId {
        match self {
            Self::IscsiDevice(_) | Self::IscsiPort(..) => ProtocolId::ISCSI,
            Self::Srp(_) => ProtocolId::SRP,
            Self::Other(bytes) => ProtocolId(bytes[0] & 0x0F),
        }
    }

    /// The name of the initiator device: for iSCSI without ISID, else that of the port, which is all there is.
    #[must_use]
    pub fn device(&self) -> String {
        match self {
            Self::IscsiDevice(name) | Self::IscsiPort(name, _) => name.as_str().to_owned(),
            _ => self.to_string(),
        }
    }

    /// Whether `port` is named by this TransportID: itself, or any port of the device if this is an
    /// iSCSI TransportID without ISID.
    #[must_use]
    pub fn covers(&self, port: &Self) -> bool {
        match (self, port) {
            (Self::IscsiDevice(device), Self::IscsiPort(name, _)) => device == name,
            _ => self == port,
        }
    }

    /// Reads the TransportID at the start of `data` and tells how many bytes it takes.
    ///
    /// # Errors
    /// Any [`TransportIdError`]; nothing is read past the length the TransportID itself gives.
    pub fn parse(data: &[u8]) -> Result<(Self, usize), TransportIdError> {
        let first = *data.first().ok_or(TransportIdError::Truncated)?;
        if ProtocolId(first & 0x0F) == ProtocolId::ISCSI {
            return parse_iscsi(first >> 6, data);
        }
        let fixed: &[u8; 24] = data.first_chunk().ok_or(TransportIdError::Truncated)?;
        if ProtocolId(first & 0x0F) != ProtocolId::SRP {
            return Ok((Self::Other(*fixed), fixed.len()));
        }
        if first >> 6 != 0 {
            return Err(TransportIdError::Format(first >> 6));
        }
        let port = fixed.last_chunk().ok_or(TransportIdError::Truncated)?;
        Ok((Self::Srp(*port), fixed.len()))
    }

    /// Appends the TransportID: 24 bytes, or for iSCSI as many as the name needs, a multiple of four.
    pub fn emit(&self, out: &mut Vec<u8>) {
        match self {
            Self::IscsiDevice(name) => emit_iscsi(out, 0x05, name.as_str()),
            Self::IscsiPort(..) => emit_iscsi(out, 0x45, &self.to_string()),
            Self::Srp(port) => {
                out.extend_from_slice(&[0x04, 0, 0, 0, 0, 0, 0, 0]);
                out.extend_from_slice(port);
            }
            Self::Other(bytes) => out.extend_from_slice(bytes),
        }
    }

    /// The number of bytes [`Self::emit`] appends.
    #[must_use]
    pub fn emitted_len(&self) -> usize {
        let text = match self {
            Self::IscsiDevice(name) => name.as_str().len(),
            Self::IscsiPort(name, _) => name.as_str().len() + SEPARATOR.len() + 12,
            Self::Srp(_) | Self::Other(_) => return 24,
        };
        4 + additional_len(text)
    }
}

/// The text form: an iSCSI port as SPC-4 writes it (`name,i,0xISID`), others as `srp:` or `id:` and hex digits.
impl fmt::Display for TransportId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hex = |f: &mut fmt::Formatter<'_>, bytes: &[u8]| {
            bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
        };
        match self {
            Self::IscsiDevice(name) => name.fmt(f),
            Self::IscsiPort(name, isid) => {
                write!(f, "{name}{SEPARATOR}")?;
                hex(f, isid)
            }
            Self::Srp(port) => {
                f.write_str("srp:")?;
                hex(f, port)
            }
            Self::Other(bytes) => {
                f.write_str("id:")?;
                hex(f, bytes)
            }
        }
    }
}

/// ADDITIONAL LENGTH for a text: at least one null, padded to four, not below 20.
fn additional_len(text: usize) -> usize {
    (text + 1).next_multiple_of(4).max(20)
}

fn emit_iscsi(out: &mut Vec<u8>, first: u8, text: &str) {
    let len = additional_len(text.len());
    let [high, low] = u16::try_from(len).unwrap_or(u16::MAX).to_be_bytes();
    out.extend_from_slice(&[first, 0, high, low]);
    let end = out.len() + len;
    out.extend_from_slice(text.as_bytes());
    out.resize(end, 0);
}

fn parse_iscsi(format: u8, data: &[u8]) -> Result<(TransportId, usize), TransportIdError> {
    let (&[_, _, high, low], rest) = data
        .split_first_chunk()
        .ok_or(TransportIdError::Truncated)?;
    let len = usize::from(u16::from_be_bytes([high, low]));
    if len % 4 != 0 || !(20..=ADDITIONAL_MAX).contains(&len) {
        return Err(TransportIdError::Length(len));
    }
    let body = rest.get(..len).ok_or(TransportIdError::Truncated)?;
    let end = body
        .iter()
        .position(|&byte| byte == 0)
        .ok_or(TransportIdError::Name)?;
    let text = body
        .get(..end)
        .and_then(|text| std::str::from_utf8(text).ok());
    let text = text.ok_or(TransportIdError::Name)?;
    let id = match format {
        0 => TransportId::IscsiDevice(IscsiName::new(text)?),
        1 => {
            let (name, isid) = split_port(text).ok_or(TransportIdError::Isid)?;
            TransportId::IscsiPort(IscsiName::new(name)?, isid)
        }
        _ => return Err(TransportIdError::Format(format)),
    };
    Ok((id, 4 + len))
}

/// `name,i,0x` followed by exactly twelve hex digits. The separator may be in upper case.
fn split_port(text: &str) -> Option<(&str, [u8; 6])> {
    let (name, rest) = text.split_once(',')?;
    let (separator, digits) = rest.split_at_checked(SEPARATOR.len() - 1)?;
    if !separator.eq_ignore_ascii_case("i,0x") || digits.len() != 12 {
        return None;
    }
    let mut isid = [0; 6];
    for (byte, pair) in isid.iter_mut().zip(digits.as_bytes().chunks_exact(2)) {
        *byte = pair
            .iter()
            .try_fold(0u8, |value, &digit| Some(value << 4 | hex_digit(digit)?))?;
    }
    Some((name, isid))
}

fn hex_digit(digit: u8) -> Option<u8> {
    char::from(digit)
        .to_digit(16)
        .and_then(|value| u8::try_from(value).ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ISID: [u8; 6] = [0x80, 0x12, 0x34, 0xAB, 0xCD, 0xEF];

    fn emitted(id: &TransportId) -> Vec<u8> {
        let mut out = Vec::new();
        id.emit(&mut out);
        assert_eq!(out.len(), id.emitted_len());
        out
    }

    fn raw(format: u8, text: &[u8], len: u16) -> Vec<u8> {
        let [high, low] = len.to_be_bytes();
        let mut out = vec![format << 6 | 5, 0, high, low];
        out.extend_from_slice(text);
        out
    }

    #[test]
    fn iscsi_port_as_the_standard_writes_it() {
        let id = TransportId::iscsi("iqn.1993-08.org.debian:01:abc", ISID).unwrap();
        let bytes = emitted(&id);
        assert_eq!(bytes[..4], [0x45, 0, 0, 48]);
        assert_eq!(
            &bytes[4..50],
            b"iqn.1993-08.org.debian:01:abc,i,0x801234abcdef"
        );
        assert_eq!(bytes[50..], [0, 0]);
        assert_eq!(TransportId::parse(&bytes), Ok((id, 52)));
    }

    #[test]
    fn srp_identifier_is_24_bytes() {
        let id = TransportId::Srp([7; 16]);
        let bytes = emitted(&id);
        assert_eq!(bytes[..8], [4, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(TransportId::parse(&bytes), Ok((id, 24)));
        assert_eq!(
            TransportId::parse(&bytes[..23]),
            Err(TransportIdError::Truncated)
        );
    }

    #[test]
    fn iscsi_names_are_equal_whatever_their_case() {
        let upper = TransportId::iscsi("IQN.2026-11.ORG.EXAMPLE:A", ISID).unwrap();
        let lower = TransportId::iscsi("iqn.2026-11.org.example:a", ISID).unwrap();
        assert_eq!(upper, lower);
        let mut bytes = raw(1, b"IQN.2026-11.ORG.EXAMPLE:A,I,0X801234ABCDEF\0\0", 44);
        assert_eq!(TransportId::parse(&bytes), Ok((lower, 48)));
        bytes[0] = 0x85;
        assert_eq!(TransportId::parse(&bytes), Err(TransportIdError::Format(2)));
    }

    #[test]
    fn device_form_covers_all_its_ports() {
        let device = TransportId::IscsiDevice(IscsiName::new("iqn.2026-11.a:x").unwrap());
        let port = TransportId::iscsi("iqn.2026-11.a:x", ISID).unwrap();
        assert!(device.covers(&port) && port.covers(&port) && !port.covers(&device));
        assert!(!device.covers(&TransportId::iscsi("iqn.2026-11.a:y", ISID).unwrap()));
        assert_eq!(emitted(&device)[..4], [0x05, 0, 0, 20]);
    }

    #[test]
    fn n37_malformed_transport_ids_are_refused_within_their_bounds() {
        use TransportIdError as E;
        let parse = |bytes: &[u8]| TransportId::parse(bytes).map(|_| ());
        assert_eq!(parse(&[]), Err(E::Truncated));
        assert_eq!(parse(&[0x05, 0, 0]), Err(E::Truncated));
        assert_eq!(parse(&raw(0, &[b'a'; 20], 20)), Err(E::Name), "no null");
        assert_eq!(parse(&raw(0, &[b'a'; 19], 20)), Err(E::Truncated));
        assert_eq!(parse(&raw(0, &[0; 20], 20)), Err(E::Name), "empty");
        assert_eq!(parse(&raw(0, &[0xFF; 24], 21)), Err(E::Length(21)));
        assert_eq!(parse(&raw(0, &[0; 24], 16)), Err(E::Length(16)));
        assert_eq!(parse(&raw(0, &[0; 24], 0xFFFC)), Err(E::Length(0xFFFC)));
        assert_eq!(
            parse(&raw(1, b"iqn.2026-11.a:xxxxx\0", 20)),
            Err(E::Isid),
            "no separator"
        );
        assert_eq!(
            parse(&raw(1, b"iqn.a:xx,i,0x80123\0\0", 20)),
            Err(E::Isid),
            "short ISID"
        );
        assert_eq!(
            parse(&raw(1, b"iqn.a:x,i,0x8012g4abcdef\0\0\0\0", 28)),
            Err(E::Isid)
        );
        assert_eq!(
            parse(&raw(1, b"iqn.a:x,i,0x+12345abcdef\0\0\0\0", 28)),
            Err(E::Isid)
        );
    }

    #[test]
    fn n37_the_longest_name_fits_and_one_byte_more_does_not() {
        let longest = "a".repeat(223);
        let port = TransportId::iscsi(&longest, ISID).unwrap();
        assert_eq!(TransportId::parse(&emitted(&port)), Ok((port, 248)));
        let device = TransportId::IscsiDevice(IscsiName::new(&longest).unwrap());
        assert_eq!(TransportId::parse(&emitted(&device)), Ok((device, 228)));
        assert_eq!(
            IscsiName::new(&"a".repeat(224)),
            Err(TransportIdError::Name)
        );
    }

    proptest! {
        #[test]
        fn ports_read_back(name in "[a-z0-9.:-]{1,223}", isid in any::<[u8; 6]>(), tail in any::<[u8; 3]>()) {
            let id = TransportId::iscsi(&name, isid).unwrap();
            let mut bytes = emitted(&id);
            let len = bytes.len();
            prop_assert_eq!(len % 4, 0);
            bytes.extend_from_slice(&tail);
            prop_assert_eq!(TransportId::parse(&bytes), Ok((id, len)));
        }

        #[test]
        fn any_bytes_are_parsed_or_refused(first in any::<u8>(), len in 0u16..300, body in prop::collection::vec(any::<u8>(), 0..300)) {
            let mut bytes = raw(0, &body, len);
            bytes[0] = first;
            if let Ok((id, used)) = TransportId::parse(&bytes) {
                prop_assert!(used <= bytes.len());
                prop_assert_eq!(TransportId::parse(&emitted(&id)).map(|(id, _)| id), Ok(id));
            }
        }
    }
}
