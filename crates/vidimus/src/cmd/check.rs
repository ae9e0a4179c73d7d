//! `vidimus check`: the same validation as a running gateway, as a command for CI.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::Args;
use serde::Serialize;
use vidimus_core::resource::{Object, Rejection};

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
  vidimus check -o json resources/ | jq '.rejections[] | {source, field, fix}'

Exit codes: 0 in order, 1 something is wrong, 2 could not check")]
pub struct Check {
    /// Directory of YAML or JSON files, searched with its subdirectories.
    dir: PathBuf,
    /// Exit 1 also when there are only warnings.
    #[arg(long)]
    strict: bool,
}

#[derive(Serialize)]
struct Report<'a> {
    objects: Vec<String>,
    /// Where those that can be called are, below the gateway's address.
    addresses: BTreeMap<String, String>,
    rejections: &'a [Rejection],
    warnings: &'a [Rejection],
    snapshot: &'a str,
}

pub fn run(check: &Check, format: Format) -> anyhow::Result<ExitCode> {
    directory(&check.dir)?;
    let loaded = vidimus_registry::load(&check.dir);
    let objects = loaded.snapshot.objects();
    let report = Report {
        objects: objects.iter().map(name).collect(),
        addresses: objects.iter().filter_map(|object| Some((name(object), address(object)?))).collect(),
        rejections: &loaded.rejections,
        warnings: loaded.snapshot.warnings(),
        snapshot: loaded.snapshot.digest(),
    };
    let empty = report.objects.is_empty() && report.rejections.is_empty();
    if empty {
        output::warning(&format!("no resources in {}", check.dir.display()));
    }
    match format {
        Format::Json => output::json(&report)?,
        Format::Table => print(&report),
    }
    let warned = empty || !report.warnings.is_empty();
    let wrong = !report.rejections.is_empty() || (check.strict && warned);
    Ok(if wrong { ExitCode::from(1) } else { ExitCode::SUCCESS })
}

/// A gateway reads a directory, so a file alone is not what it would read.
fn directory(path: &Path) -> anyhow::Result<()> {
    let metadata = fs::metadata(path).with_context(|| format!("{} cannot be read", path.display()))?;
    if !metadata.is_dir() {
        bail!("{} is a file; give the directory that it is in", path.display());
    }
    fs::read_dir(path).map(drop).with_context(|| format!("{} cannot be read", path.display()))
}

/// `Kind namespace/name`.
fn name(object: &Object) -> String {
    object.reference().to_string()
}

/// The route of an object that can be called.
fn address(object: &Object) -> Option<String> {
    match object {
        Object::Agent(agent) => agent.endpoint.as_ref().map(|_| format!("/a2a/{}", agent.meta.key())),
        Object::McpServer(server) => Some(format!("/mcp/{}", server.meta.key())),
        Object::LlmProvider(provider) => Some(format!("/llm/{}", provider.meta.key())),
        Object::Service(_) | Object::Policy(_) => None,
    }
}

/// `1 object rejected, 3 faults`; `None` when nothing is left out. One object may have several faults.
pub fn left_out(rejections: &[Rejection]) -> Option<String> {
    let objects: BTreeSet<_> = rejections.iter().map(|r| (&r.origin, &r.object)).collect();
    let (objects, faults) = (objects.len(), rejections.len());
    (faults > 0).then(|| format!("{} rejected, {}", counted(objects, "object"), counted(faults, "fault")))
}

fn counted(count: usize, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

fn print(report: &Report<'_>) {
    let width = report.addresses.keys().map(String::len).max().unwrap_or_default();
    for object in &report.objects {
        let address = report.addresses.get(object).map(String::as_str).unwrap_or_default();
        output::line(format!("{object:<width$}  {address}").trim_end());
    }
    for rejection in report.rejections {
        let (place, object) = (&rejection.origin, &rejection.object);
        output::line(format!("{} {place} {object}", output::verdict("rejected", false)).trim_end());
        let row = |label: &str, text: &str| {
            if !text.is_empty() {
                output::line(&format!("  {label:<7}{text}"));
            }
        };
        row("field", &rejection.field);
        row("value", &rejection.value);
        row("reason", &rejection.reason);
        row("fix", &rejection.fix);
    }
    for warning in report.warnings {
        output::line(&warned(warning));
    }
    let good = report.rejections.is_empty();
    let left_out = left_out(report.rejections).unwrap_or_else(|| "0 rejected".to_owned());
    let warnings = match report.warnings.len() {
        0 => String::new(),
        count => format!(", {}", counted(count, "warning")),
    };
    let summary = format!("{} in order, {left_out}{warnings}", counted(report.objects.len(), "object"));
    output::line(&format!("{}  snapshot {}", output::verdict(&summary, good), report.snapshot));
}

fn warned(warning: &Rejection) -> String {
    let mut about = vec![warning.origin.to_string(), warning.object.to_string(), warning.value.clone()];
    about.retain(|part| !part.is_empty());
    format!("warning  {}: {} ({})", about.join(" "), warning.reason, warning.fix)
}

#[cfg(test)]
mod tests {
    use vidimus_core::resource::{Origin, Subject};

    use super::*;

    fn fault(line: u32, object: &str) -> Rejection {
        let text = || "x".to_owned();
        Rejection {
            origin: Origin::file("a.yaml", line),
            object: Subject::Document(object.to_owned()),
            field: text(),
            value: String::new(),
            reason: text(),
            fix: text(),
        }
    }

    #[test]
    fn objects_are_counted_and_faults_beside_them() {
        for (rejections, said) in [
            (vec![], None),
            (vec![fault(1, "Agent a/b")], Some("1 object rejected, 1 fault")),
            (vec![fault(1, "Agent a/b"), fault(1, "Agent a/b")], Some("1 object rejected, 2 faults")),
            (vec![fault(1, "Agent a/b"), fault(9, "Agent a/b")], Some("2 objects rejected, 2 faults")),
        ] {
            assert_eq!(left_out(&rejections).as_deref(), said);
        }
    }

    #[test]
    fn a_line_that_is_not_known_is_not_shown() {
        assert_eq!(warned(&fault(0, "")), "warning  a.yaml: x (x)");
        assert_eq!(warned(&fault(7, "")), "warning  a.yaml:7: x (x)");
        assert_eq!(warned(&fault(7, "Policy a/b")), "warning  a.yaml:7 Policy a/b: x (x)");
    }

    #[test]
    fn what_can_be_called_has_an_address() {
        let demo = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/demo");
        let loaded = vidimus_registry::load(&demo);
        let found: BTreeMap<_, _> =
            loaded.snapshot.objects().iter().map(|object| (name(object), address(object))).collect();
        for (object, expected) in [
            ("MCPServer finance/ledger", Some("/mcp/finance/ledger")),
            ("Agent finance/echo", Some("/a2a/finance/echo")),
            ("Agent finance/risky-bot", None),
            ("LLMProvider platform/simulator", Some("/llm/platform/simulator")),
            ("Policy finance/small-transfers", None),
        ] {
            assert_eq!(found.get(object).map(Option::as_deref), Some(expected), "{object}");
        }
        assert!(directory(&demo).is_ok());
        assert!(
            directory(&demo.join("estate.yaml")).is_err_and(|error| error.to_string().contains("directory"))
        );
    }
}
