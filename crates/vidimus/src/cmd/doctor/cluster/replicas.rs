//! Several replicas of one workload, and what they need to have with each other (docs/scale.md).

use serde_json::Value;

use super::super::{Report, check};
use super::installed::Started;

pub(super) fn look(workload: &Value, (namespace, name): (&str, &str), report: &mut Report) {
    let replicas = workload.pointer("/spec/replicas").and_then(Value::as_i64).unwrap_or(1);
    if replicas < 2 {
        return;
    }
    let started = Started::of(workload);
    let upgrade = format!("helm upgrade {name} deploy/chart/vidimus -n {namespace} --reuse-values");
    if !started.has("--shared-keys", "VIDIMUS_SHARED_KEYS") {
        let what =
            format!("{namespace}/{name} has {replicas} replicas, each with keys of its own (--shared-keys)");
        let fix = format!(
            "vidimus keys generate --secret {name}-keys -n {namespace} | kubectl create -f -; {upgrade} --set sharedKeys.existingSecret={name}-keys"
        );
        report.find(check::CLUSTER_KEYS_UNSHARED, what, fix);
    }
    if !started.has("--standing", "VIDIMUS_STANDING") {
        let what =
            format!("{namespace}/{name} has {replicas} replicas, and no store that they share (--standing)");
        let fix = format!(
            "{upgrade} --set standing.existingSecret=NAME, a Secret with rediss://HOST:6379/0 (redis:// without TLS) under url"
        );
        report.find(check::CLUSTER_STORE_UNSHARED, what, fix);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn several_share_keys_and_a_store() {
        let of = |replicas: u32, args: Value, env: Value| {
            let container = json!({"name": "vidimus", "args": args, "env": env});
            let workload =
                json!({"spec": {"replicas": replicas, "template": {"spec": {"containers": [container]}}}});
            let mut report = Report::default();
            look(&workload, ("vidimus-system", "vidimus"), &mut report);
            report.findings.iter().map(|finding| finding.code).collect::<Vec<_>>()
        };
        assert_eq!(of(1, json!([]), json!([])).len(), 0);
        assert_eq!(of(2, json!([]), json!([])), ["cluster_keys_unshared", "cluster_store_unshared"]);
        assert_eq!(of(2, json!(["--shared-keys=/k"]), json!([])), ["cluster_store_unshared"]);
        assert_eq!(
            of(2, json!(["--shared-keys-x"]), json!([{"name": "VIDIMUS_STANDING"}])),
            ["cluster_keys_unshared"]
        );
        assert_eq!(of(2, json!(["--shared-keys", "/k"]), json!([{"name": "VIDIMUS_STANDING"}])).len(), 0);
    }
}
