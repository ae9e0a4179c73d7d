use super::*;

const HEAD: &str =
    "data: {\"choices\":[{\"delta\":{\"content\":\"x\"}}],\"usage\":null}\n\n: \"usage\" in a comment\n\n";
const USAGE: &str =
    "data: {\"id\":\"c\",\"choices\":[],\"usage\":{\"prompt_tokens\":7,\"completion_tokens\":11}}\n\n";
const TAIL: &str = "data: [DONE]\n\n";

/// What a stream becomes when it comes in chunks of `size` bytes.
fn pass(stream: &str, size: usize) -> String {
    let mut remover = UsageRemover::new();
    let mut out = Vec::new();
    for chunk in stream.as_bytes().chunks(size) {
        out.extend_from_slice(&remover.push(chunk));
    }
    out.extend_from_slice(&remover.finish());
    String::from_utf8(out).expect("UTF-8")
}

#[test]
fn usage_is_asked_for_and_no_other_byte_changes() {
    for (given, sent) in [
        (
            r#"{"model":"m","stream":true}"#,
            r#"{"stream_options":{"include_usage":true},"model":"m","stream":true}"#,
        ),
        (" {\n \"a\": 1.50 }\t", " {\"stream_options\":{\"include_usage\":true},\n \"a\": 1.50 }\t"),
        (
            r#"{"a":"\u00e9 é \"{","stream_options": null ,"b":[1e3]}"#,
            r#"{"a":"\u00e9 é \"{","stream_options": {"include_usage":true} ,"b":[1e3]}"#,
        ),
        (r#"{"stream_options":{}}"#, r#"{"stream_options":{"include_usage":true}}"#),
        (r#"{"stream_options": { } }"#, r#"{"stream_options": {"include_usage":true } }"#),
        (
            r#"{"stream_options": { "include_obfuscation" : false }, "z": 0}"#,
            r#"{"stream_options": {"include_usage":true, "include_obfuscation" : false }, "z": 0}"#,
        ),
        (
            r#"{"x":{"include_usage":false},"stream_options":{"a":{"include_usage":1},"include_usage" : false}}"#,
            r#"{"x":{"include_usage":false},"stream_options":{"a":{"include_usage":1},"include_usage" : true}}"#,
        ),
        (
            r#"{"stre\u0061m_options":{"include\u005fusage":null}}"#,
            r#"{"stre\u0061m_options":{"include\u005fusage":true}}"#,
        ),
    ] {
        let spliced = ask_for(&Bytes::from_static(given.as_bytes())).expect("an object");
        assert_eq!(spliced, sent.as_bytes(), "{given}");
        assert_eq!(asked(&Json::parse(given.as_bytes()).expect("JSON")), Ok(false), "{given}");
        assert_eq!(asked(&Json::parse(&spliced).expect("still JSON")), Ok(true), "{given}");
    }
    assert_eq!(ask_for(&Bytes::from_static(b"[]")).map_err(|r| r.code), Err(Code::Internal));
}

#[test]
fn what_asks_unclearly_is_refused() {
    for body in [r#"{"stream_options":[]}"#, r#"{"stream_options":{"include_usage":"true"}}"#] {
        let body = Json::parse(body.as_bytes()).expect("JSON");
        assert_eq!(asked(&body).map_err(|r| r.code), Err(Code::MessageInvalid));
    }
}

#[test]
fn the_usage_chunk_goes_however_the_stream_is_cut() {
    let crlf = |text: &str| text.replace('\n', "\r\n");
    for (given, expected) in [
        (format!("{HEAD}{USAGE}{TAIL}"), format!("{HEAD}{TAIL}")),
        (crlf(&format!("{HEAD}{USAGE}{TAIL}")), crlf(&format!("{HEAD}{TAIL}"))),
        (format!("{HEAD}{}", USAGE.trim_end()), HEAD.to_owned()),
        (format!("\n\n{USAGE}\n{TAIL}"), format!("\n\n\n{TAIL}")),
        (format!("id: 1\ndata: {{\"choices\":[],\ndata: \"usage\":{{}}}}\n\n{TAIL}"), TAIL.to_owned()),
    ] {
        for size in 1..=given.len() {
            assert_eq!(pass(&given, size), expected, "chunks of {size}");
        }
    }
}

#[test]
fn everything_else_passes_as_it_came() {
    let long = format!("data: {{\"choices\":[],\"usage\":{{}},\"x\":\"{}\"}}\n\n", "y".repeat(20_000));
    for stream in [
        "",
        "data: [DONE]",
        "data: {\"choices\":[],\"prompt_filter_results\":[]}\n\n",
        "data: {\"choices\":[],\"usage\":null}\n\n",
        "data: {\"choices\":[{\"index\":0}],\"usage\":{\"prompt_tokens\":1}}\n\n",
        "data: {\"usage\":{\"prompt_tokens\":1}}\n\n",
        "event: x\r\n\r\n\n\n\r\n",
        "data: \u{7f}\"usage\" not JSON\n\n",
        &long,
    ] {
        for size in [1, 2, 3, 7, 1000, 100_000] {
            assert_eq!(pass(stream, size), stream, "chunks of {size}");
        }
    }
}

#[test]
fn what_is_complete_passes_at_once_and_what_is_held_is_bounded() {
    let mut remover = UsageRemover::new();
    assert_eq!(remover.push(format!("{TAIL}data: {{").as_bytes()), TAIL.as_bytes());
    assert_eq!(remover.push(b"}\n"), "");
    assert_eq!(remover.push(b"\n"), "data: {}\n\n");
    let mut passed = 0;
    for _ in 0..100 {
        passed += remover.push(&[b'x'; 1024]).len();
        assert!(remover.event.len() <= UsageRemover::LONGEST_EVENT);
    }
    assert_eq!(passed, 100 * 1024);
    assert_eq!(remover.push(format!("\n\n{USAGE}{TAIL}").as_bytes()), format!("\n\n{TAIL}").as_bytes());
}
