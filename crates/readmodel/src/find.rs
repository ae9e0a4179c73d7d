//! Records by what they say: which ones can fit, by the columns, and then their texts.

use std::collections::BTreeMap;
use std::sync::Arc;

use datafusion::arrow::array::{Array as _, AsArray as _};
use datafusion::arrow::datatypes::Int64Type;
use datafusion::common::ScalarValue;
use datafusion::functions::expr_fn::{contains, ends_with, starts_with};
use datafusion::logical_expr::{Expr, col, lit};
use jiff::Timestamp;
use vidimus_ledger::{Hit, Query};

use crate::open_range::{OpenRange, range_of};
use crate::table::{Part, Table};
use crate::{Model, ModelError, row};

/// Rows that are looked through at once at first; each further step has four times as many.
const FIRST_STEP: u64 = 1 << 17;

/// Of more rows than these, no newest are kept apart: all are sorted.
const MOST: usize = 1 << 16;

/// What is looked for.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// The kinds of records: `decision`, `effect`, `refusal`, `act`.
    pub kinds: Vec<&'static str>,
    /// What they say; of an effect, its decision. `kind` and `limit` are not looked at.
    pub query: Query,
    /// Only records behind this one, in the order of the query.
    pub after: Option<u64>,
}

/// A record that may fit. All that fit are among those that are given; few others are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// The record.
    pub hit: Hit,
    /// Of an effect: its decision.
    pub decision: Option<Hit>,
}

impl Model {
    /// At most `limit` records that may fit, in the order of the query.
    ///
    /// # Errors
    /// See [`ModelError`].
    pub fn find(&self, wanted: &Wanted, limit: usize) -> Result<Vec<Candidate>, ModelError> {
        let newest_first = wanted.query.newest_first;
        let mut found = Vec::new();
        for table in self.steps(wanted) {
            let left = limit.saturating_sub(found.len());
            if left == 0 {
                break;
            }
            found.extend(self.places(table, wanted, left)?);
        }
        let (indices, decisions): (Vec<_>, Vec<_>) = found.into_iter().unzip();
        let mut all: Vec<u64> = indices.iter().copied().chain(decisions.iter().copied().flatten()).collect();
        all.sort_unstable();
        all.dedup();
        let texts = self.texts(&all)?;
        let hit = |index: u64| texts.get(&index).map(|text| Hit { index, record: text.clone().into_bytes() });
        let candidates = indices.into_iter().zip(decisions).filter_map(|(index, decision)| {
            Some(Candidate { hit: hit(index)?, decision: decision.and_then(hit) })
        });
        let candidates: Vec<_> = candidates.collect();
        debug_assert!(candidates.is_sorted_by(|one, next| (one.hit.index < next.hit.index) != newest_first));
        Ok(candidates)
    }

    /// Tables of what can have them, in the order of the query: a few at first, since whoever asks for the newest finds them there.
    fn steps(&self, wanted: &Wanted) -> Vec<Table> {
        let (newest_first, after) = (wanted.query.newest_first, wanted.after);
        let is_before = |first: u64, end: u64| match after {
            Some(after) if newest_first => first < after,
            Some(after) => end.saturating_sub(1) > after,
            None => true,
        };
        let mut parts: Vec<(u64, Table)> = Vec::new();
        let empty = Table { schema: row::schema(), files: Vec::new(), batches: Vec::new() };
        for OpenRange { range, rows, sieve, .. } in &self.builder.ranges {
            let in_time = range.times.is_none_or(|(first, last)| {
                wanted.query.since.is_none_or(|since| since.as_microsecond() <= last)
                    && wanted.query.until.is_none_or(|until| until.as_microsecond() >= first)
            });
            if in_time && is_before(range.first, range.end()) {
                let files = vec![Part::new(rows.clone(), Some(range.records), sieve.clone())];
                parts.push((range.records, Table { files, ..empty.clone() }));
            }
        }
        if is_before(self.tail.first, self.tail.next) {
            parts.push((
                self.tail.next - self.tail.first,
                Table { batches: self.tail.batches.clone(), ..empty },
            ));
        }
        if newest_first {
            parts.reverse();
        }
        let (mut steps, mut step, mut rows): (Vec<Table>, _, u64) = (Vec::new(), FIRST_STEP, u64::MAX);
        for (records, part) in parts {
            match steps.last_mut() {
                Some(last) if rows.saturating_add(records) <= step => {
                    last.files.extend(part.files);
                    last.batches.extend(part.batches);
                    rows += records;
                }
                last => {
                    step = if last.is_some() { step.saturating_mul(4) } else { step };
                    steps.push(part);
                    rows = records;
                }
            }
        }
        steps
    }

    /// The indices of those of a table, each with that of its decision.
    fn places(
        &self,
        mut table: Table,
        wanted: &Wanted,
        limit: usize,
    ) -> Result<Vec<(u64, Option<u64>)>, ModelError> {
        if let Some(text) = &wanted.query.text {
            table.sift(text)?;
        }
        if table.files.is_empty() && table.batches.is_empty() {
            return Ok(Vec::new());
        }
        let all_readable = self.builder.unreadable == 0
            && self.builder.ranges.iter().all(|OpenRange { range, .. }| range.unreadable == 0);
        let filter = filter(wanted, all_readable);
        let batches = self.run(async {
            let frame = self.session.read_table(Arc::new(table))?;
            let frame = match filter {
                Some(filter) => frame.filter(filter)?,
                None => frame,
            };
            let order = col("index").sort(!wanted.query.newest_first, false);
            let frame = frame.select_columns(&["index", "decision"])?.sort(vec![order])?;
            // More are all that there are.
            if limit > MOST { frame.collect().await } else { frame.limit(0, Some(limit))?.collect().await }
        })?;
        let mut places = Vec::new();
        for batch in batches {
            let [index, decision] = batch.columns() else { continue };
            let (index, decision) = (index.as_primitive::<Int64Type>(), decision.as_primitive::<Int64Type>());
            let whole = |number: i64| u64::try_from(number).unwrap_or_default();
            places.extend((0..batch.num_rows()).map(|row| {
                (whole(index.value(row)), decision.is_valid(row).then(|| whole(decision.value(row))))
            }));
        }
        Ok(places)
    }

    /// The texts of records, by their indices, which are sorted.
    fn texts(&self, indices: &[u64]) -> Result<BTreeMap<u64, String>, ModelError> {
        let mut texts = BTreeMap::new();
        let mut rest = indices;
        while let Some(index) = rest.first() {
            let Some(range) = range_of(&self.builder.ranges, *index) else {
                let text = match self.tail.text(*index) {
                    // The decision of an effect may be long before what is in memory.
                    None => self.builder.text(*index)?,
                    text => text,
                };
                texts.extend(text.map(|text| (*index, text)));
                rest = rest.get(1..).unwrap_or_default();
                continue;
            };
            let (these, behind) = rest.split_at(rest.partition_point(|index| *index < range.range.end()));
            texts.extend(range.records(these)?);
            rest = behind;
        }
        Ok(texts)
    }
}

/// What all columns of a row must be for it to fit; `None` where any may.
fn filter(wanted: &Wanted, all_readable: bool) -> Option<Expr> {
    let Query {
        agent,
        user,
        policy,
        approvals,
        outcome,
        resource,
        code,
        transaction,
        trace,
        id,
        text,
        since,
        until,
        ..
    } = &wanted.query;
    let is = |name: &str, value: &str| col(name).eq(lit(value));
    let ends = |name: &str, value: &str| ends_with(col(name), lit(value));
    let refused = |value: &str| is("kind", "refusal").and(ends("identity", value));
    let acted = |name: &str, value: &str| is("kind", "act").and(ends(name, value));
    let mut all: Vec<Expr> = Vec::new();
    if !["decision", "effect", "refusal", "act"].iter().all(|kind| wanted.kinds.contains(kind)) {
        all.push(col("kind").in_list(wanted.kinds.iter().map(|kind| lit(*kind)).collect(), false));
    }
    all.extend(outcome.as_deref().map(|outcome| is("outcome", outcome)));
    all.extend(code.as_deref().map(|code| is("code", code)));
    all.extend(transaction.as_deref().map(|transaction| is("transaction", transaction)));
    all.extend(id.as_deref().map(|id| is("id", id)));
    all.extend(since.map(|since| col("time").gt_eq(lit(time(since, 0)))));
    all.extend(until.map(|until| col("time").lt_eq(lit(time(until, 1)))));
    all.extend(
        agent.as_deref().map(|name| ends("principal", name).or(refused(name)).or(acted("person", name))),
    );
    all.extend(user.as_deref().map(|name| ends("person", name).or(refused(name))));
    all.extend(resource.as_deref().map(|name| ends("resource", name).or(acted("subject", name))));
    all.extend(policy.as_deref().map(|policy| {
        let named = contains(col("policy_names"), lit(format!("{policy}\n")));
        let with = col("approval").in_list(approvals.iter().map(|one| lit(one.as_str())).collect(), false);
        if approvals.is_empty() { named } else { named.or(with) }
    }));
    all.extend(trace.as_deref().map(|trace| starts_with(col("trace"), lit(trace))));
    let fits = all.into_iter().chain(beside(&wanted.query)).reduce(Expr::and);
    // Whether one that cannot be read fits, its text alone tells.
    let fits = fits.map(|fits| if all_readable { fits } else { fits.or(col("kind").is_null()) });
    let text = text.as_deref().map(|text| contains(col("record"), lit(text)));
    let after = wanted.after.map(|after| {
        let after = lit(i64::try_from(after).unwrap_or(i64::MAX));
        if wanted.query.newest_first { col("index").lt(after) } else { col("index").gt(after) }
    });
    [after, fits, text].into_iter().flatten().reduce(Expr::and)
}

/// What else of who called, from where and by what it was decided.
fn beside(query: &Query) -> impl Iterator<Item = Expr> {
    let Query { on_behalf_of, instance, source, server, approval, configuration, .. } = query;
    let is = |name: &str, value: &str| col(name).eq(lit(value));
    let ends = |name: &str, value: &str| ends_with(col(name), lit(value));
    let of = |value: &Option<String>, fits: &dyn Fn(&str) -> Expr| value.as_deref().map(fits);
    [
        of(on_behalf_of, &|name| contains(col("on_behalf_of"), lit(format!("{name}\n")))),
        of(instance, &|copy| ends("instance", copy).or(ends("instance_name", copy))),
        of(source, &|address| is("source", address)),
        of(server, &|name| ends("server", name).or(ends("via", name))),
        of(approval, &|approval| is("approval", approval)),
        of(configuration, &|digest| ends("configuration", digest)),
    ]
    .into_iter()
    .flatten()
}

/// A time to the microsecond, as the column has it, and `more` of them.
fn time(time: Timestamp, more: i64) -> ScalarValue {
    ScalarValue::TimestampMicrosecond(Some(time.as_microsecond().saturating_add(more)), Some("UTC".into()))
}
