//! Policies that speak of what a server with members has. They never match: what is called by it is decided as its member's own (ADR 82). Whoever writes
//! such a forbid believes that it forbids.

use std::collections::BTreeMap;
use std::sync::Arc;

use cedar_policy::{Effect, EntityUid};

use super::compile::Compiled;
use super::registered::Registered;
use super::reject;
use crate::call::Action;
use crate::decide::statement::Statement;
use crate::resource::{McpServer, Members, Policy, Rejection};

/// What calls of a member are decided as, and never as something of the server by which they come.
const OF_PARTS: [Action; 3] = [Action::InvokeTool, Action::ReadResource, Action::GetPrompt];

/// What is to be said of such names in a policy: each once.
pub(super) fn remarks(policy: &Policy, compiled: &Compiled, registered: &Registered) -> Vec<Rejection> {
    let mut found: BTreeMap<&EntityUid, Rejection> = BTreeMap::new();
    for statement in &compiled.statements {
        for literal in &statement.literals {
            if let Some((reason, fix)) = said_of(statement, literal, registered) {
                found.entry(literal).or_insert_with(|| reject::of_a_front(policy, literal, reason, fix));
            }
        }
    }
    found.into_values().collect()
}

/// Why a policy does not do by a name what it seems to, and what to write.
fn said_of(
    statement: &Arc<Statement>,
    literal: &EntityUid,
    registered: &Registered,
) -> Option<(String, String)> {
    let (of, id) = (literal.type_name().basename(), literal.id().unescaped());
    let does = if statement.effect == Effect::Forbid { "forbids" } else { "permits" };
    match of {
        "MCPServer" => {
            let (front, members) = front(registered, id)?;
            let of_parts = OF_PARTS.into_iter().any(|action| statement.actions.contain(action));
            let mut keys = statement.scope.iter().filter_map(|key| key.named());
            let is_itself = keys.any(|(_, name, itself)| itself && name == id);
            // To forbid all is to forbid that anything comes by it; and what is about the server alone means what it has.
            let holds = statement.effect == Effect::Forbid || is_itself;
            if !of_parts || holds && statement.actions.contain(Action::ConnectServer) {
                return None;
            }
            let reason = format!(
                "{} has members, and what is called by it is decided as theirs, so this {does} nothing of what they have",
                front.id.id
            );
            let servers: Vec<&str> = members.all.iter().map(|member| &*member.server).collect();
            let servers = servers.join(", ");
            let fix = match statement.effect {
                Effect::Forbid => format!(
                    "name the members ({servers}); or, for nothing to come by it, action == Action::\"connectServer\" and resource == {literal}"
                ),
                Effect::Permit => format!("name the members ({servers})"),
            };
            Some((reason, fix))
        }
        "Tool" | "Prompt" | "Resource" => {
            let (at, _) = id.match_indices('/').nth(1)?;
            let (front, members) = front(registered, id.get(..at)?)?;
            let reason = format!(
                "{} has members, and a call by it is decided as theirs, so this {does} nothing",
                front.id.id
            );
            let name = id.get(at + 1..)?;
            let own = if of == "Resource" { members.of_uri(name) } else { members.of_name(name) };
            let fix = match own {
                Some((member, own)) => format!("write {of}::\"{}/{own}\"", member.server),
                None => "write the name that it has at the member".to_owned(),
            };
            Some((reason, fix))
        }
        _ => None,
    }
}

/// A server with members.
fn front<'a>(registered: &'a Registered, key: &str) -> Option<(&'a McpServer, &'a Members)> {
    let server: &McpServer = registered.mcp_servers.get(key)?;
    Some((server, server.members.as_ref()?))
}
