//! Commands that ask and change a running target, and those about configuration files.

mod config;
mod edit;
mod excerpt;
mod human;
mod lists;
mod table;
mod top;

use std::io::{IsTerminal, Write};
use std::path::PathBuf;

use clap::{Args, Subcommand};
use lunforge_daemon::control::protocol::Call;
use lunforge_daemon::control::{Client, ClientError, path_to_ask};
use serde::de::DeserializeOwned;

pub(crate) use excerpt::excerpt;

/// See their help.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show the running target at a glance.
    Status(lists::List),
    /// List the targets.
    Targets(lists::List),
    /// List the sessions of initiators.
    Sessions(lists::List),
    /// List the devices.
    Devices(lists::List),
    /// List the reservations of devices.
    Reservations(lists::List),
    /// Watch what devices and sessions do, until q or Ctrl-C.
    Top(top::Top),
    /// Show an object, or the values of one of its attributes.
    #[command(after_help = edit::PATHS)]
    Get(edit::Get),
    /// Set an attribute of an object.
    #[command(after_help = format!("{}\n\n{}", edit::PATHS, edit::SETTING))]
    Set(edit::Set),
    /// Make a device, a target, a LUN or another object.
    #[command(after_help = edit::ADDING)]
    Add(edit::Add),
    /// Remove an object.
    #[command(after_help = edit::PATHS)]
    Remove(edit::Remove),
    /// Say whether a configuration file is right, without a running target.
    Check(config::Check),
    /// Say what applying a configuration file would change.
    Plan(config::Plan),
    /// Make the running target as a configuration file says, wholly or not at all, and keep it for the next start.
    Apply(config::Apply),
    /// Print the present configuration.
    Print(config::Print),
    /// Keep the present configuration for the next start.
    Save(config::Save),
    /// Print what an ietd.conf, the file of iSCSI Enterprise Target, is as an scst.conf.
    Convert(config::Convert),
}

impl Command {
    /// Does it. An error is for the user, in one sentence.
    pub(crate) fn run(&self) -> anyhow::Result<()> {
        match self {
            Self::Status(args) => lists::status(args),
            Self::Targets(args) => lists::targets(args),
            Self::Sessions(args) => lists::sessions(args),
            Self::Devices(args) => lists::devices(args),
            Self::Reservations(args) => lists::reservations(args),
            Self::Top(args) => top::run(args),
            Self::Get(args) => edit::get(args),
            Self::Set(args) => edit::set(args),
            Self::Add(args) => edit::add(args),
            Self::Remove(args) => edit::remove(args),
            Self::Check(args) => config::check(args),
            Self::Plan(args) => config::plan(args),
            Self::Apply(args) => config::apply(args),
            Self::Print(args) => config::print(args),
            Self::Save(args) => config::save(args),
            Self::Convert(args) => config::convert(args),
        }
    }
}

// Where the running target is. (A comment for rustdoc would become the command's help.)
#[derive(Debug, Args)]
pub(crate) struct At {
    /// Where the running target is found [default: as `lunforge serve` has it].
    #[arg(long, value_name = "PATH")]
    control: Option<PathBuf>,
}

impl At {
    fn client(&self) -> Result<Client, ClientError> {
        let path = self.control.clone().unwrap_or_else(path_to_ask);
        Client::connect(&path)
    }

    /// One call of a client of its own.
    fn ask<T: DeserializeOwned>(&self, call: Call) -> Result<T, ClientError> {
        self.client()?.call(call)
    }
}

/// Writes to standard output. Whoever closed it does not want to know.
fn say(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes());
    let _ = out.flush();
}

/// Columns of the terminal that is written to, if it is one.
fn width() -> Option<usize> {
    let size = rustix::termios::tcgetwinsize(std::io::stdout()).ok()?;
    Some(usize::from(size.ws_col)).filter(|columns| *columns > 0)
}

/// Whether to write in colours: to a terminal, unless NO_COLOR is set (no-color.org).
fn in_colour() -> bool {
    let unwanted = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
    std::io::stdout().is_terminal() && !unwanted && !dumb
}
