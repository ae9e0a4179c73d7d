//! Grants as permits: each resource of one is a policy `vidimus/grant#ID`, from the second on `vidimus/grant#ID~2`.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::{Overlay, Part, quoted};
use crate::act::Terms;
use crate::authorize::asks_of_made;
use crate::call::Action;
use crate::caller::UnixMillis;
use crate::decision::Decision;
use crate::entity::{EntityId, EntityKind};
use crate::snapshot::Snapshot;
use crate::standing::Grant;

/// What the ids of grants' policies begin with.
pub const GRANT_ID: &str = "vidimus/grant";

/// A grant, and what it is made to.
#[derive(Clone, Debug)]
pub(super) struct Lent {
    grant: Arc<Grant>,
    part: Arc<Part>,
}

impl Lent {
    pub(super) const fn part(&self) -> &Arc<Part> {
        &self.part
    }

    /// Whether it is made to the same: how often it was used counts only when it is spent.
    fn is_as(&self, grant: &Arc<Grant>) -> bool {
        let had = &self.grant;
        let is_same = || {
            had.terms == grant.terms && had.until_ms == grant.until_ms && had.is_spent() == grant.is_spent()
        };
        Arc::ptr_eq(had, grant) || is_same()
    }

    /// Whether it has a number of uses, of which some are left.
    fn is_counted(&self) -> bool {
        self.grant.terms.uses.is_some() && !self.grant.is_spent()
    }
}

impl Overlay {
    /// Those that stand now, where `self` is what stood before.
    pub(super) fn lent_after(&self, grants: &BTreeMap<String, Arc<Grant>>) -> BTreeMap<Arc<str>, Lent> {
        let lent = grants.iter().map(|(id, grant)| {
            let had = self.lent.get_key_value(id.as_str());
            match had.filter(|(_, lent)| lent.is_as(grant)) {
                Some((id, lent)) => (id.clone(), lent.clone()),
                None => {
                    let part = Part::grant(id, grant).unwrap_or_else(|reason| Part::void(id, reason));
                    (id.as_str().into(), Lent { grant: grant.clone(), part: Arc::new(part) })
                }
            }
        });
        lent.collect()
    }

    /// The grants of which no permit could be made, each with why. They stand, permit nothing, and can be revoked.
    pub fn void_grants(&self) -> impl Iterator<Item = (&str, &str)> {
        self.lent.iter().filter_map(|(id, lent)| Some((&**id, lent.part.void.as_deref()?)))
    }
}

impl Part {
    /// What no permit can be made of permits nothing, and nothing else waits for it.
    fn void(id: &str, reason: String) -> Self {
        Self { line: format!("grant {id} void\n"), void: Some(reason), ..Self::default() }
    }

    fn grant(id: &str, grant: &Grant) -> Result<Self, String> {
        let Terms { agent, resources, transaction, .. } = &grant.terms;
        let spent = if grant.is_spent() { " spent" } else { "" };
        // It is the terms that count, and they have one form.
        let terms = serde_json::to_string(&grant.terms).map_err(|error| error.to_string())?;
        let line = format!("grant {id} {} {terms}{spent}\n", grant.until_ms);
        let mut part = Self { line, ..Self::default() };
        if grant.is_spent() {
            return Ok(part);
        }
        let until = crate::standing::rfc3339(grant.until_ms).ok_or("a grant ends at no time")?;
        let in_chain =
            transaction.as_ref().map(|text| format!(" && context.transaction == {}", quoted(text)));
        for (number, resource) in resources.iter().enumerate() {
            let id = match number {
                0 => format!("{GRANT_ID}#{id}"),
                _ => format!("{GRANT_ID}#{id}~{}", number + 1),
            };
            let text = format!(
                "permit (principal == Agent::{}, {}) when {{ context.now < datetime({}){} }};",
                quoted(&agent.0.id),
                scope(&resource.0),
                quoted(&until),
                in_chain.as_deref().unwrap_or_default(),
            );
            part.add(&id, &text)?;
        }
        Ok(part)
    }
}

/// The actions on a resource, and the resource.
fn scope(resource: &EntityId) -> String {
    let (actions, relation) = match resource.kind {
        EntityKind::Tool => (r#"action == Action::"invokeTool""#, "=="),
        EntityKind::Resource => (r#"action == Action::"readResource""#, "=="),
        EntityKind::Prompt => (r#"action == Action::"getPrompt""#, "=="),
        EntityKind::McpServer => (r#"action in Action::"mcp""#, "in"),
        EntityKind::Skill => (r#"action == Action::"callAgent""#, "=="),
        EntityKind::Agent | EntityKind::Service => (r#"action == Action::"callAgent""#, "in"),
        EntityKind::Model => (r#"action == Action::"callModel""#, "=="),
        EntityKind::LlmProvider => (r#"action in [Action::"llm", Action::"listModels"]"#, "in"),
    };
    format!("{actions}, resource {relation} {}::{}", resource.kind.as_str(), quoted(&resource.id))
}

/// When the grants of each agent end, in order.
pub(super) type Ends = HashMap<Arc<str>, Vec<i64>>;

fn ends(lent: &BTreeMap<Arc<str>, Lent>) -> Ends {
    let mut ends = Ends::new();
    for Lent { grant, .. } in lent.values() {
        ends.entry(grant.terms.agent.0.id.clone()).or_default().push(grant.until_ms);
    }
    ends.values_mut().for_each(|of_agent| of_agent.sort_unstable());
    ends
}

/// The grant whose policy this is.
fn grant_of(policy: &str) -> Option<&str> {
    let rest = policy.strip_prefix(GRANT_ID)?.strip_prefix('#')?;
    Some(rest.split_once('~').map_or(rest, |(id, _)| id))
}

/// Whether a policy is what a grant permits.
pub(in crate::snapshot) fn is_of_grant(policy: &str) -> bool {
    grant_of(policy).is_some()
}

impl Snapshot {
    /// The grant of which an allowed call takes a use: where nothing else permits it than grants whose uses are counted. What only
    /// opens, lists or looks after something else takes none, nor does what asks for what an earlier call made, or ends it.
    pub fn grant_to_claim(&self, decision: &Decision<'_>) -> Option<Arc<str>> {
        if self.standing.lent.is_empty() || decision.code().is_some() {
            return None;
        }
        let ask = &decision.call().ask;
        let is_implied = decision.facts().iter().any(|(name, _)| &**name == "implied_by");
        let opens = matches!(ask.action, Action::ConnectServer | Action::ListModels);
        // What is said to a task is new work, as what makes one is.
        if is_implied || opens || asks_of_made(ask.method) {
            return None;
        }
        self.counted_grant(decision.policies())
    }

    /// The first of the grants that these policies are, where all of them are grants whose uses are counted.
    fn counted_grant(&self, policies: &[Arc<str>]) -> Option<Arc<str>> {
        let mut first = None;
        for policy in policies {
            let (id, lent) = self.standing.lent.get_key_value(grant_of(policy)?)?;
            if !lent.is_counted() {
                return None;
            }
            first.get_or_insert(id);
        }
        first.cloned()
    }

    /// Whether what permits something are grants alone, each for so many uses.
    pub(crate) fn takes_a_use(&self, permits: &[Arc<str>]) -> bool {
        !self.standing.lent.is_empty() && self.counted_grant(permits).is_some()
    }

    /// When the first of an agent's grants ends, of those that end after a time: what they permit ends then. Told at once, however many
    /// grants there are.
    pub fn next_grant_end(&self, agent: &EntityId, after: UnixMillis) -> Option<UnixMillis> {
        if self.standing.lent.is_empty() || agent.kind != EntityKind::Agent {
            return None;
        }
        let ends = self.standing.ends.get_or_init(|| ends(&self.standing.lent));
        let of_agent = ends.get(&agent.id)?;
        of_agent.get(of_agent.partition_point(|until| *until <= after.0)).copied().map(UnixMillis)
    }

    /// Whether a grant has no uses left and is neither revoked nor over: a call that took one of its uses goes on.
    pub fn is_spent(&self, grant: &str, now: UnixMillis) -> bool {
        let lent = self.standing.lent.get(grant);
        lent.is_some_and(|lent| lent.grant.is_spent() && now < UnixMillis(lent.grant.until_ms))
    }
}
