//! The MCP endpoint: requests of HTTP become lines of a process, and its lines become answers.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_REQUEST_HEADERS, ALLOW, CACHE_CONTROL, CONTENT_TYPE,
    HeaderMap, HeaderValue, RETRY_AFTER, VARY,
};
use http::request::Parts;
use http::{HeaderName, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper::body::Incoming;

use crate::body::{Answer, Cancel, Events, Resumed};
use crate::channel::Reader;
use crate::door;
use crate::fault::{Fault, INVALID, NO_METHOD, TRANSPORT};
use crate::message::{Kind, Message};
use crate::session::Session;
use crate::wrapped::{STATELESS, Wrapped};

/// Where the endpoint is.
const PATH: &str = "/mcp";
const SESSION: HeaderName = HeaderName::from_static("mcp-session-id");
const LAST_EVENT: HeaderName = HeaderName::from_static("last-event-id");
const BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");
const JSON: HeaderValue = HeaderValue::from_static("application/json");
/// The first version whose clients understand an event without a message.
const PRIMED: &str = "2025-11-25";

/// How long a client may take for a message.
const BODY_TIME: Duration = Duration::from_secs(30);
/// How long an answer may be a document. After that it begins as a stream of events, so that nobody between takes it for silence.
const PATIENCE: Duration = Duration::from_secs(2);

/// For how long a client of a session that has lost the stream of a request may come again for it, before the server is told that nobody waits.
const RETURN: Duration = Duration::from_secs(10);

/// Answers one request.
pub(crate) async fn answer(
    wrapped: Arc<Wrapped>,
    request: Request<Incoming>,
) -> Result<Response<Answer>, Infallible> {
    let (parts, body) = request.into_parts();
    let page = match door::enter(&parts, &wrapped.config) {
        Ok(page) => page,
        Err(fault) => return Ok(refused(&fault, None)),
    };
    let mut response = match (parts.uri.path(), &parts.method) {
        ("/healthz", &Method::GET) => Response::new(Answer::whole("ok\n")),
        (PATH, &Method::OPTIONS) if page.is_some() => preflight(&parts),
        (PATH, &Method::POST) => post(&wrapped, &parts.headers, body).await,
        (PATH, &Method::GET) => listen(&wrapped, &parts.headers),
        (PATH, &Method::DELETE) => delete(&wrapped, &parts.headers),
        (PATH, _) => not_allowed("GET, POST and DELETE are served"),
        _ => refused(&Fault::new(StatusCode::NOT_FOUND, INVALID, "the endpoint is /mcp"), None),
    };
    if let Some(origin) = page {
        let headers = response.headers_mut();
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static("Mcp-Session-Id"));
        headers.insert(VARY, HeaderValue::from_static("Origin"));
    }
    Ok(response)
}

/// One message of a client.
async fn post(wrapped: &Arc<Wrapped>, headers: &HeaderMap, body: Incoming) -> Response<Answer> {
    let bytes = match door::negotiated(headers) {
        Ok(()) => read(body, wrapped.config.limits.message).await,
        Err(fault) => Err(fault),
    };
    let bytes = match bytes {
        Ok(bytes) => bytes,
        Err(fault) => return refused(&fault, None),
    };
    let message = match Message::read(&bytes) {
        Ok(message) => message,
        Err(why) => return refused(&Fault::bad(why), None),
    };
    let has_version = door::one(headers, &door::VERSION).is_some_and(|version| version >= STATELESS);
    let answered = if message.kind == Kind::Request && message.method.starts_with("notifications/") {
        // A server that looks at the method alone would do it, by ids that are not its own.
        Err(Fault::bad("a notification has no id"))
    } else if message.version.is_some() || has_version {
        stateless(wrapped, headers, &message).await
    } else if message.kind == Kind::Request && message.method == "initialize" {
        initialize(wrapped, headers, &message).await
    } else {
        in_session(wrapped, headers, &message).await
    };
    answered.unwrap_or_else(|fault| {
        let id = message.id.as_ref().filter(|_| message.kind == Kind::Request);
        refused(&fault, id.map(|id| message.written(id)).as_deref())
    })
}

/// A message of the era without sessions.
async fn stateless(
    wrapped: &Wrapped,
    headers: &HeaderMap,
    message: &Message<'_>,
) -> Result<Response<Answer>, Fault> {
    door::mirrored(headers, message)?;
    if is_of_connection(&message.method) {
        return Err(of_connection(message, StatusCode::NOT_FOUND));
    }
    match message.kind {
        Kind::Response => Err(Fault::bad("a client answers by inputResponses of a request")),
        // Whose request it is about nobody can tell: here a client cancels by closing the stream.
        Kind::Notification if message.method == "notifications/cancelled" => Ok(accepted()),
        Kind::Notification => {
            wrapped.stateless().await?.tell(message, 0).await?;
            Ok(accepted())
        }
        Kind::Request => {
            let process = wrapped.stateless().await?;
            let channel = wrapped.channel(false);
            let reader = channel.read(None);
            let key = process.ask(message, &channel, 0).await?;
            Ok(reply(reader, false, false, Some(Cancel { process, key, resumed: None })).await)
        }
    }
}

/// Begins a session.
async fn initialize(
    wrapped: &Wrapped,
    headers: &HeaderMap,
    message: &Message<'_>,
) -> Result<Response<Answer>, Fault> {
    if headers.contains_key(SESSION) {
        return Err(Fault::bad("the session is initialized; leave Mcp-Session-Id out to begin another"));
    }
    let begun = wrapped.begin(message).await?;
    let mut response = match begun.answer {
        Some(answer) => document(StatusCode::OK, answer),
        None => match ask(wrapped, &begun.session, message, false).await {
            Ok(response) => response,
            Err(fault) => {
                wrapped.sessions.end(&begun.id);
                return Err(fault);
            }
        },
    };
    if !response.status().is_success() {
        wrapped.sessions.end(&begun.id);
        return Ok(response);
    }
    // A UUID is a value that a header can have.
    if let Ok(id) = HeaderValue::from_str(&begun.id) {
        response.headers_mut().insert(SESSION, id);
    }
    Ok(response)
}

/// A message of a session that has begun.
async fn in_session(
    wrapped: &Wrapped,
    headers: &HeaderMap,
    message: &Message<'_>,
) -> Result<Response<Answer>, Fault> {
    let session = session(wrapped, headers)?;
    session.touch();
    if wrapped.config.shared && is_of_connection(&message.method) {
        return Err(of_connection(message, StatusCode::OK));
    }
    if message.kind == Kind::Request {
        let is_primed = door::one(headers, &door::VERSION).is_some_and(|version| version >= PRIMED);
        let response = ask(wrapped, &session, message, is_primed).await?;
        session.touch();
        return Ok(response);
    }
    session.process.tell(message, session.number).await?;
    Ok(accepted())
}

/// Passes a request of a session on, and its answer back.
async fn ask(
    wrapped: &Wrapped,
    session: &Session,
    message: &Message<'_>,
    is_primed: bool,
) -> Result<Response<Answer>, Fault> {
    let channel = wrapped.channel(true);
    let reader = channel.read(None);
    let process = session.process.clone();
    let key = process.ask(message, &channel, session.number).await?;
    session.remember(&channel);
    let resumed = Some(Resumed { channel, within: RETURN });
    // That a session begins is not taken back (2025-11-25, "Cancellation"): it ends where nobody goes on with it.
    let asked = (message.method != "initialize").then(|| Cancel { process, key, resumed });
    Ok(reply(reader, true, is_primed, asked).await)
}

/// Whether what a method sets would be set for all whom a process serves.
fn is_of_connection(method: &str) -> bool {
    matches!(method, "initialize" | "logging/setLevel" | "resources/subscribe" | "resources/unsubscribe")
}

/// Refuses such a method. `asked` is the status where it is a request.
fn of_connection(message: &Message<'_>, asked: StatusCode) -> Fault {
    let what = format!("{} is of a connection, and the server's is shared", message.method);
    let status = if message.kind == Kind::Request { asked } else { StatusCode::BAD_REQUEST };
    Fault::new(status, NO_METHOD, what)
}

/// The answer to a request, as a document where it is there soon and alone.
async fn reply(
    mut reader: Reader,
    have_ids: bool,
    is_primed: bool,
    asked: Option<Cancel>,
) -> Response<Answer> {
    let first = tokio::time::timeout(PATIENCE, reader.next()).await;
    if let (Ok(Some(event)), Some(status)) = (&first, reader.ended()) {
        return document(status, event.message.clone());
    }
    let mut events = Events::new(reader, have_ids, asked);
    if is_primed {
        events.prime();
    }
    if let Ok(Some(event)) = &first {
        events.begin_with(event);
    }
    stream(events)
}

/// The stream of what the server says of itself, or one that was lost.
fn listen(wrapped: &Wrapped, headers: &HeaderMap) -> Response<Answer> {
    if !headers.contains_key(SESSION) {
        return not_allowed("a session has this stream; begin one with initialize");
    }
    let listened = session(wrapped, headers).and_then(|session| {
        if !door::accepts(headers, "text/event-stream") {
            let what = "the client must accept text/event-stream";
            return Err(Fault::new(StatusCode::NOT_ACCEPTABLE, INVALID, what));
        }
        session.touch();
        let reader = match door::one(headers, &LAST_EVENT) {
            None => session.listening.read(None),
            Some(last) => session.resume(last).ok_or_else(|| {
                Fault::bad("what is behind this event is not known any more; listen without Last-Event-ID")
            })?,
        };
        Ok(stream(Events::new(reader, true, None)))
    });
    listened.unwrap_or_else(|fault| refused(&fault, None))
}

/// Ends a session.
fn delete(wrapped: &Wrapped, headers: &HeaderMap) -> Response<Answer> {
    match door::one(headers, &SESSION) {
        None => not_allowed("a session is ended by its Mcp-Session-Id"),
        Some(id) if wrapped.sessions.end(id) => {
            let mut response = Response::new(Answer::whole(""));
            *response.status_mut() = StatusCode::NO_CONTENT;
            response
        }
        Some(_) => refused(&unknown(None), None),
    }
}

fn session(wrapped: &Wrapped, headers: &HeaderMap) -> Result<Arc<Session>, Fault> {
    let id = door::one(headers, &SESSION).ok_or_else(|| {
        Fault::new(StatusCode::BAD_REQUEST, TRANSPORT, "begin with initialize, and send Mcp-Session-Id")
    })?;
    let session = wrapped.sessions.get(id).ok_or_else(|| unknown(None))?;
    match session.process.is_over() {
        None => Ok(session),
        Some(why) => {
            wrapped.sessions.end(id);
            Err(unknown(Some(why)))
        }
    }
}

fn unknown(why: Option<String>) -> Fault {
    let what = why.unwrap_or_else(|| "there is no such session; begin one with initialize".to_owned());
    Fault::new(StatusCode::NOT_FOUND, TRANSPORT, what)
}

/// The body of a message, no longer than `most` bytes.
async fn read(body: Incoming, most: usize) -> Result<Bytes, Fault> {
    let read = tokio::time::timeout(BODY_TIME, Limited::new(body, most).collect()).await;
    match read {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            let what = format!("a message has at most {most} bytes (--max-message)");
            Err(Fault::new(StatusCode::PAYLOAD_TOO_LARGE, INVALID, what))
        }
        Ok(Err(_)) => Err(Fault::bad("the message broke off")),
        Err(_) => Err(Fault::new(StatusCode::REQUEST_TIMEOUT, INVALID, "the message took too long")),
    }
}

fn accepted() -> Response<Answer> {
    let mut response = Response::new(Answer::whole(""));
    *response.status_mut() = StatusCode::ACCEPTED;
    response
}

fn document(status: StatusCode, bytes: Bytes) -> Response<Answer> {
    let mut response = Response::new(Answer::whole(bytes));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, JSON);
    response
}

fn stream(events: Events) -> Response<Answer> {
    let mut response = Response::new(Answer::Events(Box::new(events)));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache, no-transform"));
    headers.insert(BUFFERING, HeaderValue::from_static("no"));
    response
}

fn refused(fault: &Fault, id: Option<&str>) -> Response<Answer> {
    let mut response = document(fault.status, fault.answer(id));
    if fault.status == StatusCode::SERVICE_UNAVAILABLE {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("5"));
    }
    response
}

fn not_allowed(what: &str) -> Response<Answer> {
    let mut response = refused(&Fault::new(StatusCode::METHOD_NOT_ALLOWED, INVALID, what), None);
    response.headers_mut().insert(ALLOW, HeaderValue::from_static("POST"));
    response
}

/// What a page of an allowed origin may send.
fn preflight(parts: &Parts) -> Response<Answer> {
    let mut response = Response::new(Answer::whole(""));
    *response.status_mut() = StatusCode::NO_CONTENT;
    let headers = response.headers_mut();
    headers.insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, POST, DELETE"));
    for wanted in parts.headers.get_all(ACCESS_CONTROL_REQUEST_HEADERS) {
        headers.append(ACCESS_CONTROL_ALLOW_HEADERS, wanted.clone());
    }
    response
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::{At, Config, Limits, Program};

    /// Answers the first message alone.
    const SERVER: &str =
        r#"read line; echo '{"jsonrpc":"2.0","id":0,"result":{}}'; while read line; do :; done"#;

    #[tokio::test]
    async fn a_session_settles_by_what_comes_after_initialize() {
        let program = Program {
            command: "/bin/sh".into(),
            arguments: vec!["-c".into(), SERVER.into()],
            environment: vec![],
        };
        let limits = Limits { sessions: 2, message: 1024, idle: Duration::from_secs(1800) };
        let at = At::Tcp("127.0.0.1:1".parse().expect("an address"));
        let wrapped =
            Wrapped::new(Config { program, at, hosts: vec![], origins: vec![], shared: false, limits });
        let message = Message::read(br#"{"jsonrpc":"2.0","id":0,"method":"initialize"}"#).expect("a message");
        let note =
            Message::read(br#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#).expect("a message");
        for is_settled in [false, true] {
            let response = initialize(&wrapped, &HeaderMap::new(), &message).await.expect("begun");
            let id = response.headers().get(SESSION).expect("a session").clone();
            // Who still read its answer would be there.
            drop(response);
            if is_settled {
                let headers = HeaderMap::from_iter([(SESSION, id.clone())]);
                in_session(&wrapped, &headers, &note).await.expect("told");
            }
            wrapped.sessions.end_idle(Instant::now() + Duration::from_secs(120), wrapped.config.limits.idle);
            let session = wrapped.sessions.get(id.to_str().expect("text"));
            assert_eq!(session.is_some(), is_settled);
        }
        wrapped.end().await;
    }
}
