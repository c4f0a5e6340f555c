//! The tables that are printed.

use crate::control::protocol::ShownAttribute;

/// Blanks between two columns of a table of attributes.
const GAP: usize = 5;

/// The table of attributes: without `all` the key ones.
pub(super) fn attributes<'a>(
    attributes: impl Iterator<Item = (&'a String, &'a ShownAttribute)>,
    all: bool,
) -> String {
    let mut rows: Vec<[String; 4]> = Vec::new();
    for (name, attribute) in attributes.filter(|(_, a)| (all && (a.read || a.trigger)) || a.key) {
        let yes_no = |yes| if yes { "Yes" } else { "No " }.to_owned();
        let writable = yes_no(attribute.write || attribute.trigger);
        let none = [String::new()];
        let values = if attribute.values.is_empty() {
            &none[..]
        } else {
            &attribute.values
        };
        for value in values {
            rows.push([
                name.clone(),
                value.clone(),
                writable.clone(),
                yes_no(attribute.key),
            ]);
        }
    }
    let width = |column: usize, title: &str| {
        let longest = rows
            .iter()
            .filter_map(|row| row.get(column))
            .map(|cell| cell.chars().count());
        longest.chain([title.len()]).max().unwrap_or_default() + GAP
    };
    let (name, value, writable) = (
        width(0, "Attribute"),
        width(1, "Value"),
        "Writable".len() + GAP + 1,
    );
    let line = |cells: [&str; 4]| {
        format!(
            "\t{:name$}{:value$}{:writable$}{}\n",
            cells[0], cells[1], cells[2], cells[3]
        )
    };
    let mut table = line(["Attribute", "Value", "Writable", "KEY"]);
    table += &format!("\t{}\n", "-".repeat(name + value + writable + 3));
    if rows.is_empty() {
        table += "\t(none)\n";
    }
    for [name, value, writable, key] in &rows {
        table += &line([name, value, writable, key]);
    }
    table
}

/// One column under a title.
pub(super) fn column(title: &str, cells: &[String]) -> String {
    let width = cells
        .iter()
        .map(|cell| cell.chars().count())
        .chain([title.len()])
        .max()
        .unwrap_or_default();
    let mut table = format!("\t{title}\n\t{}\n", "-".repeat(width));
    for cell in cells {
        table += &format!("\t{cell}\n");
    }
    table
}

/// Two columns under titles; the first is left empty where it repeats.
pub(super) fn pairs(titles: [&str; 2], rows: &[(String, String)]) -> String {
    let width = |cells: &mut dyn Iterator<Item = &String>, title: &str| {
        cells
            .map(|cell| cell.chars().count())
            .chain([title.len()])
            .max()
            .unwrap_or_default()
    };
    let first = width(&mut rows.iter().map(|(a, _)| a), titles[0]) + 1;
    let second = width(&mut rows.iter().map(|(_, b)| b), titles[1]);
    let mut table = format!(
        "\t{:first$}{:second$}\n\t{}\n",
        titles[0],
        titles[1],
        "-".repeat(first + second)
    );
    let mut before = None;
    for (a, b) in rows {
        let shown = if before == Some(a) { "" } else { a };
        table += &format!("\t{shown:first$}{b:second$}\n");
        before = Some(a);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_stand_in_columns_as_wide_as_their_longest_cell() {
        let attribute = |values: &[&str], key| ShownAttribute {
            values: values.iter().map(|v| (*v).to_owned()).collect(),
            key,
            read: true,
            write: true,
            ..ShownAttribute::default()
        };
        let shown = [
            ("group_id".to_owned(), attribute(&["256"], true)),
            ("preferred".to_owned(), attribute(&["0"], false)),
            ("state".to_owned(), attribute(&["active"], true)),
        ];
        let table = |all| attributes(shown.iter().map(|(name, a)| (name, a)), all);
        assert_eq!(
            table(false),
            "\tAttribute     Value      Writable      KEY\n\
             \t------------------------------------------\n\
             \tgroup_id      256        Yes           Yes\n\
             \tstate         active     Yes           Yes\n"
        );
        assert!(table(true).contains("\tpreferred     0          Yes           No \n"));
        assert_eq!(
            attributes(std::iter::empty(), true),
            "\tAttribute     Value     Writable      KEY\n\
             \t-----------------------------------------\n\
             \t(none)\n"
        );
    }

    #[test]
    fn the_first_of_two_columns_is_told_once() {
        let rows = [("iscsi", "a"), ("iscsi", "b"), ("srp", "c")]
            .map(|(a, b)| (a.to_owned(), b.to_owned()));
        assert_eq!(
            pairs(["Driver", "Target"], &rows),
            "\tDriver Target\n\t-------------\n\tiscsi  a     \n\t       b     \n\tsrp    c     \n"
        );
    }
}
