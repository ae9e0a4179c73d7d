//! `vidimus demo`: a complete governed system on this machine, with real servers, agents and clients, walked through step by step.

mod scenes;
mod stage;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use crate::output;

/// Stands up a complete governed system and walks through it: allowed, refused, filtered, delegated, forged, replayed, verified.
///
/// The MCP servers, A2A agents and SDK clients are the official ones, from npm and PyPI; the model is a simulator and says so.
/// Everything runs on loopback addresses and ends with the demo.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  vidimus demo                 from the repository
  vidimus demo --keep          leave it running, with commands to try next")]
pub struct Demo {
    /// Folder with the real servers and clients (`e2e` of the repository).
    #[arg(long, default_value = "e2e", env = "VIDIMUS_COMPONENTS")]
    components: PathBuf,
    /// Leave everything running until Ctrl-C, and print commands to try.
    #[arg(long)]
    keep: bool,
}

pub fn run(demo: &Demo) -> anyhow::Result<ExitCode> {
    output::line("Setting up: official MCP servers, A2A agents and SDK clients (once, from npm and PyPI) …");
    let mut stage = stage::Stage::start(&demo.components)?;
    output::line(&format!(
        "The gateway is {}; its resources are in {}\n",
        stage.url,
        stage.resources.display()
    ));
    let done = scenes::play(&mut stage);
    if demo.keep && done.is_ok() {
        stage.keep()?;
    }
    done.map(|()| ExitCode::SUCCESS)
}
