//! The manual of attributes, made from the tables ([`schema`]): a page of docs/, and a man page.

use std::fmt::Write as _;

use clap_mangen::roff::{Inline, Roff, bold, italic, roman};

use crate::schema::{self, Access, Attribute, Effect, Preset};
use crate::tree::Kind;

/// The name of the man page, of section 5.
pub const PAGE: &str = "lunforge-attributes";

const ABOUT: &str = "\
What can be configured, by the names that SCST has for it, in scst.conf, by `scstadmin` and on the control socket. This
page is made from the tables in `daemon/src/schema`; a test says when it is old, and writes it with `LUNFORGE_WRITE` set.
";

const LEGEND: &str = "\
*May be*: given when the object is made, read, set while it lives, or a trigger, which does something once when it is
written. *kept* attributes do nothing here: they are taken, shown and saved, since configurations of SCST have them.
Attributes with *several* values have a line for each in a file. What is not in SCST says so.
";

const ANY: &[(&str, &str)] = &[("", "")];
const DISKS: &[(&str, &str)] = &[
    ("vdisk_fileio", "fileio"),
    ("vdisk_blockio", "blockio"),
    ("vdisk_nullio", "nullio"),
    ("vcdrom", "cdrom"),
];
const DRIVERS: &[(&str, &str)] = &[
    ("iscsi", "iscsi"),
    ("ib_srpt", "srpt"),
    ("copy_manager", "copy_manager"),
];

/// Kinds of objects with a title, and the families of which some have attributes of their own.
type Section = (&'static str, Kind, &'static [(&'static str, &'static str)]);

const SECTIONS: &[Section] = &[
    ("The target system", Kind::Root, ANY),
    ("Handlers", Kind::Handler, ANY),
    ("Devices", Kind::Device, DISKS),
    ("Target drivers", Kind::Driver, DRIVERS),
    ("Targets", Kind::Target, DRIVERS),
    ("Initiator groups", Kind::Group, DRIVERS),
    ("LUNs", Kind::Lun, ANY),
    ("Target groups", Kind::TargetGroup, ANY),
    ("Targets of a target group", Kind::GroupTarget, ANY),
];

/// What the manual says of an attribute.
#[derive(Debug, PartialEq, Eq)]
struct Row {
    name: &'static str,
    values: String,
    default: Default,
    may: String,
    help: &'static str,
    kept: Option<&'static str>,
}

#[derive(Debug, PartialEq, Eq)]
enum Default {
    Nothing,
    Word(&'static str),
    Is(&'static str),
}

impl Row {
    fn new(attribute: &Attribute) -> Self {
        let several = if attribute.repeated { ", several" } else { "" };
        let letters = [
            (Access::CREATE, "given"),
            (Access::READ, "read"),
            (Access::WRITE, "set"),
            (Access::TRIGGER, "trigger"),
        ];
        let may = letters
            .iter()
            .filter(|(letter, _)| attribute.access.contains(*letter));
        let may: Vec<_> = may.map(|(_, word)| *word).collect();
        Self {
            name: attribute.name,
            values: format!("{}{several}", attribute.value.expected()),
            default: match attribute.preset {
                Preset::Is("") => Default::Word("empty"),
                Preset::Is(text) => Default::Is(text),
                Preset::Follows(_) => Default::Word("follows"),
                Preset::Live => Default::Word("found out"),
                Preset::None => Default::Nothing,
            },
            may: may.join(", "),
            help: attribute.help,
            kept: match attribute.effect {
                Effect::Works => None,
                Effect::Kept(why) => Some(why),
            },
        }
    }
}

/// The rows of a section by name, each with the families that have it, where not all do.
fn rows(&(_, kind, families): &Section) -> Vec<(Row, Vec<&'static str>)> {
    let mut all: Vec<(Row, Vec<&str>)> = Vec::new();
    for (family, short) in families {
        for attribute in schema::attributes(kind, family) {
            let row = Row::new(attribute);
            match all.iter_mut().find(|(other, _)| *other == row) {
                Some((_, of)) => of.push(short),
                None => all.push((row, vec![short])),
            }
        }
    }
    all.sort_by_key(|(row, _)| row.name);
    for (_, of) in &mut all {
        if of.len() == families.len() {
            of.clear();
        }
    }
    all
}

/// The page of docs/.
pub fn markdown() -> String {
    let mut text = format!("# Attributes\n\n{ABOUT}\n{LEGEND}\n");
    for section in SECTIONS {
        // Writing to a string does not fail.
        let _ = write!(
            text,
            "## {}\n\n| attribute | values | default | may be | |\n|---|---|---|---|---|\n",
            section.0
        );
        for (row, of) in rows(section) {
            let of = if of.is_empty() {
                String::new()
            } else {
                format!(" ({})", of.join(", "))
            };
            let default = match row.default {
                Default::Nothing => String::new(),
                Default::Word(word) => word.to_owned(),
                Default::Is(text) => format!("`{text}`"),
            };
            let kept = row.kept.map(|why| format!(" *kept*: {why}."));
            let _ = writeln!(
                text,
                "| `{}`{of} | {} | {default} | {} | {}{} |",
                row.name,
                row.values,
                row.may,
                row.help,
                kept.unwrap_or_default()
            );
        }
        text.push('\n');
    }
    text.truncate(text.trim_end().len());
    text.push('\n');
    text
}

/// The man page.
pub fn page(version: &str) -> String {
    let mut roff = Roff::new();
    let source = format!("lunforge {version}");
    roff.control("TH", [PAGE, "5", "", &source, "Lunforge"]);
    roff.control("SH", ["NAME"]);
    let name = format!("{PAGE} - attributes in scst.conf and on the control socket");
    roff.text([roman(name)]);
    roff.control("SH", ["DESCRIPTION"]);
    roff.text([roman(
        "What can be configured, by the names that SCST has for it, in scst.conf, by scstadmin and by lunforge set.",
    )]);
    roff.control("PP", []);
    roff.text([roman(LEGEND.replace('\n', " ").replace('*', "").trim_end())]);
    for section in SECTIONS {
        roff.control("SH", [section.0.to_uppercase().as_str()]);
        for (row, of) in rows(section) {
            roff.control("TP", []);
            roff.text(term(&row, &of));
            roff.text(description(&row));
        }
    }
    roff.control("SH", ["SEE ALSO"]);
    let see = [
        bold("lunforge"),
        roman("(1), "),
        bold("lunforge-serve"),
        roman("(1), "),
        bold("lunforge-set"),
        roman("(1)"),
    ];
    roff.text(see);
    roff.to_roff()
}

fn term(row: &Row, of: &[&str]) -> Vec<Inline> {
    let mut term = vec![bold(row.name), roman(" "), italic(row.values.as_str())];
    if !of.is_empty() {
        term.push(roman(format!(" ({})", of.join(", "))));
    }
    term
}

fn description(row: &Row) -> Vec<Inline> {
    let default = match row.default {
        Default::Nothing => String::new(),
        Default::Word(word) => format!(" Default: {word}."),
        Default::Is(text) => format!(" Default: \"{text}\"."),
    };
    let kept = row.kept.map(|why| format!(" Kept: {why}."));
    let kept = kept.unwrap_or_default();
    vec![roman(format!(
        "{}{default} May be: {}.{kept}",
        row.help, row.may
    ))]
}
