//! `vidimus audit rotate-key`: another key signs for the ledger from now on.

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use clap::Args;
use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use vidimus_core::clock::Clock as _;
use vidimus_gateway::rfc3339;
use vidimus_ledger::{ActBy, Config, Ledger, RotateError, known_key};

use super::export::user;
use crate::clock::SystemClock;
use crate::cmd::{data_directory, quantity};
use crate::output::{self, Format};

/// Lets a new key follow the ledger's, of a gateway that is stopped.
///
/// The act is on record, and both keys sign the checkpoint that covers it, and all others until the overlap is over: until then whoever knows
/// the former key alone believes the ledger. Of the former key nothing counts that is of more records. Give what this prints to whoever
/// verifies, and the new key to witnesses, before the overlap is over. Then the former private key is removed. Within an overlap no
/// other key follows, unless --end-overlap ends it.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  vidimus audit rotate-key --data DIR --overlap 30d --why 'yearly' > keys

Exit codes: 0 the next start signs with the new key, 2 the key stays.")]
pub struct RotateKey {
    /// How long both sign, at most 365d: for so long there are two private keys to guard.
    #[arg(long, value_name = "DURATION", default_value = "30d", value_parser = overlap)]
    overlap: Duration,
    /// The overlap of a rotation before ends now: whoever knows the key before alone believes the ledger no more.
    #[arg(long)]
    end_overlap: bool,
    /// Why, for the record.
    #[arg(long)]
    why: String,
    /// Who does it, for the record [default: the user that runs this].
    #[arg(long)]
    by: Option<String>,
}

fn overlap(text: &str) -> anyhow::Result<Duration> {
    const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);
    let overlap = quantity::duration(text)?;
    ensure!(
        overlap <= LONGEST,
        "write 365d or less: until it is over, whoever has the former private key signs too"
    );
    Ok(overlap)
}

pub fn run(data: &Path, dir: &Path, asked: &RotateKey, format: Format) -> anyhow::Result<ExitCode> {
    ensure!(
        !asked.why.trim().is_empty() && asked.why.len() <= 1024,
        "--why: say why in a few words, at most 1024 bytes"
    );
    let until = Timestamp::now().checked_add(SignedDuration::try_from(asked.overlap)?);
    let until = until.context("--overlap: that is after all times")?;
    data_directory::prepare(data)?;
    let ledger = Ledger::open(Config { dir: dir.to_owned(), ..Config::default() })
        .context("the key stays; stop the gateway first")?;
    let actor = format!("User/local#{}", asked.by.clone().unwrap_or_else(user));
    let (id, time) = (uuid::Uuid::now_v7().to_string(), rfc3339(SystemClock.now().wall));
    let by = ActBy { actor: &actor, id: &id, time: &time, why: &asked.why };
    if asked.end_overlap {
        ledger.end_overlap().context("the key stays")?;
    }
    ledger.rotate_key(until, &by).map_err(|error| match error {
        RotateError::Overlap { .. } => anyhow::Error::from(error)
            .context("the key stays; wait for the overlap, or end it with --end-overlap"),
        error => anyhow::Error::from(error).context("the key stays"),
    })?;
    // It is closed when it goes, and knows the former key only.
    drop(ledger);
    let keys = known_key(dir)?.with_former();
    match format {
        Format::Json => output::json(&json!({ "keys": keys, "overlap": until.to_string() }))?,
        Format::Table => output::line(&keys),
    }
    Ok(ExitCode::SUCCESS)
}
