//! Looking at objects and changing them one at a time.

use std::str::FromStr;

use anyhow::Context;
use clap::Args;
use lunforge_daemon::control::protocol::{Call, Done, Shown, ShownAttribute, Values};
use lunforge_daemon::control::{Client, ClientError};
use lunforge_daemon::manage::Change;
use lunforge_daemon::tree::{Attributes, Path};
use serde_json::Value;

use super::lists::json;
use super::table::{Table, plain, wrap};
use super::{At, in_colour, say, width};

/// How objects are named, for the help.
pub(super) const PATHS: &str = "A PATH is where an object stands, as SCST's sysfs has it:\n  \
     devices/disk1\n  \
     targets/iscsi/iqn.2026-11.org.example:a\n  \
     targets/iscsi/iqn.2026-11.org.example:a/luns/0\n  \
     targets/iscsi/iqn.2026-11.org.example:a/ini_groups/hosts/initiators/iqn.1994-05.com.redhat:*";

/// How values are given, for the help.
pub(super) const SETTING: &str = "All values that the attribute had go, but with --add. A user of CHAP, and another one:\n  \
     echo 'alice a-secret-of-16-byte' | lunforge set TARGET IncomingUser -\n  \
     echo 'bob a-secret-of-his-own' | lunforge set --add TARGET IncomingUser -\n\
     Several attributes in one step: lunforge set devices/disk1 filename=/srv/b.img size=2G";

/// A tour, for the help.
pub(super) const ADDING: &str = "A disk for everybody, in five steps:\n  \
     lunforge add devices/disk1 handler=vdisk_fileio filename=/srv/disk1.img\n  \
     lunforge add targets/iscsi/iqn.2026-11.org.example:a\n  \
     lunforge add targets/iscsi/iqn.2026-11.org.example:a/luns/0 device=disk1\n  \
     lunforge set targets/iscsi/iqn.2026-11.org.example:a enabled 1\n  \
     lunforge set targets/iscsi enabled 1\n\
     `lunforge save` keeps it for the next start.";

#[derive(Debug, Args)]
pub(crate) struct Get {
    /// The object; "" for the whole.
    path: Path,

    /// One of its attributes.
    attribute: Option<String>,

    /// Print the answer as it comes, for programs.
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    at: At,
}

#[derive(Debug, Args)]
pub(crate) struct Set {
    /// The object.
    path: Path,

    /// The attribute; or ATTRIBUTE=VALUE, and more of them after it, to set several at once.
    attribute: String,

    /// All its values: those that it had go. Several only where an attribute may have several. `-` reads them from
    /// standard input, one on each line: what stands on a command line others can see.
    #[arg(value_name = "VALUE")]
    values: Vec<String>,

    /// Add the values to those that it has, as another user of CHAP.
    #[arg(long)]
    add: bool,

    /// Let it have its default again.
    #[arg(long, conflicts_with_all = ["values", "add"])]
    default: bool,

    #[command(flatten)]
    at: At,
}

#[derive(Debug, Args)]
pub(crate) struct Add {
    /// Where the new object stands.
    path: Path,

    /// What it is given; an attribute with several values is named several times.
    #[arg(value_name = "ATTRIBUTE=VALUE")]
    attributes: Vec<Given>,

    #[command(flatten)]
    at: At,
}

#[derive(Debug, Args)]
pub(crate) struct Remove {
    /// The object.
    path: Path,

    /// And all that stands in it.
    #[arg(long)]
    recursive: bool,

    #[command(flatten)]
    at: At,
}

/// An attribute with a value.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Given(String, String);

impl FromStr for Given {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once('=') {
            Some((name, value)) if !name.is_empty() => Ok(Self(name.to_owned(), value.to_owned())),
            _ => Err("expected ATTRIBUTE=VALUE"),
        }
    }
}

pub(super) fn get(args: &Get) -> anyhow::Result<()> {
    let path = args.path.clone();
    let call = match args.attribute.clone() {
        Some(attribute) => Call::Get { path, attribute },
        None => Call::Show { path },
    };
    if args.json {
        let answer: Value = args.at.ask(call)?;
        say(&json(&answer));
    } else if args.attribute.is_some() {
        let answer: Values = args.at.ask(call)?;
        let lines = answer.values.into_iter().map(|value| value + "\n");
        say(&lines.collect::<String>());
    } else {
        say(&show(&args.at.ask(call)?));
    }
    Ok(())
}

fn show(shown: &Shown) -> String {
    let mut table = Table::new(&["ATTRIBUTE", "VALUE", "", "MEANING"]);
    for (name, attribute) in &shown.attributes {
        let mut values = attribute.values.iter().cloned();
        let first = values.next().unwrap_or_else(|| "-".to_owned());
        let row = [
            name.clone(),
            first,
            access(attribute).to_owned(),
            meaning(attribute),
        ];
        table.row(row, false);
        for more in values {
            table.row([String::new(), more], false);
        }
    }
    let mut text = match width() {
        Some(width) if table.widest() > width => paragraphs(shown, in_colour(), width),
        _ if table.is_empty() => String::new(),
        _ => table.text(in_colour(), None),
    };
    for (folder, names) in &shown.children {
        if !names.is_empty() {
            text += &format!("{folder}: {}\n", names.join(" "));
        }
    }
    if text.is_empty() {
        text += "It has no attributes, and nothing stands in it.\n";
    }
    text
}

/// Each attribute with its values and whether they can be set, and below it what it means.
fn paragraphs(shown: &Shown, colour: bool, width: usize) -> String {
    let mut lines = Vec::new();
    for (name, attribute) in &shown.attributes {
        let name = if colour {
            format!("\x1b[1m{name}\x1b[0m")
        } else {
            name.clone()
        };
        let values = attribute.values.iter().map(|value| plain(value));
        let values = values.collect::<Vec<_>>().join(", ");
        let values = match &*values {
            "" => String::new(),
            values => format!(" = {values}"),
        };
        let access = match access(attribute) {
            "" => String::new(),
            access => format!(" ({access})"),
        };
        lines.push(format!("{name}{values}{access}"));
        wrap(&meaning(attribute), width, &mut lines);
    }
    lines.join("\n") + "\n"
}

fn access(attribute: &ShownAttribute) -> &'static str {
    match attribute {
        ShownAttribute { trigger: true, .. } => "does something",
        ShownAttribute { write: true, .. } => "can be set",
        ShownAttribute { create: true, .. } => "given when made",
        _ => "",
    }
}

fn meaning(attribute: &ShownAttribute) -> String {
    match &attribute.kept {
        Some(why) => format!("{} Without effect here: {why}.", attribute.help),
        None => attribute.help.clone(),
    }
}

pub(super) fn set(args: &Set) -> anyhow::Result<()> {
    if args.attribute.contains('=') {
        return set_several(args);
    }
    anyhow::ensure!(
        args.default || !args.values.is_empty(),
        "give a VALUE of {0}, or {0}=VALUE, or --default",
        args.attribute
    );
    let (path, attribute) = (args.path.clone(), args.attribute.clone());
    let mut client = args.at.client()?;
    let shown: Shown = client.call(Call::Show { path: path.clone() })?;
    let mut values = given(&args.values)?;
    let found = shown.attributes.get(&attribute);
    if args.add {
        values = added(found, &attribute, values)?;
    }
    let triggers = found.is_some_and(|found| found.trigger && !found.write);
    let call = match values.as_slice() {
        [value] if triggers => Call::Trigger {
            path,
            attribute,
            value: value.clone(),
        },
        _ => run([Change::Set {
            path,
            attribute,
            values,
        }]),
    };
    done(client.call(call)?);
    if let Some(why) = found.and_then(|found| found.kept.as_ref()) {
        eprintln!("It is kept, and without effect here: {why}.");
    }
    Ok(())
}

/// The values that there are, and these.
fn added(
    found: Option<&ShownAttribute>,
    attribute: &str,
    values: Vec<String>,
) -> anyhow::Result<Vec<String>> {
    let found = found.filter(|found| found.repeated);
    let found =
        found.with_context(|| format!("it has no attribute {attribute:?} with several values"))?;
    Ok(found.values.iter().cloned().chain(values).collect())
}

/// Sets attributes in one step, or none of them.
fn set_several(args: &Set) -> anyhow::Result<()> {
    anyhow::ensure!(
        !args.default && !args.add,
        "--default and --add are for one attribute, by its name alone"
    );
    let mut given = Attributes::new();
    for word in std::iter::once(&args.attribute).chain(&args.values) {
        let Given(name, value) = word
            .parse()
            .map_err(|why| anyhow::anyhow!("{word}: {why}"))?;
        given.entry(name).or_default().push(value);
    }
    let path = &args.path;
    let sets = given.into_iter().map(|(attribute, values)| Change::Set {
        path: path.clone(),
        attribute,
        values,
    });
    done(args.at.ask(run(sets.collect::<Vec<_>>()))?);
    Ok(())
}

/// The values of a command line, or of standard input where it says so.
fn given(values: &[String]) -> anyhow::Result<Vec<String>> {
    if values != ["-"] {
        return Ok(values.to_vec());
    }
    let lines = std::io::stdin().lines();
    Ok(lines.collect::<Result<_, _>>()?)
}

pub(super) fn add(args: &Add) -> anyhow::Result<()> {
    let mut attributes = Attributes::new();
    for Given(name, value) in args.attributes.clone() {
        attributes.entry(name).or_default().push(value);
    }
    let path = args.path.clone();
    done(args.at.ask(run([Change::Create { path, attributes }]))?);
    Ok(())
}

pub(super) fn remove(args: &Remove) -> anyhow::Result<()> {
    let mut client = args.at.client()?;
    let mut changes = Vec::new();
    if args.recursive {
        inside(&mut client, &args.path, &mut changes)?;
    }
    changes.push(Change::Remove {
        path: args.path.clone(),
    });
    done(client.call(run(changes))?);
    Ok(())
}

/// Removes what stands in an object, the innermost first.
fn inside(client: &mut Client, path: &Path, changes: &mut Vec<Change>) -> Result<(), ClientError> {
    let shown: Shown = client.call(Call::Show { path: path.clone() })?;
    for (folder, names) in shown.children {
        for name in names {
            // Some stand in their object directly.
            let in_folder = format!("{path}/{folder}/{name}").parse::<Path>();
            let child = match in_folder {
                Ok(child) if child.keys().len() == path.keys().len() + 1 => child,
                _ => format!("{path}/{name}")
                    .parse()
                    .map_err(|error| ClientError::Garbled(format!("{error}")))?,
            };
            inside(client, &child, changes)?;
            changes.push(Change::Remove { path: child });
        }
    }
    Ok(())
}

fn run(changes: impl Into<Vec<Change>>) -> Call {
    Call::Run {
        changes: changes.into(),
    }
}

fn done(done: Done) {
    for notice in done.notices {
        eprintln!("{notice}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_a_table_is_too_wide_each_attribute_has_its_meaning_below_it() {
        let attribute = |values: &[&str], write| ShownAttribute {
            values: values.iter().map(|value| (*value).to_owned()).collect(),
            key: false,
            create: false,
            read: true,
            write,
            trigger: false,
            repeated: values.len() > 1,
            kept: None,
            help: "What it means.".to_owned(),
        };
        let attributes = [
            ("a".to_owned(), attribute(&["x", "y\x1b"], true)),
            ("b".to_owned(), attribute(&[], false)),
        ];
        let shown = Shown {
            attributes: attributes.into_iter().collect(),
            children: Default::default(),
        };
        assert_eq!(
            paragraphs(&shown, false, 16),
            "a = x, y\u{fffd} (can be set)\n    What it\n    means.\nb\n    What it\n    means.\n"
        );
        let coloured = paragraphs(&shown, true, 80);
        assert!(coloured.starts_with("\x1b[1ma\x1b[0m = x"), "{coloured}");
    }

    #[test]
    fn an_attribute_has_a_name_and_any_value() {
        let given = |text: &str| text.parse::<Given>();
        assert_eq!(given("a=b=c"), Ok(Given("a".to_owned(), "b=c".to_owned())));
        assert_eq!(given("a="), Ok(Given("a".to_owned(), String::new())));
        assert!(given("a").is_err() && given("=b").is_err());
    }
}
