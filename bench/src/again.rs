//! `lunforge-bench replay`.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use lunforge_bench::initiator::Url;
use lunforge_bench::parse::seconds;
use lunforge_bench::replay;

use crate::{Failure, LoginArgs};

#[derive(Args)]
pub(crate) struct ReplayArgs {
    /// A pcapng or pcap file: a recording of lunforge with whole data, or a capture of whole sessions.
    file: std::path::PathBuf,
    /// iscsi://HOST[:PORT]/TARGET/LUN; LUNs are the recorded ones whatever is said here.
    #[arg(long, value_name = "URL")]
    target: Url,
    /// Fail when an answer is another one than recorded: status, sense, response code, reason of a Reject.
    #[arg(long)]
    compare: bool,
    /// Longest wait for one answer, seconds.
    #[arg(long, default_value = "10", value_parser = seconds)]
    patience: Duration,
    #[command(flatten)]
    login: LoginArgs,
}

/// Replays every session of the file, one after the other.
pub(crate) fn replay(args: &ReplayArgs) -> Result<ExitCode, Failure> {
    let shown = args.file.display();
    let file = std::fs::read(&args.file).map_err(|e| format!("cannot read {shown}: {e}"))?;
    let conversations = replay::read(&file).map_err(|e| format!("{shown}: {e}"))?;
    let options = replay::ReplayOptions {
        login: args.login.options()?,
        initiator_name: args.login.initiator.clone(),
        patience: args.patience,
    };
    let mut different = 0;
    for recorded in &conversations {
        println!("{} to {}", recorded.initiator, recorded.target);
        if recorded.lost {
            println!("a part of it was not captured: it ends there");
        }
        let (url, iqn) = (args.target.address(), &args.target.iqn);
        let outcome = replay::run(url, iqn, recorded, &options)?;
        println!("{outcome}");
        different += outcome.different;
    }
    Ok(ExitCode::from(u8::from(args.compare && different > 0)))
}
