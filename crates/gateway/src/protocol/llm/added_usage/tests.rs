use super::*;

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
    for body in [
        r#"{"stream_options":[]}"#,
        r#"{"stream_options":{"include_usage":"true"}}"#,
        r#"{"stream_options":{"Include_Usage":false}}"#,
        r#"{"stream_options":{"include_usage":true,"includeUsage":false}}"#,
    ] {
        let body = Json::parse(body.as_bytes()).expect("JSON");
        assert_eq!(asked(&body).map_err(|r| r.code), Err(Code::MessageInvalid));
    }
}
