//! What was left: the namespaces of calls that nobody carries out any more.

use jiff::Timestamp;
use kube_client::core::Request;
use kube_client::core::params::{GetParams, ListParams};
use serde_json::{Value, json};

use super::manifests::{GATEWAY, JOB, LIVES, NAMESPACE};
use super::{Failed, Jobs};

/// How long a namespace may outlive its job, in seconds: clocks differ.
const SLACK: i64 = 120;

/// The namespace of a call that nobody carries out any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Left {
    namespace: String,
    /// The id of the call.
    pub call: String,
    /// `metadata.uid` of its Job, where one was made.
    pub job: Option<String>,
    /// This gateway carried it out before it started, so nobody has recorded what came of it.
    pub is_of_before: bool,
}

impl Jobs {
    /// What was left. This gateway's own are left where none of its calls has them, which at a start is all of them: nobody else has its ledger. Those of
    /// others are when they are older than their call can be. So a gateway that never comes back needs no other thing but that one is there.
    ///
    /// # Errors
    /// Why the API server did not tell.
    pub async fn left(&self) -> Result<Vec<Left>, String> {
        let params = ListParams::default().labels(GATEWAY);
        // Of one that ends while the list is on its way, what came of it is known and is being recorded.
        let before = self.0.state().live.clone();
        let all =
            self.0.ask(Request::new("/api/v1/namespaces").list(&params)).await.map_err(Failed::reason)?;
        let all = all.get("items").and_then(Value::as_array).cloned().unwrap_or_default();
        let (now, mut found) = (Timestamp::now(), Vec::new());
        for namespace in &all {
            let Some(name) = namespace.pointer("/metadata/name").and_then(Value::as_str) else { continue };
            let (is_live, is_failed) = {
                let state = self.0.state();
                (before.contains(name) || state.live.contains(name), state.failed.contains(name))
            };
            if !is_left(namespace, &self.0.gateway, is_live, now) {
                continue;
            }
            let is_own =
                namespace.pointer("/metadata/labels").and_then(|labels| labels.get(GATEWAY)?.as_str())
                    == Some(self.0.gateway.as_str());
            let is_of_before = is_own && !is_failed;
            let call = name.strip_prefix(NAMESPACE).unwrap_or_default().to_owned();
            let job = if is_of_before { self.uid(name).await } else { None };
            found.push(Left { namespace: name.to_owned(), call, job, is_of_before });
        }
        Ok(found)
    }

    /// Why this process may not make what a job needs, where it may not: of a role that is not bound it is known before the first call.
    ///
    /// # Errors
    /// Why the API server did not tell.
    pub async fn forbidden(&self) -> Result<Option<String>, String> {
        let path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
        for (group, resource) in [("", "namespaces"), ("rbac.authorization.k8s.io", "rolebindings")] {
            let review = json!({
                "apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview",
                "spec": {"resourceAttributes": {"verb": "create", "group": group, "resource": resource}},
            });
            let review = self.0.create(path, &review, false).await.map_err(Failed::reason)?;
            if review.pointer("/status/allowed").and_then(Value::as_bool) != Some(true) {
                return Ok(Some(format!("it may not create {resource}")));
            }
        }
        Ok(None)
    }

    /// Has it deleted, and all that is in it.
    ///
    /// # Errors
    /// Why the API server did not.
    pub async fn take_away(&self, left: &Left) -> Result<(), String> {
        self.0.take_away(&left.namespace).await?;
        self.0.state().failed.remove(&left.namespace);
        tracing::info!(namespace = left.namespace, "what was left of a call is taken away");
        Ok(())
    }

    async fn uid(&self, namespace: &str) -> Option<String> {
        let jobs = Request::new(format!("/apis/batch/v1/namespaces/{namespace}/jobs"));
        let job = self.0.ask(jobs.get(JOB, &GetParams::default())).await.ok()?;
        job.pointer("/metadata/uid").and_then(Value::as_str).map(str::to_owned)
    }
}

/// Whether nobody carries out the call of a namespace.
fn is_left(namespace: &Value, gateway: &str, is_live: bool, now: Timestamp) -> bool {
    let member = |kind: &str, key: &str| namespace.get("metadata")?.get(kind)?.get(key)?.as_str();
    let text = |key: &str| namespace.get("metadata")?.get(key)?.as_str();
    // It goes already, or bears our label and not our name.
    if text("deletionTimestamp").is_some() || !text("name").is_some_and(|name| name.starts_with(NAMESPACE)) {
        return false;
    }
    if member("labels", GATEWAY) == Some(gateway) {
        return !is_live;
    }
    let made = text("creationTimestamp").and_then(|made| made.parse::<Timestamp>().ok());
    let lives = member("annotations", LIVES).and_then(|lives| lives.parse::<i64>().ok());
    match (made, lives) {
        (Some(made), Some(lives)) => {
            now.as_second().saturating_sub(made.as_second()) > lives.saturating_add(SLACK)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_left_is_nobodys() {
        let namespace = |name: &str, gateway: &str, lives: &str| {
            json!({"metadata": {"name": name, "creationTimestamp": "2026-11-28T12:00:00Z",
                "labels": {GATEWAY: gateway}, "annotations": {LIVES: lives}}})
        };
        let after = |seconds: i64| {
            let made: Timestamp = "2026-11-28T12:00:00Z".parse().unwrap();
            Timestamp::from_second(made.as_second() + seconds).unwrap()
        };
        for (name, gateway, lives, is_live, seconds, left) in [
            ("vidimus-job-1", "me", "60", false, 0, true),
            ("vidimus-job-1", "me", "60", true, 10_000, false),
            ("vidimus-job-1", "other", "60", false, 180, false),
            ("vidimus-job-1", "other", "60", false, 181, true),
            ("vidimus-job-1", "other", "x", false, 10_000, false),
            // Whoever else bears the label.
            ("kube-system", "me", "60", false, 10_000, false),
        ] {
            let found = is_left(&namespace(name, gateway, lives), "me", is_live, after(seconds));
            assert_eq!(found, left, "{name} {gateway} {lives} {is_live} {seconds}");
        }
        let mut goes = namespace("vidimus-job-1", "me", "60");
        goes["metadata"]["deletionTimestamp"] = json!("2026-11-28T12:00:01Z");
        assert!(!is_left(&goes, "me", false, after(0)));
    }
}
