//! Where the resources come from: a directory, a cluster, or a registry that watches one. What is done with them is the same.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::Args;
use clap::builder::BoolishValueParser;
use secrecy::SecretString;
use tokio::runtime::Runtime;
use tokio::sync::watch;
use vidimus_cluster::{
    Access, Begun, Changes, IssuerDocuments, JobsReport, Pods, RolloutsReport, RoutesReport,
};
use vidimus_core::caller::UnixMillis;
use vidimus_core::resource::llm_provider::SecretKey;
use vidimus_core::snapshot::Overlay;
use vidimus_gateway::{SecretKeys, Shared, SourceState, Stale};
use vidimus_registry::{Keeping, KeptObjects, Loaded};

use super::pods::{self, PodsFlags};
use super::supervisor::Supervisor;
use super::{Serve, from_registry, rollouts, routes};
use crate::cmd::data_directory;

/// How long a start waits for the cluster. Then it begins with everything refused.
const MAX_START: Duration = Duration::from_secs(5);
/// How long whatever reads the resources may take for one look at them; it looks every other second.
const UNREAD: Duration = Duration::from_secs(30);

/// How often it is asked whether the source is heard.
const LOOK: Duration = Duration::from_secs(2);

/// Flags for a cluster as the source.
#[derive(Debug, Args)]
pub struct ClusterFlags {
    /// Read the resources from the Kubernetes API instead of a directory:
    /// watched in all namespaces, what became of each in its status.
    #[arg(long, env = "VIDIMUS_CLUSTER", conflicts_with = "resources", value_parser = BoolishValueParser::new())]
    pub cluster: bool,
    /// How the cluster is reached [default: as the ServiceAccount of the pod, or
    /// outside of one as kubectl does: KUBECONFIG, ~/.kube/config].
    #[arg(
        long,
        env = "VIDIMUS_KUBECONFIG",
        value_name = "FILE",
        requires = "cluster",
        conflicts_with = "resources"
    )]
    pub kubeconfig: Option<PathBuf>,
    /// The context in the kubeconfig [default: the current one].
    #[arg(
        long,
        env = "VIDIMUS_KUBE_CONTEXT",
        value_name = "NAME",
        requires = "cluster",
        conflicts_with = "resources"
    )]
    pub context: Option<String>,
    /// Namespaces whose resources are registered, and no others; may be given
    /// several times [default: all].
    #[arg(
        long,
        env = "VIDIMUS_NAMESPACE",
        value_name = "NAMESPACE",
        value_delimiter = ',',
        conflicts_with = "resources"
    )]
    pub namespace: Vec<String>,
    /// The namespace of the Lease by which one replica of several writes
    /// statuses [default: that of the pod, or of the context].
    #[arg(
        long,
        env = "VIDIMUS_LEASE_NAMESPACE",
        value_name = "NAMESPACE",
        requires = "cluster",
        conflicts_with = "resources"
    )]
    pub lease_namespace: Option<String>,
    /// Write no statuses, and hold no Lease.
    #[arg(long, env = "VIDIMUS_NO_STATUS", requires = "cluster", conflicts_with = "resources", value_parser = BoolishValueParser::new())]
    pub no_status: bool,
    #[command(flatten)]
    pub pods: PodsFlags,
}

/// Watches the source until it is dropped.
#[derive(Debug)]
pub(super) enum Watching {
    Directory(vidimus_registry::Watching),
    /// And what it is called.
    Cluster(Box<vidimus_cluster::Watching>, &'static str),
}

impl Watching {
    /// From now on this stands by acts.
    pub(super) fn stand(&self, standing: Arc<Overlay>) {
        match self {
            Self::Directory(watching) => watching.stand(standing),
            Self::Cluster(watching, _) => watching.stand(standing),
        }
    }

    /// The pods of the cluster, where they are to be watched.
    pub(super) fn pods(&self) -> Option<&Pods> {
        match self {
            Self::Directory(_) => None,
            Self::Cluster(watching, _) => watching.pods(),
        }
    }

    /// What the API server publishes of its issuer of tokens, where it is followed here.
    pub(super) fn issuer(&self) -> Option<IssuerDocuments> {
        match self {
            Self::Directory(_) => None,
            Self::Cluster(watching, _) => watching.issuer(),
        }
    }

    /// Each change of an object of the cluster, for who asks first.
    pub(super) fn seen(&self) -> Option<Changes> {
        match self {
            Self::Directory(_) => None,
            Self::Cluster(watching, _) => watching.seen(),
        }
    }

    /// Lets another replica write statuses: this one ends.
    pub(super) async fn give_back(&self) {
        if let Self::Cluster(watching, _) = self {
            watching.give_back().await;
        }
    }

    /// Waits until what is refused is kept for the next start: nothing is decided any more. Of a directory it is kept as it comes into force.
    pub(super) async fn settled(&self) {
        if let Self::Cluster(watching, _) = self {
            watching.settled().await;
        }
    }

    /// Whether jobs can be run is said to this.
    pub(super) fn jobs(&self) -> Option<JobsReport> {
        match self {
            Self::Directory(_) => None,
            Self::Cluster(watching, _) => watching.jobs(),
        }
    }

    /// What rollouts let pass is said to this.
    pub(super) fn rollouts(&self) -> Option<RolloutsReport> {
        match self {
            Self::Directory(_) => None,
            Self::Cluster(watching, _) => watching.rollouts(),
        }
    }

    /// What data planes make of routes is said to this.
    pub(super) fn routes(&self) -> Option<RoutesReport> {
        match self {
            Self::Directory(_) => None,
            Self::Cluster(watching, _) => watching.routes(),
        }
    }

    /// Since when what is live may not be the newest, where the source is not heard.
    fn state(&self) -> SourceState {
        let Self::Cluster(watching, name) = self else { return SourceState::default() };
        let state = watching.state().borrow().clone();
        source_state(state, name)
    }

    /// Why what happens at the source is not in force, where that is a fault of this process. A cluster that does not answer is none: what is live stays so.
    pub(super) fn why_unread(&self) -> Option<String> {
        let (silent, what) = match self {
            Self::Directory(watching) => (
                watching.silent_for(),
                "the directory of resources has not been looked at for {} s: a read of it does not end",
            ),
            Self::Cluster(watching, _) => (
                watching.silent_for(),
                "what the cluster says has not been compiled for {} s: it does not end",
            ),
        };
        (silent > UNREAD).then(|| what.replace("{}", &silent.as_secs().to_string()))
    }
}

/// The same in the words of those who decide.
fn source_state(state: vidimus_cluster::SourceState, name: &str) -> SourceState {
    let since = UnixMillis(state.synced.unwrap_or(state.since).as_millisecond());
    let stale = state.reason.map(|reason| Stale { since, reason: reason.into() });
    SourceState { source: if state.is_kept { "kept" } else { name }.into(), stale }
}

/// That there is a source, before anything is begun.
pub(super) fn check(serve: &Serve) -> anyhow::Result<()> {
    let Some(directory) = &serve.resources else {
        if serve.cluster.cluster || serve.registry.is_given() {
            return Ok(());
        }
        bail!(
            "no resources: give --resources DIR, --cluster where a Kubernetes cluster has them (with --kubeconfig FILE, or as kubectl \
             reaches it), or --registry HOST:PORT"
        );
    };
    fs::read_dir(directory).with_context(|| named(directory))?;
    data_directory::apart(&serve.data, directory)
}

/// Begins to watch the source. The first configuration is there when this returns, as far as that can be waited for.
pub(super) fn open(
    supervisor: &mut Supervisor,
    control: &Runtime,
    serve: &Serve,
    (keeping, objects): (Keeping, KeptObjects),
    standing: Arc<Overlay>,
) -> anyhow::Result<(watch::Receiver<Arc<Loaded>>, Arc<Watching>)> {
    if let Some(directory) = &serve.resources {
        let watched = vidimus_registry::watch(directory, Some(keeping), standing);
        let (loaded, watching) = watched.with_context(|| named(directory))?;
        return Ok((loaded, Arc::new(Watching::Directory(watching))));
    }
    let (begun, name) = match from_registry::remote(supervisor, serve)? {
        Some(remote) => {
            let begun = vidimus_cluster::heard_of(remote, Some(keeping), Some(objects), standing);
            (begun.context("--registry")?, "registry")
        }
        None => {
            let access = Access { jobs: serve.jobs.jobs, ..access(&serve.cluster) };
            let cluster = control.block_on(vidimus_cluster::connect(&access)).context("--cluster")?;
            tracing::info!(server = cluster.server(), "the resources are those of a cluster");
            let begun = vidimus_cluster::begin(&cluster, Some(keeping), Some(objects), standing);
            (begun.context("--cluster")?, "cluster")
        }
    };
    let Begun { mut loaded, watching, tasks } = begun;
    for (name, task) in tasks {
        supervisor.essential(name, task);
    }
    control.block_on(async {
        let ready = loaded.wait_for(|loaded| loaded.not_ready.is_none());
        // What is missing then is said at /readyz, and in the log.
        let _ = tokio::time::timeout(MAX_START, ready).await;
    });
    Ok((loaded, Arc::new(Watching::Cluster(Box::new(watching), name))))
}

/// The keys of Secrets, of a cluster that is followed here or by a registry.
#[derive(Debug)]
struct OfCluster(vidimus_cluster::Secrets);

impl SecretKeys for OfCluster {
    fn read(&self, named: &SecretKey) -> Result<SecretString, String> {
        self.0.read(named)
    }
}

/// Tells those who decide how old the configuration is, for as long as the process lives; where the keys are that it names; and which pods run.
///
/// # Errors
/// When a thread cannot be started, or pods may be lost for too short a time.
pub(super) fn follow(
    supervisor: &mut Supervisor,
    serve: &Serve,
    shared: &Arc<Shared>,
    watching: &Arc<Watching>,
) -> anyhow::Result<()> {
    if let Watching::Cluster(watching, _) = &**watching {
        shared.hold_secrets(Arc::new(OfCluster(watching.secrets())));
    }
    shared.note_source(watching.state());
    let (noted, source) = (shared.clone(), watching.clone());
    supervisor.repeated("source", LOOK, move || {
        noted.note_source(source.state());
        std::future::ready(())
    });
    rollouts::begin(supervisor, shared, watching);
    routes::begin(supervisor, serve, shared, watching);
    pods::begin(supervisor, serve, shared, watching)
}

fn named(directory: &Path) -> String {
    format!("--resources {}", directory.display())
}

pub(super) fn access(flags: &ClusterFlags) -> Access {
    let lease = flags.lease_namespace.as_deref().map(Arc::<str>::from);
    Access {
        kubeconfig: flags.kubeconfig.clone(),
        context: flags.context.clone(),
        namespaces: flags.namespace.iter().map(|name| name.as_str().into()).collect(),
        writes: (!flags.no_status).then(|| (who(), lease)),
        pods: flags.pods.pods,
        // Who follows the cluster says it.
        jobs: false,
    }
}

/// This replica, and no other start of it: what began before it may still be ending.
pub(in crate::cmd) fn who() -> String {
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    format!("{host}_{}", uuid::Uuid::new_v4())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        serve: Serve,
    }

    fn parsed(flags: &str) -> Result<Serve, String> {
        let line = ["serve", "--data", "d"].into_iter().chain(flags.split_whitespace());
        Line::try_parse_from(line).map(|line| line.serve).map_err(|error| error.to_string())
    }

    /// What was kept is as old as it was when the gateway that kept it heard of the cluster last, and not as this start.
    #[test]
    fn what_was_kept_is_told_with_its_age() {
        let at = |second| jiff::Timestamp::from_second(second).expect("a time");
        let state = |synced, reason: Option<&str>, is_kept| {
            let reason = reason.map(str::to_owned);
            source_state(vidimus_cluster::SourceState { since: at(100), reason, synced, is_kept }, "cluster")
        };
        let kept = state(Some(at(7)), Some("kept on disk"), true);
        assert!(kept.is_kept());
        assert_eq!(kept.stale.as_ref().map(|stale| stale.since), Some(UnixMillis(7_000)));
        assert!(kept.to_string().starts_with("kept, not heard of since 1970-01-01T00:00:07"), "{kept}");
        let cluster = state(Some(at(7)), None, false);
        assert!(!cluster.is_kept() && cluster.stale.is_none());
        assert_eq!(&*cluster.source, "cluster");
    }

    #[test]
    fn there_is_one_source() {
        for (flags, says) in [
            ("--cluster --resources r", "cannot be used with"),
            ("--resources r --kubeconfig f", "cannot be used with"),
            ("--resources r --namespace a", "cannot be used with"),
            ("--resources r --no-status", "cannot be used with"),
            ("--kubeconfig f", "--cluster"),
            ("--context c", "--cluster"),
            ("--resources r --pods", "cannot be used with"),
            ("--cluster --pods-lost-after 60s", "--pods"),
            ("--cluster --pods --pods-lost-after 60", "a duration has a unit"),
            ("--registry r:1 --cluster", "cannot be used with"),
            ("--registry r:1 --resources r", "cannot be used with"),
            (
                "--registry r:1 --registry-id spiffe://a/r --registry-cert c --registry-key k --registry-bundle b --jobs",
                "--jobs",
            ),
            (
                "--registry r:1 --registry-id spiffe://a/r --registry-cert c --registry-key k --registry-bundle b --admission 127.0.0.1:1",
                "--admission",
            ),
            ("--registry r:1 --registry-cert c --registry-key k --registry-bundle b", "--registry-id"),
            (
                "--registry r:1 --registry-id r --registry-cert c --registry-key k --registry-bundle b",
                "spiffe://",
            ),
            (
                "--registry https://r:1/x --registry-id spiffe://a/r --registry-cert c --registry-key k --registry-bundle b",
                "HOST:PORT",
            ),
        ] {
            let error = parsed(flags).map(drop).unwrap_err();
            assert!(error.contains(says), "{flags}: {error}");
        }
        assert!(parsed("--resources r").unwrap().resources.is_some());
        // Both are named, and neither is asked for where the other would be enough.
        let neither = check(&parsed("").unwrap()).unwrap_err().to_string();
        assert!(neither.contains("--resources") && neither.contains("--cluster"), "{neither}");
        let alone = parsed("--kubeconfig f").map(drop).unwrap_err();
        assert!(!alone.contains("--resources <"), "{alone}");
    }

    #[test]
    fn a_cluster_is_reached_as_its_flags_say() {
        let of = |flags: &str| access(&parsed(flags).unwrap().cluster);
        let all = of("--cluster");
        assert!(all.kubeconfig.is_none() && all.namespaces.is_empty() && !all.pods);
        assert!(of("--cluster --pods").pods);
        let (who, namespace) = all.writes.unwrap();
        assert!(who.contains('_') && namespace.is_none());
        assert_ne!(who, of("--cluster").writes.unwrap().0, "another start");
        let some = of("--cluster --kubeconfig f --namespace a,b --namespace c --lease-namespace v");
        assert_eq!(some.kubeconfig, Some(PathBuf::from("f")));
        let namespaces: Vec<&str> = some.namespaces.iter().map(|name| &**name).collect();
        assert_eq!(namespaces, ["a", "b", "c"]);
        assert_eq!(some.writes.unwrap().1.as_deref(), Some("v"));
        assert!(of("--cluster --no-status").writes.is_none());
    }
}
