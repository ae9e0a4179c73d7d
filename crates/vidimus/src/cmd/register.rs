//! `vidimus register`: resources into a cluster, and what became of each; for CI/CD.

mod cluster;
mod send;
mod verdict;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::Args;
use serde::Serialize;
use tokio::runtime::Builder;
use vidimus_query::check::Fault;
use vidimus_registry::{Manifests, files_below, holds_resources, manifests};

use self::send::{Applied, Sender};
use self::verdict::{Condition, Verdict};
use super::quantity;
use crate::output::{self, Format, printable};

/// Registers resources in a Kubernetes cluster, and waits until they are in force.
///
/// What the files say is checked first, then by the API server without effect (--dry-run=server); only where all of it is good is anything
/// applied, policies before what they are about. Applying the same again changes nothing. Then it is waited until the gateway has
/// said of each object, in this very version, that it is accepted and in force (conditions Accepted and Programmed).
///
/// The cluster is that of the kubeconfig (KUBECONFIG, ~/.kube/config), or of the pod.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  vidimus register agent.yaml policy.yaml
  vidimus register --dry-run resources/        # in a pull request
  vidimus register -o json resources/ | jq '.objects[] | {object, conditions}'

Exit codes: 0 all is in force (with --dry-run: would be accepted), 1 something
is refused, 2 not known: no cluster, or nothing was said within --timeout")]
pub struct Register {
    /// YAML or JSON files, or directories of them, searched with their subdirectories.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Only check: what the files say, and what the API server would say.
    #[arg(long)]
    dry_run: bool,
    /// How long it is waited for the conditions.
    #[arg(long, env = "VIDIMUS_REGISTER_TIMEOUT", value_name = "DURATION", default_value = "60s", value_parser = quantity::time_limit)]
    timeout: Duration,
    /// Take fields over that something else has applied, such as kubectl.
    #[arg(long)]
    force_conflicts: bool,
    /// The kubeconfig file.
    #[arg(long, env = "VIDIMUS_KUBECONFIG", value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// The context in it.
    #[arg(long, env = "VIDIMUS_KUBE_CONTEXT", value_name = "NAME")]
    context: Option<String>,
}

/// What became of all.
#[derive(Debug, Serialize)]
struct Registered {
    /// Whether all is in force; of a dry run, whether all would be accepted.
    ready: bool,
    dry_run: bool,
    objects: Vec<Became>,
    /// What is wrong with the files: then nothing was sent.
    rejections: Vec<Fault>,
    warnings: Vec<Fault>,
}

/// What became of one object.
#[derive(Debug, Serialize)]
struct Became {
    /// `Kind namespace/name`.
    object: String,
    applied: Applied,
    #[serde(skip_serializing_if = "Option::is_none")]
    generation: Option<i64>,
    conditions: Vec<Condition>,
    /// Why the API server does not take it.
    #[serde(skip_serializing_if = "Option::is_none")]
    refused: Option<String>,
}

pub fn run(register: &Register, format: Format) -> anyhow::Result<ExitCode> {
    let read = manifests(&files(&register.files)?);
    if read.objects.is_empty() && read.rejections.is_empty() {
        bail!("there are no resources in what was given");
    }
    let faults = |all: &[vidimus_core::resource::Rejection]| all.iter().map(Fault::from).collect::<Vec<_>>();
    let (rejections, warnings) = (faults(&read.rejections), faults(&read.warnings));
    let mut registered =
        Registered { ready: false, dry_run: register.dry_run, objects: Vec::new(), rejections, warnings };
    let mut untold = false;
    if registered.rejections.is_empty() {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        (registered.objects, untold) = runtime.block_on(send(register, &read))?;
        let is_good = |one: &Became| match register.dry_run {
            true => one.refused.is_none(),
            false => verdict::verdict(&one.conditions) == Verdict::InForce,
        };
        registered.ready = registered.objects.iter().all(is_good);
    }
    match format {
        Format::Json => output::json(&registered)?,
        Format::Table => print(&registered),
    }
    Ok(match (registered.ready, untold) {
        (true, _) => ExitCode::SUCCESS,
        (false, false) => ExitCode::from(1),
        (false, true) => {
            let seconds = register.timeout.as_secs();
            output::warning(&format!(
                "of something no gateway said anything within {seconds} s: does one serve with --cluster, and write statuses?"
            ));
            ExitCode::from(2)
        }
    })
}

/// Files as they are given, and those in directories.
fn files(given: &[PathBuf]) -> anyhow::Result<Vec<PathBuf>> {
    let mut all = Vec::new();
    for path in given {
        let about = std::fs::metadata(path).with_context(|| format!("{} cannot be read", path.display()))?;
        match about.is_dir() {
            true => all.extend(files_below(path, holds_resources)?),
            false => all.push(path.clone()),
        }
    }
    Ok(all)
}

/// Sends all, and waits; whether nothing is known of some that were taken.
async fn send(register: &Register, read: &Manifests) -> anyhow::Result<(Vec<Became>, bool)> {
    let client = cluster::client(register.kubeconfig.as_deref(), register.context.as_deref()).await?;
    let sender = Sender::new(client, register.force_conflicts);
    let tried = sender.apply(&read.objects, true).await?;
    let refused = tried.iter().any(|one| one.refused.is_some());
    if refused || register.dry_run {
        return Ok((tried, false));
    }
    let mut sent = sender.apply(&read.objects, false).await?;
    let untold = match sent.iter().any(|one| one.refused.is_some()) {
        true => false,
        false => sender.wait(&read.objects, &mut sent, register.timeout).await?,
    };
    Ok((sent, untold))
}

fn print(registered: &Registered) {
    for fault in &registered.rejections {
        let what = output::verdict("rejected", false);
        output::line(&format!("{what} {} {} {}", fault.place(), fault.object, fault.field));
        output::line(&format!("  reason {}\n  fix    {}", fault.reason, fault.fix));
    }
    for warning in &registered.warnings {
        output::line(&super::check::warned(warning));
    }
    registered.objects.iter().flat_map(lines).for_each(|line| output::line(&line));
    let (good, bad) = match registered.dry_run {
        true => ("all would be accepted", "not all would be accepted"),
        false => ("all is in force", "not all is in force"),
    };
    output::line(&output::verdict(if registered.ready { good } else { bad }, registered.ready));
}

/// What became of an object, as it is shown. Whoever may write statuses, or has a webhook of the cluster refuse, chose the words.
fn lines(one: &Became) -> Vec<String> {
    let generation = one.generation.map(|generation| format!("  generation {generation}"));
    let mut lines =
        vec![format!("{}  {}{}", one.object, one.applied.as_str(), generation.unwrap_or_default())];
    if let Some(why) = &one.refused {
        let why = why.lines().map(printable).collect::<Vec<_>>().join(" | ");
        lines.push(format!("  {} {why}", output::verdict("refused", false)));
    }
    for condition in &one.conditions {
        let Condition { of, status, reason, message, .. } = condition;
        let said = if message.is_empty() { String::new() } else { format!(": {}", printable(message)) };
        let status = output::verdict(&printable(status), status == "True");
        lines.push(format!("  {:<11} {status}  {}{said}", printable(of), printable(reason)));
        if !condition.is_of_gateway() {
            let by = match condition.written_by.is_empty() {
                true => "nobody who is named".to_owned(),
                false => condition.written_by.join(", "),
            };
            lines.push(format!(
                "              written by {}, and not by a gateway: it does not count",
                printable(&by)
            ));
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Attack: a message in a status that writes to the screen, or to the log of a pipeline, of whoever registers.
    #[test]
    fn what_others_chose_is_shown_on_its_line() {
        let text = || "\u{1b}[2J\n::warning::x".to_owned();
        let condition = Condition {
            of: text(),
            status: text(),
            reason: text(),
            message: text(),
            observed_generation: Some(1),
            written_by: vec![text()],
        };
        let one = Became {
            object: "Agent a/b".to_owned(),
            applied: Applied::Refused,
            generation: Some(1),
            conditions: vec![condition],
            refused: Some(text()),
        };
        let lines = lines(&one);
        assert_eq!(lines.len(), 4, "{lines:?}");
        assert!(lines.iter().all(|line| !line.contains('\n')), "{lines:?}");
        assert!(lines.iter().all(|line| !line.contains("\u{1b}[2J")), "{lines:?}");
    }
}
