//! An answer to a message that was lifted (`Binding::lifted`), as the answer to the request that it was lifted from.

use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::response::Parts;
use http::{HeaderMap, HeaderValue, StatusCode};
use vidimus_core::refusal::{Code, Refusal};

use super::{Answering, Done};
use crate::protocol::Leaves;
use crate::protocol::a2a::rest::translated;
use crate::protocol::rest::Came;

impl Answering<'_> {
    /// The answer with the status and the type of what the API answered, where the caller asked by a request of the API; and where it asked over
    /// HTTP+JSON an agent of another binding, what stands there in place of a response of JSON-RPC. Any other stays.
    ///
    /// # Errors
    /// `upstream_invalid` for what was not read whole, or says nothing to the request.
    pub(super) fn lowered(
        &self,
        done: Done,
        parts: &Parts,
        (head, status): (&mut HeaderMap, &mut StatusCode),
    ) -> Result<Done, Refusal> {
        if self.answer.leaves != Leaves::AsItComes {
            return by_itself(done, self.answer.leaves, (head, status));
        }
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

/// A response of JSON-RPC as what stands by itself. Events become that as they pass.
fn by_itself(
    done: Done,
    leaves: Leaves,
    (head, status): (&mut HeaderMap, &mut StatusCode),
) -> Result<Done, Refusal> {
    let bytes = match done {
        Done::Stream(content) if content.events.is_some() => return Ok(Done::Stream(content)),
        Done::Stream(_) => {
            let message = "the agent's answer is too long, or too slow, to be said in another binding";
            return Err(Refusal::new(Code::UpstreamInvalid, message));
        }
        Done::Whole(bytes) => bytes,
    };
    let (came, body) = translated::document(&bytes, leaves)?;
    *status = came;
    head.remove(CONTENT_LENGTH);
    head.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(Done::Whole(body))
}
