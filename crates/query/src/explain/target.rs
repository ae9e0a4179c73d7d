//! What would be called, as the gateway's adapters find it.

use std::sync::Arc;

use vidimus_core::call::{Action, Target};
use vidimus_core::entity::{EntityId, EntityKind};
use vidimus_core::refusal::{Code, Refusal};
use vidimus_core::resource::{Kind, McpServer};
use vidimus_core::snapshot::Snapshot;

use crate::Misasked;
use crate::state::State;

/// What calling such a resource is.
pub(crate) fn action(id: &EntityId) -> Result<Action, Misasked> {
    Ok(match id.kind {
        EntityKind::McpServer => Action::ConnectServer,
        EntityKind::Tool => Action::InvokeTool,
        EntityKind::Prompt => Action::GetPrompt,
        EntityKind::Resource => Action::ReadResource,
        EntityKind::Agent | EntityKind::Skill => Action::CallAgent,
        EntityKind::Model => Action::CallModel,
        EntityKind::LlmProvider => Action::ListModels,
        EntityKind::Service => {
            return Err(Misasked::new("resource", id, format!("nothing calls a {}", id.kind.as_str())));
        }
    })
}

/// The registered object `namespace/name`, and the rest of the id behind it.
fn split(id: &EntityId) -> Result<(&str, &str), Misasked> {
    let second = id.id.match_indices('/').nth(1);
    match second {
        Some((at, _)) => {
            let (key, rest) = id.id.split_at_checked(at).unwrap_or((&id.id, ""));
            Ok((key, rest.trim_start_matches('/')))
        }
        None => Err(Misasked::new("resource", id, form(id.kind))),
    }
}

/// What the id of a part of something is.
const fn form(kind: EntityKind) -> &'static str {
    match kind {
        EntityKind::Prompt => "the id of a Prompt is namespace/server/prompt, as in finance/ledger/summary",
        EntityKind::Resource => {
            "the id of a Resource is namespace/server/URI, as in finance/ledger/file:///a"
        }
        EntityKind::Skill => "the id of a Skill is namespace/agent/skill, as in finance/echo/repeat",
        EntityKind::Model => "the id of a Model is namespace/provider/model, as in platform/openai/gpt-5.2",
        _ => "the id of a Tool is namespace/server/tool, as in finance/ledger/get_invoice",
    }
}

/// The server with members at which something would be called, and what of which member that is; `None` of what is called at no such server.
pub(crate) fn followed<'a>(
    world: &'a Snapshot,
    id: &EntityId,
) -> Option<(&'a Arc<McpServer>, Result<EntityId, Refusal>)> {
    if !matches!(id.kind, EntityKind::Tool | EntityKind::Prompt | EntityKind::Resource) {
        return None;
    }
    let (key, full) = split(id).ok()?;
    let front = world.mcp_server(key)?;
    let members = front.members.as_ref()?;
    let found = match id.kind {
        EntityKind::Resource => members.of_uri(full),
        _ => members.of_name(full).map(|(member, own)| (member, own.into())),
    };
    let own = match found {
        Some((member, _)) if world.mcp_server(&member.server).is_some_and(|own| own.members.is_some()) => {
            Err(unknown(format!("the member {:?} has members itself, so it cannot be one", &*member.name)))
        }
        Some((member, own)) => Ok(EntityId::new(id.kind, format!("{}/{own}", member.server))),
        None => Err(unknown(format!(
            "{} has members, and this names none of them; a tool or prompt is MEMBER__NAME there, and a resource MEMBER+URI (ui://MEMBER+… of one that begins so)",
            front.id
        ))),
    };
    Some((front, own))
}

/// What is called, or what the gateway's adapters say of it.
pub(crate) fn target<'a>(
    state: &'a State,
    id: &'a EntityId,
) -> Result<Result<Target<'a>, Refusal>, Misasked> {
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
        _ => split(id)?,
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
mod tests {
    use super::*;

    #[test]
    fn an_id_that_is_too_short_is_told_what_it_is() {
        for (kind, says) in [
            (EntityKind::Tool, "namespace/server/tool"),
            (EntityKind::Skill, "namespace/agent/skill"),
            (EntityKind::Model, "namespace/provider/model"),
        ] {
            let told = split(&EntityId { kind, id: "ledger".into() }).expect_err("too short").to_string();
            assert!(told.contains(says), "{told}");
        }
    }
}
