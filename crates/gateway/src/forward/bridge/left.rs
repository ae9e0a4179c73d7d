//! A call of an era with sessions that passes as it is. Who leaves one in a session, or is not waited for any more, is told to the server: in that era a
//! stream that ends says nothing to it by itself (2025-11-25, "Cancellation"), and its tool would run on for nobody. And so is what is refused of that
//! which the server asks in it ([`Back`]).
//!
//! A stream whose events have ids may be asked for again, so there the server is told a while later, where nobody has come again.

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Response, Uri};
use http_body::{Body as _, Frame};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;
use tokio::time::{Instant, sleep};
use vidimus_core::permit::Permit;
use vidimus_core::refusal::{Code, Refusal};

use super::super::body::Broken;
use super::super::{Back, Body, Upstream, send};
use super::Asked;
use super::held::Held;
use super::sessions::cancelled;
use super::wire::{Wire, header};
use crate::gate::Shared;
use crate::protocol::mcp::{LAST_EVENT_HEADER, SESSION_HEADER, VERSION_HEADER};
use crate::protocol::sse::is_events;

/// For how long who has lost a stream is waited for.
const RETURN: Duration = Duration::from_secs(10);

/// Notes who comes again for a stream that was lost.
pub(in crate::forward) fn note_return(held: &Held, uri: &Uri, (method, headers): (&Method, &HeaderMap)) {
    if *method == Method::GET
        && headers.contains_key(LAST_EVENT_HEADER)
        && let Some(session) = header(headers, SESSION_HEADER)
    {
        held.comes_again(&key(uri, session));
    }
}

/// A session at its server.
fn key(uri: &Uri, session: &str) -> String {
    format!("{uri}|{session}")
}

/// Sends a message of an era with sessions, of which one in a session can be taken back.
///
/// # Errors
/// As [`super::super::forward`].
pub(in crate::forward) async fn sent(
    upstream: &Upstream,
    (permit, shared): (Permit, Arc<Shared>),
    asked: Asked,
) -> Result<Response<Body>, Refusal> {
    let Asked { method, uri, headers, body } = asked;
    let is_in_session = method == Method::POST && headers.contains_key(SESSION_HEADER);
    let mut call = Call {
        upstream: upstream.clone(),
        permit: Arc::new(permit),
        shared,
        uri,
        headers: headers.clone(),
        minted: Instant::now(),
        message: body.clone(),
        has_ids: false,
        is_over: !is_in_session,
    };
    let endpoint = call.permit.endpoint()?;
    let to = (endpoint, upstream.client(endpoint)?);
    let response = match send(upstream, to, method, call.uri.clone(), headers, body).await {
        Ok(response) => response,
        Err(refusal) => {
            // Who was waited for too long goes on with it; what else failed is under way nowhere.
            call.is_over |= refusal.code != Code::UpstreamTimeout;
            return Err(refusal);
        }
    };
    let (mut parts, body) = response.into_parts();
    call.is_over |= !parts.status.is_success();
    let is_stream = is_events(&parts.headers);
    if is_stream {
        parts.extensions.insert(Back::new(call.wire(), call.session()));
    }
    Ok(Response::from_parts(parts, Body::InSession(Box::new(InSession { body, is_stream, call }))))
}

/// The answer to it.
#[derive(Debug)]
pub struct InSession {
    body: Body,
    is_stream: bool,
    call: Call,
}

impl InSession {
    /// What was asked is answered: what comes after it is nothing that anybody waits for.
    pub(in crate::forward) fn has_answered(&mut self) {
        self.call.is_over = true;
    }

    /// The next of it.
    pub(in crate::forward) fn poll_next(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let next = std::pin::Pin::new(&mut self.body).poll_frame(cx);
        match &next {
            Poll::Ready(Some(Ok(frame))) => {
                // One is enough to know it by: what comes after it is not looked at.
                if let Some(data) = frame.data_ref().filter(|_| self.is_stream && !self.call.has_ids) {
                    self.call.has_ids =
                        data.starts_with(b"id:") || memchr::memmem::find(data, b"\nid:").is_some();
                }
                self.call.is_over |= self.body.is_end_stream();
            }
            Poll::Ready(Some(Err(_)) | None) => self.call.is_over = true,
            Poll::Pending => {}
        }
        next
    }

    pub(in crate::forward) fn body(&self) -> &Body {
        &self.body
    }
}

/// A call until it is over. Nearly each ends by its answer, so nothing is made here for what would be said beside it.
struct Call {
    upstream: Upstream,
    permit: Arc<Permit>,
    shared: Arc<Shared>,
    uri: Uri,
    /// Those that it went out with.
    headers: HeaderMap,
    /// When its credential was minted.
    minted: Instant,
    message: Bytes,
    /// Its stream may be asked for again.
    has_ids: bool,
    is_over: bool,
}

impl std::fmt::Debug for Call {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Call").field("uri", &self.uri).finish_non_exhaustive()
    }
}

impl Call {
    /// The way to its server.
    fn wire(&self) -> Wire {
        let by = (self.permit.clone(), &self.shared);
        Wire::new(&self.upstream, by, self.uri.clone(), &self.headers).minted_at(self.minted)
    }

    /// The headers that say in which session.
    fn session(&self) -> HeaderMap {
        let named = [SESSION_HEADER, VERSION_HEADER];
        let session = self.headers.iter().filter(|(name, _)| named.contains(&name.as_str()));
        session.map(|(name, value)| (name.clone(), value.clone())).collect()
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        if self.is_over {
            return;
        }
        let (Some(id), Ok(runtime)) = (id_of(&self.message), tokio::runtime::Handle::try_current()) else {
            return;
        };
        let (wire, held, session) = (self.wire(), self.shared.standing.bridged(), self.session());
        let (has_ids, left) = (self.has_ids, Instant::now());
        runtime.spawn(async move {
            if has_ids {
                sleep(RETURN).await;
                let key = header(&session, SESSION_HEADER).map(|session| key(wire.uri(), session));
                if key.is_some_and(|key| held.has_come_again(&key, left)) {
                    return;
                }
            }
            let told = async {
                let mut headers = wire.headers()?;
                headers.extend(session);
                wire.post(headers, cancelled(&id)).await
            };
            if let Err(refusal) = told.await {
                tracing::debug!(%refusal, "a server was not told that nobody waits for its answer");
            }
        });
    }
}

/// The id of what can be taken back, as JSON: of a request that does not begin the session, and that is no task, which is ended otherwise.
fn id_of(message: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Request<'a> {
        #[serde(borrow)]
        id: &'a RawValue,
        method: String,
        #[serde(default)]
        params: Option<Params>,
    }
    #[derive(Deserialize)]
    struct Params {
        task: Option<IgnoredAny>,
    }
    let request: Request<'_> = serde_json::from_slice(message).ok()?;
    let is_task = request.params.is_some_and(|params| params.task.is_some());
    (request.method != "initialize" && !is_task).then(|| request.id.get().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_back_is_a_request() {
        for (message, expected) in [
            (r#"{"jsonrpc":"2.0","id":"x","method":"tools/call","params":{"name":"a"}}"#, Some("\"x\"")),
            (r#"{"jsonrpc":"2.0","id":7,"method":"tools/list"}"#, Some("7")),
            (r#"{"jsonrpc":"2.0","id":7,"method":"initialize","params":{}}"#, None),
            (r#"{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"task":{"ttl":5}}}"#, None),
            (r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#, None),
            (r#"{"jsonrpc":"2.0","id":7,"result":{}}"#, None),
            ("", None),
        ] {
            assert_eq!(id_of(message.as_bytes()).as_deref(), expected, "{message}");
        }
    }
}
