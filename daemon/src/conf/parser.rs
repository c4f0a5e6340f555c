//! The grammar of scst.conf.

use super::error::quoted;
use super::lexer::{Lexer, Token};
use super::{Document, Error, Item, MAX_DEPTH, MAX_LEN, MAX_TOKENS, Span, Statement, Word, legacy};

/// Reads a whole file.
///
/// Comments on lines of their own and empty lines are kept, a comment behind a statement is not. The form of before
/// SCST 2.0, sections that begin with `[HANDLER name]`, is converted; what could not be is said in comments.
///
/// # Errors
/// The first thing that is wrong.
pub fn parse(file: impl AsRef<[u8]>) -> Result<Document, Error> {
    parse_bytes(file.as_ref())
}

fn parse_bytes(file: &[u8]) -> Result<Document, Error> {
    let text = decode(file)?;
    let mut parser = Parser {
        lexer: Lexer::new(text),
        open: Vec::new(),
        items: Vec::new(),
        words: Vec::new(),
        line_is_empty: true,
    };
    for _ in 0..=MAX_TOKENS {
        let (token, span) = parser.lexer.next()?;
        if let Token::Word(word) = &token
            && parser.is_legacy_header(word)
        {
            return legacy::parse(text);
        }
        if parser.take(token, span)? {
            return Ok(Document {
                items: parser.items,
            });
        }
    }
    let found = format!("more than {MAX_TOKENS} words and ends of lines");
    parser.error(parser.lexer.here(), &found, "the end of the file")
}

/// The file as text, if it is one and not too long.
pub(super) fn decode(file: &[u8]) -> Result<&str, Error> {
    let begin = Span {
        line: 1,
        column: 1,
        ..Span::default()
    };
    if file.len() > MAX_LEN {
        let found = format!("a file of {} bytes", file.len());
        return Err(Error::new("", begin, found, format!("at most {MAX_LEN}")));
    }
    std::str::from_utf8(file).map_err(|error| {
        let (good, bad) = file
            .split_at_checked(error.valid_up_to())
            .unwrap_or((file, &[]));
        let good = std::str::from_utf8(good).unwrap_or_default();
        let mut lexer = Lexer::new(good);
        lexer.skip_all();
        let found = match bad.first() {
            Some(byte) => format!("the byte 0x{byte:02X}, which is not UTF-8"),
            None => "bytes that are not UTF-8".to_owned(),
        };
        Error::new(good, lexer.here(), found, "text in UTF-8")
    })
}

/// A block whose end has not been seen.
struct Open {
    keyword: Word,
    arguments: Vec<Word>,
    /// What stood before it in the block around it.
    before: Vec<Item>,
}

struct Parser<'a> {
    lexer: Lexer<'a>,
    /// The blocks around what is being read, the outermost first.
    open: Vec<Open>,
    /// What was read of the innermost block.
    items: Vec<Item>,
    /// What was read of a statement.
    words: Vec<Word>,
    /// Nothing but blanks was seen on this line.
    line_is_empty: bool,
}

impl Parser<'_> {
    /// Whether the text is in the form of before SCST 2.0.
    fn is_legacy_header(&self, word: &Word) -> bool {
        self.line_is_empty && self.open.is_empty() && {
            let start = usize::try_from(word.span.start).unwrap_or(usize::MAX);
            self.lexer
                .text()
                .get(start..)
                .is_some_and(legacy::is_header)
        }
    }

    /// Takes a token; whether it was the last one.
    fn take(&mut self, token: Token, span: Span) -> Result<bool, Error> {
        let line_was_empty = std::mem::replace(&mut self.line_is_empty, false);
        match token {
            Token::Word(word) => self.words.push(word),
            Token::Comment(text) => {
                if line_was_empty {
                    self.items.push(Item::Comment(text));
                }
            }
            Token::Open => self.open(span)?,
            Token::Close => self.close(span)?,
            Token::Newline => {
                self.statement();
                if line_was_empty {
                    self.items.push(Item::Blank);
                }
                self.line_is_empty = true;
            }
            Token::End => {
                self.statement();
                self.end(span)?;
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The words read so far as keyword and arguments.
    fn head(&mut self) -> Option<(Word, Vec<Word>)> {
        let mut words = std::mem::take(&mut self.words).into_iter();
        Some((words.next()?, words.collect()))
    }

    fn statement(&mut self) {
        if let Some((keyword, arguments)) = self.head() {
            self.items.push(Item::Statement(Statement {
                keyword,
                arguments,
                body: None,
            }));
        }
    }

    fn open(&mut self, span: Span) -> Result<(), Error> {
        let Some((keyword, arguments)) = self.head() else {
            return self.error(span, "{", "a keyword before it, on the same line");
        };
        if self.open.len() >= MAX_DEPTH {
            let expected = format!("at most {MAX_DEPTH} blocks in each other");
            return self.error(span, "{", expected);
        }
        self.open.push(Open {
            keyword,
            arguments,
            before: std::mem::take(&mut self.items),
        });
        Ok(())
    }

    fn close(&mut self, span: Span) -> Result<(), Error> {
        self.statement();
        let Some(open) = self.open.pop() else {
            return self.error(span, "}", "a keyword, as no block is open");
        };
        let body = std::mem::replace(&mut self.items, open.before);
        self.items.push(Item::Statement(Statement {
            keyword: open.keyword,
            arguments: open.arguments,
            body: Some(body),
        }));
        Ok(())
    }

    fn end(&self, span: Span) -> Result<(), Error> {
        let Some(open) = self.open.last() else {
            return Ok(());
        };
        let expected = format!(
            "a }} that closes {} of line {}",
            quoted(&open.keyword),
            open.keyword.span.line
        );
        self.error(span, "the end of the file", expected)
    }

    fn error<T>(&self, at: Span, found: &str, expected: impl Into<String>) -> Result<T, Error> {
        Err(Error::new(self.lexer.text(), at, found, expected))
    }
}
