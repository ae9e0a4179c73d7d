//! `--jobs`: each call of an MCPServer with `spec.job` runs as a Kubernetes Job (docs/kubernetes.md, "Jobs").

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use clap::builder::BoolishValueParser;
use tokio::runtime::Handle;
use vidimus_cluster::Jobs;
use vidimus_gateway::{Runner, Shared};

use super::supervisor::Supervisor;
use super::{Serve, source};

/// How often it is looked for what was left.
const SWEEP: Duration = Duration::from_secs(30);

/// Flags for jobs.
#[derive(Debug, Args)]
pub struct JobFlags {
    /// Run the calls of MCPServers with spec.job, each as a Kubernetes Job in a
    /// namespace of its own; it needs the roles of deploy/rbac/jobs.yaml.
    #[arg(long, env = "VIDIMUS_JOBS", requires = "cluster", value_parser = BoolishValueParser::new())]
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
    shared: &Shared,
) -> anyhow::Result<Option<Arc<dyn Runner>>> {
    if !serve.jobs.jobs {
        return Ok(None);
    }
    let access = source::access(&serve.cluster);
    let cluster = Handle::current().block_on(vidimus_cluster::connect(&access)).context("--jobs")?;
    // Whoever has the ledger is this gateway, and nobody else has it.
    let jobs = Jobs::new(&cluster, shared.ledger.origin());
    supervisor.essential("jobs", look_after(jobs.clone()));
    Ok(Some(Arc::new(jobs)))
}

/// Takes away what was left, at once and then again and again.
async fn look_after(jobs: Jobs) {
    let mut said = None;
    loop {
        match jobs.sweep().await {
            Ok(_) => said = None,
            Err(reason) => {
                if said.as_ref() != Some(&reason) {
                    tracing::warn!(
                        reason,
                        fix = "bind the roles of deploy/rbac/jobs.yaml, see docs/kubernetes.md",
                        "what was left of jobs cannot be looked for"
                    );
                }
                said = Some(reason);
            }
        }
        tokio::time::sleep(SWEEP).await;
    }
}
