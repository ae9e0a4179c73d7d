//! One call, whole: its records, and a proof for each that stands alone.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Args;
use serde_json::{Value, json};
use vidimus_ledger::{Proof, VerifierKey};

use crate::output::{self, Format};

/// Shows every record of one call.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  vidimus audit show 019aa3b0-7c5e-7d11-a8f1-2f0d2f6c9a10
  vidimus audit show ID --evidence /tmp/evidence    # each record and its proof as files, for an auditor")]
pub struct Show {
    /// The call's id: header vidimus-call of its answer, or the last column of `audit search`.
    id: String,
    /// Write each record (record-N.json) and its proof (record-N.tlog-proof) into this directory.
    #[arg(long)]
    evidence: Option<PathBuf>,
}

/// Checks one record against its proof, with nothing but the ledger's public key.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  vidimus audit prove --record record-7.json --proof record-7.tlog-proof --key \"$(cat ledger.pub)\"")]
pub struct Prove {
    /// The record's bytes, as `audit show --evidence` wrote them.
    #[arg(long)]
    record: PathBuf,
    /// The proof (c2sp.org/tlog-proof@v1).
    #[arg(long)]
    proof: PathBuf,
    /// The ledger's public key (C2SP vkey), obtained from somebody you trust.
    #[arg(long)]
    key: String,
}

pub fn run(dir: &Path, show: &Show, format: Format) -> anyhow::Result<ExitCode> {
    let records = vidimus_ledger::show(dir, &show.id)?;
    if let Some(evidence) = &show.evidence {
        fs::create_dir_all(evidence).with_context(|| evidence.display().to_string())?;
    }
    for shown in &records {
        let record: Value = serde_json::from_slice(&shown.record)?;
        if let Some(evidence) = &show.evidence {
            let path = evidence.join(format!("record-{}.json", shown.index));
            fs::write(&path, &shown.record).with_context(|| path.display().to_string())?;
            if let Ok(proof) = &shown.proof {
                let path = path.with_extension("tlog-proof");
                fs::write(&path, proof.to_string()).with_context(|| path.display().to_string())?;
            }
        }
        let proof = match &shown.proof {
            Ok(_) => "proven against the latest checkpoint".to_owned(),
            Err(error) => error.to_string(),
        };
        match format {
            Format::Json => output::json(&json!({
                "index": shown.index, "record": record,
                "proof": shown.proof.as_ref().ok().map(ToString::to_string),
            }))?,
            Format::Table => {
                output::line(&format!("record {} ({})", shown.index, output::text(&record, "kind")));
                for (name, value) in record.as_object().into_iter().flatten() {
                    let text = value.as_str().map_or_else(|| value.to_string(), ToOwned::to_owned);
                    output::line(&format!("  {name:<14}{text}"));
                }
                output::line(&format!("  {:<14}{proof}\n", "proof"));
            }
        }
    }
    if records.is_empty() {
        anyhow::bail!("no record of call {} in {}", show.id, dir.display());
    }
    Ok(ExitCode::SUCCESS)
}

pub fn run_prove(prove: &Prove) -> anyhow::Result<ExitCode> {
    let key: VerifierKey = prove.key.trim().parse().context("--key")?;
    let record = fs::read(&prove.record).with_context(|| prove.record.display().to_string())?;
    let text = fs::read_to_string(&prove.proof).with_context(|| prove.proof.display().to_string())?;
    let proof: Proof = text.parse().with_context(|| prove.proof.display().to_string())?;
    match proof.verify(&record, &key) {
        Ok(checkpoint) => {
            let text = format!(
                "record {} is in the log {} of {} records",
                proof.index(),
                key.name(),
                checkpoint.size
            );
            output::line(&output::verdict(&text, true));
            Ok(ExitCode::SUCCESS)
        }
        Err(error) => {
            output::line(&output::verdict(&format!("not proven: {error}"), false));
            Ok(ExitCode::from(1))
        }
    }
}
