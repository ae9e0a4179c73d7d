//! What objects of files name and nobody has registered: a call by it is refused when it comes, so whoever checks the files is told before.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Snapshot, reject};
use crate::resource::{McpServer, Object, Rejection, nearest};

impl Snapshot {
    /// The agents, members and tools that servers name and that are not there, or are nothing that can be called so.
    pub fn named_and_not_there(&self) -> Vec<Rejection> {
        let found = self.objects().iter().flat_map(|object| match object {
            Object::McpServer(server) => {
                let named = self.agent_of(server).into_iter().chain(self.members_of(server));
                named.chain(tools_of(server)).collect::<Vec<_>>()
            }
            _ => Vec::new(),
        });
        found.collect()
    }

    fn agent_of(&self, server: &McpServer) -> Option<Rejection> {
        let name = &*server.endpoint.agent.as_ref()?.agent;
        let reason = match self.agent(name) {
            None => format!("no Agent {name} is registered"),
            Some(agent) if agent.endpoint.is_none() => {
                format!("the Agent {name} has no endpoint, so nobody can call it")
            }
            Some(_) => return None,
        };
        Some(reject::named_and_not_there(server, "spec.agent.name", name, reason))
    }

    fn members_of<'s>(&'s self, server: &'s McpServer) -> impl Iterator<Item = Rejection> + 's {
        let all = server.members.iter().flat_map(|members| members.all.iter()).enumerate();
        all.filter_map(move |(place, member)| {
            let name = &*member.server;
            let reason = match self.mcp_server(name) {
                None => format!("no MCPServer {name} is registered"),
                Some(other) if other.members.is_some() => {
                    format!("the MCPServer {name} has members itself, and is no member")
                }
                Some(_) => return None,
            };
            let field = format!("spec.members[{place}].server");
            Some(reject::named_and_not_there(server, &field, name, reason))
        })
    }
}

/// The tools of which a record says something, and that it does not have although it has all that there are.
fn tools_of(server: &McpServer) -> Vec<Rejection> {
    let Some(all) = all_tools(server) else { return Vec::new() };
    let said = server.tools.keys().map(|tool| (format!("spec.tools.{tool}"), tool));
    let in_sets = server.tool_sets.iter().flat_map(|(set, tools)| {
        let field = format!("spec.toolSets.{set}");
        tools.iter().map(move |tool| (field.clone(), tool))
    });
    let unknown = said.chain(in_sets).filter(|(_, tool)| !all.contains(&&***tool));
    let told = unknown.map(|(field, tool)| {
        let near = nearest(all.iter().copied(), tool).map(|near| format!("; it has {near}"));
        let reason = format!("the server has no tool of this name{}", near.unwrap_or_default());
        reject::named_and_not_there(server, &field, tool, reason)
    });
    told.collect()
}

/// All tools of a server, where its record has them.
fn all_tools(server: &McpServer) -> Option<Vec<&str>> {
    fn names<T>(tools: &BTreeMap<Arc<str>, T>) -> Vec<&str> {
        tools.keys().map(|name| &**name).collect()
    }
    let endpoint = &server.endpoint;
    let of_grpc = endpoint.grpc_tools.as_ref().map(|grpc| names(&grpc.tools));
    let of_agent = || endpoint.agent.as_ref().map(|agent| names(&agent.tools));
    let of_api = || endpoint.openapi.as_ref().map(|api| names(&api.tools));
    of_grpc.or_else(of_agent).or_else(of_api)
}
