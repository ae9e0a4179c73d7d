//! The table of frameworks: data, read once. What is said of a control, and which records are evidence of it, stands there alone.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::LazyLock;

use jiff::Timestamp;
use serde::Deserialize;
use vidimus_core::act::BY_ITSELF;
use vidimus_core::record::{Kept, Record};

use crate::audit::{Kind, Outcome};

#[expect(clippy::expect_used, reason = "it is a part of the program, and a test reads it")]
static TABLE: LazyLock<Table> = LazyLock::new(|| {
    serde_saphyr::from_str(include_str!("frameworks.yaml")).expect("the table is well-formed")
});

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    supports: BTreeMap<String, Support>,
    frameworks: Vec<Framework>,
}

/// A framework, as far as the record can say something of it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Framework {
    /// What it is called in questions: `soc2`.
    pub name: String,
    /// What it is called.
    pub title: String,
    /// Which text, of which version.
    pub source: String,
    pub(super) controls: Vec<OfControl>,
}

/// A control, and which records are evidence of it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct OfControl {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) asks: String,
    pub(super) supports: Vec<String>,
    pub(super) lacks: String,
}

/// Which records are evidence of something: those where all fits that is said.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Support {
    /// What they are.
    pub(super) says: String,
    kind: Kind,
    /// One of these.
    #[serde(default)]
    outcomes: Vec<Outcome>,
    /// One of these, as searches name them.
    #[serde(default)]
    acts: Vec<String>,
    code: Option<String>,
    with: Option<With>,
}

/// What a search has no flag for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum With {
    /// A person on whose behalf.
    User,
    /// Somebody who acted before the caller.
    Chain,
    /// Something that policies have changed.
    Obligations,
    /// A policy that is only tried.
    Observed,
    /// Done by a person, and not by the gateway by itself.
    Person,
    /// The first decision of the window by its configuration.
    NewConfiguration,
}

/// All of them, in the order of the table.
pub fn frameworks() -> &'static [Framework] {
    &TABLE.frameworks
}

/// The kind of evidence of this name.
pub(super) fn support(name: &str) -> Option<(&'static str, &'static Support)> {
    TABLE.supports.get_key_value(name).map(|(name, support)| (name.as_str(), support))
}

impl Support {
    /// Whether a record is one of these. `is_new` says that it is the first decision of the window by its configuration.
    pub(super) fn fits(&self, record: &Kept, is_new: bool) -> bool {
        let is_of_kind = self.kind == Kind::All || self.kind.as_str() == record.kind();
        let said = outcome(record);
        let has_outcome = self.outcomes.is_empty() || self.outcomes.iter().any(|one| one.as_str() == said);
        let is_act = |record: &Kept| match record {
            Record::Act(record) => self.acts.iter().any(|act| act == record.act.as_str()),
            _ => false,
        };
        let has_code = self.code.is_none() || self.code.as_deref() == code(record);
        is_of_kind
            && has_outcome
            && (self.acts.is_empty() || is_act(record))
            && has_code
            && self.with.is_none_or(|with| with.holds(record, is_new))
    }

    /// The command that finds them. What a search has no flag for is told to `jq`.
    pub(super) fn query(&self, since: Timestamp, until: Timestamp) -> String {
        let mut text = format!("vidimus audit search --kind {}", self.kind.as_str());
        // Writing to a string does not fail.
        if let [outcome] = self.outcomes.as_slice() {
            let _ = write!(text, " --outcome {}", outcome.as_str());
        }
        if let Some(code) = &self.code {
            let _ = write!(text, " --code {code}");
        }
        let _ = write!(text, " --since {since} --until {until} --oldest-first --limit 0 -o json");
        let mut conditions = Vec::new();
        if self.outcomes.len() > 1 {
            let member = if self.kind == Kind::Effect { ".result" } else { ".outcome" };
            conditions.push(format!(
                "{member} | IN({})",
                quoted(self.outcomes.iter().map(|it| it.as_str().to_owned()))
            ));
        }
        if !self.acts.is_empty() {
            let acts = quoted(self.acts.iter().map(|act| member(act)));
            conditions.push(format!(".act | keys[0] | IN({acts})"));
        }
        match self.with {
            Some(With::User) => conditions.push(".user".to_owned()),
            Some(With::Chain) => conditions.push(".chain != []".to_owned()),
            Some(With::Obligations) => conditions.push(".obligations".to_owned()),
            Some(With::Observed) => conditions.push(".observed".to_owned()),
            Some(With::Person) => conditions.push(format!(".actor != \"{BY_ITSELF}\"")),
            Some(With::NewConfiguration) => text.push_str(" | jq -cs 'unique_by(.snapshot)[]'"),
            None => {}
        }
        for condition in conditions {
            let _ = write!(text, " | jq -c 'select({condition})'");
        }
        text
    }
}

impl With {
    fn holds(self, record: &Kept, is_new: bool) -> bool {
        match (self, record) {
            (Self::User, Record::Decision(it)) => it.user.is_some(),
            (Self::Chain, Record::Decision(it)) => !it.chain.is_empty(),
            (Self::Obligations, Record::Decision(it)) => !it.obligations.is_empty(),
            (Self::Observed, Record::Decision(it)) => !it.observed.is_empty(),
            (Self::NewConfiguration, Record::Decision(_)) => is_new,
            (Self::Person, Record::Act(it)) => it.actor != BY_ITSELF,
            _ => false,
        }
    }
}

/// How it was decided, or how it ended; empty of an act.
pub(super) fn outcome(record: &Kept) -> &str {
    match record {
        Record::Decision(it) => &it.outcome,
        Record::Effect(it) => &it.result,
        Record::Refusal(it) => &it.outcome,
        Record::Act(_) => "",
    }
}

/// The stable code of a refusal, or of how an effect ended.
pub(super) fn code(record: &Kept) -> Option<&str> {
    match record {
        Record::Decision(it) => it.code.as_deref(),
        Record::Effect(it) => it.code.as_deref(),
        Record::Refusal(it) => Some(&it.code),
        Record::Act(_) => None,
    }
}

fn quoted(all: impl Iterator<Item = String>) -> String {
    all.map(|one| format!("\"{one}\"")).collect::<Vec<_>>().join(", ")
}

/// An act as the name of a member, as a record has it: `use-grant` is `useGrant`.
fn member(act: &str) -> String {
    let mut parts = act.split('-');
    let mut name = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let mut letters = part.chars();
        name.extend(letters.next().map(|first| first.to_ascii_uppercase()));
        name.push_str(letters.as_str());
    }
    name
}
