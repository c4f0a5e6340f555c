//! Which attributes each kind of object has: name, value, default, access, and whether a saved configuration has it.
//!
//! The tables are the one list of attributes. Configuration files, `scstadmin`, the control socket, the manual and the
//! plan of a change all ask here.

mod alua;
mod device;
mod root;
mod target;
pub mod value;

use crate::tree::{Kind, Object, Path, Tree};

pub use value::Value;

bitflags::bitflags! {
    /// What may be done with an attribute.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct Access: u8 {
        /// It may be given when the object is made.
        const CREATE = 1;
        /// It can be read.
        const READ = 2;
        /// It can be set while the object lives.
        const WRITE = 4;
        /// Writing it does something once; nothing is kept.
        const TRIGGER = 8;
    }
}

/// What an attribute is when it was not given.
#[derive(Debug, Clone, Copy)]
pub enum Preset {
    /// Without a value: there is none.
    None,
    /// Always this.
    Is(&'static str),
    /// It follows from the object's name and other attributes.
    Follows(fn(&Tree, &Path) -> String),
    /// The running target says it, as the size of a file.
    Live,
}

/// Whether a saved configuration has an attribute among its key attributes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Key {
    /// Whatever its value is.
    Always,
    /// When it was given and is not its default.
    WhenGiven,
    /// Only in a save with all attributes.
    Never,
}

/// What setting an attribute does here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// What its help says.
    Works,
    /// Nothing; it is kept and shown, since configurations of SCST have it. Why it means nothing in user space.
    Kept(&'static str),
}

/// An attribute.
#[derive(Debug, Clone, Copy)]
pub struct Attribute {
    /// Its name, as SCST has it.
    pub name: &'static str,
    /// Which values it takes.
    pub value: Value,
    /// Its value when it was not given.
    pub preset: Preset,
    /// What may be done with it.
    pub access: Access,
    /// Whether a saved configuration has it.
    pub key: Key,
    /// Whether it may have several values. Each has its line in a file; SCST's sysfs numbers them.
    pub repeated: bool,
    /// Whether its value must not be shown in logs and errors.
    pub secret: bool,
    /// What setting it does.
    pub effect: Effect,
    /// One sentence for the operator.
    pub help: &'static str,
}

impl Attribute {
    /// Whether an object cannot be made without it.
    pub fn is_needed(&self) -> bool {
        matches!(self.preset, Preset::None)
            && self.access.contains(Access::CREATE)
            && self.key == Key::Always
    }
}

/// The attributes of objects of a kind. `family` is the handler of a device, and the driver of a target and of what
/// stands in it.
pub fn attributes(kind: Kind, family: &str) -> &'static [Attribute] {
    match kind {
        Kind::Root => root::ROOT,
        Kind::Handler => root::HANDLER,
        Kind::Device => device::attributes(family),
        Kind::Driver => target::driver(family),
        Kind::Target => target::target(family),
        Kind::Group => target::GROUP,
        Kind::Lun => target::LUN,
        Kind::Initiator | Kind::GroupDevice => &[],
        Kind::DeviceGroup => alua::DEVICE_GROUP,
        Kind::TargetGroup => alua::TARGET_GROUP,
        Kind::GroupTarget => alua::GROUP_TARGET,
    }
}

/// The attribute of this name. One that may be repeated is found with a number behind its name too, as SCST's sysfs
/// shows all but the first.
pub fn find(kind: Kind, family: &str, name: &str) -> Option<&'static Attribute> {
    let all = attributes(kind, family);
    let plain = name.trim_end_matches(|c: char| c.is_ascii_digit());
    all.iter()
        .find(|attribute| attribute.name == name)
        .or_else(|| all.iter().find(|a| a.repeated && a.name == plain))
}

/// The handlers and drivers of this program, with what stands in them from the start.
pub fn builtin() -> impl Iterator<Item = (crate::tree::Key, Object)> {
    root::builtin()
}
