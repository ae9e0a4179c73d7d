//! What several gateways agree on: one list of acts, which each folds for itself. Pure; where the list is, and who adds to it when, is the
//! gateways' own (ADR 38).
//!
//! An act has its number in the list, and the list an era: it begins anew where the store that keeps it has lost something. What is known of
//! both is part of what stands, so it is the fold of a gateway's own records like all else.

use std::collections::BTreeSet;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Placed, Standing};
use crate::act::{Act, BY_ITSELF, OfSubject, Requested};
use crate::approval::pending::{Approvals, State};
use crate::record::{ActKind, ActRecord, VERSION};

/// How long a label that was taken away is told to gateways that were away: longer than any has what it has read.
const DECLASSIFIED: i64 = 24 * 3_600_000;

/// Most acts of quarantines that one record says are lifted: they have to fit it. Of more there are several records, one after the other.
pub const MOST_LIFTED: usize = 1024;

/// Most acts that wait to be told to others, but for quarantines.
const MOST_UNSHARED: usize = 1024;

/// Where an act is in the list that gateways agree on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Place {
    /// Which list.
    pub era: String,
    /// The gateway at which it was done, by the name of its log; absent in the record there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// Its number in the list, from 1.
    pub number: u64,
}

/// A gateway takes up another list, or the same one after it was away for too long: what stood by approvals and grants until then does so no
/// more. Its acts follow. Where too many quarantines were lifted for one record, others come before it that only lift.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Agreed {
    /// Which list.
    pub era: String,
    /// The acts of quarantines that the others have lifted meanwhile, at most [`MOST_LIFTED`].
    pub lifted: Vec<String>,
    /// More of them are in the next record: this one only lifts, and the list is not taken up yet.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub more: bool,
}

impl Agreed {
    /// The records by which a list is taken up of which the others have lifted all these.
    pub fn all(era: &str, lifted: &[String]) -> Vec<Self> {
        let of = |lifted: &[String], more| Self { era: era.to_owned(), lifted: lifted.to_vec(), more };
        let last = lifted.len().saturating_sub(1) / MOST_LIFTED;
        match lifted {
            [] => vec![of(&[], false)],
            _ => lifted.chunks(MOST_LIFTED).enumerate().map(|(at, part)| of(part, at < last)).collect(),
        }
    }
}

/// How far a gateway knows the list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Agreement {
    /// Which list.
    pub era: String,
    /// The number of the last act that is known; 0 before the first.
    pub number: u64,
    /// The id of that act; empty before the first.
    pub last: String,
}

/// How what a gateway knows is to the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known {
    /// It is the beginning of the list, or all of it.
    Beginning,
    /// The list is another one, or has gone on for too long: it is to be taken up whole.
    Other,
    /// The list does not have what is known of it: the store has lost it.
    Lost,
}

impl Agreement {
    /// How it is to a list of this era, of which acts below `floor` may have been taken out. `at` is the id of the act that the list has at
    /// [`Agreement::number`].
    pub fn is_to(&self, era: &str, floor: u64, at: Option<&str>) -> Known {
        if self.era != *era {
            return Known::Other;
        }
        match at {
            _ if self.number == 0 => Known::Beginning,
            Some(at) if at == self.last => Known::Beginning,
            None if self.number < floor => Known::Other,
            _ => Known::Lost,
        }
    }
}

impl Standing {
    /// Notes where an act is in the list of all, or that it is not there.
    pub fn note_place(&mut self, record: &ActRecord<'_>) {
        match &record.shared {
            Some(Place { era, number, .. }) => {
                self.unshared.retain(|told| told.id != record.id);
                self.agreed =
                    Some(Agreement { era: era.clone(), number: *number, last: record.id.to_string() });
            }
            None if self.agreed.is_some() && record.act.is_done_alone() => {
                // Where nobody is ever told, what refuses is kept longest: what came of calls goes first.
                let came = |told: &Arc<ActRecord<'_>>| matches!(told.act, Act::Came(_));
                let goes = |told: &Arc<ActRecord<'_>>| {
                    !matches!(told.act, Act::Quarantine(_) | Act::Shred(_) | Act::Pin(_))
                };
                let first = || {
                    let told = &self.unshared;
                    told.iter().position(came).or_else(|| told.iter().position(goes))
                };
                if self.unshared.len() >= MOST_UNSHARED
                    && let Some(place) = first()
                {
                    self.unshared.remove(place);
                }
                self.unshared.push(Arc::new(record.clone().into_owned()));
            }
            None => {}
        }
    }

    /// Another list is taken up, at this time.
    pub(super) fn agree(&mut self, Agreed { era, lifted, more }: &Agreed, now: i64) {
        let lifted: BTreeSet<&str> = lifted.iter().map(String::as_str).collect();
        let subjects: Vec<_> = self.quarantined.keys().cloned().collect();
        subjects.iter().for_each(|subject| self.lift(subject, |id| lifted.contains(id)));
        if *more {
            return;
        }
        self.approvals = Approvals::default();
        self.grants.clear();
        self.requests.clear();
        self.ended.clear();
        let known: BTreeSet<String> = self.unshared.iter().map(|record| record.id.to_string()).collect();
        // What of them is in the list comes with it. What destroyed keys is told as well: who was away may have its own still.
        let untold = self.quarantines().chain(self.shreds(now)).chain(self.pins());
        let untold = untold.filter(|record| !known.contains(&*record.id));
        let untold: Vec<_> = untold.map(Arc::new).collect();
        self.unshared.extend(untold);
        self.agreed = Some(Agreement { era: era.clone(), number: 0, last: String::new() });
    }

    /// What a list that begins anew begins with: what refuses, what destroyed keys of late, what tools are held to, what is asked of people, and what is asked for. What opens something (a given
    /// approval, a grant) is not in it: whether it was used, or taken back, may be what was lost.
    pub fn told_again(&self, now: i64) -> Vec<ActRecord<'static>> {
        let time = super::rfc3339(now).unwrap_or_default();
        // In the order in which they were asked, whatever the clocks said that their ids are of.
        let mut asked: Vec<_> =
            self.approvals.all().filter(|pending| pending.state_at(now) == State::Asked).collect();
        asked.sort_unstable_by_key(|pending| pending.number);
        let asked = asked.into_iter().map(|pending| ActRecord {
            act: Act::Ask(Box::new(pending.question.clone())),
            actor: BY_ITSELF.into(),
            id: pending.question.approval.clone().into(),
            kind: ActKind,
            note: false,
            // Whoever tells it, the call is held where it was.
            shared: pending.held_at.clone().map(|from| Place {
                era: String::new(),
                from: Some(from),
                number: 0,
            }),
            time: time.clone().into(),
            version: VERSION,
            why: "a policy holds the call".into(),
        });
        let requests = self.requests.values().map(|request| {
            let requested = Requested { terms: request.terms.clone(), until_ms: request.until_ms };
            record(&request.placed, Act::RequestGrant(requested))
        });
        self.quarantines().chain(self.shreds(now)).chain(self.pins()).chain(asked).chain(requests).collect()
    }

    /// Whether who joins later needs to know of an act that is in the list.
    pub fn needs(&self, record: &ActRecord<'_>, now: i64) -> bool {
        let is = |id: &String| *id == *record.id;
        match &record.act {
            Act::Quarantine(of) => self.quarantined_by(&of.subject).any(|placed| is(&placed.id)),
            Act::Declassify(_) => now.saturating_sub(super::at(record)) < DECLASSIFIED,
            Act::Shred(_) => Self::needs_shred(record, now),
            Act::Pin(pinned) => self.needs_pinned(&record.id, pinned),
            Act::RequestGrant(_) => self.requests.contains_key(&*record.id),
            Act::Grant(_) => self.grants.contains_key(&*record.id),
            Act::UseGrant(used) => self.grants.contains_key(&used.of),
            Act::Lift(_)
            | Act::Revoke(_)
            | Act::EndGrant(_)
            | Act::Agree(_)
            | Act::Prune(_)
            | Act::RotateKey(_)
            | Act::Export(_)
            | Act::Start(_)
            | Act::Stop(_)
            | Act::Register(_) => false,
            Act::Ask(_)
            | Act::Approve(_)
            | Act::Deny(_)
            | Act::Expire(_)
            | Act::Void(_)
            | Act::Use(_)
            | Act::Came(_) => {
                record.act.approval().is_some_and(|approval| self.approvals.get(approval).is_some())
            }
        }
    }

    /// The acts of the quarantines that stand.
    pub fn quarantines(&self) -> impl Iterator<Item = ActRecord<'static>> + '_ {
        self.quarantined.keys().flat_map(move |subject| {
            let act = move || Act::Quarantine(OfSubject { subject: subject.clone() });
            self.quarantined_by(subject).map(move |placed| record(placed, act()))
        })
    }
}

/// The record of an act that stands.
pub(super) fn record(placed: &Placed, act: Act) -> ActRecord<'static> {
    ActRecord {
        act,
        actor: placed.actor.clone().into(),
        id: placed.id.clone().into(),
        kind: ActKind,
        note: false,
        shared: None,
        time: placed.time.clone().into(),
        version: VERSION,
        why: placed.why.clone().into(),
    }
}
