//! The attribute values that decided, as an object of JSON.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use serde::de::{MapAccess, Visitor};
use serde::{Deserializer, Serializer};

use crate::json::canonical::utf16_order;

type Facts<'a> = Cow<'a, [(Arc<str>, Arc<str>)]>;

/// They come sorted and each once; where they do not, they are made so, because a member that is there twice is not JSON that
/// everybody reads alike.
pub(super) fn serialize<S: Serializer>(facts: &Facts<'_>, serializer: S) -> Result<S::Ok, S::Error> {
    if facts.is_sorted_by(|(a, _), (b, _)| utf16_order(a, b).is_lt()) {
        return serializer.collect_map(facts.iter().map(|(name, value)| (name, value)));
    }
    let mut sorted: Vec<_> = facts.iter().collect();
    sorted.sort_by(|(a, _), (b, _)| utf16_order(a, b));
    sorted.dedup_by(|(a, _), (b, _)| a == b);
    serializer.collect_map(sorted.into_iter().map(|(name, value)| (name, value)))
}

pub(super) fn deserialize<'a, 'de, D: Deserializer<'de>>(deserializer: D) -> Result<Facts<'a>, D::Error> {
    struct Members;
    impl<'de> Visitor<'de> for Members {
        type Value = Vec<(Arc<str>, Arc<str>)>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object of texts")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Self::Value, A::Error> {
            let mut facts = Vec::new();
            while let Some(fact) = members.next_entry()? {
                facts.push(fact);
            }
            Ok(facts)
        }
    }
    deserializer.deserialize_map(Members).map(Cow::Owned)
}
