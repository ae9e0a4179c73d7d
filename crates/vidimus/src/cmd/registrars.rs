//! Who registers what reaches beyond a namespace: what `doctor` says where nobody is asked about it.

use serde_json::Value;

/// What has the API server ask (`vidimus admission manifests --form webhook`, or the chart).
pub(super) const WEBHOOKS: &str = "vidimus";
/// The bindings of the default rule (`deploy/admission/reach.yaml`, or the chart; ADR 107), in the API of Kubernetes.
pub(super) const RULES: &str = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicybindings?labelSelector=vidimus.dev/rule%3Dreach";

/// Whether one of these bindings refuses what the default rule is about.
pub(super) fn is_ruled(bindings: &Value) -> bool {
    let denies = |binding: &Value| {
        let actions = binding.pointer("/spec/validationActions").and_then(Value::as_array);
        let everywhere = binding.pointer("/spec/matchResources").is_none_or(Value::is_null);
        everywhere && actions.is_some_and(|actions| actions.iter().any(|action| action == "Deny"))
    };
    bindings.get("items").and_then(Value::as_array).is_some_and(|all| all.iter().any(denies))
}

/// The commands that close it: the default rule, or policies of one's own.
pub(super) fn fix(namespace: &str, name: &str) -> String {
    format!(
        "kubectl apply -f deploy/admission/reach.yaml (ADR 107). To have policies decide it: vidimus admission ca --data keys && kubectl -n {namespace} create secret generic admission-keys --from-file keys/admission && \
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
    fn a_rule_that_warns_or_is_of_some_namespaces_holds_nobody() {
        let of = |spec: Value| is_ruled(&json!({"items": [{"spec": spec}]}));
        assert!(!is_ruled(&json!({"items": []})));
        assert!(!is_ruled(&json!({})));
        assert!(!of(json!({"validationActions": ["Warn"]})));
        assert!(!of(
            json!({"validationActions": ["Deny"], "matchResources": {"namespaceSelector": {"matchLabels": {"a": "b"}}}})
        ));
        assert!(of(json!({"validationActions": ["Audit", "Deny"], "policyName": "vidimus-reach"})));
    }

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
