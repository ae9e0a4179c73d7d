//! Agents that speak another version of A2A than their caller: what they answer is in the caller's words from here on, a document or events. It is
//! read, sealed and judged as any agent's.

use bytes::Bytes;
use http::{Response, StatusCode};
use vidimus_core::refusal::Refusal;

use super::rewritten::{Anew, anew};
use super::{Body, Outbound};
use crate::protocol::Below;
use crate::protocol::a2a::version::Crossed;

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
    anew(response, crossed, limit, |parts, _| crossed.name_to_caller(&mut parts.headers))
}

impl Anew for Crossed {
    fn document(&self, said: String, status: StatusCode) -> Result<Bytes, Refusal> {
        if !status.is_success() && !said.trim_start().starts_with('{') {
            // It is no error of the protocol's, and refused as of any upstream.
            return Ok(said.into());
        }
        self.response(&said).map(Bytes::from)
    }
}
