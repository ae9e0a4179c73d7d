//! `vidimus check`: the same validation as a running gateway, as a command for CI.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Args;
use vidimus_core::clock::Clock as _;
use vidimus_gateway::{SecretDirectory, millis};
use vidimus_query::check::{self, CheckReport, Fault, counted};
use vidimus_query::state::State;

pub use vidimus_query::check::Counts;

use crate::clock::SystemClock;
use crate::output::{self, Format};

/// Checks resources and policies; exits 1 when something is wrong.
///
/// Every problem is named by file, field and value, with what to write instead. A gateway that reads the same directory uses
/// nothing that the objects named here would permit, and keeps what they forbade while they were good; one that starts with a new
/// data directory while a policy is malformed refuses everything.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  vidimus check examples/demo
  vidimus check --strict resources/    # for CI: a warning fails too
  vidimus check --secrets DIR resources/ # where the gateway runs
  vidimus check --cluster resources/   # what `vidimus register` sends
  vidimus check -o json resources/ | jq '.rejections[] | {source, field, fix}'

Exit codes: 0 in order, 1 something is wrong, 2 could not check")]
pub struct Check {
    /// Directory of YAML or JSON files, searched with its subdirectories; or one file.
    dir: PathBuf,
    /// Exit 1 also when there are only warnings.
    #[arg(long)]
    strict: bool,
    /// Warn also of what a gateway on this machine, with this directory of secrets, could not read: providers' keys (credential.file,
    /// credential.env) and roots of endpoints (caFile).
    #[arg(long, env = "VIDIMUS_SECRETS", value_name = "DIR")]
    secrets: Option<PathBuf>,
    /// Check as for a cluster, where a provider's key comes from a Secret (credential.secretRef) and from nothing of a machine. What
    /// `kubectl get vidimus -A -o yaml` prints is read too.
    #[arg(long, conflicts_with = "secrets")]
    cluster: bool,
}

pub fn run(check: &Check, format: Format) -> anyhow::Result<ExitCode> {
    readable(&check.dir)?;
    let secrets = check.secrets.as_deref().map(|path| SecretDirectory::open(path, None)).transpose();
    let secrets = secrets.context("--secrets")?;
    let loaded = match check.cluster {
        true => vidimus_registry::load_of_cluster(&check.dir),
        false => vidimus_registry::load(&check.dir),
    };
    let unusable = secrets.map(|secrets| vidimus_gateway::unusable(&loaded.snapshot, Some(&secrets)));
    let shared = loaded.snapshot.shared_audiences();
    let state = State::new(loaded, check.dir.display().to_string());
    let mut report = check::check(&state);
    report.warn_of(&shared);
    report.warn_of(&check::shut_for_good(&state, millis(SystemClock.now().wall)));
    report.warn_of(&unusable.unwrap_or_default());
    told(check, &report, format)
}

/// Says what was found; the exit code is the verdict.
fn told(check: &Check, report: &CheckReport, format: Format) -> anyhow::Result<ExitCode> {
    let empty = report.objects.is_empty() && report.rejections.is_empty();
    if empty {
        output::warning(&format!("no resources in {}", check.dir.display()));
    }
    match format {
        Format::Json => output::json(report)?,
        Format::Table => print(report),
    }
    let warned = empty || !report.warnings.is_empty();
    let wrong = !report.rejections.is_empty() || (check.strict && warned);
    Ok(if wrong { ExitCode::from(1) } else { ExitCode::SUCCESS })
}

/// That there is a file or a directory. A gateway reads a directory; a file alone is checked as if nothing else were registered.
pub(super) fn readable(path: &Path) -> anyhow::Result<()> {
    let read = match fs::metadata(path) {
        Ok(about) if about.is_dir() => fs::read_dir(path).map(drop),
        Ok(_) => fs::File::open(path).map(drop),
        Err(error) => Err(error),
    };
    read.with_context(|| format!("{} cannot be read", path.display()))
}

fn print(report: &CheckReport) {
    let width = report.addresses.keys().map(String::len).max().unwrap_or_default();
    let faulty: BTreeSet<&str> = report.rejections.iter().map(|rejection| &*rejection.object).collect();
    for object in &report.objects {
        let address = report.addresses.get(object).map(String::as_str).unwrap_or_default();
        let in_part = if faulty.contains(&**object) { "  in part, see below" } else { "" };
        output::line(format!("{object:<width$}  {address}{in_part}").trim_end());
    }
    for rejection in &report.rejections {
        let in_part = report.objects.contains(&rejection.object);
        rejected(if in_part { "in part" } else { "rejected" }, rejection);
    }
    for warning in &report.warnings {
        output::line(&warned(warning));
    }
    let counts = report.counts;
    let mut summary = vec![format!("{} in order", counted(counts.in_order, "object"))];
    summary.extend(counts.wrong());
    if counts.faults == 0 {
        summary.push("0 rejected".to_owned());
    }
    if counts.warnings > 0 {
        summary.push(counted(counts.warnings, "warning"));
    }
    let summary = output::verdict(&summary.join(", "), counts.faults == 0);
    output::line(&format!("{summary}  snapshot {}", report.snapshot));
}

/// Says what is wrong: where, with its field, what stands there and what to write.
pub(super) fn rejected(what: &str, fault: &Fault) {
    let (what, place) = (output::verdict(what, false), fault.place());
    output::line(format!("{what} {place} {}", fault.object).trim_end());
    let rows =
        [("field", &fault.field), ("value", &fault.value), ("reason", &fault.reason), ("fix", &fault.fix)];
    for (label, text) in rows.into_iter().filter(|(_, text)| !text.is_empty()) {
        output::line(&format!("  {label:<7}{text}"));
    }
}

pub(super) fn warned(warning: &Fault) -> String {
    let mut about =
        vec![warning.place(), warning.object.clone(), warning.field.clone(), warning.value.clone()];
    about.retain(|part| !part.is_empty());
    format!("warning  {}: {} ({})", about.join(" "), warning.reason, warning.fix)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(line: u32, object: &str) -> Fault {
        let text = || "x".to_owned();
        Fault {
            source: "a.yaml".to_owned(),
            line,
            object: object.to_owned(),
            reference: None,
            field: text(),
            value: String::new(),
            reason: text(),
            fix: text(),
        }
    }

    #[test]
    fn a_line_that_is_not_known_is_not_shown() {
        assert_eq!(warned(&fault(0, "")), "warning  a.yaml x: x (x)");
        assert_eq!(warned(&fault(7, "")), "warning  a.yaml:7 x: x (x)");
        assert_eq!(warned(&fault(7, "Policy a/b")), "warning  a.yaml:7 Policy a/b x: x (x)");
    }

    #[test]
    fn a_file_is_read_and_what_is_not_there_is_told() {
        let demo = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/demo");
        assert!(readable(&demo).is_ok() && readable(&demo.join("estate.yaml")).is_ok());
        assert!(vidimus_registry::load(&demo.join("estate.yaml")).rejections.is_empty());
        assert!(
            readable(&demo.join("none")).is_err_and(|error| error.to_string().contains("cannot be read"))
        );
    }
}
