//! `vidimus audit fsck`: what is wrong in the files of a ledger and beside it, what it means, and what to do.

mod keys;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Args;
use serde::Serialize;
use vidimus_gateway::{KEY_LENGTH, NoPosition, wrong_positions};
use vidimus_ledger::{Fault, Means};
use vidimus_registry::configurations::Archive;

use crate::cmd::data_directory;
use crate::cmd::progress::Progress;
use crate::cmd::serve::{configurations, sinks, standing};
use crate::output::{self, Format, printable};

/// Looks at every file of the ledger, and at those beside it without which it does not go on: what is wrong, in which file and where, whether
/// the next start mends it by itself, and what to do. Changes nothing, also beside a gateway that runs.
///
/// It is for who wants the gateway to go on after a crash, a full disk or a restored copy; `verify` is for who wants to know whether to
/// believe the ledger. Both read the same way, and what `verify` finds is found here.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  vidimus audit fsck --data /var/lib/vidimus
  vidimus audit fsck --ledger /mnt/archive # an archive, or a copy
  vidimus audit fsck --data DIR -o json | jq .faults # for programs

Exit codes: 0 nothing is wrong, or the next start mends it, 1 something is
lost or altered, 2 not looked at.")]
pub struct Fsck {}

/// What is printed.
#[derive(Debug, Serialize)]
struct Answer {
    verdict: Verdict,
    /// The log's name.
    log: String,
    /// The first record that is there.
    minimum: u64,
    /// Records before this one are whole.
    records: u64,
    faults: Vec<Fault>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Verdict {
    Clean,
    Mended,
    Damaged,
}

impl Verdict {
    fn of(faults: &[Fault]) -> Self {
        match faults.iter().map(|fault| fault.means).max() {
            None | Some(Means::Noted) => Self::Clean,
            Some(Means::Mended) => Self::Mended,
            Some(Means::Lost | Means::Altered) => Self::Damaged,
        }
    }

    const fn as_str(self) -> &'static str {
        match self {
            Self::Clean => "clean",
            Self::Mended => "nothing is lost; the next start mends it",
            Self::Damaged => "DAMAGED",
        }
    }
}

/// `beside` is the data directory that the ledger is in, where it is in one.
pub fn run(beside: Option<&Path>, dir: &Path, format: Format) -> anyhow::Result<ExitCode> {
    let archive = beside.is_none();
    let mut progress = Progress::begin("looked at");
    let looked = vidimus_ledger::fsck_with_progress(dir, archive, &mut |read, all| progress.of(read, all))?;
    progress.end();
    let mut faults = looked.faults;
    let kept = match beside {
        Some(data) => {
            let of_sinks = of_sinks(data, dir, &looked.origin, looked.minimum, looked.records);
            faults.extend(keys::or_not_looked_at(sinks::positions(data), of_sinks)?);
            faults.extend(keys::look(data, looked.minimum > 0)?);
            faults.extend(data_directory::leftovers(data).into_iter().map(unfinished));
            data_directory::configurations(data)
        }
        None => data_directory::archived_configurations(dir),
    };
    if beside.is_some() || kept.is_dir() {
        let can_be_read = looked.records > looked.minimum && faults.iter().all(|fault| fault.means.is_well());
        let found = of_configurations(&kept, dir, can_be_read);
        faults.extend(keys::or_not_looked_at(kept, found)?);
    }
    faults.sort_by_key(|fault| std::cmp::Reverse(fault.means));
    let (minimum, records) = (looked.minimum, looked.records);
    let answer = Answer { verdict: Verdict::of(&faults), log: looked.origin, minimum, records, faults };
    match format {
        Format::Json => output::json(&answer)?,
        Format::Table => print(&answer),
    }
    Ok(if answer.verdict == Verdict::Damaged { ExitCode::from(1) } else { ExitCode::SUCCESS })
}

fn fault(means: Means, file: PathBuf, what: impl Into<String>, next: &str) -> Fault {
    Fault { file, offset: None, record: None, what: what.into(), means, next: next.to_owned() }
}

fn unfinished(file: PathBuf) -> Fault {
    fault(Means::Mended, file, "a write that did not finish: it means nothing", "a start removes it")
}

/// Positions of sinks that are not of this ledger, or of more of it than is there. A gateway with such a sink does not start.
fn of_sinks(data: &Path, dir: &Path, origin: &str, minimum: u64, records: u64) -> anyhow::Result<Vec<Fault>> {
    let directory = sinks::positions(data);
    let mut wrong = wrong_positions(&directory, (origin, minimum..records))?;
    // A ledger that is written meanwhile has more by now.
    if wrong.iter().any(|(_, error)| matches!(error, NoPosition::PutBack { .. })) {
        let now = vidimus_ledger::fsck(dir, false)?;
        wrong = wrong_positions(&directory, (origin, now.minimum..now.records))?;
    }
    let faults = wrong.into_iter().map(|(path, error)| {
        let next = "a gateway with this sink does not start until it is put back or removed";
        fault(Means::Altered, path, error.to_string(), next)
    });
    Ok(faults.collect())
}

/// What stands by acts, as it is written down for a start.
fn of_standing(data: &Path, key: &[u8; KEY_LENGTH], is_pruned: bool) -> anyhow::Result<Vec<Fault>> {
    let (unusable, starts) = standing::unusable(data, key, is_pruned)?;
    let faults = unusable.into_iter().map(|(path, reason)| {
        if starts {
            fault(Means::Mended, path, reason, "a start reads the acts in the ledger instead, or the file beside it")
        } else {
            let next = "the gateway does not start: nothing else says what the acts did that were pruned; put registry/ back from a copy";
            fault(Means::Lost, path, reason, next)
        }
    });
    Ok(faults.collect())
}

/// The configurations that decided: damaged texts, and those that records name and that are not there.
fn of_configurations(kept: &Path, dir: &Path, can_be_read: bool) -> anyhow::Result<Vec<Fault>> {
    let looked = Archive::at(kept).look().context("the configurations")?;
    let next = "what it decided is proven, and cannot be decided again (`audit export`, `policy explain`); put the file back from a copy or an archive";
    let damaged: Vec<Fault> =
        looked.damaged.into_iter().map(|(path, reason)| fault(Means::Altered, path, reason, next)).collect();
    let left = |path| {
        fault(Means::Noted, path, "a write that did not finish: it means nothing", "it may be removed")
    };
    let mut faults: Vec<Fault> = looked.unfinished.into_iter().map(left).collect();
    // One that cannot be read is told by its file.
    if can_be_read && damaged.is_empty() {
        let (referred, newest) = configurations::referred(dir).context("the records")?;
        for snapshot in referred.difference(&looked.whole) {
            let what = format!("the configuration {snapshot} decided, and is not kept");
            // It is written beside the calls, so a process that is killed may not have come to it.
            faults.push(if newest.as_ref() == Some(snapshot) {
                let next = "a start with the same resources keeps it";
                fault(Means::Mended, kept.to_owned(), what, next)
            } else {
                fault(Means::Lost, kept.to_owned(), what, next)
            });
        }
    }
    faults.extend(damaged);
    Ok(faults)
}

fn print(answer: &Answer) {
    let row = |label: &str, text: &str| output::line(&format!("{label:<12}{}", printable(text)));
    row("log", &answer.log);
    row("records", &format!("{} to before {}", answer.minimum, answer.records));
    if !answer.faults.is_empty() {
        let mut table = output::table(&["MEANS", "FILE", "AT", "WHAT", "NEXT"], &[0], output::width());
        for one in &answer.faults {
            let means = match one.means {
                Means::Noted => "noted",
                Means::Mended => "mended",
                Means::Lost => "lost",
                Means::Altered => "altered",
            };
            let at = [("byte", one.offset), ("record", one.record)]
                .into_iter()
                .filter_map(|(of, at)| Some(format!("{of} {}", at?)))
                .collect::<Vec<_>>()
                .join(", ");
            let text = |text: &str| output::cell(&printable(text));
            let file = one.file.display().to_string();
            table.add_row([
                output::verdict_cell(means, one.means.is_well()),
                text(&file),
                output::cell(&at),
                text(&one.what),
                text(&one.next),
            ]);
        }
        output::line(&table.to_string());
    }
    let well = answer.verdict != Verdict::Damaged;
    output::line(&format!("{:<12}{}", "verdict", output::verdict(answer.verdict.as_str(), well)));
}
