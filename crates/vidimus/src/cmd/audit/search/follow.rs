//! Records as they come.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::bail;
use serde::Serialize;
use vidimus_query::audit::logs::Logs;
use vidimus_query::audit::{Damage, Found, Judge, SearchQuestion};
use vidimus_readmodel::{Model, Wanted};

use super::indexed;
use super::table::{self, Row};
use crate::cmd::{self, audit};
use crate::output::{self, Format};

/// How often the log is looked at.
const EVERY: Duration = Duration::from_millis(250);

/// Records before the present that are in memory too: among them are the decisions of most calls under way. Others are read when they are
/// asked for.
const BEFORE: u64 = 1 << 14;

/// Rows of one table.
const ROWS: usize = 1_000;

/// Shows what fits of several logs, each from now on: what comes of two at once stands in the order in which it is found. One that cannot be followed
/// keeps nobody from the others.
pub(super) fn run_logs(logs: &Logs, question: &SearchQuestion, format: Format) -> anyhow::Result<ExitCode> {
    Judge::of(question, Vec::new()).map_err(|misasked| cmd::misasked(&misasked))?;
    let mut followed = Vec::new();
    for log in logs.all() {
        match log.directories.as_slice() {
            [directory] => followed.push((log.name.as_str(), directory.as_path())),
            _ => bail!(
                "--follow: several of the directories have the log {}; give the one that grows",
                log.name
            ),
        }
    }
    let follow = |log: &str, directory: &Path| {
        let index = audit::index_beside(directory);
        let ended = run(directory, index.as_deref(), question, None, (Some(log), format));
        if let Err(error) = &ended {
            output::warning(&format!("{log} is not followed any more: {error:#}"));
        }
        ended.is_ok()
    };
    let ended: Vec<bool> = std::thread::scope(|scope| {
        let follow = &follow;
        // All are begun before the first is waited for.
        let all: Vec<_> = followed
            .into_iter()
            .map(|(log, directory)| scope.spawn(move || follow(log, directory)))
            .collect();
        all.into_iter().map(|one| one.join().unwrap_or(false)).collect()
    });
    Ok(if ended.contains(&false) { ExitCode::from(2) } else { ExitCode::SUCCESS })
}

/// Shows what fits from `after` on, or from now on, until nobody reads it any more; each with its `log`, where it is one of several.
pub(super) fn run(
    ledger: &Path,
    index: Option<&Path>,
    question: &SearchQuestion,
    mut after: Option<u64>,
    (log, format): (Option<&str>, Format),
) -> anyhow::Result<ExitCode> {
    let question = SearchQuestion { oldest_first: true, ..question.clone() };
    Judge::of(&question, Vec::new()).map_err(|misasked| cmd::misasked(&misasked))?;
    let present = vidimus_ledger::signed_for(ledger)?;
    let mut shown = Printer { format, log: log.map(str::to_owned), rows: Vec::new() };
    if let Some(from) = after.filter(|after| after.saturating_add(1) < present) {
        past(indexed::records(ledger, index, &question, Some(from), usize::MAX)?, present, &mut shown)?;
        after = present.checked_sub(1);
    }
    let mut model = match indexed::model(ledger, index)? {
        Some(model) => model,
        None => {
            let mut model = Model::in_memory(ledger, present.saturating_sub(BEFORE))?;
            model.refresh()?;
            model
        }
    };
    let mut asked = AskedFor::of_log(ledger, &question)?;
    let (_, end) = model.extent();
    after = after.or(end.checked_sub(1));
    while !output::is_gone() {
        let (_, end) = model.extent();
        let approvals = asked.and(indexed::approvals(&model, &question)?);
        let judge = Judge::of(&question, approvals).map_err(|misasked| cmd::misasked(&misasked))?;
        let (kinds, query) = judge.wants();
        for candidate in model.find(&Wanted { kinds, query, after }, usize::MAX)? {
            if let Some(found) = judge.judge(candidate.hit, candidate.decision.as_ref()) {
                shown.take(found)?;
            }
        }
        shown.flush();
        // Who asks for what comes later than the next record waits for that.
        after = after.max(end.checked_sub(1));
        model.forget_before(end.saturating_sub(BEFORE));
        while !output::is_gone() && model.refresh()? == 0 {
            std::thread::sleep(EVERY);
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The approvals that the policy of a question asked for, from the beginning of the log on: what is in memory is forgotten, and a call may be made
/// hours after it was asked about.
#[derive(Debug, Default)]
struct AskedFor(BTreeSet<String>);

impl AskedFor {
    /// Reads the log for them, where a policy is asked for.
    fn of_log(ledger: &Path, question: &SearchQuestion) -> anyhow::Result<Self> {
        let Some(asks) = Judge::asks_of_approvals(question) else { return Ok(Self::default()) };
        // What is damaged is told where it is met.
        let acts = indexed::of_log(ledger, &asks, None)?.flatten();
        Ok(Self(Judge::approvals(acts).into_iter().collect()))
    }

    /// All of them, with these.
    fn and(&mut self, more: Vec<String>) -> Vec<String> {
        self.0.extend(more);
        self.0.iter().cloned().collect()
    }
}

/// Shows what was there before record `present`, page by page: however much that is, it is not held in memory.
fn past(
    records: impl Iterator<Item = Result<Found, Damage>>,
    present: u64,
    shown: &mut Printer,
) -> anyhow::Result<()> {
    for found in records {
        if output::is_gone() || found.as_ref().is_ok_and(|found| found.index >= present) {
            break;
        }
        shown.take(found)?;
    }
    shown.flush();
    Ok(())
}

/// A record with the log that it is of.
#[derive(Debug, Serialize)]
struct OfLog<'f> {
    log: &'f str,
    #[serde(flatten)]
    found: &'f Found,
}

/// Prints what is found as it comes.
struct Printer {
    format: Format,
    /// Of several logs the one that they are of.
    log: Option<String>,
    /// Not yet printed.
    rows: Vec<Row>,
}

impl Printer {
    fn take(&mut self, found: Result<Found, Damage>) -> anyhow::Result<()> {
        match found {
            Ok(found) if self.format == Format::Json => match &self.log {
                Some(log) => output::json(&OfLog { log, found: &found })?,
                None => output::json(&found)?,
            },
            Ok(found) => {
                let row = Row::of(&found);
                self.rows.push(match &self.log {
                    Some(log) => row.in_log(log),
                    None => row,
                });
            }
            Err(damage) => match &self.log {
                Some(log) => output::warning(&format!("{log}: {damage}")),
                None => output::warning(&damage.to_string()),
            },
        }
        if self.rows.len() >= ROWS {
            self.flush();
        }
        Ok(())
    }

    fn flush(&mut self) {
        if !self.rows.is_empty() {
            table::print(&self.rows, output::width());
            self.rows.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An approval that was asked for long before what is in memory, and one that has been forgotten since.
    #[test]
    fn approvals_of_a_policy_are_known_however_long_ago_they_were_asked_for() {
        let dir = tempfile::tempdir().expect("a directory");
        let ledger = dir.path().join("ledger");
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let log = vidimus_ledger::Ledger::open(vidimus_ledger::Config {
            dir: ledger.clone(),
            ..vidimus_ledger::Config::default()
        });
        let log = log.expect("a log");
        for (approval, policy) in [("1", "finance/large"), ("2", "finance/other")] {
            let question = serde_json::json!({
                "action": "invokeTool", "approval": approval, "asking": [{"policy": policy, "quorum": 1, "role": "r"}], "call": "c", "chain": [],
                "digest": "d", "endpoint": "https://a.example", "method": "tools/call", "owner": "o", "principal": "Agent/a/x",
                "resource": "Tool/a/b/c", "until": 1,
            });
            let record = serde_json::json!({
                "act": {"ask": question}, "actor": "vidimus", "id": approval, "kind": "act", "time": "2026-11-28T00:00:00.000000Z", "version": 1,
                "why": "w",
            });
            let record = vidimus_core::record::Kept::read(record.to_string().as_bytes()).expect("a record");
            runtime.block_on(log.record(&record)).expect("kept");
        }
        runtime.block_on(log.close());
        let of = |policy: Option<&str>| SearchQuestion {
            policy: policy.map(str::to_owned),
            ..SearchQuestion::default()
        };
        let mut asked = AskedFor::of_log(&ledger, &of(Some("large"))).expect("read");
        assert_eq!(asked.and(Vec::new()), ["1"]);
        assert_eq!(asked.and(vec!["3".to_owned()]), ["1", "3"]);
        assert_eq!(asked.and(Vec::new()), ["1", "3"], "what memory forgets is known");
        assert!(AskedFor::of_log(&ledger, &of(None)).expect("read").and(Vec::new()).is_empty());
    }

    /// Each once: what is there is shown up to the present, and the rest is left to who follows.
    #[test]
    fn the_past_ends_where_following_begins() {
        let found = |index: u64| {
            let record = serde_json::json!({
                "kind": "refusal", "time": "", "path": "/", "outcome": "deny", "code": "token_expired", "id": "c", "message": "", "trace": "",
                "version": 1, "index": index,
            });
            serde_json::from_value::<Found>(record).expect("a record")
        };
        let mut shown = Printer { format: Format::Table, log: None, rows: Vec::new() };
        let mut looked_at = 0;
        let records = [3, 7, 9, 10, 12].into_iter().map(found).map(Ok).inspect(|_| looked_at += 1);
        past(records, 10, &mut shown).expect("shown");
        assert_eq!((looked_at, shown.rows.len()), (4, 0), "all before the present, and printed");
    }
}
