//! Who is asked of several providers that may answer a call (`spec.failover`, ADR 88): by their shares, by how they have done lately, and by what is
//! left of a budget. Nothing here permits anybody: whoever may answer is a candidate of the call's one decision.
//!
//! Each gateway knows for itself how providers do: what it learns costs nobody a round trip, and is forgotten with it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use http::header::RETRY_AFTER;
use http::{HeaderMap, StatusCode};
use jiff::fmt::rfc2822;
use vidimus_core::decision::Candidate;
use vidimus_core::resource::LlmProvider;
use vidimus_core::resource::llm_provider::{CredentialSource, ProviderType};

/// At most so many providers are asked for one call.
pub const MOST_ATTEMPTS: usize = 3;
/// So many failures in a row set a provider aside.
const FAILURES: u32 = 5;
/// For so long the first time, and for so much longer each further time.
const ASIDE: Duration = Duration::from_secs(30);
/// And at most for so long, whatever it says itself.
const LONGEST: Duration = Duration::from_secs(300);
/// What a call adds to the budget for further tries, and what one takes of it: one try for five calls.
const ADDS: u32 = 1;
const TAKES: u32 = 5;
/// What is in a budget at first, and at most: 10 tries, 100 tries.
const FIRST: u32 = 50;
const MOST: u32 = 500;
/// So many providers are known. When there are more, nothing is known of any.
const KNOWN: usize = 4096;

/// How providers do that are named in a failover.
#[derive(Debug, Default)]
pub struct Failovers {
    known: Mutex<HashMap<Arc<str>, Provider>>,
}

/// What is known of one provider, as one of those that are tried, and as one in whose place others are.
#[derive(Debug)]
struct Provider {
    /// In a row.
    failures: u32,
    /// Whose calls those were, where all were of one caller.
    by: Option<Arc<str>>,
    /// How often it was set aside, less what it has done well since.
    times: u32,
    aside: Option<Aside>,
    /// What is left for further tries of calls to it.
    budget: u32,
    /// How far each of its candidates is behind its share.
    turns: HashMap<Arc<str>, i64>,
}

/// That a provider is set aside.
#[derive(Debug)]
struct Aside {
    until: Instant,
    /// For whose calls alone: it failed with nobody else's. By what one caller asks, no other's calls go elsewhere.
    of: Option<Arc<str>>,
}

impl Aside {
    fn is_for(&self, caller: &Arc<str>) -> bool {
        self.of.as_ref().is_none_or(|of| of == caller)
    }
}

impl Default for Provider {
    fn default() -> Self {
        Self { failures: 0, by: None, times: 0, aside: None, budget: FIRST, turns: HashMap::new() }
    }
}

impl Failovers {
    /// In which order the candidates of a call of this caller are asked, by their numbers. Those that are set aside are not; where all are, the
    /// provider that was called is asked alone, as if there were no other.
    pub fn order(&self, candidates: &[Candidate], caller: &Arc<str>, now: Instant) -> Vec<usize> {
        let mut known = self.lock();
        let is_aside = |candidate: &Candidate| {
            let provider = known.get(&candidate.provider.id.id);
            let aside = provider.and_then(|provider| provider.aside.as_ref());
            aside.is_some_and(|aside| now < aside.until && aside.is_for(caller))
        };
        let mut there: Vec<usize> =
            candidates.iter().enumerate().filter(|(_, one)| !is_aside(one)).map(|(which, _)| which).collect();
        let Some(called) = candidates.first() else { return there };
        let called = known.entry(called.provider.id.id.clone()).or_default();
        called.budget = called.budget.saturating_add(ADDS).min(MOST);
        if there.is_empty() {
            return vec![0];
        }
        // Whoever has a share comes before whoever has none.
        there.sort_by_key(|which| candidates.get(*which).is_some_and(|candidate| candidate.weight == 0));
        if let Some(first) = called.turn(candidates, &there) {
            there.retain(|which| *which != first);
            there.insert(0, first);
        }
        there.truncate(MOST_ATTEMPTS);
        there
    }

    /// Takes one more try of a call to this provider from its budget. False where that is used up: when everything fails, tries are what
    /// would make it worse.
    pub fn may_try_again(&self, called: &Arc<str>) -> bool {
        let mut known = self.lock();
        let budget = &mut known.entry(called.clone()).or_default().budget;
        let left = budget.checked_sub(TAKES);
        *budget = left.unwrap_or(*budget);
        left.is_some()
    }

    /// A provider answered.
    pub fn did_well(&self, provider: &Arc<str>) {
        if let Some(known) = self.lock().get_mut(provider) {
            (known.failures, known.times) = (0, known.times.saturating_sub(1));
        }
    }

    /// A provider did not answer a call of this caller, or said that it cannot now; `again`: when it says that it can. Gives for how long that sets it
    /// aside, where it was not before. Failures with the calls of one caller set it aside for that one, and for all once it fails another while it is: also
    /// where it says itself until when, since one caller's calls may be what it had too many of.
    pub fn failed(
        &self,
        (provider, caller): (&Arc<str>, &Arc<str>),
        again: Option<Duration>,
        now: Instant,
    ) -> Option<Duration> {
        let mut known = self.lock();
        let known = known.entry(provider.clone()).or_default();
        let is_alone = known.failures == 0 || known.by.as_ref() == Some(caller);
        known.by = is_alone.then(|| caller.clone());
        known.failures += 1;
        let (time, of) = if let Some(again) = again {
            (again.min(LONGEST), known.by.clone())
        } else if known.failures >= FAILURES {
            (known.failures, known.times) = (0, known.times.saturating_add(1));
            (ASIDE.saturating_mul(known.times).min(LONGEST), known.by.take())
        } else {
            return None;
        };
        let before = known.aside.take().filter(|aside| now < aside.until);
        let was_aside = before.as_ref().is_some_and(|aside| aside.is_for(caller));
        let of = of.filter(|_| before.is_none_or(|aside| aside.of.as_ref() == Some(caller)));
        known.aside = Some(Aside { until: now + time, of });
        (!was_aside).then_some(time)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Arc<str>, Provider>> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() > KNOWN {
            known.clear();
        }
        known
    }
}

impl Provider {
    /// Whose turn it is, of these that have a share: each gets its share of any number of calls in a row, as evenly as can be (smooth weighted
    /// round robin, as nginx has it).
    fn turn(&mut self, candidates: &[Candidate], there: &[usize]) -> Option<usize> {
        let shares = there.iter().filter_map(|which| Some((*which, candidates.get(*which)?)));
        let shares: Vec<_> = shares.filter(|(_, candidate)| candidate.weight > 0).collect();
        // Those that are named no more are forgotten now and then.
        if self.turns.len() > 64 {
            self.turns.clear();
        }
        let total: i64 = shares.iter().map(|(_, candidate)| i64::from(candidate.weight)).sum();
        let mut chosen: Option<(usize, &Candidate, i64)> = None;
        for (which, candidate) in shares {
            let behind = self.turns.entry(candidate.provider.id.id.clone()).or_default();
            *behind += i64::from(candidate.weight);
            if chosen.is_none_or(|(_, _, most)| *behind > most) {
                chosen = Some((which, candidate, *behind));
            }
        }
        let (which, candidate, _) = chosen?;
        if let Some(behind) = self.turns.get_mut(&candidate.provider.id.id) {
            *behind -= total;
        }
        Some(which)
    }
}

/// Whether an answer of this status is one that another provider may be asked after: nothing was done. A 401 to the gateway's key is no answer
/// (`credential_refused`).
pub fn is_of_failure(provider: &LlmProvider, status: StatusCode) -> bool {
    let refuses_key = status == StatusCode::FORBIDDEN && says_403_of_keys(provider);
    status == StatusCode::TOO_MANY_REQUESTS || status.is_server_error() || refuses_key
}

/// Whether a provider's 403 is of the key. That of others may be of what is asked: nobody is to find another one for what a first one does not let
/// be said.
fn says_403_of_keys(provider: &LlmProvider) -> bool {
    matches!(provider.provider, ProviderType::Bedrock | ProviderType::Gemini)
        && provider.credential != CredentialSource::None
}

/// How long after `now` a provider says that it can be asked again: in seconds, or by a date (RFC 9110 section 10.2.3). One that says something else is
/// taken for one that says the usual.
pub fn again_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let said = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let until = || {
        let date = SystemTime::from(rfc2822::DateTimeParser::new().parse_timestamp(said).ok()?);
        // What is over is over at once.
        Some(date.duration_since(now).unwrap_or_default())
    };
    Some(said.parse().map(Duration::from_secs).ok().or_else(until).unwrap_or(ASIDE))
}

#[cfg(test)]
mod tests;
