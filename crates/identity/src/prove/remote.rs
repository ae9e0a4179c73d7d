//! The keys of an issuer elsewhere. They are fetched on first use, kept, renewed in the background, and given up when too old.
//!
//! Nothing here runs on a timer of its own or reads a clock. The age of keys is measured against the time that each call brings with it, and
//! a call that finds the keys ageing starts the renewal. So an idle gateway makes no requests, and tests need no sleeps.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::{ArcSwapOption, Guard};
use aws_lc_rs::digest::{SHA256, digest};
use bytes::Bytes;
use tokio::sync::{Semaphore, watch};
use vidimus_core::caller::UnixMillis;
use vidimus_core::refusal::{Code, Refusal};

use super::Limits;
use super::api_server::{self, ApiServer};
use super::fetch::{FetchError, Fetcher};
use super::keys::KeySet;
use super::token::shown;

/// The time of an attempt that was never made: far enough back that every pause is over.
const NEVER: i64 = i64::MIN / 2;

/// One issuer and what is known of its keys.
#[derive(Debug)]
pub(crate) struct Remote {
    issuer: Arc<str>,
    fetcher: Fetcher,
    /// Of the cluster's issuer: who is asked before its address.
    api_server: Option<Arc<dyn ApiServer>>,
    limits: Limits,
    state: ArcSwapOption<Fetched>,
    /// When the last fetch began, Unix milliseconds.
    attempted: AtomicI64,
    failed: AtomicBool,
    last_error: ArcSwapOption<FetchError>,
    /// The fetch that is under way: its end closes the channel. There is one at a time, and whoever waits for it shares its result.
    under_way: Mutex<Option<watch::Receiver<()>>>,
    /// Places for those who wait.
    places: Semaphore,
}

#[derive(Debug)]
struct Fetched {
    keys: Arc<KeySet>,
    document: [u8; 32],
    at: UnixMillis,
}

/// How old the keys are, in steps of what follows from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Age {
    Fresh,
    /// Usable at once, renewal in the background.
    Ageing,
    /// Usable only after a renewal was tried and failed.
    Old,
    /// Not usable.
    TooOld,
}

impl Remote {
    pub(crate) fn new(issuer: Arc<str>, fetcher: Fetcher, limits: Limits) -> Self {
        Self {
            issuer,
            fetcher,
            api_server: None,
            limits,
            state: ArcSwapOption::empty(),
            attempted: AtomicI64::new(NEVER),
            failed: AtomicBool::new(false),
            last_error: ArcSwapOption::empty(),
            under_way: Mutex::new(None),
            places: Semaphore::new(limits.waiting),
        }
    }

    /// The same, where an API server has the keys.
    pub(crate) fn at(self, api_server: Option<Arc<dyn ApiServer>>) -> Self {
        Self { api_server, ..self }
    }

    /// Asks for the keys before a token needs them, where nobody has yet.
    pub(crate) fn prepare(self: &Arc<Self>, now: UnixMillis) {
        drop(self.begin(None, now));
    }

    /// Whether the keys could not be had when they were asked for last.
    pub(crate) fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Relaxed)
    }

    /// Whether `keys` are still the issuer's and fresh. Starts a renewal when they are ageing. Cheap: this is the warm path.
    pub(crate) fn verifies_with(self: &Arc<Self>, keys: &Arc<KeySet>, now: UnixMillis) -> bool {
        let state = self.state.load();
        state
            .as_ref()
            .is_some_and(|fetched| Arc::ptr_eq(&fetched.keys, keys) && self.usable_at_once(fetched, now))
    }

    /// Whether a call may use these keys without waiting. If they are not fresh, a renewal begins beside the call.
    fn usable_at_once(self: &Arc<Self>, fetched: &Arc<Fetched>, now: UnixMillis) -> bool {
        match self.age(fetched, now) {
            Age::Fresh => return true,
            Age::Ageing => {}
            // The issuer is down: waiting for it on every call would make its outage ours.
            Age::Old if self.failed.load(Ordering::Relaxed) => {}
            Age::Old | Age::TooOld => return false,
        }
        self.renew_in_background(fetched, now);
        true
    }

    /// The issuer's keys.
    ///
    /// # Errors
    /// `IssuerUnreachable` when there are none, or only ones older than [`Limits::stale_after`], and `Overloaded` when too many wait
    /// for them.
    pub(crate) async fn keys(self: &Arc<Self>, now: UnixMillis) -> Result<Arc<KeySet>, Refusal> {
        let seen = self.state.load_full();
        if let Some(fetched) = seen.as_ref().filter(|fetched| self.usable_at_once(fetched, now)) {
            return Ok(fetched.keys.clone());
        }
        self.renew(seen.as_ref(), now).await?;
        self.usable(now)
    }

    /// Keys newer than `seen`, which lack the key of some token: the issuer may have rotated. Tokens with invented key ids cannot
    /// make us ask more often than once in [`Limits::refetch_after`]. During that pause this returns the keys there are.
    pub(crate) async fn newer(
        self: &Arc<Self>,
        seen: &Arc<KeySet>,
        now: UnixMillis,
    ) -> Result<Arc<KeySet>, Refusal> {
        let state = self.state.load_full();
        if state.as_ref().is_some_and(|fetched| Arc::ptr_eq(&fetched.keys, seen)) {
            self.renew(state.as_ref(), now).await?;
        }
        self.usable(now)
    }

    fn usable(&self, now: UnixMillis) -> Result<Arc<KeySet>, Refusal> {
        let state: Guard<Option<Arc<Fetched>>> = self.state.load();
        match state.as_ref() {
            Some(fetched) if self.age(fetched, now) != Age::TooOld => Ok(fetched.keys.clone()),
            _ => Err(self.unreachable()),
        }
    }

    fn unreachable(&self) -> Refusal {
        let message = format!("the keys of issuer {} could not be fetched", shown(&self.issuer));
        let refusal = Refusal::new(Code::IssuerUnreachable, message);
        match self.last_error.load_full() {
            Some(error) => refusal.with_detail(error),
            None => refusal.with_detail("no answer yet"),
        }
    }

    fn age(&self, fetched: &Fetched, now: UnixMillis) -> Age {
        // A clock that was set back must not make keys young again.
        let age = now.0.saturating_sub(fetched.at.0).unsigned_abs();
        let past = |limit: std::time::Duration| u128::from(age) >= limit.as_millis();
        match () {
            () if past(self.limits.stale_after) => Age::TooOld,
            () if past(self.limits.refresh_after.saturating_mul(2)) => Age::Old,
            () if past(self.limits.refresh_after) => Age::Ageing,
            () => Age::Fresh,
        }
    }

    fn pausing(&self, now: UnixMillis) -> bool {
        let pause = if self.failed.load(Ordering::Relaxed) {
            self.limits.retry_after
        } else {
            self.limits.refetch_after
        };
        let since = now.0.saturating_sub(self.attempted.load(Ordering::Relaxed)).unsigned_abs();
        u128::from(since) < pause.as_millis()
    }

    fn renew_in_background(self: &Arc<Self>, seen: &Arc<Fetched>, now: UnixMillis) {
        drop(self.begin(Some(seen), now));
    }

    /// Waits for a fetch: the one that is under way, or a new one. Who waits for too long goes on without, and the fetch goes on for
    /// those who come later.
    async fn renew(self: &Arc<Self>, seen: Option<&Arc<Fetched>>, now: UnixMillis) -> Result<(), Refusal> {
        let Some(mut under_way) = self.begin(seen, now) else { return Ok(()) };
        let Ok(_place) = self.places.try_acquire() else {
            let message = format!("too many calls wait for the keys of issuer {}", shown(&self.issuer));
            return Err(Refusal::new(Code::Overloaded, message));
        };
        // The channel carries nothing; that it is closed is the word.
        let _ended = tokio::time::timeout(self.limits.wait, under_way.changed()).await;
        Ok(())
    }

    /// The fetch that is under way, or one that begins now; `None` where keys newer than `seen` are there already, or it was asked
    /// too lately. It is a task of its own: a caller that goes away neither stops it for the others nor restarts it for the next.
    fn begin(self: &Arc<Self>, seen: Option<&Arc<Fetched>>, now: UnixMillis) -> Option<watch::Receiver<()>> {
        let mut under_way = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(running) = under_way.as_ref().filter(|running| running.has_changed().is_ok()) {
            return Some(running.clone());
        }
        let current = self.state.load_full();
        let renewed_meanwhile = match (&current, seen) {
            (Some(current), Some(seen)) => !Arc::ptr_eq(current, seen),
            (current, seen) => current.is_some() != seen.is_some(),
        };
        if renewed_meanwhile || self.pausing(now) {
            return None;
        }
        self.attempted.store(now.0, Ordering::Relaxed);
        let (ends, ended) = watch::channel(());
        let this = self.clone();
        tokio::spawn(async move {
            this.fetch_once(current, now).await;
            drop(ends);
        });
        Some(under_way.insert(ended).clone())
    }

    async fn fetch_once(&self, current: Option<Arc<Fetched>>, now: UnixMillis) {
        match self.fetch(current, now).await {
            Ok(fetched) => {
                self.failed.store(false, Ordering::Relaxed);
                self.last_error.store(None);
                self.state.store(Some(Arc::new(fetched)));
            }
            Err(error) => {
                tracing::warn!(issuer = &*self.issuer, %error, "cannot fetch the issuer's keys");
                self.failed.store(true, Ordering::Relaxed);
                self.last_error.store(Some(Arc::new(error)));
            }
        }
    }

    /// From the API server, where there is one. What it does not have may be published: of managed clusters the issuer is often an address of the
    /// provider, where nobody is shown a credential.
    async fn key_set(&self) -> Result<(String, Bytes), FetchError> {
        let Some(server) = &self.api_server else { return self.fetcher.key_set(&self.issuer).await };
        match api_server::key_set(&**server, &self.issuer, self.limits.timeout).await {
            Ok(found) => Ok(found),
            Err(error) => self.fetcher.key_set(&self.issuer).await.map_err(|published| FetchError::Nowhere {
                server: Box::new(error),
                published: Box::new(published),
            }),
        }
    }

    async fn fetch(&self, current: Option<Arc<Fetched>>, now: UnixMillis) -> Result<Fetched, FetchError> {
        let (url, body) = self.key_set().await?;
        let mut document = [0; 32];
        document.copy_from_slice(digest(&SHA256, &body).as_ref());
        // The same document keeps the same keys, so that verified tokens stay known.
        let keys = match current {
            Some(current) if current.document == document => current.keys.clone(),
            _ => Arc::new(KeySet::parse(&body).map_err(|source| FetchError::Keys { url, source })?),
        };
        Ok(Fetched { keys, document, at: now })
    }
}

#[cfg(test)]
mod tests {
    use rustls::RootCertStore;
    use vidimus_testkit::issuer::{Algorithm, FakeIssuer};

    use super::*;

    /// Or all tokens that are known would have to be verified again whenever keys are renewed.
    #[tokio::test]
    async fn the_same_document_keeps_the_same_keys() {
        let (issuer, limits) = (FakeIssuer::start(), Limits::default());
        let fetcher = Fetcher::new(RootCertStore::empty(), limits.timeout, false).unwrap();
        let remote = Arc::new(Remote::new(issuer.issuer().into(), fetcher, limits));
        let old = |times: i32| {
            UnixMillis(i64::try_from((limits.refresh_after * 2).as_millis()).unwrap() * i64::from(times))
        };
        let first = remote.keys(old(0)).await.unwrap();
        let again = remote.keys(old(1)).await.unwrap();
        assert_eq!(issuer.jwks_requests(), 2);
        assert!(Arc::ptr_eq(&first, &again));
        issuer.add_key(Algorithm::Es256);
        assert!(!Arc::ptr_eq(&first, &remote.keys(old(2)).await.unwrap()));
    }
}
