//! Scenes that are told: a file says what they need, what is done, and what is to become of it.

use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow, bail};
use serde::Deserialize;
use serde_json::Value;

use super::stage::{Setting, Stage};
use super::tour::{USER, note, ok, refused, show, step};
use crate::output;

/// For what was written to be in force.
const PATIENCE: Duration = Duration::from_secs(20);
/// In the words of a command: the call that was shown last.
const CALL: &str = "CALL";
/// Where pins go in the record of the example estate.
const PINNED: &str = "  toolSets: {finance-readonly:";

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Told {
    setting: Setting,
    steps: Vec<Step>,
}

/// One thing that is done, and shown.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Step {
    /// Words.
    Say(String),
    /// An official client calls.
    Call(Box<Call>),
    /// Somebody who operates the gateway types a command.
    Operate(Operate),
    /// A file beside what the demo runs on gets another text.
    Write(Write),
    /// The tools of finance/ledger are pinned in its record.
    Pin,
    /// What came to an upstream last.
    Reached(Reached),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Call {
    title: String,
    /// The subject of its token; the invoice bot's is for Grace.
    who: String,
    /// Part of `e2e/client`.
    client: String,
    path: String,
    flags: Vec<String>,
    /// The step of the client that is looked at.
    step: String,
    /// Whether it works for the client.
    works: bool,
    /// What the client is told, among other things; a line each.
    told: Vec<String>,
    /// What it is told nothing of.
    #[serde(default)]
    untold: Vec<String>,
    record: Record,
    /// What was written before is not in force yet: it is called until it is.
    #[serde(default)]
    eventually: bool,
}

/// The decision on record.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Record {
    /// Of a refusal that is no decision of a policy's there is none.
    #[serde(default)]
    method: String,
    outcome: String,
    /// A policy or code that it has to name.
    by: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Operate {
    words: Vec<String>,
    /// What it has to say.
    says: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Write {
    file: String,
    text: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reached {
    part: String,
    has: Vec<String>,
    lacks: Vec<String>,
    /// In plain words.
    say: String,
}

/// What a file says of a scene.
pub fn read(text: &str) -> anyhow::Result<(Setting, Vec<Step>)> {
    let Told { setting, steps } = serde_saphyr::from_str(text).map_err(|error| anyhow!("{error}"))?;
    Ok((setting, steps))
}

pub fn play(steps: &[Step], stage: &mut Stage) -> anyhow::Result<()> {
    for step in steps {
        match step {
            Step::Say(words) => output::line(&format!("\n  {}", words.trim().replace('\n', "\n  "))),
            Step::Call(call) => call.play(stage).with_context(|| call.title.clone())?,
            Step::Operate(operate) => operate.play(stage)?,
            Step::Write(Write { file, text }) => stage.write(file, text)?,
            Step::Pin => pin(stage)?,
            Step::Reached(reached) => reached.play(stage)?,
        }
    }
    Ok(())
}

impl Call {
    fn play(&self, stage: &mut Stage) -> anyhow::Result<()> {
        let until = Instant::now() + if self.eventually { PATIENCE } else { Duration::ZERO };
        let told = loop {
            match self.made(stage) {
                Ok(told) => break told,
                Err(error) if Instant::now() >= until => return Err(error),
                Err(_) => {}
            }
        };
        let Record { method, outcome, by } = &self.record;
        show(stage, &self.title, method, outcome, by.as_deref())?;
        match told.pointer("/error/message").and_then(Value::as_str) {
            Some(message) => note(&format!("client    {message}")),
            None => note(&format!("client    has {}", self.told.join(", "))),
        }
        Ok(())
    }

    /// Makes it, and holds what the client says to what it is to say.
    fn made(&self, stage: &Stage) -> anyhow::Result<Value> {
        let user = USER.filter(|_| self.who == "invoice-bot");
        let token = stage.token(&self.who, user)?;
        let flags: Vec<&str> = self.flags.iter().map(String::as_str).collect();
        let steps = stage.client(&self.client, &self.path, &token, &flags)?;
        if self.works {
            ok(&steps, &self.step)?;
        } else {
            refused(&steps, &self.step)?;
        }
        let connect = step(&steps, "connect").ok().filter(|connect| connect["ok"] == false);
        let told = connect.map_or_else(|| step(&steps, &self.step), Ok)?;
        holds(&told.to_string(), &self.told, &self.untold)?;
        Ok(told.clone())
    }
}

impl Operate {
    fn play(&self, stage: &Stage) -> anyhow::Result<()> {
        output::line("");
        let words: Vec<&str> = self
            .words
            .iter()
            .map(|word| if word == CALL { stage.call.as_str() } else { word.as_str() })
            .collect();
        let done = stage.typed(&words)?;
        let (out, err) = (String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
        for line in err.lines() {
            output::line(&format!("    {line}"));
        }
        holds(&format!("{out}{err}"), &self.says, &[]).with_context(|| format!("vidimus {}", words.join(" ")))
    }
}

impl Reached {
    fn play(&self, stage: &Stage) -> anyhow::Result<()> {
        let log = std::fs::read_to_string(stage.log(&self.part))?;
        let last = log.lines().last().unwrap_or_default();
        holds(last, &self.has, &self.lacks).with_context(|| format!("what reached {}", self.part))?;
        note(&self.say);
        Ok(())
    }
}

fn pin(stage: &Stage) -> anyhow::Result<()> {
    let done = stage.typed(&["pin", "finance/ledger"])?;
    let said = String::from_utf8(done.stdout)?;
    let pins = said.split_once("spec:\n").context("what vidimus pin says has no spec")?.1;
    let record = stage.resources.join("estate.yaml");
    let estate = std::fs::read_to_string(&record)?;
    if !estate.contains(PINNED) {
        bail!("finance/ledger has no line {PINNED:?}");
    }
    note("somebody has looked at it, and puts it into the record of the server");
    Ok(std::fs::write(&record, estate.replacen(PINNED, &format!("{pins}{PINNED}"), 1))?)
}

fn holds(text: &str, has: &[String], lacks: &[String]) -> anyhow::Result<()> {
    if let Some(missing) = has.iter().find(|part| !text.contains(part.as_str())) {
        bail!("{missing:?} was expected in {text}");
    }
    match lacks.iter().find(|part| text.contains(part.as_str())) {
        Some(there) => bail!("{there:?} was not expected in {text}"),
        None => Ok(()),
    }
}
