//! Reports of several ledgers: one of each, which has the proofs, and an overview that adds them up.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, bail, ensure};
use vidimus_ledger::VerifierKey;
use vidimus_query::audit::logs::{Log, Logs};
use vidimus_query::audit::{AssessmentQuestion, Together, overview};

use super::{Evidence, Form, NO_RECORDS, assess, verdict, wait_for_checkpoint, warn_of_gaps, whole, written};
use crate::cmd;
use crate::output::{self, Format, printable};

/// Reports on each directory, and on all of them together. What is wrong with one ledger keeps nobody from the others.
pub fn run(logs: &Logs, evidence: &Evidence, format: Format) -> anyhow::Result<ExitCode> {
    cmd::audit::warn_of_repeated(logs);
    let keys = evidence.keys()?;
    for key in &keys {
        let is_theirs = logs.all().iter().any(|log| is_of(log, key));
        ensure!(is_theirs, "--key: one is of the log {}, which no --ledger has", key.name());
    }
    let out = evidence.out.as_deref();
    ensure!(
        out.is_some() || format == Format::Json,
        "--out: name the directory of the reports of several ledgers"
    );
    if let Some(out) = out {
        ensure!(
            !out.exists() || out.is_dir(),
            "--out {}: it is there and is no directory; name one",
            out.display()
        );
        let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(out);
        made.with_context(|| format!("--out {} cannot be written", out.display()))?;
    }
    // All of them are asked the same: of one window, which does not end later where another ledger took long.
    let asked = evidence.question(None)?;
    let (mut parts, mut unread) = (Vec::new(), Vec::new());
    for log in logs.all() {
        let key = keys.iter().find(|key| is_of(log, key)).map(ToString::to_string);
        let question = AssessmentQuestion { key, ..asked.clone() };
        for (number, directory) in (1..).zip(&log.directories) {
            let copy = if log.directories.len() > 1 { format!("-{number}") } else { String::new() };
            let file = format!("{}{copy}.{}", log.file_name(), ending(evidence.form));
            let _ = wait_for_checkpoint(directory);
            let assessed = match out {
                Some(out) => written(directory, &question, evidence.form, &out.join(&file)),
                None => assess(directory, &question, |_, _| Ok(())),
            };
            match assessed {
                Ok(assessment) => parts.push((log.name.clone(), out.map(|_| file), assessment)),
                Err(error) => unread.push((log.name.clone(), format!("{error:#}"))),
            }
        }
    }
    let mut reasons: Vec<&str> = unread.iter().map(|(_, reason)| reason.as_str()).collect();
    reasons.dedup();
    // What is wrong with the question is said once.
    if let ([reason], true) = (&*reasons, parts.is_empty()) {
        bail!("no ledger could be assessed: {reason}");
    }
    let unread: Vec<String> =
        unread.iter().map(|(name, reason)| format!("{name}: it was not assessed: {reason}")).collect();
    ensure!(!parts.is_empty(), "no ledger could be assessed: {}", unread.join("; "));
    let mut together = Together::of(parts)?;
    together.sound &= unread.is_empty();
    together.findings.extend(unread);
    for finding in &together.findings {
        output::warning(&format!("{finding}; `vidimus audit verify` tells more"));
    }
    warn(&together, !keys.is_empty());
    if let Some(out) = out {
        write(&together, evidence.form, out)?;
    }
    match format {
        Format::Json => output::json(&together)?,
        Format::Table => print(&together, out),
    }
    Ok(verdict(together.sound, together.is_whole()))
}

/// What is wrong with no ledger, and is to be known all the same: what one ledger's report says, of each of several.
fn warn(together: &Together, has_keys: bool) {
    if together.logs.iter().all(|part| part.records == 0) {
        output::warning(NO_RECORDS);
    }
    for part in &together.logs {
        let name = &part.log;
        if has_keys && !part.key_given {
            output::warning(&format!("{name}: no --key is of it, so that its own is believed"));
        }
        warn_of_gaps(&format!("{name}: "), &part.gaps);
    }
}

/// Whether a key is that of a log, or one that it followed.
fn is_of(log: &Log, key: &VerifierKey) -> bool {
    log.key.as_ref().is_ok_and(|own| own == key || own.follows(key))
}

const fn ending(form: Form) -> &'static str {
    match form {
        Form::Html => "html",
        Form::Oscal => "oscal.json",
        Form::Ocsf => "ocsf.jsonl",
    }
}

/// The overview: a page for people where the reports are pages, and for programs always.
fn write(together: &Together, form: Form, out: &Path) -> anyhow::Result<()> {
    let json = serde_json::to_string(together)?;
    let page = matches!(form, Form::Html).then(|| overview(together));
    for (name, text) in
        [Some(("index.json", json)), page.map(|page| ("index.html", page))].into_iter().flatten()
    {
        let path = out.join(name);
        let failed = || format!("--out {} cannot be written", path.display());
        whole(&path, |mut file| writeln!(file, "{}", text.trim_end()).with_context(failed))?;
    }
    Ok(())
}

fn print(together: &Together, out: Option<&Path>) {
    for log in &together.logs {
        let copy = if log.copy { "; a copy, counted once" } else { "" };
        let (name, file) = (printable(&log.log), printable(log.file.as_deref().unwrap_or_default()));
        output::line(&format!(
            "{name}: {} records, {} of them proven, in {file}{copy}",
            log.records, log.proven
        ));
    }
    let Together { title, controls, counts, logs, .. } = together;
    let (denied, refused) = (counts.denied.values().sum::<u64>(), counts.refused.values().sum::<u64>());
    output::line(&format!("{title}: {} controls, {} ledgers", controls.len(), logs.len()));
    output::line(&format!(
        "{} calls permitted, {denied} denied, {refused} refused, {} held; {} acts of people; {} configurations at least",
        counts.allowed, counts.held, counts.acts_of_people, counts.configurations
    ));
    if let Some(out) = out {
        output::line(&format!("written to {}", printable(&out.display().to_string())));
    }
}
