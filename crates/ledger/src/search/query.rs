//! What to look for.

use std::borrow::Cow;

use jiff::Timestamp;
use memchr::memmem::Finder;
use vidimus_core::json::Json;

use crate::times::Span;

/// What records must fit, all of it. An effect record has neither principal nor policy; it is found by the `id` of its call.
///
/// Names fit from any `/` on: `get_invoice`, `ledger/get_invoice` and `Tool/finance/ledger/get_invoice` are the same tool.
#[derive(Clone, Debug, Default)]
pub struct Query {
    /// The principal that called.
    pub agent: Option<String>,
    /// The user on whose behalf, as `issuer#subject` or `subject`.
    pub user: Option<String>,
    /// A policy that decided, or a permit that came closest.
    pub policy: Option<String>,
    /// `allow` or `deny`, or the result of an effect: `ok`, `error`, `unknown`, `failed`, `cancelled`.
    pub outcome: Option<String>,
    /// The tool, agent, model or other resource that was asked for.
    pub resource: Option<String>,
    /// `decision`, `effect` or `refusal`.
    pub kind: Option<String>,
    /// The stable code of a denial or refusal.
    pub code: Option<String>,
    /// The transaction that hops of one chain share.
    pub transaction: Option<String>,
    /// The call.
    pub id: Option<String>,
    /// Not before.
    pub since: Option<Timestamp>,
    /// Before.
    pub until: Option<Timestamp>,
    /// The maximum number of records.
    pub limit: Option<usize>,
    /// Whether the newest records come first.
    pub newest_first: bool,
}

/// How a member must fit.
#[derive(Clone, Copy, Debug)]
enum Fit {
    Whole,
    /// Whole, or the end after a separator.
    Ending(char),
}

#[derive(Debug)]
struct Condition {
    /// Members of the record, one of which must fit.
    members: &'static [&'static str],
    fit: Fit,
    value: String,
    /// Of a record without a principal, the proven identity may fit in place of the members.
    or_identity: bool,
    /// The value as it stands in JSON: a record without these bytes need not be parsed.
    bytes: Finder<'static>,
}

/// A query, made ready.
#[derive(Debug)]
pub(super) struct Matcher {
    conditions: Vec<Condition>,
    since: Option<Timestamp>,
    until: Option<Timestamp>,
}

impl Matcher {
    pub(super) fn new(query: &Query) -> Self {
        let wanted: [(&Option<String>, &'static [&'static str], Fit); 9] = [
            (&query.agent, &["principal"], Fit::Ending('/')),
            (&query.user, &["user"], Fit::Ending('#')),
            (&query.policy, &["policies", "closest_permits"], Fit::Ending('/')),
            (&query.outcome, &["outcome", "result"], Fit::Whole),
            (&query.resource, &["resource"], Fit::Ending('/')),
            (&query.kind, &["kind"], Fit::Whole),
            (&query.code, &["code"], Fit::Whole),
            (&query.transaction, &["transaction"], Fit::Whole),
            (&query.id, &["id"], Fit::Whole),
        ];
        let conditions = wanted.into_iter().filter_map(|(value, members, fit)| {
            let value = value.clone()?;
            let json = serde_json::Value::from(value.as_str()).to_string();
            let bytes = json.trim_start_matches('"').as_bytes();
            let or_identity = matches!(members, ["principal" | "user"]);
            Some(Condition { members, fit, value, or_identity, bytes: Finder::new(bytes).into_owned() })
        });
        Self { conditions: conditions.collect(), since: query.since, until: query.until }
    }

    /// Whether a record fits. What is not a JSON object fits nothing but the empty query.
    pub(super) fn matches(&self, record: &[u8]) -> bool {
        if !self.conditions.iter().all(|condition| condition.bytes.find(record).is_some()) {
            return false;
        }
        if self.conditions.is_empty() && self.since.is_none() && self.until.is_none() {
            return true;
        }
        let Ok(json) = Json::parse(record) else { return false };
        self.conditions.iter().all(|condition| condition.holds(&json)) && self.in_time(&json)
    }

    /// Whether records are looked for by their time.
    pub(super) fn by_time(&self) -> bool {
        self.since.is_some() || self.until.is_some()
    }

    /// Whether a record of this span can be of the time asked for.
    pub(super) fn meets(&self, span: Span) -> bool {
        span.meets(self.since, self.until)
    }

    fn in_time(&self, json: &Json<'_>) -> bool {
        if self.since.is_none() && self.until.is_none() {
            return true;
        }
        let time = json.get("time").and_then(Json::as_str).and_then(|text| text.parse::<Timestamp>().ok());
        time.is_some_and(|time| {
            self.since.is_none_or(|since| since <= time) && self.until.is_none_or(|until| time < until)
        })
    }
}

impl Condition {
    fn holds(&self, json: &Json<'_>) -> bool {
        self.holds_in_members(json) || self.or_identity && self.fits_identity(json)
    }

    /// Whoever was refused because nobody registered it is found by what it proved: `oidc:ISSUER#SUBJECT`, or a SPIFFE ID.
    fn fits_identity(&self, json: &Json<'_>) -> bool {
        if json.get("principal").is_some() {
            return false;
        }
        let before =
            json.get("identity").and_then(Json::as_str).and_then(|text| text.strip_suffix(&*self.value));
        before.is_some_and(|before| before.is_empty() || before.ends_with(['/', '#', ':']))
    }

    fn holds_in_members(&self, json: &Json<'_>) -> bool {
        self.members.iter().any(|member| match json.get(member) {
            Some(Json::String(text)) => self.fits(text),
            Some(Json::Array(items)) => items.iter().filter_map(Json::as_str).any(|text| self.fits(text)),
            _ => false,
        })
    }

    fn fits(&self, text: &str) -> bool {
        match self.fit {
            Fit::Whole => text == self.value,
            Fit::Ending(separator) => {
                let before = text.strip_suffix(self.value.as_str());
                before.is_some_and(|before| before.is_empty() || before.ends_with(separator))
            }
        }
    }
}

/// The text of a member of a record.
pub(super) fn text<'a>(record: &'a [u8], member: &str) -> Option<Cow<'a, str>> {
    match Json::parse(record).ok()? {
        Json::Object(members) => members.into_iter().find_map(|(name, value)| match value {
            Json::String(text) if name == member => Some(text),
            _ => None,
        }),
        _ => None,
    }
}
