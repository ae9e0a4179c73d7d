//! `vidimus admission`: what a cluster is given so that it asks, or says the same without asking; and what is found of pods that run already.

mod cluster;

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail, ensure};
use clap::{Args, Subcommand, ValueEnum};
use jiff::Timestamp;
use serde_json::Value;
use vidimus_core::admission::workloads::Workloads;
use vidimus_query::admission::{At, Form, documents, registrations, scan, webhook, yaml};
use vidimus_registry::{load, load_of_cluster};

use super::data_directory;
use super::kubernetes::{Cluster, Reach};
use super::serve::admission::{Keys, keys_of};
use crate::output::{self, Format};

/// The ConfigMap in which policies of the API server, and of Kyverno, look up what is registered.
pub(super) const REGISTRATIONS: &str = "vidimus-admission";
/// Its annotation that says when it was written.
pub(super) const WRITTEN: &str = "vidimus.dev/written";

/// Most that one object of a cluster may have, in bytes.
const OBJECT: usize = 1 << 20;
/// Largest list of pods that is read, in bytes.
const PODS: u64 = 1 << 30;

/// Keeps what is not registered out of a cluster: manifests for its API server, and reports on pods that run already.
///
/// The API server asks at `vidimus serve --admission`. Without that it may say the same itself, by what these manifests say.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  vidimus admission manifests --form webhook --data DIR \\
    --service vidimus-admission:443 | kubectl apply -f -
  vidimus admission manifests --form vap | kubectl apply -f -
  vidimus admission manifests --form registrations --resources DIR
  kubectl get pods -A -o json | vidimus admission scan --resources DIR -
  vidimus admission scan --cluster --write
  vidimus admission ca --data DIR

Exit codes: 0 done, or every pod keeps every rule; 1 some do not; 2 not done")]
pub struct Admission {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Ca(Ca),
    Manifests(Manifests),
    Scan(Scan),
}

/// Prints the CA of the webhook's certificate (PEM): what the API server is to trust.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  vidimus admission ca --data /var/lib/vidimus\n\nIt is made where it is not there yet, with the key in the path."
)]
struct Ca {
    #[command(flatten)]
    keys: KeysAt,
}

/// Where the keys of the webhook are.
#[derive(Debug, Args)]
struct KeysAt {
    /// The data directory of the gateway.
    #[arg(long, env = "VIDIMUS_DATA", default_value = "vidimus-data")]
    data: PathBuf,
    /// As of `vidimus serve` [default: admission in --data].
    #[arg(long, env = "VIDIMUS_ADMISSION_KEYS", value_name = "DIR")]
    admission_keys: Option<PathBuf>,
}

/// Prints manifests for a cluster.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  vidimus admission manifests --data DIR --service vidimus-admission:443
  vidimus admission manifests --data DIR --url https://10.0.0.7:9443
  vidimus admission manifests --form kyverno
  vidimus admission manifests --form registrations --resources DIR
  vidimus admission manifests --form registrations --cluster --write")]
struct Manifests {
    /// What is printed.
    #[arg(long, value_enum, default_value_t = FormArg::Webhook)]
    form: FormArg,
    /// The namespace of the installation.
    #[arg(long, default_value = "vidimus-system", value_name = "NAME", value_parser = namespace)]
    namespace: String,
    /// Of the webhook: the Service in that namespace by which the API server reaches it, and its port.
    #[arg(long, value_name = "NAME[:PORT]", default_value = "vidimus-admission:443", conflicts_with = "url")]
    service: String,
    /// Of the webhook: the address by which the API server reaches it, where that is no Service.
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// Of registrations: the directory of resources.
    #[arg(long, env = "VIDIMUS_RESOURCES")]
    resources: Option<PathBuf>,
    /// Of registrations: the records that the API server has, unless --resources has
    /// them.
    #[arg(long)]
    cluster: bool,
    /// Of registrations: have the cluster hold them, in place of printing them. What
    /// is not registered any more goes. Run it again and again (docs/admission.md).
    #[arg(long, requires = "cluster")]
    write: bool,
    /// With --cluster: the namespaces whose records count, as --namespace of `vidimus
    /// serve`; may be given several times [default: all].
    #[arg(long, value_name = "NAMESPACE", value_delimiter = ',', requires = "cluster", value_parser = namespace)]
    follow: Vec<String>,
    #[command(flatten)]
    reach: Reach,
    #[command(flatten)]
    keys: KeysAt,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum FormArg {
    /// A ValidatingWebhookConfiguration: the API server asks.
    Webhook,
    /// A ValidatingAdmissionPolicy with its bindings: the rules for pods in CEL.
    Vap,
    /// ValidatingPolicies of Kyverno: the same.
    Kyverno,
    /// The ConfigMap in which these look up what is registered.
    Registrations,
}

/// Reports on pods that run already, as PolicyReport (wgpolicyk8s.io/v1alpha2) and Report (openreports.io/v1alpha1) of each namespace.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  kubectl get pods -A -o json | vidimus admission scan --resources DIR -
  vidimus admission scan --resources DIR pods.yaml | kubectl apply -f -
  vidimus admission scan --cluster --write

Exit codes: 0 every pod keeps every rule, or with --write the reports are
written; 1 some do not; 2 not done")]
struct Scan {
    /// The directory of resources [default with --cluster: what the cluster has].
    #[arg(long, env = "VIDIMUS_RESOURCES", required_unless_present = "cluster")]
    resources: Option<PathBuf>,
    /// Pods, in JSON or YAML, as kubectl prints them; - is standard input.
    #[arg(required_unless_present = "cluster", conflicts_with = "cluster")]
    pods: Option<PathBuf>,
    /// Read the pods of all namespaces from the API server, and the records too
    /// unless --resources has them.
    #[arg(long)]
    cluster: bool,
    /// Have the cluster hold the reports, by a server-side apply as vidimus-scan, in
    /// place of printing them. Those of an earlier scan of which nothing is left are
    /// deleted.
    #[arg(long, requires = "cluster")]
    write: bool,
    /// With --cluster: the namespaces whose records count, as --namespace of `vidimus
    /// serve`; may be given several times [default: all].
    #[arg(long, value_name = "NAMESPACE", value_delimiter = ',', requires = "cluster", value_parser = namespace)]
    follow: Vec<String>,
    #[command(flatten)]
    reach: Reach,
}

/// A name as Kubernetes has it for namespaces and Services.
fn namespace(text: &str) -> anyhow::Result<String> {
    let is_label = |text: &str| {
        let plain = |one: u8| one.is_ascii_lowercase() || one.is_ascii_digit() || one == b'-';
        !text.is_empty()
            && text.len() <= 63
            && text.bytes().all(plain)
            && !text.starts_with('-')
            && !text.ends_with('-')
    };
    ensure!(
        is_label(text),
        "write a name of at most 63 lower-case letters, digits and '-', as in vidimus-system"
    );
    Ok(text.to_owned())
}

pub fn run(admission: &Admission, format: Format) -> anyhow::Result<ExitCode> {
    match &admission.command {
        Command::Ca(ca) => {
            output::line(opened(&ca.keys)?.ca.bundle().trim_end());
            Ok(ExitCode::SUCCESS)
        }
        Command::Manifests(asked) => manifests(asked),
        Command::Scan(asked) => scanned(asked, format),
    }
}

/// The keys of the webhook, of a gateway that answers by them: with others the API server would ask who is not there, and take no object.
fn there(at: &KeysAt) -> anyhow::Result<Keys> {
    let directory = keys_of(&at.data, at.admission_keys.as_deref());
    ensure!(
        Keys::are_in(&directory),
        "{} has no keys of a webhook, so no gateway answers by them: name the --data (or --admission-keys) of one that was started with \
         --admission, or make them before it starts: vidimus admission ca --data DIR",
        directory.display()
    );
    opened(at)
}

/// The keys of the webhook, made on first use.
fn opened(at: &KeysAt) -> anyhow::Result<Keys> {
    data_directory::prepare(&at.data)?;
    Keys::open(&keys_of(&at.data, at.admission_keys.as_deref()))
}

fn manifests(asked: &Manifests) -> anyhow::Result<ExitCode> {
    ensure!(
        !asked.cluster || asked.form == FormArg::Registrations,
        "--cluster: only what is registered is read from there; write --form registrations"
    );
    let cluster = asked.cluster.then(|| Cluster::of(&asked.reach)).transpose()?;
    let text = match asked.form {
        FormArg::Webhook => {
            let keys = there(&asked.keys)?;
            webhook(&at(asked)?, &keys.key, keys.ca.bundle(), &asked.namespace)
        }
        FormArg::Vap => Form::ValidatingAdmissionPolicy.manifest(&asked.namespace),
        FormArg::Kyverno => Form::Kyverno.manifest(&asked.namespace),
        FormArg::Registrations => {
            let text = registrations(
                &registered(asked.resources.as_deref(), cluster.as_ref(), &asked.follow)?,
                &asked.namespace,
            );
            let length = text.len();
            ensure!(
                length < OBJECT,
                "what is registered takes {length} bytes, and an object of a cluster has {OBJECT} at most; use the webhook"
            );
            text
        }
    };
    match cluster {
        Some(cluster) if asked.write => cluster::hold(&cluster, &asked.namespace, &text)?,
        _ => output::line(text.trim_end()),
    }
    Ok(ExitCode::SUCCESS)
}

/// What is registered, in a directory or else in the cluster.
fn registered(
    resources: Option<&Path>,
    cluster: Option<&Cluster>,
    followed: &[String],
) -> anyhow::Result<Workloads> {
    match (resources, cluster) {
        (Some(resources), _) => workloads(resources),
        (None, Some(cluster)) => {
            let (workloads, faults) = cluster::workloads(cluster, followed)?;
            if faults > 0 {
                output::warning(&format!(
                    "{faults} faults in what is registered; `kubectl get vidimus -A` tells which"
                ));
            }
            Ok(workloads)
        }
        (None, None) => bail!("--resources: say what is registered, or --cluster"),
    }
}

fn at(asked: &Manifests) -> anyhow::Result<At> {
    if let Some(text) = &asked.url {
        let url = url::Url::parse(text).context("--url")?;
        let is_plain = url.query().is_none() && url.fragment().is_none() && url.username().is_empty();
        ensure!(
            url.scheme() == "https" && url.has_host() && is_plain,
            "--url {text}: write https://HOST:PORT; the API server asks by TLS"
        );
        return Ok(At::Url(text.clone()));
    }
    let (name, port) = asked.service.split_once(':').unwrap_or((&asked.service, "443"));
    let port = port.parse().with_context(|| format!("--service {}: write NAME:PORT", asked.service))?;
    let name = namespace(name).context("--service")?;
    Ok(At::Service { namespace: asked.namespace.clone(), name, port })
}

/// What a directory registers. What is wrong in it is said: whose record is malformed has none.
fn workloads(resources: &Path) -> anyhow::Result<Workloads> {
    std::fs::read_dir(resources).with_context(|| format!("--resources {}", resources.display()))?;
    // Which of the two it is: what a cluster has, or what a gateway reads from a directory. They differ in where keys of providers are.
    let [of_directory, of_cluster] = [load(resources), load_of_cluster(resources)];
    let is_of_cluster = of_cluster.rejections.len() < of_directory.rejections.len();
    let loaded = if is_of_cluster { of_cluster } else { of_directory };
    if !loaded.rejections.is_empty() {
        output::warning(&format!(
            "{} faults in {}; `vidimus check` tells which",
            loaded.rejections.len(),
            resources.display()
        ));
    }
    ensure!(
        !loaded.snapshot.objects().is_empty(),
        "nothing is registered in {}, and by that every agent's pod is refused; give the directory that the gateway reads, or write what \
         `kubectl get vidimus -A -o yaml` prints into one",
        resources.display()
    );
    Ok(Workloads::of(&loaded.snapshot))
}

fn scanned(asked: &Scan, format: Format) -> anyhow::Result<ExitCode> {
    let cluster = asked.cluster.then(|| Cluster::of(&asked.reach)).transpose()?;
    // The pods first: what was registered since is known then.
    let pods = match (&asked.pods, &cluster) {
        (Some(pods), _) => documents(&read(pods)?)?,
        (None, Some(cluster)) => vec![cluster::pods(cluster)?],
        (None, None) => bail!("say which pods, or --cluster"),
    };
    let workloads = registered(asked.resources.as_deref(), cluster.as_ref(), &asked.follow)?;
    let found = scan(&workloads, &pods, Timestamp::now())?;
    let code = match &cluster {
        Some(cluster) if asked.write => written(cluster, &found.reports)?,
        _ => {
            printed(&found.reports, format)?;
            if found.failed == 0 { ExitCode::SUCCESS } else { ExitCode::from(1) }
        }
    };
    output::warning(&format!("{} pods, of which {} break a rule", found.pods, found.failed));
    Ok(code)
}

/// What is in a file, or comes by standard input.
fn read(pods: &Path) -> anyhow::Result<String> {
    let shown = || pods.display().to_string();
    let mut text = String::new();
    match pods.as_os_str() == "-" {
        true => io::stdin().lock().take(PODS).read_to_string(&mut text).context("standard input")?,
        false => {
            File::open(pods).with_context(shown)?.take(PODS).read_to_string(&mut text).with_context(shown)?
        }
    };
    Ok(text)
}

fn printed(reports: &[Value], format: Format) -> anyhow::Result<()> {
    for report in reports {
        match format {
            Format::Json => output::json(report)?,
            Format::Table => output::line(&format!("---\n{}", yaml(report)?.trim_end())),
        }
    }
    Ok(())
}

fn written(cluster: &Cluster, reports: &[Value]) -> anyhow::Result<ExitCode> {
    let done = cluster::write(cluster, reports)?;
    for refused in &done.refused {
        output::warning(refused);
    }
    output::warning(&format!("{} reports written, {} removed", done.written, done.removed));
    Ok(if done.refused.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(2) })
}
