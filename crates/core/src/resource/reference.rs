//! Which object, which version of it, and where it was read.

use std::borrow::Cow;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use serde::{Serialize, Serializer};

use super::{Meta, Object};

/// The kinds of objects that are registered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    Agent,
    McpServer,
    LlmProvider,
    ServiceIdentity,
    Policy,
}

impl Kind {
    /// Every kind, in the order in which the documentation speaks of them.
    pub const ALL: [Self; 5] =
        [Self::Agent, Self::McpServer, Self::LlmProvider, Self::ServiceIdentity, Self::Policy];

    /// The text in `kind:` of a document.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Agent => "Agent",
            Self::McpServer => "MCPServer",
            Self::LlmProvider => "LLMProvider",
            Self::ServiceIdentity => "ServiceIdentity",
            Self::Policy => "Policy",
        }
    }

    /// The kind that a document names, if it is one of ours.
    pub fn of(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for Kind {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// One object, in one version. Its text form is `Kind namespace/name`.
///
/// Two references are equal when they are of the same version; [`ObjectRef::is_same_object`] asks whether they are of the
/// same object.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ObjectRef {
    /// Which of the five kinds it is.
    pub kind: Kind,
    /// `metadata.namespace`.
    pub namespace: Arc<str>,
    /// `metadata.name`, unique in the namespace among objects of the kind.
    pub name: Arc<str>,
    /// `metadata.generation`: a cluster counts the versions of an object's spec. `None` for what a person wrote.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub generation: Option<i64>,
}

impl ObjectRef {
    pub(crate) fn new(kind: Kind, meta: &Meta) -> Self {
        let Meta { namespace, name, generation, .. } = meta;
        Self { kind, namespace: namespace.clone(), name: name.clone(), generation: *generation }
    }

    /// Whether both are of one object, in whatever version.
    pub fn is_same_object(&self, other: &Self) -> bool {
        self.kind == other.kind && self.namespace == other.namespace && self.name == other.name
    }
}

impl fmt::Display for ObjectRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}/{}", self.kind, self.namespace, self.name)
    }
}

/// What an object is found by among others: its name without its version.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct ObjectKey {
    kind: Kind,
    namespace: Arc<str>,
    name: Arc<str>,
}

impl ObjectKey {
    pub(crate) fn of(object: &Object) -> Self {
        let Meta { namespace, name, .. } = object.meta();
        Self { kind: object.kind(), namespace: namespace.clone(), name: name.clone() }
    }

    /// Of an object of this kind, namespace and name.
    pub(crate) fn new(kind: Kind, namespace: &Arc<str>, name: &Arc<str>) -> Self {
        Self { kind, namespace: namespace.clone(), name: name.clone() }
    }

    /// Of an object of this kind and `namespace/name`.
    pub(crate) fn named(kind: Kind, name: &str) -> Option<Self> {
        let (namespace, name) = name.split_once('/')?;
        Some(Self { kind, namespace: namespace.into(), name: name.into() })
    }

    /// `namespace/name`.
    pub(crate) fn name(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }

    pub(crate) fn of_reference(object: &ObjectRef) -> Self {
        Self { kind: object.kind, namespace: object.namespace.clone(), name: object.name.clone() }
    }
}

/// Where an object, or what is wrong with one, was read.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// A file, or the directory of files.
    File {
        path: Arc<Path>,
        /// Line in the file, 1-based, at which the object's document begins; 0 when it is about the whole file.
        line: u32,
    },
    /// A Kubernetes cluster.
    Cluster {
        /// Name of the cluster, as the configuration of the source has it.
        cluster: Arc<str>,
        /// `metadata.uid` of the object, which a deleted and recreated object does not keep; `None` when it is about the
        /// whole cluster.
        uid: Option<Arc<str>>,
        /// `metadata.resourceVersion`: which write of the object was read. A status is written on that condition.
        resource_version: Option<Arc<str>>,
    },
}

impl Origin {
    /// A place in a file.
    pub fn file(path: impl AsRef<Path>, line: u32) -> Self {
        Self::File { path: path.as_ref().into(), line }
    }

    /// The file's path; `None` of a cluster.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::File { path, .. } => Some(path),
            Self::Cluster { .. } => None,
        }
    }

    /// For people: the path of the file, or the name of the cluster.
    pub fn source(&self) -> Cow<'_, str> {
        match self {
            Self::File { path, .. } => path.to_string_lossy(),
            Self::Cluster { cluster, .. } => Cow::Borrowed(cluster),
        }
    }

    /// Line in the file, 1-based; 0 when there is none.
    pub const fn line(&self) -> u32 {
        match self {
            Self::File { line, .. } => *line,
            Self::Cluster { .. } => 0,
        }
    }

    /// The file or the object without the line.
    pub(crate) fn whole(&self) -> Self {
        match self {
            Self::File { path, .. } => Self::File { path: path.clone(), line: 0 },
            Self::Cluster { .. } => self.clone(),
        }
    }

    /// Whether an object of `other` may be missing because of what is wrong here. A file that cannot be parsed may have held
    /// any object; so may a directory that cannot be read, of all files below it, and a cluster that does not answer. But an
    /// object of a cluster is malformed for itself.
    pub fn may_hide(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::File { path, .. }, Self::File { path: below, .. }) => below.starts_with(path),
            (Self::Cluster { cluster, uid, .. }, Self::Cluster { cluster: same, uid: of, .. }) => {
                cluster == same && (uid.is_none() || uid == of)
            }
            (Self::File { .. }, Self::Cluster { .. }) | (Self::Cluster { .. }, Self::File { .. }) => false,
        }
    }
}

impl Origin {
    /// Whether both are of one file, or of one object of a cluster, in whatever line or version.
    pub(crate) fn is_same_place(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::File { path, .. }, Self::File { path: same, .. }) => path == same,
            (Self::Cluster { cluster, uid, .. }, Self::Cluster { cluster: same, uid: of, .. }) => {
                cluster == same && uid == of
            }
            (Self::File { .. }, Self::Cluster { .. }) | (Self::Cluster { .. }, Self::File { .. }) => false,
        }
    }

    /// Whether an object may move from one to the other without being deleted: between the files of a directory. An object of a
    /// cluster has no other place.
    pub(crate) const fn is_same_source(&self, other: &Self) -> bool {
        matches!((self, other), (Self::File { .. }, Self::File { .. }))
    }
}

impl Default for Origin {
    /// A file without a name: the origin of what is built in, and of objects in tests.
    fn default() -> Self {
        Self::file("", 0)
    }
}

/// `path:line`, as far as it is known, or the name of the cluster.
impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line() {
            0 => f.write_str(&self.source()),
            line => write!(f, "{}:{line}", self.source()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_is_found_by_its_text() {
        for kind in Kind::ALL {
            assert_eq!(Kind::of(kind.as_str()), Some(kind));
        }
        assert_eq!(Kind::of("agent"), None);
    }

    #[test]
    fn another_version_is_the_same_object() {
        let one = ObjectRef { kind: Kind::Agent, namespace: "a".into(), name: "x".into(), generation: None };
        let later = ObjectRef { generation: Some(2), ..one.clone() };
        assert!(one != later && one.is_same_object(&later));
        assert!(!one.is_same_object(&ObjectRef { kind: Kind::Policy, ..one.clone() }));
        assert_eq!(later.to_string(), "Agent a/x");
        let json = serde_json::json!({"kind": "Agent", "namespace": "a", "name": "x", "generation": 2});
        assert_eq!(serde_json::to_value(&later).unwrap(), json);
    }

    #[test]
    fn what_is_wrong_hides_only_what_it_may_have_held() {
        let file = |path: &str| Origin::file(path, 3);
        let cluster = |name: &str, uid: Option<&str>| Origin::Cluster {
            cluster: name.into(),
            uid: uid.map(Into::into),
            resource_version: None,
        };
        for (wrong, object, hides) in [
            (file("d/a.yaml"), file("d/a.yaml"), true),
            (file("d"), file("d/a.yaml"), true),
            (file("d/a"), file("d/a.yaml"), false),
            (file("d/a.yaml"), file("d"), false),
            (cluster("c", Some("1")), cluster("c", Some("1")), true),
            (cluster("c", Some("1")), cluster("c", Some("2")), false),
            (cluster("c", None), cluster("c", Some("2")), true),
            (cluster("d", None), cluster("c", Some("2")), false),
            (file("c"), cluster("c", Some("2")), false),
            (cluster("c", None), file("c"), false),
        ] {
            assert_eq!(wrong.may_hide(&object), hides, "{wrong:?} {object:?}");
        }
    }

    #[test]
    fn a_line_that_is_not_known_is_not_shown() {
        assert_eq!(Origin::file("a.yaml", 0).to_string(), "a.yaml");
        assert_eq!(Origin::file("a.yaml", 7).to_string(), "a.yaml:7");
    }
}
