//! The three adapters over headers and a body, and the decision on what they ask.
#![no_main]

use std::sync::{Arc, LazyLock};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use vidimus_core::call::{Call, Context, Target};
use vidimus_core::caller::{Chain, UnixMillis};
use vidimus_core::resource::Principal;
use vidimus_core::snapshot::Snapshot;
use vidimus_gateway::protocol::{
    self, Answer, Ask, LONGEST_NAME, LONGEST_URI, a2a, added_usage, jsonrpc, llm, mcp,
};

static WORLD: LazyLock<Arc<Snapshot>> = LazyLock::new(|| vidimus_fuzz::world("http://127.0.0.1:1"));

fuzz_target!(|input: &[u8]| {
    let (head, bytes) = vidimus_fuzz::cut(input);
    let headers = headers(head);
    let Ok(body) = protocol::parse(bytes) else { return };
    let _ = jsonrpc::id_text(&body);
    let (server, agent, provider) = objects();
    let asks = [
        mcp::ask(server, &headers, &body),
        a2a::ask(agent, &headers, &body),
        llm::ask(provider, llm::Endpoint::ChatCompletions, &body, bytes.len()),
        llm::ask(provider, llm::Endpoint::Messages, &body, bytes.len()),
    ];
    for ask in asks.iter().flatten() {
        decide(ask);
        if ask.answer == Answer::AddedUsage {
            asks_for_usage(ask, bytes);
        }
    }
});

fn objects() -> (
    &'static Arc<vidimus_core::resource::McpServer>,
    &'static Arc<vidimus_core::resource::Agent>,
    &'static Arc<vidimus_core::resource::LlmProvider>,
) {
    let world = &*WORLD;
    (world.mcp_server("fin/s").unwrap(), world.agent("fin/a").unwrap(), world.llm_provider("fin/p").unwrap())
}

fn headers(head: &[u8]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for line in head.split(|byte| *byte == b'\n').take(16) {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
        let (name, value) =
            (HeaderName::from_bytes(&line[..colon]), HeaderValue::from_bytes(&line[colon + 1..]));
        if let (Ok(name), Ok(value)) = (name, value) {
            headers.append(name, value);
        }
    }
    headers
}

fn decide(ask: &Ask<'_>) {
    let longest = match ask.target {
        Target::Tool { name, .. } | Target::Prompt { name, .. } | Target::Skill { name, .. } => {
            LONGEST_NAME.checked_sub(name.len())
        }
        Target::Resource { uri, .. } => LONGEST_URI.checked_sub(uri.len()),
        Target::Server(_) | Target::Agent(_) | Target::Model { .. } => Some(0),
    };
    assert!(longest.is_some(), "what is named is bounded");
    let chain = Chain { transaction: "t".into(), started: UnixMillis(0), actors: Vec::new() };
    let principal = Principal::Agent(objects().1.clone());
    let context = Context {
        method: ask.method,
        user: None,
        chain: &chain,
        now: UnixMillis(0),
        source_ip: None,
        identity: "oidc:x",
        arguments: ask.arguments,
        tokens_estimated: ask.tokens_estimated,
        streaming: ask.streaming,
        fan_out: 1,
    };
    let call = Call { principal: &principal, action: ask.action, target: ask.target, context };
    let decision = WORLD.authorize(&call);
    assert_eq!(decision.permit().is_ok(), decision.allowed());
    assert!(!decision.allowed() || WORLD.could_allow(&call) || !decision.facts().is_empty());
}

/// The body that is sent asks for usage, and is otherwise the caller's.
fn asks_for_usage(ask: &Ask<'_>, bytes: &[u8]) {
    let sent = ask.sent(&Bytes::copy_from_slice(bytes)).expect("a body that was parsed");
    assert_eq!(added_usage::asked(&protocol::parse(&sent).expect("still strict JSON")), Ok(true));
    let rest = |bytes: &[u8]| {
        let mut value: Value = serde_json::from_slice(bytes).expect("JSON");
        if let Some(options) = value["stream_options"].as_object_mut() {
            options.remove("include_usage");
        }
        if value["stream_options"].is_null() || value["stream_options"] == serde_json::json!({}) {
            value.as_object_mut().expect("an object").remove("stream_options");
        }
        value
    };
    assert_eq!(rest(bytes), rest(&sent));
}
