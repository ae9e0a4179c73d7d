//! A server of which no record says its era, asked in the stateless version: how it refuses says whether it has sessions, and is kept for a while.
//!
//! Only what a server did not do is done again. So a refusal by which the stateless version itself refuses stands; and before anything but
//! `server/discover` is sent in a session, the server has been asked whether it speaks that version after all.

use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{self, StreamExt as _};
use http::{HeaderMap, Response, StatusCode};
use http_body_util::BodyExt as _;
use serde_json::Value;
use tokio::time::timeout;
use vidimus_core::permit::Permit;
use vidimus_core::refusal::{Code, Refusal};
use vidimus_core::resource::Era;

use super::super::{Body, Upstream};
use super::wire::{Messages, header};
use super::{Asked, Bridged, Way, response_of, sessions};
use crate::gate::Shared;
use crate::protocol::mcp::versions::{DISCOVER, question};
use crate::protocol::mcp::{HANDSHAKE, METHOD_HEADER, MODERN};
use crate::protocol::sse::is_events;

/// The longest refusal that is looked at, in bytes.
const LONGEST: usize = 64 * 1024;
/// What JSON-RPC says of a method that a server does not have.
const NO_METHOD: i64 = -32601;
/// What it says of parameters, and 2026-07-28 of a request that says too little of itself (SEP-2575).
const INVALID_PARAMS: i64 = -32602;
/// What 2026-07-28 says of headers that do not agree, of what a client cannot do, and of a version that is not served.
const OF_THE_VERSION: [i64; 2] = [-32020, -32021];
const NOT_SERVED: i64 = -32022;

/// What came of a request in the stateless version.
pub(super) enum Tried {
    /// An answer, or a refusal by a server of that version.
    Answered(Response<Body>),
    /// A refusal by a server that may have sessions.
    Refused(Response<Body>),
}

/// Sends a request as it is, and looks whether a server of sessions refuses it.
///
/// # Errors
/// As [`super::answer`].
pub(super) async fn tried(
    upstream: &Upstream,
    (permit, shared): (&Permit, &Shared),
    asked: &Asked,
) -> Result<Tried, Refusal> {
    let endpoint = permit.endpoint()?;
    let is_discovery = is_discovery(&asked.headers);
    let response = asked.sent(upstream, endpoint).await?;
    let status = response.status();
    let speaks = |era| shared.standing.speaks(endpoint.url.as_str(), era, shared.clock.now().monotonic);
    if !(refuses(status) || is_discovery && status == StatusCode::OK) {
        if status == StatusCode::OK {
            speaks(Era::Stateless);
        }
        return Ok(Tried::Answered(response));
    }
    let late = |_| Refusal::new(Code::UpstreamTimeout, "the server's answer did not begin in time");
    let limit = Duration::from_millis(u64::from(endpoint.timeout_ms));
    let (response, said) = timeout(limit, begun(response)).await.map_err(late)??;
    if is_of_sessions(is_discovery, status, said.as_deref()) {
        return Ok(Tried::Refused(response));
    }
    if status == StatusCode::OK {
        speaks(Era::Stateless);
    }
    Ok(Tried::Answered(response))
}

/// Answers what a server refused, where it begins a session; what it said stands otherwise.
///
/// # Errors
/// As of any request to a server of sessions.
pub(super) async fn bridged(
    way: Way,
    asked: Asked,
    refused: Response<Body>,
    shared: &Shared,
) -> Result<Response<Body>, Refusal> {
    let address = way.wire.address()?.to_owned();
    let speaks = |era| shared.standing.speaks(&address, era, shared.clock.now().monotonic);
    if !is_discovery(&asked.headers) && speaks_stateless(&way).await {
        speaks(Era::Stateless);
        return Ok(refused);
    }
    if sessions::begins(&way, &asked).await.is_err() {
        return Ok(refused);
    }
    speaks(Era::Sessions);
    sessions::answer(way, asked).await
}

/// Whether a request asks a server what it is.
pub(super) fn is_discovery(headers: &HeaderMap) -> bool {
    header(headers, METHOD_HEADER) == Some(DISCOVER)
}

fn refuses(status: StatusCode) -> bool {
    matches!(status, StatusCode::BAD_REQUEST | StatusCode::NOT_FOUND)
}

/// Whether a server that answers so speaks no stateless version, as far as one answer tells.
fn is_of_sessions(is_discovery: bool, status: StatusCode, said: Option<&str>) -> bool {
    let said: Option<Value> = said.and_then(|said| serde_json::from_str(said).ok());
    let error = said.as_ref().and_then(|said| said.get("error"));
    match error.and_then(|error| error.get("code")?.as_i64()) {
        Some(NOT_SERVED) => {
            let named = error.and_then(|error| error.pointer("/data/supported")?.as_array());
            let names = |version: &str| named.is_some_and(|all| all.iter().any(|one| one == version));
            HANDSHAKE.into_iter().any(names) && !names(MODERN)
        }
        // Each server of that version has `server/discover`; it need not have the other methods.
        Some(NO_METHOD) => is_discovery,
        Some(code) if code == INVALID_PARAMS || OF_THE_VERSION.contains(&code) => false,
        Some(_) | None => refuses(status),
    }
}

/// Whether the server says itself that it speaks the stateless version. What it says of other matters is nothing to that.
async fn speaks_stateless(way: &Way) -> bool {
    let asked = async {
        let (message, labels) = question("0");
        let mut headers = way.wire.headers()?;
        headers.extend(labels);
        let mut messages = Messages::of(way.wire.post(headers, message).await?)?;
        way.wire.soon(response_of(&mut messages)).await
    };
    let said: Option<Value> = asked.await.ok().and_then(|said: String| serde_json::from_str(&said).ok());
    let named = said.as_ref().and_then(|said| {
        said.pointer("/result/supportedVersions").or_else(|| said.pointer("/error/data/supported"))
    });
    named.and_then(Value::as_array).is_some_and(|all| all.iter().any(|one| one == MODERN))
}

/// The message that an answer begins with: a document, or the first event; `None` of one that is longer than what is looked at. And the answer, as it was.
async fn begun(response: Response<Body>) -> Result<(Response<Body>, Option<String>), Refusal> {
    let (parts, mut body) = response.into_parts();
    let (is_stream, mut held) = (is_events(&parts.headers), Vec::new());
    while held.len() <= LONGEST {
        let first = if is_stream { first_event(&held) } else { None };
        if first.is_some() {
            return Ok((Response::from_parts(parts, rest(held, body)), first));
        }
        let Some(frame) = body.frame().await else {
            let said = if is_stream { None } else { String::from_utf8(held.clone()).ok() };
            return Ok((Response::from_parts(parts, Body::Whole(Some(Bytes::from(held)))), said));
        };
        let frame = frame.map_err(|error| error.refusal("the server's answer broke off"))?;
        held.extend_from_slice(&frame.into_data().unwrap_or_default());
    }
    Ok((Response::from_parts(parts, rest(held, body)), None))
}

/// The data of the first event that has some, where it is on one whole line.
fn first_event(held: &[u8]) -> Option<String> {
    let whole = held.get(..memchr::memrchr(b'\n', held)?)?;
    let lines = std::str::from_utf8(whole).ok()?.lines();
    let mut data = lines.filter_map(|line| line.strip_prefix("data:")).map(str::trim);
    data.find(|data| !data.is_empty()).map(str::to_owned)
}

/// What was read of an answer, and what comes behind it.
fn rest(held: Vec<u8>, body: Body) -> Body {
    let behind = stream::unfold(Some(body), |body| async move {
        let mut body = body?;
        loop {
            match body.frame().await? {
                Ok(frame) => {
                    // Trailers say nothing here.
                    let Ok(data) = frame.into_data() else { continue };
                    return Some((Ok(data), Some(body)));
                }
                Err(error) => return Some((Err(error.refusal("the server's answer broke off")), None)),
            }
        }
    });
    let all = stream::iter([Ok(Bytes::from(held))]).chain(behind);
    Body::Bridged(Bridged(Box::pin(all)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_a_server_refuses_says_its_era() {
        let error = |code: i64, more: &str| {
            format!(r#"{{"jsonrpc":"2.0","id":null,"error":{{"code":{code},"message":"no"{more}}}}}"#)
        };
        let supported = |versions: &str| format!(r#","data":{{"supported":[{versions}]}}"#);
        for (is_discovery, status, said, expected) in [
            // The official SDKs, and `vidimus wrap`.
            (false, 400, error(-32000, ""), true),
            (false, 400, error(-32600, ""), true),
            (true, 400, error(-32000, ""), true),
            (false, 404, "not found".to_owned(), true),
            (false, 400, String::new(), true),
            (true, 200, error(-32601, ""), true),
            (true, 404, error(-32601, ""), true),
            (false, 400, error(-32022, &supported(r#""2025-11-25""#)), true),
            // A server of the stateless version.
            (false, 400, error(-32022, &supported(r#""2026-07-28","2025-11-25""#)), false),
            (false, 400, error(-32022, &supported(r#""2027-01-01""#)), false),
            (false, 400, error(-32022, ""), false),
            (false, 400, error(-32020, ""), false),
            (false, 400, error(-32021, ""), false),
            (true, 400, error(-32602, ""), false),
            (false, 404, error(-32601, ""), false),
            (
                true,
                200,
                r#"{"jsonrpc":"2.0","id":1,"result":{"supportedVersions":["2026-07-28"]}}"#.to_owned(),
                false,
            ),
            (true, 200, "<html>".to_owned(), false),
        ] {
            let status = StatusCode::from_u16(status).expect("a status");
            assert_eq!(is_of_sessions(is_discovery, status, Some(&said)), expected, "{status} {said}");
        }
    }

    #[test]
    fn the_first_event_is_read_once_its_line_is_whole() {
        for (held, expected) in [
            ("", None),
            (": hello\n\nid: 1\ndata: \n\n", None),
            ("data: {\"a\"", None),
            ("data: {\"a\":1}\n", Some("{\"a\":1}")),
            ("id: 1\r\ndata:\r\n\r\ndata:{}\r\n\r\ndata: lost", Some("{}")),
        ] {
            assert_eq!(first_event(held.as_bytes()).as_deref(), expected, "{held:?}");
        }
    }

    /// What was looked at passes as it was, however long it is.
    #[tokio::test]
    async fn nothing_of_an_answer_is_lost() {
        for (kind, text) in [
            ("application/json", "{}".to_owned()),
            ("application/json", "x".repeat(3 * LONGEST)),
            ("text/event-stream", "data: {}\n\ndata: more\n\n".to_owned()),
        ] {
            let chunks: Vec<Result<Bytes, Refusal>> =
                text.as_bytes().chunks(1_000).map(|chunk| Ok(Bytes::copy_from_slice(chunk))).collect();
            let body = Body::Bridged(Bridged(Box::pin(stream::iter(chunks))));
            let response = Response::builder().header("content-type", kind).body(body).expect("well formed");
            let (response, _) = begun(response).await.expect("read");
            let passed =
                response.into_body().whole(usize::MAX, "broke", String::new).await.expect("all of it");
            assert_eq!(passed, text.as_bytes());
        }
    }
}
