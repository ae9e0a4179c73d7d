//! What became of an object, by the conditions in its status, as far as the gateway wrote them.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use vidimus_cluster::FIELD_MANAGER;

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
    /// The field managers that wrote its `status`, by the API server's `managedFields`.
    #[serde(default, skip_deserializing)]
    pub(super) written_by: Vec<String>,
}

impl Condition {
    /// Whether the gateway says so. A name of a manager is what a writer calls itself: this tells what was written by something else, or by
    /// hand, and not a forger who calls itself as the gateway does.
    pub(super) fn is_of_gateway(&self) -> bool {
        self.written_by.iter().any(|manager| manager == FIELD_MANAGER)
    }
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
    let read = all.into_iter().flatten().filter_map(|one| {
        let read = Condition::deserialize(one).ok()?;
        Some(Condition { written_by: writers(object, &read.of), ..read })
    });
    // One without a generation may be of a version that was there before.
    read.filter(|one| generation.is_some() && one.observed_generation == generation).collect()
}

/// The managers that own the `status` of a condition of this type. Conditions are a list by type, so each has its own.
fn writers(object: &Value, of: &str) -> Vec<String> {
    let is_of = |key: &str| {
        let key = key.strip_prefix("k:").and_then(|key| serde_json::from_str::<Value>(key).ok());
        key.is_some_and(|key| key.get("type").and_then(Value::as_str) == Some(of))
    };
    let owns = |entry: &Value| {
        let conditions = entry.pointer("/fieldsV1/f:status/f:conditions").and_then(Value::as_object);
        conditions.into_iter().flatten().any(|(key, fields)| is_of(key) && fields.get("f:status").is_some())
    };
    let entries = object.pointer("/metadata/managedFields").and_then(Value::as_array);
    let mut writers: Vec<String> = entries
        .into_iter()
        .flatten()
        .filter(|entry| entry.get("subresource").and_then(Value::as_str) == Some("status") && owns(entry))
        .filter_map(|entry| entry.get("manager").and_then(Value::as_str).map(str::to_owned))
        .collect();
    writers.sort();
    writers.dedup();
    writers
}

/// What something else wrote into a status says nothing.
pub(super) fn verdict(conditions: &[Condition]) -> Verdict {
    let said = || conditions.iter().filter(|one| one.is_of_gateway());
    let status = |of: &str| said().find(|one| one.of == of).map(|one| &*one.status);
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

    fn managed(manager: &str, subresource: &str, of: &[&str]) -> Value {
        let key =
            |of: &&str| (format!(r#"k:{{"type":"{of}"}}"#), json!({".": {}, "f:status": {}, "f:type": {}}));
        let conditions: serde_json::Map<String, Value> = of.iter().map(key).collect();
        json!({
            "manager": manager, "operation": "Apply", "subresource": subresource, "fieldsType": "FieldsV1",
            "fieldsV1": {"f:status": {"f:conditions": conditions, "f:observedGeneration": {}}},
        })
    }

    /// Attack: who may write the status of an object says that it is in force, where no gateway is, or one that refused it.
    #[test]
    fn what_something_else_wrote_into_a_status_says_nothing() {
        let both = ["Accepted", "Programmed"];
        let by = |manager: &str| managed(manager, "status", &both);
        for (managed, expected, writers) in [
            (json!([by("vidimus")]), Verdict::InForce, vec!["vidimus"]),
            // The same was written by hand too: the gateway says it all the same.
            (json!([by("kubectl-edit"), by("vidimus")]), Verdict::InForce, vec!["kubectl-edit", "vidimus"]),
            (json!([by("kubectl-edit")]), Verdict::Untold, vec!["kubectl-edit"]),
            (json!([by("vidimus-register")]), Verdict::Untold, vec!["vidimus-register"]),
            (json!([by("Vidimus")]), Verdict::Untold, vec!["Vidimus"]),
            // What the gateway owns is not the status itself, or not of all.
            (json!([managed("vidimus", "", &both)]), Verdict::Untold, vec![]),
            (
                json!([managed("vidimus", "status", &["Programmed"]), managed("x", "status", &["Accepted"])]),
                Verdict::Untold,
                vec!["x"],
            ),
            (
                json!([{"manager": "vidimus", "subresource": "status", "fieldsV1": {"f:status": {"f:conditions": {"k:x": {}, "v:1": 7}}}}, 7]),
                Verdict::Untold,
                vec![],
            ),
            (json!(null), Verdict::Untold, vec![]),
        ] {
            let metadata = json!({"generation": 2, "managedFields": managed});
            let said = json!([one("Accepted", "True", 2), one("Programmed", "True", 2)]);
            let found = conditions(&json!({"metadata": metadata, "status": {"conditions": said}}));
            assert_eq!(verdict(&found), expected, "{managed}");
            assert_eq!(found[0].written_by, writers, "{managed}");
        }
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
            let managed = json!([managed("vidimus", "status", &["Accepted", "Programmed"])]);
            let metadata = json!({"generation": 2, "managedFields": managed});
            let object = json!({"metadata": metadata, "status": {"conditions": said}});
            assert_eq!(verdict(&conditions(&object)), expected, "{said}");
        }
        let without = json!({"status": {"conditions": [{"type": "Accepted", "status": "True"}]}});
        assert_eq!(conditions(&without), []);
    }
}
