//! Who looks at a listing: everything that decides what of it is shown, owned, for streams that outlive the way of their call.

use std::net::IpAddr;
use std::sync::Arc;

use vidimus_core::call::{Action, Arguments, Call, Context, Target};
use vidimus_core::caller::{Caller, UnixMillis};
use vidimus_core::resource::McpServer;
use vidimus_core::snapshot::Snapshot;

use crate::protocol::Listing;
use crate::protocol::events::Shows;

#[derive(Debug)]
pub(super) struct Viewer {
    world: Arc<Snapshot>,
    server: Arc<McpServer>,
    caller: Caller,
    now: UnixMillis,
    source_ip: Option<IpAddr>,
    fan_out: i64,
}

impl Viewer {
    pub fn new(world: &Arc<Snapshot>, server: &Arc<McpServer>, caller: &Caller, call: &Call<'_>) -> Self {
        Self {
            world: world.clone(),
            server: server.clone(),
            caller: caller.clone(),
            now: call.context.now,
            source_ip: call.context.source_ip,
            fan_out: call.context.fan_out,
        }
    }
}

impl Shows for Viewer {
    /// The same policies, asked without arguments.
    fn shows(&self, listing: Listing, name: &str) -> bool {
        let server = &self.server;
        let (action, target) = match listing {
            Listing::Tools => (Action::InvokeTool, Target::Tool { server, name }),
            Listing::Prompts => (Action::GetPrompt, Target::Prompt { server, name }),
            Listing::Resources | Listing::ResourceTemplates => {
                (Action::ReadResource, Target::Resource { server, uri: name })
            }
        };
        let proven = &self.caller.proven;
        let context = Context {
            method: listing.method(),
            user: proven.user.as_ref(),
            chain: &self.caller.chain,
            now: self.now,
            source_ip: self.source_ip,
            identity: &proven.identity,
            arguments: Arguments::Unknown,
            tokens_estimated: 0,
            streaming: false,
            fan_out: self.fan_out,
        };
        self.world.could_allow(&Call { principal: &proven.principal, action, target, context })
    }
}
