//! From a document, as it was read, to a checked object. In a cluster the CRD has said the same before.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::agent::AgentSpec;
use super::llm_provider::{LlmProviderSpec, ProviderType};
use super::mcp_server::McpServerSpec;
use super::policy::PolicySpec;
use super::problem::{At, Fault, Problems};
use super::service_identity::ServiceIdentitySpec;
use super::{API_VERSION, Meta, Object, Origin, Rejection, crd, field::name, shape};

/// The five kinds.
pub const KINDS: [&str; 5] = ["Agent", "MCPServer", "LLMProvider", "ServiceIdentity", "Policy"];

/// The namespace of an object that names none.
pub const DEFAULT_NAMESPACE: &str = "default";

/// What a check needs to know of the document around the spec.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Document<'a> {
    pub(crate) source: &'a str,
}

impl Document<'_> {
    pub(crate) fn spec(self) -> At<'static> {
        At::Key(&At::Root, "spec")
    }
}

/// Checks one document.
///
/// # Errors
/// Everything that is wrong with it. A fault that only follows from another one is not listed.
pub fn check(origin: &Origin, document: &Value) -> Result<Object, Vec<Rejection>> {
    let mut problems = Problems::default();
    let object = check_document(origin, document, &mut problems);
    match object {
        Some(object) if problems.is_empty() => Ok(object),
        _ => Err(problems.into_rejections(origin, &title(document))),
    }
}

/// `Kind namespace/name`, as far as it can be read.
fn title(document: &Value) -> String {
    let text = |pointer: &str| document.pointer(pointer).and_then(Value::as_str);
    let kind = text("/kind").unwrap_or("Object");
    let namespace = text("/metadata/namespace").unwrap_or(DEFAULT_NAMESPACE);
    let name = text("/metadata/name").unwrap_or("(without a name)");
    super::problem::shortened(&format!("{kind} {namespace}/{name}"))
}

fn check_document(origin: &Origin, document: &Value, problems: &mut Problems) -> Option<Object> {
    let root = At::Root;
    let Value::Object(members) = document else {
        let fix = "begin it with apiVersion, kind, metadata and spec";
        problems.report(root, &shape::text(document), Fault::new("the document is not an object", fix));
        return None;
    };
    let kind = check_kind(members, problems)?;
    for unknown in members.keys().filter(|key| !ENVELOPE.contains(&key.as_str())) {
        shape::report_unknown(ENVELOPE.into_iter(), unknown, root, problems);
    }
    let meta = check_meta(origin, members.get("metadata"), problems);
    let schema = crd::schema(kind)?.properties.as_ref()?.get("spec")?;
    let mut spec = members.get("spec").cloned().unwrap_or_else(|| Value::Object(Map::new()));
    if kind == "LLMProvider" {
        report_planned_type(&spec, problems);
    }
    shape::fit(schema, &mut spec, root.key("spec"), problems);
    check_spec(kind, spec, meta, Document { source: &origin.source }, problems)
}

const ENVELOPE: [&str; 5] = ["apiVersion", "kind", "metadata", "spec", "status"];

fn check_kind<'a>(members: &'a Map<String, Value>, problems: &mut Problems) -> Option<&'a str> {
    let text = |key: &str| members.get(key).map(shape::text).unwrap_or_default();
    let (api_version, kind) = (text("apiVersion"), text("kind"));
    if api_version != API_VERSION {
        let reason =
            if api_version.is_empty() { "the apiVersion is missing" } else { "not an apiVersion of Vidimus" };
        problems.report(
            At::Root.key("apiVersion"),
            &api_version,
            Fault::new(reason, format!("write {API_VERSION}")),
        );
    }
    let known = members.get("kind").and_then(Value::as_str).filter(|kind| KINDS.contains(kind));
    if known.is_none() {
        let reason = if kind.is_empty() { "the kind is missing" } else { "unknown kind" };
        let fix = match shape::nearest(KINDS.into_iter(), &kind) {
            Some(near) if !kind.is_empty() => format!("did you mean {near}?"),
            _ => format!("write one of: {}", KINDS.join(", ")),
        };
        problems.report(At::Root.key("kind"), &kind, Fault::new(reason, fix));
    }
    known
}

/// Fields of `metadata` that mean something here.
const META: [&str; 4] = ["name", "namespace", "labels", "annotations"];

/// Fields of `metadata` that a cluster fills in; an exported object still has them.
const META_OF_CLUSTER: [&str; 10] = [
    "creationTimestamp",
    "deletionGracePeriodSeconds",
    "deletionTimestamp",
    "finalizers",
    "generation",
    "managedFields",
    "ownerReferences",
    "resourceVersion",
    "selfLink",
    "uid",
];

fn check_meta(origin: &Origin, metadata: Option<&Value>, problems: &mut Problems) -> Meta {
    let at = At::Root.key("metadata");
    let empty = Map::new();
    let metadata = match metadata {
        Some(Value::Object(metadata)) => metadata,
        Some(other) => {
            let fault = Fault::new("expected a mapping", "write metadata: {namespace: …, name: …}");
            problems.report_shape(at, &shape::text(other), fault, &["metadata".to_owned()]);
            &empty
        }
        None => {
            let fault = Fault::new("the field is missing", "add metadata: {namespace: …, name: …}");
            problems.report_shape(at, "", fault, &["metadata".to_owned()]);
            &empty
        }
    };
    for unknown in metadata
        .keys()
        .filter(|key| !META.contains(&key.as_str()) && !META_OF_CLUSTER.contains(&key.as_str()))
    {
        shape::report_unknown(META.into_iter(), unknown, at, problems);
    }
    let namespace = Value::from(DEFAULT_NAMESPACE);
    let namespace = metadata.get("namespace").unwrap_or(&namespace);
    let namespace = check_name(namespace, at.key("namespace"), name::check_namespace, problems);
    let name = metadata.get("name").unwrap_or(&Value::Null);
    let name = check_name(name, at.key("name"), name::check_object_name, problems);
    Meta {
        namespace: namespace.into(),
        name: name.into(),
        labels: check_labels(metadata.get("labels"), at.key("labels"), problems),
        origin: origin.clone(),
    }
}

/// A name. YAML reads a bare `n`, `yes` or `1e3` as something else than text: the object would get a name that nobody wrote.
fn check_name(
    value: &Value,
    at: At<'_>,
    check: impl FnOnce(&str) -> Result<(), Fault>,
    problems: &mut Problems,
) -> String {
    let text = shape::text(value);
    match value {
        Value::Bool(_) | Value::Number(_) => problems.report(at, &text, shape::wrong_type("string", value)),
        _ => {
            problems.take(at, &text, check(&text));
        }
    }
    text
}

fn check_labels(labels: Option<&Value>, at: At<'_>, problems: &mut Problems) -> BTreeMap<String, String> {
    let labels = match labels {
        None => return BTreeMap::new(),
        Some(Value::Object(labels)) => labels,
        Some(other) => {
            problems.report(at, &shape::text(other), Fault::new("expected a mapping", "write {key: value}"));
            return BTreeMap::new();
        }
    };
    let mut checked = BTreeMap::new();
    for (key, value) in labels {
        let at = at.key(key);
        if let Err(fault) = check_label_key(key) {
            problems.report(at, key, fault);
        }
        match value {
            Value::String(value) if value.is_empty() || name::check_plain(value).is_ok() => {
                checked.insert(key.clone(), value.clone());
            }
            Value::String(value) => {
                let fix = "use at most 63 letters, digits, '-', '_' and '.', beginning and ending with a letter or digit";
                problems.report(at, value, Fault::new("not a label value", fix));
            }
            other => {
                problems.report(at, &shape::text(other), Fault::new("expected text", "put it in quotes"));
            }
        }
    }
    checked
}

/// `[prefix/]name`, as Kubernetes wants it.
fn check_label_key(key: &str) -> Result<(), Fault> {
    let (prefix, local) = match key.split_once('/') {
        Some((prefix, local)) => (Some(prefix), local),
        None => (None, key),
    };
    if name::check_plain(local).is_ok() && prefix.is_none_or(|prefix| name::check_object_name(prefix).is_ok())
    {
        return Ok(());
    }
    Err(Fault::new("not a label key", "write name or dns.prefix/name"))
}

/// A type that is planned deserves a better answer than that it is unknown.
fn report_planned_type(spec: &Value, problems: &mut Problems) {
    let Some(planned) =
        spec.get("type").and_then(Value::as_str).filter(|name| ProviderType::PLANNED.contains(name))
    else {
        return;
    };
    let fault = Fault::new("not supported yet", "use openAI, anthropic or openAICompatible");
    problems.report_shape(At::Root.key("spec").key("type"), planned, fault, &["spec.type".to_owned()]);
}

fn check_spec(
    kind: &str,
    spec: Value,
    meta: Meta,
    document: Document<'_>,
    problems: &mut Problems,
) -> Option<Object> {
    match kind {
        "Agent" => read::<AgentSpec>(spec, problems)?
            .check(meta, document, problems)
            .map(Arc::new)
            .map(Object::Agent),
        "MCPServer" => read::<McpServerSpec>(spec, problems)?
            .check(meta, document, problems)
            .map(Arc::new)
            .map(Object::McpServer),
        "LLMProvider" => read::<LlmProviderSpec>(spec, problems)?
            .check(meta, document, problems)
            .map(Arc::new)
            .map(Object::LlmProvider),
        "ServiceIdentity" => read::<ServiceIdentitySpec>(spec, problems)?
            .check(meta, document, problems)
            .map(Arc::new)
            .map(Object::Service),
        "Policy" => read::<PolicySpec>(spec, problems)?
            .check(meta, document, problems)
            .map(Arc::new)
            .map(Object::Policy),
        _ => None,
    }
}

/// What fits the schema can be read; should the two ever disagree, the object is refused with what `serde` says.
fn read<T: DeserializeOwned>(spec: Value, problems: &mut Problems) -> Option<T> {
    serde_path_to_error::deserialize(spec)
        .map_err(|error| {
            let reason = error.inner().to_string();
            let path = error.path().to_string();
            problems.report(
                At::Root.key("spec").key(&path),
                "",
                Fault::new(reason, "write it as its CRD describes it"),
            );
        })
        .ok()
}
