//! Writes statuses: by the one replica that holds the Lease, by server-side apply as a field manager of our own, and slowly.

use std::collections::HashMap;
use std::future;
use std::mem;
use std::sync::Arc;
use std::time::{Duration, Instant};

use kube_client::core::Request;
use kube_client::core::params::{Patch, PatchParams};
use serde_json::{Map, Value, json};
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval, timeout};
use vidimus_core::resource::API_VERSION;

use crate::access::Client;
use crate::condition::{Condition, stand};
use crate::follow::{Backoff, collection, why};
use crate::index::Key;
use crate::lease::Lead;
use crate::pods::Runs;

/// Whom managed fields name for what is written here.
pub const FIELD_MANAGER: &str = "vidimus";

/// Between two writes.
const PACE: Duration = Duration::from_millis(10);
/// How long one write may take: one that has begun ends before another replica may write.
const ANSWER: Duration = Duration::from_secs(3);
/// How long the same is not written again for the same object, also where somebody else has written something else since.
const PEACE: Duration = Duration::from_secs(30);

/// Who writes statuses, and where the Lease for that is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Writes {
    /// The name of this replica, another one at each start.
    pub who: String,
    /// The namespace of the Lease.
    pub namespace: Arc<str>,
}

/// One status that is to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Write {
    pub(crate) key: Key,
    pub(crate) uid: Arc<str>,
    /// Which write of the object this is said of.
    pub(crate) version: Arc<str>,
    pub(crate) generation: Option<i64>,
    pub(crate) conditions: Vec<Condition>,
    pub(crate) runs: Runs,
}

impl Write {
    /// What is applied, on the condition that the object is still as it was: one that was deleted and made anew is not told what became of the other one.
    /// (The uid is no condition for a status.)
    pub(crate) fn document(&self) -> Value {
        let (kind, namespace, name) = &self.key;
        let mut status = Map::new();
        status.insert("observedGeneration".to_owned(), json!(self.generation));
        status.insert("conditions".to_owned(), json!(self.conditions));
        // What is left out goes from the status, since it is ours.
        if let Some(instances) = &self.runs.instances {
            status.insert("instances".to_owned(), json!(instances));
        }
        if let Some(call) = &self.runs.last_call {
            status.insert("lastCall".to_owned(), json!(call));
        }
        json!({
            "apiVersion": API_VERSION,
            "kind": kind.as_str(),
            "metadata": {"namespace": namespace, "name": name, "resourceVersion": self.version},
            "status": status,
        })
    }
}

/// Writes what is wanted.
pub(crate) struct Writer {
    client: Client,
    wanted: watch::Receiver<Arc<Vec<Write>>>,
    lead: Lead,
    recent: Recent,
}

/// What was written a moment ago, and may not have come back yet.
#[derive(Debug, Default)]
struct Recent(HashMap<Arc<str>, (Instant, Vec<Condition>, Runs)>);

impl Recent {
    fn has(&self, write: &Write, now: Instant) -> bool {
        self.0.get(&write.uid).is_some_and(|(when, conditions, runs)| {
            now.saturating_duration_since(*when) < PEACE
                && stand(conditions, &write.conditions)
                && *runs == write.runs
        })
    }

    fn note(&mut self, write: &Write, now: Instant) {
        self.0.insert(write.uid.clone(), (now, write.conditions.clone(), write.runs.clone()));
    }

    fn forget(&mut self, now: Instant) {
        self.0.retain(|_, (when, ..)| now.saturating_duration_since(*when) < PEACE);
    }
}

/// How a round of writes ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ended {
    /// There is nothing more to write, or something newer, or it is another replica's turn.
    Done,
    /// The API server does not take it now.
    Failed,
}

impl Writer {
    pub(crate) fn new(client: Client, wanted: watch::Receiver<Arc<Vec<Write>>>, lead: Lead) -> Self {
        Self { client, wanted, lead, recent: Recent::default() }
    }

    /// Goes on for as long as somebody wants something.
    pub(crate) async fn run(mut self) {
        let mut backoff = Backoff::default();
        let mut again = false;
        loop {
            let changed = if again {
                timeout(backoff.next(), self.wanted.changed()).await.unwrap_or(Ok(()))
            } else {
                self.wanted.changed().await
            };
            if changed.is_err() {
                // Whoever compiles has ended, which is told of it.
                return future::pending().await;
            }
            let list = self.wanted.borrow_and_update().clone();
            again = self.write_all(&list).await == Ended::Failed;
            if !again {
                backoff.reset();
            }
        }
    }

    async fn write_all(&mut self, list: &[Write]) -> Ended {
        let mut pace = interval(PACE);
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        self.recent.forget(Instant::now());
        let mut said = false;
        for write in list {
            if self.recent.has(write, Instant::now()) {
                continue;
            }
            pace.tick().await;
            // From here to the answer nothing is given back.
            let _writes = self.lead.writes().await;
            if !self.lead.holds() || self.wanted.has_changed().unwrap_or(true) {
                return Ended::Done;
            }
            let (kind, namespace, name) = &write.key;
            match self.write(write).await {
                Ok(()) => self.recent.note(write, Instant::now()),
                Err(Refused::Meanwhile) => {}
                Err(Refused::One(reason)) => {
                    // It is tried again after a while, and keeps no other from being written. Of many one is said.
                    self.recent.note(write, Instant::now());
                    if !mem::replace(&mut said, true) {
                        tracing::warn!(
                            reason,
                            fix = "bind the role of deploy/rbac/registry.yaml, see docs/kubernetes.md",
                            "the status of {kind} {namespace}/{name} cannot be written"
                        );
                    }
                }
                Err(Refused::All(reason)) => {
                    tracing::warn!(reason, "no status can be written now");
                    return Ended::Failed;
                }
            }
        }
        Ended::Done
    }

    async fn write(&self, write: &Write) -> Result<(), Refused> {
        let (kind, namespace, name) = &write.key;
        let request = Request::new(collection(*kind, Some(&**namespace)));
        // The conditions of these types are ours, whoever wrote them.
        let params = PatchParams::apply(FIELD_MANAGER).force();
        let request = request
            .patch_subresource("status", name, &params, &Patch::Apply(write.document()))
            .map_err(|error| Refused::One(error.to_string()))?;
        let answer = timeout(ANSWER, self.client.request::<Value>(request)).await;
        match answer.map_err(|_| Refused::All(self.client.silent(ANSWER).to_string()))? {
            Ok(_) => Ok(()),
            // It is another one meanwhile, or otherwise: that is heard, or will be, and then looked at again.
            Err(kube_client::Error::Api(status)) if matches!(status.code, 404 | 409) => {
                Err(Refused::Meanwhile)
            }
            Err(error) if is_of_one(&error) => Err(Refused::One(why(&error))),
            Err(error) => Err(Refused::All(self.client.not_done(&error).to_string())),
        }
    }
}

/// Why a status is not written.
enum Refused {
    /// The object is another one meanwhile.
    Meanwhile,
    /// This is wrong with this one, such as that nothing may be written in its namespace.
    One(String),
    /// The API server takes none now.
    All(String),
}

/// Whether the next one may be written all the same.
fn is_of_one(error: &kube_client::Error) -> bool {
    let kube_client::Error::Api(status) = error else { return false };
    // Also 500: of an object that has no room for its status left the store says it in words of its own, and who fills one of his is not to hold up all others.
    (400..=500).contains(&status.code) && !matches!(status.code, 401 | 429)
}

#[cfg(test)]
mod tests {
    use vidimus_core::resource::Kind;

    use super::*;

    fn write(uid: &str, message: &str) -> Write {
        let condition = Condition {
            of: "Ready".to_owned(),
            status: "True".to_owned(),
            reason: "Ready".to_owned(),
            message: message.to_owned(),
            observed_generation: Some(1),
            last_transition_time: "2026-01-01T00:00:00Z".to_owned(),
        };
        let key = (Kind::Agent, "a".into(), "b".into());
        Write {
            key,
            uid: uid.into(),
            version: "7".into(),
            generation: Some(1),
            conditions: vec![condition],
            runs: Runs::default(),
        }
    }

    #[test]
    fn the_same_is_written_once_in_a_while_and_something_else_at_once() {
        let (mut recent, now) = (Recent::default(), Instant::now());
        recent.note(&write("1", "m"), now);
        for (next, after, has) in [
            (write("1", "m"), Duration::ZERO, true),
            (write("1", "m"), PEACE, false),
            (write("1", "n"), Duration::ZERO, false),
            (write("2", "m"), Duration::ZERO, false),
        ] {
            assert_eq!(recent.has(&next, now + after), has, "{next:?}");
        }
        recent.forget(now + PEACE);
        assert!(recent.0.is_empty());
    }

    /// Attack: labels, or images of pods, that fill an object up to what the store takes (500), so that no status behind it is written.
    #[test]
    fn one_that_cannot_be_written_keeps_no_other_from_it() {
        for (code, of_one) in
            [(403, true), (422, true), (400, true), (401, false), (429, false), (500, true), (503, false)]
        {
            let status = kube_client::core::Status::failure("m", "r").with_code(code).boxed();
            assert_eq!(is_of_one(&kube_client::Error::Api(status)), of_one, "{code}");
        }
    }

    #[test]
    fn what_is_applied_names_the_object_and_has_nothing_of_its_spec() {
        let document = write("1", "m").document();
        let expected = json!({
            "apiVersion": "vidimus.dev/v1alpha1", "kind": "Agent",
            "metadata": {"namespace": "a", "name": "b", "resourceVersion": "7"},
            "status": {"observedGeneration": 1, "conditions": [{
                "type": "Ready", "status": "True", "reason": "Ready", "message": "m", "observedGeneration": 1,
                "lastTransitionTime": "2026-01-01T00:00:00Z",
            }]},
        });
        assert_eq!(document, expected);
    }
}
