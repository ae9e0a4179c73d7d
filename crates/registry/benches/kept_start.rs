//! A start from what an API server lists, and from what was kept of it on disk: 10,000 agents, 1,000 servers and 10,000 policies. One JSON object a line.
//!
//! From the list it is what a gateway does with the pages (JSON with what a cluster adds, checked, compiled), without the network and the API server's own
//! time, which come to it. From the disk it is all: the file is read, its seal verified, and each object checked and compiled; but no policy is type-checked again.

#![expect(clippy::print_stdout, reason = "its output")]

use std::sync::Arc;
use std::time::Instant;
use std::{error, fs};

use serde_json::{Value, json};
use vidimus_core::caller::UnixMillis;
use vidimus_core::resource::{Object, Origin, check};
use vidimus_registry::{KEY_LENGTH, KeptObjects, Restored, Says, Times, feed};

const AGENTS: usize = 10_000;
const SERVERS: usize = 1_000;
const POLICIES: usize = 10_000;
const PAGE: usize = 500;
const ROUNDS: usize = 5;
/// Of the time from a list.
const GOAL: f64 = 0.5;
const HERE: &str = "a bench";

fn main() -> Result<(), Box<dyn error::Error>> {
    // `cargo test --benches` runs this too; it is a measurement, not a test.
    if std::env::args().any(|argument| argument == "--test") {
        return Ok(());
    }
    let cluster: Arc<str> = "kubernetes".into();
    let pages = pages();
    let directory = tempfile::tempdir()?;
    let (file, count) = (directory.path().join("registry/cluster"), directory.path().join("identity/count"));
    let disk = || KeptObjects::new(&file, &count, &[7; KEY_LENGTH]);
    let (mut listed, mut kept) = (Vec::new(), Vec::new());
    let mut digest = String::new();
    for _ in 0..ROUNDS {
        let begun = Instant::now();
        let (objects, snapshot) = from_list(&pages, &cluster)?;
        listed.push(ms(begun));
        snapshot.digest().clone_into(&mut digest);
        let times = Times { synced: UnixMillis(1), seen: UnixMillis(1) };
        disk()?.write(HERE, (&objects, &snapshot), times)?;
        drop((objects, snapshot));
        let begun = Instant::now();
        let snapshot = from_disk(disk()?, &cluster)?;
        kept.push(ms(begun));
        if snapshot.digest() != digest {
            return Err("what was kept is another configuration".into());
        }
    }
    let (listed, kept) = (median(&mut listed), median(&mut kept));
    print("start_listed", listed, "ms", "");
    print("start_kept", kept, "ms", "");
    print("start_kept_size", fs::metadata(&file)?.len() as f64 / 1e6, "MB", "");
    let ratio = kept / listed;
    print("start_kept_ratio", ratio, "ratio", &format!(r#","goal":{GOAL},"holds":{}"#, ratio <= GOAL));
    Ok(())
}

type Snapshot = Arc<vidimus_core::snapshot::Snapshot>;

fn from_list(pages: &[String], cluster: &Arc<str>) -> Result<(Vec<Object>, Snapshot), Box<dyn error::Error>> {
    let (_loaded, mut feed, _acts) = feed("the cluster", None, Arc::default())?;
    let mut says = Says::default();
    for page in pages {
        let page: Value = serde_json::from_str(page)?;
        for document in page.get("items").and_then(Value::as_array).into_iter().flatten() {
            let text = |pointer: &str| document.pointer(pointer).and_then(Value::as_str).map(Arc::from);
            let origin = Origin::Cluster {
                cluster: cluster.clone(),
                uid: text("/metadata/uid"),
                resource_version: text("/metadata/resourceVersion"),
            };
            match check(&origin, document) {
                Ok(object) => says.objects.push(object),
                Err(rejected) => says.rejected.extend(rejected),
            }
        }
    }
    let objects = says.objects.clone();
    feed.says(says);
    whole(objects.len())?;
    Ok((objects, feed.current().snapshot.clone()))
}

fn from_disk(mut disk: KeptObjects, cluster: &Arc<str>) -> Result<Snapshot, Box<dyn error::Error>> {
    let (_loaded, mut feed, _acts) = feed("the cluster", None, Arc::default())?;
    let Restored { objects, checked, .. } = disk.read(HERE, cluster)?.ok_or("nothing was kept")?;
    let objects = feed.still_there(objects, checked);
    whole(objects.len())?;
    feed.says(Says { objects, ..Says::default() });
    Ok(feed.current().snapshot.clone())
}

fn whole(objects: usize) -> Result<(), String> {
    let all = AGENTS + SERVERS + POLICIES;
    if objects == all { Ok(()) } else { Err(format!("{objects} objects of {all}")) }
}

/// As an API server lists them.
fn pages() -> Vec<String> {
    let agents = (0..AGENTS).map(|n| {
        object("Agent", &format!("agent-{n}"), &json!({
            "owner": format!("person{}@example.com", n % 300), "team": format!("team-{}", n % 200), "purpose": "Measurements",
            "riskLevel": "low", "authorityClass": "act", "groups": [format!("group-{}", n % 2_500)],
            "identities": [{"spiffe": format!("spiffe://estate.test/agent-{n}")}],
        }))
    });
    let servers = (0..SERVERS).map(|n| {
        object("MCPServer", &format!("server-{n}"), &json!({
            "owner": "ada@example.com", "team": "platform", "riskLevel": "low", "endpoint": {"url": format!("http://server-{n}.estate:9000/mcp")},
        }))
    });
    let policies = (0..POLICIES).map(|n| {
        let cedar = format!(
            "permit (principal in Group::\"group-{}\", action == Action::\"invokeTool\", resource)\n\
             when {{ principal.risk_level == \"low\" && context.delegation_depth <= {} }};\n",
            n % 2_500,
            n % 7
        );
        object(
            "Policy",
            &format!("policy-{n}"),
            &json!({
                "description": "Measurements", "scope": "Cluster", "mode": "enforce", "cedar": cedar,
            }),
        )
    });
    let all: Vec<Value> = agents.chain(servers).chain(policies).collect();
    all.chunks(PAGE)
        .map(|some| json!({"metadata": {"resourceVersion": "7"}, "items": some}).to_string())
        .collect()
}

fn object(kind: &str, name: &str, spec: &Value) -> Value {
    let fields: serde_json::Map<String, Value> =
        spec.as_object().into_iter().flatten().map(|(name, _)| (format!("f:{name}"), json!({}))).collect();
    json!({
        "apiVersion": "vidimus.dev/v1alpha1", "kind": kind,
        "metadata": {
            "namespace": "estate", "name": name, "uid": format!("00000000-0000-4000-8000-{name}"), "generation": 3,
            "resourceVersion": "123456", "creationTimestamp": "2026-01-01T00:00:00Z",
            "managedFields": [{
                "manager": "kubectl", "operation": "Apply", "apiVersion": "vidimus.dev/v1alpha1", "time": "2026-01-01T00:00:00Z",
                "fieldsType": "FieldsV1", "fieldsV1": {"f:spec": fields},
            }],
        },
        "spec": spec,
        "status": {
            "observedGeneration": 3,
            "conditions": [
                {"type": "Accepted", "status": "True", "reason": "Accepted", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"},
                {"type": "Programmed", "status": "True", "reason": "Programmed", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"},
                {"type": "Ready", "status": "True", "reason": "Ready", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"},
            ],
        },
    })
}

fn ms(begun: Instant) -> f64 {
    begun.elapsed().as_secs_f64() * 1e3
}

fn median(times: &mut [f64]) -> f64 {
    times.sort_unstable_by(f64::total_cmp);
    times.get(times.len() / 2).copied().unwrap_or(f64::NAN)
}

fn print(name: &str, value: f64, unit: &str, more: &str) {
    println!(
        r#"{{"name":"{name}","value":{value:.3},"unit":"{unit}","parameters":{{"agents":{AGENTS},"servers":{SERVERS},"policies":{POLICIES}}}{more}}}"#
    );
}
