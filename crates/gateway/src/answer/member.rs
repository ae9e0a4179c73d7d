//! The answer of a member to a call that came by a server with members: what it names of the member, it names as the caller has to.

use vidimus_core::refusal::Refusal;

use super::{Answering, Done};
use crate::protocol::mcp::multiplex::back;

impl Answering<'_> {
    /// What of an answer reaches a caller that came by a server with members.
    ///
    /// # Errors
    /// `upstream_invalid` for what may name something of the member, and cannot be read.
    pub(super) fn of_member(&self, done: Done) -> Result<Done, Refusal> {
        let (Some(member), Done::Whole(bytes)) = (&self.member, &done) else { return Ok(done) };
        // What is no text names nothing.
        let Ok(text) = std::str::from_utf8(bytes) else { return Ok(done) };
        let changed = back::message(text, member)?;
        Ok(changed.map_or(done, |changed| Done::Whole(changed.into())))
    }
}
