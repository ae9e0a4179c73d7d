//! Messages: JSON that two readers read differently, and messages that are none of the protocol.

use super::{good, mcp, request};
use crate::expect::Expect;
use crate::probe::{Message, Probe, Protocol};

/// Parameters of `tools/call` at the tool server.
const CALLS: &[(&str, &str, &str)] = &[
    ("hidden-tool", "a tool that nobody permits", r#"{"name":"hidden_tool"}"#),
    ("tool-case", "a tool in another case", r#"{"name":"OK"}"#),
    ("tool-space", "a tool with a space more", r#"{"name":"ok "}"#),
    ("tool-nul", "a tool with a NUL", r#"{"name":"ok\u0000"}"#),
    ("tool-zero-width", "a tool with what nobody sees", r#"{"name":"ok\u200b"}"#),
    ("tool-homoglyph", "a tool in other letters", r#"{"name":"\u043ek"}"#),
    ("tool-fullwidth", "a tool in wide letters", r#"{"name":"\uff4f\uff4b"}"#),
    ("tool-combining", "a tool with a mark on it", r#"{"name":"ok\u0301"}"#),
    ("tool-slash", "a tool of another server", r#"{"name":"../second/ok"}"#),
    ("tool-quote", "a tool that ends a policy's text", r#"{"name":"ok\" || true || \""}"#),
    ("tool-list", "a list of tools", r#"{"name":["ok"]}"#),
    ("tool-number", "a number as a tool", r#"{"name":7}"#),
    ("tool-absent", "no tool", "{}"),
    ("name-twice", "two names", r#"{"name":"ok","name":"hidden_tool"}"#),
    ("name-twice-escaped", "two spellings of one member", r#"{"name":"ok","n\u0061me":"hidden_tool"}"#),
    ("name-twice-case", "a member in another case", r#"{"name":"ok","Name":"hidden_tool"}"#),
    ("name-twice-kelvin", "a member in a letter that folds", r#"{"name":"ok","k":1,"\u212a":2}"#),
    (
        "name-twice-sharp-s",
        "a member in a letter that is two",
        r#"{"name":"ok","arguments":{"stra\u00dfe":1,"stra\u1e9ee":2}}"#,
    ),
    ("argument-twice", "an argument twice", r#"{"name":"ok","arguments":{"to":"a","to":"b"}}"#),
    (
        "argument-twice-deep",
        "an argument twice, deep inside",
        r#"{"name":"ok","arguments":{"x":[{"to":"a","TO":"b"}]}}"#,
    ),
    ("nan", "a number that is none", r#"{"name":"ok","arguments":{"x":NaN}}"#),
    ("leading-zero", "a number with a zero before it", r#"{"name":"ok","arguments":{"x":007}}"#),
    ("hex-number", "a number in hexadecimal", r#"{"name":"ok","arguments":{"x":0x7}}"#),
    ("lone-surrogate", "half a letter", r#"{"name":"ok\ud800"}"#),
    ("surrogates-reversed", "two halves in the wrong order", r#"{"name":"ok\udc00\ud800"}"#),
    ("control-in-text", "a raw control character", "{\"name\":\"ok\n\"}"),
    ("unknown-escape", "an escape that does not exist", r#"{"name":"\x6fk"}"#),
    ("params-list", "parameters as a list", r#"["ok"]"#),
    ("params-text", "parameters as text", r#""ok""#),
    ("tool-as-task", "a hidden tool as a task", r#"{"name":"hidden_tool","task":{"ttl":1}}"#),
    ("pay-too-much", "more than is permitted", r#"{"name":"pay","arguments":{"amount":101}}"#),
];

/// Bodies of a `POST` to the tool server.
const BODIES: &[(&str, &str, &str)] = &[
    (
        "method-twice",
        "two methods",
        r#"{"jsonrpc":"2.0","id":1,"method":"ping","method":"tools/call","params":{"name":"hidden_tool"}}"#,
    ),
    (
        "method-twice-case",
        "a method in another case",
        r#"{"jsonrpc":"2.0","id":1,"method":"ping","Method":"tools/call","params":{"name":"hidden_tool"}}"#,
    ),
    (
        "params-twice",
        "two sets of parameters",
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"ok"},"params":{"name":"hidden_tool"}}"#,
    ),
    (
        "id-twice",
        "two ids",
        r#"{"jsonrpc":"2.0","id":1,"id":2,"method":"tools/call","params":{"name":"ok"}}"#,
    ),
    (
        "batch",
        "a list of messages",
        r#"[{"jsonrpc":"2.0","id":1,"method":"ping"},{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"hidden_tool"}}]"#,
    ),
    ("batch-empty", "an empty list", "[]"),
    (
        "two-documents",
        "two documents",
        r#"{"jsonrpc":"2.0","id":1,"method":"ping"}{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"hidden_tool"}}"#,
    ),
    (
        "two-lines",
        "two documents on two lines",
        "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\"}\n{\"jsonrpc\":\"2.0\",\"id\":2,\"method\":\"tools/call\",\"params\":{\"name\":\"hidden_tool\"}}",
    ),
    ("empty", "no message", ""),
    ("null", "null", "null"),
    ("text", "a text", "\"tools/call\""),
    ("trailing-comma", "a comma more", r#"{"jsonrpc":"2.0","id":1,"method":"ping",}"#),
    ("comment", "a comment", r#"{"jsonrpc":"2.0","id":1,/*x*/"method":"ping"}"#),
    ("single-quotes", "other quotes", r"{'jsonrpc':'2.0','id':1,'method':'ping'}"),
    ("nul-behind", "a NUL behind the document", "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\"}\0"),
    (
        "notification-of-call",
        "a call without an id",
        r#"{"jsonrpc":"2.0","method":"tools/call","params":{"name":"ok"}}"#,
    ),
    (
        "id-null",
        "an id that is null",
        r#"{"jsonrpc":"2.0","id":null,"method":"tools/call","params":{"name":"ok"}}"#,
    ),
    (
        "id-fraction",
        "an id that is a fraction",
        r#"{"jsonrpc":"2.0","id":1.5,"method":"tools/call","params":{"name":"ok"}}"#,
    ),
    (
        "id-object",
        "an id that is an object",
        r#"{"jsonrpc":"2.0","id":{},"method":"tools/call","params":{"name":"ok"}}"#,
    ),
    (
        "version-1",
        "another JSON-RPC",
        r#"{"jsonrpc":"1.0","id":1,"method":"tools/call","params":{"name":"ok"}}"#,
    ),
    ("version-absent", "no JSON-RPC", r#"{"id":1,"method":"tools/call","params":{"name":"ok"}}"#),
    (
        "version-number",
        "JSON-RPC as a number",
        r#"{"jsonrpc":2.0,"id":1,"method":"tools/call","params":{"name":"ok"}}"#,
    ),
    (
        "request-and-response",
        "a request that is a response too",
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"ok"},"result":{}}"#,
    ),
    (
        "method-case",
        "a method in another case",
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/Call","params":{"name":"ok"}}"#,
    ),
    (
        "method-space",
        "a method with a space more",
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call ","params":{"name":"ok"}}"#,
    ),
    (
        "method-escaped-slash",
        "a method that nobody has",
        r#"{"jsonrpc":"2.0","id":1,"method":"tools\/call\/x","params":{"name":"ok"}}"#,
    ),
    (
        "method-of-the-server",
        "a method that servers call",
        r#"{"jsonrpc":"2.0","id":1,"method":"sampling/createMessage","params":{}}"#,
    ),
    (
        "method-of-another-protocol",
        "a method of another protocol",
        r#"{"jsonrpc":"2.0","id":1,"method":"SendMessage","params":{}}"#,
    ),
    (
        "method-internal",
        "a method of some library",
        r#"{"jsonrpc":"2.0","id":1,"method":"rpc.discover","params":{}}"#,
    ),
    (
        "resource-other",
        "a document that nobody permits",
        r#"{"jsonrpc":"2.0","id":1,"method":"resources/read","params":{"uri":"file:///secret"}}"#,
    ),
    (
        "resource-dots",
        "a document by another spelling",
        r#"{"jsonrpc":"2.0","id":1,"method":"resources/read","params":{"uri":"file:///ok/../secret"}}"#,
    ),
    (
        "resource-dots-encoded",
        "a document by dots that are encoded",
        r#"{"jsonrpc":"2.0","id":1,"method":"resources/read","params":{"uri":"file:///ok/%2e%2e/ok"}}"#,
    ),
    (
        "resource-encoded",
        "a document by a letter that is encoded",
        r#"{"jsonrpc":"2.0","id":1,"method":"resources/read","params":{"uri":"file:///o%6b"}}"#,
    ),
    (
        "completion-both",
        "completions of two things",
        r#"{"jsonrpc":"2.0","id":1,"method":"completion/complete","params":{"ref":{"type":"ref/prompt","name":"ok","uri":"file:///secret"},"argument":{"name":"a","value":"b"}}}"#,
    ),
    (
        "resource-case",
        "a document in another case",
        r#"{"jsonrpc":"2.0","id":1,"method":"resources/read","params":{"uri":"FILE:///ok"}}"#,
    ),
    (
        "resource-subscribe",
        "news of a document that nobody permits",
        r#"{"jsonrpc":"2.0","id":1,"method":"resources/subscribe","params":{"uri":"file:///secret"}}"#,
    ),
    (
        "prompt-other",
        "a prompt that nobody permits",
        r#"{"jsonrpc":"2.0","id":1,"method":"prompts/get","params":{"name":"hidden"}}"#,
    ),
    (
        "completion-other",
        "completions of a prompt that nobody permits",
        r#"{"jsonrpc":"2.0","id":1,"method":"completion/complete","params":{"ref":{"type":"ref/prompt","name":"hidden"},"argument":{"name":"a","value":"b"}}}"#,
    ),
];

/// All of this area.
pub(super) fn probes() -> Vec<Probe> {
    let row = |name: &str, tries: &str, body: &str| {
        Probe::new(format!("messages/{name}"), tries, Protocol::Mcp, mcp(body))
    };
    let mut probes: Vec<Probe> =
        CALLS.iter().map(|(name, tries, params)| row(name, tries, &request("tools/call", params))).collect();
    probes.extend(BODIES.iter().map(|(name, tries, body)| row(name, tries, body)));
    probes.extend(encodings());
    probes.extend(bombs());
    probes.push(
        Probe::new(
            "messages/nobody",
            "an agent that is permitted nothing",
            Protocol::Mcp,
            good().by("nobody"),
        )
        .expect(Expect::refused(&["no_permit"])),
    );
    probes.push(
        Probe::new("messages/good", "the control: a good call passes", Protocol::Mcp, good())
            .expect(Expect::passed()),
    );
    probes
}

fn encodings() -> Vec<Probe> {
    let text = request("tools/call", r#"{"name":"ok"}"#);
    let wide: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let marked = [b"\xef\xbb\xbf", text.as_bytes()].concat();
    let overlong =
        [r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"ok"#.as_bytes(), b"\xc0\xaf\"}}"]
            .concat();
    let probe = |name: &str, tries: &str, message: Message| {
        Probe::new(format!("messages/{name}"), tries, Protocol::Mcp, message)
    };
    vec![
        probe("utf-16", "another encoding", mcp(wide)),
        probe("byte-order-mark", "a mark before the document", mcp(marked)),
        probe("overlong-utf8", "a letter in too many bytes", mcp(overlong)),
        probe(
            "content-type-text",
            "a type that pages may send unasked",
            good().without("Content-Type").with("Content-Type", "text/plain"),
        ),
        probe(
            "content-type-form",
            "a form",
            good().without("Content-Type").with("Content-Type", "application/x-www-form-urlencoded"),
        ),
        probe("content-type-absent", "no type", good().without("Content-Type")),
        probe("content-type-twice", "two types", good().with("Content-Type", "text/plain")),
        probe(
            "content-type-charset",
            "another charset",
            good().without("Content-Type").with("Content-Type", "application/json; charset=utf-16"),
        ),
    ]
    .into_iter()
    .map(|probe| match probe.name.as_str() {
        // What no type says is JSON all the same, and it is governed as such: it may pass, but not ungoverned.
        name if name.contains("content-type") => probe.expect(Expect::either()),
        _ => probe,
    })
    .collect()
}

fn bombs() -> Vec<Probe> {
    let call =
        |arguments: &str| mcp(request("tools/call", &format!(r#"{{"name":"ok","arguments":{arguments}}}"#)));
    let deep = |open: &str, close: &str, count: usize| {
        call(&format!("{}1{}", open.repeat(count), close.repeat(count)))
    };
    let probe = |name: &str, tries: &str, message: Message, codes| {
        Probe::new(format!("messages/{name}"), tries, Protocol::Mcp, message).expect(Expect::refused(codes))
    };
    let members: Vec<String> = (0..100_000).map(|number| format!(r#""m{number}":1"#)).collect();
    let colliding: Vec<String> = (0..20_000).map(|_| r#""a":{}"#.to_owned()).collect();
    vec![
        probe("deep-objects", "depth that ends a stack", deep(r#"{"x":"#, "}", 20_000), &[]),
        probe("deep-lists", "depth that ends a stack", deep("[", "]", 20_000), &[]),
        probe("deep-unclosed", "depth that never ends", call(&"[".repeat(100_000)), &[]),
        probe(
            "long-number",
            "a number of a million digits",
            call(&format!(r#"{{"x":{}}}"#, "9".repeat(1_000_000))),
            &[],
        ),
        probe(
            "members-twice-many",
            "20,000 members of one name",
            call(&format!("{{{}}}", colliding.join(","))),
            &["duplicate_key"],
        ),
        probe(
            "too-large",
            "a body over the limit",
            call(&format!(r#"{{"x":"{}"}}"#, "y".repeat(5 << 20))),
            &["body_too_large"],
        ),
        probe(
            "too-large-chunked",
            "a body over the limit that does not say so",
            call("{}")
                .with("Transfer-Encoding", "chunked")
                .body(format!("500000\r\n{}\r\n0\r\n\r\n", "y".repeat(0x0050_0000))),
            &["body_too_large"],
        ),
        probe(
            "too-large-announced",
            "a body over the limit that never comes",
            good().with("Content-Length", "33554432").body(""),
            &["body_too_large"],
        ),
        Probe::new(
            "messages/members-many",
            "100,000 members that a policy may have to see",
            Protocol::Mcp,
            call(&format!("{{{}}}", members.join(","))),
        )
        .expect(Expect::either()),
        probe("method-long", "a method of 100 kB", mcp(request(&"m".repeat(100_000), "{}")), &[]),
        probe(
            "tool-long",
            "a tool of 100 kB",
            mcp(request("tools/call", &format!(r#"{{"name":"{}"}}"#, "t".repeat(100_000)))),
            &[],
        ),
        probe(
            "uri-long",
            "a document's name of 100 kB",
            mcp(request("resources/read", &format!(r#"{{"uri":"file:///{}"}}"#, "u".repeat(100_000)))),
            &[],
        ),
    ]
}
