//! Which crate may know which (ARCHITECTURE.md, "Crates and arrows").

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde::Deserialize;

/// Who may depend on whom. A new arrow is a decision about the house, not about a line in a Cargo.toml.
const ALLOWED: &[(&str, &[&str])] = &[
    ("vidimus-core", &[]),
    ("vidimus-registry", &["vidimus-core"]),
    // The client of Kubernetes stays behind it. The gateway: what runs jobs takes its permits (ADR 69).
    ("vidimus-cluster", &["vidimus-core", "vidimus-registry", "vidimus-gateway"]),
    ("vidimus-identity", &["vidimus-core"]),
    ("vidimus-ledger", &["vidimus-core"]),
    // It joins two transports, and decides nothing.
    ("vidimus-wrap", &[]),
    // Spans are no records: nothing of ours has to be known to keep them.
    ("vidimus-traces", &[]),
    ("vidimus-guard", &["vidimus-core"]),
    (
        "vidimus-gateway",
        &["vidimus-core", "vidimus-guard", "vidimus-identity", "vidimus-ledger", "vidimus-traces"],
    ),
    ("vidimus-query", &["vidimus-core", "vidimus-registry", "vidimus-ledger", "vidimus-traces"]),
    // DataFusion stays behind it: nothing but the binary is built with that.
    ("vidimus-readmodel", &["vidimus-core", "vidimus-ledger"]),
    (
        "vidimus",
        &[
            "vidimus-cluster",
            "vidimus-core",
            "vidimus-registry",
            "vidimus-identity",
            "vidimus-gateway",
            "vidimus-ledger",
            "vidimus-query",
            "vidimus-readmodel",
            "vidimus-traces",
            "vidimus-wrap",
        ],
    ),
    // The ledger: without recording a decision there is no permit, in tests neither.
    ("vidimus-testkit", &["vidimus-core", "vidimus-identity", "vidimus-ledger"]),
    (
        "vidimus-bench",
        &["vidimus-core", "vidimus-registry", "vidimus-identity", "vidimus-ledger", "vidimus-testkit"],
    ),
    // It attacks the binary from outside, and knows nothing of what is inside.
    ("vidimus-redteam", &[]),
    // The gateway: docs/codes.md says what its answers say. The questions: docs/query.schema.json.
    ("xtask", &["vidimus-core", "vidimus-registry", "vidimus-gateway", "vidimus-query"]),
];

/// What only tests may know.
const TESTKIT: &str = "vidimus-testkit";

#[derive(Deserialize)]
pub(crate) struct Metadata {
    pub(crate) packages: Vec<Package>,
}

#[derive(Deserialize)]
pub(crate) struct Package {
    pub(crate) name: String,
    pub(crate) dependencies: Vec<Dependency>,
}

#[derive(Deserialize)]
pub(crate) struct Dependency {
    pub(crate) name: String,
    /// `null` for a normal one, `dev`, `build`.
    pub(crate) kind: Option<String>,
    /// Of a crate of the workspace.
    pub(crate) path: Option<String>,
}

pub(crate) fn check(root: &Path) -> Result<Vec<String>> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["metadata", "--no-deps", "--offline", "--format-version", "1"])
        .current_dir(root)
        .output()
        .context("cargo metadata")?;
    if !output.status.success() {
        bail!("cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(complaints(&serde_json::from_slice(&output.stdout)?))
}

pub(crate) fn complaints(metadata: &Metadata) -> Vec<String> {
    let mut complaints = Vec::new();
    for package in &metadata.packages {
        let Some((_, allowed)) = ALLOWED.iter().find(|(name, _)| *name == package.name) else {
            complaints.push(format!(
                "{}: a crate that the house does not know; see xtask/src/arrows.rs",
                package.name
            ));
            continue;
        };
        for dependency in package.dependencies.iter().filter(|dependency| dependency.path.is_some()) {
            let is_dev = dependency.kind.as_deref() == Some("dev");
            let may = allowed.contains(&dependency.name.as_str()) || is_dev && dependency.name == TESTKIT;
            if !may {
                let kind = if is_dev { "dev-" } else { "" };
                complaints.push(format!(
                    "{}: must not have the {kind}dependency {}",
                    package.name, dependency.name
                ));
            }
        }
    }
    complaints
}
