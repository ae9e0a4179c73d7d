//! `vidimus completions` and `vidimus man`: the commands, as shells and `man` know them.

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Args, Command};
use clap_complete::Shell;

use crate::output;

/// Prints what a shell completes commands and flags by.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  vidimus completions bash > /etc/bash_completion.d/vidimus
  vidimus completions zsh > \"${fpath[1]}/_vidimus\"
  vidimus completions fish > ~/.config/fish/completions/vidimus.fish
  vidimus completions powershell >> $PROFILE")]
pub struct Completions {
    /// The shell that reads it.
    #[arg(value_enum)]
    shell: Shell,
}

/// Writes the manual: a page for each command.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  vidimus man --out /usr/local/share/man/man1 && man vidimus-audit-search")]
pub struct Man {
    /// Directory for the pages; made where it is missing.
    #[arg(long)]
    out: PathBuf,
}

/// `vidimus` are the commands that are completed.
pub fn completions(completions: &Completions, vidimus: &mut Command) -> anyhow::Result<ExitCode> {
    let mut script = Vec::new();
    clap_complete::generate(completions.shell, vidimus, "vidimus", &mut script);
    output::line(String::from_utf8(script)?.trim_end());
    Ok(ExitCode::SUCCESS)
}

/// `vidimus` are the commands that the manual is of.
pub fn man(man: &Man, vidimus: Command) -> anyhow::Result<ExitCode> {
    let out = || format!("--out {}", man.out.display());
    fs::create_dir_all(&man.out).with_context(out)?;
    clap_mangen::generate_to(vidimus, &man.out).with_context(out)?;
    Ok(ExitCode::SUCCESS)
}
