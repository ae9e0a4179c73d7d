//! Grants: what one agent may use beside what policies permit it, for one task and a time.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::entity::{EntityId, EntityKind};

/// Most resources of one grant.
pub const MOST_RESOURCES: usize = 32;
/// Longest text of a resource or a transaction, in bytes.
const LONGEST: usize = 2048;

/// A thing that is called, or who calls it, as text: `Tool/finance/ledger/get_invoice`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Thing(pub EntityId);

/// What is granted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Terms {
    /// Who may use it: `Agent/namespace/name`.
    pub agent: Thing,
    /// What it may use: tools, resources, prompts, skills and models, and all of a server, an agent or a provider.
    pub resources: Vec<Thing>,
    /// The one chain in which it may; absent where it is not bound to one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transaction: Option<String>,
    /// How many calls it may make; absent where these are not counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uses: Option<u32>,
}

/// Somebody asks for a grant. It is the id of this act by which it is granted, or revoked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Requested {
    /// What is asked for.
    pub terms: Terms,
    /// When the request is over where nobody has granted it, in milliseconds since 1970 UTC.
    pub until_ms: i64,
}

/// A grant. It is the id of this act by which it is named and revoked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Granted {
    /// The request that it answers, where there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<String>,
    /// What is granted.
    pub terms: Terms,
    /// When it ends, in milliseconds since 1970 UTC.
    pub until_ms: i64,
}

/// What is said of a grant, or of a request for one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OfGrant {
    /// The id of the act that made it.
    pub of: String,
}

/// A use of a grant: a call that nothing else permits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Used {
    /// The call, by the id of its records.
    pub call: String,
    /// The id of the grant.
    pub of: String,
}

/// The terms are not those of a grant.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadTerms {
    /// Only agents are granted something.
    #[error("a grant is for an Agent, not for {0}")]
    NoAgent(EntityId),
    #[error("a grant is of 1 to {MOST_RESOURCES} resources, not of {0}")]
    Resources(usize),
    #[error("{0} is nothing that a call is about")]
    NoResource(EntityId),
    #[error("a grant is for one task: say in which transaction, or how many uses (1 or more) it has")]
    ForEver,
    #[error("a transaction is a text of 1 to {LONGEST} bytes without control characters")]
    Transaction,
    /// A person reads it before it is granted, and it is kept while it stands.
    #[error("a name in a grant has at most {LONGEST} bytes, and no control characters")]
    Name,
}

impl Terms {
    /// Whether these are the terms of a grant: what is not may be in no record of one.
    ///
    /// # Errors
    /// Why not.
    pub fn check(&self) -> Result<(), BadTerms> {
        let is_text = |thing: &Thing| {
            let id = &thing.0.id;
            thing.0.kind.as_str().len() + 1 + id.len() <= LONGEST && !id.chars().any(char::is_control)
        };
        if !std::iter::once(&self.agent).chain(&self.resources).all(is_text) {
            return Err(BadTerms::Name);
        }
        if self.agent.0.kind != EntityKind::Agent || !is_named(&self.agent.0, 1) {
            return Err(BadTerms::NoAgent(self.agent.0.clone()));
        }
        if self.resources.is_empty() || self.resources.len() > MOST_RESOURCES {
            return Err(BadTerms::Resources(self.resources.len()));
        }
        let is_resource = |thing: &&Thing| match thing.0.kind {
            EntityKind::Agent | EntityKind::McpServer | EntityKind::LlmProvider => is_named(&thing.0, 1),
            EntityKind::Service => false,
            EntityKind::Tool
            | EntityKind::Resource
            | EntityKind::Prompt
            | EntityKind::Skill
            | EntityKind::Model => is_named(&thing.0, 2),
        };
        if let Some(bad) = self.resources.iter().find(|thing| !is_resource(thing)) {
            return Err(BadTerms::NoResource(bad.0.clone()));
        }
        if self.transaction.is_none() && self.uses.is_none() || self.uses == Some(0) {
            return Err(BadTerms::ForEver);
        }
        match &self.transaction {
            Some(text) if text.is_empty() || text.len() > LONGEST || text.chars().any(char::is_control) => {
                Err(BadTerms::Transaction)
            }
            _ => Ok(()),
        }
    }
}

/// Whether an id has so many slashes at least, and nothing empty before them.
fn is_named(entity: &EntityId, slashes: usize) -> bool {
    let parts: Vec<&str> = entity.id.splitn(slashes + 1, '/').collect();
    let whole = slashes > 1 || !parts.last().is_some_and(|last| last.contains('/'));
    parts.len() == slashes + 1 && parts.iter().all(|part| !part.is_empty()) && whole
}

impl fmt::Display for Thing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for Thing {
    type Err = String;

    /// Of what was recorded too, so it takes whatever is an entity; [`Terms::check`] says what may be granted.
    fn from_str(text: &str) -> Result<Self, String> {
        text.parse().map(Self).map_err(|error: crate::entity::NotAnEntity| error.to_string())
    }
}

impl Serialize for Thing {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Thing {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Cow::<str>::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for Thing {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Thing".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string"})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn terms(resources: &[&str]) -> Terms {
        Terms {
            agent: "Agent/a/bot".parse().unwrap(),
            resources: resources.iter().map(|text| text.parse().unwrap()).collect(),
            transaction: None,
            uses: Some(2),
        }
    }

    #[test]
    fn a_grant_is_of_what_is_called_and_for_one_task() {
        for good in [
            "Tool/a/s/t",
            "Resource/a/s/file:///x",
            "MCPServer/a/s",
            "Agent/a/b",
            "Skill/a/b/s",
            "Model/a/p/m/4",
        ] {
            assert_eq!(terms(&[good]).check(), Ok(()), "{good}");
        }
        for bad in ["Service/a/b", "Tool/a/s", "MCPServer/a/s/t", "Agent/a", "Tool/a//t", "Tool/a/s/"] {
            assert!(matches!(terms(&[bad]).check(), Err(BadTerms::NoResource(_))), "{bad}");
        }
        assert_eq!(terms(&[]).check(), Err(BadTerms::Resources(0)));
        assert_eq!(terms(&["Tool/a/s/t"; 33]).check(), Err(BadTerms::Resources(33)));
        for uses in [None, Some(0)] {
            assert_eq!(Terms { uses, ..terms(&["Tool/a/s/t"]) }.check(), Err(BadTerms::ForEver), "{uses:?}");
        }
        let bound =
            |text: &str| Terms { transaction: Some(text.into()), uses: None, ..terms(&["Tool/a/s/t"]) };
        assert_eq!(bound("t-1").check(), Ok(()));
        assert_eq!(bound("").check(), Err(BadTerms::Transaction));
        for bad in [format!("Tool/a/s/{}", "t".repeat(2_040)), "Tool/a/s/x\u{1}y".to_owned()] {
            assert_eq!(terms(&[&bad]).check(), Err(BadTerms::Name), "{bad:?}");
        }
        let service = Terms { agent: "Service/a/b".parse().unwrap(), ..terms(&["Tool/a/s/t"]) };
        assert!(matches!(service.check(), Err(BadTerms::NoAgent(_))));
    }
}
