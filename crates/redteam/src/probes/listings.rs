//! Listings: what one may not use is not shown, however the upstream writes it.

use super::{a2a, good, mcp, modern, openai, request};
use crate::estate::HIDDEN;
use crate::expect::Expect;
use crate::probe::{Message, Probe, Protocol};
use crate::reply::Reply;

/// Documents that answer `tools/list`.
const DOCUMENTS: &[(&str, &str)] = &[
    ("plain", r#"{"jsonrpc":"2.0","id":1,"result":{"tools":[{"name":"ok"},{"name":"hidden_tool"}]}}"#),
    ("result-first", r#"{"result":{"tools":[{"name":"ok"},{"name":"hidden_tool"}]},"id":1,"jsonrpc":"2.0"}"#),
    ("member-case", r#"{"jsonrpc":"2.0","id":1,"result":{"Tools":[{"name":"ok"},{"name":"hidden_tool"}]}}"#),
    ("result-case", r#"{"jsonrpc":"2.0","id":1,"Result":{"tools":[{"name":"hidden_tool"}]}}"#),
    ("name-case", r#"{"jsonrpc":"2.0","id":1,"result":{"tools":[{"name":"ok","Name":"hidden_tool"}]}}"#),
    ("name-twice", r#"{"jsonrpc":"2.0","id":1,"result":{"tools":[{"name":"ok","name":"hidden_tool"}]}}"#),
    ("member-twice", r#"{"jsonrpc":"2.0","id":1,"result":{"tools":[],"tools":[{"name":"hidden_tool"}]}}"#),
    (
        "result-twice",
        r#"{"jsonrpc":"2.0","id":1,"result":{"tools":[]},"result":{"tools":[{"name":"hidden_tool"}]}}"#,
    ),
    ("escaped", r#"{"jsonrpc":"2.0","id":1,"result":{"t\u006fols":[{"n\u0061me":"hidden_tool"}]}}"#),
    (
        "name-escaped",
        r#"{"jsonrpc":"2.0","id":1,"result":{"tools":[{"name":"hidden\u005ftool","description":"hidden_tool"}]}}"#,
    ),
    ("object", r#"{"jsonrpc":"2.0","id":1,"result":{"tools":{"a":{"name":"hidden_tool"}}}}"#),
    ("nested-list", r#"{"jsonrpc":"2.0","id":1,"result":{"tools":[[{"name":"hidden_tool"}]]}}"#),
    ("nameless", r#"{"jsonrpc":"2.0","id":1,"result":{"tools":[{"title":"hidden_tool"}]}}"#),
    ("name-list", r#"{"jsonrpc":"2.0","id":1,"result":{"tools":[{"name":["hidden_tool"]}]}}"#),
    ("batch", r#"[{"jsonrpc":"2.0","id":1,"result":{"tools":[{"name":"hidden_tool"}]}}]"#),
    (
        "two-documents",
        r#"{"jsonrpc":"2.0","id":1,"result":{"tools":[]}}{"jsonrpc":"2.0","id":1,"result":{"tools":[{"name":"hidden_tool"}]}}"#,
    ),
    ("bare", r#"{"tools":[{"name":"hidden_tool"}]}"#),
    (
        "lone-surrogate",
        r#"{"jsonrpc":"2.0","id":1,"result":{"tools":[{"name":"ok\ud800"},{"name":"hidden_tool"}]}}"#,
    ),
    ("broken", r#"{"jsonrpc":"2.0","id":1,"result":{"tools":[{"name":"hidden_tool"}]}"#),
    (
        "error-data",
        r#"{"jsonrpc":"2.0","id":1,"error":{"code":-1,"message":"x","data":{"tools":[{"name":"hidden_tool"}]}}}"#,
    ),
    (
        "error-message",
        r#"{"jsonrpc":"2.0","id":1,"error":{"code":-1,"message":"hidden_tool failed to load"}}"#,
    ),
    (
        "result-and-error",
        r#"{"jsonrpc":"2.0","id":1,"error":{"code":-1,"message":"x"},"result":{"tools":[{"name":"hidden_tool"}]}}"#,
    ),
];

/// Streams that answer `tools/list`; `L` is the plain document.
const STREAMS: &[(&str, &str)] = &[
    ("plain", "data: L\n\n"),
    ("cr", "data: L\r\r"),
    ("crlf", "data: L\r\n\r\n"),
    ("mixed-ends", "data: L\r\n\n"),
    ("mark", "\u{feff}data: L\n\n"),
    ("two-marks", "\u{feff}\u{feff}data: L\n\n"),
    ("mark-in-data", "data: \u{feff}L\n\n"),
    ("mark-later", "data: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/x\"}\n\n\u{feff}data: L\n\n"),
    ("no-space", "data:L\n\n"),
    ("case", "Data: L\n\n"),
    ("space-before", " data: L\n\n"),
    ("comment", ": L\n\n"),
    ("nul", "data: \0L\n\n"),
    ("text-before", "data: xL\n\n"),
    ("line-separator", "event: m\u{2028}data: L\n\n"),
    ("next-line", "event: m\u{85}data: L\n\n"),
    ("form-feed", "event: m\u{c}data: L\n\n"),
    ("in-event", "event: L\ndata: {\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{\"tools\":[]}}\n\n"),
    ("in-id", "id: L\ndata: {\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{\"tools\":[]}}\n\n"),
    ("in-unknown-field", "x: L\ndata: {\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{\"tools\":[]}}\n\n"),
    ("unended", "data: L"),
    (
        "many-lines",
        "data: {\"jsonrpc\":\"2.0\",\"id\":1,\ndata: \"result\":{\"tools\":[\ndata: {\"name\":\"hidden_tool\"}]}}\n\n",
    ),
    (
        "other-id",
        "data: {\"jsonrpc\":\"2.0\",\"id\":77,\"result\":{\"tools\":[{\"name\":\"hidden_tool\"}]}}\n\ndata: {\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{\"tools\":[]}}\n\n",
    ),
];

/// All of this area.
pub(super) fn probes() -> Vec<Probe> {
    let list = || mcp(request("tools/list", "{}"));
    let hides = || Expect::ended(&[]).hides(&[HIDDEN]);
    let row = |name: String, message: Message, reply| {
        Probe::new(name, "a tool that one may not use", Protocol::Mcp, message).reply(reply).expect(hides())
    };
    let plain = DOCUMENTS.first().map(|(_, document)| *document).unwrap_or_default();
    let mut probes: Vec<Probe> = DOCUMENTS
        .iter()
        .map(|(name, document)| row(format!("listings/document-{name}"), list(), Reply::json(document)))
        .collect();
    probes.extend(STREAMS.iter().map(|(name, stream)| {
        row(format!("listings/stream-{name}"), list(), Reply::events(&stream.replace('L', plain)))
    }));
    for (name, message) in
        [("call", good()), ("ping", mcp(request("ping", "{}"))), ("modern", modern("tools/list", None, ""))]
    {
        probes.push(row(format!("listings/in-stream-of-{name}"), message, Reply::event(plain)));
    }
    for status in [500, 404, 400, 203] {
        let reply = Reply::document(status, "application/json", "", plain);
        probes.push(row(format!("listings/status-{status}"), list(), reply));
    }
    for (name, kind) in [
        ("text", "text/plain"),
        ("html", "text/html"),
        ("event-case", "TEXT/Event-Stream"),
        ("octets", "application/octet-stream"),
    ] {
        probes.push(row(format!("listings/type-{name}"), list(), Reply::document(200, kind, "", plain)));
    }
    probes.extend(others());
    probes
}

/// Listings of other things.
fn others() -> Vec<Probe> {
    let hides = |text: &str| Expect::ended(&[]).hides(&[text]);
    let listed = |member: &str, name: &str, good: &str| {
        format!(
            r#"{{"jsonrpc":"2.0","id":1,"result":{{"{member}":[{{"{name}":"{good}"}},{{"{name}":"hidden_tool"}}]}}}}"#
        )
    };
    let mut probes = Vec::new();
    for (method, member, name, good) in [
        ("resources/list", "resources", "uri", "file:///ok"),
        ("prompts/list", "prompts", "name", "ok"),
        ("resources/templates/list", "resourceTemplates", "uriTemplate", "file:///ok"),
    ] {
        let probe = Probe::new(
            format!("listings/{member}"),
            "something that one may not use",
            Protocol::Mcp,
            mcp(request(method, "{}")),
        );
        probes.push(probe.reply(Reply::json(&listed(member, name, good))).expect(hides(HIDDEN)));
    }
    let card =
        a2a("SendMessage", "{}").at("/a2a/r/callee/.well-known/agent-card.json").using("GET").bodiless();
    let address =
        Probe::new("listings/card-address", "the upstream's address in its card", Protocol::A2a, card);
    probes.push(address.expect(Expect::ended(&[]).hides(&["{{upstream}}"])));
    let models = openai("").using("GET").at("/llm/r/openai/v1/models").bodiless();
    probes.push(
        Probe::new("listings/models", "a model that one may not use", Protocol::Llm, models.clone())
            .expect(Expect::answered(&[200]).hides(&["large"]).shows(&["small"])),
    );
    probes.push(Probe::new(
        "listings/models-of-nobody",
        "the models, by who may use none",
        Protocol::Llm,
        models.by("nobody"),
    ));
    probes
}
