//! HTTP itself: framing, smuggling, `Host`, methods, versions.

use super::{good, mcp};
use crate::expect::Expect;
use crate::probe::{Manner, Message, Probe, Protocol};

/// What a smuggled request would be: a call of the hidden tool, with a good token.
const INNER: &str = "POST /mcp/r/tools HTTP/1.1\r\nHost: {{host}}\r\nAuthorization: Bearer {{alice}}\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}";

/// How a good call begins.
const HEAD: &str = "POST /mcp/r/tools HTTP/1.1\r\nHost: {{host}}\r\nAuthorization: Bearer {{alice}}";

/// Requests as they stand on the wire, `BODY` being the call of a permitted tool of LENGTH bytes (HEX in hexadecimal), HEAD [`HEAD`].
const RAW: &[(&str, &str, &str)] = &[
    (
        "cl-te",
        "two framings",
        "HEAD\r\nContent-Length: LENGTH\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ),
    (
        "te-cl",
        "two framings, the other order",
        "HEAD\r\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\nHEX\r\nBODY\r\n0\r\n\r\n",
    ),
    ("two-lengths", "two lengths", "HEAD\r\nContent-Length: LENGTH\r\nContent-Length: 3\r\n\r\nBODY"),
    ("length-list", "two lengths in one field", "HEAD\r\nContent-Length: LENGTH, 3\r\n\r\nBODY"),
    ("length-plus", "a signed length", "HEAD\r\nContent-Length: +LENGTH\r\n\r\nBODY"),
    ("length-hex", "a length in hexadecimal", "HEAD\r\nContent-Length: 0xHEX\r\n\r\nBODY"),
    ("length-negative", "a negative length", "HEAD\r\nContent-Length: -1\r\n\r\nBODY"),
    (
        "length-overflow",
        "a length beyond 64 bits",
        "HEAD\r\nContent-Length: 18446744073709551657\r\n\r\nBODY",
    ),
    ("length-space", "a space before the colon", "HEAD\r\nContent-Length : LENGTH\r\n\r\nBODY"),
    ("te-space", "a space before the colon", "HEAD\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n"),
    ("te-unknown", "a coding that nobody knows", "HEAD\r\nTransfer-Encoding: xchunked\r\n\r\nBODY"),
    (
        "te-gzip-chunked",
        "a coding before chunked",
        "HEAD\r\nTransfer-Encoding: gzip, chunked\r\n\r\nHEX\r\nBODY\r\n0\r\n\r\n",
    ),
    (
        "te-identity",
        "the coding that is none",
        "HEAD\r\nTransfer-Encoding: identity\r\nContent-Length: LENGTH\r\n\r\nBODY",
    ),
    (
        "te-twice",
        "chunked twice",
        "HEAD\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\nHEX\r\nBODY\r\n0\r\n\r\n",
    ),
    (
        "te-http-1.0",
        "chunks in HTTP/1.0",
        "POST /mcp/r/tools HTTP/1.0\r\nHost: {{host}}\r\nAuthorization: Bearer {{alice}}\r\nTransfer-Encoding: chunked\r\n\r\nHEX\r\nBODY\r\n0\r\n\r\n",
    ),
    (
        "te-vtab",
        "a vertical tab in the coding",
        "HEAD\r\nTransfer-Encoding: \u{b}chunked\r\n\r\nHEX\r\nBODY\r\n0\r\n\r\n",
    ),
    (
        "chunk-size-overflow",
        "a chunk beyond 64 bits",
        "HEAD\r\nTransfer-Encoding: chunked\r\n\r\n10000000000000001\r\nBODY\r\n0\r\n\r\n",
    ),
    (
        "chunk-size-text",
        "a chunk size that is none",
        "HEAD\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nBODY\r\n0\r\n\r\n",
    ),
    (
        "fold",
        "a field on two lines",
        "POST /mcp/r/tools HTTP/1.1\r\nHost: {{host}}\r\nAuthorization: Bearer\r\n {{alice}}\r\nContent-Length: LENGTH\r\n\r\nBODY",
    ),
    ("nul-in-field", "a NUL in a field", "HEAD\r\nX: a\0b\r\nContent-Length: LENGTH\r\n\r\nBODY"),
    ("cr-in-field", "a lone CR in a field", "HEAD\r\nX: a\rY: b\r\nContent-Length: LENGTH\r\n\r\nBODY"),
    (
        "no-host",
        "no Host",
        "POST /mcp/r/tools HTTP/1.1\r\nAuthorization: Bearer {{alice}}\r\nContent-Length: LENGTH\r\n\r\nBODY",
    ),
    (
        "two-hosts",
        "two Hosts",
        "POST /mcp/r/tools HTTP/1.1\r\nHost: {{host}}\r\nHost: evil.example\r\nAuthorization: Bearer {{alice}}\r\nContent-Length: LENGTH\r\n\r\nBODY",
    ),
    (
        "same-host-twice",
        "the same Host twice",
        "POST /mcp/r/tools HTTP/1.1\r\nHost: {{host}}\r\nHost: {{host}}\r\nAuthorization: Bearer {{alice}}\r\nContent-Length: LENGTH\r\n\r\nBODY",
    ),
    (
        "host-with-path",
        "a Host that is more",
        "POST /mcp/r/tools HTTP/1.1\r\nHost: {{host}}/mcp\r\nAuthorization: Bearer {{alice}}\r\nContent-Length: LENGTH\r\n\r\nBODY",
    ),
    (
        "host-with-user",
        "a Host with a user",
        "POST /mcp/r/tools HTTP/1.1\r\nHost: alice@{{host}}\r\nAuthorization: Bearer {{alice}}\r\nContent-Length: LENGTH\r\n\r\nBODY",
    ),
    (
        "host-with-space",
        "a Host with a space",
        "POST /mcp/r/tools HTTP/1.1\r\nHost: {{host}} evil\r\nAuthorization: Bearer {{alice}}\r\nContent-Length: LENGTH\r\n\r\nBODY",
    ),
    (
        "host-list",
        "two names in one Host",
        "POST /mcp/r/tools HTTP/1.1\r\nHost: {{host}}, evil.example\r\nAuthorization: Bearer {{alice}}\r\nContent-Length: LENGTH\r\n\r\nBODY",
    ),
    (
        "host-not-of-target",
        "a target of another host than Host",
        "POST http://evil.example/mcp/r/tools HTTP/1.1\r\nHost: {{host}}\r\nAuthorization: Bearer {{alice}}\r\nContent-Length: LENGTH\r\n\r\nBODY",
    ),
    (
        "version-2",
        "HTTP/2 in words",
        "POST /mcp/r/tools HTTP/2.0\r\nHost: {{host}}\r\nAuthorization: Bearer {{alice}}\r\nContent-Length: LENGTH\r\n\r\nBODY",
    ),
    (
        "version-1.2",
        "a version that does not exist",
        "POST /mcp/r/tools HTTP/1.2\r\nHost: {{host}}\r\nAuthorization: Bearer {{alice}}\r\nContent-Length: LENGTH\r\n\r\nBODY",
    ),
    (
        "version-0.9",
        "no version",
        "POST /mcp/r/tools\r\nHost: {{host}}\r\nAuthorization: Bearer {{alice}}\r\n\r\n",
    ),
    ("garbage", "something else than HTTP", "\u{16}\u{3}\u{1}\u{2}\0\r\n\r\n"),
    (
        "upgrade-h2c",
        "another protocol on the connection",
        "GET /mcp/r/tools HTTP/1.1\r\nHost: {{host}}\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n\r\n",
    ),
    (
        "connect",
        "a tunnel",
        "CONNECT 127.0.0.1:1 HTTP/1.1\r\nHost: 127.0.0.1:1\r\nAuthorization: Bearer {{alice}}\r\n\r\n",
    ),
    (
        "star",
        "the server as a whole",
        "OPTIONS * HTTP/1.1\r\nHost: {{host}}\r\nAuthorization: Bearer {{alice}}\r\n\r\n",
    ),
];

/// Methods that the route does not serve.
const METHODS: &[&str] = &["PUT", "PATCH", "HEAD", "OPTIONS", "TRACE", "post", "PURGE", "PROPFIND", "X"];

/// All of this area.
pub(super) fn probes() -> Vec<Probe> {
    let body = String::from_utf8_lossy(good().body.as_deref().unwrap_or_default()).into_owned();
    let (length, hex) = (body.len().to_string(), format!("{:x}", body.len()));
    let wrong = &[400, 404, 405, 413, 414, 417, 421, 426, 431, 501, 505];
    let raw = |(name, tries, text): &(&str, &str, &str)| {
        let text =
            text.replace("HEAD", HEAD).replace("LENGTH", &length).replace("HEX", &hex).replace("BODY", &body);
        Probe::new(format!("http/{name}"), *tries, Protocol::Http, Message::new("", ""))
            .raw(text)
            .expect(Expect::turned_away(wrong))
    };
    let mut probes: Vec<Probe> = RAW.iter().map(raw).collect();
    // RFC 9112 section 6.1: such a request may be read by its chunks alone, if nothing of the length goes on.
    for probe in probes.iter_mut().filter(|probe| probe.name == "http/te-cl") {
        probe.expect = Expect::either().without(&["content-length: 4\r", "transfer-encoding"]);
    }
    probes.extend(METHODS.iter().map(|method| {
        let probe = Probe::new(
            format!("http/method-{method}"),
            "a method that is not served",
            Protocol::Http,
            good().using(method),
        );
        match *method {
            "HEAD" | "OPTIONS" => probe.expect(Expect::turned_away(&[400, 401, 403, 405])),
            _ => probe,
        }
    }));
    probes.extend(smuggled());
    probes.extend(sizes());
    probes
}

/// A request inside another.
fn smuggled() -> Vec<Probe> {
    let wrong = &[400, 405, 413];
    let inside = |name: &str, tries: &str, message: Message, expect: Expect| {
        Probe::new(format!("http/{name}"), tries, Protocol::Http, message).expect(expect)
    };
    let bodied = |method: &str| mcp(INNER).using(method).without("Content-Type");
    let stolen = "POST /mcp/r/tools HTTP/1.1\r\nHost: {{host}}\r\nContent-Length: BODYLENGTH\r\n\r\nBODY";
    let body = String::from_utf8_lossy(good().body.as_deref().unwrap_or_default()).into_owned();
    let stolen = stolen.replace("BODYLENGTH", &body.len().to_string()).replace("BODY", &body);
    let behind = Manner { behind: stolen.into_bytes(), ..Manner::default() };
    vec![
        inside("get-with-body", "a body where none is looked for", bodied("GET"), Expect::refused(&[])),
        inside("delete-with-body", "a body where none is looked for", bodied("DELETE"), Expect::refused(&[])),
        inside("body-is-a-request", "a request as a body", mcp(INNER), Expect::refused(&["body_not_json"])),
        inside(
            "trailer-credential",
            "a credential behind the body",
            Message::new("POST", "/mcp/r/tools")
                .with("Trailer", "Authorization")
                .with("Transfer-Encoding", "chunked")
                .body("2\r\n{}\r\n0\r\nAuthorization: Bearer {{alice}}\r\n\r\n"),
            Expect::refused(&["credential_missing"]),
        ),
        inside(
            "pipelined-without-token",
            "the token of the request before it",
            good().without("Connection"),
            Expect::passed().unrecorded(),
        )
        .manner(behind),
        inside(
            "short-length",
            "what is beyond the length is another request",
            good().without("Connection").with("Content-Length", "2").body("{}{{host}}"),
            Expect::turned_away(wrong),
        ),
    ]
}

/// Sizes of heads.
fn sizes() -> Vec<Probe> {
    let long = "y".repeat(70_000);
    let many = (0..2_000).fold(good(), |message, number| message.with(&format!("X-{number}"), "y"));
    let probe = |name: &str, tries: &str, message: Message| {
        Probe::new(format!("http/{name}"), tries, Protocol::Http, message)
            .expect(Expect::turned_away(&[400, 404, 413, 414, 431]))
    };
    vec![
        probe("head-field-long", "a field of 70 kB", good().with("X-Long", &long)),
        probe("head-fields-many", "2,000 fields", many),
        probe("target-long", "a target of 70 kB", good().at(&format!("/mcp/r/tools?x={long}"))),
        probe("path-long", "a path of 70 kB", good().at(&format!("/mcp/r/{long}"))),
        probe("token-long", "a token of 40 kB", good().by("forged/huge")),
    ]
}
