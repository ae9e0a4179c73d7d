//! Sums: who called what how often, what was denied, and what it cost. They come from the sums by hour that are kept, and read no record.

use std::time::Duration;

use jiff::Timestamp;

use crate::sql::{Answer, Bounds};
use crate::{Model, ModelError};

/// What the sums are by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// Who called.
    Agent,
    /// Tools.
    Tool,
    /// Models.
    Model,
    /// Hours.
    Hour,
    /// Who called, in each hour.
    AgentHour,
}

/// By what the largest are meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Calls; of hours their time.
    Usual,
    /// What it cost.
    Cost,
    /// Tokens.
    Tokens,
    /// What was denied or refused.
    Denied,
}

/// Which sums.
#[derive(Clone, Copy, Debug)]
pub struct StatsQuestion {
    /// What they are by.
    pub by: By,
    /// The largest first, by this.
    pub order: Order,
    /// Not before the hour that this is in.
    pub since: Option<Timestamp>,
    /// Before the end of the hour that this is in; where it is the beginning of one, before that.
    pub until: Option<Timestamp>,
    /// At most so many rows.
    pub limit: usize,
}

impl StatsQuestion {
    pub(crate) fn bounds(&self) -> Bounds {
        Bounds { rows: self.limit, time: Duration::from_secs(60) }
    }

    /// As a question in SQL to a table, which has the columns of `hours`.
    pub fn sql(&self, table: &str) -> String {
        let (names, groups, which) = match self.by {
            By::Agent => ("name AS agent", "agent", "what = 'principal'"),
            By::Tool => ("name AS tool", "tool", "what = 'resource' AND name LIKE 'Tool/%'"),
            By::Model => ("name AS model", "model", "what = 'resource' AND name LIKE 'Model/%'"),
            By::Hour => ("hour", "hour", "what = 'principal'"),
            By::AgentHour => ("hour, name AS agent", "hour, agent", "what = 'principal'"),
        };
        let by = match self.by {
            By::Hour => "hour",
            By::AgentHour => "hour, name",
            By::Agent | By::Tool | By::Model => "name",
        };
        let order = match self.order {
            Order::Usual if matches!(self.by, By::Hour | By::AgentHour) => "hour DESC, calls DESC",
            Order::Usual => "calls DESC, effects DESC",
            Order::Cost => "cost DESC",
            Order::Tokens => "tokens_input + tokens_output DESC",
            Order::Denied => "denied DESC",
        };
        // To the second, as every engine reads it: an hour begins at none in between.
        let time = |seconds: i64| {
            let time = Timestamp::from_second(seconds).unwrap_or(Timestamp::MAX);
            time.strftime("%Y-%m-%d %H:%M:%S").to_string()
        };
        let since = self.since.map(|since| since.as_second().div_euclid(3600) * 3600);
        let since = since.map(|since| format!(" AND hour >= '{}'", time(since))).unwrap_or_default();
        let until = self.until.map(|until| until.as_second() + i64::from(until.subsec_nanosecond() > 0));
        let until = until.map(|until| format!(" AND hour < '{}'", time(until))).unwrap_or_default();
        format!(
            "SELECT * FROM (SELECT {names}, sum(calls) AS calls, sum(allowed) AS allowed, sum(held) AS held, sum(denied) AS denied, sum(effects) AS effects, \
             sum(ok) AS ok, sum(tokens_input) AS tokens_input, sum(tokens_output) AS tokens_output, sum(cost) AS cost, \
             CAST(sum(latency_us) / CASE WHEN sum(effects) = 0 THEN 1 ELSE sum(effects) END AS BIGINT) AS latency_us \
             FROM {table} WHERE {which}{since}{until} GROUP BY {by}) AS sums ORDER BY {order}, {groups}"
        )
    }

    /// Of a tool or a model its name alone.
    pub fn named(&self, mut answer: Answer) -> Answer {
        let (column, kind) = match self.by {
            By::Tool => ("tool", "Tool/"),
            By::Model => ("model", "Model/"),
            By::Agent | By::Hour | By::AgentHour => return answer,
        };
        for name in answer.rows.iter_mut().filter_map(|row| row.get_mut(column)) {
            if let Some(part) = name.as_str().and_then(|name| name.strip_prefix(kind)) {
                *name = part.into();
            }
        }
        answer
    }
}

impl Model {
    /// The sums, the largest first, and whether there are more of them.
    ///
    /// # Errors
    /// See [`ModelError`].
    pub fn stats(&self, question: &StatsQuestion) -> Result<Answer, ModelError> {
        Ok(question.named(self.sql(&question.sql("hours"), question.bounds())?))
    }
}
