use http::Method;

use super::*;
use crate::protocol::tests::provider;

#[test]
fn only_governed_paths_of_the_providers_own_type_exist() {
    use ProviderType::{Anthropic, OpenAi, OpenAiCompatible};
    for (provider, method, path, expected) in [
        (OpenAi, Method::POST, "/v1/chat/completions", Ok(Endpoint::ChatCompletions)),
        (OpenAiCompatible, Method::POST, "/v1/chat/completions", Ok(Endpoint::ChatCompletions)),
        (Anthropic, Method::POST, "/v1/messages", Ok(Endpoint::Messages)),
        (Anthropic, Method::POST, "/v1/messages/count_tokens", Ok(Endpoint::CountTokens)),
        (Anthropic, Method::GET, "/v1/models", Ok(Endpoint::Models)),
        (OpenAi, Method::POST, "/v1/messages", Err(Code::RouteUnknown)),
        (Anthropic, Method::POST, "/v1/chat/completions", Err(Code::RouteUnknown)),
        (OpenAi, Method::POST, "/v1/files", Err(Code::RouteUnknown)),
        (OpenAi, Method::POST, "", Err(Code::RouteUnknown)),
        (OpenAi, Method::GET, "/v1/chat/completions", Err(Code::MethodNotAllowed)),
        (OpenAi, Method::POST, "/v1/models", Err(Code::MethodNotAllowed)),
    ] {
        assert_eq!(
            Endpoint::of(provider, &method, path).map_err(|r| r.code),
            expected,
            "{provider:?} {method} {path}"
        );
    }
}

#[test]
fn the_model_is_the_resource_and_must_be_registered() {
    let provider = provider();
    for (text, expected) in [
        (r#"{"model":"sim-small"}"#, "Model/platform/openai/sim-small false"),
        (r#"{"model":"sim-small","stream":true}"#, "Model/platform/openai/sim-small true"),
        (r#"{"model":"sim-large"}"#, "resource_unknown"),
        (r#"{"model":7}"#, "message_invalid"),
        (r#"{"messages":[]}"#, "message_invalid"),
        (r#"{"model":"sim-small","stream":"yes"}"#, "message_invalid"),
        (r#"[]"#, "message_invalid"),
    ] {
        let body = Json::parse(text.as_bytes()).expect("valid JSON");
        let asked = match ask(&provider, Endpoint::ChatCompletions, &body, 400) {
            Ok(ask) => {
                assert_eq!(ask.tokens_estimated, 100);
                format!("{} {}", ask.target.entity(), ask.streaming)
            }
            Err(refusal) => refusal.code.as_str().to_owned(),
        };
        assert_eq!(asked, expected, "{text}");
    }
}

#[test]
fn usage_is_asked_for_where_a_streaming_caller_did_not() {
    let (provider, own) = (provider(), Answer::Usage(Dialect::OpenAi));
    for (text, endpoint, expected) in [
        (r#"{"model":"sim-small"}"#, Endpoint::ChatCompletions, Ok(own)),
        (r#"{"model":"sim-small","stream":false,"stream_options":[]}"#, Endpoint::ChatCompletions, Ok(own)),
        (r#"{"model":"sim-small","stream":true}"#, Endpoint::ChatCompletions, Ok(Answer::AddedUsage)),
        (
            r#"{"model":"sim-small","stream":true,"stream_options":{"include_usage":false}}"#,
            Endpoint::ChatCompletions,
            Ok(Answer::AddedUsage),
        ),
        (
            r#"{"model":"sim-small","stream":true,"stream_options":{"include_usage":true}}"#,
            Endpoint::ChatCompletions,
            Ok(own),
        ),
        (
            r#"{"model":"sim-small","stream":true,"stream_options":[]}"#,
            Endpoint::ChatCompletions,
            Err(Code::MessageInvalid),
        ),
        (r#"{"model":"sim-small","stream":true}"#, Endpoint::Messages, Ok(Answer::Usage(Dialect::Anthropic))),
    ] {
        let body = Json::parse(text.as_bytes()).expect("valid JSON");
        let asked = ask(&provider, endpoint, &body, 400).map(|ask| ask.answer).map_err(|r| r.code);
        assert_eq!(asked, expected, "{text}");
    }
}

#[test]
fn a_path_that_is_not_served_is_told_what_is() {
    use ProviderType::{Anthropic, OpenAi, OpenAiCompatible};
    let paths = ["/v1/chat/completions", "/v1/messages", "/v1/messages/count_tokens", "/v1/models"];
    for provider in [OpenAi, OpenAiCompatible, Anthropic] {
        let message = Endpoint::of(provider, &Method::POST, "/chat/completions").unwrap_err().message;
        assert!(message.contains("does the base URL end in"), "{message}");
        for path in paths {
            let served = [Method::GET, Method::POST].iter().any(|m| Endpoint::of(provider, m, path).is_ok());
            let named = message.split([' ', ',', ';']).any(|word| word == path);
            assert_eq!(named, served, "{provider:?} {path}: {message}");
        }
    }
}
