//! The installation in a cluster: what is registered with its API server, what became of it, and who may do what.

mod replicas;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::Request;
use hyper::header::CONTENT_TYPE;
use jiff::Timestamp;
use serde_json::{Value, json};
use vidimus_core::clock::Clock as _;
use vidimus_gateway::millis;
use vidimus_identity::ServerLeaf;

use super::check;
use super::check::Check;
use super::{Doctor, Report};
use crate::clock::SystemClock;
use crate::cmd::kubernetes::{Cluster, Refused};
use crate::cmd::registrars::{self, WEBHOOKS};

/// The kinds, as they stand in paths, each with its definition.
const KINDS: [(&str, &str); 5] = [
    ("agents", include_str!("../../../../../deploy/crds/agents.vidimus.dev.yaml")),
    ("llmproviders", include_str!("../../../../../deploy/crds/llmproviders.vidimus.dev.yaml")),
    ("mcpservers", include_str!("../../../../../deploy/crds/mcpservers.vidimus.dev.yaml")),
    ("policies", include_str!("../../../../../deploy/crds/policies.vidimus.dev.yaml")),
    ("serviceidentities", include_str!("../../../../../deploy/crds/serviceidentities.vidimus.dev.yaml")),
];
/// Who writes statuses holds this Lease, and renews it every few seconds.
const LEASE: &str = "vidimus-statuses";
/// A Lease that nobody renewed for so long is held by nobody. Seconds; it is good for 15.
const UNHELD: i64 = 60;
/// So many objects of a kind are told one by one.
const TOLD: usize = 10;
const APPLY: &str = "helm upgrade vidimus deploy/chart/vidimus -n vidimus-system, or vidimus install --apply";

/// What is looked at, and where the findings go.
struct Look<'a> {
    cluster: &'a Cluster,
    namespace: &'a str,
    name: &'a str,
    report: &'a mut Report,
}

pub(super) fn look(doctor: &Doctor, report: &mut Report) {
    report.looked_at("the cluster");
    let looked = Cluster::of(&doctor.reach).and_then(|cluster| {
        let (namespace, name) = (&*doctor.namespace, &*doctor.workload);
        let mut look = Look { cluster: &cluster, namespace, name, report: &mut *report };
        look.definitions()?;
        look.records()?;
        look.workload()?;
        look.lease()?;
        look.webhooks(&doctor.data.join("admission").join("ca.pem"))?;
        look.rights()
    });
    if let Err(error) = looked {
        let fix = "kubectl cluster-info: is the API server there, and the context the right one?";
        report.find(check::CLUSTER_UNREACHABLE, format!("{error:#}"), fix);
    }
}

impl Look<'_> {
    /// What is at a path; `None` where this user may not look, which is said, or where nothing is, which is found.
    fn at(&mut self, path: &str, absent: Option<(Check, String)>) -> anyhow::Result<Option<Value>> {
        match self.cluster.get(path)? {
            Ok(found) => return Ok(Some(found)),
            Err(Refused { code: 404, .. }) => {
                if let Some((check, what)) = absent {
                    self.report.find(check, what, APPLY);
                }
            }
            Err(refused) => self.report.left_out("a part of the cluster", refused.message),
        }
        Ok(None)
    }

    fn definitions(&mut self) -> anyhow::Result<()> {
        for (plural, text) in KINDS {
            let name = format!("{plural}.vidimus.dev");
            let path = format!("/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{name}");
            let absent = (check::CLUSTER_CRD_MISSING, format!("there is no CustomResourceDefinition {name}"));
            let Some(there) = self.at(&path, Some(absent))? else { continue };
            let own: Value =
                serde_saphyr::from_str(text).map_err(|error| anyhow::anyhow!("{name}: {error}"))?;
            let (own, known) = (fields(&own), fields(&there));
            let lacking: Vec<&str> = own.difference(&known).map(String::as_str).take(3).collect();
            if !lacking.is_empty() {
                let what = format!("{name} does not know {}", lacking.join(", "));
                self.report.find(check::CLUSTER_CRD_OLD, what, APPLY);
            }
        }
        Ok(())
    }

    /// What became of each object, as its status says.
    fn records(&mut self) -> anyhow::Result<()> {
        for (plural, _) in KINDS {
            let Some(list) = self.at(&format!("/apis/vidimus.dev/v1alpha1/{plural}"), None)? else {
                continue;
            };
            let items = list.get("items").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
            let (mut refused, mut keyless, mut unseen) = (Vec::new(), Vec::new(), Vec::new());
            for item in items {
                let shown = format!(
                    "{plural} {}/{}",
                    text(item, "/metadata/namespace"),
                    text(item, "/metadata/name")
                );
                match verdict(item) {
                    Verdict::Accepted => {}
                    Verdict::Refused(message) => refused.push(format!("{shown}: {message}")),
                    Verdict::Keyless(message) => keyless.push(format!("{shown}: {message}")),
                    Verdict::Unseen => unseen.push(shown),
                }
            }
            for what in refused.iter().take(TOLD) {
                let fix = "correct the field that the message names, and apply it again (kubectl get vidimus -A shows all)";
                self.report.find(check::CLUSTER_RECORD_REFUSED, what.as_str(), fix);
            }
            for what in keyless.iter().take(TOLD) {
                let fix = "do what the message says: the Secret, its key, or the right to read it (kubectl apply -f -)";
                self.report.find(check::CLUSTER_KEY_MISSING, what.as_str(), fix);
            }
            if let Some(first) = unseen.first() {
                let what = format!("nobody has said what became of {first} (of {} {plural})", unseen.len());
                let fix = format!(
                    "kubectl -n {} logs {}-0: does it watch, and may it write statuses?",
                    self.namespace, self.name
                );
                self.report.find(check::CLUSTER_RECORD_UNSEEN, what, fix);
            }
        }
        Ok(())
    }

    fn workload(&mut self) -> anyhow::Result<()> {
        let (namespace, name) = (self.namespace, self.name);
        let path = format!("/apis/apps/v1/namespaces/{namespace}/statefulsets/{name}");
        let absent = (check::CLUSTER_WORKLOAD_DOWN, format!("there is no StatefulSet {namespace}/{name}"));
        let Some(there) = self.at(&path, Some(absent))? else { return Ok(()) };
        let number = |at: &str| there.pointer(at).and_then(Value::as_i64).unwrap_or_default();
        let (wanted, ready) = (number("/spec/replicas"), number("/status/readyReplicas"));
        if ready < wanted {
            let what = format!("{ready} of {wanted} pods of StatefulSet {namespace}/{name} are ready");
            let fix =
                format!("kubectl -n {namespace} describe pod {name}-0; kubectl -n {namespace} logs {name}-0");
            self.report.find(check::CLUSTER_WORKLOAD_DOWN, what, fix);
        }
        replicas::look(&there, (namespace, name), self.report);
        Ok(())
    }

    fn lease(&mut self) -> anyhow::Result<()> {
        let namespace = self.namespace;
        let path = format!("/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases/{LEASE}");
        let absent = (check::CLUSTER_LEASE_UNHELD, format!("there is no Lease {namespace}/{LEASE}"));
        let Some(there) = self.at(&path, Some(absent))? else { return Ok(()) };
        let renewed: Option<Timestamp> = text(&there, "/spec/renewTime").parse().ok();
        let age = renewed.map(|at| Timestamp::now().as_second().saturating_sub(at.as_second()));
        if age.is_none_or(|age| age > UNHELD) {
            let since = age.map_or_else(|| "ever".to_owned(), |age| format!("for {age} s"));
            let what = format!("Lease {namespace}/{LEASE} was not renewed {since}");
            let fix = format!("kubectl -n {namespace} logs {}-0 | grep Lease says why", self.name);
            self.report.find(check::CLUSTER_LEASE_UNHELD, what, fix);
        }
        Ok(())
    }

    /// Nobody asks who registers what reaches beyond a namespace.
    fn registrars(&mut self, what: String) {
        let fix = registrars::fix(self.namespace, self.name);
        self.report.find(check::CLUSTER_REGISTRARS_OPEN, what, fix);
    }

    /// What has the API server ask before it takes objects, where that is set up; `ca` is the CA of who answers, where it is on this machine.
    fn webhooks(&mut self, ca: &Path) -> anyhow::Result<()> {
        let path =
            format!("/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations/{WEBHOOKS}");
        let there = match self.cluster.get(&path)? {
            Ok(there) => there,
            Err(Refused { code: 404, .. }) => {
                let what = format!(
                    "there is no ValidatingWebhookConfiguration {WEBHOOKS}: who registers objects is decided by RBAC alone"
                );
                self.registrars(what);
                return Ok(());
            }
            Err(refused) => {
                self.report.left_out("a part of the cluster", refused.message);
                return Ok(());
            }
        };
        if let Some(policies) = self.at("/apis/vidimus.dev/v1alpha1/policies", None)? {
            let policies = policies.get("items").and_then(Value::as_array).map(Vec::as_slice);
            if !registrars::is_governed(policies.unwrap_or_default()) {
                self.registrars(
                    "no policy says who registers objects (registerObject), so RBAC alone decides it"
                        .to_owned(),
                );
            }
        }
        let webhooks = there.get("webhooks").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        // All of it leads to one place, by one CA.
        let Some(client) = webhooks.first().and_then(|webhook| webhook.get("clientConfig")) else {
            return Ok(());
        };
        let print = format!(
            "kubectl -n {namespace} exec {name}-0 -- vidimus admission manifests --form webhook --data /var/lib/vidimus \
             --namespace {namespace} --service {name}-admission:443 | kubectl apply -f -",
            namespace = self.namespace,
            name = self.name
        );
        if let Some(why) = why_unbelieved(text(client, "/caBundle"), fs::read(ca).ok().as_deref()) {
            let what = format!("ValidatingWebhookConfiguration {WEBHOOKS}: its caBundle {why}");
            self.report.find(check::CLUSTER_WEBHOOK_CA, what, print.as_str());
        }
        let (namespace, service) = (text(client, "/service/namespace"), text(client, "/service/name"));
        if service.is_empty() {
            return Ok(());
        }
        let path = format!(
            "/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices?labelSelector=kubernetes.io/service-name={service}"
        );
        let Some(slices) = self.at(&path, None)? else { return Ok(()) };
        let slices = slices.get("items").and_then(Value::as_array).into_iter().flatten();
        let mut endpoints =
            slices.flat_map(|slice| slice.get("endpoints").and_then(Value::as_array).into_iter().flatten());
        let is_ready = |endpoint: &Value| endpoint.pointer("/conditions/ready") != Some(&Value::Bool(false));
        if !endpoints.any(is_ready) {
            let what = format!(
                "ValidatingWebhookConfiguration {WEBHOOKS}: Service {namespace}/{service} has no pod that is ready"
            );
            let fix = format!(
                "{print}; or, to change records meanwhile, kubectl delete validatingwebhookconfiguration {WEBHOOKS}"
            );
            self.report.find(check::CLUSTER_WEBHOOK_DEAF, what, fix);
        }
        Ok(())
    }

    /// What the gateway's ServiceAccount may do: what it must, and not what it must not.
    fn rights(&mut self) -> anyhow::Result<()> {
        for (verb, group, resource, subresource, may) in [
            ("list", "vidimus.dev", "agents", "", true),
            ("watch", "vidimus.dev", "policies", "", true),
            ("patch", "vidimus.dev", "agents", "status", true),
            ("update", "coordination.k8s.io", "leases", "", true),
            ("get", "", "secrets", "", false),
            ("create", "", "pods", "", false),
            ("patch", "vidimus.dev", "policies", "", false),
        ] {
            let name = if resource == "leases" { LEASE } else { "" };
            let asked = json!({"verb": verb, "group": group, "resource": resource, "subresource": subresource, "name": name, "namespace": self.namespace});
            let Some(allowed) = self.may(&asked)? else { return Ok(()) };
            let what =
                format!("ServiceAccount {}/{}: {verb} {resource} {subresource}", self.namespace, self.name);
            if may && !allowed {
                self.report.find(
                    check::CLUSTER_RIGHTS_MISSING,
                    format!("{} is not allowed", what.trim_end()),
                    APPLY,
                );
            } else if allowed && !may {
                let fix = format!(
                    "kubectl get rolebindings,clusterrolebindings -A -o wide | grep {} names the binding; delete it",
                    self.name
                );
                self.report.find(check::CLUSTER_RIGHTS_WIDE, format!("{} is allowed", what.trim_end()), fix);
            }
        }
        Ok(())
    }

    /// Whether the ServiceAccount may; `None` where this user may not ask.
    fn may(&mut self, attributes: &Value) -> anyhow::Result<Option<bool>> {
        let (namespace, name) = (self.namespace, self.name);
        let review = json!({
            "apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview",
            "spec": {
                "user": format!("system:serviceaccount:{namespace}:{name}"),
                "groups": ["system:serviceaccounts", format!("system:serviceaccounts:{namespace}"), "system:authenticated"],
                "resourceAttributes": attributes,
            },
        });
        let request = Request::post("/apis/authorization.k8s.io/v1/subjectaccessreviews")
            .header(CONTENT_TYPE, "application/json")
            .body(serde_json::to_vec(&review)?)?;
        match self.cluster.ask(request)? {
            Ok(answer) => Ok(answer.pointer("/status/allowed").and_then(Value::as_bool)),
            Err(refused) => {
                self.report.left_out("rights in the cluster", refused.message);
                Ok(None)
            }
        }
    }
}

/// Why the API server does not believe who answers it, by the `caBundle` (base64 of PEM) that it has and the CA that it should have.
fn why_unbelieved(bundle: &str, ca: Option<&[u8]>) -> Option<&'static str> {
    let Ok(pem) = STANDARD.decode(bundle) else { return Some("is not base64") };
    let Ok(leaf) = ServerLeaf::read(&pem) else { return Some("has no certificate") };
    let own = ca.and_then(|ca| ServerLeaf::read(ca).ok());
    if leaf.not_after.0 <= millis(SystemClock.now().wall).0 {
        Some("is over")
    } else if own.is_some_and(|own| own != leaf) {
        Some("is not the CA of this gateway")
    } else {
        None
    }
}

/// What became of an object.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Accepted,
    /// Why not.
    Refused(String),
    /// It is, and the key that it names in a Secret cannot be used, and why.
    Keyless(String),
    /// Nobody has looked at it as it is now.
    Unseen,
}

/// Of the condition `Programmed`, where it is about the Secret of a provider.
const KEYLESS: [&str; 5] =
    ["SecretNotFound", "KeyNotFound", "KeyInvalid", "SecretForbidden", "TooManySecrets"];

fn verdict(item: &Value) -> Verdict {
    let number = |of: &Value, at: &str| of.pointer(at).and_then(Value::as_i64).unwrap_or_default();
    let generation = number(item, "/metadata/generation");
    // As it is now.
    let condition = |of: &str| {
        let conditions = item.pointer("/status/conditions").and_then(Value::as_array);
        let found = conditions.into_iter().flatten().find(|one| text(one, "/type") == of);
        found.filter(|one| number(one, "/observedGeneration") >= generation)
    };
    match (condition("Accepted"), condition("Programmed")) {
        (None, _) => Verdict::Unseen,
        (Some(accepted), _) if text(accepted, "/status") == "False" => {
            Verdict::Refused(text(accepted, "/message").to_owned())
        }
        (_, Some(programmed)) if KEYLESS.contains(&text(programmed, "/reason")) => {
            Verdict::Keyless(text(programmed, "/message").to_owned())
        }
        _ => Verdict::Accepted,
    }
}

/// A text in a document; empty where there is none.
fn text<'v>(of: &'v Value, at: &str) -> &'v str {
    of.pointer(at).and_then(Value::as_str).unwrap_or_default()
}

/// The paths of all fields that the versions of a definition know.
fn fields(definition: &Value) -> BTreeSet<String> {
    fn below(schema: &Value, path: &str, found: &mut BTreeSet<String>) {
        for (name, of) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
            let path = format!("{path}.{name}");
            below(of, &path, found);
            found.insert(path);
        }
        for many in ["items", "additionalProperties"] {
            if let Some(of) = schema.get(many).filter(|of| of.is_object()) {
                below(of, &format!("{path}[]"), found);
            }
        }
    }
    let mut found = BTreeSet::new();
    for version in definition.pointer("/spec/versions").and_then(Value::as_array).into_iter().flatten() {
        if let Some(schema) = version.pointer("/schema/openAPIV3Schema") {
            below(schema, text(version, "/name"), &mut found);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_authority_that_is_another_or_none_is_not_believed() {
        let directory = tempfile::tempdir().expect("a directory");
        let ca = |name: &str| {
            let at = directory.path().join(name);
            let now = millis(SystemClock.now().wall);
            vidimus_identity::LocalIdentity::open(&at, None, now).expect("made");
            fs::read(at.join("ca.pem")).expect("a certificate")
        };
        let (own, other) = (ca("own"), ca("other"));
        let bundle = STANDARD.encode(&own);
        for (bundle, ca, why) in [
            (&*bundle, None, None),
            (&*bundle, Some(&*own), None),
            (&*bundle, Some(&*other), Some("is not the CA of this gateway")),
            ("", Some(&*own), Some("has no certificate")),
            ("{}", None, Some("is not base64")),
        ] {
            assert_eq!(why_unbelieved(bundle, ca), why);
        }
    }

    #[test]
    fn what_became_of_an_object_is_what_was_said_of_it_as_it_is() {
        let item = |status: Value| json!({"metadata": {"generation": 3}, "status": status});
        let said = |status: &str, observed: i64| {
            item(json!({"conditions": [{"type": "Ready", "status": "True"},
                {"type": "Accepted", "status": status, "observedGeneration": observed, "message": "spec.owner"}]}))
        };
        for (of, is) in [
            (item(json!({})), Verdict::Unseen),
            (said("True", 2), Verdict::Unseen),
            (said("True", 3), Verdict::Accepted),
            (said("False", 3), Verdict::Refused("spec.owner".to_owned())),
        ] {
            assert_eq!(verdict(&of), is, "{of}");
        }
    }

    #[test]
    fn a_provider_without_its_key_is_told_of() {
        let said = |reason: &str, observed: i64| {
            let of = |kind: &str, status: &str, reason: &str, observed: i64| json!({"type": kind, "status": status, "reason": reason, "observedGeneration": observed, "message": "apply"});
            let conditions =
                [of("Accepted", "True", "Accepted", 3), of("Programmed", "False", reason, observed)];
            json!({"metadata": {"generation": 3}, "status": {"conditions": conditions}})
        };
        for reason in KEYLESS {
            assert_eq!(verdict(&said(reason, 3)), Verdict::Keyless("apply".to_owned()), "{reason}");
            assert_eq!(verdict(&said(reason, 2)), Verdict::Accepted, "{reason}, of another generation");
        }
        assert_eq!(verdict(&said("Closed", 3)), Verdict::Accepted);
    }

    #[test]
    fn a_definition_of_another_version_lacks_its_fields() {
        for (plural, text) in KINDS {
            let own: Value = serde_saphyr::from_str(text).expect("a definition");
            let known = fields(&own);
            assert!(
                known.contains("v1alpha1.spec") && known.contains("v1alpha1.spec.description")
                    || plural != "policies"
            );
            assert!(known.len() > 5, "{plural}: {known:?}");
        }
        let of = |properties: Value| {
            fields(
                &json!({"spec": {"versions": [{"name": "v1", "schema": {"openAPIV3Schema": {"properties": properties}}}]}}),
            )
        };
        let (older, newer) = (of(json!({"a": {}})), of(json!({"a": {"items": {"properties": {"b": {}}}}})));
        assert_eq!(newer.difference(&older).collect::<Vec<_>>(), ["v1.a[].b"]);
    }
}
