//! Answers, as documents, streams and errors.

use super::super::lifted::{Translator, document};
use super::*;
use crate::protocol::observe::{Observation, Observe, Observer, Sought, Usage};
use crate::protocol::sse::{EventStream, TooLong};

const MODEL: Sought = Sought { observe: Observe::Model, id: None };

/// The same answer as each of them gives it.
fn reply(shape: Shape) -> Value {
    match shape {
        Shape::OpenAi => json!({
            "id": "r1", "object": "chat.completion", "created": 7, "model": "m",
            "choices": [{"index": 0, "message": {"role": "assistant", "content": "I look.", "refusal": null, "tool_calls": [
                {"id": "t1", "type": "function", "function": {"name": "weather", "arguments": "{\"city\":\"Bern\"}"}},
            ]}, "logprobs": null, "finish_reason": "tool_calls"}],
            "usage": {"prompt_tokens": 12, "completion_tokens": 5, "total_tokens": 17},
        }),
        Shape::Anthropic => json!({
            "id": "r1", "type": "message", "role": "assistant", "model": "m",
            "content": [
                {"type": "text", "text": "I look."},
                {"type": "tool_use", "id": "t1", "name": "weather", "input": {"city": "Bern"}},
            ],
            "stop_reason": "tool_use", "stop_sequence": null,
            "usage": {"input_tokens": 12, "output_tokens": 5},
        }),
        Shape::Gemini => json!({
            "candidates": [{"content": {"role": "model", "parts": [
                {"text": "I look."},
                {"functionCall": {"id": "t1", "name": "weather", "args": {"city": "Bern"}}},
            ]}, "index": 0, "finishReason": "STOP"}],
            "modelVersion": "m", "responseId": "r1",
            "usageMetadata": {"promptTokenCount": 12, "candidatesTokenCount": 5, "totalTokenCount": 17},
        }),
        Shape::Bedrock => json!({
            "output": {"message": {"role": "assistant", "content": [
                {"text": "I look."},
                {"toolUse": {"toolUseId": "t1", "name": "weather", "input": {"city": "Bern"}}},
            ]}},
            "stopReason": "tool_use", "metrics": {"latencyMs": 1},
            "usage": {"inputTokens": 12, "outputTokens": 5, "totalTokens": 17},
        }),
    }
}

fn pairs() -> impl Iterator<Item = (Shape, Shape)> {
    SHAPES.into_iter().flat_map(|client| PROVIDERS.map(|provider| (client, provider))).filter(|(a, b)| a != b)
}

#[test]
fn an_answer_is_the_same_in_every_api() {
    for (client, provider) in pairs() {
        let text = reply(provider).to_string();
        let lifted = document(text.as_bytes(), 200, &answered(client, provider));
        let lifted = lifted.expect("an answer").expect("changed");
        let read: Value = serde_json::from_slice(&lifted).expect("JSON");
        // Bedrock's answers have no id; what is made of one has that of the call.
        let id = if provider == Shape::Bedrock { "c-1" } else { "r1" };
        let expected = reply(client).to_string().replace("r1", id);
        let expected: Value = serde_json::from_str(&expected).expect("JSON");
        assert_eq!(read, expected, "{provider:?} to {client:?}");
        // And the record has of it what it would have of the provider's own.
        let found = Observation::of(&MODEL, &lifted);
        assert_eq!(found.usage, Usage { input: Some(12), output: Some(5), ..Usage::default() });
        assert!(found.answered && !found.is_error && !found.unread);
    }
}

/// Tokens that are told apart stay apart where there is a place for them, and are never fewer.
#[test]
fn usage_is_neither_lost_nor_made_up() {
    let of = |client, provider, body: Value| {
        let lifted = document(body.to_string().as_bytes(), 200, &answered(client, provider));
        let lifted = lifted.expect("an answer").expect("changed");
        (Observation::of(&MODEL, &lifted).usage, serde_json::from_slice::<Value>(&lifted).expect("JSON"))
    };
    let mut anthropic = reply(Shape::Anthropic);
    anthropic["usage"] = json!({"input_tokens": 2, "cache_read_input_tokens": 10, "output_tokens": 5});
    let (usage, body) = of(Shape::OpenAi, Shape::Anthropic, anthropic.clone());
    assert_eq!(usage, Usage { input: Some(12), output: Some(5), cached: Some(10), ..Usage::default() });
    assert_eq!(body["usage"]["prompt_tokens_details"]["cached_tokens"], 10);

    let mut gemini = reply(Shape::Gemini);
    gemini["usageMetadata"] =
        json!({"promptTokenCount": 12, "candidatesTokenCount": 5, "thoughtsTokenCount": 30});
    let (usage, body) = of(Shape::Anthropic, Shape::Gemini, gemini.clone());
    assert_eq!(usage, Usage { input: Some(12), output: Some(35), ..usage });
    assert_eq!(body["usage"]["output_tokens"], 35);
    let (_, body) = of(Shape::OpenAi, Shape::Gemini, gemini);
    assert_eq!(body["usage"]["completion_tokens_details"]["reasoning_tokens"], 30);

    let mut bedrock = reply(Shape::Bedrock);
    bedrock["usage"] =
        json!({"inputTokens": 2, "cacheReadInputTokens": 7, "cacheWriteInputTokens": 3, "outputTokens": 5});
    // The same, read as it comes.
    let native = Observation::of(&MODEL, bedrock.to_string().as_bytes());
    let (cached, cache_written) = (Some(7), Some(3));
    assert_eq!(
        native.usage,
        Usage { input: Some(12), output: Some(5), cached, cache_written, reasoning: None }
    );
    assert!(native.answered && !native.is_error && !native.unread);
    let (usage, body) = of(Shape::OpenAi, Shape::Bedrock, bedrock);
    assert_eq!(usage, Usage { input: Some(12), output: Some(5), cached, ..Usage::default() });
    assert_eq!(body["usage"]["prompt_tokens_details"]["cached_tokens"], 7);

    // Attack: a provider that says nothing. A 0 would be an answer that cost nothing.
    for (client, provider) in pairs() {
        let mut silent = reply(provider);
        let members = silent.as_object_mut().expect("an object");
        members.remove("usage");
        members.remove("usageMetadata");
        let (usage, _) = of(client, provider, silent);
        assert_eq!(usage, Usage::default(), "{provider:?} to {client:?}");
    }
}

#[test]
fn what_cannot_be_said_is_no_answer() {
    let with = |shape: Shape, at: &str, value: Value| {
        let mut changed = reply(shape);
        *changed.pointer_mut(at).expect("there") = value;
        changed
    };
    let (openai, anthropic, gemini) = (Shape::OpenAi, Shape::Anthropic, Shape::Gemini);
    let bedrock = Shape::Bedrock;
    for (provider, body) in [
        (openai, with(openai, "/choices", json!([]))),
        (openai, with(openai, "/choices/0/finish_reason", Value::Null)),
        (openai, with(openai, "/choices/0/message/content", json!([1]))),
        (openai, with(openai, "/choices/0/message/tool_calls/0/function/arguments", json!("[1]"))),
        (anthropic, with(anthropic, "/content/0/type", json!("server_tool_use"))),
        (anthropic, with(anthropic, "/stop_reason", Value::Null)),
        (anthropic, json!({"something": "else"})),
        (gemini, with(gemini, "/candidates", json!([]))),
        (gemini, with(gemini, "/candidates/0/content/parts/0", json!({"executableCode": {}}))),
        (
            gemini,
            with(
                gemini,
                "/candidates/0/content/parts/0",
                json!({"inlineData": {"mimeType": "image/png", "data": "AAAA"}, "thoughtSignature": "AAAA"}),
            ),
        ),
        (
            gemini,
            with(
                gemini,
                "/candidates/0/content/parts/1",
                json!({"functionCall": {"name": "f"}, "thoughtSignature": "no Base64!"}),
            ),
        ),
        (bedrock, with(bedrock, "/output/message/content/0", json!({"text": "a", "toolUse": {}}))),
        (bedrock, with(bedrock, "/output/message/content/0", json!({"reasoningContent": {}, "text": "a"}))),
        (bedrock, with(bedrock, "/output/message/content/0", json!({"text": 1}))),
        (bedrock, with(bedrock, "/output/message/content/1/toolUse/input", json!("{}"))),
        (bedrock, with(bedrock, "/stopReason", Value::Null)),
        (bedrock, json!({"something": "else"})),
    ] {
        for client in SHAPES.into_iter().filter(|client| *client != provider) {
            let lifted = document(body.to_string().as_bytes(), 200, &answered(client, provider));
            assert_eq!(lifted.map_err(|refusal| refusal.code), Err(Code::UpstreamInvalid), "{body}");
        }
    }
    let html = document(b"<html>", 200, &answered(openai, anthropic));
    assert_eq!(html.map_err(|refusal| refusal.code), Err(Code::UpstreamInvalid));
}

#[test]
fn errors_are_said_in_the_callers_api() {
    let errors = [
        json!({"error": {"message": "slow down", "type": "rate_limit_error", "param": null, "code": null}}),
        json!({"type": "error", "error": {"type": "rate_limit_error", "message": "slow down"}}),
        json!({"error": {"code": 429, "message": "slow down", "status": "RESOURCE_EXHAUSTED"}}),
        json!({"error": {"message": "slow down"}}),
    ];
    let of = |shape: Shape| match shape {
        Shape::OpenAi => &errors[0],
        Shape::Anthropic => &errors[1],
        Shape::Gemini => &errors[2],
        Shape::Bedrock => &errors[3],
    };
    for (client, provider) in pairs() {
        let lifted = document(of(provider).to_string().as_bytes(), 429, &answered(client, provider));
        let lifted = lifted.expect("read").expect("an error");
        let read: Value = serde_json::from_slice(&lifted).expect("JSON");
        assert_eq!(read, *of(client), "{provider:?} to {client:?}");
        assert!(Observation::of(&MODEL, &lifted).is_error);
        // What is no error of the provider's is judged as it came.
        for other in ["<html>", "{}", ""] {
            let lifted = document(other.as_bytes(), 502, &answered(client, provider));
            assert_eq!(lifted.expect("read"), None, "{other:?}");
        }
    }
}

#[test]
fn when_to_come_again_is_said_as_googles_clients_read_it() {
    let error = json!({"error": {"message": "slow down", "type": "rate_limit_error"}}).to_string();
    for (again, delay) in [(Some(7), json!("7s")), (None, Value::Null)] {
        let answered = Answered { again, ..answered(Shape::Gemini, Shape::OpenAi) };
        let lifted = document(error.as_bytes(), 429, &answered).expect("read").expect("an error");
        let read: Value = serde_json::from_slice(&lifted).expect("JSON");
        assert_eq!(read["error"]["details"][0]["retryDelay"], delay, "{read}");
    }
}

/// A stream of the same answer as each of them gives it.
fn stream(shape: Shape) -> String {
    let said = |events: &[Value]| events.iter().map(|event| format!("data: {event}\n\n")).collect::<String>();
    match shape {
        Shape::OpenAi => {
            let chunk = |choices: Value| json!({"id": "r1", "object": "chat.completion.chunk", "created": 7, "model": "m", "choices": choices});
            let delta = |delta: Value, reason: Value| {
                chunk(json!([{"index": 0, "delta": delta, "logprobs": null, "finish_reason": reason}]))
            };
            let mut last = chunk(json!([]));
            last["usage"] = json!({"prompt_tokens": 12, "completion_tokens": 5, "total_tokens": 17});
            let events = [
                delta(json!({"role": "assistant", "content": ""}), Value::Null),
                delta(json!({"content": "I "}), Value::Null),
                delta(json!({"content": "look."}), Value::Null),
                delta(
                    json!({"tool_calls": [{"index": 0, "id": "t1", "type": "function", "function": {"name": "weather", "arguments": ""}}]}),
                    Value::Null,
                ),
                delta(
                    json!({"tool_calls": [{"index": 0, "function": {"arguments": "{\"city\":\"Bern\"}"}}]}),
                    Value::Null,
                ),
                delta(json!({}), json!("tool_calls")),
                last,
            ];
            said(&events) + "data: [DONE]\n\n"
        }
        Shape::Anthropic => {
            let events = [
                json!({"type": "message_start", "message": {"id": "r1", "type": "message", "role": "assistant", "model": "m", "content": [],
                    "stop_reason": null, "stop_sequence": null, "usage": {"input_tokens": 12, "output_tokens": 1}}}),
                json!({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}),
                json!({"type": "ping"}),
                json!({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "I "}}),
                json!({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "look."}}),
                json!({"type": "content_block_stop", "index": 0}),
                json!({"type": "content_block_start", "index": 1, "content_block": {"type": "tool_use", "id": "t1", "name": "weather", "input": {}}}),
                json!({"type": "content_block_delta", "index": 1, "delta": {"type": "input_json_delta", "partial_json": "{\"city\":\"Bern\"}"}}),
                json!({"type": "content_block_stop", "index": 1}),
                json!({"type": "message_delta", "delta": {"stop_reason": "tool_use", "stop_sequence": null}, "usage": {"output_tokens": 5}}),
                json!({"type": "message_stop"}),
            ];
            events
                .iter()
                .map(|event| format!("event: {}\ndata: {event}\n\n", event["type"].as_str().expect("a type")))
                .collect()
        }
        Shape::Gemini => {
            let part = |part: Value| {
                json!({"candidates": [{"content": {"role": "model", "parts": [part]}, "index": 0}],
                "modelVersion": "m", "responseId": "r1", "usageMetadata": {"promptTokenCount": 12}})
            };
            let mut last =
                part(json!({"functionCall": {"id": "t1", "name": "weather", "args": {"city": "Bern"}}}));
            last["candidates"][0]["finishReason"] = json!("STOP");
            last["usageMetadata"] =
                json!({"promptTokenCount": 12, "candidatesTokenCount": 5, "totalTokenCount": 17});
            said(&[part(json!({"text": "I "})), part(json!({"text": "look."})), last])
        }
        Shape::Bedrock => said(&[
            json!({"role": "assistant", "p": "abc"}),
            json!({"contentBlockIndex": 0, "delta": {"text": "I "}, "p": "a"}),
            json!({"contentBlockIndex": 0, "delta": {"text": "look."}}),
            json!({"contentBlockIndex": 0}),
            json!({"contentBlockIndex": 1, "start": {"toolUse": {"toolUseId": "t1", "name": "weather"}}}),
            json!({"contentBlockIndex": 1, "delta": {"toolUse": {"input": "{\"city\":\"Bern\"}"}}}),
            json!({"contentBlockIndex": 1}),
            json!({"stopReason": "tool_use"}),
            json!({"usage": {"inputTokens": 12, "outputTokens": 5, "totalTokens": 17}, "metrics": {"latencyMs": 1}}),
        ]),
    }
}

fn lifted_stream(client: Shape, provider: Shape, text: &str, size: usize) -> Result<String, Code> {
    let filter = Box::new(Translator::new(answered(client, provider)));
    let mut events = EventStream::new(filter, 64 * 1024, TooLong::EndsStream);
    let mut out = Vec::new();
    for chunk in text.as_bytes().chunks(size) {
        out.extend(events.push(&Bytes::copy_from_slice(chunk)).map_err(|refusal| refusal.code)?);
    }
    out.extend(events.finish().map_err(|refusal| refusal.code)?);
    Ok(String::from_utf8(out).expect("UTF-8"))
}

/// What a client makes of a stream, by lifting it into a third API until it is a document again: text, call, stop and usage.
fn heard(shape: Shape, text: &str) -> Value {
    let events: Vec<Value> = text
        .lines()
        .filter_map(|line| line.strip_prefix("data: "))
        .filter_map(|data| serde_json::from_str(data).ok())
        .collect();
    let (mut said, mut call, mut arguments, mut stop) =
        (String::new(), Value::Null, String::new(), Value::Null);
    for event in &events {
        match shape {
            Shape::OpenAi => {
                let choice = &event["choices"][0];
                said += choice["delta"]["content"].as_str().unwrap_or_default();
                let of_tool = &choice["delta"]["tool_calls"][0];
                if of_tool["id"].is_string() {
                    call = json!([of_tool["id"], of_tool["function"]["name"]]);
                }
                arguments += of_tool["function"]["arguments"].as_str().unwrap_or_default();
                if choice["finish_reason"].is_string() {
                    stop = choice["finish_reason"].clone();
                }
            }
            Shape::Anthropic => {
                said += event["delta"]["text"].as_str().unwrap_or_default();
                arguments += event["delta"]["partial_json"].as_str().unwrap_or_default();
                if event["content_block"]["type"] == "tool_use" {
                    call = json!([event["content_block"]["id"], event["content_block"]["name"]]);
                }
                if event["delta"]["stop_reason"].is_string() {
                    stop = event["delta"]["stop_reason"].clone();
                }
            }
            Shape::Gemini => {
                let candidate = &event["candidates"][0];
                for part in candidate["content"]["parts"].as_array().into_iter().flatten() {
                    said += part["text"].as_str().unwrap_or_default();
                    if let Some(function) = part.get("functionCall") {
                        call = json!([function["id"], function["name"]]);
                        arguments = function["args"].to_string();
                    }
                }
                if candidate["finishReason"].is_string() {
                    stop = candidate["finishReason"].clone();
                }
            }
            Shape::Bedrock => panic!("nobody asks so"),
        }
    }
    json!([said, call, arguments, stop])
}

#[test]
fn a_stream_is_the_same_in_every_api_however_it_is_cut() {
    for (client, provider) in pairs() {
        let text = stream(provider);
        let whole = lifted_stream(client, provider, &text, usize::MAX).expect("a stream");
        for size in [1, 2, 7, 64, 300] {
            assert_eq!(lifted_stream(client, provider, &text, size).as_ref(), Ok(&whole));
        }
        let stop = match client {
            Shape::OpenAi => "tool_calls",
            Shape::Anthropic => "tool_use",
            Shape::Gemini => "STOP",
            Shape::Bedrock => panic!("nobody asks so"),
        };
        let expected = json!(["I look.", ["t1", "weather"], "{\"city\":\"Bern\"}", stop]);
        assert_eq!(heard(client, &whole), expected, "{provider:?} to {client:?}: {whole}");
        let mut observer = Observer::events(MODEL);
        observer.push(whole.as_bytes());
        let found = observer.finish();
        assert_eq!(
            found.usage,
            Usage { input: Some(12), output: Some(5), ..Usage::default() },
            "{provider:?} to {client:?}: {whole}"
        );
        assert!(found.answered && !found.is_error && !found.unread, "{provider:?} to {client:?}: {whole}");
    }
}

/// Attack: a stream that breaks off, and looks whole in another API.
#[test]
fn what_was_cut_has_no_end() {
    for (client, provider) in pairs() {
        let text = stream(provider);
        let ends: Vec<usize> = text.match_indices("\n\n").map(|(at, _)| at + 2).collect();
        // Behind the last but two nothing is missing but usage, or the word that it is the end.
        for end in &ends[..ends.len() - 3] {
            let cut = text.get(..*end).expect("an event ends there");
            let Ok(cut) = lifted_stream(client, provider, cut, usize::MAX) else { continue };
            let mut observer = Observer::events(MODEL);
            observer.push(cut.as_bytes());
            assert!(!observer.finish().answered, "{provider:?} to {client:?}: {cut}");
        }
    }
}

#[test]
fn a_stream_that_ends_by_an_error_says_so() {
    for (client, provider) in pairs() {
        let error = match provider {
            Shape::OpenAi => json!({"error": {"message": "no", "type": "server_error"}}),
            Shape::Anthropic => {
                json!({"type": "error", "error": {"type": "overloaded_error", "message": "no"}})
            }
            Shape::Gemini => json!({"error": {"code": 503, "message": "no", "status": "UNAVAILABLE"}}),
            Shape::Bedrock => json!({"error": {"message": "no"}}),
        };
        let text = format!("data: {error}\n\n{}", stream(provider));
        let lifted = lifted_stream(client, provider, &text, usize::MAX).expect("a stream");
        let mut observer = Observer::events(MODEL);
        observer.push(lifted.as_bytes());
        let found = observer.finish();
        assert!(found.is_error && !found.answered, "{provider:?} to {client:?}: {lifted}");
        // What comes behind it is no part of the answer.
        assert!(!lifted.contains("look"), "{lifted}");
    }
}

/// An exception of Bedrock's is of what it would be of without a stream: only its name says that.
#[test]
fn an_exception_in_a_stream_is_known_by_its_name() {
    for (name, kind) in [
        ("throttlingException", "rate_limit_error"),
        ("validationException", "invalid_request_error"),
        ("serviceUnavailableException", "overloaded_error"),
        ("modelStreamErrorException", "api_error"),
    ] {
        let text = format!("event: {name}\ndata: {{\"error\":{{\"message\":\"no\"}}}}\n\n");
        let lifted = lifted_stream(Shape::Anthropic, Shape::Bedrock, &text, usize::MAX).expect("a stream");
        assert!(lifted.contains(&format!(r#""type":"{kind}""#)), "{lifted}");
    }
}

/// Attacks: events that are no JSON, out of their order, of kinds that nobody asked for, tool calls that are mixed, one that is too long.
#[test]
fn events_that_cannot_be_said_end_the_stream() {
    let begin = r#"{"id":"r1","choices":[{"index":0,"delta":{"content":"x"}}]}"#;
    let of_bedrock = |events: &[Value]| -> String {
        let start = json!({"role": "assistant"});
        [&start].into_iter().chain(events).map(|event| format!("data: {event}\n\n")).collect()
    };
    let call = |index: u8| {
        format!(
            r#"{{"choices":[{{"index":0,"delta":{{"tool_calls":[{{"index":{index},"id":"t","function":{{"name":"f","arguments":""}}}}]}}}}]}}"#
        )
    };
    for (provider, text) in [
        (Shape::OpenAi, "data: nothing\n\n".to_owned()),
        (Shape::OpenAi, format!("data: {begin}\n\ndata: {}\n\ndata: {}\n\n", call(1), call(0))),
        (Shape::OpenAi, r#"data: {"choices":[{"index":1,"delta":{"content":"x"}}]}"#.to_owned() + "\n\n"),
        (
            Shape::Anthropic,
            r#"data: {"type":"content_block_delta","delta":{"type":"text_delta","text":"x"}}"#.to_owned()
                + "\n\n",
        ),
        (
            Shape::Anthropic,
            r#"data: {"type":"content_block_start","content_block":{"type":"server_tool_use"}}"#.to_owned()
                + "\n\n",
        ),
        (Shape::Gemini, r#"data: {"candidates":[{},{}]}"#.to_owned() + "\n\n"),
        (Shape::Gemini, format!("data: {{\"x\":\"{}\"", "x".repeat(70_000))),
        (Shape::Bedrock, r#"data: {"contentBlockIndex":0,"delta":{"text":"x"}}"#.to_owned() + "\n\n"),
        (
            Shape::Bedrock,
            of_bedrock(&[
                json!({"contentBlockIndex": 0, "delta": {"reasoningContent": {"text": "x"}}}),
                json!({"contentBlockIndex": 0, "delta": {"text": "x"}}),
            ]),
        ),
        (
            Shape::Bedrock,
            of_bedrock(&[
                json!({"contentBlockIndex": 0, "delta": {"reasoningContent": {"text": "x"}, "text": "y"}}),
            ]),
        ),
        (
            Shape::Bedrock,
            of_bedrock(&[json!({"contentBlockIndex": 0, "delta": {"toolUse": {"input": "{}"}}})]),
        ),
        (
            Shape::Bedrock,
            of_bedrock(&[
                json!({"contentBlockIndex": 0, "delta": {"text": "x"}}),
                json!({"contentBlockIndex": 1, "delta": {"text": "y"}}),
            ]),
        ),
        (
            Shape::Bedrock,
            of_bedrock(&[
                json!({"contentBlockIndex": 0, "start": {"toolUse": {"toolUseId": "a", "name": "f"}}}),
                json!({"contentBlockIndex": 0, "delta": {"text": "x"}}),
            ]),
        ),
        (Shape::Bedrock, of_bedrock(&[json!({"somethingNew": {}})])),
    ] {
        for client in SHAPES.into_iter().filter(|client| *client != provider) {
            let lifted = lifted_stream(client, provider, &text, usize::MAX);
            assert_eq!(lifted, Err(Code::UpstreamInvalid), "{provider:?} to {client:?}: {text:.80}");
        }
    }
}

/// Some servers write an empty reason until there is one, which is none.
#[test]
fn an_empty_reason_to_stop_is_none() {
    let chunk = |text: &str, reason: &str| {
        let choice = json!({"index": 0, "delta": {"content": text}, "finish_reason": reason});
        format!("data: {}\n\n", json!({"id": "r", "choices": [choice]}))
    };
    let whole = chunk("a", "") + &chunk("b", "stop") + "data: [DONE]\n\n";
    let lifted = lifted_stream(Shape::Anthropic, Shape::OpenAi, &whole, usize::MAX).expect("a stream");
    assert!(lifted.contains("end_turn") && lifted.contains("message_stop"), "{lifted}");
    let cut = chunk("a", "") + "data: [DONE]\n\n";
    let lifted = lifted_stream(Shape::Anthropic, Shape::OpenAi, &cut, usize::MAX).unwrap_or_default();
    assert!(!lifted.contains("message_stop"), "{lifted}");
}

/// Attack: calls of tools that are mixed, and texts and arguments in another form, of which something would be lost.
#[test]
fn nothing_of_a_stream_is_lost_or_mixed() {
    let chunk =
        |delta: Value| format!("data: {}\n\n", json!({"id": "r", "choices": [{"index": 0, "delta": delta}]}));
    let call = |index: Value, id: &str, name: &str, arguments: Value| {
        chunk(
            json!({"tool_calls": [{"index": index, "id": id, "function": {"name": name, "arguments": arguments}}]}),
        )
    };
    let stop = "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"tool_calls\"}]}\n\ndata: [DONE]\n\n";
    // Each of two calls has its own arguments, also where both say index 0, or none.
    for index in [json!(0), Value::Null] {
        let both = call(index.clone(), "a", "see", json!("{}"))
            + &call(index, "b", "pay", json!("{\"x\":1}"))
            + stop;
        let text = lifted_stream(Shape::Gemini, Shape::OpenAi, &both, usize::MAX).expect("a stream");
        let calls: Vec<Value> = text
            .lines()
            .filter_map(|line| serde_json::from_str::<Value>(line.strip_prefix("data: ")?).ok())
            .filter_map(|event| event.pointer("/candidates/0/content/parts/0/functionCall").cloned())
            .collect();
        let of = |id: &str, name: &str, args: Value| json!({"id": id, "name": name, "args": args});
        assert_eq!(calls, [of("a", "see", json!({})), of("b", "pay", json!({"x": 1}))], "{text}");
    }
    let begin = call(json!(0), "a", "see", json!(""));
    let anthropic = |events: &[Value]| -> String {
        let start = json!({"type": "message_start", "message": {"id": "r"}});
        [&start].into_iter().chain(events).map(|event| format!("data: {event}\n\n")).collect()
    };
    let block = |index: u8, id: &str, input: Value| json!({"type": "content_block_start", "index": index, "content_block": {"type": "tool_use", "id": id, "name": "pay", "input": input}});
    let more = |index: u8| json!({"type": "content_block_delta", "index": index, "delta": {"type": "input_json_delta", "partial_json": "{}"}});
    for (provider, text) in [
        (Shape::OpenAi, chunk(json!({"content": [{"type": "text", "text": "x"}]}))),
        (Shape::OpenAi, call(json!(0), "a", "see", json!({"x": 1}))),
        (Shape::OpenAi, begin.clone() + &call(json!(0), "", "pay", json!("{}"))),
        (
            Shape::OpenAi,
            begin.clone() + &call(json!(0), "b", "pay", json!("")) + &call(json!(0), "a", "see", json!("{}")),
        ),
        (Shape::Anthropic, anthropic(&[block(0, "a", json!({"x": 1})), more(0)])),
        (Shape::Anthropic, anthropic(&[block(0, "a", json!({})), block(1, "b", json!({})), more(0)])),
        (Shape::Anthropic, anthropic(&[block(0, "a", json!("x"))])),
        (Shape::Anthropic, anthropic(&[more(0)])),
    ] {
        for client in SHAPES.into_iter().filter(|client| *client != provider) {
            let lifted = lifted_stream(client, provider, &text, usize::MAX);
            assert_eq!(lifted, Err(Code::UpstreamInvalid), "{provider:?} to {client:?}: {text}");
        }
    }
    let at_once =
        anthropic(&[block(0, "a", json!({"x": 1})), json!({"type": "content_block_stop", "index": 0})]);
    let text = lifted_stream(Shape::OpenAi, Shape::Anthropic, &at_once, usize::MAX).expect("a stream");
    assert_eq!(heard(Shape::OpenAi, &text)[2], "{\"x\":1}", "{text}");
}

/// The words by which a provider shows that it is alive go on, and say nothing else.
#[test]
fn that_it_is_alive_goes_on() {
    let lifted = lifted_stream(Shape::OpenAi, Shape::Anthropic, ": waits\n\n", usize::MAX);
    assert_eq!(lifted.as_deref(), Ok(":\n\n"));
    // Google's SDK breaks off at a comment.
    let lifted = lifted_stream(Shape::Gemini, Shape::Anthropic, ": waits\n\n", usize::MAX);
    assert_eq!(lifted.as_deref(), Ok(""));
}
