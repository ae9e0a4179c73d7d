//! Which replica writes statuses: the one that holds a Lease (`coordination.k8s.io/v1`).
//!
//! As the clients of Kubernetes do it, whether another's Lease has ended is told by this machine's clock alone: it did not change for as long as it is good.
//! Who holds it and cannot renew it stops before anybody else may begin.

use std::future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use kube_client::core::Request;
use kube_client::core::params::{GetParams, PostParams};
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{sleep, timeout};

use crate::access::Client;
use crate::status::Writes;

/// The name of the Lease.
const NAME: &str = "vidimus-statuses";
/// How long it is good, in seconds.
const GOOD: u32 = 15;
/// How long who renewed it relies on that: less, by what a write may take that is under way.
const RELIED: Duration = Duration::from_secs(10);
/// Between two looks at it.
const LOOK: Duration = Duration::from_secs(3);
/// How long a request may take.
const ANSWER: Duration = Duration::from_secs(3);

/// Until when this replica is the one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Lead(Arc<Mutex<Option<Instant>>>, Arc<tokio::sync::Mutex<()>>);

impl Lead {
    /// A write that is under way holds it: before that has ended nothing is given back.
    pub(crate) async fn writes(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.1.lock().await
    }

    /// Whether it is now.
    pub(crate) fn holds(&self) -> bool {
        self.until().is_some_and(|until| Instant::now() < until)
    }

    fn until(&self) -> Option<Instant> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, until: Option<Instant>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = until;
    }
}

/// Tries to hold the Lease.
pub(crate) struct Holder<B> {
    client: Client,
    request: Request,
    candidate: Candidate,
    lead: Lead,
    begins: B,
    /// Who is told once it is given back.
    given_back: mpsc::Receiver<oneshot::Sender<()>>,
    /// Why it could not be asked for when that was last tried.
    refused: Option<String>,
}

impl<B: Fn() + Send> Holder<B> {
    /// `begins` is called whenever this replica becomes the one.
    pub(crate) fn new(client: Client, writes: &Writes, lead: Lead, begins: B) -> (Self, GiveBack) {
        let path = format!("/apis/coordination.k8s.io/v1/namespaces/{}/leases", writes.namespace);
        let candidate =
            Candidate { me: writes.who.clone(), namespace: writes.namespace.to_string(), seen: None };
        let (give_back, given_back) = mpsc::channel(1);
        let request = Request::new(path);
        let holder = Self { client, request, candidate, lead, begins, given_back, refused: None };
        (holder, GiveBack(give_back))
    }

    /// Goes on for ever; once it is given back, without it.
    pub(crate) async fn run(mut self) {
        loop {
            let begun = Instant::now();
            match self.look(begun).await {
                Ok(true) => {
                    let led = self.lead.holds();
                    self.lead.set(Some(begun + RELIED));
                    if !led {
                        tracing::info!(who = self.candidate.me, "this replica writes statuses now");
                        (self.begins)();
                    }
                    self.refused = None;
                }
                Ok(false) => {
                    if self.lead.until().is_some() {
                        tracing::info!("another replica writes statuses now");
                    }
                    self.lead.set(None);
                    self.refused = None;
                }
                // What is held stays so until it ends.
                Err(reason) => {
                    if self.refused.as_ref() != Some(&reason) {
                        tracing::warn!(
                            reason,
                            "no statuses are written by this replica: Lease {}/{NAME} cannot be had",
                            self.candidate.namespace
                        );
                    }
                    self.refused = Some(reason);
                }
            }
            tokio::select! {
                () = sleep(LOOK) => {}
                told = self.given_back.recv() => {
                    self.give_back().await;
                    // Whoever waits for it is told by its end.
                    drop(told);
                    return future::pending().await;
                }
            }
        }
    }

    /// Lets another replica, or the next start, write at once, where this one is to write now.
    async fn give_back(&self) {
        let led = self.lead.holds();
        self.lead.set(None);
        if !led {
            return;
        }
        let _ended = self.lead.writes().await;
        match self.put_back().await {
            Ok(()) => tracing::info!(who = self.candidate.me, "this replica writes no statuses any more"),
            Err(reason) => {
                tracing::warn!(
                    reason,
                    "Lease {}/{NAME} cannot be given back; it ends by itself in {GOOD} s",
                    self.candidate.namespace
                );
            }
        }
    }

    async fn put_back(&self) -> Result<(), String> {
        let get = self.request.get(NAME, &GetParams::default()).map_err(|error| error.to_string())?;
        let Asked::Answered(there) = self.ask(get).await? else { return Ok(()) };
        let Some(next) = self.candidate.released(&there, Timestamp::now()) else { return Ok(()) };
        let body = serde_json::to_vec(&next).map_err(|error| error.to_string())?;
        let request = self.request.replace(NAME, &PostParams::default(), body);
        // Where it is otherwise by now, somebody else has it.
        self.ask(request.map_err(|error| error.to_string())?).await.map(drop)
    }

    /// Whether it is this replica's, after what could be done for that.
    async fn look(&mut self, now: Instant) -> Result<bool, String> {
        let get = self.request.get(NAME, &GetParams::default()).map_err(|error| error.to_string())?;
        let there = match self.ask(get).await? {
            Asked::Answered(lease) => Some(lease),
            Asked::Absent => None,
            Asked::Conflict => return Ok(false),
        };
        let Some(next) = self.candidate.next(there.as_ref(), now, Timestamp::now()) else { return Ok(false) };
        let body = serde_json::to_vec(&next).map_err(|error| error.to_string())?;
        let params = PostParams::default();
        let request = match there {
            None => self.request.create(&params, body),
            // It has the version that was read: of two that try, one is refused.
            Some(_) => self.request.replace(NAME, &params, body),
        };
        match self.ask(request.map_err(|error| error.to_string())?).await? {
            Asked::Answered(_) => Ok(true),
            Asked::Absent | Asked::Conflict => Ok(false),
        }
    }

    async fn ask(&self, request: http::Request<Vec<u8>>) -> Result<Asked, String> {
        let answer = timeout(ANSWER, self.client.request::<Value>(request)).await;
        match answer.map_err(|_| self.client.silent(ANSWER).to_string())? {
            Ok(lease) => Ok(Asked::Answered(lease)),
            Err(kube_client::Error::Api(status)) if status.code == 404 => Ok(Asked::Absent),
            Err(kube_client::Error::Api(status)) if status.code == 409 => Ok(Asked::Conflict),
            Err(error) => Err(self.client.not_done(&error).to_string()),
        }
    }
}

/// Has the Lease given back.
#[derive(Clone, Debug)]
pub(crate) struct GiveBack(mpsc::Sender<oneshot::Sender<()>>);

impl GiveBack {
    /// It is, as far as that goes, when this returns.
    pub(crate) async fn now(&self) {
        let (done, is_done) = oneshot::channel();
        if self.0.send(done).await.is_ok() {
            // It ends, and says nothing.
            let _ = is_done.await;
        }
    }
}

enum Asked {
    Answered(Value),
    Absent,
    Conflict,
}

/// What wants the Lease, and what it has seen of it.
#[derive(Debug)]
struct Candidate {
    me: String,
    namespace: String,
    /// The holder and the time of the last renewal, as they stand there, and since when they have stood there.
    seen: Option<(String, String, Instant)>,
}

impl Candidate {
    /// What is to be written for this replica to hold it, where it may; `there` is what is there.
    fn next(&mut self, there: Option<&Value>, now: Instant, wall: Timestamp) -> Option<Value> {
        let text =
            |pointer: &str| there.and_then(|there| there.pointer(pointer)?.as_str()).unwrap_or_default();
        let (holder, renewed) = (text("/spec/holderIdentity").to_owned(), text("/spec/renewTime").to_owned());
        let since = match &self.seen {
            Some((last, time, since)) if *last == holder && *time == renewed => *since,
            _ => now,
        };
        self.seen = Some((holder.clone(), renewed, since));
        let number = |pointer: &str| there.and_then(|there| there.pointer(pointer)?.as_u64());
        let good = number("/spec/leaseDurationSeconds").unwrap_or(GOOD.into());
        let is_mine = holder == self.me;
        let is_over = now.saturating_duration_since(since) >= Duration::from_secs(good);
        if !is_mine && !holder.is_empty() && !is_over {
            return None;
        }
        let time = wall.strftime("%Y-%m-%dT%H:%M:%S%.6fZ").to_string();
        let acquired = if is_mine { text("/spec/acquireTime") } else { time.as_str() };
        let transitions =
            number("/spec/leaseTransitions").unwrap_or(0) + u64::from(!is_mine && there.is_some());
        let metadata = there.and_then(|there| there.get("metadata").cloned());
        Some(json!({
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": metadata.unwrap_or_else(|| json!({"namespace": self.namespace, "name": NAME})),
            "spec": {
                "holderIdentity": self.me,
                "leaseDurationSeconds": GOOD,
                "acquireTime": acquired,
                "renewTime": time,
                "leaseTransitions": transitions,
            },
        }))
    }
}

impl Candidate {
    /// What is to be written for nobody to hold it, where it is this replica's.
    fn released(&self, there: &Value, wall: Timestamp) -> Option<Value> {
        if there.pointer("/spec/holderIdentity").and_then(Value::as_str) != Some(&self.me) {
            return None;
        }
        let mut next = there.clone();
        let spec = next.get_mut("spec")?.as_object_mut()?;
        spec.insert("holderIdentity".to_owned(), json!(""));
        spec.insert("renewTime".to_owned(), json!(wall.strftime("%Y-%m-%dT%H:%M:%S%.6fZ").to_string()));
        Some(next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(me: &str) -> Candidate {
        Candidate { me: me.to_owned(), namespace: "v".to_owned(), seen: None }
    }

    fn lease(holder: &str, renewed: &str) -> Value {
        json!({"metadata": {"name": NAME, "resourceVersion": "5"}, "spec": {
            "holderIdentity": holder, "renewTime": renewed, "leaseDurationSeconds": 15, "leaseTransitions": 2, "acquireTime": "before",
        }})
    }

    #[test]
    fn it_is_had_by_one_and_taken_only_when_it_has_ended_by_ones_own_clock() {
        let (begun, wall) = (Instant::now(), Timestamp::from_second(1_800_000_000).unwrap());
        let after = |seconds: u64| begun + Duration::from_secs(seconds);
        // Absent, or given back.
        let new = candidate("me").next(None, begun, wall).unwrap();
        assert_eq!((&new["metadata"]["name"], &new["spec"]["leaseTransitions"]), (&json!(NAME), &json!(0)));
        assert_eq!(new["spec"]["renewTime"], json!("2027-01-15T08:00:00.000000Z"));
        assert!(candidate("me").next(Some(&lease("", "")), begun, wall).is_some());
        // Another's, whatever its time says: it may have another clock.
        let mut waits = candidate("me");
        for (seconds, renewed, may) in [
            (0, "1970", false),
            (14, "1970", false),
            (14, "1971", false),
            (28, "1971", false),
            (29, "1971", true),
        ] {
            let next = waits.next(Some(&lease("other", renewed)), after(seconds), wall);
            assert_eq!(next.is_some(), may, "{seconds} {renewed}");
            if let Some(next) = next {
                assert_eq!(next["metadata"]["resourceVersion"], json!("5"), "only where nobody was faster");
                assert_eq!(
                    (&next["spec"]["holderIdentity"], &next["spec"]["leaseTransitions"]),
                    (&json!("me"), &json!(3))
                );
            }
        }
        // One's own is renewed.
        let own = candidate("me").next(Some(&lease("me", "1970")), begun, wall).unwrap();
        assert_eq!(
            (&own["spec"]["leaseTransitions"], &own["spec"]["acquireTime"]),
            (&json!(2), &json!("before"))
        );
    }

    /// The next start has it at once, and not when it has ended; what another has is not touched.
    #[test]
    fn what_is_given_back_is_anybodys() {
        let (begun, wall) = (Instant::now(), Timestamp::from_second(1_800_000_000).unwrap());
        let released = candidate("me").released(&lease("me", "1970"), wall).unwrap();
        assert_eq!(released["metadata"]["resourceVersion"], json!("5"), "only where nobody was faster");
        assert_eq!(released["spec"]["renewTime"], json!("2027-01-15T08:00:00.000000Z"));
        assert!(candidate("another").next(Some(&lease("me", "1970")), begun, wall).is_none());
        let next = candidate("another").next(Some(&released), begun, wall).unwrap();
        assert_eq!(
            (&next["spec"]["holderIdentity"], &next["spec"]["leaseTransitions"]),
            (&json!("another"), &json!(3))
        );
        for other in ["another", ""] {
            assert!(candidate("me").released(&lease(other, "1970"), wall).is_none(), "{other}");
        }
    }

    #[test]
    fn who_cannot_renew_it_stops_by_himself() {
        let lead = Lead::default();
        assert!(!lead.holds());
        lead.set(Some(Instant::now() + RELIED));
        assert!(lead.holds());
        lead.set(Some(Instant::now()));
        assert!(!lead.holds());
        assert!(RELIED + ANSWER < Duration::from_secs(GOOD.into()), "before anybody else may begin");
    }
}
