use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::{Value, json};
use vidimus_core::call::Destination;
use vidimus_core::json::Json;
use vidimus_core::resource::llm_provider::ProviderType;

use super::pointers::Pointers;
use super::{Demands, Own, Redaction, TakenOut, answers_redacted, cap};
use crate::protocol::sse::EventFilter;
use crate::protocol::tests::server;

fn pointers(all: &[&str]) -> Pointers {
    let mut pointers = Pointers::default();
    all.iter().for_each(|one| pointers.add(one));
    pointers
}

#[test]
fn what_a_pointer_leads_to_is_taken_out_and_nothing_else_changes() {
    let document = r#"{ "card" : {"number":1e3, "x":[1.50,{"cvv":"1"},{"cvv":2}] },"a/b":"s", "n":null }"#;
    for (leads, expected, count) in [
        (&["/none", "/card/none", "/card/x/7", "/n"][..], None, 0),
        (&["/card/number"], Some(document.replace("1e3", "\"[redacted]\"")), 1),
        (
            &["/card/x/*/cvv"],
            Some(document.replace("\"1\"", "\"[redacted]\"").replace(":2}", ":\"[redacted]\"}")),
            2,
        ),
        (&["/card/x/1/cvv"], Some(document.replace("\"1\"", "\"[redacted]\"")), 1),
        (&["/a~1b"], Some(document.replace("\"s\"", "\"[redacted]\"")), 1),
        (
            &["/a~1b", "/*/number", "/CARD/Number"],
            Some(document.replace("\"s\"", "\"[redacted]\"").replace("1e3", "\"[redacted]\"")),
            2,
        ),
        (&["/card", "/card/number"], Some(r#"{ "card" : "[redacted]","a/b":"s", "n":null }"#.to_owned()), 1),
        // What a text on the way holds is not looked for.
        (&["/a~1b/number"], Some(document.replace("\"s\"", "\"[redacted]\"")), 1),
    ] {
        let (redacted, found) = pointers(leads).redacted(document).expect("JSON");
        assert_eq!((redacted, found.values), (expected, count), "{leads:?}");
    }
}

/// Attack: another shape than the policy's author had in mind, of which the tool makes the same.
#[test]
fn a_list_on_the_way_of_a_pointer_is_several_of_what_it_leads_through() {
    for (pointer, document, expected) in [
        (
            "/customer/ssn",
            r#"{"customer":[{"ssn":1},{"ssn":"2","to":3}]}"#,
            r#"{"customer":[{"ssn":R},{"ssn":R,"to":3}]}"#,
        ),
        ("/card", r#"[{"card":1},[{"Card":2}],7]"#, r#"[{"card":R},[{"Card":R}],7]"#),
        (
            "/items/*/cvv",
            r#"{"items":[[{"cvv":1}],{"cvv":{"x":2}}]}"#,
            r#"{"items":[[{"cvv":R}],{"cvv":R}]}"#,
        ),
        ("/items/0/cvv", r#"{"items":[{"cvv":1},{"cvv":2}]}"#, r#"{"items":[{"cvv":R},{"cvv":2}]}"#),
        ("/customer/ssn", r#"{"customer":["a",null]}"#, r#"{"customer":[R,null]}"#),
    ] {
        let (redacted, _) = pointers(&[pointer]).redacted(document).expect("JSON");
        assert_eq!(
            redacted.as_deref(),
            Some(&*expected.replace('R', "\"[redacted]\"")),
            "{pointer} {document}"
        );
    }
}

/// Attack: lists within lists, by which a server would have the gateway's stack, and its core for seconds. Each is one that the pointer
/// could lead through.
#[test]
fn lists_in_lists_are_followed_so_far_and_not_until_the_stack_ends() {
    let nested = |lists: usize, inner: &str| format!("{}{inner}{}", "[".repeat(lists), "]".repeat(lists));
    let redacted = |pointer: &str, document: &str| pointers(&[pointer]).redacted(document).map(|done| done.0);
    let card = r#"{"card":4111}"#;
    let hidden = nested(16, r#"{"card":"[redacted]"}"#);
    assert_eq!(redacted("/card", &nested(16, card)).expect("JSON"), Some(hidden));
    for lists in [17, 100_000] {
        for inner in [card, ""] {
            assert!(redacted("/card", &nested(lists, inner)).is_err(), "{lists} {inner}");
            assert!(redacted("/a/card", &format!("{{\"a\":{}}}", nested(lists, inner))).is_err());
        }
        // Nobody looks for anything in these.
        assert!(
            redacted("/card", &format!("{{\"a\":{}}}", nested(lists, card))).is_ok_and(|done| done.is_none())
        );
    }
    // What a pointer names it leads through, however deep.
    let named = format!("{}/card", "/*/0".repeat(20));
    assert!(redacted(&named, &nested(40, card)).is_ok_and(|done| done.is_some()));
    let text = json!({"content": [{"type": "text", "text": nested(100_000, "")}]});
    for result in [text, json!({"content": [], "_meta": {"card": 1, "rows": [[]]}})] {
        let message = of_result(&result).err().unwrap_or_default();
        assert_eq!(message.contains("could not be read"), result["_meta"].is_null(), "{message}");
    }
}

/// Documents of every shape so deep: numbers, texts, nothing, lists and objects of some names.
fn shapes(depth: usize) -> Vec<Value> {
    let mut all = vec![json!(4111), json!("4111"), Value::Null];
    if depth > 0 {
        for inner in shapes(depth - 1) {
            all.push(json!([inner]));
            all.push(json!([7, inner]));
            all.push(json!({"a": inner, "z": 1}));
            all.push(json!({"B": inner}));
            all.push(json!({"c": inner}));
        }
    }
    all
}

/// Whether something is left where a pointer leads, in whatever lists it stands.
fn is_left(value: &Value, path: &[&str]) -> bool {
    match (value, path) {
        (Value::Null, _) => false,
        (value, []) => value != "[redacted]",
        (Value::String(text), _) => text != "[redacted]",
        (Value::Array(elements), ["*", rest @ ..]) => elements.iter().any(|one| is_left(one, rest)),
        (Value::Array(elements), path) => elements.iter().any(|one| is_left(one, path)),
        (Value::Object(members), [name, rest @ ..]) => members
            .iter()
            .filter(|(key, _)| *name == "*" || key.eq_ignore_ascii_case(name))
            .any(|(_, value)| is_left(value, rest)),
        _ => false,
    }
}

/// A property: nothing is left under the names of a pointer, whatever the shape.
#[test]
fn whatever_the_shape_nothing_is_left_where_a_pointer_leads() {
    let all = shapes(4);
    let mut changed = 0;
    for path in [&["a"][..], &["a", "b"], &["b", "a", "b"], &["a", "*", "b"], &["*", "a"]] {
        let pointers = pointers(&[&format!("/{}", path.join("/"))]);
        for document in &all {
            let (redacted, found) = pointers.redacted(&document.to_string()).expect("JSON");
            let read: Value = redacted.map_or_else(|| document.clone(), |text| text.parse().expect("JSON"));
            assert!(!is_left(&read, path), "{path:?} {document}: {read}");
            assert_eq!(found.values > 0, is_left(document, path), "{path:?} {document}");
            changed += found.values;
        }
    }
    assert!(changed > 1_000, "{changed}");
}

/// A text where a part of an object is hidden would be hidden whole, and could say anything to who approves nothing of it.
#[test]
fn what_is_hidden_of_a_text_is_not_shown_to_people_at_all() {
    let shown = |arguments: &str, hidden: &[&str]| {
        let arguments = Json::parse(arguments.as_bytes()).expect("JSON");
        super::shown(&arguments, hidden.iter().copied()).map_err(|refusal| refusal.code.as_str())
    };
    let (card, cards) = (&["/payment/card"][..], &["/cards/*/number"][..]);
    for (arguments, hidden, expected) in [
        (r#"{"payment":{"card":"1"}}"#, card, Ok(r#"{"payment":{"card":"[redacted]"}}"#)),
        (r#"{"payment":{"to":"a"}}"#, card, Ok(r#"{"payment":{"to":"a"}}"#)),
        (r#"{"payment":7}"#, card, Ok(r#"{"payment":7}"#)),
        (
            r#"{"payment":[{"card":"1","to":"acme"}]}"#,
            card,
            Ok(r#"{"payment":[{"card":"[redacted]","to":"acme"}]}"#),
        ),
        (r#"{"payment":["to mallory"]}"#, card, Err("change_impossible")),
        (r#"{"payment":"{\"card\":1,\"to\":\"mallory\"}"}"#, card, Err("change_impossible")),
        (r#"{"payment":"to mallory"}"#, card, Err("change_impossible")),
        (r#"{"Payment":"to mallory"}"#, card, Err("change_impossible")),
        (r#""to mallory""#, card, Err("change_impossible")),
        (r#"{"cards":[{"number":"1"},"to mallory"]}"#, cards, Err("change_impossible")),
        (
            r#"{"cards":[{"number":"1"}],"note":"x"}"#,
            cards,
            Ok(r#"{"cards":[{"number":"[redacted]"}],"note":"x"}"#),
        ),
        // All of it is hidden by another pointer.
        (r#"{"payment":"x"}"#, &["/payment", "/payment/card"], Ok(r#"{"payment":"[redacted]"}"#)),
        (r#"{"payment":"x"}"#, &[], Ok(r#"{"payment":"x"}"#)),
    ] {
        assert_eq!(shown(arguments, hidden), expected.map(str::to_owned), "{arguments}");
    }
}

#[test]
fn an_answer_is_capped_in_every_form_of_its_limit() {
    use ProviderType::{Anthropic, Azure, Bedrock, Gemini, OpenAi, OpenAiCompatible};
    for (provider, body, expected) in [
        (Anthropic, r#"{"max_tokens": 5000, "x":1.0}"#, Ok(Some((r#"{"max_tokens": 100, "x":1.0}"#, 1)))),
        (Anthropic, r#"{"max_tokens": 100}"#, Ok(None)),
        (Anthropic, r#"{"model":"m"}"#, Ok(Some((r#"{"max_tokens":100,"model":"m"}"#, 1)))),
        (OpenAi, r#"{"model":"m"}"#, Ok(Some((r#"{"max_completion_tokens":100,"model":"m"}"#, 1)))),
        (OpenAi, "{}", Ok(Some((r#"{"max_completion_tokens":100}"#, 1)))),
        (OpenAi, r#"{"max_tokens":7}"#, Ok(None)),
        (
            OpenAi,
            r#"{"max_tokens":101,"max_completion_tokens":1000}"#,
            Ok(Some((r#"{"max_tokens":100,"max_completion_tokens":100}"#, 2))),
        ),
        (
            OpenAi,
            r#"{"max_tokens":null,"max_completion_tokens":null}"#,
            Ok(Some((r#"{"max_tokens":null,"max_completion_tokens":100}"#, 1))),
        ),
        (OpenAiCompatible, r#"{"max_tokens":null}"#, Ok(Some((r#"{"max_tokens":100}"#, 1)))),
        // Of several answers all together.
        (OpenAi, r#"{"n":4,"max_tokens":100}"#, Ok(Some((r#"{"n":4,"max_tokens":25}"#, 1)))),
        (OpenAi, r#"{"n":null,"max_tokens":100}"#, Ok(None)),
        (OpenAi, r#"{"n":101}"#, Err("more answers are asked for")),
        (OpenAi, r#"{"max_tokens":"5"}"#, Err("must be a whole number")),
        (OpenAi, r#"{"max_tokens":1e9}"#, Err("must be a whole number")),
        (OpenAi, r#"{"max_tokens":-1}"#, Err("must be a whole number")),
        (OpenAi, r#"{"n":"9"}"#, Err("must be a whole number")),
        // To some no limit at all, also where the limit that counts is added beside it.
        (OpenAiCompatible, r#"{"max_tokens":0}"#, Err("\"max_tokens\" must be above 0")),
        (OpenAiCompatible, r#"{"max_tokens":9,"n_predict":0}"#, Err("\"n_predict\" must be above 0")),
        (Anthropic, r#"{"max_completion_tokens":-0}"#, Err("must be")),
        (OpenAi, r#"{"Max_Tokens":5000}"#, Err("spelled in another way")),
        (OpenAiCompatible, r#"{"maxOutputTokens":5000}"#, Err("spelled in another way")),
        // OpenAI keeps to either, and refuses both together.
        (OpenAi, r#"{"max_completion_tokens":50}"#, Ok(None)),
        (OpenAi, r#"{"max_tokens":50,"max_completion_tokens":null}"#, Ok(None)),
        // What only resembles it may know the older one alone, and is told no more than was asked for.
        (
            OpenAiCompatible,
            r#"{"max_completion_tokens":50}"#,
            Ok(Some((r#"{"max_tokens":50,"max_completion_tokens":50}"#, 1))),
        ),
        (
            OpenAiCompatible,
            r#"{"max_completion_tokens":5000}"#,
            Ok(Some((r#"{"max_tokens":100,"max_completion_tokens":100}"#, 2))),
        ),
        (
            OpenAiCompatible,
            r#"{"max_tokens":null,"max_completion_tokens":50}"#,
            Ok(Some((r#"{"max_tokens":50,"max_completion_tokens":50}"#, 1))),
        ),
        (
            Anthropic,
            r#"{"max_completion_tokens":50}"#,
            Ok(Some((r#"{"max_tokens":50,"max_completion_tokens":50}"#, 1))),
        ),
        // By every other name that is known.
        (
            OpenAiCompatible,
            r#"{"max_tokens":10,"max_output_tokens":500,"max_new_tokens":500,"n_predict":50}"#,
            Ok(Some((r#"{"max_tokens":10,"max_output_tokens":100,"max_new_tokens":100,"n_predict":50}"#, 2))),
        ),
        (OpenAiCompatible, r#"{"max_tokens":10,"n_predict":-1}"#, Err("must be a whole number")),
        // Of all that are made to choose among.
        (
            OpenAiCompatible,
            r#"{"n":2,"best_of":50,"max_tokens":100}"#,
            Ok(Some((r#"{"n":2,"best_of":50,"max_tokens":2}"#, 1))),
        ),
        (OpenAiCompatible, r#"{"best_of":101}"#, Err("more answers are asked for")),
        (OpenAiCompatible, r#"{"num_return_sequences":101}"#, Err("more answers are asked for")),
        // Where nobody lowers it.
        (OpenAiCompatible, r#"{"options":{"num_predict":9}}"#, Err("\"options\" may hold a limit")),
        (OpenAiCompatible, r#"{"options":null,"max_tokens":10}"#, Ok(None)),
        (OpenAiCompatible, r#"{"generationConfig":{}}"#, Err("\"generationConfig\" may hold a limit")),
        (OpenAiCompatible, r#"{"some":{"maxNewTokens":9}}"#, Err("\"some\" may hold a limit")),
        (OpenAiCompatible, r#"{"max_tokens":10,"metadata":{"n":"9"},"stream_options":{}}"#, Ok(None)),
        (Azure, "{}", Ok(Some((r#"{"max_completion_tokens":100}"#, 1)))),
        // Gemini has it in an object.
        (Gemini, "{}", Ok(Some((r#"{"generationConfig":{"maxOutputTokens":100}}"#, 1)))),
        (
            Gemini,
            r#"{"contents":[],"generationConfig":null}"#,
            Ok(Some((r#"{"contents":[],"generationConfig":{"maxOutputTokens":100}}"#, 1))),
        ),
        (
            Gemini,
            r#"{"generationConfig":{ "topK":1.0}}"#,
            Ok(Some((r#"{"generationConfig":{"maxOutputTokens":100, "topK":1.0}}"#, 1))),
        ),
        (
            Gemini,
            r#"{"generationConfig":{"maxOutputTokens":5000,"candidateCount":4}}"#,
            Ok(Some((r#"{"generationConfig":{"maxOutputTokens":25,"candidateCount":4}}"#, 1))),
        ),
        (Gemini, r#"{"generationConfig":{"maxOutputTokens":25,"candidateCount":4}}"#, Ok(None)),
        (Gemini, r#"{"generationConfig":{"maxOutputTokens":"5"}}"#, Err("must be a whole number")),
        (Gemini, r#"{"generationConfig":{"maxOutputTokens":0}}"#, Err("must be above 0")),
        (Gemini, r#"{"generationConfig":{"candidateCount":101}}"#, Err("more answers are asked for")),
        (Gemini, r#"{"generationConfig":{"max_output_tokens":5}}"#, Err("spelled in another way")),
        (Gemini, r#"{"generation_config":{}}"#, Err("spelled in another way")),
        // Bedrock too.
        (Bedrock, "{}", Ok(Some((r#"{"inferenceConfig":{"maxTokens":100}}"#, 1)))),
        (
            Bedrock,
            r#"{"inferenceConfig":{"maxTokens":5000,"topP":1.0}}"#,
            Ok(Some((r#"{"inferenceConfig":{"maxTokens":100,"topP":1.0}}"#, 1))),
        ),
        (Bedrock, r#"{"inferenceConfig":{"maxTokens":99}}"#, Ok(None)),
        (Bedrock, r#"{"inferenceConfig":{"max_tokens":5}}"#, Err("spelled in another way")),
        (Bedrock, r#"{"InferenceConfig":{}}"#, Err("spelled in another way")),
    ] {
        let method = match provider {
            Anthropic => "messages",
            Gemini => "models.generate_content",
            Bedrock => "converse",
            Azure | OpenAi | OpenAiCompatible => "chat.completions",
        };
        let capped = cap::of(provider, method, body, 100).map_err(|refusal| refusal.message.to_string());
        match (capped, expected) {
            (Ok(capped), Ok(expected)) => {
                assert_eq!(
                    capped,
                    expected.map(|(body, count): (&str, u64)| (body.to_owned(), count)),
                    "{body}"
                );
            }
            (Err(message), Err(expected)) => assert!(message.contains(expected), "{body}: {message}"),
            (capped, expected) => panic!("{body}: {capped:?} {expected:?}"),
        }
    }
}

/// What is capped is the caller's message, whatever API its provider speaks.
#[test]
fn a_message_for_a_provider_of_another_api_is_capped_in_its_own() {
    for (provider, method, expected) in [
        (ProviderType::Gemini, "chat.completions", r#"{"max_completion_tokens":100}"#),
        (ProviderType::Anthropic, "chat.completions", r#"{"max_completion_tokens":100}"#),
        (ProviderType::Gemini, "messages", r#"{"max_tokens":100}"#),
        (ProviderType::OpenAi, "messages", r#"{"max_tokens":100}"#),
        (ProviderType::Bedrock, "messages", r#"{"max_tokens":100}"#),
        (ProviderType::Bedrock, "chat.completions", r#"{"max_completion_tokens":100}"#),
        (ProviderType::OpenAi, "models.generate_content", r#"{"generationConfig":{"maxOutputTokens":100}}"#),
    ] {
        let capped = cap::of(provider, method, "{}", 100).expect("capped");
        assert_eq!(capped, Some((expected.to_owned(), 1)), "{provider:?} {method}");
    }
}

/// OpenAI's responses have one limit, whoever answers them.
#[test]
fn a_response_is_capped_by_its_own_member() {
    for provider in [ProviderType::OpenAi, ProviderType::Azure, ProviderType::OpenAiCompatible] {
        for (body, expected) in [
            (r#"{"input":"x"}"#, Some(r#"{"max_output_tokens":100,"input":"x"}"#)),
            (r#"{"max_output_tokens":5000}"#, Some(r#"{"max_output_tokens":100}"#)),
            (r#"{"max_output_tokens":5}"#, None),
        ] {
            let capped = cap::of(provider, "responses", body, 100).expect("capped");
            assert_eq!(capped.as_ref().map(|(body, _)| body.as_str()), expected, "{provider:?} {body}");
        }
    }
}

/// A header that repeats an argument does not say what the argument does not say any more.
#[test]
fn headers_do_not_repeat_what_is_redacted() {
    let message =
        json!({"method": "tools/call", "params": {"name": "t", "arguments": {"card": "4111", "to": "ada"}}});
    let demands = Demands {
        arguments: pointers(&["/card"]),
        found: TakenOut::default(),
        tokens: None,
        answer: None,
        screen: None,
    };
    let mut headers = HeaderMap::new();
    for (name, value) in [("mcp-param-card", "4111"), ("mcp-param-to", "ada"), ("mcp-method", "tools/call")] {
        headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    let to = Destination::Server(server());
    let (body, changed) = demands
        .request(Bytes::from(message.to_string()), &mut headers, ("tools/call", &to))
        .expect("a request");
    let body: Value = serde_json::from_slice(&body).expect("JSON");
    assert_eq!(body["params"]["arguments"], json!({"card": "[redacted]", "to": "ada"}));
    assert_eq!(changed.redact, 1);
    assert_eq!(headers["mcp-param-card"], "[redacted]");
    assert_eq!(headers["mcp-param-to"], "ada");
    assert_eq!(headers["mcp-method"], "tools/call");
    // What asks for an earlier answer has no arguments.
    for body in ["", r#"{"method":"tasks/get","params":{"taskId":"1"}}"#] {
        let same = demands.request(body.into(), &mut headers, ("tasks/get", &to)).expect("a request");
        assert_eq!((&*same.0, same.1.redact), (body.as_bytes(), 0));
    }
}

/// Of the request 1, and one task, `sealed`.
fn own() -> Own {
    Own { id: Some("1".into()), is_task: std::sync::Arc::new(|id: &str| id == "sealed") }
}

fn of_result(result: &Value) -> Result<Value, String> {
    let redaction = Redaction::new(pointers(&["/card", "/rows/*/iban"]), "1".into());
    let message = json!({"jsonrpc": "2.0", "id": 1, "result": result}).to_string();
    let redacted = redaction.message(&message, &own()).map_err(|refusal| refusal.message.to_string())?;
    let answer: Value = serde_json::from_str(&redacted.unwrap_or(message)).expect("JSON");
    Ok(answer["result"].clone())
}

#[test]
fn what_a_tool_answers_is_redacted_in_every_place_that_has_it() {
    let data = json!({"card": "4111", "rows": [{"iban": "DE1", "to": "ada"}, {"iban": 5}]});
    let without =
        json!({"card": "[redacted]", "rows": [{"iban": "[redacted]", "to": "ada"}, {"iban": "[redacted]"}]});
    let result = |data: &Value| {
        json!({"structuredContent": data, "content": [{"type": "text", "text": data.to_string()}],
            "isError": false, "_meta": data})
    };
    assert_eq!(of_result(&result(&data)), Ok(result(&without)));
    // Also in the task that the call became.
    let task =
        |data: &Value| json!({"taskId": "sealed", "status": "completed", "ttlMs": 5, "result": result(data)});
    assert_eq!(of_result(&task(&data)), Ok(task(&without)));
    for (result, expected) in [
        (json!({"content": []}), ""),
        (json!({"content": [{"type": "text", "text": "card 4111"}]}), "\"text\" is not of a form"),
        (json!({"content": [{"type": "text", "text": "4111"}]}), "\"text\" is not of a form"),
        (json!({"content": [{"type": "text", "text": "{\"card\": 1"}]}), "could not be read"),
        (
            json!({"content": [{"type": "image", "data": "AAAA", "mimeType": "image/png"}]}),
            "\"data\" is not of a form",
        ),
        (
            json!({"content": [{"type": "resource", "resource": {"text": "{}"}}]}),
            "\"resource\" is not of a form",
        ),
        (json!({"content": [{"text": "{}"}]}), "\"content\" is not of a form"),
        (json!({"content": {"type": "text"}}), "could not be read"),
        (json!({"structuredContent": "4111"}), "\"data\" is not of a form"),
        (json!({"StructuredContent": {"card": 1}}), "a member of it is not of a form"),
        (json!({"status": {"card": 1}}), "\"status\" is not of a form"),
        (json!({"inputRequests": {}}), "\"inputRequests\" is not of a form"),
        (json!([1]), "could not be read"),
    ] {
        let message = of_result(&result).err().unwrap_or_default();
        assert!(
            message.contains(expected) && message.is_empty() == expected.is_empty(),
            "{result}: {message}"
        );
    }
}

/// Attack: words in members that are of another form.
#[test]
fn what_a_member_is_not_for_does_not_pass_in_it() {
    for (name, value, passes) in [
        ("isError", json!(true), true),
        ("isError", json!("4111"), false),
        ("resultType", json!("complete"), true),
        ("resultType", json!("4111"), false),
        ("status", json!("working"), true),
        ("status", json!("4111"), false),
        ("taskId", json!("sealed"), true),
        ("taskId", json!("4111"), false),
        ("createdAt", json!("2026-11-28T01:02:03.000Z"), true),
        ("createdAt", json!("2026-11-28T01:02:03Z[4111]"), false),
        ("lastUpdatedAt", json!("4111"), false),
        ("ttl", json!(60_000), true),
        ("ttl", Value::Null, true),
        ("ttl", json!("4111"), false),
        ("ttlMs", json!(4_111_111_111_111_111_u64), false),
        ("pollInterval", json!(1.5), false),
        ("4111", json!(1), false),
    ] {
        let redacted = of_result(&json!({"content": [], name: value}));
        assert_eq!(redacted.is_ok(), passes, "{name} {value}");
        // A refusal says nothing that the server said.
        assert!(!redacted.is_err_and(|message| message.contains("4111")), "{name} {value}");
    }
    let words = of_result(&json!({"status": "failed", "statusMessage": "card 4111"}));
    assert_eq!(words, Ok(json!({"status": "failed", "statusMessage": "[redacted]"})));
}

/// An error has its code, where it is of a known range; what it has beside its words is data.
#[test]
fn an_error_has_no_words() {
    let redaction = Redaction::new(pointers(&["/card"]), "1".into());
    let of = |message: &str| {
        let redacted = redaction.message(message, &own()).map_err(|refusal| refusal.to_string())?;
        Ok::<Value, String>(redacted.as_deref().unwrap_or(message).parse().expect("JSON"))
    };
    for (code, told) in
        [("-32602", -32602), ("-32000", -32000), ("4111", -32000), ("\"4111\"", -32000), ("1.5", -32000)]
    {
        let message =
            format!(r#"{{"id":1,"error":{{"code":{code},"message":"no 4111","data":{{"card":1}}}}}}"#);
        let error = of(&message).expect("an error")["error"].clone();
        assert_eq!((&error["code"], &error["data"]), (&json!(told), &json!({"card": "[redacted]"})));
        assert!(!error.to_string().contains("4111"), "{error}");
    }
    for (other, passes) in [
        (r#"{"id":null,"error":{"code":-32700,"message":"x"}}"#, true),
        (r#"{"error":{"code":-32700,"message":"x"}}"#, true),
        (r#"{"id":1,"error":{"code":-32000,"message":"x","data":"4111"}}"#, false),
        (r#"{"id":1,"error":{"code":-32000,"message":"x","4111":1}}"#, false),
        (r#"{"id":1,"error":{"code":-32042,"message":"x","data":{"elicitations":[]}}}"#, false),
        (r#"{"id":"4111","error":{"code":-32000,"message":"x"}}"#, false),
        (r#"{"id":2,"result":{}}"#, false),
        (r#"{"result":{}}"#, false),
        (r#"{"jsonrpc":"4111","id":1,"result":{}}"#, false),
        (r#"[{"id":1,"result":{}}]"#, false),
        (r#"{"id":1,"result":{},"Result":{}}"#, false),
        (r#"{"id":1,"method":"x"}"#, false),
        ("data", false),
    ] {
        let of_other = of(other);
        assert_eq!(of_other.is_ok(), passes, "{other}");
        assert!(!of_other.is_err_and(|said| said.contains("4111")), "{other}");
    }
}

/// Attack: words in what a refusal says of the upstream.
#[test]
fn a_refusal_has_no_words_of_the_upstream() {
    use vidimus_core::refusal::{Answered, Code, Refusal};
    for (after, told) in [("120", Some("120")), ("4111-1111", None), ("Fri, 27 Nov 2026 12:00:00 GMT", None)]
    {
        let mut refusal = Refusal::new(Code::UpstreamInvalid, "x").with_detail("card 4111");
        refusal.upstream = Some(Box::new(Answered { status: 500, retry_after: Some(after.into()) }));
        let refusal = Redaction::without_words(refusal);
        let upstream = refusal.upstream.expect("an answer");
        assert_eq!((upstream.status, upstream.retry_after.as_deref(), refusal.detail), (500, told, None));
    }
}

#[derive(Debug)]
struct Passes;

impl EventFilter for Passes {
    fn filter(&mut self, _event: &[u8]) -> Result<Option<Vec<u8>>, vidimus_core::refusal::Refusal> {
        Ok(None)
    }
}

/// Of a stream of events the answer passes, and nothing that the server says beside it.
#[test]
fn of_events_only_the_answer_passes() {
    let redaction = Redaction::new(pointers(&["/card"]), "1".into());
    let mut events = redaction.after(Box::new(Passes), own());
    for (event, expected) in [
        (": ping 4111\n\n", Some(":\n\n")),
        ("event: 4111\nretry: 4111\n4111: 4111\ndata: \n\n", Some("data: \n\n")),
        ("data: {\"id\":\"4111\",\"result\":{\"x\":\"4111\"}}\n\n", Some("")),
        (
            "id: 1\ndata: {\"id\":1,\"result\":{\"structuredContent\":{\"card\":1}}}\n\n",
            Some("id: 1\ndata: {\"id\":1,\"result\":{\"structuredContent\":{\"card\":\"[redacted]\"}}}\n\n"),
        ),
        ("data: {\"method\":\"notifications/message\",\"params\":{\"data\":\"4111\"}}\n\n", Some("")),
        ("data: {\"id\":1,\"result\":{}}\n\n", Some("data: {\"id\":1,\"result\":{}}\n\n")),
        ("", Some("")),
    ] {
        let passed = events.filter(event.as_bytes()).expect("an event");
        assert_eq!(
            passed.map(|bytes| String::from_utf8(bytes).expect("text")).as_deref(),
            expected,
            "{event}"
        );
    }
    let asks = b"data: {\"id\":7,\"method\":\"elicitation/create\",\"params\":{\"message\":\"4111\"}}\n\n";
    assert!(events.filter(asks).is_err());
    assert!(events.filter(b"data: 4111\n\n").is_err());
}

/// Attack: an answer of which something is redacted, on the stream of a call of which nothing is.
#[test]
fn what_answers_a_redacted_call_is_told_by_its_id() {
    let id = super::answer::fresh_id();
    assert_ne!(id, super::answer::fresh_id());
    for (message, expected) in [
        (format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{}}}}"#), true),
        (format!(r#"{{"id":{}}}"#, id.replace("vidimus", r"\u0076idimus")), true),
        (format!(r#"{{"id":1,"id":{id}}}"#), true),
        (format!(r#"[{{"id":{id},"result":{{}}}}]"#), true),
        (format!(r#"{{"id":1,"result":{{"id":{id}}}}}"#), false),
        (r#"{"id":1,"result":{}}"#.to_owned(), false),
        (r#"{"id":"\u0041","result":{}}"#.to_owned(), false),
    ] {
        assert_eq!(answers_redacted(&message), expected, "{message}");
    }
}

/// The request goes out by an id of its own, and its answer comes back by the caller's, in the type that it had.
#[test]
fn a_request_whose_answer_is_redacted_has_an_id_of_its_own() {
    let redaction = Redaction::new(pointers(&["/card"]), "\"own\"".into());
    let demands = Demands {
        arguments: Pointers::default(),
        found: TakenOut::default(),
        tokens: None,
        answer: Some(redaction.clone()),
        screen: None,
    };
    let to = Destination::Server(server());
    let sent = |body: &'static str| {
        let request = demands.request(Bytes::from(body), &mut HeaderMap::new(), ("tools/call", &to));
        request.map(|(body, _)| body).map_err(|refusal| refusal.code.as_str())
    };
    assert_eq!(sent(r#"{"id": 1, "x":1e3}"#), Ok(Bytes::from(r#"{"id": "own", "x":1e3}"#)));
    assert_eq!(sent(""), Ok(Bytes::new()));
    assert_eq!(sent(r#"{"method":"x"}"#), Err("change_impossible"));
    for asked in ["2", "\"2\""] {
        let own = Own { id: Some(asked.into()), ..own() };
        let answer = redaction.message(r#"{"id":"own","result":{}}"#, &own).expect("an answer");
        assert_eq!(answer.as_deref(), Some(&*format!(r#"{{"id":{asked},"result":{{}}}}"#)));
        assert!(redaction.message(&format!(r#"{{"id":{asked},"result":{{}}}}"#), &own).is_err());
    }
    // Nothing answers where nobody waits for an answer.
    let nobody = Own { id: None, ..own() };
    assert!(redaction.message(r#"{"id":"own","result":{}}"#, &nobody).is_err());
}
