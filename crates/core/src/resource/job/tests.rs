use serde_json::{Value, json};

use crate::resource::{Object, Origin, Rejection, check};

fn server(job: &Value) -> Value {
    json!({
        "apiVersion": "vidimus.dev/v1alpha1", "kind": "MCPServer", "metadata": {"namespace": "tools", "name": "calc"},
        "spec": {"owner": "first.last@example.com", "team": "tools", "riskLevel": "low", "job": job},
    })
}

fn job() -> Value {
    json!({
        "template": {"spec": {
            "containers": [{"name": "tool", "image": "registry.example/calc@sha256:00", "command": ["calc"],
                "env": [{"name": "A", "value": "b"}], "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}]}],
            "volumes": [{"name": "tmp", "emptyDir": {"sizeLimit": "64Mi"}}],
        }},
        "tools": {"add": {"description": "Adds.", "inputSchema": {"type": "object"}}},
        "egress": [{"cidr": "0.0.0.0/0", "ports": [443]}],
    })
}

fn checked(job: &Value) -> Result<Object, Vec<Rejection>> {
    check(&Origin::file("a.yaml", 1), &server(job))
}

/// The job with one more thing in it, at a JSON pointer whose last part need not be there.
fn with(pointer: &str, value: Value) -> Value {
    let mut job = job();
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    match job.pointer_mut(parent).unwrap() {
        Value::Object(members) => drop(members.insert(key.to_owned(), value)),
        Value::Array(items) => items.push(value),
        _ => panic!("{pointer}"),
    }
    job
}

#[test]
fn a_template_becomes_an_address_that_another_template_does_not_have() {
    let Object::McpServer(server) = checked(&job()).unwrap() else { panic!() };
    let job = server.endpoint.job.as_ref().unwrap();
    assert_eq!(server.endpoint.url.scheme(), "job");
    assert_eq!(server.endpoint.url.host_str(), Some("tools"));
    assert_eq!((job.deadline_ms, job.concurrent, job.max_output), (60_000, 4, 256 * 1024));
    let tool: Value = serde_json::from_str(&job.tools["add"].definition).unwrap();
    assert_eq!((&tool["name"], &tool["inputSchema"]["type"]), (&json!("add"), &json!("object")));
    assert_eq!(
        job.egress[0].except,
        ["169.254.0.0/16", "100.100.100.200/32", "168.63.129.16/32", "192.0.0.192/32"]
    );
    let pod: Value = serde_json::from_str(&job.pod).unwrap();
    assert_eq!(pod["containers"][0]["volumeMounts"][0]["mountPath"], json!("/tmp"));
    let other = checked(&with("/template/spec/containers/0/image", json!("registry.example/other"))).unwrap();
    let Object::McpServer(other) = other else { panic!() };
    assert_ne!(
        server.endpoint.url, other.endpoint.url,
        "so what people approved of the one is void for the other"
    );
}

#[test]
fn what_would_open_the_sandbox_is_refused_with_field_and_fix() {
    let pod = "/template/spec";
    let container = "/template/spec/containers/0";
    for (at, key, value) in [
        (pod, "hostNetwork", json!(true)),
        (pod, "hostPID", json!(true)),
        (pod, "hostIPC", json!(true)),
        (pod, "hostUsers", json!(true)),
        (pod, "hostAliases", json!([])),
        (pod, "serviceAccountName", json!("admin")),
        (pod, "serviceAccount", json!("admin")),
        (pod, "automountServiceAccountToken", json!(true)),
        (pod, "nodeName", json!("control-plane")),
        (pod, "initContainers", json!([])),
        (pod, "ephemeralContainers", json!([])),
        (pod, "priorityClassName", json!("system-node-critical")),
        (pod, "shareProcessNamespace", json!(true)),
        (pod, "dnsConfig", json!({})),
        (pod, "restartPolicy", json!("Always")),
        (pod, "activeDeadlineSeconds", json!(1)),
        (container, "securityContext", json!({"privileged": true})),
        (container, "lifecycle", json!({})),
        (container, "livenessProbe", json!({})),
        (container, "ports", json!([{"hostPort": 80}])),
        (container, "envFrom", json!([])),
        (container, "volumeDevices", json!([])),
        (container, "stdin", json!(true)),
        (
            "/template",
            "metadata",
            json!({"annotations": {"container.apparmor.security.beta.kubernetes.io/tool": "unconfined"}}),
        ),
        ("", "backoffLimit", json!(6)),
    ] {
        let wrong = checked(&with(&format!("{at}/{key}"), value)).unwrap_err();
        let named = format!("spec.job{}.{key}", at.replace("/0", "[0]").replace('/', "."));
        let found = wrong.iter().find(|one| one.field == named);
        let found = found.unwrap_or_else(|| panic!("{named}: {wrong:?}"));
        assert!(found.reason.contains("unknown field") && !found.fix.is_empty(), "{found:?}");
    }
}

#[test]
fn what_would_open_it_by_a_value_is_refused_too() {
    let mount = |path: &str| json!({"name": "tmp", "mountPath": path});
    let volumes = "/template/spec/volumes/-";
    let container = "/template/spec/containers/0";
    for (pointer, value, field) in [
        (volumes.to_owned(), json!({"name": "h", "hostPath": {"path": "/"}}), "volumes[1].hostPath"),
        (volumes.to_owned(), json!({"name": "s", "secret": {"secretName": "x"}}), "volumes[1].secret"),
        (volumes.to_owned(), json!({"name": "s", "projected": {}}), "volumes[1].projected"),
        (volumes.to_owned(), json!({"name": "s", "emptyDir": {}, "csi": {}}), "volumes[1].csi"),
        (volumes.to_owned(), json!({"name": "vidimus-arguments", "emptyDir": {}}), "volumes[1].name"),
        ("/template/spec/securityContext".to_owned(), json!({"runAsUser": 0}), "securityContext.runAsUser"),
        (
            "/template/spec/securityContext".to_owned(),
            json!({"runAsUser": 1, "seccompProfile": {"type": "Unconfined"}}),
            "securityContext.seccompProfile",
        ),
        ("/template/spec/containers/-".to_owned(), json!({"name": "two", "image": "x"}), "containers"),
        (format!("{container}/env/-"), json!({"name": "VIDIMUS_TOOL", "value": "x"}), "env[1].name"),
        (
            format!("{container}/env/-"),
            json!({"name": "A", "value": "", "valueFrom": {"secretKeyRef": {}}}),
            "env[1].valueFrom",
        ),
        (format!("{container}/image"), json!("a b"), "containers[0].image"),
        (
            format!("{container}/volumeMounts/-"),
            mount("/vidimus/arguments.json"),
            "volumeMounts[1].mountPath",
        ),
        (format!("{container}/volumeMounts/-"), mount("/tmp/../vidimus"), "volumeMounts[1].mountPath"),
        (format!("{container}/volumeMounts/-"), mount("tmp"), "volumeMounts[1].mountPath"),
        (
            format!("{container}/volumeMounts/-"),
            json!({"name": "tmp", "mountPath": "/a", "mountPropagation": "Bidirectional"}),
            "volumeMounts[1].mountPropagation",
        ),
        ("/template/spec/tolerations".to_owned(), json!([{"operator": "Exists"}]), "tolerations[0].key"),
        (
            "/template/spec/tolerations".to_owned(),
            json!([{"key": "", "operator": "Exists"}]),
            "tolerations[0].key",
        ),
        (
            "/template/spec/tolerations".to_owned(),
            json!([{"key": "node-role.kubernetes.io/control-plane", "operator": "Exists"}]),
            "tolerations[0].key",
        ),
        (
            "/template/spec/tolerations".to_owned(),
            json!([{"key": "node.kubernetes.io/unschedulable"}]),
            "tolerations[0].key",
        ),
        (
            "/template/spec/imagePullSecrets".to_owned(),
            json!([{"name": "other/hub"}]),
            "imagePullSecrets[0].name",
        ),
        (
            "/template/spec/imagePullSecrets".to_owned(),
            json!([{"name": "hub", "namespace": "other"}]),
            "imagePullSecrets[0].namespace",
        ),
        ("/egress/-".to_owned(), json!({"cidr": "169.254.169.254/32", "ports": [80]}), "egress[1].cidr"),
        ("/egress/-".to_owned(), json!({"cidr": "168.63.129.16/32", "ports": [80]}), "egress[1].cidr"),
        ("/egress/-".to_owned(), json!({"cidr": "fd00:ec2::23/128", "ports": [80]}), "egress[1].cidr"),
        ("/egress/-".to_owned(), json!({"cidr": "64:ff9b::a9fe:a9fe/128", "ports": [80]}), "egress[1].cidr"),
        ("/egress/-".to_owned(), json!({"cidr": "10.0.0.1", "ports": [80]}), "egress[1].cidr"),
        ("/egress/-".to_owned(), json!({"cidr": "10.0.0.0/8", "ports": []}), "egress[1].ports"),
        (
            "/tools/add".to_owned(),
            json!({"description": "x", "inputSchema": {"type": "array"}}),
            "tools.add.inputSchema.type",
        ),
        ("/concurrent".to_owned(), json!(0), "concurrent"),
        ("/maxOutput".to_owned(), json!(100_000_000), "maxOutput"),
        ("/deadline".to_owned(), json!("2h"), "deadline"),
    ] {
        let wrong = checked(&with(&pointer, value)).unwrap_err();
        let found = wrong.iter().find(|one| one.field.starts_with("spec.job.") && one.field.ends_with(field));
        let found = found.unwrap_or_else(|| panic!("{field}: {wrong:?}"));
        assert!(!found.fix.is_empty(), "{found:?}");
    }
}

#[test]
fn where_a_job_runs_and_by_what_its_image_is_pulled_is_part_of_its_template() {
    let spec = "/template/spec";
    let mut private = with(&format!("{spec}/imagePullSecrets"), json!([{"name": "hub"}]));
    private["template"]["spec"]["tolerations"] = json!([{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}, {"key": "pool", "value": "sandbox"}]);
    private["template"]["spec"]["nodeSelector"] = json!({"pool": "sandbox"});
    let Object::McpServer(server) = checked(&private).unwrap() else { panic!() };
    let found = server.endpoint.job.as_ref().unwrap();
    assert_eq!((&*found.container, found.pull_secrets.len()), ("tool", 1));
    assert_eq!((&*found.pull_secrets[0].namespace, &*found.pull_secrets[0].name), ("tools", "hub"));
    let pod: Value = serde_json::from_str(&found.pod).unwrap();
    assert_eq!(
        pod["tolerations"][0],
        json!({"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"})
    );
    assert_eq!(pod["nodeSelector"]["pool"], json!("sandbox"));
    let Object::McpServer(plain) = checked(&job()).unwrap() else { panic!() };
    assert_ne!(server.endpoint.url, plain.endpoint.url);
}

#[test]
fn a_server_has_an_endpoint_or_a_job_and_not_both() {
    let mut both = server(&job());
    both["spec"]["endpoint"] = json!({"url": "http://calc/mcp"});
    let wrong = check(&Origin::file("a.yaml", 1), &both).unwrap_err();
    assert_eq!((wrong.len(), wrong[0].field.as_str()), (1, "spec.job"), "{wrong:?}");
}
