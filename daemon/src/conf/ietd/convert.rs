//! ietd.conf as scst.conf.

use std::collections::HashMap;

use super::super::{Document, Item, Span, Statement, Word};
use super::attributes::{Attributes, Isns, Ping};
use super::names::Names;
use super::{Ietd, Kind, Lun, Mode, Setting, Target, Value};

/// What an ietd.conf became.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Converted {
    /// For [`print`](super::super::print()). Its words have no spans.
    pub document: Document,
    /// What could not be kept, and what should be looked at, in the order of the file.
    pub warnings: Vec<Warning>,
}

/// One sentence about something in ietd.conf; it holds no secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    /// Where it stands in ietd.conf; line 0 for the whole file.
    pub place: Span,
    /// The sentence, without a full stop.
    pub text: String,
}

impl std::fmt::Display for Warning {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.place.line {
            0 => f.write_str(&self.text),
            line => write!(f, "line {line}: {}", self.text),
        }
    }
}

/// The longest `usn`.
const MAX_USN: usize = 20;

/// The shortest secret that CHAP is done with.
const MIN_SECRET: usize = 12;

/// Keywords that name an attribute of a target here too.
const SAME: [&str; 11] = [
    "MaxSessions",
    "InitialR2T",
    "ImmediateData",
    "MaxRecvDataSegmentLength",
    "MaxXmitDataSegmentLength",
    "MaxBurstLength",
    "FirstBurstLength",
    "MaxOutstandingR2T",
    "HeaderDigest",
    "DataDigest",
    "QueuedCommands",
];

impl Ietd {
    /// This as scst.conf. IET's files about who may log in, `initiators.allow` and the like, are not part of it.
    pub fn convert(&self) -> Converted {
        let mut converter = Converter::default();
        converter.warn(
            Span::default(),
            "initiators.allow, initiators.deny and targets.allow are not converted: \
             without a GROUP every initiator sees every LUN of its target",
        );
        let mut driver = Attributes::default();
        let mut isns = Isns::default();
        for setting in &self.global {
            if !isns.take(setting) && !converter.account(&mut driver, setting) {
                converter.say(
                    setting,
                    "stands before the first Target, where IET ignores it",
                );
            }
        }
        let targets: Vec<Vec<Item>> = self
            .targets
            .iter()
            .map(|target| vec![converter.target(target, &mut isns).into()])
            .collect();
        if let Some(server) = isns.attribute() {
            driver.set("iSNSServer", server);
        }
        driver.set("enabled", "1");
        converter.warnings.sort_by_key(|warning| warning.place.line);
        Converted {
            document: converter.document(driver, targets),
            warnings: converter.warnings,
        }
    }
}

/// What makes two LUNs one device.
type Same = (
    Kind,
    String,
    Option<Mode>,
    Option<u32>,
    Option<String>,
    Option<String>,
);

#[derive(Default)]
struct Converter {
    warnings: Vec<Warning>,
    names: Names,
    fileio: Vec<Vec<Item>>,
    blockio: Vec<Vec<Item>>,
    nullio: Vec<Vec<Item>>,
    devices: HashMap<Same, String>,
    /// The devices that have a file, a serial number, a name.
    files: HashMap<String, String>,
    serials: HashMap<String, String>,
    ids: HashMap<String, String>,
    /// What is said once.
    said_83: bool,
}

impl Converter {
    fn warn(&mut self, place: Span, text: impl Into<String>) {
        let text = text.into();
        self.warnings.push(Warning { place, text });
    }

    fn say(&mut self, setting: &Setting, why: &str) {
        let text = format!("{} {why}", setting.key);
        self.warn(setting.key.span, text);
    }

    fn document(&mut self, driver: Attributes, targets: Vec<Vec<Item>>) -> Document {
        let mut items: Vec<Item> = [
            "Converted from ietd.conf.",
            "Who may log in is not part of that file: look at initiators.allow, initiators.deny and targets.allow.",
        ]
        .map(|line| Item::Comment(line.to_owned()))
        .into();
        for (name, devices) in [
            ("vdisk_fileio", std::mem::take(&mut self.fileio)),
            ("vdisk_blockio", std::mem::take(&mut self.blockio)),
            ("vdisk_nullio", std::mem::take(&mut self.nullio)),
        ] {
            if !devices.is_empty() {
                let body = devices.join(&Item::Blank);
                items.push(Item::Blank);
                items.push(Statement::block("HANDLER", [name], body).into());
            }
        }
        let mut parts = vec![driver.items()];
        parts.extend(targets);
        items.push(Item::Blank);
        items.push(Statement::block("TARGET_DRIVER", ["iscsi"], parts.join(&Item::Blank)).into());
        Document { items }
    }

    fn target(&mut self, target: &Target, isns: &mut Isns) -> Statement {
        let luns: Vec<Item> = target
            .luns
            .iter()
            .map(|lun| {
                let device = self.device(target, lun);
                Statement::new("LUN", [lun.number.to_string(), device]).into()
            })
            .collect();
        let mut attributes = Attributes::default();
        let mut ping = Ping::default();
        for setting in &target.settings {
            if !isns.take(setting) && !ping.take(setting) {
                self.setting(&mut attributes, setting);
            }
        }
        self.ping(&mut attributes, &ping);
        attributes.set("enabled", "1");
        let mut body = attributes.items();
        if !luns.is_empty() {
            body.push(Item::Blank);
            body.extend(luns);
        }
        Statement::block("TARGET", [target.name.text.clone()], body)
    }

    fn setting(&mut self, attributes: &mut Attributes, setting: &Setting) {
        if self.account(attributes, setting) {
            return;
        }
        let key = setting.key.text.as_str();
        let (name, value) = match (key, &setting.value) {
            ("Alias", Value::Text(alias)) if alias.is_empty() => return,
            ("Alias", Value::Text(alias)) => ("alias", alias.clone()),
            // What there is no choice of.
            ("MaxConnections", Value::Number(1))
            | ("ErrorRecoveryLevel" | "Type", Value::Number(0))
            | ("DataPDUInOrder" | "DataSequenceInOrder", Value::Flag(true))
            | ("IFMarker" | "OFMarker", Value::Flag(false)) => return,
            (_, Value::Unknown) => return self.say(setting, "is no keyword of IET"),
            (_, value) => match (SAME.iter().find(|name| **name == key), value) {
                (Some(name), Value::Flag(true)) => (*name, "Yes".to_owned()),
                (Some(name), Value::Flag(false)) => (*name, "No".to_owned()),
                (Some(name), Value::Number(number)) => (*name, number.to_string()),
                (Some(name), Value::Digests(digests)) => (*name, digests.text.clone()),
                _ => return self.say(setting, "has no meaning here"),
            },
        };
        if attributes.set(name, value) {
            self.say(setting, "stands there more than once; the last one counts");
        }
    }

    /// Takes a name and a secret, if it is one.
    fn account(&mut self, attributes: &mut Attributes, setting: &Setting) -> bool {
        let Value::Account { user, secret } = &setting.value else {
            return false;
        };
        if secret.len() < MIN_SECRET {
            let why =
                format!("has a secret of fewer than {MIN_SECRET} characters, which CHAP refuses");
            self.say(setting, &why);
        }
        let value = format!("{user} {secret}");
        if setting.key.text == "IncomingUser" {
            attributes.add("IncomingUser", value);
        } else if attributes.set("OutgoingUser", value) {
            self.say(setting, "stands there more than once; the last one counts");
        }
        true
    }

    /// IET takes a timeout of 0, or one that is longer than the interval, for the interval.
    fn ping(&mut self, attributes: &mut Attributes, ping: &Ping) {
        let Some(interval) = ping.interval else {
            return;
        };
        attributes.set("NopInInterval", interval.to_string());
        if interval == 0 {
            return;
        }
        let timeout = match ping.timeout.unwrap_or(0) {
            0 => interval,
            timeout => timeout.min(interval),
        };
        if timeout < 2 {
            self.warn(ping.place, "a ping is waited for 2 seconds, not 1");
        }
        attributes.set("NopInTimeout", timeout.max(2).to_string());
    }

    /// The name of the device of a LUN, which another LUN may have made.
    fn device(&mut self, target: &Target, lun: &Lun) -> String {
        let text = |word: &Option<Word>| word.as_ref().map(|word| word.text.clone());
        let path = text(&lun.path).unwrap_or_default();
        let same = (
            lun.kind,
            path.clone(),
            lun.mode,
            lun.block_size,
            text(&lun.scsi_id),
            text(&lun.scsi_sn),
        );
        let shared = lun.kind != Kind::Nullio;
        if let Some(name) = self.devices.get(&same).filter(|_| shared) {
            return name.clone();
        }
        let name = self.names.name(&target.name, lun.number);
        if shared {
            self.devices.insert(same, name.clone());
            if let Some(other) = self.files.insert(path, name.clone()) {
                let text = format!(
                    "{name} and {other} are two disks on one file: reservations and caches of one do not hold for the other"
                );
                self.warn(lun.span, text);
            }
        }
        let body = self.body(lun, &name);
        let device = Statement::block("DEVICE", [name.clone()], body);
        match lun.kind {
            Kind::Fileio => &mut self.fileio,
            Kind::Blockio => &mut self.blockio,
            Kind::Nullio => &mut self.nullio,
        }
        .push(vec![device.into()]);
        name
    }

    fn body(&mut self, lun: &Lun, name: &str) -> Vec<Item> {
        let mut attributes = Attributes::default();
        let mut comments: Vec<Item> = Vec::new();
        self.place_and_size(&mut attributes, lun, name);
        match (lun.kind, lun.mode) {
            (_, Some(Mode::ReadOnly)) => {
                attributes.set("read_only", "1");
            }
            // What IET does unless told otherwise.
            (Kind::Fileio, None | Some(Mode::WriteThrough))
            | (Kind::Blockio, Some(Mode::WriteThrough)) => {
                attributes.set("write_through", "1");
            }
            (Kind::Fileio, Some(Mode::WriteBack)) => comments.extend(
                [
                    "IOMode=wb: what was written is in memory until an initiator asks for SYNCHRONIZE CACHE.",
                    "Check that all of them do, above all in a cluster; else say write_through 1.",
                ]
                .map(|line| Item::Comment(line.to_owned())),
            ),
            (Kind::Blockio, None | Some(Mode::WriteBack)) | (Kind::Nullio, _) => {}
        }
        self.identity(&mut attributes, lun, name);
        for parameter in &lun.unknown {
            let key = parameter.split('=').next().unwrap_or_default();
            let text = format!("{name}: {key} is no parameter of a Lun of IET");
            self.warn(parameter.span, text);
        }
        comments.extend(attributes.items());
        comments
    }

    fn place_and_size(&mut self, attributes: &mut Attributes, lun: &Lun, name: &str) {
        if let Some(size) = lun.block_size {
            attributes.set("blocksize", size.to_string());
        } else if lun.kind == Kind::Blockio {
            let text = format!(
                "{name}: IET took the block size of the block device; here it is 512 bytes unless blocksize says otherwise"
            );
            self.warn(lun.span, text);
        }
        match (lun.kind, &lun.path, lun.blocks) {
            (Kind::Nullio, path, blocks) => {
                if path.is_some() {
                    self.warn(lun.span, format!("{name}: nullio has no use for Path"));
                }
                match blocks {
                    Some(blocks) => {
                        let bytes = blocks.saturating_mul(lun.block_size.unwrap_or(512).into());
                        attributes.set("size", bytes.to_string());
                    }
                    None => self.warn(
                        lun.span,
                        format!("{name}: nullio without Sectors or Blocks"),
                    ),
                }
            }
            (_, path, blocks) => {
                if let Some(path) = path {
                    attributes.set("filename", path.text.clone());
                }
                if blocks.is_some() {
                    let text =
                        format!("{name}: the file has a size; Sectors and Blocks are for nullio");
                    self.warn(lun.span, text);
                }
            }
        }
    }

    /// See the head of [`super`].
    fn identity(&mut self, attributes: &mut Attributes, lun: &Lun, name: &str) {
        attributes.set("t10_vend_id", "IET");
        attributes.set("prod_id", "VIRTUAL-DISK");
        attributes.set("prod_rev_lvl", "0");
        match (&lun.scsi_id, &lun.scsi_sn) {
            (None, None) if lun.kind == Kind::Nullio => {}
            (None, None) => {
                let text = format!(
                    "{name} has neither ScsiId nor ScsiSN: IET made both of target and LUN, in bytes that scst.conf \
                     cannot say; initiators see a new disk"
                );
                self.warn(lun.span, text);
            }
            (id, serial) => {
                self.serial(attributes, serial.as_ref(), lun, name);
                let id = id.as_ref().or(serial.as_ref());
                self.id(attributes, id, lun, name);
            }
        }
    }

    fn serial(
        &mut self,
        attributes: &mut Attributes,
        serial: Option<&Word>,
        lun: &Lun,
        name: &str,
    ) {
        let Some(serial) = serial else {
            let text = format!(
                "{name} has no ScsiSN: IET gave ScsiId in hexadecimal digits as serial number, which is longer than usn \
                 may be; the serial number changes"
            );
            return self.warn(lun.span, text);
        };
        if serial.len() > MAX_USN {
            let text = format!(
                "{name}: a serial number of {} characters, where usn may have {MAX_USN}; it changes",
                serial.len()
            );
            self.warn(serial.span, text);
        } else if let Some(other) = self.serials.get(&serial.text) {
            let text = format!(
                "{name}: {other} has this serial number already; two disks cannot share it"
            );
            self.warn(serial.span, text);
        } else {
            self.serials.insert(serial.text.clone(), name.to_owned());
            attributes.set("usn", serial.text.clone());
        }
    }

    fn id(&mut self, attributes: &mut Attributes, id: Option<&Word>, lun: &Lun, name: &str) {
        let Some(id) = id.filter(|id| id.len() <= 25) else {
            return;
        };
        if !self.said_83 {
            self.said_83 = true;
            self.warn(
                lun.span,
                "t10_dev_id has the text of ScsiId, or of ScsiSN where there is none, but page 83h says it in ASCII and \
                 IET said it in binary: initiators that name disks by this page (multipath, VMFS) see new names",
            );
        }
        if let Some(other) = self.ids.get(&id.text) {
            // Said already of the serial number if that is taken for the name.
            if lun.scsi_id.is_some() {
                let text =
                    format!("{name}: {other} has this ScsiId already; two disks cannot share it");
                self.warn(id.span, text);
            }
        } else {
            self.ids.insert(id.text.clone(), name.to_owned());
            attributes.set("t10_dev_id", id.text.clone());
        }
    }
}
