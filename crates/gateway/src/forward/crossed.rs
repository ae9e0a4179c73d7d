//! Agents that speak another version of A2A than their caller: what they answer is in the caller's words from here on, a document or events. It is
//! read, sealed and judged as any agent's.

use bytes::Bytes;
use http::header::CONTENT_LENGTH;
use http::{Response, StatusCode};
use vidimus_core::refusal::{Code, Refusal};

use super::rewritten::Held;
use super::{Body, Outbound, Rewrite};
use crate::answer::encoding::Encoding;
use crate::protocol::Below;
use crate::protocol::a2a::version::Crossed;
use crate::protocol::sse::is_events;

/// How the answer to such a request is read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reading {
    crossed: Crossed,
    /// The longest document or event, in bytes.
    limit: usize,
}

impl Outbound {
    /// The same at the address of the binding that it goes out in, where `path` is; and in another version than its caller's, where it is. No answer that
    /// is translated may be longer than `limit` bytes.
    ///
    /// # Errors
    /// `binding_unserved` where the agent's record names no such address.
    pub(crate) fn by_binding(
        self,
        path: &str,
        (at, crossed): (Below, Option<Crossed>),
        limit: usize,
    ) -> Result<Self, Refusal> {
        let outbound = match at {
            Below::Url => self,
            Below::Rpc => self.posted(),
            Below::Rest(None) => self.of_rest(path)?,
            Below::Rest(Some(sent)) => self.of_rest(path)?.in_place_of(sent, limit),
            Below::Grpc(sent) => self.of_grpc(path, sent, limit)?,
        };
        Ok(outbound.crossing(crossed, limit))
    }

    fn crossing(self, crossed: Option<Crossed>, limit: usize) -> Self {
        Self { crossed: crossed.map(|crossed| Reading { crossed, limit }), ..self }
    }
}

/// An answer as the caller's version has it, where the agent's is another one.
///
/// # Errors
/// `upstream_invalid` for what is in an encoding: none was asked for.
pub(super) fn back(reading: Option<Reading>, response: Response<Body>) -> Result<Response<Body>, Refusal> {
    let Some(Reading { crossed, limit }) = reading else { return Ok(response) };
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
    let text = match status.is_success() && is_events(&parts.headers) {
        true => Held::events(Box::new(crossed), limit),
        false => Held::document(limit),
    };
    parts.headers.remove(CONTENT_LENGTH);
    crossed.name_to_caller(&mut parts.headers);
    Ok(Response::from_parts(parts, body.rewritten(Answer { crossed, status, text })))
}

/// An answer, each response of which is written anew.
#[derive(Debug)]
struct Answer {
    crossed: Crossed,
    status: StatusCode,
    text: Held,
}

impl Rewrite for Answer {
    fn push(&mut self, data: &Bytes) -> Result<Bytes, Refusal> {
        self.text.push(data)
    }

    fn finish(&mut self) -> Result<Bytes, Refusal> {
        let Some(said) = self.text.whole()? else { return Ok(Bytes::new()) };
        if !self.status.is_success() && !said.trim_start().starts_with('{') {
            // It is no error of the protocol's, and refused as of any upstream.
            return Ok(said.into());
        }
        self.crossed.response(&said).map(Bytes::from)
    }
}
