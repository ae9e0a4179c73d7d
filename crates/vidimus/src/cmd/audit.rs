//! `vidimus audit`: what happened, and the proof of it. Reads only; works beside a running gateway and without one.

mod evidence;
mod export;
mod search;
mod show;
mod verify;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Args, Subcommand};
use vidimus_ledger::VerifierKey;

pub(crate) use self::search::moment;

use super::data_directory;
use crate::output::Format;

/// Searches, shows, exports, verifies and reports on the ledger.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  vidimus audit search --data DIR --outcome deny # who was refused, and why
  vidimus audit show --data DIR CALL # everything about one call
  vidimus audit export --data DIR --call CALL --out FILE # proof of it, to take
  vidimus audit evidence --data DIR --framework soc2 --from 90d \
    --out soc2.html # a report for an auditor
  vidimus audit verify FILE # is it proven? anywhere, without the log
  vidimus audit verify --data DIR # is the log what it was?")]
pub struct Audit {
    /// The data directory, the same as of `vidimus serve`.
    #[arg(long, env = "VIDIMUS_DATA", global = true, default_value = "vidimus-data")]
    data: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Search(Box<search::Search>),
    Show(show::Show),
    Export(Box<export::Export>),
    Evidence(Box<evidence::Evidence>),
    Verify(verify::Verify),
    Prove(show::Prove),
}

pub fn run(audit: &Audit, format: Format) -> anyhow::Result<ExitCode> {
    let ledger = || data_directory::ledger(&audit.data);
    match &audit.command {
        Command::Search(search) => search::run(&ledger()?, search, format),
        Command::Show(show) => show::run(&ledger()?, show, format),
        Command::Export(export) => export::run(&audit.data, &ledger()?, export, format),
        Command::Evidence(evidence) => evidence::run(&ledger()?, evidence, format),
        Command::Verify(verify) if verify.files().is_empty() => verify::run(&ledger()?, verify, format),
        Command::Verify(verify) => verify::run_evidence(verify, format),
        Command::Prove(prove) => show::run_prove(prove, format),
    }
}

/// The key that `--key` gives.
fn key(text: &str) -> anyhow::Result<VerifierKey> {
    let key = text.trim().parse::<VerifierKey>();
    key.context("--key is not the ledger's public key, which stands in DATA/ledger/keys/checkpoint.vkey")
}
