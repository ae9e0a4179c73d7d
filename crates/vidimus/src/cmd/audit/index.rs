//! `vidimus audit index`: makes and extends what searches are quick by.

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use serde::Serialize;
use vidimus_ledger::SearchError;
use vidimus_readmodel::{Extended, Model, ModelError, SMALLEST};

use super::clickhouse::Remote;
use super::search::{Use, is_denied};
use crate::cmd::progress::Progress;
use crate::output::{self, Format};

/// How often the log is looked at.
const EVERY: Duration = Duration::from_secs(1);

/// Makes or extends the index: the ledger's records in columns, by which searches, SQL and sums are quick.
///
/// It is made of the ledger alone and proves nothing: each row has the index of its record, by which that is proven. Any process that can
/// read the ledger can make one, beside a running gateway too. What of it is damaged is made again from the ledger, and never believed.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  vidimus audit index --data DIR # make it, or extend it
  vidimus audit index --data DIR --follow # and keep it so, beside a gateway
  vidimus audit index --data DIR --index /var/cache/vidimus # elsewhere
  vidimus audit index --data DIR --check # is it what was written?
  vidimus audit index --data DIR --rebuild # from nothing
  vidimus audit index --data DIR --clickhouse clickhouse://db/vidimus # there

Exit codes: 0 it has all that can be sealed, 2 it could not be made, or the
ledger lacks records that it signed for.")]
pub struct Index {
    /// Take nothing over of what is there.
    #[arg(long)]
    rebuild: bool,
    /// Read all of it, and make again from the ledger what is not what was written.
    #[arg(long, conflicts_with = "rebuild")]
    check: bool,
    /// Go on as the ledger grows.
    #[arg(long)]
    follow: bool,
}

#[derive(Serialize)]
struct Report {
    first: u64,
    newer: u64,
    records: u64,
    added: u64,
    repaired: usize,
    busy: bool,
}

pub fn run(ledger: &Path, index: Option<&Path>, it: &Index, format: Format) -> anyhow::Result<ExitCode> {
    let index = index.context("--ledger: say where the index of that ledger is to be, with --index DIR")?;
    let failed = || format!("the index in {}", index.display());
    let mut progress = Progress::begin("indexed");
    let told = &mut |sealed, all| progress.of(sealed, all);
    let mut extended = if it.rebuild {
        vidimus_readmodel::rebuild(index, ledger, told)
    } else {
        vidimus_readmodel::extend(index, ledger, told)
    }
    .with_context(failed)?;
    progress.end();
    if it.check {
        let checked = vidimus_readmodel::check(index, ledger).with_context(failed)?;
        extended = Extended { repaired: extended.repaired + checked.repaired, ..extended };
    }
    loop {
        tell(&extended, newer(ledger, &extended), format)?;
        if !it.follow {
            if !extended.busy {
                is_all_there(ledger, extended.first.saturating_add(extended.records))?;
            }
            return Ok(ExitCode::SUCCESS);
        }
        extended = Extended::default();
        while extended.added == 0 && extended.repaired == 0 {
            if output::is_gone() {
                return Ok(ExitCode::SUCCESS);
            }
            std::thread::sleep(EVERY);
            extended = vidimus_readmodel::extend(index, ledger, &mut |_, _| {}).with_context(failed)?;
        }
    }
}

/// That the ledger has all that it signed for from a record on, which is too little for a file; and the segments before.
pub(super) fn is_all_there(ledger: &Path, from: u64) -> Result<(), SearchError> {
    let signed = vidimus_ledger::signed_for(ledger)?;
    vidimus_ledger::has_no_gap(ledger)?;
    let mut reading = vidimus_ledger::read_from(ledger, from)?;
    while reading.index() < signed {
        match reading.next() {
            Some(hit) => drop(hit?),
            None => return Err(SearchError::Shorter { records: reading.index(), signed }),
        }
    }
    Ok(())
}

/// The table of a ClickHouse: what it lacks of the ledger is added, or all of it anew, also beside a gateway that writes there.
pub fn run_remote(remote: Remote, ledger: &Path, it: &Index, format: Format) -> anyhow::Result<ExitCode> {
    anyhow::ensure!(!it.follow, "--follow: a gateway does that: vidimus serve --sink clickhouse://…");
    anyhow::ensure!(!it.check, "--check: a row is not checked; --rebuild makes all of them again");
    let (first, records, added) = remote.fill(ledger, it.rebuild)?;
    tell(&Extended { first, records, added, ..Extended::default() }, 0, format)?;
    Ok(ExitCode::SUCCESS)
}

/// How many records are signed for and in no file yet.
fn newer(ledger: &Path, extended: &Extended) -> u64 {
    // What is wrong with the ledger, `is_all_there` says.
    let signed = vidimus_ledger::signed_for(ledger).unwrap_or(0);
    signed.saturating_sub(extended.first.saturating_add(extended.records))
}

fn tell(extended: &Extended, newer: u64, format: Format) -> anyhow::Result<()> {
    let Extended { first, records, added, repaired, busy } = *extended;
    if format == Format::Json {
        return output::json(&Report { first, newer, records, added, repaired, busy });
    }
    if busy {
        output::warning("another process is extending it; nothing was done here");
    }
    let made_again = if repaired == 0 { String::new() } else { format!(", {repaired} files made again") };
    let from = if first == 0 { String::new() } else { format!(" (from index {first} on)") };
    output::line(&format!("{records} records are in the index{from}, {added} of them new{made_again}"));
    if newer > 0 {
        output::line(&format!(
            "the newest {newer} are in no file yet, and are read from the ledger when they are asked for: files are made of {SMALLEST} records and more"
        ));
    }
    Ok(())
}

/// The index with all that the log has, for what cannot be answered without one: it is made where it is missing.
pub(super) fn made(ledger: &Path, index: Option<&Path>) -> anyhow::Result<Model> {
    let Some(index) = index else { return in_memory(ledger) };
    let open = || -> Result<Option<Model>, ModelError> {
        let mut progress = Progress::begin("indexed");
        match vidimus_readmodel::extend(index, ledger, &mut |sealed, all| progress.of(sealed, all)) {
            Err(error) if !is_denied(&error) => return Err(error),
            _ => {}
        }
        let Some(mut model) = Model::open(index, ledger)? else { return Ok(None) };
        if model.behind() > MOST_IN_MEMORY {
            return Err(ModelError::Query(format!(
                "{} records are not in the index yet, which another process makes now: ask again when it has them",
                model.behind()
            )));
        }
        model.refresh()?;
        Ok(Some(model))
    };
    let model = match open() {
        // Once more, now that it was made again.
        Err(error) if error.damaged().is_some() => {
            let again = vidimus_readmodel::repair(index, ledger, &error).and_then(|()| open());
            again.unwrap_or_else(|error| {
                not_used(&error);
                None
            })
        }
        model => model?,
    };
    model.map_or_else(|| in_memory(ledger), Ok)
}

/// The index of one of several ledgers, which is only read; where none is there that helps, a small ledger is read as a whole.
pub(super) fn of_one(ledger: &Path, index: Option<&Path>) -> anyhow::Result<Model> {
    let found = match index.filter(|index| index.is_dir()) {
        Some(index) => Use::BY_COMMANDS.current(ledger, index),
        None => Ok(None),
    };
    match found {
        Ok(Some(model)) => return Ok(model),
        Ok(None) => {}
        Err(ModelError::Log(error)) => return Err(error.into()),
        Err(error) => not_used(&error),
    }
    whole(ledger, || {
        format!(
            "{}: it is too long to be read without an index; `vidimus audit index --data DATA` makes one beside DATA/ledger",
            ledger.display()
        )
    })
}

/// The index once more, with the file made again that an error is about; where this user may not, or another process writes, none.
pub(super) fn repaired(ledger: &Path, index: Option<&Path>, error: &ModelError) -> anyhow::Result<Model> {
    if let Some(index) = index
        && let Err(error) = vidimus_readmodel::repair(index, ledger, error)
    {
        not_used(&error);
        return in_memory(ledger);
    }
    made(ledger, index)
}

/// Says why the index is of no use now.
pub(super) fn not_used(error: &ModelError) {
    output::warning(&format!("the index is not used, and the ledger is read instead: {error}"));
}

/// Where nothing may be written, a small log is read as a whole.
fn in_memory(ledger: &Path) -> anyhow::Result<Model> {
    whole(ledger, || {
        "no index can be made here; give a directory that this user may write: --index DIR".to_owned()
    })
}

/// All of a small log; of a longer one `advice`.
fn whole(ledger: &Path, advice: impl FnOnce() -> String) -> anyhow::Result<Model> {
    let mut model = Model::in_memory(ledger, 0)?;
    anyhow::ensure!(model.behind() <= MOST_IN_MEMORY, advice());
    model.refresh()?;
    Ok(model)
}

/// Records of a log without an index that are read into memory.
const MOST_IN_MEMORY: u64 = 1 << 18;
