//! Credentials that were verified before. A hit costs one hash and a few comparisons, and is checked again for everything that
//! can have changed: the time, the issuer's keys, the configuration.

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

/// How many credentials are remembered, at 1 to 2 KiB each. When full, the ones used least are forgotten and verified anew.
pub(crate) const CAPACITY: usize = 8192;

/// SHA-256 of what was presented. The digest, not the token: memory holds no usable credential, and since nobody can choose a
/// digest, how long a comparison takes tells nothing about another caller's token.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Presented([u8; 32]);

impl Presented {
    pub(crate) fn of(evidence: &Evidence<'_>) -> Self {
        let bearer = evidence.bearer.unwrap_or_default();
        let mut context = Context::new(&SHA256);
        // The length keeps bearer and peer apart; an empty bearer never verifies, so absent and empty may be the same.
        context.update(&bearer.len().to_le_bytes());
        context.update(bearer.as_bytes());
        if let Some(peer) = evidence.peer {
            context.update(peer.spiffe_id.as_str().as_bytes());
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

/// One remembered credential.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    /// `None` when the peer's SVID alone was presented.
    pub(crate) bearer: Option<Trusted>,
    /// Digest of the configuration that bound it.
    pub(crate) snapshot: Arc<str>,
    pub(crate) proven: Arc<Proven>,
}

/// What a remembered credential is worth now.
#[derive(Debug)]
pub(crate) enum Worth {
    Proven(Arc<Proven>),
    /// The token still stands; the configuration changed, so whom it proves must be looked up again.
    Unbound(Trusted),
    /// The keys changed: verify anew.
    Nothing,
}

impl Entry {
    pub(crate) fn worth(&self, snapshot: &Snapshot, now: UnixMillis) -> Result<Worth, Refusal> {
        if let Some(trusted) = &self.bearer {
            trusted.verified.times().check(now)?;
            if !trusted.source.still(&trusted.keys, now) {
                return Ok(Worth::Nothing);
            }
        }
        if *self.snapshot == *snapshot.digest() {
            return Ok(Worth::Proven(self.proven.clone()));
        }
        Ok(self.bearer.clone().map_or(Worth::Nothing, Worth::Unbound))
    }
}

/// The remembered credentials, bounded by [`CAPACITY`].
#[derive(Debug)]
pub(crate) struct Remembered(Cache<Presented, Arc<Entry>>);

impl Remembered {
    pub(crate) fn new() -> Self {
        Self(Cache::new(CAPACITY))
    }

    pub(crate) fn get(&self, key: Presented) -> Option<Arc<Entry>> {
        self.0.get(&key)
    }

    pub(crate) fn insert(&self, key: Presented, entry: Entry) {
        self.0.insert(key, Arc::new(entry));
    }

    pub(crate) fn forget(&self, key: Presented) {
        self.0.remove(&key);
    }
}

impl std::fmt::Debug for Presented {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Presented")
    }
}
