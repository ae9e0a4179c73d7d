//! What stands by acts, beside what is configured: the fold of all acts, in the order of the log. Pure; whoever keeps it replays the
//! acts of the log over what was kept last.

pub mod agreed;
mod ended;
mod pins;
mod quarantines;
mod shreds;
mod unfit;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::act::{Act, Granted, Lifted, OfGrant, OfSubject, Requested, Stop, Subject, Terms, Used};
use crate::approval::pending::{self, Approvals, Deed, Pending, Said};
use crate::person::Names;
use crate::record::ActRecord;

use self::agreed::Agreement;

pub use ended::{EndedGrant, GrantEnd};
pub use pins::{Pin, Pins};
pub use unfit::Unfit;

/// What stands now. Its serialized form is what is kept, so that a start need not read the whole log. What does not change is shared between
/// what stood before an act and what stands after it, however much that is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Standing {
    /// What is quarantined, and by whom first.
    pub quarantined: BTreeMap<Subject, Arc<Placed>>,
    /// By whom else, of what is quarantined: each act suffices. In their order.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    quarantined_too: BTreeMap<Subject, Vec<Arc<Placed>>>,
    /// What people are asked, and what they answered.
    #[serde(default, skip_serializing_if = "Approvals::is_empty")]
    pub approvals: Approvals,
    /// What agents may use beside what policies permit them, by the id of the act.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub grants: BTreeMap<String, Arc<Grant>>,
    /// The grants that are asked for, by the id of the act.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub requests: BTreeMap<String, Arc<Request>>,
    /// What became of grants and requests that do not stand any more: the last that ended, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    ended: Vec<Arc<EndedGrant>>,
    /// The acts that destroyed keys of kept payloads in the last days, by their id.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    shreds: BTreeMap<String, Arc<ActRecord<'static>>>,
    /// What tools are held to since they were first seen, by their servers (`MCPServer/namespace/name`).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pinned: BTreeMap<Subject, Arc<Pins>>,
    /// How far the acts are known that several gateways agree on; `None` where none ever did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agreed: Option<Agreement>,
    /// The acts that were done here alone, and are to be told to the others.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unshared: Vec<Arc<ActRecord<'static>>>,
    /// The newest run of the gateway itself; `None` where no start is on record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<Run>,
}

/// A run of a gateway, from its start on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Run {
    /// The act by which it began.
    pub start: String,
    /// Whether its end is on record.
    pub is_stopped: bool,
}

/// Most grants that stand at once.
const MOST_GRANTS: usize = 10_000;
/// Most requests for grants that stand at once, of all and of one agent.
const MOST_REQUESTS: (usize, usize) = (1_000, 16);

/// A grant that stands: it may be spent, and it is over at its time whether or not that is on record yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Grant {
    /// By whom.
    pub placed: Placed,
    /// Of what.
    pub terms: Terms,
    /// Until when, in milliseconds since 1970 UTC.
    pub until_ms: i64,
    /// How many calls it permitted that nothing else did, where these are counted.
    pub used: u32,
}

impl Grant {
    /// Whether it has no uses left.
    pub fn is_spent(&self) -> bool {
        self.terms.uses.is_some_and(|uses| self.used >= uses)
    }
}

/// A grant that is asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Request {
    /// By whom.
    pub placed: Placed,
    /// Of what.
    pub terms: Terms,
    /// When it is over, in milliseconds since 1970 UTC.
    pub until_ms: i64,
}

/// RFC 3339 UTC with milliseconds, the form in which Cedar takes a time; `None` where there is no such time.
pub fn rfc3339(millis: i64) -> Option<String> {
    let time = jiff::Timestamp::from_millisecond(millis).ok()?;
    Some(time.strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string())
}

/// Who brought something about, when and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Placed {
    /// The act.
    pub id: String,
    /// Who did it, as in the act's record.
    pub actor: String,
    /// RFC 3339 UTC with microseconds.
    pub time: String,
    /// In the words of who did it.
    pub why: String,
}

impl Standing {
    fn check_request(&self, Requested { terms, .. }: &Requested) -> Result<(), Unfit> {
        terms.check()?;
        if let Some((id, _)) = self.requests.iter().find(|(_, request)| request.terms == *terms) {
            return Err(Unfit::Requested { id: id.clone() });
        }
        let of_agent = self.requests.values().filter(|request| request.terms.agent == terms.agent).count();
        let (all, each) = MOST_REQUESTS;
        let full = self.requests.len() >= all || of_agent >= each;
        if full { Err(Unfit::Full) } else { Ok(()) }
    }

    /// What answers a request gives no more than was asked for, to the same agent.
    fn check_grant(&self, Granted { request, terms, .. }: &Granted, at: i64) -> Result<(), Unfit> {
        terms.check()?;
        if self.grants.len() >= MOST_GRANTS {
            return Err(Unfit::Full);
        }
        let Some(id) = request else { return Ok(()) };
        // One whose time is over is over, whether or not that is on record.
        let asked = self.requests.get(id).ok_or_else(|| self.gone(id))?;
        if at > asked.until_ms {
            return Err(Unfit::Ended(Arc::new(EndedGrant::lapsed(id, asked.until_ms))));
        }
        let asked = &asked.terms;
        let within = asked.agent == terms.agent
            && terms.resources.iter().all(|resource| asked.resources.contains(resource))
            && (asked.transaction.is_none() || asked.transaction == terms.transaction);
        if within { Ok(()) } else { Err(Unfit::Wider { id: id.clone() }) }
    }

    /// Whether calls may be decided otherwise after an act than before; this is what stood before.
    pub fn is_decided_by(&self, act: &Act) -> bool {
        match act {
            // What is read is counted where calls are, and what people approve is a fact of its call.
            Act::RequestGrant(_)
            | Act::Declassify(_)
            | Act::Ask(_)
            | Act::Approve(_)
            | Act::Deny(_)
            | Act::Expire(_)
            | Act::Void(_)
            | Act::Use(_)
            | Act::Came(_)
            | Act::Prune(_)
            | Act::RotateKey(_)
            | Act::Export(_)
            | Act::Shred(_)
            | Act::Start(_)
            | Act::Stop(_)
            | Act::Register(_)
            // What a tool is, is a fact of its call.
            | Act::Pin(_) => false,
            Act::UseGrant(Used { of, .. }) => self.grants.get(of).is_some_and(|grant| {
                grant.terms.uses.is_some_and(|uses| grant.used.saturating_add(1) >= uses)
            }),
            Act::Revoke(OfGrant { of }) | Act::EndGrant(OfGrant { of }) => self.grants.contains_key(of),
            Act::Quarantine(_) | Act::Lift(_) | Act::Grant(_) | Act::Agree(_) => true,
        }
    }

    /// The grants, and the requests for them, whose time is over.
    pub fn over(&self, now: i64) -> impl Iterator<Item = &str> {
        let grants =
            self.grants.iter().filter(move |(_, grant)| grant.until_ms <= now).map(|(id, _)| id.as_str());
        let over = self.requests.iter().filter(move |(_, request)| request.until_ms <= now);
        grants.chain(over.map(|(id, _)| id.as_str()))
    }
}

impl Placed {
    fn by(record: &ActRecord<'_>) -> Self {
        Self {
            id: record.id.clone().into_owned(),
            actor: record.actor.clone().into_owned(),
            time: record.time.clone().into_owned(),
            why: record.why.clone().into_owned(),
        }
    }
}

impl Standing {
    /// Takes one act over that is on record. One about an approval changes nothing where it does not fit; any other is taken all the same.
    pub fn apply(&mut self, record: &ActRecord<'_>) {
        self.note_place(record);
        match &record.act {
            Act::Quarantine(OfSubject { subject }) => {
                self.quarantine(subject, Placed::by(record));
                if let Subject::User(person) = subject {
                    self.approvals.void_votes_of(person, at(record));
                }
            }
            Act::Lift(Lifted { of, subject }) => self.lift(subject, |id| id == of),
            // Labels are counted where calls are, and no part of a snapshot; nor is what the ledger keeps, and who was given it.
            Act::Declassify(_) | Act::Prune(_) | Act::RotateKey(_) | Act::Export(_) | Act::Register(_) => {}
            Act::Shred(_) => self.note_shred(record),
            Act::Pin(pinned) => self.note_pinned(record, pinned),
            Act::Start(_) => self.run = Some(Run { start: record.id.to_string(), is_stopped: false }),
            Act::Stop(Stop { of }) => {
                if let Some(run) = self.run.as_mut().filter(|run| run.start == *of) {
                    run.is_stopped = true;
                }
            }
            Act::Agree(agreed) => self.agree(agreed, at(record)),
            Act::RequestGrant(Requested { terms, until_ms }) => {
                let (placed, terms) = (Placed::by(record), terms.clone());
                let request = Request { placed, terms, until_ms: *until_ms };
                self.requests.insert(request.placed.id.clone(), Arc::new(request));
            }
            Act::Grant(Granted { request, terms, until_ms }) => {
                if let Some(request) = request {
                    self.answer_request(request, record);
                }
                let (placed, terms) = (Placed::by(record), terms.clone());
                let grant = Grant { placed, terms, until_ms: *until_ms, used: 0 };
                self.grants.insert(grant.placed.id.clone(), Arc::new(grant));
            }
            Act::Revoke(OfGrant { of }) | Act::EndGrant(OfGrant { of }) => self.end_grant(of, record),
            Act::UseGrant(Used { of, .. }) => {
                if let Some(grant) = self.grants.get_mut(of).map(Arc::make_mut) {
                    grant.used = grant.used.saturating_add(1);
                }
            }
            Act::Ask(_)
            | Act::Approve(_)
            | Act::Deny(_)
            | Act::Expire(_)
            | Act::Void(_)
            | Act::Use(_)
            | Act::Came(_) => {
                let deed = record.act.about_approval();
                if let Some(deed) = deed.filter(|deed| self.check_voter(*deed, &record.actor).is_ok()) {
                    let from = record.shared.as_ref().and_then(|place| place.from.as_deref());
                    let said = Said { actor: &record.actor, at: at(record), why: &record.why, from };
                    self.approvals.apply_said(deed, said);
                }
            }
        }
    }

    /// Whether an act fits what stands. One that does not is not done, and has no record.
    ///
    /// # Errors
    /// Why it does not.
    pub fn check(&self, record: &ActRecord<'_>) -> Result<(), Unfit> {
        if let Some(deed) = record.act.about_approval() {
            self.check_voter(deed, &record.actor)?;
            return Ok(self.approvals.check(deed, &record.actor, at(record))?);
        }
        match &record.act {
            Act::RequestGrant(requested) => self.check_request(requested),
            Act::Grant(granted) => self.check_grant(granted, at(record)),
            Act::Revoke(OfGrant { of }) | Act::EndGrant(OfGrant { of }) => {
                let stands = self.requests.contains_key(of) || self.grants.contains_key(of);
                if stands { Ok(()) } else { Err(self.gone(of)) }
            }
            Act::UseGrant(Used { of, .. }) => match self.grants.get(of) {
                Some(grant) if !grant.is_spent() => Ok(()),
                Some(_) => Err(Unfit::Spent { id: of.clone() }),
                None => Err(Unfit::NoGrant { id: of.clone() }),
            },
            Act::Quarantine(of) => self.check_quarantine(&of.subject),
            Act::Lift(lifted) => self.check_lift(lifted),
            Act::Pin(pinned) => self.check_pinned(pinned),
            // A label that nobody has is taken away from nobody.
            Act::Declassify(_)
            | Act::Agree(_)
            | Act::Prune(_)
            | Act::RotateKey(_)
            | Act::Export(_)
            | Act::Shred(_)
            | Act::Start(_)
            | Act::Stop(_)
            | Act::Register(_) => Ok(()),
            // They are about an approval.
            Act::Ask(_)
            | Act::Approve(_)
            | Act::Deny(_)
            | Act::Expire(_)
            | Act::Void(_)
            | Act::Use(_)
            | Act::Came(_) => Ok(()),
        }
    }
}

impl Standing {
    /// Whether this may be somebody who is quarantined.
    fn has_quarantined(&self, person: &Names) -> bool {
        self.quarantined.keys().any(|subject| match subject {
            Subject::User(id) => Names::of(id).may_be(person),
            Subject::Object(_) | Subject::Identity(_) | Subject::Instance(_) | Subject::Chain(_) => false,
        })
    }

    /// Whether any of those who approved it, also the first of several, is quarantined now, and may not have been itself then.
    pub fn is_approved_in_doubt(&self, pending: &Pending) -> bool {
        pending.votes.iter().any(|vote| self.has_quarantined(&vote.names()))
    }

    /// Whoever was permitted to approve may be quarantined by the time that its act is taken over.
    fn check_voter(&self, deed: Deed<'_>, actor: &str) -> Result<(), pending::Unfit> {
        match deed {
            Deed::Approve(approve) if self.has_quarantined(&approve.names(actor)) => {
                Err(pending::Unfit::Quarantined)
            }
            _ => Ok(()),
        }
    }
}

/// When an act was done: milliseconds since the Unix epoch. One whose time cannot be read was done at the end of all time, when nothing is
/// good any more.
pub fn at(record: &ActRecord<'_>) -> i64 {
    record.time.parse::<jiff::Timestamp>().map_or(i64::MAX, jiff::Timestamp::as_millisecond)
}
