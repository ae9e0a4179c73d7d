//! Pods to records: a record claims the ServiceAccounts that prove it, or that its SPIFFE IDs name, as at admission.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use vidimus_core::admission::workloads::{ServiceAccount, Workloads};
use vidimus_core::resource::ObjectRef;
use vidimus_core::resource::crd::{Instances, LastCall, RunningPod};
use vidimus_core::snapshot::Snapshot;

use super::LastCalls;
use super::known::Known;
use super::read::Pod;
use crate::condition::Condition;
use crate::index::Key;

/// Most pods that a status names.
const MAX_PODS: usize = 10;
/// Most pods, and most records, that a report names.
const MAX_LISTED: usize = 1000;
/// By how much a last call has to be younger than the one that is written.
const CALLS: SignedDuration = SignedDuration::from_secs(60);

/// What stands in a status of what runs, and is to. Boxed: it is large, and there is one of each object, most of which have neither.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Runs {
    pub(crate) instances: Option<Box<Instances>>,
    pub(crate) last_call: Option<Box<LastCall>>,
}

impl Runs {
    /// As an object's status has it; what cannot be read is not there.
    pub(crate) fn read(document: &Value) -> Self {
        let member = |pointer: &str| document.pointer(pointer);
        Self {
            instances: member("/status/instances").and_then(|value| Deserialize::deserialize(value).ok()),
            last_call: member("/status/lastCall").and_then(|value| Deserialize::deserialize(value).ok()),
        }
    }
}

/// What runs as whom.
#[derive(Debug)]
pub(crate) struct Joined {
    /// Whether all pods are known; until they are nothing is said of any.
    is_whole: bool,
    lost: Option<String>,
    /// Of each record that claims a ServiceAccount.
    records: BTreeMap<Key, Found>,
    /// Pods of governed namespaces that no record claims.
    unclaimed: Vec<Arc<Pod>>,
    calls: Arc<LastCalls>,
}

/// What runs as one record.
#[derive(Debug, Default)]
struct Found {
    accounts: Vec<ServiceAccount>,
    /// Where pods of the first of them are not followed: its namespace.
    unfollowed: Option<Arc<str>>,
    /// Oldest first.
    pods: Vec<Arc<Pod>>,
}

/// What is shown of pods.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodsReport {
    /// Whether all that is followed was listed. Until then the rest is empty.
    pub known: bool,
    /// Why what happens to pods is not heard now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lost: Option<String>,
    /// How many pods of governed namespaces no record claims, by namespace.
    pub unclaimed_by_namespace: BTreeMap<String, usize>,
    /// The first thousand of them.
    pub unclaimed: Vec<Unclaimed>,
    /// The first thousand records that claim a ServiceAccount as which nothing runs.
    pub not_running: Vec<NotRunning>,
}

/// A pod that no record claims.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Unclaimed {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// What tells it from others of the name.
    pub uid: String,
    /// The ServiceAccount that it runs as.
    pub service_account: String,
    /// Where it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// `Pending`, `Running` or `Unknown`.
    pub phase: String,
}

/// A record that claims a ServiceAccount as which nothing runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotRunning {
    /// `Kind namespace/name`.
    pub object: String,
    /// Of the condition `Running`.
    pub reason: String,
    /// Of the condition too.
    pub message: String,
}

impl Joined {
    /// By the records of `snapshot`, which claim `workloads`.
    pub(crate) fn of(
        known: &Known,
        snapshot: &Snapshot,
        workloads: &Workloads,
        calls: Arc<LastCalls>,
    ) -> Self {
        let mut records: BTreeMap<Key, Found> = BTreeMap::new();
        for (account, workload) in workloads.iter() {
            for record in &workload.records {
                let found = records.entry(key(record)).or_default();
                if !known.follows(&account.0) && found.unfollowed.is_none() {
                    found.unfollowed = Some(account.0.clone());
                }
                found.accounts.push(account.clone());
            }
        }
        let registered: BTreeSet<&str> =
            snapshot.objects().iter().map(|object| &*object.meta().namespace).collect();
        let mut unclaimed = Vec::new();
        let mut pods: Vec<&Arc<Pod>> = known.pods().filter(|pod| pod.lives()).collect();
        pods.sort_by(|one, other| (&one.since, &one.name).cmp(&(&other.since, &other.name)));
        for pod in pods {
            if let Some(workload) = workloads.get(&pod.namespace, &pod.account) {
                for record in &workload.records {
                    records.entry(key(record)).or_default().pods.push(pod.clone());
                }
            } else if registered.contains(&*pod.namespace) || known.is_governed(&pod.namespace) {
                unclaimed.push(pod.clone());
            }
        }
        let lost = known.lost().map(str::to_owned);
        Self { is_whole: known.is_whole(), lost, records, unclaimed, calls }
    }

    /// Whether anything is to be said of an object of which its status says nothing.
    pub(crate) fn concerns(&self, key: &Key) -> bool {
        self.records.contains_key(key) || self.calls.contains_key(key)
    }

    /// What is to stand in the status of an object, where `there` does: nothing where no pods are to run as it. What is not known yet stays as it is.
    pub(crate) fn runs(
        &self,
        key: &Key,
        there: &Runs,
        conditions: &[Condition],
        generation: Option<i64>,
    ) -> (Option<Condition>, Runs) {
        let last_call = later(there.last_call.as_deref(), self.calls.get(key)).map(Box::new);
        if !self.is_whole {
            let running = conditions.iter().find(|one| one.of == RUNNING).cloned();
            // Where it cannot be known, what was known before this start is no answer.
            let unknown = self.lost.as_ref().filter(|_| self.records.contains_key(key));
            let unknown = unknown.map(|why| Condition {
                of: RUNNING.to_owned(),
                status: "Unknown".to_owned(),
                reason: "PodsNotHeard".to_owned(),
                message: format!("the pods of the cluster are not known: {why}"),
                observed_generation: generation,
                last_transition_time: String::new(),
            });
            return (unknown.or(running), Runs { instances: there.instances.clone(), last_call });
        }
        let Some(found) = self.records.get(key) else {
            return (None, Runs { instances: None, last_call });
        };
        let (status, reason, message) = found.verdict();
        let running = Condition {
            of: RUNNING.to_owned(),
            status: status.to_owned(),
            reason: reason.to_owned(),
            message,
            observed_generation: generation,
            last_transition_time: String::new(),
        };
        (Some(running), Runs { instances: Some(Box::new(found.instances())), last_call })
    }

    pub(crate) fn report(&self) -> PodsReport {
        let lost = self.lost.clone();
        if !self.is_whole {
            return PodsReport { lost, ..PodsReport::default() };
        }
        let mut unclaimed_by_namespace: BTreeMap<String, usize> = BTreeMap::new();
        for pod in &self.unclaimed {
            *unclaimed_by_namespace.entry(pod.namespace.to_string()).or_default() += 1;
        }
        let unclaimed = |pod: &Arc<Pod>| Unclaimed {
            namespace: pod.namespace.to_string(),
            name: pod.name.to_string(),
            uid: pod.uid.to_string(),
            service_account: pod.account.to_string(),
            node: pod.node.as_deref().map(str::to_owned),
            phase: pod.phase.to_string(),
        };
        let not_running = |((kind, namespace, name), found): (&Key, &Found)| {
            let (status, reason, message) = found.verdict();
            let object = format!("{kind} {namespace}/{name}");
            (status != "True").then(|| NotRunning { object, reason: reason.to_owned(), message })
        };
        PodsReport {
            known: true,
            lost,
            unclaimed_by_namespace,
            unclaimed: self.unclaimed.iter().take(MAX_LISTED).map(unclaimed).collect(),
            not_running: self.records.iter().filter_map(not_running).take(MAX_LISTED).collect(),
        }
    }
}

/// The type of the condition.
const RUNNING: &str = "Running";

impl Found {
    /// Status, reason and message of the condition.
    fn verdict(&self) -> (&'static str, &'static str, String) {
        let running = self.pods.iter().filter(|pod| pod.runs()).count();
        let accounts = || {
            let each = self.accounts.iter().map(|(namespace, name)| format!("{namespace}/{name}"));
            each.collect::<Vec<_>>().join(", ")
        };
        match (running, self.pods.len(), &self.unfollowed) {
            (0, 0, Some(namespace)) => {
                let message =
                    format!("the pods of namespace {namespace} are not watched; add it to --namespace");
                ("Unknown", "NotWatched", message)
            }
            (0, 0, None) => {
                let message = format!("no pod runs as the ServiceAccount {}", accounts());
                ("False", "NoPod", message)
            }
            (0, some, _) => ("False", "NotRunning", format!("none of its {some} pods runs")),
            // How many is in `instances`, so that a condition is not another one with each pod.
            _ => ("True", "Running", String::new()),
        }
    }

    fn instances(&self) -> Instances {
        let text = |text: &Option<Arc<str>>| text.as_deref().map(str::to_owned);
        let pod = |pod: &Arc<Pod>| RunningPod {
            images: pod.images.iter().map(ToString::to_string).collect(),
            name: pod.name.to_string(),
            namespace: pod.namespace.to_string(),
            node: text(&pod.node),
            phase: pod.phase.to_string(),
            since: text(&pod.since),
            uid: pod.uid.to_string(),
            version: text(&pod.version),
        };
        Instances {
            count: i64::try_from(self.pods.len()).unwrap_or(i64::MAX),
            pods: self.pods.iter().take(MAX_PODS).map(pod).collect(),
        }
    }
}

fn key(record: &ObjectRef) -> Key {
    (record.kind, record.namespace.clone(), record.name.clone())
}

/// The one that is written, until another is younger by a minute. Another replica may have written it, so it never goes back.
fn later(there: Option<&LastCall>, seen: Option<&LastCall>) -> Option<LastCall> {
    let time = |call: &LastCall| call.time.parse::<Timestamp>().ok();
    let (Some(written), Some(called)) = (there, seen) else { return there.or(seen).cloned() };
    let is_later = match (time(written), time(called)) {
        (Some(written), Some(called)) => called.duration_since(written) >= CALLS,
        (written, called) => written.is_none() && called.is_some(),
    };
    Some(if is_later { called } else { written }.clone())
}

#[cfg(test)]
mod tests;
