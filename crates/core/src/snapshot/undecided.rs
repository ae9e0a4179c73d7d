//! What policies name of a registered server and nothing is ever decided as: tools that it cannot have, and what a server with members stands
//! for (ADR 82). Such a policy never matches by it, and a forbid of the name that every client shows holds nobody.

use cedar_policy::{Effect, EntityUid};

use super::nowhere::{all_tools, lacks_tool, meant, some_names};
use super::registered::Registered;
use crate::call::{Action, Target};
use crate::decide::statement::Statement;
use crate::resource::policy::Scope;
use crate::resource::{McpServer, Members, Policy};

/// Why nothing is decided as what a policy names, and what to write.
#[derive(Debug)]
pub(super) struct Undecided {
    pub(super) reason: String,
    pub(super) fix: String,
}

/// That nothing is decided as `literal` by what `statement` is about; `None` where something may be, or where no server of the name is registered.
pub(super) fn of(
    policy: &Policy,
    statement: &Statement,
    literal: &EntityUid,
    registered: &Registered,
) -> Option<Undecided> {
    let (of, id) = (literal.type_name().basename(), literal.id().unescaped());
    // What a record of another namespace says is for those who may know all of them.
    let is_told =
        |server: &McpServer| policy.scope == Scope::Cluster || server.meta.namespace == policy.meta.namespace;
    let (server, name) = match registered.target(of, id)? {
        Target::Server(server) => return of_front(statement, server, is_told(server)),
        Target::Tool { server, name } | Target::Prompt { server, name } => (server, name),
        Target::Resource { server, uri } => (server, uri),
        _ => return None,
    };
    let is_told = is_told(server);
    match &server.members {
        Some(members) => Some(of_member(server, members, (of, name), is_told)),
        None if of == "Tool" => of_no_tool(server, name, is_told),
        None => None,
    }
}

/// What is called at a server with members is decided as theirs; of itself it is only connected to.
fn of_front(statement: &Statement, server: &McpServer, is_told: bool) -> Option<Undecided> {
    let members = server.members.as_ref()?;
    let (key, actions) = (server.meta.key(), statement.actions);
    let is_of_calls = Action::ALL.into_iter().any(|action| actions.contain(action));
    let of_more = Action::ALL.into_iter().any(|one| one != Action::ConnectServer && actions.contain(one));
    let named = || {
        if !is_told {
            return "name the members by their own records: MCPServer::\"namespace/server\"".to_owned();
        }
        let all = members.all.iter().map(|member| format!("MCPServer::\"{}\"", member.server));
        let all: Vec<String> = all.collect();
        let all: Vec<&str> = all.iter().map(String::as_str).collect();
        format!("name the members: {}", some_names(&all))
    };
    match statement.effect {
        Effect::Permit if of_more => Some(Undecided {
            reason: format!(
                "{key} has members, and permits nothing of theirs: what is called there is decided as of the member that has it"
            ),
            fix: named(),
        }),
        Effect::Forbid if is_of_calls && !actions.contain(Action::ConnectServer) => Some(Undecided {
            reason: format!(
                "{key} has members, and what is called there is decided as of the member that has it, so the policy never matches by it"
            ),
            fix: format!(
                "add Action::\"connectServer\" to its actions, which keeps callers from all that comes by {key}, or {}",
                named()
            ),
        }),
        Effect::Permit | Effect::Forbid => None,
    }
}

/// What a client shows as a server's own that stands for others.
fn of_member(server: &McpServer, members: &Members, (of, name): (&str, &str), is_told: bool) -> Undecided {
    let key = server.meta.key();
    // Members' names have neither, so the first one ends them.
    let between = if of == "Resource" { "+" } else { "__" };
    let named = name.split_once(between).and_then(|(member, own)| Some((members.named(member)?, own)));
    let named = named.or_else(|| Some((members.all.first()?, name)));
    let fix = match named.filter(|_| is_told) {
        Some((member, own)) => format!("write {of}::\"{}/{own}\"", member.server),
        None => format!("name it as its member has it: {of}::\"namespace/server/name\""),
    };
    let reason = format!(
        "{key} has members, and what it shows is decided as of the member that has it, so the policy never matches by it"
    );
    Undecided { reason, fix }
}

/// A tool that a server cannot have: its record has all that it has.
fn of_no_tool(server: &McpServer, name: &str, is_told: bool) -> Option<Undecided> {
    if !lacks_tool(server, name) {
        return None;
    }
    let (key, all) = (server.meta.key(), all_tools(server)?);
    let fix = match meant(&all, name).filter(|_| is_told) {
        Some(meant) => format!("write Tool::\"{key}/{meant}\""),
        None if is_told => format!("name one of its tools: {}", some_names(&all)),
        None => "correct the name".to_owned(),
    };
    let reason = format!(
        "MCPServer {key} has no tool of this name, and its record has all that it has, so the policy never matches by it"
    );
    Some(Undecided { reason, fix })
}
