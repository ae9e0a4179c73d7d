//! `vidimus policy`: what the policies say of a call, without making it, and what they can speak of.

mod diff;
mod fmt;
mod init;
mod progress;
mod replay;
mod state;
mod suggest;
mod test;

use std::process::ExitCode;

use anyhow::anyhow;
use clap::{Args, Subcommand};
use vidimus_core::caller::User;
use vidimus_core::clock::Clock as _;
use vidimus_core::decide::schema;
use vidimus_core::entity::EntityId;
use vidimus_gateway::millis;
use vidimus_query::explain::{self, ExplainQuestion, Explanation};

use crate::clock::SystemClock;
use crate::output::{self, Format};

/// Asks the policies.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  vidimus policy explain --resources DIR --principal Agent/finance/invoice-bot \\
    --resource Tool/finance/ledger/get_invoice
  vidimus policy schema | less")]
pub struct Policy {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Explain(Box<Explain>),
    Replay(replay::Replay),
    Suggest(suggest::Suggest),
    Diff(diff::Diff),
    Fmt(fmt::Fmt),
    Init(init::Init),
    Test(test::Test),
    /// Prints the vocabulary of policies, a Cedar schema: actions, principals, resources, their attributes and the context. With -o
    /// json it is Cedar's JSON form of it.
    #[command(after_help = "Examples:
  vidimus policy schema > vidimus.cedarschema    # for an editor
  vidimus policy schema | grep -A3 'type Call'")]
    Schema,
}

/// Decides a call that nobody makes, and says which policies and attribute values decided it.
///
/// What the gateway refuses before it asks a policy is refused here too, with the same code. The state that is explained is that of
/// the running gateway with --admin, or of one that starts with --resources and --data; it is named in the answer, with what is
/// held, contested or closed in it. Exits 0 when the call would be allowed, 1 when it would be denied, 2 when the question could
/// not be asked.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  vidimus policy explain --resources examples/demo \\
    --principal Agent/finance/invoice-bot \\
    --resource Tool/finance/ledger/get_invoice
  vidimus policy explain --resources DIR --principal Agent/a/b \\
    --resource Tool/bank/payments/transfer --args '{\"amount\": 20000}' --depth 2
  vidimus policy explain --resources DIR --principal Agent/a/b \\
    --resource Model/platform/openai/gpt-5.2-mini -o json
  vidimus policy explain --resources DIR --admin 127.0.0.1:9901 \\
    --principal Agent/a/b --resource Tool/c/d/e    # as it decides now

Exit codes: 0 allow, 1 deny, 2 could not ask")]
struct Explain {
    #[command(flatten)]
    source: state::Source,
    /// Who would call: Agent/namespace/name or ServiceIdentity/namespace/name (Service/… in policies).
    #[arg(long, value_parser = explain::entity)]
    principal: EntityId,
    /// What would be called: Tool/…, Prompt/…, Resource/…, MCPServer/…, Agent/…, Skill/…, LLMProvider/… (its listing) or Model/…; the kind gives the action.
    #[arg(long, value_parser = explain::entity)]
    resource: EntityId,
    /// Arguments of a tool call, as a JSON object.
    #[arg(long, default_value = "{}", hide_default_value = true)]
    args: String,
    /// The number of the hop in its chain, 1 for a call that nobody delegated.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..))]
    depth: u8,
    /// The person the principal would act for, as issuer#subject.
    #[arg(long, value_parser = explain::user)]
    user: Option<User>,
}

pub fn run(policy: &Policy, format: Format) -> anyhow::Result<ExitCode> {
    match &policy.command {
        Command::Explain(explain) => run_explain(explain, format),
        Command::Replay(replay) => replay::run(replay, format),
        Command::Suggest(suggest) => suggest::run(suggest, format),
        Command::Diff(diff) => diff::run(diff, format),
        Command::Fmt(fmt) => fmt::run(fmt, format),
        Command::Init(init) => init::run(init, format),
        Command::Test(test) => test::run(test, format),
        Command::Schema => {
            match format {
                Format::Table => output::line(schema::TEXT.trim_end()),
                Format::Json => output::json(&schema::json().map_err(|fault| anyhow!(fault))?)?,
            }
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn run_explain(explain: &Explain, format: Format) -> anyhow::Result<ExitCode> {
    let question = ExplainQuestion {
        principal: explain.principal.clone(),
        resource: explain.resource.clone(),
        args: explain.args.clone(),
        depth: explain.depth,
        user: explain.user.clone(),
    };
    let state = explain.source.read()?;
    if let Some(left_out) = state.left_out() {
        output::warning(&format!("{left_out}; `vidimus check` tells why"));
    }
    state.remarks().iter().for_each(|remark| output::warning(remark));
    let now = millis(SystemClock.now().wall);
    let answer = explain::explain(&state, &question, now).map_err(|error| super::misasked(&error))?;
    match format {
        Format::Json => output::json(&answer)?,
        Format::Table => print(&question, &answer),
    }
    Ok(if answer.allowed() { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

/// Rows by the names that the members have as JSON.
fn print(question: &ExplainQuestion, answer: &Explanation) {
    let row = |label: &str, text: &str| {
        if !text.is_empty() {
            output::line(&format!("{label:<17}{text}"));
        }
    };
    output::line(&format!("{} {} {}", question.principal, answer.action, question.resource));
    row("outcome", &output::verdict(&answer.outcome, answer.allowed()));
    row("code", answer.code.as_deref().unwrap_or_default());
    row("reason", &answer.reason);
    let policies: Vec<String> = answer.policies.iter().map(|policy| answer.state.named(policy)).collect();
    row("policies", &policies.join(", "));
    row("closest_permits", &answer.closest_permits.join(", "));
    for (name, value) in &answer.facts {
        row("facts", &format!("{name} = {value}"));
    }
    for observed in &answer.observed {
        row("observed", &format!("{} would {} it", observed.policy, observed.outcome));
    }
    row("next", &answer.next);
    row("state", &format!("{}, snapshot {}", answer.state.of, answer.state.snapshot));
}
