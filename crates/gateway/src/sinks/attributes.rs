//! A record as a log record of OpenTelemetry. The names of its attributes are those of the gateway's spans ([`vidimus_traces::names`]).

use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, KeyValue};
use opentelemetry_proto::tonic::logs::v1::LogRecord;

use vidimus_traces::names;

use super::leaf::{Leaf, Severity};

/// The log record whose body is this text.
pub(super) fn log_record(leaf: &Leaf<'_>, body: String) -> LogRecord {
    // That of a stub is in its body alone: some receivers refuse what is old.
    let time = leaf.time().filter(|_| !leaf.is_stub());
    let nanoseconds = time.and_then(|time| u64::try_from(time.as_nanosecond()).ok()).unwrap_or_default();
    let (trace_id, span_id) = leaf.fields().trace.and_then(trace).unwrap_or_default();
    LogRecord {
        time_unix_nano: nanoseconds,
        // The same each time that it is sent.
        observed_time_unix_nano: nanoseconds,
        severity_number: severity_number(leaf.severity()),
        severity_text: leaf.severity().as_str().to_owned(),
        body: Some(text(body)),
        attributes: attributes(leaf),
        trace_id,
        span_id,
        event_name: format!("vidimus.{}", leaf.kind()),
        ..LogRecord::default()
    }
}

/// INFO, INFO2 and WARN of the log data model.
const fn severity_number(severity: Severity) -> i32 {
    match severity {
        Severity::Info => 9,
        Severity::Notice => 10,
        Severity::Warning => 13,
    }
}

fn attributes(leaf: &Leaf<'_>) -> Vec<KeyValue> {
    let fields = leaf.fields();
    let mut all = Vec::with_capacity(24);
    let mut add = |key: &str, value: Option<AnyValue>| {
        all.extend(value.map(|value| KeyValue {
            key: key.to_owned(),
            value: Some(value),
            ..KeyValue::default()
        }));
    };
    add(names::LEDGER_ORIGIN, Some(text(leaf.origin)));
    add(names::LEDGER_INDEX, number(leaf.index));
    add(names::RECORD_KIND, Some(text(leaf.kind())));
    add(names::RECORD_STUB, leaf.is_stub().then_some(AnyValue { value: Some(Value::BoolValue(true)) }));
    add(names::CALL, fields.id.map(text));
    add(names::PRINCIPAL, fields.principal.map(text));
    add(names::IDENTITY, fields.identity.map(text));
    add(names::INSTANCE, fields.instance.map(text));
    add(names::ENDUSER, fields.user.map(text));
    add(names::CHAIN, list(&fields.chain));
    add(names::DEPTH, fields.depth.and_then(number));
    add(names::ACTION, fields.action.map(text));
    add(names::RESOURCE, fields.resource.as_deref().map(text));
    add(names::METHOD, fields.method.map(text));
    add(names::PROTOCOL, fields.protocol.map(text));
    add(names::PATH, fields.path.map(text));
    add(names::OUTCOME, fields.outcome.map(text));
    add(names::POLICIES, list(&fields.policies));
    add(names::SNAPSHOT, fields.configuration.map(text));
    add(names::APPROVAL, fields.approval.map(text));
    add(names::TRANSACTION, fields.transaction.map(text));
    add(names::TASK, fields.task.map(text));
    add(names::RESULT, fields.result.map(text));
    add(names::DECISION_INDEX, fields.decision.and_then(number));
    add(names::DURATION, fields.duration_us.and_then(number));
    add(names::MESSAGE, fields.message.map(text));
    add(names::DETAIL, fields.detail.map(text));
    add(names::ERROR_TYPE, fields.code.map(text));
    add(names::WOULD_REFUSE, fields.would_refuse.map(text));
    add(names::CLIENT_ADDRESS, fields.source.map(text));
    add(names::REQUEST_SIZE, fields.bytes_in.and_then(number));
    add(names::RESPONSE_SIZE, fields.bytes_out.and_then(number));
    add(names::STATUS, fields.status.and_then(number));
    add(names::INPUT_TOKENS, fields.tokens_input.and_then(number));
    add(names::OUTPUT_TOKENS, fields.tokens_output.and_then(number));
    add(names::CACHE_READ_TOKENS, fields.tokens_input_cached.and_then(number));
    add(names::CACHE_CREATION_TOKENS, fields.tokens_cache_written.and_then(number));
    add(names::REASONING_TOKENS, fields.tokens_reasoning.and_then(number));
    all
}

fn text(text: impl Into<String>) -> AnyValue {
    AnyValue { value: Some(Value::StringValue(text.into())) }
}

fn number(number: u64) -> Option<AnyValue> {
    i64::try_from(number).ok().map(|number| AnyValue { value: Some(Value::IntValue(number)) })
}

fn list(all: &[&str]) -> Option<AnyValue> {
    let values = || all.iter().map(|one| text(*one)).collect();
    (!all.is_empty()).then(|| AnyValue { value: Some(Value::ArrayValue(ArrayValue { values: values() })) })
}

/// The ids of a trace and of a span, as a record has them: `hex-hex`.
fn trace(trace: &str) -> Option<(Vec<u8>, Vec<u8>)> {
    let (trace_id, span_id) = trace.split_once('-')?;
    let id = u128::from_str_radix(trace_id, 16).ok().filter(|_| trace_id.len() == 32)?;
    let span = u64::from_str_radix(span_id, 16).ok().filter(|_| span_id.len() == 16)?;
    Some((id.to_be_bytes().to_vec(), span.to_be_bytes().to_vec()))
}

#[cfg(test)]
mod tests {
    use super::super::leaf::examples::*;
    use super::*;

    /// As one line, to be compared.
    fn shown(value: Option<AnyValue>) -> String {
        match value.and_then(|value| value.value) {
            Some(Value::StringValue(text)) => text,
            Some(Value::IntValue(number)) => number.to_string(),
            Some(Value::ArrayValue(list)) => {
                list.values.into_iter().map(|one| shown(Some(one))).collect::<Vec<_>>().join(",")
            }
            other => format!("{other:?}"),
        }
    }

    fn all(record: &serde_json::Value) -> Vec<String> {
        let hit = hit(7, record);
        let record = log_record(&Leaf::of(ORIGIN, &hit), String::new());
        record.attributes.into_iter().map(|one| format!("{}={}", one.key, shown(one.value))).collect()
    }

    #[test]
    fn each_member_has_its_attribute() {
        let ours = |kind: &str| {
            format!("vidimus.ledger.origin={ORIGIN} vidimus.ledger.index=7 vidimus.record.kind={kind}")
        };
        let decided = "vidimus.call=call-1 vidimus.principal=Agent/finance/bot vidimus.identity=oidc:urn:x#bot enduser.id=urn:x#grace \
            vidimus.chain=Agent/finance/a,Agent/finance/b vidimus.delegation.depth=3 vidimus.action=invokeTool \
            vidimus.resource=Tool/finance/ledger/get vidimus.method=tools/call vidimus.protocol=mcp vidimus.outcome=deny \
            vidimus.policies=finance/read,finance/write vidimus.snapshot=sha256:0a vidimus.transaction=t-1 error.type=no_permit \
            client.address=10.1.2.3";
        let ended = "vidimus.call=call-1 vidimus.result=ok vidimus.decision.index=7 vidimus.duration_us=1234 http.request.body.size=2 \
            http.response.body.size=40 http.response.status_code=200 gen_ai.usage.input_tokens=3 gen_ai.usage.output_tokens=5";
        let refused = "vidimus.call=call-2 vidimus.path=/x vidimus.outcome=deny vidimus.message=/x error.type=token_expired \
            client.address=2001:db8::1";
        let acted = "vidimus.call=act-1 vidimus.principal=User/urn:x#ada vidimus.action=quarantine vidimus.resource=Agent/finance/bot \
            vidimus.message=INC-7";
        for (record, kind, rest) in [
            (decision(), "decision", decided),
            (effect(), "effect", ended),
            (refusal("/x"), "refusal", refused),
            (act(), "act", acted),
            (newer(), "unknown", ""),
        ] {
            assert_eq!(all(&record).join(" "), format!("{} {rest}", ours(kind)).trim_end(), "{kind}");
        }
    }

    #[test]
    fn a_log_record_has_the_time_and_the_trace_of_the_record() {
        let hit = hit(7, &decision());
        let record = log_record(&Leaf::of(ORIGIN, &hit), "the record".to_owned());
        assert_eq!(record.time_unix_nano, 1_795_780_800_250_000_000);
        assert_eq!((record.severity_number, &*record.severity_text), (13, "warning"));
        assert_eq!((record.trace_id.len(), record.trace_id[0], record.span_id.len()), (16, 0x4b, 8));
        assert_eq!((&*record.event_name, shown(record.body)), ("vidimus.decision", "the record".to_owned()));
        for no in [
            "",
            "-",
            "12-34",
            "4bf92f3577b34da6a3ce929d0e0e4736",
            "4bf92f3577b34da6a3ce929d0e0e473é-00f067aa0ba902b7",
        ] {
            assert!(trace(no).is_none(), "{no}");
        }
    }
}
