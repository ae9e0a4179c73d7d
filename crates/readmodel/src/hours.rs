//! Sums by hour, kept beside the rows: what was called, denied and spent by whom, and of what, is answered without reading the rows.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, LazyLock};

use datafusion::arrow::array::{
    Array as _, ArrayRef, AsArray as _, Int64Array, RecordBatch, StringViewArray, TimestampMicrosecondArray,
};
use datafusion::arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef, TimestampMicrosecondType};
use datafusion::arrow::error::ArrowError;
use jiff::Timestamp;
use vidimus_core::record::{Kept, Record};
use vidimus_core::row::{Asked, Type, outcome_and_code};

use crate::row::time;

/// What a column has, in the words of `vidimus audit sql`.
pub(crate) const COLUMNS: [(&str, Type, &str); 13] = [
    ("what", Type::Text, "principal or resource: what `name` is; each call counts once in either"),
    ("hour", Type::Time, "the beginning of the hour (UTC)"),
    ("name", Type::Text, "which one; nothing where a refusal does not say"),
    ("calls", Type::Number, "decisions and refusals"),
    ("allowed", Type::Number, "of these: let pass"),
    ("held", Type::Number, "of these: held for people"),
    ("denied", Type::Number, "of these: denied or refused"),
    ("effects", Type::Number, "calls that came to an end"),
    ("ok", Type::Number, "of these: the upstream did it"),
    ("tokens_input", Type::Number, "tokens of the questions"),
    ("tokens_output", Type::Number, "tokens of the answers"),
    ("cost", Type::Number, "millionths of the currency unit"),
    (
        "latency_us",
        Type::Number,
        "the sum of all effects, not the mean (sum(latency_us) / sum(effects)): microseconds",
    ),
];

/// How many of them are numbers.
const NUMBERS: usize = 10;

const MICROSECONDS: i64 = 3_600_000_000;

static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
    let kind = |kind: Type| match kind {
        Type::Time => time(),
        Type::Text | Type::Texts => DataType::Utf8View,
        Type::Number | Type::Small => DataType::Int64,
    };
    let fields = COLUMNS.iter().map(|(name, of, _)| Field::new(*name, kind(*of), *name == "name"));
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
});

pub(crate) fn schema() -> SchemaRef {
    SCHEMA.clone()
}

/// What the sums are by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum By {
    Principal,
    Resource,
}

impl By {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Principal => "principal",
            Self::Resource => "resource",
        }
    }
}

type Sums = [i64; NUMBERS];

/// Sums of some records.
#[derive(Debug, Default)]
pub(crate) struct Hours(BTreeMap<(i64, By), HashMap<String, Sums>>);

impl Hours {
    /// Counts a record. One without a time that can be read is in no hour.
    pub(crate) fn count(&mut self, record: &Kept, asked: &Asked) {
        let Ok(time) = record.time().parse::<Timestamp>() else { return };
        let (outcome, _) = outcome_and_code(record);
        let is = |wanted: &str| i64::from(outcome.is_some_and(|outcome| outcome.starts_with(wanted)));
        let whole = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        let sums: Sums = match record {
            Record::Decision(_) | Record::Refusal(_) => {
                [1, is("allow"), is("hold"), is("deny"), 0, 0, 0, 0, 0, 0]
            }
            Record::Effect(it) => {
                let [input, output, cost] =
                    [it.tokens_input, it.tokens_output, it.charged_spend].map(|it| whole(it.unwrap_or(0)));
                [0, 0, 0, 0, 1, is("ok"), input, output, cost, whole(it.duration_us)]
            }
            Record::Act(_) => return,
        };
        let hour = time.as_microsecond().div_euclid(MICROSECONDS).saturating_mul(MICROSECONDS);
        let names = [(By::Principal, &asked.principal), (By::Resource, &asked.resource)];
        for (by, name) in names {
            self.add(hour, by, name.as_deref().unwrap_or_default(), &sums);
        }
    }

    fn add(&mut self, hour: i64, by: By, name: &str, sums: &Sums) {
        let names = self.0.entry((hour, by)).or_default();
        let of = match names.get_mut(name) {
            Some(of) => of,
            None => names.entry(name.to_owned()).or_default(),
        };
        for (to, more) in of.iter_mut().zip(sums) {
            *to = to.saturating_add(*more);
        }
    }

    /// Adds sums of others.
    pub(crate) fn merge(&mut self, batch: &RecordBatch) {
        let [by, hour, name, numbers @ ..] = batch.columns() else { return };
        let by = by.as_string_view();
        let (hour, name) = (hour.as_primitive::<TimestampMicrosecondType>(), name.as_string_view());
        let numbers: Vec<_> =
            numbers.iter().map(datafusion::arrow::array::AsArray::as_primitive::<Int64Type>).collect();
        for row in 0..batch.num_rows() {
            let of = if by.value(row) == By::Principal.as_str() { By::Principal } else { By::Resource };
            let mut sums = Sums::default();
            for (sum, column) in sums.iter_mut().zip(&numbers) {
                *sum = column.value(row);
            }
            let name = if name.is_null(row) { "" } else { name.value(row) };
            self.add(hour.value(row), of, name, &sums);
        }
    }

    /// All of them, by hour.
    pub(crate) fn batch(&self) -> Result<RecordBatch, ArrowError> {
        let of = |(key, names): (&(i64, By), &HashMap<String, Sums>)| {
            let ((hour, by), mut rows) = (*key, names.iter().collect::<Vec<_>>());
            rows.sort();
            rows.into_iter().map(|(name, sums)| (hour, by, name.clone(), *sums)).collect::<Vec<_>>()
        };
        let rows: Vec<_> = self.0.iter().flat_map(of).collect();
        let by: StringViewArray = rows.iter().map(|(_, by, ..)| Some(by.as_str())).collect();
        let hours = rows.iter().map(|(hour, ..)| *hour);
        let hour = TimestampMicrosecondArray::from_iter_values(hours).with_timezone("UTC");
        let name: StringViewArray =
            rows.iter().map(|(.., name, _)| Some(name.as_str()).filter(|name| !name.is_empty())).collect();
        let number = |at: usize| -> ArrayRef {
            let column = rows.iter().map(|(.., sums)| sums.get(at).copied().unwrap_or_default());
            Arc::new(Int64Array::from_iter_values(column))
        };
        let columns: [ArrayRef; 3] = [Arc::new(by), Arc::new(hour), Arc::new(name)];
        RecordBatch::try_new(schema(), columns.into_iter().chain((0..NUMBERS).map(number)).collect())
    }
}
