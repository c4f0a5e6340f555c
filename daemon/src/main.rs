//! The `lunforge` binary: a thin shell around the library.

mod args;
mod created;
mod export;
mod limits;
mod plan;
mod record;
mod report;
mod secrets;
mod size;
mod state;
mod timeouts;

use std::io::IsTerminal;
use std::process::ExitCode;

use clap::Parser;
use clap::error::ErrorKind;

use args::{Cli, Command};

/// Wrong arguments, a missing file, a port in use: nothing was created or changed.
const EXIT_REFUSED: u8 = 2;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    log_to_stderr();
    let Command::Export(args) = cli.command;
    if args.limit.contains(&limits::LimitArg::Help) {
        print!("{}", limits::help());
        return ExitCode::SUCCESS;
    }
    match export::run(&args) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("lunforge: {}", sentence(&error));
            ExitCode::from(EXIT_REFUSED)
        }
    }
}

/// An error with its causes, each said once: many errors of the library have their cause in their text already.
fn sentence(error: &anyhow::Error) -> String {
    error
        .chain()
        .skip(1)
        .fold(error.to_string(), |said, cause| {
            let cause = cause.to_string();
            if said.ends_with(&cause) {
                said
            } else {
                format!("{said}: {cause}")
            }
        })
}

/// Help and version as they are; an error as one sentence.
fn usage(error: &clap::Error) -> ExitCode {
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            // A closed pipe is the reader's business.
            let _ = error.print();
            ExitCode::SUCCESS
        }
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            let _ = error.print();
            ExitCode::from(EXIT_REFUSED)
        }
        _ => {
            let text = error.to_string();
            let sentence: Vec<_> = text
                .lines()
                .take_while(|line| !line.starts_with("Usage:"))
                .map(str::trim)
                .filter(|line| !line.is_empty())
                .collect();
            let sentence = sentence.join(" ");
            eprintln!(
                "lunforge: {}",
                sentence.strip_prefix("error: ").unwrap_or(&sentence)
            );
            ExitCode::from(EXIT_REFUSED)
        }
    }
}

/// Logs go to standard error, from `LUNFORGE_LOG` (as `info` or `lunforge_iscsi=debug`), warnings unless it is set.
fn log_to_stderr() {
    let filter = tracing_subscriber::EnvFilter::try_from_env("LUNFORGE_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("warn"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
}
