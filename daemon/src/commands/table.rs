//! Tables for people.

/// Where the cells of a column stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Align {
    Left,
    Right,
}

/// No line is as wide.
const MAX: usize = usize::MAX;
/// What stands before a line of a paragraph.
const INDENT: &str = "    ";

/// Columns with a title each, and rows of cells.
#[derive(Debug)]
pub(super) struct Table {
    columns: Vec<(&'static str, Align)>,
    rows: Vec<Row>,
}

#[derive(Debug)]
struct Row {
    cells: Vec<String>,
    wrong: bool,
}

impl Table {
    /// A column whose title ends with `>` has its cells on the right, as numbers.
    pub(super) fn new(titles: &[&'static str]) -> Self {
        let column = |title: &&'static str| match title.strip_suffix('>') {
            Some(title) => (title, Align::Right),
            None => (*title, Align::Left),
        };
        Self {
            columns: titles.iter().map(column).collect(),
            rows: Vec::new(),
        }
    }

    /// Adds a row; one that tells of something `wrong` stands out in colour.
    pub(super) fn row(&mut self, cells: impl IntoIterator<Item = String>, wrong: bool) {
        let cells = cells.into_iter().map(|cell| plain(&cell)).collect();
        self.rows.push(Row { cells, wrong });
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// As lines, each at most `width` characters wide.
    pub(super) fn lines(&self, colour: bool, width: usize) -> Vec<String> {
        let widths = self.widths();
        let titles = self.columns.iter().map(|(title, _)| *title);
        let mut lines = vec![self.line(titles, &widths, width)];
        if colour && let Some(head) = lines.first_mut() {
            *head = format!("\x1b[1m{head}\x1b[0m");
        }
        for row in &self.rows {
            let line = self.line(row.cells.iter().map(String::as_str), &widths, width);
            lines.push(if colour && row.wrong {
                format!("\x1b[31m{line}\x1b[0m")
            } else {
                line
            });
        }
        lines
    }

    /// As text: a table, or paragraphs where a line of that would be wider than `width`.
    pub(super) fn text(&self, colour: bool, width: Option<usize>) -> String {
        let lines = match width {
            Some(width) if self.widest() > width => self.paragraphs(colour, width),
            _ => self.lines(colour, MAX),
        };
        lines.join("\n") + "\n"
    }

    /// Characters of its widest line.
    pub(super) fn widest(&self) -> usize {
        let widths = self.widths();
        let titles = self.columns.iter().map(|(title, _)| *title);
        let rows = self.rows.iter();
        let rows = rows.map(|row| self.line(row.cells.iter().map(String::as_str), &widths, MAX));
        let lines = rows.chain([self.line(titles, &widths, MAX)]);
        lines.map(|line| line.chars().count()).max().unwrap_or(0)
    }

    /// A row as its first cell on a line, and the others with their titles below.
    fn paragraphs(&self, colour: bool, width: usize) -> Vec<String> {
        let mut lines = Vec::new();
        for row in &self.rows {
            let mut cells = row.cells.iter().zip(&self.columns);
            if let Some((head, column)) = cells.next().filter(|(head, _)| !head.is_empty()) {
                // A number alone tells nothing.
                let head = match column {
                    (title, Align::Right) => format!("{} {head}", title.to_lowercase()),
                    (_, Align::Left) => head.clone(),
                };
                lines.push(match (colour, row.wrong) {
                    (true, true) => format!("\x1b[31m{head}\x1b[0m"),
                    (true, false) => format!("\x1b[1m{head}\x1b[0m"),
                    (false, _) => head.clone(),
                });
            }
            let told = cells.filter(|(cell, _)| !cell.is_empty() && *cell != "-");
            let told = told.map(|(cell, (title, _))| match *title {
                "" => cell.clone(),
                title => format!("{} {cell}", title.to_lowercase()),
            });
            wrap(&told.collect::<Vec<_>>().join(", "), width, &mut lines);
        }
        lines
    }

    fn widths(&self) -> Vec<usize> {
        let length = |text: &str| text.chars().count();
        let cell = |row: &Row, at: usize| row.cells.get(at).map_or(0, |cell| length(cell.as_str()));
        let columns = self.columns.iter().enumerate();
        columns
            .map(|(at, (title, _))| {
                let widest = self.rows.iter().map(|row| cell(row, at)).max();
                length(title).max(widest.unwrap_or(0))
            })
            .collect()
    }

    fn line<'a>(
        &self,
        cells: impl Iterator<Item = &'a str>,
        widths: &[usize],
        most: usize,
    ) -> String {
        let mut line = String::new();
        for ((cell, width), (_, align)) in cells.zip(widths).zip(&self.columns) {
            if !line.is_empty() {
                line.push_str("  ");
            }
            match align {
                Align::Left => line += &format!("{cell:<width$}"),
                Align::Right => line += &format!("{cell:>width$}"),
            }
        }
        line.truncate(line.trim_end().len());
        match line.char_indices().nth(most) {
            Some((end, _)) => {
                line.truncate(end);
                line
            }
            None => line,
        }
    }
}

/// Without what a terminal takes for a command, which a name may hold.
pub(super) fn plain(text: &str) -> String {
    let plain = |c: char| if c.is_control() { '\u{fffd}' } else { c };
    text.chars().map(plain).collect()
}

/// Adds a text as indented lines, broken between words.
pub(super) fn wrap(text: &str, width: usize, lines: &mut Vec<String>) {
    let mut line = String::new();
    for word in text.split_whitespace() {
        if !line.is_empty() && line.chars().count() + 1 + word.chars().count() > width {
            lines.push(std::mem::take(&mut line));
        }
        line += if line.is_empty() { INDENT } else { " " };
        line += word;
    }
    if !line.is_empty() {
        lines.push(line);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let mut table = Table::new(&["NAME", "SIZE>", "STATE"]);
        table.row(["ä", "1 GiB", "fine"].map(str::to_owned), false);
        table.row(["disk10", "512", "dead\n"].map(str::to_owned), true);
        table
    }

    #[test]
    fn columns_are_aligned_and_lines_have_no_blanks_at_their_end() {
        assert_eq!(
            table().text(false, None),
            "NAME     SIZE  STATE\n\
             ä       1 GiB  fine\n\
             disk10    512  dead\u{fffd}\n"
        );
    }

    #[test]
    fn colour_does_not_change_what_is_said() {
        let coloured = table().text(true, Some(80));
        assert!(coloured.contains("\x1b[31mdisk10"));
        let plain = ["\x1b[1m", "\x1b[31m", "\x1b[0m"]
            .iter()
            .fold(coloured, |text, code| text.replace(code, ""));
        assert_eq!(plain, table().text(false, None));
    }

    #[test]
    fn a_table_that_is_too_wide_is_told_in_paragraphs() {
        assert_eq!(table().text(false, Some(20)), table().text(false, None));
        assert_eq!(
            table().text(false, Some(18)),
            "ä\n    size 1 GiB,\n    state fine\n\
             disk10\n    size 512,\n    state dead\u{fffd}\n"
        );
        assert!(
            table()
                .text(true, Some(18))
                .contains("\x1b[31mdisk10\x1b[0m\n")
        );
    }

    #[test]
    fn a_paragraph_that_begins_with_a_number_says_of_what() {
        let mut table = Table::new(&["SESSION>", "INITIATOR"]);
        table.row(
            ["1", "iqn.2026-11.org.example:host"].map(str::to_owned),
            false,
        );
        assert_eq!(
            table.text(false, Some(20)),
            "session 1\n    initiator\n    iqn.2026-11.org.example:host\n"
        );
    }

    #[test]
    fn a_line_is_cut_to_the_width() {
        for line in table().lines(false, 8) {
            assert!(line.chars().count() <= 8, "{line:?}");
        }
    }
}
