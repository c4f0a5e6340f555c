//! Configuration files, whole.

use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;
use lunforge_daemon::conf::{self, ietd};
use lunforge_daemon::config::shared_file;
use lunforge_daemon::control::protocol::{Call, Code, Done, Error, Mode, Planned, Printed};
use lunforge_daemon::control::{ClientError, ConfigFile, Managed, ScstConf};

use super::human::several;
use super::{At, excerpt, say};

#[derive(Debug, Args)]
pub(crate) struct Check {
    /// The configuration file; - for standard input.
    file: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct Plan {
    /// The configuration file; - for standard input.
    file: PathBuf,

    /// Leave alone what the file does not name.
    #[arg(long)]
    merge: bool,

    #[command(flatten)]
    at: At,
}

#[derive(Debug, Args)]
pub(crate) struct Apply {
    /// The configuration file; - for standard input. It may be another one than that of `lunforge serve`.
    file: PathBuf,

    /// Only say what would change.
    #[arg(long)]
    plan: bool,

    /// Do not keep it for the next start.
    #[arg(long)]
    no_save: bool,

    /// Leave alone what the file does not name.
    #[arg(long)]
    merge: bool,

    #[command(flatten)]
    at: At,
}

#[derive(Debug, Args)]
pub(crate) struct Print {
    /// With attributes that have their defaults.
    #[arg(long)]
    all: bool,

    #[command(flatten)]
    at: At,
}

#[derive(Debug, Args)]
pub(crate) struct Save {
    /// With attributes that have their defaults.
    #[arg(long)]
    all: bool,

    #[command(flatten)]
    at: At,
}

#[derive(Debug, Args)]
pub(crate) struct Convert {
    /// The ietd.conf.
    file: PathBuf,
}

/// A text and the name by which it is told.
struct Source {
    name: String,
    text: String,
}

impl Source {
    fn read(file: &Path) -> anyhow::Result<Self> {
        if file == Path::new("-") {
            let mut text = String::new();
            std::io::stdin().read_to_string(&mut text)?;
            let name = "standard input".to_owned();
            return Ok(Self { name, text });
        }
        let name = file.display().to_string();
        let text = ConfigFile::new(file).read()?;
        let text = text.ok_or_else(|| anyhow::anyhow!("there is no file {name}"))?;
        Ok(Self { name, text })
    }

    /// Shows where the text is wrong, if it is that.
    fn explain(&self, error: ClientError) -> anyhow::Error {
        match error {
            ClientError::Refused(error) if error.code == Code::Config => {
                anyhow::Error::msg(excerpt(&self.name, &self.text, &error))
            }
            other => other.into(),
        }
    }
}

fn mode(merge: bool) -> Mode {
    if merge { Mode::Merge } else { Mode::Replace }
}

pub(super) fn check(args: &Check) -> anyhow::Result<()> {
    let source = Source::read(&args.file)?;
    let paper = Managed::on_paper(ScstConf);
    let planned = paper
        .apply(&source.text, Mode::Replace, false)
        .map_err(|error| source.explain(error.into()))?;
    notices(&planned);
    if let Some(why) = shared_file(&paper.model()) {
        anyhow::bail!("{}: {why}", source.name);
    }
    say(&format!("{} is right.\n", source.name));
    Ok(())
}

pub(super) fn plan(args: &Plan) -> anyhow::Result<()> {
    let source = Source::read(&args.file)?;
    show_plan(&source, mode(args.merge), &args.at)
}

fn show_plan(source: &Source, mode: Mode, at: &At) -> anyhow::Result<()> {
    let config = source.text.clone();
    let planned: Planned = at
        .ask(Call::Plan { config, mode })
        .map_err(|error| source.explain(error))?;
    steps(&planned);
    say(&match count(&planned) {
        0 => "Nothing to change.\n".to_owned(),
        n => format!("{} to do.\n", several(n, "change")),
    });
    Ok(())
}

pub(super) fn apply(args: &Apply) -> anyhow::Result<()> {
    let source = Source::read(&args.file)?;
    let mode = mode(args.merge);
    if args.plan {
        return show_plan(&source, mode, &args.at);
    }
    let save = !args.no_save;
    let config = source.text.clone();
    let planned: Planned = args
        .at
        .ask(Call::Apply { config, mode, save })
        .map_err(|error| match error {
            ClientError::Refused(error) if error.code == Code::Failed => failed(error).into(),
            other => source.explain(other),
        })?;
    steps(&planned);
    let saved = if save { " Saved." } else { "" };
    say(&match count(&planned) {
        0 => format!("Nothing to change.{saved}\n"),
        n => format!("{} done.{saved}\n", several(n, "change")),
    });
    Ok(())
}

/// What there is to know when a change could not be done: in most cases, that nothing has changed.
fn failed(mut error: Error) -> ClientError {
    if error.stuck.is_empty() {
        error.message += "; nothing has changed";
    } else {
        error.message += &format!("; not taken back: {}", error.stuck.join("; "));
    }
    ClientError::Refused(error)
}

fn count(planned: &Planned) -> u64 {
    let parts = |step: &&String| step.starts_with(' ');
    let steps = planned.steps.iter().filter(|step| !parts(step));
    u64::try_from(steps.count()).unwrap_or(u64::MAX)
}

fn steps(planned: &Planned) {
    let steps = planned.steps.iter().map(|step| format!("  {step}\n"));
    say(&steps.collect::<String>());
    notices(planned);
}

fn notices(planned: &Planned) {
    for notice in &planned.notices {
        eprintln!("Note: {notice}");
    }
}

pub(super) fn print(args: &Print) -> anyhow::Result<()> {
    let printed: Printed = args.at.ask(Call::Print { all: args.all })?;
    say(&printed.config);
    Ok(())
}

pub(super) fn save(args: &Save) -> anyhow::Result<()> {
    let done: Done = args.at.ask(Call::Save { all: args.all })?;
    for notice in done.notices {
        eprintln!("Note: {notice}");
    }
    say("Saved.\n");
    Ok(())
}

pub(super) fn convert(args: &Convert) -> anyhow::Result<()> {
    let name = args.file.display().to_string();
    let text = std::fs::read(&args.file).with_context(|| format!("cannot read {name}"))?;
    let converted = ietd::convert(&text).map_err(|error| anyhow::Error::msg(error.show(&name)))?;
    for warning in &converted.warnings {
        eprintln!("Note: {name}: {warning}");
    }
    say(&conf::print(&converted.document));
    Ok(())
}
