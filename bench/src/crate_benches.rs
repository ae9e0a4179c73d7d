//! The benchmarks that live with their crates: built and run by cargo, their lines handed on.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context as _, ensure};
use serde_json::{Map, Value, json};

use crate::figure::judged;

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

pub(crate) const CREDENTIALS: CrateBench = CrateBench {
    package: "vidimus-identity",
    target: "credentials",
    figures: &["authenticate", "mint", "sign", "verify"],
};

pub(crate) const LIMITS: CrateBench =
    CrateBench { package: "vidimus-gateway", target: "limits", figures: &["limits_decided", "limits"] };

pub(crate) const REBUILD: CrateBench =
    CrateBench { package: "vidimus-core", target: "rebuild", figures: &["rebuild", "rebuild_memory"] };

pub(crate) const REACH: CrateBench =
    CrateBench { package: "vidimus-core", target: "reach", figures: &["reach"] };

pub(crate) const GUARDS: CrateBench =
    CrateBench { package: "vidimus-guard", target: "guards", figures: &["guards"] };

pub(crate) const GUARDED_ANSWERS: CrateBench =
    CrateBench { package: "vidimus-gateway", target: "guarded_answers", figures: &["guarded_answers"] };

pub(crate) const DIRECTORY_CHANGE: CrateBench =
    CrateBench { package: "vidimus-registry", target: "directory_change", figures: &["directory_change"] };

pub(crate) const KEPT_START: CrateBench = CrateBench {
    package: "vidimus-registry",
    target: "kept_start",
    figures: &["start_listed", "start_kept", "start_kept_ratio"],
};

pub(crate) const REPLAY: CrateBench = CrateBench {
    package: "vidimus-query",
    target: "replay",
    figures: &["configuration_kept", "replay", "suggest"],
};

/// With `VIDIMUS_BENCH_RECORDS=10000000` it is of the size that issue 13 asks about.
pub(crate) const AUDIT: CrateBench = CrateBench {
    package: "vidimus-readmodel",
    target: "audit",
    figures: &[
        "ledger_open_by_size",
        "ledger_prove",
        "ledger_verify_all",
        "audit_question",
        "audit_question_of",
    ],
};

/// What of [`DECIDE`] is measured again while a core is busy with something else.
const UNDER_LOAD: &str = "decide_cold_edge";

impl CrateBench {
    /// Runs it, prints its lines as they come, and returns them. An error when it fails, or when one of its figures is missing.
    pub(crate) fn run(self) -> anyhow::Result<Vec<Map<String, Value>>> {
        self.run_with(Some)
    }

    /// Runs it while one core is busy, and prints only the first decision on an edge, which a person may notice.
    pub(crate) fn run_under_load(self) -> anyhow::Result<()> {
        let busy = Busy::start();
        let chosen = |mut figure: Map<String, Value>| {
            let parameters = figure.get_mut("parameters").and_then(Value::as_object_mut)?;
            parameters.insert("load".to_owned(), json!("one core busy"));
            (figure.get("name") == Some(&json!(UNDER_LOAD))).then_some(figure)
        };
        let printed = Self { figures: &[UNDER_LOAD], ..self }.run_with(chosen);
        drop(busy);
        printed.map(drop)
    }

    /// Prints what `chosen` leaves of its lines.
    fn run_with(
        self,
        chosen: impl Fn(Map<String, Value>) -> Option<Map<String, Value>>,
    ) -> anyhow::Result<Vec<Map<String, Value>>> {
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
            match serde_json::from_str::<Map<String, Value>>(&line) {
                Ok(figure) => {
                    let Some(figure) = chosen(judged(figure)) else { continue };
                    crate::print(&serde_json::to_string(&figure)?)?;
                    printed.push(figure);
                }
                Err(_) => crate::note(&line)?,
            }
        }
        let status = child.wait()?;
        ensure!(status.success(), "{command:?}: {status}");
        let known = |name: &str| printed.iter().any(|figure| figure.get("name") == Some(&json!(name)));
        let missing: Vec<_> = self.figures.iter().filter(|name| !known(name)).collect();
        ensure!(missing.is_empty(), "{command:?} printed no {missing:?}");
        Ok(printed)
    }
}

/// A thread that keeps one core busy for as long as this lives.
struct Busy(Arc<AtomicBool>);

impl Busy {
    fn start() -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let told = stop.clone();
        std::thread::spawn(move || {
            while !told.load(Ordering::Relaxed) {
                std::hint::spin_loop();
            }
        });
        Self(stop)
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
