//! `--clickhouse`: the same questions, asked of the table that gateways keep in a ClickHouse (`vidimus serve --sink clickhouse://…`). It says what
//! may fit, as the index does, and the search's own rules say what does.

use std::collections::BTreeMap;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use clap::Args;
use jiff::Timestamp;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use tokio::runtime::{Builder, Runtime};
use vidimus_gateway::{AddressGuard, ClickHouse, ClickHouseError, EventRows, SecretDirectory, SinkAddress};
use vidimus_ledger::{Hit, Query, SearchError};
use vidimus_query::audit::{Damage, Found, Judge, SearchQuestion};
use vidimus_readmodel::{Answer, Bounds, Candidate, StatsQuestion, Wanted};

use crate::cmd;
use crate::cmd::serve::flags;
use crate::output;

/// Records that are looked up at once at most.
const PAGE: usize = 1000;
/// Bytes of an answer: as many records as that may have.
const MOST_BYTES: usize = 128 << 20;
/// For one answer of those that are ours.
const PATIENCE: Duration = Duration::from_secs(60);
/// To take all rows of a ledger out, and for all pages of a search: a server that never comes to an end is none that can be asked.
const LONG: Duration = Duration::from_secs(3_600);
/// Most acts that are held of those that asked people, by a policy that is searched for.
const MOST_ASKS: usize = 100_000;
/// Over what a query may take: for the way.
const WAY: Duration = Duration::from_secs(10);
/// Records that are added at once, and their bytes.
const BATCH: (usize, usize) = (4_096, 2 << 20);

/// Where it is.
#[derive(Debug, Args)]
pub struct At {
    /// Ask the ClickHouse that gateways write to (`vidimus serve --sink`), and no ledger: clickhouse+https://HOST[:PORT]/DATABASE or
    /// clickhouse://…, with the options of --sink. For search, stats, sql and index.
    #[arg(long, global = true, value_name = "URL", value_parser = flags::Unshown(flags::sink))]
    clickhouse: Option<SinkAddress>,
    /// Of the ledgers in the ClickHouse the one of this name [default: the only one].
    #[arg(long, global = true, value_name = "NAME", requires = "clickhouse")]
    origin: Option<String>,
    /// The directory with the file that `headers=FILE` names, open to its owner alone.
    #[arg(long, env = "VIDIMUS_SECRETS", global = true, value_name = "DIR")]
    secrets: Option<PathBuf>,
}

impl At {
    /// That which is to be asked.
    pub(super) fn open(&self) -> anyhow::Result<Option<Remote>> {
        let Some(address) = &self.clickhouse else { return Ok(None) };
        let secrets = self.secrets.as_deref().map(|path| SecretDirectory::open(path, None)).transpose();
        let secrets = secrets.context("--secrets")?;
        let clickhouse =
            ClickHouse::open(address, secrets, AddressGuard::default()).context("--clickhouse")?;
        let runtime = Builder::new_current_thread().enable_all().build()?;
        Ok(Some(Remote { runtime, clickhouse, origin: self.origin.clone() }))
    }
}

/// A ClickHouse that is asked.
pub struct Remote {
    runtime: Runtime,
    clickhouse: ClickHouse,
    origin: Option<String>,
}

impl Remote {
    /// Gives the records that a question asks for to `take`, in its order, until that wants no more. About `limit` are looked up.
    pub(super) fn search(
        &self,
        question: &SearchQuestion,
        after: Option<u64>,
        limit: usize,
        take: &mut dyn FnMut(Result<Found, Damage>) -> anyhow::Result<bool>,
    ) -> anyhow::Result<()> {
        let judge = |question: &SearchQuestion, approvals| {
            Judge::of(question, approvals).map_err(|misasked| cmd::misasked(&misasked))
        };
        // Whatever is asked wrongly is said before anything is looked up.
        judge(question, Vec::new())?;
        let origin = self.origin()?;
        let mut acts = Vec::new();
        if let Some(asks) = Judge::asks_of_approvals(question) {
            let of_asks = judge(&asks, Vec::new())?;
            let mut keep = |found: Result<Found, Damage>| -> anyhow::Result<bool> {
                acts.extend(found.ok());
                few(acts.len())?;
                Ok(true)
            };
            self.look_up(&origin, (&of_asks, None, usize::MAX), &mut keep)?;
        }
        let judge = judge(question, Judge::approvals(acts.into_iter()))?;
        self.look_up(&origin, (&judge, after, limit), take)
    }

    fn look_up(
        &self,
        origin: &str,
        (judge, after, limit): (&Judge, Option<u64>, usize),
        take: &mut dyn FnMut(Result<Found, Damage>) -> anyhow::Result<bool>,
    ) -> anyhow::Result<()> {
        let (kinds, query) = judge.wants();
        let mut wanted = Wanted { kinds, query, after };
        let mut page = limit.saturating_add(1).min(PAGE);
        let begun = Instant::now();
        loop {
            in_time(begun.elapsed())?;
            let found = self.find(origin, &wanted, page)?;
            let indices = found.iter().map(|candidate| candidate.hit.index);
            ensure!(
                goes_on(wanted.after, wanted.query.newest_first, indices),
                "--clickhouse: the server repeats itself, or gives records in another order than it was asked for: it is none that a search \
                 can be asked of"
            );
            let is_last = found.len() < page;
            wanted.after = found.last().map(|candidate| candidate.hit.index).or(wanted.after);
            // A page that had few that fit is followed by a larger one.
            page = page.saturating_mul(2).min(PAGE);
            for Candidate { hit, decision } in found {
                if let Some(found) = judge.judge(hit, decision.as_ref())
                    && !take(found)?
                {
                    return Ok(());
                }
            }
            if is_last {
                return Ok(());
            }
        }
    }

    /// At most `limit` records that may fit, in the order of the query, each effect with its decision.
    fn find(&self, origin: &str, wanted: &Wanted, limit: usize) -> anyhow::Result<Vec<Candidate>> {
        let (sql, mut parameters) = question(wanted);
        parameters.extend([("origin", origin.to_owned()), ("limit", limit.to_string())]);
        let rows: Vec<(u64, Option<u64>, String)> = self.rows(&sql, &parameters)?;
        let mut decisions: Vec<u64> = rows.iter().filter_map(|(_, decision, _)| *decision).collect();
        decisions.sort_unstable();
        decisions.dedup();
        let texts: BTreeMap<u64, String> = if decisions.is_empty() {
            BTreeMap::new()
        } else {
            let sql = "SELECT `index`, `record` FROM records WHERE `origin` = {origin:String} AND `index` IN {decisions:Array(Int64)} \
                       FORMAT JSONCompactEachRow";
            let decisions: Vec<String> = decisions.iter().map(u64::to_string).collect();
            let decisions = format!("[{}]", decisions.join(","));
            let rows: Vec<(u64, String)> =
                self.rows(sql, &[("origin", origin.to_owned()), ("decisions", decisions)])?;
            rows.into_iter().collect()
        };
        let hit = |index, text: &String| Hit { index, record: text.clone().into_bytes() };
        let candidate = |(index, decision, text): (u64, Option<u64>, String)| Candidate {
            hit: Hit { index, record: text.into_bytes() },
            decision: decision.and_then(|decision| Some(hit(decision, texts.get(&decision)?))),
        };
        Ok(rows.into_iter().map(candidate).collect())
    }

    /// Any question in SQL: the tables are `records` and `hours`, and whatever else is in the database.
    pub(super) fn sql(&self, query: &str, bounds: Bounds) -> anyhow::Result<Answer> {
        self.answer(query, &[], bounds)
    }

    /// Sums, the largest first, and whether there are more.
    pub(super) fn stats(&self, question: &StatsQuestion) -> anyhow::Result<Answer> {
        let bounds = Bounds { rows: question.limit, time: PATIENCE };
        let (table, parameters) = match &self.origin {
            None => ("hours", Vec::new()),
            Some(origin) => (
                "(SELECT * FROM hours WHERE `origin` = {origin:String}) AS hours",
                vec![("origin", origin.clone())],
            ),
        };
        let answer = self.answer(&question.sql(table), &parameters, bounds)?;
        Ok(question.named(answer))
    }

    /// Adds what the table lacks of a ledger, or all of it: the index of the first record that it has then, how many these are, and how many were added.
    pub(super) fn fill(self, ledger: &Path, rebuild: bool) -> anyhow::Result<(u64, u64, u64)> {
        let origin = vidimus_ledger::known_key(ledger)?.name().to_owned();
        if let Some(given) = self.origin.filter(|given| *given != origin) {
            bail!("--origin {given}: the ledger in {} is {origin}", ledger.display());
        }
        // Before anything is read: what is signed for by now is there.
        let signed = vidimus_ledger::signed_for(ledger)?;
        let front = vidimus_ledger::pruned(ledger)?.map_or(0, |pruned| pruned.minimum());
        let rows = EventRows::new(self.clickhouse, origin);
        if rebuild {
            waited(&self.runtime, LONG, rows.clear())?;
        }
        let from = match waited(&self.runtime, PATIENCE, rows.last(front))? {
            None => front,
            Some((last, text)) => {
                let there = vidimus_ledger::read_from(ledger, last)?.next().transpose()?;
                ensure!(
                    there.is_some_and(|hit| String::from_utf8_lossy(&hit.record) == text),
                    "--clickhouse: its record {last} is not that of the ledger: one of them was put back, or changed; --rebuild makes the \
                     table again"
                );
                last.saturating_add(1)
            }
        };
        let mut reading = vidimus_ledger::read_from(ledger, from)?;
        loop {
            let (mut hits, mut length) = (Vec::new(), 0);
            while hits.len() < BATCH.0 && length < BATCH.1 {
                let Some(hit) = reading.next() else { break };
                let hit = hit?;
                length += hit.record.len();
                hits.push(hit);
            }
            let Some(first) = hits.first().map(|hit| hit.index) else { break };
            let body = rows.encode(&hits, &|index| vidimus_ledger::read_from(ledger, index));
            let body = body.map_err(anyhow::Error::msg)?;
            waited(&self.runtime, PATIENCE, rows.add((first, reading.index()), body))?;
        }
        let end = reading.index();
        if end < signed {
            return Err(SearchError::Shorter { records: end, signed })
                .context("what could be read of the ledger was added; `vidimus audit verify` tells more");
        }
        Ok((front, end.saturating_sub(front), end.saturating_sub(from)))
    }

    /// The ledger that is asked: the one that is named, or the only one.
    fn origin(&self) -> anyhow::Result<String> {
        if let Some(origin) = &self.origin {
            return Ok(origin.clone());
        }
        let sql =
            "SELECT DISTINCT `origin` FROM audit_events ORDER BY `origin` LIMIT 20 FORMAT JSONCompactEachRow";
        let rows: Vec<(String,)> = self.rows(sql, &[])?;
        let mut origins: Vec<String> = rows.into_iter().map(|(origin,)| origin).collect();
        match (origins.pop(), origins.is_empty()) {
            (Some(only), true) => Ok(only),
            (None, _) => bail!(
                "--clickhouse: there are no records; a gateway sends them with --sink, and `vidimus audit index --clickhouse URL` adds those of a ledger"
            ),
            (Some(last), false) => {
                bail!(
                    "--clickhouse: it has the records of several ledgers; name one with --origin: {}, {last}",
                    origins.join(", ")
                )
            }
        }
    }

    fn rows<R: DeserializeOwned>(&self, sql: &str, parameters: &[(&str, String)]) -> anyhow::Result<Vec<R>> {
        let settings = [("output_format_json_quote_64bit_integers", "0".to_owned())];
        let asked = self.clickhouse.ask(sql, parameters, &settings, MOST_BYTES);
        let answer = waited(&self.runtime, PATIENCE, asked)?;
        let rows = serde_json::Deserializer::from_slice(&answer).into_iter::<R>();
        rows.collect::<Result<Vec<R>, _>>().context("--clickhouse: its answer cannot be read")
    }

    /// An answer as the index gives it: what is null is not in a row.
    fn answer(&self, query: &str, parameters: &[(&str, String)], bounds: Bounds) -> anyhow::Result<Answer> {
        let seconds = bounds.time.as_secs() + u64::from(bounds.time.subsec_nanos() > 0);
        let text = str::to_owned;
        let settings = [
            ("default_format", text("JSONCompact")),
            ("output_format_json_quote_64bit_integers", text("0")),
            ("date_time_output_format", text("iso")),
            ("max_execution_time", seconds.to_string()),
            ("max_result_rows", bounds.rows.saturating_add(1).to_string()),
            ("result_overflow_mode", text("break")),
            // As in SQL elsewhere: what an outer join lacks is null, and so is a sum of nothing.
            ("join_use_nulls", text("1")),
            ("aggregate_functions_null_for_empty", text("1")),
            ("union_default_mode", text("DISTINCT")),
        ];
        let asked = self.clickhouse.ask(query, parameters, &settings, MOST_BYTES);
        let answer = waited(&self.runtime, bounds.time.saturating_add(WAY), asked)?;
        let read = "--clickhouse: its answer cannot be read; leave FORMAT out";
        let Document { meta, data } = serde_json::from_slice::<Document>(&answer).context(read)?;
        let more = data.len() > bounds.rows;
        let row = |row: Vec<Value>| -> Map<String, Value> {
            let cells = meta.iter().zip(row).filter(|(_, value)| !value.is_null());
            cells.map(|(column, value)| (column.name.clone(), column.shown(value))).collect()
        };
        let rows = data.into_iter().take(bounds.rows).map(row).collect();
        let columns = meta.iter().map(|column| column.name.clone()).collect();
        Ok(Answer { columns, rows, more, is_cut: false })
    }
}

/// That what is held of the answers is little, whatever a server gives.
fn few(acts: usize) -> anyhow::Result<()> {
    ensure!(
        acts <= MOST_ASKS,
        "--clickhouse: more than {MOST_ASKS} acts asked people by this policy; narrow the time (--since, --until), or search the ledger"
    );
    Ok(())
}

/// That a search has not gone on for longer than any does: a server may give ever other records, in the right order.
fn in_time(elapsed: Duration) -> anyhow::Result<()> {
    ensure!(
        elapsed <= LONG,
        "--clickhouse: the search has no end within {} s; narrow it (--since, --until, --limit)",
        LONG.as_secs()
    );
    Ok(())
}

/// Whether records follow `after`, each behind the one before it: of what does not, a search would never come to an end.
fn goes_on(after: Option<u64>, newest_first: bool, mut indices: impl Iterator<Item = u64>) -> bool {
    let mut last = after;
    indices.all(|index| {
        let is_behind = last.is_none_or(|last| if newest_first { index < last } else { index > last });
        last = Some(index);
        is_behind
    })
}

/// An answer in the form `JSONCompact`.
#[derive(Deserialize)]
struct Document {
    meta: Vec<Column>,
    data: Vec<Vec<Value>>,
}

#[derive(Deserialize)]
struct Column {
    name: String,
    #[serde(rename = "type")]
    kind: String,
}

impl Column {
    /// A time has as many digits as it needs, by threes, as it has from the index.
    fn shown(&self, value: Value) -> Value {
        let time = value.as_str().filter(|_| self.kind.contains("DateTime"));
        let Some(time) = time.and_then(|text| text.parse::<Timestamp>().ok()) else { return value };
        let digits = match time.subsec_nanosecond() {
            0 => 0,
            nanoseconds if nanoseconds % 1_000_000 == 0 => 3,
            nanoseconds if nanoseconds % 1_000 == 0 => 6,
            _ => 9,
        };
        Value::String(format!("{time:.digits$}"))
    }
}

/// What answers in time.
fn waited<T>(
    runtime: &Runtime,
    patience: Duration,
    what: impl Future<Output = Result<T, ClickHouseError>>,
) -> anyhow::Result<T> {
    let answer = runtime.block_on(async { tokio::time::timeout(patience, what).await });
    let answer =
        answer.with_context(|| format!("--clickhouse: no answer within {} s", patience.as_secs()))?;
    // Its words may have what stands in records.
    answer.map_err(|error| anyhow::anyhow!("--clickhouse: {}", output::printable(&error.to_string())))
}

/// What all columns of a row must be for it to fit, as a question with parameters: nothing of what is looked for is part of it.
fn question(wanted: &Wanted) -> (String, Vec<(&'static str, String)>) {
    let query = &wanted.query;
    let mut parameters: Vec<(&'static str, String)> = Vec::new();
    let mut fits: Vec<&str> = Vec::new();
    let mut add = |condition: &'static str, name: &'static str, value: Option<String>| {
        if let Some(value) = value {
            fits.push(condition);
            parameters.push((name, value));
        }
    };
    let micros = |time: Timestamp| time.as_microsecond();
    add("has(splitByChar(',', {kinds:String}), `kind`)", "kinds", Some(wanted.kinds.join(",")));
    add("`outcome` = {outcome:String}", "outcome", query.outcome.clone());
    add("`code` = {code:String}", "code", query.code.clone());
    add("`transaction` = {transaction:String}", "transaction", query.transaction.clone());
    add(
        "`time` >= fromUnixTimestamp64Micro({since:Int64})",
        "since",
        query.since.map(|it| micros(it).to_string()),
    );
    // To the microsecond, and one more: the search's own rules are exact.
    add(
        "`time` <= fromUnixTimestamp64Micro({until:Int64})",
        "until",
        query.until.map(|it| micros(it).saturating_add(1).to_string()),
    );
    add(
        "(endsWith(`principal`, {agent:String}) OR (`kind` = 'refusal' AND endsWith(`identity`, {agent:String})) \
         OR (`kind` = 'act' AND endsWith(`person`, {agent:String})))",
        "agent",
        query.agent.clone(),
    );
    add(
        "(endsWith(`person`, {user:String}) OR (`kind` = 'refusal' AND endsWith(`identity`, {user:String})))",
        "user",
        query.user.clone(),
    );
    add(
        "(endsWith(`resource`, {resource:String}) OR (`kind` = 'act' AND endsWith(`subject`, {resource:String})))",
        "resource",
        query.resource.clone(),
    );
    // A policy may have asked for any number of approvals, and an address has an end: the table knows them too, and it may say more than fit.
    add(
        "(position(`policy_names`, concat({policy:String}, '\\n')) > 0 \
         OR ifNull(`approval`, '-') IN (SELECT assumeNotNull(`approval`) FROM records WHERE `origin` = {origin:String} AND `kind` = 'act' \
         AND `approval` IS NOT NULL AND position(`policy_names`, concat({policy:String}, '\\n')) > 0))",
        "policy",
        query.policy.clone(),
    );
    add("startsWith(`trace`, {trace:String})", "trace", query.trace.clone());
    beside(query, &mut add);
    // Whether one that cannot be read fits, its text alone tells.
    let mut all = vec![
        "`origin` = {origin:String}".to_owned(),
        format!("(`kind` IS NULL OR ({}))", fits.join(" AND ")),
    ];
    if let Some(text) = &query.text {
        all.push("position(`record`, {text:String}) > 0".to_owned());
        parameters.push(("text", text.clone()));
    }
    if let Some(after) = wanted.after {
        all.push(format!("`index` {} {{after:Int64}}", if query.newest_first { "<" } else { ">" }));
        parameters.push(("after", after.to_string()));
    }
    let order = if query.newest_first { "DESC" } else { "ASC" };
    let sql = format!(
        "SELECT `index`, `decision`, `record` FROM records WHERE {} ORDER BY `index` {order} LIMIT {{limit:UInt64}} FORMAT JSONCompactEachRow",
        all.join(" AND ")
    );
    (sql, parameters)
}

/// What else of who called, from where and by what it was decided. A row of an earlier version says nothing in `on_behalf_of`, and lacks what the others have
/// of it: it may fit, and its text tells.
fn beside(query: &Query, add: &mut dyn FnMut(&'static str, &'static str, Option<String>)) {
    add(
        "(`on_behalf_of` IS NULL OR position(`on_behalf_of`, concat({on_behalf_of:String}, '\\n')) > 0)",
        "on_behalf_of",
        query.on_behalf_of.clone(),
    );
    add(
        "(`on_behalf_of` IS NULL OR endsWith(`instance`, {instance:String}) OR endsWith(`instance_name`, {instance:String}))",
        "instance",
        query.instance.clone(),
    );
    add("(`on_behalf_of` IS NULL OR `source` = {source:String})", "source", query.source.clone());
    add(
        "(`on_behalf_of` IS NULL OR endsWith(`server`, {server:String}) OR endsWith(`via`, {server:String}))",
        "server",
        query.server.clone(),
    );
    add("`approval` = {approval:String}", "approval", query.approval.clone());
    add(
        "(`on_behalf_of` IS NULL OR endsWith(`configuration`, {configuration:String}))",
        "configuration",
        query.configuration.clone(),
    );
}

#[cfg(test)]
mod tests {

    use super::*;

    #[test]
    fn nothing_that_is_looked_for_is_part_of_the_question() {
        let said = "hunter2' OR 1=1 --";
        let text = || Some(said.to_owned());
        let query = Query {
            agent: text(),
            user: text(),
            on_behalf_of: text(),
            instance: text(),
            source: text(),
            policy: text(),
            approvals: vec![said.to_owned()],
            outcome: text(),
            resource: text(),
            server: text(),
            approval: text(),
            configuration: text(),
            code: text(),
            transaction: text(),
            trace: text(),
            text: text(),
            since: Some(Timestamp::UNIX_EPOCH),
            until: Some(Timestamp::UNIX_EPOCH),
            newest_first: true,
            ..Query::default()
        };
        let (sql, parameters) = question(&Wanted { kinds: vec!["decision"], query, after: Some(7) });
        assert!(!sql.contains("hunter2"), "{sql}");
        for (name, _) in &parameters {
            assert!(sql.contains(&format!("{{{name}:")), "{name} is asked for by nothing: {sql}");
        }
        assert_eq!(sql.matches('{').count(), 29, "each is given, with origin and limit: {sql}");
    }

    /// All that is looked for stands in an address, which has an end.
    #[test]
    fn of_a_policy_that_asked_for_very_many_approvals_the_question_is_as_long() {
        let asked = |count: usize| {
            let approvals =
                (0..count).map(|number| format!("019aa3b0-7c5e-7d11-a8f1-{number:012}")).collect();
            let query = Query { policy: Some("finance/large".to_owned()), approvals, ..Query::default() };
            question(&Wanted { kinds: vec!["decision"], query, after: None })
        };
        assert_eq!(asked(0), asked(10_000));
    }

    #[test]
    fn what_a_server_gives_goes_on_or_the_search_ends() {
        for (after, newest_first, indices) in [
            (None, true, &[][..]),
            (Some(7), true, &[][..]),
            (None, true, &[u64::MAX, 7, 0][..]),
            (Some(7), true, &[6, 5][..]),
            (Some(7), false, &[8, 100][..]),
        ] {
            assert!(goes_on(after, newest_first, indices.iter().copied()), "{after:?} {indices:?}");
        }
        for (after, newest_first, indices) in [
            (None, true, &[7, 7][..]),
            (Some(7), true, &[7][..]),
            (Some(7), true, &[8][..]),
            (Some(7), false, &[7][..]),
            (Some(7), false, &[9, 8][..]),
        ] {
            assert!(!goes_on(after, newest_first, indices.iter().copied()), "{after:?} {indices:?}");
        }
    }

    /// Attack: a server that goes on for ever, each record behind the one before it.
    #[test]
    fn a_server_that_goes_on_for_ever_is_left() {
        assert!(few(MOST_ASKS).is_ok() && in_time(LONG).is_ok());
        let says = few(MOST_ASKS + 1).expect_err("too many").to_string();
        assert!(says.contains("--since"), "{says}");
        let says = in_time(LONG + Duration::from_secs(1)).expect_err("too long").to_string();
        assert!(says.contains("no end within 3600 s"), "{says}");
    }

    #[test]
    fn a_time_has_as_many_digits_as_it_has_from_the_index() {
        let column = |kind: &str| Column { name: "time".to_owned(), kind: kind.to_owned() };
        for (text, shown) in [
            ("2026-11-28T08:00:00.000000Z", "2026-11-28T08:00:00Z"),
            ("2026-11-28T08:00:00.250000Z", "2026-11-28T08:00:00.250Z"),
            ("2026-11-28T08:00:00.000001Z", "2026-11-28T08:00:00.000001Z"),
        ] {
            let kind = "Nullable(DateTime64(6, 'UTC'))";
            assert_eq!(column(kind).shown(text.into()), Value::from(shown));
            assert_eq!(column("String").shown(text.into()), Value::from(text));
        }
    }
}
