//! The adapters over headers and a body, and the decision on what they ask.
#![no_main]

use std::sync::{Arc, LazyLock};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use vidimus_core::call::{Ask, Call, Destination, SoFar, Target};
use vidimus_core::caller::{Caller, Chain, Proven, UnixMillis};
use vidimus_core::decision::Outcome;
use vidimus_core::resource::Principal;
use vidimus_core::snapshot::Snapshot;
use vidimus_gateway::fuzzing::protocol::llm::added_usage;
use vidimus_gateway::fuzzing::protocol::{self, MAX_NAME, MAX_URI, Message, members};
use vidimus_gateway::fuzzing::seal::Holder;
use vidimus_gateway::{KEY_LENGTH, Seal};

static SEAL: LazyLock<Seal> = LazyLock::new(|| Seal::new(&[7; KEY_LENGTH]).expect("a key"));
static WORLD: LazyLock<Arc<Snapshot>> = LazyLock::new(|| vidimus_fuzz::world("http://127.0.0.1:1"));

fuzz_target!(|input: &[u8]| {
    let (head, bytes) = vidimus_fuzz::cut(input);
    let headers = headers(head);
    let Ok(json) = protocol::parse(bytes) else { return };
    for (destination, path) in destinations() {
        let binding = protocol::binding_of(&destination);
        let _ = binding.message_id(&json);
        let caller = caller();
        let holder = Holder::new(&SEAL, &destination, &caller);
        let message = Message {
            holder: &holder,
            destination: &destination,
            method: &Method::POST,
            path,
            headers: &headers,
            json: Some(&json),
            bytes: bytes.len(),
            standing: None,
        };
        let Ok(parsed) = binding.parse(&message) else { continue };
        decide(&parsed.ask);
        let text = std::str::from_utf8(bytes).expect("it was parsed");
        let replaced = members::replace(text, &parsed.replaced).expect("what is replaced is there");
        protocol::parse(replaced.as_bytes()).expect("still strict JSON");
        if parsed.amends {
            asks_for_usage(&binding.amended(&Bytes::copy_from_slice(bytes)).expect("it was parsed"), bytes);
        }
    }
});

fn destinations() -> [(Destination, &'static str); 3] {
    let world = &*WORLD;
    [
        (Destination::Server(world.mcp_server("fin/s").unwrap().clone()), ""),
        (Destination::Agent(world.agent("fin/a").unwrap().clone()), ""),
        (Destination::Provider(world.llm_provider("fin/p").unwrap().clone()), "/v1/chat/completions"),
    ]
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
    let left = match ask.target {
        Target::Tool { name, .. } | Target::Prompt { name, .. } | Target::Skill { name, .. } => {
            MAX_NAME.checked_sub(name.len())
        }
        Target::Resource { uri, .. } => MAX_URI.checked_sub(uri.len()),
        Target::Server(_) | Target::Agent(_) | Target::Model { .. } | Target::Provider(_) => Some(0),
    };
    assert!(left.is_some(), "what is named is bounded");
    let caller = caller();
    let call = Call { caller: &caller, ask: *ask, now: UnixMillis(0), source_ip: None, so_far: SoFar::nothing(), approvals: &[] };
    let decision = WORLD.authorize(&call);
    let allowed = matches!(decision.outcome(), Outcome::Allow | Outcome::AllowWithObligations);
    assert_eq!(decision.code().is_none(), allowed);
    assert!(!allowed || WORLD.could_allow(&call) || !decision.facts().is_empty());
    let _ = call.digest();
}

fn caller() -> Caller {
    let chain = Chain { transaction: "t".into(), started: UnixMillis(0), actors: Vec::new() };
    let proven = Proven {
        principal: Principal::Agent(WORLD.agent("fin/a").unwrap().clone()),
        identity: "oidc:x".into(),
        user: None,
        delegated: None,
        instance: None,
        expires: None,
    };
    Caller { proven: Arc::new(proven), chain: Arc::new(chain) }
}

/// The body that is sent asks for usage, and is otherwise the caller's.
fn asks_for_usage(sent: &[u8], bytes: &[u8]) {
    assert_eq!(added_usage::asked(&protocol::parse(sent).expect("still strict JSON")), Ok(true));
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
    assert_eq!(rest(bytes), rest(sent));
}
