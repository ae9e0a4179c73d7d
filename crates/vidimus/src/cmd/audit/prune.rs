//! `vidimus audit prune`: what was kept long enough goes from the front of a ledger that nobody writes.

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use clap::{ArgGroup, Args};
use jiff::{SignedDuration, Timestamp};
use vidimus_ledger::{ArchiveAt, Config, Ledger};

use super::export::user;
use super::search::moment;
use crate::cmd::progress::Watch;
use crate::cmd::serve::{flags, retention, standing};
use crate::cmd::{data_directory, quantity, refusals};
use crate::output::{self, Format};

/// Removes whole segments of old records from the front of the ledger of a gateway that is stopped; one that runs does it by itself
/// (`vidimus serve --keep-records`).
///
/// It is on record before it happens: who, when, why, and the root over what goes. The hashes of all records stay, so everything that is
/// left is proven as before, by the same checkpoints. What stands by acts of people stays in force. The newest segment never goes, nor what
/// no checkpoint covers, or, where the ledger has witnesses, none that they cosigned.
#[derive(Debug, Args)]
#[command(
    group = ArgGroup::new("which").required(true).args(["before", "keep"]),
    after_help = "Examples:
  vidimus audit prune --data DIR --keep 365d --why 'retention policy 4.2'
  vidimus audit prune --data DIR --before 2026-01-01 --archive /mnt/archive \\
    --why 'moved to the archive'
  vidimus audit verify --ledger /mnt/archive # what went, as it was
  AWS_REGION=eu-central-1 vidimus audit prune --data DIR --keep 365d \\
    --archive s3://corp-audit/vidimus --why 'retention policy 4.2'

Exit codes: 0 pruned, or nothing is old enough, 2 not pruned."
)]
pub struct Prune {
    /// What was made before: a time (RFC 3339), a day (its beginning, UTC), or how long ago.
    #[arg(long, value_name = "TIME", value_parser = moment)]
    before: Option<Timestamp>,
    /// What is older than this: 90d, 365d.
    #[arg(long, value_name = "DURATION", value_parser = quantity::retention)]
    keep: Option<Duration>,
    /// Where what goes is copied to before: a directory (a ledger of its own, to be read with --ledger), or s3://BUCKET/PREFIX (`vidimus audit
    /// archive fetch`), which the variables AWS_* open.
    #[arg(long, env = "VIDIMUS_ARCHIVE", value_name = "PLACE", value_parser = flags::Unshown(flags::archive))]
    archive: Option<ArchiveAt>,
    /// What went before is in another archive, which is not to be found at --archive any more: begin one there that does not have it.
    #[arg(long, requires = "archive")]
    new_archive: bool,
    /// Why, for the record.
    #[arg(long)]
    why: String,
    /// Who prunes, for the record [default: the user that runs this].
    #[arg(long)]
    by: Option<String>,
}

impl Prune {
    fn before(&self) -> anyhow::Result<Timestamp> {
        let now = Timestamp::now();
        let ago = |keep: Duration| {
            let before = now.checked_sub(SignedDuration::try_from(keep)?);
            before.context("--keep: that long ago is before all times")
        };
        let latest = ago(quantity::LEAST_KEPT)?;
        let before = match (self.before, self.keep) {
            (Some(before), _) => before,
            (None, Some(keep)) => ago(keep)?,
            // The command line is not understood without them.
            (None, None) => anyhow::bail!("give --before or --keep"),
        };
        ensure!(
            before <= latest,
            "--before {before}: the records of the last day stay, since a start takes up chains of calls from them"
        );
        Ok(before)
    }
}

pub fn run(data: &Path, dir: &Path, prune: &Prune, format: Format) -> anyhow::Result<ExitCode> {
    let pruning = retention::Pruning {
        before: prune.before()?,
        witnessed: false,
        archive: prune.archive.clone(),
        new_archive: prune.new_archive,
        actor: format!("User/local#{}", prune.by.clone().unwrap_or_else(user)),
        why: prune.why.clone(),
    };
    let longest = 1024;
    ensure!(
        !pruning.why.trim().is_empty() && pruning.why.len() <= longest,
        "--why: say why in a few words, at most {longest} bytes"
    );
    pruning.archive.as_ref().map_or(Ok(()), ArchiveAt::check).context("--archive")?;
    data_directory::prepare(data)?;
    let key = refusals::sealing_key(data)?;
    let config = Config { dir: dir.to_owned(), ..Config::default() };
    let ledger = Ledger::open(config)
        .context("the ledger cannot be pruned from here; a gateway that runs does it with --keep-records")?;
    // A file of witnesses that are none any more can be removed.
    let pruning = retention::Pruning { witnessed: ledger.cosigned().is_some(), ..pruning };
    let (stood, _) = standing::open(data, &key, &ledger).context("what stands by acts")?;
    let reading = Watch::begin();
    let pruned = retention::prune(data, &key, &ledger, stood, &pruning)?;
    drop(reading);
    // It is closed when it goes, durably.
    drop(ledger);
    match (format, pruned) {
        (Format::Json, pruned) => output::json(&serde_json::json!({ "pruned": pruned }))?,
        (Format::Table, Some(pruned)) => output::line(&output::printable(&pruned.to_string())),
        (Format::Table, None) => output::line(
            "nothing is pruned: no whole segment is older, signed for (and cosigned, where there are witnesses), and not the newest",
        ),
    }
    Ok(ExitCode::SUCCESS)
}
