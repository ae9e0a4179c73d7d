//! A card that its caller has already is not sent again (A2A 1.0 section 8.6).

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, ETAG};
use http::{HeaderMap, StatusCode};

use super::{Answering, Done};
use crate::protocol::DocumentChange;
use crate::protocol::a2a::card::tag;

impl Answering<'_> {
    /// A card with its entity tag, or only that it is the one that the caller has (RFC 9110 section 15.4.5).
    pub(super) fn tagged(&self, done: Done, (head, status): (&mut HeaderMap, &mut StatusCode)) -> Done {
        let is_card = matches!(self.answer.document, Some(DocumentChange::Card { rpc: false }));
        let Done::Whole(card) = &done else { return done };
        if !is_card || !status.is_success() {
            return done;
        }
        let Some(tag) = tag::of(card) else { return done };
        let is_had = tag::is_among(&self.had, &tag);
        head.insert(ETAG, tag);
        if !is_had {
            return done;
        }
        *status = StatusCode::NOT_MODIFIED;
        head.remove(CONTENT_TYPE);
        head.remove(CONTENT_LENGTH);
        Done::Whole(Bytes::new())
    }
}
