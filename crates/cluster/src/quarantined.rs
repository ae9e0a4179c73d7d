//! Whether a record is quarantined, by itself or by an act, in the words of its status: the condition `Quarantined`. Who looks at pods without asking a
//! gateway reads it there (`vidimus admission`).

use serde_json::Value;

use crate::condition::Condition;

/// The name of the condition.
const QUARANTINED: &str = "Quarantined";

/// What is to be said of an object, where `there` is what its status says: that it is, or that it is not any more. Where that is not known
/// (`is_known`), as in a registry, which knows no acts, what a gateway said is left: of the record itself everybody reads it there.
pub(crate) fn condition(
    is_quarantined: bool,
    is_known: bool,
    there: &[Condition],
    generation: Option<i64>,
) -> Option<Condition> {
    let last = there.iter().find(|one| one.of == QUARANTINED);
    if !is_known {
        return last.cloned();
    }
    let (status, reason, message) = match (is_quarantined, last) {
        (true, _) => (
            "True",
            "Quarantined",
            "what it calls is refused, and pods that run as it are not approved; by spec.quarantined, or by an act: vidimus quarantine list",
        ),
        (false, None) => return None,
        (false, Some(_)) => ("False", "NotQuarantined", ""),
    };
    Some(Condition {
        of: QUARANTINED.to_owned(),
        status: status.to_owned(),
        reason: reason.to_owned(),
        message: message.to_owned(),
        observed_generation: generation,
        last_transition_time: String::new(),
    })
}

/// Whether something is to be said of it.
pub(crate) fn concerns(there: &[Condition]) -> bool {
    there.iter().any(|one| one.of == QUARANTINED)
}

/// Whether the status of an object, as the API server has it, says that it is quarantined: by an act, of which the object itself says nothing.
pub fn says_quarantined(document: &Value) -> bool {
    let conditions = document.pointer("/status/conditions").and_then(Value::as_array);
    let mut conditions = conditions.into_iter().flatten().filter_map(Condition::read);
    conditions.any(|one| one.of == QUARANTINED && one.status == "True")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_quarantined_is_told_and_what_is_not_any_more() {
        let said = |is: bool, knows: bool, there: &[Condition]| {
            condition(is, knows, there, Some(2)).map(|one| (one.status.clone(), one))
        };
        assert_eq!(said(false, true, &[]), None, "of most nothing is said");
        let (status, on) = said(true, true, &[]).unwrap();
        assert!(status == "True" && concerns(std::slice::from_ref(&on)));
        let (status, off) = said(false, true, std::slice::from_ref(&on)).unwrap();
        assert_eq!(status, "False");
        assert_eq!(said(false, true, &[off]).unwrap().0, "False", "and it stays said");
        // Attack: a registry, which knows of no acts, beside a gateway that is away, has what it quarantined let in.
        assert_eq!(said(false, false, std::slice::from_ref(&on)).unwrap().0, "True");
        assert_eq!(said(true, false, &[]), None);
        let document = |one: &Condition| json!({"status": {"conditions": [one]}});
        assert!(says_quarantined(&document(&on)) && !says_quarantined(&json!({})));
    }
}
