//! `vidimus audit checkpoints`: what ledgers are held against later.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, ensure};
use clap::Args;
use serde_json::json;
use vidimus_query::audit::logs::{self, Logs};

use super::export::{regular, whole};
use crate::output::{self, Format};

/// Prints the newest signed checkpoint of each ledger: a text to put aside, where nobody who may write to the ledgers can change it.
///
/// `audit verify --since-set` later proves that each ledger is a continuation of what it was, and that none of them was left out. They are
/// signed notes (C2SP tlog-checkpoint), each followed by a blank line.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  vidimus audit checkpoints --data DIR --out saved-set
  vidimus audit checkpoints --ledger A/ledger --ledger B/ledger --out saved-set
  vidimus audit verify --ledger A/ledger --ledger B/ledger \\
    --since-set saved-set # a month later

Exit codes: 0 of all ledgers, 1 of some there is none that is signed by the
key that stands there, 2 of none.")]
pub struct Checkpoints {
    /// The file to write, for its owner alone [default: standard output].
    #[arg(long)]
    out: Option<PathBuf>,
}

pub fn run(logs: &Logs, checkpoints: &Checkpoints, format: Format) -> anyhow::Result<ExitCode> {
    super::warn_of_repeated(logs);
    let (set, damage) = logs::set(logs);
    for damage in &damage {
        output::warning(&format!("{damage}; `vidimus audit verify` tells more"));
    }
    ensure!(!set.is_empty(), "no ledger has a checkpoint that the key which stands there signed");
    let text = set.to_string();
    if let Some(out) = &checkpoints.out {
        regular(out)?;
        whole(out, |mut file| {
            file.write_all(text.as_bytes())
                .with_context(|| format!("--out {} cannot be written", out.display()))
        })?;
    }
    match (format, &checkpoints.out) {
        (Format::Json, _) => output::json(&json!({ "checkpoints": set.len(), "set": text }))?,
        // The line ends with the last of its newlines.
        (Format::Table, None) => output::line(text.strip_suffix('\n').unwrap_or(&text)),
        (Format::Table, Some(out)) => {
            output::line(&format!(
                "{} checkpoints written to {}",
                set.len(),
                output::printable(&out.display().to_string())
            ));
        }
    }
    Ok(if damage.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(1) })
}
