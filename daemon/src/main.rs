//! The `lunforge` binary: a thin shell around the library.

mod args;
mod commands;
mod created;
mod export;
mod generate;
mod infiniband;
mod limits;
mod notify;
mod plan;
mod process;
mod reach;
mod record;
mod report;
mod scrape;
mod secrets;
mod serve;
mod size;
mod srp;
mod srpt;
mod state;
mod timeouts;

use std::io::IsTerminal;
use std::process::ExitCode;

use clap::Parser;
use clap::error::ErrorKind;

use args::{Cli, Command, LogFormat, Serving};
use lunforge_daemon::control::ClientError;

/// What was asked for is allowed, and could not be done.
const EXIT_FAILED: u8 = 1;
/// Wrong arguments, a missing file, a port in use: nothing was created or changed.
const EXIT_REFUSED: u8 = 2;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    log_to_stderr(match &cli.command {
        Command::Export(args) => args.serving.log_format,
        Command::Serve(args) => args.serving.log_format,
        Command::Asking(_) | Command::Generate(_) | Command::TrySrp(_) => LogFormat::Text,
    });
    let done = match &cli.command {
        Command::Export(args) => serving(&args.serving, || export::run(args)),
        Command::Serve(args) => serving(&args.serving, || serve::run(args)),
        Command::Asking(command) => command.run().map(|()| ExitCode::SUCCESS),
        Command::Generate(args) => args.run().map(|()| ExitCode::SUCCESS),
        Command::TrySrp(args) => args.run().map(|()| ExitCode::SUCCESS),
    };
    match done {
        Ok(code) => code,
        Err(error) => {
            eprintln!("lunforge: {}", sentence(&error));
            let failed = error
                .downcast_ref::<ClientError>()
                .is_some_and(|error| !error.is_refusal());
            ExitCode::from(if failed { EXIT_FAILED } else { EXIT_REFUSED })
        }
    }
}

/// Runs what serves, or lists the limits where that is asked for.
fn serving(
    args: &Serving,
    run: impl FnOnce() -> anyhow::Result<ExitCode>,
) -> anyhow::Result<ExitCode> {
    if args.limit.contains(&limits::LimitArg::Help) {
        print!("{}", limits::help());
        return Ok(ExitCode::SUCCESS);
    }
    run()
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
fn log_to_stderr(format: LogFormat) {
    let filter = tracing_subscriber::EnvFilter::try_from_env("LUNFORGE_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("warn"));
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    match format {
        LogFormat::Text => log.with_ansi(std::io::stderr().is_terminal()).init(),
        LogFormat::Json => log.json().init(),
    }
}
