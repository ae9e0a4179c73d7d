//! The same records and questions in SQLite, with an index for each question.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use jiff::Timestamp;
use rusqlite::{Connection, params};
use vidimus_core::record::{Kept, Record};

use crate::estate::{AGENTS, POLICIES, window};
use crate::figures::Figures;
use crate::{Anything, Question};

const ENGINE: &str = "sqlite";

pub(crate) fn measure(figures: &mut Figures, root: &Path, log: &Path) -> Anything<()> {
    let path = root.join("records.sqlite");
    let begun = std::time::Instant::now();
    let database = fill(&path, log)?;
    figures.rate("audit_build", ENGINE, figures.records, begun);
    figures.size(ENGINE, fs::metadata(&path)?.len());
    ask(figures, &database)
}

fn fill(path: &Path, log: &Path) -> Anything<Connection> {
    let _ = fs::remove_file(path);
    let mut database = Connection::open(path)?;
    database.execute_batch(
        "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA cache_size=-262144;
         CREATE TABLE records (idx INTEGER PRIMARY KEY, time INTEGER, kind TEXT, id TEXT, outcome TEXT, code TEXT, principal TEXT,
            person TEXT, resource TEXT, trans TEXT, trace TEXT, latency INTEGER, record TEXT);
         CREATE TABLE policies (policy TEXT, outcome TEXT, idx INTEGER, PRIMARY KEY (policy, outcome, idx)) WITHOUT ROWID;
         CREATE INDEX by_principal ON records (principal, time);
         CREATE INDEX by_trace ON records (trace);
         CREATE INDEX by_trans ON records (trans);",
    )?;
    let mut reading = vidimus_ledger::read_from(log, 0)?.peekable();
    let mut decisions = HashMap::new();
    while reading.peek().is_some() {
        let transaction = database.transaction()?;
        for hit in reading.by_ref().take(1000) {
            let hit = hit?;
            let record = Kept::read(&hit.record)?;
            let time = record.time().parse::<Timestamp>()?.as_microsecond();
            let (mut principal, mut person, mut resource) = (None, None, None);
            let (mut trans, mut trace, mut outcome, mut code, mut latency) = (None, None, None, None, None);
            let mut policies: Vec<String> = Vec::new();
            match &record {
                Record::Decision(it) => {
                    (principal, person) =
                        (Some(it.principal.to_string()), it.user.as_ref().map(ToString::to_string));
                    (resource, trans) = (Some(it.resource.to_string()), Some(it.transaction.to_string()));
                    (trace, outcome) = (Some(it.trace.to_string()), Some(it.outcome.to_string()));
                    code = it.code.as_ref().map(ToString::to_string);
                    policies.extend(it.policies.iter().chain(&*it.closest_permits).map(ToString::to_string));
                    decisions.insert(
                        hit.index,
                        (principal.clone(), person.clone(), resource.clone(), trans.clone(), trace.clone()),
                    );
                }
                Record::Effect(it) => {
                    if let Some(of) = decisions.remove(&it.decision) {
                        (principal, person, resource, trans, trace) = of;
                    }
                    (outcome, latency) = (Some(it.result.to_string()), i64::try_from(it.duration_us).ok());
                }
                Record::Refusal(it) => {
                    (outcome, code, trace) =
                        (Some(it.outcome.to_string()), Some(it.code.to_string()), Some(it.trace.to_string()));
                }
                Record::Act(_) => {}
            }
            let index = i64::try_from(hit.index)?;
            for policy in policies {
                transaction
                    .prepare_cached("INSERT OR IGNORE INTO policies VALUES (?1, ?2, ?3)")?
                    .execute(params![policy, outcome, index])?;
            }
            transaction
                .prepare_cached(
                    "INSERT INTO records VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)",
                )?
                .execute(params![
                    index,
                    time,
                    record.kind(),
                    record.id(),
                    outcome,
                    code,
                    principal,
                    person,
                    resource,
                    trans,
                    trace,
                    latency,
                    String::from_utf8(hit.record)?
                ])?;
        }
        transaction.commit()?;
    }
    database.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)")?;
    Ok(database)
}

fn ask(figures: &mut Figures, database: &Connection) -> Anything<()> {
    let records = figures.records;
    let rows = |query: &str, params: &[&dyn rusqlite::ToSql]| -> Anything<usize> {
        let mut statement = database.prepare_cached(query)?;
        let mut rows = statement.query(params)?;
        let mut count = 0;
        while let Some(row) = rows.next()? {
            let _: rusqlite::types::Value = row.get(0)?;
            count += 1;
        }
        Ok(count)
    };
    figures.times(ENGINE, Question::AgentAndTime, 51, |random| {
        let (since, until) = window(random, records);
        let agent = format!("Agent/estate/agent-{}", random % AGENTS);
        rows(
            "SELECT record FROM records WHERE principal = ?1 AND time >= ?2 AND time < ?3 ORDER BY time DESC LIMIT 100",
            &[&agent, &since.as_microsecond(), &until.as_microsecond()],
        )
    })?;
    figures.times(ENGINE, Question::PolicyAndOutcome, 51, |random| {
        let outcome = if random.is_multiple_of(2) { "allow" } else { "deny" };
        rows(
            "SELECT record FROM policies JOIN records USING (idx) WHERE policy = ?1 AND policies.outcome = ?2 ORDER BY idx DESC LIMIT 100",
            &[&format!("estate/policy-{}", random % POLICIES), &outcome],
        )
    })?;
    figures.times(ENGINE, Question::Latest, 51, |_| {
        rows(
            "SELECT record FROM records WHERE kind IN ('decision', 'refusal') ORDER BY idx DESC LIMIT 100",
            &[],
        )
    })?;
    figures.times(ENGINE, Question::TextNowhere, 3, |_| {
        rows(
            "SELECT record FROM records WHERE instr(record, 'such a thing is nowhere') > 0 ORDER BY idx DESC LIMIT 100",
            &[],
        )
    })?;
    figures.times(ENGINE, Question::ByAgentPerHour, 3, |_| {
        rows(
            "SELECT principal, time / 3600000000 AS hour, count(*) FROM records WHERE principal IS NOT NULL GROUP BY principal, hour \
             ORDER BY hour DESC LIMIT 1000",
            &[],
        )
    })
}
