//! Versions of MCP: which are served on a route, by gateway and server together, what the stateless one has no more, and what it has each request
//! say of itself.
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
use vidimus_core::resource::{Era, McpServer};

use super::{
    HANDSHAKE, META_VERSION, METHOD_HEADER, MODERN, VERSION_HEADER, body_version, bridge, connect, passed,
    single,
};
use crate::gate::Gate;
use crate::protocol::{Answer, DocumentChange, Expected, Instead, Parsed, jsonrpc};

/// What the gateway serves, newest first.
pub const SERVED: [&str; 5] = [MODERN, HANDSHAKE[0], HANDSHAKE[1], HANDSHAKE[2], HANDSHAKE[3]];

/// Those of before 2025-06-18: of what came later they have the sessions alone.
pub const EARLY: [&str; 2] = [HANDSHAKE[2], HANDSHAKE[3]];

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

/// The methods that versions of before 2025-06-18 have not yet; so have they none of `tasks/`.
const LATER: [&str; 4] =
    [DISCOVER, "subscriptions/listen", "notifications/tasks/status", "notifications/elicitation/complete"];

/// How a server is asked what it is, and in which versions.
pub const DISCOVER: &str = "server/discover";

const META_CAPABILITIES: &str = "io.modelcontextprotocol/clientCapabilities";

/// That the version of a message has its method: still, or already. Clients of before 2025-06-18 name theirs where they have learned to.
///
/// # Errors
/// `method_unknown`; `header_mismatch` where the version is given twice.
pub fn check_method(headers: &HeaderMap, method: &str, is_modern: bool) -> Result<(), Refusal> {
    if is_modern {
        let what = || format!("MCP {MODERN} has no method {method:?} any more");
        return if REMOVED.contains(&method) {
            Err(Refusal::new(Code::MethodUnknown, what()))
        } else {
            Ok(())
        };
    }
    let early = single(headers, VERSION_HEADER)?.filter(|version| EARLY.contains(version));
    match early.filter(|_| method.starts_with("tasks/") || LATER.contains(&method)) {
        None => Ok(()),
        Some(version) => {
            let what = format!("MCP {version} has no method {method:?} yet");
            Err(Refusal::new(Code::MethodUnknown, what))
        }
    }
}

/// Why a request of the stateless version says too little of itself (SEP-2575), where it is the gateway that answers in that version: a server of it
/// says so by itself, and behind these there is none. Who may make the call learns it.
pub fn without_meta(server: &McpServer, params: Option<&Json<'_>>, is_modern: bool) -> Option<Refusal> {
    let is_bridged = server.endpoint.mcp == Some(Era::Sessions);
    if !is_modern || !is_bridged && !bridge::is_answered_here(&server.endpoint) {
        return None;
    }
    missing_meta(params)
}

/// What a request of the stateless version does not say of itself (SEP-2575).
pub fn missing_meta(params: Option<&Json<'_>>) -> Option<Refusal> {
    let capabilities = params.and_then(|params| params.get("_meta")?.get(META_CAPABILITIES));
    let missing = match (body_version(params), capabilities) {
        (None, _) => META_VERSION,
        (Some(_), Some(Json::Object(_))) => return None,
        (Some(_), _) => META_CAPABILITIES,
    };
    let what = format!("params._meta does not say {missing:?}, which each request of MCP {MODERN} does");
    Some(Refusal::new(Code::ParamsInvalid, what))
}

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
    let (question, mut headers) = question(&id);
    headers.insert(header::ACCEPT, HeaderValue::from_static("application/json, text/event-stream"));
    let answer = Answer { document: Some(DocumentChange::McpVersions), events: None, ..passed() };
    let mut parsed = connect(server, DISCOVER);
    parsed.expected = Expected::Upstream(answer);
    parsed.instead =
        Some(Box::new(Instead { headers, body: Bytes::from(question), requested: shown(wanted).into() }));
    Ok(parsed)
}

/// `server/discover` in the gateway's own name, and the headers that say the same. `id` is JSON.
pub fn question(id: &str) -> (String, HeaderMap) {
    let meta = json!({
        META_VERSION: MODERN,
        "io.modelcontextprotocol/clientInfo": {"name": "vidimus", "version": env!("CARGO_PKG_VERSION")},
        META_CAPABILITIES: {},
    });
    let question =
        format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"{DISCOVER}","params":{{"_meta":{meta}}}}}"#);
    let mut headers = HeaderMap::new();
    headers.insert(VERSION_HEADER, HeaderValue::from_static(MODERN));
    headers.insert(METHOD_HEADER, HeaderValue::from_static(DISCOVER));
    (question, headers)
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
    use super::super::StreamableHttp;
    use super::*;
    use crate::protocol::Binding as _;
    use crate::protocol::tests::server;

    /// The official suite's `sep-2575-request-meta-invalid-*`.
    #[test]
    fn where_the_gateway_answers_a_stateless_request_says_what_each_has_to() {
        let version = r#""io.modelcontextprotocol/protocolVersion":"2026-07-28""#;
        let can = |what: &str| format!(r#""io.modelcontextprotocol/clientCapabilities":{what}"#);
        let meta = |members: &[&str]| format!(r#"{{"_meta":{{{}}}}}"#, members.join(","));
        let whole = meta(&[version, &can("{}")]);
        for (mcp, params, missing) in [
            (Some(Era::Sessions), Some(whole.clone()), None),
            (Some(Era::Sessions), Some(meta(&[version, &can(r#"{"roots":{}}"#)])), None),
            (Some(Era::Sessions), None, Some(META_VERSION)),
            (Some(Era::Sessions), Some("{}".to_owned()), Some(META_VERSION)),
            (Some(Era::Sessions), Some(r#"{"_meta":[]}"#.to_owned()), Some(META_VERSION)),
            (Some(Era::Sessions), Some(meta(&[&can("{}")])), Some(META_VERSION)),
            (Some(Era::Sessions), Some(meta(&[version])), Some(META_CAPABILITIES)),
            (Some(Era::Sessions), Some(meta(&[version, &can("[]")])), Some(META_CAPABILITIES)),
            // A server of that version says it by itself.
            (None, Some("{}".to_owned()), None),
            (Some(Era::Stateless), Some("{}".to_owned()), None),
        ] {
            let mut one = McpServer::clone(&server());
            one.endpoint.mcp = mcp;
            let json = params.as_ref().map(|params| Json::parse(params.as_bytes()).expect("JSON"));
            let fault = without_meta(&one, json.as_ref(), true);
            assert_eq!(
                fault.as_ref().map(|fault| fault.code),
                missing.map(|_| Code::ParamsInvalid),
                "{params:?}"
            );
            assert_eq!(without_meta(&one, json.as_ref(), false), None, "sessions have nothing of it");
            let names = |missing: &str| fault.as_ref().is_some_and(|fault| fault.message.contains(missing));
            assert!(missing.is_none_or(names), "{fault:?}");
        }
        let mut front = McpServer::clone(&server());
        front.endpoint.url = "members:finance/ledger".parse().expect("a URL");
        assert!(front.endpoint.is_of_members() && without_meta(&front, None, true).is_some());
        let error = StreamableHttp.refused(&Refusal::new(Code::ParamsInvalid, ""), "c", Some("101"));
        assert_eq!(error.status().as_u16(), 400);
        assert!(error.body().contains(r#""code":-32602"#) && error.body().contains(r#""id":101"#));
    }

    #[test]
    fn what_is_served_is_served_by_both() {
        let discovered = |versions: &str| {
            format!(r#"{{"jsonrpc":"2.0","id":1,"result":{{"supportedVersions":{versions}}}}}"#)
        };
        let newest = discovered(r#"["2027-01-01","2026-07-28"]"#);
        for (text, expected) in [
            (newest.clone(), Some(vec![MODERN])),
            (
                discovered(
                    r#"["2024-11-05","2025-03-26","2025-06-18","2026-07-28","2025-11-25","2024-10-07"]"#,
                ),
                Some(SERVED.to_vec()),
            ),
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
