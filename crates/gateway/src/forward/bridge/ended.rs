//! Which sessions of the gateway's own have ended. Their ids say all that there is to know of them, but for that.

use quick_cache::sync::Cache;

/// How many ends are kept, of all callers together: beyond that a session that has ended may go on, and only its own caller can go on with it.
const MOST: usize = 65_536;

/// The numbers of those that have ended here.
pub(super) struct Ended(Cache<String, ()>);

impl Default for Ended {
    fn default() -> Self {
        Self(Cache::new(MOST))
    }
}

impl Ended {
    /// The session of this number ends.
    pub(super) fn note(&self, number: &str) {
        self.0.insert(number.to_owned(), ());
    }

    pub(super) fn has(&self, number: &str) -> bool {
        self.0.get(number).is_some()
    }
}
