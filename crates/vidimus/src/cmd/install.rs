//! `vidimus install`: the minimal installation of deploy/chart, applied without Helm.

use std::process::ExitCode;

use anyhow::{Context as _, anyhow};
use clap::Args;
use hyper::Request;
use hyper::header::CONTENT_TYPE;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::kubernetes::{Cluster, Reach, Refused};
use crate::output::{self, Format, printable};

/// What is applied: e2e/chart holds it to the chart.
const MINIMAL: &str = include_str!("../../../../deploy/install/minimal.yaml");
/// The image that it names.
const IMAGE: &str = "ghcr.io/vidimus/vidimus:0.1.0";
/// Who has the fields that are applied.
const MANAGER: &str = "vidimus-install";

/// Installs registry and gateway in a cluster: what the Helm chart does with its defaults, for who has no Helm.
///
/// Without --apply nothing is changed: the manifests are printed, or, with --server, the API server says of each what it would do.
/// It is a server-side apply, so it may be repeated, and upgrades; nothing is deleted. Values other than the defaults are what the
/// chart is for (deploy/chart/vidimus).
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  vidimus install --dry-run | less
  vidimus install --dry-run --server
  vidimus install --apply --image registry.example/vidimus:0.1.0

Exit codes: 0 applied, or would be; 1 the API server refuses some of it;
2 not asked")]
pub struct Install {
    /// Change nothing, and print what would be applied: so it is without --apply.
    #[arg(long, conflicts_with = "apply")]
    dry_run: bool,
    /// Have the API server say of each object what it would do (a server-side dry run), and change nothing.
    #[arg(long, conflicts_with = "apply")]
    server: bool,
    /// Apply it.
    #[arg(long)]
    apply: bool,
    /// The image of the gateway, as in registry.example/vidimus@sha256:…
    #[arg(long, value_name = "IMAGE", default_value = IMAGE, value_parser = image)]
    image: String,
    #[command(flatten)]
    reach: Reach,
}

/// It stands in YAML as it is.
fn image(text: &str) -> anyhow::Result<String> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"./:@_-".contains(&byte);
    let good = !text.is_empty()
        && text.bytes().all(is_plain)
        && text.bytes().next().is_some_and(|it| it.is_ascii_alphanumeric());
    good.then(|| text.to_owned())
        .ok_or_else(|| anyhow!("write REGISTRY/NAME:TAG or REGISTRY/NAME@sha256:DIGEST"))
}

/// Of an object what says where it is.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Head {
    api_version: String,
    kind: String,
    metadata: Metadata,
}

#[derive(Debug, Deserialize)]
struct Metadata {
    name: String,
    #[serde(default)]
    namespace: Option<String>,
}

impl Head {
    fn of(document: &str) -> anyhow::Result<Self> {
        serde_saphyr::from_str(document).map_err(|error| anyhow!("deploy/install/minimal.yaml: {error}"))
    }

    /// Where the API server has it.
    fn path(&self) -> anyhow::Result<String> {
        let plural =
            plural(&self.kind).with_context(|| format!("deploy/install/minimal.yaml: {}", self.kind))?;
        let group = if self.api_version.contains('/') { "apis" } else { "api" };
        let within =
            self.metadata.namespace.as_ref().map(|name| format!("/namespaces/{name}")).unwrap_or_default();
        Ok(format!("/{group}/{}{within}/{plural}/{}", self.api_version, self.metadata.name))
    }

    fn shown(&self) -> String {
        let within = self.metadata.namespace.as_ref().map(|name| format!("{name}/")).unwrap_or_default();
        format!("{} {within}{}", self.kind, self.metadata.name)
    }
}

/// The kinds that are applied, as they stand in paths.
fn plural(kind: &str) -> Option<&'static str> {
    Some(match kind {
        "Namespace" => "namespaces",
        "CustomResourceDefinition" => "customresourcedefinitions",
        "ServiceAccount" => "serviceaccounts",
        "NetworkPolicy" => "networkpolicies",
        "PodDisruptionBudget" => "poddisruptionbudgets",
        "ClusterRole" => "clusterroles",
        "ClusterRoleBinding" => "clusterrolebindings",
        "Role" => "roles",
        "RoleBinding" => "rolebindings",
        "Service" => "services",
        "StatefulSet" => "statefulsets",
        "Lease" => "leases",
        "ValidatingAdmissionPolicy" => "validatingadmissionpolicies",
        "ValidatingAdmissionPolicyBinding" => "validatingadmissionpolicybindings",
        _ => return None,
    })
}

/// What became of one object.
#[derive(Debug, Serialize)]
struct Done {
    object: String,
    /// `applied`, `would_apply`, `not_tried` or `refused`.
    outcome: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

pub fn run(install: &Install, format: Format) -> anyhow::Result<ExitCode> {
    let text = MINIMAL.replace(IMAGE, &install.image);
    let applies = install.apply && !install.dry_run;
    if !applies && !install.server {
        match format {
            Format::Json => output::json(&list(&text)?)?,
            Format::Table => output::line(text.trim_end()),
        }
        return Ok(ExitCode::SUCCESS);
    }
    let cluster = Cluster::of(&install.reach)?;
    let mut refused = false;
    for document in documents(&text) {
        let head = Head::of(document)?;
        let done = match applied(&cluster, &head, document, applies)? {
            Ok(()) => {
                let outcome = if applies { "applied" } else { "would_apply" };
                Done { object: head.shown(), outcome, reason: None }
            }
            // A dry run makes no namespace for what follows it.
            Err(Refused { code: 404, .. }) if !applies && head.metadata.namespace.is_some() => Done {
                object: head.shown(),
                outcome: "not_tried",
                reason: Some("its namespace is not there yet, and is applied first".to_owned()),
            },
            // Nobody is known to it: the next object would be refused too, and nothing is said of any.
            Err(unknown @ Refused { code: 401, .. }) => return Err(cluster.refusal(&unknown)),
            Err(Refused { message, .. }) => {
                refused = true;
                Done { object: head.shown(), outcome: "refused", reason: Some(message) }
            }
        };
        match format {
            Format::Json => output::json(&done)?,
            Format::Table => {
                let reason = done
                    .reason
                    .as_deref()
                    .map(|reason| format!(": {}", printable(reason)))
                    .unwrap_or_default();
                output::line(&format!(
                    "{} {}{reason}",
                    output::verdict(done.outcome, done.reason.is_none()),
                    done.object
                ));
            }
        }
    }
    Ok(if refused { ExitCode::from(1) } else { ExitCode::SUCCESS })
}

/// Each object's text.
fn documents(text: &str) -> impl Iterator<Item = &str> {
    // What is before the first is a remark.
    text.split("\n---\n").skip(1)
}

/// All of them as kubectl takes them in JSON.
fn list(text: &str) -> anyhow::Result<Value> {
    let read = |document| serde_saphyr::from_str::<Value>(document).map_err(|error| anyhow!("{error}"));
    let items = documents(text).map(read).collect::<anyhow::Result<Vec<Value>>>()?;
    Ok(json!({"apiVersion": "v1", "kind": "List", "items": items}))
}

/// A server-side apply of one object; without `apply` the server only says what it would do.
fn applied(
    cluster: &Cluster,
    head: &Head,
    document: &str,
    apply: bool,
) -> anyhow::Result<Result<(), Refused>> {
    let dry = if apply { "" } else { "&dryRun=All" };
    let path = format!("{}?fieldManager={MANAGER}&force=true&fieldValidation=Strict{dry}", head.path()?);
    let request = Request::patch(path)
        .header(CONTENT_TYPE, "application/apply-patch+yaml")
        .body(document.as_bytes().to_vec())?;
    Ok(cluster.ask(request)?.map(drop))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn everything_that_is_applied_has_its_place_and_the_namespace_comes_first() {
        let heads: Vec<Head> =
            documents(MINIMAL).map(|document| Head::of(document).expect("a head")).collect();
        assert_eq!(heads.first().map(Head::shown).as_deref(), Some("Namespace vidimus-system"));
        let paths: BTreeSet<String> = heads.iter().map(|head| head.path().expect("a path")).collect();
        assert_eq!(paths.len(), heads.len());
        let list = list(MINIMAL).expect("JSON");
        assert_eq!(list["items"].as_array().map(Vec::len), Some(heads.len()), "with -o json");
        for path in [
            "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/agents.vidimus.dev",
            "/apis/apps/v1/namespaces/vidimus-system/statefulsets/vidimus",
            "/api/v1/namespaces/vidimus-system/services/vidimus",
            "/apis/coordination.k8s.io/v1/namespaces/vidimus-system/leases/vidimus-statuses",
            // Who registers what reaches beyond a namespace is decided from the start.
            "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicybindings/vidimus-vidimus-system-reach",
        ] {
            assert!(paths.contains(path), "{path}: {paths:?}");
        }
    }

    #[test]
    fn the_image_is_replaced_and_cannot_be_more_than_one() {
        assert_eq!(MINIMAL.matches(IMAGE).count(), 1);
        assert!(IMAGE.ends_with(concat!(":", env!("CARGO_PKG_VERSION"))));
        assert!(image("registry.example:5000/a/vidimus@sha256:0").is_ok());
        for text in ["", "a b", "a\nb: c", "{a}", "-a", "a#b"] {
            assert!(image(text).is_err(), "{text:?}");
        }
    }
}
