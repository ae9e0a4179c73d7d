//! A request of OTLP/JSON. It is proto3's JSON, where what is empty may be left out or be `null`; `opentelemetry-proto` (0.33.1) does not take that
//! of lists in values, of keys, nor of lists that are `null`, and would refuse all spans of a request for one of them.
//!
//! So what it does not take is mended, one span or resource at a time, and read again: what is made for that is of one span alone.

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use serde_json::{Map, Number, Value};

/// The longest span that is mended, in bytes: while it is, it takes many times that.
const MOST_MENDED: usize = 256 * 1024;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Request<'m> {
    #[serde(borrow)]
    resource_spans: Option<Vec<OfResource<'m>>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct OfResource<'m> {
    #[serde(borrow)]
    resource: Option<&'m RawValue>,
    #[serde(borrow)]
    scope_spans: Option<Vec<OfScope<'m>>>,
    schema_url: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct OfScope<'m> {
    #[serde(borrow)]
    scope: Option<&'m RawValue>,
    #[serde(borrow)]
    spans: Option<Vec<&'m RawValue>>,
    schema_url: Option<String>,
}

/// What a message says.
///
/// # Errors
/// For what is no request of OTLP/JSON.
pub(super) fn request(message: &[u8]) -> serde_json::Result<ExportTraceServiceRequest> {
    let Request { resource_spans } = serde_json::from_slice(message)?;
    let resource_spans = resource_spans.unwrap_or_default().into_iter().map(of_resource);
    Ok(ExportTraceServiceRequest { resource_spans: resource_spans.collect::<Result<_, _>>()? })
}

fn of_resource(found: OfResource<'_>) -> serde_json::Result<ResourceSpans> {
    let scope_spans = found.scope_spans.unwrap_or_default().into_iter().map(of_scope);
    Ok(ResourceSpans {
        resource: found.resource.map(read).transpose()?,
        scope_spans: scope_spans.collect::<Result<_, _>>()?,
        schema_url: found.schema_url.unwrap_or_default(),
    })
}

fn of_scope(found: OfScope<'_>) -> serde_json::Result<ScopeSpans> {
    let spans = found.spans.unwrap_or_default().into_iter().map(read);
    Ok(ScopeSpans {
        scope: found.scope.map(read).transpose()?,
        spans: spans.collect::<Result<_, _>>()?,
        schema_url: found.schema_url.unwrap_or_default(),
    })
}

/// One span, resource or scope; mended, where it cannot be read as it is.
fn read<T: DeserializeOwned>(raw: &RawValue) -> serde_json::Result<T> {
    let text = raw.get();
    serde_json::from_str(text).or_else(|error| {
        if text.len() > MOST_MENDED {
            return Err(error);
        }
        let mut value = serde_json::from_str(text)?;
        mend(&mut value);
        serde_json::from_value(value)
    })
}

/// A span, or what is in it: `null` says nothing, and attributes are pairs.
fn mend(value: &mut Value) {
    match value {
        Value::Array(all) => all.iter_mut().for_each(mend),
        Value::Object(members) => {
            members.retain(|_, member| !member.is_null());
            for (name, member) in members.iter_mut() {
                match member {
                    Value::Array(pairs) if name == "attributes" => pairs.iter_mut().for_each(mend_pair),
                    member => mend(member),
                }
            }
        }
        _ => {}
    }
}

/// A `KeyValue`.
fn mend_pair(pair: &mut Value) {
    let Value::Object(members) = pair else { return };
    members.retain(|_, member| !member.is_null());
    members.entry("key").or_insert_with(|| Value::String(String::new()));
    if let Some(value) = members.get_mut("value") {
        mend_value(value);
    }
}

/// An `AnyValue`.
fn mend_value(value: &mut Value) {
    if value.is_null() {
        *value = Value::Object(Map::new());
    }
    let Value::Object(members) = value else { return };
    members.retain(|_, member| !member.is_null());
    for (name, each) in
        [("arrayValue", mend_value as fn(&mut Value)), ("kvlistValue", mend_pair as fn(&mut Value))]
    {
        let Some(Value::Object(list)) = members.get_mut(name) else { continue };
        list.retain(|_, member| !member.is_null());
        let values = list.entry("values").or_insert_with(|| Value::Array(Vec::new()));
        if let Value::Array(values) = values {
            values.iter_mut().for_each(each);
        }
    }
    // A number may be a text; what is no number of JSON, such as `NaN`, stays one.
    if let Some(Value::String(text)) = members.get("doubleValue") {
        let number = text.parse().ok().and_then(Number::from_f64);
        let (name, value) = match number {
            Some(number) => ("doubleValue", Value::Number(number)),
            None => ("stringValue", Value::String(text.clone())),
        };
        members.remove("doubleValue");
        members.insert(name.to_owned(), value);
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::common::v1::any_value::Value as Is;
    use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, KeyValueList};
    use vidimus_traces::names;

    use super::*;

    /// The value of the one attribute of a span, with a span beside it that is as the crate takes it.
    fn value(json: &str) -> Option<Is> {
        let text = format!(
            r#"{{"resourceSpans":[{{"resource":null,"schemaUrl":null,"scopeSpans":[{{"scope":null,"spans":[
                {{"spanId":"00f067aa0ba902b7","name":"other"}},
                {{"spanId":"00f067aa0ba902b7","events":null,"links":null,"status":null,"attributes":[{{"key":"a","value":{json}}}]}}]}}]}}]}}"#
        );
        let found = request(text.as_bytes()).expect("a request");
        let spans = &found.resource_spans[0].scope_spans[0].spans;
        assert_eq!((spans.len(), spans[0].name.as_str(), spans[1].span_id.len()), (2, "other", 8));
        spans[1].attributes[0].value.clone().and_then(|value| value.value)
    }

    /// As Go's and the collector's marshalers leave it out, and others write `null`.
    #[test]
    fn what_is_empty_may_be_left_out_or_null() {
        let list = |values| Some(Is::ArrayValue(ArrayValue { values }));
        let map = |values| Some(Is::KvlistValue(KeyValueList { values }));
        let text = |text: &str| AnyValue { value: Some(Is::StringValue(text.to_owned())) };
        for (json, is) in [
            (r#"{"arrayValue":{}}"#, list(Vec::new())),
            (r#"{"arrayValue":{"values":null}}"#, list(Vec::new())),
            (r#"{"arrayValue":{"values":[{"stringValue":"x"},{},null]}}"#, {
                list(vec![text("x"), AnyValue::default(), AnyValue::default()])
            }),
            (r#"{"arrayValue":{"values":[{"arrayValue":{}}]}}"#, {
                list(vec![AnyValue { value: list(Vec::new()) }])
            }),
            (r#"{"kvlistValue":{}}"#, map(Vec::new())),
            (r#"{"kvlistValue":{"values":[{"key":"k","value":{"stringValue":"x"}}]}}"#, {
                map(vec![names::text("k", "x")])
            }),
            (
                r#"{"kvlistValue":{"values":[{"value":{"stringValue":"x"}}]}}"#,
                map(vec![names::text("", "x")]),
            ),
            (r#"{"doubleValue":"1.5"}"#, Some(Is::DoubleValue(1.5))),
            (r#"{"doubleValue":"NaN"}"#, Some(Is::StringValue("NaN".to_owned()))),
            (r#"{"stringValue":null}"#, None),
            ("{}", None),
            ("null", None),
        ] {
            assert_eq!(value(json), is, "{json}");
        }
    }

    #[test]
    fn of_resources_and_scopes_too() {
        let empty = r#"{"attributes":[{"key":"a","value":{"arrayValue":{}}},{"value":null}]}"#;
        let text = format!(
            r#"{{"resourceSpans":[{{"resource":{empty},"scopeSpans":[{{"scope":{empty},"spans":null}}]}},{{"scopeSpans":null}}]}}"#
        );
        let found = request(text.as_bytes()).expect("a request");
        let of_resource = &found.resource_spans[0];
        assert_eq!(of_resource.resource.as_ref().expect("a resource").attributes.len(), 2);
        assert_eq!(of_resource.scope_spans[0].scope.as_ref().expect("a scope").attributes.len(), 2);
        assert_eq!(
            request(br#"{"resourceSpans":null}"#).expect("a request"),
            ExportTraceServiceRequest::default()
        );
    }

    #[test]
    fn what_is_wrong_is_not_mended() {
        let long = format!("{{\"arrayValue\":{{}},\"x\":\"{}\"}}", "x".repeat(MOST_MENDED));
        for value in [r#"{"arrayValue":{"values":1}}"#, r#"{"intValue":"x"}"#, &long] {
            let span = format!(r#"{{"attributes":[{{"key":"a","value":{value}}}]}}"#);
            let text = format!(r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{span}]}}]}}]}}"#);
            assert!(request(text.as_bytes()).is_err(), "{}", value.get(..40).unwrap_or(value));
        }
    }
}
