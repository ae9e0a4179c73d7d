//! Flow labels: what a call of something does with information.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::field::name;
use super::problem::{At, Problems};
use super::{Names, names};

/// What a call of something does with information, in plain names of the installation's own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Labels {
    /// What is read by it: `confidential`, `personal`. Cedar: `resource.reads`. A chain that calls it collects these.
    pub reads: Names,
    /// What its answer is: `untrusted`. Cedar: `resource.returns`. A chain that calls it collects these.
    pub returns: Names,
    /// Where what it is given goes: `external`. Cedar: `resource.sends`. Not collected: it is of the call at hand.
    pub sends: Names,
}

impl Labels {
    /// What a chain has that called it: sorted, each once.
    pub fn brought(&self) -> impl Iterator<Item = &Arc<str>> {
        self.reads.union(&self.returns)
    }

    fn add(&mut self, other: &Self) {
        self.reads.extend(other.reads.iter().cloned());
        self.returns.extend(other.returns.iter().cloned());
        self.sends.extend(other.sends.iter().cloned());
    }
}

/// The labels of an MCP server, of its tool sets, and of single tools. They add up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServerLabels {
    /// Of everything on it.
    pub server: Labels,
    /// Of the tools of a set.
    pub sets: BTreeMap<Arc<str>, Labels>,
    /// Of one tool.
    pub tools: BTreeMap<Arc<str>, Labels>,
}

impl ServerLabels {
    /// Those of one tool, which is in these sets: the server's, and what its sets and its own entry add.
    pub fn of_tool<'a>(&self, tool: &str, sets: impl Iterator<Item = &'a Arc<str>>) -> Cow<'_, Labels> {
        let own = self.tools.get(tool);
        if own.is_none() && self.sets.is_empty() {
            return Cow::Borrowed(&self.server);
        }
        let mut labels = self.server.clone();
        sets.filter_map(|set| self.sets.get(set)).chain(own).for_each(|one| labels.add(one));
        Cow::Owned(labels)
    }

    /// All of them: the server's, those of its sets, and those of its tools.
    pub fn all(&self) -> impl Iterator<Item = &Labels> {
        std::iter::once(&self.server).chain(self.sets.values()).chain(self.tools.values())
    }
}

/// What a call does with information. Chains collect what is read and returned (Cedar: context.labels).
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LabelsSpec {
    /// What is read by it, as in [confidential]. Cedar: resource.reads.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "name::plain_list_schema")]
    pub reads: Vec<String>,
    /// What its answer is, as in [untrusted]. Cedar: resource.returns.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "name::plain_list_schema")]
    pub returns: Vec<String>,
    /// Where what it is given goes, as in [external]. Cedar: resource.sends.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "name::plain_list_schema")]
    pub sends: Vec<String>,
}

impl LabelsSpec {
    pub(super) fn check(&self, at: At<'_>, problems: &mut Problems) -> Labels {
        Labels {
            reads: names(at.key("reads"), &self.reads, problems),
            returns: names(at.key("returns"), &self.returns, problems),
            sends: names(at.key("sends"), &self.sends, problems),
        }
    }
}
