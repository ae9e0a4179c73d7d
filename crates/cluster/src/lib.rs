//! What exists, from a Kubernetes cluster: the five kinds, listed and watched, to a [`Snapshot`](vidimus_core::snapshot::Snapshot), again at every change; and
//! what became of each object, into its status.
//!
//! - An object is checked by the same code as a document of a file. A malformed one drops itself, holds what it refused, and stops no watch: what a watch
//!   gives is JSON, and read as nothing else before that check.
//! - The objects are an index, and nothing is reconciled one by one: a burst of changes is one next snapshot, which is built on the last.
//! - An API server that does not answer changes nothing. How long it has not, and why, is in [`SourceState`].
//! - What is in force is kept on disk; a start that does not hear all of the cluster serves by that, as old as it is.
//! - What is gone was deleted on purpose, also where a whole list has to be read again to know it.
//! - Secrets are watched one by one, and only those that an object names which is in force; of each the one key is held that it names ([`Secrets`]).
//! - Where pods are watched too, it is known which run as which object, and which as none (ADR 65).
//! - Each change is told with who is said to have made it ([`Seen`]).
//! - One replica writes statuses, as long as it holds a Lease; it never writes what is there already.
//!
//! - Who watches may be another process than who serves calls ([`relayed`], [`heard_of`]): what the watches tell is said on, and heard by the same code.
//!
//! Beside it: [`Jobs`] runs the calls of servers that are jobs.

mod access;
pub mod answer;
mod condition;
mod follow;
mod index;
mod issuer;
mod jobs;
mod keeper;
mod kept;
mod lease;
mod line;
mod live;
mod pods;
mod quarantined;
mod relay;
mod remote;
mod rollouts;
mod routes;
mod runs_jobs;
mod secrets;
mod seen;
mod state;
mod status;
mod unavailable;
mod verdict;

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread;
use std::time::Duration;

use tokio::sync::watch;
use vidimus_core::resource::Kind;
use vidimus_core::snapshot::Overlay;
use vidimus_registry::{Acts, Keeping, KeptObjects, Loaded};

use follow::{Follow, plural};

pub use access::{Access, Cluster, NotConnected, connect};
pub use follow::collection;
pub use index::read;
pub use issuer::IssuerDocuments;
pub use jobs::{Jobs, Left};
pub use pods::{LastCalls, NotRunning, Pods, PodsReport, PodsSaid, Unclaimed};
pub use quarantined::says_quarantined;
pub use relay::{MAX_GATEWAYS, Relay};
pub use remote::{Dial, Duplex, Link, Remote};
pub use rollouts::{LetPass, RolloutsReport, observes};
pub use routes::{RouteFault, RoutesReport, RoutesSaid};
pub use runs_jobs::JobsReport;
pub use secrets::Secrets;
pub use seen::{Changes, FieldManager, Seen};
pub use state::SourceState;
pub use status::{FIELD_MANAGER, Writes};

/// How long a stop waits until the Lease of statuses is given back.
const GIVEN_BACK: Duration = Duration::from_secs(4);

/// And how long until what is refused is kept.
const SETTLED: Duration = Duration::from_secs(4);

/// The name that objects of the cluster have as their source.
pub const SOURCE: &str = "kubernetes";

/// Something that goes on for as long as the process lives: its end is that of the source.
pub type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A cluster that is being followed.
pub struct Begun {
    /// What is in force.
    pub loaded: watch::Receiver<Arc<Loaded>>,
    /// What stands by acts is given to this.
    pub watching: Watching,
    /// What has to run for it, each with its name.
    pub tasks: Vec<(String, Task)>,
}

impl std::fmt::Debug for Begun {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Begun").field("watching", &self.watching).finish_non_exhaustive()
    }
}

/// As [`vidimus_registry::Watching`], of a cluster.
#[derive(Clone, Debug)]
pub struct Watching {
    acts: Acts,
    state: watch::Receiver<SourceState>,
    secrets: Secrets,
    pods: Option<Pods>,
    /// Where statuses are written here.
    jobs: Option<JobsReport>,
    rollouts: Option<RolloutsReport>,
    routes: Option<RoutesReport>,
    /// Where they are written here: has them looked at again.
    statuses: Option<mpsc::Sender<live::Heard>>,
    give_back: Option<lease::GiveBack>,
    seen: Arc<Mutex<Option<Changes>>>,
    /// Where the API server is followed itself.
    issuer: Option<IssuerDocuments>,
}

impl Watching {
    /// From now on this stands by acts: what is in force is published with it at once, also while the API server does not answer.
    pub fn stand(&self, standing: Arc<Overlay>) {
        self.acts.stand(standing);
        // Statuses say who is quarantined. Nobody hears it once the source has ended.
        if let Some(statuses) = &self.statuses {
            drop(statuses.send(live::Heard::Runs));
        }
    }

    /// How long the thread that compiles what the cluster says has not come round, which it does every few seconds.
    pub fn silent_for(&self) -> Duration {
        self.acts.silent_for()
    }

    /// The keys of Secrets that what is in force names.
    pub fn secrets(&self) -> Secrets {
        self.secrets.clone()
    }

    /// The pods, where they are to be watched: who hears of them begins that.
    pub const fn pods(&self) -> Option<&Pods> {
        self.pods.as_ref()
    }

    /// Whether jobs can be run is said to this, where they are to be.
    pub fn jobs(&self) -> Option<JobsReport> {
        self.jobs.clone()
    }

    /// What the API server publishes of its issuer of tokens; `None` where a registry is heard in its place.
    pub fn issuer(&self) -> Option<IssuerDocuments> {
        self.issuer.clone()
    }

    /// What rollouts let pass is said to this, where statuses are written here.
    pub fn rollouts(&self) -> Option<RolloutsReport> {
        self.rollouts.clone()
    }

    /// What data planes make of routes is said to this, where statuses are written here.
    pub fn routes(&self) -> Option<RoutesReport> {
        self.routes.clone()
    }

    /// Writes no statuses any more, and lets another replica, or the next start, do so at once. Where the API server does not answer it takes some
    /// seconds, and the Lease ends by itself.
    pub async fn give_back(&self) {
        if let Some(give_back) = &self.give_back
            && tokio::time::timeout(GIVEN_BACK, give_back.now()).await.is_err()
        {
            tracing::warn!(
                "the API server does not answer: the next start writes statuses when the Lease has ended"
            );
        }
    }

    /// To be waited for before an end, when nothing is decided any more: what is refused then is kept for the next start, or the log says that it is not.
    pub async fn settled(&self) {
        let acts = self.acts.clone();
        let settled = tokio::task::spawn_blocking(move || acts.settle(SETTLED));
        if !settled.await.unwrap_or(false) {
            tracing::warn!("what is refused could not be kept for the next start in time");
        }
    }

    /// Each change of an object from when what there is was heard, for who asks first; `None` where what is heard is said on alone ([`relayed`]).
    pub fn seen(&self) -> Option<Changes> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// How the source is, and since when.
    pub fn state(&self) -> watch::Receiver<SourceState> {
        self.state.clone()
    }
}

/// Follows a cluster. Nothing passes until all five kinds were listed once, in each namespace that is followed, or what was kept of them in `objects` is in force,
/// as old as it is: that is so when they were not listed within two seconds. `kept` and `standing` are as of [`vidimus_registry::watch()`].
///
/// # Errors
/// When a thread cannot be started.
pub fn begin(
    cluster: &Cluster,
    kept: Option<Keeping>,
    objects: Option<KeptObjects>,
    standing: Arc<Overlay>,
) -> io::Result<Begun> {
    let objects = objects.map(|objects| kept::Kept::begin(objects, &cluster.identity)).transpose()?;
    follow(cluster, (kept, objects), standing, (Secrets::default(), None))
}

/// The same, for gateways elsewhere: what is heard is said on by the [`Relay`]. Nothing is kept on disk, and no acts of people stand here.
///
/// # Errors
/// When a thread cannot be started.
pub fn relayed(cluster: &Cluster) -> io::Result<(Begun, Relay)> {
    let mut watches = followed(&cluster.namespaces).len();
    if cluster.pods {
        watches += Pods::watched(&cluster.namespaces).len();
    }
    let secrets = Secrets::default();
    let relay = Relay::new(cluster.namespaces.clone(), cluster.pods, watches, secrets.clone());
    let begun = follow(cluster, (None, None), Arc::default(), (secrets, Some(relay.clone())))?;
    Ok((begun, relay))
}

/// Hears a registry in place of the cluster, as [`begin`] follows it. No status is written here, and keys of Secrets are asked for by their names.
///
/// # Errors
/// When a thread cannot be started.
pub fn heard_of(
    remote: Remote,
    kept: Option<Keeping>,
    objects: Option<KeptObjects>,
    standing: Arc<Overlay>,
) -> io::Result<Begun> {
    let objects = objects.map(|objects| kept::Kept::begin(objects, &remote.identity)).transpose()?;
    let (loaded, feed, acts) = vidimus_registry::feed("the registry", kept, standing)?;
    let (tell, heard) = mpsc::channel();
    let (followed, secrets) = (followed(&remote.namespaces), Secrets::default());
    let (ask, keys) = watch::channel(Vec::new());
    let calls = watch::Sender::default();
    let pods = remote.pods.then(|| {
        let (told, hears) = mpsc::channel();
        let pods = Pods::of_registry(&remote.namespaces, tell.clone(), (hears, calls.clone()));
        (pods, (Pods::watched(&remote.namespaces), told))
    });
    let (pods, told) = pods.unzip();
    let asks = remote::Asked { keys, calls };
    let hearing = remote::Hearing::new(remote, &followed, told, tell, (secrets.clone(), asks));
    let tasks: Vec<(String, Task)> = vec![
        ("registry".to_owned(), Box::pin(hearing.run())),
        ("keys".to_owned(), Box::pin(remote::name_keys(loaded.clone(), secrets.clone(), ask))),
    ];
    let (publish, state) = watch::channel(SourceState::unread());
    // Nobody writes statuses here.
    let (wanted, _) = watch::channel(Arc::default());
    let written = (wanted, lease::Lead::default(), secrets.clone());
    let live = live::Live::new((feed, objects), &followed, heard, publish, written);
    let (to, seen) = seen::changes();
    let live = live.with_pods(pods.clone()).with_seen(Some(to));
    let seen = Arc::new(Mutex::new(Some(seen)));
    thread::Builder::new().name("vidimus-registry".to_owned()).spawn(move || live.run())?;
    Ok(Begun {
        loaded,
        watching: Watching {
            acts,
            state,
            secrets,
            pods,
            jobs: None,
            rollouts: None,
            routes: None,
            statuses: None,
            give_back: None,
            seen,
            issuer: None,
        },
        tasks,
    })
}

/// What is followed of the objects of these namespaces, or of all where there are none: each has its place, the same in every process.
fn followed(namespaces: &[Arc<str>]) -> Vec<(Kind, Option<Arc<str>>)> {
    let scopes: Vec<Option<Arc<str>>> = match namespaces {
        [] => vec![None],
        some => some.iter().cloned().map(Some).collect(),
    };
    let of = |kind: Kind| scopes.iter().cloned().map(move |scope| (kind, scope));
    Kind::ALL.into_iter().flat_map(of).collect()
}

/// Begins to follow a cluster; what is heard is said on by the relay, where there is one.
fn follow(
    cluster: &Cluster,
    (kept, objects): (Option<Keeping>, Option<kept::Kept>),
    standing: Arc<Overlay>,
    (secrets, relay): (Secrets, Option<Relay>),
) -> io::Result<Begun> {
    let (loaded, feed, acts) = vidimus_registry::feed("the cluster", kept, standing)?;
    let (tell, heard) = mpsc::channel();
    let followed = followed(&cluster.namespaces);
    let mut tasks: Vec<(String, Task)> = Vec::new();
    for (place, (kind, scope)) in followed.iter().enumerate() {
        let name = match scope {
            None => format!("watch {}", plural(*kind)),
            Some(namespace) => format!("watch {} of {namespace}", plural(*kind)),
        };
        let (tell, relay) = (tell.clone(), relay.clone());
        let tell = move |told: live::Told| {
            if let Some(relay) = &relay {
                relay.hear(place, &told);
            }
            tell.send(live::Heard::Of(place, told)).is_ok()
        };
        let at = collection(*kind, scope.as_deref());
        tasks.push((name.clone(), Box::pin(Follow::new(cluster.client.clone(), name, at, tell).run())));
    }
    let keeper = keeper::Keeper::new(cluster.client.clone(), loaded.clone(), secrets.clone(), tell.clone());
    tasks.push(("secrets".to_owned(), Box::pin(keeper.run())));
    let (publish, state) = watch::channel(SourceState::unread());
    let (wanted, wants) = watch::channel(Arc::default());
    let lead = lease::Lead::default();
    let mut give_back = None;
    if let Some(writes) = &cluster.writes {
        let begins = tell.clone();
        // Nobody hears it once the source has ended.
        let begins = move || drop(begins.send(live::Heard::Leads));
        let (holder, back) = lease::Holder::new(cluster.client.clone(), writes, lead.clone(), begins);
        give_back = Some(back);
        tasks.push(("lease".to_owned(), Box::pin(holder.run())));
        let writer = status::Writer::new(cluster.client.clone(), wants, lead.clone());
        tasks.push(("statuses".to_owned(), Box::pin(writer.run())));
    }
    let jobs = if cluster.jobs { runs_jobs::Known::Unread } else { runs_jobs::Known::Off };
    let jobs = JobsReport::new(runs_jobs::RunsJobs::new(jobs), tell.clone());
    let let_pass = rollouts::Rollouts::default();
    let statuses = Some(tell.clone());
    let rollouts = RolloutsReport::new(let_pass.clone(), tell.clone());
    let planes = routes::Routes::default();
    let routes = RoutesReport::new(planes.clone(), tell.clone());
    // Where it is said on, each gateway records what it sees.
    let is_recorded = relay.is_none();
    let relay = relay.map(|relay| (relay, followed.len()));
    let pods = cluster.pods.then(|| Pods::new(cluster.client.clone(), &cluster.namespaces, tell, relay));
    let live = live::Live::new((feed, objects), &followed, heard, publish, (wanted, lead, secrets.clone()));
    let (to, seen) = is_recorded.then(seen::changes).unzip();
    let live = live.with_pods(pods.clone()).with_seen(to);
    let live = live.with_reports(jobs.runs(), (let_pass, planes), is_recorded);
    let seen = Arc::new(Mutex::new(seen));
    thread::Builder::new().name("vidimus-registry".to_owned()).spawn(move || live.run())?;
    Ok(Begun {
        loaded,
        watching: Watching {
            acts,
            state,
            secrets,
            pods,
            jobs: Some(jobs),
            rollouts: Some(rollouts),
            routes: Some(routes),
            statuses,
            give_back,
            seen,
            issuer: Some(cluster.issuer()),
        },
        tasks,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const KUBECONFIG: &str = r#"{"apiVersion": "v1", "kind": "Config", "current-context": "c",
        "clusters": [{"name": "c", "cluster": {"server": "http://127.0.0.1:1"}}],
        "users": [{"name": "u", "user": {}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}]}"#;

    /// A registry has no ledger: changes that it kept for one would be kept for good.
    #[tokio::test]
    async fn a_registry_keeps_no_changes_that_nobody_records() {
        let root = tempfile::tempdir().unwrap();
        let file = root.path().join("kubeconfig");
        std::fs::write(&file, KUBECONFIG).unwrap();
        let access = Access { kubeconfig: Some(file), ..Access::default() };
        let cluster = connect(&access).await.unwrap();
        let (registry, _relay) = relayed(&cluster).unwrap();
        assert!(registry.watching.seen().is_none());
        let gateway = begin(&cluster, None, None, Arc::default()).unwrap();
        assert!(gateway.watching.seen().is_some());
    }
}
