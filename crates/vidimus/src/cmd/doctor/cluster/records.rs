//! What became of each object, as its status says.

use serde_json::Value;

use super::super::{Report, check};
use super::installed::Installed;
use super::text;

/// So many objects of a kind are told one by one.
const TOLD: usize = 10;

/// Says what is wrong with the objects of a kind that are followed; `logs` is the command that shows what who follows them logs.
pub(super) fn look(plural: &str, items: &[Value], installed: &Installed, logs: &str, report: &mut Report) {
    let mut unseen = Vec::new();
    let mut told = 0;
    let namespace = |item: &Value| text(item, "/metadata/namespace").to_owned();
    for item in items.iter().filter(|item| installed.follows(&namespace(item))) {
        let shown = format!("{plural} {}/{}", namespace(item), text(item, "/metadata/name"));
        let (check, why, fix) = match verdict(item) {
            Verdict::Accepted => continue,
            Verdict::Unseen => {
                unseen.push(shown);
                continue;
            }
            Verdict::Refused(why) => (
                check::CLUSTER_RECORD_REFUSED,
                why,
                "correct the field that the message names, and apply it again (kubectl get vidimus -A shows all)",
            ),
            Verdict::Keyless(why) => (
                check::CLUSTER_KEY_MISSING,
                why,
                "do what the message says: the Secret, its key, or the right to read it (kubectl apply -f -)",
            ),
            Verdict::Unrun(why) => (
                check::CLUSTER_JOB_UNRUN,
                why,
                "do what the message says: --jobs, or the roles of deploy/rbac/jobs.yaml (jobs.enabled of the chart brings both)",
            ),
            Verdict::Over(why) => (
                check::CLUSTER_POLICY_OVER,
                why,
                "give spec.window another time, or delete the policy where it is not needed any more",
            ),
            Verdict::NotInForce(why) => (
                check::CLUSTER_RECORD_PARTLY,
                why,
                "do what the message says: of two that claim the same, take it out of one; where all is closed, see why with kubectl get vidimus -A",
            ),
        };
        if told < TOLD {
            report.find(check, format!("{shown}: {why}"), fix);
        }
        told += 1;
    }
    if told > TOLD {
        let what = format!("of {} more {plural} something is wrong", told - TOLD);
        report.find(check::CLUSTER_RECORD_REFUSED, what, "kubectl get vidimus -A shows all");
    }
    if let Some(message) = items.iter().find_map(unheard) {
        let fix = "do what the message says, or start the gateway without --pods";
        report.find(check::CLUSTER_PODS_UNHEARD, message, fix);
    }
    for (item, message) in items.iter().filter_map(|item| Some((item, observing(item)?))).take(TOLD) {
        let what = format!("{plural} {}/{}: {message}", namespace(item), text(item, "/metadata/name"));
        let fix = "vidimus audit search --text would_refuse finds the calls; permit what is meant, and delete the policy before it ends";
        report.find(check::CLUSTER_ROLLOUT, what, fix);
    }
    if installed.writes
        && let Some(first) = unseen.first()
    {
        let what = format!("nobody has said what became of {first} (of {} {plural})", unseen.len());
        let fix = format!("{logs}: does it watch, and may it write statuses?");
        report.find(check::CLUSTER_RECORD_UNSEEN, what, fix);
    }
}

/// What became of an object.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Accepted,
    /// Why not.
    Refused(String),
    /// It is, and the key that it names in a Secret cannot be used, and why.
    Keyless(String),
    /// It is a job, and nothing runs it, and why.
    Unrun(String),
    /// It is a policy whose window does not open again.
    Over(String),
    /// It is good, and all or part of it is not in force, and why.
    NotInForce(String),
    /// Nobody has looked at it as it is now.
    Unseen,
}

/// Of the condition `Programmed`, where it is about the Secret of a provider.
const KEYLESS: [&str; 5] =
    ["SecretNotFound", "KeyNotFound", "KeyInvalid", "SecretForbidden", "TooManySecrets"];
/// The same, where jobs cannot be run.
const UNRUN: [&str; 2] = ["JobsOff", "JobsForbidden"];
/// The same, of a policy.
const OVER: &str = "WindowOver";

fn verdict(item: &Value) -> Verdict {
    let number = |of: &Value, at: &str| of.pointer(at).and_then(Value::as_i64).unwrap_or_default();
    let generation = number(item, "/metadata/generation");
    // As it is now.
    let condition = |of: &str| {
        let conditions = item.pointer("/status/conditions").and_then(Value::as_array);
        let found = conditions.into_iter().flatten().find(|one| text(one, "/type") == of);
        found.filter(|one| number(one, "/observedGeneration") >= generation)
    };
    let message = |of: &Value| text(of, "/message").to_owned();
    match (condition("Accepted"), condition("Programmed")) {
        (None, _) => Verdict::Unseen,
        (Some(accepted), _) if text(accepted, "/status") == "False" => Verdict::Refused(message(accepted)),
        // It is said of all, also by a version that has a reason which is not known here.
        (_, Some(programmed)) if text(programmed, "/status") == "False" => {
            match text(programmed, "/reason") {
                reason if KEYLESS.contains(&reason) => Verdict::Keyless(message(programmed)),
                reason if UNRUN.contains(&reason) => Verdict::Unrun(message(programmed)),
                OVER => Verdict::Over(message(programmed)),
                reason => Verdict::NotInForce(format!("{reason}: {}", text(programmed, "/message"))),
            }
        }
        _ => Verdict::Accepted,
    }
}

/// What a policy lets pass that no other one permits, where it does.
fn observing(item: &Value) -> Option<&str> {
    let mut conditions = item.pointer("/status/conditions").and_then(Value::as_array)?.iter();
    let found = conditions.find(|one| text(one, "/type") == "Observing")?;
    Some(text(found, "/message"))
}

/// Why it is not known what runs as an object, where pods are to be watched.
fn unheard(item: &Value) -> Option<String> {
    let mut conditions = item.pointer("/status/conditions").and_then(Value::as_array)?.iter();
    let found = conditions.find(|one| text(one, "/reason") == "PodsNotHeard")?;
    Some(text(found, "/message").to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_became_of_an_object_is_what_was_said_of_it_as_it_is() {
        let item = |status: Value| json!({"metadata": {"generation": 3}, "status": status});
        let said = |status: &str, observed: i64| {
            item(json!({"conditions": [{"type": "Ready", "status": "True"},
                {"type": "Accepted", "status": status, "observedGeneration": observed, "message": "spec.owner"}]}))
        };
        for (of, is) in [
            (item(json!({})), Verdict::Unseen),
            (said("True", 2), Verdict::Unseen),
            (said("True", 3), Verdict::Accepted),
            (said("False", 3), Verdict::Refused("spec.owner".to_owned())),
        ] {
            assert_eq!(verdict(&of), is, "{of}");
        }
    }

    /// An object whose condition `Programmed` says so of its generation `observed`; it is of generation 3.
    fn programmed(status: &str, reason: &str, observed: i64) -> Value {
        let of = |kind: &str, status: &str, reason: &str, observed: i64| json!({"type": kind, "status": status, "reason": reason, "observedGeneration": observed, "message": "apply"});
        let conditions = [of("Accepted", "True", "Accepted", 3), of("Programmed", status, reason, observed)];
        json!({"metadata": {"generation": 3, "namespace": "finance", "name": "x"}, "status": {"conditions": conditions}})
    }

    #[test]
    fn what_is_accepted_and_not_in_force_is_told_of() {
        for reason in KEYLESS {
            assert_eq!(
                verdict(&programmed("False", reason, 3)),
                Verdict::Keyless("apply".to_owned()),
                "{reason}"
            );
            assert_eq!(
                verdict(&programmed("False", reason, 2)),
                Verdict::Accepted,
                "{reason}, of another generation"
            );
        }
        for reason in UNRUN {
            assert_eq!(
                verdict(&programmed("False", reason, 3)),
                Verdict::Unrun("apply".to_owned()),
                "{reason}"
            );
        }
        assert_eq!(verdict(&programmed("False", OVER, 3)), Verdict::Over("apply".to_owned()));
        for reason in ["Closed", "PartlyRefused", "OfALaterVersion"] {
            let told = Verdict::NotInForce(format!("{reason}: apply"));
            assert_eq!(verdict(&programmed("False", reason, 3)), told);
        }
        assert_eq!(verdict(&programmed("True", "Programmed", 3)), Verdict::Accepted);
        assert_eq!(verdict(&programmed("Unknown", "Pending", 3)), Verdict::Accepted, "its turn comes");
    }

    #[test]
    fn records_that_nobody_follows_are_no_fault() {
        let found = |namespaces: &[&str], items: &[Value]| {
            let namespaces = namespaces.iter().map(|&name| name.to_owned()).collect();
            let installed = Installed { namespaces, ..Installed::default() };
            let mut report = Report::default();
            look("agents", items, &installed, "kubectl logs", &mut report);
            report.findings.iter().map(|finding| finding.code).collect::<Vec<_>>()
        };
        let unseen = json!({"metadata": {"namespace": "finance", "name": "y", "generation": 1}});
        let partly = programmed("False", "PartlyRefused", 3);
        assert_eq!(
            found(&[], &[unseen.clone(), partly.clone()]),
            ["cluster_record_partly", "cluster_record_unseen"]
        );
        assert_eq!(found(&["finance"], std::slice::from_ref(&unseen)), ["cluster_record_unseen"]);
        assert_eq!(found(&["hr"], &[unseen, partly.clone()]).len(), 0);
        assert_eq!(found(&[], &vec![partly; TOLD + 3]).len(), TOLD + 1, "and how many more there are");
    }

    #[test]
    fn what_a_rollout_lets_pass_is_told() {
        let observes = json!({"metadata": {"namespace": "finance", "name": "x"}, "status": {"conditions": [
            {"type": "Accepted", "status": "True"}, {"type": "Observing", "status": "True", "message": "g-0 let 3 calls pass"}]}});
        let mut report = Report::default();
        look("policies", &[observes], &Installed::default(), "kubectl logs", &mut report);
        let found = report.findings.first().map(|finding| (finding.code, &*finding.what));
        assert_eq!(found, Some(("cluster_rollout", "policies finance/x: g-0 let 3 calls pass")));
    }

    #[test]
    fn pods_that_are_not_heard_are_told_of() {
        let item = |reason: &str| {
            unheard(
                &json!({"status": {"conditions": [{"type": "Running", "reason": reason, "message": "apply"}]}}),
            )
        };
        assert_eq!((item("PodsNotHeard").as_deref(), item("NoPod")), (Some("apply"), None));
        assert_eq!(unheard(&json!({})), None);
    }
}
