//! Evidence of several ledgers: a file of each, which is believed by itself, and an index of them.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};
use vidimus_ledger::Checkpoint;
use vidimus_query::audit::logs::{Log, Logs};
use vidimus_query::audit::{EvidenceAsked, ExportError, ExportQuestion, Lookup};

use super::{Export, unwritten, whole, written};
use crate::cmd;
use crate::output::{self, Format, printable};

/// The form of the index.
const FORMAT: &str = "vidimus-evidence-index@v1";

/// Writes a file of each directory that has records which fit, and the index. What is wrong with one ledger keeps nobody from the others.
pub fn run(
    logs: &Logs,
    beside: impl Fn(&Path) -> (PathBuf, Box<dyn Lookup>),
    export: &Export,
    format: Format,
) -> anyhow::Result<ExitCode> {
    cmd::audit::warn_of_repeated(logs);
    let question = export.question()?;
    for note in &question.since_checkpoints {
        let origin = Checkpoint::unverified(note).context("--since-checkpoint")?.origin;
        ensure!(
            logs.all().iter().any(|log| is_of(log, &origin)),
            "--since-checkpoint: one is of the log {origin}, which no --ledger has"
        );
    }
    let out = &export.out;
    fs::DirBuilder::new().recursive(true).mode(0o700).create(out).with_context(|| unwritten(out))?;
    let (mut files, mut is_whole, mut records, mut is_known) = (Vec::new(), true, 0, false);
    for log in logs.all() {
        for (number, directory) in (1..).zip(&log.directories) {
            let copy = if log.directories.len() > 1 { format!("-{number}") } else { String::new() };
            let name = format!("{}{copy}.jsonl", log.file_name());
            let (asked, path) = (of_log(&question, log)?, out.join(&name));
            let part = (directory.as_path(), log.others(directory));
            let (configurations, lookup) = beside(directory);
            let beside = (configurations.as_path(), &*lookup);
            match written(beside, (part.0, part.1.as_slice()), export, asked, &path) {
                Ok((answer, all)) => {
                    is_known = true;
                    is_whole &= all;
                    records += answer.records;
                    let is_empty = answer.records == 0;
                    if is_empty {
                        // A file that proves nothing would be one more to explain.
                        fs::remove_file(&path).with_context(|| unwritten(&path))?;
                    }
                    files.push(json!({
                        "file": (!is_empty).then_some(name), "key": log.key.as_ref().ok().map(ToString::to_string), "log": log.name,
                        "records": answer.records, "sha256": (!is_empty).then_some(answer.sha256), "size": answer.size, "younger": answer.younger,
                    }));
                }
                Err(error) if has_nothing_of_it(&error) => {
                    is_whole &= cmd::audit::warned_of_pruned(directory, None);
                    let key = log.key.as_ref().ok().map(ToString::to_string);
                    files.push(json!({ "file": null, "key": key, "log": log.name, "records": 0 }));
                }
                Err(error) => {
                    is_whole = false;
                    output::warning(&format!("{}: {error:#}", log.name));
                    files.push(json!({ "file": null, "log": log.name, "missing": format!("{error:#}") }));
                }
            }
        }
    }
    let is_written = |one: &Value| one.get("missing").is_none();
    ensure!(files.iter().any(is_written), "nothing was written: no ledger could be exported");
    if let EvidenceAsked::Show(asked) = &question.asked {
        ensure!(is_known, "no record of any ledger is of a call, an act or an approval {}", asked.id);
    }
    if records == 0 {
        output::warning("no record of any ledger fits: nothing is proven, nor that there is none");
    }
    let exported = json!({ "at": question.exported.at, "by": question.exported.by });
    let index = json!({ "exported": exported, "format": FORMAT, "logs": files });
    whole(&out.join("index.json"), |mut file| writeln!(file, "{index}").with_context(|| unwritten(out)))?;
    match format {
        Format::Json => output::json(&index)?,
        Format::Table => print(&files, records, out),
    }
    Ok(if is_whole { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

/// Whether an error says that a ledger, of which all can be read, has nothing of the call that was asked for: another one may.
fn has_nothing_of_it(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref::<ExportError>(), Some(ExportError::UnknownId { damage: None, .. }))
}

/// Whether a checkpoint is of a log, by the name that it says.
fn is_of(log: &Log, origin: &str) -> bool {
    log.key.as_ref().is_ok_and(|key| key.name() == origin)
}

/// The question of one log: older checkpoints are those of it.
fn of_log(question: &ExportQuestion, log: &Log) -> anyhow::Result<ExportQuestion> {
    let mut since_checkpoints = Vec::new();
    for note in &question.since_checkpoints {
        let origin = Checkpoint::unverified(note).context("--since-checkpoint")?.origin;
        if is_of(log, &origin) {
            since_checkpoints.push(note.clone());
        }
    }
    Ok(ExportQuestion { since_checkpoints, ..question.clone() })
}

fn print(files: &[Value], records: u64, out: &Path) {
    for one in files {
        let text = |name| printable(output::text(one, name)).into_owned();
        let count = one.get("records").and_then(Value::as_u64).unwrap_or_default();
        let where_to = match one.get("file").and_then(Value::as_str) {
            Some(file) => format!("{count} records in {}", printable(file)),
            None => "no file".to_owned(),
        };
        output::line(&format!("{}: {where_to}", text("log")));
    }
    let out = out.display().to_string();
    let out = printable(&out);
    output::line(&format!("{records} records; index.json in {out} names the files; anybody can check them:"));
    output::line(&format!("  vidimus audit verify {out}/*.jsonl --key KEY --key KEY"));
    output::line(&format!("  python3 docs/verify-evidence.py {out}/FILE --key KEY"));
}
