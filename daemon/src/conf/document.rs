//! The syntax tree of scst.conf.

/// Where something stands in the text. Two spans are never compared with words: see [`Word`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Span {
    /// Counted from 1; 0 for what was not read from a text.
    pub line: u32,
    /// In characters, counted from 1; a tab is one. 0 for what was not read from a text.
    pub column: u32,
    /// Offset of the first byte.
    pub start: u32,
    /// Offset of the byte after the last one.
    pub end: u32,
}

/// A word: a keyword, a name or a value, without its quotes and escapes. Words are equal if their texts are, wherever
/// they stand.
#[derive(Debug, Clone, Default)]
pub struct Word {
    /// What was meant.
    pub text: String,
    /// Where it was written, quotes included.
    pub span: Span,
}

impl PartialEq for Word {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Word {}

impl<T: Into<String>> From<T> for Word {
    fn from(text: T) -> Self {
        Self {
            text: text.into(),
            span: Span::default(),
        }
    }
}

impl std::ops::Deref for Word {
    type Target = str;

    fn deref(&self) -> &str {
        &self.text
    }
}

impl std::fmt::Display for Word {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

/// A whole file.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Document {
    /// In the order of the file.
    pub items: Vec<Item>,
}

impl Document {
    /// The statements of the top level, without comments and empty lines.
    pub fn statements(&self) -> impl Iterator<Item = &Statement> {
        statements(&self.items)
    }
}

/// What a file and the body of a block consist of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item {
    /// A line that is a comment, without `#` and the blank that follows it. A comment behind a statement, on its line, is
    /// not kept by the parser. [`print`](super::print()) makes a line feed in it a second comment.
    Comment(String),
    /// An empty line.
    Blank,
    /// An attribute or a block.
    Statement(Statement),
}

impl From<Statement> for Item {
    fn from(statement: Statement) -> Self {
        Self::Statement(statement)
    }
}

/// `KEYWORD argument…`, with `{ … }` or without. Syntax cannot tell the attribute `threads 2` from the block
/// `DEVICE vg1` that has no body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    /// The first word.
    pub keyword: Word,
    /// The other words.
    pub arguments: Vec<Word>,
    /// What stands in braces; `Some` and empty for `{ }`.
    pub body: Option<Vec<Item>>,
}

impl Statement {
    /// A line without a body.
    pub fn new<W: Into<Word>>(
        keyword: impl Into<Word>,
        arguments: impl IntoIterator<Item = W>,
    ) -> Self {
        Self {
            keyword: keyword.into(),
            arguments: arguments.into_iter().map(Into::into).collect(),
            body: None,
        }
    }

    /// A block.
    pub fn block<W: Into<Word>>(
        keyword: impl Into<Word>,
        arguments: impl IntoIterator<Item = W>,
        body: Vec<Item>,
    ) -> Self {
        Self {
            body: Some(body),
            ..Self::new(keyword, arguments)
        }
    }

    /// The statements of the body, without comments and empty lines; none if there is no body.
    pub fn statements(&self) -> impl Iterator<Item = &Statement> {
        statements(self.body.as_deref().unwrap_or_default())
    }
}

fn statements(items: &[Item]) -> impl Iterator<Item = &Statement> {
    items.iter().filter_map(|item| match item {
        Item::Statement(statement) => Some(statement),
        Item::Comment(_) | Item::Blank => None,
    })
}
