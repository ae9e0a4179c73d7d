//! What a caller is told of a call that is not made.

use super::{Decision, Finding, Outcome};
use crate::approval::Requirement;
use crate::guard::Came;
use crate::refusal::{Code, Limited, Refusal, Room};
use crate::resource::limit::Measure;
use crate::snapshot::next_of;

/// What to do where a guard could not be asked.
const UNANSWERED: &str = "A guard has to look at this call and did not answer, so nothing is known against the call; try it again later. Whoever operates the guard: the fact guard.* of the record, and the gateway's log, say why.";

impl Decision<'_> {
    /// The denial, with when there is room again where a limit denies, and with what was decided where the caller named something else.
    pub(super) fn refusal(&self) -> Refusal {
        let mut refusal = self.finding.refusal();
        let limited = if refusal.code == Code::LimitExceeded { self.limited() } else { None };
        if let Some(by) = self.call.ask.via {
            let decided = self.call.ask.target.entity();
            refusal.message =
                format!("{}; what came by {by} was decided as {decided}", refusal.message).into();
        }
        if let Some(guard) = self.unanswered() {
            refusal.message =
                format!("{}; the webhook of the guard {guard} gave no answer", refusal.message).into();
            refusal.next = Some(UNANSWERED);
        }
        Refusal { limited: limited.map(Box::new), ..refusal }
    }

    /// A guard whose webhook gave no answer, where that is why each policy refuses that does. Without it nothing may be wrong with the call.
    fn unanswered(&self) -> Option<&str> {
        if (self.finding.outcome, self.finding.code) != (Outcome::Deny, Some(Code::ForbiddenByPolicy)) {
            return None;
        }
        let looked = self.call.ask.guarded.looked().iter();
        let failed = looked.filter(|one| one.came == Came::Failed && one.guard.webhook().is_some());
        let failed = failed.map(|one| one.guard.as_str());
        let mut found = None;
        for policy in self.finding.policies.iter() {
            let object = policy.split('#').next();
            found = Some(failed.clone().find(|guard| guard.rsplit_once('/').map(|(of, _)| of) == object)?);
        }
        found
    }

    /// Of the limits into which the call does not fit, the one that has room last.
    fn limited(&self) -> Option<Limited> {
        let spent = self.call.so_far.limits.iter().filter(|one| one.left < 0);
        let last = spent.max_by_key(|one| one.again.map_or(i64::MAX, |again| again.0))?;
        let seconds = |again: i64| again.saturating_sub(self.call.now.0).max(1).saturating_add(999) / 1_000;
        let retry_after = last.again.map(|again| u32::try_from(seconds(again.0)).unwrap_or(u32::MAX));
        let (tokens, spend) = self.call.ask.reserves();
        let room = last.of.map(|(of, amount)| {
            let takes = match of {
                Measure::Requests | Measure::Concurrency => 1,
                Measure::Tokens => tokens,
                Measure::Spend => spend,
            };
            Room { of, amount, left: last.left.saturating_add(takes).max(0) }
        });
        Some(Limited { limit: last.limit.as_ref().into(), retry_after, room })
    }
}

impl Finding {
    /// A denial by `code`, in public words.
    pub(crate) fn refusal(&self) -> Refusal {
        // Only an allowing finding has no code, and it is not refused.
        let code = match self.outcome {
            Outcome::Hold => Code::ApprovalRequired,
            Outcome::Allow | Outcome::AllowWithObligations | Outcome::Deny => {
                self.code.unwrap_or(Code::NoPermit)
            }
        };
        let names = || self.policies.join(", ");
        let (message, policies) = match (code, &self.reason) {
            (Code::NoPermit, _) if self.closest_permits.is_empty() => {
                ("no policy permits this call".to_owned(), &self.policies)
            }
            (Code::NoPermit, reason) => {
                let closest = self.closest_permits.join(", ");
                let shut = reason.as_ref().map(|reason| format!("; {reason}")).unwrap_or_default();
                let message = format!(
                    "no policy permits this call{shut}; closest permits: {closest}, with {}",
                    self.facts_text()
                );
                (message, &self.closest_permits)
            }
            (Code::ApprovalRequired, reason) => {
                let reason = reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
                let who = self.asked().join(", and ");
                (format!("{who} must approve this call first, by {}{reason}", names()), &self.policies)
            }
            (Code::PolicyError, _) => (format!("a policy failed to evaluate: {}", names()), &self.policies),
            (Code::Unrepresentable, _) => {
                let message =
                    format!("an argument is not one that policies see exactly: {}", self.facts_text());
                (message, &self.policies)
            }
            (Code::ChainEnded, _) => {
                (format!("this chain of calls was ended by {}", names()), &self.policies)
            }
            (_, Some(reason)) => (format!("refused by {}: {reason}", names()), &self.policies),
            _ => (format!("refused by {} on {}", names(), self.facts_text()), &self.policies),
        };
        let next = next_of(code, policies);
        Refusal { policies: policies.to_vec().into(), next, ..Refusal::new(code, message) }
    }

    /// Who has to approve, in words: each role once.
    fn asked(&self) -> Vec<String> {
        let mut asked: Vec<String> = Vec::new();
        for Requirement { role, quorum, .. } in self.asking.iter().map(|one| &**one) {
            let one = match quorum {
                1 => format!("somebody of {role}"),
                quorum => format!("{quorum} people of {role}"),
            };
            if !asked.contains(&one) {
                asked.push(one);
            }
        }
        asked
    }

    fn facts_text(&self) -> String {
        let parts: Vec<_> = self.facts.iter().map(|(name, value)| format!("{name} = {value}")).collect();
        if parts.is_empty() { "no attribute".to_owned() } else { parts.join(", ") }
    }
}
