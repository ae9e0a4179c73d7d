//! What calls on an edge count for (`@limit`), and the denial of one that does not fit.

use std::sync::Arc;

use super::answer::{StaticOutcome, sorted};
use super::{Compilation, Residual};
use crate::decide::deciding::Deciding;
use crate::decide::residual::View;
use crate::decide::residual::value::Value;
use crate::decide::statement::Statement;
use crate::decide::view::{Seen, look};
use crate::decision::{Fact, Finding, Outcome};
use crate::refusal::Code;
use crate::resource::{Limit, limit};

/// The forbids with `@limit` that are satisfied whatever the context.
#[derive(Debug, Default)]
pub(super) struct Limiting(Box<[Always]>);

/// One of them.
#[derive(Debug)]
struct Always {
    outcome: StaticOutcome,
    /// What calls count for by it.
    limits: Arc<[Arc<Limit>]>,
}

/// What is left of a limit with the call, as far as that was asked, or its record says it.
fn left(limit: &Limit, call: &Deciding<'_>) -> Option<i64> {
    match look(View::Limits, &limit.id, call) {
        Seen::There(Value::Long(left)) => Some(left),
        _ => None,
    }
}

impl Compilation<'_> {
    pub(super) fn limiting(&self, statements: &[&Arc<Statement>]) -> Limiting {
        let of = |statement: &&Arc<Statement>| {
            let limits = statement.limits.clone().unwrap_or_default();
            Always { outcome: self.static_outcome(std::slice::from_ref(statement)), limits }
        };
        Limiting(statements.iter().map(of).collect())
    }
}

impl Limiting {
    /// The denial, where what was found out of the limits says that the call does not fit. Of one that nothing was found out of it is not known yet.
    pub(super) fn spent(&self, of_call: &[&Residual], call: &Deciding<'_>) -> Option<Finding> {
        if self.0.is_empty() && of_call.is_empty() {
            return None;
        }
        let does_not_fit = |limit: &Arc<Limit>| left(limit, call).is_some_and(|left| left < 0);
        let is_spent = |limits: &[Arc<Limit>]| limits.iter().any(does_not_fit);
        let refusing: Vec<&Residual> = of_call
            .iter()
            .copied()
            .filter(|residual| residual.limits.as_deref().is_some_and(is_spent))
            .collect();
        let always: Vec<&StaticOutcome> =
            self.0.iter().filter(|one| is_spent(&one.limits)).map(|one| &one.outcome).collect();
        if refusing.is_empty() && always.is_empty() {
            return None;
        }
        let mut policies: Vec<Arc<str>> =
            always.iter().flat_map(|one| one.policies.iter().cloned()).collect();
        policies.sort_unstable();
        let always = StaticOutcome {
            policies: policies.into(),
            facts: sorted(always.iter().flat_map(|one| one.facts.iter().cloned()).collect()),
            reason: always.iter().find_map(|one| one.reason.clone()),
        };
        let found = always.answer(Outcome::Deny, Some(Code::LimitExceeded), &refusing, call);
        let spent = self.all(of_call).into_iter().filter(does_not_fit);
        let spent: Vec<String> = spent.map(|limit| format!("{} ({limit})", limit.id)).collect();
        let of_author = found.reason.as_ref().map(|reason| format!("; {reason}")).unwrap_or_default();
        let reason = format!("no room is left in {}{of_author}", spent.join(", "));
        Some(Finding { reason: Some(reason.into()), ..found })
    }

    /// What is found, with what the call counts for where it may be made, or by another permit might be, and what is left of it as far as that is known.
    pub(super) fn noted(&self, found: Finding, of_call: &[&Residual], call: &Deciding<'_>) -> Finding {
        if self.0.is_empty() && of_call.is_empty() {
            return found;
        }
        let limits = self.all(of_call);
        let known = limits.iter().filter_map(|limit| {
            let left = left(limit, call)?;
            Some((format!("context.limits[{:?}]", &*limit.id).into(), left.to_string().into()))
        });
        let mut facts: Vec<Fact> = known.collect();
        let facts = match facts.is_empty() {
            true => found.facts,
            false => {
                facts.extend(found.facts.iter().cloned());
                sorted(facts)
            }
        };
        // Of what no policy permits by itself the part, or the whole, may be permitted: then the call counts for both.
        let may_be_made = found.outcome != Outcome::Deny || found.code == Some(Code::NoPermit);
        let limits = if may_be_made { limits.into() } else { Arc::default() };
        Finding { limits, facts, ..found }
    }

    /// All that a call counts for, sorted by their ids, each once.
    fn all(&self, of_call: &[&Residual]) -> Vec<Arc<Limit>> {
        let always = self.0.iter().map(|one| &one.limits);
        let of_call = of_call.iter().filter_map(|residual| residual.limits.as_ref());
        let mut all: Vec<Arc<Limit>> =
            always.chain(of_call).flat_map(|limits| limits.iter().cloned()).collect();
        limit::each_once(&mut all);
        all
    }
}
