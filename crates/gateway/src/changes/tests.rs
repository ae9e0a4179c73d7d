use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::{Value, json};
use vidimus_core::call::Destination;
use vidimus_core::resource::llm_provider::ProviderType;

use super::pointers::Pointers;
use super::{Demands, Redaction, cap};
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
        let mut found = 0;
        let redacted = pointers(leads).redacted(document, &mut found).expect("JSON");
        assert_eq!((redacted, found), (expected, count), "{leads:?}");
    }
}

#[test]
fn an_answer_is_capped_in_every_form_of_its_limit() {
    use ProviderType::{Anthropic, OpenAi, OpenAiCompatible};
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
    ] {
        let capped = cap::capped(body, 100, provider).map_err(|refusal| refusal.message.to_string());
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

/// A header that repeats an argument does not say what the argument does not say any more.
#[test]
fn headers_do_not_repeat_what_is_redacted() {
    let message =
        json!({"method": "tools/call", "params": {"name": "t", "arguments": {"card": "4111", "to": "ada"}}});
    let demands = Demands { arguments: pointers(&["/card"]), tokens: None, answer: None };
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

fn of_result(result: &Value) -> Result<Value, String> {
    let redaction = Redaction::new(pointers(&["/card", "/rows/*/iban"]));
    let message = json!({"jsonrpc": "2.0", "id": 1, "result": result}).to_string();
    let redacted = redaction.message(&message).map_err(|refusal| refusal.message.to_string())?;
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
        |data: &Value| json!({"taskId": "t", "status": "completed", "ttlMs": 5, "result": result(data)});
    assert_eq!(of_result(&task(&data)), Ok(task(&without)));
    for (result, expected) in [
        (json!({"content": []}), ""),
        (json!({"content": [{"type": "text", "text": "card 4111"}]}), "\"text\" is not JSON"),
        (json!({"content": [{"type": "text", "text": "4111"}]}), "\"text\" is not JSON"),
        (json!({"content": [{"type": "text", "text": "{\"card\": 1"}]}), "could not be read"),
        (
            json!({"content": [{"type": "image", "data": "AAAA", "mimeType": "image/png"}]}),
            "\"data\" is not JSON",
        ),
        (json!({"content": [{"type": "resource", "resource": {"text": "{}"}}]}), "\"resource\" is not JSON"),
        (json!({"content": [{"text": "{}"}]}), "\"content\" is not JSON"),
        (json!({"content": {"type": "text"}}), "could not be read"),
        (json!({"structuredContent": "4111"}), "\"data\" is not JSON"),
        (json!({"StructuredContent": {"card": 1}}), "\"StructuredContent\" is not JSON"),
        (json!({"status": {"card": 1}}), "\"status\" is not JSON"),
        (json!({"inputRequests": {}}), "\"inputRequests\" is not JSON"),
        (json!([1]), "could not be read"),
    ] {
        let message = of_result(&result).err().unwrap_or_default();
        assert!(
            message.contains(expected) && message.is_empty() == expected.is_empty(),
            "{result}: {message}"
        );
    }
    // An error has its words; what it has beside them is data.
    let redaction = Redaction::new(pointers(&["/card"]));
    let error = |data: &str| format!(r#"{{"id":1,"error":{{"code":-1,"message":"no","data":{data}}}}}"#);
    let redacted = redaction.message(&error(r#"{"card":1}"#)).expect("an error");
    assert_eq!(redacted, Some(error(r#"{"card":"[redacted]"}"#)));
    assert!(redaction.message(&error("\"4111\"")).is_err());
    for other in [
        r#"[{"id":1,"result":{}}]"#,
        r#"{"id":1,"result":{},"Result":{}}"#,
        r#"{"id":1,"method":"x"}"#,
        "data",
    ] {
        assert!(redaction.message(other).is_err(), "{other}");
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
    let redaction = Redaction::new(pointers(&["/card"]));
    let mut events = redaction.clone().after(Box::new(Passes));
    for (event, expected) in [
        (": ping\n\n", None),
        (
            "id: 1\ndata: {\"id\":1,\"result\":{\"structuredContent\":{\"card\":1}}}\n\n",
            Some("id: 1\ndata: {\"id\":1,\"result\":{\"structuredContent\":{\"card\":\"[redacted]\"}}}\n\n"),
        ),
        ("data: {\"method\":\"notifications/message\",\"params\":{\"data\":\"4111\"}}\n\n", Some("")),
        ("data: {\"id\":1,\"result\":{}}\n\n", None),
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
