//! `vidimus audit`: what happened, and the proof of it. Works beside a running gateway and without one. The log is only read, but for `prune` and
//! `rotate-key`; `index`, `sql` and `stats` write an index of it, which may be anywhere.

mod clickhouse;
mod evidence;
mod export;
mod index;
mod prune;
mod rotate_key;
mod search;
mod show;
mod sql;
mod stats;
mod verify;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail, ensure};
use clap::{Args, Subcommand};
use vidimus_ledger::VerifierKey;

pub(crate) use self::search::moment;
use self::sql::Sql;

use super::data_directory;
use crate::output::{self, Format};

/// Searches, shows, exports, verifies, reports on and prunes the ledger.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  vidimus audit search --data DIR --outcome deny # who was refused, and why
  vidimus audit show --data DIR CALL # everything about one call
  vidimus audit stats --data DIR --by agent --since 24h # who did how much
  vidimus audit sql --data DIR 'SELECT count(*) FROM records'
  vidimus audit stats --clickhouse clickhouse://db/vidimus # of all gateways
  vidimus audit export --data DIR --call CALL --out FILE # proof of it, to take
  vidimus audit evidence --data DIR --framework soc2 --from 90d \\
    --out soc2.html # a report for an auditor
  vidimus audit verify FILE # is it proven? anywhere, without the log
  vidimus audit verify --data DIR # is the log what it was?")]
pub struct Audit {
    /// The data directory, the same as of `vidimus serve`.
    #[arg(long, env = "VIDIMUS_DATA", global = true, default_value = "vidimus-data")]
    data: PathBuf,
    /// Where the index of the ledger is, or is to be [default: DATA/index, and none with --ledger].
    #[arg(long, env = "VIDIMUS_INDEX", global = true)]
    index: Option<PathBuf>,
    /// A ledger elsewhere: an archive (`vidimus serve --archive`), or a copy of DATA/ledger.
    #[arg(long, global = true, value_name = "DIR")]
    ledger: Option<PathBuf>,
    #[command(flatten)]
    at: clickhouse::At,
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
    Evidence(Box<evidence::Evidence>),
    Prune(prune::Prune),
    RotateKey(rotate_key::RotateKey),
    Verify(verify::Verify),
    Prove(show::Prove),
}

impl Audit {
    /// Where the index is: of a ledger elsewhere there is none where none is named, and nothing is written beside it.
    fn index(&self) -> Option<PathBuf> {
        let own = || self.ledger.is_none().then(|| vidimus_readmodel::directory(&self.data));
        self.index.clone().or_else(own)
    }

    /// The configurations that decided: an archive has those of its records.
    fn configurations(&self) -> PathBuf {
        let archived = self.ledger.as_deref().map(data_directory::archived_configurations);
        archived.filter(|path| path.is_dir()).unwrap_or_else(|| data_directory::configurations(&self.data))
    }
}

pub fn run(audit: &Audit, format: Format) -> anyhow::Result<ExitCode> {
    let ledger = || match &audit.ledger {
        Some(ledger) => data_directory::ledger_at(ledger),
        None => data_directory::ledger(&audit.data),
    };
    let index = audit.index();
    let index = index.as_deref();
    if let Some(remote) = audit.at.open()? {
        return match &audit.command {
            Command::Search(search) => search::run_remote(&remote, search, format),
            Command::Stats(stats) => stats::run_remote(&remote, stats, format),
            Command::Sql(Sql { query: None, .. }) => sql::run_tables(format),
            Command::Sql(sql) => sql::run_remote(&remote, sql, format),
            Command::Index(it) => index::run_remote(remote, &ledger()?, it, format),
            _ => bail!("--clickhouse is for search, stats, sql and index; what is proven, the ledger tells"),
        };
    }
    match &audit.command {
        Command::Search(search) => search::run(&ledger()?, index, search, format),
        Command::Stats(stats) => stats::run(&ledger()?, index, stats, format),
        Command::Sql(Sql { query: None, .. }) => sql::run_tables(format),
        Command::Sql(sql) => sql::run(&ledger()?, index, sql, format),
        Command::Index(it) => index::run(&ledger()?, index, it, format),
        Command::Show(show) => show::run(&ledger()?, show, format),
        Command::Export(export) => export::run(&audit.configurations(), &ledger()?, export, format),
        Command::Evidence(evidence) => evidence::run(&ledger()?, evidence, format),
        Command::Prune(prune) => {
            ensure!(
                audit.ledger.is_none(),
                "--ledger: what stands by acts is beside a ledger; give its --data"
            );
            prune::run(&audit.data, &ledger()?, prune, format)
        }
        Command::RotateKey(asked) => {
            ensure!(audit.ledger.is_none(), "--ledger: nobody writes there; give the --data of a gateway");
            rotate_key::run(&audit.data, &ledger()?, asked, format)
        }
        Command::Verify(verify) if verify.files().is_empty() => {
            verify::run(&ledger()?, audit.ledger.is_some(), verify, format)
        }
        Command::Verify(verify) => verify::run_evidence(verify, format),
        Command::Prove(prove) => show::run_prove(prove, format),
    }
}

/// The key that `--key` gives.
fn key(text: &str) -> anyhow::Result<VerifierKey> {
    let key = text.trim().parse::<VerifierKey>();
    key.context(
        "--key is not the ledger's public key, which stands in DATA/ledger/keys/checkpoint.vkey, with the keys that it followed on further lines",
    )
}

/// What is not there any more of a log that is searched, where that was asked for: no record of before is found, and that is not because nothing
/// happened.
fn warn_of_pruned(dir: &Path, since: Option<jiff::Timestamp>) -> anyhow::Result<()> {
    let Some(pruned) = vidimus_ledger::pruned(dir)? else { return Ok(()) };
    if pruned.may_have_any_since(since) {
        output::warning(&format!("{pruned}; they are not searched"));
    }
    Ok(())
}
