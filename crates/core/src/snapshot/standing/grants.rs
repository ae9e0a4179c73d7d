//! Grants as permits: each resource of one is a policy `vidimus/grant#ID`, from the second on `vidimus/grant#ID~2`.

use std::collections::HashMap;
use std::sync::Arc;

use super::{Overlay, quoted};
use crate::act::Terms;
use crate::call::Action;
use crate::caller::UnixMillis;
use crate::decision::Decision;
use crate::entity::{EntityId, EntityKind};
use crate::snapshot::Snapshot;
use crate::standing::Grant;

/// What the ids of grants' policies begin with.
pub const GRANT_ID: &str = "vidimus/grant";

/// What a snapshot knows of grants beside their policies.
#[derive(Clone, Debug, Default)]
pub(super) struct Grants {
    /// Whether each has a number of uses.
    counted: HashMap<Arc<str>, bool>,
    /// Those without uses left, and when they end: they permit no call that was not permitted before.
    spent: HashMap<Arc<str>, UnixMillis>,
}

impl Overlay {
    pub(super) fn grant(&mut self, before: &Self, id: &str, grant: &Grant) -> Result<(), String> {
        let Terms { agent, resources, transaction, uses } = &grant.terms;
        if grant.is_spent() {
            self.grants.spent.insert(id.into(), UnixMillis(grant.until_ms));
            return Ok(());
        }
        self.grants.counted.insert(id.into(), uses.is_some());
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
            self.add(before, id, text)?;
        }
        Ok(())
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

/// The grant whose policy this is.
fn grant_of(policy: &str) -> Option<&str> {
    let rest = policy.strip_prefix(GRANT_ID)?.strip_prefix('#')?;
    Some(rest.split_once('~').map_or(rest, |(id, _)| id))
}

impl Snapshot {
    /// The grant of which an allowed call takes a use: where nothing else permits it than grants whose uses are counted. What only
    /// opens, lists or looks after something else takes none, nor does what is about a task that was made.
    pub fn grant_to_claim(&self, decision: &Decision<'_>) -> Option<Arc<str>> {
        let grants = &self.standing.grants;
        if grants.counted.is_empty() || decision.code().is_some() {
            return None;
        }
        let ask = &decision.call().ask;
        let is_implied = decision.facts().iter().any(|(name, _)| &**name == "implied_by");
        let opens = matches!(ask.action, Action::ConnectServer | Action::ListModels);
        if is_implied || opens || ask.task.is_some() {
            return None;
        }
        self.counted_grant(decision.policies())
    }

    /// The first of the grants that these policies are, where all of them are grants whose uses are counted.
    fn counted_grant(&self, policies: &[Arc<str>]) -> Option<Arc<str>> {
        let mut first = None;
        for policy in policies {
            let (id, counted) = self.standing.grants.counted.get_key_value(grant_of(policy)?)?;
            if !*counted {
                return None;
            }
            first.get_or_insert(id);
        }
        first.cloned()
    }

    /// Whether what permits something are grants alone, each for so many uses.
    pub(crate) fn takes_a_use(&self, permits: &[Arc<str>]) -> bool {
        !self.standing.grants.counted.is_empty() && self.counted_grant(permits).is_some()
    }

    /// Whether a grant has no uses left and is neither revoked nor over: a call that took one of its uses goes on.
    pub fn is_spent(&self, grant: &str, now: UnixMillis) -> bool {
        self.standing.grants.spent.get(grant).is_some_and(|until| now < *until)
    }
}
