//! What became of grants, and of requests for them, that do not stand any more: who asks about one is told what ended it.

use std::fmt;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Standing, Unfit, rfc3339};
use crate::act::{Act, BY_ITSELF};
use crate::record::ActRecord;

/// Most that are kept; the first that ended is forgotten first.
const MOST_ENDED: usize = 256;

/// How a grant, or a request for one, ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum GrantEnd {
    /// The request was declined.
    Declined,
    /// The request was granted.
    Granted,
    /// Nobody decided about the request in time.
    Lapsed,
    /// The grant was revoked.
    Revoked,
    /// All uses of the grant were taken, and then its time was over.
    Spent,
    /// The time of the grant was over.
    Expired,
}

/// A grant, or a request for one, that is over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EndedGrant {
    /// The act that ended it; of a request that was granted, the grant. Empty where its time is over and that is not on record yet.
    pub act: String,
    /// Who did that, as in the act's record.
    pub actor: String,
    /// How it ended.
    pub how: GrantEnd,
    /// The id of the grant, or of the request.
    pub of: String,
    /// When: RFC 3339 UTC.
    pub time: String,
    /// In the words of who did it.
    pub why: String,
}

impl EndedGrant {
    /// A request whose time is over, whether or not that is on record.
    pub(super) fn lapsed(of: &str, until_ms: i64) -> Self {
        Self {
            act: String::new(),
            actor: BY_ITSELF.to_owned(),
            how: GrantEnd::Lapsed,
            of: of.to_owned(),
            time: rfc3339(until_ms).unwrap_or_default(),
            why: String::new(),
        }
    }
}

impl fmt::Display for EndedGrant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { act, actor, how, of, time, .. } = self;
        match how {
            GrantEnd::Declined => write!(f, "the request {of} was declined by {actor} at {time}"),
            GrantEnd::Granted => {
                write!(f, "the request {of} was granted by {actor} at {time}: the grant {act}")
            }
            GrantEnd::Lapsed => {
                write!(f, "nobody decided about the request {of} in time: it expired at {time}")
            }
            GrantEnd::Revoked => write!(f, "the grant {of} was revoked by {actor} at {time}"),
            GrantEnd::Spent => write!(f, "the grant {of} was used up, and expired at {time}"),
            GrantEnd::Expired => write!(f, "the grant {of} expired at {time}"),
        }
    }
}

impl Standing {
    /// What ended a grant, or a request, that does not stand any more; `None` where nothing is known of it.
    pub fn ended(&self, of: &str) -> Option<&Arc<EndedGrant>> {
        self.ended.iter().rfind(|ended| ended.of == of)
    }

    /// All of which it is known, in the order in which they ended.
    pub fn all_ended(&self) -> impl Iterator<Item = &EndedGrant> {
        self.ended.iter().map(|ended| &**ended)
    }

    /// Why nothing can be done about a grant or a request that does not stand.
    pub(super) fn gone(&self, id: &str) -> Unfit {
        match self.ended(id) {
            Some(ended) => Unfit::Ended(ended.clone()),
            None => Unfit::NoGrant { id: id.to_owned() },
        }
    }

    /// A grant, or a request for one, does not stand any more, by this act.
    pub(super) fn end_grant(&mut self, of: &str, record: &ActRecord<'_>) {
        let (request, grant) = (self.requests.remove(of), self.grants.remove(of));
        let is_revoked = matches!(record.act, Act::Revoke(_));
        let how = match (request, grant) {
            (Some(_), _) if is_revoked => GrantEnd::Declined,
            (Some(_), _) => GrantEnd::Lapsed,
            (None, Some(_)) if is_revoked => GrantEnd::Revoked,
            (None, Some(grant)) if grant.is_spent() => GrantEnd::Spent,
            (None, Some(_)) => GrantEnd::Expired,
            (None, None) => return,
        };
        self.note_end(of, how, record);
    }

    /// A request does not stand any more, since it was granted by this act.
    pub(super) fn answer_request(&mut self, of: &str, record: &ActRecord<'_>) {
        if self.requests.remove(of).is_some() {
            self.note_end(of, GrantEnd::Granted, record);
        }
    }

    fn note_end(&mut self, of: &str, how: GrantEnd, record: &ActRecord<'_>) {
        if self.ended.len() >= MOST_ENDED {
            self.ended.remove(0);
        }
        self.ended.push(Arc::new(EndedGrant {
            act: record.id.to_string(),
            actor: record.actor.to_string(),
            how,
            of: of.to_owned(),
            time: record.time.to_string(),
            why: record.why.to_string(),
        }));
    }
}
