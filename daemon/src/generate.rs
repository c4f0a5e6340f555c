//! `lunforge generate`: the man pages and the completions of shells, for packages.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::{Args, CommandFactory};
use clap_complete::Shell;
use lunforge_daemon::{manual, scstadmin};

use crate::args::Cli;

#[derive(Debug, Args)]
pub(crate) struct Generate {
    /// Where they go: man1, man5, bash, zsh and fish in this folder. It is made if it is missing.
    #[arg(value_name = "DIR")]
    folder: PathBuf,
}

impl Generate {
    pub(crate) fn run(&self) -> anyhow::Result<()> {
        self.pages()?;
        for (name, shell) in [
            ("bash", Shell::Bash),
            ("zsh", Shell::Zsh),
            ("fish", Shell::Fish),
        ] {
            let folder = self.folder(name)?;
            clap_complete::generate_to(shell, &mut shown(), "lunforge", &folder)
                .with_context(|| unwritable(&folder))?;
        }
        Ok(())
    }

    fn pages(&self) -> anyhow::Result<()> {
        let commands = self.folder("man1")?;
        clap_mangen::generate_to(shown(), &commands).with_context(|| unwritable(&commands))?;
        let version = env!("CARGO_PKG_VERSION");
        write(&commands.join("scstadmin.1"), &scstadmin::page(version))?;
        let page = self.folder("man5")?.join(format!("{}.5", manual::PAGE));
        write(&page, &manual::page(version))
    }

    fn folder(&self, name: &str) -> anyhow::Result<PathBuf> {
        let folder = self.folder.join(name);
        fs::create_dir_all(&folder).with_context(|| unwritable(&folder))?;
        Ok(folder)
    }
}

fn write(page: &Path, text: &str) -> anyhow::Result<()> {
    fs::write(page, text).with_context(|| unwritable(page))
}

fn unwritable(path: &Path) -> String {
    format!("cannot write to {}", path.display())
}

/// The commands that help shows.
fn shown() -> clap::Command {
    let all = Cli::command();
    let hidden: Vec<_> = all.get_subcommands().filter(|c| c.is_hide_set()).collect();
    let names: Vec<_> = hidden.iter().map(|c| c.get_name().to_owned()).collect();
    let shown: Vec<_> = all
        .get_subcommands()
        .filter(|command| !names.iter().any(|name| name == command.get_name()))
        .cloned()
        .collect();
    // A command cannot forget one of its subcommands, so this is another one with the same head.
    let mut command = clap::Command::new("lunforge")
        .version(env!("CARGO_PKG_VERSION"))
        .subcommands(shown);
    if let Some(about) = all.get_about() {
        command = command.about(about.clone());
    }
    if let Some(help) = all.get_after_help() {
        command = command.after_help(help.clone());
    }
    command
}
