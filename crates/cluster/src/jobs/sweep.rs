//! What was left: the namespaces of calls that nobody carries out any more.

use jiff::Timestamp;
use kube_client::core::Request;
use kube_client::core::params::ListParams;
use serde_json::Value;

use super::manifests::{GATEWAY, LIVES};
use super::{Failed, Jobs};

/// How long a namespace may outlive its job, in seconds: clocks differ.
const SLACK: i64 = 120;

impl Jobs {
    /// Takes away what was left; how many namespaces that were. This gateway's own are left where none of its calls has them, which at a start is all of
    /// them: nobody else has its ledger. Those of others are when they are older than their call can be. So a gateway that never comes back needs no
    /// other thing but that one is there.
    ///
    /// # Errors
    /// Why the API server did not tell or take them.
    pub async fn sweep(&self) -> Result<usize, String> {
        let params = ListParams::default().labels(GATEWAY);
        let all =
            self.0.ask(Request::new("/api/v1/namespaces").list(&params)).await.map_err(Failed::reason)?;
        let all = all.get("items").and_then(Value::as_array).cloned().unwrap_or_default();
        let (now, mut taken) = (Timestamp::now(), 0);
        for namespace in &all {
            let Some(name) = namespace.pointer("/metadata/name").and_then(Value::as_str) else { continue };
            let is_live = self.0.state().live.contains(name);
            if is_left(namespace, &self.0.gateway, is_live, now) {
                self.0.take_away(name).await?;
                tracing::info!(namespace = name, "what was left of a call is taken away");
                taken += 1;
            }
        }
        Ok(taken)
    }
}

/// Whether nobody carries out the call of a namespace.
fn is_left(namespace: &Value, gateway: &str, is_live: bool, now: Timestamp) -> bool {
    let member = |kind: &str, key: &str| namespace.get("metadata")?.get(kind)?.get(key)?.as_str();
    let text = |key: &str| namespace.get("metadata")?.get(key)?.as_str();
    // It goes already, or bears our label and not our name.
    if text("deletionTimestamp").is_some()
        || !text("name").is_some_and(|name| name.starts_with(super::NAMESPACE))
    {
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
