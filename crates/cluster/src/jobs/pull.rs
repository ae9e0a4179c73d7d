//! By what the image of a job is pulled: Secrets of the server's own namespace, which are copied into that of the call.

use kube_client::core::Request;
use kube_client::core::params::ListParams;
use serde_json::Value;
use vidimus_core::refusal::{Code, Refusal};
use vidimus_core::resource::llm_provider::SecretKey;

use super::Inner;

/// The type of such a Secret.
const KIND: &str = "kubernetes.io/dockerconfigjson";

impl Inner {
    /// What each of the Secrets has, in base64. They are read for each call, so a key that is changed is used by the next one.
    ///
    /// # Errors
    /// `upstream_unreachable` where one may not be read, is not there, or is none of that type.
    pub(super) async fn pulled_by(&self, secrets: &[SecretKey]) -> Result<Vec<String>, Refusal> {
        let mut all = Vec::with_capacity(secrets.len());
        for secret in secrets {
            // By its name alone, so that a Role of its namespace that names it suffices (deploy/rbac/secret.yaml).
            let only = ListParams::default().fields(&format!("metadata.name={}", secret.name));
            let path = format!("/api/v1/namespaces/{}/secrets", secret.namespace);
            let found = self.ask(Request::new(path).list(&only)).await;
            let found = found.map_err(|failed| unreadable(secret, &failed.reason()))?;
            all.push(config(secret, &found).map_err(|why| unreadable(secret, why))?);
        }
        Ok(all)
    }
}

fn config(secret: &SecretKey, found: &Value) -> Result<String, &'static str> {
    let found = found.pointer("/items/0").ok_or("there is none of this name")?;
    if found.get("type").and_then(Value::as_str) != Some(KIND) {
        return Err("it is not of the type kubernetes.io/dockerconfigjson");
    }
    let data = found.get("data").and_then(|data| data.get(&*secret.key)).and_then(Value::as_str);
    data.map(str::to_owned).ok_or("it has no .dockerconfigjson")
}

fn unreadable(secret: &SecretKey, why: &str) -> Refusal {
    let SecretKey { namespace, name, .. } = secret;
    let message = format!(
        "the Secret {namespace}/{name}, by which the image of the call is pulled, could not be read, so nothing was run"
    );
    Refusal::new(Code::UpstreamUnreachable, message).with_detail(why.to_owned()).with_next(
        "The detail in the record says why. A Role of that namespace has to let the gateway's account list and watch it by its name: deploy/rbac/secret.yaml.",
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_no_key_of_a_registry_is_none() {
        let secret =
            SecretKey { namespace: "tools".into(), name: "hub".into(), key: ".dockerconfigjson".into() };
        let of = |item: Value| config(&secret, &json!({"items": [item]}));
        let good = json!({"type": KIND, "data": {".dockerconfigjson": "e30=", "other": "eA=="}});
        assert_eq!(of(good).as_deref(), Ok("e30="));
        assert!(
            of(json!({"type": "Opaque", "data": {".dockerconfigjson": "e30="}})).is_err(),
            "any Secret could be copied"
        );
        assert!(of(json!({"type": KIND, "data": {}})).is_err());
        assert!(config(&secret, &json!({"items": []})).is_err());
        let refusal = unreadable(&secret, "no");
        assert!(
            refusal.message.contains("tools/hub") && refusal.next().contains("secret.yaml"),
            "{refusal:?}"
        );
    }
}
