//! What each API says in another place or in other words: the form of an answer, how much to think, strict tools, hints, signatures of thoughts.

use super::super::lifted::document;
use super::*;

const SCHEMA: &str =
    r#"{"type":"object","properties":{"a":{"type":"string"}},"required":["a"],"additionalProperties":false}"#;

fn schema() -> Value {
    serde_json::from_str(SCHEMA).expect("JSON")
}

fn request(client: Shape, more: &Value) -> Value {
    let mut request = match client {
        Shape::OpenAi => json!({"messages": [{"role": "user", "content": "hi"}]}),
        Shape::Anthropic => json!({"max_tokens": 5, "messages": [{"role": "user", "content": "hi"}]}),
        Shape::Gemini => json!({"contents": [{"role": "user", "parts": [{"text": "hi"}]}]}),
        Shape::Bedrock => panic!("nobody asks so"),
    };
    request.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
    request
}

/// Of each: who asks, who answers, what is asked, where it stands in what goes on, and as what.
fn check(cases: Vec<(Shape, Shape, Value, &str, Value)>) {
    for (client, to, more, member, expected) in cases {
        let (_, body) = gone(client, &provider_of(to), &request(client, &more)).expect("it goes on");
        let found = body.pointer(member).cloned().unwrap_or_default();
        assert_eq!(found, expected, "{client:?} to {to:?} {member}: {more}");
    }
}

#[test]
fn the_form_of_an_answer_is_asked_for_everywhere() {
    let (openai, anthropic, gemini, bedrock) =
        (Shape::OpenAi, Shape::Anthropic, Shape::Gemini, Shape::Bedrock);
    let described = json!({"response_format": {"type": "json_schema", "json_schema": {"name": "place", "description": "d", "schema": schema(), "strict": true}}});
    let annotated = with(schema(), [("title", Some("place".into())), ("description", Some("d".into()))]);
    let of_anthropic = json!({"output_config": {"format": {"type": "json_schema", "schema": schema()}}});
    let of_gemini = |schema: Value| json!({"generationConfig": {"responseMimeType": "application/json", "responseSchema": schema}});
    let open = json!({"type": "OBJECT", "properties": {"a": {"type": "STRING"}}, "propertyOrdering": ["a"]});
    let read = json!({"type": "object", "properties": {"a": {"type": "string"}}});
    let closed = with(read.clone(), [("additionalProperties", Some(false.into()))]);
    check(vec![
        (openai, anthropic, described.clone(), "/output_config/format/schema", annotated.clone()),
        (openai, anthropic, described.clone(), "/output_config/format/type", json!("json_schema")),
        (openai, gemini, described.clone(), "/generationConfig/responseJsonSchema", annotated.clone()),
        (openai, gemini, described.clone(), "/generationConfig/responseMimeType", json!("application/json")),
        (
            openai,
            bedrock,
            described.clone(),
            "/outputConfig/textFormat/structure/jsonSchema",
            json!({"name": "place", "schema": annotated.to_string()}),
        ),
        (
            openai,
            gemini,
            json!({"response_format": {"type": "json_object"}}),
            "/generationConfig/responseMimeType",
            json!("application/json"),
        ),
        (
            anthropic,
            openai,
            of_anthropic.clone(),
            "/response_format",
            json!({"type": "json_schema", "json_schema": {"name": "answer", "schema": schema(), "strict": true}}),
        ),
        (
            anthropic,
            openai,
            json!({"output_format": {"type": "json_schema", "schema": schema()}}),
            "/response_format/json_schema/schema",
            schema(),
        ),
        (anthropic, gemini, of_anthropic, "/generationConfig/responseJsonSchema", schema()),
        (
            gemini,
            openai,
            of_gemini(open.clone()),
            "/response_format",
            json!({"type": "json_schema", "json_schema": {"name": "answer", "schema": read}}),
        ),
        // An object that does not say is closed for who refuses it otherwise.
        (gemini, anthropic, of_gemini(open), "/output_config/format/schema", closed),
        (
            gemini,
            openai,
            json!({"generationConfig": {"responseMimeType": "application/json"}}),
            "/response_format",
            json!({"type": "json_object"}),
        ),
    ]);
    // Two descriptions, of which one would be lost.
    let mut twice = described;
    twice["response_format"]["json_schema"]["schema"]["description"] = json!("another");
    let refused = gone(openai, &provider_of(anthropic), &request(openai, &twice)).map(|(_, body)| body);
    assert_eq!(refused, Err(Code::NoEquivalent));
}

#[test]
fn strict_tools_are_strict_everywhere() {
    let (openai, anthropic, gemini, bedrock) =
        (Shape::OpenAi, Shape::Anthropic, Shape::Gemini, Shape::Bedrock);
    let of_openai = json!({"tools": [{"type": "function", "function": {"name": "f", "parameters": schema(), "strict": true}}]});
    let of_anthropic = json!({"tools": [{"name": "f", "input_schema": schema(), "strict": true}]});
    let of_gemini = json!({"tools": [{"functionDeclarations": [{"name": "f", "parametersJsonSchema": schema()}]}],
        "toolConfig": {"functionCallingConfig": {"mode": "VALIDATED"}}});
    check(vec![
        (openai, anthropic, of_openai.clone(), "/tools/0/strict", json!(true)),
        (openai, bedrock, of_openai.clone(), "/toolConfig/tools/0/toolSpec/strict", json!(true)),
        (openai, gemini, of_openai, "/toolConfig/functionCallingConfig/mode", json!("VALIDATED")),
        (anthropic, openai, of_anthropic, "/tools/0/function/strict", json!(true)),
        (gemini, openai, of_gemini.clone(), "/tools/0/function/strict", json!(true)),
        (gemini, anthropic, of_gemini, "/tool_choice/type", json!("auto")),
    ]);
}

#[test]
fn how_much_to_think_is_asked_for_in_the_providers_words() {
    let (openai, anthropic, gemini) = (Shape::OpenAi, Shape::Anthropic, Shape::Gemini);
    let effort = |word: &str| json!({"reasoning_effort": word});
    let budget = |tokens: u64| json!({"thinking": {"type": "enabled", "budget_tokens": tokens}});
    let config = |config: Value| json!({"generationConfig": {"thinkingConfig": config}});
    const BUDGET: &str = "/generationConfig/thinkingConfig/thinkingBudget";
    check(vec![
        (openai, anthropic, effort("minimal"), "/output_config/effort", json!("low")),
        (openai, anthropic, effort("medium"), "/output_config/effort", json!("medium")),
        // What is so without it.
        (openai, anthropic, effort("high"), "/output_config", Value::Null),
        (openai, anthropic, effort("none"), "/thinking", json!({"type": "disabled"})),
        (openai, gemini, effort("none"), BUDGET, json!(0)),
        (openai, gemini, effort("low"), BUDGET, json!(1024)),
        (openai, gemini, effort("xhigh"), BUDGET, json!(24576)),
        (anthropic, openai, budget(1024), "/reasoning_effort", json!("low")),
        (anthropic, openai, budget(31_999), "/reasoning_effort", json!("high")),
        (anthropic, openai, json!({"thinking": {"type": "adaptive"}}), "/reasoning_effort", Value::Null),
        (anthropic, openai, json!({"output_config": {"effort": "max"}}), "/reasoning_effort", json!("xhigh")),
        (
            gemini,
            openai,
            config(json!({"thinkingLevel": "HIGH", "includeThoughts": true})),
            "/reasoning_effort",
            json!("high"),
        ),
        (gemini, openai, config(json!({"thinkingBudget": -1})), "/reasoning_effort", Value::Null),
        (
            gemini,
            anthropic,
            config(json!({"thinkingBudget": 5000})),
            "/output_config/effort",
            json!("medium"),
        ),
    ]);
}

/// Claude Code's requests have all of these.
#[test]
fn what_is_a_hint_goes_no_further() {
    let mark = json!({"type": "ephemeral"});
    let of_anthropic = json!({
        "system": [{"type": "text", "text": "s", "cache_control": mark}],
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "q", "cache_control": mark}]},
            {"role": "assistant", "content": [
                {"type": "thinking", "thinking": "t", "signature": "s"}, {"type": "redacted_thinking", "data": "d"},
                {"type": "text", "text": "a"}, {"type": "tool_use", "id": "t1", "name": "f", "input": {}, "cache_control": mark},
                {"type": "text", "text": "after"},
            ]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t1", "content": [{"type": "text", "text": "r", "cache_control": mark}], "cache_control": mark}]},
        ],
        "tools": [{"name": "f", "input_schema": schema(), "cache_control": mark}],
        "thinking": {"type": "enabled", "budget_tokens": 31_999}, "metadata": {"user_id": "u"}, "cache_control": mark,
    });
    let of_openai = json!({
        "messages": [
            {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA", "detail": "high"}}]},
            {"role": "assistant", "content": null, "reasoning_content": "t", "tool_calls": [{"id": "t1", "type": "function", "function": {"name": "f", "arguments": "{}"}}]},
            {"role": "tool", "tool_call_id": "t1", "name": "f", "content": "r"},
        ],
        "stream": true, "stream_options": {"include_usage": true, "include_obfuscation": false},
        "prompt_cache_key": "k", "prompt_cache_retention": "24h", "safety_identifier": "i", "metadata": {"a": "b"}, "user": "u", "verbosity": "medium",
    });
    for (client, more) in [(Shape::Anthropic, of_anthropic), (Shape::OpenAi, of_openai)] {
        for to in PROVIDERS.into_iter().filter(|to| *to != client) {
            // Of Bedrock's models those of Anthropic's know how much to think.
            let mut asked = request(client, &more);
            if to == Shape::Bedrock {
                asked.as_object_mut().expect("an object").remove("thinking");
            }
            let (_, body) = gone(client, &provider_of(to), &asked).expect("it goes on");
            let text = body.to_string();
            assert!(!text.contains("cache") && !text.contains("redacted"), "{to:?}: {text}");
        }
    }
}

/// A model that had no tokens left for anything but its thoughts has said nothing.
#[test]
fn a_turn_of_thoughts_alone_is_none() {
    let thoughts = json!([{"type": "thinking", "thinking": "t", "signature": "s"}]);
    let more = json!({"messages": [
        {"role": "user", "content": "q"}, {"role": "assistant", "content": thoughts}, {"role": "user", "content": "go on"},
    ]});
    let asked = request(Shape::Anthropic, &more);
    for (to, turns) in
        [(Shape::OpenAi, "/messages"), (Shape::Gemini, "/contents"), (Shape::Bedrock, "/messages")]
    {
        let (_, body) = gone(Shape::Anthropic, &provider_of(to), &asked).expect("it goes on");
        let turns = body.pointer(turns).and_then(Value::as_array).expect("turns");
        assert!(turns.iter().all(|turn| turn["role"] == "user"), "{to:?}: {body}");
        assert!(body.to_string().contains("go on"), "{to:?}: {body}");
    }
}

#[test]
fn the_maker_of_a_model_says_what_bedrock_can_be_asked() {
    let bedrock = provider_of(Shape::Bedrock);
    let added = |model: &str, client: Shape, more: Value| {
        let body = Bytes::from(request(client, &more).to_string());
        let headers = HeaderMap::new();
        let going = Going {
            client,
            method: method_of(client),
            path: "",
            query: None,
            headers: &headers,
            body: &body,
            amends: false,
        };
        let gone = going.to(&bedrock, model).map_err(|refusal| refusal.code)?;
        let body: Value = serde_json::from_slice(&gone.body).expect("JSON");
        Ok(body["additionalModelRequestFields"].clone())
    };
    let (claude, gpt) = ("eu.anthropic.claude-x-v1:0", "openai.gpt-oss-120b-1:0");
    let (top, low) = (json!({"top_k": 4}), json!({"reasoning_effort": "low"}));
    assert_eq!(added(claude, Shape::Anthropic, top.clone()), Ok(json!({"top_k": 4})));
    assert_eq!(added(claude, Shape::OpenAi, low.clone()), Ok(json!({"output_config": {"effort": "low"}})));
    assert_eq!(added(gpt, Shape::OpenAi, low.clone()), Ok(low.clone()));
    assert_eq!(
        added("amazon.nova-pro-v1:0", Shape::Anthropic, top.clone()),
        Ok(json!({"inferenceConfig": {"topK": 4}}))
    );
    assert_eq!(added("meta.llama3-v1:0", Shape::Anthropic, top), Err(Code::NoEquivalent));
    assert_eq!(added("meta.llama3-v1:0", Shape::OpenAi, low), Err(Code::NoEquivalent));
    check(vec![
        (Shape::OpenAi, Shape::Bedrock, json!({"user": "u1"}), "/requestMetadata", json!({"user": "u1"})),
        (Shape::OpenAi, Shape::Bedrock, json!({"user": "é"}), "/requestMetadata", Value::Null),
    ]);
}

/// An answer that is known to be cut is said to be; one of which nobody knows is not said to be whole.
#[test]
fn an_answer_that_stopped_for_a_reason_of_its_own_is_cut_short() {
    let reply = |provider: Shape, reason: &str| match provider {
        Shape::OpenAi => json!({"choices": [{"finish_reason": reason, "message": {"content": "x"}}]}),
        Shape::Anthropic => json!({"content": [{"type": "text", "text": "x"}], "stop_reason": reason}),
        Shape::Gemini => {
            json!({"candidates": [{"finishReason": reason, "content": {"parts": [{"text": "x"}]}}]})
        }
        Shape::Bedrock => {
            json!({"output": {"message": {"content": [{"text": "x"}]}}, "stopReason": reason})
        }
    };
    for (provider, reason, expected) in [
        (Shape::OpenAi, "model_length", "max_tokens"),
        (Shape::OpenAi, "abort", "max_tokens"),
        (Shape::OpenAi, "error", "max_tokens"),
        (Shape::OpenAi, "eos_token", "end_turn"),
        (Shape::OpenAi, "function_call", "tool_use"),
        (Shape::Gemini, "MALFORMED_FUNCTION_CALL", "max_tokens"),
        (Shape::Gemini, "UNEXPECTED_TOOL_CALL", "max_tokens"),
        (Shape::Gemini, "OTHER", "max_tokens"),
        (Shape::Gemini, "MODEL_ARMOR", "refusal"),
        (Shape::Bedrock, "malformed_model_output", "max_tokens"),
    ] {
        let text = reply(provider, reason).to_string();
        let lifted = document(text.as_bytes(), 200, &answered(Shape::Anthropic, provider));
        let lifted = lifted.expect("an answer").expect("changed");
        let read: Value = serde_json::from_slice(&lifted).expect("JSON");
        assert_eq!(read["stop_reason"], expected, "{provider:?} {reason}");
    }
    let paused = reply(Shape::Anthropic, "pause_turn").to_string();
    let lifted = document(paused.as_bytes(), 200, &answered(Shape::OpenAi, Shape::Anthropic));
    let read: Value = serde_json::from_slice(&lifted.expect("an answer").expect("changed")).expect("JSON");
    assert_eq!(read["choices"][0]["finish_reason"], "length");
}

/// What a model of Gemini's signed of a call comes back to it by the call's id, in whatever API the caller speaks, and goes to nobody else.
#[test]
fn a_signature_comes_back_to_who_signed_it() {
    let said = json!({"candidates": [{"finishReason": "STOP", "content": {"parts": [
        {"text": "I think.", "thought": true},
        {"functionCall": {"id": "c1", "name": "f", "args": {}}, "thoughtSignature": "+/8="},
        {"functionCall": {"id": "c2", "name": "f", "args": {}}},
        {"thoughtSignature": "AAAA"},
    ]}}]})
    .to_string();
    let lifted = |client, one_at_a_time| {
        let answered = Answered { one_at_a_time, ..answered(client, Shape::Gemini) };
        let lifted = document(said.as_bytes(), 200, &answered).expect("an answer").expect("changed");
        serde_json::from_slice::<Value>(&lifted).expect("JSON")
    };
    let google = provider_of(Shape::Gemini);
    let back = |client, body: &Value, model: &str| {
        let body = Bytes::from(body.to_string());
        let headers = HeaderMap::new();
        let going = Going {
            client,
            method: method_of(client),
            path: "",
            query: None,
            headers: &headers,
            body: &body,
            amends: false,
        };
        let gone = going.to(&google, model).expect("it goes on");
        serde_json::from_slice::<Value>(&gone.body).expect("JSON")
    };
    // OpenAI's clients.
    let message = lifted(Shape::OpenAi, false)["choices"][0]["message"].clone();
    assert_eq!(message["content"], Value::Null);
    let id = message["tool_calls"][0]["id"].clone();
    let result = json!({"role": "tool", "tool_call_id": id, "content": "r"});
    let body = json!({"messages": [{"role": "user", "content": "q"}, message, result]});
    let expected = json!([
        {"functionCall": {"id": "c1", "name": "f", "args": {}}, "thoughtSignature": "+/8="},
        {"functionCall": {"id": "c2", "name": "f", "args": {}}},
    ]);
    for model in ["gemini-3-pro-preview", "gemini-2.5-flash"] {
        let body = back(Shape::OpenAi, &body, model);
        assert_eq!(body["contents"][1]["parts"], expected);
        assert_eq!(body["contents"][2]["parts"][0]["functionResponse"]["id"], "c1");
    }
    // To another provider of the caller's API, and of a third one, the ids go as these take them.
    for to in [Shape::OpenAi, Shape::Anthropic, Shape::Bedrock] {
        let (_, body) = gone(Shape::OpenAi, &provider_of(to), &body).expect("it goes on");
        let text = body.to_string();
        assert!(text.contains("\"c1\"") && !text.contains("__thought__"), "{to:?}: {text}");
    }
    // Anthropic's clients.
    let content = lifted(Shape::Anthropic, false)["content"].clone();
    let id = content[0]["id"].clone();
    let results = json!([{"type": "tool_result", "tool_use_id": id, "content": "r"}]);
    let body = json!({"max_tokens": 9, "messages": [
        {"role": "assistant", "content": content}, {"role": "user", "content": results},
    ]});
    assert_eq!(back(Shape::Anthropic, &body, "gemini-3-pro-preview")["contents"][0]["parts"], expected);
    for to in [Shape::OpenAi, Shape::Anthropic, Shape::Bedrock] {
        let (_, body) = gone(Shape::Anthropic, &provider_of(to), &body).expect("it goes on");
        let text = body.to_string();
        assert!(text.contains("\"c1\"") && !text.contains("__thought__"), "{to:?}: {text}");
    }
    // Who wants one call at a time gets the one that is signed.
    let calls = lifted(Shape::OpenAi, true)["choices"][0]["message"]["tool_calls"].clone();
    assert_eq!(calls.as_array().map(Vec::len), Some(1));
    // What another model called has a signature that says so, for the models that want one.
    let call = json!({"id": "t", "type": "function", "function": {"name": "f", "arguments": "{}"}});
    let body = json!({"messages": [{"role": "assistant", "tool_calls": [call]}, {"role": "tool", "tool_call_id": "t", "content": "r"}]});
    let part = |model| back(Shape::OpenAi, &body, model)["contents"][0]["parts"][0].clone();
    assert_eq!(part("gemini-3-pro-preview")["thoughtSignature"], "skip_thought_signature_validator");
    assert_eq!(part("gemini-2.5-flash").get("thoughtSignature"), None);
}

/// What is no id of a call goes on as it is, whatever stands in it.
#[test]
fn what_has_no_calls_has_no_signatures() {
    let headers = HeaderMap::new();
    let mark = "c__thought__QUJD";
    for (method, body) in [
        (EMBEDDINGS, json!({"model": "m", "input": mark})),
        (COMPLETIONS, json!({"model": "m", "prompt": mark})),
        (RESPONSES, json!({"model": "m", "input": [{"role": "user", "content": mark}]})),
        (CHAT, json!({"model": "m", "messages": [{"role": "user", "content": mark}]})),
        // These are their provider's to refuse.
        (CHAT, json!({"model": "m", "messages": mark})),
        (CHAT, json!({"model": "m", "user": mark})),
    ] {
        let text = Bytes::from(body.to_string());
        let client = Shape::asked_by(method).expect("an API");
        let (path, query) = ("", None);
        let going = Going { client, method, path, query, headers: &headers, body: &text, amends: false };
        let gone = going.to(&provider_of(client), "m").expect("it goes on");
        let read: Value = serde_json::from_slice(&gone.body).expect("JSON");
        assert_eq!(read, body, "{method}");
    }
}

#[test]
fn who_wants_one_call_at_a_time_says_so() {
    for (client, body, expected) in [
        (Shape::OpenAi, json!({"parallel_tool_calls": false}), true),
        (Shape::OpenAi, json!({"parallel_tool_calls": true}), false),
        (Shape::Anthropic, json!({"tool_choice": {"type": "auto", "disable_parallel_tool_use": true}}), true),
        (Shape::Anthropic, json!({}), false),
    ] {
        assert_eq!(one_at_a_time(client, &Bytes::from(body.to_string())), expected, "{body}");
    }
}
