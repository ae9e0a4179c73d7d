//! Agents over HTTP+JSON whose caller speaks another binding: what they answer becomes JSON-RPC as it comes in, a document or events. From there on
//! it is read, sealed and judged as any agent's.

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderValue, Method, Response, StatusCode};
use vidimus_core::refusal::Refusal;

use super::rewritten::{Anew, anew};
use super::{Body, Outbound};
use crate::protocol::a2a::rest::Sent;
use crate::protocol::a2a::rest::translated::{self, Enveloped};
use crate::protocol::rest::Came;

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
        anew(response, Enveloped { id: self.id }, self.limit, |parts, has_events| {
            parts.headers.insert(CONTENT_TYPE, if has_events { EVENTS } else { JSON });
            parts.extensions.insert(Came { status: parts.status, kind: JSON });
            // Over JSON-RPC an error is an answer.
            parts.status = StatusCode::OK;
        })
    }
}

impl Anew for Enveloped {
    fn document(&self, said: String, status: StatusCode) -> Result<Bytes, Refusal> {
        translated::response(&self.id, &said, status).map(Bytes::from)
    }
}

#[cfg(test)]
mod tests;
