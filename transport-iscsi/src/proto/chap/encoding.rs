//! Binary values in text: hexadecimal (`0x`) and base64 (`0b`) constants (RFC 7143 §6.1).

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

/// Padding is written, and optional when read: initiators differ.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// How a binary value is written as text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum BinaryForm {
    /// `0x` and hexadecimal digits.
    #[default]
    Hex,
    /// `0b` and base64.
    Base64,
}

/// Decodes a binary constant of at most `max` bytes, and tells its form.
///
/// An odd number of hexadecimal digits stands for a number with a leading zero digit. Nothing is allocated
/// for a value that is too long. `None` for any other prefix, alphabet or length.
#[must_use]
pub fn decode_binary(value: &str, max: usize) -> Option<(Vec<u8>, BinaryForm)> {
    let (prefix, body) = value.split_at_checked(2)?;
    match prefix {
        "0x" | "0X" => Some((decode_hex(body, max)?, BinaryForm::Hex)),
        "0b" | "0B" => Some((decode_base64(body, max)?, BinaryForm::Base64)),
        _ => None,
    }
}

fn decode_hex(digits: &str, max: usize) -> Option<Vec<u8>> {
    if digits.len().div_ceil(2) > max {
        return None;
    }
    let mut bytes = Vec::with_capacity(digits.len().div_ceil(2));
    let mut half = (digits.len() % 2 == 1).then_some(0_u8);
    for digit in digits.chars() {
        let nibble = u8::try_from(digit.to_digit(16)?).ok()?;
        half = match half {
            None => Some(nibble << 4),
            Some(high) => {
                bytes.push(high | nibble);
                None
            }
        };
    }
    Some(bytes)
}

fn decode_base64(body: &str, max: usize) -> Option<Vec<u8>> {
    if body.len() > max.div_ceil(3).checked_mul(4)? {
        return None;
    }
    BASE64.decode(body).ok().filter(|bytes| bytes.len() <= max)
}

/// Encodes `bytes` in the given form, with its prefix.
#[must_use]
pub fn encode_binary(bytes: &[u8], form: BinaryForm) -> String {
    match form {
        BinaryForm::Hex => {
            let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
            let digits = digits.filter_map(|nibble| char::from_digit(u32::from(nibble), 16));
            ['0', 'x'].into_iter().chain(digits).collect()
        }
        BinaryForm::Base64 => {
            let mut text = String::from("0b");
            BASE64.encode_string(bytes, &mut text);
            text
        }
    }
}
