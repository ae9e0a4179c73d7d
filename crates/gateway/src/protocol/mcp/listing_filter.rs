//! Who looks at a listing: all that decides what of it is shown, owned, for streams that outlive the handling of their call.

use std::net::IpAddr;
use std::sync::Arc;

use vidimus_core::call::{Action, Arguments, Ask, Call, Target};
use vidimus_core::caller::{Caller, UnixMillis};
use vidimus_core::refusal::{Code, Refusal};
use vidimus_core::resource::McpServer;
use vidimus_core::snapshot::Snapshot;

use super::listing::{self, Listing};
use crate::answer::rebound;
use crate::gate::Shared;
use crate::protocol::sse::EventFilter;

/// Takes out of listings what a caller may not use by the configuration in force, which may change while a stream is open.
#[derive(Debug)]
pub struct ListingFilter {
    pub shared: Arc<Shared>,
    /// The configuration that caller and server are of.
    pub world: Arc<Snapshot>,
    pub server: Arc<McpServer>,
    pub caller: Caller,
    pub now: UnixMillis,
    pub source_ip: Option<IpAddr>,
    pub fan_out: i64,
}

impl ListingFilter {
    /// A whole answer with only what the caller may use.
    ///
    /// # Errors
    /// See [`listing::filter`].
    pub fn document(&self, text: &str, listing: Listing) -> Result<String, Refusal> {
        listing::filter(text, listing, &mut |name| self.shows(listing, name))
    }

    /// Whether some call of this entry could be allowed: the same policies, asked without arguments.
    fn shows(&self, listing: Listing, name: &str) -> bool {
        let server = &self.server;
        let (action, target) = match listing {
            Listing::Tools => (Action::InvokeTool, Target::Tool { server, name }),
            Listing::Prompts => (Action::GetPrompt, Target::Prompt { server, name }),
            Listing::Resources | Listing::ResourceTemplates => {
                (Action::ReadResource, Target::Resource { server, uri: name })
            }
        };
        let ask = Ask { arguments: Arguments::Unknown, ..Ask::about(listing.method(), action, target) };
        self.world.could_allow(&Call {
            caller: &self.caller,
            ask,
            now: self.now,
            source_ip: self.source_ip,
            fan_out: self.fan_out,
        })
    }

    /// Takes caller and server from the configuration in force.
    ///
    /// # Errors
    /// `revoked` where one of them is not in it any more.
    fn refresh(&mut self) -> Result<(), Refusal> {
        if self.shared.world.is(&self.world) {
            return Ok(());
        }
        let gone = || Refusal::new(Code::Revoked, "who asked, or what was asked, is not registered any more");
        self.world = self.shared.snapshot();
        self.caller = rebound(&self.world, &self.caller).ok_or_else(gone)?;
        self.server = self.world.mcp_server(&self.server.id.id).ok_or_else(gone)?.clone();
        Ok(())
    }
}

impl EventFilter for ListingFilter {
    fn filter(&mut self, event: &[u8]) -> Result<Option<Vec<u8>>, Refusal> {
        self.refresh()?;
        let filtered = listing::filter_event(event, &mut |listing, name| self.shows(listing, name))?;
        Ok(filtered.map(String::into_bytes))
    }
}
