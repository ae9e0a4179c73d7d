//! An answer to a message that was lifted (`Binding::lifted`), as the answer to the request that it was lifted from.

use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::response::Parts;
use http::{HeaderMap, StatusCode};
use vidimus_core::refusal::Refusal;

use super::{Answering, Done};
use crate::protocol::rest::Came;

impl Answering<'_> {
    /// The answer with the status and the type of what the API answered, where the caller asked by a request of the API; any other stays.
    ///
    /// # Errors
    /// `upstream_invalid` for what was not read whole, or says nothing to the request.
    pub(super) fn lowered(
        &self,
        done: Done,
        parts: &Parts,
        (head, status): (&mut HeaderMap, &mut StatusCode),
    ) -> Result<Done, Refusal> {
        let Some(came) = parts.extensions.get::<Came>() else { return Ok(done) };
        let Done::Whole(bytes) = done else { return Ok(done) };
        let Some(body) = self.binding.answered(&bytes)? else { return Ok(Done::Whole(bytes)) };
        *status = came.status;
        head.remove(CONTENT_LENGTH);
        head.remove(CONTENT_TYPE);
        if !body.is_empty() {
            head.insert(CONTENT_TYPE, came.kind.clone());
        }
        Ok(Done::Whole(body))
    }
}
