//! The benchmarks that live with their crates: built and run by cargo, their lines handed on.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

use anyhow::{Context as _, ensure};
use serde_json::Value;

/// A benchmark target of a crate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CrateBench {
    package: &'static str,
    target: &'static str,
    /// Names of the figures that it must print.
    figures: &'static [&'static str],
}

pub(crate) const DECIDE: CrateBench = CrateBench {
    package: "vidimus-core",
    target: "decide",
    figures: &["decide_warm", "decide_plain_cedar", "decide_cold_edge"],
};

pub(crate) const LEDGER: CrateBench =
    CrateBench { package: "vidimus-ledger", target: "append", figures: &["ledger_append"] };

impl CrateBench {
    /// Runs it and prints its lines as they come. An error when it fails, or when one of its figures is missing.
    pub(crate) fn run(self) -> anyhow::Result<()> {
        // As make calls it; cargo sets the variable for what it runs itself.
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut command = Command::new(cargo);
        command
            .args(["bench", "--quiet", "--package", self.package, "--bench", self.target])
            .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
            .stdin(Stdio::null())
            .stdout(Stdio::piped());
        let mut child = command.spawn().with_context(|| format!("{command:?}"))?;
        let lines = BufReader::new(child.stdout.take().context("its standard output is not piped")?).lines();
        let mut printed = Vec::new();
        for line in lines {
            let line = line?;
            match serde_json::from_str::<Value>(&line) {
                Ok(figure) => {
                    printed.extend(figure.get("name").and_then(Value::as_str).map(str::to_owned));
                    crate::print(&line)?;
                }
                Err(_) => crate::note(&line)?,
            }
        }
        let status = child.wait()?;
        ensure!(status.success(), "{command:?}: {status}");
        let missing: Vec<_> =
            self.figures.iter().filter(|name| !printed.iter().any(|known| known == **name)).collect();
        ensure!(missing.is_empty(), "{command:?} printed no {missing:?}");
        Ok(())
    }
}
