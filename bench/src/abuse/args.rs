//! The command line of an abuse.

use std::time::Duration;

use super::{AbuseOptions, Bounds, Size};
use crate::initiator::{Options, Url};
use crate::parse::{seconds, size};

/// What to attack, how much, and what is judged by.
#[derive(Debug, clap::Args)]
pub struct AbuseArgs {
    /// iscsi://HOST[:PORT]/TARGET/LUN: what the unit holds is lost; 256 MiB of it are used at the most.
    #[arg(required_unless_present = "list")]
    url: Option<Url>,
    /// Process of the target.
    #[arg(long, required_unless_present = "list")]
    pid: Option<u32>,
    /// List the scenarios.
    #[arg(long)]
    pub list: bool,
    /// Scenarios by name [default: all].
    #[arg(long, value_delimiter = ',', value_name = "NAME")]
    scenario: Vec<String>,
    /// How much of each.
    #[arg(long, value_enum, default_value = "small")]
    size: Size,
    /// Another count for a scenario.
    #[arg(long, value_delimiter = ',', value_name = "NAME=N", value_parser = scenario_count)]
    count: Vec<(String, u64)>,
    /// How long attacks that wait are kept up, seconds [default: 2, or 20 for the whole].
    #[arg(long, value_parser = seconds)]
    hold: Option<Duration>,
    /// How long the good session runs undisturbed before each attack, seconds.
    #[arg(long, default_value = "1", value_parser = seconds)]
    calm: Duration,
    /// The good session's p99 may be so many times what it was before the attack, or what a session with a peer that does
    /// nothing has under it,
    #[arg(long, default_value_t = Bounds::default().factor, overrides_with = "factor")]
    factor: f64,
    /// or this many milliseconds, whichever is more.
    #[arg(long, default_value_t = 20, overrides_with = "floor")]
    floor: u64,
    /// Resident memory at any time (suffixes k, m, g).
    #[arg(long, default_value = "768m", value_parser = size)]
    peak: u64,
    /// Resident memory above the baseline after an attack (suffixes k, m, g).
    #[arg(long, default_value = "32m", value_parser = size)]
    growth: u64,
}

impl AbuseArgs {
    /// The run that is asked for.
    ///
    /// # Errors
    /// A sentence for the user.
    pub fn options(self, login: Options) -> Result<AbuseOptions, String> {
        let hold = match self.size {
            Size::Small => Duration::from_secs(2),
            Size::Whole => Duration::from_secs(20),
        };
        Ok(AbuseOptions {
            url: self.url.ok_or("there is no URL")?,
            pid: self.pid.ok_or("there is no --pid")?,
            scenarios: self.scenario,
            size: self.size,
            counts: self.count,
            hold: self.hold.unwrap_or(hold),
            calm: self.calm,
            bounds: Bounds {
                factor: self.factor,
                floor: Duration::from_millis(self.floor),
                peak_kib: self.peak >> 10,
                growth_kib: self.growth >> 10,
                ..Bounds::default()
            },
            login,
        })
    }
}

fn scenario_count(text: &str) -> Result<(String, u64), String> {
    let (name, count) = text.split_once('=').ok_or("expected NAME=N")?;
    let count = count
        .parse()
        .map_err(|_| format!("{count:?} is not a number"))?;
    Ok((name.to_owned(), count))
}
