//! The credential cache: credentials that were verified before. A hit costs one hash and a few comparisons. Everything that can
//! have changed since is checked again: the time, the issuer's keys, the configuration.

use std::sync::Arc;

use aws_lc_rs::digest::{Context, SHA256};
use quick_cache::sync::Cache;
use vidimus_core::caller::{Proven, UnixMillis};
use vidimus_core::refusal::Refusal;
use vidimus_core::snapshot::Snapshot;

use super::Evidence;
use super::keys::KeySet;
use super::source::Source;
use super::verified::Verified;

/// The maximum number of cached credentials, of 1 to 2 KiB each. When the cache is full, those that are seldom used are dropped and
/// have to be verified again.
const MAX_CREDENTIALS: usize = 8192;

/// SHA-256 of what a caller presents. It is the digest and not the token for two reasons. Memory then holds no usable credential.
/// And nobody can choose a digest, so the time that a comparison takes tells nothing about another caller's token.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct CacheKey([u8; 32]);

impl CacheKey {
    pub(crate) fn of(evidence: &Evidence<'_>) -> Self {
        let bearer = evidence.bearer.unwrap_or_default();
        let mut context = Context::new(&SHA256);
        // The length keeps bearer and peer apart. An absent and an empty bearer have the same key, which does no harm: an empty one
        // is never verified, so it is never cached.
        context.update(&bearer.len().to_le_bytes());
        context.update(bearer.as_bytes());
        if let Some(peer) = evidence.peer {
            // Of this certificate and its end: what is proven ends with it, and another one of the same ID is of another copy.
            context.update(&peer.not_after.0.to_le_bytes());
            context.update(&peer.fingerprint);
        }
        let mut key = [0; 32];
        key.copy_from_slice(context.finish().as_ref());
        Self(key)
    }
}

/// A verified bearer token and the keys that verified it.
#[derive(Clone, Debug)]
pub(crate) struct Trusted {
    pub(crate) verified: Arc<Verified>,
    pub(crate) source: Source,
    pub(crate) keys: Arc<KeySet>,
}

/// One cached credential.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    /// `None` when the peer's SVID alone was presented.
    pub(crate) bearer: Option<Trusted>,
    /// Digest of the configuration that bound it.
    pub(crate) snapshot: Arc<str>,
    pub(crate) proven: Arc<Proven>,
}

/// What of a cached credential may be used again now.
#[derive(Debug)]
pub(crate) enum Reuse {
    /// All of it: whom it proves.
    Proven(Arc<Proven>),
    /// The verified token. The configuration changed, so whom it proves must be looked up again.
    Token(Trusted),
    /// Nothing: the keys changed, so it must be verified again.
    Nothing,
}

impl Entry {
    /// What of it may be used at `now`, under `snapshot`.
    ///
    /// # Errors
    /// When the token's time is over, or lies ahead.
    pub(crate) fn reuse(&self, snapshot: &Snapshot, now: UnixMillis) -> Result<Reuse, Refusal> {
        if let Some(trusted) = &self.bearer {
            trusted.verified.times().check(now)?;
            if !trusted.source.verifies_with(&trusted.keys, now) {
                return Ok(Reuse::Nothing);
            }
        }
        if *self.snapshot == *snapshot.digest() {
            return Ok(Reuse::Proven(self.proven.clone()));
        }
        Ok(self.bearer.clone().map_or(Reuse::Nothing, Reuse::Token))
    }
}

/// The cached credentials, bounded by [`MAX_CREDENTIALS`].
#[derive(Debug)]
pub(crate) struct CredentialCache(Cache<CacheKey, Arc<Entry>>);

impl CredentialCache {
    pub(crate) fn new() -> Self {
        Self(Cache::new(MAX_CREDENTIALS))
    }

    pub(crate) fn get(&self, key: CacheKey) -> Option<Arc<Entry>> {
        self.0.get(&key)
    }

    pub(crate) fn insert(&self, key: CacheKey, entry: Entry) {
        self.0.insert(key, Arc::new(entry));
    }

    pub(crate) fn remove(&self, key: CacheKey) {
        self.0.remove(&key);
    }
}

impl std::fmt::Debug for CacheKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("CacheKey")
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use vidimus_core::resource::{Object, Origin, Principal, check};

    use super::*;

    #[test]
    fn what_is_over_is_not_kept_and_a_key_shows_nothing() {
        let service = json!({
            "apiVersion": "vidimus.dev/v1alpha1", "kind": "ServiceIdentity", "metadata": { "name": "s", "namespace": "a" },
            "spec": { "owner": "a@b.example", "team": "t", "riskLevel": "low", "identities": [{ "spiffe": "spiffe://a.example/s" }] },
        });
        let Ok(Object::Service(service)) = check(&Origin::default(), &service) else { panic!("a service") };
        let (principal, identity) = (Principal::Service(service), "spiffe://a.example/s".into());
        let proven = Arc::new(Proven {
            principal,
            identity,
            user: None,
            delegated: None,
            instance: None,
            expires: None,
        });
        let evidence = Evidence { bearer: Some("x"), peer: None, route: "/", now: UnixMillis(1) };
        let (cache, key) = (CredentialCache::new(), CacheKey::of(&evidence));
        assert!(cache.get(key).is_none());
        cache.insert(key, Entry { bearer: None, snapshot: "".into(), proven });
        assert!(cache.get(key).is_some());
        cache.remove(key);
        assert!(cache.get(key).is_none());
        assert_eq!(format!("{key:?}"), "CacheKey");
    }
}
