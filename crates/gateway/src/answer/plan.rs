//! What becomes of an upstream's answer, as data.

use http::HeaderMap;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, LOCATION};
use http::response::Parts;
use vidimus_core::refusal::{Code, Refusal};

use crate::gate::Limits;
use crate::protocol::{Answer, DocumentChange, EventChange};

/// An answer up to this size is read whole: one record, one write, no stream.
const SMALL: usize = 64 * 1024;

/// What to do about a redirect.
const REDIRECTED: &str = "Register the address that serves the call (spec.endpoint.url): a call goes there and nowhere else. \
    With --log debug the gateway says where the upstream redirects to.";

/// What becomes of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plan {
    /// Passed on from its first byte.
    Pass,
    /// Read whole up to so many bytes; what is longer is passed on as it comes.
    Collect { limit: usize },
    /// Read whole up to so many bytes, and changed; what is longer is refused, or passes where the change says so.
    Change { limit: usize, change: DocumentChange },
    /// Events, passed on as they come, or each through a filter.
    Events { change: Option<EventChange> },
}

impl Plan {
    /// Chooses from what the request expects of its answer and how the answer begins. `announced` is the least that it says it is
    /// long, in bytes.
    ///
    /// # Errors
    /// `upstream_invalid` for a redirect, since the registered endpoint is the only place a call may go, and for events that would
    /// have to change and are encoded: the gateway asked for no encoding.
    pub fn of(answer: Answer, parts: &Parts, announced: u64, limits: &Limits) -> Result<Self, Refusal> {
        if parts.status.is_redirection() {
            let message = "the upstream answered with a redirect, which is not followed";
            let to = parts.headers.get(LOCATION).and_then(|to| to.to_str().ok()).unwrap_or("nowhere");
            let refusal = Refusal::new(Code::UpstreamInvalid, message);
            return Err(refusal.with_detail(format!("{} to {to}", parts.status)).with_next(REDIRECTED));
        }
        let events = is_events(&parts.headers);
        if let Some(change) =
            answer.document.filter(|change| parts.status.is_success() || change.is_of_any_status())
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
        // What says beforehand that it is longer is passed on from its first byte.
        Ok(if announced > SMALL as u64 { Self::Pass } else { Self::Collect { limit: SMALL } })
    }
}

fn is_events(headers: &HeaderMap) -> bool {
    let value = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    value.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case("text/event-stream"))
}

/// Whether an answer is in an encoding; none was asked for.
pub fn is_encoded(headers: &HeaderMap) -> bool {
    let encoding = headers.get(CONTENT_ENCODING);
    encoding.is_some_and(|encoding| !encoding.as_bytes().eq_ignore_ascii_case(b"identity"))
}

/// What must change on its way must be what it looks like.
fn readable(headers: &HeaderMap) -> Result<(), Refusal> {
    if is_encoded(headers) {
        let message = "the upstream's answer is encoded, which was not asked for";
        return Err(Refusal::new(Code::UpstreamInvalid, message));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
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
        announced: u64,
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
        let (small, large) = (SMALL as u64, SMALL as u64 + 1);
        for (document, change, head, announced, expected) in [
            (None, None, json, 0, Ok(Plan::Collect { limit: SMALL })),
            (None, None, json, small, Ok(Plan::Collect { limit: SMALL })),
            (None, Some(FILTER), json, large, Ok(Plan::Pass)),
            (None, None, events, 0, Ok(Plan::Events { change: None })),
            (None, Some(FILTER), events, large, Ok(Plan::Events { change: Some(FILTER) })),
            (None, Some(FILTER), (200, "text/event-stream", "gzip"), 0, Err(Code::UpstreamInvalid)),
            (None, None, (200, "text/event-stream", "gzip"), 0, Ok(Plan::Events { change: None })),
            (Some(LISTING), Some(FILTER), json, large, Ok(Plan::Change { limit, change: LISTING })),
            (Some(LISTING), Some(FILTER), events, 0, Ok(Plan::Events { change: Some(FILTER) })),
            // With whatever status: some client may read it.
            (
                Some(LISTING),
                Some(FILTER),
                (404, "a/b", "identity"),
                0,
                Ok(Plan::Change { limit, change: LISTING }),
            ),
            // A card is one document whatever it says it is: unread, its addresses would pass.
            (Some(CARD), None, events, 0, Ok(Plan::Change { limit, change: CARD })),
            (Some(CARD), None, (500, "text/event-stream", "identity"), 0, Ok(Plan::Events { change: None })),
            (None, None, (307, "application/json", "identity"), 0, Err(Code::UpstreamInvalid)),
            (Some(LISTING), None, (304, "application/json", "identity"), 0, Err(Code::UpstreamInvalid)),
        ] {
            assert_eq!(plan(document, change, head, announced), expected, "{document:?} {change:?} {head:?}");
        }
    }
}
