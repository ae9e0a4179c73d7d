//! What is kept of a pod and of a namespace, as they come.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use vidimus_core::admission::NAMESPACE_LABEL;

/// The label that says which version runs.
const VERSION: &str = "/metadata/labels/app.kubernetes.io~1version";
/// Most images of a pod that are kept.
const MAX_IMAGES: usize = 8;
/// Most characters of an image. The API server bounds the pod alone, and what is said of ten of them has to fit into a status.
const MAX_IMAGE: usize = 512;

/// What is watched.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) enum Item {
    Pod(Arc<Pod>),
    Namespace {
        name: Arc<str>,
        /// It has the label of namespaces whose pods are looked at.
        governed: bool,
    },
}

impl Item {
    /// Its name among those of one watch.
    pub(crate) fn name(&self) -> String {
        match self {
            Self::Pod(pod) => format!("{}/{}", pod.namespace, pod.uid),
            Self::Namespace { name, .. } => name.to_string(),
        }
    }
}

/// One pod.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Pod {
    pub(crate) namespace: Arc<str>,
    pub(crate) name: Arc<str>,
    pub(crate) uid: Arc<str>,
    /// The ServiceAccount that it runs as.
    pub(crate) account: Arc<str>,
    pub(crate) phase: Arc<str>,
    pub(crate) node: Option<Arc<str>>,
    pub(crate) images: Vec<Arc<str>>,
    pub(crate) version: Option<Arc<str>>,
    /// RFC 3339.
    pub(crate) since: Option<Arc<str>>,
}

impl Pod {
    /// Whether it has not ended.
    pub(crate) fn lives(&self) -> bool {
        !matches!(&*self.phase, "Succeeded" | "Failed")
    }

    pub(crate) fn runs(&self) -> bool {
        &*self.phase == "Running"
    }
}

/// `None` of what has no namespace, name and UID.
pub(crate) fn pod(document: &Value) -> Option<Item> {
    let text = |pointer: &str| document.pointer(pointer).and_then(Value::as_str).filter(|it| !it.is_empty());
    let owned = |pointer: &str| text(pointer).map(Arc::<str>::from);
    Some(Item::Pod(Arc::new(Pod {
        namespace: owned("/metadata/namespace")?,
        name: owned("/metadata/name")?,
        uid: owned("/metadata/uid")?,
        account: owned("/spec/serviceAccountName").unwrap_or_else(|| "default".into()),
        phase: owned("/status/phase").unwrap_or_else(|| "Unknown".into()),
        node: owned("/spec/nodeName"),
        images: images(document),
        version: owned(VERSION),
        since: owned("/status/startTime").or_else(|| owned("/metadata/creationTimestamp")),
    })))
}

pub(crate) fn namespace(document: &Value) -> Option<Item> {
    let name = document.pointer("/metadata/name").and_then(Value::as_str)?.into();
    let labels = document.pointer("/metadata/labels").and_then(Value::as_object);
    let governed = labels.is_some_and(|labels| labels.contains_key(NAMESPACE_LABEL));
    Some(Item::Namespace { name, governed })
}

/// Each as its container names it, and the digest that its node has for it.
fn images(document: &Value) -> Vec<Arc<str>> {
    let list = |pointer: &str| document.pointer(pointer).and_then(Value::as_array).into_iter().flatten();
    let text = |of: &Value, member: &str| of.get(member).and_then(Value::as_str).map(str::to_owned);
    let cut = |image: String| -> Arc<str> { image.chars().take(MAX_IMAGE).collect::<String>().into() };
    let image = |container: &Value| -> Option<Arc<str>> {
        let image = text(container, "image")?;
        if image.contains('@') {
            return Some(cut(image));
        }
        let name = text(container, "name");
        let status = list("/status/containerStatuses").find(|status| text(status, "name") == name);
        let digest = status.and_then(|status| text(status, "imageID"));
        let digest = digest.as_deref().and_then(|id| id.rsplit_once('@')).map(|(_, digest)| digest);
        Some(cut(digest.map_or_else(|| image.clone(), |digest| format!("{image}@{digest}"))))
    };
    list("/spec/containers").filter_map(image).take(MAX_IMAGES).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn of_a_pod_is_kept_what_is_said_of_it_and_nothing_else() {
        let document = json!({
            "metadata": {
                "namespace": "finance", "name": "bot-0", "uid": "u", "creationTimestamp": "2026-01-01T00:00:00Z",
                "labels": {"app.kubernetes.io/version": "1.2"}, "managedFields": [{"manager": "kubelet"}],
            },
            "spec": {
                "serviceAccountName": "bot", "nodeName": "n1",
                "containers": [
                    {"name": "a", "image": "example/a:1", "env": [{"name": "PASSWORD", "value": "secret"}]},
                    {"name": "b", "image": "example/b@sha256:bb"},
                    {"name": "c", "image": "example/c:3"},
                ],
            },
            "status": {
                "phase": "Running", "startTime": "2026-01-01T00:00:07Z",
                "containerStatuses": [
                    {"name": "c", "imageID": ""},
                    {"name": "a", "imageID": "docker.io/example/a@sha256:aa"},
                ],
            },
        });
        let Some(Item::Pod(read)) = pod(&document) else { panic!("no pod") };
        let expected = Pod {
            namespace: "finance".into(),
            name: "bot-0".into(),
            uid: "u".into(),
            account: "bot".into(),
            phase: "Running".into(),
            node: Some("n1".into()),
            images: vec!["example/a:1@sha256:aa".into(), "example/b@sha256:bb".into(), "example/c:3".into()],
            version: Some("1.2".into()),
            since: Some("2026-01-01T00:00:07Z".into()),
        };
        assert_eq!(*read, expected);
        let bare = json!({"metadata": {"namespace": "a", "name": "b", "uid": "c", "creationTimestamp": "2026-01-01T00:00:00Z"}});
        let Some(Item::Pod(read)) = pod(&bare) else { panic!("no pod") };
        assert_eq!((&*read.account, &*read.phase), ("default", "Unknown"));
        assert_eq!(read.since.as_deref(), Some("2026-01-01T00:00:00Z"));
    }

    /// Attack: a pod with images of a megabyte, so that the status of its record cannot be written, and none behind it is.
    #[test]
    fn an_image_is_as_long_as_one_can_be() {
        let (long, digest) = ("x".repeat(700_000), format!("x@sha256:{}", "a".repeat(700_000)));
        let document = json!({
            "metadata": {"namespace": "a", "name": "b", "uid": "c"},
            "spec": {"containers": [{"name": "a", "image": long}, {"name": "b", "image": digest}]},
        });
        let Some(Item::Pod(read)) = pod(&document) else { panic!("no pod") };
        assert_eq!(read.images.iter().map(|image| image.len()).collect::<Vec<_>>(), [MAX_IMAGE, MAX_IMAGE]);
    }

    #[test]
    fn what_is_none_is_passed_over() {
        for odd in [json!(null), json!([]), json!({"metadata": {"name": "a", "namespace": "b"}})] {
            assert_eq!(pod(&odd), None);
        }
        assert_eq!(namespace(&json!({"metadata": {}})), None);
        for (labels, governed) in [(json!({}), false), (json!({NAMESPACE_LABEL: "warn"}), true)] {
            let read = namespace(&json!({"metadata": {"name": "a", "labels": labels}}));
            assert_eq!(read, Some(Item::Namespace { name: "a".into(), governed }));
        }
    }
}
