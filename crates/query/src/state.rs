//! Which state an answer is of: what a running gateway has, what a start would have, or a directory alone. Only the first two know what
//! was forbidden before by what is malformed now.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use vidimus_core::resource::Kind;
use vidimus_registry::Loaded;

/// A state, and how it is called.
#[derive(Clone, Debug)]
pub struct State {
    pub(crate) loaded: Loaded,
    of: String,
}

/// What a state is, beside an answer that follows from it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StateOf {
    /// Whose state it is, in words.
    pub of: String,
    /// Digest of the configuration, as it stands in records.
    pub snapshot: String,
    /// Everything is refused, since it is not known what was forbidden before.
    pub closed: bool,
    /// Why a gateway with this state would not be ready.
    pub not_ready: Option<String>,
    /// Of these objects only what they refuse is in force.
    pub only_refusing: Vec<RefusingObject>,
}

/// An object of which only what it refuses is in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RefusingObject {
    /// `Kind namespace/name`.
    pub object: String,
    /// The file or the cluster that it is from.
    pub source: String,
    /// `contested` where another object has, or had, its name; `held` where it may be missing only because something is malformed.
    #[schemars(extend("enum" = ["contested", "held"]))]
    pub why: String,
}

impl State {
    /// A state that is called `of`, as in "the gateway at 127.0.0.1:9901".
    pub const fn new(loaded: Loaded, of: String) -> Self {
        Self { loaded, of }
    }

    /// What is to be known before an answer that follows from it is read.
    pub fn remarks(&self) -> Vec<String> {
        let mut remarks = Vec::new();
        let refusing = self.loaded.snapshot.only_refusing();
        let refusing: Vec<String> = refusing.map(|one| format!("{} ({})", one.object, one.why())).collect();
        if !refusing.is_empty() {
            let refusing = refusing.join(", ");
            remarks
                .push(format!("only what they refuse is in force of {refusing}; `vidimus check` tells why"));
        }
        if let Some(reason) = &self.loaded.not_ready {
            remarks.push(format!("not ready: {reason}"));
        }
        remarks
    }

    /// What it is.
    pub fn described(&self) -> StateOf {
        let snapshot = &self.loaded.snapshot;
        let refusing = snapshot.only_refusing().map(|one| RefusingObject {
            object: one.object.to_string(),
            source: one.origin.source().into_owned(),
            why: one.why().to_owned(),
        });
        StateOf {
            of: self.of.clone(),
            snapshot: snapshot.digest().to_owned(),
            closed: snapshot.is_closed(),
            not_ready: self.loaded.not_ready.clone(),
            only_refusing: refusing.collect(),
        }
    }

    /// Why an object of this kind and name is not there, where it is held.
    pub(crate) fn held(&self, kind: Kind, key: &str) -> Option<String> {
        let mut refusing = self.loaded.snapshot.only_refusing();
        let one = refusing.find(|one| !one.contested && one.is(kind, key))?;
        Some(format!("it is held, since it may be hidden by what is malformed ({})", one.origin))
    }
}

impl StateOf {
    /// A policy as it is named in an answer, with why it only refuses, where it does.
    pub fn named(&self, policy: &str) -> String {
        // `namespace/name`, `namespace/name#id` and `namespace/name~version`.
        let key = policy.split(['#', '~']).next().unwrap_or(policy);
        let object = format!("{} {key}", Kind::Policy.as_str());
        match self.only_refusing.iter().find(|one| one.object == object) {
            Some(one) => format!("{policy} ({})", one.why),
            None => policy.to_owned(),
        }
    }
}
