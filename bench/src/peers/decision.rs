//! The decision alone, in process: ours and plain Cedar from the benchmark of `crates/core`, and the rule engine of Microsoft's
//! agent-governance-toolkit in its own Python process.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, ensure};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{FOLDER, installed, say_error};
use crate::crate_benches;
use crate::figure::Figure;

const NAME: &str = "decide";
const TOOLKIT: &str = "agent-governance-toolkit";
/// Policies or rules on each side.
const POLICIES: u64 = 1_000;

/// What `decide.py` prints.
#[derive(Debug, Deserialize)]
struct Decided {
    product: String,
    p50_us: f64,
    p99_us: f64,
}

/// Prints the figures and ours in relation to them. True when all could be measured.
pub(super) fn run() -> anyhow::Result<bool> {
    let lines = crate_benches::DECIDE.run()?;
    let ours = p50(&lines, "decide_warm").context("no p50 of decide_warm")?;
    let cedar = p50(&lines, "decide_plain_cedar").context("no p50 of decide_plain_cedar")?;
    ratio("cedar", "Cedar's authorizer, in Rust", ours / cedar)?;
    match toolkit() {
        Ok(decided) => {
            for (statistic, value) in [("p50", decided.p50_us), ("p99", decided.p99_us)] {
                let parameters = json!({"measure": "peer", "peer": TOOLKIT, "product": decided.product,
                    "policies": POLICIES, "statistic": statistic});
                Figure::new(NAME, value, "us", parameters).print()?;
            }
            ratio(TOOLKIT, &decided.product, ours / decided.p50_us)?;
            Ok(true)
        }
        Err(error) => {
            say_error(NAME, TOOLKIT, &format!("cannot be measured here: {error:#}"))?;
            Ok(false)
        }
    }
}

fn ratio(peer: &str, product: &str, value: f64) -> anyhow::Result<()> {
    let parameters =
        json!({"measure": "p50_of_peer", "peer": peer, "product": product, "policies": POLICIES});
    Figure::ratio(NAME, value, parameters).print()
}

fn toolkit() -> anyhow::Result<Decided> {
    let mut command = Command::new(installed("decision")?.join("bin/python"));
    command.arg(Path::new(FOLDER).join("decision/decide.py")).arg(POLICIES.to_string()).stdin(Stdio::null());
    let output = command.output().with_context(|| format!("{command:?}"))?;
    let error = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{}", error.trim());
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// The median that a benchmark of a crate printed for that many policies.
fn p50(lines: &[Map<String, Value>], name: &str) -> Option<f64> {
    let line = lines.iter().find(|line| {
        let parameter = |name: &str| line.get("parameters").and_then(|all| all.get(name));
        line.get("name") == Some(&json!(name))
            && parameter("policies") == Some(&json!(POLICIES))
            && parameter("statistic") == Some(&json!("p50"))
    });
    line?.get("value")?.as_f64()
}
