//! The installation in a cluster: what is registered with its API server, what became of it, and who may do what.

mod installed;
mod records;
mod registrations;
mod replicas;
mod rights;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::Request;
use hyper::header::CONTENT_TYPE;
use jiff::Timestamp;
use serde_json::{Value, json};
use vidimus_core::admission::{Enforcement, NAMESPACE_LABEL};
use vidimus_core::clock::Clock as _;
use vidimus_gateway::millis;
use vidimus_identity::ServerLeaf;

use self::installed::{Installed, Source, service};
use self::rights::Account;
use super::check;
use super::check::Check;
use super::{Doctor, Report};
use crate::clock::SystemClock;
use crate::cmd::kubernetes::{self, Cluster, Refused};
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
/// So many namespaces are told one by one.
const TOLD: usize = 10;

/// What is looked at, and where the findings go.
struct Look<'a> {
    cluster: &'a Cluster,
    /// Who asks, as far as that is known here.
    who: String,
    namespace: &'a str,
    name: &'a str,
    report: &'a mut Report,
}

/// Who follows the cluster.
struct Follower {
    account: Account,
    /// The gateway's own account, where that is another one.
    gateway: Option<Account>,
    /// The command that shows what it logs.
    logs: String,
}

pub(super) fn look(doctor: &Doctor, report: &mut Report) {
    report.looked_at("the cluster");
    let looked = Cluster::of(&doctor.reach).and_then(|cluster| {
        let (namespace, name) = (&*doctor.namespace, &*doctor.workload);
        let who = kubernetes::who(&doctor.reach);
        let mut look = Look { cluster: &cluster, who, namespace, name, report: &mut *report };
        look.all(doctor)
    });
    if let Err(error) = looked {
        let fix = "kubectl cluster-info: is the API server there, and the context the right one?";
        report.find(check::CLUSTER_UNREACHABLE, format!("{error:#}"), fix);
    }
}

impl Look<'_> {
    fn all(&mut self, doctor: &Doctor) -> anyhow::Result<()> {
        // How it is installed says what it needs.
        let (installed, follower) = self.workload(doctor.service_account.as_deref())?;
        if installed.source == Source::Directory {
            let why = "the gateway reads a directory (--resources), and needs nothing of the API server";
            self.report.left_out("records, definitions, the Lease and rights in the cluster", why);
        } else {
            self.definitions()?;
            self.records(&installed, &follower.logs)?;
            if installed.writes {
                self.lease(&follower.logs)?;
            }
            rights::look(self, &installed, (&follower.account, follower.gateway.as_ref()))?;
        }
        self.namespaces()?;
        registrations::look(self)?;
        self.webhooks(&doctor.data.join("admission").join("ca.pem"), &installed)
    }

    /// What is at a path; `None` where this user may not look, which is said, or where nothing is, which is found.
    fn at(&mut self, path: &str, absent: Option<(Check, String)>) -> anyhow::Result<Option<Value>> {
        match self.cluster.get(path)? {
            Ok(found) => return Ok(Some(found)),
            Err(Refused { code: 404, .. }) => {
                if let Some((check, what)) = absent {
                    let fix = apply(self.namespace, self.name);
                    self.report.find(check, what, fix);
                }
            }
            Err(refused) => self.refused(part(path), &refused),
        }
        Ok(None)
    }

    /// Who asks is refused, and does not know how it is there.
    fn refused(&mut self, what: String, refused: &Refused) {
        let Refused { code, message } = refused;
        let why = match code {
            401 => format!(
                "the API server does not know {}: {message} ({code}); its credentials may be over",
                self.who
            ),
            // The message names the user and the right.
            403 => format!("{message} ({code}), asked as {}", self.who),
            _ => format!("{message} ({code})"),
        };
        self.report.could_not(what, why);
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
                let fix = apply(self.namespace, self.name);
                self.report.find(check::CLUSTER_CRD_OLD, what, fix);
            }
        }
        Ok(())
    }

    fn records(&mut self, installed: &Installed, logs: &str) -> anyhow::Result<()> {
        for (plural, _) in KINDS {
            let Some(list) = self.at(&format!("/apis/vidimus.dev/v1alpha1/{plural}"), None)? else {
                continue;
            };
            let items = list.get("items").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
            records::look(plural, items, installed, logs, self.report);
        }
        Ok(())
    }

    /// How it is installed, whether its pods are there, and who follows the cluster; `named` is the account of that one, where somebody says it.
    fn workload(&mut self, named: Option<&str>) -> anyhow::Result<(Installed, Follower)> {
        let (namespace, name) = (self.namespace, self.name);
        let account = |name: &str| Account { namespace: namespace.to_owned(), name: name.to_owned() };
        let mut follower = Follower {
            account: account(named.unwrap_or(name)),
            gateway: None,
            logs: format!("kubectl -n {namespace} logs {name}-0"),
        };
        let path = format!("/apis/apps/v1/namespaces/{namespace}/statefulsets/{name}");
        let absent = (check::CLUSTER_WORKLOAD_DOWN, format!("there is no StatefulSet {namespace}/{name}"));
        let Some(there) = self.at(&path, Some(absent))? else { return Ok((Installed::default(), follower)) };
        let installed = Installed::read(&there);
        if let Some((ready, wanted)) = lacking(&there) {
            let what = format!("{ready} of {wanted} pods of StatefulSet {namespace}/{name} are ready");
            let fix =
                format!("kubectl -n {namespace} describe pod {name}-0; kubectl -n {namespace} logs {name}-0");
            self.report.find(check::CLUSTER_WORKLOAD_DOWN, what, fix);
        }
        replicas::look(&there, (namespace, name), self.report);
        let runs_as = text(&there, ACCOUNT);
        let own = account(if runs_as.is_empty() { name } else { runs_as });
        if let Source::Registry(address) = &installed.source {
            follower.gateway = Some(own);
            self.registry(address, named, &mut follower)?;
        } else if named.is_none() {
            follower.account = own;
        }
        Ok((installed, follower))
    }

    /// The registry that the gateway hears: whether it is there, and who it is.
    fn registry(
        &mut self,
        address: &str,
        named: Option<&str>,
        follower: &mut Follower,
    ) -> anyhow::Result<()> {
        let (namespace, name) = service(address, self.namespace);
        let path = format!("/apis/apps/v1/namespaces/{namespace}/deployments/{name}");
        let there = match self.cluster.get(&path)? {
            Ok(there) => there,
            Err(Refused { code: 404, .. }) => {
                let what = format!("the registry at {address}");
                self.report.could_not(what, format!("there is no Deployment {namespace}/{name}"));
                return Ok(());
            }
            Err(refused) => {
                self.refused(part(&path), &refused);
                return Ok(());
            }
        };
        follower.logs = format!("kubectl -n {namespace} logs deployment/{name}");
        if let Some((ready, wanted)) = lacking(&there) {
            let what = format!("{ready} of {wanted} pods of Deployment {namespace}/{name} are ready");
            let fix = format!("kubectl -n {namespace} describe deployment {name}; {}", follower.logs);
            self.report.find(check::CLUSTER_REGISTRY_DOWN, what, fix);
        }
        let runs_as = text(&there, ACCOUNT);
        let runs_as = named.unwrap_or(if runs_as.is_empty() { "default" } else { runs_as });
        follower.account = Account { namespace: namespace.to_owned(), name: runs_as.to_owned() };
        Ok(())
    }

    /// Namespaces that are to be governed, and are not, since nothing is of the value of their label.
    fn namespaces(&mut self) -> anyhow::Result<()> {
        let path = format!("/api/v1/namespaces?labelSelector={NAMESPACE_LABEL}");
        let Some(list) = self.at(&path, None)? else { return Ok(()) };
        let items = list.get("items").and_then(Value::as_array).into_iter().flatten();
        for what in items.filter_map(unlooked).take(TOLD) {
            let fix = format!(
                "kubectl label --overwrite namespace NAME {NAMESPACE_LABEL}=enforce; or warn, or audit"
            );
            self.report.find(check::CLUSTER_LABEL_UNKNOWN, what, fix);
        }
        Ok(())
    }

    fn lease(&mut self, logs: &str) -> anyhow::Result<()> {
        let namespace = self.namespace;
        let path = format!("/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases/{LEASE}");
        let absent = (check::CLUSTER_LEASE_UNHELD, format!("there is no Lease {namespace}/{LEASE}"));
        let Some(there) = self.at(&path, Some(absent))? else { return Ok(()) };
        let renewed: Option<Timestamp> = text(&there, "/spec/renewTime").parse().ok();
        let age = renewed.map(|at| Timestamp::now().as_second().saturating_sub(at.as_second()));
        if age.is_none_or(|age| age > UNHELD) {
            let since = age.map_or_else(|| "ever".to_owned(), |age| format!("for {age} s"));
            let what = format!("Lease {namespace}/{LEASE} was not renewed {since}");
            let fix = format!("{logs} | grep Lease says why");
            self.report.find(check::CLUSTER_LEASE_UNHELD, what, fix);
        }
        Ok(())
    }

    /// Nobody asks who registers what reaches beyond a namespace.
    fn registrars(&mut self, what: String, installed: &Installed) -> anyhow::Result<()> {
        // The API server itself holds it to who may (ADR 107).
        if self.at(registrars::RULES, None)?.is_some_and(|bindings| registrars::is_ruled(&bindings)) {
            return Ok(());
        }
        let fix = match installed.source {
            // Who is not reached by the API server is not asked.
            Source::Registry(_) => "kubectl apply -f deploy/admission/reach.yaml, or give tenants no right to write policies, agents and serviceidentities (docs/kubernetes.md, Who may register what)".to_owned(),
            _ => registrars::fix(self.namespace, self.name),
        };
        self.report.find(check::CLUSTER_REGISTRARS_OPEN, what, fix);
        Ok(())
    }

    /// What has the API server ask before it takes objects, where that is set up; `ca` is the CA of who answers, where it is on this machine.
    fn webhooks(&mut self, ca: &Path, installed: &Installed) -> anyhow::Result<()> {
        let path =
            format!("/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations/{WEBHOOKS}");
        let there = match self.cluster.get(&path)? {
            Ok(there) => there,
            Err(Refused { code: 404, .. }) => {
                let what = format!(
                    "there is no ValidatingWebhookConfiguration {WEBHOOKS}: who registers objects is decided by RBAC alone"
                );
                if installed.source != Source::Directory {
                    self.registrars(what, installed)?;
                }
                return Ok(());
            }
            Err(refused) => {
                self.refused(part(&path), &refused);
                return Ok(());
            }
        };
        if let Some(policies) = self.at("/apis/vidimus.dev/v1alpha1/policies", None)? {
            let policies = policies.get("items").and_then(Value::as_array).map(Vec::as_slice);
            if !registrars::is_governed(policies.unwrap_or_default()) {
                let what = "no policy says who registers objects (registerObject), so RBAC alone decides it";
                self.registrars(what.to_owned(), installed)?;
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

    /// Whether somebody may do something, as a SubjectAccessReview says it; `None` where this user may not ask.
    fn review(&mut self, spec: &Value) -> anyhow::Result<Option<bool>> {
        let review =
            json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": spec});
        let request = Request::post("/apis/authorization.k8s.io/v1/subjectaccessreviews")
            .header(CONTENT_TYPE, "application/json")
            .body(serde_json::to_vec(&review)?)?;
        match self.cluster.ask(request)? {
            Ok(answer) => Ok(answer.pointer("/status/allowed").and_then(Value::as_bool)),
            Err(refused) => {
                self.refused("rights in the cluster (subjectaccessreviews)".to_owned(), &refused);
                Ok(None)
            }
        }
    }
}

/// As what the pods of a workload run.
const ACCOUNT: &str = "/spec/template/spec/serviceAccountName";

/// How many pods of a workload are ready, and how many should be, where those are too few.
fn lacking(workload: &Value) -> Option<(i64, i64)> {
    let number = |at: &str| workload.pointer(at).and_then(Value::as_i64);
    let (ready, wanted) =
        (number("/status/readyReplicas").unwrap_or(0), number("/spec/replicas").unwrap_or(1));
    (ready < wanted).then_some((ready, wanted))
}

/// What brings all of it, where something is missing: also where nothing is installed yet, and with what was configured.
fn apply(namespace: &str, name: &str) -> String {
    // The chart calls everything by the release, where that has its own name in it.
    let called =
        if name.contains("vidimus") { String::new() } else { format!(" --set fullnameOverride={name}") };
    let helm = format!(
        "helm upgrade --install {name} deploy/chart/vidimus -n {namespace} --create-namespace --reuse-values{called}"
    );
    match (namespace, name) {
        // What the binary has is of these names.
        ("vidimus-system", "vidimus") => format!("{helm}, or vidimus install --apply"),
        _ => helm,
    }
}

/// What is at a path of the API server, as it is called: a resource, and of which name.
fn part(path: &str) -> String {
    let path = path.split_once('?').map_or(path, |(path, _)| path);
    // The core group has no name.
    let above = if path.starts_with("/api/") { 2 } else { 3 };
    let mut rest = path.split('/').skip(1 + above);
    let (mut resource, mut name, mut namespace) = (rest.next(), rest.next(), None);
    if resource == Some("namespaces") && name.is_some() {
        namespace = name;
        (resource, name) = (rest.next(), rest.next());
    }
    let at: Vec<&str> = namespace.into_iter().chain(name).collect();
    format!("{} {}", resource.unwrap_or(path), at.join("/")).trim_end().to_owned()
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

/// Of a namespace: its name and the value of a label by which its pods are to be looked at, where no rule has such a value.
fn unlooked(namespace: &Value) -> Option<String> {
    let value = namespace.pointer("/metadata/labels")?.get(NAMESPACE_LABEL)?.as_str()?;
    let name = text(namespace, "/metadata/name");
    Enforcement::of(value).is_none().then(|| format!("namespace {name} has {NAMESPACE_LABEL}={value}"))
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
    fn what_mends_it_is_of_the_installation_that_was_looked_at() {
        let usual = apply("vidimus-system", "vidimus");
        assert!(
            usual.starts_with("helm upgrade --install vidimus ")
                && usual.ends_with("vidimus install --apply")
        );
        for (namespace, name, says) in [
            ("gates", "vidimus", "-n gates "),
            ("gates", "gate", "--install gate "),
            ("g", "gate", "fullnameOverride=gate"),
        ] {
            let fix = apply(namespace, name);
            assert!(
                fix.contains(says) && !fix.contains("vidimus-system") && !fix.contains("--apply"),
                "{fix}"
            );
        }
    }

    #[test]
    fn a_part_of_the_cluster_is_called_by_its_resource_and_name() {
        for (path, called) in [
            ("/apis/apps/v1/namespaces/v/statefulsets/gate", "statefulsets v/gate"),
            ("/apis/vidimus.dev/v1alpha1/agents", "agents"),
            (
                "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/a.vidimus.dev",
                "customresourcedefinitions a.vidimus.dev",
            ),
            ("/apis/discovery.k8s.io/v1/namespaces/v/endpointslices?labelSelector=x/y", "endpointslices v"),
            ("/api/v1/namespaces", "namespaces"),
        ] {
            assert_eq!(part(path), called);
        }
    }

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
    fn a_label_that_no_rule_has_is_told_of() {
        let namespace = |labels: Value| unlooked(&json!({"metadata": {"name": "a", "labels": labels}}));
        for (labels, found) in [
            (json!({}), None),
            (json!({"vidimus.dev/admission": "enforce"}), None),
            (json!({"vidimus.dev/admission": "warn"}), None),
            (
                json!({"vidimus.dev/admission": "enfroce"}),
                Some("namespace a has vidimus.dev/admission=enfroce"),
            ),
            (json!({"vidimus.dev/admission": ""}), Some("namespace a has vidimus.dev/admission=")),
        ] {
            assert_eq!(namespace(labels).as_deref(), found);
        }
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
