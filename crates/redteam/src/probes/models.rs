//! Models: other models than the one that was decided, keys, streams.

use super::{anthropic, openai};
use crate::estate::KEY;
use crate::expect::Expect;
use crate::probe::{Message, Probe, Protocol};
use crate::reply::Reply;

/// Bodies to the OpenAI route. `small` is permitted.
const BODIES: &[(&str, &str, &str)] = &[
    ("unknown", "a model that is not registered", r#"{"model":"other","messages":[]}"#),
    ("not-permitted", "a model that is not permitted", r#"{"model":"large","messages":[]}"#),
    ("twice", "two models", r#"{"model":"small","model":"large","messages":[]}"#),
    ("twice-case", "a model in another case", r#"{"model":"small","Model":"large","messages":[]}"#),
    (
        "twice-escaped",
        "two spellings of one member",
        r#"{"model":"small","m\u006fdel":"large","messages":[]}"#,
    ),
    ("list", "a list of models", r#"{"model":["small","large"],"messages":[]}"#),
    ("absent", "no model", r#"{"messages":[]}"#),
    ("space", "a model with a space more", r#"{"model":"small ","messages":[]}"#),
    ("path", "a model that is a path", r#"{"model":"small/../large","messages":[]}"#),
    (
        "fallbacks",
        "a list of others to fall back to (LiteLLM)",
        r#"{"model":"small","fallbacks":["large"],"messages":[]}"#,
    ),
    (
        "models",
        "a list of others to fall back to (OpenRouter)",
        r#"{"model":"small","models":["large"],"route":"fallback","messages":[]}"#,
    ),
    (
        "fallback-model",
        "another to fall back to",
        r#"{"model":"small","fallback_models":["large"],"messages":[]}"#,
    ),
    (
        "advisor",
        "a tool that is another model (Anthropic)",
        r#"{"model":"small","tools":[{"type":"advisor_20260301","name":"advisor","model":"large"}],"messages":[]}"#,
    ),
    (
        "advisor-parameters",
        "a tool whose parameters name another model (OpenRouter)",
        r#"{"model":"small","tools":[{"type":"openrouter:advisor","parameters":{"model":"large"}}],"messages":[]}"#,
    ),
    (
        "window-fallbacks",
        "others to fall back to when it is too long (LiteLLM)",
        r#"{"model":"small","context_window_fallbacks":[{"small":["large"]}],"messages":[]}"#,
    ),
    ("safety-model", "a model for safety", r#"{"model":"small","safety_model":"large","messages":[]}"#),
    (
        "user-config",
        "a router of the caller's own",
        r#"{"model":"small","user_config":{"model_list":[{"model_name":"large"}]},"messages":[]}"#,
    ),
    (
        "tools-object",
        "tools that are no list",
        r#"{"model":"small","tools":{"0":{"type":"mcp","server_url":"http://evil"}},"messages":[]}"#,
    ),
    (
        "tool-server-deep",
        "a server within a tool",
        r#"{"model":"small","tools":[{"type":"mcp","mcp":{"server_url":"http://evil"}}],"messages":[]}"#,
    ),
    ("array", "a list as a body", r#"[{"model":"small"}]"#),
    ("stream-text", "a stream that is text", r#"{"model":"small","stream":"true","messages":[]}"#),
    (
        "stream-options-list",
        "options that are a list",
        r#"{"model":"small","stream":true,"stream_options":[],"messages":[]}"#,
    ),
    (
        "usage-number",
        "a count that is asked for by a number",
        r#"{"model":"small","stream":true,"stream_options":{"include_usage":1},"messages":[]}"#,
    ),
];

const USAGE: &str =
    "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":7,\"completion_tokens\":11}}\n\ndata: [DONE]\n\n";

/// All of this area.
pub(super) fn probes() -> Vec<Probe> {
    let row = |name: &str, tries: &str, message: Message| {
        Probe::new(format!("models/{name}"), tries, Protocol::Llm, message)
    };
    let chat = || openai(r#"{"model":"small","messages":[]}"#);
    let mut probes: Vec<Probe> =
        BODIES.iter().map(|(name, tries, body)| row(name, tries, openai(body))).collect();
    let keyed = |name: &str, tries: &str, message: Message| {
        row(name, tries, message).expect(Expect::passed().with(&[KEY]).hides(&[KEY]))
    };
    // Refused, or allowed and then without a key: on record are two things, or one.
    let stolen = |name: &str, tries: &str, message: Message| {
        row(name, tries, message).expect(Expect::refused(&[]).unrecorded())
    };
    let echo = Reply::json_with(
        &format!("x-api-key: {KEY}\r\nauthorization: Bearer {KEY}\r\n"),
        r#"{"choices":[]}"#,
    );
    probes.extend([
        keyed("key", "the provider's key is seen", chat()),
        keyed(
            "key-anthropic",
            "the provider's key is seen",
            anthropic(r#"{"model":"small","max_tokens":1,"messages":[]}"#),
        ),
        keyed("key-echoed", "a provider that echoes its key in fields", chat()).reply(echo),
        keyed(
            "key-of-caller",
            "a key of the caller's own goes up",
            chat().with("api-key", "evil").with("x-goog-api-key", "evil"),
        ),
        row("nobody", "an agent that is permitted nothing", chat().by("nobody")),
        stolen(
            "thief",
            "a provider whose key is the ledger's",
            chat().at("/llm/r/thief/v1/chat/completions"),
        ),
        stolen(
            "thief-of-tokens",
            "a key by another spelling of its path",
            chat().at("/llm/r/thief-of-tokens/v1/chat/completions"),
        ),
        stolen("thief-by-link", "a key by a link", chat().at("/llm/r/thief-by-link/v1/chat/completions")),
        stolen(
            "thief-of-passwords",
            "a file of the system",
            chat().at("/llm/r/thief-of-passwords/v1/chat/completions"),
        ),
        row(
            "stream-usage",
            "tokens of a stream that nobody counts",
            openai(r#"{"model":"small","stream":true,"messages":[]}"#),
        )
        .reply(Reply::events(USAGE))
        .expect(Expect::ended(&["ok"])),
        row(
            "stream-error",
            "an error inside a stream that is taken for success",
            openai(r#"{"model":"small","stream":true,"messages":[]}"#),
        )
        .reply(Reply::events("data: {\"error\":{\"message\":\"x\"}}\n\n"))
        .expect(Expect::ended(&["error"])),
    ]);
    probes.extend(in_other_apis());
    probes
}

/// Models that are asked in another API than their provider's.
fn in_other_apis() -> [Probe; 4] {
    let row = |name: &str, tries: &str, message: Message| {
        Probe::new(format!("models/{name}"), tries, Protocol::Llm, message)
    };
    [
        row(
            "other-api-not-permitted",
            "a model that is not permitted, in another API than its provider's",
            openai(r#"{"model":"large","max_tokens":1,"messages":[{"role":"user","content":"x"}]}"#)
                .at("/llm/r/openai/v1/messages"),
        ),
        row(
            "other-api-twice",
            "two models, in another API than their provider's",
            openai(r#"{"model":"small","model":"large","max_tokens":1,"messages":[{"role":"user","content":"x"}]}"#)
                .at("/llm/r/openai/v1/messages"),
        ),
        row(
            "other-api-no-equivalent",
            "what the provider would do by itself is lost on the way to its API",
            openai(r#"{"model":"small","messages":[{"role":"user","content":"x"}],"logit_bias":{"1":1}}"#)
                .at("/llm/r/anthropic/v1/chat/completions"),
        )
        .expect(Expect::refused(&["no_equivalent"]).unrecorded()),
        row(
            "other-api-gemini",
            "a model in the path, another in the body",
            openai(r#"{"model":"large","contents":[{"role":"user","parts":[{"text":"x"}]}]}"#)
                .at("/llm/r/openai/v1beta/models/small:generateContent"),
        ),
    ]
}
