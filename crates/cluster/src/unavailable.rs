//! Why the key of a Secret cannot be used, in the words of a status: with what to do, and for a right that is missing with the very objects that give it.

use serde_json::{Value, json};
use vidimus_core::resource::llm_provider::SecretKey;

/// Why a key cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Unavailable {
    /// There is no such Secret.
    SecretNotFound,
    /// It does not have the key.
    KeyNotFound,
    /// What is there is none, and why; never what it is.
    Unusable(&'static str),
    /// The API server says that this process may not read it, in its own words.
    Forbidden(String),
    /// More are named than are watched.
    TooMany,
    /// A registry says so, and why, in the words above.
    Said(String),
}

impl Unavailable {
    /// One word, for a condition.
    pub(crate) const fn reason(&self) -> &'static str {
        match self {
            Self::SecretNotFound => "SecretNotFound",
            Self::KeyNotFound => "KeyNotFound",
            Self::Unusable(_) => "KeyInvalid",
            Self::Forbidden(_) => "SecretForbidden",
            Self::TooMany => "TooManySecrets",
            // Its own status says which.
            Self::Said(_) => "SecretUnavailable",
        }
    }

    /// What is wrong, and what to do.
    pub(crate) fn message(&self, of: &SecretKey) -> String {
        let SecretKey { namespace, name, key } = of;
        let at = "spec.credential.secretRef";
        let create =
            format!("kubectl -n {namespace} create secret generic {name} --from-file={key}=/dev/stdin");
        match self {
            Self::SecretNotFound => {
                format!("{at}: Secret {namespace}/{name} does not exist; write it: {create}")
            }
            Self::KeyNotFound => format!(
                "{at}.key ({key}): Secret {namespace}/{name} has no key {key}; add it to its data, or name one that it has"
            ),
            Self::Unusable(why) => format!(
                "{at}.key ({key}): what Secret {namespace}/{name} has there cannot be sent as a key: {why}; write the key alone, with no other text"
            ),
            Self::Forbidden(said) => {
                let rights = rights(of, said);
                format!(
                    "{at}: Secret {namespace}/{name} may not be read; apply: {rights} (the API server says: {said})"
                )
            }
            Self::Said(why) => why.clone(),
            Self::TooMany => format!(
                "{at}: {namespace} names more keys of Secrets than are watched for one namespace, or all do; have providers name the same key"
            ),
        }
    }
}

/// What gives the right to read this one Secret and nothing else, to `kubectl apply -f -`. Where a list or a watch is of one name, the API server holds it
/// against `resourceNames`; `get` is not needed.
fn rights(of: &SecretKey, said: &str) -> Value {
    let SecretKey { namespace, name, .. } = of;
    let role = format!("vidimus-secret-{name}");
    let metadata = json!({"namespace": &**namespace, "name": role});
    let subject = match service_account(said) {
        Some((namespace, name)) => json!({"kind": "ServiceAccount", "namespace": namespace, "name": name}),
        None => {
            json!({"kind": "ServiceAccount", "namespace": "vidimus-system", "name": "vidimus-registry"})
        }
    };
    json!({"apiVersion": "v1", "kind": "List", "items": [
        {
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": metadata,
            "rules": [{"apiGroups": [""], "resources": ["secrets"], "resourceNames": [&**name], "verbs": ["list", "watch"]}],
        },
        {
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": metadata,
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": role},
            "subjects": [subject],
        },
    ]})
}

/// Whom the API server takes this process for: `User "system:serviceaccount:NAMESPACE:NAME" cannot …`.
fn service_account(said: &str) -> Option<(&str, &str)> {
    let (_, rest) = said.split_once("User \"system:serviceaccount:")?;
    let (account, _) = rest.split_once('"')?;
    account.split_once(':')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named() -> SecretKey {
        SecretKey { namespace: "platform".into(), name: "openai".into(), key: "apiKey".into() }
    }

    #[test]
    fn each_reason_says_what_to_do() {
        for (why, reason, says) in [
            (
                Unavailable::SecretNotFound,
                "SecretNotFound",
                "kubectl -n platform create secret generic openai",
            ),
            (Unavailable::KeyNotFound, "KeyNotFound", "has no key apiKey; add it"),
            (
                Unavailable::Unusable("the key is empty"),
                "KeyInvalid",
                "the key is empty; write the key alone",
            ),
            (Unavailable::Forbidden("no (403)".to_owned()), "SecretForbidden", "apply: {"),
            (Unavailable::TooMany, "TooManySecrets", "more keys"),
        ] {
            let message = why.message(&named());
            assert!(message.starts_with("spec.credential.secretRef") && message.contains(says), "{message}");
            assert_eq!(why.reason(), reason);
        }
    }

    /// The same as in `deploy/rbac/secret.yaml`, which e2e holds against this.
    #[test]
    fn the_right_that_is_missing_is_the_least_one() {
        let said = "secrets \"openai\" is forbidden: User \"system:serviceaccount:vidimus:reader\" cannot list resource \"secrets\" (403)";
        let all = rights(&named(), said);
        assert_eq!(
            all["items"][0]["rules"],
            json!([{"apiGroups": [""], "resources": ["secrets"], "resourceNames": ["openai"], "verbs": ["list", "watch"]}])
        );
        assert_eq!(all["items"][1]["roleRef"]["name"], all["items"][0]["metadata"]["name"]);
        assert_eq!(
            all["items"][1]["subjects"],
            json!([{"kind": "ServiceAccount", "namespace": "vidimus", "name": "reader"}])
        );
        for other in ["", "User \"ada\" cannot", "User \"system:serviceaccount:"] {
            assert_eq!(service_account(other), None, "{other}");
        }
    }
}
