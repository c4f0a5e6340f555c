//! Random models, and random changes of them: few names, so that they meet.

use lunforge_daemon::conf;
use lunforge_daemon::config::write;
use lunforge_daemon::manage::{Change, Model};
use lunforge_daemon::schema::{self, Attribute, Value};
use lunforge_daemon::tree::{Attributes, Kind, Path};
use proptest::prelude::*;

use super::double::manager;

const HANDLERS: [&str; 4] = ["vcdrom", "vdisk_blockio", "vdisk_fileio", "vdisk_nullio"];

/// A change, as numbers that choose among what there is; few of them are taken by every model.
#[derive(Debug, Clone)]
pub(crate) struct Seed {
    what: u8,
    names: [u8; 4],
    attributes: Vec<(u16, u16)>,
}

pub(crate) fn seeds(most: usize) -> impl Strategy<Value = Vec<Seed>> {
    let attributes = prop::collection::vec((any::<u16>(), any::<u16>()), 0..4);
    let seed =
        (0..30_u8, any::<[u8; 4]>(), attributes).prop_map(|(what, names, attributes)| Seed {
            what,
            names,
            attributes,
        });
    prop::collection::vec(seed, 0..=most)
}

/// A model that is shown as its configuration.
#[derive(Clone)]
pub(crate) struct Sample(Model);

impl std::ops::Deref for Sample {
    type Target = Model;

    fn deref(&self) -> &Model {
        &self.0
    }
}

impl std::fmt::Debug for Sample {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&conf::print(&write(&self.0, &|_, _| None, false)))
    }
}

/// What a model becomes by the changes that it takes, one by one.
pub(crate) fn model(most: usize) -> impl Strategy<Value = Sample> {
    seeds(most).prop_map(|seeds| {
        let mut manager = manager(&Model::new());
        for change in changes(&seeds) {
            // What is refused is left out.
            let _ = manager.run(&[change]);
        }
        Sample(manager.model().clone())
    })
}

pub(crate) fn changes(seeds: &[Seed]) -> Vec<Change> {
    seeds.iter().map(change).collect()
}

fn change(seed: &Seed) -> Change {
    let path = path(seed);
    match seed.what {
        0..=15 => Change::Create {
            attributes: attributes(seed, &path),
            path,
        },
        16..=18 => Change::Remove { path },
        19..=23 => {
            let all = schema::attributes(path.kind(), family(seed, &path));
            let first = seed.attributes.first().copied().unwrap_or_default();
            match pick(all, first.0).filter(settable) {
                Some(attribute) => Change::Set {
                    attribute: attribute.name.to_owned(),
                    values: values(attribute, first.1),
                    path,
                },
                None => Change::Remove { path },
            }
        }
        24 => Change::Reopen {
            path: Path::device(&device(seed.names[0])).unwrap(),
            attributes: attributes(seed, &Path::device("x").unwrap()),
        },
        25 | 26 => Change::Replace {
            path,
            device: device(seed.names[3]),
            tell: true,
        },
        27 => Change::Move {
            path,
            group: group(seed.names[3]),
        },
        28 => order(seed),
        _ => at_once(seed),
    }
}

/// A target of few.
fn target(number: u8) -> Path {
    Path::target("iscsi", &format!("iqn.2026-11.org.example:t{}", number % 4)).unwrap()
}

fn group(number: u8) -> String {
    format!("group{}", number % 3)
}

/// For no name, one, or several.
fn pattern(number: u8) -> &'static str {
    ["iqn.0*", "iqn.1*", "iqn.*", "!iqn.0*"][usize::from(number % 4)]
}

fn order(seed: &Seed) -> Change {
    let [a, b, c, _] = seed.names;
    Change::Order {
        path: target(a).child(Kind::Group, group(b)).unwrap(),
        before: (c % 4 > 0).then(|| group(c)),
    }
}

/// A group that is not there before, or one that is, and what stands in it.
fn at_once(seed: &Seed) -> Change {
    let [a, b, c, d] = seed.names;
    let path = target(a);
    let group = path.child(Kind::Group, group(b)).unwrap();
    let (initiator, lun) = (
        group.child(Kind::Initiator, pattern(c)).unwrap(),
        group.child(Kind::Lun, (c % 5).to_string()).unwrap(),
    );
    let create = |path: &Path, attributes| Change::Create {
        path: path.clone(),
        attributes,
    };
    let device = Attributes::from([("device".to_owned(), vec![device(d)])]);
    let mut changes = vec![create(&lun, device), create(&initiator, Attributes::new())];
    if d % 2 == 0 {
        changes.insert(0, create(&group, Attributes::new()));
    }
    if d % 3 == 0 {
        changes.push(order(seed));
    }
    Change::AtOnce { path, changes }
}

fn device(number: u8) -> String {
    format!("disk{}", number % 6)
}

fn path(seed: &Seed) -> Path {
    let [kind, a, b, c] = seed.names;
    let driver = if a % 8 == 7 { "ib_srpt" } else { "iscsi" };
    let target = || Path::target(driver, &format!("iqn.2026-11.org.example:t{}", a % 4)).unwrap();
    let group = || target().child(Kind::Group, self::group(b)).unwrap();
    let devices = || {
        Path::root()
            .child(Kind::DeviceGroup, format!("dg{}", a % 2))
            .unwrap()
    };
    let ports = || {
        devices()
            .child(Kind::TargetGroup, format!("tg{}", b % 3))
            .unwrap()
    };
    let path = match kind % 14 {
        0..=2 => Path::device(&device(a)),
        3 | 4 => Ok(target()),
        5 | 6 => target().child(Kind::Lun, (b % 5).to_string()),
        7 => Ok(group()),
        8 => group().child(Kind::Lun, (c % 5).to_string()),
        9 => group().child(Kind::Initiator, pattern(c)),
        10 => devices().child(Kind::GroupDevice, device(b)),
        11 => Ok(ports()),
        12 => ports().child(
            Kind::GroupTarget,
            format!("iqn.2026-11.org.example:t{}", c % 4),
        ),
        _ => Ok(match b % 5 {
            0 => Path::root(),
            1 => Path::root().child(Kind::Driver, "iscsi").unwrap(),
            2 => Path::root().child(Kind::Handler, "vdisk_fileio").unwrap(),
            _ => devices(),
        }),
    };
    path.unwrap()
}

fn family<'a>(seed: &Seed, path: &'a Path) -> &'a str {
    if path.kind() == Kind::Device {
        return HANDLERS[usize::from(seed.names[2]) % HANDLERS.len()];
    }
    path.name_of(Kind::Driver).unwrap_or_default()
}

fn attributes(seed: &Seed, path: &Path) -> Attributes {
    let family = family(seed, path);
    let mut attributes = Attributes::new();
    let mut give = |name: &str, values: Vec<String>| attributes.insert(name.to_owned(), values);
    match path.kind() {
        Kind::Device => {
            give("handler", vec![family.to_owned()]);
            if family != "vdisk_nullio" {
                give("filename", vec![format!("/dev/{}", seed.names[3] % 4)]);
            }
        }
        Kind::Lun => {
            give("device", vec![device(seed.names[3])]);
        }
        _ => {}
    }
    let all = schema::attributes(path.kind(), family);
    for (which, value) in &seed.attributes {
        let named =
            |attribute: &&Attribute| !["handler", "device", "filename"].contains(&attribute.name);
        if let Some(attribute) = pick(all, *which).filter(settable).filter(named) {
            give(attribute.name, values(attribute, *value));
        }
    }
    attributes
}

/// setup_id is refused as soon as there are devices; that has tests of its own.
fn settable(attribute: &&Attribute) -> bool {
    attribute.is_settable() && attribute.name != "setup_id"
}

fn pick<T>(all: &[T], which: u16) -> Option<&T> {
    all.get(usize::from(which).checked_rem(all.len())?)
}

fn values(attribute: &Attribute, value: u16) -> Vec<String> {
    if value.is_multiple_of(16) && attribute.key != schema::Key::Always {
        return Vec::new();
    }
    if attribute.repeated {
        let count = u16::from(!value.is_multiple_of(3)) + 1;
        return (0..count).map(|n| one(attribute, value / 4 + n)).collect();
    }
    vec![one(attribute, value / 4)]
}

/// A value that the attribute takes.
fn one(attribute: &Attribute, which: u16) -> String {
    let among = |texts: &[&str]| texts[usize::from(which) % texts.len()].to_owned();
    match attribute.value {
        Value::Flag => among(&["0", "1"]),
        Value::YesNo => among(&["Yes", "No"]),
        Value::Number(least, most) => match which % 4 {
            0 => least.to_string(),
            1 => most.to_string(),
            _ => (least + i64::from(which % 9)).min(most).to_string(),
        },
        Value::Hex(_) => format!("{:#x}", which % 100),
        Value::Bytes => among(&["4096", "1M", "65536K", "512", "1000"]),
        Value::Text(_) => among(&[
            "",
            "a",
            "two words",
            "a # and a \\ and \"quotes\"",
            "{ }",
            "ä",
        ]),
        Value::Ascii(most) => {
            let text = among(&[" 320", "x", "{", "\"q\"", "# y", "1"]);
            text.chars().take(most).collect()
        }
        Value::Path => among(&["/a", "/a b", "/dev/disk/by-id/x", "/#"]),
        Value::Word(words) => among(words),
        Value::Checked(check) => checked(check, which),
    }
}

fn checked(check: fn(&str) -> Result<String, String>, which: u16) -> String {
    let all = [
        "",
        "512",
        "4096",
        "/image",
        "0",
        "2001405ab0000000",
        "500140500140500140500140",
        "auto",
        "never",
        "3",
        "joe 0123456789ab",
        "joe abcdefghijkl",
        "ann 0123456789ab",
        "10.0.0.*",
        "!192.0.2.1",
        "192.0.2.1",
        "[2001:db8::1]:3261",
        "192.0.2.1 temp",
        "None",
        "CRC32C,None",
        "ff",
        "ffffffff,1",
        "fe80:0000:0000:0000:5054:00ff:fe77:0001",
        "0x00000000000000010000000000000002",
    ];
    let taken: Vec<_> = all.into_iter().filter(|text| check(text).is_ok()).collect();
    taken[usize::from(which) % taken.len()].to_owned()
}

/// A number below another one.
pub(crate) fn index() -> impl Strategy<Value = prop::sample::Index> {
    any::<prop::sample::Index>()
}
