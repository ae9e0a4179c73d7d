//! The prepared answers, in the words of the real protocols (e2e/WIRE.md).

use std::io::Write as _;
use std::sync::LazyLock;

use anyhow::Context as _;

use super::Request;
use super::seen::Seen;
use crate::estate::{WIDE_TOOLS, wide_tool};

/// Events of a streamed chat answer, before usage and `[DONE]`; each is written by itself, as a model would.
pub(crate) const CHUNKS: usize = 20;
/// What the ids of this server's sessions begin with.
pub(crate) const SESSION_PREFIX: &str = "bench-upstream-session-";

const TOOL_RESULT: &str = r#","result":{"content":[{"type":"text","text":"Invoice INV-2041 of Brightwater Supplies: 1,284.00 EUR, due 2026-09-30, matched to purchase order PO-7781 with no open positions."}],"structuredContent":{"id":"INV-2041","amount":"1284.00","currency":"EUR","status":"matched"},"isError":false}}"#;

const INITIALIZE_RESULT: &str = r#","result":{"protocolVersion":"2025-11-25","capabilities":{"tools":{"listChanged":false}},"serverInfo":{"name":"bench-upstream","version":"1"}}}"#;

/// What proxies ask for before they call. A schema that allows everything is the cheapest to validate.
const TOOLS_RESULT: &str = r#","result":{"tools":[{"name":"get_invoice","description":"One invoice.","inputSchema":{"type":"object"}},{"name":"list_invoices","description":"Invoices.","inputSchema":{"type":"object"}},{"name":"match_invoice","description":"Matches an invoice to its order.","inputSchema":{"type":"object"}},{"name":"get_purchase_order","description":"One purchase order.","inputSchema":{"type":"object"}}]}}"#;

/// Where the MCP server has [`WIDE_TOOLS`] tools.
pub(crate) const WIDE_PATH: &str = "/mcp/wide";

static WIDE_RESULT: LazyLock<String> = LazyLock::new(|| {
    let tool = |number| {
        format!(
            r#"{{"name":"{}","description":"One of many.","inputSchema":{{"type":"object"}}}}"#,
            wide_tool(number)
        )
    };
    let tools: Vec<String> = (0..WIDE_TOOLS).map(tool).collect();
    format!(r#","result":{{"tools":[{}]}}}}"#, tools.join(","))
});

const TASK_RESULT: &str = r#","result":{"task":{"id":"7c6f5c1e-6d0f-4a3e-9a55-3f0a9e3b7c10","contextId":"b1d8f9a2-0f4c-4e42-9a3b-5d6d6a1f2e77","status":{"state":"TASK_STATE_COMPLETED","timestamp":"2026-08-01T09:30:00.000Z","message":{"messageId":"4fbc2a9d-2c53-4d39-8a7e-0a0b6a1c9d21","role":"ROLE_AGENT","parts":[{"text":"Matched 14 of 14 invoices to purchase orders."}]}},"artifacts":[{"artifactId":"e0a1c0de-1c1b-4a52-bb0a-4d1f9c7a6b55","name":"matches","parts":[{"data":{"data":{"matched":14,"open":0,"currency":"EUR"}}},{"text":"All invoices of July are matched; nothing is open."}]}]}}}"#;

const CHAT: &str = r#"{"id":"chatcmpl-9f2c4e7a1b3d5f60","object":"chat.completion","created":1785576600,"model":"bench-model","service_tier":"default","system_fingerprint":"fp_3b1c5d7e9f","choices":[{"index":0,"message":{"role":"assistant","content":"The invoice INV-2041 of Brightwater Supplies over 1,284.00 EUR matches purchase order PO-7781. Quantities and prices agree, the delivery was confirmed on the 12th, and no position is open. It can be released for payment on the agreed terms.","refusal":null,"annotations":[]},"logprobs":null,"finish_reason":"stop"}],"usage":{"prompt_tokens":92,"completion_tokens":58,"total_tokens":150,"prompt_tokens_details":{"cached_tokens":0,"audio_tokens":0},"completion_tokens_details":{"reasoning_tokens":0,"audio_tokens":0}}}"#;

const EVENT: &str = r#"data: {"id":"chatcmpl-9f2c4e7a1b3d5f60","object":"chat.completion.chunk","created":1785576600,"model":"bench-model","system_fingerprint":"fp_3b1c5d7e9f","choices":[{"index":0,"delta":{"content":" invoice"},"logprobs":null,"finish_reason":null}],"usage":null}"#;

const LAST_EVENTS: &str = r#"data: {"id":"chatcmpl-9f2c4e7a1b3d5f60","object":"chat.completion.chunk","created":1785576600,"model":"bench-model","system_fingerprint":"fp_3b1c5d7e9f","choices":[],"usage":{"prompt_tokens":92,"completion_tokens":20,"total_tokens":112}}"#;

/// The answer of the agents alone, as JSON.
pub(super) fn task() -> &'static str {
    let result = TASK_RESULT.trim_start_matches(r#","result":"#);
    result.strip_suffix('}').unwrap_or(result)
}

/// Answers one request through `write`, which is called once for each piece that goes out by itself.
pub(crate) fn answer(
    request: &Request<'_>,
    seen: &mut Seen,
    mut write: impl FnMut(&[u8]) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    if request.path == "/control/seen" {
        return write(&json("200 OK", "", &serde_json::to_vec(seen)?)?);
    }
    seen.request(request.authorization);
    let body = request.body;
    let holds = |text: &str| memchr::memmem::find(body, text.as_bytes()).is_some();
    if request.path == "/mcp" || request.path == WIDE_PATH {
        return write(&mcp(request, seen)?);
    }
    if request.path.starts_with("/a2a/") {
        return write(&rpc(body, "", TASK_RESULT)?);
    }
    if request.path == "/v1/chat/completions" && holds(r#""stream":true"#) {
        return stream(write);
    }
    if request.path == "/v1/chat/completions" {
        return write(&json("200 OK", "", CHAT.as_bytes())?);
    }
    write(&json("404 Not Found", "", br#"{"error":"the benchmark's upstream has no such path"}"#)?)
}

fn mcp(request: &Request<'_>, seen: &Seen) -> anyhow::Result<Vec<u8>> {
    // There is no stream to listen to, and no session that must be ended.
    match request.method {
        "GET" => return json("405 Method Not Allowed", "allow: POST\r\n", b""),
        "DELETE" => return json("200 OK", "", b""),
        _ => {}
    }
    let holds = |text: &str| memchr::memmem::find(request.body, text.as_bytes()).is_some();
    if holds(r#""method":"initialize""#) {
        let session = format!("mcp-session-id: {SESSION_PREFIX}{}\r\n", seen.requests);
        return rpc(request.body, &session, INITIALIZE_RESULT);
    }
    // Only a session of this server's: what sits in between must have handed on the id that was given out here.
    if !request.session.is_some_and(|session| session.starts_with(SESSION_PREFIX.as_bytes())) {
        return json("404 Not Found", "", br#"{"error":"no such session"}"#);
    }
    if holds(r#""method":"notifications/"#) {
        return Ok(b"HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n".to_vec());
    }
    if holds(r#""method":"tools/call""#) {
        return rpc(request.body, "", TOOL_RESULT);
    }
    if holds(r#""method":"tools/list""#) {
        let tools = if request.path == WIDE_PATH { WIDE_RESULT.as_str() } else { TOOLS_RESULT };
        return rpc(request.body, "", tools);
    }
    if holds(r#""method":"ping""#) {
        return rpc(request.body, "", r#","result":{}}"#);
    }
    rpc(request.body, "", r#","error":{"code":-32601,"message":"Method not found"}}"#)
}

/// A JSON-RPC answer with the id of the request, whose own `"id":` comes first in it.
fn rpc(request: &[u8], headers: &str, rest: &str) -> anyhow::Result<Vec<u8>> {
    const KEY: &[u8] = br#""id":"#;
    let at = memchr::memmem::find(request, KEY).context("a request without an id")?;
    let value = request.get(at + KEY.len()..).unwrap_or_default();
    let end = memchr::memchr2(b',', b'}', value).context("the id does not end")?;
    let id = value.get(..end).unwrap_or_default();
    let mut body = Vec::with_capacity(40 + rest.len());
    body.extend_from_slice(br#"{"jsonrpc":"2.0","id":"#);
    body.extend_from_slice(id);
    body.extend_from_slice(rest.as_bytes());
    json("200 OK", headers, &body)
}

fn json(status: &str, headers: &str, body: &[u8]) -> anyhow::Result<Vec<u8>> {
    let mut out = Vec::with_capacity(body.len() + 192);
    write!(
        out,
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\n{headers}content-length: {}\r\n\r\n",
        body.len()
    )?;
    out.extend_from_slice(body);
    Ok(out)
}

/// Twenty pieces of text, usage, `[DONE]`: a chunk and a write each, but for the end, which comes with the last.
fn stream(mut write: impl FnMut(&[u8]) -> anyhow::Result<()>) -> anyhow::Result<()> {
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncache-control: no-cache\r\ntransfer-encoding: chunked\r\n\r\n";
    let event = chunk(EVENT)?;
    write(&[head.as_bytes(), &event].concat())?;
    for _ in 1..CHUNKS {
        write(&event)?;
    }
    write(&[chunk(LAST_EVENTS)?, chunk("data: [DONE]")?, b"0\r\n\r\n".to_vec()].concat())
}

fn chunk(event: &str) -> anyhow::Result<Vec<u8>> {
    let mut out = Vec::with_capacity(event.len() + 16);
    write!(out, "{:x}\r\n{event}\n\n\r\n", event.len() + 2)?;
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(path: &str, session: Option<&str>, body: &str) -> (Vec<String>, Seen) {
        let mut seen = Seen::default();
        let mut pieces = Vec::new();
        let request = Request {
            method: "POST",
            path,
            session: session.map(str::as_bytes),
            authorization: Some(b"Bearer x"),
            body: body.as_bytes(),
        };
        answer(&request, &mut seen, |piece| {
            pieces.push(String::from_utf8(piece.to_vec())?);
            Ok(())
        })
        .unwrap();
        (pieces, seen)
    }

    #[test]
    fn answers_are_whole_json_with_the_id_of_the_request() {
        let call = r#"{"jsonrpc":"2.0","id":41,"method":"tools/call","params":{}}"#;
        for (path, least, most) in
            [("/mcp", 250, 400), ("/a2a/x", 500, 800), ("/v1/chat/completions", 700, 950)]
        {
            let (pieces, seen) = ask(path, Some(SESSION_PREFIX), call);
            let (head, body) = pieces[0].split_once("\r\n\r\n").unwrap();
            assert!(
                head.starts_with("HTTP/1.1 200 OK")
                    && head.contains(&format!("content-length: {}", body.len()))
            );
            assert!((least..most).contains(&body.len()), "{path}: {}", body.len());
            let body: serde_json::Value = serde_json::from_str(body).unwrap();
            assert!(body["id"] == 41 || body["usage"]["total_tokens"] == 150, "{body}");
            assert_eq!((seen.requests, &seen.authorizations[0][..]), (1, &b"Bearer x"[..]));
        }
    }

    #[test]
    fn a_tool_call_needs_a_session_of_this_server() {
        let (pieces, _) = ask("/mcp", None, r#"{"jsonrpc":"2.0","id":0,"method":"initialize"}"#);
        assert!(pieces[0].contains(&format!("mcp-session-id: {SESSION_PREFIX}1\r\n")), "{}", pieces[0]);
        let call = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call"}"#;
        for session in [None, Some("sealed-or-made-up")] {
            assert!(ask("/mcp", session, call).0[0].starts_with("HTTP/1.1 404"), "{session:?}");
        }
    }

    #[test]
    fn a_stream_goes_out_in_pieces() {
        let (pieces, _) = ask("/v1/chat/completions", None, r#"{"stream":true}"#);
        assert_eq!(pieces.len(), CHUNKS + 1);
        assert!(
            pieces[CHUNKS].contains("total_tokens")
                && pieces[CHUNKS].ends_with("data: [DONE]\n\n\r\n0\r\n\r\n")
        );
    }
}
