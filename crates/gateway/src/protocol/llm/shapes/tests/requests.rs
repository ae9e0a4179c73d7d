//! Requests, as pairs of documents.

use super::*;

/// One conversation with all that the three have in common, as each of them has it.
fn same(shape: Shape, model: &str) -> Value {
    let schema = json!({"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]});
    match shape {
        Shape::OpenAi => json!({
            "model": model,
            "messages": [
                {"role": "system", "content": "Be brief."},
                {"role": "user", "content": [
                    {"type": "text", "text": "What is this?"},
                    {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
                ]},
                {"role": "assistant", "content": "I look.", "tool_calls": [
                    {"id": "t1", "type": "function", "function": {"name": "weather", "arguments": "{\"city\":\"Bern\"}"}},
                ]},
                {"role": "tool", "tool_call_id": "t1", "content": "sun"},
                {"role": "user", "content": "And now?"},
            ],
            "tools": [{"type": "function", "function": {"name": "weather", "description": "Says it.", "parameters": schema}}],
            "tool_choice": {"type": "function", "function": {"name": "weather"}},
            "max_completion_tokens": 100,
            "temperature": 0.5,
            "top_p": 0.9,
            "stop": ["END"],
        }),
        Shape::Anthropic => json!({
            "model": model,
            "system": [{"type": "text", "text": "Be brief."}],
            "messages": [
                {"role": "user", "content": [
                    {"type": "text", "text": "What is this?"},
                    {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}},
                ]},
                {"role": "assistant", "content": [
                    {"type": "text", "text": "I look."},
                    {"type": "tool_use", "id": "t1", "name": "weather", "input": {"city": "Bern"}},
                ]},
                {"role": "user", "content": [
                    {"type": "tool_result", "tool_use_id": "t1", "content": [{"type": "text", "text": "sun"}]},
                    {"type": "text", "text": "And now?"},
                ]},
            ],
            "tools": [{"name": "weather", "description": "Says it.", "input_schema": schema}],
            "tool_choice": {"type": "tool", "name": "weather"},
            "max_tokens": 100,
            "temperature": 0.5,
            "top_p": 0.9,
            "stop_sequences": ["END"],
        }),
        Shape::Gemini => json!({
            "systemInstruction": {"parts": [{"text": "Be brief."}]},
            "contents": [
                {"role": "user", "parts": [
                    {"text": "What is this?"},
                    {"inlineData": {"mimeType": "image/png", "data": "AAAA"}},
                ]},
                {"role": "model", "parts": [
                    {"text": "I look."},
                    {"functionCall": {"id": "t1", "name": "weather", "args": {"city": "Bern"}}},
                ]},
                {"role": "user", "parts": [
                    {"functionResponse": {"id": "t1", "name": "weather", "response": {"output": "sun"}}},
                    {"text": "And now?"},
                ]},
            ],
            "tools": [{"functionDeclarations": [
                {"name": "weather", "description": "Says it.", "parametersJsonSchema": schema},
            ]}],
            "toolConfig": {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["weather"]}},
            "generationConfig": {"maxOutputTokens": 100, "temperature": 0.5, "topP": 0.9, "stopSequences": ["END"]},
        }),
        Shape::Bedrock => json!({
            "system": [{"text": "Be brief."}],
            "messages": [
                {"role": "user", "content": [
                    {"text": "What is this?"},
                    {"image": {"format": "png", "source": {"bytes": "AAAA"}}},
                ]},
                {"role": "assistant", "content": [
                    {"text": "I look."},
                    {"toolUse": {"toolUseId": "t1", "name": "weather", "input": {"city": "Bern"}}},
                ]},
                {"role": "user", "content": [
                    {"toolResult": {"toolUseId": "t1", "content": [{"text": "sun"}]}},
                    {"text": "And now?"},
                ]},
            ],
            "toolConfig": {
                "tools": [{"toolSpec": {"name": "weather", "description": "Says it.", "inputSchema": {"json": schema}}}],
                "toolChoice": {"tool": {"name": "weather"}},
            },
            "inferenceConfig": {"maxTokens": 100, "temperature": 0.5, "topP": 0.9, "stopSequences": ["END"]},
        }),
    }
}

#[test]
fn a_conversation_is_the_same_in_every_api() {
    for client in SHAPES {
        for to in PROVIDERS.into_iter().filter(|to| *to != client) {
            let (path, body) = gone(client, &provider_of(to), &same(client, "asked")).expect("it goes on");
            assert_eq!(body, same(to, "m"), "{client:?} to {to:?}");
            let expected = match to {
                Shape::OpenAi => "/v1/chat/completions",
                Shape::Anthropic => "/v1/messages",
                Shape::Gemini => "/v1beta/models/m:generateContent",
                Shape::Bedrock => "/model/m/converse",
            };
            assert_eq!(path, expected);
        }
    }
}

/// What differs more than in its names.
#[test]
fn what_one_says_in_another_way() {
    let user = |content: Value| json!([{"role": "user", "content": content}]);
    let hi = json!([{"role": "user", "content": [{"type": "text", "text": "hi"}]}]);
    let (openai, anthropic) = (Shape::OpenAi, Shape::Anthropic);
    for (client, to, request, member, expected) in [
        // A stream: its usage is asked for, since the caller's answer has it in any case.
        (
            anthropic,
            openai,
            json!({"max_tokens": 5, "messages": [], "stream": true}),
            "/stream_options",
            json!({"include_usage": true}),
        ),
        // Anthropic wants to be told how long an answer may be; this many are reserved where nobody says.
        (openai, anthropic, json!({"messages": user(json!("hi"))}), "/max_tokens", json!(4096)),
        (openai, anthropic, json!({"messages": user(json!("hi"))}), "/messages", hi),
        (openai, anthropic, json!({"messages": [], "stop": "X"}), "/stop_sequences", json!(["X"])),
        (openai, anthropic, json!({"messages": [], "user": "u1"}), "/metadata/user_id", json!("u1")),
        (
            openai,
            anthropic,
            json!({"messages": [], "parallel_tool_calls": false}),
            "/tool_choice",
            json!({"type": "auto", "disable_parallel_tool_use": true}),
        ),
        (
            openai,
            anthropic,
            json!({"messages": [], "tool_choice": "required"}),
            "/tool_choice/type",
            json!("any"),
        ),
        (
            openai,
            anthropic,
            json!({"messages": user(json!([{"type": "image_url", "image_url": {"url": "https://a.example/i"}}]))}),
            "/messages/0/content/0/source",
            json!({"type": "url", "url": "https://a.example/i"}),
        ),
        (
            anthropic,
            openai,
            json!({"max_tokens": 5, "messages": [], "tool_choice": {"type": "any", "disable_parallel_tool_use": true}}),
            "/parallel_tool_calls",
            json!(false),
        ),
        // A tool that failed.
        (
            anthropic,
            Shape::Gemini,
            json!({"max_tokens": 5, "messages": [
                {"role": "assistant", "content": [{"type": "tool_use", "id": "t", "name": "f", "input": {}}]},
                {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "content": "no", "is_error": true}]},
            ]}),
            "/contents/1/parts/0/functionResponse/response",
            json!({"error": "no"}),
        ),
        (
            anthropic,
            Shape::Bedrock,
            json!({"max_tokens": 5, "messages": [
                {"role": "assistant", "content": [{"type": "tool_use", "id": "t", "name": "f", "input": {}}]},
                {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "content": "no", "is_error": true}]},
            ]}),
            "/messages/1/content/0/toolResult",
            json!({"toolUseId": "t", "content": [{"text": "no"}], "status": "error"}),
        ),
        (
            openai,
            Shape::Bedrock,
            json!({"messages": [], "tools": [{"type": "function", "function": {"name": "f"}}], "tool_choice": "required"}),
            "/toolConfig/toolChoice",
            json!({"any": {}}),
        ),
        // Gemini's calls may have no ids: the n-th result of a function is of its n-th call.
        (
            Shape::Gemini,
            openai,
            json!({"contents": [
                {"role": "model", "parts": [{"functionCall": {"name": "f", "args": {}}}, {"functionCall": {"name": "f"}}]},
                {"role": "user", "parts": [
                    {"functionResponse": {"name": "f", "response": {"result": 1}}},
                    {"functionResponse": {"name": "f", "response": {"output": "b"}}},
                ]},
            ]}),
            "/messages",
            json!([
                {"role": "assistant", "content": null, "tool_calls": [
                    {"id": "f-1", "type": "function", "function": {"name": "f", "arguments": "{}"}},
                    {"id": "f-2", "type": "function", "function": {"name": "f", "arguments": "{}"}},
                ]},
                {"role": "tool", "tool_call_id": "f-1", "content": "{\"result\":1}"},
                {"role": "tool", "tool_call_id": "f-2", "content": "b"},
            ]),
        ),
        // Its own schemas, with types in capitals.
        (
            Shape::Gemini,
            openai,
            json!({"contents": [], "tools": [{"functionDeclarations": [{"name": "f", "parameters": {
                "type": "OBJECT", "properties": {"a": {"type": "STRING", "nullable": true}, "b": {"type": "ARRAY", "items": {"type": "INTEGER"}}},
                "required": ["a"],
            }}]}]}),
            "/tools/0/function/parameters",
            json!({
                "type": "object",
                "properties": {"a": {"type": ["string", "null"]}, "b": {"type": "array", "items": {"type": "integer"}}},
                "required": ["a"],
            }),
        ),
    ] {
        let (_, body) = gone(client, &provider_of(to), &request).expect("it goes on");
        assert_eq!(body.pointer(member), Some(&expected), "{client:?} to {to:?}: {request}");
    }
}

/// SDKs say an empty text with a call of a tool, which Bedrock and Anthropic refuse.
#[test]
fn an_empty_text_beside_something_else_is_left_out() {
    let calls = json!([{"id": "t", "type": "function", "function": {"name": "f", "arguments": "{}"}}]);
    let request = json!({
        "messages": [
            {"role": "system", "content": ""},
            {"role": "user", "content": [{"type": "text", "text": ""}, {"type": "text", "text": "hi"}]},
            {"role": "assistant", "content": "", "tool_calls": calls},
            {"role": "tool", "tool_call_id": "t", "content": ""},
            {"role": "user", "content": ""},
            {"role": "assistant", "content": ""},
            {"role": "assistant", "content": "yes"},
            {"role": "user", "content": ""},
        ],
        "tools": [{"type": "function", "function": {"name": "f", "description": ""}}],
    });
    let (_, body) = gone(Shape::OpenAi, &provider_of(Shape::Bedrock), &request).expect("it goes on");
    let expected = json!([
        {"role": "user", "content": [{"text": "hi"}]},
        {"role": "assistant", "content": [{"toolUse": {"toolUseId": "t", "name": "f", "input": {}}}]},
        {"role": "user", "content": [{"toolResult": {"toolUseId": "t", "content": [{"text": ""}]}}]},
        {"role": "assistant", "content": [{"text": "yes"}]},
        // All that was said is its provider's to refuse.
        {"role": "user", "content": [{"text": ""}]},
    ]);
    assert_eq!(body["messages"], expected);
    assert!(
        body.get("system").is_none() && body.pointer("/toolConfig/tools/0/toolSpec/description").is_none()
    );
    let (_, body) = gone(Shape::OpenAi, &provider_of(Shape::Anthropic), &request).expect("it goes on");
    assert_eq!(body.pointer("/messages/1/content/0/type"), Some(&json!("tool_use")));
    assert!(body.get("system").is_none());
}

/// What the other has no words for is refused, and so is what nobody knows.
#[test]
fn what_has_no_equivalent_is_refused() {
    let (openai, anthropic, gemini) = (Shape::OpenAi, Shape::Anthropic, Shape::Gemini);
    let of = |client: Shape, more: Value| {
        let mut request = match client {
            Shape::OpenAi => json!({"model": "x", "messages": []}),
            Shape::Anthropic => json!({"model": "x", "max_tokens": 5, "messages": []}),
            Shape::Gemini => json!({"contents": []}),
            Shape::Bedrock => panic!("nobody asks so"),
        };
        request.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        request
    };
    let user = |content: Value| json!({"messages": [{"role": "user", "content": content}]});
    for (client, to, more) in [
        (openai, anthropic, json!({"logprobs": true})),
        (openai, anthropic, json!({"n": 2})),
        (openai, anthropic, json!({"seed": 7})),
        (openai, anthropic, json!({"frequency_penalty": 0.5})),
        (openai, anthropic, json!({"response_format": {"type": "json_object"}})),
        (openai, anthropic, json!({"reasoning_effort": "unheard_of"})),
        (openai, anthropic, json!({"something": 1})),
        (openai, anthropic, json!({"stream_options": {"other": true}})),
        (openai, anthropic, user(json!([{"type": "input_audio", "input_audio": {}}]))),
        (
            openai,
            anthropic,
            json!({"messages": [{"role": "user", "content": "a"}, {"role": "system", "content": "b"}]}),
        ),
        (openai, anthropic, json!({"messages": [{"role": "user", "content": "a", "name": "x"}]})),
        (
            openai,
            anthropic,
            json!({"messages": [{"role": "assistant", "tool_calls": [
                {"id": "t", "type": "function", "function": {"name": "f", "arguments": "no JSON"}},
            ]}]}),
        ),
        (
            openai,
            anthropic,
            json!({"messages": [{"role": "assistant", "tool_calls": [
                {"id": "t", "type": "function", "function": {"name": "f", "arguments": "{\"a\":1e-400}"}},
            ]}]}),
        ),
        // Attack: readers differ in which of them it is.
        (
            openai,
            anthropic,
            json!({"messages": [{"role": "assistant", "tool_calls": [
                {"id": "t", "type": "function", "function": {"name": "f", "arguments": "{\"a\":1,\"a\":2}"}},
            ]}]}),
        ),
        // Attack: what whoever answers may reach, and its caller may not.
        (
            openai,
            anthropic,
            user(json!([{"type": "image_url", "image_url": {"url": "http://169.254.169.254/latest"}}])),
        ),
        (openai, anthropic, user(json!([{"type": "image_url", "image_url": {"url": "file:///etc/passwd"}}]))),
        (
            anthropic,
            openai,
            user(json!([{"type": "image", "source": {"type": "url", "url": "gopher://a.example/"}}])),
        ),
        (openai, gemini, user(json!([{"type": "image_url", "image_url": {"url": "https://a.example/i"}}]))),
        (
            openai,
            gemini,
            json!({"messages": [{"role": "tool", "tool_call_id": "of nothing", "content": "x"}]}),
        ),
        (anthropic, openai, json!({"top_k": 4})),
        (anthropic, openai, user(json!([{"type": "document", "source": {}}]))),
        (
            anthropic,
            openai,
            user(json!([{"type": "tool_result", "tool_use_id": "t", "content": "x", "is_error": true}])),
        ),
        (anthropic, openai, json!({"tools": [{"type": "web_search_20250305", "name": "web_search"}]})),
        (gemini, openai, json!({"safetySettings": [{"category": "x", "threshold": "y"}]})),
        (gemini, openai, json!({"generationConfig": {"thinkingConfig": {"unheardOf": 1}}})),
        (gemini, openai, json!({"generationConfig": {"responseMimeType": "text/x.enum"}})),
        (gemini, openai, json!({"generationConfig": {"candidateCount": 2}})),
        (gemini, openai, json!({"tools": [{"googleSearch": {}}]})),
        (
            gemini,
            openai,
            json!({"contents": [{"role": "user", "parts": [{"fileData": {"fileUri": "x"}, "text": "a"}]}]}),
        ),
        (
            gemini,
            openai,
            json!({"contents": [{"role": "user", "parts": [{"functionResponse": {"name": "f", "response": {}}}]}]}),
        ),
        (gemini, anthropic, json!({"generationConfig": {"seed": 7}})),
        (openai, Shape::Bedrock, json!({"seed": 7})),
        (openai, Shape::Bedrock, json!({"presence_penalty": 0.5})),
        (openai, Shape::Bedrock, json!({"parallel_tool_calls": false})),
        (
            openai,
            Shape::Bedrock,
            json!({"tools": [{"type": "function", "function": {"name": "f"}}], "tool_choice": "none"}),
        ),
        (
            openai,
            Shape::Bedrock,
            user(json!([{"type": "image_url", "image_url": {"url": "https://a.example/i"}}])),
        ),
        (
            openai,
            Shape::Bedrock,
            user(json!([{"type": "image_url", "image_url": {"url": "data:image/tiff;base64,AAAA"}}])),
        ),
        // The maker of the model says whether it has them.
        (anthropic, Shape::Bedrock, json!({"top_k": 4})),
        (openai, Shape::Bedrock, json!({"reasoning_effort": "low"})),
        (openai, Shape::Bedrock, json!({"response_format": {"type": "json_object"}})),
    ] {
        let request = of(client, more);
        let refused = gone(client, &provider_of(to), &request).map(|(_, body)| body);
        assert_eq!(refused, Err(Code::NoEquivalent), "{client:?} to {to:?}: {request}");
    }
    // What says only what is so without it goes on without it.
    for (client, to, more) in [
        (
            openai,
            anthropic,
            json!({"n": 1, "store": false, "logprobs": false, "user": null, "frequency_penalty": 0}),
        ),
        (openai, anthropic, json!({"response_format": {"type": "text"}, "service_tier": "auto"})),
        (anthropic, openai, json!({"service_tier": "auto", "thinking": {"type": "disabled"}})),
        (gemini, openai, json!({"generationConfig": {"candidateCount": 1, "topP": 0.5}})),
    ] {
        let request = of(client, more);
        assert!(gone(client, &provider_of(to), &request).is_ok(), "{request}");
    }
    // A number that cannot be read exactly would go on as another one.
    let body = Bytes::from_static(br#"{"model":"x","messages":[],"temperature":0.10000000000000000001}"#);
    let headers = HeaderMap::new();
    let going = Going {
        client: openai,
        method: CHAT,
        path: "",
        query: None,
        headers: &headers,
        body: &body,
        amends: false,
    };
    let refused = going.to(&provider_of(anthropic), "m").map(|_| ()).map_err(|refusal| refusal.code);
    assert_eq!(refused, Err(Code::NoEquivalent));
}

pub(super) fn conversation(shape: Shape) -> Value {
    same(shape, "asked")
}

/// Attack: as many results of tools as a request has room for, each of which is looked for among all calls.
#[test]
fn many_results_take_no_longer_for_their_number() {
    const COUNT: usize = 40_000;
    let call =
        |id: String| json!({"id": id, "type": "function", "function": {"name": "f", "arguments": "{}"}});
    let mut openai = vec![json!({"role": "assistant", "tool_calls": [call("t".to_owned())]})];
    openai
        .extend((0..COUNT).map(|n| json!({"role": "tool", "tool_call_id": format!("n{n}"), "content": "x"})));
    let openai = json!({"model": "x", "max_completion_tokens": 9, "messages": openai});
    let each = |name: &str, with: Value| vec![json!({name: with}); COUNT];
    let gemini = json!({"contents": [
        {"role": "model", "parts": each("functionCall", json!({"name": "f", "args": {}}))},
        {"role": "user", "parts": each("functionResponse", json!({"name": "f", "response": {"output": "x"}}))},
    ], "generationConfig": {"maxOutputTokens": 9}});
    let began = std::time::Instant::now();
    assert!(gone(Shape::OpenAi, &provider_of(Shape::Anthropic), &openai).is_ok());
    let (_, body) = gone(Shape::Gemini, &provider_of(Shape::OpenAi), &gemini).expect("it goes on");
    assert_eq!(body["messages"][COUNT]["tool_call_id"], format!("f-{COUNT}"));
    // Of a build that is not optimized, on a machine with other work. What is quadratic takes minutes.
    assert!(began.elapsed().as_secs() < 30);
}
