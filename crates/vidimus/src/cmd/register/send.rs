//! Objects to the API server, by server-side apply, and their statuses from it.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use kube_client::core::Request;
use kube_client::core::params::{GetParams, ListParams, Patch, PatchParams, ValidationDirective};
use kube_client::{Client, Config};
use serde::Serialize;
use serde_json::Value;
use tokio::time::{Instant, sleep};
use vidimus_cluster::answer;
use vidimus_core::resource::{API_VERSION, Kind, ObjectRef, crds};
use vidimus_registry::Manifest;

use super::Became;
use super::verdict::{Verdict, conditions, verdict};
use crate::cmd::kubernetes;

/// As who fields are applied: what another manager has applied is not taken from it without --force-conflicts.
const MANAGER: &str = "vidimus-register";
/// Between two looks at the statuses.
const LOOK: Duration = Duration::from_millis(250);
/// What is refused may be so for another object that is on its way: so long after all were told of, it is looked at again.
const SETTLES: Duration = Duration::from_secs(2);

/// What applying an object did, or would do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Applied {
    Created,
    Configured,
    Unchanged,
    /// The API server does not take it.
    Refused,
}

impl Applied {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Configured => "configured",
            Self::Unchanged => "unchanged",
            Self::Refused => "refused",
        }
    }
}

/// A cluster to which objects are sent.
pub(super) struct Sender {
    client: Client,
    /// The URL of its API server.
    server: String,
    force: bool,
    plurals: BTreeMap<String, String>,
}

impl Sender {
    /// # Errors
    /// When what is said of the cluster cannot be used.
    pub(super) fn new(config: Config, force: bool) -> anyhow::Result<Self> {
        let plurals = crds().into_iter().map(|crd| (crd.spec.names.kind, crd.spec.names.plural)).collect();
        let server = config.cluster_url.to_string();
        Ok(Self { client: kubernetes::client(config)?, server, force, plurals })
    }

    /// What the cluster has; `None` where not all of it may be read.
    pub(super) async fn there(&self) -> Option<Vec<Value>> {
        let mut all = Vec::new();
        for plural in self.plurals.values() {
            let request = Request::new(format!("/apis/{API_VERSION}/{plural}"));
            let request = request.list(&ListParams::default()).ok()?;
            let mut list = self.client.request::<Value>(request).await.ok()?;
            match list.get_mut("items").map(Value::take) {
                Some(Value::Array(items)) => all.extend(items),
                _ => return None,
            }
        }
        Some(all)
    }

    /// Applies all, one after the other, in effect or only as a try. What is not taken ends nothing.
    ///
    /// # Errors
    /// Where the API server does not answer, or nobody may ask it.
    pub(super) async fn apply(&self, manifests: &[Manifest], dry_run: bool) -> anyhow::Result<Vec<Became>> {
        let mut all = Vec::with_capacity(manifests.len());
        for manifest in manifests {
            all.push(self.apply_one(manifest, dry_run).await?);
        }
        Ok(all)
    }

    async fn apply_one(&self, manifest: &Manifest, dry_run: bool) -> anyhow::Result<Became> {
        let object = &manifest.object;
        let before = self.get(object).await?;
        let params = PatchParams {
            dry_run,
            force: self.force,
            field_manager: Some(MANAGER.to_owned()),
            field_validation: Some(ValidationDirective::Strict),
        };
        let request = self.of(object)?.patch(&object.name, &params, &Patch::Apply(&manifest.document))?;
        let mut became = Became {
            object: object.to_string(),
            applied: Applied::Refused,
            generation: None,
            conditions: Vec::new(),
            refused: None,
        };
        match self.client.request::<Value>(request).await {
            Ok(after) => {
                became.generation = after.pointer("/metadata/generation").and_then(Value::as_i64);
                became.applied = applied(before.as_ref(), &after);
            }
            Err(error) => became.refused = Some(self.refused(error, object)?),
        }
        Ok(became)
    }

    /// Waits until something is said of each in its present version. `false` where that is so, `true` where the time was over before.
    ///
    /// # Errors
    /// As [`Sender::apply`]; and where an object is gone meanwhile.
    pub(super) async fn wait(
        &self,
        manifests: &[Manifest],
        sent: &mut [Became],
        timeout: Duration,
    ) -> anyhow::Result<bool> {
        let until = Instant::now() + timeout;
        let mut told: Option<Instant> = None;
        loop {
            let (mut untold, mut refused) = (false, false);
            for (manifest, became) in manifests.iter().zip(sent.iter_mut()) {
                if verdict(&became.conditions) != Verdict::InForce {
                    let now = self.get(&manifest.object).await?;
                    let now = now.with_context(|| format!("{} was deleted meanwhile", became.object))?;
                    became.generation = now.pointer("/metadata/generation").and_then(Value::as_i64);
                    became.conditions = conditions(&now);
                }
                match verdict(&became.conditions) {
                    Verdict::InForce => {}
                    Verdict::Refused => refused = true,
                    Verdict::Untold => untold = true,
                }
            }
            let now = Instant::now();
            told = if untold { None } else { told.or(Some(now)) };
            let settled = told.is_some_and(|since| !refused || now.duration_since(since) >= SETTLES);
            if settled || now >= until {
                return Ok(untold);
            }
            sleep(LOOK).await;
        }
    }

    async fn get(&self, object: &ObjectRef) -> anyhow::Result<Option<Value>> {
        let request = self.of(object)?.get(&object.name, &GetParams::default())?;
        match self.client.request::<Value>(request).await {
            Ok(found) => Ok(Some(found)),
            Err(kube_client::Error::Api(status)) if status.code == 404 => Ok(None),
            Err(error) => Err(self.unanswered(&error)),
        }
    }

    fn of(&self, object: &ObjectRef) -> anyhow::Result<Request> {
        let kind: Kind = object.kind;
        let plural = self.plurals.get(kind.as_str()).with_context(|| format!("{kind} has no plural"))?;
        let namespace = &object.namespace;
        Ok(Request::new(format!("/apis/{API_VERSION}/namespaces/{namespace}/{plural}")))
    }

    /// Why an object is not taken.
    ///
    /// # Errors
    /// Where it is not the object that is refused.
    fn refused(&self, error: kube_client::Error, object: &ObjectRef) -> anyhow::Result<String> {
        let kube_client::Error::Api(status) = error else { return Err(self.unanswered(&error)) };
        match status.code {
            404 => Ok(format!(
                "{}: there is no namespace {}, or the CRDs are not installed (deploy/crds)",
                status.message, object.namespace
            )),
            409 => Ok(format!(
                "{}: --force-conflicts takes over what something else has applied",
                status.message
            )),
            // What the object says, and what policies of the cluster say of it.
            400 | 403 | 422 => Ok(status.message),
            _ => Err(self.unanswered(&kube_client::Error::Api(status))),
        }
    }

    /// Why nothing is known.
    fn unanswered(&self, error: &kube_client::Error) -> anyhow::Error {
        anyhow!("{}", answer::not_done(&self.server, error))
    }
}

/// What applying did, by the versions before and after; of a try, by what would be another.
fn applied(before: Option<&Value>, after: &Value) -> Applied {
    let Some(before) = before else { return Applied::Created };
    let same = |pointer: &str| before.pointer(pointer) == after.pointer(pointer);
    let is_same = ["/spec", "/metadata/labels", "/metadata/annotations"].into_iter().all(same);
    if is_same { Applied::Unchanged } else { Applied::Configured }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_same_again_is_unchanged_whatever_the_cluster_fills_in() {
        let object = |risk: &str, version: &str| {
            json!({
                "metadata": {"name": "a", "resourceVersion": version, "managedFields": [version], "labels": {"a": "b"}},
                "spec": {"riskLevel": risk}, "status": {"of": version},
            })
        };
        for (before, after, expected) in [
            (None, object("low", "1"), Applied::Created),
            (Some(object("low", "1")), object("low", "2"), Applied::Unchanged),
            (Some(object("low", "1")), object("high", "2"), Applied::Configured),
        ] {
            assert_eq!(applied(before.as_ref(), &after), expected);
        }
    }
}
