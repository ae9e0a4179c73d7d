//! Which acts destroyed keys of kept payloads in the last days (ADR 55): each is done once at a gateway, however often it reads it, and a list
//! that begins anew has it again, for who was away.

use std::sync::Arc;

use super::{Standing, at};
use crate::act::BY_ITSELF;
use crate::record::ActRecord;

/// How long such an act is known, and stays in the list for who was away, in milliseconds.
const KNOWN: i64 = 30 * 24 * 3_600_000;

/// Most of them; beyond that the oldest is known no more.
const MOST: usize = 4096;

impl Standing {
    /// Whether this act is known to have destroyed keys: what is sealed by now was sealed after it.
    pub fn has_shredded(&self, id: &str) -> bool {
        self.shreds.contains_key(id)
    }

    /// Notes an act that destroys keys. What a gateway ended by itself is about keys that nobody else has.
    pub(super) fn note_shred(&mut self, record: &ActRecord<'_>) {
        if *record.actor == *BY_ITSELF {
            return;
        }
        self.forget_shreds(at(record));
        let record = ActRecord { shared: None, ..record.clone().into_owned() };
        self.shreds.insert(record.id.to_string(), Arc::new(record));
        if self.shreds.len() > MOST {
            let oldest = self.shreds.iter().min_by_key(|(_, record)| at(record)).map(|(id, _)| id.clone());
            oldest.and_then(|id| self.shreds.remove(&id));
        }
    }

    /// Whether such an act is so young that who was away may not know of it.
    pub(super) fn needs_shred(record: &ActRecord<'_>, now: i64) -> bool {
        *record.actor != *BY_ITSELF && now.saturating_sub(at(record)) < KNOWN
    }

    /// What nobody needs any more. A time that cannot be read is none by which anything is old.
    pub(super) fn forget_shreds(&mut self, now: i64) {
        if now < i64::MAX {
            self.shreds.retain(|_, record| Self::needs_shred(record, now));
        }
    }

    /// Those that who was away may not know of, oldest first.
    pub fn shreds(&self, now: i64) -> impl Iterator<Item = ActRecord<'static>> + '_ {
        let mut shreds: Vec<_> =
            self.shreds.values().filter(|record| Self::needs_shred(record, now)).collect();
        shreds.sort_by_key(|record| at(record));
        shreds.into_iter().map(|record| (**record).clone())
    }
}
