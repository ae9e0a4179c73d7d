//! Records by what they say, of whatever kind, in their order.

use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::iter::Peekable;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use vidimus_core::entity::EntityKind;
use vidimus_core::record::{Kept, Record};
use vidimus_ledger::{Query, SearchError};

use super::joined::Effects;
use super::{Damage, Found, Lookup, Unsearched};
use crate::Misasked;

/// What records must fit, all of it.
///
/// Names fit from any slash on: `get_invoice`, `ledger/get_invoice` and `Tool/finance/ledger/get_invoice` are the same tool. An effect is
/// found by who asked for what too.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct SearchQuestion {
    /// Who called: an Agent or ServiceIdentity.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub principal: Option<String>,
    /// The person on whose behalf.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// On whose behalf others acted, at whatever hop: a principal that acted before the caller, or the person.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_behalf_of: Option<String>,
    /// The copy of the principal that called: the UID of its pod or the name of that, or its certificate's serial number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
    /// The IP address that the call came from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<IpAddr>,
    /// A policy that decided, changed the call or its answer, held it or is only tried (`mode: observe`), or a permit that was among the closest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
    /// How it was decided, or how its effect ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcome>,
    /// What was asked for: a tool, agent, skill, model, resource or prompt.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resource: Option<String>,
    /// The MCP server, agent or provider that this is, or is a part of, or the server with members by which the call came.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server: Option<String>,
    /// The approval that the call waited for or was made with, and what was done about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub approval: Option<String>,
    /// The digest of the configuration that decided, with or without `sha256:`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub configuration: Option<String>,
    /// Stable code of a refusal, or of how an effect ended: docs/codes.md.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// Which records; where it is not said: those of what was decided, of effects with the outcome of one, and all with a code.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<Kind>,
    /// The transaction that the hops of one chain share.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transaction: Option<String>,
    /// The W3C trace of the call, with or without the id of a span.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trace: Option<String>,
    /// What stands somewhere in the record's JSON text, as it stands there; of an effect, in its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// Not before this time (RFC 3339).
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub since: Option<Timestamp>,
    /// Before this time (RFC 3339).
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub until: Option<Timestamp>,
    /// The oldest first; otherwise the newest.
    pub oldest_first: bool,
}

macro_rules! words {
    ($(#[$about:meta])* $name:ident { $($(#[doc = $help:literal])+ $variant:ident = $text:literal,)+ }) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
        pub enum $name {
            $($(#[doc = $help])+ #[serde(rename = $text)] $variant,)+
        }

        impl $name {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            /// As it is written.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)+
                }
            }

            /// What it means, in a sentence.
            pub const fn meaning(self) -> &'static str {
                match self {
                    $(Self::$variant => concat!($($help),+),)+
                }
            }
        }
    };
}

words! {
    /// Which records.
    Kind {
        /// Decisions and refusals.
        Decided = "decided",
        /// Calls that policies decided.
        Decision = "decision",
        /// Calls refused before policies were asked.
        Refusal = "refusal",
        /// What came of the calls that were let pass.
        Effect = "effect",
        /// What was done to what stands: quarantines, approvals and the like.
        Act = "act",
        /// All of them, one by one.
        All = "all",
    }
}

words! {
    /// How a call was decided, or how its effect ended.
    Outcome {
        /// Allowed.
        Allow = "allow",
        /// Allowed, and something had to be done with the call or its answer.
        AllowWithObligations = "allow-with-obligations",
        /// Held until a person approves it.
        Hold = "hold",
        /// Denied.
        Deny = "deny",
        /// An effect: the upstream did it.
        Ok = "ok",
        /// An effect: the upstream answered with the protocol's own error.
        Error = "error",
        /// An effect: the answer could not be read, so it may be an error.
        Unknown = "unknown",
        /// An effect: there was no full answer.
        Failed = "failed",
        /// An effect: the caller left.
        Cancelled = "cancelled",
    }
}

impl Outcome {
    const fn of_effect(self) -> bool {
        !matches!(self, Self::Allow | Self::AllowWithObligations | Self::Hold | Self::Deny)
    }
}

/// Which records are meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    /// Decisions, refusals, acts, or several of them.
    pub(super) decided: Option<Decided>,
    pub(super) effects: bool,
}

/// Which of the records of what was decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Decided {
    /// Decisions and refusals.
    Calls,
    Decisions,
    Refusals,
    Acts,
    All,
}

/// That there can be something between two times: nothing would be found otherwise, which reads as that nothing happened.
///
/// # Errors
/// Where the one is not before the other.
pub fn in_order(since: Option<Timestamp>, until: Option<Timestamp>) -> Result<(), Misasked> {
    match (since, until) {
        (Some(since), Some(until)) if since >= until => {
            let reason = format!("it is not before until {until}, so nothing can be between them");
            Err(Misasked::new("since", &since, reason))
        }
        _ => Ok(()),
    }
}

impl SearchQuestion {
    /// Which records are meant; an error where no record can fit, which would read as that nothing happened.
    pub(super) fn wanted(&self) -> Result<Wanted, Misasked> {
        in_order(self.since, self.until)?;
        let of_effect = self.outcome.map(Outcome::of_effect);
        let kind = self.kind.unwrap_or(match (of_effect, &self.code) {
            (Some(true), _) => Kind::Effect,
            // What a refusal and what an effect ended by are the same codes.
            (None, Some(_)) => Kind::All,
            _ => Kind::Decided,
        });
        let decided = match kind {
            Kind::Decided => Some(Decided::Calls),
            Kind::All => Some(Decided::All),
            Kind::Act => Some(Decided::Acts),
            Kind::Decision => Some(Decided::Decisions),
            Kind::Refusal => Some(Decided::Refusals),
            Kind::Effect => None,
        };
        let effects = matches!(kind, Kind::Effect | Kind::All);
        let wanted = match of_effect {
            Some(true) => Wanted { decided: None, effects },
            Some(false) => Wanted { decided, effects: false },
            None => Wanted { decided, effects },
        };
        match self.outcome {
            Some(outcome) if wanted.decided.is_none() && !wanted.effects => {
                let reason = format!("no record of the kind {} has this outcome", kind.as_str());
                Err(Misasked::new("outcome", &outcome.as_str(), reason))
            }
            _ => Ok(wanted),
        }
    }

    /// Who asked for what, and until when. Of an effect in the time that is asked for, the decision may stand before it.
    /// `approvals` are those that the policy asked for.
    pub(super) fn asked(&self, approvals: &[String]) -> Query {
        Query {
            approvals: approvals.to_vec(),
            agent: self.principal.clone(),
            user: self.user.clone(),
            on_behalf_of: self.on_behalf_of.clone(),
            instance: self.instance.clone(),
            source: self.source.map(|source| source.to_canonical().to_string()),
            policy: self.policy.clone(),
            resource: self.resource.clone(),
            server: self.server.as_deref().map(|server| without_kind(server).to_owned()),
            approval: self.approval.clone(),
            configuration: self.configuration.clone(),
            transaction: self.transaction.clone(),
            trace: self.trace.clone(),
            until: self.until,
            newest_first: !self.oldest_first,
            ..Query::default()
        }
    }

    /// What the records of what was decided must fit.
    pub(super) fn of_decided(&self, which: Decided, approvals: &[String]) -> Query {
        let kind = match which {
            Decided::Calls | Decided::All => None,
            Decided::Acts => Some("act".to_owned()),
            Decided::Decisions => Some("decision".to_owned()),
            Decided::Refusals => Some("refusal".to_owned()),
        };
        Query {
            outcome: self.outcome.map(|outcome| outcome.as_str().to_owned()),
            code: self.code.clone(),
            text: self.text.clone(),
            since: self.since,
            kind,
            ..self.asked(approvals)
        }
    }

    /// Whether few of the records may fit, so that it pays to look these up rather than to read all.
    pub fn is_narrow(&self) -> bool {
        let is_rare = |outcome: Outcome| !matches!(outcome, Outcome::Allow | Outcome::Ok);
        self.asks_who()
            || self.text.is_some()
            || self.code.is_some()
            || self.outcome.is_some_and(is_rare)
            || matches!(self.kind, Some(Kind::Act | Kind::Refusal))
    }

    /// Whether only some decisions have the effects that are asked for.
    pub(super) fn asks_who(&self) -> bool {
        let Self { principal, user, on_behalf_of, instance, policy, resource, .. } = self;
        let Self { server, approval, configuration, transaction, trace, source, .. } = self;
        let who = [principal, user, on_behalf_of, instance, policy, resource];
        let how = [server, approval, configuration, transaction, trace];
        source.is_some() || who.into_iter().chain(how).any(Option::is_some)
    }
}

/// A server as tables have it: `MCPServer/finance/ledger` and `finance/ledger` are the same.
fn without_kind(server: &str) -> &str {
    let kinds = [EntityKind::McpServer, EntityKind::Agent, EntityKind::LlmProvider];
    let of_kind = server.split_once('/').filter(|(kind, _)| kinds.iter().any(|one| one.as_str() == *kind));
    of_kind.map_or(server, |(_, name)| name)
}

/// The records of the log in `dir` that fit, one by one. What is wrong with the log comes where it is met, and only once; reading goes
/// on behind it.
///
/// # Errors
/// See [`Unsearched`].
pub fn search(
    dir: &Path,
    question: &SearchQuestion,
) -> Result<impl Iterator<Item = Result<Found, Damage>> + use<>, Unsearched> {
    search_part(dir, &[], question)
}

/// As [`search`], of a log that `others` have too, or parts of it: the decision of an effect may be there, and who asked for an approval.
///
/// # Errors
/// See [`Unsearched`].
pub(super) fn search_part(
    dir: &Path,
    others: &[PathBuf],
    question: &SearchQuestion,
) -> Result<impl Iterator<Item = Result<Found, Damage>> + use<>, Unsearched> {
    let wanted = question.wanted()?;
    let mut approvals = asked_for(dir, question)?;
    // What is wrong with another one, its own search tells.
    approvals.extend(others.iter().filter_map(|other| asked_for(other, question).ok()).flatten());
    approvals.sort_unstable();
    approvals.dedup();
    let decided = wanted.decided.map(|which| decided(dir, question, which, &approvals)).transpose()?;
    let effects = wanted.effects.then(|| Effects::of(dir, others, question, &approvals)).transpose()?;
    let newest_first = !question.oldest_first;
    let says_damage = decided.is_none();
    let effects = effects.into_iter().flatten().filter(move |effect| says_damage || effect.is_ok());
    Ok(Merged { one: decided.into_iter().flatten().peekable(), other: effects.peekable(), newest_first })
}

/// The approvals that the policy of a question asked for: a call that is made with one names the policies that permit it, and not those that
/// held it. What is damaged is met by the search itself.
fn asked_for(dir: &Path, question: &SearchQuestion) -> Result<Vec<String>, SearchError> {
    let Some(policy) = question.policy.clone() else { return Ok(Vec::new()) };
    let asks = Query { policy: Some(policy), kind: Some("act".to_owned()), ..Query::default() };
    let asks = vidimus_ledger::search(dir, &asks)?.flatten();
    Ok(approvals_of(asks.filter_map(|hit| Kept::read(&hit.record).ok())))
}

/// The approvals that acts are about, each once.
pub(super) fn approvals_of(acts: impl Iterator<Item = Kept>) -> Vec<String> {
    let approvals = acts.filter_map(|record| match record {
        Record::Act(record) => record.act.approval().map(str::to_owned),
        _ => None,
    });
    approvals.collect::<BTreeSet<_>>().into_iter().collect()
}

/// Of the names that were asked for, those that no record has, whatever else it says: they may be misspelt. Each is a member of the
/// question and its value.
///
/// # Errors
/// See [`SearchError`].
pub fn unknown_names(
    lookup: &dyn Lookup,
    question: &SearchQuestion,
) -> Result<Vec<(&'static str, String)>, SearchError> {
    let asked = question.asked(&[]);
    let none = || Query { limit: Some(1), ..Query::default() };
    let names = [
        ("principal", &question.principal, Query { agent: asked.agent, ..none() }),
        ("user", &question.user, Query { user: asked.user, ..none() }),
        ("on-behalf-of", &question.on_behalf_of, Query { on_behalf_of: asked.on_behalf_of, ..none() }),
        ("instance", &question.instance, Query { instance: asked.instance, ..none() }),
        ("policy", &question.policy, Query { policy: asked.policy, ..none() }),
        ("resource", &question.resource, Query { resource: asked.resource, ..none() }),
        ("server", &question.server, Query { server: asked.server, ..none() }),
        ("approval", &question.approval, Query { approval: asked.approval, ..none() }),
        ("configuration", &question.configuration, Query { configuration: asked.configuration, ..none() }),
        ("transaction", &question.transaction, Query { transaction: asked.transaction, ..none() }),
    ];
    let mut unknown = Vec::new();
    for (member, value, query) in names {
        let Some(value) = value else { continue };
        // What is damaged may have it.
        if lookup.hits(&query)?.next().is_none() {
            unknown.push((member, value.clone()));
        }
    }
    Ok(unknown)
}

/// All but effects.
fn decided(
    dir: &Path,
    question: &SearchQuestion,
    which: Decided,
    approvals: &[String],
) -> Result<impl Iterator<Item = Result<Found, Damage>> + use<>, SearchError> {
    let query = question.of_decided(which, approvals);
    let hits = vidimus_ledger::search(dir, &query)?.map(|hit| Found::of(hit?));
    Ok(hits.filter(move |found| found.as_ref().map_or(true, |found| which.has(&found.record))))
}

impl Decided {
    /// Whether a record is one of these, where its kind was not looked for.
    pub(super) fn has(self, record: &Kept) -> bool {
        match record {
            Record::Effect(_) => false,
            Record::Act(_) => self != Self::Calls,
            _ => true,
        }
    }
}

/// Two in one order.
struct Merged<A: Iterator, B: Iterator> {
    one: Peekable<A>,
    other: Peekable<B>,
    newest_first: bool,
}

impl<A, B> Iterator for Merged<A, B>
where
    A: Iterator<Item = Result<Found, Damage>>,
    B: Iterator<Item = Result<Found, Damage>>,
{
    type Item = Result<Found, Damage>;

    fn next(&mut self) -> Option<Self::Item> {
        let order = match (self.one.peek(), self.other.peek()) {
            (Some(Ok(one)), Some(Ok(other))) => one.index.cmp(&other.index),
            // What is wrong comes at once.
            (Some(Err(_)), _) | (_, None) => return self.one.next(),
            (_, Some(_)) => return self.other.next(),
        };
        let is_one_first = (order == Ordering::Less) != self.newest_first;
        if is_one_first { self.one.next() } else { self.other.next() }
    }
}

#[cfg(test)]
mod tests;
