//! Agents over gRPC: a request that is one message, and an answer that becomes one of JSON-RPC as it comes in, a document or events. From there on
//! it is read, sealed and judged as any agent's.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::header::{ACCEPT, ACCEPT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, TE};
use http::{HeaderName, HeaderValue, Method, Response, StatusCode};
use http_body::{Body as _, Frame};
use vidimus_core::refusal::{Code, Refusal};

use super::{Body, Broken, Outbound, address};
use crate::protocol::a2a::grpc::frames::Frames;
use crate::protocol::a2a::grpc::schema::Rpc;
use crate::protocol::a2a::grpc::status::Status;
use crate::protocol::a2a::grpc::{Sent, says_grpc};

const ACCEPTED: HeaderName = HeaderName::from_static("grpc-accept-encoding");

/// How the answer to a request over gRPC is read.
#[derive(Debug)]
pub(super) struct Reading {
    sent: Sent,
    rpc: &'static Rpc,
    /// The longest message, in bytes.
    limit: usize,
}

impl Outbound {
    /// The same to the address where the agent is served over gRPC. No message of its answer may be longer than `limit` bytes.
    ///
    /// # Errors
    /// `binding_unserved` where its record names none.
    pub(crate) fn of_grpc(mut self, path: &str, sent: Sent, limit: usize) -> Result<Self, Refusal> {
        let at = self.permit.endpoint()?.grpc.as_ref();
        let at = at.ok_or_else(|| Refusal::new(Code::BindingUnserved, "the agent has no such address"))?;
        self.uri = address(at, path).parse().map_err(|error: http::uri::InvalidUri| {
            Refusal::new(Code::Internal, "the agent's address over gRPC is not usable").with_detail(error)
        })?;
        // Whatever it was asked by.
        self.method = Method::POST;
        self.headers.remove(ACCEPT);
        self.headers.remove(ACCEPT_ENCODING);
        self.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        self.headers.insert(TE, HeaderValue::from_static("trailers"));
        self.headers.insert(ACCEPTED, HeaderValue::from_static("identity"));
        self.grpc = Some(Reading { rpc: Rpc::named(sent.method)?, sent, limit });
        Ok(self)
    }
}

impl Reading {
    /// The answer as JSON-RPC has it.
    ///
    /// # Errors
    /// `upstream_invalid` for what is not gRPC.
    pub(super) fn answer(self, response: Response<Body>) -> Result<Response<Body>, Refusal> {
        let (mut parts, body) = response.into_parts();
        if parts.status != StatusCode::OK || !says_grpc(&parts.headers) {
            let kind =
                parts.headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or("no type");
            let kind: String = kind.chars().take(64).collect();
            let refusal = Refusal::new(Code::UpstreamInvalid, "what the agent answered is not gRPC");
            return Err(refusal.with_detail(format!("{}, {kind}", parts.status)));
        }
        // A call that ends at once has its trailers in place of headers.
        let status = Status::of_trailers(&parts.headers);
        // In place of a stream an error is a document, as agents of JSON-RPC have it: it is the call that is refused.
        let has_events = self.rpc.streams && status.as_ref().is_none_or(|status| status.code == 0);
        let kind = if has_events { "text/event-stream" } else { "application/json" };
        parts.headers.remove(CONTENT_LENGTH);
        parts.headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        let frames = Frames::of_at_most(self.limit);
        let (only, ready) = (None, VecDeque::new());
        let mut messages = Messages { reading: self, body, frames, has_events, only, ready, ended: false };
        if let Some(status) = status {
            messages.end(&status).map_err(|broken| broken.refusal("the agent's answer broke off"))?;
        }
        Ok(Response::from_parts(parts, Body::Grpc(Box::new(messages))))
    }
}

/// The messages of an answer, each as JSON-RPC has it.
#[derive(Debug)]
pub struct Messages {
    reading: Reading,
    body: Body,
    frames: Frames,
    /// Each response is an event, and the answer is not one document.
    has_events: bool,
    /// The one message of an answer that is none of several: it counts when its status is known.
    only: Option<Bytes>,
    ready: VecDeque<Bytes>,
    /// Its status has come.
    ended: bool,
}

impl Messages {
    pub(super) fn is_end(&self) -> bool {
        self.ended && self.ready.is_empty()
    }

    pub(super) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Broken>>> {
        loop {
            if let Some(ready) = self.ready.pop_front() {
                return Poll::Ready(Some(Ok(ready)));
            }
            if self.ended {
                return Poll::Ready(None);
            }
            let done = match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => self.push(&data),
                    Err(other) => self.trailers(other),
                },
                Some(Err(broken)) => Err(broken),
                None => Err(refused(Code::UpstreamInterrupted, "the agent's answer ended without a status")),
            };
            if let Err(broken) = done {
                self.ended = true;
                return Poll::Ready(Some(Err(broken)));
            }
        }
    }

    fn push(&mut self, data: &[u8]) -> Result<(), Broken> {
        self.frames.push(data);
        loop {
            let message = self.frames.take().map_err(|fault| {
                refused(Code::UpstreamInvalid, &format!("what the agent answered is no gRPC: {fault}"))
            })?;
            let Some(message) = message else { return Ok(()) };
            if self.reading.rpc.streams {
                let result = self.result(&message)?;
                self.say(&format!(r#""result":{result}"#));
            } else if self.only.replace(message).is_some() {
                return Err(refused(Code::UpstreamInvalid, "the agent answered with more than one message"));
            }
        }
    }

    fn trailers(&mut self, frame: Frame<Bytes>) -> Result<(), Broken> {
        let trailers = frame.into_trailers().unwrap_or_default();
        match Status::of_trailers(&trailers) {
            Some(status) => self.end(&status),
            None => Err(refused(Code::UpstreamInvalid, "the agent's trailers have no status")),
        }
    }

    fn end(&mut self, status: &Status) -> Result<(), Broken> {
        self.ended = true;
        if status.code != 0 {
            self.say(&format!(r#""error":{}"#, status.error()));
            return Ok(());
        }
        self.frames.finish().map_err(|fault| {
            refused(Code::UpstreamInvalid, &format!("what the agent answered is cut: {fault}"))
        })?;
        if self.reading.rpc.streams {
            return Ok(());
        }
        let Some(message) = self.only.take() else {
            return Err(refused(Code::UpstreamInvalid, "the agent answered without a message"));
        };
        let result = self.result(&message)?;
        self.say(&format!(r#""result":{result}"#));
        Ok(())
    }

    fn result(&self, message: &[u8]) -> Result<String, Broken> {
        self.reading.rpc.answered(message).map_err(|fault| {
            refused(Code::UpstreamInvalid, &format!("what the agent answered is none of A2A 1.0: {fault}"))
        })
    }

    /// One response, as a document or an event.
    fn say(&mut self, member: &str) {
        let response = format!(r#"{{"jsonrpc":"2.0","id":{},{member}}}"#, self.reading.sent.id);
        let said = if self.has_events { format!("data: {response}\n\n") } else { response };
        self.ready.push_back(said.into());
    }
}

fn refused(code: Code, message: &str) -> Broken {
    Broken::Refused(Box::new(Refusal::new(code, message.to_owned())))
}
