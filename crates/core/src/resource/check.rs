//! From a document, as it was read, to a checked object. In a cluster the CRD has said the same before.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use super::agent::AgentSpec;
use super::llm_provider::LlmProviderSpec;
use super::mcp_server::McpServerSpec;
use super::policy::PolicySpec;
use super::problem::{At, Fault, Problems};
use super::service_identity::ServiceIdentitySpec;
use super::{
    API_VERSION, Kind, Meta, NotBorne, Object, ObjectRef, Origin, Rejection, Subject, crd, field::name, shape,
};
use crate::interned;

/// The namespace of an object that names none.
pub const DEFAULT_NAMESPACE: &str = "default";

/// What a check needs to know of the document around the spec.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Document<'a> {
    /// Its file; empty when it is not from a file.
    pub(crate) file: &'a str,
    /// Whether a cluster has it. Whoever may write there is not thereby somebody on this machine.
    pub(crate) of_cluster: bool,
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
    check_as(origin, matches!(origin, Origin::Cluster { .. }), document)
}

/// As [`check`]; `of_cluster` says whether it is as a cluster has it, wherever it was read: then a key comes from a Secret, and from nothing of
/// this machine.
///
/// # Errors
/// As of [`check`].
pub fn check_as(origin: &Origin, of_cluster: bool, document: &Value) -> Result<Object, Vec<Rejection>> {
    checked((origin, of_cluster), document, (document.get("spec").cloned(), None))
}

/// As [`check`] of what was kept: `text` is the [`Meta::document`] of an object that was read before, and `document` the same, with what else is known of its
/// metadata. It is believed to be in the form in which this program writes it, so it is not written again.
///
/// # Errors
/// As of [`check`].
pub fn check_again(origin: &Origin, mut document: Value, text: &str) -> Result<Object, Vec<Rejection>> {
    let of_cluster = matches!(origin, Origin::Cluster { .. });
    let spec = document.get_mut("spec").map(Value::take);
    checked((origin, of_cluster), &document, (spec, Some(text)))
}

/// `spec` is that of the document, and `text` its [`Meta::document`] where that is known.
fn checked(
    of: (&Origin, bool),
    document: &Value,
    (spec, text): (Option<Value>, Option<&str>),
) -> Result<Object, Vec<Rejection>> {
    let mut problems = Problems::default();
    match check_document(of, document, (spec, text), &mut problems) {
        Some(object) if problems.is_empty() => Ok(object),
        _ => Err(problems.into_rejections(of.0, &subject(document))),
    }
}

/// The object, as far as it can be read.
fn subject(document: &Value) -> Subject {
    let text = |pointer: &str| document.pointer(pointer).and_then(Value::as_str);
    let kind = text("/kind").unwrap_or("Object");
    let namespace = text("/metadata/namespace").unwrap_or(DEFAULT_NAMESPACE);
    let name = text("/metadata/name").unwrap_or("(without a name)");
    match Kind::of(kind) {
        Some(kind) if name::check_namespace(namespace).is_ok() && name::check_object_name(name).is_ok() => {
            let generation = generation(document.get("metadata").and_then(Value::as_object));
            Subject::Object(ObjectRef { kind, namespace: namespace.into(), name: name.into(), generation })
        }
        _ => Subject::Document(super::problem::shortened(&format!("{kind} {namespace}/{name}"))),
    }
}

/// A cluster sets it; whatever else stands there says nothing.
fn generation(metadata: Option<&Map<String, Value>>) -> Option<i64> {
    metadata?.get("generation")?.as_i64()
}

/// The API server sets it, whatever is sent; a file may say anything.
fn created(origin: &Origin, metadata: &Map<String, Value>) -> Option<i64> {
    let time = metadata.get("creationTimestamp").filter(|_| matches!(origin, Origin::Cluster { .. }))?;
    Some(time.as_str()?.parse::<Timestamp>().ok()?.as_second())
}

fn check_document(
    (origin, of_cluster): (&Origin, bool),
    document: &Value,
    (spec, text): (Option<Value>, Option<&str>),
    problems: &mut Problems,
) -> Option<Object> {
    let root = At::Root;
    let Value::Object(members) = document else {
        let fix = "begin it with apiVersion, kind, metadata and spec";
        problems.report(root, &shape::text(document), Fault::new("the document is not an object", fix));
        return None;
    };
    let kind = check_kind(members, problems)?;
    for unknown in members.keys().filter(|key| !ENVELOPE.contains(&key.as_str())) {
        shape::report_unknown((ENVELOPE.into_iter(), &|_| false), unknown, root, problems);
    }
    let mut meta = check_meta(origin, members.get("metadata"), problems);
    meta.document = text.map_or_else(|| document_text(kind, &meta, spec.as_ref()), Arc::from);
    let schema = crd::schema(kind.as_str())?.properties.as_ref()?.get("spec")?;
    let mut spec = spec.unwrap_or_else(|| Value::Object(Map::new()));
    shape::fit(schema, &mut spec, root.key("spec"), problems);
    let file = origin.path().map(|path| path.to_string_lossy()).unwrap_or_default();
    check_spec(kind, spec, meta, Document { file: &file, of_cluster }, problems)
}

const ENVELOPE: [&str; 5] = ["apiVersion", "kind", "metadata", "spec", "status"];

fn check_kind(members: &Map<String, Value>, problems: &mut Problems) -> Option<Kind> {
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
    let known = members.get("kind").and_then(Value::as_str).and_then(Kind::of);
    if known.is_none() {
        let reason = if kind.is_empty() { "the kind is missing" } else { "unknown kind" };
        let kinds = Kind::ALL.map(Kind::as_str);
        let fix = match shape::nearest(kinds.into_iter(), &kind) {
            Some(near) if !kind.is_empty() => format!("did you mean {near}?"),
            _ => format!("write one of: {}", kinds.join(", ")),
        };
        problems.report(At::Root.key("kind"), &kind, Fault::new(reason, fix));
    }
    known
}

/// Fields of `metadata` that mean something here.
pub(super) const META: [&str; 4] = ["name", "namespace", "labels", "annotations"];

/// The other fields of `metadata` that an API server stores, whoever wrote them; an exported object still has them. With [`META`] they are all
/// of `ObjectMeta`: an object that the API server took is not malformed for one (a test holds that).
pub(super) const META_OF_CLUSTER: [&str; 11] = [
    "creationTimestamp",
    "deletionGracePeriodSeconds",
    "deletionTimestamp",
    "finalizers",
    "generateName",
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
        shape::report_unknown((META.into_iter(), &|_| false), unknown, at, problems);
    }
    let namespace = Value::from(DEFAULT_NAMESPACE);
    let namespace = metadata.get("namespace").unwrap_or(&namespace);
    let namespace = check_name(namespace, at.key("namespace"), name::check_namespace, problems);
    let name = metadata.get("name").unwrap_or(&Value::Null);
    let name = check_name(name, at.key("name"), name::check_object_name, problems);
    Meta {
        namespace: interned::text(&namespace),
        name: name.into(),
        labels: check_labels(metadata.get("labels"), at.key("labels"), problems),
        generation: generation(Some(metadata)),
        created: created(origin, metadata),
        origin: origin.clone(),
        document: Arc::default(),
        not_borne: NotBorne::default(),
    }
}

/// What counts of a document, in one form for all that mean the same.
fn document_text(kind: Kind, meta: &Meta, spec: Option<&Value>) -> Arc<str> {
    let mut metadata = json!({"namespace": &*meta.namespace, "name": &*meta.name});
    if !meta.labels.is_empty()
        && let Some(metadata) = metadata.as_object_mut()
    {
        metadata.insert("labels".to_owned(), json!(meta.labels));
    }
    let mut document = json!({
        "apiVersion": API_VERSION,
        "kind": kind.as_str(),
        "metadata": metadata,
        "spec": spec.unwrap_or(&Value::Null),
    });
    document.sort_all_objects();
    document.to_string().into()
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

fn check_spec(
    kind: Kind,
    spec: Value,
    meta: Meta,
    document: Document<'_>,
    problems: &mut Problems,
) -> Option<Object> {
    match kind {
        Kind::Agent => read::<AgentSpec>(spec, problems)?
            .check(meta, document, problems)
            .map(Arc::new)
            .map(Object::Agent),
        Kind::McpServer => read::<McpServerSpec>(spec, problems)?
            .check(meta, document, problems)
            .map(Arc::new)
            .map(Object::McpServer),
        Kind::LlmProvider => read::<LlmProviderSpec>(spec, problems)?
            .check(meta, document, problems)
            .map(Arc::new)
            .map(Object::LlmProvider),
        Kind::ServiceIdentity => read::<ServiceIdentitySpec>(spec, problems)?
            .check(meta, document, problems)
            .map(Arc::new)
            .map(Object::Service),
        Kind::Policy => read::<PolicySpec>(spec, problems)?
            .check(meta, document, problems)
            .map(Arc::new)
            .map(Object::Policy),
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
