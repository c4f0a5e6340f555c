//! Operations on whole configurations.

use std::fs;
use std::io::Write;

use super::exit::Problem;
use super::{Scstadmin, say};
use crate::control::ConfigFile;
use crate::control::protocol::{Call, Error, Mode, Planned, Printed};

/// The file that is meant when none is named.
const DEFAULT: &str = "/etc/scst.conf";

pub(super) fn apply(command: &mut Scstadmin<'_>) -> Result<(), Problem> {
    let (file, config) = command.read("config")?;
    let force = command.options.has("force");
    let mode = if force { Mode::Replace } else { Mode::Merge };
    command.checked(&file, &config, mode)?;
    if force && !command.may_go_on() {
        return Err(Problem::fatal("nothing was changed"));
    }
    say!(command, "-> Applying configuration.\n");
    let debug = command.options.has("debug");
    let call = if debug {
        Call::Plan { config, mode }
    } else {
        Call::Apply {
            config,
            mode,
            save: false,
        }
    };
    let planned: Planned = command.call(call).map_err(|error| in_file(&file, &error))?;
    for step in &planned.steps {
        say!(command, "\t-> {step}: done.\n");
    }
    for notice in &planned.notices {
        say!(command, "\t-> NOTICE: {notice}\n");
    }
    let made = if debug { 0 } else { planned.steps.len() };
    say!(command, "\t-> Done, {made} change(s) made.\n");
    Ok(())
}

pub(super) fn check(command: &mut Scstadmin<'_>) -> Result<(), Problem> {
    let (file, config) = command.read("check_config")?;
    command.checked(&file, &config, Mode::Merge)
}

pub(super) fn write(command: &mut Scstadmin<'_>) -> Result<(), Problem> {
    let file = command.word("write_config").to_owned();
    let all = command.options.has("nonkey");
    let printed: Printed = command.call(Call::Print { all })?;
    say!(
        command,
        "-> Writing current configuration to file '{file}'... "
    );
    replace(&file, &printed.config)?;
    say!(command, "done.\n");
    Ok(())
}

pub(super) fn clear(command: &mut Scstadmin<'_>) -> Result<(), Problem> {
    let empty = Call::Apply {
        config: String::new(),
        mode: Mode::Replace,
        save: false,
    };
    let planned: Planned = command.call(empty)?;
    for step in &planned.steps {
        say!(command, "\t-> {step}: done.\n");
    }
    command.made += planned.steps.len();
    Ok(())
}

impl Scstadmin<'_> {
    fn read(&mut self, option: &str) -> Result<(String, String), Problem> {
        let file = self.options.value(option).unwrap_or(DEFAULT).to_owned();
        let unreadable = |error| Problem::new(1, format!("cannot read {file}: {error}"));
        let config = fs::read_to_string(&file).map_err(unreadable)?;
        Ok((file, config))
    }

    fn checked(&mut self, file: &str, config: &str, mode: Mode) -> Result<(), Problem> {
        say!(
            self,
            "-> Checking configuration file '{file}' for errors.\n"
        );
        let plan = Call::Plan {
            config: config.to_owned(),
            mode,
        };
        self.call::<Planned>(plan)
            .map_err(|error| in_file(file, &error))?;
        say!(self, "\t-> Done, 0 warnings found.\n\n");
        Ok(())
    }
}

fn in_file(file: &str, error: &Error) -> Problem {
    let place = match (error.line, error.column) {
        (Some(line), Some(column)) => format!("{file}:{line}:{column}: "),
        (Some(line), None) => format!("{file}:{line}: "),
        _ => String::new(),
    };
    Problem::new(1, format!("{place}{}", error.message))
}

/// Writes a file as the program saves its own: whole at any moment, with the rights and owner of the one before. What is
/// no file, as a terminal, is written to as it is.
fn replace(file: &str, text: &str) -> Result<(), Problem> {
    let is_device = fs::metadata(file).is_ok_and(|there| !there.is_file());
    let written = if is_device {
        let opened = fs::OpenOptions::new().write(true).open(file);
        opened
            .and_then(|mut opened| opened.write_all(text.as_bytes()))
            .map_err(|error| format!("cannot write {file}: {error}"))
    } else {
        let staged = ConfigFile::new(file).stage(text);
        staged
            .and_then(|staged| staged.commit())
            .map_err(|error| error.to_string())
    };
    written.map_err(|message| Problem::new(1, message))
}
