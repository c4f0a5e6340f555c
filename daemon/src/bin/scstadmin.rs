//! The `scstadmin` binary: see [`lunforge_daemon::scstadmin`].

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use lunforge_daemon::control::Client;
use lunforge_daemon::control::endpoint::path_to_ask;
use lunforge_daemon::scstadmin::{self, Options, Peer, Terminal, Unreachable};

fn main() -> ExitCode {
    // What is no text is no name of anything here, and is told as such.
    let words = std::env::args_os().skip(1);
    let words = words.map(|word| word.to_string_lossy().into_owned());
    let options = match Options::parse(words) {
        Ok(options) => options,
        Err(error) => {
            eprintln!("scstadmin: {error}\nscstadmin -help tells all options.");
            return ExitCode::FAILURE;
        }
    };
    let path = options
        .value("control")
        .map_or_else(path_to_ask, PathBuf::from);
    let mut peer: Box<dyn Peer> = match Client::connect(&path) {
        Ok(client) => Box::new(client),
        Err(error) => Box::new(Unreachable(error.to_string())),
    };
    let mut out = std::io::stdout().lock();
    let code = scstadmin::run(
        options,
        &mut *peer,
        &mut out,
        &mut std::io::stderr(),
        &mut Terminal,
    );
    // Whoever closed standard output does not want to know.
    let _ = out.flush();
    ExitCode::from(code)
}
