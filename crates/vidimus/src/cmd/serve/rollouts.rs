//! What namespaces that observe let pass is in the status of the policies by which it does (ADR 62).

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use vidimus_cluster::{LetPass, observes};
use vidimus_gateway::Shared;

use super::source::Watching;
use super::supervisor::Supervisor;

/// How often it is told: each change is a write.
const EVERY: Duration = Duration::from_secs(30);

/// Begins to tell it, where statuses are written by this process.
pub(super) fn begin(supervisor: &mut Supervisor, shared: &Arc<Shared>, watching: &Watching) {
    let Some(report) = watching.rollouts() else { return };
    let shared = shared.clone();
    let since = second(Timestamp::now());
    supervisor.repeated("rollouts", EVERY, move || {
        report.note(let_pass(&shared, &since));
        std::future::ready(())
    });
}

fn let_pass(shared: &Shared, since: &str) -> LetPass {
    let snapshot = shared.snapshot();
    let observing: HashSet<String> = snapshot
        .objects()
        .iter()
        .filter(|object| observes(object))
        .map(|object| object.meta().key())
        .collect();
    let passed = shared.rollouts.passed(|policy| observing.contains(policy));
    let calls = passed.into_iter().map(|(policy, passed)| {
        let last = Timestamp::from_millisecond(passed.last.0).map(second).unwrap_or_default();
        (policy, (passed.calls, last))
    });
    LetPass {
        gateway: rustix::system::uname().nodename().to_string_lossy().into_owned(),
        since: since.to_owned(),
        calls: calls.collect(),
    }
}

fn second(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}
