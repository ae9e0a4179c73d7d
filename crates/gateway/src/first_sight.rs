//! Tools that are held to what they were when they were first seen (ADR 91): in a listing that passed, or in one that the gateway asked for before a call.
//! Which that was is an act, so it is on record, the same at each gateway, and kept as long as the log is. No call is made before it stands.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use vidimus_core::act::{Act, BY_ITSELF, LONGEST_PINNED, MOST_PINNED, Pinned, Subject};
use vidimus_core::refusal::{Code, Refusal};
use vidimus_core::resource::McpServer;

use crate::acts::Intent;
use crate::gate::Shared;

/// In the record of each.
const WHY: &str = "what the tools were when they were first listed";

/// How often others may be first while the tools of one listing are pinned.
const TRIES: usize = 32;

/// Each tool with the digest of what it is.
pub(crate) type Seen = BTreeMap<String, Arc<str>>;

/// What one listing shows of tools that nobody saw before.
#[derive(Debug, Default)]
pub struct FirstSights(Mutex<Seen>);

impl FirstSights {
    fn all(&self) -> MutexGuard<'_, Seen> {
        // Each change is whole: nothing is left half done by who panics.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the listing showed first under this name.
    pub fn get(&self, tool: &str) -> Option<Arc<str>> {
        self.all().get(tool).cloned()
    }

    /// How many it showed first that are not given on to be pinned yet.
    pub fn count(&self) -> usize {
        self.all().len()
    }

    /// It shows a tool.
    pub fn show(&self, tool: &str, digest: &Arc<str>) {
        self.all().entry(tool.to_owned()).or_insert_with(|| digest.clone());
    }

    /// Has what was shown pinned, beside the answer: who calls one of these waits for it.
    pub fn pin(&self, shared: &Arc<Shared>, server: &McpServer) {
        let seen = std::mem::take(&mut *self.all());
        if seen.is_empty() {
            return;
        }
        let (shared, server) = (shared.clone(), subject(server));
        tokio::spawn(async move {
            if let Err(refusal) = shared.pin_at_first_sight(&server, &seen).await {
                tracing::warn!(%server, %refusal, "tools that were listed for the first time are not pinned; they are not called before they are");
            }
        });
    }
}

/// As what stands has it. Nothing is allocated for it: it is asked with each call.
pub(crate) fn subject(server: &McpServer) -> Subject {
    Subject::Object(server.id.clone())
}

impl Shared {
    /// What a tool is held to since it was first seen; `None` where its server's record has it not so, and where nobody saw it yet.
    pub(crate) fn first_seen(&self, server: &McpServer, tool: &str) -> Option<Arc<str>> {
        server.integrity.as_ref().filter(|integrity| integrity.is_at_first_sight(tool))?;
        self.acts.standing().pin(&subject(server), tool).map(|pin| pin.digest.clone())
    }

    /// Whether one more tool of a server can be pinned, beside so many others.
    pub(crate) fn can_pin(&self, server: &McpServer, tool: &str, others: usize) -> bool {
        let more = others.saturating_add(1);
        tool.len() <= LONGEST_PINNED && self.acts.standing().has_room_for(&subject(server), more)
    }

    /// Has each of these tools held to what it is from now on, but for those that are held to something already. When this returns it is on record, and
    /// known to all gateways that share anything.
    ///
    /// # Errors
    /// `standing_unavailable` where what gateways share cannot be asked; `act_unfit` where there is no room for more; those of the ledger.
    pub(crate) async fn pin_at_first_sight(
        self: &Arc<Self>,
        server: &Subject,
        seen: &Seen,
    ) -> Result<(), Refusal> {
        for _ in 0..TRIES {
            let new = self.unseen(server, seen);
            if new.is_empty() {
                return Ok(());
            }
            let tools =
                new.iter().take(MOST_PINNED).map(|(tool, digest)| ((*tool).clone(), digest.to_string()));
            let act = Act::Pin(Pinned { server: server.clone(), tools: tools.collect() });
            let intent = Intent { actor: BY_ITSELF.to_owned(), act, why: WHY.to_owned() };
            if let Err(refusal) = self.do_now(vec![intent]).await {
                // Another call, or another gateway, may have been first.
                let others_were_first = self.unseen(server, seen).len() < new.len();
                if refusal.code != Code::ActUnfit || !others_were_first {
                    return Err(refusal);
                }
            }
        }
        Err(Refusal::new(Code::StandingUnavailable, "other gateways pin the server's tools all the time"))
    }

    /// Those of these tools that nobody saw yet, and that can be pinned.
    fn unseen<'s>(&self, server: &Subject, seen: &'s Seen) -> Vec<(&'s String, &'s Arc<str>)> {
        let standing = self.acts.standing();
        let is_new = |tool: &str| tool.len() <= LONGEST_PINNED && standing.pin(server, tool).is_none();
        seen.iter().filter(|(tool, _)| is_new(tool)).collect()
    }
}
