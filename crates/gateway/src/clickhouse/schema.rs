//! What tables there are: `audit_events`, which has the columns of every table of records, and two views by the names that `vidimus audit sql`
//! has elsewhere, in which each record is there once.

use std::collections::BTreeMap;

use vidimus_core::row::{COLUMNS, Type};

use super::{ClickHouse, ClickHouseError};

/// The version of what is here. A change of columns is one of it; those that a table lacks are added.
const SCHEMA: u32 = 1;

/// How what is ours is known, before the number of its schema.
const MARK: &str = "Vidimus, schema ";

/// The table of records.
pub(super) const EVENTS: &str = "audit_events";

/// Bytes of an answer about tables.
const MAX: usize = 1 << 20;

/// The type of a column. Few texts are in many rows; ids, traces and records are their own.
fn of_column(name: &str, kind: Type) -> &'static str {
    match (name, kind) {
        // By it rows are sorted and told apart.
        ("index", _) => "Int64",
        ("id" | "subject" | "approval" | "transaction" | "trace", _) => "Nullable(String)",
        ("record", _) => "String CODEC(ZSTD(3))",
        (_, Type::Number) => "Nullable(Int64)",
        (_, Type::Small) => "Nullable(Int32)",
        (_, Type::Time) => "Nullable(DateTime64(6, 'UTC'))",
        (_, Type::Text) => "LowCardinality(Nullable(String))",
        (_, Type::Texts) => "Array(LowCardinality(String))",
    }
}

/// The log's name, which the columns of one log's own index do not have.
const ORIGIN: &str = "`origin` LowCardinality(String)";

fn columns() -> impl Iterator<Item = (&'static str, String)> {
    COLUMNS.iter().map(|(name, kind, _)| (*name, format!("`{name}` {}", of_column(name, *kind))))
}

/// The names of the columns that are written, in their order.
pub(super) fn names() -> String {
    let names = COLUMNS.iter().map(|(name, ..)| format!(", `{name}`"));
    format!("`origin`{}", names.collect::<String>())
}

/// A record by its log and index is there once: of several rows the last one counts. An insert is on the disk when it is acknowledged.
fn events() -> String {
    let columns: Vec<String> =
        std::iter::once(ORIGIN.to_owned()).chain(columns().map(|(_, column)| column)).collect();
    format!(
        "CREATE TABLE IF NOT EXISTS {EVENTS} ({}, \
         INDEX by_time `time` TYPE minmax GRANULARITY 1, INDEX by_trace `trace` TYPE bloom_filter GRANULARITY 4, \
         INDEX by_id `id` TYPE bloom_filter GRANULARITY 4, INDEX by_transaction `transaction` TYPE bloom_filter GRANULARITY 4) \
         ENGINE = ReplacingMergeTree PARTITION BY toYYYYMM(ifNull(`time`, toDateTime64(0, 6, 'UTC'))) ORDER BY (`origin`, `index`) \
         SETTINGS non_replicated_deduplication_window = 1000, fsync_after_insert = 1, fsync_part_directory = 1 COMMENT '{MARK}{SCHEMA}'",
        columns.join(", ")
    )
}

fn records() -> String {
    format!(
        "CREATE OR REPLACE VIEW records AS SELECT {} FROM {EVENTS} FINAL COMMENT '{MARK}{SCHEMA}'",
        names()
    )
}

/// As `hours` of the index, whose columns these are.
fn hours() -> String {
    let count = |condition: &str, name: &str| format!("toInt64(countIf({condition})) AS `{name}`");
    let decided = |outcome: &str, name: &str| {
        count(&format!("`kind` != 'effect' AND startsWith(`outcome`, '{outcome}')"), name)
    };
    let sum = |name: &str| format!("ifNull(sum(`{name}`), 0) AS `{name}`");
    let sums = [
        count("`kind` != 'effect'", "calls"),
        decided("allow", "allowed"),
        decided("hold", "held"),
        decided("deny", "denied"),
        count("`kind` = 'effect'", "effects"),
        count("`kind` = 'effect' AND startsWith(`outcome`, 'ok')", "ok"),
        sum("tokens_input"),
        sum("tokens_output"),
        sum("cost"),
        sum("latency_us"),
    ];
    format!(
        "CREATE OR REPLACE VIEW hours AS SELECT `origin`, `part`.1 AS `what`, toStartOfHour(assumeNotNull(`time`)) AS `hour`, \
         `part`.2 AS `name`, {} FROM {EVENTS} FINAL ARRAY JOIN [('principal', `principal`), ('resource', `resource`)] AS `part` \
         WHERE `kind` IN ('decision', 'refusal', 'effect') AND `time` IS NOT NULL GROUP BY `origin`, `what`, `hour`, `name` \
         COMMENT '{MARK}{SCHEMA}'",
        sums.join(", ")
    )
}

/// Makes what is not there, and adds what a table of an older version lacks.
///
/// # Errors
/// Where it cannot be done, or what is there is of a newer version, or not ours.
pub(super) async fn prepare(clickhouse: &ClickHouse) -> Result<(), ClickHouseError> {
    let mut there = schemas(clickhouse).await?;
    if !there.contains_key(EVENTS) {
        clickhouse.change(&events(), &[]).await?;
        there = schemas(clickhouse).await?;
    }
    let known = names_of_columns(clickhouse).await?;
    let lacks: Vec<String> = columns()
        .filter(|(name, _)| !known.iter().any(|known| known == name))
        .map(|(_, column)| column)
        .collect();
    for column in &lacks {
        clickhouse.change(&format!("ALTER TABLE {EVENTS} ADD COLUMN IF NOT EXISTS {column}"), &[]).await?;
    }
    for (name, view) in [("records", records()), ("hours", hours())] {
        if !lacks.is_empty() || there.get(name) != Some(&SCHEMA) {
            clickhouse.change(&view, &[]).await?;
        }
    }
    if there.get(EVENTS) != Some(&SCHEMA) {
        clickhouse.change(&format!("ALTER TABLE {EVENTS} MODIFY COMMENT '{MARK}{SCHEMA}'"), &[]).await?;
    }
    Ok(())
}

/// The schemas of what is there by our names.
async fn schemas(clickhouse: &ClickHouse) -> Result<BTreeMap<String, u32>, ClickHouseError> {
    let sql = "SELECT name, comment FROM system.tables WHERE database = {database:String} AND name IN ('audit_events', 'records', 'hours') \
               FORMAT JSONCompactEachRow";
    let rows: Vec<(String, String)> = ask(clickhouse, sql).await?;
    let schema = |(table, comment): (String, String)| match comment
        .strip_prefix(MARK)
        .and_then(|schema| schema.parse().ok())
    {
        None => Err(ClickHouseError::NotOurs { table }),
        Some(schema) if schema > SCHEMA => Err(ClickHouseError::Newer { table, schema, known: SCHEMA }),
        Some(schema) => Ok((table, schema)),
    };
    rows.into_iter().map(schema).collect()
}

async fn names_of_columns(clickhouse: &ClickHouse) -> Result<Vec<String>, ClickHouseError> {
    let sql = "SELECT name FROM system.columns WHERE database = {database:String} AND table = 'audit_events' FORMAT JSONCompactEachRow";
    let rows: Vec<(String,)> = ask(clickhouse, sql).await?;
    Ok(rows.into_iter().map(|(name,)| name).collect())
}

async fn ask<R: serde::de::DeserializeOwned>(
    clickhouse: &ClickHouse,
    sql: &str,
) -> Result<Vec<R>, ClickHouseError> {
    let database = [("database", clickhouse.database().to_owned())];
    let answer = clickhouse.ask(sql, &database, &[], MAX).await?;
    let rows = serde_json::Deserializer::from_slice(&answer).into_iter::<R>();
    rows.collect::<Result<Vec<R>, _>>().map_err(|_| ClickHouseError::Other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_has_every_column_once_and_rows_are_told_apart_by_log_and_index() {
        let table = events();
        for (name, ..) in COLUMNS {
            assert_eq!(table.matches(&format!(", `{name}` ")).count(), 1, "{name}: {table}");
        }
        assert!(table.contains("ORDER BY (`origin`, `index`)"), "{table}");
        assert!(names().starts_with("`origin`, `index`, `time`, ") && names().ends_with(", `record`"));
        assert!(hours().contains("AS `allowed`") && hours().contains("AS `denied`"), "{}", hours());
    }
}
