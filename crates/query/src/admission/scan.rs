//! What is found of pods that are there already, as the reports that dashboards of policies read: `PolicyReport` of `wgpolicyk8s.io/v1alpha2`, and
//! `Report` of `openreports.io/v1alpha1`, which came from it.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::{Value, json};
use vidimus_core::admission::pod::{Pod, Rule, violations};
use vidimus_core::admission::workloads::Workloads;

/// Who reports, and of what.
const SOURCE: &str = "vidimus";
const POLICY: &str = "vidimus-pods";
/// The namespace of an object that names none.
const DEFAULT: &str = "default";
/// Most results of one report. An object of Kubernetes has 1.5 MB at most, and a result some 700 bytes.
const RESULTS: usize = 1_000;

/// What was found.
#[derive(Clone, Debug, Default)]
pub struct Scanned {
    /// Both reports of each namespace, in the order of these.
    pub reports: Vec<Value>,
    /// How many pods were looked at, and how many of them break a rule.
    pub pods: usize,
    pub failed: usize,
}

/// What was given is no list of pods.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {reason}; give pods as `kubectl get pods -A -o json` prints them")]
pub struct Unscannable {
    place: String,
    reason: String,
}

/// Reads what kubectl prints: JSON, or the documents of a YAML stream.
///
/// # Errors
/// What is wrong with it.
pub fn documents(text: &str) -> Result<Vec<Value>, Unscannable> {
    let unscannable = |reason: String| Unscannable { place: "the list".to_owned(), reason };
    if text.trim_start().starts_with('{') {
        return serde_json::from_str(text)
            .map(|one| vec![one])
            .map_err(|error| unscannable(error.to_string()));
    }
    let options = serde_saphyr::options! { with_snippet: false };
    let read = serde_saphyr::from_multiple_with_options(text, options);
    read.map_err(|error| unscannable(error.without_snippet().to_string()))
}

/// A report as YAML.
///
/// # Errors
/// When it cannot be written, which texts and numbers can.
pub fn yaml(report: &Value) -> Result<String, Unscannable> {
    let unwritten = |reason: String| Unscannable { place: "a report".to_owned(), reason };
    serde_saphyr::to_string(report).map_err(|error| unwritten(error.to_string()))
}

/// Looks at pods, each a document or in a list of the API. Their namespaces need not be governed: what would be refused there is told before
/// it is.
///
/// # Errors
/// When something is no pod.
pub fn scan(workloads: &Workloads, documents: &[Value], at: Timestamp) -> Result<Scanned, Unscannable> {
    let mut scanned = Scanned::default();
    let mut found: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    let seconds = json!({"seconds": at.as_second(), "nanos": 0});
    for (number, document) in documents.iter().enumerate() {
        let listed = document.get("items").and_then(Value::as_array);
        let pods: Vec<&Value> = listed.map_or_else(|| vec![document], |items| items.iter().collect());
        for (place, pod) in pods.into_iter().enumerate() {
            let place = || format!("document {}, item {}", number + 1, place + 1);
            let unscannable = |reason: String| Unscannable { place: place(), reason };
            let kind = pod.get("kind").and_then(Value::as_str).unwrap_or("Pod");
            if kind != "Pod" {
                return Err(unscannable(format!("it is a {}", crate::printable(kind))));
            }
            let read = Pod::read(pod, DEFAULT).map_err(|error| unscannable(error.to_string()))?;
            let workload = workloads.get(&read.namespace, &read.service_account);
            let broken = violations(&read, workload, None);
            scanned.pods += 1;
            scanned.failed += usize::from(!broken.is_empty());
            let results = found.entry(read.namespace.clone()).or_default();
            let resource = resource(pod, &read);
            let result = |rule: Option<Rule>, message: String| {
                let outcome = if rule.is_some() { "fail" } else { "pass" };
                let mut result = json!({
                    "source": SOURCE, "policy": POLICY, "category": "Agents", "result": outcome, "scored": true,
                    "timestamp": seconds, "resources": [resource], "message": message,
                });
                if let (Some(rule), Some(members)) = (rule, result.as_object_mut()) {
                    members.insert("rule".to_owned(), json!(rule.code()));
                    members.insert("severity".to_owned(), json!(severity(rule)));
                }
                result
            };
            if broken.is_empty() {
                results.push(result(None, "the pod keeps every rule".to_owned()));
            }
            results.extend(broken.iter().map(|one| result(Some(one.rule), one.message())));
        }
    }
    for (namespace, results) in &found {
        for (number, part) in results.chunks(RESULTS).enumerate() {
            scanned.reports.extend(reports(namespace, number, part));
        }
    }
    Ok(scanned)
}

/// Whether a report of this name is one of these.
pub fn is_report_name(name: &str) -> bool {
    let Some(rest) = name.strip_prefix(POLICY) else { return false };
    let number = rest.strip_prefix('-').unwrap_or_default();
    rest.is_empty() || !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
}

const fn severity(rule: Rule) -> &'static str {
    match rule {
        Rule::OwnServiceAccount | Rule::Registered | Rule::Approved => "high",
        Rule::Sandbox | Rule::ImageDigest => "medium",
    }
}

/// What a report calls a pod by.
fn resource(pod: &Value, read: &Pod) -> Value {
    let mut resource =
        json!({"apiVersion": "v1", "kind": "Pod", "namespace": read.namespace, "name": read.name});
    if let (Some(uid), Some(members)) = (pod.pointer("/metadata/uid"), resource.as_object_mut()) {
        members.insert("uid".to_owned(), uid.clone());
    }
    resource
}

/// The same results in both forms.
fn reports(namespace: &str, number: usize, results: &[Value]) -> [Value; 2] {
    let count =
        |outcome: &str| results.iter().filter(|one| one.get("result") == Some(&json!(outcome))).count();
    let name = if number == 0 { POLICY.to_owned() } else { format!("{POLICY}-{number}") };
    let labels = json!({"app.kubernetes.io/managed-by": SOURCE});
    let metadata = json!({"name": name, "namespace": namespace, "labels": labels});
    let summary = json!({"pass": count("pass"), "fail": count("fail"), "warn": 0, "error": 0, "skip": 0});
    [
        json!({
            "apiVersion": "wgpolicyk8s.io/v1alpha2", "kind": "PolicyReport",
            "metadata": metadata, "summary": summary, "results": results,
        }),
        json!({
            "apiVersion": "openreports.io/v1alpha1", "kind": "Report", "source": SOURCE,
            "metadata": metadata, "summary": summary, "results": results,
        }),
    ]
}
