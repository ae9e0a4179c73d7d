use super::*;

fn parse(text: &str) -> Result<Json<'_>, JsonError> {
    Json::parse(text.as_bytes())
}

#[test]
fn duplicate_keys_are_refused_at_every_depth_and_size() {
    let many: String = (0..40).map(|i| format!("\"k{i}\":1,")).collect();
    for text in [
        r#"{"a":1,"a":2}"#.to_owned(),
        r#"{"x":[{"m":{"a":1,"a":2}}]}"#.to_owned(),
        r#"{"a":1,"\u0061":2}"#.to_owned(),
        format!("{{{many}\"k3\":2}}"),
        format!("{{{many}\"k39\":2}}"),
        r#"{"name":"a","Name":"b"}"#.to_owned(),
        r#"{"arguments":{"task":1,"tas\u212a":2}}"#.to_owned(),
        "{\"status\":1,\"\u{17f}tatus\":2}".to_owned(),
        "{\"\u{df}\":1,\"SS\":2}".to_owned(),
        "{\"\u{df}\":1,\"\u{1e9e}\":2}".to_owned(),
        "{\"\u{1e9e}\":1,\"ss\":2}".to_owned(),
        format!("{{\"{0}K\":1,\"{0}\u{212a}\":2}}", "x".repeat(100)),
        format!("{{{many}\"K3\":2}}"),
        format!("{{{many}\"\u{212a}39\":2}}"),
    ] {
        assert!(matches!(parse(&text), Err(JsonError::DuplicateKey { .. })), "{text}");
    }
    assert!(parse(&format!("{{{many}\"z\":2}}")).is_ok());
    assert_eq!(parse(r#"{"a":{"b":1},"b":1}"#).map(|_| ()), Ok(()));
    assert_eq!(parse(r#"{"amount":1,"amount":2}"#), Err(JsonError::DuplicateKey { key: "amount".into() }));
}

#[test]
fn what_follows_the_document_what_is_cut_and_what_is_too_deep_is_refused() {
    for text in ["", "{", "{} {}", "[1,]", "{'a':1}", "nul", "\u{feff}{}"] {
        assert!(matches!(parse(text), Err(JsonError::Syntax { .. })), "{text}");
    }
    assert!(matches!(parse(&"[".repeat(100_000)), Err(JsonError::Syntax { .. })));
    assert_eq!(Json::parse(b"{\"a\":\"\xff\"}"), Err(JsonError::NotUtf8 { at: 6 }));
}

#[test]
fn whole_numbers_do_not_depend_on_notation() {
    for (text, whole) in [
        ("1000", Some(1000)),
        ("1e3", Some(1000)),
        ("1000.0", Some(1000)),
        ("1000.5", None),
        ("9223372036854775807", Some(i64::MAX)),
        ("9223372036854775808", None),
        ("-9223372036854775808", Some(i64::MIN)),
        ("-9223372036854775809", None),
        ("-9.223372036854775808e18", None),
        ("1e300", None),
        ("\"1000\"", None),
    ] {
        assert_eq!(parse(text).map(|v| v.as_integer()), Ok(whole), "{text}");
    }
}

#[test]
fn pointers_find_what_leaves_names() {
    let value = parse(r#"{"a/b":{"c~d":[10,{"e":"f"}]},"g":null,"h":[],"i":{}}"#).expect("valid");
    let mut found = Vec::new();
    value.leaves(&mut |pointer, leaf| {
        found.push((pointer.to_owned(), leaf.as_text().map(Cow::into_owned)));
    });
    let names: Vec<_> = found.iter().map(|(p, t)| (p.as_str(), t.as_deref().unwrap_or("-"))).collect();
    assert_eq!(
        names,
        [("/a~1b/c~0d/0", "10"), ("/a~1b/c~0d/1/e", "f"), ("/g", "null"), ("/h", "-"), ("/i", "-")]
    );
    for (pointer, text) in names.into_iter().filter(|(_, text)| *text != "-") {
        assert_eq!(value.pointer(pointer).and_then(Json::as_text).as_deref(), Some(text));
    }
    for missing in ["a", "/x", "/g/0", "/a~1b/c~0d/00", "/a~1b/c~0d/9", "/a~1b/c~0d/-1"] {
        assert!(value.pointer(missing).is_none(), "{missing}");
    }
}

#[test]
fn values_are_counted() {
    let list = |values: usize| format!("[{}0]", "0,".repeat(values - 1));
    assert!(parse(&list(MAX_VALUES)).is_ok());
    assert_eq!(parse(&list(MAX_VALUES + 1)), Err(JsonError::TooMany));
    let nested = format!("[{}[]]", r#"{"a":0},"#.repeat(MAX_VALUES / 2));
    assert_eq!(parse(&nested), Err(JsonError::TooMany));
}
