//! `vidimus audit`: what happened, and the proof of it. Reads only, but for `prune` and `rotate-key`; works beside a running gateway and without one.

mod evidence;
mod export;
mod fsck;
mod prune;
mod rotate_key;
mod search;
mod show;
mod verify;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, ensure};
use clap::{Args, Subcommand};
use vidimus_ledger::VerifierKey;

pub(crate) use self::search::moment;

use super::data_directory;
use crate::output::{self, Format};

/// Searches, shows, exports, verifies, reports on, examines and prunes the ledger.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  vidimus audit search --data DIR --outcome deny # who was refused, and why
  vidimus audit show --data DIR CALL # everything about one call
  vidimus audit export --data DIR --call CALL --out FILE # proof of it, to take
  vidimus audit evidence --data DIR --framework soc2 --from 90d \\
    --out soc2.html # a report for an auditor
  vidimus audit verify FILE # is it proven? anywhere, without the log
  vidimus audit verify --data DIR # is the log what it was?
  vidimus audit fsck --data DIR # what is wrong after a crash, and what to do")]
pub struct Audit {
    /// The data directory, the same as of `vidimus serve`.
    #[arg(long, env = "VIDIMUS_DATA", global = true, default_value = "vidimus-data")]
    data: PathBuf,
    /// A ledger elsewhere: an archive (`vidimus serve --archive`), or a copy of DATA/ledger.
    #[arg(long, global = true, value_name = "DIR")]
    ledger: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Search(Box<search::Search>),
    Show(show::Show),
    Export(Box<export::Export>),
    Evidence(Box<evidence::Evidence>),
    Fsck(fsck::Fsck),
    Prune(prune::Prune),
    RotateKey(rotate_key::RotateKey),
    Verify(verify::Verify),
    Prove(show::Prove),
}

impl Audit {
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
    match &audit.command {
        Command::Search(search) => search::run(&ledger()?, search, format),
        Command::Show(show) => show::run(&ledger()?, show, format),
        Command::Export(export) => export::run(&audit.configurations(), &ledger()?, export, format),
        Command::Evidence(evidence) => evidence::run(&ledger()?, evidence, format),
        Command::Fsck(fsck::Fsck {}) => {
            let beside = audit.ledger.is_none().then_some(audit.data.as_path());
            fsck::run(beside, &ledger()?, format)
        }
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
