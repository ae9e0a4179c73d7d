//! Several logs as one pair of tables: each row says of which log it is, in a first column `origin`, as in a ClickHouse. Nothing is written.

use std::cmp::Reverse;
use std::iter;
use std::sync::Arc;

use datafusion::dataframe::DataFrame;
use datafusion::execution::context::SessionContext;
use datafusion::logical_expr::{col, lit};

use crate::sql::{Answer, Bounds, answered};
use crate::stats::StatsQuestion;
use crate::table::Table;
use crate::{Model, ModelError};

/// Of which log a row is.
const ORIGIN: &str = "origin";

/// The models of several logs, or of parts of them.
#[derive(Debug)]
pub struct Several(Vec<(String, Model)>);

impl Several {
    /// Each with the name of its log. Of one log there may be parts, which follow each other; a copy of what another part has is left out.
    ///
    /// # Errors
    /// Where two parts of one log have some of the same records, and each has others: sums would count these twice.
    pub fn of(mut parts: Vec<(String, Model)>) -> Result<Self, ModelError> {
        parts.sort_by_cached_key(|(name, model)| (name.clone(), model.begins(), Reverse(model.extent().1)));
        let mut kept: Vec<(String, Model)> = Vec::new();
        for (name, model) in parts {
            let before = kept.last().filter(|(of, _)| *of == name).map_or(0, |(_, last)| last.extent().1);
            let (begins, end) = (model.begins(), model.extent().1);
            if end <= before {
                continue;
            }
            if begins < before {
                return Err(ModelError::Query(format!(
                    "two of the directories that have the log {name} share the records from {begins} to {}, and each has others: leave one out",
                    before - 1
                )));
            }
            kept.push((name, model));
        }
        Ok(Self(kept))
    }

    /// As [`Model::sql`], over all of them.
    ///
    /// # Errors
    /// See [`ModelError`].
    pub fn sql(&self, query: &str, bounds: Bounds) -> Result<Answer, ModelError> {
        answered(query, bounds, |session| {
            self.register(session, "records", |model| Ok(model.records()))?;
            self.register(session, "hours", Model::hours)
        })
    }

    /// As [`Model::stats`], over all of them.
    ///
    /// # Errors
    /// See [`ModelError`].
    pub fn stats(&self, question: &StatsQuestion) -> Result<Answer, ModelError> {
        Ok(question.named(self.sql(&question.sql("hours"), question.bounds())?))
    }

    fn register(
        &self,
        session: &SessionContext,
        name: &str,
        table: impl Fn(&Model) -> Result<Table, ModelError>,
    ) -> Result<(), ModelError> {
        let mut all: Option<DataFrame> = None;
        for (origin, model) in &self.0 {
            let table = table(model)?;
            let schema = table.schema.clone();
            let columns = schema.fields().iter().map(|field| col(field.name().as_str()));
            let columns: Vec<_> = iter::once(lit(origin.as_str()).alias(ORIGIN)).chain(columns).collect();
            let frame = session.read_table(Arc::new(table)).and_then(|frame| frame.select(columns));
            let frame = frame.map_err(ModelError::query)?;
            all = Some(match all {
                None => frame,
                Some(all) => all.union(frame).map_err(ModelError::query)?,
            });
        }
        let all = all.ok_or_else(|| ModelError::Query("there is no log".to_owned()))?;
        session.register_table(name, all.into_view()).map_err(ModelError::query)?;
        Ok(())
    }
}
