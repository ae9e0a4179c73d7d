//! `vidimus audit`: what happened, and the proof of it. Works beside a running gateway and without one. The log is only read; `index`, `sql` and
//! `stats` write an index of it, which may be anywhere.

mod export;
mod index;
mod search;
mod show;
mod sql;
mod stats;
mod verify;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Args, Subcommand};
use vidimus_ledger::VerifierKey;

pub(crate) use self::search::moment;
use self::sql::Sql;

use super::data_directory;
use crate::output::Format;

/// Searches, shows, exports and verifies the ledger.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  vidimus audit search --data DIR --outcome deny # who was refused, and why
  vidimus audit show --data DIR CALL # everything about one call
  vidimus audit stats --data DIR --by agent --since 24h # who did how much
  vidimus audit sql --data DIR 'SELECT count(*) FROM records'
  vidimus audit export --data DIR --call CALL --out FILE # proof of it, to take
  vidimus audit verify FILE # is it proven? anywhere, without the log
  vidimus audit verify --data DIR # is the log what it was?")]
pub struct Audit {
    /// The data directory, the same as of `vidimus serve`.
    #[arg(long, env = "VIDIMUS_DATA", global = true, default_value = "vidimus-data")]
    data: PathBuf,
    /// Where the index of the ledger is, or is to be [default: DATA/index].
    #[arg(long, env = "VIDIMUS_INDEX", global = true)]
    index: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Search(Box<search::Search>),
    Stats(stats::Stats),
    Sql(Sql),
    Index(index::Index),
    Show(show::Show),
    Export(Box<export::Export>),
    Verify(verify::Verify),
    Prove(show::Prove),
}

pub fn run(audit: &Audit, format: Format) -> anyhow::Result<ExitCode> {
    let ledger = || data_directory::ledger(&audit.data);
    let index = || audit.index.clone().unwrap_or_else(|| vidimus_readmodel::directory(&audit.data));
    match &audit.command {
        Command::Search(search) => search::run(&ledger()?, &index(), search, format),
        Command::Stats(stats) => stats::run(&ledger()?, &index(), stats, format),
        Command::Sql(Sql { query: None, .. }) => sql::run_tables(format),
        Command::Sql(sql) => sql::run(&ledger()?, &index(), sql, format),
        Command::Index(it) => index::run(&ledger()?, &index(), it, format),
        Command::Show(show) => show::run(&ledger()?, show, format),
        Command::Export(export) => export::run(&audit.data, &ledger()?, export, format),
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
