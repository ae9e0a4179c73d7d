mod paths;

use std::sync::Arc;

use http::HeaderMap;

use super::*;
use crate::protocol::observe::Observe;
use crate::protocol::tests::{caller, provider, seal};
use crate::protocol::{Binding, EventChange};
use crate::seal::Holder;

const OPENAI: &dyn Binding = &OpenAi;
const ANTHROPIC: &dyn Binding = &Anthropic;
const GEMINI: &dyn Binding = &Gemini;
const AZURE: &dyn Binding = &Azure;
const BEDROCK: &dyn Binding = &Bedrock;

#[test]
fn only_governed_paths_of_the_providers_own_type_exist() {
    for (binding, method, path, expected) in [
        (OPENAI, Method::POST, "/v1/chat/completions", Ok(true)),
        (ANTHROPIC, Method::POST, "/v1/messages", Ok(true)),
        (ANTHROPIC, Method::POST, "/v1/messages/count_tokens", Ok(true)),
        (ANTHROPIC, Method::GET, "/v1/models", Ok(false)),
        (ANTHROPIC, Method::GET, "/v1/models/sim-small", Ok(false)),
        (OPENAI, Method::GET, "/v1/models/meta/llama3:8b", Ok(false)),
        (OPENAI, Method::GET, "/v1/models/", Err(Code::RouteUnknown)),
        (OPENAI, Method::DELETE, "/v1/models/sim-small", Err(Code::RouteUnknown)),
        (GEMINI, Method::GET, "/v1beta/models/sim-small", Ok(false)),
        (AZURE, Method::GET, "/openai/v1/models/sim-small", Ok(false)),
        (BEDROCK, Method::GET, "/v1/models/sim-small", Ok(false)),
        (OPENAI, Method::GET, "/v1/models", Ok(false)),
        (OPENAI, Method::POST, "/v1/responses", Ok(true)),
        (OPENAI, Method::POST, "/v1/embeddings", Ok(true)),
        (OPENAI, Method::POST, "/v1/completions", Ok(true)),
        (OPENAI, Method::GET, "/v1/responses/resp_1", Err(Code::RouteUnknown)),
        (GEMINI, Method::POST, "/v1beta/models/sim-small:generateContent", Ok(true)),
        (GEMINI, Method::POST, "/v1/models/sim.small_1:streamGenerateContent", Ok(true)),
        (GEMINI, Method::POST, "/v1beta/models/sim-small:countTokens", Ok(true)),
        (GEMINI, Method::POST, "/v1beta/models/sim-small:embedContent", Ok(true)),
        (GEMINI, Method::POST, "/v1/models/sim-small:batchEmbedContents", Ok(true)),
        (GEMINI, Method::GET, "/v1beta/models", Ok(false)),
        (GEMINI, Method::GET, "/v1/models", Ok(false)),
        (GEMINI, Method::GET, "/v1beta/models/sim-small:generateContent", Err(Code::MethodNotAllowed)),
        (GEMINI, Method::POST, "/v1/chat/completions", Err(Code::RouteUnknown)),
        // Attack: a path that somebody reads as another one.
        (GEMINI, Method::POST, "/v1beta/models/sim%2Dsmall:generateContent", Err(Code::RouteUnknown)),
        (GEMINI, Method::POST, "/v1beta/models/sim-small%3AgenerateContent", Err(Code::RouteUnknown)),
        (GEMINI, Method::POST, "/v1beta/models/sim-small:generateContent/", Err(Code::RouteUnknown)),
        (
            GEMINI,
            Method::POST,
            "/v1beta/models/sim-small:generateContent:countTokens",
            Err(Code::RouteUnknown),
        ),
        (GEMINI, Method::POST, "/v1beta/models/..:generateContent", Err(Code::RouteUnknown)),
        (GEMINI, Method::POST, "/v1beta/models/models/sim-small:generateContent", Err(Code::RouteUnknown)),
        (GEMINI, Method::POST, "/v1beta/models/:generateContent", Err(Code::RouteUnknown)),
        (GEMINI, Method::POST, "/v1beta/models/sim-small", Err(Code::RouteUnknown)),
        (GEMINI, Method::POST, "/v1beta/models/sim-small:batchGenerateContent", Err(Code::RouteUnknown)),
        (GEMINI, Method::POST, "/v1beta/tunedModels/sim-small:generateContent", Err(Code::RouteUnknown)),
        (GEMINI, Method::POST, "/v1alpha/models/sim-small:generateContent", Err(Code::RouteUnknown)),
        (AZURE, Method::POST, "/openai/v1/chat/completions", Ok(true)),
        (AZURE, Method::POST, "/openai/v1/responses", Ok(true)),
        (AZURE, Method::POST, "/openai/deployments/sim-small/chat/completions", Ok(true)),
        (AZURE, Method::POST, "/openai/deployments/sim-small/embeddings", Ok(true)),
        (AZURE, Method::POST, "/v1/responses", Ok(true)),
        (AZURE, Method::POST, "/v1/embeddings", Ok(true)),
        (AZURE, Method::POST, "/v1/completions", Ok(true)),
        (AZURE, Method::GET, "/v1/models", Ok(false)),
        (AZURE, Method::GET, "/openai/models", Ok(false)),
        (AZURE, Method::GET, "/openai/deployments/sim-small/embeddings", Err(Code::MethodNotAllowed)),
        (AZURE, Method::POST, "/openai/deployments/sim%2Dsmall/embeddings", Err(Code::RouteUnknown)),
        (AZURE, Method::POST, "/openai/deployments/a/b/embeddings", Err(Code::RouteUnknown)),
        (AZURE, Method::POST, "/openai/deployments/sim-small/images/generations", Err(Code::RouteUnknown)),
        (AZURE, Method::POST, "/v1/chat/completions", Err(Code::RouteUnknown)),
        (BEDROCK, Method::POST, "/model/sim-small/converse", Ok(true)),
        (BEDROCK, Method::POST, "/model/sim-small/converse-stream", Ok(true)),
        (BEDROCK, Method::GET, "/v1/models", Ok(false)),
        (BEDROCK, Method::POST, "/v1/chat/completions", Err(Code::RouteUnknown)),
        (OPENAI, Method::POST, "/v1/messages", Err(Code::RouteUnknown)),
        (ANTHROPIC, Method::POST, "/v1/chat/completions", Err(Code::RouteUnknown)),
        (OPENAI, Method::POST, "/v1/files", Err(Code::RouteUnknown)),
        (OPENAI, Method::POST, "", Err(Code::RouteUnknown)),
        (OPENAI, Method::GET, "/v1/chat/completions", Err(Code::MethodNotAllowed)),
        (OPENAI, Method::POST, "/v1/models", Err(Code::MethodNotAllowed)),
    ] {
        let operation = binding.operation(&method, path).map_err(|refusal| refusal.code);
        let wanted = expected.map(|has_body| Operation { has_body, path: path.into() });
        assert_eq!(operation, wanted, "{binding:?} {method} {path}");
    }
}

/// Who asks a provider for what only another API has is told whose that is, and what goes to any.
#[test]
fn what_is_of_another_api_alone_is_told_so() {
    for (binding, path, says) in [
        (ANTHROPIC, "/v1/responses", "\"/v1/responses\" is of OpenAI's own API alone"),
        (GEMINI, "/v1/embeddings", "is of OpenAI's own API alone"),
        (ANTHROPIC, "/v1/completions", "is of OpenAI's own API alone"),
        (OPENAI, "/v1/messages/count_tokens", "is of Anthropic's own API alone"),
        (ANTHROPIC, "/v1beta/models/m:countTokens", "is of Gemini's own API alone"),
        (OPENAI, "/model/vendor.x-v1%3A0/converse", "\"/converse\" is of Bedrock's own API alone"),
        (ANTHROPIC, "/model/vendor.x-v1%3A0/converse-stream", "is of Bedrock's own API alone"),
        // It has them, at another path.
        (BEDROCK, "/bedrock/model/x/converse", "does the base URL end in"),
        (OPENAI, "/v1/v1/responses", "does the base URL end in"),
        (AZURE, "/v1/v1/responses", "does the base URL end in"),
        (ANTHROPIC, "/v1/files", "clients of other APIs at /v1/chat/completions"),
    ] {
        let refusal = binding.operation(&Method::POST, path).expect_err("not served");
        assert!(refusal.message.contains(says), "{binding:?} {path}: {refusal}");
        let is_of_another = says.ends_with("alone");
        assert_eq!(refusal.next().contains("providers of every type"), is_of_another, "{refusal}");
    }
}

/// Google's client that asks for a model by a name that cannot stand in its path is told by which it can.
#[test]
fn who_needs_an_alias_is_told_so() {
    for (path, is_told) in
        [("/v1beta/models/llama3:8b:generateContent", true), ("/v1beta/models/llama3:other", false)]
    {
        let refusal = GEMINI.operation(&Method::POST, path).expect_err("not served");
        assert_eq!((refusal.code, refusal.next().contains("alias")), (Code::RouteUnknown, is_told), "{path}");
    }
}

/// `check` of what a body POSTed to a path asks.
fn asked<T>(
    binding: &dyn Binding,
    path: &str,
    body: &str,
    check: impl FnOnce(Parsed<'_>) -> T,
) -> Result<T, Code> {
    asked_of(provider(), binding, path, body, check)
}

/// The same of a provider.
fn asked_of<T>(
    provider: Arc<LlmProvider>,
    binding: &dyn Binding,
    path: &str,
    body: &str,
    check: impl FnOnce(Parsed<'_>) -> T,
) -> Result<T, Code> {
    let provider = Destination::Provider(provider);
    let json = Json::parse(body.as_bytes()).expect("valid JSON");
    let (method, headers, json) = (&Method::POST, &HeaderMap::new(), Some(&json));
    let (caller, seal) = (caller(), seal());
    let holder = &Holder::new(&seal, &provider, &caller);
    let message =
        Message { destination: &provider, method, path, headers, holder, json, bytes: 400, standing: None };
    binding.parse(&message).map(check).map_err(|refusal| refusal.code)
}

#[test]
fn what_an_answer_may_have_is_the_greatest_that_is_said() {
    for (more, most) in [
        ("", Ok("4096")),
        (r#","max_tokens":10"#, Ok("10")),
        (r#","max_tokens":1,"max_completion_tokens":900,"max_output_tokens":2,"n":3"#, Ok("2700")),
        (r#","max_tokens":-1,"n":0"#, Ok("4096")),
        (r#","max_tokens":"9","max_completion_tokens":null"#, Ok("4096")),
        (r#","max_tokens":9223372036854775807,"n":2"#, Ok("9223372036854775807")),
        // Also by the names of servers that resemble them, and of all that are made to choose among.
        (r#","max_tokens":1,"max_new_tokens":900"#, Ok("900")),
        (r#","max_tokens":10,"n":2,"best_of":5"#, Ok("50")),
        (r#","Max_Tokens":10"#, Err(Code::MessageInvalid)),
        (r#","maxNewTokens":10"#, Err(Code::MessageInvalid)),
        (r#","bestOf":10"#, Err(Code::MessageInvalid)),
    ] {
        let text = format!(r#"{{"model":"sim-small"{more}}}"#);
        let asked = asked(OPENAI, "/v1/chat/completions", &text, |parsed| parsed.ask.tokens_most.to_string());
        assert_eq!(asked, most.map(ToOwned::to_owned), "{more}");
    }
}

/// Attack: a prompt that no guard reads, and many prompts of which one alone is reserved for.
#[test]
fn the_prompt_of_a_completion_is_a_text_or_texts() {
    let undecided = Err(Code::MemberUndecided);
    for (more, expected) in [
        (r#""prompt":"x","max_tokens":7"#, Ok(7)),
        (r#""prompt":["x","y"],"max_tokens":7,"n":2"#, Ok(28)),
        (r#""prompt":null"#, Ok(4096)),
        (r#""prompt":[1,2]"#, undecided),
        (r#""prompt":[[1,2],[3]]"#, undecided),
        (r#""prompt":["x",[3]]"#, undecided),
        (r#""prompt_embeds":"AAAA""#, undecided),
        (r#""prompt":"x","prompt_token_ids":[1]"#, undecided),
        (r#""prompt":{"x":1}"#, Err(Code::MessageInvalid)),
        // Servers that pass over case take it for the prompt.
        (r#""Prompt":[1,2]"#, Err(Code::MessageInvalid)),
        (r#""PROMPT":["x","y"]"#, Err(Code::MessageInvalid)),
    ] {
        let text = format!(r#"{{"model":"sim-small",{more}}}"#);
        let most = asked(OPENAI, "/v1/completions", &text, |parsed| parsed.ask.tokens_most);
        assert_eq!(most, expected, "{more}");
    }
}

#[test]
fn the_model_is_the_resource_and_must_be_registered() {
    for (text, expected) in [
        (r#"{"model":"sim-small"}"#, Ok("Model/platform/openai/sim-small false 100")),
        (r#"{"model":"sim-small","stream":true}"#, Ok("Model/platform/openai/sim-small true 100")),
        (r#"{"model":"sim-large"}"#, Err(Code::ResourceUnknown)),
        (r#"{"model":7}"#, Err(Code::MessageInvalid)),
        (r#"{"messages":[]}"#, Err(Code::MessageInvalid)),
        (r#"{"model":"sim-small","stream":"yes"}"#, Err(Code::MessageInvalid)),
        (r#"[]"#, Err(Code::MessageInvalid)),
    ] {
        let asked = asked(OPENAI, "/v1/chat/completions", text, |parsed| {
            let ask = parsed.ask;
            format!("{} {} {}", ask.target.entity(), ask.streaming, ask.tokens_estimated)
        });
        assert_eq!(asked.as_deref(), expected.as_ref().map(|text| *text), "{text}");
    }
}

#[test]
fn usage_is_asked_for_where_a_streaming_caller_did_not() {
    let (chat, messages) = ("/v1/chat/completions", "/v1/messages");
    for (text, binding, path, adds) in [
        (r#"{"model":"sim-small"}"#, OPENAI, chat, Ok(false)),
        (r#"{"model":"sim-small","stream":false,"stream_options":[]}"#, OPENAI, chat, Ok(false)),
        (r#"{"model":"sim-small","stream":true}"#, OPENAI, chat, Ok(true)),
        (
            r#"{"model":"sim-small","stream":true,"stream_options":{"include_usage":false}}"#,
            OPENAI,
            chat,
            Ok(true),
        ),
        (
            r#"{"model":"sim-small","stream":true,"stream_options":{"include_usage":true}}"#,
            OPENAI,
            chat,
            Ok(false),
        ),
        (
            r#"{"model":"sim-small","stream":true,"stream_options":[]}"#,
            OPENAI,
            chat,
            Err(Code::MessageInvalid),
        ),
        (r#"{"model":"sim-small","stream":true}"#, ANTHROPIC, messages, Ok(false)),
    ] {
        let found = asked(binding, path, text, |parsed| {
            let Expected::Upstream(answer) = parsed.expected else { panic!("it goes upstream") };
            assert_eq!(answer.observe, Observe::Model);
            assert_eq!(parsed.amends, answer.events == Some(EventChange::WithoutUsage));
            parsed.amends
        });
        assert_eq!(found, adds, "{text}");
    }
}

#[test]
fn usage_is_asked_only_of_a_provider_that_is_known_to_take_the_question() {
    let chat = r#"{"model":"sim-small","stream":true}"#;
    for (takes, adds) in [(true, Ok(true)), (false, Ok(false))] {
        let provider = Arc::new(LlmProvider { stream_usage: takes, ..(*provider()).clone() });
        let found = asked_of(provider, OPENAI, "/v1/chat/completions", chat, |parsed| parsed.amends);
        assert_eq!(found, adds);
    }
    // What cannot be understood is refused, whether or not it matters.
    let provider = Arc::new(LlmProvider { stream_usage: false, ..(*provider()).clone() });
    let odd = r#"{"model":"sim-small","stream":true,"stream_options":[]}"#;
    assert_eq!(asked_of(provider, OPENAI, "/v1/chat/completions", odd, |_| ()), Err(Code::MessageInvalid));
}

#[test]
fn the_listing_of_models_is_about_the_provider_and_answered_here() {
    let provider = Destination::Provider(provider());
    let (method, headers) = (&Method::GET, &HeaderMap::new());
    let (caller, seal) = (caller(), seal());
    let holder = &Holder::new(&seal, &provider, &caller);
    let message = Message {
        destination: &provider,
        method,
        path: MODELS,
        headers,
        holder,
        json: None,
        bytes: 0,
        standing: None,
    };
    for binding in [OPENAI, ANTHROPIC, GEMINI] {
        let parsed = binding.parse(&message).expect("a listing");
        let asked = format!("{} {}", parsed.ask.action.as_str(), parsed.ask.target.entity());
        assert_eq!(asked, "listModels LLMProvider/platform/openai");
        assert_eq!((parsed.ask.method, parsed.expected), (MODELS_METHOD, Expected::Own));
    }
}

#[test]
fn a_path_that_is_not_served_is_told_what_is() {
    let paths = [
        "/v1/chat/completions",
        "/v1/completions",
        "/v1/responses",
        "/v1/embeddings",
        "/v1/messages",
        "/v1/messages/count_tokens",
        "/v1/models",
    ];
    for binding in [OPENAI, ANTHROPIC] {
        let message = binding.operation(&Method::POST, "/chat/completions").unwrap_err().message;
        assert!(message.contains("does the base URL end in"), "{message}");
        let (own, of_others) = message.split_once("and clients of other APIs at").expect("both");
        assert!(of_others.contains("/v1beta/models/{model}:generateContent"), "{message}");
        for path in paths {
            let served = [Method::GET, Method::POST].iter().any(|m| binding.operation(m, path).is_ok());
            let named = own.split([' ', ',', ';']).any(|word| word == path);
            assert_eq!(named, served, "{binding:?} {path}: {message}");
        }
    }
}

#[test]
fn sdks_are_told_not_to_repeat_what_may_have_been_carried_out() {
    for binding in [OPENAI, ANTHROPIC, GEMINI, AZURE, BEDROCK] {
        for (code, told) in [
            (Code::UpstreamInterrupted, true),
            (Code::GatewayStopping, true),
            (Code::UpstreamUnreachable, false),
            (Code::Overloaded, false),
        ] {
            let response = binding.refused(&Refusal::new(code, "x"), "call", None);
            let header = response.headers().get("x-should-retry");
            assert_eq!(header.is_some_and(|value| value == "false"), told, "{binding:?} {code:?}");
        }
    }
}

#[test]
fn nothing_is_named_to_run_beside_the_model() {
    const UNDECIDED: Option<Code> = Some(Code::MemberUndecided);
    const INVALID: Option<Code> = Some(Code::MessageInvalid);
    for (members, code) in [
        // What the APIs have.
        (
            r#""messages":[],"temperature":0.5,"tools":[{"type":"function","function":{"name":"f"}}],"tool_choice":"auto""#,
            None,
        ),
        (r#""functions":[{"name":"f"}],"function_call":"auto","user":"u","metadata":{"models":"x"}"#, None),
        (
            r#""models":null,"fallbacks":null,"service_tier":"auto","top_k":1,"container":{"type":"auto"}"#,
            None,
        ),
        // Other models, and who serves them.
        (r#""models":["sim-small","sim-large"]"#, UNDECIDED),
        (r#""Models":["sim-large"]"#, UNDECIDED),
        (r#""fallbacks":[{"model":"sim-large"}]"#, UNDECIDED),
        (r#""fallback_models":["sim-large"]"#, UNDECIDED),
        (r#""context_window_fallback_dict":{"sim-small":"sim-large"}"#, UNDECIDED),
        (r#""route":"fallback""#, UNDECIDED),
        (r#""provider":{"order":["other"]}"#, UNDECIDED),
        (r#""preset":"p""#, UNDECIDED),
        (r#""engine":"sim-large""#, UNDECIDED),
        (r#""deployment_id":"sim-large""#, UNDECIDED),
        (r#""model_id":"sim-large""#, UNDECIDED),
        // What holds any of them, and addresses.
        (r#""extra_body":{"models":["sim-large"]}"#, UNDECIDED),
        (r#""extraBody":{}"#, UNDECIDED),
        (r#""api_base":"http://elsewhere""#, UNDECIDED),
        (r#""base-url":"http://elsewhere""#, UNDECIDED),
        // Servers that the provider is to call.
        (r#""mcp_servers":[{"type":"url","url":"http://elsewhere"}]"#, UNDECIDED),
        (r#""tools":[{"type":"mcp","server_url":"http://elsewhere"}]"#, UNDECIDED),
        (r#""tools":[{"type":"mcp_toolset","mcp_server_name":"x"}]"#, UNDECIDED),
        (r#""container":{"skills":[{"skill_id":"x"}]}"#, UNDECIDED),
        (r#""container":"container_1""#, UNDECIDED),
        (r#""input":[{"content":[{"type":"input_file","file_id":"file-other"}]}]"#, UNDECIDED),
        (r#""plugins":[{"id":"web"}]"#, UNDECIDED),
        (r#""data_sources":[{"type":"azure_search"}]"#, UNDECIDED),
        // A second choice of tools.
        (r#""tools":[],"functions":[]"#, UNDECIDED),
        (r#""tool_choice":"none","function_call":"auto""#, UNDECIDED),
        (r#""tool_choice":"none","toolChoice":"auto""#, INVALID),
        (r#""functionCall":"auto""#, INVALID),
        (r#""streamOptions":{"include_usage":false}"#, INVALID),
        (r#""mo_del":"sim-large""#, INVALID),
    ] {
        for (binding, path) in [(OPENAI, "/v1/chat/completions"), (ANTHROPIC, "/v1/messages")] {
            let body = format!(r#"{{"model":"sim-small",{members}}}"#);
            assert_eq!(asked(binding, path, &body, |_| ()).err(), code, "{binding:?} {body}");
        }
    }
}
