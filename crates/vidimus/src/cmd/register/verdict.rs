//! What became of an object, by the conditions in its status.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What has to be `True`.
const WANTED: [&str; 2] = ["Accepted", "Programmed"];

/// One condition, as in `metav1.Condition`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Condition {
    #[serde(rename = "type")]
    pub(super) of: String,
    pub(super) status: String,
    #[serde(default)]
    pub(super) reason: String,
    #[serde(default)]
    pub(super) message: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) observed_generation: Option<i64>,
}

/// What is known of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is accepted, and in force.
    InForce,
    /// It is not, and it is said why.
    Refused,
    /// Nothing is said of this version of it.
    Untold,
}

/// The conditions that are of the object's present version.
pub(super) fn conditions(object: &Value) -> Vec<Condition> {
    let generation = object.pointer("/metadata/generation").and_then(Value::as_i64);
    let all = object.pointer("/status/conditions").and_then(Value::as_array);
    let read = all.into_iter().flatten().filter_map(|one| Condition::deserialize(one).ok());
    // One without a generation may be of a version that was there before.
    read.filter(|one| generation.is_some() && one.observed_generation == generation).collect()
}

pub(super) fn verdict(conditions: &[Condition]) -> Verdict {
    let status = |of: &str| conditions.iter().find(|one| one.of == of).map(|one| &*one.status);
    let wanted = WANTED.map(status);
    match wanted {
        [Some("True"), Some("True")] => Verdict::InForce,
        _ if wanted.contains(&Some("False")) => Verdict::Refused,
        _ => Verdict::Untold,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn one(of: &str, status: &str, generation: i64) -> Value {
        json!({"type": of, "status": status, "reason": "R", "message": "m", "observedGeneration": generation})
    }

    #[test]
    fn what_is_said_of_another_version_says_nothing() {
        for (said, expected) in [
            (json!([one("Accepted", "True", 2), one("Programmed", "True", 2)]), Verdict::InForce),
            (json!([one("Accepted", "True", 1), one("Programmed", "True", 2)]), Verdict::Untold),
            (json!([one("Accepted", "True", 1), one("Programmed", "True", 1)]), Verdict::Untold),
            (json!([one("Accepted", "False", 1), one("Programmed", "False", 1)]), Verdict::Untold),
            (json!([one("Accepted", "False", 2)]), Verdict::Refused),
            (json!([one("Accepted", "True", 2), one("Programmed", "False", 2)]), Verdict::Refused),
            (json!([one("Accepted", "True", 2), one("Programmed", "Unknown", 2)]), Verdict::Untold),
            (json!([one("Ready", "True", 2)]), Verdict::Untold),
            (json!([{"type": "Accepted", "status": "True"}, one("Programmed", "True", 2)]), Verdict::Untold),
            (json!([7, {}, one("Accepted", "True", 2), one("Programmed", "True", 2)]), Verdict::InForce),
            (json!(null), Verdict::Untold),
        ] {
            let object = json!({"metadata": {"generation": 2}, "status": {"conditions": said}});
            assert_eq!(verdict(&conditions(&object)), expected, "{said}");
        }
        let without = json!({"status": {"conditions": [{"type": "Accepted", "status": "True"}]}});
        assert_eq!(conditions(&without), []);
    }
}
