//! `vidimus policy diff`: which calls change between two sets of resources.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{anyhow, ensure};
use clap::Args;
use vidimus_query::check::counted;
use vidimus_query::diff::{self, ChangedEdge, DiffAnswer, DiffQuestion, EdgeState, MOST};
use vidimus_query::prove::{self, NotAsked, SolverProgram};
use vidimus_query::replay::{self, By, Objects};
use vidimus_registry::configurations::Archive;

use super::proof;
use super::replay::{Calls, proposed};
use crate::cmd::as_of::AsOf;
use crate::cmd::progress::Progress;
use crate::cmd::{data_directory, quantity};
use crate::output::{self, Format};

/// Tells which edges (who, which action, on what) change between two sets of resources.
///
/// By enumeration: for every registered principal and every known resource it is found what is decided whatever the context says: always
/// allowed, always denied, or depending on it. What is on no edge is told of the objects: what people may do, who is taken for an agent,
/// for whom it acts, limits on its chains, labels. With --data by replay instead: the recorded calls are decided by both. Neither is a
/// proof over all that could be registered.
///
/// With --prove an SMT solver is asked as well, about each type of request (action, kind of principal, kind of resource), whether the two
/// sets of policies let the same pass, whatever is registered and whatever the context says. Where they do not, it gives a request that
/// tells them apart, which Cedar decides before it is shown. What Cedar does not know is not proven: policies that hold (@approval), change
/// (@redact and so on) or end chains, where only one set has them, policies that can fail, and what follows from the use of a part. Such
/// types are compared by enumeration, and it is said why. Limits of agents' records are the same in both and in no proof.
///
/// Exits 0 when nothing changes, 1 when something does or may, 2 when it could not be compared, or there is no solver.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  vidimus policy diff main/resources/ resources/
  vidimus policy diff old/ new/ --principal finance/invoice-bot -o json
  vidimus policy diff old/ new/ --data /var/lib/vidimus --since 7d
  vidimus policy diff old/ new/ --prove                       # cvc5 on PATH
  pip install cvc5==1.4.2 && \\
    vidimus policy diff old/ new/ --prove --solver docs/cvc5-smtlib.py
  vidimus policy diff old/ new/ --prove -o json \\
    | jq '.proof.types[] | select(.outcome != \"equivalent\")'

Exit codes: 0 nothing changes, 1 something does or may, 2 could not compare")]
pub(super) struct Diff {
    /// Directory of resources as they are.
    old: PathBuf,
    /// Directory of resources as they would be.
    new: PathBuf,
    #[command(flatten)]
    as_of: AsOf,
    /// Compare by the recorded calls of this data directory.
    #[arg(long)]
    data: Option<PathBuf>,
    #[command(flatten)]
    calls: Calls,
    /// Look at so many edges at most; not all were compared then.
    #[arg(long, default_value_t = MOST, conflicts_with = "data")]
    most: usize,
    /// Ask a solver whether the policies let the same pass, whatever is registered.
    #[arg(long, conflicts_with = "data")]
    prove: bool,
    /// The solver: a program that answers SMT-LIB as cvc5 does (it is run with --lang smt --tlimit-per=MILLISECONDS). docs/cvc5-smtlib.py
    /// makes one of PyPI's package cvc5.
    #[arg(long, env = "VIDIMUS_CVC5", value_name = "PROGRAM", default_value = "cvc5")]
    solver: PathBuf,
    /// How long the solver may take for one question; what it does not answer by then is not proven.
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = limit)]
    solver_time: Duration,
}

fn limit(text: &str) -> anyhow::Result<Duration> {
    let limit = quantity::duration(text)?;
    ensure!((1..=3600).contains(&limit.as_secs()), "write a time from 1s to 1h");
    Ok(limit)
}

pub(super) fn run(asked: &Diff, format: Format) -> anyhow::Result<ExitCode> {
    if let Some(data) = &asked.data {
        let (old, new) = (proposed(&asked.old, asked.as_of)?, proposed(&asked.new, asked.as_of)?);
        let ledger = data_directory::ledger(data)?;
        let archive = Archive::at(&data_directory::configurations(data));
        let by = |snapshot| By::Proposed(snapshot, Objects::InForce);
        let mut progress = Progress::begin("replayed");
        let question = asked.calls.question();
        let both = (&by(old), &by(new));
        let answer = replay::compare(&ledger, &archive, &question, both, &mut |read| progress.at(read))?;
        progress.end();
        return super::replay::show(&answer, format);
    }
    if asked.calls.since.is_some() || asked.calls.until.is_some() {
        anyhow::bail!("--since and --until are about recorded calls; give their --data");
    }
    let question = DiffQuestion {
        old: asked.old.clone(),
        new: asked.new.clone(),
        principal: asked.calls.principal.clone(),
        resource: asked.calls.resource.clone(),
        most: asked.most,
    };
    let (old, new) = (proposed(&asked.old, asked.as_of)?, proposed(&asked.new, asked.as_of)?);
    if let Some((flag, name)) = diff::unknown_names(&old, &new, &question).first() {
        anyhow::bail!("--{flag} '{name}': nothing of this name is registered in either directory");
    }
    let mut answer = diff::diff(&old, &new, &question);
    if asked.prove {
        let solver = SolverProgram { program: asked.solver.clone(), limit: asked.solver_time };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let proof = runtime.block_on(prove::prove(&old, &new, solver)).map_err(|error| match error {
            NotAsked::NoSolver { .. } => anyhow!("{error}; {INSTALL}"),
            other => other.into(),
        })?;
        prove::settle(&mut answer, proof);
    }
    match format {
        Format::Json => output::json(&answer)?,
        Format::Table => print(&answer),
    }
    if !answer.complete {
        output::warning(&format!(
            "only {} edges were looked at, there are more; --most looks at more, --principal and --resource at fewer",
            answer.edges
        ));
    }
    Ok(if answer.holds() { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

/// What to do where there is no solver.
const INSTALL: &str = "put cvc5 on PATH, or say where it is by --solver or VIDIMUS_CVC5; without one: pip install cvc5==1.4.2, and --solver \
                       docs/cvc5-smtlib.py, which is run by the python3 on PATH";

fn print(answer: &DiffAnswer) {
    for (object, how) in &answer.objects {
        let beside = answer.beside.get(object).map(|parts| format!(" ({})", parts.join(", ")));
        output::line(&format!("{how:<8} {object}{}", beside.unwrap_or_default()));
    }
    if !answer.changed.is_empty() {
        let headers = ["PRINCIPAL", "ACTION", "RESOURCE", "OLD", "NEW", "BY"];
        let mut table = output::table(&headers, &[0, 3, 4], output::width());
        for ChangedEdge { principal, action, resource, old, new } in &answer.changed {
            let state = |state: &EdgeState| match state.facts.is_empty() {
                true => state.outcome.clone(),
                false => format!("{} on {}", state.outcome, state.facts.join(", ")),
            };
            let by = if new.policies.is_empty() { &old.policies } else { &new.policies };
            let row = [principal, action, resource, &state(old), &state(new), &by.join(", ")];
            table.add_row(row.map(|text| output::cell(&output::printable(text))));
        }
        output::line(table.to_string().trim_end());
    }
    if let Some(proof) = &answer.proof {
        proof::print(proof);
    }
    let beside = match answer.beside.len() {
        0 => String::new(),
        objects => format!(", and {} what no edge shows", says(objects)),
    };
    let summary = format!(
        "{} compared by {}, {} may be decided otherwise{beside}",
        counted(answer.edges, "edge"),
        answer.by,
        answer.changed.len()
    );
    output::line(&output::verdict(&summary, answer.holds()));
}

fn says(objects: usize) -> String {
    let verb = if objects == 1 { "changes" } else { "change" };
    format!("{} {verb}", counted(objects, "object"))
}
