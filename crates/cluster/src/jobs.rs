//! What runs jobs: each permitted call is a Kubernetes Job in a namespace of its own, which is taken away after it (ADR 69).
//!
//! The namespace is named by the call, and everything is in it; so it is one thing that is deleted, and one that is looked for when a gateway died
//! in between ([`Jobs::left`]).

mod look;
mod manifests;
mod pull;
mod sweep;

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use data_encoding::HEXLOWER;
use kube_client::client::Body;
use kube_client::core::Request;
use kube_client::core::params::{DeleteParams, GetParams, ListParams, PostParams};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio::runtime::Handle;
use tokio::sync::{OnceCell, mpsc};
use tokio::time::{Instant, sleep, timeout};
use vidimus_core::refusal::{Code, Refusal};
use vidimus_gateway::{News, Output, Run, Runner};

use crate::access::{Client, Cluster};
use crate::follow::why;
use look::{Said, Seen, said};
use manifests::{JOB, Manifests, NAMESPACE};
pub use sweep::Left;

/// How long the API server may take to answer.
const ANSWER: Duration = Duration::from_secs(10);
/// How long what was just allowed may be forbidden still: a role that was bound, a quota that was not counted yet.
const SETTLES: Duration = Duration::from_secs(10);
/// What a job may take longer than its deadline, which its controller keeps.
const SLACK: Duration = Duration::from_secs(10);
/// Between two looks: at first, and at most.
const LOOK: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(1));
/// How long nothing may be said to a client that waits.
const QUIET: Duration = Duration::from_secs(15);
/// The longest arguments, in bytes: a Secret holds 1 MiB.
const MAX_ARGUMENTS: usize = 900_000;
/// News that wait to be heard.
const UNHEARD: usize = 16;
/// Where the jobs cannot be made.
const NEXT: &str = "Nothing was run. The detail in the record says why; the roles are in deploy/rbac/jobs.yaml (docs/kubernetes.md, Jobs), \
    and what the API server refuses of a template has to be changed in spec.job of the MCPServer.";

/// Runs jobs in a cluster.
#[derive(Clone, Debug)]
pub struct Jobs(Arc<Inner>);

struct Inner {
    client: Client,
    on: Handle,
    /// Which gateway this is, as a value of a label: the same after a restart, and no other's.
    gateway: String,
    /// Who this process is to the API server, as the subject of a binding.
    subject: OnceCell<Value>,
    state: Mutex<State>,
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inner").field("gateway", &self.gateway).finish_non_exhaustive()
    }
}

#[derive(Debug, Default)]
struct State {
    /// How many run, by server.
    running: HashMap<String, u32>,
    /// The namespaces of those that run.
    live: HashSet<String>,
    /// The namespaces of those that have ended, and could not be deleted yet.
    failed: HashSet<String>,
    /// Those that the API server refused to make, until their call has ended.
    unmade: HashSet<String>,
}

/// A call that runs, counted until it is dropped.
struct Place {
    inner: Arc<Inner>,
    server: String,
    namespace: String,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut state = self.inner.state();
        state.live.remove(&self.namespace);
        let left = state.running.get_mut(&self.server).map(|count| {
            *count = count.saturating_sub(1);
            *count
        });
        if left == Some(0) {
            state.running.remove(&self.server);
        }
    }
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Jobs {
    /// `gateway` names this gateway and no other, and stays the same when it starts again. To be called within a tokio runtime, on which jobs are
    /// then looked after, also when the thread of their call is gone.
    pub fn new(cluster: &Cluster, gateway: &str) -> Self {
        let gateway = HEXLOWER.encode(&Sha256::digest(gateway.as_bytes())).chars().take(32).collect();
        Self(Arc::new(Inner {
            client: cluster.client.clone(),
            on: Handle::current(),
            gateway,
            subject: OnceCell::new(),
            state: Mutex::default(),
        }))
    }

    /// A place among those of its server, where there is one.
    fn place(&self, run: &Run) -> Option<Place> {
        let server = run.permit().destination().id().to_string();
        let namespace = format!("{NAMESPACE}{}", run.permit().call());
        let mut state = self.0.state();
        let count = state.running.entry(server.clone()).or_default();
        if *count >= run.job().concurrent {
            return None;
        }
        *count += 1;
        state.live.insert(namespace.clone());
        Some(Place { inner: self.0.clone(), server, namespace })
    }
}

impl Runner for Jobs {
    fn run(&self, run: Run) -> mpsc::Receiver<News> {
        let (tell, heard) = mpsc::channel(UNHEARD);
        match self.place(&run) {
            Some(place) => drop(self.0.on.spawn(carry_out(run, tell, place))),
            None => {
                let most = run.job().concurrent;
                let message = format!("{most} calls of this server run already (spec.job.concurrent)");
                // There is room for one.
                let _ = tell.try_send(News::Ended(Err(Refusal::new(Code::Overloaded, message))));
            }
        }
        heard
    }
}

/// One call from its namespace to its deletion, whoever leaves meanwhile.
async fn carry_out(run: Run, tell: mpsc::Sender<News>, place: Place) {
    let inner = &*place.inner;
    let limit = Duration::from_millis(run.job().deadline_ms.into()) + SLACK;
    let ended = tokio::select! {
        ended = timeout(limit, inner.done(&run, &place.namespace, &tell)) => Some(ended.unwrap_or_else(|_| Err(late(&run)))),
        () = tell.closed() => None,
    };
    // What the API server did not let be made is not there to be taken away.
    let is_unmade = inner.state().unmade.remove(&place.namespace);
    if !is_unmade && let Err(reason) = inner.take_away(&place.namespace).await {
        inner.state().failed.insert(place.namespace.clone());
        tracing::warn!(
            namespace = place.namespace,
            reason,
            "what ran for a call is not taken away yet; it is tried again"
        );
    }
    drop(place);
    if let Some(ended) = ended {
        // Nobody need hear it any more.
        let _ = tell.send(News::Ended(ended)).await;
    }
}

fn late(run: &Run) -> Refusal {
    let message = format!("the job did not end within {} ms (spec.job.deadline)", run.job().deadline_ms);
    Refusal::new(Code::UpstreamTimeout, message)
}

fn not_made(what: &str, reason: String) -> Refusal {
    let message = format!("the {what} of the call could not be made, so nothing was run");
    Refusal::new(Code::UpstreamUnreachable, message).with_detail(reason).with_next(NEXT)
}

/// What the API server did not do.
enum Failed {
    /// It said no, with this HTTP status.
    Refused(u16, String),
    /// It did not say.
    Unanswered(String),
}

impl Failed {
    fn reason(self) -> String {
        match self {
            Self::Refused(_, reason) | Self::Unanswered(reason) => reason,
        }
    }
}

impl Inner {
    /// Makes what is needed, and waits for what comes of it.
    async fn done(&self, run: &Run, namespace: &str, tell: &mpsc::Sender<News>) -> Result<Output, Refusal> {
        if run.arguments().len() > MAX_ARGUMENTS {
            let message = format!("the arguments are longer than the {MAX_ARGUMENTS} bytes that a job takes");
            return Err(Refusal::new(Code::BodyTooLarge, message));
        }
        self.make(run, namespace).await?;
        let (mut wait, mut told, mut last) = (LOOK.0, Instant::now(), String::new());
        let mut lines = 0;
        loop {
            let seen = match self.look(namespace, &run.job().container).await {
                Ok(seen) => seen,
                // It may be back before the deadline, and the job runs meanwhile.
                Err(reason) => {
                    tracing::debug!(namespace, reason, "how a job is cannot be seen");
                    Seen::Waits("the cluster does not say how it is".into())
                }
            };
            match seen {
                Seen::Late => return Err(late(run)),
                Seen::Broken(refusal) => return Err(*refusal),
                Seen::Exited { pod, container, image, exit } => {
                    run.ran().note(|ran| (ran.image, ran.exit) = (image, Some(exit)));
                    let all = self.output(run, (namespace, &pod, &container)).await?;
                    for line in all.progress.iter().skip(lines).filter(|_| run.is_followed()) {
                        let _ = tell.send(News::Progress(line.as_str().into())).await;
                    }
                    return Ok(Output { text: all.text, exit });
                }
                Seen::Waits(state) if *state != *last => {
                    last = state.to_string();
                    told = Instant::now();
                    let _ = tell.send(News::Progress(state)).await;
                }
                Seen::Runs { pod, container, image } => {
                    run.ran().note(|ran| ran.image = image);
                    if run.is_followed()
                        && let Ok(log) = self.log(run, (namespace, &pod, &container)).await
                    {
                        let Said { progress, .. } = said(&log, false);
                        for line in progress.iter().skip(lines) {
                            told = Instant::now();
                            let _ = tell.send(News::Progress(line.as_str().into())).await;
                        }
                        lines = lines.max(progress.len());
                    }
                }
                Seen::Waits(_) => {}
            }
            if told.elapsed() > QUIET {
                told = Instant::now();
                let _ = tell.send(News::Alive).await;
            }
            sleep(wait).await;
            wait = wait.mul_f64(1.5).min(LOOK.1);
        }
    }

    /// The namespace, what guards it, the arguments, and last the Job.
    async fn make(&self, run: &Run, namespace: &str) -> Result<(), Refusal> {
        let subject = self.subject.get_or_try_init(|| self.who()).await;
        let subject = subject.map_err(|failed| not_made("namespace", failed.reason()))?;
        let manifests = Manifests { run, namespace, gateway: &self.gateway };
        // Before anything is made: without them nothing is run.
        let pulled_by = self.pulled_by(&run.job().pull_secrets).await?;
        let made = self.create("/api/v1/namespaces", &manifests.namespace(), false).await;
        made.map_err(|failed| {
            if matches!(failed, Failed::Refused(403, _)) {
                self.state().unmade.insert(namespace.to_owned());
            }
            not_made("namespace", failed.reason())
        })?;
        let guards = [
            (
                "role binding",
                "/apis/rbac.authorization.k8s.io/v1",
                "rolebindings",
                manifests.binding(subject),
            ),
            ("network policy", "/apis/networking.k8s.io/v1", "networkpolicies", manifests.network_policy()),
            ("quota", "/api/v1", "resourcequotas", manifests.quota()),
            ("arguments", "/api/v1", "secrets", manifests.arguments()),
        ];
        for (what, group, resource, object) in guards {
            let path = format!("{group}/namespaces/{namespace}/{resource}");
            let made = self.create(&path, &object, true).await;
            made.map_err(|failed| not_made(what, failed.reason()))?;
        }
        for (index, config) in pulled_by.iter().enumerate() {
            let path = format!("/api/v1/namespaces/{namespace}/secrets");
            let made = self.create(&path, &manifests.pull_secret(index, config), true).await;
            made.map_err(|failed| not_made("Secret that its image is pulled by", failed.reason()))?;
        }
        let job = manifests.job().map_err(|error| not_made("job", error.to_string()))?;
        let path = format!("/apis/batch/v1/namespaces/{namespace}/jobs");
        let made = self.create(&path, &job, true).await.map_err(|failed| match failed {
            Failed::Refused(_, reason) => not_made("job", reason),
            Failed::Unanswered(reason) => {
                Refusal::new(Code::UpstreamInterrupted, "it is not known whether the job was made")
                    .with_detail(reason)
            }
        })?;
        let uid = made.pointer("/metadata/uid").and_then(Value::as_str).map(str::to_owned);
        run.ran().note(|ran| ran.uid = uid);
        Ok(())
    }

    /// Creates an object; where it is patient, what is forbidden is tried again for a while.
    async fn create(&self, path: &str, object: &Value, is_patient: bool) -> Result<Value, Failed> {
        let begun = Instant::now();
        loop {
            let body = serde_json::to_vec(object).map_err(|error| Failed::Refused(0, error.to_string()))?;
            let request = Request::new(path).create(&PostParams::default(), body);
            match self.ask(request).await {
                Err(Failed::Refused(403, _)) if is_patient && begun.elapsed() < SETTLES => {
                    sleep(LOOK.0).await;
                }
                answered => return answered,
            }
        }
    }

    async fn ask(
        &self,
        request: Result<http::Request<Vec<u8>>, kube_client::core::request::Error>,
    ) -> Result<Value, Failed> {
        let request = request.map_err(|error| Failed::Refused(0, error.to_string()))?;
        let late = |_| Failed::Unanswered(format!("no answer within {} s", ANSWER.as_secs()));
        match timeout(ANSWER, self.client.request::<Value>(request)).await.map_err(late)? {
            Ok(answer) => Ok(answer),
            Err(kube_client::Error::Api(status)) => {
                let code = status.code;
                Err(Failed::Refused(code, why(&kube_client::Error::Api(status))))
            }
            Err(error) => Err(Failed::Unanswered(why(&error))),
        }
    }

    /// Who this process is, to bind a role to.
    async fn who(&self) -> Result<Value, Failed> {
        let review = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"});
        let review = self.create("/apis/authentication.k8s.io/v1/selfsubjectreviews", &review, false).await?;
        let name = review.pointer("/status/userInfo/username").and_then(Value::as_str).unwrap_or_default();
        Ok(manifests::subject(name))
    }

    /// How the job is now.
    async fn look(&self, namespace: &str, container: &str) -> Result<Seen, String> {
        let jobs = Request::new(format!("/apis/batch/v1/namespaces/{namespace}/jobs"));
        let job = self.ask(jobs.get(JOB, &GetParams::default())).await.map_err(Failed::reason)?;
        let pods = Request::new(format!("/api/v1/namespaces/{namespace}/pods"));
        let all = self.ask(pods.list(&ListParams::default())).await.map_err(Failed::reason)?;
        Ok(Seen::of(&job, all.pointer("/items/0"), container))
    }

    /// All that it wrote.
    async fn output(&self, run: &Run, at: (&str, &str, &str)) -> Result<Said, Refusal> {
        let mut failed = String::new();
        for _ in 0..5 {
            match self.log(run, at).await {
                Ok(log) if log.len() > run.job().max_output as usize => {
                    let message = format!(
                        "the tool wrote more than {} bytes (spec.job.maxOutput)",
                        run.job().max_output
                    );
                    return Err(Refusal::new(Code::UpstreamInvalid, message));
                }
                Ok(log) => {
                    run.ran().note(|ran| ran.output = Some(HEXLOWER.encode(&Sha256::digest(&log))));
                    return Ok(said(&log, true));
                }
                Err(reason) => failed = reason,
            }
            sleep(LOOK.1).await;
        }
        let message = "the job ended, and what it wrote could not be read";
        Err(Refusal::new(Code::UpstreamInterrupted, message).with_detail(failed))
    }

    /// What it wrote so far, and no more than one byte too much.
    async fn log(
        &self,
        run: &Run,
        (namespace, pod, container): (&str, &str, &str),
    ) -> Result<Vec<u8>, String> {
        let most = u64::from(run.job().max_output) + 1;
        let path =
            format!("/api/v1/namespaces/{namespace}/pods/{pod}/log?container={container}&limitBytes={most}");
        let request = http::Request::get(path).body(Body::empty()).map_err(|error| error.to_string())?;
        let read = async {
            let response = self.client.send(request).await.map_err(|error| why(&error))?;
            let status = response.status();
            let body = response.into_body().collect_bytes().await.map_err(|error| why(&error))?;
            if status.is_success() {
                return Ok(body.to_vec());
            }
            let said = String::from_utf8_lossy(body.get(..300).unwrap_or(&body)).into_owned();
            Err(format!("{said} ({})", status.as_u16()))
        };
        timeout(ANSWER, read).await.map_err(|_| format!("no answer within {} s", ANSWER.as_secs()))?
    }

    /// Has a namespace deleted, and all that is in it.
    async fn take_away(&self, namespace: &str) -> Result<(), String> {
        let namespaces = Request::new("/api/v1/namespaces");
        let mut reason = String::new();
        for _ in 0..2 {
            match self.ask(namespaces.delete(namespace, &DeleteParams::default())).await {
                // It goes already.
                Ok(_) | Err(Failed::Refused(404 | 409, _)) => return Ok(()),
                Err(failed) => reason = failed.reason(),
            }
        }
        Err(reason)
    }
}
