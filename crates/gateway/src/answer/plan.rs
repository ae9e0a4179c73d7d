//! What becomes of an upstream's answer, as data.

use std::time::Duration;

use http::HeaderMap;
use http::header::{LOCATION, UPGRADE};
use http::response::Parts;
use vidimus_core::refusal::{Code, Refusal};

use super::encoding::Encoding;
use crate::gate::Limits;
use crate::protocol::sse::is_events;
use crate::protocol::{Answer, DocumentChange, EventChange};

/// An answer that says that it is of this size at most is read whole: one record, one write, no stream.
pub const SMALL: usize = 64 * 1024;

/// How long an answer that need not be whole is waited for, to be looked at before it passes: what comes later passes as it comes.
pub const LOOK: Duration = Duration::from_secs(1);

/// How long the text of an error is waited for.
pub const ERROR: Duration = Duration::from_secs(5);

/// What to do about a redirect.
const REDIRECTED: &str = "Register the address that serves the call (spec.endpoint.url): a call goes there and nowhere else. \
    The record of the call says where the upstream redirects to.";

/// What becomes of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plan {
    /// Passed on as it comes, once it is seen how it begins.
    Pass,
    /// It says that it is short. Read whole up to so many bytes, and looked at; what takes too long is passed on as it comes.
    Collect { limit: usize },
    /// An error status. Read whole up to so many bytes; it passes where it is the protocol's own error, and else a refusal does.
    Error { limit: usize },
    /// Read whole up to so many bytes, and changed; what is longer is refused, or passes where the change says so.
    Change { limit: usize, change: DocumentChange },
    /// Events, passed on as they come, or each through a filter.
    Events { change: Option<EventChange> },
}

impl Plan {
    /// Chooses from what the request expects of its answer and how the answer begins. `announced` is how long it says it is, in
    /// bytes, where it does.
    ///
    /// # Errors
    /// `upstream_invalid` for another protocol than HTTP, which nobody here speaks; for a redirect, since the registered endpoint is
    /// the only place a call may go; and for events that would have to change and are in an encoding that is not read: the gateway
    /// asked for none.
    pub fn of(
        answer: Answer,
        parts: &Parts,
        announced: Option<u64>,
        limits: &Limits,
    ) -> Result<Self, Refusal> {
        if parts.status.is_informational() {
            let to = parts.headers.get(UPGRADE).and_then(|to| to.to_str().ok()).unwrap_or("nothing");
            let message = "the upstream changes the protocol, which nobody asked for";
            return Err(
                Refusal::new(Code::UpstreamInvalid, message).with_detail(format!("{} to {to}", parts.status))
            );
        }
        if parts.status.is_redirection() {
            let message = "the upstream answered with a redirect, which is not followed";
            let to = parts.headers.get(LOCATION).and_then(|to| to.to_str().ok()).unwrap_or("nowhere");
            // What follows may be a secret, such as a code or a signature.
            let to = to.split(['?', '#']).next().unwrap_or_default();
            let refusal = Refusal::new(Code::UpstreamInvalid, message);
            return Err(refusal.with_detail(format!("{} to {to}", parts.status)).with_next(REDIRECTED));
        }
        if !parts.status.is_success() {
            let change = answer.document.filter(|change| change.is_of_any_status());
            return Ok(match change {
                Some(change) => Self::Change { limit: limits.held_answer, change },
                None => Self::Error { limit: SMALL },
            });
        }
        let events = is_events(&parts.headers);
        if let Some(change) = answer.document
            && !(events && answer.events.is_some())
        {
            return Ok(Self::Change { limit: limits.held_answer, change });
        }
        if events {
            if answer.events.is_some() {
                readable(&parts.headers)?;
            }
            return Ok(Self::Events { change: answer.events });
        }
        let is_short = announced.is_some_and(|length| length <= SMALL as u64);
        Ok(if is_short { Self::Collect { limit: SMALL } } else { Self::Pass })
    }
}

/// What must change on its way must be what it looks like, or be decoded.
///
/// # Errors
/// `upstream_invalid`.
pub fn readable(headers: &HeaderMap) -> Result<(), Refusal> {
    if Encoding::of(headers) == Encoding::Other {
        let message = "the upstream's answer is in an encoding that is not read, and none was asked for";
        return Err(Refusal::new(Code::UpstreamInvalid, message));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use http::header::{CONTENT_ENCODING, CONTENT_TYPE};

    use super::*;
    use crate::protocol::mcp::listing::Listing;
    use crate::protocol::observe::Observe;
    use crate::protocol::sse::TooLong;

    const LISTING: DocumentChange = DocumentChange::Listing(Listing::Tools);
    const CARD: DocumentChange = DocumentChange::Card { rpc: false };
    const FILTER: EventChange = EventChange::Listings(TooLong::EndsStream);

    fn plan(
        document: Option<DocumentChange>,
        events: Option<EventChange>,
        head: (u16, &str, &str),
        announced: Option<u64>,
    ) -> Result<Plan, Code> {
        let (status, kind, encoding) = head;
        let response = http::Response::builder()
            .status(status)
            .header(CONTENT_TYPE, kind)
            .header(CONTENT_ENCODING, encoding)
            .body(())
            .expect("a response");
        let answer = Answer { document, events, ..Answer::pass(Observe::Rpc) };
        let plan = Plan::of(answer, &response.into_parts().0, announced, &Limits::default());
        plan.map_err(|refusal| refusal.code)
    }

    #[test]
    fn what_becomes_of_an_answer() {
        let (json, events) =
            ((200, "application/json", "identity"), (200, "Text/Event-Stream; x", "identity"));
        let limit = Limits::default().held_answer;
        let (small, large, short) = (Some(SMALL as u64), Some(SMALL as u64 + 1), Some(0));
        for (document, change, head, announced, expected) in [
            (None, None, json, short, Ok(Plan::Collect { limit: SMALL })),
            // What does not say how long it is passes as it comes.
            (None, None, json, None, Ok(Plan::Pass)),
            (None, None, json, small, Ok(Plan::Collect { limit: SMALL })),
            (None, Some(FILTER), json, large, Ok(Plan::Pass)),
            (None, None, events, short, Ok(Plan::Events { change: None })),
            (None, Some(FILTER), events, large, Ok(Plan::Events { change: Some(FILTER) })),
            (None, Some(FILTER), (200, "text/event-stream", "br"), None, Err(Code::UpstreamInvalid)),
            (
                None,
                Some(FILTER),
                (200, "text/event-stream", "gzip"),
                None,
                Ok(Plan::Events { change: Some(FILTER) }),
            ),
            (None, None, (200, "text/event-stream", "br"), None, Ok(Plan::Events { change: None })),
            (Some(LISTING), Some(FILTER), json, large, Ok(Plan::Change { limit, change: LISTING })),
            (Some(LISTING), Some(FILTER), events, None, Ok(Plan::Events { change: Some(FILTER) })),
            // With whatever status: some client may read it.
            (
                Some(LISTING),
                Some(FILTER),
                (404, "a/b", "identity"),
                large,
                Ok(Plan::Change { limit, change: LISTING }),
            ),
            // A card is one document whatever it says it is: unread, its addresses would pass.
            (Some(CARD), None, events, None, Ok(Plan::Change { limit, change: CARD })),
            (
                Some(CARD),
                None,
                (500, "text/event-stream", "identity"),
                None,
                Ok(Plan::Error { limit: SMALL }),
            ),
            (None, None, (307, "application/json", "identity"), short, Err(Code::UpstreamInvalid)),
            (Some(LISTING), None, (304, "application/json", "identity"), short, Err(Code::UpstreamInvalid)),
            (None, None, (101, "application/json", "identity"), short, Err(Code::UpstreamInvalid)),
        ] {
            assert_eq!(plan(document, change, head, announced), expected, "{document:?} {change:?} {head:?}");
        }
    }
}
