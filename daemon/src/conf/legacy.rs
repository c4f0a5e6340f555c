//! The form of scst.conf before SCST 2.0: sections that begin with a line `[HANDLER name]`, `[GROUP name]`,
//! `[ASSIGNMENT group]`, `[TARGETS enable]`, `[OPTIONS]`, each followed by lines `KEY value`.
//!
//! A file of that form names no driver and gives each group to every target of the machine; scstadmin asks the running
//! system for both. Here the targets are those that the file names, and the form of a name tells its driver.

use super::error::quoted;
use super::{Document, Error, Item, MAX_WORD, Span, Statement, Word};

const SECTIONS: [&str; 5] = ["HANDLER", "GROUP", "ASSIGNMENT", "TARGETS", "OPTIONS"];

/// Options of a device, and the attributes that they became.
const OPTIONS: [(&str, &str); 8] = [
    ("WRITE_THROUGH", "write_through"),
    ("WT", "write_through"),
    ("READ_ONLY", "read_only"),
    ("RO", "read_only"),
    ("NV_CACHE", "nv_cache"),
    ("NV", "nv_cache"),
    ("REMOVABLE", "removable"),
    ("RM", "removable"),
];

/// Lines of a file of that form, and lines of what it becomes: every target gets every group.
const MAX_LINES: usize = 10_000;
const MAX_CONVERTED: usize = 1_000_000;

/// Whether a text begins with the first line of a section.
pub(super) fn is_header(text: &str) -> bool {
    SECTIONS.iter().any(|section| {
        text.strip_prefix('[')
            .and_then(|text| text.strip_prefix(section))
            .is_some_and(|text| text.starts_with([' ', '\t', ']']))
    })
}

/// Reads a whole file of that form.
pub(super) fn parse(text: &str) -> Result<Document, Error> {
    let mut old = Old::default();
    for (at, line) in lines(text).enumerate() {
        if at >= MAX_LINES {
            let found = format!("more than {MAX_LINES} lines in the form of before SCST 2.0");
            return Err(Error::new(text, line.span, found, "the end of the file"));
        }
        old.line(text, line)?;
    }
    old.check(text)?;
    Ok(old.convert())
}

/// A line without its comment and the blanks around it, and its place.
fn lines(text: &str) -> impl Iterator<Item = Word> {
    let body = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut at = text.len() - body.len();
    let mut number = 0_u32;
    body.split_inclusive('\n').filter_map(move |line| {
        let start = at;
        at += line.len();
        number = number.saturating_add(1);
        let line = line.split('#').next().unwrap_or_default();
        let whole = Word {
            text: line.to_owned(),
            span: Span {
                line: number,
                column: 1,
                start: offset(start),
                end: offset(start + line.len()),
            },
        };
        let line = part(&whole, whole.trim());
        (!line.is_empty()).then_some(line)
    })
}

fn offset(at: usize) -> u32 {
    // The length of a text is bounded.
    u32::try_from(at).unwrap_or(u32::MAX)
}

/// A part of a word's text, with its own span.
fn part(whole: &Word, text: &str) -> Word {
    let before = text.as_ptr().addr().checked_sub(whole.as_ptr().addr());
    let before = before.and_then(|len| whole.get(..len)).unwrap_or_default();
    let start = whole.span.start + offset(before.len());
    Word {
        text: text.to_owned(),
        span: Span {
            line: whole.span.line,
            column: whole.span.column + offset(before.chars().count()),
            start,
            end: start + offset(text.len()),
        },
    }
}

/// A line as its first word and the others.
fn split(line: &Word) -> (Word, Word) {
    let (first, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    (part(line, first), part(line, rest.trim()))
}

/// What a line belongs to.
#[derive(Default)]
enum Section {
    #[default]
    None,
    Handler(Word),
    Group(Word),
    Assignment(Word),
    Targets {
        enabled: bool,
    },
    Options,
}

/// A handler and its devices.
type Handler = (Word, Vec<Statement>);

#[derive(Default)]
struct Group {
    name: Word,
    luns: Vec<Statement>,
    initiators: Vec<Statement>,
}

struct Target {
    driver: &'static str,
    name: Word,
    enabled: bool,
}

/// What a file says.
#[derive(Default)]
struct Old {
    section: Section,
    handlers: Vec<Handler>,
    groups: Vec<Group>,
    targets: Vec<Target>,
    notes: Vec<String>,
}

impl Old {
    fn line(&mut self, text: &str, line: Word) -> Result<(), Error> {
        if line.len() > MAX_WORD {
            let found = format!("a line of more than {MAX_WORD} bytes");
            return Err(Error::new(text, line.span, found, "a shorter one"));
        }
        let control = |c: char| c.is_control() && c != '\t';
        if let Some((at, c)) = line.char_indices().find(|(_, c)| control(*c)) {
            let place = part(&line, line.get(at..).unwrap_or_default()).span;
            let found = format!("the control character U+{:04X}", u32::from(c));
            return Err(Error::new(text, place, found, "text"));
        }
        if let Some(header) = line
            .strip_prefix('[')
            .and_then(|line| line.strip_suffix(']'))
        {
            let header = part(&line, header);
            self.section = self.header(text, &header)?;
            return Ok(());
        }
        let (key, value) = split(&line);
        match &self.section {
            Section::None => refuse(text, &key, "a section such as [HANDLER vdisk]"),
            Section::Options => {
                self.notes
                    .push(format!("The option {key} means nothing any more."));
                Ok(())
            }
            Section::Handler(handler) => {
                let handler = handler.clone();
                self.device(text, handler, &key, &value)
            }
            Section::Group(name) => {
                expect(
                    text,
                    &key,
                    &value,
                    "USER",
                    "USER and the name of an initiator",
                )?;
                let name = name.clone();
                let initiator = Statement::new("INITIATOR", [value]);
                self.group(name).initiators.push(initiator);
                Ok(())
            }
            Section::Assignment(name) => {
                let name = name.clone();
                self.assign(text, name, &key, &value)
            }
            Section::Targets { enabled } => {
                expect(text, &key, &value, "HOST", "HOST and the name of a target")?;
                let enabled = *enabled;
                self.target(text, value, enabled)
            }
        }
    }

    fn header(&mut self, text: &str, header: &Word) -> Result<Section, Error> {
        let (section, name) = split(header);
        if name.is_empty() && section.text != "OPTIONS" {
            return refuse(
                text,
                header,
                "a section and a name, such as [HANDLER vdisk]",
            );
        }
        match section.text.as_str() {
            "HANDLER" => Ok(Section::Handler(name)),
            "GROUP" => {
                if !is_default(&name) {
                    self.group(name.clone());
                }
                Ok(Section::Group(name))
            }
            "ASSIGNMENT" => {
                if let Some(target) = name.strip_prefix("Default_") {
                    self.target(text, part(&name, target), true)?;
                }
                Ok(Section::Assignment(name))
            }
            "TARGETS" if name.text == "enable" => Ok(Section::Targets { enabled: true }),
            "TARGETS" if name.text == "disable" => Ok(Section::Targets { enabled: false }),
            "TARGETS" => refuse(text, &name, "enable or disable"),
            "OPTIONS" => Ok(Section::Options),
            _ => refuse(
                text,
                &section,
                "HANDLER, GROUP, ASSIGNMENT, TARGETS or OPTIONS",
            ),
        }
    }

    /// `name,file,options,block size,id`, of which the first is needed.
    fn device(&mut self, text: &str, handler: Word, key: &Word, value: &Word) -> Result<(), Error> {
        let form = "DEVICE name,file,options,block size,id";
        expect(text, key, value, "DEVICE", form)?;
        let mut fields = value.splitn(5, ',').map(|field| part(value, field.trim()));
        let mut next = || fields.next().unwrap_or_default();
        let (name, file, options, block, id) = (next(), next(), next(), next(), next());
        if name.is_empty() {
            return refuse(text, value, form);
        }
        let mut attributes = Vec::new();
        let mut attribute = |key: &str, value: Word| {
            if !value.is_empty() {
                attributes.push(Statement::new(key, [value]).into());
            }
        };
        attribute("filename", file);
        attribute("blocksize", block);
        attribute("t10_dev_id", id);
        let mut kind = "vdisk_fileio";
        for option in options
            .split('|')
            .map(str::trim)
            .filter(|option| !option.is_empty())
        {
            match (option, OPTIONS.iter().find(|(old, _)| *old == option)) {
                ("NULLIO" | "NIO", _) => kind = "vdisk_nullio",
                ("BLOCKIO" | "BIO", _) => kind = "vdisk_blockio",
                (_, Some((_, new))) => attribute(new, "1".into()),
                (_, None) => self.notes.push(format!(
                    "The option {option} of the device {name} means nothing any more."
                )),
            }
        }
        let handler = if handler.text == "vdisk" {
            Word {
                text: kind.to_owned(),
                ..handler
            }
        } else {
            handler
        };
        let device = if attributes.is_empty() {
            Statement::new("DEVICE", [name])
        } else {
            Statement::block("DEVICE", [name], attributes)
        };
        match self
            .handlers
            .iter_mut()
            .find(|(known, _)| *known == handler)
        {
            Some((_, devices)) => devices.push(device),
            None => self.handlers.push((handler, vec![device])),
        }
        Ok(())
    }

    /// `device,lun`.
    fn assign(&mut self, text: &str, group: Word, key: &Word, value: &Word) -> Result<(), Error> {
        expect(text, key, value, "DEVICE", "DEVICE device,LUN")?;
        let mut fields = value.split(',').map(|field| part(value, field.trim()));
        let mut next = || fields.next().filter(|field| !field.is_empty());
        let (Some(device), Some(lun)) = (next(), next()) else {
            return refuse(text, value, "a device and a LUN, with a comma between them");
        };
        let arguments = [lun, device];
        self.group(group)
            .luns
            .push(Statement::new("LUN", arguments));
        Ok(())
    }

    fn group(&mut self, name: Word) -> &mut Group {
        let at = self.groups.iter().position(|group| group.name == name);
        let at = at.unwrap_or_else(|| {
            self.groups.push(Group {
                name,
                ..Group::default()
            });
            self.groups.len() - 1
        });
        &mut self.groups[at]
    }

    fn target(&mut self, text: &str, name: Word, enabled: bool) -> Result<(), Error> {
        let name = Word {
            text: canonical(&name),
            ..name
        };
        let Some(driver) = driver(&name) else {
            let expected = "the name of an iSCSI target, a WWN or a GID, which tells the driver";
            return refuse(text, &name, expected);
        };
        match self.targets.iter_mut().find(|target| target.name == name) {
            Some(target) => target.enabled = enabled,
            None => self.targets.push(Target {
                driver,
                name,
                enabled,
            }),
        }
        Ok(())
    }

    /// Groups need targets that have them, and not too many.
    fn check(&self, text: &str) -> Result<(), Error> {
        let Some(group) = self.groups.first() else {
            return Ok(());
        };
        let lines = |group: &Group| 1 + group.luns.len() + group.initiators.len();
        let lines: usize = self.groups.iter().map(lines).sum();
        let expected = match self.targets.len() {
            0 => "a section [TARGETS enable] with the targets that have it",
            targets if targets * lines > MAX_CONVERTED => "fewer groups or fewer targets",
            _ => return Ok(()),
        };
        let found = format!("the group {}", quoted(&group.name));
        Err(Error::new(text, group.name.span, found, expected))
    }
}

fn expect(text: &str, key: &Word, value: &Word, known: &str, form: &str) -> Result<(), Error> {
    if key.text == known && !value.is_empty() {
        Ok(())
    } else {
        refuse(text, key, form)
    }
}

fn refuse<T>(text: &str, word: &Word, expected: &str) -> Result<T, Error> {
    Err(Error::at_word(text, word.span, word, expected))
}

/// Whether the group is that of initiators that are in no other one.
fn is_default(group: &Word) -> bool {
    group.text == "Default" || group.starts_with("Default_")
}

/// A WWN as SCST writes it now.
fn canonical(name: &str) -> String {
    let lower = name.to_ascii_lowercase();
    match lower.strip_prefix("0x") {
        Some(digits) if digits.len() == 16 && digits.bytes().all(|b| b.is_ascii_hexdigit()) => {
            let pairs: Vec<&str> = (0..8)
                .filter_map(|at| digits.get(2 * at..2 * at + 2))
                .collect();
            pairs.join(":")
        }
        _ => lower,
    }
}

/// The driver of a target with this name.
fn driver(name: &str) -> Option<&'static str> {
    let groups: Vec<&str> = name.split(':').collect();
    let are_hex = |len: usize| {
        groups.len() == 8
            && groups
                .iter()
                .all(|group| group.len() == len && group.bytes().all(|b| b.is_ascii_hexdigit()))
    };
    if ["iqn.", "eui.", "naa."]
        .iter()
        .any(|begin| name.starts_with(begin))
    {
        Some("iscsi")
    } else if are_hex(2) {
        Some("qla2x00t")
    } else if are_hex(4) || name.starts_with("ib_srpt") {
        Some("ib_srpt")
    } else {
        None
    }
}

impl Old {
    fn convert(self) -> Document {
        let mut items = vec![Item::Comment(
            "Converted from the form of before SCST 2.0.".to_owned(),
        )];
        items.extend(self.notes.iter().cloned().map(Item::Comment));
        for (name, devices) in &self.handlers {
            items.push(Item::Blank);
            let devices = devices.iter().cloned().map(|device| vec![device.into()]);
            items.push(Statement::block("HANDLER", [name.clone()], joined(devices)).into());
        }
        for driver in ["iscsi", "qla2x00t", "ib_srpt"] {
            let mut targets: Vec<Vec<Item>> = self
                .targets
                .iter()
                .filter(|target| target.driver == driver)
                .map(|target| vec![self.target_block(target).into()])
                .collect();
            if targets.is_empty() {
                continue;
            }
            if driver == "iscsi" {
                targets.insert(0, vec![Statement::new("enabled", ["1"]).into()]);
            }
            items.push(Item::Blank);
            let body = joined(targets.into_iter());
            items.push(Statement::block("TARGET_DRIVER", [driver], body).into());
        }
        give_places(&mut items, Span::default());
        Document { items }
    }

    fn target_block(&self, target: &Target) -> Statement {
        let enabled = if target.enabled { "1" } else { "0" };
        let mut parts = vec![vec![Statement::new("enabled", [enabled]).into()]];
        let own = format!("Default_{}", target.name);
        let is_own =
            |group: &&Group| group.name.text == "Default" || group.name.eq_ignore_ascii_case(&own);
        let luns = self
            .groups
            .iter()
            .filter(is_own)
            .flat_map(|group| group.luns.clone());
        parts.push(luns.map(Item::from).collect());
        for group in self.groups.iter().filter(|group| !is_default(&group.name)) {
            let luns = group.luns.iter().cloned().map(Item::from).collect();
            let initiators = group.initiators.iter().cloned().map(Item::from).collect();
            let body = joined([luns, initiators].into_iter());
            parts.push(vec![
                Statement::block("GROUP", [group.name.clone()], body).into(),
            ]);
        }
        Statement::block("TARGET", [target.name.clone()], joined(parts.into_iter()))
    }
}

/// The parts that have something in them, with an empty line between two.
fn joined(parts: impl Iterator<Item = Vec<Item>>) -> Vec<Item> {
    let mut all = Vec::new();
    for part in parts.filter(|part| !part.is_empty()) {
        if !all.is_empty() {
            all.push(Item::Blank);
        }
        all.extend(part);
    }
    all
}

/// Words that the file does not have get the place of what they were made for, so that an error about them has one.
fn give_places(items: &mut [Item], around: Span) {
    for item in items {
        if let Item::Statement(statement) = item {
            let own = place(statement).unwrap_or(around);
            for word in std::iter::once(&mut statement.keyword).chain(&mut statement.arguments) {
                if word.span.line == 0 {
                    word.span = own;
                }
            }
            give_places(statement.body.as_deref_mut().unwrap_or_default(), own);
        }
    }
}

/// The first place that a statement has.
fn place(statement: &Statement) -> Option<Span> {
    let mut words = std::iter::once(&statement.keyword).chain(&statement.arguments);
    let own = words.find(|word| word.span.line > 0).map(|word| word.span);
    own.or_else(|| statement.statements().find_map(place))
}
