//! Several ledgers, checked as one.

use std::fs;
use std::process::ExitCode;

use anyhow::Context as _;
use serde_json::json;
use vidimus_query::audit::logs::{self, CheckpointSet, Held, LogVerified, Logs, LogsReport};

use super::{Verdict, Verify, unremembered};
use crate::cmd::progress::Progress;
use crate::output::{self, Format, printable};

/// Checks each, and all of them together; the verdict is one.
pub fn run(logs: &Logs, may_be_archives: bool, verify: &Verify, format: Format) -> anyhow::Result<ExitCode> {
    let held = verify.held(may_be_archives)?;
    let mut progress = Progress::begin("verified");
    let report = logs::verify_with_progress(logs, &held, &mut |read, all| progress.of(read, all));
    progress.end();
    let report = report.map_err(unremembered)?;
    match format {
        Format::Json => output::json(&json!({
            "intact": report.intact(), "verdict": verdict(&report), "messages": wrong(&report), "report": report,
        }))?,
        Format::Table => print(&report),
    }
    Ok(match (report.is_wrong(), report.intact()) {
        (true, _) => ExitCode::from(1),
        (false, true) => ExitCode::SUCCESS,
        // Some could not be read.
        (false, false) => ExitCode::from(2),
    })
}

impl Verify {
    fn held(&self, may_be_archives: bool) -> anyhow::Result<Held> {
        let notes: String = self.trusted()?.iter().map(|note| format!("{note}\n")).collect();
        let checkpoints = if notes.is_empty() {
            CheckpointSet::default()
        } else {
            notes.parse::<CheckpointSet>().context("--checkpoint")?
        };
        let since = self.since_set.as_ref().map(|path| {
            let flag = || format!("--since-set {}", path.display());
            fs::read_to_string(path).with_context(flag)?.parse::<CheckpointSet>().with_context(flag)
        });
        Ok(Held {
            keys: self.keys()?,
            checkpoints,
            since: since.transpose()?,
            memory: self.remembered()?,
            witnesses: self.witnesses()?,
            accept_new: self.accept_new_log,
            may_be_archives,
        })
    }
}

fn verdict(report: &LogsReport) -> &'static str {
    match (report.is_wrong(), report.intact()) {
        (true, _) => "NOT INTACT",
        (false, true) => "intact",
        (false, false) => "not all were checked",
    }
}

fn verdict_of(one: &LogVerified) -> &'static str {
    one.report.as_ref().map_or("not checked", |report| Verdict::of(report).as_str())
}

/// All that is wrong, of each with its log.
fn wrong(report: &LogsReport) -> Vec<String> {
    let together = report.findings.iter().map(ToString::to_string);
    let each = report.logs.iter().flat_map(|one| {
        let findings = one.report.iter().flat_map(|report| &report.findings);
        findings.map(|finding| format!("{}: {finding}", one.log))
    });
    together.chain(each).collect()
}

fn print(report: &LogsReport) {
    let mut table = output::table(
        &["LOG", "KEY", "RECORDS", "CHECKPOINT", "ROOT", "WITNESSES", "VERDICT"],
        &[2, 3],
        output::width(),
    );
    for one in &report.logs {
        let seen = one.report.as_ref();
        let checkpoint = seen.and_then(|report| report.checkpoint.as_ref());
        let by = seen.and_then(|report| report.cosigned.as_ref()).map(|cosigned| cosigned.by.as_slice());
        let by = by.unwrap_or_default();
        let witnesses: Vec<&str> = by.iter().map(|one| one.witness.as_str()).collect();
        let id = seen.and_then(|report| report.key.split('+').nth(1)).unwrap_or_default();
        table.add_row([
            output::cell(&printable(&one.log)),
            output::cell(id),
            output::cell(&seen.map(|report| report.records.to_string()).unwrap_or_default()),
            output::cell(&checkpoint.map(|checkpoint| checkpoint.size.to_string()).unwrap_or_default()),
            output::cell(checkpoint.map(|checkpoint| checkpoint.root.as_str()).unwrap_or_default()),
            output::cell(&printable(&witnesses.join(", "))),
            output::verdict_cell(verdict_of(one), one.is_intact()),
        ]);
    }
    output::line(&table.trim_fmt());
    let row = |label: &str, text: &str| output::line(&format!("{label:<13}{text}"));
    for finding in wrong(report) {
        row("WRONG", &output::verdict(&printable(&finding), false));
    }
    for one in &report.logs {
        let of_log = |text: &str| printable(&format!("{}: {text}", one.log)).into_owned();
        if let Some(why) = &one.unchecked {
            row("NOT CHECKED", &of_log(why));
        }
        for note in one.report.iter().flat_map(|report| &report.notes) {
            row("note", &of_log(&note.to_string()));
        }
    }
    for note in &report.notes {
        row("note", &printable(&note.to_string()));
    }
    row("verdict", &output::verdict(verdict(report), report.intact()));
}
