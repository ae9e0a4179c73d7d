//! What pinned tools were when they were last seen: in a listing that passed, or in one that the gateway asked for (ADR 76).

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;
use serde_json::value::RawValue;
use vidimus_core::call::Ask;
use vidimus_core::resource::McpServer;
use vidimus_guard::definition::first;

use super::definition::digest_of;
use super::results::OutputSchema;
use super::schema::InputSchema;
use crate::protocol::members::{Members, text};
use crate::standing::StandingState;

/// What a server said that one of its tools is, and when.
#[derive(Debug)]
pub struct Sight {
    digest: Arc<str>,
    at: Instant,
    schema: Arc<InputSchema>,
    results: Option<Arc<OutputSchema>>,
    /// What speaks against pinning it unseen by people: the first rule that found something in it.
    found: Option<&'static str>,
}

impl Sight {
    /// Of a tool that is not listed.
    pub fn none(now: Instant) -> Arc<Self> {
        Arc::new(Self {
            digest: Ask::NOT_LISTED.into(),
            at: now,
            schema: Arc::default(),
            results: None,
            found: None,
        })
    }

    /// The digest of its definition, as a call has it ([`Ask::definition`]).
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// What its arguments are, as it says.
    pub fn schema(&self) -> &InputSchema {
        &self.schema
    }

    /// What its results are, as it says, where it does.
    pub fn results(&self) -> Option<&Arc<OutputSchema>> {
        self.results.as_ref()
    }

    /// Which rule found something in it that is hidden, or speaks to a model, where one did.
    pub fn found(&self) -> Option<&'static str> {
        self.found
    }

    /// How much is kept of it, in bytes.
    pub fn size(&self) -> usize {
        self.schema.size() + self.results.as_ref().map_or(0, |results| results.size())
    }

    /// Whether it is of no longer ago than `life`.
    pub fn is_fresh(&self, now: Instant, life: Duration) -> bool {
        now.saturating_duration_since(self.at) < life
    }
}

/// Under which name a tool is kept: of a record, at an address. Neither has the end of a line in it.
pub fn key(server: &McpServer, tool: &str) -> Box<str> {
    [server.endpoint.url.as_str(), "\n", &*server.id.id, "\n", tool].concat().into()
}

/// What the entry of a listing says that the tool is, of a server with pins; it is kept of a tool that is pinned. What could be read in two ways
/// says nothing.
pub fn note(
    standing: &StandingState,
    server: &McpServer,
    (tool, entry): (&str, &str),
    now: Instant,
) -> Arc<str> {
    let digest: Arc<str> = digest_of(entry).map_or_else(|_| Ask::NOT_LISTED.into(), Into::into);
    if server.integrity.as_ref().is_some_and(|integrity| integrity.holds(tool)) {
        let key = key(server, tool);
        // What is compiled of a schema is so once.
        let known = standing.sight(&key).filter(|known| known.digest == digest);
        let (schema, results, found) = known.map_or_else(
            // Also where people pin it: what is kept stays where its record has it pinned at first sight from now on.
            || {
                let results = OutputSchema::of(entry).map(Arc::new);
                (Arc::new(InputSchema::of(entry)), results, hidden(tool, entry))
            },
            |known| (Arc::clone(&known.schema), known.results.clone(), known.found),
        );
        standing.saw(key, Arc::new(Sight { digest: digest.clone(), at: now, schema, results, found }));
    }
    digest
}

/// Which rule finds something in an entry that people would have to look at before it is pinned. So would they at what cannot be read.
fn hidden(tool: &str, entry: &str) -> Option<&'static str> {
    match serde_json::from_str::<Value>(entry) {
        Ok(definition) => first(tool, &definition),
        Err(_) => Some("what cannot be read"),
    }
}

/// Notes each tool in the answer to `tools/list`, which was read as one.
pub fn learn(standing: &StandingState, server: &McpServer, answer: &[u8], now: Instant) {
    if server.integrity.is_none() {
        return;
    }
    let whole = std::str::from_utf8(answer).ok().and_then(|answer| Members::unique(answer).ok());
    let result = whole.and_then(|whole| whole.object("result").ok().flatten());
    let Some(tools) = result.as_ref().and_then(|result| result.get("tools")) else { return };
    let Ok(tools) = serde_json::from_str::<Vec<&RawValue>>(tools.get()) else { return };
    for entry in tools {
        let name = Members::unique(entry.get()).ok().and_then(|members| members.get("name").and_then(text));
        if let Some(name) = name {
            note(standing, server, (&name, entry.get()), now);
        }
    }
}
