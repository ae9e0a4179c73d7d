//! What a registered object was and what it is, by the record of its change. That has the digests alone: the texts are with the configurations that
//! decided, and each is held to its digest when it is read.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::Value;
use vidimus_core::act::Act;
use vidimus_core::record::Record;
use vidimus_query::audit::ShownRecord;
use vidimus_registry::configurations::Archive;

/// An object before a change and after it.
#[derive(Debug, Serialize)]
pub(super) struct Change {
    before: Side,
    after: Side,
}

/// One of the two.
#[derive(Debug, Serialize)]
#[serde(rename_all = "lowercase")]
enum Side {
    /// There was none, or it could not be read when the change was recorded.
    None,
    /// Its document.
    Kept(Value),
    /// Why there is no document of it any more.
    Unread(String),
}

impl Change {
    /// Of the change that a record is of; `None` where it is of none.
    pub(super) fn told(configurations: &Archive, shown: &ShownRecord) -> Option<Self> {
        let Some(Record::Act(record)) = &shown.kept else { return None };
        let Act::Register(it) = &record.act else { return None };
        let side =
            |digest: Option<&str>| digest.map_or(Side::None, |digest| Side::of(configurations, digest));
        Some(Self { before: side(it.before.as_deref()), after: side(it.after.as_deref()) })
    }

    /// What is different, by its place in the document: `-` what it was, `+` what it is.
    pub(super) fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for (name, side) in [("before", &self.before), ("after", &self.after)] {
            if let Side::Unread(why) = side {
                lines.push(format!("{name}: {why}"));
            }
        }
        let (before, after) = (self.before.members(), self.after.members());
        let places: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
        for place in places {
            let (was, is) = (before.get(place), after.get(place));
            if was != is {
                lines.extend(was.map(|value| format!("- {place}: {value}")));
                lines.extend(is.map(|value| format!("+ {place}: {value}")));
            }
        }
        lines
    }
}

impl Side {
    fn of(configurations: &Archive, digest: &str) -> Self {
        let text = match configurations.text(digest.strip_prefix("sha256:").unwrap_or(digest)) {
            Ok(text) => text,
            Err(error) => {
                let kept = "it is kept as long as a record names a configuration that has it";
                return Self::Unread(format!("{digest}: {error}; {kept}"));
            }
        };
        serde_json::from_slice(&text).map_or_else(|error| Self::Unread(error.to_string()), Self::Kept)
    }

    /// Each value that has none in it, by its place.
    fn members(&self) -> BTreeMap<String, String> {
        let mut all = BTreeMap::new();
        if let Self::Kept(document) = self {
            add(String::new(), document, &mut all);
        }
        all
    }
}

/// How deep a document is was looked at when it was registered.
fn add(place: String, value: &Value, all: &mut BTreeMap<String, String>) {
    match value {
        Value::Object(members) if !members.is_empty() => {
            for (name, value) in members {
                let below = if place.is_empty() { name.clone() } else { format!("{place}.{name}") };
                add(below, value, all);
            }
        }
        Value::Array(items) if !items.is_empty() => {
            for (at, value) in items.iter().enumerate() {
                add(format!("{place}[{at}]"), value, all);
            }
        }
        value => {
            all.insert(place, value.to_string());
        }
    }
}
