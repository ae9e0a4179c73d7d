//! `vidimus doctor`: what is wrong with this installation, what it leads to, and the command that mends it. It looks and changes nothing.

mod address;
mod check;
mod cluster;
mod gateway;
mod machine;
mod metrics;
mod objects;
mod replica_keys;

use std::borrow::Cow;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use clap::builder::BoolishValueParser;
use serde::Serialize;
use url::Url;
use vidimus_query::check::counted;

use self::check::{Check, Severity};
use super::kubernetes::Reach;
use super::quantity;
use crate::output::{self, Format, printable};

/// Looks for what is wrong with this installation: why it matters, and the command that mends it.
///
/// It takes the options of `vidimus serve` that say where things are, by flag or by the same variables, and looks at files, addresses
/// and the gateway that runs. It changes nothing, and needs no token. Run it as the user that runs the gateway: what only that one may
/// read cannot be judged by another.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  vidimus doctor --resources /etc/vidimus/resources --data /var/lib/vidimus
  vidimus doctor --public-url https://gateway.example:8443 \\
    --tls-cert tls.crt --tls-key tls.key
  vidimus doctor --cluster # as kubectl reaches it
  vidimus doctor -o json | jq -r '.findings[] | [.code, .fix] | @tsv'

Exit codes: 0 nothing is wrong, or warnings alone; 1 something is wrong;
2 it could not look, also at a part. Every code is in docs/doctor.md")]
pub struct Doctor {
    /// The directory of resources.
    #[arg(long, env = "VIDIMUS_RESOURCES", value_name = "DIR")]
    resources: Option<PathBuf>,
    /// The data directory.
    #[arg(long, env = "VIDIMUS_DATA", value_name = "DIR", default_value = "vidimus-data")]
    data: PathBuf,
    /// The directory of secrets.
    #[arg(long, env = "VIDIMUS_SECRETS", value_name = "DIR")]
    secrets: Option<PathBuf>,
    /// The keys that this gateway has with others.
    #[arg(long, env = "VIDIMUS_SHARED_KEYS", value_name = "DIR")]
    shared_keys: Option<PathBuf>,
    /// The address of plain HTTP.
    #[arg(long, env = "VIDIMUS_LISTEN", value_name = "ADDRESS", default_value = "127.0.0.1:8080", value_parser = quantity::socket)]
    listen: SocketAddr,
    /// The address of TLS.
    #[arg(long, env = "VIDIMUS_TLS_LISTEN", value_name = "ADDRESS", value_parser = quantity::socket)]
    tls_listen: Option<SocketAddr>,
    /// The certificate of the TLS address.
    #[arg(long, env = "VIDIMUS_TLS_CERT", value_name = "FILE")]
    tls_cert: Option<PathBuf>,
    /// Its private key.
    #[arg(long, env = "VIDIMUS_TLS_KEY", value_name = "FILE")]
    tls_key: Option<PathBuf>,
    /// The admin address.
    #[arg(long, env = "VIDIMUS_ADMIN", value_name = "ADDRESS", default_value = "127.0.0.1:9901", value_parser = quantity::socket)]
    admin: SocketAddr,
    /// The gateway's address as callers see it.
    #[arg(long, env = "VIDIMUS_PUBLIC_URL", value_name = "URL")]
    public_url: Option<Url>,
    /// Room on the disk that is for records of what is allowed.
    #[arg(long, env = "VIDIMUS_DISK_RESERVE", value_name = "SIZE", value_parser = quantity::disk_size)]
    disk_reserve: Option<u64>,
    /// Look at the installation in a cluster instead: definitions, what became of records, pods, rights.
    #[arg(long, env = "VIDIMUS_CLUSTER", value_parser = BoolishValueParser::new())]
    cluster: bool,
    #[command(flatten)]
    reach: Reach,
    /// The namespace that it is installed in.
    #[arg(long, value_name = "NAMESPACE", default_value = "vidimus-system", requires = "cluster", value_parser = name)]
    namespace: String,
    /// The name of its StatefulSet.
    #[arg(long, value_name = "NAME", default_value = "vidimus", requires = "cluster", value_parser = name)]
    workload: String,
    /// The ServiceAccount of the gateway, as vidimus-registry of deploy/rbac
    /// [default: that of the StatefulSet, or its name].
    #[arg(long, value_name = "NAME", requires = "cluster", value_parser = name)]
    service_account: Option<String>,
}

/// A name of an object, which stands in paths.
fn name(text: &str) -> anyhow::Result<String> {
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let good = (1..=63).contains(&text.len()) && text.bytes().all(is_plain);
    anyhow::ensure!(good, "write 1 to 63 lower-case letters, digits and '-'");
    Ok(text.to_owned())
}

/// One thing that is wrong.
#[derive(Debug, Serialize)]
struct Finding {
    /// Stable; docs/doctor.md has all of them.
    code: &'static str,
    severity: Severity,
    /// What was found, and where.
    what: String,
    /// What it leads to.
    why: &'static str,
    /// What mends it: a command where one does.
    fix: String,
}

/// What was not looked at.
#[derive(Debug, Serialize)]
struct LeftOut {
    what: Cow<'static, str>,
    why: String,
    /// Whether it was to be looked at, and could not be: then nobody knows whether all is well.
    could_not: bool,
}

/// What was looked at, and what was found.
#[derive(Debug, Default, Serialize)]
struct Report {
    findings: Vec<Finding>,
    looked_at: Vec<&'static str>,
    left_out: Vec<LeftOut>,
}

impl Report {
    fn find(&mut self, check: Check, what: impl Into<String>, fix: impl Into<String>) {
        let Check { code, severity, why } = check;
        self.findings.push(Finding { code, severity, what: what.into(), why, fix: fix.into() });
    }

    fn looked_at(&mut self, what: &'static str) {
        self.looked_at.push(what);
    }

    /// Nobody asked for it, or there is nothing to look at.
    fn left_out(&mut self, what: &'static str, why: impl Into<String>) {
        self.left_out.push(LeftOut { what: what.into(), why: why.into(), could_not: false });
    }

    /// It was to be looked at, and could not be.
    fn could_not(&mut self, what: impl Into<Cow<'static, str>>, why: impl Into<String>) {
        self.left_out.push(LeftOut { what: what.into(), why: why.into(), could_not: true });
    }

    /// What is said of all of it, and the status. What was found is wrong whatever else there may be; without a fault, what could not be looked at
    /// may have one.
    fn verdict(&self) -> (&'static str, u8) {
        if self.count(Severity::Fault) > 0 {
            ("faulty", 1)
        } else if self.left_out.iter().any(|left| left.could_not) {
            ("could_not_look", 2)
        } else if self.count(Severity::Warning) > 0 {
            ("warned", 0)
        } else {
            ("healthy", 0)
        }
    }

    fn count(&self, severity: Severity) -> usize {
        self.findings.iter().filter(|finding| finding.severity == severity).count()
    }
}

/// What is printed for programs.
#[derive(Debug, Serialize)]
struct Answer<'r> {
    /// `healthy`, `warned`, `could_not_look` or `faulty`.
    verdict: &'static str,
    faults: usize,
    warnings: usize,
    #[serde(flatten)]
    report: &'r Report,
}

pub fn run(doctor: &Doctor, format: Format) -> anyhow::Result<ExitCode> {
    let mut report = Report::default();
    if !doctor.cluster && (doctor.reach.kubeconfig.is_some() || doctor.reach.context.is_some()) {
        output::warning(
            "--kubeconfig and --context say which cluster: nothing is asked there without --cluster",
        );
    }
    if doctor.cluster {
        cluster::look(doctor, &mut report);
    } else {
        let runs = gateway::look(doctor, &mut report)?;
        machine::look(doctor, runs, &mut report);
        replica_keys::look(doctor, runs, &mut report)?;
        objects::look(doctor, runs, &mut report);
        address::look(doctor, runs, &mut report)?;
    }
    // The worst first; what was found first stays first.
    report.findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    let (faults, warnings) = (report.count(Severity::Fault), report.count(Severity::Warning));
    let (verdict, status) = report.verdict();
    match format {
        Format::Json => output::json(&Answer { verdict, faults, warnings, report: &report })?,
        Format::Table => print(&report, faults, warnings),
    }
    Ok(ExitCode::from(status))
}

/// A path as it is written in a command.
fn word(path: &Path) -> String {
    let text = path.display().to_string();
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || "/._-+@:".contains(letter);
    if !text.is_empty() && text.chars().all(is_plain) {
        text
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

fn print(report: &Report, faults: usize, warnings: usize) {
    let row = |label: &str, text: &str| output::line(&format!("  {label:<5}{}", printable(text)));
    for finding in &report.findings {
        let is_fault = finding.severity == Severity::Fault;
        let severity = if is_fault { output::verdict("fault", false) } else { "warning".to_owned() };
        output::line(&format!("{severity}  {}: {}", finding.code, printable(&finding.what)));
        row("why", finding.why);
        row("fix", &finding.fix);
    }
    for left in &report.left_out {
        let label = if left.could_not { "could not look at" } else { "not looked at" };
        output::line(&format!("{label}  {}: {}", printable(&left.what), printable(&left.why)));
    }
    let unseen = match report.left_out.iter().filter(|left| left.could_not).count() {
        0 => String::new(),
        parts => format!(", could not look at {}", counted(parts, "part")),
    };
    let summary = format!("{}, {}{unseen}", counted(faults, "fault"), counted(warnings, "warning"));
    output::line(&format!(
        "{}  looked at {}",
        output::verdict(&summary, report.verdict().1 == 0),
        report.looked_at.join(", ")
    ));
}
