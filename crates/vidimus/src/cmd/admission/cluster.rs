//! `vidimus admission scan` and `manifests` with `--cluster`: pods and records as the API server has them, and what is written there of them.

use std::collections::BTreeSet;
use std::sync::Arc;

use anyhow::{Context as _, bail, ensure};
use hyper::Request;
use hyper::header::{ACCEPT, CONTENT_TYPE};
use jiff::Timestamp;
use serde_json::{Value, json};
use url::form_urlencoded::byte_serialize;
use vidimus_core::admission::workloads::Workloads;
use vidimus_core::resource::Kind;
use vidimus_core::snapshot::Snapshot;
use vidimus_query::admission::is_report_name;

use super::{REGISTRATIONS, WRITTEN};
use crate::cmd::kubernetes::{Cluster, Refused};

/// Whom the API server names for reports.
const MANAGER: &str = "vidimus-scan";
/// Each kind of report, its version, and how it stands in paths.
const PLACES: [(&str, &str, &str); 2] = [
    ("PolicyReport", "wgpolicyk8s.io/v1alpha2", "policyreports"),
    ("Report", "openreports.io/v1alpha1", "reports"),
];
/// Reports that are ours, as the label that each has says it.
const OURS: &str = "&labelSelector=app.kubernetes.io%2Fmanaged-by%3Dvidimus";
/// Objects of one page.
const PAGE: usize = 500;
const WHOLE: &str = "application/json";
/// Of each object where it is, and nothing of what it says.
const METADATA: &str = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";

/// All pods.
///
/// # Errors
/// When the API server does not say.
pub(super) fn pods(cluster: &Cluster) -> anyhow::Result<Value> {
    let items = list(cluster, "/api/v1/pods", "", WHOLE)?;
    let items = items.map_err(|refused| anyhow::anyhow!("pods: {}", refused.message))?;
    Ok(json!({"kind": "List", "items": items}))
}

/// What records claim, of all namespaces or of those that are `followed`, and how many faults are in them. What is quarantined by an act says its status.
///
/// # Errors
/// When the API server does not say.
pub(super) fn workloads(cluster: &Cluster, followed: &[String]) -> anyhow::Result<(Workloads, usize)> {
    let source: Arc<str> = vidimus_cluster::SOURCE.into();
    let places: Vec<Option<&str>> = match followed {
        [] => vec![None],
        some => some.iter().map(|namespace| Some(&**namespace)).collect(),
    };
    let (mut objects, mut rejected) = (Vec::new(), Vec::new());
    for (kind, place) in Kind::ALL.into_iter().flat_map(|kind| places.iter().map(move |place| (kind, *place)))
    {
        let items = list(cluster, &vidimus_cluster::collection(kind, place), "", WHOLE)?;
        let items = items.map_err(|refused| anyhow::anyhow!("{}: {}", kind.as_str(), refused.message))?;
        for item in items {
            let is_quarantined = vidimus_cluster::says_quarantined(&item);
            match vidimus_cluster::read(&source, kind, item) {
                Ok(object) if is_quarantined => objects.push(object.quarantined()),
                Ok(object) => objects.push(object),
                Err(rejections) => rejected.extend(rejections),
            }
        }
    }
    let (snapshot, rejections) = Snapshot::default().rebuilt(objects, rejected);
    Ok((Workloads::of(&snapshot), rejections.len()))
}

/// What became of reports.
#[derive(Debug, Default)]
pub(super) struct Written {
    pub(super) written: usize,
    pub(super) removed: usize,
    /// What the API server does not take, and why.
    pub(super) refused: Vec<String>,
}

/// Has the cluster hold these reports, and none of an earlier scan beside them. A kind that it does not know is left out.
///
/// # Errors
/// When it knows neither kind, does not answer, or this user may not list them.
pub(super) fn write(cluster: &Cluster, reports: &[Value]) -> anyhow::Result<Written> {
    let mut done = Written::default();
    let mut is_served = false;
    for (kind, version, plural) in PLACES {
        let there = match list(cluster, &format!("/apis/{version}/{plural}"), OURS, METADATA)? {
            Ok(there) => there,
            Err(Refused { code: 404, .. }) => continue,
            Err(refused) => bail!("{plural}: {}", refused.message),
        };
        is_served = true;
        let path =
            |(namespace, name): &Place| format!("/apis/{version}/namespaces/{namespace}/{plural}/{name}");
        let said = |(namespace, name): &Place, refused: &Refused| {
            format!("{kind} {namespace}/{name}: {}", refused.message)
        };
        let mut current = BTreeSet::new();
        for report in reports.iter().filter(|report| report.get("kind") == Some(&json!(kind))) {
            let place = place(report).context("a report without a name")?;
            let query = format!("{}?fieldManager={MANAGER}&force=true&fieldValidation=Strict", path(&place));
            let request = Request::patch(query).header(CONTENT_TYPE, "application/apply-patch+yaml");
            match cluster.ask(request.body(serde_json::to_vec(report)?)?)? {
                Ok(_) => done.written += 1,
                // Its namespace went meanwhile, and its pods with it.
                Err(Refused { code: 404, .. }) => {}
                Err(refused) => done.refused.push(said(&place, &refused)),
            }
            current.insert(place);
        }
        let left = there.iter().filter_map(place).filter(|place| is_report_name(&place.1));
        for place in left.filter(|place| !current.contains(place)) {
            match cluster.ask(Request::delete(path(&place)).body(Vec::new())?)? {
                Ok(_) => done.removed += 1,
                Err(Refused { code: 404, .. }) => {}
                Err(refused) => done.refused.push(said(&place, &refused)),
            }
        }
    }
    ensure!(
        is_served,
        "the cluster knows neither policyreports of wgpolicyk8s.io nor reports of openreports.io: apply the CRDs of one of them \
         (docs/admission.md, Reports)"
    );
    Ok(done)
}

/// Has the cluster hold what is registered, and nothing beside it: whatever stood there before is replaced.
///
/// # Errors
/// When the API server does not take it.
pub(super) fn hold(cluster: &Cluster, namespace: &str, text: &str) -> anyhow::Result<()> {
    let path = format!(
        "/api/v1/namespaces/{namespace}/configmaps/{REGISTRATIONS}?fieldManager=vidimus-admission&fieldValidation=Strict"
    );
    let mut map: Value = serde_saphyr::from_str(text).context("what is registered")?;
    // When: whoever looks it up cannot tell otherwise that nobody writes it any more.
    if let Some(metadata) = map.get_mut("metadata").and_then(Value::as_object_mut) {
        let now = Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        metadata.insert("annotations".to_owned(), json!({WRITTEN: now}));
    }
    let request =
        Request::put(path).header(CONTENT_TYPE, "application/json").body(serde_json::to_vec(&map)?)?;
    match cluster.ask(request)? {
        Ok(_) => Ok(()),
        Err(Refused { code: 404, .. }) => bail!(
            "there is no ConfigMap {namespace}/vidimus-admission: kubectl apply -f deploy/rbac/admission.yaml makes it, with who may write it"
        ),
        Err(refused) => bail!("ConfigMap {namespace}/vidimus-admission: {}", refused.message),
    }
}

/// Namespace and name.
type Place = (String, String);

fn place(object: &Value) -> Option<Place> {
    let text = |pointer: &str| object.pointer(pointer)?.as_str().map(str::to_owned);
    Some((text("/metadata/namespace")?, text("/metadata/name")?))
}

/// All objects of a collection, page by page.
fn list(
    cluster: &Cluster,
    collection: &str,
    which: &str,
    accept: &str,
) -> anyhow::Result<Result<Vec<Value>, Refused>> {
    let mut all = Vec::new();
    let mut next = String::new();
    loop {
        let query = format!("{collection}?limit={PAGE}{which}{next}");
        let request = Request::get(query).header(ACCEPT, accept).body(Vec::new())?;
        let page = match cluster.ask(request)? {
            Ok(page) => page,
            Err(refused) => return Ok(Err(refused)),
        };
        let token = page.pointer("/metadata/continue").and_then(Value::as_str).unwrap_or_default();
        let token: String = byte_serialize(token.as_bytes()).collect();
        if let Some(items) = page.get("items").and_then(Value::as_array) {
            all.extend(items.iter().cloned());
        }
        if token.is_empty() {
            return Ok(Ok(all));
        }
        next = format!("&continue={token}");
    }
}
