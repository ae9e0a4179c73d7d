//! Fields of protocols: header and body that disagree, sessions and versions in odd forms, what goes up.

use super::{MESSAGE, a2a, good, mcp, modern, openai, request};
use crate::estate::KEY;
use crate::expect::{Expect, Told};
use crate::probe::{Message, Probe, Protocol};
use crate::reply::Reply;

/// Name, what is hoped for, fields.
type Row = (&'static str, &'static str, &'static [(&'static str, &'static str)]);

/// Fields beside a call of a permitted tool in 2026-07-28 (whose own `Mcp-Method` and `Mcp-Name` are taken out where named here).
const MODERN: &[Row] = &[
    ("method-other", "the method of the header", &[("Mcp-Method", "tools/list")]),
    ("method-twice", "a method twice", &[("Mcp-Method", "tools/call"), ("Mcp-Method", "tools/call")]),
    ("method-empty", "an empty method", &[("Mcp-Method", "")]),
    ("method-case", "a method in another case", &[("Mcp-Method", "Tools/Call")]),
    ("name-other", "the name of the header", &[("Mcp-Name", "hidden_tool")]),
    ("name-twice", "a name twice", &[("Mcp-Name", "ok"), ("Mcp-Name", "ok")]),
    ("name-twice-other", "two names", &[("Mcp-Name", "ok"), ("Mcp-Name", "hidden_tool")]),
    ("name-list", "two names in a list", &[("Mcp-Name", "ok, hidden_tool")]),
    ("name-case", "a name in another case", &[("Mcp-Name", "OK")]),
    ("name-encoded-other", "another name in base64", &[("Mcp-Name", "=?base64?aGlkZGVuX3Rvb2w=?=")]),
    ("name-encoded-broken", "base64 that is none", &[("Mcp-Name", "=?base64?%%%?=")]),
    ("version-other", "another version in the header", &[("MCP-Protocol-Version", "2025-11-25")]),
    (
        "version-twice",
        "two versions",
        &[("MCP-Protocol-Version", "2026-07-28"), ("MCP-Protocol-Version", "2025-11-25")],
    ),
    ("version-unknown", "a version of tomorrow", &[("MCP-Protocol-Version", "2099-01-01")]),
    ("version-empty", "an empty version", &[("MCP-Protocol-Version", "")]),
    ("param-twice", "a parameter twice", &[("Mcp-Param-Region", "eu"), ("Mcp-Param-Region", "us")]),
    ("param-not-in-body", "a parameter that the call does not have", &[("Mcp-Param-Region", "eu")]),
    ("param-encoded-broken", "a parameter whose base64 is none", &[("Mcp-Param-Region", "=?base64?%%%?=")]),
];

/// Fields beside a call in the session era.
const SESSIONS: &[Row] = &[
    ("session-raw", "the upstream's own session id", &[("Mcp-Session-Id", "RAW-SESSION")]),
    ("session-empty", "an empty session", &[("Mcp-Session-Id", "")]),
    (
        "session-twice",
        "one's own session and a raw one",
        &[("Mcp-Session-Id", "{{session/alice}}"), ("Mcp-Session-Id", "RAW-SESSION")],
    ),
    (
        "session-raw-first",
        "a raw session and one's own",
        &[("Mcp-Session-Id", "RAW-SESSION"), ("Mcp-Session-Id", "{{session/alice}}")],
    ),
    ("session-of-another", "the session of somebody else", &[("Mcp-Session-Id", "{{session/bob}}")]),
    (
        "session-flipped",
        "a session with a letter changed",
        &[("Mcp-Session-Id", "{{flipped/session/alice}}")],
    ),
    ("session-task", "a task as a session", &[("Mcp-Session-Id", "{{mcp-task/alice}}")]),
    ("session-longer", "a session with more behind it", &[("Mcp-Session-Id", "{{session/alice}}A")]),
    (
        "version-modern-without-meta",
        "the new version without what it asks for",
        &[("MCP-Protocol-Version", "2026-07-28")],
    ),
    (
        "version-both",
        "two versions",
        &[("MCP-Protocol-Version", "2025-11-25"), ("MCP-Protocol-Version", "2025-06-18")],
    ),
    ("content-encoding", "a body in another coding", &[("Content-Encoding", "gzip")]),
];

fn replaced(message: Message, fields: &[(&str, &str)]) -> Message {
    let bare = fields.iter().fold(message, |message, (name, _)| message.without(name));
    fields.iter().fold(bare, |message, (name, value)| message.with(name, value))
}

/// All of this area.
pub(super) fn probes() -> Vec<Probe> {
    let call = || modern("tools/call", Some("ok"), r#""name":"ok","arguments":{}"#);
    let mut probes: Vec<Probe> = MODERN
        .iter()
        .map(|(name, tries, fields)| {
            Probe::new(format!("headers/{name}"), *tries, Protocol::Mcp, replaced(call(), fields))
        })
        .collect();
    probes.extend(SESSIONS.iter().map(|(name, tries, fields)| {
        Probe::new(format!("headers/{name}"), *tries, Protocol::Mcp, replaced(good(), fields))
    }));
    // These may pass, when they do not change what the server reads.
    for probe in &mut probes {
        match probe.name.as_str() {
            "headers/param-not-in-body" => probe.expect = Expect::either(),
            // The server may be asked which versions it serves, to be able to say so.
            "headers/version-unknown" => {
                let told = Told::Refused(&["protocol_version_unsupported", "header_mismatch"]);
                probe.expect = Expect { told, ..Expect::either().without(&["tools/call"]) };
            }
            "headers/content-encoding" => probe.expect = Expect::either().without(&["content-encoding"]),
            _ => {}
        }
    }
    probes.extend(disagreeing());
    probes.extend(passed_on());
    probes
}

fn disagreeing() -> Vec<Probe> {
    let call = || modern("tools/call", Some("ok"), r#""name":"ok","arguments":{}"#);
    let response = r#"{"jsonrpc":"2.0","id":1,"result":{}}"#;
    let rows: Vec<(&str, &str, Protocol, Message)> = vec![
        ("method-absent", "no method in the header", Protocol::Mcp, call().without("Mcp-Method")),
        ("name-absent", "no name in the header", Protocol::Mcp, call().without("Mcp-Name")),
        ("version-absent", "no version in the header", Protocol::Mcp, call().without("MCP-Protocol-Version")),
        (
            "name-without-call",
            "a name beside a method that has none",
            Protocol::Mcp,
            modern("tools/list", Some("hidden_tool"), ""),
        ),
        (
            "response-as-call",
            "a response that is labelled as a call",
            Protocol::Mcp,
            mcp(response).with("Mcp-Method", "tools/call").with("Mcp-Name", "hidden_tool"),
        ),
        (
            "response-as-call-modern",
            "a response that is labelled as a call, in the new era",
            Protocol::Mcp,
            mcp(response)
                .with("MCP-Protocol-Version", "2026-07-28")
                .with("Mcp-Method", "tools/call")
                .with("Mcp-Name", "hidden_tool"),
        ),
        (
            "session-era-name",
            "a label in an era that has none",
            Protocol::Mcp,
            good().with("Mcp-Method", "tools/call").with("Mcp-Name", "hidden_tool"),
        ),
        (
            "ping-as-call",
            "a ping that is labelled as a call",
            Protocol::Mcp,
            mcp(request("ping", "{}")).with("Mcp-Method", "tools/call").with("Mcp-Name", "hidden_tool"),
        ),
        ("a2a-version-other", "an old method in a new version", Protocol::A2a, a2a("message/send", MESSAGE)),
        (
            "a2a-version-twice",
            "two versions",
            Protocol::A2a,
            a2a("SendMessage", MESSAGE).with("A2A-Version", "0.3"),
        ),
        (
            "a2a-version-unknown",
            "a version of tomorrow",
            Protocol::A2a,
            a2a("SendMessage", MESSAGE).without("A2A-Version").with("A2A-Version", "9.9"),
        ),
    ];
    let probe = |(name, tries, protocol, message): (&str, &str, Protocol, Message)| {
        Probe::new(format!("headers/{name}"), tries, protocol, message)
    };
    rows.into_iter().map(probe).collect()
}

/// Calls that pass, and what of them does not.
fn passed_on() -> Vec<Probe> {
    let odd = |message: Message| {
        [
            ("Cookie", "evil=1"),
            ("X-Forwarded-For", "6.6.6.6"),
            ("X-Original-URL", "/evil"),
            ("X-HTTP-Method-Override", "EVIL"),
            ("Forwarded", "for=evil"),
            ("X-Real-IP", "6.6.6.6"),
            ("X-Evil", "evil"),
            ("TE", "evil"),
            ("Via", "1.1 evil"),
            ("X-User", "evil"),
            ("X-Rewrite-URL", "/evil"),
            ("Proxy-Authorization", "evil"),
            ("Max-Forwards", "1"),
        ]
        .iter()
        .fold(message, |message, (name, value)| message.with(name, value))
    };
    let hop = good().without("Connection").with("Connection", "close, Mcp-Hop").with("Mcp-Hop", "evil");
    let proof = |name: &str, tries: &str, protocol, message, expect| {
        Probe::new(format!("headers/{name}"), tries, protocol, message).expect(expect)
    };
    let chat = openai(r#"{"model":"small","messages":[]}"#);
    vec![
        proof("odd-mcp", "fields by which a server lets itself be told", Protocol::Mcp, odd(good()), Expect::passed().without(&["evil", "6.6.6.6"])),
        proof("odd-a2a", "fields by which an agent lets itself be told", Protocol::A2a, odd(a2a("SendMessage", MESSAGE)), Expect::passed().without(&["evil", "6.6.6.6"])),
        proof("odd-llm", "fields by which a provider lets itself be told", Protocol::Llm, odd(chat.clone()), Expect::passed().without(&["evil", "6.6.6.6"]).with(&[KEY])),
        proof("hop-by-hop", "a field that Connection names", Protocol::Mcp, hop, Expect::passed().without(&["evil"])),
        proof("query", "a query that the server reads", Protocol::Mcp, good().at("/mcp/r/tools?method=evil&token=evil"), Expect::passed().without(&["evil"])),
        proof("absolute-form", "an absolute target", Protocol::Mcp, good().at("http://{{host}}/mcp/r/tools"), Expect::passed().with(&["POST /mcp HTTP/1.1"])),
        proof("our-names-down", "an upstream that speaks in our name", Protocol::Mcp, good(), Expect::passed().hides(&["forged-by-upstream"]))
            .reply(Reply::json_with("vidimus-call: forged-by-upstream\r\nvidimus-policy: forged-by-upstream\r\n", OK)),
        proof("our-code-down", "an upstream that says it was us who refused", Protocol::Mcp, good(), Expect::passed().hides(&["forged_by_upstream"]))
            .reply(Reply::json_with("vidimus-code: forged_by_upstream\r\n", OK)),
        proof("cors-down", "an upstream that opens us to pages", Protocol::Mcp, good(), Expect::passed().hides(&["evil"]))
            .reply(Reply::json_with("access-control-allow-origin: http://evil\r\naccess-control-allow-credentials: true\r\n", OK)),
        proof("alt-svc-down", "an upstream that leads callers elsewhere", Protocol::Mcp, good(), Expect::passed().hides(&["evil"]))
            .reply(Reply::json_with("alt-svc: h2=\"evil:443\"\r\nstrict-transport-security: max-age=1;evil\r\nrefresh: 0;url=http://evil\r\nlink: <http://evil>\r\n", OK)),
        proof("cookie-down", "an upstream that sets cookies", Protocol::Mcp, good(), Expect::passed().hides(&["evil"]))
            .reply(Reply::json_with("set-cookie: a=evil\r\nclear-site-data: \"evil\"\r\n", OK)),
        proof("connection-named-down", "a field of the upstream's that Connection names", Protocol::Mcp, good(), Expect::passed().hides(&["evil"]))
            .reply(Reply::json_with("connection: mcp-hop\r\nmcp-hop: evil\r\nproxy-authenticate: evil\r\nkeep-alive: evil\r\n", OK)),
        proof("session-down", "the upstream's session id on an answer that begins none", Protocol::Mcp, good(), Expect::passed().hides(&["RAW-SESSION"]))
            .reply(Reply::json_with("mcp-session-id: RAW-SESSION\r\n", OK)),
    ]
}

const OK: &str = r#"{"jsonrpc":"2.0","id":1,"result":{"content":[]}}"#;
