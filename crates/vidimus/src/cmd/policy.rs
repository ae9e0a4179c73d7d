//! `vidimus policy`: what the policies say of a call, without making it, and what they can speak of.

mod admin_client;
mod state;

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context as _, anyhow, bail, ensure};
use clap::{Args, Subcommand};
use serde_json::json;
use vidimus_core::call::{Action, Arguments, Ask, Call, Target};
use vidimus_core::caller::{Caller, Chain, Proven, UnixMillis, User};
use vidimus_core::decide::schema;
use vidimus_core::decision::{Decision, Outcome};
use vidimus_core::entity::{EntityId, EntityKind};
use vidimus_core::json::Json;
use vidimus_core::refusal::{Code, Refusal};
use vidimus_core::resource::{Identity, Kind, Principal};
use vidimus_core::snapshot::Snapshot;

use self::state::State;
use super::check;
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
    #[arg(long, value_parser = principal_id)]
    principal: EntityId,
    /// What would be called: Tool/…, Prompt/…, Resource/…, MCPServer/…, Agent/…, Skill/…, LLMProvider/… (its listing) or Model/…; the kind gives the action.
    #[arg(long)]
    resource: EntityId,
    /// Arguments of a tool call, as a JSON object.
    #[arg(long)]
    args: Option<String>,
    /// The number of the hop in its chain, 1 for a call that nobody delegated.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..))]
    depth: u8,
    /// The person the principal would act for, as issuer#subject.
    #[arg(long, value_parser = user)]
    user: Option<User>,
}

pub fn run(policy: &Policy, format: Format) -> anyhow::Result<ExitCode> {
    match &policy.command {
        Command::Explain(explain) => run_explain(explain, format),
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
    let text = explain.args.as_deref().unwrap_or("{}");
    let arguments = Json::parse(text.as_bytes()).context("--args is not acceptable JSON")?;
    ensure!(
        matches!(arguments, Json::Object(_)),
        "--args {text}: the arguments of a tool call are a JSON object, as in '{{\"amount\": 20000}}'"
    );
    let state = explain.source.read()?;
    if let Some(left_out) = check::left_out(&state.loaded) {
        output::warning(&format!("{left_out}; `vidimus check` tells why"));
    }
    state.warn();
    let principal = principal(&state, &explain.principal)?;
    let answer = ask(&state, &principal, explain, &arguments)?;
    answer.print(explain, &state, format)?;
    Ok(if answer.allowed { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

/// As the gateway goes: the rules of authentication and of the adapters first, then the policies.
fn ask(
    state: &State,
    principal: &Principal,
    explain: &Explain,
    arguments: &Json<'_>,
) -> anyhow::Result<Answer> {
    let world = &*state.loaded.snapshot;
    let action = action(&explain.resource)?;
    let target = target(state, &explain.resource)?;
    let user = explain.user.as_ref();
    let proven = can_prove(world, principal)
        .and_then(|()| user.map_or(Ok(()), |user| may_act_for(world, principal, user)));
    Ok(match proven.and(target) {
        Ok(target) => decide(world, principal, explain, arguments, action, target),
        Err(refusal) => Answer::refused(action, &refusal),
    })
}

/// Whether any identity of the principal proves it: one that others claim too proves nobody.
fn can_prove(world: &Snapshot, principal: &Principal) -> Result<(), Refusal> {
    let mut contested = Ok(());
    for identity in principal.identities() {
        let (name, claims) = match identity {
            Identity::Spiffe(id) => (id.to_string(), world.claims_on_spiffe(id)),
            Identity::Oidc { issuer, subject, .. } => {
                (format!("{issuer}#{subject}"), world.claims_on_oidc(issuer, subject))
            }
            Identity::ServiceAccount { namespace, name } => {
                (format!("{namespace}/{name}"), world.claims_on_service_account(namespace, name))
            }
        };
        if claims.is_empty() {
            return Ok(());
        }
        contested = Err(Snapshot::contested(&name, claims));
    }
    contested
}

/// As `identity` binds a token to a principal and its user.
fn may_act_for(world: &Snapshot, principal: &Principal, user: &User) -> Result<(), Refusal> {
    if let Some(registered) = world.principal_by_oidc(&user.issuer, &user.subject) {
        let message = format!("the user is itself a registered principal, {}", registered.entity());
        return Err(Refusal::new(Code::CredentialAmbiguous, message));
    }
    match world.claims_on_oidc(&user.issuer, &user.subject) {
        [] => {}
        claims => return Err(Snapshot::contested(&user.id(), claims)),
    }
    if principal.may_act_for(&user.issuer) {
        return Ok(());
    }
    let message = format!("{} may not act for people of {}", principal.entity(), user.issuer);
    Err(Refusal::new(Code::UserNotAllowed, message))
}

fn decide(
    world: &Snapshot,
    principal: &Principal,
    explain: &Explain,
    arguments: &Json<'_>,
    action: Action,
    target: Target<'_>,
) -> Answer {
    let actor = &explain.principal;
    let chain = Chain {
        transaction: "explain".into(),
        started: UnixMillis(0),
        // The agents in between are not known; others than the caller stand for them.
        actors: (1..explain.depth)
            .map(|hop| EntityId::new(actor.kind, format!("explain/hop-{hop}")))
            .collect(),
    };
    let proven = Proven {
        principal: principal.clone(),
        identity: "explain".into(),
        user: explain.user.clone(),
        delegated: None,
        expires: None,
    };
    let caller = Caller { proven: Arc::new(proven), chain: Arc::new(chain) };
    let arguments = if action == Action::InvokeTool { Arguments::Known(arguments) } else { Arguments::None };
    let ask = Ask { arguments, ..Ask::about("", action, target) };
    let now = UnixMillis(jiff::Timestamp::now().as_millisecond());
    Answer::decided(&world.authorize(&Call { caller: &caller, ask, now, source_ip: None, fan_out: 1 }))
}

/// What is printed: a decision, or a refusal that came before one.
#[derive(Debug, Default, PartialEq, Eq)]
struct Answer {
    allowed: bool,
    outcome: &'static str,
    action: &'static str,
    code: Option<&'static str>,
    reason: String,
    policies: Vec<String>,
    closest_permits: Vec<String>,
    facts: Vec<(String, String)>,
    next: &'static str,
}

impl Answer {
    fn decided(decision: &Decision<'_>) -> Self {
        let texts = |ids: &[Arc<str>]| ids.iter().map(ToString::to_string).collect();
        let code = decision.code();
        Self {
            allowed: matches!(decision.outcome(), Outcome::Allow | Outcome::AllowWithObligations),
            outcome: decision.outcome().as_str(),
            action: decision.call().ask.action.as_str(),
            code: code.map(Code::as_str),
            reason: String::new(),
            policies: texts(decision.policies()),
            closest_permits: texts(decision.closest_permits()),
            facts: decision
                .facts()
                .iter()
                .map(|(name, value)| (name.to_string(), value.to_string()))
                .collect(),
            next: code.map(|code| next(code, decision)).unwrap_or_default(),
        }
    }

    fn refused(action: Action, refusal: &Refusal) -> Self {
        Self {
            action: action.as_str(),
            outcome: "deny",
            code: Some(refusal.code.as_str()),
            reason: match &refusal.detail {
                Some(detail) => format!("{}; {detail}", refusal.message),
                None => refusal.message.to_string(),
            },
            next: refusal.code.next(),
            ..Self::default()
        }
    }

    fn print(&self, explain: &Explain, state: &State, format: Format) -> anyhow::Result<()> {
        if format == Format::Json {
            let facts: serde_json::Map<_, _> =
                self.facts.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
            return output::json(&json!({
                "outcome": self.outcome, "code": self.code, "action": self.action, "reason": self.reason,
                "policies": self.policies, "closest_permits": self.closest_permits, "facts": facts,
                "next": self.next, "state": state.shown(),
            }));
        }
        let row = |label: &str, text: &str| {
            if !text.is_empty() {
                output::line(&format!("{label:<10}{text}"));
            }
        };
        output::line(&format!("{} {} {}", explain.principal, self.action, explain.resource));
        row("decision", &output::verdict(self.outcome, self.allowed));
        row("code", self.code.unwrap_or_default());
        row("reason", &self.reason);
        let policies: Vec<String> = self.policies.iter().map(|policy| state.named(policy)).collect();
        row("policies", &policies.join(", "));
        row("closest", &self.closest_permits.join(", "));
        for (name, value) in &self.facts {
            row("fact", &format!("{name} = {value}"));
        }
        row("next", self.next);
        row("state", &state.text());
        Ok(())
    }
}

/// What to do next, for somebody who has this explanation already.
fn next(code: Code, decision: &Decision<'_>) -> &'static str {
    match code {
        Code::NoPermit if decision.closest_permits().is_empty() => {
            "Write a policy that permits it; none comes close."
        }
        Code::NoPermit => {
            "Compare the facts with the closest permits; change the record, the call or the policy."
        }
        code => code.next(),
    }
}

fn principal(state: &State, id: &EntityId) -> anyhow::Result<Principal> {
    let world = &*state.loaded.snapshot;
    let (found, kind) = match id.kind {
        EntityKind::Agent => (world.agent(&id.id).cloned().map(Principal::Agent), Kind::Agent),
        EntityKind::Service => {
            (world.service(&id.id).cloned().map(Principal::Service), Kind::ServiceIdentity)
        }
        _ => bail!("--principal {id}: a principal is an Agent or a Service"),
    };
    found.ok_or_else(|| {
        let refusal = world.absent(kind, &id.id, Code::PrincipalUnknown);
        let places =
            refusal.detail.map(|detail| format!("; {detail}: rename one of them")).unwrap_or_default();
        let held = state.held(kind, &id.id).map(|held| format!("; {held}")).unwrap_or_default();
        anyhow!("--principal {id}: {}{places}{held}", refusal.message)
    })
}

/// An object of kind `ServiceIdentity` is a `Service` in policies; both names are understood.
fn principal_id(text: &str) -> anyhow::Result<EntityId> {
    let id = match text.strip_prefix("ServiceIdentity/") {
        Some(id) => format!("Service/{id}").parse(),
        None => text.parse(),
    };
    id.map_err(|_| anyhow!("write Agent/namespace/name or ServiceIdentity/namespace/name"))
}

fn user(text: &str) -> anyhow::Result<User> {
    let (issuer, subject) = text.rsplit_once('#').ok_or_else(|| anyhow!("write issuer#subject"))?;
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

/// What calling such a resource is.
fn action(id: &EntityId) -> anyhow::Result<Action> {
    Ok(match id.kind {
        EntityKind::McpServer => Action::ConnectServer,
        EntityKind::Tool => Action::InvokeTool,
        EntityKind::Prompt => Action::GetPrompt,
        EntityKind::Resource => Action::ReadResource,
        EntityKind::Agent | EntityKind::Skill => Action::CallAgent,
        EntityKind::Model => Action::CallModel,
        EntityKind::LlmProvider => Action::ListModels,
        EntityKind::Service => bail!("--resource {id}: nothing calls a {}", id.kind.as_str()),
    })
}

/// What is called, or what the gateway's adapters say of it.
fn target<'a>(state: &'a State, id: &'a EntityId) -> anyhow::Result<Result<Target<'a>, Refusal>> {
    let world = &*state.loaded.snapshot;
    let unregistered = |kind, key: &str| {
        let refusal = world.absent(kind, key, Code::ResourceUnknown);
        match state.held(kind, key) {
            Some(held) => refusal.with_detail(held),
            None => refusal,
        }
    };
    let server = |key: &str| world.mcp_server(key).ok_or_else(|| unregistered(Kind::McpServer, key));
    let agent = |key: &str| {
        let agent = world.agent(key).ok_or_else(|| unregistered(Kind::Agent, key))?;
        match agent.endpoint {
            Some(_) => Ok(agent),
            None => Err(unknown(format!("{} has no endpoint, so it cannot be called", agent.id))),
        }
    };
    let provider = |key: &str| world.llm_provider(key).ok_or_else(|| unregistered(Kind::LlmProvider, key));
    let model = |key: &str, name: &'a str| {
        let provider = provider(key)?;
        match provider.model(name) {
            Some(_) => Ok(Target::Model { provider, name }),
            None => Err(unknown(format!("model {name:?} is not registered on LLMProvider {key}"))),
        }
    };
    let (key, name) = match id.kind {
        EntityKind::McpServer => return Ok(server(&id.id).map(Target::Server)),
        EntityKind::Agent => return Ok(agent(&id.id).map(Target::Agent)),
        EntityKind::LlmProvider => return Ok(provider(&id.id).map(Target::Provider)),
        _ => split(&id.id)?,
    };
    Ok(match id.kind {
        EntityKind::Prompt => server(key).map(|server| Target::Prompt { server, name }),
        EntityKind::Resource => server(key).map(|server| Target::Resource { server, uri: name }),
        EntityKind::Skill => agent(key).map(|agent| Target::Skill { agent, name }),
        EntityKind::Model => model(key, name),
        _ => server(key).map(|server| Target::Tool { server, name }),
    })
}

fn unknown(message: String) -> Refusal {
    Refusal::new(Code::ResourceUnknown, message)
}

#[cfg(test)]
mod tests;
