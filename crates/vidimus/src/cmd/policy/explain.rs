//! `vidimus policy explain`: what is decided of a call, and why.

use std::process::ExitCode;

use anyhow::anyhow;
use clap::Args;
use vidimus_core::caller::User;
use vidimus_core::clock::Clock as _;
use vidimus_core::entity::EntityId;
use vidimus_core::obligation::Demanded;
use vidimus_gateway::millis;
use vidimus_query::explain::{
    self, ExplainQuestion, Explanation, NotExplained, RecordedQuestion, WouldChange,
};

use super::state;
use crate::clock::SystemClock;
use crate::cmd;
use crate::output::{self, Format, printable};

/// Decides a call, and says which policies and attribute values decided it, and what would turn the outcome.
///
/// The call is one that nobody makes (--principal, --resource), or one that was made (--call): that is decided by what is configured
/// now, from what its record says, and what the record lacks is said. What the gateway refuses before it asks a policy is refused here
/// too, with the same code. The state that is explained is that of the running gateway with --admin, or of one that starts with
/// --resources and --data; it is named in the answer, with what is held, contested or closed in it. Exits 0 when the call would be
/// allowed, 1 when it would be denied or that is not known, 2 when the question could not be asked.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  vidimus policy explain --resources examples/demo \\
    --principal Agent/finance/invoice-bot \\
    --resource Tool/finance/ledger/get_invoice
  vidimus policy explain --resources DIR --principal Agent/a/b \\
    --resource Tool/bank/payments/transfer --args '{\"amount\": 20000}' --depth 2
  vidimus policy explain --resources DIR --principal Agent/a/b \\
    --resource Model/platform/openai/gpt-5.2-mini -o json
  vidimus policy explain --admin 127.0.0.1:9901 \\
    --principal Agent/a/b --resource Tool/c/d/e    # as it decides now
  vidimus policy explain --resources DIR --data DIR --call ID    # one made

Exit codes: 0 allow, 1 deny (or unknown), 2 could not ask")]
pub(super) struct Explain {
    #[command(flatten)]
    source: state::Source,
    /// A call that was made, by its id: header vidimus-call of its answer, or the last column of `audit search`. Its record is in the
    /// ledger of --data.
    #[arg(long, value_name = "ID", conflicts_with_all = ["principal", "resource", "args", "depth", "user", "instance"])]
    call: Option<String>,
    /// Who would call: Agent/namespace/name or ServiceIdentity/namespace/name (Service/… in policies).
    #[arg(long, value_parser = explain::entity, required_unless_present = "call")]
    principal: Option<EntityId>,
    /// What would be called: Tool/…, Prompt/…, Resource/…, MCPServer/…, Agent/…, Skill/…, LLMProvider/… (its listing) or Model/…; the kind gives the action.
    #[arg(long, value_parser = explain::entity, required_unless_present = "call")]
    resource: Option<EntityId>,
    /// Arguments of a tool call, as a JSON object.
    #[arg(long, default_value = "{}", hide_default_value = true)]
    args: String,
    /// The number of the hop in its chain, 1 for a call that nobody delegated.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..))]
    depth: u8,
    /// The person the principal would act for, as issuer#subject.
    #[arg(long, value_parser = explain::user)]
    user: Option<User>,
    /// Which copy of the principal would call: the UID of its pod.
    #[arg(long, value_name = "UID")]
    instance: Option<String>,
}

pub(super) fn run(asked: &Explain, format: Format) -> anyhow::Result<ExitCode> {
    let state = asked.source.read_and_warn()?;
    let answer = match (&asked.call, &asked.principal, &asked.resource) {
        (Some(call), ..) => {
            let question = RecordedQuestion { call: call.clone() };
            let (ledger, lookup) = (asked.source.ledger()?, asked.source.lookup()?);
            let explained = explain::recorded_by(&*lookup, &state, &ledger, &question);
            explained.map_err(|error| match error {
                NotExplained::Misasked(misasked) => cmd::misasked(&misasked),
                other => other.into(),
            })?
        }
        (None, Some(principal), Some(resource)) => {
            let question = ExplainQuestion {
                principal: principal.clone(),
                resource: resource.clone(),
                args: asked.args.clone(),
                depth: asked.depth,
                user: asked.user.clone(),
                instance: asked.instance.clone(),
                limits: Default::default(),
                guarded: Vec::new(),
            };
            let now = millis(SystemClock.now().wall);
            explain::explain(&state, &question, now).map_err(|error| cmd::misasked(&error))?
        }
        // The command line is not understood without them.
        _ => return Err(anyhow!("give --principal and --resource, or --call")),
    };
    match format {
        Format::Json => output::json(&answer)?,
        Format::Table => print(asked, &answer),
    }
    Ok(if answer.allowed() { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

/// Rows by the names that the members have as JSON.
fn print(asked: &Explain, answer: &Explanation) {
    // Values of facts come from callers.
    let row = |label: &str, text: &str| {
        if !text.is_empty() {
            output::line(&format!("{label:<17}{}", printable(text)));
        }
    };
    match (&answer.recorded, &asked.principal, &asked.resource) {
        (Some(recorded), ..) => {
            let (principal, resource) = (printable(&recorded.principal), printable(&recorded.resource));
            output::line(&format!("{principal} {} {resource}", answer.action));
        }
        (None, Some(principal), Some(resource)) => {
            output::line(&format!("{principal} {} {resource}", answer.action));
        }
        _ => {}
    }
    output::line(&format!("{:<17}{}", "outcome", output::verdict(&answer.outcome, answer.allowed())));
    row("resource", answer.resource.as_deref().unwrap_or_default());
    row("code", answer.code.as_deref().unwrap_or_default());
    row("would_refuse", answer.would_refuse.as_deref().unwrap_or_default());
    let copy = answer.recorded.as_ref().and_then(|recorded| recorded.instance.as_ref());
    row("instance", &copy.map(ToString::to_string).unwrap_or_default());
    row("reason", &answer.reason);
    let policies: Vec<String> = answer.policies.iter().map(|policy| answer.state.named(policy)).collect();
    row("policies", &policies.join(", "));
    row("closest_permits", &answer.closest_permits.join(", "));
    for (name, value) in &answer.facts {
        row("facts", &format!("{name} = {value}"));
    }
    for Demanded { change, policy, value } in &answer.obligations {
        row("obligations", &format!("@{change}(\"{value}\") by {}", answer.state.named(policy)));
    }
    for limit in &answer.counts_for {
        row("counts_for", limit);
    }
    for observed in &answer.observed {
        row("observed", &format!("{} would {} it", observed.policy, observed.outcome));
    }
    for unseen in &answer.not_looked_at {
        row("not_looked_at", unseen);
    }
    row("next", &answer.next);
    for would in &answer.would_change {
        row("would_change", &changed(would));
    }
    if let Some(recorded) = &answer.recorded {
        let code = recorded.code.as_deref().map(|code| format!(" ({code})")).unwrap_or_default();
        let by = if recorded.policies.is_empty() {
            String::new()
        } else {
            format!(" by {}", recorded.policies.join(", "))
        };
        row(
            "recorded",
            &format!("{}{code}{by} at {}, snapshot {}", recorded.outcome, recorded.time, recorded.snapshot),
        );
        row("lacks", &recorded.lacks.join(", "));
    }
    row("state", &format!("{}, snapshot {}", answer.state.of, answer.state.snapshot));
}

/// `allow with context.numbers["/amount"] = 10000 (now 20000), by finance/small-transfers`
fn changed(would: &WouldChange) -> String {
    let facts: Vec<String> = would
        .facts
        .iter()
        .map(|fact| match &fact.from {
            Some(from) => format!("{} = {} (now {from})", fact.fact, fact.to),
            None => format!("{} = {}", fact.fact, fact.to),
        })
        .collect();
    let by =
        if would.policies.is_empty() { String::new() } else { format!(", by {}", would.policies.join(", ")) };
    format!("{} with {}{by}", would.outcome, facts.join(" and "))
}
