mod answers;
mod equivalents;
mod members;
mod requests;

use serde_json::json;

use super::*;
use crate::protocol::tests::provider;

/// Of those who ask.
const SHAPES: [Shape; 3] = [Shape::OpenAi, Shape::Anthropic, Shape::Gemini];
/// Of those who answer.
const PROVIDERS: [Shape; 4] = [Shape::OpenAi, Shape::Anthropic, Shape::Gemini, Shape::Bedrock];

fn provider_of(shape: Shape) -> LlmProvider {
    let provider_type = match shape {
        Shape::OpenAi => ProviderType::OpenAi,
        Shape::Anthropic => ProviderType::Anthropic,
        Shape::Gemini => ProviderType::Gemini,
        Shape::Bedrock => ProviderType::Bedrock,
    };
    let stream_usage = shape == Shape::OpenAi;
    LlmProvider { provider: provider_type, stream_usage, ..(*provider()).clone() }
}

fn method_of(client: Shape) -> &'static str {
    match client {
        Shape::OpenAi => CHAT,
        Shape::Anthropic => MESSAGES,
        Shape::Gemini => GENERATE,
        Shape::Bedrock => CONVERSE,
    }
}

/// A request of a client's, as it goes on to the model `m` of a provider: its path and its body.
fn gone(client: Shape, to: &LlmProvider, body: &Value) -> Result<(String, Value), Code> {
    let path = match client {
        Shape::OpenAi => "/v1/chat/completions",
        Shape::Anthropic => "/v1/messages",
        Shape::Gemini => "/v1beta/models/asked:generateContent",
        Shape::Bedrock => "/model/asked/converse",
    };
    gone_by(client, (path, None), to, body)
}

fn gone_by(
    client: Shape,
    (path, query): (&str, Option<&str>),
    to: &LlmProvider,
    body: &Value,
) -> Result<(String, Value), Code> {
    let (headers, body) = (HeaderMap::new(), Bytes::from(body.to_string()));
    let method = method_of(client);
    let going = Going { client, method, path, query, headers: &headers, body: &body, amends: false };
    let gone = going.to(to, "m").map_err(|refusal| refusal.code)?;
    let body = serde_json::from_slice(&gone.body).expect("JSON");
    Ok((gone.path.into_owned(), body))
}

fn answered(client: Shape, provider: Shape) -> Answered {
    let (model, call) = ("m".into(), "c-1".into());
    Answered { client, provider, model, call, seconds: 7, one_at_a_time: false, again: None }
}

/// Where each API is called, and which paths are a provider's own.
#[test]
fn a_path_is_of_one_api() {
    for (path, expected) in [
        ("/v1/chat/completions", Some(Shape::OpenAi)),
        ("/v1/messages", Some(Shape::Anthropic)),
        ("/v1beta/models/x:generateContent", Some(Shape::Gemini)),
        ("/v1/models/x:streamGenerateContent", Some(Shape::Gemini)),
        ("/v1beta/models/vendor.x-v1:0:generateContent", Some(Shape::Gemini)),
        ("/v1/models/maker/x:8b:latest:streamGenerateContent", Some(Shape::Gemini)),
        ("/v1/models/x:generateContent:countTokens", None),
        ("/v1/models/x:countTokens", None),
        ("/v1/messages/count_tokens", None),
        ("/v1/responses", None),
        ("/v1/models", None),
        ("/openai/deployments/x/chat/completions", None),
        ("/v1/chat/completions/", None),
    ] {
        assert_eq!(Shape::of_path(path), expected, "{path}");
    }
    for (kind, path, native) in [
        (ProviderType::OpenAi, "/v1/chat/completions", true),
        (ProviderType::OpenAi, "/v1/messages", false),
        (ProviderType::OpenAiCompatible, "/v1/models/x:generateContent", false),
        (ProviderType::Anthropic, "/v1/chat/completions", false),
        (ProviderType::Azure, "/openai/v1/chat/completions", true),
        (ProviderType::Azure, "/v1/chat/completions", false),
        (ProviderType::Gemini, "/v1beta/models/x:generateContent", true),
        (ProviderType::Gemini, "/v1beta/models/x:embedContent", true),
        (ProviderType::Bedrock, "/model/x/converse", true),
        (ProviderType::Bedrock, "/v1/models", true),
        (ProviderType::Bedrock, "/v1/messages", false),
        (ProviderType::OpenAi, "/v1/embeddings", true),
        (ProviderType::Anthropic, "/v1/messages/count_tokens", true),
        (ProviderType::Gemini, "/v1/models", true),
        // What nobody knows, or is another one's.
        (ProviderType::Bedrock, "/v1beta/models/vendor.x-v1:0:generateContent", false),
        (ProviderType::OpenAi, "/v1beta/models/ft:x:generateContent", false),
        (ProviderType::OpenAi, "/v1beta/models/x:countTokens", false),
        (ProviderType::OpenAi, "/v1/anything", false),
        (ProviderType::Anthropic, "/v1/responses", false),
        (ProviderType::Gemini, "/v1beta/models/x:other", false),
        (ProviderType::Azure, "/openai/deployments/x:1/chat/completions", false),
    ] {
        let provider = LlmProvider { provider: kind, ..(*provider()).clone() };
        assert_eq!(is_native(&provider, path), native, "{kind:?} {path}");
    }
}

/// To another provider of the same API goes the caller's own text, with the name that the model has there.
#[test]
fn in_the_same_api_only_the_model_changes() {
    let azure = LlmProvider { provider: ProviderType::Azure, stream_usage: false, ..(*provider()).clone() };
    let asked = json!({"model": "asked", "messages": [], "logprobs": true, "stream": true});
    let (path, body) = gone(Shape::OpenAi, &azure, &asked).expect("it goes on");
    assert_eq!(path, "/openai/v1/chat/completions");
    assert_eq!(body, json!({"model": "m", "messages": [], "logprobs": true, "stream": true}));
    // Azure's deployments have it in their path alone.
    let openai = provider_of(Shape::OpenAi);
    let at = ("/openai/deployments/asked/chat/completions", Some("api-version=2024-10-21"));
    let (path, body) = gone_by(Shape::OpenAi, at, &openai, &json!({"messages": []})).expect("it goes on");
    assert_eq!((&*path, body), ("/v1/chat/completions", json!({"model": "m", "messages": []})));

    let gemini = provider_of(Shape::Gemini);
    let asked = json!({"model": "models/asked", "contents": [], "safetySettings": [1]});
    let (path, body) = gone(Shape::Gemini, &gemini, &asked).expect("it goes on");
    assert_eq!(path, "/v1beta/models/m:generateContent");
    assert_eq!(body, json!({"model": "models/m", "contents": [], "safetySettings": [1]}));
}

/// What is translated for no other API goes to another provider of its own: each place that names the model names the one that is asked.
#[test]
fn what_is_not_translated_goes_to_providers_of_its_own_api() {
    let headers = HeaderMap::new();
    let azure = LlmProvider { provider: ProviderType::Azure, ..(*provider()).clone() };
    let [openai, anthropic, gemini, bedrock] = PROVIDERS.map(provider_of);
    for (method, path, to, body, at, expected) in [
        (
            RESPONSES,
            "/v1/responses",
            &azure,
            json!({"model": "x", "input": "hi", "max_output_tokens": 5}),
            "/openai/v1/responses",
            json!({"model": "m", "input": "hi", "max_output_tokens": 5}),
        ),
        (
            EMBEDDINGS,
            "/openai/deployments/x/embeddings",
            &openai,
            json!({"input": "hi"}),
            "/v1/embeddings",
            json!({"model": "m", "input": "hi"}),
        ),
        (
            COMPLETIONS,
            "/v1/completions",
            &openai,
            json!({"model": "x", "prompt": "hi", "max_tokens": 5}),
            "/v1/completions",
            json!({"model": "m", "prompt": "hi", "max_tokens": 5}),
        ),
        (
            COUNT_TOKENS,
            "/v1/messages/count_tokens",
            &anthropic,
            json!({"model": "x", "messages": []}),
            "/v1/messages/count_tokens",
            json!({"model": "m", "messages": []}),
        ),
        (
            COUNT,
            "/v1/models/x:countTokens",
            &gemini,
            json!({"generateContentRequest": {"model": "models/x", "contents": []}}),
            "/v1beta/models/m:countTokens",
            json!({"generateContentRequest": {"model": "models/m", "contents": []}}),
        ),
        (
            EMBED,
            "/v1beta/models/x:batchEmbedContents",
            &gemini,
            json!({"requests": [{"model": "models/x", "content": {}}, {"model": "models/x"}]}),
            "/v1beta/models/m:batchEmbedContents",
            json!({"requests": [{"model": "models/m", "content": {}}, {"model": "models/m"}]}),
        ),
        (
            CONVERSE,
            "/model/x/converse-stream",
            &bedrock,
            json!({"messages": []}),
            "/model/m/converse-stream",
            json!({"messages": []}),
        ),
    ] {
        let body = Bytes::from(body.to_string());
        let client = Shape::asked_by(method).expect("an API");
        let going =
            Going { client, method, path, query: None, headers: &headers, body: &body, amends: false };
        let gone = going.to(to, "m").expect("it goes on");
        let read: Value = serde_json::from_slice(&gone.body).expect("JSON");
        assert_eq!((&*gone.path, read), (at, expected), "{method}");
        for other in PROVIDERS.into_iter().filter(|other| *other != client) {
            let refused = going.to(&provider_of(other), "m").map(|_| ()).expect_err("no equivalent");
            assert_eq!(refused.code, Code::NoEquivalent, "{method} to {other:?}");
            let next = refused.next();
            assert!(
                next.contains("provider") && !next.contains("A2A"),
                "a model's caller knows no agents: {next}"
            );
        }
    }
}

/// Attack: a limit, also one that a policy put there, by a name that whoever answers passes over.
#[test]
fn a_limit_has_the_name_that_the_provider_knows() {
    let of = |kind| LlmProvider { provider: kind, stream_usage: false, ..(*provider()).clone() };
    let (older, newer) = ("max_tokens", "max_completion_tokens");
    for (kind, asked, expected) in [
        (ProviderType::OpenAiCompatible, json!({newer: 9}), json!({older: 9})),
        (ProviderType::OpenAiCompatible, json!({newer: 9, older: null}), json!({older: 9})),
        (ProviderType::OpenAiCompatible, json!({newer: 9, older: 7}), json!({newer: 9, older: 7})),
        (ProviderType::OpenAiCompatible, json!({older: 9}), json!({older: 9})),
        (ProviderType::OpenAi, json!({older: 9}), json!({newer: 9})),
        (ProviderType::Azure, json!({older: 9, "n": 1}), json!({newer: 9, "n": 1})),
        (ProviderType::OpenAi, json!({"n": 1}), json!({"n": 1})),
    ] {
        let with = |limits: &Value| {
            let mut body = json!({"model": "m", "messages": []});
            body.as_object_mut().expect("an object").extend(limits.as_object().expect("an object").clone());
            body
        };
        let (_, body) = gone(Shape::OpenAi, &of(kind), &with(&asked)).expect("it goes on");
        assert_eq!(body, with(&expected), "{kind:?} {asked}");
    }
}

/// A beta goes on to another provider of its own API, where it lets the body say something. Elsewhere the body is read by a closed table.
#[test]
fn a_beta_goes_to_providers_of_its_own_api() {
    let body = Bytes::from(json!({"model": "x", "max_tokens": 1, "messages": []}).to_string());
    let headers = HeaderMap::new();
    let (path, query) = ("/v1/messages", None);
    let (client, method) = (Shape::Anthropic, MESSAGES);
    let going = Going { client, method, path, query, headers: &headers, body: &body, amends: false };
    for to in PROVIDERS {
        let passes = going.passed_headers(&provider_of(to)).contains(&"anthropic-beta");
        assert_eq!(passes, to == Shape::Anthropic, "{to:?}");
        // Attack: a header that goes on by another binding than the one that guards read it for.
        let of_openai = Going { client: Shape::OpenAi, method: CHAT, ..going };
        assert!(!of_openai.passed_headers(&provider_of(to)).contains(&"anthropic-beta"), "{to:?}");
        assert!(going.to(&provider_of(to), "m").is_ok());
    }
}

/// What is asked for by a query is not left out either.
#[test]
fn what_queries_ask_for_is_refused() {
    let path = "/v1beta/models/x:streamGenerateContent";
    let body = json!({"contents": []});
    for (query, expected) in [
        (None, Err(Code::NoEquivalent)),
        (Some("alt=json"), Err(Code::NoEquivalent)),
        (Some("a&alt=sse"), Ok(true)),
    ] {
        let gone = gone_by(Shape::Gemini, (path, query), &provider_of(Shape::Anthropic), &body);
        assert_eq!(gone.map(|(_, body)| body["stream"] == true), expected, "{query:?}");
    }
}
