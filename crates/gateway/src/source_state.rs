//! How old the configuration is by what it is read from. What it may come to is said by the record of each route
//! (`spec.endpoint.staleAfter`).

use std::sync::Arc;
use std::time::Duration;

use vidimus_core::call::Destination;
use vidimus_core::caller::UnixMillis;
use vidimus_core::decision::Aged;
use vidimus_core::refusal::{Code, Refusal};
use vidimus_core::resource::stale::Then;
use vidimus_core::standing::rfc3339;

/// What the configuration is read from, and since when that says nothing any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceState {
    /// What is read: `directory`, or `cluster`.
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
    /// How old the configuration is; nothing while it is what is there.
    pub fn age(&self, now: UnixMillis) -> Duration {
        let since = self.stale.as_ref().map_or(now, |stale| stale.since);
        Duration::from_millis(u64::try_from(now.0.saturating_sub(since.0)).unwrap_or_default())
    }

    /// The same for records; `None` while it is what is there.
    pub(crate) fn aged(&self, now: UnixMillis) -> Option<Aged<'_>> {
        let stale = self.stale.as_ref()?;
        Some(Aged { seconds: self.age(now).as_secs(), reason: &stale.reason })
    }

    /// That the route to `destination` is not closed by the age of the configuration.
    ///
    /// # Errors
    /// `config_stale`.
    pub(crate) fn check(&self, destination: &Destination, now: UnixMillis) -> Result<(), Refusal> {
        let Some(stale) = &self.stale else { return Ok(()) };
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
            .with_detail(format!("{}: {}", self.source, stale.reason)))
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
