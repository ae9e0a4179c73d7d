//! A client of one API, a provider of another: through the whole way of a call.

use http::{Method, StatusCode};
use serde_json::{Value, json};
use vidimus_testkit::upstream::Answer;

use super::world::{World, call_id, json_of, objects, snapshot};

const EVENTS: &str = "text/event-stream";

async fn world(cedar: &str) -> World {
    world_of(&["openAI", "anthropic", "gemini", "azure"], "small", cedar).await
}

/// A provider of each of these types, with this model and the alias `fast` of it.
async fn world_of(types: &[&str], model: &str, cedar: &str) -> World {
    let world = World::new().await;
    let mut all = objects(&world.upstream);
    let object = |kind: &str, name: &str, spec: Value| json!({"apiVersion": "vidimus.dev/v1alpha1", "kind": kind, "metadata": {"namespace": "t", "name": name}, "spec": spec});
    for name in types {
        let mut spec = json!({"owner": "a@b.example", "type": name, "credential": {"none": {}},
            "endpoint": {"url": world.upstream.url("/at"), "timeout": "3s"},
            "models": [{"name": model}], "aliases": {"fast": model}});
        if *name == "bedrock" {
            spec["region"] = json!("eu-central-1");
        }
        all.push(object("LLMProvider", &name.to_lowercase(), spec));
    }
    let permit = r#"permit (principal == Agent::"t/caller", action == Action::"callModel", resource);"#;
    let cedar = format!("{permit} {cedar}");
    all.push(object("Policy", "shapes", json!({"description": "shapes", "cedar": cedar})));
    world.gate.take_into_use(snapshot(&all));
    world
}

fn question(shape: &str) -> (&'static str, Value) {
    match shape {
        "openai" => (
            "/v1/chat/completions",
            json!({"model": "fast", "messages": [{"role": "user", "content": "hi"}]}),
        ),
        "anthropic" => (
            "/v1/messages",
            json!({"model": "fast", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]}),
        ),
        _ => (
            "/v1beta/models/fast:generateContent",
            json!({"contents": [{"role": "user", "parts": [{"text": "hi"}]}]}),
        ),
    }
}

fn answer(shape: &str) -> Value {
    match shape {
        "openai" | "azure" => {
            json!({"id": "r", "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "yes"}}],
            "usage": {"prompt_tokens": 5, "completion_tokens": 7}})
        }
        "anthropic" => {
            json!({"id": "r", "type": "message", "content": [{"type": "text", "text": "yes"}], "stop_reason": "end_turn",
            "usage": {"input_tokens": 5, "output_tokens": 7}})
        }
        _ => json!({"candidates": [{"content": {"parts": [{"text": "yes"}]}, "finishReason": "STOP"}],
            "usageMetadata": {"promptTokenCount": 5, "candidatesTokenCount": 7}}),
    }
}

fn text_in<'v>(shape: &str, answer: &'v Value) -> &'v Value {
    match shape {
        "openai" => &answer["choices"][0]["message"]["content"],
        "anthropic" => &answer["content"][0]["text"],
        _ => &answer["candidates"][0]["content"]["parts"][0]["text"],
    }
}

#[tokio::test]
async fn every_client_is_answered_by_every_provider() {
    let world = world("").await;
    for provider in ["openai", "anthropic", "gemini", "azure"] {
        for client in ["openai", "anthropic", "gemini"] {
            let (path, body) = question(client);
            world.upstream.next(Answer::json(&answer(provider)));
            let path = format!("/llm/t/{provider}{path}");
            let (status, headers, body) = world.call(world.request(Method::POST, &path, &body)).await;
            let body = json_of(&body);
            assert_eq!(
                (status, text_in(client, &body)),
                (StatusCode::OK, &json!("yes")),
                "{client} {provider}: {body}"
            );
            let records = world.records(&call_id(&headers), 2).await;
            assert_eq!(records[0]["resource"], format!("Model/t/{provider}/small"));
            let of = |name: &str| records[1][name].clone();
            assert_eq!(
                (of("result"), of("tokens_input"), of("tokens_output")),
                (json!("ok"), json!(5), json!(7)),
                "{client} {provider}"
            );
            let received = world.upstream.received();
            let received = received.last().expect("a request");
            let expected = match provider {
                "openai" => "/at/v1/chat/completions",
                "azure" => "/at/openai/v1/chat/completions",
                "anthropic" => "/at/v1/messages",
                _ => "/at/v1beta/models/small:generateContent",
            };
            assert_eq!(received.uri.path(), expected, "{client} {provider}");
            // The caller's own token stays here, whatever the API.
            let all = format!("{:?} {:?}", received.headers, received.body);
            assert!(!all.contains("eyJ"), "{all}");
        }
    }
}

/// Attack: an alias of a model with colons, so that Gemini's path is taken for the provider's own, and goes there as it is with the gateway's key.
#[tokio::test]
async fn googles_client_asks_for_a_model_with_colons_by_an_alias() {
    let model = "vendor.small-v1:0";
    let world = world_of(&["openAI", "openAICompatible", "azure", "anthropic", "bedrock"], model, "").await;
    let converse = json!({"output": {"message": {"role": "assistant", "content": [{"text": "yes"}]}}, "stopReason": "end_turn",
        "metrics": {"latencyMs": 1}, "usage": {"inputTokens": 5, "outputTokens": 7, "totalTokens": 12}});
    for (provider, expected, came) in [
        ("openai", "/at/v1/chat/completions", answer("openai")),
        ("openaicompatible", "/at/v1/chat/completions", answer("openai")),
        ("azure", "/at/openai/v1/chat/completions", answer("azure")),
        ("anthropic", "/at/v1/messages", answer("anthropic")),
        ("bedrock", "/at/model/vendor.small-v1%3A0/converse", converse),
    ] {
        let (path, body) = question("gemini");
        world.upstream.next(Answer::json(&came));
        let path = format!("/llm/t/{provider}{path}");
        let (status, headers, body) = world.call(world.request(Method::POST, &path, &body)).await;
        let received = world.upstream.received();
        let received = received.last().expect("a request");
        assert_eq!(received.uri.path(), expected, "{provider}");
        assert!(received.json().get("contents").is_none(), "{provider}");
        let body = json_of(&body);
        assert_eq!((status, text_in("gemini", &body)), (StatusCode::OK, &json!("yes")), "{provider}: {body}");
        let records = world.records(&call_id(&headers), 2).await;
        assert_eq!(records[0]["resource"], format!("Model/t/{provider}/{model}"));
    }
}

#[tokio::test]
async fn streams_come_in_the_callers_api() {
    let world = world("").await;
    let anthropic = [
        json!({"type": "message_start", "message": {"id": "r", "usage": {"input_tokens": 5, "output_tokens": 1}}}),
        json!({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}),
        json!({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "yes"}}),
        json!({"type": "content_block_stop", "index": 0}),
        json!({"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 7}}),
        json!({"type": "message_stop"}),
    ];
    let written = |events: &[Value]| -> String {
        events.iter().map(|event| format!("event: x\ndata: {event}\n\n")).collect()
    };
    let events = written(&anthropic);
    for (asks, has_usage) in [(json!({"include_usage": true}), true), (Value::Null, false)] {
        world.upstream.next(Answer::whole(EVENTS, events.clone()));
        let (path, mut body) = question("openai");
        (body["stream"], body["stream_options"]) = (json!(true), asks);
        let path = format!("/llm/t/anthropic{path}");
        let (status, headers, body) = world.call(world.request(Method::POST, &path, &body)).await;
        let text = String::from_utf8(body.to_vec()).expect("UTF-8");
        assert_eq!((status, &headers["content-type"]), (StatusCode::OK, &EVENTS.parse().expect("a value")));
        assert!(text.contains(r#""content":"yes""#) && text.ends_with("data: [DONE]\n\n"), "{text}");
        // Whoever did not ask for usage does not get it; the record has it.
        assert_eq!(text.contains("prompt_tokens"), has_usage, "{text}");
        let records = world.records(&call_id(&headers), 2).await;
        assert_eq!((&records[1]["tokens_input"], &records[1]["tokens_output"]), (&json!(5), &json!(7)));
    }
    // A provider that breaks off in the middle is not made whole.
    world.upstream.next(Answer::whole(EVENTS, written(&anthropic[..4])));
    let (path, mut body) = question("openai");
    body["stream"] = json!(true);
    let path = format!("/llm/t/anthropic{path}");
    let (_, headers, body) = world.call(world.request(Method::POST, &path, &body)).await;
    assert!(!String::from_utf8_lossy(&body).contains("[DONE]"));
    let records = world.records(&call_id(&headers), 2).await;
    assert_ne!(records[1]["result"], "ok");
}

/// What cannot be said is refused in the caller's words, by one who may call; nothing goes upstream.
#[tokio::test]
async fn what_has_no_equivalent_is_refused_and_on_record() {
    let world = world("").await;
    let (path, mut body) = question("openai");
    body["logprobs"] = json!(true);
    let path = format!("/llm/t/anthropic{path}");
    let (status, headers, body) = world.call(world.request(Method::POST, &path, &body)).await;
    let body = json_of(&body);
    assert_eq!(
        (status, &body["error"]["code"]),
        (StatusCode::BAD_REQUEST, &json!("no_equivalent")),
        "{body}"
    );
    assert!(body["error"]["message"].as_str().expect("a text").contains("logprobs"), "{body}");
    let records = world.records(&call_id(&headers), 2).await;
    assert_eq!((&records[1]["result"], &records[1]["code"]), (&json!("failed"), &json!("no_equivalent")));
    assert_eq!(records[1]["charged_tokens"], 0);
    assert!(world.upstream.received().is_empty());
}

/// A provider's error, and an answer that is none.
#[tokio::test]
async fn what_the_provider_says_wrong_is_said_in_the_callers_api() {
    let world = world("").await;
    let (path, body) = question("anthropic");
    let path = format!("/llm/t/openai{path}");
    let error = json!({"error": {"message": "slow down", "type": "rate_limit_error"}});
    let limited =
        Answer::json(&error).with_status(StatusCode::TOO_MANY_REQUESTS).with_header("retry-after", "7");
    world.upstream.next(limited);
    let (status, headers, answered) = world.call(world.request(Method::POST, &path, &body)).await;
    assert_eq!(
        (status, &headers["retry-after"]),
        (StatusCode::TOO_MANY_REQUESTS, &"7".parse().expect("a value"))
    );
    let expected = json!({"type": "error", "error": {"type": "rate_limit_error", "message": "slow down"}});
    assert_eq!(json_of(&answered), expected);

    world.upstream.next(Answer::whole("text/html", "<html>"));
    let (status, _, answered) = world.call(world.request(Method::POST, &path, &body)).await;
    let answered = json_of(&answered);
    assert_eq!((status, &answered["type"]), (StatusCode::BAD_GATEWAY, &json!("error")), "{answered}");
}

/// Policies see the caller's message, and what they change is changed of it.
#[tokio::test]
async fn what_policies_demand_is_made_before_it_is_translated() {
    let world =
        world(r#"@cap_tokens("10") forbid (principal, action == Action::"callModel", resource);"#).await;
    let (path, mut body) = question("openai");
    body["max_completion_tokens"] = json!(500);
    world.upstream.next(Answer::json(&answer("anthropic")));
    let path = format!("/llm/t/anthropic{path}");
    let (status, ..) = world.call(world.request(Method::POST, &path, &body)).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(world.upstream.received().last().expect("a request").json()["max_tokens"], 10);
}

/// Attack: a provider that streams for ever, and one event of it that never ends.
#[tokio::test]
async fn what_never_ends_is_bounded() {
    let world = world("").await;
    let (path, body) = question("anthropic");
    let path = format!("/llm/t/openai{path}");
    world.upstream.next(Answer::whole("application/json", format!("{{\"x\":\"{}\"}}", "x".repeat(40 << 20))));
    let response = world.send(world.request(Method::POST, &path, &body)).await;
    let id = call_id(response.headers());
    let records = world.records(&id, 2).await;
    assert_eq!(records[1]["code"], "upstream_invalid", "{:?}", records[1]);
}
