use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Instant;

use http::HeaderValue;
use opentelemetry_sdk::error::OTelSdkResult;

use super::*;
use crate::protocol::tests::provider;

/// A collector that keeps what it gets.
#[derive(Clone, Debug, Default)]
struct Kept(Arc<Mutex<Vec<SpanData>>>);

impl opentelemetry_sdk::trace::SpanExporter for Kept {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        self.0.lock().expect("one thread").extend(batch);
        Ok(())
    }
}

/// The attributes of a span, as texts.
fn exported(write: impl FnOnce(&mut Span)) -> BTreeMap<String, String> {
    let kept = Kept::default();
    let telemetry = Telemetry::of(Queue::to(kept.clone(), 8, &Vitals::default()));
    let now = Moment { wall: SystemTime::now(), monotonic: Instant::now() };
    let mut span = telemetry.span(&TraceContext::from_header(None), now).expect("it is exported");
    write(&mut span);
    span.end("ok", None, 200, now.wall);
    telemetry.flush();
    let spans = kept.0.lock().expect("one thread");
    let attributes = spans.first().expect("a span").attributes.iter();
    attributes.map(|one| (one.key.to_string(), one.value.to_string())).collect()
}

fn text<'a>(attributes: &'a BTreeMap<String, String>, name: &str) -> Option<&'a str> {
    attributes.get(name).map(String::as_str)
}

#[test]
fn a_message_is_known_by_what_its_caller_knows() {
    let mut headers = HeaderMap::new();
    headers.insert(mcp::SESSION_HEADER, HeaderValue::from_static("sealed"));
    headers.insert(mcp::VERSION_HEADER, HeaderValue::from_static("2025-11-25"));
    let mcp = |headers: &HeaderMap, has_session, message: Option<&str>, id| {
        let json = message.map(|text| crate::protocol::parse(text.as_bytes()).expect("JSON"));
        exported(|span| span.said(Protocol::Mcp, (headers, has_session), (json.as_ref(), id)))
    };
    let of_session = mcp(&headers, true, None, Some("\"seven\""));
    assert_eq!(text(&of_session, names::MCP_SESSION), Some("sealed"));
    assert_eq!(text(&of_session, names::MCP_VERSION), Some("2025-11-25"));
    assert_eq!(text(&of_session, names::RPC_REQUEST), Some("seven"));
    // A data plane has the server's own ids, which open the session to whoever reaches it.
    assert_eq!(text(&mcp(&headers, false, None, Some("null")), names::MCP_SESSION), None);
    let handshake = r#"{"id":7,"method":"initialize","params":{"protocolVersion":"2025-06-18"}}"#;
    let begun = mcp(&HeaderMap::new(), true, Some(handshake), Some("7"));
    assert_eq!(text(&begun, names::MCP_VERSION), Some("2025-06-18"));
    assert_eq!(text(&begun, names::RPC_REQUEST), Some("7"));
    // Attack: what a caller writes is as long as it likes.
    headers.insert(mcp::SESSION_HEADER, HeaderValue::try_from("x".repeat(257)).expect("a value"));
    assert_eq!(text(&mcp(&headers, true, None, Some("null")), names::MCP_SESSION), None);
    assert_eq!(text(&mcp(&headers, true, None, Some("null")), names::RPC_REQUEST), None);
}

#[test]
fn the_context_of_an_agents_message_is_its_conversation() {
    let message = crate::protocol::parse(br#"{"params":{"message":{"contextId":"c-1"}}}"#).expect("JSON");
    let headers = HeaderMap::new();
    let of = exported(|span| span.said(Protocol::A2a, (&headers, true), (Some(&message), Some("1"))));
    assert_eq!(text(&of, names::CONVERSATION), Some("c-1"));
    assert_eq!(text(&of, names::RPC_REQUEST), None);
}

/// The page on metrics has what is done with a model, in the words that metrics and spans have.
#[test]
fn the_page_on_metrics_has_every_operation() {
    let (_, said) =
        crate::LABELS.iter().find(|(label, _)| *label == "gen_ai_operation_name").expect("a label");
    for method in [
        "chat.completions",
        "completions",
        "responses",
        "embeddings",
        "messages",
        "messages.count_tokens",
        "models.generate_content",
        "models.count_tokens",
        "models.embed_content",
        "converse",
    ] {
        let operation = operation_of(method);
        assert!(said.contains(&format!("`{operation}`")), "{method} is {operation}");
    }
}

#[test]
fn a_span_has_what_the_model_says_of_its_answer_and_who_answered() {
    let provider = provider();
    let of = exported(|span| {
        span.attributes.push(KeyValue::new(names::REQUEST_MODEL, "called"));
        span.turned_to(&provider, "sim-small");
        *span.told() = Some(Box::new(Told {
            id: Some("c-1".into()),
            model: Some("sim-small-2".into()),
            finish_reasons: vec!["stop".into(), "length".into()],
        }));
        span.used(Usage { input: Some(7), ..Usage::default() }, None);
    });
    assert_eq!(text(&of, names::REQUEST_MODEL), Some("sim-small"));
    assert_eq!(text(&of, names::SERVER_ADDRESS), provider.endpoint.url.host_str());
    assert_eq!(text(&of, names::RESPONSE_ID), Some("c-1"));
    assert_eq!(text(&of, names::RESPONSE_MODEL), Some("sim-small-2"));
    let reasons = text(&of, names::FINISH_REASONS).expect("reasons");
    assert!(reasons.contains("stop") && reasons.contains("length"), "{reasons}");
}
