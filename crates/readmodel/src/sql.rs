//! SQL over the records, for reading alone and within bounds: `SELECT` and `EXPLAIN`, of the model's own tables.

use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use datafusion::arrow::json::writer::{JsonArray, WriterBuilder};
use datafusion::execution::context::{SQLOptions, SessionContext};
use datafusion::sql::parser::{ExplainStatement, Statement as Parsed};
use datafusion::sql::sqlparser::ast::Statement;
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::tokenizer::{Token, Tokenizer};
use futures_util::StreamExt as _;
use serde_json::{Map, Value};
use vidimus_core::row::{COLUMNS, Type};

use crate::open_range::OpenRange;
use crate::table::{Part, Table};
use crate::{Model, ModelError, hours, row};

/// What a query may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// At most so many rows are given.
    pub rows: usize,
    /// It is ended after this time.
    pub time: Duration,
}

/// Bytes of an answer as JSON, whatever rows it has.
pub const MOST_BYTES: usize = 64 << 20;

/// Bytes of a query.
pub(crate) const MOST_QUERY: usize = 64 << 10;

/// What of a query may be nested in what: its words and signs, without values, whose lists are long and not deep.
const MOST_WORDS: usize = 1_000;

/// The stack of a thread that plans and answers a query, in bytes. What is nested is gone through by functions that call themselves: this is room
/// for as much as there may be. What is not used of it is no memory.
const STACK: usize = 256 << 20;

/// Functions that make much of little, in one step that no limit of memory sees. Others can too (`replace`), by longer ways.
const GROWING: [&str; 7] =
    ["repeat", "lpad", "rpad", "array_repeat", "array_resize", "range", "generate_series"];

/// What was asked for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Answer {
    /// The names of the columns, in their order.
    pub columns: Vec<String>,
    /// The rows; what is null is not in them.
    pub rows: Vec<Map<String, Value>>,
    /// Whether there are more than were given.
    pub more: bool,
    /// Whether it ends because of its bytes, and not of its rows: no other bound of rows shows more.
    pub is_cut: bool,
}

/// A column of a table: its name, its type and what it has.
pub type Column = (&'static str, &'static str, &'static str);

/// The tables that can be asked, with their columns.
pub fn tables() -> [(&'static str, Vec<Column>); 2] {
    let of = |columns: &[(&'static str, Type, &'static str)]| {
        columns.iter().map(|(name, kind, about)| (*name, kind.as_str(), *about)).collect()
    };
    [("records", of(&COLUMNS)), ("hours", of(&hours::COLUMNS))]
}

impl Model {
    /// Answers a query over the tables `records` and `hours`.
    ///
    /// # Errors
    /// See [`ModelError`].
    pub fn sql(&self, query: &str, bounds: Bounds) -> Result<Answer, ModelError> {
        answered(query, bounds, |session| {
            for (name, table) in [("records", self.records()), ("hours", self.hours()?)] {
                session.register_table(name, std::sync::Arc::new(table)).map_err(ModelError::query)?;
            }
            Ok(())
        })
    }

    /// All records, as a table.
    pub(crate) fn records(&self) -> Table {
        let part = |it: &OpenRange| Part::new(it.rows.clone(), Some(it.range.records), None);
        let files = self.builder.ranges.iter().map(part).collect();
        Table { schema: row::schema(), files, batches: self.tail.batches.clone() }
    }

    /// Sums by hour, as a table.
    pub(crate) fn hours(&self) -> Result<Table, ModelError> {
        let files = self.builder.ranges.iter().map(|it| Part::new(it.hours.clone(), None, None)).collect();
        Ok(Table { schema: hours::schema(), files, batches: vec![self.builder.hours.batch()?] })
    }
}

/// Answers a query over the tables that `register` knows.
pub(crate) fn answered(
    query: &str,
    bounds: Bounds,
    register: impl FnOnce(&SessionContext) -> Result<(), ModelError>,
) -> Result<Answer, ModelError> {
    bounded(query)?;
    let session = crate::session()?;
    for name in GROWING {
        session.deregister_udf(name);
        session.deregister_udtf(name);
    }
    let state = session.state();
    let parsed = state.sql_to_statement(query, &state.config_options().sql_parser.dialect);
    let parsed = parsed.map_err(ModelError::query)?;
    if !only_reads(&parsed) {
        return Err(ModelError::NotRead);
    }
    register(&session)?;
    // Threads of its own, which are left to themselves when the time is up: a query can be stopped only between two batches, and a join
    // may never come to an end of one. What does not stop then ends with the process.
    let threads = tokio::runtime::Builder::new_multi_thread().enable_time().thread_stack_size(STACK).build();
    let threads = threads.map_err(ModelError::io("start threads", std::path::Path::new("vidimus")))?;
    let (tell, told) = mpsc::sync_channel(1);
    threads.spawn(async move {
        let _ = tell.send(carry_out(&session, parsed, bounds.rows).await);
    });
    let answer = told.recv_timeout(bounds.time);
    threads.shutdown_background();
    match answer {
        Ok(answer) => answer.map_err(ModelError::of_query),
        Err(RecvTimeoutError::Timeout) => Err(ModelError::TooLong { after: bounds.time }),
        Err(RecvTimeoutError::Disconnected) => {
            Err(ModelError::Query("it ended without an answer".to_owned()))
        }
    }
}

/// That a query is not so long, or so deep, that going through it takes a stack that nobody has: the parser bounds brackets, and no sums.
fn bounded(query: &str) -> Result<(), ModelError> {
    let too_long = |most: String| {
        let advice = "a list is shorter than as many conditions: x IN ('a', 'b')";
        Err(ModelError::Query(format!("the query is too long: {most} at most; {advice}")))
    };
    if query.len() > MOST_QUERY {
        return too_long(format!("{} KiB", MOST_QUERY >> 10));
    }
    let tokens = Tokenizer::new(&GenericDialect {}, query).tokenize();
    let tokens = tokens.map_err(|error| ModelError::Query(error.to_string()))?;
    let is_flat = |token: &&Token| {
        matches!(
            token,
            Token::Whitespace(_) | Token::Comma | Token::Number(..) | Token::SingleQuotedString(_)
        )
    };
    if tokens.iter().filter(|token| !is_flat(token)).count() > MOST_WORDS {
        return too_long(format!("{MOST_WORDS} words and signs beside values"));
    }
    Ok(())
}

/// Whether a statement is one that reads.
fn only_reads(parsed: &Parsed) -> bool {
    match parsed {
        Parsed::Statement(statement) => match &**statement {
            Statement::Query(_) => true,
            Statement::Explain { statement, .. } => matches!(**statement, Statement::Query(_)),
            _ => false,
        },
        Parsed::Explain(ExplainStatement { statement, .. }) => only_reads(statement),
        _ => false,
    }
}

async fn carry_out(
    session: &SessionContext,
    parsed: Parsed,
    most: usize,
) -> datafusion::error::Result<Answer> {
    // Its plan once more: whatever it is called, nothing that writes or sets is carried out.
    let plan = session.state().statement_to_plan(parsed).await?;
    let options = SQLOptions::new().with_allow_ddl(false).with_allow_dml(false).with_allow_statements(false);
    options.verify_plan(&plan)?;
    let frame = session.execute_logical_plan(plan).await?;
    read(frame.execute_stream().await?, most).await
}

async fn read(
    mut stream: datafusion::execution::SendableRecordBatchStream,
    most: usize,
) -> datafusion::error::Result<Answer> {
    let schema = stream.schema();
    let columns = schema.fields().iter().map(|field| field.name().clone()).collect();
    let mut answer = Answer { columns, ..Answer::default() };
    let mut bytes = 0;
    while let Some(batch) = stream.next().await {
        let batch = batch?;
        let left = most.saturating_sub(answer.rows.len());
        answer.more = batch.num_rows() > left;
        let batch = batch.slice(0, batch.num_rows().min(left));
        let mut writer = WriterBuilder::new().build::<_, JsonArray>(Vec::new());
        writer.write(&batch)?;
        writer.finish()?;
        let json = writer.into_inner();
        bytes += json.len();
        if !json.is_empty() {
            let rows: Vec<Map<String, Value>> = serde_json::from_slice(&json)
                .map_err(|error| datafusion::error::DataFusionError::External(Box::new(error)))?;
            answer.rows.extend(rows);
        }
        if answer.more {
            break;
        }
        if bytes > MOST_BYTES {
            (answer.more, answer.is_cut) = (true, true);
            break;
        }
    }
    Ok(answer)
}
