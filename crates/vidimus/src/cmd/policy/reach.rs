//! `vidimus policy reach`: who can call what, and who may operate what, over all calls and requests at once.

use std::process::ExitCode;

use clap::{ArgGroup, Args};
use vidimus_query::reach::{self, ReachAnswer, ReachQuestion, Reached, What, Who};

use super::state;
use crate::cmd;
use crate::output::{self, Format, printable};

/// From this width on, each has a column of its own.
const WIDE: u16 = 150;

/// How many names of a row are shown; -o json has all.
const SHOWN: usize = 4;

/// Says who can call something, or what somebody can call, from the policies and not from what was called; and who may approve, quarantine, grant or read.
///
/// Each row is of principals and resources with one answer: always, conditional (with what is left of the policies, in Cedar's
/// words), held (for the approval of a person), or with --never also never. Of a server, an agent or a provider it is all that can be called of it; "any other" is what
/// neither its record nor a policy names.
///
/// What people do is asked with an action of theirs (quarantine, lift, declassify, grant, revoke, approve, read, export), or with a User/… or UserGroup/… as
/// --principal. People are in no record, so those are listed whom policies tell apart: who is named, somebody of each group that is named and of no
/// other, and User/* for all others. Nobody approves what is done for himself, whatever policies say. The state that is asked is that of the running gateway with --admin, or of one that starts
/// with --resources and --data. Exits 0 when something of it can be called by somebody, 1 when nothing can (by people: of those who are listed), 2 when the question could
/// not be asked.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  vidimus policy reach --resources examples/demo \\
    --resource Tool/finance/ledger/transfer          # who can call it?
  vidimus policy reach --resources examples/demo \\
    --principal Agent/finance/invoice-bot            # what can it call?
  vidimus policy reach --resources DIR --resource MCPServer/bank/pay --never
  vidimus policy reach --resources DIR --action approve \\
    --resource Tool/finance/ledger/transfer          # who may?
  vidimus policy reach --resources DIR --group payers \\
    --principal User/https://login.example#alice     # what may she do?
  vidimus policy reach --resources DIR --resource Agent/a/b -o json | \\
    jq -r '.reached[] | select(.outcome == \"always\") | .principals[]'

Exit codes: 0 something can be called, 1 nothing can by those who are told of,
2 could not ask")]
#[command(group(ArgGroup::new("about").args(["principal", "resource", "action"]).required(true).multiple(true)))]
pub(super) struct Reach {
    #[command(flatten)]
    source: state::Source,
    /// Who: Agent/namespace/name or ServiceIdentity/namespace/name; of people User/issuer#subject or UserGroup/group; everybody where it is left out.
    #[arg(long)]
    principal: Option<Who>,
    /// A group that the token of the User/… names (may be repeated).
    #[arg(long = "group")]
    groups: Vec<String>,
    /// The e-mail address of the User/…; any, or none, where it is left out.
    #[arg(long)]
    email: Option<String>,
    /// What: Tool/…, Prompt/…, Resource/…, Skill/…, Model/…, or all of an MCPServer/…, Agent/… or LLMProvider/…; of what people do also Service/…, View/…, User/…, Identity/… or Chain/…; everything where it is left out.
    #[arg(long)]
    resource: Option<What>,
    /// Only this Cedar action, such as invokeTool, callAgent or approve.
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
        groups: asked.groups.clone(),
        email: asked.email.clone(),
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
    let width = output::width();
    if !answer.reached.is_empty() && width.is_some_and(|width| width < WIDE) {
        render(&answer.reached, width).lines().for_each(|line| output::line(line.trim_end()));
    } else if !answer.reached.is_empty() {
        let headers = ["OUTCOME", "PRINCIPALS", "ACTION", "RESOURCES", "POLICIES", "WHEN"];
        let mut table = output::table(&headers, &[0, 2], width);
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
        counts.always,
        counts.conditional,
        counts.held,
        counts.never,
        printable(&answer.state.of),
        answer.state.snapshot
    ));
    if answer.without_endpoint > 0 {
        let agents = vidimus_query::check::counted(answer.without_endpoint, "agent");
        output::line(&format!("{agents} left out: without spec.endpoint nobody can call them"));
    }
    if answer.in_several_groups {
        output::line(
            "not told of: who is in several groups that policies name, or is named and in one; ask by --principal User/… --group …",
        );
    }
}

/// Where there is no room for six columns: what a row says below each other, no name of it broken.
fn render(rows: &[Reached], width: Option<u16>) -> String {
    let headers = ["OUTCOME", "PRINCIPALS, ACTION, RESOURCES, POLICIES, WHEN"];
    let mut table = output::table(&headers, &[0], width);
    for row in rows {
        let lines =
            [some_of(&row.principals), row.action.clone(), resources(row), policies(row), conditions(row)];
        let lines: Vec<String> =
            lines.iter().filter(|line| !line.is_empty()).map(|line| printable(line).into_owned()).collect();
        let outcome = output::verdict_cell(&row.outcome, row.outcome != "never");
        table.add_row([outcome, output::cell(&lines.join("\n"))]);
    }
    table.to_string()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_narrow_terminal_breaks_no_name() {
        let row = Reached {
            outcome: "conditional".into(),
            principals: vec!["Agent/finance/invoice-bot".into()],
            action: "invokeTool".into(),
            resources: vec!["Tool/finance/ledger/get_invoice".into()],
            permits: vec!["finance/small-transfers".into()],
            ..Reached::default()
        };
        let text = render(&[row], Some(80));
        for whole in
            ["Agent/finance/invoice-bot", "Tool/finance/ledger/get_invoice", "finance/small-transfers"]
        {
            assert!(text.contains(whole), "{text}");
        }
        assert!(text.lines().all(|line| line.trim_end().chars().count() <= 80), "{text}");
    }
}
