//! Port identifiers (SRP clause 5): sixteen bytes, of which InfiniBand makes an identifier extension and a GUID (SRP annex B).

use std::fmt;
use std::str::FromStr;

use lunforge_core::transport_id::TransportId;

/// An initiator port or target port identifier.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PortId(pub [u8; 16]);

impl PortId {
    /// The identifier of an extension and a GUID.
    #[must_use]
    pub fn new(extension: u64, guid: u64) -> Self {
        Self((u128::from(extension) << 64 | u128::from(guid)).to_be_bytes())
    }

    /// The identifier extension: for a target port on InfiniBand the first half.
    #[must_use]
    pub fn extension(&self) -> u64 {
        (u128::from_be_bytes(self.0) >> 64) as u64
    }

    /// The GUID: for a target port on InfiniBand that of its I/O controller.
    #[must_use]
    pub fn guid(&self) -> u64 {
        u128::from_be_bytes(self.0) as u64
    }

    /// Its 32 hexadecimal digits.
    #[must_use]
    pub fn digits(&self) -> String {
        format!("{:032x}", u128::from_be_bytes(self.0))
    }

    /// The name of an initiator port in persistent reservations (SPC-4 7.6.4.7).
    #[must_use]
    pub fn transport_id(&self) -> TransportId {
        TransportId::Srp(self.0)
    }
}

/// As a GID is written in SCST and in the Linux kernel: eight groups of four digits.
impl fmt::Display for PortId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, pair) in self.0.chunks_exact(2).enumerate() {
            if index > 0 {
                f.write_str(":")?;
            }
            pair.iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
        }
        Ok(())
    }
}

impl fmt::Debug for PortId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A text is no port identifier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "a port identifier is eight groups of four hexadecimal digits with colons between, or 32 digits behind 0x or none"
)]
pub struct PortIdError;

/// Takes the eight groups, and 32 digits with or without `0x`.
impl FromStr for PortId {
    type Err = PortIdError;

    fn from_str(text: &str) -> Result<Self, PortIdError> {
        let plain = text.strip_prefix("0x").unwrap_or(text);
        let digits = match plain.len() {
            32 => plain.to_owned(),
            39 if plain.len() == text.len() => {
                let groups: Vec<&str> = plain.split(':').collect();
                if groups.len() != 8 || groups.iter().any(|group| group.len() != 4) {
                    return Err(PortIdError);
                }
                groups.concat()
            }
            _ => return Err(PortIdError),
        };
        if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return Err(PortIdError);
        }
        let value = u128::from_str_radix(&digits, 16).map_err(|_| PortIdError)?;
        Ok(Self(value.to_be_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_port_comes_back_from_its_texts(bytes in any::<[u8; 16]>()) {
            let port = PortId(bytes);
            prop_assert_eq!(port.to_string().parse(), Ok(port));
            let plain = port.digits();
            prop_assert_eq!(&plain, &port.to_string().replace(':', ""));
            prop_assert_eq!(plain.parse(), Ok(port));
            prop_assert_eq!(format!("0x{}", plain.to_uppercase()).parse(), Ok(port));
            prop_assert_eq!(PortId::new(port.extension(), port.guid()), port);
        }

        #[test]
        fn any_other_text_is_refused_without_a_panic(text in ".{0,48}") {
            if let Ok(port) = text.parse::<PortId>() {
                prop_assert!(text.to_lowercase().trim_start_matches("0x").replace(':', "")
                    == port.to_string().replace(':', ""));
            }
        }
    }

    #[test]
    fn texts_that_are_nearly_one_are_refused() {
        for text in [
            "",
            "0x",
            "0123456789abcdef0123456789abcde",
            "0123456789abcdef0123456789abcdef0",
            "+123456789abcdef0123456789abcdef",
            "fe80:0000:0000:0000:5054:00ff:fe77:000g",
            "fe80:000:00000:0000:5054:00ff:fe77:0001",
            "fe80:0000:0000:0000:5054:00ff:fe77-0001",
            "0xfe80:0000:0000:0000:5054:00ff:fe77:0001",
        ] {
            assert_eq!(text.parse::<PortId>(), Err(PortIdError), "{text}");
        }
    }

    #[test]
    fn its_transport_id_is_that_of_the_protocol() {
        let port: PortId = "0000:0000:0000:0000:5054:00ff:fe77:0001".parse().unwrap();
        let mut bytes = Vec::new();
        port.transport_id().emit(&mut bytes);
        assert_eq!((bytes.len(), bytes[0]), (24, 4));
        assert_eq!(bytes[8..], port.0);
    }
}
