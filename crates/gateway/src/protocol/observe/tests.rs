use super::*;

const OPENAI: &str = "data: {\"choices\":[{\"delta\":{\"content\":\"x\"}}],\"usage\":null}\n\n\
    data: {\"choices\":[],\"usage\":{\"prompt_tokens\":7,\"completion_tokens\":11,\"total_tokens\":18}}\n\ndata: [DONE]\n\n";
const ANTHROPIC: &str = "event: message_start\r\ndata: {\"type\":\"message_start\",\"message\":{\"usage\":{\"input_tokens\":7,\"output_tokens\":1}}}\r\n\r\n\
    event: message_delta\r\ndata: {\"type\":\"message_delta\",\"usage\":{\"output_tokens\":11}}\r\n\r\n";

/// An answer to the request 1.
fn sought(observe: Observe) -> Sought {
    Sought { observe, id: (observe == Observe::Rpc).then(|| "1".into()) }
}

fn events(observe: Observe, text: &[u8], size: usize) -> Observation {
    let mut observer = Observer::events(sought(observe));
    text.chunks(size).for_each(|chunk| observer.push(chunk));
    observer.finish()
}

fn document(observe: Observe, text: &[u8], size: usize) -> Observation {
    let mut observer = Observer::document(sought(observe));
    text.chunks(size).for_each(|chunk| observer.push(chunk));
    observer.finish()
}

/// Whether it is an error, and whether something was left unread.
fn faults(found: Observation) -> (bool, bool) {
    (found.is_error, found.unread)
}

#[test]
fn usage_is_found_however_the_stream_is_cut() {
    let usage = Usage { input: Some(7), output: Some(11), ..Usage::default() };
    for text in [OPENAI, ANTHROPIC, &format!("\u{feff}{OPENAI}"), &OPENAI.replace("\n", "\r")] {
        for size in 1..=text.len() {
            let found = events(Observe::Model, text.as_bytes(), size);
            let answered = text.contains("[DONE]");
            let Observation { choices, written, .. } = found;
            assert!(written.is_some_and(|written| written.tokens() == u64::from(answered)), "{text}");
            let expected = Observation { usage, answered, choices, written, ..Observation::default() };
            assert_eq!(found, expected, "chunks of {size}: {text}");
        }
    }
}

/// What Anthropic keeps of a question is told apart, once or with each count; a later count without it is not the less.
#[test]
fn what_is_kept_of_a_question_is_counted_in_streams() {
    let event = |usage: &str| format!("data: {usage}\n\n");
    let begun = event(
        r#"{"type":"message_start","message":{"usage":{"input_tokens":7,"cache_read_input_tokens":100,"cache_creation_input_tokens":20,"output_tokens":1}}}"#,
    );
    for said in [
        r#"{"output_tokens":11}"#,
        r#"{"input_tokens":7,"output_tokens":11}"#,
        r#"{"input_tokens":null,"cache_read_input_tokens":100,"output_tokens":11}"#,
        r#"{"input_tokens":7,"cache_read_input_tokens":100,"cache_creation_input_tokens":20,"output_tokens":11}"#,
    ] {
        let text = begun.clone() + &event(&format!(r#"{{"type":"message_delta","usage":{said}}}"#));
        for size in [1, 7, usize::MAX] {
            let found = events(Observe::Model, text.as_bytes(), size).usage;
            let (cached, cache_written) = (Some(100), Some(20));
            let expected =
                Usage { input: Some(127), output: Some(11), cached, cache_written, reasoning: None };
            assert_eq!(found, expected, "chunks of {size}: {text}");
        }
    }
}

#[test]
fn an_error_in_a_stream_is_found_however_it_is_written() {
    let error = r#"{"jsonrpc":"2.0","id":1,"error":{"code":1,"message":""}}"#;
    let tool = r#"{"jsonrpc":"2.0","id":1,"result":{"isError":true}}"#;
    let long = format!(r#"{{"x":"{}","error":{{"code":1}}}}"#, "x".repeat(300_000));
    for (what, text) in [
        ("one line", format!("data: {error}\n\n")),
        ("no space", format!("data:{tool}\r\n\r\n")),
        ("a byte order mark", format!("\u{feff}data: {error}\n\n")),
        ("several lines", format!("data: {}\n\n", error.replace(",", ",\ndata: "))),
        ("an empty line of data first", format!("data\ndata: {error}\n\n")),
        ("a line over 256 KiB", format!("data: {long}\n\n")),
        ("after others", format!(": ping\n\nevent: x\ndata: {{}}\n\ndata: {error}\n\n")),
        ("an event whose empty line never came", format!("data: {error}")),
        ("an escaped name", "data: {\"\\u0065rror\":{}}\n\n".to_owned()),
    ] {
        for size in [1, 2, 3, 7, 64, 4096, usize::MAX] {
            let found = events(Observe::Rpc, text.as_bytes(), size);
            assert_eq!(faults(found), (true, false), "{what}, chunks of {size}");
        }
    }
    for text in [
        "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\"}}\n\n",
        "data: {\"choices\":[]}\n\ndata: {\"error\":{\"message\":\"x\",\"code\":502}}\n\ndata: [DONE]\n\n",
    ] {
        assert_eq!(faults(events(Observe::Model, text.as_bytes(), 5)), (true, false), "{text}");
    }
}

#[test]
fn what_is_no_message_is_passed_over_and_a_broken_one_is_unread() {
    for (text, unread) in [
        ("data: [DONE]\n\n", false),
        ("data: ping\n\n: ping\n\ndata:\n\n", false),
        ("data: {\"a\":1}\n\n", false),
        ("data: {\"a\":\n\ndata: {\"error\":1\n\n", true),
        ("data: {\"error\":{}}}\n\n", true),
    ] {
        for size in [1, 5, usize::MAX] {
            assert_eq!(
                events(Observe::Rpc, text.as_bytes(), size).unread,
                unread,
                "{text} in chunks of {size}"
            );
        }
    }
}

#[test]
fn a_document_of_any_length_is_read_and_what_is_none_is_unread() {
    let long = "\u{e9}\\n".repeat(700_000);
    let usage = format!(r#"{{"x":"{long}","usage":{{"prompt_tokens":3,"input_tokens":3}}}}"#);
    let error = format!(r#"{{"x":"{long}","error":{{"code":1}}}}"#);
    for size in [1000, usize::MAX] {
        assert_eq!(
            document(Observe::Model, usage.as_bytes(), size).usage,
            Usage { input: Some(3), output: None, ..Usage::default() }
        );
        assert_eq!(faults(document(Observe::Rpc, error.as_bytes(), size)), (true, false));
    }
    for (text, unread) in [
        (&b""[..], false),
        (b" \n", false),
        (b"{}", false),
        (b"\xef\xbb\xbf{}", false),
        (b"{\"result\":", true),
        (b"<html>", true),
        (b"text", true),
        (b"\x1f\x8b\x08", true),
    ] {
        for observe in [Observe::Model, Observe::Rpc] {
            let expected = Observation { unread, ..Observation::default() };
            assert_eq!(document(observe, text, 2), expected, "{text:?}");
            assert_eq!(Observation::of(&sought(observe), text), expected, "{text:?}");
        }
    }
    let mut encoded = Observer::encoded(sought(Observe::Rpc));
    encoded.push(b"\x1f\x8b\x08");
    assert_eq!(encoded.finish(), Observation { unread: true, ..Observation::default() });
}

#[test]
fn a_whole_document_is_found_to_be_an_error_or_not() {
    for (text, error) in [
        (r#"{"jsonrpc":"2.0","id":1,"error":{"code":1,"message":""}}"#, true),
        (r#"{"jsonrpc":"2.0","id":1,"result":{"content":[],"isError":true}}"#, true),
        (r#"{"jsonrpc":"2.0","id":1,"result":{"content":[],"isError":false}}"#, false),
        (r#"{"jsonrpc":"2.0","id":1,"result":{"content":[{"text":"{\"error\":1}"}]}}"#, false),
        (r#"{"jsonrpc":"2.0","method":"notifications/message","params":{"error":1}}"#, false),
    ] {
        assert_eq!(faults(Observation::of(&sought(Observe::Rpc), text.as_bytes())), (error, false), "{text}");
    }
    let both = br#"{"usage":{"prompt_tokens":3,"input_tokens":3,"completion_tokens":4,"output_tokens":4}}"#;
    assert_eq!(
        Observation::of(&sought(Observe::Model), both).usage,
        Usage { input: Some(3), output: Some(4), ..Usage::default() }
    );
}

/// Whether the request 1 is answered, as one document, as one in pieces, and as the data of an event, whole and in pieces.
fn answered(observe: Observe, text: &str) -> [bool; 4] {
    let event = format!("event: x\ndata: {text}\n\n");
    [
        Observation::of(&sought(observe), text.as_bytes()).answered,
        document(observe, text.as_bytes(), 3).answered,
        events(observe, event.as_bytes(), usize::MAX).answered,
        events(observe, event.as_bytes(), 3).answered,
    ]
}

#[test]
fn a_request_is_answered_by_the_response_to_it() {
    for (text, expected) in [
        (r#"{"jsonrpc":"2.0","id":1,"result":{}}"#, true),
        (r#"{ "jsonrpc": "2.0", "id": 1, "result": {} }"#, true),
        (r#"{"result":{"content":[]},"jsonrpc":"2.0","id":1}"#, true),
        (r#"{"id":1,"jsonrpc":"2.0","result":{"content":[{"text":"\u00e9"}]}}"#, true),
        (r#"{"jsonrpc":"2.0","result":{},"id":1}"#, true),
        (r#"{"jsonrpc":"2.0","id":2,"result":{}}"#, false),
        (r#"{"jsonrpc":"2.0","id":"1","result":{}}"#, false),
        (r#"{"jsonrpc":"2.0","id":11,"result":{}}"#, false),
        (r#"{"result":{"content":[]},"jsonrpc":"2.0","id":11}"#, false),
        (r#"{"jsonrpc":"2.0","id":1,"method":"ping","params":{"result":{}}}"#, false),
        (r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"id":1,"result":{}}}"#, false),
        (r#"[{"jsonrpc":"2.0","id":1,"result":{}}]"#, false),
        (r#"{"jsonrpc":"2.0","id":1}"#, false),
        ("{}", false),
        ("ping", false),
        ("", false),
    ] {
        assert_eq!(answered(Observe::Rpc, text), [expected; 4], "{text}");
        // Where no response is due, whatever comes is one.
        let nothing_due = Sought { observe: Observe::Rpc, id: None };
        assert!(Observation::of(&nothing_due, text.as_bytes()).answered, "{text}");
    }
    let response = r#"{"jsonrpc":"2.0","id":1,"result":{}}"#;
    for (text, expected) in [
        (format!("data: {{\"a\":1}}\n\ndata: {response}\n\ndata: {{\"a\":1}}\n\n"), true),
        (format!("data: {response}\n\ndata: {{\"a\":"), true),
        (format!("data: {response}"), false),
        (format!("data: {response}\n"), false),
        (format!("{response}\n\n"), false),
        (format!(": {response}\n\n"), false),
    ] {
        for size in [1, 7, usize::MAX] {
            assert_eq!(events(Observe::Rpc, text.as_bytes(), size).answered, expected, "{text}");
        }
    }
}

#[test]
fn a_models_answer_has_come_to_its_end_or_has_not() {
    for (text, as_document, as_event) in [
        (r#"{"choices":[{"message":{"content":"x"},"finish_reason":"stop"}]}"#, true, true),
        (r#"{"choices":[{"delta":{"content":"x"},"finish_reason":null}]}"#, true, false),
        (r#"{"type":"message","content":[]}"#, true, false),
        (r#"{"input_tokens":3}"#, true, false),
        (r#"{"type":"message_stop"}"#, false, true),
        (r#"{"object":"response","output":[],"status":"completed"}"#, true, false),
        (r#"{"type":"response.output_text.delta","delta":"x"}"#, false, false),
        (r#"{"type":"response.completed","response":{}}"#, false, true),
        (r#"{"type":"response.incomplete","response":{}}"#, false, true),
        (r#"{"object":"list","data":[{"embedding":[0.5]}]}"#, true, false),
        // Gemini's, which are one, or a list where a stream is no events.
        (r#"{"candidates":[{"content":{"parts":[{"text":"x"}]},"finishReason":"STOP"}]}"#, true, true),
        (r#"{"candidates":[{"content":{"parts":[{"text":"x"}]}}]}"#, true, false),
        (r#"[{"candidates":[{"content":{}}]},{"candidates":[{"finishReason":"STOP"}]}]"#, true, false),
        (r#"[{"candidates":[{"content":{}}]},"#, false, false),
        (r#"{"promptFeedback":{"blockReason":"SAFETY"}}"#, true, true),
        (r#"{"totalTokens":3}"#, true, false),
        (r#"{"embedding":{"values":[0.5]}}"#, true, false),
        (r#"{"embeddings":[{"values":[0.5]}]}"#, true, false),
        (r#"[{"choices":[]}]"#, false, false),
        ("[DONE]", false, true),
        (r#"{"object":"list"}"#, false, false),
        ("{}", false, false),
        ("", false, false),
    ] {
        assert_eq!(answered(Observe::Model, text), [as_document, as_document, as_event, as_event], "{text}");
    }
    let error = r#"[{"error":{"code":400,"message":"x"}}]"#;
    assert_eq!(
        faults(Observation::of(&sought(Observe::Model), error.as_bytes())),
        (true, false),
        "Gemini's form"
    );
}

/// A2A over HTTP+JSON: what stands for the result is read as the result, and nothing beside it.
#[test]
fn a_result_that_stands_by_itself_answers_and_an_error_in_its_place_does_not() {
    let of = |observe: Observe| Sought { observe, id: Some("1".into()) };
    let error = r#"{"error":{"code":404,"status":"NOT_FOUND","details":[]}}"#;
    let failed = r#"{"task":{"id":"t","status":{"state":"TASK_STATE_FAILED"}}}"#;
    for (observe, text, answered, is_error, is_protocols, unread) in [
        (Observe::Bare, r#"{"id":"t","status":{"state":"TASK_STATE_WORKING"}}"#, true, false, false, false),
        (Observe::Bare, "{}", true, false, false, false),
        (Observe::Bare, error, false, true, true, false),
        (Observe::Bare, r#"{"error":"text"}"#, false, true, false, false),
        (Observe::Bare, r#"{"error":null,"id":"t"}"#, true, false, false, false),
        (Observe::Bare, r#"{"\u0065rror":{}}"#, false, true, true, false),
        (Observe::Bare, failed, true, false, false, false),
        (Observe::BareAgent, failed, true, true, false, false),
        (Observe::BareAgent, r#"{"id":"t","status":{"state":"failed"}}"#, true, true, false, false),
        (Observe::BareAgent, error, false, true, true, false),
        // It is one value.
        (Observe::Bare, r#"{"task":{}"#, false, false, false, true),
        (Observe::Bare, r#"{"task":{}}}"#, false, false, false, true),
        (Observe::Bare, r#"{},"id":2,"x":{}"#, false, false, false, true),
        (Observe::Bare, "", false, false, false, false),
        (Observe::BareOrNone, "", true, false, false, false),
        (Observe::BareOrNone, error, true, true, true, false),
    ] {
        let expected = (answered, is_error, is_protocols, unread);
        let told = |found: Observation| (found.answered, found.is_error, found.is_rpc_error, found.unread);
        assert_eq!(told(Observation::of(&of(observe), text.as_bytes())), expected, "{observe:?} {text}");
        for size in [1, 2, 7, 4096] {
            let mut observer = Observer::document(of(observe));
            text.as_bytes().chunks(size).for_each(|chunk| observer.push(chunk));
            assert_eq!(told(observer.finish()), expected, "{observe:?} {text} in chunks of {size}");
        }
    }
    // Each event is one, and the first of them answers.
    let text = format!("data: {{\"task\":{{}}}}\n\ndata: {failed}\n\nevent: error\ndata: {error}\n\n");
    for size in [1, 7, 4096] {
        let mut observer = Observer::events(of(Observe::BareAgent));
        text.as_bytes().chunks(size).for_each(|chunk| observer.push(chunk));
        let found = observer.finish();
        assert_eq!((found.answered, found.is_error, found.unread), (true, true, false), "chunks of {size}");
    }
}

/// What a model says of itself, in the words of each API, however it is cut.
#[test]
fn what_a_model_says_of_its_answer_is_told_where_that_is_wanted() {
    let event = |text: &str| format!("data: {text}\n\n");
    let openai = [
        r#"{"id":"c-1","model":"m-2","choices":[{"index":0,"delta":{"content":"x"},"finish_reason":null}]}"#,
        r#"{"id":"c-1","model":"m-2","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#,
        r#"{"id":"c-1","model":"m-2","choices":[],"usage":{"prompt_tokens":7,"completion_tokens":11}}"#,
        "[DONE]",
    ];
    let anthropic = [
        r#"{"type":"message_start","message":{"id":"c-1","model":"m-2","usage":{"input_tokens":7,"output_tokens":1}}}"#,
        r#"{"type":"message_delta","delta":{"stop_reason":"stop"},"usage":{"output_tokens":11}}"#,
        r#"{"type":"message_stop"}"#,
    ];
    let gemini = [
        r#"{"candidates":[{"finishReason":"stop"}],"usageMetadata":{},"modelVersion":"m-2","responseId":"c-1"}"#,
    ];
    let expected =
        Told { id: Some("c-1".into()), model: Some("m-2".into()), finish_reasons: vec!["stop".into()] };
    let events_of = events;
    for events in [&openai[..], &anthropic, &gemini] {
        let text: String = events.iter().map(|text| event(text)).collect();
        for size in [1, 7, text.len()] {
            let mut observer = Observer::events(sought(Observe::Model));
            observer.tell();
            text.as_bytes().chunks(size).for_each(|chunk| observer.push(chunk));
            let found = observer.finish();
            assert_eq!(observer.told().as_deref(), Some(&expected), "chunks of {size}: {text}");
            assert_eq!(found, events_of(Observe::Model, text.as_bytes(), size), "nothing else changes");
        }
    }
    for (document, expected) in [
        (
            r#"{"id":"c-1","model":"m-2","choices":[{"finish_reason":"stop"},{"finish_reason":"length"}]}"#,
            &["stop", "length"][..],
        ),
        (
            r#"{"type":"message","id":"c-1","model":"m-2","content":[{"id":"x","model":"y"}],"stop_reason":"end_turn"}"#,
            &["end_turn"],
        ),
        (r#"{"object":"response","id":"c-1","model":"m-2","output":[{"id":"x"}],"status":"completed"}"#, &[]),
        (r#"{"candidates":[{"finishReason":""}],"modelVersion":"m-2","responseId":"c-1"}"#, &[]),
    ] {
        let mut told = Some(Box::default());
        let found = Observation::telling(&sought(Observe::Model), document.as_bytes(), &mut told);
        let Told { id, model, finish_reasons } = *told.expect("it is wanted");
        assert_eq!((id.as_deref(), model.as_deref()), (Some("c-1"), Some("m-2")), "{document}");
        assert_eq!(finish_reasons.iter().map(|one| &**one).collect::<Vec<_>>(), expected, "{document}");
        assert_eq!(
            found,
            Observation::of(&sought(Observe::Model), document.as_bytes()),
            "nothing else changes"
        );
    }
    let mut observer = Observer::events(sought(Observe::Rpc));
    observer.tell();
    assert_eq!(observer.told(), None, "it is of models alone");
}
