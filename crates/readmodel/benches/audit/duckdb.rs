//! The same records and questions in DuckDB, by its Python package: `VIDIMUS_BENCH_DUCKDB` is a Python that has it.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::figures::Figures;
use crate::{Anything, Question};

const ENGINE: &str = "duckdb";

/// What fills a database of its own from the model's files, and asks.
const SCRIPT: &str = include_str!("duckdb.py");

pub(crate) fn measure(figures: &mut Figures, python: &str, root: &Path, index: &Path) -> Anything<()> {
    let database = root.join("records.duckdb");
    let _ = std::fs::remove_file(&database);
    let output = Command::new(python)
        .args(["-c", SCRIPT])
        .args([&database, index])
        .arg(figures.records.to_string())
        .output()?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned().into());
    }
    for line in String::from_utf8(output.stdout)?.lines() {
        let line: Value = serde_json::from_str(line)?;
        let value = line["value"].as_f64().ok_or("no value")?;
        match line["question"].as_str() {
            Some("build") => {
                figures.say("audit_build", value, "records/s", None, serde_json::json!({ "engine": ENGINE }));
            }
            name => {
                let question = Question::ALL.into_iter().find(|question| Some(question.as_str()) == name);
                figures.told(ENGINE, question.ok_or("no such question")?, value);
            }
        }
    }
    figures.size(ENGINE, std::fs::metadata(&database)?.len());
    Ok(())
}
