//! Rows of records in memory, as Arrow has them.

use std::sync::{Arc, LazyLock};

use datafusion::arrow::array::{
    ArrayRef, Int32Builder, Int64Builder, ListBuilder, RecordBatch, StringViewBuilder,
    TimestampMicrosecondBuilder,
};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use datafusion::arrow::error::ArrowError;
use vidimus_core::record::Kept;
use vidimus_core::row::{Asked, COLUMNS, Cell, Type, cells};

fn arrow(kind: Type) -> DataType {
    match kind {
        Type::Number => DataType::Int64,
        Type::Small => DataType::Int32,
        Type::Time => time(),
        Type::Text => DataType::Utf8View,
        Type::Texts => DataType::List(Arc::new(Field::new("item", DataType::Utf8View, true))),
    }
}

/// Microseconds, in UTC.
pub(crate) fn time() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
}

static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
    let fields = COLUMNS.iter().map(|(name, kind, _)| Field::new(*name, arrow(*kind), *name != "index"));
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
});

/// The columns of all records.
pub(crate) fn schema() -> SchemaRef {
    SCHEMA.clone()
}

/// How many columns are of a type.
const fn columns_of(kind: Type) -> usize {
    let (mut left, mut count) = (COLUMNS.as_slice(), 0);
    while let [(_, of, _), others @ ..] = left {
        if *of as u8 == kind as u8 {
            count += 1;
        }
        left = others;
    }
    count
}

/// Rows, one behind the other.
#[derive(Debug)]
pub(crate) struct Rows {
    numbers: [Int64Builder; columns_of(Type::Number)],
    small: [Int32Builder; columns_of(Type::Small)],
    time: TimestampMicrosecondBuilder,
    texts: [StringViewBuilder; columns_of(Type::Text)],
    policies: ListBuilder<StringViewBuilder>,
    len: usize,
}

impl Default for Rows {
    fn default() -> Self {
        // Of each text that is in many records one copy is kept; ids and records are their own.
        let text = |name: &str| match name {
            "id" | "record" | "trace" | "transaction" => StringViewBuilder::new(),
            _ => StringViewBuilder::new().with_deduplicate_strings(),
        };
        let mut names = COLUMNS.iter().filter(|(_, kind, _)| *kind == Type::Text).map(|(name, ..)| *name);
        Self {
            numbers: Default::default(),
            small: Default::default(),
            time: TimestampMicrosecondBuilder::new().with_timezone("UTC"),
            texts: std::array::from_fn(|_| text(names.next().unwrap_or_default())),
            policies: ListBuilder::new(StringViewBuilder::new().with_deduplicate_strings()),
            len: 0,
        }
    }
}

impl Rows {
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Adds a record, with who asked for what. `record` is none where it cannot be read.
    pub(crate) fn push(&mut self, index: u64, text: &str, record: Option<&Kept>, asked: Option<&Asked>) {
        let (mut numbers, mut small, mut texts) =
            (self.numbers.iter_mut(), self.small.iter_mut(), self.texts.iter_mut());
        for cell in cells(index, text, record, asked) {
            match cell {
                Cell::Number(number) => {
                    if let Some(builder) = numbers.next() {
                        builder.append_option(number);
                    }
                }
                Cell::Small(number) => {
                    if let Some(builder) = small.next() {
                        builder.append_option(number);
                    }
                }
                Cell::Time(time) => self.time.append_option(time),
                Cell::Text(text) => {
                    if let Some(builder) = texts.next() {
                        builder.append_option(text);
                    }
                }
                Cell::Texts(policies) => {
                    policies.iter().for_each(|policy| self.policies.values().append_value(policy));
                    self.policies.append(true);
                }
            }
        }
        self.len += 1;
    }

    /// The rows so far, in the order of [`COLUMNS`].
    pub(crate) fn finish(&mut self) -> Result<RecordBatch, ArrowError> {
        self.len = 0;
        let (mut numbers, mut small, mut texts) =
            (self.numbers.iter_mut(), self.small.iter_mut(), self.texts.iter_mut());
        let mut columns: Vec<ArrayRef> = Vec::with_capacity(COLUMNS.len());
        for (_, kind, _) in COLUMNS {
            let column: Option<ArrayRef> = match kind {
                Type::Number => numbers.next().map(|it| Arc::new(it.finish()) as _),
                Type::Small => small.next().map(|it| Arc::new(it.finish()) as _),
                Type::Text => texts.next().map(|it| Arc::new(it.finish()) as _),
                Type::Time => Some(Arc::new(self.time.finish())),
                Type::Texts => Some(Arc::new(self.policies.finish())),
            };
            columns.extend(column);
        }
        RecordBatch::try_new(schema(), columns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_builder_has_its_columns() {
        let count = |wanted: Type| COLUMNS.iter().filter(|(_, kind, _)| *kind == wanted).count();
        let rows = Rows::default();
        let has = (rows.numbers.len(), rows.small.len(), rows.texts.len());
        assert_eq!((count(Type::Number), count(Type::Small), count(Type::Text)), has);
        assert_eq!((count(Type::Time), count(Type::Texts)), (1, 1));
    }
}
