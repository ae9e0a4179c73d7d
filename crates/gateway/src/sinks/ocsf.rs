//! A record as an event of the Open Cybersecurity Schema Framework (OCSF, 1.8): a call is an API Activity (6003), an act an Entity
//! Management (3004). The record itself is in `raw_data`, word for word.

use serde_json::{Map, Value, json};

use super::leaf::{Fields, Leaf, Severity};
use super::line::escaped;

/// Of what a record does not say and the schema requires.
const UNKNOWN: &str = "unknown";

/// One JSON object, without an end of line.
pub(super) fn line(leaf: &Leaf<'_>) -> String {
    escaped(&event(leaf).to_string()).into_owned()
}

fn event(leaf: &Leaf<'_>) -> Value {
    let fields = leaf.fields();
    let is_act = leaf.kind() == "act";
    let (category, category_name, class, class_name) = match is_act {
        true => (3, "Identity & Access Management", 3004, "Entity Management"),
        false => (6, "Application Activity", 6003, "API Activity"),
    };
    let (severity, severity_name) = match leaf.severity() {
        Severity::Info => (1, "Informational"),
        Severity::Notice => (2, "Low"),
        Severity::Warning => (3, "Medium"),
    };
    let (status, status_name) = if is_act { (1, "Success") } else { status(&fields) };
    let (action, disposition) = action(&fields);
    object([
        ("category_uid", Some(json!(category))),
        ("category_name", Some(json!(category_name))),
        ("class_uid", Some(json!(class))),
        ("class_name", Some(json!(class_name))),
        // Other: what is done is in `api.operation`.
        ("activity_id", Some(json!(99))),
        ("activity_name", text(Some(fields.action.unwrap_or(leaf.kind())))),
        ("type_uid", Some(json!(class * 100 + 99))),
        ("severity_id", Some(json!(severity))),
        ("severity", Some(json!(severity_name))),
        ("status_id", Some(json!(status))),
        ("status", Some(json!(status_name))),
        ("status_code", text(fields.code)),
        ("status_detail", text(fields.detail)),
        ("action_id", action.map(Value::from)),
        ("disposition_id", disposition.map(Value::from)),
        ("time", leaf.time().map(|time| json!(time.as_millisecond()))),
        ("duration", fields.duration_us.map(|us| json!(us / 1_000))),
        ("message", Some(json!(leaf.title()))),
        ("comment", text(fields.message)),
        ("metadata", metadata(leaf, &fields)),
        ("actor", actor(&fields)),
        ("api", if is_act { None } else { api(&fields) }),
        ("entity", if is_act { entity(&fields) } else { None }),
        ("resources", if is_act { None } else { entity(&fields).map(|one| json!([one])) }),
        ("src_endpoint", source(&fields, is_act)),
        ("http_request", object([("url", object([("path", text(fields.path))]))])),
        ("http_response", object([("code", fields.status.map(Value::from))])),
        ("traffic", traffic(&fields)),
        ("unmapped", unmapped(leaf, &fields)),
        ("raw_data", Some(json!(leaf.text()))),
    ])
    .unwrap_or_default()
}

/// Whether it succeeded, by `status_id` and its name.
fn status(fields: &Fields<'_>) -> (u8, &'static str) {
    match (fields.result, fields.outcome) {
        (Some("ok"), _) | (None, Some("allow" | "allow-with-obligations")) => (1, "Success"),
        (Some("failed" | "error"), _) | (None, Some("deny")) => (2, "Failure"),
        (Some(_), _) | (None, Some(_)) => (99, "Other"),
        (None, None) => (0, "Unknown"),
    }
}

/// `action_id` and `disposition_id` of the profile for security controls.
fn action(fields: &Fields<'_>) -> (Option<u8>, Option<u8>) {
    match fields.outcome {
        Some("allow") => (Some(1), Some(1)),
        Some("allow-with-obligations") => (Some(4), Some(1)),
        Some("deny") => (Some(2), Some(2)),
        Some(_) => (Some(99), Some(99)),
        None => (None, None),
    }
}

fn metadata(leaf: &Leaf<'_>, fields: &Fields<'_>) -> Option<Value> {
    let product = json!({"name": "Vidimus", "vendor_name": "Vidimus", "version": env!("CARGO_PKG_VERSION")});
    object([
        ("version", Some(json!("1.8.0"))),
        ("product", Some(product)),
        ("profiles", fields.outcome.map(|_| json!(["security_control"]))),
        // What duplicates are known by.
        ("uid", Some(json!(format!("{}#{}", leaf.origin, leaf.index)))),
        ("log_name", Some(json!(leaf.origin))),
        ("sequence", Some(json!(leaf.index))),
        ("event_code", Some(json!(leaf.class()))),
        ("correlation_uid", text(fields.transaction.or(fields.id))),
    ])
}

/// Who, by which credential, for whom, and what permitted it.
fn actor(fields: &Fields<'_>) -> Option<Value> {
    let policies = fields.policies.iter();
    let authorizations: Vec<Value> =
        policies.map(|policy| json!({"decision": fields.outcome, "policy": {"name": policy}})).collect();
    object([
        ("app_name", text(fields.principal.or(Some(UNKNOWN)))),
        ("app_uid", text(fields.identity)),
        ("user", object([("uid", text(fields.user))])),
        ("authorizations", (!authorizations.is_empty()).then_some(Value::Array(authorizations))),
    ])
}

/// Whence; of an act that is not on record.
fn source(fields: &Fields<'_>, is_act: bool) -> Option<Value> {
    let unknown = fields.source.is_none() && !is_act;
    object([("ip", text(fields.source)), ("svc_name", text(unknown.then_some(UNKNOWN)))])
}

fn api(fields: &Fields<'_>) -> Option<Value> {
    object([
        ("operation", text(fields.method.or(fields.action).or(Some(UNKNOWN)))),
        ("service", object([("name", text(fields.protocol))])),
        ("request", object([("uid", text(fields.id))])),
    ])
}

/// What was called, or what an act is about.
fn entity(fields: &Fields<'_>) -> Option<Value> {
    let resource = fields.resource.as_deref()?;
    let (kind, name) = resource.split_once('/').unwrap_or(("", resource));
    object([
        ("type", text(Some(kind).filter(|kind| !kind.is_empty()))),
        ("name", text(Some(name))),
        ("uid", text(Some(resource))),
    ])
}

fn traffic(fields: &Fields<'_>) -> Option<Value> {
    object([("bytes_in", fields.bytes_in.map(Value::from)), ("bytes_out", fields.bytes_out.map(Value::from))])
}

/// What the schema has no place for.
fn unmapped(leaf: &Leaf<'_>, fields: &Fields<'_>) -> Option<Value> {
    object([
        ("kind", Some(json!(leaf.kind()))),
        ("approval", text(fields.approval)),
        ("chain", (!fields.chain.is_empty()).then(|| json!(fields.chain))),
        ("configuration", text(fields.configuration)),
        ("decision_index", fields.decision.map(Value::from)),
        ("delegation_depth", fields.depth.map(Value::from)),
        ("input_tokens", fields.tokens_input.map(Value::from)),
        ("output_tokens", fields.tokens_output.map(Value::from)),
        ("cached_input_tokens", fields.tokens_input_cached.map(Value::from)),
        ("cache_written_tokens", fields.tokens_cache_written.map(Value::from)),
        ("reasoning_tokens", fields.tokens_reasoning.map(Value::from)),
        ("task", text(fields.task)),
        ("trace", text(fields.trace)),
    ])
}

/// An object of the members that are there; none of none.
fn object<const N: usize>(members: [(&str, Option<Value>); N]) -> Option<Value> {
    let there = members.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
    let there: Map<String, Value> = there.collect();
    (!there.is_empty()).then_some(Value::Object(there))
}

fn text(text: Option<&str>) -> Option<Value> {
    text.map(Value::from)
}

#[cfg(test)]
mod tests {
    use super::super::leaf::examples::*;
    use super::*;

    fn of(record: &Value) -> Value {
        let hit = hit(7, record);
        serde_json::from_str(&line(&Leaf::of(ORIGIN, &hit))).unwrap()
    }

    #[test]
    fn each_kind_has_its_class_and_its_members() {
        let of_kinds = [decision(), effect(), refusal("/x"), act(), newer()];
        for (record, pointer, value) in [
            (0, "/class_uid", json!(6003)),
            (0, "/type_uid", json!(600_399)),
            (0, "/activity_name", json!("invokeTool")),
            (0, "/action_id", json!(2)),
            (0, "/disposition_id", json!(2)),
            (0, "/status_id", json!(2)),
            (0, "/status_code", json!("no_permit")),
            (0, "/time", json!(1_795_780_800_250_u64)),
            (0, "/actor/app_name", json!("Agent/finance/bot")),
            (0, "/actor/user/uid", json!("urn:x#grace")),
            (0, "/actor/authorizations/1", json!({"decision": "deny", "policy": {"name": "finance/write"}})),
            (
                0,
                "/api",
                json!({"operation": "tools/call", "service": {"name": "mcp"}, "request": {"uid": "call-1"}}),
            ),
            (
                0,
                "/resources/0",
                json!({"type": "Tool", "name": "finance/ledger/get", "uid": "Tool/finance/ledger/get"}),
            ),
            (0, "/src_endpoint/ip", json!("10.1.2.3")),
            (0, "/metadata/correlation_uid", json!("t-1")),
            (0, "/unmapped/delegation_depth", json!(3)),
            (1, "/status_id", json!(1)),
            (1, "/action_id", Value::Null),
            (1, "/duration", json!(1)),
            (1, "/http_response/code", json!(200)),
            (1, "/traffic", json!({"bytes_in": 2, "bytes_out": 40})),
            (1, "/unmapped/decision_index", json!(7)),
            (2, "/http_request/url/path", json!("/x")),
            (2, "/comment", json!("/x")),
            (2, "/actor", json!({"app_name": "unknown"})),
            (2, "/api/operation", json!("unknown")),
            (3, "/class_uid", json!(3004)),
            (3, "/entity/uid", json!("Agent/finance/bot")),
            (3, "/actor/app_name", json!("User/urn:x#ada")),
            (3, "/comment", json!("INC-7")),
            (3, "/api", Value::Null),
            (4, "/status_id", json!(0)),
            (4, "/message", json!("record of a newer version")),
        ] {
            let event = of(&of_kinds[record]);
            assert_eq!(event.pointer(pointer).unwrap_or(&Value::Null), &value, "{pointer} of {event}");
        }
    }

    /// Those of API Activity; a receiver that validates drops what lacks one.
    #[test]
    fn what_the_schema_requires_is_there_also_where_a_record_does_not_say_it() {
        for record in [decision(), effect(), refusal("/x"), newer()] {
            let event = of(&record);
            for required in
                ["/actor/app_name", "/api/operation", "/metadata/version", "/metadata/product/name"]
            {
                assert!(event.pointer(required).is_some_and(Value::is_string), "{required} of {event}");
            }
            let from = &event["src_endpoint"];
            assert!(from["ip"].is_string() != from["svc_name"].is_string(), "{event}");
        }
    }

    #[test]
    fn every_event_has_the_record_and_its_place_in_the_log_and_is_one_line() {
        let path = "a\nb\" , \"action_id\": 1\u{85}\u{2028}\u{2029}";
        for record in [decision(), effect(), refusal(path), act(), newer()] {
            let hit = hit(7, &record);
            let line = line(&Leaf::of(ORIGIN, &hit));
            let event: Value = serde_json::from_str(&line).unwrap();
            assert_eq!(event["raw_data"], record.to_string());
            assert_eq!(
                (&event["metadata"]["uid"], &event["metadata"]["sequence"]),
                (&json!("example.com/log#7"), &json!(7))
            );
            assert!(!line.contains(['\n', '\u{85}', '\u{2028}', '\u{2029}']), "{line:?}");
        }
        assert_eq!(of(&refusal("a\nb\" , \"action_id\": 1"))["action_id"], 2);
    }
}
