//! What a cluster is given so that it asks Vidimus, or says the same without asking: the files of `deploy/admission`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;
use vidimus_core::admission::Enforcement;
use vidimus_core::admission::pod::word;
use vidimus_core::admission::workloads::Workloads;

const WEBHOOK: &str = include_str!("../../../../deploy/admission/webhook.yaml");
const POLICY: &str = include_str!("../../../../deploy/admission/validating-admission-policy.yaml");
const KYVERNO: &str = include_str!("../../../../deploy/admission/kyverno.yaml");

/// The namespace that the files name.
const NAMESPACE: &str = "vidimus-system";
/// What ends the lines of Kyverno's policy that are about templates of pods: nobody is refused for one.
const OF_TEMPLATES: &str = "# no pod yet";
/// The longest key of a ConfigMap, in bytes.
const LONGEST: usize = 253;

/// Where the API server finds the webhook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum At {
    /// By an address: `https://10.0.0.7:9443`.
    Url(String),
    /// By a Service of the cluster.
    Service { namespace: String, name: String, port: u16 },
}

/// What says the same without the webhook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// A `ValidatingAdmissionPolicy` with a binding for each way of enforcement.
    ValidatingAdmissionPolicy,
    /// A `ValidatingPolicy` of Kyverno for each.
    Kyverno,
}

impl Form {
    /// The manifest for an installation in `namespace`.
    pub fn manifest(self, namespace: &str) -> String {
        let text = match self {
            Self::ValidatingAdmissionPolicy => POLICY.to_owned(),
            Self::Kyverno => {
                let of = |enforcement: Enforcement| {
                    // Pods are created where they are only warned of, also while nobody can say of what.
                    let (action, failure) = match enforcement {
                        Enforcement::Warn => ("Warn", "Ignore"),
                        Enforcement::Audit => ("Audit", "Ignore"),
                        Enforcement::Enforce => ("Deny", "Fail"),
                    };
                    let is_asked = |line: &&str| {
                        enforcement != Enforcement::Enforce || !line.trim_end().ends_with(OF_TEMPLATES)
                    };
                    let lines: String = KYVERNO.split_inclusive('\n').filter(is_asked).collect();
                    let manifest = lines.replace("MODE", enforcement.as_str());
                    manifest.replace("ACTION", action).replace("FAILURE", failure)
                };
                Enforcement::ALL.map(of).join("---\n")
            }
        };
        text.replace(NAMESPACE, namespace)
    }
}

/// The webhook's configuration. `key` is what the API server is known by, in the path; `ca` the PEM of who signs the webhook's certificate.
pub fn webhook(at: &At, key: &str, ca: &str, namespace: &str) -> String {
    let ca = STANDARD.encode(ca);
    let client = |of: &str| {
        let path = format!("/admission/{key}/{of}");
        match at {
            At::Url(url) => json!({"url": format!("{}{path}", url.trim_end_matches('/')), "caBundle": ca}),
            At::Service { namespace, name, port } => {
                let service = json!({"namespace": namespace, "name": name, "port": port, "path": path});
                json!({"service": service, "caBundle": ca})
            }
        }
    };
    let mut text = WEBHOOK.replace(NAMESPACE, namespace);
    let pods = Enforcement::ALL.map(|enforcement| format!("pods/{}", enforcement.as_str()));
    for of in pods.iter().map(String::as_str).chain(["records"]) {
        text = text.replace(&format!("CLIENT {of}\n"), &format!("{}\n", client(of)));
    }
    text
}

/// What is registered, for those who do not ask: a ConfigMap, which only Vidimus may write.
pub fn registrations(workloads: &Workloads, namespace: &str) -> String {
    let mut text = format!(
        "# What is registered, for an API server that does not ask Vidimus: by namespace.serviceaccount, approved or held, and what the record asks for.\n\
         apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: vidimus-admission\n  namespace: {namespace}\ndata:"
    );
    if workloads.iter().next().is_none() {
        text.push_str(" {}");
    }
    text.push('\n');
    for ((of, account), workload) in workloads.iter() {
        // One that is too long would have the API server refuse all of it. Pods of that ServiceAccount are of nobody then.
        if of.len() + 1 + account.len() > LONGEST {
            continue;
        }
        // A name with a dot would be read as a number where both parts are digits; as JSON it is text.
        text.push_str(&format!("  {}: {}\n", json!(format!("{of}.{account}")), json!(word(workload))));
    }
    text
}
