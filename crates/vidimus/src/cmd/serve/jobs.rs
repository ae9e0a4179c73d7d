//! `--jobs`: each call of an MCPServer with `spec.job` runs as a Kubernetes Job (docs/kubernetes.md, "Jobs").

use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use clap::builder::BoolishValueParser;
use tokio::runtime::Handle;
use vidimus_cluster::{Jobs, JobsReport, Left};
use vidimus_core::clock::Clock as _;
use vidimus_core::permit::Room;
use vidimus_core::record::{EffectKind, EffectRecord, JobRun, Kept, Record, VERSION};
use vidimus_gateway::{Runner, Shared, rfc3339};
use vidimus_ledger::Query;

use super::source::Watching;
use super::supervisor::Supervisor;
use super::{Serve, source};
use crate::clock::SystemClock;

/// How often it is looked for what was left.
const SWEEP: Duration = Duration::from_secs(30);

/// Flags for jobs.
#[derive(Debug, Args)]
pub struct JobFlags {
    /// Run the calls of MCPServers with spec.job, each as a Kubernetes Job in a
    /// namespace of its own; it needs the roles of deploy/rbac/jobs.yaml.
    #[arg(long, env = "VIDIMUS_JOBS", requires = "cluster", conflicts_with = "resources", value_parser = BoolishValueParser::new())]
    pub jobs: bool,
}

/// What runs jobs, where they are to run. What was left by this gateway before its start, or by another that is gone, is taken away beside the calls.
/// To be called within the runtime of what runs beside the calls.
///
/// # Errors
/// When it is not known how the cluster is reached.
pub(super) fn begin(
    supervisor: &mut Supervisor,
    serve: &Serve,
    shared: &Arc<Shared>,
    watching: &Watching,
) -> anyhow::Result<Option<Arc<dyn Runner>>> {
    if !serve.jobs.jobs {
        return Ok(None);
    }
    let access = source::access(&serve.cluster);
    let cluster = Handle::current().block_on(vidimus_cluster::connect(&access)).context("--jobs")?;
    // Whoever has the ledger is this gateway, and nobody else has it.
    let jobs = Jobs::new(&cluster, shared.ledger.origin());
    let (ledger, report) = (serve.data.join("ledger"), watching.jobs());
    supervisor.essential("jobs", look_after(jobs.clone(), ledger, shared.clone(), report));
    Ok(Some(Arc::new(jobs)))
}

/// Takes away what was left, at once and then again and again.
async fn look_after(jobs: Jobs, ledger: PathBuf, shared: Arc<Shared>, report: Option<JobsReport>) {
    let mut said = None;
    loop {
        match look(&jobs, &ledger, &shared, report.as_ref()).await {
            Ok(()) => said = None,
            Err(reason) => {
                if said.as_ref() != Some(&reason) {
                    tracing::warn!(
                        reason,
                        fix = "bind the roles of deploy/rbac/jobs.yaml, see docs/kubernetes.md",
                        "jobs cannot be run, or what was left of them not be looked for"
                    );
                }
                said = Some(reason);
            }
        }
        tokio::time::sleep(SWEEP).await;
    }
}

/// Whether jobs can be run, for the statuses of servers that are jobs; then what was left.
async fn look(
    jobs: &Jobs,
    ledger: &Path,
    shared: &Shared,
    report: Option<&JobsReport>,
) -> Result<(), String> {
    let forbidden = jobs.forbidden().await?;
    if let Some(report) = report {
        report.note(forbidden.clone());
    }
    sweep(jobs, ledger, shared).await?;
    forbidden.map_or(Ok(()), Err)
}

async fn sweep(jobs: &Jobs, ledger: &Path, shared: &Shared) -> Result<(), String> {
    for left in jobs.left().await? {
        // First the record: if this ends in between, the next start finds it there.
        if left.is_of_before
            && let Err(error) = record(&left, ledger, shared).await
        {
            tracing::error!(call = left.call, %error, "that nobody knows what came of a call is not recorded");
        }
        jobs.take_away(&left).await?;
    }
    Ok(())
}

/// Records of a call whose gateway fell while its job ran that nobody knows what came of it, where nothing is recorded of that.
async fn record(left: &Left, ledger: &Path, shared: &Shared) -> anyhow::Result<()> {
    let (call, ledger) = (left.call.clone(), ledger.to_owned());
    let decided = tokio::task::spawn_blocking(move || decision_without_effect(&ledger, &call)).await??;
    let Some(decision) = decided else { return Ok(()) };
    let effect = EffectRecord {
        attempts: Vec::new(),
        bytes_in: 0,
        bytes_out: 0,
        changed: None,
        charged_spend: None,
        charged_tokens: None,
        code: None,
        decision,
        detail: Some("the gateway fell while the job ran".into()),
        duration_us: 0,
        id: left.call.as_str().into(),
        job: left.job.clone().map(|uid| Cow::Owned(JobRun { uid: Some(uid), ..JobRun::default() })),
        kept: None,
        kind: EffectKind,
        result: "unknown".into(),
        status: 0,
        task: None,
        time: rfc3339(SystemClock.now().wall).into(),
        time_per_output_token_us: None,
        time_to_first_token_us: None,
        token: None,
        tokens_cache_written: None,
        tokens_input: None,
        tokens_input_cached: None,
        tokens_output: None,
        tokens_reasoning: None,
        version: VERSION,
    };
    shared.ledger.end(Room::default(), &effect).await?;
    Ok(())
}

/// Where the decision of a call is that has no effect.
fn decision_without_effect(ledger: &Path, call: &str) -> anyhow::Result<Option<u64>> {
    let query = Query { id: Some(call.to_owned()), ..Query::default() };
    let mut decision = None;
    for hit in vidimus_ledger::search(ledger, &query)? {
        let hit = hit?;
        match Kept::read(&hit.record) {
            Ok(Record::Effect(_)) => return Ok(None),
            Ok(Record::Decision(decided)) if decided.outcome.starts_with("allow") => {
                decision = Some(hit.index);
            }
            // A call that was held has been decided before.
            Ok(_) | Err(_) => {}
        }
    }
    Ok(decision)
}
