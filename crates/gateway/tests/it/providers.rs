//! Gemini, Azure OpenAI and OpenAI's responses: where a model stands in the path, and what its answers come to.

use std::time::Duration;

use http::header::AUTHORIZATION;
use http::{HeaderValue, Method};
use serde_json::{Value, json};
use vidimus_testkit::upstream::Answer;

use super::world::{World, call_id, json_of, objects, snapshot};

const EVENTS: &str = "text/event-stream";
const GENERATE: &str = "/llm/t/gemini/v1beta/models/small:generateContent";
const STREAM: &str = "/llm/t/gemini/v1/models/small:streamGenerateContent";

async fn world(cedar: &str) -> World {
    let world = World::new().await;
    let mut all = objects(&world.upstream);
    let object = |kind: &str, name: &str, spec: Value| json!({"apiVersion": "vidimus.dev/v1alpha1", "kind": kind, "metadata": {"namespace": "t", "name": name}, "spec": spec});
    for (name, kind) in [("gemini", "gemini"), ("azure", "azure"), ("openai", "openAI")] {
        let spec = json!({"owner": "a@b.example", "type": kind, "credential": {"none": {}},
            "endpoint": {"url": world.upstream.url("/at"), "timeout": "3s"},
            "models": [{"name": "small"}, {"name": "large"}], "aliases": {"fast": "quick", "quick": "small"}});
        all.push(object("LLMProvider", name, spec));
    }
    let permits = ["gemini", "azure", "openai"].map(|name| {
        format!(r#"permit (principal == Agent::"t/caller", action == Action::"callModel", resource == Model::"t/{name}/small");"#)
    });
    let cedar = format!("{} {cedar}", permits.concat());
    all.push(object("Policy", "providers", json!({"description": "providers", "cedar": cedar})));
    world.gate.take_into_use(snapshot(&all));
    world
}

fn candidate(more: &Value) -> Value {
    let mut chunk =
        json!({"candidates": [{"content": {"parts": [{"text": "x"}], "role": "model"}, "index": 0}]});
    chunk.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
    chunk
}

/// The last of an answer: why it ends, and what it came to. Thoughts are counted apart and paid for.
fn last() -> Value {
    let usage = json!({"promptTokenCount": 5, "cachedContentTokenCount": 4, "candidatesTokenCount": 7, "thoughtsTokenCount": 30, "totalTokenCount": 42});
    let mut last = candidate(&json!({"usageMetadata": usage}));
    last["candidates"][0]["finishReason"] = json!("STOP");
    last
}

#[tokio::test]
async fn gemini_is_called_by_its_paths_and_its_tokens_are_on_record() {
    let world = world("").await;
    let first = candidate(&json!({"usageMetadata": {"promptTokenCount": 5}}));
    let list = format!("[{first},\r\n{}]", last());
    let blocked =
        json!({"promptFeedback": {"blockReason": "SAFETY"}, "usageMetadata": {"promptTokenCount": 5}});
    for (path, sent, kind, answer, result, tokens) in [
        (
            GENERATE,
            "/at/v1beta/models/small:generateContent",
            "application/json",
            last().to_string(),
            "ok",
            json!([5, 37]),
        ),
        (
            &format!("{STREAM}?alt=sse"),
            "/at/v1/models/small:streamGenerateContent?alt=sse",
            EVENTS,
            format!("data: {first}\r\n\r\ndata: {}\r\n\r\n", last()),
            "ok",
            json!([5, 37]),
        ),
        (
            STREAM,
            "/at/v1/models/small:streamGenerateContent",
            "application/json",
            list.clone(),
            "ok",
            json!([5, 37]),
        ),
        // What does not go on: other names of the query.
        (
            &format!("{GENERATE}?alt=json&quotaUser=x"),
            "/at/v1beta/models/small:generateContent",
            "application/json",
            blocked.to_string(),
            "ok",
            json!([5, null]),
        ),
        // A list or a stream that was cut is no answer.
        (
            STREAM,
            "/at/v1/models/small:streamGenerateContent",
            "application/json",
            format!("[{first},"),
            "failed",
            json!([5, null]),
        ),
        (
            &format!("{STREAM}?alt=sse"),
            "/at/v1/models/small:streamGenerateContent?alt=sse",
            EVENTS,
            format!("data: {first}\n\n"),
            "unknown",
            json!([5, null]),
        ),
        (
            &format!("{STREAM}?alt=sse"),
            "/at/v1/models/small:streamGenerateContent?alt=sse",
            EVENTS,
            format!("data: {first}\n\ndata: {{\"error\":{{\"code\":503,\"status\":\"UNAVAILABLE\"}}}}\n\n"),
            "error",
            json!([5, null]),
        ),
        (
            "/llm/t/gemini/v1/models/small:countTokens",
            "/at/v1/models/small:countTokens",
            "application/json",
            r#"{"totalTokens":3}"#.to_owned(),
            "ok",
            json!([null, null]),
        ),
    ] {
        world.upstream.next(Answer::whole(kind, answer));
        let asked = world.request(Method::POST, path, &json!({"contents": [{"parts": [{"text": "hi"}]}]}));
        let (_, headers, _) = world.call(asked).await;
        let records = world.records(&call_id(&headers), 2).await;
        assert_eq!(records[1]["result"], result, "{path} {:?}", records[1]);
        assert_eq!(json!([records[1]["tokens_input"], records[1]["tokens_output"]]), tokens, "{path}");
        let received = world.upstream.received();
        assert_eq!(received.last().expect("a request").uri.to_string(), sent);
    }
}

/// Attacks: another model in the body, a path that may be read as another, a key in the query, members that have others run.
#[tokio::test]
async fn what_gemini_could_read_in_another_way_is_not_sent() {
    let world = world("").await;
    let large = json!({"model": "models/large"});
    for (path, body, code) in [
        (GENERATE, large.clone(), "message_invalid"),
        (
            "/llm/t/gemini/v1/models/small:countTokens",
            json!({"generateContentRequest": large}),
            "message_invalid",
        ),
        ("/llm/t/gemini/v1/models/small:batchEmbedContents", json!({"requests": [large]}), "message_invalid"),
        ("/llm/t/gemini/v1beta/models/large:generateContent", json!({}), "no_permit"),
        ("/llm/t/gemini/v1beta/models/other:generateContent", json!({}), "resource_unknown"),
        ("/llm/t/gemini/v1beta/models/%73mall:generateContent", json!({}), "route_unknown"),
        ("/llm/t/gemini/v1beta/models/../models/small:generateContent", json!({}), "route_unknown"),
        (&format!("{GENERATE}?key=secret"), json!({}), "credential_ambiguous"),
        (&format!("{GENERATE}?alt=proto"), json!({}), "message_invalid"),
        (GENERATE, json!({"cachedContent": "cachedContents/x"}), "member_undecided"),
        (GENERATE, json!({"generationConfig": {"maxOutputTokens": "900000"}}), "message_invalid"),
        (
            "/llm/t/azure/openai/deployments/small/chat/completions",
            json!({"model": "large"}),
            "message_invalid",
        ),
        (
            "/llm/t/openai/v1/responses",
            json!({"model": "small", "previous_response_id": "resp_x"}),
            "member_undecided",
        ),
    ] {
        let (_, headers, answer) = world.call(world.request(Method::POST, path, &body)).await;
        assert_eq!(headers["vidimus-code"], code, "{path} {answer:?}");
    }
    assert_eq!(world.upstream.received().len(), 0);
}

/// Attack: whoever may call nothing of a provider asks it for one name after another, to find out which models and aliases it has.
#[tokio::test]
async fn which_models_a_provider_has_is_not_told_to_who_may_call_none() {
    let world = world("").await;
    let said = async |who: &str, path: &str| {
        let mut request = world.request(Method::POST, path, &json!({"model": "other", "messages": []}));
        let token = format!("Bearer {}", world.token(who, Duration::from_secs(600)));
        request.headers_mut().insert(AUTHORIZATION, HeaderValue::from_str(&token).expect("a value"));
        let (status, headers, said) = world.call(request).await;
        (status, headers["vidimus-code"].clone(), json_of(&said)["error"]["vidimus"]["reason"].clone())
    };
    let (known, unknown) = ("/llm/t/openai/v1/chat/completions", "/llm/t/none/v1/chat/completions");
    let (one, other) = (said("stranger", known).await, said("stranger", unknown).await);
    assert_eq!((one.0, &one.1), (other.0, &other.1));
    assert_eq!(one.2, "no LLMProvider t/openai is registered");
    assert_eq!(other.2, "no LLMProvider t/none is registered");
    // Whoever may call one of its models is told which name is wrong.
    let caller = said("caller", known).await;
    assert_eq!((caller.0, &caller.1), (one.0, &one.1));
    assert_eq!(caller.2, "model \"other\" is not registered on LLMProvider t/openai");
    assert_eq!(world.upstream.received().len(), 0);
}

/// A request by an alias is decided as one for the model, and goes on as one.
#[tokio::test]
async fn an_alias_is_the_model_that_it_stands_for() {
    let world = world("").await;
    let chat = json!({"model": "fast", "messages": []});
    for (path, body, sent, model) in [
        ("/llm/t/openai/v1/chat/completions", chat.clone(), "/at/v1/chat/completions", json!("small")),
        (
            "/llm/t/gemini/v1/models/fast:generateContent",
            json!({}),
            "/at/v1/models/small:generateContent",
            Value::Null,
        ),
        (
            "/llm/t/azure/openai/deployments/fast/chat/completions?api-version=2024-10-21",
            chat,
            "/at/openai/deployments/small/chat/completions?api-version=2024-10-21",
            json!("small"),
        ),
    ] {
        let (status, headers, _) = world.call(world.request(Method::POST, path, &body)).await;
        assert_eq!(status, 200, "{path}");
        let received = world.upstream.received();
        let last = received.last().expect("a request");
        assert_eq!((last.uri.to_string(), &json_of(&last.body)["model"]), (sent.to_owned(), &model));
        let records = world.records(&call_id(&headers), 2).await;
        let resource = records[0]["resource"].to_string();
        assert!(resource.contains("/small") && !resource.contains("fast"), "{resource}");
    }
}

/// The SDKs of Google and of Azure send their key in headers of their own; here it is the caller's token.
#[tokio::test]
async fn the_callers_token_comes_where_its_sdk_has_the_key() {
    let world = world("").await;
    let token = world.token("caller", Duration::from_secs(60));
    let token = HeaderValue::try_from(token).expect("a token");
    for (name, method, path, status) in [
        ("x-goog-api-key", Method::POST, GENERATE, 200),
        ("x-goog-api-key", Method::GET, "/llm/t/gemini/v1/models", 200),
        ("x-goog-api-key", Method::GET, "/llm/t/gemini/v1beta/models", 200),
        ("api-key", Method::POST, "/llm/t/azure/openai/deployments/small/chat/completions", 200),
        ("api-key", Method::GET, "/llm/t/azure/openai/models", 200),
        ("api-key", Method::POST, GENERATE, 401),
    ] {
        let body = if method == Method::GET { Value::Null } else { json!({"messages": []}) };
        let mut asked = world.request(method, path, &body);
        asked.headers_mut().remove(AUTHORIZATION);
        asked.headers_mut().insert(name, token.clone());
        let (found, _, answer) = world.call(asked).await;
        assert_eq!(found, status, "{name} {path} {answer:?}");
        if path.ends_with("/gemini/v1/models") {
            let listed = json!({"models": [{"name": "models/small", "displayName": "small"},
                {"name": "models/fast", "displayName": "fast"}, {"name": "models/quick", "displayName": "quick"}]});
            assert_eq!(json_of(&answer), listed);
        }
    }
    for sent in world.upstream.received() {
        assert!(sent.header("x-goog-api-key").is_none() && sent.header("api-key").is_none());
    }
}

#[tokio::test]
async fn answers_are_capped_in_each_form_of_their_limit() {
    let world =
        world(r#"@cap_tokens("50") forbid (principal, action == Action::"callModel", resource);"#).await;
    let gemini = json!({"generationConfig": {"maxOutputTokens": 4000, "candidateCount": 2}});
    for (path, body, at, expected) in [
        (GENERATE, gemini.clone(), "/generationConfig/maxOutputTokens", json!(25)),
        (STREAM, json!({}), "/generationConfig/maxOutputTokens", json!(50)),
        ("/llm/t/openai/v1/responses", json!({"model": "small"}), "/max_output_tokens", json!(50)),
        // Nothing is written for these, so there is no limit to add.
        (
            "/llm/t/openai/v1/embeddings",
            json!({"model": "small", "input": "x"}),
            "/max_completion_tokens",
            Value::Null,
        ),
        (
            "/llm/t/gemini/v1/models/small:embedContent",
            json!({"content": {}}),
            "/generationConfig",
            Value::Null,
        ),
    ] {
        world.upstream.next(Answer::json(&last()));
        let (status, _, answer) = world.call(world.request(Method::POST, path, &body)).await;
        assert_eq!(status, 200, "{path} {answer:?}");
        let received = world.upstream.received();
        let sent = json_of(&received.last().expect("a request").body);
        assert_eq!(sent.pointer(at).cloned().unwrap_or_default(), expected, "{path}");
    }
}

/// OpenAI's responses say their usage in the last event, and its errors in one without a member for it.
#[tokio::test]
async fn responses_and_embeddings_are_answered_and_counted() {
    let world = world("").await;
    let usage = json!({"input_tokens": 5, "output_tokens": 7});
    let event = |kind: &str, more: Value| {
        format!("event: {kind}\ndata: {}\n\n", json!({"type": kind, "response": more}))
    };
    let created = event("response.created", json!({"usage": null}));
    for (path, kind, answer, result, tokens) in [
        (
            "responses",
            "application/json",
            json!({"object": "response", "error": null, "output": [], "usage": usage}).to_string(),
            "ok",
            json!([5, 7]),
        ),
        (
            "responses",
            EVENTS,
            created.clone() + &event("response.completed", json!({"usage": usage})),
            "ok",
            json!([5, 7]),
        ),
        ("responses", EVENTS, created.clone(), "unknown", json!([null, null])),
        (
            "responses",
            EVENTS,
            created.clone() + &event("response.failed", json!({"error": {"code": "server_error"}})),
            "error",
            json!([null, null]),
        ),
        (
            "embeddings",
            "application/json",
            json!({"object": "list", "data": [{"embedding": [0.5]}], "usage": {"prompt_tokens": 5, "total_tokens": 5}}).to_string(),
            "ok",
            json!([5, null]),
        ),
    ] {
        world.upstream.next(Answer::whole(kind, answer));
        let ask = json!({"model": "small", "input": "x", "stream": kind == EVENTS});
        let (_, headers, _) = world.call(world.request(Method::POST, &format!("/llm/t/openai/v1/{path}"), &ask)).await;
        let records = world.records(&call_id(&headers), 2).await;
        assert_eq!(records[1]["result"], result, "{path} {kind}");
        assert_eq!(json!([records[1]["tokens_input"], records[1]["tokens_output"]]), tokens, "{path} {kind}");
        // Nothing is asked for in the caller's place: the usage of responses comes by itself.
        let received = world.upstream.received();
        assert!(json_of(&received.last().expect("a request").body).get("stream_options").is_none());
    }
}

/// A server that speaks as OpenAI does has that at a path of its own: what its own clients ask goes there, and what is translated to it.
#[tokio::test]
async fn an_api_is_called_where_its_record_says() {
    let world = World::new().await;
    for (at, sent) in [(None, "/llm/v1"), (Some("/v1beta/openai"), "/llm/v1beta/openai"), (Some("/"), "/llm")]
    {
        let all = super::chains::estate(&world, |all| {
            if let Some(at) = at {
                all[4]["spec"]["apiPath"] = json!(at);
            }
        });
        world.gate.take_into_use(snapshot(&all));
        let messages = json!([{"role": "user", "content": "hi"}]);
        for (path, expected, body) in [
            ("/v1/chat/completions", "chat/completions", json!({"model": "small", "messages": messages})),
            ("/v1/embeddings", "embeddings", json!({"model": "small", "input": "hi"})),
            ("/v1/completions", "completions", json!({"model": "small", "prompt": "hi"})),
            (
                "/v1/messages",
                "chat/completions",
                json!({"model": "small", "max_tokens": 9, "messages": messages}),
            ),
        ] {
            world.call(world.request(Method::POST, &format!("/llm/t/models{path}"), &body)).await;
            let received = world.upstream.received().pop().expect("a request");
            assert_eq!(received.uri.path(), format!("{sent}/{expected}"), "{at:?} {path}");
        }
    }
}
