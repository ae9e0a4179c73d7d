//! Upstreams that lead elsewhere, speak something else, or do not end.

use super::{MESSAGE, a2a, good, openai};
use crate::expect::Expect;
use crate::probe::{Message, Probe, Protocol};
use crate::reply::Reply;
use crate::upstream::SILENCE;

const BAD: &[&str] =
    &["upstream_invalid", "upstream_interrupted", "upstream_unreachable", "upstream_timeout"];

/// Raw answers to a call of a tool that cannot be passed on as they are.
const RAW: &[(&str, &str, &str)] = &[
    ("garbage", "something else than HTTP", "garbage\r\n\r\n"),
    ("empty", "no answer", ""),
    ("half-head", "half a head", "HTTP/1.1 200 OK\r\ncontent-ty"),
    (
        "switching",
        "another protocol",
        "HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\nEVIL",
    ),
    (
        "short",
        "less than was announced",
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 90\r\n\r\n{\"jsonrpc\":\"2.0\",\"id\":1",
    ),
    (
        "broken-chunk",
        "a chunk that is none",
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n{}",
    ),
    (
        "two-lengths",
        "two lengths",
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\ncontent-length: 20\r\n\r\n{}",
    ),
];

/// Statuses and bodies that are not the protocol's; the caller is told in its own protocol.
const ANSWERS: &[(&str, &str, u16, &str, &str)] = &[
    ("html-502", "a proxy's page", 502, "text/html", "<html>EVIL</html>"),
    ("html-200", "a page as an answer", 200, "text/html", "<html>EVIL</html>"),
    ("empty-503", "nothing", 503, "text/plain", ""),
    ("text-500", "a stack trace", 500, "text/plain", "EVIL at line 7"),
];

/// All of this area.
pub(super) fn probes() -> Vec<Probe> {
    let row = |name: &str, tries: &str, reply: Reply, expect: Expect| {
        Probe::new(format!("upstreams/{name}"), tries, Protocol::Mcp, good()).reply(reply).expect(expect)
    };
    let kept_back = || Expect::kept_back(BAD).hides(&["EVIL"]);
    let mut probes: Vec<Probe> = RAW
        .iter()
        .map(|(name, tries, bytes)| row(name, tries, Reply::Raw(bytes.as_bytes().to_vec()), kept_back()))
        .collect();
    for (name, tries, status, kind, body) in ANSWERS {
        let reply = || Reply::document(*status, kind, "retry-after: 7\r\n", body);
        probes.push(row(&format!("mcp-{name}"), tries, reply(), kept_back()));
        let other = |name: String, protocol, message: Message| {
            Probe::new(name, *tries, protocol, message).reply(reply()).expect(kept_back())
        };
        probes.push(other(format!("upstreams/a2a-{name}"), Protocol::A2a, a2a("SendMessage", MESSAGE)));
        probes.push(other(
            format!("upstreams/llm-{name}"),
            Protocol::Llm,
            openai(r#"{"model":"small","messages":[]}"#),
        ));
    }
    for status in [301, 302, 303, 307, 308] {
        probes.push(row(
            &format!("redirect-{status}"),
            "another address by a redirect",
            Reply::Elsewhere(status),
            Expect::ended(&["failed", "unknown", "error"]).hides(&["/elsewhere"]),
        ));
    }
    let huge = format!("HTTP/1.1 200 OK\r\nx: {}\r\ncontent-length: 2\r\n\r\n{{}}", "y".repeat(900_000));
    probes.push(row("huge-head", "a head of 900 kB", Reply::Raw(huge.into_bytes()), kept_back()));
    probes.push(row(
        "silent",
        "no answer for ever",
        Reply::Silent(SILENCE),
        Expect::kept_back(&["upstream_timeout"]),
    ));
    let early = "HTTP/1.1 103 Early Hints\r\nmcp-session-id: RAW-EVIL\r\nlink: <http://RAW-EVIL>\r\n\r\nHTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 38\r\n\r\n{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{}}  ";
    probes.push(row(
        "early-hints",
        "fields before the answer",
        Reply::Raw(early.as_bytes().to_vec()),
        Expect::ended(&[]).hides(&["RAW-EVIL"]),
    ));
    let second = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 36\r\n\r\n{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{}}HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nEVIL";
    probes.push(row(
        "second-answer",
        "an answer to a question of somebody else",
        Reply::Raw(second.as_bytes().to_vec()),
        Expect::ended(&[]).hides(&["EVIL"]),
    ));
    let trailers = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\ntrailer: mcp-session-id\r\n\r\n24\r\n{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{}}\r\n0\r\nmcp-session-id: RAW-EVIL\r\n\r\n";
    probes.push(row(
        "trailers",
        "fields behind the answer",
        Reply::Raw(trailers.as_bytes().to_vec()),
        Expect::ended(&[]).hides(&["RAW-EVIL"]),
    ));
    probes.extend(results());
    probes
}

/// What is not a success is not recorded as one.
fn results() -> Vec<Probe> {
    let rows: &[(&str, &str)] = &[
        ("error", r#"{"jsonrpc":"2.0","id":1,"error":{"code":-1,"message":"x"}}"#),
        ("is-error", r#"{"jsonrpc":"2.0","id":1,"result":{"content":[],"isError":true}}"#),
        ("is-error-escaped", r#"{"jsonrpc":"2.0","id":1,"result":{"content":[],"is\u0045rror":true}}"#),
        ("other-id", r#"{"jsonrpc":"2.0","id":2,"result":{"content":[]}}"#),
        ("id-twice", r#"{"jsonrpc":"2.0","id":1,"result":{"content":[]},"id":2}"#),
        (
            "two-documents",
            r#"{"jsonrpc":"2.0","id":1,"result":{"content":[]}}{"jsonrpc":"2.0","id":1,"error":{}}"#,
        ),
        ("cut", r#"{"jsonrpc":"2.0","id":1,"result":{"content":[{"type":"text"}"#),
        ("garbage-inside", r#"{"jsonrpc":"2.0","id":1,"result":@@garbage@@}"#),
        ("batch", r#"[{"jsonrpc":"2.0","id":1,"result":{}}]"#),
        ("request", r#"{"jsonrpc":"2.0","id":1,"method":"x","result":{}}"#),
    ];
    let row = |(name, body): &(&str, &str)| {
        Probe::new(
            format!("upstreams/result-{name}"),
            "a failure that is recorded as a success",
            Protocol::Mcp,
            good(),
        )
        .reply(Reply::json(body))
        .expect(Expect::ended(&["error", "unknown", "failed"]))
    };
    rows.iter().map(row).collect()
}
