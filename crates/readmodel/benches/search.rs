//! The questions of an audit over a large log, by the read model and by SQLite (WAL, `synchronous=FULL`). One JSON object a line.
//!
//! 1,000,000 records (or `VIDIMUS_READ_RECORDS`) of 1,000 agents, 2,000 tools and 500 policies over 7 days. `VIDIMUS_READ_SQLITE=0` leaves
//! SQLite out; `VIDIMUS_READ_DIR` keeps what is made, and takes a log that is there as it is.

#![expect(clippy::print_stdout, reason = "its output")]

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use rusqlite::{Connection, params};
use serde_json::{Value, json};
use vidimus_core::record::{Kept, Record};
use vidimus_ledger::{Config, Ledger, Query};
use vidimus_readmodel::{By, Model, Order, StatsQuestion, Wanted};

const AGENTS: u64 = 1_000;
const TOOLS: u64 = 2_000;
const POLICIES: u64 = 500;
const PEOPLE: u64 = 200;
const DAYS: i64 = 7;
const ALL: [&str; 4] = ["decision", "effect", "refusal", "act"];
/// In the text of one record of a hundred thousand.
const RARE: &str = "certificate of upstream";

fn main() -> Result<(), Box<dyn Error>> {
    // `cargo test --benches` runs this too; it is a measurement, not a test.
    if std::env::args().any(|argument| argument == "--test") {
        return Ok(());
    }
    let number = |name: &str, usual: u64| std::env::var(name).map_or(Ok(usual), |text| text.parse());
    let records = number("VIDIMUS_READ_RECORDS", 1_000_000)?;
    let temporary = tempfile::tempdir()?;
    let root =
        std::env::var_os("VIDIMUS_READ_DIR").map_or_else(|| temporary.path().to_owned(), PathBuf::from);
    let (log, index) = (root.join("ledger"), root.join("index"));
    if !log.exists() {
        let begun = Instant::now();
        append(&log, records)?;
        say("append", records, json!({ "records_a_second": rate(records, begun) }));
    }
    let bytes = |directory: &Path| size(directory).map(|bytes| bytes as f64 / records as f64);
    let begun = Instant::now();
    let made = vidimus_readmodel::extend(&index, &log, &mut |_, _| {})?;
    say(
        "build",
        records,
        json!({ "records_a_second": rate(made.added, begun), "seconds": begun.elapsed().as_secs_f64() }),
    );
    say(
        "bytes_a_record",
        records,
        json!({ "log": bytes(&log.join("segments"))?, "parquet": bytes(&index)? }),
    );
    ask_model(&log, &index, records)?;
    append_and_find(&log, &index, records)?;
    if number("VIDIMUS_READ_SQLITE", 1)? != 0 {
        let path = root.join("records.sqlite");
        let begun = Instant::now();
        let database = fill(&path, &log)?;
        say("sqlite_build", records, json!({ "records_a_second": rate(records, begun) }));
        say(
            "sqlite_bytes_a_record",
            records,
            json!({ "database": fs::metadata(&path)?.len() as f64 / records as f64 }),
        );
        ask_sqlite(&database, records)?;
    }
    Ok(())
}

fn say(what: &str, records: u64, mut more: Value) {
    more["measure"] = what.into();
    more["records"] = records.into();
    println!("{more}");
}

fn rate(records: u64, begun: Instant) -> u64 {
    (records as f64 / begun.elapsed().as_secs_f64()) as u64
}

fn size(directory: &Path) -> Result<u64, std::io::Error> {
    let mut bytes = 0;
    for entry in fs::read_dir(directory)? {
        bytes += entry?.metadata()?.len();
    }
    Ok(bytes)
}

/// Numbers that look like none: those of a counter, mixed (splitmix64).
fn mixed(number: u64) -> u64 {
    let mut z = number.wrapping_add(0x9e37_79b9_7f4a_7c15).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn begins() -> Timestamp {
    Timestamp::from_second(1_795_262_400).unwrap_or(Timestamp::UNIX_EPOCH)
}

fn time_of(index: u64, records: u64) -> Timestamp {
    let micros = (DAYS * 86_400_000_000) as f64 * (index as f64 / records as f64);
    begins() + SignedDuration::from_micros(micros as i64)
}

/// Of ten records: five decisions, four effects of the four before them that were let pass, and one refusal.
fn text(index: u64, records: u64) -> String {
    let time = format!("{:.6}", time_of(index, records));
    let (call, kind) = (index / 10 * 10 + index % 10 % 5, index % 10);
    let mut r = (0..).map(|n| mixed(call * 64 + n));
    let mut next = || r.next().unwrap_or_default();
    let id = format!("{:016x}-{:016x}", call + (1 << 48), next());
    let (agent, tool, person) = (next() % AGENTS, next() % TOOLS, next() % PEOPLE);
    let (body, policy, trace) =
        (format!("{:016x}{:016x}{:016x}{:016x}", next(), next(), next(), next()), next() % POLICIES, next());
    let transaction = format!("{:016x}-{:016x}", next(), next());
    match kind {
        0..5 => {
            let (outcome, code, policies) = match kind {
                4 => ("deny", r#""code":"no_permit","#, String::new()),
                _ => ("allow", "", format!("\"estate/policy-{policy}\"")),
            };
            let denies = if kind == 4 {
                format!("\"closest_permits\":[\"estate/policy-{policy}\"],")
            } else {
                String::new()
            };
            format!(
                r#"{{"action":"invokeTool","body":"sha256:{body}","chain":[],{denies}{code}"depth":1,"facts":{{"context.delegation_depth":"1","principal.risk_level":"low"}},"id":"{id}","identity":"spiffe:spiffe://estate.test/agent-{agent}","kind":"decision","method":"tools/call","outcome":"{outcome}","policies":[{policies}],"principal":"Agent/estate/agent-{agent}","protocol":"mcp","resource":"Tool/estate/server-{}/tool-{}","snapshot":"sha256:0af80b62b0ec9d7c9e18cb1de20a885d2103f98a1532cc8856e465d7bfafa4a9","source":"10.0.{}.{}","time":"{time}","trace":"{trace:016x}{trace:016x}-{trace:016x}","transaction":"{transaction}","user":"https://login.example#person-{person}","version":1}}"#,
                tool / 20,
                tool % 20,
                agent % 256,
                person % 256,
            )
        }
        5..9 => {
            let (result, status) = if next().is_multiple_of(50) { ("error", 500) } else { ("ok", 200) };
            format!(
                r#"{{"bytes_in":{},"bytes_out":{},"decision":{},"duration_us":{},"id":"{id}","kind":"effect","result":"{result}","status":{status},"time":"{time}","token":"{:016x}","version":1}}"#,
                next() % 4096,
                next() % 65_536,
                call,
                next() % 500_000,
                next(),
            )
        }
        _ => {
            let detail = if mixed(index).is_multiple_of(10_000) { RARE } else { "the token has expired" };
            format!(
                r#"{{"code":"token_expired","detail":"{detail}","id":"{:016x}-{:016x}","kind":"refusal","message":"the token has expired","outcome":"deny","path":"/mcp/estate/server-{}","time":"{time}","trace":"{trace:016x}{trace:016x}-{trace:016x}","version":1}}"#,
                index + (1 << 48),
                mixed(index + 7),
                tool / 20
            )
        }
    }
}

fn append(log: &Path, records: u64) -> Result<(), Box<dyn Error>> {
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let ledger = Ledger::open(Config { dir: log.to_owned(), ..Config::default() })?;
    for index in 0..records {
        let record: Record<'_> = Kept::read(text(index, records).as_bytes())?;
        runtime.block_on(ledger.record(&record))?;
    }
    runtime.block_on(ledger.close());
    Ok(())
}

/// The times that something takes, again and again with other numbers.
fn times(
    rounds: u64,
    mut ask: impl FnMut(u64) -> Result<usize, Box<dyn Error>>,
) -> Result<Value, Box<dyn Error>> {
    let (mut all, mut rows) = (Vec::new(), 0);
    for round in 0..rounds {
        let begun = Instant::now();
        rows += ask(mixed(round + 1))?;
        all.push(begun.elapsed());
    }
    all.sort_unstable();
    let at = |share: usize| {
        let at = (all.len() * share / 100).min(all.len().saturating_sub(1));
        all.get(at).map(Duration::as_micros).unwrap_or_default() as f64 / 1000.0
    };
    Ok(json!({ "p50_ms": at(50), "p95_ms": at(95), "rounds": rounds, "rows": rows }))
}

fn window(random: u64, records: u64) -> (Timestamp, Timestamp) {
    let since = time_of(random % (records / 10 * 9), records);
    (since, since + SignedDuration::from_hours(6))
}

fn ask_model(log: &Path, index: &Path, records: u64) -> Result<(), Box<dyn Error>> {
    let begun = Instant::now();
    let mut model = Model::open(index, log)?.ok_or("no model")?;
    model.refresh()?;
    say(
        "open",
        records,
        json!({ "ms": begun.elapsed().as_secs_f64() * 1000.0, "in_memory": model.extent().1 - model.extent().0 }),
    );
    let find = |kinds: &[&'static str], query: Query| -> Result<usize, Box<dyn Error>> {
        let query = Query { newest_first: true, ..query };
        Ok(model.find(&Wanted { kinds: kinds.to_vec(), query, after: None }, 100)?.len())
    };
    let agent = |random: u64| Some(format!("estate/agent-{}", random % AGENTS));
    let policy = |random: u64| Some(format!("estate/policy-{}", random % POLICIES));
    say(
        "agent_and_time",
        records,
        times(51, |random| {
            let (since, until) = window(random, records);
            find(
                &ALL,
                Query { agent: agent(random), since: Some(since), until: Some(until), ..Query::default() },
            )
        })?,
    );
    say(
        "policy_and_outcome",
        records,
        times(51, |random| {
            let outcome = Some(if random.is_multiple_of(2) { "allow" } else { "deny" }.to_owned());
            find(&["decision", "refusal"], Query { policy: policy(random), outcome, ..Query::default() })
        })?,
    );
    say("latest_100", records, times(51, |_| find(&["decision", "refusal"], Query::default()))?);
    say(
        "latest_100_of_an_agent",
        records,
        times(51, |random| find(&ALL, Query { agent: agent(random), ..Query::default() }))?,
    );
    say(
        "trace",
        records,
        times(21, |random| {
            let record: Value = serde_json::from_str(&text(random % records / 10 * 10, records))?;
            let trace = record["trace"].as_str().map(str::to_owned);
            find(&ALL, Query { trace, ..Query::default() })
        })?,
    );
    say(
        "free_text_rare",
        records,
        times(7, |_| find(&ALL, Query { text: Some(RARE.to_owned()), ..Query::default() }))?,
    );
    say(
        "free_text_nowhere",
        records,
        times(7, |_| {
            find(&ALL, Query { text: Some("such a thing is nowhere".to_owned()), ..Query::default() })
        })?,
    );
    say(
        "by_agent_per_hour",
        records,
        times(21, |_| {
            let question = StatsQuestion {
                by: By::AgentHour,
                order: Order::Usual,
                since: None,
                until: None,
                limit: 1000,
            };
            Ok(model.stats(&question)?.len())
        })?,
    );
    say(
        "by_agent",
        records,
        times(21, |_| {
            let question =
                StatsQuestion { by: By::Agent, order: Order::Usual, since: None, until: None, limit: 1000 };
            Ok(model.stats(&question)?.len())
        })?,
    );
    Ok(())
}

/// From the record being kept to its being found.
fn append_and_find(log: &Path, index: &Path, records: u64) -> Result<(), Box<dyn Error>> {
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let ledger = Ledger::open(Config { dir: log.to_owned(), ..Config::default() })?;
    let mut model = Model::open(index, log)?.ok_or("no model")?;
    model.refresh()?;
    let found = times(21, |random| {
        let mut record: Value = serde_json::from_str(&text(4, records))?;
        let id = format!("{random:032x}");
        record["transaction"] = id.clone().into();
        runtime.block_on(ledger.record(&Kept::read(record.to_string().as_bytes())?))?;
        model.refresh()?;
        let query = Query { transaction: Some(id), newest_first: true, ..Query::default() };
        let found = model.find(&Wanted { kinds: ALL.to_vec(), query, after: None }, 1)?;
        if found.len() == 1 { Ok(1) } else { Err("not found".into()) }
    })?;
    say("append_to_found", records, found);
    runtime.block_on(ledger.close());
    Ok(())
}

fn fill(path: &Path, log: &Path) -> Result<Connection, Box<dyn Error>> {
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
    let mut decisions = std::collections::HashMap::new();
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

fn ask_sqlite(database: &Connection, records: u64) -> Result<(), Box<dyn Error>> {
    let rows = |query: &str, params: &[&dyn rusqlite::ToSql]| -> Result<usize, Box<dyn Error>> {
        let mut statement = database.prepare_cached(query)?;
        let mut rows = statement.query(params)?;
        let mut count = 0;
        while let Some(row) = rows.next()? {
            let _: rusqlite::types::Value = row.get(0)?;
            count += 1;
        }
        Ok(count)
    };
    say(
        "sqlite_agent_and_time",
        records,
        times(51, |random| {
            let (since, until) = window(random, records);
            let agent = format!("Agent/estate/agent-{}", random % AGENTS);
            rows(
                "SELECT record FROM records WHERE principal = ?1 AND time >= ?2 AND time < ?3 ORDER BY time DESC LIMIT 100",
                &[&agent, &since.as_microsecond(), &until.as_microsecond()],
            )
        })?,
    );
    say(
        "sqlite_policy_and_outcome",
        records,
        times(51, |random| {
            let outcome = if random.is_multiple_of(2) { "allow" } else { "deny" };
            rows(
                "SELECT record FROM policies JOIN records USING (idx) WHERE policy = ?1 AND policies.outcome = ?2 ORDER BY idx DESC LIMIT 100",
                &[&format!("estate/policy-{}", random % POLICIES), &outcome],
            )
        })?,
    );
    say(
        "sqlite_latest_100",
        records,
        times(51, |_| {
            rows(
                "SELECT record FROM records WHERE kind IN ('decision', 'refusal') ORDER BY idx DESC LIMIT 100",
                &[],
            )
        })?,
    );
    say(
        "sqlite_free_text_nowhere",
        records,
        times(3, |_| {
            rows(
                "SELECT record FROM records WHERE instr(record, 'such a thing is nowhere') > 0 ORDER BY idx DESC LIMIT 100",
                &[],
            )
        })?,
    );
    say(
        "sqlite_by_agent_per_hour",
        records,
        times(3, |_| {
            rows(
                "SELECT principal, time / 3600000000 AS hour, count(*) FROM records WHERE principal IS NOT NULL GROUP BY principal, hour \
             ORDER BY hour DESC LIMIT 1000",
                &[],
            )
        })?,
    );
    Ok(())
}
