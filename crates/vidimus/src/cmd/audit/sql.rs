//! `vidimus audit sql`: any question, in SQL.

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use serde_json::{Map, Value, json};
use vidimus_readmodel::{Answer, Bounds, MOST_ANSWER, ModelError, Several, tables};

use super::clickhouse::Remote;
use super::index;
use crate::cmd::quantity::duration;
use crate::output::{self, Format};

/// Answers a question in SQL over the ledger's records. Reads only.
///
/// The tables are `records`, a row for each record (that of an effect has who asked for what, too), and `hours`, sums by hour. Without a query
/// their columns are listed. Only SELECT and EXPLAIN are answered, with Apache DataFusion's functions; times are UTC.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  vidimus audit sql # the tables and their columns
  vidimus audit sql \"SELECT principal, count(*) FROM records
    WHERE kind = 'decision' AND outcome = 'deny' GROUP BY principal\"
  vidimus audit sql \"SELECT time, principal, resource FROM records
    WHERE array_has(policies, 'finance/small-transfers')
      AND time >= '2026-11-01' ORDER BY index DESC LIMIT 20\"
  vidimus audit sql -o json \"SELECT index, record FROM records
    WHERE trace LIKE '4bf92f3577b34da6a3ce929d0e0e4736%'\"

With several --ledger each row has its ledger's `origin` too. With --clickhouse
the tables are those of a ClickHouse, which have it, and its functions.
A row proves nothing; its index does: vidimus audit show CALL --evidence.

What the index has is answered from the index. The ledger must have a
checkpoint, and all segments up to it.

Exit codes: 0 answered, 2 not answered, also where the ledger lacks records that
it signed for: of some of them alone no sum is right.")]
pub struct Sql {
    /// One SELECT, or EXPLAIN of one.
    pub(super) query: Option<String>,
    /// At most so many rows; 0 for all.
    #[arg(long, default_value_t = 1000)]
    limit: usize,
    /// End the query after this time.
    #[arg(long, default_value = "30s", value_parser = duration)]
    timeout: Duration,
}

impl Sql {
    fn bounds(&self) -> Bounds {
        Bounds { rows: if self.limit == 0 { usize::MAX } else { self.limit }, time: self.timeout }
    }
}

/// The tables and their columns; with that which says of which ledger a row is.
pub fn run_tables(has_origin: bool, format: Format) -> anyhow::Result<ExitCode> {
    let rows = tables().into_iter().flat_map(|(table, columns)| {
        let origin = has_origin.then_some(("origin", "text", "the ledger that it is of, by its name"));
        origin.into_iter().chain(columns).map(move |(name, kind, about)| [table, name, kind, about])
    });
    if format == Format::Json {
        for [table, column, kind, about] in rows {
            output::json(&json!({ "table": table, "column": column, "type": kind, "about": about }))?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    let mut table = output::table(&["TABLE", "COLUMN", "TYPE", "WHAT IT HAS"], &[0, 1, 2], output::width());
    for row in rows {
        table.add_row(row.map(output::cell));
    }
    output::line(&table.trim_fmt());
    Ok(ExitCode::SUCCESS)
}

pub fn run(ledger: &Path, index: Option<&Path>, sql: &Sql, format: Format) -> anyhow::Result<ExitCode> {
    let query = sql.query.as_deref().unwrap_or_default();
    let bounds = sql.bounds();
    let answer = match index::made(ledger, index)?.sql(query, bounds) {
        Err(error) if error.damaged().is_some() => {
            index::repaired(ledger, index, &error)?.sql(query, bounds)?
        }
        Err(ModelError::Query(said)) => {
            anyhow::bail!("{said}; `vidimus audit sql` without a query lists the columns")
        }
        answer => answer?,
    };
    print(&answer.columns, &answer.rows, format)?;
    super::warn_of_pruned(ledger, None)?;
    tell_more(&answer);
    Ok(ExitCode::SUCCESS)
}

/// The same, over several ledgers: each row has its ledger's `origin`.
pub fn run_logs(several: &Several, sql: &Sql, format: Format) -> anyhow::Result<ExitCode> {
    let answer = match several.sql(sql.query.as_deref().unwrap_or_default(), sql.bounds()) {
        Err(ModelError::Query(said)) => {
            anyhow::bail!("{said}; `vidimus audit sql` without a query lists the columns")
        }
        answer => answer?,
    };
    print(&answer.columns, &answer.rows, format)?;
    tell_more(&answer);
    Ok(ExitCode::SUCCESS)
}

/// The same, of a ClickHouse, with its functions.
pub fn run_remote(remote: &Remote, sql: &Sql, format: Format) -> anyhow::Result<ExitCode> {
    let answer = remote.sql(sql.query.as_deref().unwrap_or_default(), sql.bounds())?;
    print(&answer.columns, &answer.rows, format)?;
    tell_more(&answer);
    Ok(ExitCode::SUCCESS)
}

/// That there is more than is shown.
pub(super) fn tell_more(answer: &Answer) {
    if answer.more {
        output::warning(&more(answer));
    }
}

/// What to do to see more.
fn more(answer: &Answer) -> String {
    let shown = answer.rows.len();
    if !answer.is_cut {
        return format!("only {shown} rows are shown, there are more; --limit N shows N");
    }
    let most = MOST_ANSWER >> 20;
    format!(
        "only {shown} rows are shown, there are more: an answer has {most} MiB, whatever --limit says; name fewer columns, or ask for parts of it \
         (WHERE, or LIMIT with OFFSET)"
    )
}

/// Rows as a table, or one document each.
pub(super) fn print(columns: &[String], rows: &[Map<String, Value>], format: Format) -> anyhow::Result<()> {
    if format == Format::Json {
        return rows.iter().try_for_each(output::json);
    }
    output::line(&table(columns, rows).trim_fmt());
    Ok(())
}

fn table(columns: &[String], rows: &[Map<String, Value>]) -> comfy_table::Table {
    // Who asks names them, and a ClickHouse what it likes.
    let names: Vec<_> = columns.iter().map(|name| output::printable(name)).collect();
    let names: Vec<&str> = names.iter().map(|name| &**name).collect();
    let mut table = output::table(&names, &[], output::width());
    for row in rows {
        let cells = columns.iter().map(|name| match row.get(name) {
            None | Some(Value::Null) => output::cell(""),
            Some(Value::String(text)) => output::cell(&output::printable(text)),
            Some(Value::Array(list)) => {
                let texts =
                    list.iter().map(|one| one.as_str().map_or_else(|| one.to_string(), str::to_owned));
                output::cell(&output::printable(&texts.collect::<Vec<_>>().join(", ")))
            }
            Some(other) => output::cell(&output::printable(&other.to_string())),
        });
        table.add_row(cells);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A bound that is not that of the answer would be raised in vain.
    #[test]
    fn what_ends_an_answer_is_what_is_said() {
        let answer = |is_cut| Answer { rows: vec![Map::new(); 3], more: true, is_cut, ..Answer::default() };
        let (by_rows, by_bytes) = (more(&answer(false)), more(&answer(true)));
        assert!(by_rows.contains("only 3 rows") && by_rows.contains("--limit N shows N"), "{by_rows}");
        assert!(by_bytes.contains("64 MiB") && !by_bytes.contains("--limit N"), "{by_bytes}");
    }

    #[test]
    fn neither_a_name_nor_a_value_steers_the_terminal() {
        let steers = "\u{1b}]0;owned\u{7}";
        let row = Map::from_iter([(steers.to_owned(), Value::from(format!("value{steers}")))]);
        let text = table(&[steers.to_owned()], &[row]).trim_fmt();
        assert!(!text.contains("\u{1b}]0") && !text.contains('\u{7}'), "{text:?}");
        assert_eq!(text.matches("\\u{1b}]0;owned\\u{7}").count(), 2, "{text}");
        assert!(text.contains("value"), "the value is found by the name as it is: {text}");
    }
}
