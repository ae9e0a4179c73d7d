//! A record as a row. The row of an effect repeats who asked for what, from its decision, so that one table answers for both.

use std::sync::{Arc, LazyLock};

use datafusion::arrow::array::{
    ArrayRef, Int32Builder, Int64Builder, ListBuilder, RecordBatch, StringViewBuilder,
    TimestampMicrosecondBuilder,
};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use datafusion::arrow::error::ArrowError;
use jiff::Timestamp;
use vidimus_core::act::Act;
use vidimus_core::record::{ActRecord, DecisionRecord, EffectRecord, Kept, Record, RefusalRecord};

/// What a column has, in the words of `vidimus audit sql`.
pub(crate) const COLUMNS: [(&str, Type, &str); 34] = [
    ("index", Type::Number, "the record's place in the log, from 0: what it is proven by"),
    ("time", Type::Time, "when it was made (UTC)"),
    ("kind", Type::Text, "decision, effect, refusal or act; nothing where the record cannot be read"),
    ("id", Type::Text, "the call; of an act its own"),
    (
        "outcome",
        Type::Text,
        "allow, allow-with-obligations, hold, deny; of an effect ok, error, unknown, failed, cancelled",
    ),
    ("code", Type::Text, "stable code of a refusal, or of how an effect ended; of an act what was done"),
    ("principal", Type::Text, "who called: Agent/finance/bot"),
    ("identity", Type::Text, "which of its identities was used; of a refusal what was proven"),
    ("person", Type::Text, "on whose behalf: ISSUER#SUBJECT; of an act who did it"),
    ("action", Type::Text, "the Cedar action: invokeTool"),
    ("method", Type::Text, "the protocol's method: tools/call"),
    ("resource", Type::Text, "what was called: Tool/finance/ledger/transfer"),
    ("server", Type::Text, "the server, agent or provider that it is of: finance/ledger"),
    ("tool", Type::Text, "the tool's name"),
    ("skill", Type::Text, "the skill's name"),
    ("model", Type::Text, "the model's name"),
    ("subject", Type::Text, "of an act: what it was done to"),
    ("policies", Type::Texts, "the policies that decided"),
    ("policy_names", Type::Text, "these, those only tried and the closest permits: each before a line break"),
    ("approval", Type::Text, "the approval that the call waits for or is made with"),
    ("transaction", Type::Text, "what all calls of one chain share"),
    ("chain_root", Type::Text, "who acted first in the chain"),
    ("depth", Type::Small, "the number of the hop, from 1"),
    ("trace", Type::Text, "the W3C trace"),
    ("configuration", Type::Text, "digest of the configuration that decided"),
    ("decision", Type::Number, "of an effect: the index of its decision"),
    ("status", Type::Small, "of an effect: the upstream's HTTP status"),
    ("bytes_in", Type::Number, "of an effect: bytes that the caller sent"),
    ("bytes_out", Type::Number, "of an effect: bytes that it was answered"),
    ("tokens_input", Type::Number, "of an effect: tokens of the question"),
    ("tokens_output", Type::Number, "of an effect: tokens of the answer"),
    ("cost", Type::Number, "of an effect: what it counts for, in millionths of the currency unit"),
    ("latency_us", Type::Number, "of an effect: microseconds to the end of the answer"),
    ("record", Type::Text, "the record's JSON text, byte for byte"),
];

/// The type of a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Type {
    Number,
    Small,
    Time,
    Text,
    Texts,
}

impl Type {
    fn arrow(self) -> DataType {
        match self {
            Self::Number => DataType::Int64,
            Self::Small => DataType::Int32,
            Self::Time => time(),
            Self::Text => DataType::Utf8View,
            Self::Texts => DataType::List(Arc::new(Field::new("item", DataType::Utf8View, true))),
        }
    }

    /// As it is called in SQL.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Number => "bigint",
            Self::Small => "int",
            Self::Time => "timestamp",
            Self::Text => "text",
            Self::Texts => "text[]",
        }
    }
}

/// Microseconds, in UTC.
pub(crate) fn time() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
}

static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
    let fields = COLUMNS.iter().map(|(name, kind, _)| Field::new(*name, kind.arrow(), *name != "index"));
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
});

/// The columns of all records.
pub(crate) fn schema() -> SchemaRef {
    SCHEMA.clone()
}

/// Who asked for what, and by what that was decided. An effect has that of its decision.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Asked {
    pub(crate) principal: Option<String>,
    identity: Option<String>,
    person: Option<String>,
    action: Option<String>,
    method: Option<String>,
    pub(crate) resource: Option<String>,
    subject: Option<String>,
    policies: Vec<Arc<str>>,
    policy_names: String,
    approval: Option<String>,
    transaction: Option<String>,
    chain_root: Option<String>,
    depth: Option<i32>,
    trace: Option<String>,
    configuration: Option<String>,
}

impl Asked {
    /// What a record says of it by itself: that of an effect does not.
    pub(crate) fn of(record: &Kept) -> Option<Self> {
        match record {
            Record::Decision(it) => Some(Self::of_decision(it)),
            Record::Refusal(it) => Some(Self::of_refusal(it)),
            Record::Act(it) => Some(Self::of_act(it)),
            Record::Effect(_) => None,
        }
    }

    pub(crate) fn of_decision(it: &DecisionRecord<'_>) -> Self {
        let tried = it.observed.iter().map(|observed| &*observed.policy);
        let named = it.policies.iter().chain(&*it.closest_permits).map(|policy| &**policy);
        Self {
            principal: Some(it.principal.to_string()),
            identity: Some(it.identity.to_string()),
            person: it.user.as_deref().map(str::to_owned),
            action: Some(it.action.to_string()),
            method: Some(it.method.to_string()),
            resource: Some(it.resource.to_string()),
            subject: None,
            policies: it.policies.to_vec(),
            policy_names: names(named.chain(tried)),
            approval: it.approval.as_deref().map(str::to_owned),
            transaction: Some(it.transaction.to_string()),
            chain_root: Some(it.chain.first().unwrap_or(&it.principal).to_string()),
            depth: i32::try_from(it.depth).ok(),
            trace: Some(it.trace.to_string()),
            configuration: Some(it.snapshot.to_string()),
        }
    }

    fn of_refusal(it: &RefusalRecord<'_>) -> Self {
        let asked = it.asked.as_deref();
        let policies = asked.map(|asked| asked.policies.to_vec()).unwrap_or_default();
        Self {
            principal: it.principal.as_deref().map(str::to_owned),
            identity: it.identity.as_deref().map(str::to_owned),
            person: it.user.as_deref().map(str::to_owned),
            action: asked.map(|asked| asked.action.to_string()),
            method: asked.map(|asked| asked.method.to_string()),
            resource: asked.map(|asked| asked.resource.to_string()),
            policy_names: names(policies.iter().map(|policy| &**policy)),
            policies,
            approval: asked.and_then(|asked| asked.approval.as_deref()).map(str::to_owned),
            transaction: asked.map(|asked| asked.transaction.to_string()),
            trace: Some(it.trace.to_string()),
            ..Self::default()
        }
    }

    fn of_act(it: &ActRecord<'_>) -> Self {
        let subject = it.act.subject().to_string();
        let question = match &it.act {
            Act::Ask(question) => Some(&**question),
            _ => None,
        };
        let asking = question.map(|question| &question.asking);
        let policies = asking.into_iter().flatten().map(|wanted| Arc::from(wanted.policy.as_str()));
        let policies: Vec<Arc<str>> = policies.collect();
        Self {
            person: Some(it.actor.to_string()),
            resource: question.map(|question| question.resource.to_string()),
            policy_names: names(policies.iter().map(|policy| &**policy)),
            policies,
            approval: it.act.approval().map(str::to_owned),
            transaction: subject.strip_prefix("Chain/").map(str::to_owned),
            subject: Some(subject),
            ..Self::default()
        }
    }
}

/// Each name before a line break, and that of its policy where it is one of several statements (`namespace/name#id`).
fn names<'r>(policies: impl Iterator<Item = &'r str>) -> String {
    policies.fold(String::new(), |mut names, policy| {
        for name in [Some(policy), policy.rsplit_once('#').map(|of| of.0)].into_iter().flatten() {
            names.push_str(name);
            names.push('\n');
        }
        names
    })
}

/// What a resource is part of, and what of it is a tool, skill or model.
#[derive(Default)]
struct Parts<'r> {
    server: Option<&'r str>,
    tool: Option<&'r str>,
    skill: Option<&'r str>,
    model: Option<&'r str>,
}

impl<'r> Parts<'r> {
    fn of(resource: &'r str) -> Self {
        let Some((kind, id)) = resource.split_once('/') else { return Self::default() };
        // `namespace/name`, and what of it behind another slash.
        let end = id.match_indices('/').nth(1).map_or(id.len(), |(at, _)| at);
        let (server, part) = (id.get(..end), id.get(end + 1..));
        let of = |wanted| part.filter(|_| kind == wanted);
        Self { server, tool: of("Tool"), skill: of("Skill"), model: of("Model") }
    }
}

/// Rows, one behind the other.
#[derive(Debug)]
pub(crate) struct Rows {
    numbers: [Int64Builder; 8],
    small: [Int32Builder; 2],
    time: TimestampMicrosecondBuilder,
    texts: [StringViewBuilder; 22],
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
        let none = Asked::default();
        let asked = asked.unwrap_or(&none);
        let time = record.and_then(|record| record.time().parse::<Timestamp>().ok());
        self.time.append_option(time.map(Timestamp::as_microsecond));
        self.append_numbers(index, record, asked);
        let parts = asked.resource.as_deref().map(Parts::of).unwrap_or_default();
        let (outcome, code) = record.map(outcome_and_code).unwrap_or_default();
        let texts: [Option<&str>; 22] = [
            record.map(Record::kind),
            record.map(Record::id),
            outcome,
            code,
            asked.principal.as_deref(),
            asked.identity.as_deref(),
            asked.person.as_deref(),
            asked.action.as_deref(),
            asked.method.as_deref(),
            asked.resource.as_deref(),
            parts.server,
            parts.tool,
            parts.skill,
            parts.model,
            asked.subject.as_deref(),
            Some(&asked.policy_names),
            asked.approval.as_deref(),
            asked.transaction.as_deref(),
            asked.chain_root.as_deref(),
            asked.trace.as_deref(),
            asked.configuration.as_deref(),
            Some(text),
        ];
        for (builder, text) in self.texts.iter_mut().zip(texts) {
            builder.append_option(text);
        }
        for policy in &asked.policies {
            self.policies.values().append_value(policy);
        }
        self.policies.append(true);
        self.len += 1;
    }

    fn append_numbers(&mut self, index: u64, record: Option<&Kept>, asked: &Asked) {
        let whole = |number: u64| i64::try_from(number).ok();
        let effect: Option<&EffectRecord<'_>> = match record {
            Some(Record::Effect(it)) => Some(it),
            _ => None,
        };
        let numbers: [Option<i64>; 8] = [
            whole(index),
            effect.and_then(|it| whole(it.decision)),
            effect.and_then(|it| whole(it.bytes_in)),
            effect.and_then(|it| whole(it.bytes_out)),
            effect.and_then(|it| whole(it.tokens_input?)),
            effect.and_then(|it| whole(it.tokens_output?)),
            effect.and_then(|it| whole(it.charged_spend?)),
            effect.and_then(|it| whole(it.duration_us)),
        ];
        for (builder, number) in self.numbers.iter_mut().zip(numbers) {
            builder.append_option(number);
        }
        let small = [asked.depth, effect.map(|it| i32::from(it.status))];
        for (builder, number) in self.small.iter_mut().zip(small) {
            builder.append_option(number);
        }
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

/// How it was decided or ended, and by which code.
pub(crate) fn outcome_and_code(record: &Kept) -> (Option<&str>, Option<&str>) {
    match record {
        Record::Decision(it) => (Some(&it.outcome), it.code.as_deref()),
        Record::Effect(it) => (Some(&it.result), it.code.as_deref()),
        Record::Refusal(it) => (Some(&it.outcome), Some(&it.code)),
        Record::Act(it) => (None, Some(it.act.as_str())),
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

    #[test]
    fn a_resource_is_told_apart() {
        let parts = |text| {
            let Parts { server, tool, skill, model } = Parts::of(text);
            (server, tool, skill, model)
        };
        assert_eq!(parts("Tool/a/b/c"), (Some("a/b"), Some("c"), None, None));
        assert_eq!(parts("Model/a/b/org/m"), (Some("a/b"), None, None, Some("org/m")));
        assert_eq!(parts("Skill/a/b/"), (Some("a/b"), None, Some(""), None));
        assert_eq!(parts("MCPServer/a/b"), (Some("a/b"), None, None, None));
        assert_eq!(parts("Resource/a/b/file:///x"), (Some("a/b"), None, None, None));
        assert_eq!(parts("x"), (None, None, None, None));
    }
}
