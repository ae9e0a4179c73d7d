//! Approvals that are void: what asked for them is not what it was, where their calls go, or the tool that they are of. They are so from the
//! moment at which another configuration decides, or the server says it otherwise, and stay so when that is changed back: each has its record.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use vidimus_core::act::{Act, BY_ITSELF};
use vidimus_core::approval::pending::{Question, Voided, Wanted};
use vidimus_core::entity::{EntityId, EntityKind};
use vidimus_core::refusal::Refusal;
use vidimus_core::resource::Endpoint;
use vidimus_core::snapshot::Snapshot;

use super::{Acts, Intent};
use crate::gate::{Shared, millis};

/// So much of the name of what was changed is in the words of a record, in bytes: a name may be longer than they may be.
const MAX_NAMED: usize = 512;

/// The approvals that are void, and not on record as such yet.
#[derive(Debug, Default)]
pub(super) struct Void(Mutex<BTreeMap<String, Because>>);

/// What was changed, and the words of the record.
#[derive(Clone, Debug)]
struct Because {
    changed: String,
    why: String,
}

impl Void {
    fn all(&self) -> MutexGuard<'_, BTreeMap<String, Because>> {
        // Each change is whole: nothing is left half done by who panics.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Acts {
    /// Whether an approval is void, and that is not on record yet.
    pub(crate) fn is_void(&self, approval: &str) -> bool {
        self.void.all().contains_key(approval)
    }
}

/// What a configuration has of what is asked of people.
struct Asked<'s> {
    world: &'s Snapshot,
    /// By the id of each policy that asks, its digest.
    policies: HashMap<&'s str, String>,
}

impl<'s> Asked<'s> {
    fn of(world: &'s Snapshot) -> Self {
        let policies = world.requirements().map(|one| (&*one.policy, one.digest_text())).collect();
        Self { world, policies }
    }

    /// Whether this policy asks, and is the one that asked. What an earlier version recorded does not say which it was.
    fn has(&self, wanted: &Wanted) -> bool {
        let Some(digest) = &wanted.digest else { return true };
        self.policies.get(wanted.policy.as_str()) == Some(digest)
    }

    /// Whether the call goes where it went.
    fn leads_there(&self, question: &Question) -> bool {
        endpoint(self.world, &question.resource).unwrap_or_default() == question.endpoint
    }
}

/// Where calls on a resource go.
fn endpoint(world: &Snapshot, resource: &str) -> Option<String> {
    let EntityId { kind, id } = resource.parse::<EntityId>().ok()?.registered()?;
    let url = |endpoint: &Endpoint| endpoint.url.to_string();
    match kind {
        EntityKind::McpServer => world.mcp_server(&id).map(|server| url(&server.endpoint)),
        EntityKind::Agent => world.agent(&id)?.endpoint.as_deref().map(url),
        EntityKind::LlmProvider => world.llm_provider(&id).map(|provider| url(&provider.endpoint)),
        _ => None,
    }
}

/// What `next` does not have any more of what asked, where `before` had it; where that is not known, it is taken to have had all.
fn changed(question: &Question, before: Option<&Asked<'_>>, next: &Asked<'_>) -> Option<String> {
    let is_gone = |wanted: &&Wanted| before.is_none_or(|before| before.has(wanted)) && !next.has(wanted);
    if let Some(wanted) = question.asking.iter().find(is_gone) {
        return Some(wanted.policy.clone());
    }
    let led_there = before.is_none_or(|before| before.leads_there(question));
    (led_there && !next.leads_there(question)).then(|| question.resource.clone())
}

impl Shared {
    /// Another configuration decides from now on: what it changes of what is asked of people makes that void. `before` is the one until now;
    /// of a start, which has none, all that was asked must still be there.
    pub(crate) fn void_changed(&self, before: Option<&Snapshot>, next: &Snapshot) {
        let (standing, now) = (self.acts.standing(), millis(self.clock.now().wall).0);
        let mut open = standing.approvals.open(now).peekable();
        if open.peek().is_none() {
            return;
        }
        let (before, next) = (before.map(Asked::of), Asked::of(next));
        for pending in open {
            if let Some(changed) = changed(&pending.question, before.as_ref(), &next) {
                let named = changed.get(..changed.floor_char_boundary(MAX_NAMED)).unwrap_or_default();
                let why = format!("{named} is not what it was when this was asked");
                self.acts.void.all().insert(pending.question.approval.clone(), Because { changed, why });
            }
        }
    }

    /// Looks, at a start, whether what was asked before it still is: to be called once, when all that is configured is in force.
    pub fn void_since_start(&self) {
        self.void_changed(None, &self.snapshot());
    }

    /// An approval is void from now on, and stays so where that cannot be recorded yet.
    ///
    /// # Errors
    /// Why it is not on record; it is tried again.
    pub(crate) async fn void(
        self: &Arc<Self>,
        approval: &str,
        changed: String,
        why: String,
    ) -> Result<(), Refusal> {
        let because = Because { changed, why };
        self.acts.void.all().insert(approval.to_owned(), because.clone());
        self.voided(approval, because).await
    }

    /// Has it on record which approvals are void. Each is good for nothing whether or not that is done.
    pub async fn record_void(self: &Arc<Self>) {
        let all = self.acts.void.all().clone();
        for (approval, because) in all {
            if let Err(refusal) = self.voided(&approval, because).await {
                tracing::warn!(%refusal, "that an approval is void could not be recorded; it is tried again");
                return;
            }
        }
    }

    async fn voided(
        self: &Arc<Self>,
        approval: &str,
        Because { changed, why }: Because,
    ) -> Result<(), Refusal> {
        let act = Act::Void(Voided { approval: approval.to_owned(), changed });
        match self.do_now(vec![Intent { actor: BY_ITSELF.to_owned(), act, why }]).await {
            Ok(_) => {}
            // It is over, or another gateway was first.
            Err(refusal) if refusal.code.is_of_standing() => {}
            Err(refusal) => return Err(refusal),
        }
        self.acts.void.all().remove(approval);
        Ok(())
    }
}
