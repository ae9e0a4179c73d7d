//! Which of the constants of a policy says most about the calls that it is about.

use super::{Key, Side, Test};

/// What a principal or a resource is, in so few words that many calls have the same: a constant of these makes a policy no narrower.
const BROAD: [&str; 5] = ["Namespace", "risk_level", "environment", "authority_class", "kind"];

impl Key {
    /// The narrowest of `keys`; `None` where each call of a namespace may have all of them.
    pub(crate) fn narrowest<'k>(keys: impl Iterator<Item = &'k Self>) -> Option<&'k Self> {
        let narrow = keys.filter(|key| !BROAD.contains(&&*key.constant.name));
        narrow.min_by_key(|key| match (key.constant.test, key.side) {
            (Test::Itself, _) => 0,
            (_, Side::Principal) => 1,
            (_, Side::Resource) => 2,
        })
    }
}
