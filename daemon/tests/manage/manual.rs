//! The list of attributes in the manual is that of the tables.

use std::fmt::Write as _;
use std::path::Path;

use lunforge_daemon::schema::{self, Access, Attribute, Effect, Preset};
use lunforge_daemon::tree::Kind;

const HEAD: &str = "\
# Attributes

What can be configured, by the names that SCST has for it, in scst.conf, by `scstadmin` and on the control socket. This
page is made from the tables in `daemon/src/schema`; a test says when it is old, and writes it with `LUNFORGE_WRITE` set.

*May be*: given when the object is made, read, set while it lives, or a trigger, which does something once when it is
written. *kept* attributes do nothing here: they are taken, shown and saved, since configurations of SCST have them.
Attributes with *several* values have a line for each in a file. What is not in SCST says so.

";

const DISKS: [(&str, &str); 4] = [
    ("vdisk_fileio", "fileio"),
    ("vdisk_blockio", "blockio"),
    ("vdisk_nullio", "nullio"),
    ("vcdrom", "cdrom"),
];
const DRIVERS: [(&str, &str); 3] = [
    ("iscsi", "iscsi"),
    ("ib_srpt", "srpt"),
    ("copy_manager", "copy_manager"),
];

/// A section for a kind of objects, in which attributes that only some have say which.
fn section(text: &mut String, title: &str, kind: Kind, families: &[(&str, &str)]) {
    let _ = write!(
        text,
        "## {title}\n\n| attribute | values | default | may be | |\n|---|---|---|---|---|\n"
    );
    let mut all: Vec<(&Attribute, Vec<&str>)> = Vec::new();
    for (family, short) in families {
        for attribute in schema::attributes(kind, family) {
            let same = |(other, _): &&mut (&Attribute, Vec<&str>)| row(other) == row(attribute);
            match all.iter_mut().find(same) {
                Some((_, of)) => of.push(short),
                None => all.push((attribute, vec![short])),
            }
        }
    }
    all.sort_by_key(|(attribute, _)| attribute.name);
    for (attribute, of) in all {
        let of = if of.len() == families.len() {
            String::new()
        } else {
            format!(" ({})", of.join(", "))
        };
        let _ = writeln!(text, "| `{}`{of} | {} |", attribute.name, row(attribute));
    }
    text.push('\n');
}

fn row(attribute: &Attribute) -> String {
    let default = match attribute.preset {
        Preset::Is("") => "empty".to_owned(),
        Preset::Is(text) => format!("`{text}`"),
        Preset::Follows(_) => "follows".to_owned(),
        Preset::Live => "found out".to_owned(),
        Preset::None => String::new(),
    };
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
    let kept = match attribute.effect {
        Effect::Works => String::new(),
        Effect::Kept(why) => format!(" *kept*: {why}."),
    };
    format!(
        "{}{several} | {default} | {} | {}{kept}",
        attribute.value.expected(),
        may.join(", "),
        attribute.help
    )
}

fn manual() -> String {
    let mut text = HEAD.to_owned();
    section(&mut text, "The target system", Kind::Root, &[("", "")]);
    section(&mut text, "Handlers", Kind::Handler, &[("", "")]);
    section(&mut text, "Devices", Kind::Device, &DISKS);
    section(&mut text, "Target drivers", Kind::Driver, &DRIVERS);
    section(&mut text, "Targets", Kind::Target, &DRIVERS);
    section(&mut text, "Initiator groups", Kind::Group, &DRIVERS);
    section(&mut text, "LUNs", Kind::Lun, &[("", "")]);
    section(&mut text, "Target groups", Kind::TargetGroup, &[("", "")]);
    section(
        &mut text,
        "Targets of a target group",
        Kind::GroupTarget,
        &[("", "")],
    );
    text.truncate(text.trim_end().len());
    text.push('\n');
    text
}

#[test]
fn the_manual_has_every_attribute_as_the_tables_have_it() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/attributes.md");
    if std::env::var_os("LUNFORGE_WRITE").is_some() {
        std::fs::write(&path, manual()).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap();
    assert!(
        kept == manual(),
        "docs/attributes.md is old: run this test with LUNFORGE_WRITE=1"
    );
}
