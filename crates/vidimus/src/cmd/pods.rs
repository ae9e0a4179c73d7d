//! `vidimus pods`: pods that are nobody, and records that nothing runs as.

use std::process::ExitCode;

use anyhow::Context as _;
use clap::Args;
use serde::Deserialize;
use vidimus_cluster::PodsReport;

use super::admin_client::Asking;
use crate::output::{self, Format, printable};

/// Shows pods of governed namespaces that no record claims, and records that no pod runs as.
///
/// A namespace is governed where it has the label vidimus.dev/admission, where something is registered in it, or where --namespace of the
/// gateway names it. A record claims the ServiceAccounts of its identities, and those that its SPIFFE IDs end in (/ns/NAMESPACE/sa/NAME). What
/// runs as a record is in its status (kubectl get vagent, kubectl describe).
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  vidimus pods
  vidimus pods -o json | jq '.unclaimed[].name'

Exit codes: 0 there are none, 1 there are some,
2 not done, also where the gateway does not watch pods (serve --pods)")]
pub struct Pods {
    #[command(flatten)]
    asking: Asking,
}

/// What is read of `/registry`.
#[derive(Debug, Deserialize)]
struct Registry {
    pods: Option<PodsReport>,
}

pub fn run(pods: &Pods, format: Format) -> anyhow::Result<ExitCode> {
    let registry: Registry = pods.asking.get("/registry")?;
    let report = registry.pods.context("the gateway does not watch pods: start it with --cluster --pods")?;
    let lost = report.lost.as_deref().map(|why| format!(": {}", printable(why))).unwrap_or_default();
    anyhow::ensure!(report.known, "the gateway does not know all pods yet{lost}");
    if report.lost.is_some() {
        output::warning(&format!("what happens to pods is not heard now, so this may be old{lost}"));
    }
    match format {
        Format::Json => output::json(&report)?,
        Format::Table => print(&report),
    }
    let is_nothing = report.unclaimed.is_empty() && report.not_running.is_empty();
    Ok(if is_nothing { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

fn print(report: &PodsReport) {
    if report.unclaimed.is_empty() {
        output::line("every pod of a governed namespace is claimed by a record");
    } else {
        let mut table = output::table(
            &["NO RECORD CLAIMS", "SERVICEACCOUNT", "PHASE", "NODE", "UID"],
            &[0, 1, 4],
            output::width(),
        );
        for pod in &report.unclaimed {
            table.add_row([
                output::cell(&printable(&format!("{}/{}", pod.namespace, pod.name))),
                output::cell(&printable(&pod.service_account)),
                output::cell(&printable(&pod.phase)),
                output::cell(&printable(pod.node.as_deref().unwrap_or_default())),
                output::cell(&printable(&pod.uid)),
            ]);
        }
        output::line(&table.to_string());
        let all: usize = report.unclaimed_by_namespace.values().sum();
        if all > report.unclaimed.len() {
            output::line(&format!("the first {} of {all}", report.unclaimed.len()));
        }
    }
    if report.not_running.is_empty() {
        return;
    }
    output::line("");
    let mut table = output::table(&["RECORD", "REASON", "MESSAGE"], &[0, 1], output::width());
    for record in &report.not_running {
        table.add_row(
            [&record.object, &record.reason, &record.message].map(|it| output::cell(&printable(it))),
        );
    }
    output::line(&table.to_string());
}
