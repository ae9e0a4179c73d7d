//! The keys of hops' tokens, and how one follows another.
//!
//! A key signs for [`KEY_LIFE`]. The one after it is made and published [`KEY_LEAD`] earlier, so that upstreams that keep a copy
//! of the key set have it when it begins to sign; the one before it stays published until its last token has ended. So there are
//! three keys at most. All that is needed to go on is in files: a restart changes nothing, and processes that share the directory
//! share the keys: what belongs together in the files is read and written under one lock, so that nobody writes over what another
//! process has just written, and nobody reads half of a turn.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use secrecy::ExposeSecret as _;
use serde::{Deserialize, Serialize};
use vidimus_core::caller::UnixMillis;

use super::files::{self, KeyFileError};
use super::key::{self, PublicJwk, SigningKey, jwk_set};
use super::mint::{MAX_HOP_TTL, TYPE};
use crate::prove::keys::KeySet;

/// How long a key signs, at least; longer where nobody turns the keys meanwhile.
pub const KEY_LIFE: Duration = Duration::from_secs(30 * 24 * 3600);
/// How long a key is published before it signs, at least.
pub const KEY_LEAD: Duration = Duration::from_secs(24 * 3600);
/// How often the keys should be looked at ([`super::mint::Mint::turn_keys`]).
pub const KEY_LOOK: Duration = Duration::from_secs(60);
/// How long a key stays published that signs no more: the longest token it signed, as much for clocks that differ, and a process
/// that learns of it one look later.
const RETIRED: Duration = Duration::from_secs(MAX_HOP_TTL.as_secs() + 60 + KEY_LOOK.as_secs());

const KEY_FILE: &str = "hop-key.pem";
const NEXT_FILE: &str = "hop-key-next.pem";
const SCHEDULE_FILE: &str = "hop-keys.json";
const LOCK_FILE: &str = "hop-keys.lock";

/// The keys of one time.
#[derive(Debug)]
pub(super) struct Keys {
    pub(super) current: SigningKey,
    next: Option<PublicJwk>,
    schedule: Option<Schedule>,
    pub(super) published: Arc<KeySet>,
    pub(super) jwks: String,
}

/// What the key files do not say. Times in Unix milliseconds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Schedule {
    /// The key id of the key that signs, so that it can be told whether this is about it.
    current: String,
    /// Since when it signs.
    since: i64,
    /// Since when the next key is published.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    next_since: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    previous: Option<Retired>,
}

/// A key that signs no more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Retired {
    key: PublicJwk,
    /// Until when it is published.
    until: i64,
}

impl Keys {
    /// What is in `directory`. The first key is made on first use.
    pub(super) fn open(directory: &Path) -> Result<Self, KeyFileError> {
        let _locked = files::lock(&directory.join(LOCK_FILE))?;
        Self::read(directory)
    }

    /// Does what is due at `now`, in the files, and gives what is then in them.
    pub(super) fn turned(directory: &Path, now: UnixMillis) -> Result<Self, KeyFileError> {
        let _locked = files::lock(&directory.join(LOCK_FILE))?;
        Self::read(directory)?.turn(directory, now)?;
        Self::read(directory)
    }

    /// Those that several gateways share: `current` signs, and `all` are published.
    pub(super) fn shared(
        place: &Path,
        current: SigningKey,
        all: &[&PublicJwk],
    ) -> Result<Self, KeyFileError> {
        let jwks = jwk_set(all);
        let published = Arc::new(publish(place, &jwks)?);
        Ok(Self { current, next: None, schedule: None, published, jwks })
    }

    /// Whether what is in `directory` can be read; nothing is made.
    pub(super) fn look(directory: &Path) -> Result<(), KeyFileError> {
        for name in [KEY_FILE, NEXT_FILE] {
            let path = directory.join(name);
            if let Some(pem) = files::read(&path, files::PRIVATE)? {
                SigningKey::from_pem(&path, &pem, TYPE)?;
            }
        }
        let previous = Schedule::read(directory)?.and_then(|schedule| schedule.previous);
        previous.map_or(Ok(()), |previous| publish(directory, &jwk_set(&[&previous.key])).map(drop))
    }

    fn read(directory: &Path) -> Result<Self, KeyFileError> {
        let current = SigningKey::open(&directory.join(KEY_FILE), TYPE)?;
        let path = directory.join(NEXT_FILE);
        let next = files::read(&path, files::PRIVATE)?;
        let next = next.map(|pem| SigningKey::from_pem(&path, &pem, TYPE)).transpose()?.map(|key| key.public);
        let schedule = Schedule::read(directory)?;
        let previous = schedule.as_ref().and_then(|schedule| schedule.previous.as_ref());
        let others = next.iter().chain(previous.map(|previous| &previous.key));
        // A turn that was interrupted has written the present key as the previous one.
        let others = others.filter(|other| other.kid != current.public.kid);
        let all: Vec<&PublicJwk> = std::iter::once(&current.public).chain(others).collect();
        let jwks = jwk_set(&all);
        let published = publish(directory, &jwks)?;
        Ok(Self { current, next, schedule, published: Arc::new(published), jwks })
    }

    /// Does what is due at `now`, in the files. What is then in them is to be read again.
    fn turn(&self, directory: &Path, now: UnixMillis) -> Result<(), KeyFileError> {
        let mut schedule = self.schedule_at(now.0);
        let age = now.0.saturating_sub(schedule.since);
        if self.next.is_none() {
            schedule.next_since = None;
            if age >= millis(KEY_LIFE) - millis(KEY_LEAD) {
                let path = directory.join(NEXT_FILE);
                files::read_or_create(&path, files::PRIVATE, || key::generate(&path))?;
                schedule.next_since = Some(now.0);
            }
        } else {
            let published = *schedule.next_since.get_or_insert(now.0);
            if age >= millis(KEY_LIFE) && now.0.saturating_sub(published) >= millis(KEY_LEAD) {
                return self.follow(directory, schedule, now.0);
            }
        }
        schedule.write_over(self.schedule.as_ref(), directory)
    }

    /// The next key takes the place of the current one, which is written down as the previous one first.
    fn follow(&self, directory: &Path, mut schedule: Schedule, now: i64) -> Result<(), KeyFileError> {
        let until = now.saturating_add(millis(RETIRED));
        schedule.previous = Some(Retired { key: self.current.public.clone(), until });
        schedule.write_over(self.schedule.as_ref(), directory)?;
        files::rename(&directory.join(NEXT_FILE), &directory.join(KEY_FILE))?;
        let kid = self.next.as_ref().map(|next| next.kid.clone()).unwrap_or_default();
        Schedule { current: kid, since: now, next_since: None, ..schedule }.write_over(None, directory)
    }

    /// The schedule as it holds at `now`. One that is about another key was interrupted before it could be about this one; a time
    /// that lies ahead is of a clock that was wrong.
    fn schedule_at(&self, now: i64) -> Schedule {
        let kid = &self.current.public.kid;
        let found = self.schedule.as_ref();
        let (since, next_since) = match found {
            Some(schedule) if schedule.current == *kid => (schedule.since, schedule.next_since),
            _ => (now, None),
        };
        let previous = found.and_then(|schedule| schedule.previous.clone());
        let previous = previous.map(|Retired { key, until }| Retired {
            key,
            until: until.min(now.saturating_add(millis(RETIRED))),
        });
        Schedule {
            current: kid.clone(),
            since: since.min(now),
            next_since: next_since.map(|since| since.min(now)),
            previous: previous.filter(|previous| previous.until > now && previous.key.kid != *kid),
        }
    }
}

fn publish(directory: &Path, jwks: &str) -> Result<KeySet, KeyFileError> {
    KeySet::parse(jwks.as_bytes()).map_err(|error| KeyFileError::Content {
        path: directory.join(SCHEDULE_FILE),
        expected: "public keys",
        reason: error.to_string(),
    })
}

impl Schedule {
    fn read(directory: &Path) -> Result<Option<Self>, KeyFileError> {
        let path = directory.join(SCHEDULE_FILE);
        let Some(text) = files::read(&path, files::PUBLIC)? else { return Ok(None) };
        let read = serde_json::from_str(text.expose_secret());
        read.map(Some).map_err(|error| KeyFileError::Content {
            path,
            expected: "the schedule of the hop keys",
            reason: error.to_string(),
        })
    }

    /// Writes it, where it is another than there is.
    fn write_over(&self, there: Option<&Self>, directory: &Path) -> Result<(), KeyFileError> {
        if there == Some(self) {
            return Ok(());
        }
        let text = serde_json::json!(self).to_string();
        files::replace(&directory.join(SCHEDULE_FILE), files::PUBLIC, &text.into())
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
