//! scst.conf as a row of tokens, each with its place.

use super::error::quoted;
use super::{Error, MAX_WORD, Span, Word};

/// What a text consists of, blanks apart.
#[derive(Debug)]
pub(super) enum Token {
    /// A keyword, a name or a value.
    Word(Word),
    /// `{`
    Open,
    /// `}`
    Close,
    /// What stands behind `#`, one blank taken away.
    Comment(String),
    /// The end of a line.
    Newline,
    /// The end of the text.
    End,
}

/// Characters that end a word outside quotes, or that cannot stand in one.
pub(super) fn is_plain(c: char) -> bool {
    !(c.is_whitespace()
        || c.is_control()
        || matches!(
            c,
            '{' | '}' | '"' | '#' | '\\' | '“' | '”' | '„' | '\u{feff}'
        ))
}

/// A character as a comment has it: control characters are blanks there.
pub(super) fn in_comment(c: char) -> char {
    if c.is_control() && c != '\t' { ' ' } else { c }
}

/// Reads a text once, from its beginning to its end.
pub(super) struct Lexer<'a> {
    text: &'a str,
    /// What has not been read.
    rest: std::str::Chars<'a>,
    line: u32,
    column: u32,
}

impl<'a> Lexer<'a> {
    /// At the beginning of a text, behind the byte order mark if it has one.
    pub(super) fn new(text: &'a str) -> Self {
        Self {
            text,
            rest: text.strip_prefix('\u{feff}').unwrap_or(text).chars(),
            line: 1,
            column: 1,
        }
    }

    /// The whole text.
    pub(super) fn text(&self) -> &'a str {
        self.text
    }

    /// Goes to the end of the text.
    pub(super) fn skip_all(&mut self) {
        while self.bump().is_some() {}
    }

    fn peek(&self) -> Option<char> {
        self.rest.clone().next()
    }

    fn bump(&mut self) -> Option<char> {
        let c = self.rest.next()?;
        if c == '\n' {
            self.line = self.line.saturating_add(1);
            self.column = 1;
        } else {
            self.column = self.column.saturating_add(1);
        }
        Some(c)
    }

    /// An empty span where the lexer is.
    pub(super) fn here(&self) -> Span {
        let at = self.text.len() - self.rest.as_str().len();
        // The length of a text is bounded before it is read.
        let at = u32::try_from(at).unwrap_or(u32::MAX);
        Span {
            line: self.line,
            column: self.column,
            start: at,
            end: at,
        }
    }

    fn since(&self, start: Span) -> Span {
        Span {
            end: self.here().end,
            ..start
        }
    }

    fn error<T>(
        &self,
        at: Span,
        found: impl Into<String>,
        expected: impl Into<String>,
    ) -> Result<T, Error> {
        Err(Error::new(self.text, at, found, expected))
    }

    /// The next token and where it is.
    pub(super) fn next(&mut self) -> Result<(Token, Span), Error> {
        while matches!(self.peek(), Some(' ' | '\t')) {
            self.bump();
        }
        let start = self.here();
        let token = match self.peek() {
            None => Token::End,
            Some('\r') if self.rest.as_str().starts_with("\r\n") => {
                self.bump();
                self.bump();
                Token::Newline
            }
            Some('\n') => {
                self.bump();
                Token::Newline
            }
            Some('{') => {
                self.bump();
                Token::Open
            }
            Some('}') => {
                self.bump();
                Token::Close
            }
            Some('#') => self.comment(),
            Some('"') => Token::Word(self.quoted_word(start)?),
            Some(_) => Token::Word(self.plain_word(start)?),
        };
        Ok((token, self.since(start)))
    }

    fn comment(&mut self) -> Token {
        let rest = self.rest.as_str();
        let line = rest.split('\n').next().unwrap_or_default();
        let ended = line.len() < rest.len();
        let line = line.strip_suffix('\r').filter(|_| ended).unwrap_or(line);
        for _ in line.chars() {
            self.bump();
        }
        let comment = line.strip_prefix('#').unwrap_or(line);
        let comment = comment.strip_prefix(' ').unwrap_or(comment);
        Token::Comment(comment.chars().map(in_comment).collect())
    }

    fn plain_word(&mut self, start: Span) -> Result<Word, Error> {
        let mut text = String::new();
        while let Some(c) = self.peek() {
            match c {
                ' ' | '\t' | '\n' | '{' | '}' => break,
                '\r' if self.rest.as_str().starts_with("\r\n") => break,
                '\\' => text.push(self.escape(false)?),
                c if is_plain(c) => {
                    self.bump();
                    text.push(c);
                }
                c => return self.no_plain(c, text.is_empty()),
            }
            self.check_length(&text, start)?;
        }
        Ok(Word {
            text,
            span: self.since(start),
        })
    }

    /// A character that is in no word without quotes.
    fn no_plain<T>(&self, c: char, first: bool) -> Result<T, Error> {
        let at = self.here();
        match c {
            '#' => self.error(
                at,
                "# inside a word",
                "a blank before a comment, or \\# for a # that belongs to the word",
            ),
            '"' => self.error(
                at,
                "\" inside a word",
                "a blank before a word in quotes, or \\\" for a \" that belongs to the word",
            ),
            '“' | '”' | '„' => self.error(
                at,
                format!("the typographic quote {c}"),
                if first {
                    "the quote \""
                } else {
                    "the quote \", around a whole word"
                },
            ),
            '\r' => self.error(at, "a carriage return", "a line feed after it"),
            c if c.is_control() => self.control(c),
            c => self.error(
                at,
                format!("the character U+{:04X}", u32::from(c)),
                "a blank, or quotes around a word that holds this character",
            ),
        }
    }

    fn control<T>(&self, c: char) -> Result<T, Error> {
        self.error(
            self.here(),
            format!("the control character U+{:04X}", u32::from(c)),
            "text",
        )
    }

    fn quoted_word(&mut self, start: Span) -> Result<Word, Error> {
        self.bump();
        let mut text = String::new();
        loop {
            match self.peek() {
                Some('"') => break,
                None | Some('\n' | '\r') => {
                    return self.error(
                        start,
                        "a \" that nothing on its line closes",
                        "a second \" at the end of the word",
                    );
                }
                Some('\\') => text.push(self.escape(true)?),
                Some(c) if c.is_control() && c != '\t' => return self.control(c),
                Some(c) => {
                    self.bump();
                    text.push(c);
                }
            }
            self.check_length(&text, start)?;
        }
        self.bump();
        match self.peek() {
            None | Some(' ' | '\t' | '\r' | '\n' | '{' | '}') => {}
            Some(c) => {
                return self.error(
                    self.here(),
                    format!("{} behind a closing \"", quoted(c.encode_utf8(&mut [0; 4]))),
                    "a blank",
                );
            }
        }
        Ok(Word {
            text,
            span: self.since(start),
        })
    }

    /// A backslash and what follows it.
    fn escape(&mut self, in_quotes: bool) -> Result<char, Error> {
        let start = self.here();
        self.bump();
        match self.peek() {
            Some(c) if c.is_ascii_punctuation() => {
                self.bump();
                Ok(c)
            }
            Some(c @ ('n' | 'r' | 't')) if in_quotes => {
                self.bump();
                Ok(match c {
                    'n' => '\n',
                    'r' => '\r',
                    _ => '\t',
                })
            }
            Some('u') if in_quotes => self.code_point(start),
            next => {
                let found = match next {
                    Some(c) if !c.is_whitespace() && !c.is_control() => {
                        format!("a backslash before {}", quoted(c.encode_utf8(&mut [0; 4])))
                    }
                    _ => "a backslash at the end of a word".to_owned(),
                };
                let expected = "a punctuation mark behind it, or \\\\ for a backslash";
                self.error(start, found, expected)
            }
        }
    }

    /// `u{…}`, a code point in hexadecimal digits.
    fn code_point(&mut self, start: Span) -> Result<char, Error> {
        self.bump();
        let rest = self.rest.as_str();
        let digits = rest
            .strip_prefix('{')
            .and_then(|rest| rest.get(..rest.find('}')?))
            .filter(|digits| digits.len() <= 6 && digits.bytes().all(|b| b.is_ascii_hexdigit()));
        let Some(c) = digits
            .and_then(|digits| u32::from_str_radix(digits, 16).ok())
            .and_then(char::from_u32)
        else {
            return self.error(
                start,
                "\\u without a code point",
                "\\u{…} with hexadecimal digits, or \\\\ for a backslash",
            );
        };
        for _ in 0..digits.map_or(0, str::len) + 2 {
            self.bump();
        }
        Ok(c)
    }

    fn check_length(&self, text: &str, start: Span) -> Result<(), Error> {
        if text.len() <= MAX_WORD {
            return Ok(());
        }
        self.error(
            start,
            format!("a word of more than {MAX_WORD} bytes"),
            "a shorter one",
        )
    }
}
