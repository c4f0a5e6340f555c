//! What `-help` tells, and the man page: both from the tables of operations, options and exit codes.

use clap_mangen::roff::{Inline, Roff, bold, italic, roman};

use super::exit;
use super::operation::{OPERATIONS, Operation};
use super::options::{OPTIONS, Takes};

const ABOUT: &str =
    "Administers a running lunforge as SCST's program of this name does its target.";

/// Columns of a terminal.
const WIDTH: usize = 80;

const FORMS: &str = "An option has one dash or two, in any case, and may be cut as short as is still clear; its value is the \
    next word, or stands behind an equals sign. One operation at a time.";

const ASKS: &str = "Asks first, unless -noprompt is given.";

const ERRORS: &str =
    "An operation ends with the code of its first error, also where something is to be set.";

/// Options beside an operation: name, what its value is called, what it is for.
pub(super) const MODIFIERS: &[(&str, &str, &str)] = &[
    ("driver", "DRIVER", "the target driver, as iscsi"),
    ("target", "TARGET", "the target"),
    (
        "group",
        "GROUP",
        "the initiator group; for LUNs too, which are the target's own without it",
    ),
    ("device", "DEVICE", "the device of a LUN"),
    (
        "handler",
        "HANDLER",
        "the handler of a device, as vdisk_fileio",
    ),
    ("dev_group", "GROUP", "the device group"),
    ("tgt_group", "GROUP", "the target group"),
    ("to", "GROUP", "the group that an initiator is moved to"),
    (
        "attributes",
        "A=V,B=V",
        "attributes of what is made or set; a name alone stands for 1, a comma in a value is written \\,",
    ),
    ("noprompt", "", "do not ask"),
    ("force", "", "do it although something is in use"),
    (
        "nonkey",
        "",
        "with attributes that a configuration can do without",
    ),
    ("cont_on_err", "", "go on after an error"),
    ("debug", "", "say what would be changed"),
    (
        "control",
        "PATH",
        "the control socket of the running target",
    ),
    (
        "lip",
        "",
        "taken, and nothing: this program has no Fibre Channel",
    ),
    (
        "no_lip",
        "",
        "taken, and nothing: this program has no Fibre Channel",
    ),
    ("dumpAttrs", "", "taken, and nothing"),
    ("help", "", "tell this; -h too"),
];

/// An option and what its value is called.
type Given = (&'static str, String);

/// An operation with the options that it needs.
fn given(operation: &Operation) -> Vec<Given> {
    let takes = OPTIONS.iter().find(|(name, _)| *name == operation.name);
    let value = match operation.name {
        name if name.ends_with("config") => "FILE",
        name if name.ends_with("_lun") || name == "list_lun_attr" || name == "set_lun_attr" => {
            "LUN"
        }
        _ => "NAME",
    };
    let value = match takes.map_or(Takes::Nothing, |(_, takes)| *takes) {
        Takes::Nothing => String::new(),
        Takes::Perhaps => format!("[{value}]"),
        Takes::Word => value.to_owned(),
    };
    let need = |name: &&'static str| {
        let known = MODIFIERS.iter().find(|(known, _, _)| known == name);
        (
            *name,
            known.map_or(String::new(), |(_, value, _)| (*value).to_owned()),
        )
    };
    let needs = operation.needs.iter().map(need);
    std::iter::once((operation.name, value))
        .chain(needs)
        .collect()
}

fn line(given: &[Given]) -> String {
    let word = |(name, value): &Given| format!("-{name} {value}").trim_end().to_owned();
    given.iter().map(word).collect::<Vec<_>>().join(" ")
}

/// What `-help` tells.
pub(super) fn usage() -> String {
    let mut usage = format!("Usage: scstadmin OPERATION [OPTION]...\n\n{ABOUT}\n\nOperations:\n");
    for operation in OPERATIONS {
        wrap(&mut usage, &format!("  {}", line(&given(operation))), 8);
        wrap(&mut usage, &format!("        {}", operation.help), 8);
    }
    usage += "\nOptions:\n";
    for (name, value, help) in MODIFIERS {
        let option = line(&[(name, (*value).to_owned())]);
        wrap(&mut usage, &format!("  {option:<20} {help}"), 23);
    }
    usage
}

/// Adds a line, broken between words where a terminal ends; what follows is indented.
fn wrap(text: &mut String, line: &str, indent: usize) {
    let mut rest = line;
    let mut before = String::new();
    while before.len() + rest.chars().count() > WIDTH {
        let fits = rest.char_indices().nth(WIDTH - before.len());
        let begins = rest.len() - rest.trim_start().len();
        let fits = fits.and_then(|(end, _)| rest.get(begins..end)?.rfind(' '));
        let Some(end) = fits.map(|end| end + begins) else {
            break;
        };
        let (head, tail) = rest.split_at(end);
        *text += &format!("{before}{head}\n");
        rest = tail.trim_start();
        before = " ".repeat(indent);
    }
    *text += &format!("{before}{rest}\n");
}

/// The man page.
pub fn page(version: &str) -> String {
    let mut roff = Roff::new();
    let source = format!("lunforge {version}");
    roff.control("TH", ["scstadmin", "1", "", &source, "Lunforge"]);
    let text = |roff: &mut Roff, title: &str, text: &str| {
        roff.control("SH", [title]);
        roff.text([roman(text)]);
    };
    text(
        &mut roff,
        "NAME",
        "scstadmin - administer a running lunforge as SCST is administered",
    );
    roff.control("SH", ["SYNOPSIS"]);
    roff.text([
        bold("scstadmin"),
        roman(" "),
        italic("OPERATION"),
        roman(" ["),
        italic("OPTION"),
        roman("]..."),
    ]);
    text(&mut roff, "DESCRIPTION", ABOUT);
    roff.control("PP", []);
    roff.text([roman(FORMS)]);
    roff.control("SH", ["OPERATIONS"]);
    for operation in OPERATIONS {
        let asks = if operation.asks {
            format!(" {ASKS}")
        } else {
            String::new()
        };
        item(
            &mut roff,
            inline(&given(operation)),
            &format!("{}.{asks}", capital(operation.help)),
        );
    }
    roff.control("SH", ["OPTIONS"]);
    for (name, value, help) in MODIFIERS {
        let option = inline(&[(name, (*value).to_owned())]);
        item(&mut roff, option, &format!("{}.", capital(help)));
    }
    text(&mut roff, "EXIT STATUS", ERRORS);
    for (code, why) in exit::told() {
        item(
            &mut roff,
            vec![bold(code.to_string())],
            &format!("{}.", capital(&why)),
        );
    }
    text(
        &mut roff,
        "FILES",
        "The control socket is found as the commands of lunforge find it, see lunforge-status(1).",
    );
    roff.control("SH", ["SEE ALSO"]);
    let pages = [
        ("lunforge", "(1), "),
        ("lunforge-serve", "(1), "),
        ("lunforge-attributes", "(5)"),
    ];
    roff.text(
        pages
            .iter()
            .flat_map(|(name, end)| [bold(*name), roman(*end)])
            .collect::<Vec<_>>(),
    );
    roff.to_roff()
}

fn item(roff: &mut Roff, term: Vec<Inline>, help: &str) {
    roff.control("TP", []);
    roff.text(term);
    roff.text([roman(help)]);
}

fn inline(given: &[Given]) -> Vec<Inline> {
    let mut line = Vec::new();
    for (name, value) in given {
        if !line.is_empty() {
            line.push(roman(" "));
        }
        line.push(bold(format!("-{name}")));
        if !value.is_empty() {
            line.extend([roman(" "), italic(value.as_str())]);
        }
    }
    line
}

fn capital(text: &str) -> String {
    let mut chars = text.chars();
    let first = chars.next().map(|first| first.to_ascii_uppercase());
    first.into_iter().chain(chars).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_option_is_an_operation_or_is_told_of() {
        for (name, takes) in OPTIONS.iter().filter(|(name, _)| *name != "h") {
            let operation = OPERATIONS.iter().any(|operation| operation.name == *name);
            let modifier = MODIFIERS.iter().find(|(known, _, _)| known == name);
            assert!(operation != modifier.is_some(), "{name}");
            if let Some((_, value, _)) = modifier {
                assert_eq!(value.is_empty(), *takes == Takes::Nothing, "{name}");
            }
        }
    }

    #[test]
    fn an_operation_is_told_with_its_value_and_what_it_needs() {
        let told = |name: &str| {
            let operation = OPERATIONS.iter().find(|operation| operation.name == name);
            line(&given(operation.unwrap()))
        };
        assert_eq!(told("config"), "-config [FILE]");
        assert_eq!(told("list_sessions"), "-list_sessions");
        assert_eq!(told("clear_config"), "-clear_config -force");
        assert_eq!(
            told("add_lun"),
            "-add_lun LUN -driver DRIVER -target TARGET -device DEVICE"
        );
    }

    #[test]
    fn help_is_no_wider_than_a_terminal() {
        for line in usage().lines() {
            assert!(line.chars().count() <= 80, "{line}");
        }
    }
}
