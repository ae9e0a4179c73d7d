//! Where the key of a provider comes from: what an object says of it, and never the key itself.

use std::fmt;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Meta;
use super::check::Document;
use super::field::name;
use super::problem::{At, Fault, Problems};

/// Where the provider's key comes from. The key itself is never part of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum CredentialSource {
    /// A file, as it is named from the directory of secrets; an absolute path must lie in it.
    File(Arc<str>),
    Env(Arc<str>),
    /// One key of a Secret of the provider's own namespace; in a cluster only.
    Secret(SecretKey),
    /// The provider needs no credential; the caller's is stripped all the same.
    None,
}

/// One key of a Secret, as an object names it. The namespace is always that of the object: no field of it says one.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SecretKey {
    /// The namespace of the Secret, and of the object that names it.
    pub namespace: Arc<str>,
    /// The name of the Secret.
    pub name: Arc<str>,
    /// The key in it.
    pub key: Arc<str>,
}

/// `Secret platform/openai, key apiKey`
impl fmt::Display for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret {}/{}, key {}", self.namespace, self.name, self.key)
    }
}

/// The one credential that the text of a source holds, without the white space around it: two in one text, or one in odd bytes, would be read differently
/// by the next reader.
///
/// # Errors
/// Why it holds none, without a word of what is in it.
pub fn one_key(text: &str) -> Result<&str, &'static str> {
    match text.trim() {
        "" => Err("the key is empty"),
        key if key.bytes().all(|byte| byte.is_ascii_graphic()) => Ok(key),
        _ => Err("it is not one key: it has white space, or characters that no key has"),
    }
}

/// Where a key comes from: exactly one of file, env, secretRef and none.
// In a cluster, whoever may write an LLMProvider must not thereby read the gateway's files and environment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("x-kubernetes-validations" = [
    {
        "rule": "[has(self.file), has(self.env), has(self.secretRef), has(self.none)].filter(given, given).size() == 1",
        "message": "give exactly one source of the key: secretRef alone, or none: {} where no key is needed (from a directory: file, env or none)",
    },
    {
        "rule": "!has(self.file) && !has(self.env)",
        "message": "in a cluster the key comes from a Secret: use secretRef",
    },
]))]
pub struct CredentialSpec {
    /// A file in the gateway's directory of secrets (--secrets) that holds the key and nothing else; for its owner alone, as the directory
    /// (modes 0600 and 0700). From a directory only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "file_schema")]
    pub file: Option<String>,
    /// The environment variable of the gateway that holds the key. From a directory only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "env_schema")]
    pub env: Option<String>,
    /// The key of a Secret in the object's namespace. In a cluster only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<SecretRefSpec>,
    /// No key is needed: {}.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub none: Option<NoCredentialSpec>,
}

/// One key of a Secret.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SecretRefSpec {
    /// The name of the Secret.
    #[schemars(length(min = 1, max = 253), pattern("^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$"))]
    pub name: String,
    /// The key in it.
    #[schemars(length(min = 1, max = 253), pattern("^[-._a-zA-Z0-9]+$"))]
    pub key: String,
}

/// Nothing: {}.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NoCredentialSpec {}

fn file_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({"type": "string", "minLength": 1, "maxLength": 4096})
}

fn env_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[A-Za-z_][A-Za-z0-9_]*$"})
}

impl CredentialSpec {
    pub(super) fn check(
        &self,
        meta: &Meta,
        document: Document<'_>,
        at: At<'_>,
        problems: &mut Problems,
    ) -> Option<CredentialSource> {
        match (&self.file, &self.env, &self.secret_ref, &self.none) {
            // The CRD says it too; a cluster may have an older one.
            (Some(_), None, None, None) | (None, Some(_), None, None) if document.of_cluster => {
                let given = if self.file.is_some() { "file" } else { "env" };
                let fault = Fault::new(
                    "in a cluster the key comes from a Secret",
                    "write {secretRef: {name: …, key: …}}, a Secret of the same namespace",
                );
                problems.report(at.key(given), "", fault);
                None
            }
            (Some(file), None, None, None) => {
                problems.take(at.key("file"), "", check_file(file))?;
                Some(CredentialSource::File(file.as_str().into()))
            }
            (None, Some(variable), None, None) => {
                problems.take(at.key("env"), variable, check_variable(variable))?;
                Some(CredentialSource::Env(variable.as_str().into()))
            }
            (None, None, Some(secret), None) if document.of_cluster => {
                secret.check(meta, at.key("secretRef"), problems).map(CredentialSource::Secret)
            }
            (None, None, Some(_), None) => {
                let fault =
                    Fault::new("there are no Secrets outside a cluster", "write {file: …} or {env: …}");
                problems.report(at.key("secretRef"), "", fault);
                None
            }
            (None, None, None, Some(NoCredentialSpec {})) => Some(CredentialSource::None),
            _ => {
                let fix = match document.of_cluster {
                    true => "give secretRef alone, or none: {} where no key is needed",
                    false => "give file or env alone, or none: {} where no key is needed",
                };
                problems.report(at, "", Fault::new("not exactly one source of the key", fix));
                None
            }
        }
    }
}

impl SecretRefSpec {
    /// Both names stand in what the API server is asked.
    fn check(&self, meta: &Meta, at: At<'_>, problems: &mut Problems) -> Option<SecretKey> {
        let named = problems.take(at.key("name"), &self.name, name::check_object_name(&self.name));
        let key = problems.take(at.key("key"), &self.key, check_secret_key(&self.key));
        named.and(key)?;
        Some(SecretKey {
            namespace: meta.namespace.clone(),
            name: self.name.as_str().into(),
            key: self.key.as_str().into(),
        })
    }
}

/// As Kubernetes wants the keys of a Secret.
fn check_secret_key(key: &str) -> Result<(), Fault> {
    let is_of_key = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    if (1..=253).contains(&key.len()) && key.bytes().all(is_of_key) {
        return Ok(());
    }
    Err(Fault::new("not a key of a Secret", "use at most 253 letters, digits, '-', '_' and '.'"))
}

/// A path that cannot lead out of the directory of secrets by itself. Which that is, and where links lead, the gateway sees.
fn check_file(path: &str) -> Result<(), Fault> {
    let leads_on = |part: &str| part != ".." && !part.contains('\0');
    if !path.is_empty() && path.split('/').all(leads_on) {
        return Ok(());
    }
    Err(Fault::new(
        "not a file in the directory of secrets",
        "write its name below --secrets, as in openai.key",
    ))
}

fn check_variable(name: &str) -> Result<(), Fault> {
    let begins_well = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    if begins_well && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
        return Ok(());
    }
    Err(Fault::new(
        "not the name of an environment variable",
        "write the name of the variable that holds the key, not the key",
    ))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::resource::{Object, Origin, check};

    fn checked(of_cluster: bool, credential: &Value) -> Result<CredentialSource, String> {
        let document = json!({
            "apiVersion": "vidimus.dev/v1alpha1", "kind": "LLMProvider", "metadata": {"name": "models", "namespace": "platform"},
            "spec": {"owner": "ada.l@example.com", "type": "openAI", "credential": credential, "models": [{"name": "m"}]},
        });
        let origin = match of_cluster {
            true => Origin::Cluster { cluster: "c".into(), uid: None, resource_version: None },
            false => Origin::file("a.yaml", 1),
        };
        match check(&origin, &document) {
            Ok(Object::LlmProvider(provider)) => Ok(provider.credential.clone()),
            Ok(other) => panic!("{other:?}"),
            Err(rejections) => {
                let told: Vec<String> = rejections
                    .iter()
                    .map(|one| format!("{} {} {} {}", one.field, one.value, one.reason, one.fix))
                    .collect();
                assert!(!told.concat().contains("hunter2"), "a secret is shown: {told:?}");
                Err(told.join(" | "))
            }
        }
    }

    /// Whoever may write an object names a Secret of its own namespace, and nothing of the machine.
    #[test]
    fn in_a_cluster_a_key_is_of_a_secret_of_the_same_namespace() {
        let secret = |name: &str, key: &str| json!({"secretRef": {"name": name, "key": key}});
        let named = SecretKey { namespace: "platform".into(), name: "open.ai".into(), key: "api_Key".into() };
        assert_eq!(checked(true, &secret("open.ai", "api_Key")), Ok(CredentialSource::Secret(named.clone())));
        assert_eq!(named.to_string(), "Secret platform/open.ai, key api_Key");
        assert_eq!(checked(true, &json!({"none": {}})), Ok(CredentialSource::None));
        for (credential, says) in [
            (secret("finance/openai", "k"), "credential.secretRef.name"),
            (secret("a,metadata.namespace=finance", "k"), "credential.secretRef.name"),
            (secret("..", "k"), "credential.secretRef.name"),
            (secret("Hunter2-hunter2", "k"), "credential.secretRef.name"),
            (secret("", "k"), "credential.secretRef.name"),
            (secret("a", ""), "credential.secretRef.key"),
            (secret("a", "a/b"), "credential.secretRef.key"),
            (secret("a", "\u{7}"), "credential.secretRef.key"),
            (json!({"secretRef": {"name": "a"}}), "credential.secretRef.key"),
            (
                json!({"secretRef": {"name": "a", "key": "k", "namespace": "finance"}}),
                "credential.secretRef.namespace",
            ),
            (json!({"secretRef": {"name": "a", "key": "k"}, "none": {}}), "give secretRef alone"),
            (json!({"file": "openai.key"}), "credential.file  in a cluster the key comes from a Secret"),
            (json!({"env": "HOME"}), "credential.env  in a cluster the key comes from a Secret"),
        ] {
            let told = checked(true, &credential).map(|found| format!("{found:?}")).unwrap_err();
            assert!(told.contains(says), "{credential}: {told}");
        }
    }

    #[test]
    fn a_directory_has_no_secrets_of_a_cluster() {
        let told = checked(false, &json!({"secretRef": {"name": "a", "key": "k"}})).unwrap_err();
        assert!(told.contains("no Secrets outside a cluster") && told.contains("{file: …}"), "{told}");
        assert_eq!(checked(false, &json!({"file": "k"})), Ok(CredentialSource::File("k".into())));
        assert_eq!(checked(false, &json!({"env": "K"})), Ok(CredentialSource::Env("K".into())));
    }

    #[test]
    fn a_source_holds_exactly_one_key() {
        for (text, key) in [
            ("key-1", Some("key-1")),
            (" key-1\r\n", Some("key-1")),
            ("", None),
            (" \n", None),
            ("key-1 key-2", None),
            ("key-1\nkey-2", None),
            ("key-1\u{0}", None),
            ("key-1\u{7f}", None),
            ("\u{1b}[31mkey-1", None),
            ("k\u{e9}y", None),
            ("\u{feff}key-1", None),
        ] {
            assert_eq!(one_key(text).ok(), key, "{text:?}");
        }
    }
}
