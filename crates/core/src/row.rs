//! A record as a row: what of it stands in which column of every table of records, whoever keeps it (DataFusion, ClickHouse). The row of an effect
//! repeats who asked for what, from its decision, so that one table answers for both.

use std::sync::Arc;

use jiff::Timestamp;

use crate::act::{Act, Lifted, OfSubject, Subject};
use crate::decision::Outcome;
use crate::record::{ActRecord, DecisionRecord, EffectRecord, Kept, Record, RefusalRecord};

/// How many columns there are.
const COUNT: usize = 42;

/// The columns: their names, their types and what they have, in the words of `vidimus audit sql`.
pub const COLUMNS: [(&str, Type, &str); COUNT] = [
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
    (
        "instance",
        Type::Text,
        "which copy of the principal: the UID of its pod, or its certificate's serial number",
    ),
    ("instance_name", Type::Text, "the pod: NAMESPACE/NAME"),
    ("source", Type::Text, "the address that the call came from"),
    ("person", Type::Text, "on whose behalf: ISSUER#SUBJECT; of an act who did it"),
    ("action", Type::Text, "the Cedar action: invokeTool"),
    ("method", Type::Text, "the protocol's method: tools/call"),
    ("resource", Type::Text, "what was called: Tool/finance/ledger/transfer"),
    ("server", Type::Text, "the server, agent or provider that it is of: finance/ledger"),
    ("via", Type::Text, "the server with members by which the call came: MCPServer/finance/all"),
    ("tool", Type::Text, "the tool's name"),
    ("skill", Type::Text, "the skill's name"),
    ("model", Type::Text, "the model's name"),
    ("subject", Type::Text, "of an act: what it was done to"),
    ("policies", Type::Texts, "the policies that decided"),
    (
        "policy_names",
        Type::Text,
        "these, those that changed the call or its answer, those only tried and the closest permits: each before a line break",
    ),
    ("approval", Type::Text, "the approval that the call waits for or is made with"),
    ("transaction", Type::Text, "what all calls of one chain share"),
    ("chain_root", Type::Text, "who acted first in the chain"),
    (
        "on_behalf_of",
        Type::Text,
        "everybody on whose behalf others acted: who acted before the caller, oldest first, and the person; each before a line break",
    ),
    ("depth", Type::Small, "the number of the hop, from 1"),
    ("trace", Type::Text, "the W3C trace"),
    (
        "configuration",
        Type::Text,
        "digest of the configuration that decided; of a start that which decides first",
    ),
    ("decision", Type::Number, "of an effect: the index of its decision"),
    ("status", Type::Small, "of an effect: the upstream's HTTP status"),
    ("bytes_in", Type::Number, "of an effect: bytes that the caller sent"),
    ("bytes_out", Type::Number, "of an effect: bytes that it was answered"),
    ("tokens_input", Type::Number, "of an effect: tokens of the question"),
    ("tokens_output", Type::Number, "of an effect: tokens of the answer"),
    (
        "tokens_input_cached",
        Type::Number,
        "of an effect: tokens of the question that the provider read from what it keeps",
    ),
    (
        "tokens_cache_written",
        Type::Number,
        "of an effect: tokens of the question that the provider keeps from then on",
    ),
    ("tokens_reasoning", Type::Number, "of an effect: tokens of the answer that the model thought"),
    ("cost", Type::Number, "of an effect: what it counts for, in millionths of the currency unit"),
    ("latency_us", Type::Number, "of an effect: microseconds to the end of the answer"),
    ("record", Type::Text, "the record's JSON text, byte for byte"),
];

/// The type of a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    /// Whole, of 64 bits.
    Number,
    /// Whole, of 32 bits.
    Small,
    /// Microseconds, in UTC.
    Time,
    /// UTF-8.
    Text,
    /// Texts in an order.
    Texts,
}

impl Type {
    /// As it is called in SQL.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Number => "bigint",
            Self::Small => "int",
            Self::Time => "timestamp",
            Self::Text => "text",
            Self::Texts => "text[]",
        }
    }
}

/// What of one record stands in one column; nothing where it does not say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cell<'r> {
    /// Of [`Type::Number`].
    Number(Option<i64>),
    /// Of [`Type::Small`].
    Small(Option<i32>),
    /// Of [`Type::Time`]: microseconds since 1970.
    Time(Option<i64>),
    /// Of [`Type::Text`].
    Text(Option<&'r str>),
    /// Of [`Type::Texts`].
    Texts(&'r [Arc<str>]),
}

/// Who asked for what, and by what that was decided. An effect has that of its decision.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// Who called.
    pub principal: Option<String>,
    identity: Option<String>,
    instance: Option<String>,
    instance_name: Option<String>,
    source: Option<String>,
    person: Option<String>,
    action: Option<String>,
    method: Option<String>,
    /// What was called.
    pub resource: Option<String>,
    via: Option<String>,
    subject: Option<String>,
    policies: Vec<Arc<str>>,
    policy_names: String,
    approval: Option<String>,
    transaction: Option<String>,
    chain_root: Option<String>,
    on_behalf_of: String,
    depth: Option<i32>,
    trace: Option<String>,
    configuration: Option<String>,
}

impl Asked {
    /// What a record says of it by itself: that of an effect does not.
    pub fn of(record: &Kept) -> Option<Self> {
        match record {
            Record::Decision(it) => Some(Self::of_decision(it)),
            Record::Refusal(it) => Some(Self::of_refusal(it)),
            Record::Act(it) => Some(Self::of_act(it)),
            Record::Effect(_) => None,
        }
    }

    fn of_decision(it: &DecisionRecord<'_>) -> Self {
        Self {
            principal: Some(it.principal.to_string()),
            identity: Some(it.identity.to_string()),
            instance: it.instance.as_ref().map(|copy| copy.id.to_string()),
            instance_name: it.instance.as_ref().and_then(|copy| copy.name.as_deref()).map(str::to_owned),
            source: it.source.as_deref().map(|source| plain_address(source).to_owned()),
            person: it.user.as_deref().map(str::to_owned),
            action: Some(it.action.to_string()),
            method: Some(it.method.to_string()),
            resource: Some(it.resource.to_string()),
            via: it.via.as_deref().map(str::to_owned),
            subject: None,
            policies: it.policies.to_vec(),
            policy_names: names(it.named_policies()),
            approval: it.approval.as_deref().map(str::to_owned),
            transaction: Some(it.transaction.to_string()),
            chain_root: Some(it.chain.first().unwrap_or(&it.principal).to_string()),
            on_behalf_of: lines(it.chain.iter().chain(&it.user).map(|who| &**who)),
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
            instance: it.instance.as_ref().map(|copy| copy.id.to_string()),
            instance_name: it.instance.as_ref().and_then(|copy| copy.name.as_deref()).map(str::to_owned),
            source: it.source.as_deref().map(|source| plain_address(source).to_owned()),
            person: it.user.as_deref().map(str::to_owned),
            action: asked.map(|asked| asked.action.to_string()),
            method: asked.map(|asked| asked.method.to_string()),
            resource: asked.map(|asked| asked.resource.to_string()),
            policy_names: names(policies.iter().map(|policy| &**policy)),
            policies,
            approval: asked.and_then(|asked| asked.approval.as_deref()).map(str::to_owned),
            transaction: asked.map(|asked| asked.transaction.to_string()),
            chain_root: it.chain.first().map(ToString::to_string),
            on_behalf_of: lines(it.chain.iter().chain(&it.user).map(|who| &**who)),
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
        let on_behalf_of = question.into_iter().flat_map(|asked| asked.chain.iter().chain(&asked.user));
        Self {
            instance: copy_of_act(&it.act).map(str::to_owned),
            on_behalf_of: lines(on_behalf_of.map(String::as_str)),
            configuration: configuration_of_act(&it.act).map(str::to_owned),
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

/// The copy of a principal that an act is about, or a call that people are asked about was made by.
pub fn copy_of_act(act: &Act) -> Option<&str> {
    match act {
        Act::Ask(question) => question.instance.as_deref(),
        Act::Quarantine(OfSubject { subject: Subject::Instance(copy) })
        | Act::Lift(Lifted { subject: Subject::Instance(copy), .. }) => Some(copy),
        _ => None,
    }
}

/// The digest of the configuration that an act names.
pub fn configuration_of_act(act: &Act) -> Option<&str> {
    match act {
        Act::Start(start) => Some(&start.configuration),
        _ => None,
    }
}

/// The server, agent or provider, `namespace/name`, that something is, or is a part of, by its text (`Tool/namespace/name/tool`); `None` of what
/// is none: a policy, a person, an approval.
pub fn server_of(text: &str) -> Option<&str> {
    const HAVE_ONE: [&str; 8] =
        ["Agent", "LLMProvider", "MCPServer", "Model", "Prompt", "Resource", "Skill", "Tool"];
    let has_one = text.split_once('/').is_some_and(|(kind, _)| HAVE_ONE.contains(&kind));
    Parts::of(text).server.filter(|_| has_one)
}

/// An address as decisions have it: earlier refusals have that of IPv4 in the form of IPv6 (`::ffff:192.0.2.1`).
pub fn plain_address(source: &str) -> &str {
    source.strip_prefix("::ffff:").filter(|address| address.contains('.')).unwrap_or(source)
}

/// Each before a line break.
fn lines<'r>(texts: impl Iterator<Item = &'r str>) -> String {
    texts.fold(String::new(), |lines, text| lines + text + "\n")
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

/// The cells of a record, in the order of [`COLUMNS`]. `record` is none where it cannot be read, and `asked` where nothing is known of it.
pub fn cells<'r>(
    index: u64,
    text: &'r str,
    record: Option<&'r Kept>,
    asked: Option<&'r Asked>,
) -> [Cell<'r>; COUNT] {
    let whole = |number: u64| i64::try_from(number).ok();
    let says = |of: fn(&Asked) -> &Option<String>| Cell::Text(asked.and_then(|asked| of(asked).as_deref()));
    let effect: Option<&EffectRecord<'_>> = match record {
        Some(Record::Effect(it)) => Some(it),
        _ => None,
    };
    let number = |of: fn(&EffectRecord<'_>) -> Option<u64>| Cell::Number(effect.and_then(of).and_then(whole));
    let parts = asked.and_then(|asked| asked.resource.as_deref()).map(Parts::of).unwrap_or_default();
    let (outcome, code) = record.map(outcome_and_code).unwrap_or_default();
    let time = record.and_then(|record| record.time().parse::<Timestamp>().ok());
    [
        Cell::Number(whole(index)),
        Cell::Time(time.map(Timestamp::as_microsecond)),
        Cell::Text(record.map(Record::kind)),
        Cell::Text(record.map(Record::id)),
        Cell::Text(outcome),
        Cell::Text(code),
        says(|asked| &asked.principal),
        says(|asked| &asked.identity),
        says(|asked| &asked.instance),
        says(|asked| &asked.instance_name),
        says(|asked| &asked.source),
        says(|asked| &asked.person),
        says(|asked| &asked.action),
        says(|asked| &asked.method),
        says(|asked| &asked.resource),
        Cell::Text(parts.server.or_else(|| server_of(asked?.subject.as_deref()?))),
        says(|asked| &asked.via),
        Cell::Text(parts.tool),
        Cell::Text(parts.skill),
        Cell::Text(parts.model),
        says(|asked| &asked.subject),
        Cell::Texts(asked.map(|asked| asked.policies.as_slice()).unwrap_or_default()),
        Cell::Text(Some(asked.map_or("", |asked| asked.policy_names.as_str()))),
        says(|asked| &asked.approval),
        says(|asked| &asked.transaction),
        says(|asked| &asked.chain_root),
        Cell::Text(Some(asked.map_or("", |asked| asked.on_behalf_of.as_str()))),
        Cell::Small(asked.and_then(|asked| asked.depth)),
        says(|asked| &asked.trace),
        says(|asked| &asked.configuration),
        number(|it| Some(it.decision)),
        Cell::Small(effect.map(|it| i32::from(it.status))),
        number(|it| Some(it.bytes_in)),
        number(|it| Some(it.bytes_out)),
        number(|it| it.tokens_input),
        number(|it| it.tokens_output),
        number(|it| it.tokens_input_cached),
        number(|it| it.tokens_cache_written),
        number(|it| it.tokens_reasoning),
        number(|it| it.charged_spend),
        number(|it| Some(it.duration_us)),
        Cell::Text(Some(text)),
    ]
}

/// How it was decided or ended, and by which code.
pub fn outcome_and_code(record: &Kept) -> (Option<&str>, Option<&str>) {
    match record {
        Record::Decision(it) => (Some(&it.outcome), it.code.as_deref()),
        Record::Effect(it) => (Some(&it.result), it.code.as_deref()),
        Record::Refusal(it) => (Some(&it.outcome), Some(&it.code)),
        Record::Act(it) => (None, Some(it.act.as_str())),
    }
}

/// Whether a record is a decision that let its call pass, so that an effect follows.
pub fn lets_pass(record: &Kept) -> bool {
    matches!(record, Record::Decision(it) if it.outcome.starts_with(Outcome::Allow.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_cell_is_of_its_column() {
        let texts = cells(7, "{}", None, None);
        for ((name, kind, _), cell) in COLUMNS.iter().zip(texts) {
            let of = match cell {
                Cell::Number(_) => Type::Number,
                Cell::Small(_) => Type::Small,
                Cell::Time(_) => Type::Time,
                Cell::Text(_) => Type::Text,
                Cell::Texts(_) => Type::Texts,
            };
            assert_eq!(*kind, of, "{name}");
        }
        let of = |wanted: &str| {
            COLUMNS.iter().zip(texts).find_map(|((name, ..), cell)| (*name == wanted).then_some(cell))
        };
        assert_eq!(of("index"), Some(Cell::Number(Some(7))));
        assert_eq!(of("record"), Some(Cell::Text(Some("{}"))));
        assert_eq!(of("policy_names"), Some(Cell::Text(Some(""))));
        assert_eq!(
            of("on_behalf_of"),
            Some(Cell::Text(Some(""))),
            "nothing is what older tables have of older rows"
        );
    }

    /// A policy that redacts decides nothing, so it is among the record's obligations alone.
    #[test]
    fn a_policy_that_changed_a_call_is_among_the_names() {
        let text = r#"{"action":"invokeTool","body":"sha256:0","chain":[],"depth":1,"facts":{},"id":"c","identity":"i","kind":"decision",
            "method":"tools/call","obligations":[{"change":"redact","policy":"books/hide#1","value":"/iban"}],
            "observed":[{"outcome":"deny","policy":"books/tried"}],"outcome":"allow-with-obligations","policies":["books/read"],
            "principal":"Agent/a/b","protocol":"mcp","resource":"Tool/a/b/c","snapshot":"s","time":"2026-11-28T00:00:00.000000Z","trace":"t",
            "transaction":"x","version":1}"#;
        let record = Kept::read(text.as_bytes()).expect("a record");
        let asked = Asked::of(&record).expect("says who asked");
        assert_eq!(asked.policy_names, "books/read\nbooks/hide#1\nbooks/hide\nbooks/tried\n");
        assert_eq!(asked.policies, [Arc::<str>::from("books/read")]);
    }

    /// Whoever acted before, in the middle too, and the person: of decisions, of refusals, and of what people are asked.
    #[test]
    fn everybody_on_whose_behalf_is_in_one_column() {
        let call = r#""chain":["Agent/a/first","Agent/a/second"]"#;
        let who = r#""instance":{"id":"6d1f","kind":"pod","name":"a/bot-1"}"#;
        let decision = format!(
            r#"{{"action":"invokeTool","body":"sha256:0",{call},"depth":3,"facts":{{}},"id":"c","identity":"i",{who},"kind":"decision",
            "method":"tools/call","outcome":"allow","policies":[],"principal":"Agent/a/b","protocol":"mcp","resource":"Tool/a/b/c","snapshot":"s",
            "source":"192.0.2.1","time":"","trace":"t","transaction":"x","user":"https://i#ada","version":1,"via":"MCPServer/a/all"}}"#
        );
        let refusal = format!(
            r#"{{{call},"code":"session_unknown","id":"c",{who},"kind":"refusal","message":"","outcome":"deny","path":"/","source":"::ffff:192.0.2.1",
            "time":"","trace":"","user":"https://i#ada","version":1}}"#
        );
        for text in [decision, refusal] {
            let record = Kept::read(text.as_bytes()).expect("a record");
            let asked = Asked::of(&record).expect("says who asked");
            assert_eq!(asked.on_behalf_of, "Agent/a/first\nAgent/a/second\nhttps://i#ada\n", "{text}");
            assert_eq!(asked.chain_root.as_deref(), Some("Agent/a/first"));
            assert_eq!(
                (asked.instance.as_deref(), asked.instance_name.as_deref()),
                (Some("6d1f"), Some("a/bot-1"))
            );
            assert_eq!(asked.source.as_deref(), Some("192.0.2.1"));
        }
    }

    #[test]
    fn a_server_is_that_of_what_has_one() {
        for (text, server) in [
            ("MCPServer/a/b", Some("a/b")),
            ("Tool/a/b/c/d", Some("a/b")),
            ("Model/a/b/org/m", Some("a/b")),
            ("Policy/a/b", None),
            ("User/https://login.example#ada", None),
            ("Approval/1", None),
            ("x", None),
        ] {
            assert_eq!(server_of(text), server, "{text}");
        }
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
