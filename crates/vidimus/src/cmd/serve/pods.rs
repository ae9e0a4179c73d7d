//! `--pods`: which pods run as which records, and of which tokens are refused (ADR 65).

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use clap::Args;
use clap::builder::BoolishValueParser;
use jiff::Timestamp;
use vidimus_cluster::{LastCalls, PodsReport, PodsSaid};
use vidimus_core::caller::UnixMillis;
use vidimus_core::entity::EntityKind;
use vidimus_core::resource::Kind;
use vidimus_core::resource::crd::LastCall;
use vidimus_gateway::Shared;
use vidimus_identity::PodScope;

use super::Serve;
use super::health::Health;
use super::source::Watching;
use super::supervisor::Supervisor;
use crate::cmd::quantity;

/// How often it is told who called last.
const LOOK: Duration = Duration::from_secs(5);

/// How long nothing may be heard of pods before those that were never seen are refused, where nobody says.
const LOST_AFTER: Duration = Duration::from_secs(60);
/// While all is well something is heard every 15 s; less than two of that would refuse new pods for nothing.
const LEAST_LOST: Duration = Duration::from_secs(30);

/// Whether pods are watched.
#[derive(Debug, Args)]
pub struct PodsFlags {
    /// Watch the cluster's pods too: which of them run as which record is in its
    /// status, which as none at /registry (`vidimus pods`), and the token of a pod
    /// that is gone is refused. Needs the role of deploy/rbac/pods.yaml.
    #[arg(long, env = "VIDIMUS_PODS", conflicts_with = "resources", value_parser = BoolishValueParser::new())]
    pub pods: bool,
    /// After so long without a word of the cluster's pods, the token of a pod that
    /// was never seen is refused, until they are heard again [default: 60s].
    #[arg(long, env = "VIDIMUS_PODS_LOST_AFTER", value_name = "DURATION", requires = "pods", value_parser = quantity::duration)]
    pub pods_lost_after: Option<Duration>,
}

/// Begins to watch pods, where that is asked for.
///
/// # Errors
/// When a thread cannot be started, and where what is asked for would refuse pods while all is well.
pub(super) fn begin(
    supervisor: &mut Supervisor,
    serve: &Serve,
    shared: &Arc<Shared>,
    watching: &Watching,
) -> anyhow::Result<()> {
    let Some(pods) = watching.pods() else { return Ok(()) };
    let lost_after = serve.cluster.pods.pods_lost_after.unwrap_or(LOST_AFTER);
    ensure!(lost_after >= LEAST_LOST, "--pods-lost-after is at least 30s: pods are heard of every 15 s");
    shared.live_pods().refuse_unknown_after(lost_after);
    let told = shared.clone();
    for (name, task) in pods.follow(move |said| tell(&told, said)).context("--pods")? {
        supervisor.essential(name, task);
    }
    let (shared, pods) = (shared.clone(), pods.clone());
    supervisor.repeated("pods", LOOK, move || {
        pods.called(last_calls(&shared));
        std::future::ready(())
    });
    Ok(())
}

/// What runs as whom, by what is in force; `None` where pods are not watched.
pub(super) fn report(health: &Health) -> Option<PodsReport> {
    let snapshot = health.loaded.borrow().snapshot.clone();
    health.watching.pods().map(|pods| pods.report(&snapshot))
}

/// Says it to whoever refuses the tokens of pods that are gone.
fn tell(shared: &Shared, said: PodsSaid) {
    let live = shared.live_pods();
    let millis = |time: Timestamp| UnixMillis(time.as_millisecond());
    match said {
        PodsSaid::All { namespaces, pods, as_of } => {
            let some = |namespaces: Vec<_>| PodScope::Namespaces(namespaces.into_iter().collect());
            live.list(namespaces.map_or(PodScope::Cluster, some), pods, millis(as_of));
            shared.wake_streams();
        }
        PodsSaid::There(namespace, uid) => live.appeared(&namespace, &uid),
        PodsSaid::Gone(namespace, uid) => {
            live.went(&namespace, &uid);
            shared.wake_streams();
        }
        PodsSaid::AsOf(time) => live.seen(millis(time)),
    }
}

/// Who of those that are registered called last at this gateway, and how.
fn last_calls(shared: &Shared) -> LastCalls {
    let snapshot = shared.snapshot();
    let gateway = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let calls = shared.last_calls.of_registered(|principal| match principal.kind {
        EntityKind::Agent => snapshot.agent(&principal.id).is_some(),
        _ => snapshot.service(&principal.id).is_some(),
    });
    let mut last = LastCalls::new();
    for call in calls {
        let kind = match call.principal.kind {
            EntityKind::Agent => Kind::Agent,
            _ => Kind::ServiceIdentity,
        };
        let Some((namespace, name)) = call.principal.id.split_once('/') else { continue };
        let Ok(time) = Timestamp::from_millisecond(call.at.0) else { continue };
        let call = LastCall {
            gateway: gateway.clone(),
            identity: call.identity.to_string(),
            instance: call.instance.as_ref().map(ToString::to_string),
            time: time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        };
        last.insert((kind, namespace.into(), name.into()), call);
    }
    last
}
