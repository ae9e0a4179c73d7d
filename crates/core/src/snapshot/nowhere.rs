//! What objects of files name and nobody has registered: a call by it is refused when it comes, so whoever checks the files is told before.

use super::{Snapshot, reject};
use crate::resource::{McpServer, Object, Rejection};

impl Snapshot {
    /// The agents and members that servers name and that are not there, or are nothing that can be called so.
    pub fn named_and_not_there(&self) -> Vec<Rejection> {
        let found = self.objects().iter().flat_map(|object| match object {
            Object::McpServer(server) => {
                self.agent_of(server).into_iter().chain(self.members_of(server)).collect::<Vec<_>>()
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
