//! Versions of MCP: which are served on a route, by gateway and server together, and what the stateless one has no more.
//!
//! Who asks for a version that is not served is to learn which are (2026-07-28, "UnsupportedProtocolVersionError"), and the gateway
//! knows half of it. So such a request becomes one of `server/discover`, decided and recorded as that; its answer is kept for a while.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, header};
use serde_json::{Value, json};
use vidimus_core::call::{Call, Destination};
use vidimus_core::json::Json;
use vidimus_core::refusal::{Code, Refusal};
use vidimus_core::resource::McpServer;

use super::{
    HANDSHAKE, META_VERSION, METHOD_HEADER, MODERN, VERSION_HEADER, body_version, connect, passed, single,
};
use crate::gate::Gate;
use crate::protocol::{Answer, DocumentChange, Expected, Instead, Parsed, jsonrpc};

/// What the gateway serves, newest first.
pub const SERVED: [&str; 3] = [MODERN, HANDSHAKE[0], HANDSHAKE[1]];

/// The methods that the stateless version and its extensions have removed.
pub const REMOVED: [&str; 7] = [
    "initialize",
    "ping",
    "logging/setLevel",
    "resources/subscribe",
    "resources/unsubscribe",
    "tasks/list",
    "tasks/result",
];

const DISCOVER: &str = "server/discover";

/// The version that a message names and that the gateway does not serve.
///
/// # Errors
/// `header_mismatch` where header and body name two.
pub fn not_served<'h>(headers: &'h HeaderMap, params: Option<&Json<'_>>) -> Result<Option<&'h str>, Refusal> {
    let version = single(headers, VERSION_HEADER)?;
    if let Some(value) = body_version(params) {
        let value = value.as_str();
        if value.is_none() || version != value {
            let what = format!("header {VERSION_HEADER} and params._meta[{META_VERSION:?}] differ");
            return Err(Refusal::new(Code::HeaderMismatch, what));
        }
    }
    Ok(version.filter(|version| !SERVED.contains(version)))
}

/// The gateway's own question which versions the server serves, in place of a request in another one.
///
/// # Errors
/// `internal` for a message without an id, which is no request.
pub fn asked<'a>(server: &'a Arc<McpServer>, body: &Json<'_>, wanted: &str) -> Result<Parsed<'a>, Refusal> {
    let id = jsonrpc::id_text(body).ok_or_else(|| Refusal::new(Code::Internal, "a request has an id"))?;
    let meta = json!({
        META_VERSION: MODERN,
        "io.modelcontextprotocol/clientInfo": {"name": "vidimus", "version": env!("CARGO_PKG_VERSION")},
        "io.modelcontextprotocol/clientCapabilities": {},
    });
    let question =
        format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"{DISCOVER}","params":{{"_meta":{meta}}}}}"#);
    let mut headers = HeaderMap::new();
    headers.insert(header::ACCEPT, HeaderValue::from_static("application/json, text/event-stream"));
    headers.insert(VERSION_HEADER, HeaderValue::from_static(MODERN));
    headers.insert(METHOD_HEADER, HeaderValue::from_static(DISCOVER));
    let answer = Answer { document: Some(DocumentChange::McpVersions), events: None, ..passed() };
    let mut parsed = connect(server, DISCOVER);
    parsed.expected = Expected::Upstream(answer);
    parsed.instead =
        Some(Box::new(Instead { headers, body: Bytes::from(question), requested: shown(wanted).into() }));
    Ok(parsed)
}

/// The fault of a request in place of which the gateway would ask, where it has asked not long ago.
pub fn known(gate: &Gate, call: &Call<'_>, instead: &Instead) -> Option<Refusal> {
    let destination = call.ask.target.destination();
    let served = gate.standing.served(address(&destination)?, gate.clock.now().monotonic)?;
    Some(refusal(&instead.requested, served.to_vec()))
}

/// The fault, by what the server answered to the gateway's question: one JSON document, or the only event of a stream. One that does
/// not know the question is of the eras before it.
pub fn learned(gate: &Gate, destination: &Destination, text: &str) -> Refusal {
    // Where the gateway bridges to the one era that the server speaks, it serves all.
    let is_bridged = destination.endpoint().is_some_and(|endpoint| endpoint.mcp.is_some());
    let found = if is_bridged { Some(SERVED.to_vec()) } else { supported(text) };
    if let (Some(versions), Some(address)) = (&found, address(destination)) {
        gate.standing.serves(address, versions, gate.clock.now().monotonic);
    }
    refusal("", found.unwrap_or_else(|| HANDSHAKE.to_vec()))
}

/// What the gateway serves of the versions that an answer names: that of `server/discover`, or the server's own fault of this kind.
fn supported(text: &str) -> Option<Vec<&'static str>> {
    let mut messages = text.lines().map(|line| line.strip_prefix("data:").unwrap_or(line));
    let read = |text: &str| {
        let message: Value = serde_json::from_str(text).ok()?;
        let named =
            message.pointer("/result/supportedVersions").or_else(|| message.pointer("/error/data/supported"));
        named.and_then(Value::as_array).cloned()
    };
    let named = read(text).or_else(|| messages.find_map(read))?;
    Some(SERVED.into_iter().filter(|version| named.iter().any(|name| name == version)).collect())
}

/// Where the server is, as that by which what it said is known.
fn address(destination: &Destination) -> Option<&str> {
    destination.endpoint().map(|endpoint| endpoint.url.as_str())
}

/// That a version is not served, and which are.
pub fn refusal(requested: &str, supported: Vec<&'static str>) -> Refusal {
    let requested = shown(requested);
    let served = if supported.is_empty() { "none".to_owned() } else { supported.join(", ") };
    let what = format!("this protocol version is not served here; served: {served}");
    Refusal::new(Code::ProtocolVersionUnsupported, what).with_versions(&requested, supported)
}

fn shown(version: &str) -> String {
    version.chars().take(32).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_served_is_served_by_both() {
        let discovered = |versions: &str| {
            format!(r#"{{"jsonrpc":"2.0","id":1,"result":{{"supportedVersions":{versions}}}}}"#)
        };
        let newest = discovered(r#"["2027-01-01","2026-07-28"]"#);
        for (text, expected) in [
            (newest.clone(), Some(vec![MODERN])),
            (discovered(r#"["2024-11-05","2025-06-18","2026-07-28","2025-11-25"]"#), Some(SERVED.to_vec())),
            (discovered("[]"), Some(vec![])),
            (format!("event: message\r\ndata: {newest}\r\n\r\n"), Some(vec![MODERN])),
            (
                r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32022,"data":{"supported":["2025-11-25"]}}}"#
                    .to_owned(),
                Some(vec!["2025-11-25"]),
            ),
            (r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32601,"message":"no"}}"#.to_owned(), None),
            ("<html>".to_owned(), None),
        ] {
            assert_eq!(supported(&text), expected, "{text}");
        }
    }
}
