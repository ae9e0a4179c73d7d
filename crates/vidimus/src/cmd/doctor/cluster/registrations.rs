//! The ConfigMap in which `ValidatingAdmissionPolicy` and Kyverno look up what is registered, where one of them does.

use jiff::Timestamp;
use serde_json::Value;

use super::super::check;
use super::Look;
use crate::cmd::admission::{REGISTRATIONS, WRITTEN};
use crate::cmd::kubernetes::Refused;

/// What looks there: the policy of the API server, and that of Kyverno.
const POLICIES: [&str; 2] = [
    "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies/vidimus-pods",
    "/apis/policies.kyverno.io/v1/validatingpolicies/vidimus-pods-enforce",
];
/// It is written once a minute; after so many seconds nobody does.
const OLD: i64 = 300;
const FIX: &str = "kubectl apply -f deploy/rbac/admission.yaml, and the CronJob of docs/admission.md, \"What is registered, kept current\"";

/// Says whether it is there, and how old.
pub(super) fn look(look: &mut Look<'_>) -> anyhow::Result<()> {
    let mut is_asked = false;
    for policy in POLICIES {
        is_asked |= look.at(policy, None)?.is_some();
    }
    if !is_asked {
        return Ok(());
    }
    let namespace = look.namespace;
    let path = format!("/api/v1/namespaces/{namespace}/configmaps/{REGISTRATIONS}");
    match look.cluster.get(&path)? {
        Ok(there) => {
            let shown = format!("ConfigMap {namespace}/{REGISTRATIONS}");
            match age(&there, Timestamp::now()) {
                Some(age) if age > OLD => look.report.find(
                    check::CLUSTER_REGISTRATIONS_OLD,
                    format!("{shown} was not written for {age} s"),
                    FIX,
                ),
                Some(_) => {}
                None => look.report.find(
                    check::CLUSTER_REGISTRATIONS_UNDATED,
                    format!("{shown} does not say when it was written, as what `--write` writes does"),
                    FIX,
                ),
            }
        }
        Err(Refused { code: 404, .. }) => {
            let what = format!("there is no ConfigMap {namespace}/{REGISTRATIONS}");
            look.report.find(check::CLUSTER_REGISTRATIONS_MISSING, what, FIX);
        }
        Err(refused) => look.refused(format!("configmaps {namespace}/{REGISTRATIONS}"), &refused),
    }
    Ok(())
}

/// Seconds since it was written; `None` where it does not say.
fn age(map: &Value, now: Timestamp) -> Option<i64> {
    let written = map.pointer("/metadata/annotations")?.get(WRITTEN)?.as_str()?;
    let written: Timestamp = written.parse().ok()?;
    Some(now.as_second().saturating_sub(written.as_second()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn it_is_as_old_as_it_says() {
        let now: Timestamp = "2026-01-01T00:10:00Z".parse().expect("a time");
        let of = |annotations: Value| age(&json!({"metadata": {"annotations": annotations}}), now);
        assert_eq!(of(json!({WRITTEN: "2026-01-01T00:00:00Z"})), Some(600));
        assert_eq!(of(json!({WRITTEN: "yesterday"})), None);
        assert_eq!((of(json!({})), age(&json!({}), now)), (None, None));
    }
}
