use std::path::Path;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Response};
use prost_reflect::prost::{Message as _, encode_length_delimiter};
use prost_reflect::{DescriptorPool, DynamicMessage, MessageDescriptor};
use serde_json::{Value, json};
use vidimus_core::refusal::{Code, Refusal};
use vidimus_core::resource::HeaderRules;
use vidimus_core::resource::api_key::ApiKey;
use vidimus_core::resource::llm_provider::CredentialSource;

use super::answer::{self, Status};
use super::arguments::encoded;
use super::frames::Frames;
use super::metadata;

fn message(name: &str) -> MessageDescriptor {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../core/src/resource/grpc");
    let mut compiler = protox::Compiler::new([directory]).unwrap();
    compiler.include_imports(true).open_file("invoices.proto").unwrap();
    let pool = DescriptorPool::decode(&*compiler.encode_file_descriptor_set()).unwrap();
    pool.get_message_by_name(name).unwrap()
}

/// What is sent for these arguments, read as JSON again.
fn sent(arguments: &str) -> Result<Value, String> {
    let invoice = message("finance.v1.Invoice");
    let bytes = encoded(&invoice, arguments)?;
    let text = answer::text(invoice, &Bytes::from(bytes), usize::MAX).unwrap();
    Ok(serde_json::from_str(&text).unwrap())
}

#[test]
fn arguments_are_sent_as_they_were_written() {
    for arguments in [
        json!({}),
        json!({"invoiceId": "7", "amountCents": 1250, "status": "OPEN", "cash": true, "note": ""}),
        json!({"amountCents": -9_007_199_254_740_991_i64, "rate": 0.1, "discount": 0.25}),
        json!({"lines": [{"text": "a", "parts": [{"text": "b"}]}], "tags": {"a": "b"}, "due": "2026-11-28T20:00:00Z"}),
        json!({"scan": "AAEC/w==", "extra": {"a": [1.5, null, {"b": "c"}]}}),
    ] {
        assert_eq!(sent(&arguments.to_string()).unwrap(), arguments);
    }
    // What is the same as if it were left out is left out of what is answered.
    assert_eq!(sent(r#"{"rate": 0, "status": "STATUS_UNSPECIFIED", "lines": []}"#).unwrap(), json!({}));
    // A number is one, and is answered as a text where a client would not have it exactly.
    let long = sent(r#"{"amountCents": 9007199254740993, "serial": 18446744073709551615}"#).unwrap();
    assert_eq!(long, json!({"amountCents": "9007199254740993", "serial": "18446744073709551615"}));
    // In the precision of the field.
    assert_eq!(sent(r#"{"discount": 0.1, "rate": 3}"#).unwrap()["rate"], json!(3.0));
}

/// Attack: an argument that a policy forbids, written in another way that protobuf reads as the same.
#[test]
fn what_policies_would_not_know_again_is_not_sent() {
    for (arguments, at) in [
        (r#"{"invoice_id": "7"}"#, "arguments.invoice_id"),
        (r#"{"amountCents": "1250"}"#, "arguments.amountCents"),
        (r#"{"amountCents": 1250.0}"#, "arguments.amountCents"),
        (r#"{"amountCents": "9007199254740993"}"#, "arguments.amountCents"),
        (r#"{"status": 2}"#, "arguments.status"),
        (r#"{"note": null}"#, "arguments.note"),
        (r#"{"iban": "a", "cash": false}"#, "oneof"),
        (r#"{"due": "2026-11-28T21:00:00+01:00"}"#, "arguments.due"),
        (r#"{"due": "2026-11-28T20:00:00.000Z"}"#, "arguments.due"),
        (r#"{"scan": "AAEC_w"}"#, "arguments.scan"),
        (r#"{"rate": "0.5"}"#, "arguments.rate"),
        (r#"{"rate": 9007199254740993}"#, "arguments.rate"),
        (r#"{"lines": [{"text": "a"}, {"parts": [{"Text": "b"}]}]}"#, ""),
        (r#"{"else": 1}"#, "unrecognized field name 'else'"),
        (r#"{"note": "a", "invoiceId": 7}"#, "arguments.invoiceId: "),
        (r"[]", ""),
        (r"7", ""),
    ] {
        let why = sent(arguments).expect_err(arguments);
        assert!(why.contains(at), "{arguments}: {why}");
    }
    let long = format!(r#"{{"invoiceId":"{}"}}"#, "x".repeat(1 << 20));
    assert!(sent(&long).unwrap_err().contains("longer than"));
    // Short as they are, they are long with all that is not set.
    let many = format!(r#"{{"lines":[{}{{}}]}}"#, "{},".repeat(200_000));
    assert!(sent(&many).unwrap_err().contains("longer than"));
}

fn code<T: std::fmt::Debug>(result: Result<T, Refusal>) -> Code {
    result.expect_err("it is refused").code
}

#[test]
fn messages_are_read_however_they_are_cut() {
    let whole = [&b"\0\0\0\0\x02ab"[..], b"\0\0\0\0\0", b"\0\0\0\0\x01c"].concat();
    for size in 1..=whole.len() {
        let (mut frames, mut all) = (Frames::new(64), Vec::new());
        for part in whole.chunks(size) {
            frames.push(part).unwrap();
            while let Some(message) = frames.message().unwrap() {
                all.push(message);
            }
        }
        assert!(frames.is_whole());
        assert_eq!(all, [&b"ab"[..], b"", b"c"], "in parts of {size}");
    }
}

/// Attack: a length without bytes, a message that is compressed to be small on its way, an answer without an end.
#[test]
fn what_is_longer_or_compressed_is_not_read() {
    for (data, what) in [
        (&b"\0\xff\xff\xff\xffabc"[..], "a length that nothing follows"),
        (b"\0\0\0\0\x41", "one byte more than there may be"),
        (b"\x01\0\0\0\x02ab", "compressed"),
        (b"\x80\0\0\0\x02ab", "trailers of grpc-web"),
        (b"HTTP/1.1 200 OK", "no gRPC"),
    ] {
        let mut frames = Frames::new(64);
        let read = frames.push(data).and_then(|()| frames.message());
        assert_eq!(code(read), Code::UpstreamInvalid, "{what}");
    }
    let mut frames = Frames::new(64);
    let endless = (0..1000).try_for_each(|_| {
        frames.push(b"\0\0\0\0\0")?;
        frames.message().map(drop)
    });
    assert_eq!(code(endless), Code::UpstreamInvalid);
    let mut cut = Frames::new(64);
    cut.push(b"\0\0\0\0\x03ab").unwrap();
    assert_eq!(cut.message().unwrap(), None);
    assert!(!cut.is_whole());
}

fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
    let pair = |(name, value): &(&'static str, &str)| {
        (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap())
    };
    let mut all = HeaderMap::new();
    for (name, value) in pairs.iter().map(pair) {
        all.append(name, value);
    }
    all
}

#[test]
fn a_status_is_one_that_grpc_has_and_its_text_is_a_text() {
    let words = |pairs: &[(&'static str, &str)]| Status::of(&headers(pairs)).unwrap().words();
    assert_eq!(
        words(&[("grpc-status", "5"), ("grpc-message", "no%20%C3%BC%0A\x20%zz%ff")]),
        "gRPC status NOT_FOUND (5): no ü  %zz\u{fffd}"
    );
    assert_eq!(words(&[("grpc-status", "99")]), "gRPC status UNKNOWN (2): ");
    assert_eq!(words(&[("grpc-status", "-1")]), "gRPC status UNKNOWN (2): ");
    let long = "x".repeat(100_000);
    assert!(words(&[("grpc-status", "13"), ("grpc-message", &long)]).len() < 5_000);
    assert_eq!(code(Status::of(&headers(&[]))), Code::UpstreamInterrupted);
    let twice = headers(&[("grpc-status", "0"), ("grpc-status", "5")]);
    assert_eq!(code(Status::of(&twice)), Code::UpstreamInterrupted);
}

#[test]
fn what_is_not_grpc_is_no_answer() {
    let head = |status: u16, pairs: &[(&'static str, &str)]| {
        let mut response = Response::new(());
        *response.status_mut() = status.try_into().unwrap();
        *response.headers_mut() = headers(pairs);
        answer::check_head(&response.into_parts().0)
    };
    for kind in ["application/grpc", "application/grpc+proto", "application/grpc; charset=utf-8"] {
        assert_eq!(head(200, &[("content-type", kind), ("grpc-encoding", "identity")]), Ok(()));
        // It could, and each message says whether it is.
        assert_eq!(head(200, &[("content-type", kind), ("grpc-encoding", "gzip")]), Ok(()));
        assert_eq!(code(head(503, &[("content-type", kind)])), Code::UpstreamInvalid);
    }
    for kind in ["application/grpc-web", "text/html", "application/json"] {
        assert_eq!(code(head(200, &[("content-type", kind)])), Code::UpstreamInvalid);
    }
}

/// Attack: an answer that is small on its way and large once it is read, or that nests until whoever reads it has no stack.
#[test]
fn an_answer_is_the_message_that_is_described_and_bounded() {
    let invoice = || message("finance.v1.Invoice");
    let line = message("finance.v1.Line");
    let mut deep = DynamicMessage::new(line.clone()).encode_to_vec();
    for _ in 0..5_000 {
        let mut outer = vec![0x12];
        encode_length_delimiter(deep.len(), &mut outer).unwrap();
        outer.extend_from_slice(&deep);
        deep = outer;
    }
    assert_eq!(code(answer::text(line, &deep.into(), usize::MAX)), Code::UpstreamInvalid);
    for wire in
        [&b"\x0a\x05a"[..], b"\x0a\x01\xff", b"\x07", b"\x10\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"]
    {
        let read = answer::text(invoice(), &Bytes::copy_from_slice(wire), usize::MAX);
        assert_eq!(code(read), Code::UpstreamInvalid, "{wire:?}");
    }
    // What is made of two bytes takes a hundred: it is counted before.
    let most = Bytes::from(b"\x22\x00".repeat(200_000));
    assert_eq!(code(answer::text(invoice(), &most, usize::MAX)), Code::UpstreamInvalid);
    // Lines without anything, of two bytes each, are as long as their names in JSON.
    let many = Bytes::from(b"\x22\x00".repeat(10_000));
    assert!(answer::text(invoice(), &many, 40_000).is_ok());
    assert_eq!(code(answer::text(invoice(), &many, 10_000)), Code::UpstreamInvalid);
    // What the descriptors do not have is not passed on.
    let more = Bytes::from_static(b"\x0a\x01a\xfa\x3f\x06secret");
    assert_eq!(answer::text(invoice(), &more, usize::MAX).unwrap(), r#"{"invoiceId":"a"}"#);
    let unknown = answer::text(invoice(), &Bytes::from_static(b"\x18\x63"), usize::MAX).unwrap();
    assert_eq!(unknown, r#"{"status":99}"#, "a server may know more of an enum");
}

#[test]
fn of_the_request_goes_on_what_a_call_of_grpc_may_have() {
    let sent = headers(&[
        ("authorization", "Bearer hop"),
        ("traceparent", "00-1-2-01"),
        ("mcp-session-id", "s"),
        ("accept", "text/event-stream"),
        ("content-type", "application/json"),
        ("grpc-timeout", "1H"),
        ("x-tenant", "a"),
        ("x-fixed", "b"),
        ("x-api-key", "k"),
        ("user-agent", "client"),
    ]);
    let rules = HeaderRules {
        pass: ["x-tenant".into(), "grpc-".into()].into(),
        set: [("x-fixed".into(), "b".into())].into(),
    };
    let (header, source) = ("x-api-key".into(), CredentialSource::Env("K".into()));
    let key = ApiKey { source, header, query: None, scheme: None };
    assert!(!metadata(&sent, (&rules, None), 2_500).contains_key("x-api-key"));
    let metadata = metadata(&sent, (&rules, Some(&key)), 2_500);
    let mut names: Vec<&str> = metadata.keys().map(HeaderName::as_str).collect();
    names.sort_unstable();
    let expected = [
        "authorization",
        "content-type",
        "grpc-accept-encoding",
        "grpc-timeout",
        "te",
        "traceparent",
        "x-api-key",
        "x-fixed",
        "x-tenant",
    ];
    assert_eq!(names, expected);
    assert_eq!(
        (&metadata["grpc-timeout"], &metadata["content-type"]),
        (&HeaderValue::from_static("2500m"), &HeaderValue::from_static("application/grpc"))
    );
}
