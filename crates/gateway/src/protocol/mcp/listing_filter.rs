//! Who looks at a listing: all that decides what of it is shown, owned, for streams that outlive the handling of their call.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use vidimus_core::call::{Action, Arguments, Ask, Call, SoFar, Target};
use vidimus_core::caller::{Caller, UnixMillis};
use vidimus_core::obligation::KeptBack;
use vidimus_core::refusal::{Code, Refusal};
use vidimus_core::resource::McpServer;
use vidimus_core::snapshot::Snapshot;

use super::introduction::Instructions;
use super::listing::{self, Listing};
use super::{mirrored, pinned, questions, sealed};
use crate::answer::rebound;
use crate::changes::{Own, Redaction, Screen, answers_redacted, without_words};
use crate::first_sight::FirstSights;
use crate::gate::{Shared, millis};
use crate::protocol::event::{self, Change, Rewrite};
use crate::protocol::handles::Handles;
use crate::protocol::question::Question;
use crate::protocol::skim::Unheld;
use crate::protocol::sse::EventFilter;

/// Takes out of listings what a caller may not use by the configuration in force, which may change while a stream is open.
#[derive(Debug)]
pub struct ListingFilter {
    pub shared: Arc<Shared>,
    /// The configuration that caller and server are of.
    pub world: Arc<Snapshot>,
    pub server: Arc<McpServer>,
    pub caller: Caller,
    pub source_ip: Option<IpAddr>,
    /// How many entries of the present message are looked at still; deciding each takes its time.
    pub left: AtomicUsize,
    pub so_far: Option<Arc<SoFar>>,
    /// What may be kept from this caller of what the server answers; `None` while that is not known of the present configuration.
    pub kept_back: Option<KeptBack>,
    /// The tools among what is shown that nobody saw before, where they are held to what they are then.
    pub first_sights: FirstSights,
}

/// How many entries a listing may have. A server has pages (MCP, "Pagination").
const MAX_ENTRIES: usize = 20_000;

/// How many within a stream, where no other call of the thread goes on meanwhile.
const MAX_ENTRIES_OF_EVENT: usize = 4096;

impl ListingFilter {
    /// A whole answer with only what the caller may use now.
    ///
    /// # Errors
    /// See [`listing::filter`], and `revoked` where the caller or the server is not registered any more.
    pub fn document(&mut self, text: &str, listing: Listing) -> Result<String, Refusal> {
        self.refresh()?;
        self.left.store(MAX_ENTRIES, Ordering::Relaxed);
        let now = self.now();
        self.learn(text);
        let filtered =
            listing::filter(text, listing, &mut |name, entry| self.shows(listing, (name, entry), now))?;
        self.check_left()?;
        // A server may say more than it was asked for.
        let others = listing::filter_others(&filtered, listing, &mut |other, name, entry| {
            self.shows(other, (name, entry), now)
        })?;
        self.check_left()?;
        self.first_sights.pin(&self.shared, &self.server);
        Ok(others.unwrap_or(filtered))
    }

    /// That all entries could be looked at.
    fn check_left(&self) -> Result<(), Refusal> {
        if self.left.load(Ordering::Relaxed) > 0 {
            return Ok(());
        }
        let message =
            "the upstream's listing has more entries than are looked at; it has to be divided into pages";
        Err(Refusal::new(Code::UpstreamInvalid, message))
    }

    /// Learns what is in it of the server, for later calls.
    fn learn(&self, listing: &str) {
        mirrored::learn(&self.shared.standing, &self.server, listing);
    }

    fn now(&self) -> UnixMillis {
        millis(self.shared.clock.now().wall)
    }

    /// Whether some call of this entry could be allowed: the same policies, asked without arguments, of a tool that is what the entry says.
    fn shows(&self, listing: Listing, (name, entry): (&str, &str), now: UnixMillis) -> bool {
        if self.left.load(Ordering::Relaxed) == 0 {
            return false;
        }
        self.left.fetch_sub(1, Ordering::Relaxed);
        let server = &self.server;
        let (action, target) = match listing {
            Listing::Tools => (Action::InvokeTool, Target::Tool { server, name }),
            Listing::Prompts => (Action::GetPrompt, Target::Prompt { server, name }),
            Listing::Resources | Listing::ResourceTemplates => {
                (Action::ReadResource, Target::Resource { server, uri: name })
            }
        };
        let definition = self.definition(listing, (name, entry));
        let pinned = definition.as_ref().and_then(|_| self.shared.first_seen(server, name));
        let first = definition.as_ref().filter(|_| pinned.is_none());
        let first = first.and_then(|definition| self.first_sight(name, definition));
        let ask = Ask {
            arguments: Arguments::Unknown,
            definition: definition.as_deref(),
            first_seen: pinned.as_deref().or(first.as_deref()),
            ..Ask::about(listing.method(), action, target)
        };
        let shows = self.world.could_allow(&Call {
            caller: &self.caller,
            ask,
            now,
            source_ip: self.source_ip,
            so_far: self.so_far.as_deref().unwrap_or(SoFar::nothing()),
            approvals: &[],
        });
        if let Some(first) = first.filter(|_| shows) {
            self.first_sights.show(name, &first);
        }
        shows
    }

    /// What a tool is to be held to of which this is the first sight: what the listing showed before under its name, or what it is here. `None` where it is
    /// not pinned unseen by people, since something is hidden in it, or it cannot be read; and where there is no room, or it would be something else each time.
    fn first_sight(&self, tool: &str, definition: &Arc<str>) -> Option<Arc<str>> {
        self.server.integrity.as_ref().filter(|integrity| integrity.is_at_first_sight(tool))?;
        let sight = self.shared.standing.sight(&pinned::key(&self.server, tool))?;
        let is_plain = sight.found().is_none() && **definition != *Ask::NOT_LISTED;
        if !is_plain {
            return None;
        }
        let before = self.first_sights.get(tool);
        before.or_else(|| {
            let can = self.shared.can_pin(&self.server, tool, self.first_sights.count());
            can.then(|| definition.clone())
        })
    }

    /// What the entry says that the tool is, where the server's record says what its tools are.
    fn definition(&self, listing: Listing, entry: (&str, &str)) -> Option<Arc<str>> {
        let is_of_pins = listing == Listing::Tools && self.server.integrity.is_some();
        let now = || self.shared.clock.now().monotonic;
        is_of_pins.then(|| pinned::note(&self.shared.standing, &self.server, entry, now()))
    }

    /// What the policies in force may keep from this caller of what the server answers.
    ///
    /// # Errors
    /// `revoked` where the caller or the server is not registered any more.
    pub fn kept_back(&mut self) -> Result<&KeptBack, Refusal> {
        self.refresh()?;
        let Self { world, caller, server, kept_back, .. } = self;
        Ok(kept_back.get_or_insert_with(|| world.kept_back(&caller.proven.principal, server)))
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
        (self.world, self.kept_back) = (self.shared.snapshot(), None);
        self.caller = rebound(&self.world, &self.caller).ok_or_else(gone)?;
        self.server = self.world.mcp_server(&self.server.id.id).ok_or_else(gone)?.clone();
        Ok(())
    }
}

/// The events of an MCP server: listings are filtered, and ids of tasks and of the events themselves are sealed. What answers another call,
/// of which something is redacted, does not pass. What asks something of the client is decided before it does.
#[derive(Debug)]
pub struct ServerEvents {
    pub listings: ListingFilter,
    pub handles: Handles,
    /// Something of the call's own answer is redacted: what does that looks whose answer it is.
    pub is_redacted: bool,
    /// Where the stream is no call's own: whose it is what the server says on it, nobody knows.
    pub beside: Option<Beside>,
    /// What the event asks that was looked at last.
    asked: Vec<Question>,
    /// An event that is too long to be held, as far as it has come.
    unheld: Option<Box<Unheld>>,
    /// What the server says of itself, where it is asked that.
    pub instructions: Option<Instructions>,
}

/// What a stream that is no call's own is held to.
#[derive(Debug)]
pub struct Beside {
    /// What on it is not the server's.
    pub own: Own,
    /// The guards that the policies in force may have look at something of the server, with those of the stream's own permit.
    pub screen: Screen,
}

impl ServerEvents {
    pub fn new(
        (listings, handles): (ListingFilter, Handles),
        is_redacted: bool,
        beside: Option<Beside>,
        instructions: Option<Instructions>,
    ) -> Self {
        Self { listings, handles, is_redacted, beside, asked: Vec::new(), unheld: None, instructions }
    }
}

impl EventFilter for ServerEvents {
    fn filter(&mut self, event: &[u8]) -> Result<Option<Vec<u8>>, Refusal> {
        self.unheld = None;
        self.listings.refresh()?;
        let first = event::rewrite(event, self);
        let Some(beside) = &self.beside else { return first };
        let KeptBack { redacts, guards } = self.listings.kept_back()?;
        let screen = beside.screen.with(guards);
        if !redacts && screen.is_none() {
            return first;
        }
        let first = first.map_err(Redaction::without_words)?;
        let event = first.as_deref().unwrap_or(event);
        match screen {
            // No word of the server's is left to look at.
            _ if *redacts => without_words(event, &beside.own, self.handles.resource()).map(Some),
            Some(screen) => screen.event(event).map(Some),
            None => Ok(first),
        }
    }

    fn asked(&mut self) -> Vec<Question> {
        std::mem::take(&mut self.asked)
    }

    fn unheld(&mut self, piece: &[u8]) -> Result<(), Refusal> {
        match self.unheld.get_or_insert_default().asks(piece) {
            true => Err(questions::unheld()),
            false => Ok(()),
        }
    }
}

impl Rewrite for ServerEvents {
    fn data(&mut self, data: &str) -> Result<Change, Refusal> {
        if !data.trim_start().starts_with(['{', '[']) {
            // What keeps a connection alive, and no message: not to readers either that pass over a mark or a comment before one.
            return if data.contains('{') { Err(questions::unread()) } else { Ok(Change::Same) };
        }
        if !self.is_redacted && answers_redacted(data) {
            return Ok(Change::Drop);
        }
        self.listings.learn(data);
        self.instructions.iter().for_each(|said| said.look(data.as_bytes(), &self.listings.server.id));
        // Few events have a listing, so the clock is asked for the first entry.
        self.listings.left.store(MAX_ENTRIES_OF_EVENT, Ordering::Relaxed);
        let mut now = None;
        let read = listing::read(data)?;
        let asked = questions::in_message(data, &read.whole, read.result.as_ref())?;
        let filtered = listing::filter_any(data, &read, &mut |listing, name, entry| {
            let now = *now.get_or_insert_with(|| self.listings.now());
            self.listings.shows(listing, (name, entry), now)
        })?;
        self.listings.check_left()?;
        self.listings.first_sights.pin(&self.listings.shared, &self.listings.server);
        let sealed = sealed::message(filtered.as_deref().unwrap_or(data), &self.handles)?;
        self.asked = if sealed == Change::Drop { Vec::new() } else { asked };
        Ok(match (sealed, filtered) {
            (Change::Same, Some(filtered)) => Change::To(filtered),
            (sealed, _) => sealed,
        })
    }

    fn id(&mut self, id: &str) -> Result<Option<String>, Refusal> {
        self.handles.event(id).map(Some)
    }
}
