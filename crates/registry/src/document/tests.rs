use serde_json::{Value, json};

use super::{Document, json as read_json, pieces};

/// The documents of a YAML stream, empty ones left out.
fn yaml(text: &str) -> Vec<Document> {
    pieces(text).into_iter().filter_map(|piece| piece.read()).collect()
}

/// The documents as `line: content`, a malformed one as `line! reason`.
fn read(text: &str) -> Vec<String> {
    let shown = |document: Document| match document.content {
        Ok(value) => format!("{}: {value}", document.line),
        Err(malformed) => format!("{}! {}", malformed.line, malformed.reason),
    };
    yaml(text).into_iter().map(shown).collect()
}

#[test]
fn documents_are_split_where_yaml_says() {
    let cases: &[(&str, &[&str])] = &[
        ("", &[]),
        ("# only a comment\n---\n\n...\n---\n", &[]),
        ("null\n", &[]),
        ("a: 1", &["1: {\"a\":1}"]),
        ("\u{feff}a: 1", &["1: {\"a\":1}"]),
        ("a: 1\n---\n# second\n\nb: 2\n", &["1: {\"a\":1}", "5: {\"b\":2}"]),
        ("---\r\na: 1\r\n---\r\nb: 2\r\n", &["2: {\"a\":1}", "4: {\"b\":2}"]),
        ("--- {a: 1}\n--- # comment\nb: 2\n", &["1: {\"a\":1}", "3: {\"b\":2}"]),
        ("%YAML 1.2\n---\na: 1\n...\n%YAML 1.2\n---\nb: 2\n", &["3: {\"a\":1}", "7: {\"b\":2}"]),
        ("a: 1\n...\nb: 2\n", &["1: {\"a\":1}", "3: {\"b\":2}"]),
        // Not markers.
        ("a: |\n  ---\n  x\n", &["1: {\"a\":\"---\\nx\\n\"}"]),
        ("---a: 1\n", &["1: {\"---a\":1}"]),
    ];
    for (text, documents) in cases {
        assert_eq!(read(text), *documents, "{text:?}");
    }
}

#[test]
fn a_malformed_document_drops_only_itself() {
    for bad in [
        "a: [1,",
        "a: 'open",
        "a: |\n b\n\tc: d",
        "a: 1\n a: 2",
        "a: 1\na: 2",
        "a: *nowhere",
        "a: !!python/object:os.system ls",
        "a: {b: 1",
        "\u{1}",
        "a: \"\\q\"",
        "{a: 1} b",
    ] {
        let text = format!("first: 1\n---\n{bad}\n---\nlast: 3\n");
        let documents = yaml(&text);
        assert_eq!(documents.len(), 3, "{text}: {documents:?}");
        assert!(documents[0].content.is_ok() && documents[2].content.is_ok(), "{text}: {documents:?}");
        let malformed = documents[1].content.as_ref().unwrap_err();
        let lines = 3..=u32::try_from(3 + bad.lines().count()).unwrap();
        assert!(lines.contains(&malformed.line), "{text}: {malformed:?}");
        assert_eq!(documents[2].line, u32::try_from(text.lines().count()).unwrap());
    }
}

#[test]
fn a_document_that_grows_is_cut_off() {
    let mut laughs = "a0: &a0 [l,l,l,l,l,l,l,l,l,l]\n".to_owned();
    for level in 1..10 {
        let below = format!("*a{},", level - 1).repeat(10);
        laughs.push_str(&format!("a{level}: &a{level} [{below}]\n"));
    }
    let deep = format!("a: {}{}", "[".repeat(10_000), "]".repeat(10_000));
    let merged = format!("a: &a {{b: 1}}\n{}", "<<: *a\n".repeat(2_000));
    for text in [laughs, deep, merged] {
        let documents = yaml(&format!("{text}\n---\nlast: 1"));
        // It may be valid YAML: what is said is that it is too much.
        let said = documents[0].content.as_ref().unwrap_err();
        assert!(
            said.reason.contains("too deep, or its aliases") || said.reason.contains("twice"),
            "{}",
            said.reason
        );
        assert!(documents[1].content.is_ok());
    }
}

fn value(text: &str) -> Value {
    yaml(text).remove(0).content.unwrap()
}

/// As YAML 1.1 has it, which is what kubectl sends to a cluster; what is ambiguous is no text, so quotes are asked for.
#[test]
fn scalars_are_what_kubectl_reads() {
    let read = value("{a: yes, b: 1.10, c: 'yes', d: Off, e: ~, f: 2024-01-01, g: 1.4.2, h: 0x10, on: 1}");
    let expected = json!({"a": true, "b": 1.1, "c": "yes", "d": false, "e": null, "f": "2024-01-01", "g": "1.4.2", "h": 16, "on": 1});
    assert_eq!(read, expected);
    // kubectl reads 8 here; whoever reads 10 must at least not take it for a whole number.
    assert!(!value("a: 010")["a"].is_i64() && !value("a: 010")["a"].is_u64());
}

#[test]
fn an_alias_within_its_bounds_is_fine() {
    let read = value("a: &x {b: 1}\nc: *x\nd: {<<: *x, e: 2}");
    assert_eq!(read, json!({"a": {"b": 1}, "c": {"b": 1}, "d": {"b": 1, "e": 2}}));
}

#[test]
fn json_is_strict() {
    assert!(read_json("{\"a\": [1]}").content.is_ok());
    for bad in ["", "{", "{\"a\": 1, \"a\": 2}", "{\"a\": 1} {}", "{a: 1}", "\u{feff}{}"] {
        assert!(read_json(bad).content.is_err(), "{bad}");
    }
}
