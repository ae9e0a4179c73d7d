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
                let below = match (is_plain(name), place.is_empty()) {
                    (false, _) => format!("{place}[{name:?}]"),
                    (true, true) => name.clone(),
                    (true, false) => format!("{place}.{name}"),
                };
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

/// Whether a name stands in a place as it is. Any other one is quoted, so that no two values have one place.
fn is_plain(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_/$".contains(&byte))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Attack: members whose names are the places of others, behind which a change of those is not seen.
    #[test]
    fn each_value_has_a_place_of_its_own() {
        let document = |id: &str| json!({"get": {"operationId": id, "tags": [id]}, "get.operationId": "z", "get.tags[0]": "z"});
        let change = Change { before: Side::Kept(document("a")), after: Side::Kept(document("b")) };
        let expected = [
            r#"- get.operationId: "a""#,
            r#"+ get.operationId: "b""#,
            r#"- get.tags[0]: "a""#,
            r#"+ get.tags[0]: "b""#,
        ];
        assert_eq!(change.lines(), expected);
        let labels = json!({"labels": {"app.kubernetes.io/name": "x"}});
        let change = Change { before: Side::None, after: Side::Kept(labels) };
        assert_eq!(change.lines(), [r#"+ labels["app.kubernetes.io/name"]: "x""#]);
    }
}
