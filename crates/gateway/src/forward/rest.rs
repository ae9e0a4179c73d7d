//! Agents over HTTP+JSON whose caller speaks another binding: what they answer becomes JSON-RPC as it comes in, a document or events. From there on
//! it is read, sealed and judged as any agent's.

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderValue, Method, Response, StatusCode};
use vidimus_core::refusal::{Code, Refusal};

use super::rewritten::Held;
use super::{Body, Outbound, Rewrite};
use crate::answer::encoding::Encoding;
use crate::protocol::a2a::rest::Sent;
use crate::protocol::a2a::rest::translated::{self, Enveloped};
use crate::protocol::rest::Came;
use crate::protocol::sse::is_events;

/// What is asked for.
const ACCEPTED: HeaderValue =
    HeaderValue::from_static("application/a2a+json, application/json, text/event-stream");
/// What becomes of it.
const JSON: HeaderValue = HeaderValue::from_static("application/json");
const EVENTS: HeaderValue = HeaderValue::from_static("text/event-stream");

/// How the answer to such a request is read.
#[derive(Debug)]
pub(super) struct Reading {
    /// The id of the message that it answers, as JSON.
    id: Box<str>,
    /// The longest document or event, in bytes.
    limit: usize,
}

impl Outbound {
    /// The same as a message of JSON-RPC is sent, by whatever method of HTTP it was asked.
    #[must_use]
    pub(crate) fn posted(self) -> Self {
        Self { method: Method::POST, ..self }
    }

    /// The same in place of a message of another binding. No document or event of its answer may be longer than `limit` bytes.
    #[must_use]
    pub(crate) fn in_place_of(mut self, sent: Sent, limit: usize) -> Self {
        self.method = sent.by;
        self.headers.insert(ACCEPT, ACCEPTED);
        self.rest = Some(Reading { id: sent.id, limit });
        self
    }
}

impl Reading {
    /// The answer as JSON-RPC has it: what it says of HTTP stays with it for the record.
    ///
    /// # Errors
    /// `upstream_invalid` for what is in an encoding: none was asked for.
    pub(super) fn answer(self, response: Response<Body>) -> Result<Response<Body>, Refusal> {
        let (mut parts, body) = response.into_parts();
        let status = parts.status;
        if status.is_informational() || status.is_redirection() {
            // It is refused as of any upstream.
            return Ok(Response::from_parts(parts, body));
        }
        if Encoding::of(&parts.headers) != Encoding::Identity {
            let message = "the agent's answer is in an encoding, and none was asked for";
            return Err(Refusal::new(Code::UpstreamInvalid, message));
        }
        let has_events = status.is_success() && is_events(&parts.headers);
        parts.headers.remove(CONTENT_LENGTH);
        parts.headers.insert(CONTENT_TYPE, if has_events { EVENTS } else { JSON });
        // Over JSON-RPC an error is an answer.
        parts.status = StatusCode::OK;
        parts.extensions.insert(Came { status, kind: JSON });
        let text = match has_events {
            true => Held::events(Box::new(Enveloped { id: self.id.clone() }), self.limit),
            false => Held::document(self.limit),
        };
        Ok(Response::from_parts(parts, body.rewritten(Responses { reading: self, status, text })))
    }
}

/// An answer, each part of which is a response of JSON-RPC.
#[derive(Debug)]
struct Responses {
    reading: Reading,
    status: StatusCode,
    text: Held,
}

impl Rewrite for Responses {
    fn push(&mut self, data: &Bytes) -> Result<Bytes, Refusal> {
        self.text.push(data)
    }

    fn finish(&mut self) -> Result<Bytes, Refusal> {
        let Some(said) = self.text.whole()? else { return Ok(Bytes::new()) };
        translated::response(&self.reading.id, &said, self.status).map(Bytes::from)
    }
}

#[cfg(test)]
mod tests;
