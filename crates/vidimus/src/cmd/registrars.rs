//! Who registers what reaches beyond a namespace: what `doctor` and `install` say where Kubernetes' RBAC alone decides it.

use serde_json::Value;

/// What has the API server ask (`vidimus admission manifests --form webhook`, or the chart).
pub(super) const WEBHOOKS: &str = "vidimus";
/// What it leads to.
pub(super) const WHY: &str = "whoever may write one object of a namespace writes a policy with scope: Cluster, and claims ServiceAccounts and names of others";

/// The command that closes it.
pub(super) fn fix(namespace: &str, name: &str) -> String {
    format!(
        "vidimus admission ca --data keys && kubectl -n {namespace} create secret generic admission-keys --from-file keys/admission && \
         helm upgrade --install --take-ownership {name} deploy/chart/vidimus -n {namespace} --reuse-values --set \
         admission.enabled=true,admission.keysSecret=admission-keys,admission.webhook.enabled=true; then a policy on registerObject \
         (docs/admission.md, Objects)"
    )
}

/// Whether a policy says who registers objects: as long as none does, each may whom RBAC lets.
pub(super) fn is_governed(policies: &[Value]) -> bool {
    let text = |policy: &Value| policy.pointer("/spec/cedar").and_then(Value::as_str).map(str::to_owned);
    policies.iter().filter_map(text).any(|cedar| cedar.contains(r#"Action::"registerObject""#))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_policy_about_something_else_says_nothing_of_registering() {
        let of = |cedar: &str| json!({"spec": {"cedar": cedar}});
        assert!(!is_governed(&[]));
        assert!(!is_governed(&[
            of(r#"permit (principal, action == Action::"register", resource);"#),
            json!({})
        ]));
        assert!(is_governed(&[
            json!({}),
            of(r#"permit (principal, action == Action::"registerObject", resource);"#)
        ]));
    }
}
