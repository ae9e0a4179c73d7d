//! `vidimus policy`: what the policies say of a call, without making it.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, anyhow, bail};
use clap::{Args, Subcommand};
use serde_json::json;
use vidimus_core::call::{Action, Arguments, Call, Context, Target};
use vidimus_core::caller::{Chain, UnixMillis, User};
use vidimus_core::decision::Decision;
use vidimus_core::entity::{EntityId, EntityKind};
use vidimus_core::json::Json;
use vidimus_core::refusal::Code;
use vidimus_core::resource::Principal;
use vidimus_core::snapshot::Snapshot;

use crate::output::{self, Format};

/// Asks the policies.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  vidimus policy explain --resources DIR --principal Agent/finance/invoice-bot --resource Tool/finance/ledger/get_invoice")]
pub struct Policy {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Explain(Explain),
}

/// Decides a call that nobody makes, and says which policies and attribute values decided it.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  vidimus policy explain --resources examples/demo --principal Agent/finance/invoice-bot --resource Tool/finance/ledger/get_invoice
  vidimus policy explain --resources DIR --principal Agent/a/b --resource Tool/bank/payments/transfer --args '{\"amount\": 20000}' --depth 2
  vidimus policy explain --resources DIR --principal Agent/a/b --resource Model/platform/openai/gpt-5.2-mini -o json")]
struct Explain {
    /// Directory of resources.
    #[arg(long, env = "VIDIMUS_RESOURCES")]
    resources: PathBuf,
    /// Who would call: Agent/namespace/name or Service/namespace/name.
    #[arg(long)]
    principal: EntityId,
    /// What would be called: Tool/…, Prompt/…, Resource/…, MCPServer/…, Agent/…, Skill/… or Model/…; the kind gives the action.
    #[arg(long)]
    resource: EntityId,
    /// Arguments of a tool call, as a JSON object.
    #[arg(long)]
    args: Option<String>,
    /// The number of the hop in its chain, 1 for a call that nobody delegated.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..))]
    depth: u8,
    /// The person the principal would act for, as issuer#subject.
    #[arg(long)]
    user: Option<String>,
}

pub fn run(policy: &Policy, format: Format) -> anyhow::Result<ExitCode> {
    match &policy.command {
        Command::Explain(explain) => run_explain(explain, format),
    }
}

fn run_explain(explain: &Explain, format: Format) -> anyhow::Result<ExitCode> {
    let loaded = vidimus_registry::load(&explain.resources);
    if !loaded.rejections.is_empty() {
        let left_out = loaded.rejections.len();
        output::warning(&format!("{left_out} objects are malformed and left out; `vidimus check` tells why"));
    }
    let world = &*loaded.snapshot;
    let principal = principal(world, &explain.principal)?;
    let text = explain.args.clone().unwrap_or_else(|| "{}".to_owned());
    let arguments = Json::parse(text.as_bytes()).context("--args is not acceptable JSON")?;
    let user = explain.user.as_deref().map(user).transpose()?;
    let actor = explain.principal.clone();
    let chain = Chain {
        transaction: "explain".into(),
        started: UnixMillis(0),
        // The agents in between are not known; others than the caller stand for them.
        actors: (1..explain.depth)
            .map(|hop| EntityId::new(actor.kind, format!("explain/hop-{hop}")))
            .collect(),
    };
    let (action, target) = target(world, &explain.resource)?;
    let now = jiff::Timestamp::now().as_millisecond();
    let context = Context {
        method: "",
        user: user.as_ref(),
        chain: &chain,
        now: UnixMillis(now),
        source_ip: None,
        identity: "explain",
        arguments: if action == Action::InvokeTool { Arguments::Known(&arguments) } else { Arguments::None },
        tokens_estimated: 0,
        streaming: false,
        fan_out: 1,
    };
    let decision = world.authorize(&Call { principal: &principal, action, target, context });
    let facts: serde_json::Map<_, _> =
        decision.facts().iter().map(|(name, value)| (name.to_string(), json!(&**value))).collect();
    let code = decision.code();
    if format == Format::Json {
        output::json(&json!({
            "outcome": decision.outcome().as_str(), "code": code.map(Code::as_str), "action": action.as_str(),
            "policies": decision.policies(), "near": decision.near(), "facts": facts,
        }))?;
    } else {
        output::line(&format!("{} {} {}", explain.principal, action.as_str(), explain.resource));
        output::line(&format!(
            "decision  {}",
            output::verdict(decision.outcome().as_str(), decision.allowed())
        ));
        let row = |label: &str, text: String| {
            if !text.is_empty() {
                output::line(&format!("{label:<10}{text}"));
            }
        };
        row("code", code.map(|code| code.as_str().to_owned()).unwrap_or_default());
        row("policies", decision.policies().join(", "));
        row("near", decision.near().join(", "));
        for (name, value) in decision.facts() {
            row("fact", format!("{name} = {value}"));
        }
        row("next", code.map(|code| next(code, &decision)).unwrap_or_default().to_owned());
    }
    Ok(if decision.allowed() { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

/// What to do next, for somebody who has this explanation already.
fn next(code: Code, decision: &Decision) -> &'static str {
    match code {
        Code::NoPermit if decision.near().is_empty() => "Write a policy that permits it; none comes near.",
        Code::NoPermit => {
            "Compare the facts with the policies that came near; change the record, the call or the policy."
        }
        code => code.next(),
    }
}

fn principal(world: &Snapshot, id: &EntityId) -> anyhow::Result<Principal> {
    let found = match id.kind {
        EntityKind::Agent => world.agent(&id.id).cloned().map(Principal::Agent),
        EntityKind::Service => world.service(&id.id).cloned().map(Principal::Service),
        _ => bail!("--principal {id}: a principal is an Agent or a Service"),
    };
    found.ok_or_else(|| anyhow!("--principal {id}: no such principal is registered"))
}

fn user(text: &str) -> anyhow::Result<User> {
    let (issuer, subject) =
        text.rsplit_once('#').ok_or_else(|| anyhow!("--user {text}: write issuer#subject"))?;
    Ok(User { issuer: issuer.into(), subject: subject.into(), email: None })
}

/// The registered object `namespace/name`, and the rest of the id behind it.
fn split(id: &str) -> anyhow::Result<(&str, &str)> {
    let second = id.match_indices('/').nth(1);
    match second {
        Some((at, _)) => {
            let (key, rest) = id.split_at_checked(at).unwrap_or((id, ""));
            Ok((key, rest.trim_start_matches('/')))
        }
        None => bail!("--resource {id}: write namespace/object/name"),
    }
}

fn target<'a>(world: &'a Snapshot, id: &'a EntityId) -> anyhow::Result<(Action, Target<'a>)> {
    let unknown = |kind: &str, key: &str| anyhow!("--resource {id}: no {kind} {key} is registered");
    let server = |key: &str| world.mcp_server(key).ok_or_else(|| unknown("MCPServer", key));
    let agent = |key: &str| world.agent(key).ok_or_else(|| unknown("Agent", key));
    Ok(match id.kind {
        EntityKind::McpServer => (Action::ConnectServer, Target::Server(server(&id.id)?)),
        EntityKind::Agent => (Action::CallAgent, Target::Agent(agent(&id.id)?)),
        EntityKind::Tool => {
            let (key, name) = split(&id.id)?;
            (Action::InvokeTool, Target::Tool { server: server(key)?, name })
        }
        EntityKind::Prompt => {
            let (key, name) = split(&id.id)?;
            (Action::GetPrompt, Target::Prompt { server: server(key)?, name })
        }
        EntityKind::Resource => {
            let (key, uri) = split(&id.id)?;
            (Action::ReadResource, Target::Resource { server: server(key)?, uri })
        }
        EntityKind::Skill => {
            let (key, name) = split(&id.id)?;
            (Action::CallAgent, Target::Skill { agent: agent(key)?, name })
        }
        EntityKind::Model => {
            let (key, name) = split(&id.id)?;
            let provider = world.llm_provider(key).ok_or_else(|| unknown("LLMProvider", key))?;
            (Action::CallModel, Target::Model { provider, name })
        }
        EntityKind::Service | EntityKind::LlmProvider => {
            bail!("--resource {id}: nothing calls a {}", id.kind.as_str())
        }
    })
}
