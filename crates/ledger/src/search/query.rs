//! What to look for.

use std::borrow::Cow;

use jiff::{SignedDuration, Timestamp};
use memchr::memmem::Finder;
use uuid::Uuid;
use vidimus_core::act::Act;
use vidimus_core::caller::Instance;
use vidimus_core::record::{Kept, Record};
use vidimus_core::row::{configuration_of_act, copy_of_act, plain_address, server_of};

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
    /// Who acted before the caller, at whatever hop, or the user: on whose behalf others acted.
    pub on_behalf_of: Option<String>,
    /// The copy of the principal that called: its id, or the name of its pod.
    pub instance: Option<String>,
    /// The address that the call came from, as records have it.
    pub source: Option<String>,
    /// A policy that decided, or changed the call or its answer, or is only tried, or held the call, or a permit that came closest.
    pub policy: Option<String>,
    /// Approvals that `policy` asked for: what was made with one of them fits it too.
    pub approvals: Vec<String>,
    /// `allow` or `deny`, or the result of an effect: `ok`, `error`, `unknown`, `failed`, `cancelled`.
    pub outcome: Option<String>,
    /// The tool, agent, model or other resource that was asked for.
    pub resource: Option<String>,
    /// The server, agent or provider that this is, or is a part of, or the server with members by which the call came: `namespace/name`, without its kind.
    pub server: Option<String>,
    /// The approval that the call waits for or is made with, or that the act is about.
    pub approval: Option<String>,
    /// The digest of the configuration that decided, with or without `sha256:`.
    pub configuration: Option<String>,
    /// `decision`, `effect` or `refusal`.
    pub kind: Option<String>,
    /// The stable code of a denial or refusal.
    pub code: Option<String>,
    /// The transaction that hops of one chain share.
    pub transaction: Option<String>,
    /// The call.
    pub id: Option<String>,
    /// The W3C trace, with or without the span's id behind it.
    pub trace: Option<String>,
    /// What stands somewhere in the record's JSON text, as it stands there.
    pub text: Option<String>,
    /// Not before.
    pub since: Option<Timestamp>,
    /// Before.
    pub until: Option<Timestamp>,
    /// An id that was made before whatever fits, as the transaction of the decisions of effects: what was written long before it need not be read. It is
    /// no condition.
    pub made_before: Option<String>,
    /// The maximum number of records.
    pub limit: Option<usize>,
    /// Whether the newest records come first.
    pub newest_first: bool,
}

/// How far the clocks of gateways may be from each other, and a clock from itself: an id may be of another gateway's.
const APART: SignedDuration = SignedDuration::from_hours(24);

impl Query {
    /// Nothing that fits was written before this: a UUIDv7 says when it was made, and a call, an approval and a chain have theirs from their beginning on.
    pub(super) fn not_before(&self) -> Option<Timestamp> {
        let approval = self.resource.as_deref().and_then(|resource| resource.strip_prefix("Approval/"));
        let [id, transaction] = [self.id.as_deref(), self.transaction.as_deref()];
        let ids = [id, transaction, self.made_before.as_deref(), self.approval.as_deref(), approval];
        let made = |id: &str| {
            let id = Uuid::try_parse(id).ok().filter(|id| id.get_version_num() == 7)?;
            let (seconds, nanoseconds) = id.get_timestamp()?.to_unix();
            let made = Timestamp::new(seconds.try_into().ok()?, nanoseconds.try_into().ok()?).ok()?;
            made.checked_sub(APART).ok()
        };
        ids.into_iter().flatten().filter_map(made).max()
    }
}

/// What of a record a condition is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Member {
    Principal,
    User,
    OnBehalfOf,
    Instance,
    Source,
    Server,
    Approval,
    Configuration,
    /// Any that the record names: [`vidimus_core::record::DecisionRecord::named_policies`].
    Policy,
    /// How it was decided, or how an effect ended.
    Outcome,
    Resource,
    Kind,
    Code,
    Transaction,
    Id,
    Trace,
}

impl Member {
    /// What a record says of it.
    fn said(self, record: &Kept) -> Vec<&str> {
        match (self, record) {
            (Self::Kind, record) => vec![record.kind()],
            (Self::Id, record) => vec![record.id()],
            (Self::Trace, Record::Decision(it)) => vec![&it.trace],
            (Self::Trace, Record::Refusal(it)) => vec![&it.trace],
            (Self::Principal, Record::Decision(it)) => vec![&it.principal],
            (Self::Principal, Record::Refusal(it)) => one(&it.principal),
            (Self::User, Record::Decision(it)) => one(&it.user),
            (Self::User, Record::Refusal(it)) => one(&it.user),
            (Self::OnBehalfOf, Record::Decision(it)) => {
                it.chain.iter().chain(&it.user).map(|who| &**who).collect()
            }
            (Self::OnBehalfOf, Record::Refusal(it)) => {
                it.chain.iter().chain(&it.user).map(|who| &**who).collect()
            }
            (Self::Instance, Record::Decision(it)) => copy(&it.instance),
            (Self::Instance, Record::Refusal(it)) => copy(&it.instance),
            (Self::Source, Record::Decision(it)) => one(&it.source),
            (Self::Source, Record::Refusal(it)) => {
                it.source.as_deref().map(plain_address).into_iter().collect()
            }
            (Self::Server, Record::Decision(it)) => {
                server_of(&it.resource).into_iter().chain(it.via.as_deref()).collect()
            }
            (Self::Server, Record::Refusal(it)) => {
                it.asked.iter().filter_map(|asked| server_of(&asked.resource)).collect()
            }
            (Self::Approval, Record::Decision(it)) => one(&it.approval),
            (Self::Approval, Record::Refusal(it)) => {
                it.asked.iter().filter_map(|asked| asked.approval.as_deref()).collect()
            }
            (Self::Configuration, Record::Decision(it)) => vec![&it.snapshot],
            // Nothing was decided by one.
            (Self::Configuration, Record::Refusal(_)) => Vec::new(),
            (Self::Policy, Record::Decision(it)) => of_policies(it.named_policies()),
            (Self::Policy, Record::Refusal(it)) => {
                of_policies(it.asked.iter().flat_map(|asked| asked.policies.iter()).map(|policy| &**policy))
            }
            (Self::Outcome, Record::Decision(it)) => vec![&it.outcome],
            (Self::Outcome, Record::Effect(it)) => vec![&it.result],
            (Self::Outcome, Record::Refusal(it)) => vec![&it.outcome],
            (Self::Resource, Record::Decision(it)) => vec![&it.resource],
            (Self::Code, Record::Decision(it)) => one(&it.code),
            (Self::Code, Record::Effect(it)) => one(&it.code),
            (Self::Code, Record::Refusal(it)) => vec![&it.code],
            (Self::Transaction, Record::Decision(it)) => vec![&it.transaction],
            (Self::Resource, Record::Refusal(it)) => it.asked.iter().map(|asked| &*asked.resource).collect(),
            (Self::Transaction, Record::Refusal(it)) => {
                it.asked.iter().map(|asked| &*asked.transaction).collect()
            }
            (
                Self::Principal
                | Self::User
                | Self::OnBehalfOf
                | Self::Instance
                | Self::Source
                | Self::Server
                | Self::Approval
                | Self::Configuration
                | Self::Policy
                | Self::Resource
                | Self::Transaction
                | Self::Trace,
                Record::Effect(_),
            ) => Vec::new(),
            // See `Condition::fits_act`.
            (_, Record::Act(_)) => Vec::new(),
        }
    }
}

fn one<'r>(text: &'r Option<Cow<'static, str>>) -> Vec<&'r str> {
    text.as_deref().into_iter().collect()
}

/// By what a copy of a principal is known.
fn copy<'r>(of: &'r Option<Cow<'static, Instance>>) -> Vec<&'r str> {
    let texts = |copy: &'r Cow<'static, Instance>| [Some(&*copy.id), copy.name.as_deref()];
    of.iter().flat_map(texts).flatten().collect()
}

/// Of a policy of several statements each has a number; its name means all of them.
fn of_policies<'r>(ids: impl Iterator<Item = &'r str>) -> Vec<&'r str> {
    ids.flat_map(|policy| [Some(policy), policy.rsplit_once('#').map(|of| of.0)]).flatten().collect()
}

/// How a member must fit.
#[derive(Clone, Copy, Debug)]
enum Fit {
    Whole,
    /// Whole, or the end after one of these separators.
    Ending(&'static [char]),
    /// Whole, or the beginning before a separator.
    Beginning(char),
}

#[derive(Debug)]
struct Condition {
    member: Member,
    fit: Fit,
    value: String,
    /// The value as it stands in JSON: a record without any of these bytes need not be read.
    bytes: Vec<Finder<'static>>,
    /// Approvals with one of which a call fits as well.
    approvals: Vec<String>,
}

/// A query, made ready.
#[derive(Debug)]
pub struct Matcher {
    conditions: Vec<Condition>,
    text: Option<Finder<'static>>,
    since: Option<Timestamp>,
    until: Option<Timestamp>,
}

impl Matcher {
    /// For one record after another.
    pub fn new(query: &Query) -> Self {
        let wanted: [(&Option<String>, Member, Fit); 16] = [
            (&query.agent, Member::Principal, Fit::Ending(&['/'])),
            (&query.user, Member::User, Fit::Ending(&['#'])),
            (&query.on_behalf_of, Member::OnBehalfOf, Fit::Ending(&['/', '#'])),
            (&query.instance, Member::Instance, Fit::Ending(&['/'])),
            (&query.source, Member::Source, Fit::Whole),
            (&query.policy, Member::Policy, Fit::Ending(&['/'])),
            (&query.outcome, Member::Outcome, Fit::Whole),
            (&query.resource, Member::Resource, Fit::Ending(&['/'])),
            (&query.server, Member::Server, Fit::Ending(&['/'])),
            (&query.approval, Member::Approval, Fit::Whole),
            (&query.configuration, Member::Configuration, Fit::Ending(&[':'])),
            (&query.kind, Member::Kind, Fit::Whole),
            (&query.code, Member::Code, Fit::Whole),
            (&query.transaction, Member::Transaction, Fit::Whole),
            (&query.id, Member::Id, Fit::Whole),
            (&query.trace, Member::Trace, Fit::Beginning('-')),
        ];
        let conditions = wanted.into_iter().filter_map(|(value, member, fit)| {
            let value = value.clone()?;
            let json = serde_json::Value::from(value.as_str()).to_string();
            let ending = json.trim_start_matches('"');
            // What follows a policy's name may be a statement's number, a trace's id that of a span, and a server's name what it is of.
            let is_open = matches!(member, Member::Policy | Member::Trace | Member::Server);
            let ending = if is_open { ending.trim_end_matches('"') } else { ending };
            // Before the last separator may stand what is in no record: an approval is `Approval/…` in tables alone.
            let ending = match member {
                Member::Resource => ending.rsplit_once('/').map_or(ending, |(_, last)| last),
                _ => ending,
            };
            let approvals = if member == Member::Policy { query.approvals.clone() } else { Vec::new() };
            let bytes = std::iter::once(ending).chain(approvals.iter().map(String::as_str));
            let bytes = bytes.map(|text| Finder::new(text).into_owned()).collect();
            Some(Condition { member, fit, value, bytes, approvals })
        });
        let text = query.text.as_deref().map(|text| Finder::new(text).into_owned());
        Self { conditions: conditions.collect(), text, since: query.since, until: query.until }
    }

    /// Whether a record fits. One that cannot be read may: whoever reads it says why it cannot.
    pub fn matches(&self, record: &[u8]) -> bool {
        if self.text.as_ref().is_some_and(|text| text.find(record).is_none()) {
            return false;
        }
        if !self.conditions.iter().all(|condition| condition.may_hold(record)) {
            return false;
        }
        if self.conditions.is_empty() && self.since.is_none() && self.until.is_none() {
            return true;
        }
        match Kept::read(record) {
            Ok(record) => {
                self.conditions.iter().all(|condition| condition.holds(&record)) && self.in_time(&record)
            }
            Err(_) => true,
        }
    }

    /// Whether records are looked for by their time.
    pub(super) fn by_time(&self) -> bool {
        self.since.is_some() || self.until.is_some()
    }

    /// Whether a record of this span can be of the time asked for.
    pub(super) fn meets(&self, span: Span) -> bool {
        span.meets(self.since, self.until)
    }

    fn in_time(&self, record: &Kept) -> bool {
        if self.since.is_none() && self.until.is_none() {
            return true;
        }
        let time = record.time().parse::<Timestamp>().ok();
        time.is_some_and(|time| {
            self.since.is_none_or(|since| since <= time) && self.until.is_none_or(|until| time < until)
        })
    }
}

impl Condition {
    /// Whether the bytes of a record have what it looks for.
    fn may_hold(&self, record: &[u8]) -> bool {
        self.bytes.iter().any(|bytes| bytes.find(record).is_some())
    }

    fn holds(&self, record: &Kept) -> bool {
        self.member.said(record).into_iter().any(|text| self.fits(text))
            || self.fits_identity(record)
            || self.fits_act(record)
            || self.fits_approval(record)
    }

    /// A call that is made with an approval, or waits for one, is one of the policies that asked for it.
    fn fits_approval(&self, record: &Kept) -> bool {
        let Record::Decision(record) = record else { return false };
        record.approval.as_deref().is_some_and(|approval| self.approvals.iter().any(|one| one == approval))
    }

    /// An act is found by who did it, and by what it was done to.
    fn fits_act(&self, record: &Kept) -> bool {
        let Record::Act(record) = record else { return false };
        match self.member {
            Member::User | Member::Principal => self.fits(&record.actor),
            Member::Resource => {
                self.fits(&record.act.subject())
                    || matches!(&record.act, Act::Ask(question) if self.fits(&question.resource))
            }
            Member::OnBehalfOf => match &record.act {
                Act::Ask(question) => question.chain.iter().chain(&question.user).any(|who| self.fits(who)),
                _ => false,
            },
            Member::Instance => copy_of_act(&record.act).is_some_and(|copy| self.fits(copy)),
            Member::Server => {
                let asked = match &record.act {
                    Act::Ask(question) => server_of(&question.resource),
                    _ => None,
                };
                asked.is_some_and(|server| self.fits(server))
                    || server_of(&record.act.subject()).is_some_and(|server| self.fits(server))
            }
            Member::Approval => record.act.approval() == Some(&*self.value),
            Member::Configuration => {
                configuration_of_act(&record.act).is_some_and(|digest| self.fits(digest))
            }
            Member::Code => self.value == record.act.as_str(),
            Member::Transaction => record.act.subject().strip_prefix("Chain/") == Some(&*self.value),
            // What people are asked is asked by policies.
            Member::Policy => match &record.act {
                Act::Ask(question) => {
                    let asking = question.asking.iter().map(|wanted| wanted.policy.as_str());
                    of_policies(asking).into_iter().any(|policy| self.fits(policy))
                }
                _ => false,
            },
            Member::Kind | Member::Id | Member::Outcome | Member::Trace | Member::Source => false,
        }
    }

    /// Whoever was refused because nobody registered it is found by what it proved: `oidc:ISSUER#SUBJECT`, or a SPIFFE ID.
    fn fits_identity(&self, record: &Kept) -> bool {
        let Record::Refusal(refusal) = record else { return false };
        if refusal.principal.is_some() || !matches!(self.member, Member::Principal | Member::User) {
            return false;
        }
        let before = refusal.identity.as_deref().and_then(|text| text.strip_suffix(&*self.value));
        before.is_some_and(|before| before.is_empty() || before.ends_with(['/', '#', ':']))
    }

    fn fits(&self, text: &str) -> bool {
        match self.fit {
            Fit::Whole => text == self.value,
            Fit::Ending(separators) => {
                let before = text.strip_suffix(self.value.as_str());
                before.is_some_and(|before| before.is_empty() || before.ends_with(separators))
            }
            Fit::Beginning(separator) => {
                let behind = text.strip_prefix(self.value.as_str());
                behind.is_some_and(|behind| behind.is_empty() || behind.starts_with(separator))
            }
        }
    }
}
