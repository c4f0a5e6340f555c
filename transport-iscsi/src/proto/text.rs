//! Text key=value segments of login and text PDUs (RFC 7143 §6.1, §6.2).
//!
//! A segment is a run of `key=value` strings, each ended by one NUL. Segments that span PDUs (C bit) are
//! gathered by [`TextAccumulator`], parsed whole by [`parse`], built by [`TextWriter`] and sent piecewise by
//! [`TextAnswer`]. Every length is bounded before anything is stored.

use std::fmt;

/// Longest key name in bytes (RFC 7143 §6.1: `standard-label`).
pub const MAX_KEY_LEN: usize = 63;
/// Longest text value of an ordinary key, in bytes of one list item (RFC 7143 §6.1).
pub const MAX_VALUE_LEN: usize = 255;
/// Longest encoded value of any key, in bytes: room for binary values and long lists.
pub const MAX_BINARY_VALUE_LEN: usize = 8192;
/// Most bytes of text that one login negotiation sequence may hold.
pub const MAX_LOGIN_TEXT: usize = 8192;
/// Most bytes of text that one full-feature text request may hold.
pub const MAX_TEXT: usize = 16 * 1024;
/// Most `key=value` pairs accepted in one segment.
pub const MAX_PAIRS: usize = 128;

/// The value a side answers for a key that it does not know.
pub const NOT_UNDERSTOOD: &str = "NotUnderstood";
/// The value a side answers for a key that has no meaning in this context.
pub const IRRELEVANT: &str = "Irrelevant";
/// The value a side answers for a value that it cannot accept.
pub const REJECT: &str = "Reject";

/// A rule of the text format that the peer (or our own answer) broke.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TextError {
    /// The text of one sequence exceeds its limit of bytes.
    #[error("text sequence longer than {limit} bytes")]
    TooLong {
        /// The limit in bytes.
        limit: usize,
    },
    /// More pairs than [`MAX_PAIRS`].
    #[error("more than {MAX_PAIRS} keys in one text segment")]
    TooManyKeys,
    /// A pair without `=`.
    #[error("text pair without '='")]
    MissingEquals,
    /// The segment does not end in NUL.
    #[error("text segment not ended by NUL")]
    MissingNul,
    /// Key empty, longer than [`MAX_KEY_LEN`] or with a character outside the standard label set.
    #[error("malformed key name")]
    BadKey,
    /// Value too long for its key.
    #[error("value too long")]
    ValueTooLong,
    /// Value is not UTF-8 or holds a control character.
    #[error("value is not printable UTF-8")]
    BadValue,
    /// The same key twice in one sequence (RFC 7143 §6.3).
    #[error("key given twice")]
    DuplicateKey,
    /// C bit set on a PDU without text: the sequence would never end.
    #[error("empty PDU with the continue bit")]
    EmptyContinuation,
}

/// One `key=value`, borrowed from its segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pair<'a> {
    /// The key name: 1 to 63 bytes of the standard label set.
    pub key: &'a str,
    /// The value; may be empty. Printable UTF-8.
    pub value: &'a str,
}

/// Splits a whole segment into its pairs, in order.
///
/// Empty strings between NULs are skipped: some initiators count the pad bytes in the segment length.
///
/// # Errors
/// Any [`TextError`] about form; nothing is returned for a segment that is wrong in part.
pub fn parse(segment: &[u8]) -> Result<Vec<Pair<'_>>, TextError> {
    let mut pairs: Vec<Pair<'_>> = Vec::new();
    let Some((last, body)) = segment.split_last() else {
        return Ok(pairs);
    };
    if *last != 0 {
        return Err(TextError::MissingNul);
    }
    for item in body
        .split(|byte| *byte == 0)
        .filter(|item| !item.is_empty())
    {
        let pair = parse_pair(item)?;
        if pairs.len() == MAX_PAIRS {
            return Err(TextError::TooManyKeys);
        }
        if pairs.iter().any(|seen| seen.key == pair.key) {
            return Err(TextError::DuplicateKey);
        }
        pairs.push(pair);
    }
    Ok(pairs)
}

fn parse_pair(item: &[u8]) -> Result<Pair<'_>, TextError> {
    let at = item
        .iter()
        .position(|byte| *byte == b'=')
        .ok_or(TextError::MissingEquals)?;
    let (key, rest) = item.split_at(at);
    let value = rest.get(1..).unwrap_or_default();
    if key.is_empty() || key.len() > MAX_KEY_LEN || !key.iter().copied().all(is_label_byte) {
        return Err(TextError::BadKey);
    }
    if value.len() > value_limit(key) {
        return Err(TextError::ValueTooLong);
    }
    let key = std::str::from_utf8(key).map_err(|_| TextError::BadKey)?;
    let value = std::str::from_utf8(value).map_err(|_| TextError::BadValue)?;
    if value.chars().any(char::is_control) {
        return Err(TextError::BadValue);
    }
    if !is_binary_key(key) && value.split(',').any(|part| part.len() > MAX_VALUE_LEN) {
        return Err(TextError::ValueTooLong);
    }
    Ok(Pair { key, value })
}

fn is_label_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'+' | b'@' | b'_' | b'#')
}

fn value_limit(key: &[u8]) -> usize {
    if key == b"CHAP_C" || key == b"CHAP_R" {
        MAX_BINARY_VALUE_LEN
    } else {
        MAX_BINARY_VALUE_LEN / 4
    }
}

fn is_binary_key(key: &str) -> bool {
    matches!(key, "CHAP_C" | "CHAP_R")
}

/// Gathers the segments of one continued (C bit) sequence up to a hard cap.
#[derive(Debug, Clone)]
pub struct TextAccumulator {
    held: Vec<u8>,
    limit: usize,
}

impl TextAccumulator {
    /// An empty accumulator that holds at most `limit` bytes.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self {
            held: Vec::new(),
            limit,
        }
    }

    /// Adds one PDU's segment. Gives the whole text when `more` (the C bit) is clear, and is then empty again.
    ///
    /// # Errors
    /// [`TextError::TooLong`] past the cap, [`TextError::EmptyContinuation`] for a PDU that continues nothing.
    pub fn push(&mut self, segment: &[u8], more: bool) -> Result<Option<Vec<u8>>, TextError> {
        if more && segment.is_empty() {
            return Err(TextError::EmptyContinuation);
        }
        if self.held.len().saturating_add(segment.len()) > self.limit {
            return Err(TextError::TooLong { limit: self.limit });
        }
        self.held.extend_from_slice(segment);
        Ok(if more {
            None
        } else {
            Some(std::mem::take(&mut self.held))
        })
    }

    /// Whether a continued sequence is open.
    #[must_use]
    pub fn is_open(&self) -> bool {
        !self.held.is_empty()
    }
}

/// Builds the text of an answer, bounded.
#[derive(Clone)]
pub struct TextWriter {
    bytes: Vec<u8>,
    limit: usize,
}

impl TextWriter {
    /// An empty answer of at most `limit` bytes.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self {
            bytes: Vec::new(),
            limit,
        }
    }

    /// Appends `key=value` and its NUL.
    ///
    /// # Errors
    /// [`TextError::TooLong`] if the pair does not fit, [`TextError::BadValue`] if the value would end it
    /// early; nothing is appended then.
    pub fn push(&mut self, key: &str, value: &str) -> Result<(), TextError> {
        let add = key.len().saturating_add(value.len()).saturating_add(2);
        if self.bytes.len().saturating_add(add) > self.limit {
            return Err(TextError::TooLong { limit: self.limit });
        }
        if value.as_bytes().contains(&0) {
            return Err(TextError::BadValue);
        }
        self.bytes.extend_from_slice(key.as_bytes());
        self.bytes.push(b'=');
        self.bytes.extend_from_slice(value.as_bytes());
        self.bytes.push(0);
        Ok(())
    }

    /// Whether nothing has been appended.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The finished text.
    #[must_use]
    pub fn finish(self) -> Vec<u8> {
        self.bytes
    }
}

impl fmt::Debug for TextWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The text may hold CHAP responses: only its size is shown.
        write!(
            f,
            "TextWriter({} of {} bytes)",
            self.bytes.len(),
            self.limit
        )
    }
}

/// One PDU's share of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TextPiece<'a> {
    /// The data segment.
    pub data: &'a [u8],
    /// The C bit: more pieces follow after the peer's empty request.
    pub more: bool,
}

/// An answer that is sent in pieces no longer than the peer's MaxRecvDataSegmentLength (RFC 7143 §6.2).
///
/// A pair may be cut anywhere; the peer joins the pieces before it parses.
#[derive(Debug, Clone)]
pub struct TextAnswer {
    bytes: Vec<u8>,
    sent: usize,
}

impl TextAnswer {
    /// An answer of which nothing has been sent.
    #[must_use]
    pub fn new(bytes: Vec<u8>) -> Self {
        Self { bytes, sent: 0 }
    }

    /// The next piece of at most `max` bytes (at least one byte is sent, so that the answer ends).
    pub fn next_piece(&mut self, max: usize) -> TextPiece<'_> {
        let start = self.sent.min(self.bytes.len());
        let end = start.saturating_add(max.max(1)).min(self.bytes.len());
        self.sent = end;
        TextPiece {
            data: self.bytes.get(start..end).unwrap_or_default(),
            more: end < self.bytes.len(),
        }
    }

    /// Whether all has been handed out.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.sent >= self.bytes.len()
    }

    /// Bytes not handed out yet.
    #[must_use]
    pub fn remaining(&self) -> usize {
        self.bytes.len().saturating_sub(self.sent)
    }
}

/// Parses an RFC 7143 numerical value: decimal, or hexadecimal after `0x`/`0X`, below 2^64.
///
/// Signs, blanks, an empty number and `0x` alone are refused.
#[must_use]
pub fn parse_number(value: &str) -> Option<u64> {
    let hex = value
        .strip_prefix("0x")
        .or_else(|| value.strip_prefix("0X"));
    let (digits, radix) = hex.map_or((value, 10), |digits| (digits, 16));
    if digits.is_empty() || digits.len() > 20 || !digits.chars().all(|digit| digit.is_digit(radix))
    {
        return None;
    }
    u64::from_str_radix(digits, radix).ok()
}

/// Parses `Yes` or `No`, the only forms of a boolean value (case matters, RFC 7143 §6.1).
#[must_use]
pub fn parse_bool(value: &str) -> Option<bool> {
    match value {
        "Yes" => Some(true),
        "No" => Some(false),
        _ => None,
    }
}

/// The wire form of a boolean.
#[must_use]
pub fn bool_text(value: bool) -> &'static str {
    if value { "Yes" } else { "No" }
}

#[cfg(test)]
mod tests;
