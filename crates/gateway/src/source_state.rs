//! How old the configuration is by what it is read from. What it may come to is said by the record of each route
//! (`spec.endpoint.staleAfter`).

use std::sync::Arc;
use std::time::{Duration, Instant};

use vidimus_core::call::Destination;
use vidimus_core::caller::UnixMillis;
use vidimus_core::clock::Moment;
use vidimus_core::decision::Aged;
use vidimus_core::refusal::{Code, Refusal};
use vidimus_core::resource::stale::Then;
use vidimus_core::standing::rfc3339;

use crate::gate::millis;

/// What the configuration is read from, and since when that says nothing any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceState {
    /// What is read: `directory`, `cluster`, `registry` (which watches one), or `kept` where some of it is what was kept on disk of a cluster that has not been heard
    /// whole since the start.
    pub source: Arc<str>,
    /// `None` while what decides is what is there.
    pub stale: Option<Stale>,
}

/// That the configuration may be an old one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stale {
    /// When what it is read from was heard of last.
    pub since: UnixMillis,
    /// Why nothing is heard of it, for operators. Never a secret.
    pub reason: Arc<str>,
}

impl Default for SourceState {
    /// A directory is always there, or its gateway says so at `/readyz`.
    fn default() -> Self {
        Self { source: "directory".into(), stale: None }
    }
}

impl SourceState {
    /// Whether what decides was kept on disk.
    pub fn is_kept(&self) -> bool {
        &*self.source == "kept"
    }
}

/// What was said of the source last, and how old the configuration was by then: a clock that is set back makes it no younger.
#[derive(Debug)]
pub(crate) struct Noted {
    pub(crate) state: SourceState,
    at: Option<Instant>,
    age: Duration,
}

impl Default for Noted {
    fn default() -> Self {
        Self { state: SourceState::default(), at: None, age: Duration::ZERO }
    }
}

impl Noted {
    /// What is said `now`, after this.
    pub(crate) fn next(&self, state: SourceState, now: Moment) -> Self {
        let since = |state: &SourceState| state.stale.as_ref().map(|stale| stale.since);
        let age = match since(&self.state) == since(&state) {
            true => self.age(now),
            false => Self::by_wall(&state, now),
        };
        Self { state, at: Some(now.monotonic), age }
    }

    fn by_wall(state: &SourceState, now: Moment) -> Duration {
        let now = millis(now.wall);
        let since = state.stale.as_ref().map_or(now, |stale| stale.since);
        Duration::from_millis(u64::try_from(now.0.saturating_sub(since.0)).unwrap_or_default())
    }

    /// How old the configuration is; nothing while it is what is there.
    pub(crate) fn age(&self, now: Moment) -> Duration {
        if self.state.stale.is_none() {
            return Duration::ZERO;
        }
        let passed = self.at.map_or(Duration::ZERO, |at| now.monotonic.saturating_duration_since(at));
        Self::by_wall(&self.state, now).max(self.age.saturating_add(passed))
    }

    /// The same for records; `None` while it is what is there.
    pub(crate) fn aged(&self, now: Moment) -> Option<Aged<'_>> {
        let stale = self.state.stale.as_ref()?;
        let seconds = self.age(now).as_secs();
        Some(Aged { seconds, reason: &stale.reason, source: &self.state.source })
    }

    /// That the route to `destination` is not closed by the age of the configuration.
    ///
    /// # Errors
    /// `config_stale`.
    pub(crate) fn check(&self, destination: &Destination, now: Moment) -> Result<(), Refusal> {
        let Some(stale) = &self.state.stale else { return Ok(()) };
        let limit = destination.endpoint().and_then(|endpoint| endpoint.stale_after);
        let Some(limit) = limit.filter(|limit| limit.then == Then::Close) else { return Ok(()) };
        let age = self.age(now);
        if age < Duration::from_millis(limit.age_ms) {
            return Ok(());
        }
        let message = format!(
            "the configuration is {} s old, and {} is closed after {} s (spec.endpoint.staleAfter)",
            age.as_secs(),
            destination.id(),
            limit.age_ms / 1_000
        );
        Err(Refusal::new(Code::ConfigStale, message)
            .with_detail(format!("{}: {}", self.state.source, stale.reason)))
    }
}

/// For `/readyz`: `cluster, not heard of since 2026-11-28T12:00:00.000Z: the watch ended`.
impl std::fmt::Display for SourceState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.source)?;
        let Some(stale) = &self.stale else { return Ok(()) };
        let since = rfc3339(stale.since.0).unwrap_or_default();
        write!(f, ", not heard of since {since}: {}", stale.reason)
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    /// Attack: the clock of a machine is set back, so that a route that has closed opens again.
    #[test]
    fn a_clock_that_is_set_back_makes_a_configuration_no_younger() {
        let (begun, epoch) = (Instant::now(), SystemTime::UNIX_EPOCH);
        let at = |passed: u64, wall: u64| Moment {
            wall: epoch + Duration::from_secs(wall),
            monotonic: begun + Duration::from_secs(passed),
        };
        let since = |seconds: i64| SourceState {
            source: "cluster".into(),
            stale: Some(Stale { since: UnixMillis(seconds * 1_000), reason: "the watch ended".into() }),
        };
        let age = |noted: &Noted, now| noted.age(now).as_secs();
        let noted = Noted::default().next(since(1_000), at(0, 1_010));
        assert_eq!(age(&noted, at(0, 1_010)), 10);
        assert_eq!(age(&noted, at(5, 1_015)), 15);
        // A machine that slept: the wall knows.
        assert_eq!(age(&noted, at(5, 2_000)), 1_000);
        // Set back, before and after it is said again.
        assert_eq!(age(&noted, at(6, 500)), 16);
        let again = noted.next(since(1_000), at(7, 500));
        assert_eq!(age(&again, at(7, 500)), 17);
        assert_eq!(age(&again.next(since(1_000), at(9, 502)), at(10, 503)), 20);
        // Heard of since: what is said then counts.
        assert_eq!(age(&again.next(since(498), at(9, 502)), at(9, 502)), 4);
        let back = SourceState { source: "cluster".into(), stale: None };
        assert_eq!(age(&again.next(back, at(9, 502)), at(90, 602)), 0);
    }
}
