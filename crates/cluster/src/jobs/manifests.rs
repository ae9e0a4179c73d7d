//! What is made for a call: a namespace and what is in it. The sandbox is written here, and here alone.

use serde_json::{Map, Value, json};
use vidimus_core::resource::job::PULL_KEY;
use vidimus_core::resource::job::template::{ARGUMENTS_DIRECTORY, ARGUMENTS_VOLUME};
use vidimus_core::resource::{Egress, Job};
use vidimus_gateway::Run;

/// What the names of the namespaces begin with; the id of the call follows.
pub(super) const NAMESPACE: &str = "vidimus-job-";
/// The name of the Job, in its namespace.
pub(super) const JOB: &str = "call";
/// The label that says that a namespace is of a call, and which gateway carries it out.
pub(super) const GATEWAY: &str = "vidimus.dev/job";
/// The annotation that says for how many seconds at most.
pub(super) const LIVES: &str = "vidimus.dev/job-seconds";
/// The role of deploy/rbac/jobs.yaml that is bound in each namespace, and nowhere else.
const ROLE: &str = "vidimus-job";
/// The file of the arguments.
const ARGUMENTS: &str = "arguments.json";
/// As whom a job runs whose template does not say it.
const NOBODY: i64 = 65_532;
/// What a container gets at most whose template does not say it. What it logs counts as disk.
const LIMITS: [(&str, &str); 3] = [("cpu", "1"), ("memory", "256Mi"), ("ephemeral-storage", "1Gi")];
/// How long a Job that nobody took away stays when it has ended, in seconds.
const TTL: u32 = 600;
/// What its making, and its taking away, may take beside its deadline, in seconds.
const AROUND: u32 = 60;

/// What is made for one call.
pub(super) struct Manifests<'a> {
    pub(super) run: &'a Run,
    pub(super) namespace: &'a str,
    pub(super) gateway: &'a str,
}

/// Who a user is as the subject of a binding.
pub(super) fn subject(username: &str) -> Value {
    let account = username.strip_prefix("system:serviceaccount:").and_then(|rest| rest.split_once(':'));
    match account {
        Some((namespace, name)) => json!({"kind": "ServiceAccount", "namespace": namespace, "name": name}),
        None => json!({"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": username}),
    }
}

/// Whole seconds, and at least one.
fn seconds(deadline_ms: u32) -> u32 {
    deadline_ms.div_ceil(1000).max(1)
}

impl Manifests<'_> {
    /// The API server itself holds every pod in it to the strictest of its own standards.
    pub(super) fn namespace(&self) -> Value {
        let permit = self.run.permit();
        json!({
            "apiVersion": "v1", "kind": "Namespace",
            "metadata": {
                "name": self.namespace,
                "labels": {
                    "app.kubernetes.io/managed-by": "vidimus",
                    GATEWAY: self.gateway,
                    "pod-security.kubernetes.io/enforce": "restricted",
                },
                "annotations": {
                    LIVES: (seconds(self.run.job().deadline_ms) + AROUND).to_string(),
                    "vidimus.dev/call": permit.call(),
                    "vidimus.dev/server": permit.destination().id().to_string(),
                    "vidimus.dev/tool": self.run.tool(),
                },
            },
        })
    }

    fn named(&self, version: &str, kind: &str, name: &str, rest: Value) -> Value {
        let mut object = json!({
            "apiVersion": version, "kind": kind, "metadata": {"name": name, "namespace": self.namespace},
        });
        if let (Some(object), Value::Object(rest)) = (object.as_object_mut(), rest) {
            object.extend(rest);
        }
        object
    }

    /// What lets this gateway make and read the rest.
    pub(super) fn binding(&self, subject: &Value) -> Value {
        let role = json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": ROLE});
        let rest = json!({"roleRef": role, "subjects": [subject]});
        self.named("rbac.authorization.k8s.io/v1", "RoleBinding", ROLE, rest)
    }

    /// Nothing comes in, and nothing goes out but to what the record names.
    pub(super) fn network_policy(&self) -> Value {
        let egress: Vec<Value> = self.run.job().egress.iter().map(rule).collect();
        let spec =
            json!({"podSelector": {}, "policyTypes": ["Ingress", "Egress"], "ingress": [], "egress": egress});
        self.named("networking.k8s.io/v1", "NetworkPolicy", JOB, json!({"spec": spec}))
    }

    /// One Job and one pod, and nothing that lasts or is reached.
    pub(super) fn quota(&self) -> Value {
        let hard = json!({
            "count/pods": "1", "count/jobs.batch": "1", "count/services": "0", "count/persistentvolumeclaims": "0",
        });
        self.named("v1", "ResourceQuota", JOB, json!({"spec": {"hard": hard}}))
    }

    /// What the caller gave, as it gave it.
    pub(super) fn arguments(&self) -> Value {
        let rest =
            json!({"type": "Opaque", "immutable": true, "stringData": {ARGUMENTS: self.run.arguments()}});
        self.named("v1", "Secret", JOB, rest)
    }

    /// What the image is pulled by: what a Secret of the server's namespace has, in base64 as the API server says it.
    pub(super) fn pull_secret(&self, index: usize, config: &str) -> Value {
        let rest =
            json!({"type": "kubernetes.io/dockerconfigjson", "immutable": true, "data": {PULL_KEY: config}});
        self.named("v1", "Secret", &pull_secret(index), rest)
    }

    /// # Errors
    /// Where the template is no JSON, which it was checked for.
    pub(super) fn job(&self) -> Result<Value, serde_json::Error> {
        let job = self.run.job();
        let spec = json!({
            "backoffLimit": 0, "completions": 1, "parallelism": 1,
            "activeDeadlineSeconds": seconds(job.deadline_ms),
            "ttlSecondsAfterFinished": TTL,
            "template": {
                "metadata": {"annotations": {"vidimus.dev/call": self.run.permit().call()}},
                "spec": sandboxed(job, self.run.tool())?,
            },
        });
        Ok(self.named("batch/v1", "Job", JOB, json!({"spec": spec})))
    }
}

/// Its name there: that of the server's namespace could be that of the arguments.
fn pull_secret(index: usize) -> String {
    format!("pull-{index}")
}

fn rule(egress: &Egress) -> Value {
    let ports = egress
        .ports
        .iter()
        .flat_map(|port| ["TCP", "UDP"].map(|protocol| json!({"protocol": protocol, "port": port})));
    let ports: Vec<Value> = ports.collect();
    let mut block = json!({"cidr": &*egress.cidr});
    if let (false, Some(block)) = (egress.except.is_empty(), block.as_object_mut()) {
        block.insert("except".to_owned(), json!(egress.except));
    }
    json!({"to": [{"ipBlock": block}], "ports": ports})
}

/// The pod of a template in its sandbox. What is set here replaces what a template may have of the same name.
fn sandboxed(job: &Job, tool: &str) -> Result<Value, serde_json::Error> {
    let mut pod: Map<String, Value> = serde_json::from_str(&job.pod)?;
    let user =
        pod.get("securityContext").and_then(|context| context.get("runAsUser")).and_then(Value::as_i64);
    let user = user.unwrap_or(NOBODY);
    let seccomp = json!({"type": "RuntimeDefault"});
    let context = json!({
        "runAsNonRoot": true, "runAsUser": user, "runAsGroup": user, "fsGroup": user, "seccompProfile": seccomp,
    });
    pod.insert("securityContext".to_owned(), context);
    pod.insert("restartPolicy".to_owned(), json!("Never"));
    pod.insert("automountServiceAccountToken".to_owned(), json!(false));
    pod.insert("enableServiceLinks".to_owned(), json!(false));
    pod.insert("terminationGracePeriodSeconds".to_owned(), json!(1));
    if !job.pull_secrets.is_empty() {
        let copies = (0..job.pull_secrets.len()).map(|index| json!({"name": pull_secret(index)}));
        pod.insert("imagePullSecrets".to_owned(), copies.collect());
    }
    let volume = json!({"name": ARGUMENTS_VOLUME, "secret": {"secretName": JOB, "defaultMode": 0o440}});
    push(&mut pod, "volumes", volume);
    if let Some(Value::Array(containers)) = pod.get_mut("containers") {
        for container in containers.iter_mut().filter_map(Value::as_object_mut) {
            sandbox(container, tool);
        }
    }
    Ok(Value::Object(pod))
}

fn sandbox(container: &mut Map<String, Value>, tool: &str) {
    let context = json!({
        "privileged": false, "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true,
        "runAsNonRoot": true, "capabilities": {"drop": ["ALL"]}, "seccompProfile": {"type": "RuntimeDefault"},
    });
    container.insert("securityContext".to_owned(), context);
    push(container, "env", json!({"name": "VIDIMUS_TOOL", "value": tool}));
    let file = format!("{ARGUMENTS_DIRECTORY}/{ARGUMENTS}");
    push(container, "env", json!({"name": "VIDIMUS_ARGUMENTS", "value": file}));
    let mount = json!({"name": ARGUMENTS_VOLUME, "mountPath": ARGUMENTS_DIRECTORY, "readOnly": true});
    push(container, "volumeMounts", mount);
    let resources = container.entry("resources").or_insert_with(|| json!({}));
    let Some(resources) = resources.as_object_mut() else { return };
    let limits = resources.entry("limits").or_insert_with(|| json!({}));
    let Some(limits) = limits.as_object_mut() else { return };
    for (resource, most) in LIMITS {
        limits.entry(resource).or_insert_with(|| json!(most));
    }
}

/// One more element of a list, which may not be there yet.
fn push(object: &mut Map<String, Value>, list: &str, element: Value) {
    if let Some(list) = object.entry(list).or_insert_with(|| json!([])).as_array_mut() {
        list.push(element);
    }
}

#[cfg(test)]
mod tests {
    use vidimus_core::resource::llm_provider::SecretKey;

    use super::*;

    fn job(pod: &Value) -> Job {
        Job {
            pod: pod.to_string().into(),
            container: "t".into(),
            image: "i".into(),
            pull_secrets: [].into(),
            tools: Default::default(),
            egress: [].into(),
            deadline_ms: 1500,
            concurrent: 1,
            max_output: 1024,
            digest: "d".into(),
        }
    }

    #[test]
    fn the_sandbox_is_around_every_template() {
        let plain = json!({"containers": [{"name": "t", "image": "i"}]});
        // As it could be if a template were not checked: what the sandbox says replaces it.
        let open = json!({
            "containers": [{"name": "t", "image": "i", "securityContext": {"privileged": true}, "env": [{"name": "A", "value": "b"}],
                "resources": {"limits": {"cpu": "2"}}}],
            "automountServiceAccountToken": true, "restartPolicy": "Always", "securityContext": {"runAsUser": 7, "runAsNonRoot": false},
            "volumes": [{"name": "tmp", "emptyDir": {}}],
        });
        for (template, user, cpu) in [(plain, NOBODY, "1"), (open, 7, "2")] {
            let pod = sandboxed(&job(&template), "add").unwrap();
            let at = |pointer: &str| pod.pointer(pointer).cloned().unwrap_or_default();
            assert_eq!(at("/automountServiceAccountToken"), json!(false));
            assert_eq!((at("/restartPolicy"), at("/enableServiceLinks")), (json!("Never"), json!(false)));
            assert_eq!(
                (at("/securityContext/runAsNonRoot"), at("/securityContext/runAsUser")),
                (json!(true), json!(user))
            );
            assert_eq!(at("/securityContext/seccompProfile/type"), json!("RuntimeDefault"));
            let container = |pointer: &str| at(&format!("/containers/0{pointer}"));
            assert_eq!(container("/securityContext/privileged"), json!(false));
            assert_eq!(container("/securityContext/allowPrivilegeEscalation"), json!(false));
            assert_eq!(container("/securityContext/readOnlyRootFilesystem"), json!(true));
            assert_eq!(container("/securityContext/capabilities/drop"), json!(["ALL"]));
            assert_eq!(
                (container("/resources/limits/cpu"), container("/resources/limits/memory")),
                (json!(cpu), json!("256Mi"))
            );
            let env = container("/env");
            let has = |name: &str| env.as_array().unwrap().iter().any(|one| one["name"] == name);
            assert!(has("VIDIMUS_TOOL") && has("VIDIMUS_ARGUMENTS"), "{env}");
            assert!(container("/volumeMounts").as_array().unwrap().iter().any(|one| one["readOnly"] == true));
        }
        assert_eq!((seconds(1), seconds(1500), seconds(60_000)), (1, 2, 60));
    }

    #[test]
    fn an_image_is_pulled_by_copies_that_the_tool_does_not_see() {
        let of =
            |name: &str| SecretKey { namespace: "tools".into(), name: name.into(), key: PULL_KEY.into() };
        let template = json!({"containers": [{"name": "t", "image": "i"}], "imagePullSecrets": [{"name": "call"}, {"name": "b"}]});
        let job = Job { pull_secrets: [of("call"), of("b")].into(), ..job(&template) };
        let pod = sandboxed(&job, "add").unwrap();
        assert_eq!(pod["imagePullSecrets"], json!([{"name": "pull-0"}, {"name": "pull-1"}]));
        let secrets: Vec<_> =
            pod["volumes"].as_array().unwrap().iter().map(|one| &one["secret"]["secretName"]).collect();
        assert_eq!(secrets, [&json!(JOB)], "the arguments alone are mounted");
    }

    #[test]
    fn a_rule_names_ports_of_a_network_without_what_is_never_reached() {
        let egress = Egress { cidr: "0.0.0.0/0".into(), except: vec!["169.254.0.0/16"], ports: vec![443] };
        let expected = json!({
            "to": [{"ipBlock": {"cidr": "0.0.0.0/0", "except": ["169.254.0.0/16"]}}],
            "ports": [{"protocol": "TCP", "port": 443}, {"protocol": "UDP", "port": 443}],
        });
        assert_eq!(rule(&egress), expected);
        let narrow = rule(&Egress { cidr: "10.0.0.0/8".into(), except: Vec::new(), ports: vec![1] });
        assert!(narrow.pointer("/to/0/ipBlock/except").is_none());
    }

    #[test]
    fn a_role_is_bound_to_whoever_this_is() {
        let account = subject("system:serviceaccount:vidimus-system:vidimus-registry");
        assert_eq!(
            (&account["kind"], &account["name"]),
            (&json!("ServiceAccount"), &json!("vidimus-registry"))
        );
        assert_eq!(subject("admin")["kind"], json!("User"));
    }
}
