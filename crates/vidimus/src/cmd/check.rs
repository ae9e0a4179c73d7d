//! `vidimus check`: the same validation as a running gateway, as a command for CI.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Args;
use serde::Serialize;
use vidimus_core::resource::{Object, Rejection};

use crate::output::{self, Format};

/// Checks resources and policies; exits 1 when something is wrong.
///
/// Every problem is named by file, field and value, with what to write instead. A gateway that reads the same directory leaves
/// out exactly the objects named here and serves everything else.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  vidimus check examples/demo
  vidimus check -o json resources/ | jq '.rejections[] | {source, field, fix}'")]
pub struct Check {
    /// Directory of YAML or JSON files, searched with its subdirectories.
    dir: PathBuf,
}

#[derive(Serialize)]
struct Report<'a> {
    objects: Vec<String>,
    rejections: &'a [Rejection],
    warnings: &'a [Rejection],
    snapshot: &'a str,
}

pub fn run(check: &Check, format: Format) -> anyhow::Result<ExitCode> {
    std::fs::read_dir(&check.dir).with_context(|| format!("{} cannot be read", check.dir.display()))?;
    let loaded = vidimus_registry::load(&check.dir);
    let objects: Vec<String> = loaded.snapshot.objects().iter().map(name).collect();
    let report = Report {
        rejections: &loaded.rejections,
        warnings: loaded.snapshot.warnings(),
        snapshot: loaded.snapshot.digest(),
        objects,
    };
    match format {
        Format::Json => output::json(&report)?,
        Format::Table => print(&report),
    }
    Ok(if report.rejections.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

/// `Kind namespace/name`.
pub fn name(object: &Object) -> String {
    match object {
        Object::Agent(agent) => format!("Agent {}", agent.meta.key()),
        Object::McpServer(server) => format!("MCPServer {}", server.meta.key()),
        Object::LlmProvider(provider) => format!("LLMProvider {}", provider.meta.key()),
        Object::Service(service) => format!("ServiceIdentity {}", service.meta.key()),
        Object::Policy(policy) => format!("Policy {}", policy.meta.key()),
    }
}

fn print(report: &Report<'_>) {
    for rejection in report.rejections {
        output::line(&format!(
            "{} {}:{} {}",
            output::verdict("rejected", false),
            rejection.source,
            rejection.line,
            rejection.object
        ));
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
        output::line(&format!(
            "warning  {} {}: {} ({})",
            warning.object, warning.value, warning.reason, warning.fix
        ));
    }
    let good = report.rejections.is_empty();
    let summary = format!("{} in order, {} rejected", report.objects.len(), report.rejections.len());
    output::line(&output::verdict(&summary, good));
}
