//! What the bridge says to a server, and hears of it: one message at a time, whether it comes as a document or within a stream of events.

use std::collections::VecDeque;
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, Uri};
use http_body_util::BodyExt as _;
use tokio::time::{Instant, timeout};
use vidimus_core::entity::EntityId;
use vidimus_core::permit::Permit;
use vidimus_core::refusal::{Code, Refusal};

use super::super::{Body, Upstream, send};
use crate::credential::minted;
use crate::gate::Shared;
use crate::protocol::mcp::bridge::unlike;
use crate::protocol::mcp::mirrored::MirroredTools;
use crate::protocol::sse::{is_events, value_of};

/// The longest message of a server's, in bytes: as much as is held of an answer that has to be read.
const LONGEST: usize = 8 * 1024 * 1024;
const IDEMPOTENCY_KEY: &str = "idempotency-key";
/// How soon a stream that broke off is asked for again, where the server does not say it (HTML, section 9.2.3), and at most.
const RETRY: Duration = Duration::from_secs(1);
const LATEST_RETRY: Duration = Duration::from_secs(10);

/// The way to the server of one permitted call. Whatever is said to it in the course of that call goes to the address of its permit, and by
/// the credential of that hop.
#[derive(Clone)]
pub(in crate::forward) struct Wire {
    upstream: Upstream,
    permit: Arc<Permit>,
    /// Not held by what waits here for a client: the gateway may stop meanwhile.
    shared: Weak<Shared>,
    uri: Uri,
    /// The caller's headers that go on, but for those of a version of MCP, and the credential of the hop.
    headers: HeaderMap,
    /// The caller's key by which its call is made once: no message but the call has it.
    key: Option<HeaderValue>,
    /// When the credential was minted.
    minted: Instant,
    /// For how long an answer may be quiet, and one that is a document may take.
    patience: Duration,
}

impl std::fmt::Debug for Wire {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Wire").field("uri", &self.uri).finish_non_exhaustive()
    }
}

impl Wire {
    pub(super) fn new(
        upstream: &Upstream,
        (permit, shared): (Arc<Permit>, &Arc<Shared>),
        uri: Uri,
        headers: &HeaderMap,
    ) -> Self {
        let mut passed = HeaderMap::with_capacity(headers.len());
        for (name, value) in headers {
            if !name.as_str().starts_with("mcp-") && name.as_str() != "last-event-id" {
                passed.append(name, value.clone());
            }
        }
        passed.insert(ACCEPT, HeaderValue::from_static("application/json, text/event-stream"));
        let (key, patience) = (passed.remove(IDEMPOTENCY_KEY), shared.limits.idle_stream);
        let (upstream, shared, minted) = (upstream.clone(), Arc::downgrade(shared), Instant::now());
        Self { upstream, permit, shared, uri, headers: passed, key, minted, patience }
    }

    /// The same, of a call whose credential was minted then.
    pub(super) fn minted_at(self, minted: Instant) -> Self {
        Self { minted, ..self }
    }

    /// Where its server is, as its record says.
    ///
    /// # Errors
    /// `internal` where its destination has no address.
    pub(super) fn address(&self) -> Result<&str, Refusal> {
        Ok(self.permit.endpoint()?.url.as_str())
    }

    /// Where what is said goes.
    pub(super) fn uri(&self) -> &Uri {
        &self.uri
    }

    /// Who makes the call.
    pub(super) fn principal(&self) -> &EntityId {
        self.permit.caller().proven.principal.entity()
    }

    /// The same for the message that is the call.
    pub(super) fn of_call(&self, mut headers: HeaderMap) -> HeaderMap {
        if let Some(key) = &self.key {
            headers.insert(IDEMPOTENCY_KEY, key.clone());
        }
        headers
    }

    /// What a server says before a call, or what somebody else waits for: in the time that it has to begin an answer.
    ///
    /// # Errors
    /// `upstream_timeout`, and those of `said`.
    pub(super) async fn soon<T>(&self, said: impl Future<Output = Result<T, Refusal>>) -> Result<T, Refusal> {
        let limit = Duration::from_millis(u64::from(self.permit.endpoint()?.timeout_ms));
        timeout(limit, said).await.unwrap_or_else(|_| Err(late()))
    }

    /// An answer that is read as a whole, in the time for which one may be quiet.
    ///
    /// # Errors
    /// As [`Wire::soon`].
    pub(super) async fn read<T>(
        &self,
        whole: impl Future<Output = Result<T, Refusal>>,
    ) -> Result<T, Refusal> {
        timeout(self.patience, whole).await.unwrap_or_else(|_| Err(late()))
    }

    /// Which arguments the server's tools have in headers too, as far as its listings told.
    pub(super) fn mirrored(&self) -> Option<Arc<MirroredTools>> {
        self.shared.upgrade()?.standing.mirrored(self.permit.endpoint().ok()?.url.as_str())
    }

    /// Headers for one request, to which those of MCP are added. A call may take longer than the credential of its hop lives, which is then
    /// minted anew by the same permit.
    ///
    /// # Errors
    /// `internal` where none can be.
    pub(in crate::forward) fn headers(&self) -> Result<HeaderMap, Refusal> {
        let mut headers = self.headers.clone();
        let stopped = || Refusal::new(Code::Internal, "the gateway has stopped");
        let shared = self.shared.upgrade().ok_or_else(stopped)?;
        let is_minted = self.permit.endpoint()?.key.is_none();
        if is_minted && self.minted.elapsed() > shared.limits.token_life / 2 {
            headers.insert(AUTHORIZATION, minted(&shared, &self.permit)?.1);
        }
        Ok(headers)
    }

    /// Sends one message.
    ///
    /// # Errors
    /// As [`super::super::forward`].
    pub(in crate::forward) async fn post(
        &self,
        mut headers: HeaderMap,
        message: String,
    ) -> Result<Response<Body>, Refusal> {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        self.send(Method::POST, headers, Bytes::from(message)).await
    }

    /// Asks for something that needs no message: a stream, or the end of a session.
    ///
    /// # Errors
    /// As [`super::super::forward`].
    pub(super) async fn ask(
        &self,
        method: Method,
        mut headers: HeaderMap,
    ) -> Result<Response<Body>, Refusal> {
        headers.remove(CONTENT_TYPE);
        self.send(method, headers, Bytes::new()).await
    }

    /// Sends a request as it is.
    ///
    /// # Errors
    /// As [`super::super::forward`].
    async fn send(&self, method: Method, headers: HeaderMap, body: Bytes) -> Result<Response<Body>, Refusal> {
        let endpoint = self.permit.endpoint()?;
        let to = (endpoint, self.upstream.client(endpoint)?);
        send(&self.upstream, to, method, self.uri.clone(), headers, body).await
    }
}

fn late() -> Refusal {
    Refusal::new(Code::UpstreamTimeout, "the server began an answer and did not end it in time")
}

/// What a server says next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// A message, as JSON that need not be any.
    Message(String),
    /// Nothing yet, and it is still there.
    Alive,
    /// No more.
    End,
}

/// The messages of one answer.
#[derive(Debug)]
pub(super) struct Messages {
    body: Body,
    pub(super) status: StatusCode,
    pub(super) is_stream: bool,
    lines: Lines,
    ready: VecDeque<String>,
    document: Vec<u8>,
    ended: bool,
}

impl Messages {
    /// # Errors
    /// `upstream_invalid` for what is in an encoding: none was asked for.
    pub(super) fn of(response: Response<Body>) -> Result<Self, Refusal> {
        let (parts, body) = response.into_parts();
        let encoding = parts.headers.get(CONTENT_ENCODING);
        if encoding.is_some_and(|encoding| !encoding.as_bytes().eq_ignore_ascii_case(b"identity")) {
            return Err(unlike("the server's answer is in an encoding, and none was asked for"));
        }
        Ok(Self {
            body,
            status: parts.status,
            is_stream: is_events(&parts.headers),
            lines: Lines::default(),
            ready: VecDeque::new(),
            document: Vec::new(),
            ended: false,
        })
    }

    /// The next message. What was not read stays: it may be asked for again where nobody waited for the end of it.
    ///
    /// # Errors
    /// `upstream_interrupted`, and `upstream_invalid` for a message that is too long or is no text.
    pub(super) async fn next(&mut self) -> Result<Said, Refusal> {
        if let Some(message) = self.ready.pop_front() {
            return Ok(Said::Message(message));
        }
        if self.ended {
            return Ok(Said::End);
        }
        loop {
            let Some(frame) = self.body.frame().await else {
                self.ended = true;
                // An event whose empty line did not come is none (HTML, section 9.2.6).
                let document = std::mem::take(&mut self.document);
                let is_none = self.is_stream || document.trim_ascii().is_empty();
                return if is_none { Ok(Said::End) } else { text(document).map(Said::Message) };
            };
            let frame = frame.map_err(|error| error.refusal("the server's answer broke off"))?;
            let Ok(data) = frame.into_data() else { continue };
            if self.is_stream {
                self.lines.push(&data, &mut self.ready)?;
                return Ok(self.ready.pop_front().map_or(Said::Alive, Said::Message));
            }
            self.document.extend_from_slice(&data);
            check_length(self.document.len())?;
        }
    }

    /// The next message, whatever comes before it; `None` at the end. It may be asked for again, as [`Messages::next`].
    ///
    /// # Errors
    /// As [`Messages::next`].
    pub(super) async fn first(&mut self) -> Result<Option<String>, Refusal> {
        loop {
            match self.next().await? {
                Said::Message(message) => return Ok(Some(message)),
                Said::Alive => {}
                Said::End => return Ok(None),
            }
        }
    }

    /// Has a message be the next one.
    pub(super) fn say(&mut self, message: String) {
        self.ready.push_front(message);
    }

    /// The id of the last event, and in how long the stream may be asked for from there, where it has ids.
    pub(super) fn resumes(&self) -> Option<(HeaderValue, Duration)> {
        let id = HeaderValue::from_str(self.lines.id.as_deref()?).ok()?;
        Some((id, self.lines.retry.unwrap_or(RETRY).min(LATEST_RETRY)))
    }
}

fn check_length(length: usize) -> Result<(), Refusal> {
    if length <= LONGEST {
        return Ok(());
    }
    let message = format!("a message of the server's is longer than {LONGEST} bytes");
    Err(Refusal::new(Code::UpstreamInvalid, message))
}

fn text(bytes: Vec<u8>) -> Result<String, Refusal> {
    String::from_utf8(bytes).map_err(|_| unlike("a message of the server's is not UTF-8"))
}

/// Events, read line by line (HTML, section 9.2.6).
#[derive(Debug, Default)]
struct Lines {
    line: Vec<u8>,
    data: Option<String>,
    /// Of the last event that had one.
    id: Option<String>,
    retry: Option<Duration>,
    /// The last byte was CR: a LF after it ends the same line.
    after_cr: bool,
    /// A line has ended, so no byte order mark can come.
    begun: bool,
}

impl Lines {
    fn push(&mut self, mut chunk: &[u8], events: &mut VecDeque<String>) -> Result<(), Refusal> {
        while !chunk.is_empty() {
            if std::mem::take(&mut self.after_cr)
                && let Some(rest) = chunk.strip_prefix(b"\n")
            {
                chunk = rest;
                continue;
            }
            let Some(end) = memchr::memchr2(b'\n', b'\r', chunk) else {
                self.line.extend_from_slice(chunk);
                return check_length(self.line.len() + self.data.as_ref().map_or(0, String::len));
            };
            let (part, rest) = chunk.split_at(end);
            self.line.extend_from_slice(part);
            self.after_cr = rest.first() == Some(&b'\r');
            chunk = rest.get(1..).unwrap_or_default();
            events.extend(self.line_ended()?);
        }
        Ok(())
    }

    /// The event that ends with this line.
    fn line_ended(&mut self) -> Result<Option<String>, Refusal> {
        let line = text(std::mem::take(&mut self.line))?;
        let mark = if std::mem::replace(&mut self.begun, true) { "" } else { "\u{feff}" };
        let line = line.strip_prefix(mark).unwrap_or(&line);
        if line.is_empty() {
            // What only names a place in the stream says nothing (2025-11-25, "Sending Messages to the Server").
            return Ok(self.data.take().filter(|data| !data.trim().is_empty()));
        }
        if let Some(part) = value_of(line, "data") {
            let data = self.data.get_or_insert_default();
            if !data.is_empty() {
                data.push('\n');
            }
            data.push_str(part);
            check_length(data.len())?;
        } else if let Some(id) = value_of(line, "id") {
            self.id = (!id.is_empty() && !id.contains('\0')).then(|| id.to_owned());
        } else if let Some(retry) = value_of(line, "retry") {
            self.retry = retry.parse().ok().map(Duration::from_millis);
        }
        Ok(None)
    }
}

/// A message as an event. It has no line feed where it was written by [`crate::protocol::mcp::bridge::object::line`].
pub(super) fn event(message: &str) -> Bytes {
    let message = message.replace(['\n', '\r'], " ");
    format!("event: message\ndata: {message}\n\n").into()
}

/// What says that somebody is still there.
pub(super) const ALIVE: Bytes = Bytes::from_static(b": waits\n\n");

/// A header that is there once and is text.
pub(super) fn header<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_read_whatever_the_chunks_they_come_in() {
        let stream = "\u{feff}: hello\r\nid: a\r\ndata: \r\n\r\nevent: message\ndata: {\ndata: }\n\nretry: 250\rid: b\rdata:x\r\rdata: lost";
        for size in 1..stream.len() {
            let (mut lines, mut events) = (Lines::default(), VecDeque::new());
            for chunk in stream.as_bytes().chunks(size) {
                lines.push(chunk, &mut events).expect("text");
            }
            assert_eq!(events, ["{\n}", "x"], "{size}");
            assert_eq!((lines.id.as_deref(), lines.retry), (Some("b"), Some(Duration::from_millis(250))));
        }
    }

    /// Attack: a server whose message never ends, or is no text.
    #[test]
    fn what_is_held_of_a_message_is_bounded_and_text() {
        let (mut lines, mut events) = (Lines::default(), VecDeque::new());
        let long = vec![b'x'; LONGEST + 1];
        let code = |result: Result<(), Refusal>| result.map_err(|refusal| refusal.code);
        assert_eq!(code(lines.push(&long, &mut events)), Err(Code::UpstreamInvalid));
        let mut lines = Lines::default();
        let half = [b"data: ".as_slice(), &long[..LONGEST / 2 - 1], b"\n"].concat();
        lines.push(&half, &mut events).expect("short enough");
        lines.push(&half, &mut events).expect("short enough, with a line feed within");
        assert_eq!(code(lines.push(&half, &mut events)), Err(Code::UpstreamInvalid));
        assert_eq!(code(Lines::default().push(b"data: \xff\n", &mut events)), Err(Code::UpstreamInvalid));
        assert!(events.is_empty());
    }
}
