//! One record on its way out, and what of it every form of it says.

use std::borrow::Cow;

use aws_lc_rs::digest::{SHA256, digest};
use data_encoding::HEXLOWER;
use jiff::Timestamp;
use serde_json::json;
use vidimus_core::record::{Kept, Record};
use vidimus_ledger::Hit;

/// A record of the log. A receiver tells by `origin` and `index` what it has already.
#[derive(Debug)]
pub(super) struct Leaf<'a> {
    /// The log's name in its checkpoints.
    pub(super) origin: &'a str,
    /// The number of the record in the log.
    pub(super) index: u64,
    bytes: &'a [u8],
    /// `None` where a newer version wrote what this one does not know.
    record: Option<Kept>,
    /// What is sent of it where a receiver does not take it.
    stub: Option<String>,
}

/// How much somebody should care.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Severity {
    Info,
    Notice,
    Warning,
}

impl Severity {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Notice => "notice",
            Self::Warning => "warning",
        }
    }
}

/// What a record says, by one name in all kinds. What it does not say is absent, and what is empty too.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Fields<'a> {
    /// The Cedar action; of an act its name.
    pub(super) action: Option<&'a str>,
    pub(super) approval: Option<&'a str>,
    pub(super) bytes_in: Option<u64>,
    pub(super) bytes_out: Option<u64>,
    /// Who acted before the caller.
    pub(super) chain: Vec<&'a str>,
    pub(super) code: Option<&'a str>,
    /// Digest of the configuration that decided.
    pub(super) configuration: Option<&'a str>,
    /// Index of the decision that an effect is of.
    pub(super) decision: Option<u64>,
    pub(super) depth: Option<u64>,
    pub(super) detail: Option<&'a str>,
    pub(super) duration_us: Option<u64>,
    /// The call, or the act.
    pub(super) id: Option<&'a str>,
    pub(super) identity: Option<&'a str>,
    /// Which copy of the principal called, by its id.
    pub(super) instance: Option<&'a str>,
    /// What a caller was told; of an act, why it was done.
    pub(super) message: Option<&'a str>,
    pub(super) method: Option<&'a str>,
    pub(super) outcome: Option<&'a str>,
    pub(super) path: Option<&'a str>,
    pub(super) policies: Vec<&'a str>,
    /// Who called; of an act, who did it.
    pub(super) principal: Option<&'a str>,
    pub(super) protocol: Option<&'a str>,
    /// What was called; of an act, what it is about.
    pub(super) resource: Option<Cow<'a, str>>,
    pub(super) result: Option<&'a str>,
    /// The caller's IP address.
    pub(super) source: Option<&'a str>,
    /// HTTP status of the upstream.
    pub(super) status: Option<u64>,
    pub(super) task: Option<&'a str>,
    pub(super) tokens_input: Option<u64>,
    pub(super) tokens_output: Option<u64>,
    pub(super) tokens_input_cached: Option<u64>,
    pub(super) tokens_cache_written: Option<u64>,
    pub(super) tokens_reasoning: Option<u64>,
    pub(super) trace: Option<&'a str>,
    pub(super) transaction: Option<&'a str>,
    /// On whose behalf.
    pub(super) user: Option<&'a str>,
    /// By which code it would be refused if its namespace did not observe.
    pub(super) would_refuse: Option<&'a str>,
}

/// What a stub says of itself.
const STUB: &str = "the receiver did not take this record, which is in the ledger alone";

impl<'a> Leaf<'a> {
    pub(super) fn of(origin: &'a str, hit: &'a Hit) -> Self {
        let record = Kept::read(&hit.record).ok();
        Self { origin, index: hit.index, bytes: &hit.record, record, stub: None }
    }

    /// Nothing but what names the record, in the place of one that a receiver does not take: too little to be refused for what it has.
    pub(super) fn stub(origin: &'a str, hit: &'a Hit) -> Self {
        let whole = Self::of(origin, hit);
        let stub = json!({
            "bytes": hit.record.len(), "id": whole.fields().id, "index": hit.index, "kind": whole.kind(),
            "sha256": HEXLOWER.encode(digest(&SHA256, &hit.record).as_ref()), "stub": STUB,
            "time": whole.time().map(|time| format!("{time:.6}")),
        });
        Self { stub: Some(stub.to_string()), ..whole }
    }

    pub(super) fn is_stub(&self) -> bool {
        self.stub.is_some()
    }

    /// The record, word for word: its leaf hash is that of these bytes. Or the stub.
    pub(super) fn text(&self) -> Cow<'_, str> {
        match &self.stub {
            Some(stub) => Cow::Borrowed(stub),
            None => String::from_utf8_lossy(self.bytes),
        }
    }

    /// `decision`, `effect`, `refusal`, `act`; `unknown` of what a newer version wrote.
    pub(super) fn kind(&self) -> &'static str {
        self.record.as_ref().map_or("unknown", Record::kind)
    }

    /// When it was made.
    pub(super) fn time(&self) -> Option<Timestamp> {
        self.record.as_ref().and_then(|record| record.time().parse().ok())
    }

    pub(super) fn severity(&self) -> Severity {
        match &self.record {
            Some(Record::Decision(record)) => match &*record.outcome {
                "allow" | "allow-with-obligations" => Severity::Info,
                "hold" => Severity::Notice,
                _ => Severity::Warning,
            },
            Some(Record::Effect(record)) => match &*record.result {
                "ok" => Severity::Info,
                "cancelled" => Severity::Notice,
                _ => Severity::Warning,
            },
            Some(Record::Act(_)) => Severity::Notice,
            Some(Record::Refusal(_)) | None => Severity::Warning,
        }
    }

    /// The class of what happened, from a closed set: `decision.allow`, `effect.ok`, `refusal.token_expired`, `act.quarantine`.
    pub(super) fn class(&self) -> String {
        let what: &str = match &self.record {
            Some(Record::Decision(record)) => &record.outcome,
            Some(Record::Effect(record)) => &record.result,
            Some(Record::Refusal(record)) => &record.code,
            Some(Record::Act(record)) => record.act.as_str(),
            None => return self.kind().to_owned(),
        };
        format!("{}.{what}", self.kind())
    }

    /// The same, for people.
    pub(super) fn title(&self) -> String {
        if self.is_stub() {
            return STUB.to_owned();
        }
        match &self.record {
            Some(Record::Decision(record)) => format!("call decided: {}", record.outcome),
            Some(Record::Effect(record)) => format!("call ended: {}", record.result),
            Some(Record::Refusal(record)) => format!("call refused: {}", record.code),
            Some(Record::Act(record)) => format!("act: {}", record.act.as_str()),
            None => "record of a newer version".to_owned(),
        }
    }

    pub(super) fn fields(&self) -> Fields<'_> {
        let said = self.all_fields();
        if self.is_stub() { Fields { id: said.id, ..Fields::default() } } else { said }
    }

    fn all_fields(&self) -> Fields<'_> {
        match &self.record {
            Some(Record::Decision(record)) => Fields {
                action: said(&record.action),
                approval: maybe(record.approval.as_ref()),
                chain: record.chain.iter().map(|actor| &**actor).collect(),
                code: maybe(record.code.as_ref()),
                configuration: said(&record.snapshot),
                depth: u64::try_from(record.depth).ok(),
                id: said(&record.id),
                identity: said(&record.identity),
                instance: record.instance.as_deref().map(|copy| &*copy.id),
                method: said(&record.method),
                outcome: said(&record.outcome),
                policies: record.policies.iter().map(|policy| &**policy).collect(),
                principal: said(&record.principal),
                protocol: said(&record.protocol),
                resource: said(&record.resource).map(Cow::Borrowed),
                source: maybe(record.source.as_ref()),
                task: maybe(record.task.as_ref()),
                trace: said(&record.trace),
                transaction: said(&record.transaction),
                user: maybe(record.user.as_ref()),
                would_refuse: maybe(record.would_refuse.as_ref()),
                ..Fields::default()
            },
            Some(Record::Effect(record)) => Fields {
                bytes_in: Some(record.bytes_in),
                bytes_out: Some(record.bytes_out),
                code: maybe(record.code.as_ref()),
                decision: Some(record.decision),
                detail: maybe(record.detail.as_ref()),
                duration_us: Some(record.duration_us),
                id: said(&record.id),
                result: said(&record.result),
                status: (record.status > 0).then_some(u64::from(record.status)),
                task: maybe(record.task.as_ref()),
                tokens_input: record.tokens_input,
                tokens_output: record.tokens_output,
                tokens_input_cached: record.tokens_input_cached,
                tokens_cache_written: record.tokens_cache_written,
                tokens_reasoning: record.tokens_reasoning,
                ..Fields::default()
            },
            Some(Record::Refusal(record)) => Fields {
                code: said(&record.code),
                detail: maybe(record.detail.as_ref()),
                id: said(&record.id),
                identity: maybe(record.identity.as_ref()),
                instance: record.instance.as_deref().map(|copy| &*copy.id),
                message: said(&record.message),
                outcome: said(&record.outcome),
                path: said(&record.path),
                principal: maybe(record.principal.as_ref()),
                source: maybe(record.source.as_ref()),
                trace: said(&record.trace),
                user: maybe(record.user.as_ref()),
                ..asked(record.asked.as_deref())
            },
            Some(Record::Act(record)) => Fields {
                action: Some(record.act.as_str()),
                approval: record.act.approval(),
                id: said(&record.id),
                message: said(&record.why),
                principal: said(&record.actor),
                resource: Some(Cow::Owned(record.act.subject())),
                ..Fields::default()
            },
            None => Fields::default(),
        }
    }
}

/// What a refused call asked for, where policies were asked.
fn asked<'a>(asked: Option<&'a vidimus_core::record::AskedFor<'static>>) -> Fields<'a> {
    asked.map_or_else(Fields::default, |asked| Fields {
        action: said(&asked.action),
        approval: maybe(asked.approval.as_ref()),
        method: said(&asked.method),
        policies: asked.policies.iter().map(|policy| &**policy).collect(),
        resource: said(&asked.resource).map(Cow::Borrowed),
        transaction: said(&asked.transaction),
        ..Fields::default()
    })
}

fn said(text: &str) -> Option<&str> {
    (!text.is_empty()).then_some(text)
}

fn maybe<'a>(text: Option<&'a Cow<'static, str>>) -> Option<&'a str> {
    text.and_then(|text| said(text))
}

/// Records for the tests of what is made of them.
#[cfg(test)]
pub(super) mod examples {
    use serde_json::{Value, json};
    use vidimus_ledger::Hit;

    /// The log of the examples.
    pub(in crate::sinks) const ORIGIN: &str = "example.com/log";

    pub(in crate::sinks) fn hit(index: u64, record: &Value) -> Hit {
        Hit { index, record: record.to_string().into_bytes() }
    }

    pub(in crate::sinks) fn decision() -> Value {
        json!({
            "action": "invokeTool", "body": "sha256:00", "chain": ["Agent/finance/a", "Agent/finance/b"], "code": "no_permit",
            "depth": 3, "facts": {}, "id": "call-1", "identity": "oidc:urn:x#bot", "kind": "decision", "method": "tools/call",
            "outcome": "deny", "policies": ["finance/read", "finance/write"], "principal": "Agent/finance/bot", "protocol": "mcp",
            "resource": "Tool/finance/ledger/get", "snapshot": "sha256:0a", "source": "10.1.2.3",
            "time": "2026-11-27T12:00:00.250000Z", "trace": "4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "transaction": "t-1", "user": "urn:x#grace", "version": 1,
        })
    }

    pub(in crate::sinks) fn effect() -> Value {
        json!({
            "bytes_in": 2, "bytes_out": 40, "decision": 7, "duration_us": 1234, "id": "call-1", "kind": "effect",
            "result": "ok", "status": 200, "time": "2026-11-27T12:00:00.001234Z", "tokens_input": 3, "tokens_output": 5,
            "version": 1,
        })
    }

    /// Of a caller whose path, and so whose message, is `path`.
    pub(in crate::sinks) fn refusal(path: &str) -> Value {
        json!({
            "code": "token_expired", "id": "call-2", "kind": "refusal", "message": path, "outcome": "deny", "path": path,
            "source": "2001:db8::1", "time": "2026-11-27T12:00:01.000000Z", "trace": "", "version": 1,
        })
    }

    pub(in crate::sinks) fn act() -> Value {
        json!({
            "act": {"quarantine": {"subject": "Agent/finance/bot"}}, "actor": "User/urn:x#ada", "id": "act-1", "kind": "act",
            "time": "2026-11-27T12:00:02.000000Z", "version": 1, "why": "INC-7",
        })
    }

    /// As some later version may write.
    pub(in crate::sinks) fn newer() -> Value {
        json!({"kind": "decision", "version": 9, "what": "nobody knows"})
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::examples::*;
    use super::*;

    /// Whatever a record is refused for, a stub has little of it.
    #[test]
    fn a_stub_names_the_record_and_says_nothing_else_of_it() {
        for record in [refusal(&"x".repeat(100_000)), decision(), act(), newer()] {
            let hit = hit(3, &record);
            let stub = Leaf::stub(ORIGIN, &hit);
            let text: Value = serde_json::from_str(&stub.text()).unwrap();
            let sha256 = HEXLOWER.encode(digest(&SHA256, record.to_string().as_bytes()).as_ref());
            assert_eq!((&text["index"], &text["sha256"]), (&3.into(), &sha256.into()));
            assert_eq!((&text["id"], &text["kind"]), (&record["id"], &stub.kind().into()));
            assert!(stub.text().len() < 500, "{text}");
            assert_eq!(stub.fields(), Fields { id: stub.fields().id, ..Fields::default() });
        }
    }

    #[test]
    fn every_kind_is_read_and_one_of_a_newer_version_goes_on_as_it_is() {
        for (record, kind, class, severity) in [
            (decision(), "decision", "decision.deny", Severity::Warning),
            (effect(), "effect", "effect.ok", Severity::Info),
            (refusal("/mcp"), "refusal", "refusal.token_expired", Severity::Warning),
            (act(), "act", "act.quarantine", Severity::Notice),
            (newer(), "unknown", "unknown", Severity::Warning),
        ] {
            let hit = hit(3, &record);
            let leaf = Leaf::of(ORIGIN, &hit);
            assert_eq!((leaf.kind(), &*leaf.class(), leaf.severity()), (kind, class, severity));
            assert_eq!(leaf.text(), record.to_string());
            assert_eq!(leaf.time().is_some(), kind != "unknown");
            assert_eq!(leaf.fields() == Fields::default(), kind == "unknown", "{kind}");
        }
    }
}
