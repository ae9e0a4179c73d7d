use serde_json::{Value, json};

use super::*;

/// What is found in a text that comes in chunks of `size` bytes.
fn skim(text: &[u8], size: usize) -> (Skimmed, bool) {
    let mut skimmer = Skimmer::default();
    text.chunks(size).for_each(|chunk| skimmer.push(chunk));
    skimmer.finish()
}

fn usage(input: Option<u64>, output: Option<u64>) -> Usage {
    Usage { input, output, ..Usage::default() }
}

#[test]
fn what_is_looked_for_is_found_however_the_text_is_cut() {
    let none = Usage::default();
    for (text, is_error, counted) in [
        (r#"{"jsonrpc":"2.0","id":1,"error":{"code":1,"message":""}}"#, true, none),
        (r#"{"jsonrpc":"2.0","id":1,"error":null,"result":{}}"#, false, none),
        (r#"{ "error" : "text" }"#, true, none),
        (r#"{"\u0065rror":{}}"#, true, none),
        (r#"{"jsonrpc":"2.0","id":1,"result":{"content":[],"isError":true}}"#, true, none),
        (r#"{"result":{"isError":false,"content":[{"isError":true}]}}"#, false, none),
        (r#"{"result":{"content":[{"text":"{\"error\":1}"}]}}"#, false, none),
        (r#"{"result":{"structuredContent":{"error":1,"isError":true}}}"#, false, none),
        (r#"{"result":"error","x":["error",{"error":1}]}"#, false, none),
        (r#"[{"error":1}]"#, true, none),
        (r#"[{"result":{}},{"result":{"isError":true}}]"#, true, none),
        (r#"[[{"error":1}],{"x":{"error":1}}]"#, false, none),
        (r#"{"type":"error","error":{"type":"overloaded_error"}}"#, true, none),
        (
            r#"{"usage":{"prompt_tokens":7,"completion_tokens":11,"total_tokens":18}}"#,
            false,
            usage(Some(7), Some(11)),
        ),
        (r#"{"usage":{"input_tokens":7,"output_tokens":11}}"#, false, usage(Some(7), Some(11))),
        (
            r#"{"usage":{"input_tokens":7,"prompt_tokens":7,"output_tokens":11,"completion_tokens":12}}"#,
            false,
            usage(Some(7), Some(12)),
        ),
        (
            r#"{"message":{"usage":{"input_tokens":7,"output_tokens":1}},"usage":{"output_tokens":11}}"#,
            false,
            usage(Some(7), Some(11)),
        ),
        // Anthropic's, which tells apart what it keeps.
        (
            r#"{"usage":{"input_tokens":7,"cache_read_input_tokens":100,"cache_creation_input_tokens":20,"cache_creation":{"ephemeral_5m_input_tokens":20},"output_tokens":11}}"#,
            false,
            usage(Some(127), Some(11)),
        ),
        (
            r#"{"type":"message_start","message":{"usage":{"input_tokens":7,"cache_read_input_tokens":100,"cache_creation_input_tokens":null,"output_tokens":1}}}"#,
            false,
            usage(Some(107), Some(1)),
        ),
        (r#"{"usage":{"input_tokens":null,"cache_read_input_tokens":100}}"#, false, none),
        // Of those that count all of a question it is some of that.
        (
            r#"{"usage":{"prompt_tokens":127,"completion_tokens":11,"cache_read_input_tokens":100,"cache_creation_input_tokens":20}}"#,
            false,
            usage(Some(127), Some(11)),
        ),
        (
            r#"{"usage":{"prompt_tokens":7,"input_tokens":7,"cache_read_input_tokens":100}}"#,
            false,
            usage(Some(107), None),
        ),
        // Gemini's: what it counts apart is some of neither.
        (
            r#"{"usageMetadata":{"promptTokenCount":7,"candidatesTokenCount":11,"totalTokenCount":18}}"#,
            false,
            usage(Some(7), Some(11)),
        ),
        (
            r#"{"usageMetadata":{"promptTokenCount":7,"cachedContentTokenCount":6,"toolUsePromptTokenCount":2,"candidatesTokenCount":11,"thoughtsTokenCount":30}}"#,
            false,
            usage(Some(9), Some(41)),
        ),
        (r#"{"usageMetadata":{"thoughtsTokenCount":30}}"#, false, usage(None, Some(30))),
        (
            r#"[{"usageMetadata":{"promptTokenCount":7}},{"usageMetadata":{"promptTokenCount":7,"candidatesTokenCount":3}}]"#,
            false,
            usage(Some(7), Some(3)),
        ),
        // An event of OpenAI's responses.
        (
            r#"{"type":"response.completed","response":{"error":null,"usage":{"input_tokens":7,"output_tokens":11}}}"#,
            false,
            usage(Some(7), Some(11)),
        ),
        (r#"{"type":"response.failed","response":{"error":{"code":"server_error"}}}"#, true, none),
        (r#"{"type":"error","code":"server_error","message":"x"}"#, true, none),
        (r#"{"usage":null,"message":"usage"}"#, false, none),
        (r#"{"usage":{"details":{"input_tokens":9},"input_tokens":7.5}}"#, false, none),
        (r#"{"choices":[{"usage":{"input_tokens":9}}]}"#, false, none),
        (r#"{"usage":{"x":[1,{"input_tokens":2}],"input_tokens":3}}"#, false, usage(Some(3), None)),
        ("\u{feff}{\"error\":1}", true, none),
        ("[DONE]", false, none),
        ("", false, none),
    ] {
        for size in 1..=text.len().max(1) {
            let (found, whole) = skim(text.as_bytes(), size);
            let Usage { input, output, .. } = found.usage;
            assert_eq!(
                (usage(input, output), found.is_error),
                (counted, is_error),
                "{text} in chunks of {size}"
            );
            assert!(whole, "{text} in chunks of {size}");
        }
    }
}

/// What of the tokens was kept by the provider, is kept from now on, and was thought.
#[test]
fn what_tokens_are_of_is_told_apart() {
    for (text, parts) in [
        (
            r#"{"usage":{"input_tokens":7,"cache_read_input_tokens":100,"cache_creation_input_tokens":20,"output_tokens":11}}"#,
            (Some(100), Some(20), None),
        ),
        (
            r#"{"usage":{"prompt_tokens":127,"prompt_tokens_details":{"cached_tokens":100,"audio_tokens":3},"completion_tokens_details":{"reasoning_tokens":9}}}"#,
            (Some(100), None, Some(9)),
        ),
        (
            r#"{"type":"response.completed","response":{"usage":{"input_tokens":127,"input_tokens_details":{"cached_tokens":100},"output_tokens_details":{"reasoning_tokens":9}}}}"#,
            (Some(100), None, Some(9)),
        ),
        (
            r#"{"usageMetadata":{"promptTokenCount":7,"cachedContentTokenCount":6,"candidatesTokenCount":11,"thoughtsTokenCount":30}}"#,
            (Some(6), None, Some(30)),
        ),
        (
            r#"{"usage":{"inputTokens":2,"cacheReadInputTokens":7,"cacheWriteInputTokens":3}}"#,
            (Some(7), Some(3), None),
        ),
        (r#"{"usage":{"prompt_tokens":9,"prompt_cache_hit_tokens":4}}"#, (Some(4), None, None)),
        // Nothing else of these objects counts, and nothing of others.
        (
            r#"{"usage":{"prompt_tokens_details":{"prompt_tokens":5}},"x":{"cached_tokens":1}}"#,
            (None, None, None),
        ),
        (
            r#"{"usage":{"x":{"cached_tokens":1}},"prompt_tokens_details":{"cached_tokens":1}}"#,
            (None, None, None),
        ),
    ] {
        for size in 1..=text.len() {
            let Usage { cached, cache_written, reasoning, .. } = skim(text.as_bytes(), size).0.usage;
            assert_eq!((cached, cache_written, reasoning), parts, "{text} in chunks of {size}");
        }
    }
}

#[test]
fn a_response_is_told_by_its_id_however_it_is_written() {
    let long = format!("\"{}\"", "x".repeat(MAX_WORD - 2));
    let too_long = format!("\"{}\"", "x".repeat(MAX_WORD));
    for (id, text, expected) in [
        ("1", r#"{"jsonrpc":"2.0","id":1,"result":{}}"#, true),
        ("1", r#"{ "result" : null , "id" : 1 }"#, true),
        ("1", r#"{"\u0069d":1,"r\u0065sult":{}}"#, true),
        ("1", r#"{"id":"1","result":{}}"#, false),
        ("\"1\"", r#"{"id":1,"result":{}}"#, false),
        ("\"1\"", r#"{"id":"1","result":{}}"#, true),
        ("\"a/\u{e9}\"", r#"{"id":"a\/\u00e9","result":{}}"#, true),
        ("\"a\\\"b\"", r#"{"id":"a\"b","result":{}}"#, true),
        ("1", r#"{"id":12,"result":{}}"#, false),
        ("1", r#"{"id":2,"result":{}}"#, false),
        ("1", r#"{"id":null,"result":{}}"#, false),
        ("1", r#"{"id":[1],"result":{}}"#, false),
        ("1", r#"{"id":1,"result":{},"id":2}"#, false),
        ("1", r#"{"id":1,"method":"ping"}"#, false),
        ("1", r#"{"id":1,"result":{},"method":"x"}"#, false),
        ("1", r#"{"id":1,"params":{"result":{}}}"#, false),
        ("1", r#"{"result":{"id":1}}"#, false),
        ("1", r#"[{"id":1,"result":{}}]"#, false),
        (&long, &format!("{{\"id\":{long},\"result\":0}}"), true),
        (&too_long, &format!("{{\"id\":{too_long},\"result\":0}}"), false),
    ] {
        for size in 1..=text.len().min(70) {
            let mut skimmer = Skimmer::of(Some(id.into()));
            text.as_bytes().chunks(size).for_each(|chunk| skimmer.push(chunk));
            assert_eq!(skimmer.finish().0.is_response, expected, "{id} {text} in chunks of {size}");
            // As new, and still for the same id.
            skimmer.push(format!("{{\"id\":{id},\"result\":1}}").as_bytes());
            assert_eq!(skimmer.finish().0.is_response, id.len() <= MAX_WORD, "{id}");
        }
    }
}

#[test]
fn a_models_answer_and_the_end_of_its_stream_are_told() {
    for (text, completion, ends) in [
        (r#"{"id":"x","choices":[{"index":0,"message":{},"finish_reason":"stop"}]}"#, true, true),
        (r#"{"choices":[{"delta":{"content":"x"},"finish_reason":null}]}"#, true, false),
        (r#"{"choices":[{"delta":{"finish_reason":"stop"}}]}"#, true, false),
        (r#"{"choices":[{"finish_reason":null},{"finish_reason":"length"}]}"#, true, true),
        (r#"{"choices":[{"delta":{"content":"x"},"finish_reason":""}]}"#, true, false),
        (r#"{"choices":[{"finish_reason":7},{"finish_reason":{}}]}"#, true, false),
        (r#"{"choices":null}"#, false, false),
        (r#"{"type":"message","content":[],"stop_reason":"end_turn"}"#, true, false),
        (r#"{"input_tokens":7}"#, true, false),
        (r#"{"type":"message_stop"}"#, false, true),
        (r#"{"type":"message_stopped"}"#, false, false),
        (r#"{"x":{"type":"message_stop","choices":[]}}"#, false, false),
        (r#"{"finish_reason":"stop"}"#, false, false),
        ("[DONE]", false, true),
        (" [ DONE ] ", false, true),
        (r#"["DONE"]"#, false, false),
        ("{}", false, false),
    ] {
        for size in 1..=text.len() {
            let (found, whole) = skim(text.as_bytes(), size);
            assert_eq!(
                (found.is_completion, found.ends_stream || found.choices.finished != 0, whole),
                (completion, ends, true),
                "{text} in chunks of {size}"
            );
        }
    }
}

#[test]
fn the_choices_of_a_stream_are_told_apart() {
    for (text, begun, finished) in [
        (r#"{"choices":[{"index":0,"delta":{"tool_calls":[{"index":3}]},"finish_reason":null}]}"#, 1, 0),
        (r#"{"choices":[{"finish_reason":"tool_calls","index":1}]}"#, 2, 2),
        (r#"{"choices":[{"index":1,"delta":{}},{"index":0,"finish_reason":"stop"}]}"#, 3, 1),
        (r#"{"choices":[{"delta":{}},{"finish_reason":"stop"}]}"#, 3, 2),
        (r#"{"choices":[{"index":500,"finish_reason":"stop"}]}"#, 1 << 127, 1 << 127),
        (r#"{"choices":[{"index":-1}]}"#, 1, 0),
        (r#"{"choices":[]}"#, 0, 0),
        (r#"{"choices":{"a":{"index":1,"finish_reason":"stop"}}}"#, 0, 0),
        (r#"{"x":{"choices":[{"index":1,"finish_reason":"stop"}]}}"#, 0, 0),
    ] {
        for size in 1..=text.len() {
            let found = skim(text.as_bytes(), size).0.choices;
            assert_eq!(found, Choices { begun, finished }, "{text} in chunks of {size}");
        }
    }
}

#[test]
fn an_error_is_of_the_request_that_it_names() {
    for (text, is_error, is_rpc_error) in [
        (r#"{"jsonrpc":"2.0","id":1,"error":{}}"#, true, true),
        (r#"{"error":{},"id":1,"jsonrpc":"2.0"}"#, true, true),
        (r#"{"jsonrpc":"2.0","id":2,"error":{}}"#, false, true),
        (r#"{"jsonrpc":"2.0","id":"1","error":{}}"#, false, true),
        (r#"{"jsonrpc":"2.0","id":{},"error":{}}"#, false, true),
        (r#"{"jsonrpc":"2.0","id":null,"error":{}}"#, true, true),
        (r#"{"jsonrpc":"2.0","error":{}}"#, true, true),
        (r#"{"jsonrpc":"2.0","error":"x"}"#, true, false),
        (r#"{"jsonrpc":"2.0","id":1,"result":{"isError":true}}"#, true, false),
        (r#"{"jsonrpc":"2.0","id":2,"result":{"isError":true}}"#, false, false),
        (r#"{"jsonrpc":"2.0","id":1,"error":{},"result":{"tools":[]}}"#, true, false),
        (r#"{"id":1,"result":{}}"#, false, false),
        (r#"[{"jsonrpc":"2.0","id":2,"error":{}}]"#, true, false),
        (r#"{"jsonrpc":"2.0","x":{"error":{}}}"#, false, false),
    ] {
        for size in 1..=text.len() {
            let mut skimmer = Skimmer::of(Some("1".into()));
            text.as_bytes().chunks(size).for_each(|chunk| skimmer.push(chunk));
            let found = skimmer.finish().0;
            assert_eq!(
                (found.is_error, found.is_rpc_error),
                (is_error, is_rpc_error),
                "{text} in chunks of {size}"
            );
        }
    }
}

#[test]
fn a_task_that_failed_is_told_in_both_versions() {
    for (text, expected) in [
        (r#"{"id":1,"result":{"kind":"task","status":{"state":"failed"}}}"#, true),
        (r#"{"id":1,"result":{"kind":"status-update","status":{"state":"rejected","x":1}}}"#, true),
        (r#"{"id":1,"result":{"task":{"id":"t","status":{"state":"TASK_STATE_FAILED"}}}}"#, true),
        (r#"{"id":1,"result":{"statusUpdate":{"status":{"state":"TASK_STATE_REJECTED"}}}}"#, true),
        (r#"{"id":2,"result":{"status":{"state":"failed"}}}"#, false),
        (r#"{"id":1,"result":{"status":{"state":"completed"}}}"#, false),
        (r#"{"id":1,"result":{"parts":{"status":{"state":"failed"}}}}"#, false),
        (r#"{"id":1,"result":{"status":{"message":{"state":"failed"}}}}"#, false),
        (r#"{"id":1,"result":{"status":"failed"}}"#, false),
    ] {
        for size in 1..=text.len() {
            let mut skimmer = Skimmer::of(Some("1".into()));
            text.as_bytes().chunks(size).for_each(|chunk| skimmer.push(chunk));
            assert_eq!(skimmer.finish().0.is_failed_task, expected, "{text} in chunks of {size}");
        }
    }
}

#[test]
fn what_is_not_one_whole_json_text_is_told() {
    for text in [
        "<html>",
        "null",
        "7",
        r#""x""#,
        "{",
        r#"{"a":"#,
        r#"{"a":"b"#,
        "}",
        "{}}",
        "{}{}",
        "[1",
        "{} x",
        "{},{}",
        r#"{"a":null{"b":1}}"#,
        "[1 2]",
        r#"["a""b"]"#,
        r#"{"id":1,"result":@@garbage@@}"#,
        "[DONE, x]",
        r#"{"a":DONE}"#,
    ] {
        for size in 1..=text.len() {
            assert!(!skim(text.as_bytes(), size).1, "{text} in chunks of {size}");
        }
    }
}

#[test]
fn a_long_text_is_read_to_its_end_and_not_held() {
    let text = json!({"data": "x\"\\\u{e9}".repeat(1_000_000), "x".repeat(5000): [0], "usage": {"prompt_tokens": 3}}).to_string();
    let mut skimmer = Skimmer::default();
    for chunk in text.as_bytes().chunks(4096) {
        skimmer.push(chunk);
        assert!(skimmer.word.capacity() <= 2 * MAX_WORD);
    }
    let (found, whole) = skimmer.finish();
    assert_eq!((found.usage, whole), (usage(Some(3), None), true));
}

/// The same, read by a parser.
fn parsed(value: &Value) -> Skimmed {
    let counted =
        |usage: &Value, names: [&str; 2]| names.iter().filter_map(|name| usage[*name].as_u64()).max();
    let of = |names| counted(&value["usage"], names).or(counted(&value["message"]["usage"], names));
    let is_other = !value["id"].is_null() && value["id"] != json!(7);
    let has_error = !value["error"].is_null() || value["type"] == "error";
    let is_error = !is_other && (has_error || value["result"]["isError"] == json!(true));
    let usage = Usage {
        input: of(["input_tokens", "prompt_tokens"]),
        output: of(["output_tokens", "completion_tokens"]),
        ..Usage::default()
    };
    let ends_choice = |choice: &Value| {
        choice.as_object().is_some_and(|it| {
            it.get("finish_reason").and_then(Value::as_str).is_some_and(|it| !it.is_empty())
        })
    };
    let mut choices = Choices::default();
    let given = value["choices"].as_array().into_iter().flatten();
    for (place, choice) in given.filter(|choice| choice.is_object() || choice.is_array()).enumerate() {
        choices.add(u32::try_from(place).expect("few"), ends_choice(choice));
    }
    Skimmed {
        usage,
        is_error,
        names_id: value["id"] == json!(7),
        is_response: value["id"] == json!(7) && value.get("result").is_some(),
        is_completion: ["choices", "content", "input_tokens"].iter().any(|name| !value[*name].is_null()),
        ends_stream: value["type"] == "message_stop",
        choices,
        is_rpc_error: false,
        is_failed_task: false,
    }
}

/// A value of members that are looked for and others, from a seed.
fn value(seed: &mut u64, depth: usize) -> Value {
    const NAMES: [&str; 12] = [
        "finish_reason",
        "message_stop",
        "error",
        "result",
        "isError",
        "usage",
        "message",
        "input_tokens",
        "prompt_tokens",
        "output_tokens",
        "completion_tokens",
        "\u{e9}\"\\\n",
    ];
    let mut next = |below: usize| {
        *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(*seed >> 33).expect("31 bits") % below
    };
    match next(if depth > 4 { 5 } else { 9 }) {
        0 => json!(null),
        1 => json!(next(2) == 0),
        2 => json!(next(100)),
        3 => json!(-1.5),
        4 => json!(NAMES[next(12)]),
        5 => {
            let length = next(4);
            (0..length).map(|_| value(seed, depth + 1)).collect()
        }
        _ => {
            let members: Vec<&str> = (0..next(5)).map(|_| NAMES[next(12)]).collect();
            Value::Object(members.into_iter().map(|name| (name.to_owned(), value(seed, depth + 1))).collect())
        }
    }
}

#[test]
fn it_finds_what_a_parser_finds() {
    let mut seed = 7;
    for number in 0..20_000_usize {
        let members = ["error", "result", "usage", "message", "id", "type", "content", "choices"];
        let mut object: serde_json::Map<_, _> =
            members.iter().take(number % 9).map(|name| ((*name).to_owned(), value(&mut seed, 1))).collect();
        if number % 3 == 0 {
            object.insert("id".to_owned(), json!(7));
        }
        let object = Value::Object(object);
        let text = if number % 2 == 0 { object.to_string() } else { format!("{object:#}") };
        let mut skimmer = Skimmer::of(Some("7".into()));
        text.as_bytes().chunks(1 + number % 13).for_each(|chunk| skimmer.push(chunk));
        let (found, whole) = skimmer.finish();
        assert_eq!((found, whole), (parsed(&object), true), "{text}");
    }
}
