//! What was counted before the start, taken up from the records: by the first configuration that is whole, before it is taken into use. Until then
//! nothing is permitted, so that nothing is counted beside it.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use jiff::{SignedDuration, Timestamp};
use memchr::memmem::Finder;
use tokio::sync::watch;
use vidimus_core::record::Kept;
use vidimus_core::snapshot::{ENDED_BY, Snapshot};
use vidimus_gateway::Shared;
use vidimus_ledger::{Hit, Query, SearchError};
use vidimus_registry::Loaded;

/// What is still to be taken up.
#[derive(Debug)]
pub(super) struct BeforeStart {
    ledger: PathBuf,
    is_due: bool,
}

impl BeforeStart {
    /// Takes it up, where the source was heard by now; by [`BeforeStart::take_up`] otherwise.
    ///
    /// # Errors
    /// Where the records in the directory `ledger` cannot be read.
    pub(super) fn begin(
        shared: &Shared,
        ledger: &Path,
        loaded: &watch::Receiver<Arc<Loaded>>,
    ) -> anyhow::Result<Self> {
        let mut this = Self { ledger: ledger.to_owned(), is_due: true };
        let loaded = loaded.borrow().clone();
        this.take_up(shared, &loaded)?;
        Ok(this)
    }

    /// Takes it up once, where `loaded` is whole. To be called with each, before it is taken into use.
    ///
    /// # Errors
    /// As [`BeforeStart::begin`].
    pub(super) fn take_up(&mut self, shared: &Shared, loaded: &Loaded) -> anyhow::Result<()> {
        if self.is_due && loaded.not_ready.is_none() {
            restore(shared, &loaded.snapshot, &self.ledger).context("what was counted before the start")?;
            self.is_due = false;
        }
        Ok(())
    }
}

/// Takes up what chains had come to, what calls took of limits, and what agents had read, where anything of `world` looks at that.
fn restore(shared: &Shared, world: &Snapshot, ledger: &Path) -> anyhow::Result<()> {
    let counts = Shared::counts_anything(world);
    let window = shared.counted_window_of(world);
    let since = Timestamp::now().checked_sub(SignedDuration::try_from(window)?)?;
    // What is read below says it too.
    restore_ended(shared, ledger, counts.then_some(since))?;
    if !counts {
        return Ok(());
    }
    let query = Query { since: Some(since), ..Query::default() };
    let (mut taken, damage) = (0_u64, RefCell::new(None));
    let whole = |hit: Result<Hit, SearchError>| hit.map_err(|error| *damage.borrow_mut() = Some(error)).ok();
    // Of what is older only limits with longer windows are taken up: of most records that is nothing, so they are not read as what they are.
    let older = match shared.older_limits_of(world) {
        Some(longest) => {
            let from = Timestamp::now().checked_sub(SignedDuration::try_from(longest)?)?;
            let query = Query { since: Some(from), until: Some(since), ..Query::default() };
            Some(vidimus_ledger::search(ledger, &query)?)
        }
        None => None,
    };
    let of_limits = OfLimits::new();
    let older = older.into_iter().flatten().map_while(whole).filter(|hit| of_limits.is_in(&hit.record));
    let records = older.chain(vidimus_ledger::search(ledger, &query)?.map_while(whole));
    let records = records.filter(|_| damage.borrow().is_none()).map(|hit| Kept::read(&hit.record));
    // What a newer version wrote is not what is counted here.
    shared.restore(world, records.filter_map(Result::ok).inspect(|_| taken += 1));
    if let Some(error) = damage.take() {
        return Err(error.into());
    }
    tracing::info!(records = taken, "what was counted before the start is taken up");
    Ok(())
}

/// What a record has in it that says what was taken of limits: a decision what was left, and an effect what was charged, or why nothing was sent.
#[derive(Debug)]
struct OfLimits([Finder<'static>; 3]);

impl OfLimits {
    fn new() -> Self {
        Self(["context.limits[", "\"charged_", "\"code\":"].map(Finder::new))
    }

    fn is_in(&self, record: &[u8]) -> bool {
        self.0.iter().any(|word| word.find(record).is_some())
    }
}

/// Takes up which chains were ended, for as long as that is kept, and before `until`: also where nothing ends any now.
fn restore_ended(shared: &Shared, ledger: &Path, until: Option<Timestamp>) -> anyhow::Result<()> {
    let since = Timestamp::now().checked_sub(SignedDuration::try_from(shared.longest_end())?)?;
    let (kind, outcome) = (Some("decision".to_owned()), Some("deny".to_owned()));
    let query = Query { kind, outcome, since: Some(since), until, ..Query::default() };
    // Of many refused calls few are of ended chains.
    let fact = Finder::new(ENDED_BY);
    let mut damage = None;
    let ended = vidimus_ledger::search(ledger, &query)?.map_while(|hit| match hit {
        Ok(hit) if fact.find(&hit.record).is_some() => Some(Kept::read(&hit.record).ok()),
        Ok(_) => Some(None),
        Err(error) => {
            damage = Some(error);
            None
        }
    });
    shared.restore_ended(ended.flatten());
    damage.map_or(Ok(()), |error| Err(error.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_limits_took_is_told_from_what_they_did_not() {
        let of_limits = OfLimits::new();
        for (record, is_in) in [
            (r#"{"facts":{"context.limits[\"t/some/calls\"]":"1"},"kind":"decision"}"#, true),
            (r#"{"charged_spend":0,"charged_tokens":7,"kind":"effect"}"#, true),
            (r#"{"code":"upstream_unreachable","kind":"effect"}"#, true),
            (r#"{"kind":"effect","result":"ok","status":200}"#, false),
            (r#"{"facts":{"context.source_ip":"::1"},"kind":"decision"}"#, false),
        ] {
            assert_eq!(of_limits.is_in(record.as_bytes()), is_in, "{record}");
        }
    }
}
