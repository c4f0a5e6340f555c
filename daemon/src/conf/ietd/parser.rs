//! The grammar of ietd.conf.

use std::collections::HashMap;

use super::super::error::quoted;
use super::super::parser::decode;
use super::super::{Error, MAX_TOKENS, MAX_WORD, Span, Word};
use super::{Ietd, Kind, Lun, Mode, Setting, Target, Value};

/// What stands behind a keyword.
#[derive(Clone, Copy)]
enum Form {
    Account,
    Flag,
    Number,
    Digests,
    Word,
    Line,
}

/// The keywords besides `Target` and `Lun`, as the manual spells them.
const KEYS: [(&str, Form); 28] = [
    ("IncomingUser", Form::Account),
    ("OutgoingUser", Form::Account),
    ("iSNSServer", Form::Word),
    ("iSNSAccessControl", Form::Flag),
    ("Alias", Form::Line),
    ("MaxSessions", Form::Number),
    ("InitialR2T", Form::Flag),
    ("ImmediateData", Form::Flag),
    ("MaxConnections", Form::Number),
    ("MaxRecvDataSegmentLength", Form::Number),
    ("MaxXmitDataSegmentLength", Form::Number),
    ("MaxBurstLength", Form::Number),
    ("FirstBurstLength", Form::Number),
    ("DefaultTime2Wait", Form::Number),
    ("DefaultTime2Retain", Form::Number),
    ("MaxOutstandingR2T", Form::Number),
    ("DataPDUInOrder", Form::Flag),
    ("DataSequenceInOrder", Form::Flag),
    ("ErrorRecoveryLevel", Form::Number),
    ("HeaderDigest", Form::Digests),
    ("DataDigest", Form::Digests),
    ("OFMarker", Form::Flag),
    ("IFMarker", Form::Flag),
    ("Wthreads", Form::Number),
    ("Type", Form::Number),
    ("QueuedCommands", Form::Number),
    ("NOPInterval", Form::Number),
    ("NOPTimeout", Form::Number),
];

/// Reads a whole file.
///
/// # Errors
/// The first thing that is wrong.
pub fn parse(file: impl AsRef<[u8]>) -> Result<Ietd, Error> {
    let text = decode(file.as_ref())?;
    let mut parser = Parser {
        text,
        ietd: Ietd::default(),
        targets: HashMap::new(),
        luns: HashMap::new(),
    };
    let mut words = Words::new(text);
    while let Some(line) = words.line()? {
        parser.line(line)?;
    }
    Ok(parser.ietd)
}

/// The words of a text, line by line.
struct Words<'a> {
    text: &'a str,
    rest: std::iter::Peekable<std::str::CharIndices<'a>>,
    line: u32,
    column: u32,
    count: usize,
}

impl<'a> Words<'a> {
    fn new(text: &'a str) -> Self {
        let mut rest = text.char_indices().peekable();
        rest.next_if(|(_, c)| *c == '\u{feff}');
        Self {
            text,
            rest,
            line: 1,
            column: 1,
            count: 0,
        }
    }

    fn peek(&mut self) -> Option<char> {
        self.rest.peek().map(|(_, c)| *c)
    }

    fn bump(&mut self) {
        match self.rest.next() {
            Some((_, '\n')) => (self.line, self.column) = (self.line.saturating_add(1), 1),
            Some(_) => self.column = self.column.saturating_add(1),
            None => {}
        }
    }

    fn here(&mut self) -> Span {
        let at = self.rest.peek().map_or(self.text.len(), |(at, _)| *at);
        // The length of a text is bounded.
        let at = u32::try_from(at).unwrap_or(u32::MAX);
        Span {
            line: self.line,
            column: self.column,
            start: at,
            end: at,
        }
    }

    fn after_backslash(&mut self) -> Option<char> {
        let mut ahead = self.rest.clone();
        ahead.next();
        match ahead.next() {
            Some((_, '\r')) => ahead.next().map(|(_, c)| c),
            next => next.map(|(_, c)| c),
        }
    }

    /// Skips a backslash and the end of the line.
    fn join(&mut self) {
        while self.peek() != Some('\n') {
            self.bump();
        }
        self.bump();
    }

    /// The words of the next line that has some, comments left out.
    fn line(&mut self) -> Result<Option<Vec<Word>>, Error> {
        let mut words = Vec::new();
        loop {
            match self.peek() {
                None => return Ok((!words.is_empty()).then_some(words)),
                Some('\n') => {
                    self.bump();
                    if !words.is_empty() {
                        return Ok(Some(words));
                    }
                }
                Some(c) if c.is_ascii_whitespace() => self.bump(),
                Some('\\') if self.after_backslash() == Some('\n') => self.join(),
                Some('#') if words.is_empty() => {
                    while !matches!(self.peek(), None | Some('\n')) {
                        self.bump();
                    }
                }
                Some(_) => words.push(self.word()?),
            }
        }
    }

    fn word(&mut self) -> Result<Word, Error> {
        let start = self.here();
        let mut text = String::new();
        self.count += 1;
        if self.count > MAX_TOKENS {
            let found = format!("more than {MAX_TOKENS} words");
            return Err(Error::new(self.text, start, found, "the end of the file"));
        }
        while let Some(c) = self.peek().filter(|c| !c.is_ascii_whitespace()) {
            if c == '\\' && self.after_backslash() == Some('\n') {
                self.join();
                continue;
            }
            if c.is_control() {
                let found = format!("the control character U+{:04X}", u32::from(c));
                return Err(Error::new(self.text, self.here(), found, "text"));
            }
            if text.len() >= MAX_WORD {
                let found = format!("a word of more than {MAX_WORD} bytes");
                return Err(Error::new(self.text, start, found, "a shorter one"));
            }
            text.push(c);
            self.bump();
        }
        let end = self.here().end;
        Ok(Word {
            text,
            span: Span { end, ..start },
        })
    }
}

struct Parser<'a> {
    text: &'a str,
    ietd: Ietd,
    /// The lines of the targets read so far.
    targets: HashMap<String, u32>,
    /// The lines of the LUNs of the last target.
    luns: HashMap<u16, u32>,
}

/// The words behind a keyword.
struct Values<'a> {
    text: &'a str,
    key: Word,
    rest: std::vec::IntoIter<Word>,
}

impl Values<'_> {
    fn next(&mut self, expected: &str) -> Result<Word, Error> {
        self.rest.next().ok_or_else(|| {
            let found = format!("{} without all of its values", quoted(&self.key));
            Error::new(
                self.text,
                self.key.span,
                found,
                format!("{expected} behind it"),
            )
        })
    }

    /// The line must be over, but for a comment, which IET does not see.
    fn end(mut self, why: &str) -> Result<(), Error> {
        match self.rest.next() {
            Some(word) if !word.starts_with('#') => {
                let expected = format!("nothing more behind {}{why}", self.key);
                Err(Error::at_word(self.text, word.span, &word, expected))
            }
            _ => Ok(()),
        }
    }
}

impl Parser<'_> {
    fn refuse<T>(&self, word: &Word, expected: impl Into<String>) -> Result<T, Error> {
        Err(Error::at_word(self.text, word.span, word, expected))
    }

    fn line(&mut self, line: Vec<Word>) -> Result<(), Error> {
        let mut rest = line.into_iter();
        let Some(key) = rest.next() else {
            return Ok(());
        };
        let mut values = Values {
            text: self.text,
            key: key.clone(),
            rest,
        };
        if key.eq_ignore_ascii_case("Target") {
            let name = values.next("the name of a target")?;
            values.end("")?;
            return self.target(name);
        }
        if key.eq_ignore_ascii_case("Lun") {
            return self.lun(values);
        }
        let setting = self.setting(values)?;
        match self.ietd.targets.last_mut() {
            Some(target) => target.settings.push(setting),
            None => self.ietd.global.push(setting),
        }
        Ok(())
    }

    fn target(&mut self, name: Word) -> Result<(), Error> {
        if let Some(line) = self.targets.insert(name.text.clone(), name.span.line) {
            return self.refuse(&name, format!("another name than that of line {line}"));
        }
        self.luns.clear();
        self.ietd.targets.push(Target {
            name,
            luns: Vec::new(),
            settings: Vec::new(),
        });
        Ok(())
    }

    fn setting(&self, mut values: Values<'_>) -> Result<Setting, Error> {
        let key = values.key.clone();
        let known = KEYS.iter().find(|(name, _)| key.eq_ignore_ascii_case(name));
        let Some((name, form)) = known else {
            let value = Value::Unknown;
            return Ok(Setting { key, value });
        };
        let value = match form {
            Form::Line => {
                let words: Vec<String> = values.rest.by_ref().map(|word| word.text).collect();
                Value::Text(words.join(" "))
            }
            Form::Word => Value::Text(values.next("a value")?.text),
            Form::Digests => self.digests(values.next("None or CRC32C")?)?,
            Form::Account => Value::Account {
                user: values.next("a name and a secret")?,
                secret: values.next("a name and a secret")?,
            },
            Form::Flag => {
                let word = values.next("Yes or No")?;
                match word.text.as_str() {
                    "Yes" => Value::Flag(true),
                    "No" => Value::Flag(false),
                    _ => return self.refuse(&word, "Yes or No"),
                }
            }
            Form::Number => {
                let word = values.next("a number")?;
                match number(&word).and_then(|number| u32::try_from(number).ok()) {
                    Some(number) => Value::Number(number),
                    None => return self.refuse(&word, "a number up to 4294967295"),
                }
            }
        };
        values.end("")?;
        Ok(Setting {
            key: Word {
                text: (*name).to_owned(),
                ..key
            },
            value,
        })
    }

    fn digests(&self, word: Word) -> Result<Value, Error> {
        if word
            .split(',')
            .all(|digest| matches!(digest, "None" | "CRC32C"))
        {
            Ok(Value::Digests(word))
        } else {
            self.refuse(&word, "None, CRC32C, or both with a comma")
        }
    }

    fn lun(&mut self, mut values: Values<'_>) -> Result<(), Error> {
        let key = values.key.clone();
        let word = values.next("a number and parameters")?;
        let Some(number) = word.parse().ok().filter(|number| *number <= 0x3fff) else {
            return self.refuse(&word, "a LUN from 0 to 16383");
        };
        if self.ietd.targets.is_empty() {
            return self.refuse(&key, "a Target before it");
        }
        if let Some(line) = self.luns.insert(number, key.span.line) {
            return self.refuse(&word, format!("another LUN than that of line {line}"));
        }
        let parameters = values.next("Path=FILE,Type=fileio or the like")?;
        values.end(": its parameters have no blanks between them")?;
        let lun = self.parameters(&key, number, &parameters)?;
        if let Some(target) = self.ietd.targets.last_mut() {
            target.luns.push(lun);
        }
        Ok(())
    }

    fn parameters(&self, key: &Word, number: u16, parameters: &Word) -> Result<Lun, Error> {
        let mut lun = Lun {
            span: key.span,
            number,
            kind: Kind::Fileio,
            path: None,
            mode: None,
            scsi_id: None,
            scsi_sn: None,
            block_size: None,
            blocks: None,
            unknown: Vec::new(),
        };
        let mut seen: Vec<String> = Vec::new();
        let mut span = parameters.span;
        for text in parameters.split(',') {
            let bytes = u32::try_from(text.len()).unwrap_or(u32::MAX);
            let chars = u32::try_from(text.chars().count()).unwrap_or(u32::MAX);
            span.end = span.start + bytes;
            let parameter = Word {
                text: text.to_owned(),
                span,
            };
            span.start = span.end.saturating_add(1);
            span.column = span.column.saturating_add(chars + 1);
            if text.is_empty() {
                continue;
            }
            self.parameter(&mut lun, &mut seen, parameter)?;
        }
        if lun.path.is_none() && lun.kind != Kind::Nullio {
            return self.refuse(parameters, "a parameter Path=FILE among them");
        }
        Ok(lun)
    }

    /// `KEY=VALUE`
    fn parameter(
        &self,
        lun: &mut Lun,
        seen: &mut Vec<String>,
        parameter: Word,
    ) -> Result<(), Error> {
        let Some((key, value)) = parameter.split_once('=') else {
            return self.refuse(&parameter, "KEY=VALUE");
        };
        let key = key.to_ascii_lowercase();
        let skipped = u32::try_from(key.len() + 1).unwrap_or(u32::MAX);
        let value = Word {
            text: value.to_owned(),
            span: Span {
                start: parameter.span.start + skipped,
                column: parameter.span.column + skipped,
                ..parameter.span
            },
        };
        let known = [
            "path",
            "type",
            "iomode",
            "scsiid",
            "scsisn",
            "blocksize",
            "sectors",
            "blocks",
        ];
        if !known.contains(&key.as_str()) {
            lun.unknown.push(parameter);
            return Ok(());
        }
        if seen.contains(&key) {
            return self.refuse(&parameter, "each parameter once");
        }
        self.known_parameter(lun, &key, value)?;
        seen.push(key);
        Ok(())
    }

    fn known_parameter(&self, lun: &mut Lun, key: &str, value: Word) -> Result<(), Error> {
        let folded = value.to_ascii_lowercase();
        match key {
            "path" if value.starts_with('/') => lun.path = Some(value),
            "path" => return self.refuse(&value, "a path that begins with /"),
            "type" => {
                lun.kind = match folded.as_str() {
                    "fileio" => Kind::Fileio,
                    "blockio" => Kind::Blockio,
                    "nullio" => Kind::Nullio,
                    _ => return self.refuse(&value, "fileio, blockio or nullio"),
                };
            }
            "iomode" => {
                lun.mode = Some(match folded.as_str() {
                    "ro" => Mode::ReadOnly,
                    "wb" => Mode::WriteBack,
                    "wt" => Mode::WriteThrough,
                    _ => return self.refuse(&value, "ro, wb or wt"),
                });
            }
            "scsiid" | "scsisn" => {
                let most = if key == "scsiid" { 16 } else { 32 };
                let printable = value.bytes().all(|b| (0x20..0x7f).contains(&b));
                if value.is_empty() || !printable || value.len() > most {
                    return self.refuse(&value, format!("1 to {most} printable ASCII characters"));
                }
                if key == "scsiid" {
                    lun.scsi_id = Some(value);
                } else {
                    lun.scsi_sn = Some(value);
                }
            }
            "blocksize" => {
                let size = value.parse().ok();
                let size = size.filter(|size: &u32| size.is_power_of_two());
                lun.block_size = size.filter(|size| (512..=4096).contains(size));
                if lun.block_size.is_none() {
                    return self.refuse(&value, "512, 1024, 2048 or 4096");
                }
            }
            _ => {
                // As many bytes as a file offset can name, in blocks of 4096 bytes.
                let blocks = number(&value).filter(|blocks| (1..1 << 51).contains(blocks));
                if blocks.is_none() {
                    return self.refuse(&value, "a number of blocks");
                }
                lun.blocks = blocks;
            }
        }
        Ok(())
    }
}

/// A number as `strtol` reads it with base 0.
fn number(text: &str) -> Option<u64> {
    let lower = text.to_ascii_lowercase();
    let (digits, radix) = match lower.strip_prefix("0x") {
        Some(digits) => (digits, 16),
        None if lower.len() > 1 && lower.starts_with('0') => (lower.as_str(), 8),
        None => (lower.as_str(), 10),
    };
    let plain = digits.bytes().all(|b| b.is_ascii_alphanumeric());
    plain
        .then(|| u64::from_str_radix(digits, radix).ok())
        .flatten()
}
