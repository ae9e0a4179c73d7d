//! `vidimus policy reach`: who can call what, over all calls at once.

use std::process::ExitCode;

use clap::Args;
use vidimus_core::entity::EntityId;
use vidimus_query::explain;
use vidimus_query::reach::{self, ReachAnswer, ReachQuestion, Reached};

use super::state;
use crate::cmd;
use crate::output::{self, Format, printable};

/// How many names of a row are shown; -o json has all.
const SHOWN: usize = 4;

/// Says who can call something, or what somebody can call, from the policies and not from what was called.
///
/// Each row is of principals and resources with one answer: always, conditional (with what is left of the policies, in Cedar's
/// words), held (for the approval of a person), or with --never also never. Of a server, an agent or a provider it is all that can be called of it; "any other" is what
/// neither its record nor a policy names. The state that is asked is that of the running gateway with --admin, or of one that starts
/// with --resources and --data. Exits 0 when something of it can be called by somebody, 1 when nothing can, 2 when the question could
/// not be asked.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  vidimus policy reach --resources examples/demo \\
    --resource Tool/finance/ledger/transfer          # who can call it?
  vidimus policy reach --resources examples/demo \\
    --principal Agent/finance/invoice-bot            # what can it call?
  vidimus policy reach --resources DIR --resource MCPServer/bank/pay --never
  vidimus policy reach --resources DIR --resource Agent/a/b -o json | \\
    jq -r '.reached[] | select(.outcome == \"always\") | .principals[]'

Exit codes: 0 something can be called, 1 nothing can, 2 could not ask")]
pub(super) struct Reach {
    #[command(flatten)]
    source: state::Source,
    /// Who would call: Agent/namespace/name or ServiceIdentity/namespace/name; everybody where it is left out.
    #[arg(long, value_parser = explain::entity, required_unless_present = "resource")]
    principal: Option<EntityId>,
    /// What would be called: Tool/…, Prompt/…, Resource/…, Skill/…, Model/…, or all of an MCPServer/…, Agent/… or LLMProvider/…; everything where it is left out.
    #[arg(long, value_parser = explain::entity)]
    resource: Option<EntityId>,
    /// Only this Cedar action, such as invokeTool or callAgent.
    #[arg(long)]
    action: Option<String>,
    /// List also who can never call, and what refuses it.
    #[arg(long)]
    never: bool,
}

pub(super) fn run(asked: &Reach, format: Format) -> anyhow::Result<ExitCode> {
    let question = ReachQuestion {
        principal: asked.principal.clone(),
        resource: asked.resource.clone(),
        action: asked.action.clone(),
        never: asked.never,
    };
    let state = asked.source.read_and_warn()?;
    let answer = reach::reach(&state, &question).map_err(|error| match error {
        reach::NotReached::Misasked(misasked) => cmd::misasked(&misasked),
        reach::NotReached::Fault(fault) => fault.into(),
    })?;
    match format {
        Format::Json => output::json(&answer)?,
        Format::Table => print(&answer),
    }
    Ok(if answer.any() { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

fn print(answer: &ReachAnswer) {
    if !answer.reached.is_empty() {
        let headers = ["OUTCOME", "PRINCIPALS", "ACTION", "RESOURCES", "POLICIES", "WHEN"];
        let mut table = output::table(&headers, &[0, 2], output::width());
        for row in &answer.reached {
            // What is written in policies is shown as it is written.
            let cell = |text: &str| output::cell(&printable(text));
            table.add_row([
                output::verdict_cell(&row.outcome, row.outcome != "never"),
                cell(&some_of(&row.principals)),
                cell(&row.action),
                cell(&resources(row)),
                cell(&policies(row)),
                cell(&conditions(row)),
            ]);
        }
        table.lines().for_each(|line| output::line(line.trim_end()));
    }
    let counts = &answer.counts;
    output::line(&format!(
        "{} always, {} conditional, {} held, {} never  ({}, snapshot {})",
        counts.always, counts.conditional, counts.held, counts.never, answer.state.of, answer.state.snapshot
    ));
    if answer.without_endpoint > 0 {
        let agents = vidimus_query::check::counted(answer.without_endpoint, "agent");
        output::line(&format!("{agents} left out: without spec.endpoint nobody can call them"));
    }
}

fn some_of(names: &[String]) -> String {
    let mut text = names.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(", ");
    if names.len() > SHOWN {
        text.push_str(&format!(" and {} more", names.len() - SHOWN));
    }
    text
}

fn resources(row: &Reached) -> String {
    let others: Vec<String> = row
        .any_other_of
        .iter()
        .map(|whole| format!("any other {} of {whole}", reach::part(&row.action)))
        .collect();
    let parts = [some_of(&row.resources), some_of(&others)];
    parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(", ")
}

fn policies(row: &Reached) -> String {
    let mut all: Vec<&str> = Vec::new();
    let certain = row.permits.iter().chain(&row.refusals).chain(&row.holds).chain(&row.changes);
    all.extend(certain.map(String::as_str));
    let conditions = row.permits_when.iter().chain(&row.refusals_when).chain(&row.holds_when);
    let conditions = conditions.chain(&row.changes_when);
    all.extend(conditions.map(|when| &*when.policy));
    all.join(", ")
}

fn conditions(row: &Reached) -> String {
    let mut all: Vec<String> = Vec::new();
    all.extend(row.permits_when.iter().map(|when| format!("permit by {} when {}", when.policy, when.when)));
    all.extend(row.refusals_when.iter().map(|when| format!("forbid by {} when {}", when.policy, when.when)));
    all.extend(row.holds_when.iter().map(|when| format!("hold by {} when {}", when.policy, when.when)));
    all.extend(row.changes_when.iter().map(|when| format!("changed by {} when {}", when.policy, when.when)));
    all.extend(row.implied_by.iter().map(|by| format!("implied by {by}")));
    all.extend(row.limits.iter().map(|limit| format!("limit {limit}")));
    all.extend(row.reason.clone());
    all.join("; ")
}
