//! What differs from what was pinned of the tools of a server (`vidimus pin`, ADR 76).

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

/// A tool that is not what is pinned.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Drift {
    /// The tool.
    pub tool: String,
    /// The digest that is pinned; `None` where the tool is not pinned.
    pub pinned: Option<String>,
    /// The digest of what the server says; `None` where it does not list the tool.
    pub is: Option<String>,
}

/// The tools that are not what is pinned, by their digests; sorted by name.
pub fn drifts(pinned: &BTreeMap<String, String>, listed: &BTreeMap<String, String>) -> Vec<Drift> {
    let names: BTreeSet<&String> = pinned.keys().chain(listed.keys()).collect();
    let drift = |name: &String| Drift {
        tool: name.clone(),
        pinned: pinned.get(name).cloned(),
        is: listed.get(name).cloned(),
    };
    names.into_iter().map(drift).filter(|drift| drift.pinned != drift.is).collect()
}

/// What differs between two definitions, a line each: where, what was there, and what is there now.
pub fn differences(before: &Value, now: &Value) -> Vec<String> {
    let mut lines = Vec::new();
    let mut left = vec![(String::new(), Some(before), Some(now))];
    while let Some((at, before, now)) = left.pop() {
        match (before, now) {
            (before, now) if before == now => {}
            (Some(Value::Object(before)), Some(Value::Object(now))) => {
                let names: BTreeSet<&String> = before.keys().chain(now.keys()).collect();
                let below = |name: &String| format!("{at}/{}", name.replace('~', "~0").replace('/', "~1"));
                left.extend(names.into_iter().map(|name| (below(name), before.get(name), now.get(name))));
            }
            (before, now) => {
                let shown = |value: Option<&Value>| value.map_or("nothing".to_owned(), ToString::to_string);
                lines.push(format!("{at}: was {}, is {}", shown(before), shown(now)));
            }
        }
    }
    lines.sort_unstable();
    lines
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_differs_is_shown() {
        let map =
            |all: &[(&str, &str)]| all.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect();
        let drifts =
            drifts(&map(&[("a", "1"), ("b", "2"), ("c", "3")]), &map(&[("a", "1"), ("b", "4"), ("d", "5")]));
        let all: Vec<_> =
            drifts.iter().map(|one| (&*one.tool, one.pinned.as_deref(), one.is.as_deref())).collect();
        assert_eq!(all, [("b", Some("2"), Some("4")), ("c", Some("3"), None), ("d", None, Some("5"))]);
        let before = json!({"description": "Pays.", "inputSchema": {"properties": {"to": {}}}});
        let now = json!({"description": "Pays all.", "inputSchema": {"properties": {"to": {}, "bcc": {}}}});
        assert_eq!(
            differences(&before, &now),
            [
                "/description: was \"Pays.\", is \"Pays all.\"",
                "/inputSchema/properties/bcc: was nothing, is {}"
            ]
        );
    }
}
