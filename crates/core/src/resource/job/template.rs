//! The pod of a job, as much of it as a record may say: names and meanings are those of Kubernetes' `PodTemplateSpec`.

use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use crate::resource::field::name;
use crate::resource::problem::{At, Fault, Problems};

/// Where the arguments are; nothing else is mounted there.
pub const ARGUMENTS_DIRECTORY: &str = "/vidimus";
/// The name of the volume that has them.
pub const ARGUMENTS_VOLUME: &str = "vidimus-arguments";
/// What the names of the variables begin with that Vidimus sets.
pub const OWN_VARIABLES: &str = "VIDIMUS_";

/// The pod of each call.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TemplateSpec {
    /// Of a Kubernetes PodSpec, the fields that do not touch the sandbox.
    pub spec: PodSpec,
}

/// Of a Kubernetes PodSpec, the fields that do not touch the sandbox.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PodSpec {
    /// Exactly one.
    #[schemars(length(min = 1, max = 1))]
    pub containers: Vec<ContainerSpec>,
    /// Empty directories that the container mounts: its root is read-only.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    pub volumes: Vec<VolumeSpec>,
    /// Labels of the nodes that it may run on.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "texts_by_name_schema")]
    pub node_selector: BTreeMap<String, String>,
    /// Taints of nodes that it may run on all the same. Never those of a control plane.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    pub tolerations: Vec<TolerationSpec>,
    /// Secrets of the server's own namespace, of type kubernetes.io/dockerconfigjson, by which its image is pulled. The tool does not see them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 4))]
    pub image_pull_secrets: Vec<PullSecretSpec>,
    /// The RuntimeClass, such as one of gVisor or Kata Containers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub runtime_class_name: Option<String>,
    /// As whom it runs; 65532 when it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub security_context: Option<SecurityContextSpec>,
}

/// A taint that is tolerated, by its key.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TolerationSpec {
    /// The key of the taint, as in nvidia.com/gpu. Not one of Kubernetes' own (node-role.kubernetes.io/…, node.kubernetes.io/…).
    #[schemars(schema_with = "taint_schema")]
    pub key: String,
    /// Whether the value counts (Equal, when it is left out) or the key alone (Exists).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operator: Option<TolerationOperator>,
    /// The value of the taint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    pub value: Option<String>,
    /// What of the taint is tolerated; all of it when it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effect: Option<TaintEffect>,
}

/// What of a taint has to be the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum TolerationOperator {
    /// Its key, and its value.
    Equal,
    /// Its key.
    Exists,
}

/// What a taint does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum TaintEffect {
    /// Nothing is scheduled there.
    NoSchedule,
    /// Nothing is, where there is another place.
    PreferNoSchedule,
    /// What runs there is ended.
    NoExecute,
}

/// A Secret, by its name.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PullSecretSpec {
    /// Its name.
    #[schemars(length(min = 1, max = 253), pattern("^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$"))]
    pub name: String,
}

/// As whom a pod runs. All else of a security context is the sandbox's.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SecurityContextSpec {
    /// The user, by number; never 0.
    #[schemars(range(min = 1, max = 2_147_483_647))]
    pub run_as_user: i64,
}

/// The container of a call.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ContainerSpec {
    /// Its name in the pod.
    #[schemars(length(min = 1, max = 63))]
    pub name: String,
    /// The image, better by digest (name@sha256:…): the record of each call has the digest that ran.
    #[schemars(length(min = 1, max = 512))]
    pub image: String,
    /// When the image is pulled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_pull_policy: Option<ImagePullPolicy>,
    /// The program and its first arguments; the image's own when it is left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "texts_schema")]
    pub command: Vec<String>,
    /// Its arguments; the image's own when it is left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "texts_schema")]
    pub args: Vec<String>,
    /// Where it begins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    pub working_dir: Option<String>,
    /// Variables. Secrets do not belong here.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub env: Vec<EnvSpec>,
    /// What it asks for and gets at most. One cpu, 256Mi of memory and 1Gi of disk when nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<ResourcesSpec>,
    /// Where it has its volumes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    pub volume_mounts: Vec<VolumeMountSpec>,
}

/// When an image is pulled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum ImagePullPolicy {
    /// Before each call.
    Always,
    /// Where the node does not have it.
    IfNotPresent,
    /// Not at all.
    Never,
}

/// A variable.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EnvSpec {
    /// Its name. Those that begin with VIDIMUS_ are set by Vidimus.
    #[schemars(length(min = 1, max = 256))]
    pub name: String,
    /// Its value.
    #[schemars(length(max = 4096))]
    pub value: String,
}

/// What a container asks for and gets at most, by resource: cpu, memory, ephemeral-storage.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ResourcesSpec {
    /// What it asks for.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "texts_by_name_schema")]
    pub requests: BTreeMap<String, String>,
    /// What it gets at most.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "texts_by_name_schema")]
    pub limits: BTreeMap<String, String>,
}

/// An empty directory.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct VolumeSpec {
    /// By which it is mounted.
    #[schemars(length(min = 1, max = 63))]
    pub name: String,
    /// It is one of this kind, and no other is there.
    pub empty_dir: EmptyDirSpec,
}

/// How large an empty directory may become.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EmptyDirSpec {
    /// As in 64Mi.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 32))]
    pub size_limit: Option<String>,
}

/// Where a container has a volume.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct VolumeMountSpec {
    /// The volume.
    #[schemars(length(min = 1, max = 63))]
    pub name: String,
    /// An absolute path, not at or below /vidimus.
    #[schemars(length(min = 1, max = 1024))]
    pub mount_path: String,
}

fn texts_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "array", "maxItems": 64, "items": {"type": "string", "maxLength": 4096}})
}

fn taint_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "string", "minLength": 1, "maxLength": 317,
        "x-kubernetes-validations": [{
            "rule": "!self.startsWith('node-role.kubernetes.io/') && !self.startsWith('node.kubernetes.io/')",
            "message": "a taint of Kubernetes' own keeps pods from control planes and from nodes that are not fit; name a taint of your own",
        }],
    })
}

fn texts_by_name_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object", "maxProperties": 16,
        "additionalProperties": {"type": "string", "minLength": 1, "maxLength": 63},
    })
}

impl TemplateSpec {
    /// What the schema cannot say.
    pub(super) fn check(&self, at: At<'_>, problems: &mut Problems) {
        let spec = at.key("spec");
        let volumes = spec.key("volumes");
        for (index, volume) in self.spec.volumes.iter().enumerate() {
            if volume.name == ARGUMENTS_VOLUME {
                let fault = Fault::new("Vidimus mounts the arguments by this name", "give it another name");
                problems.report(volumes.index(index).key("name"), &volume.name, fault);
            }
        }
        let tolerations = spec.key("tolerations");
        for (index, toleration) in self.spec.tolerations.iter().enumerate() {
            if let Some(fault) = wrong_taint(&toleration.key) {
                problems.report(tolerations.index(index).key("key"), &toleration.key, fault);
            }
        }
        let secrets = spec.key("imagePullSecrets");
        for (index, secret) in self.spec.image_pull_secrets.iter().enumerate() {
            let named = name::check_object_name(&secret.name);
            problems.take(secrets.index(index).key("name"), &secret.name, named);
        }
        let containers = spec.key("containers");
        for (index, container) in self.spec.containers.iter().enumerate() {
            container.check(containers.index(index), problems);
        }
    }
}

impl ContainerSpec {
    fn check(&self, at: At<'_>, problems: &mut Problems) {
        if self.image.contains(|c: char| c.is_whitespace() || c.is_control()) {
            let fault =
                Fault::new("not the name of an image", "write it as in registry.example/tool@sha256:…");
            problems.report(at.key("image"), &self.image, fault);
        }
        let env = at.key("env");
        for (index, variable) in self.env.iter().enumerate() {
            if variable.name.starts_with(OWN_VARIABLES) {
                let fault = Fault::new("Vidimus sets the variables that begin so", "give it another name");
                problems.report(env.index(index).key("name"), &variable.name, fault);
            }
        }
        let mounts = at.key("volumeMounts");
        for (index, mount) in self.volume_mounts.iter().enumerate() {
            if let Some(fault) = wrong_mount(&mount.mount_path) {
                problems.report(mounts.index(index).key("mountPath"), &mount.mount_path, fault);
            }
        }
    }
}

/// The taints that Kubernetes sets itself keep pods from control planes, and from nodes that are not fit.
fn wrong_taint(key: &str) -> Option<Fault> {
    const FIX: &str = "name a taint of your own, as in nvidia.com/gpu";
    if ["node-role.kubernetes.io/", "node.kubernetes.io/"].iter().any(|own| key.starts_with(own)) {
        return Some(Fault::new("a taint of Kubernetes' own is tolerated by no job", FIX));
    }
    // Without a key every taint would be.
    let is_key = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./".contains(&byte);
    (key.is_empty() || !key.bytes().all(is_key)).then(|| Fault::new("not the key of a taint", FIX))
}

fn wrong_mount(path: &str) -> Option<Fault> {
    const FIX: &str = "write an absolute path such as /tmp, in one spelling";
    let Some(below) = path.strip_prefix('/') else { return Some(Fault::new("not an absolute path", FIX)) };
    if below.split('/').any(|part| matches!(part, "" | "." | "..")) || below.contains(':') {
        return Some(Fault::new("not a path in one spelling", FIX));
    }
    let own = ARGUMENTS_DIRECTORY.trim_start_matches('/');
    (below.split('/').next() == Some(own))
        .then(|| Fault::new("the arguments of the call are there", "mount it elsewhere, as at /tmp"))
}
