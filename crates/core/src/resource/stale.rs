//! How old the configuration may become before a route closes.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::field::age;
use super::problem::{At, Problems};

/// What becomes of calls of something once the configuration is older than this. It ages while what it is read from cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StaleAfter {
    /// Milliseconds.
    pub age_ms: u64,
    /// What becomes of them then.
    pub then: Then,
}

/// What becomes of calls when the configuration is too old.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Then {
    /// They are decided as before.
    Continue,
    /// They are refused.
    #[default]
    Close,
}

/// What becomes of calls once the configuration is older than this. It ages while what it is read from (the API server) cannot be read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StaleAfterSpec {
    /// The age, 1s to 8760h.
    #[schemars(schema_with = "age::schema")]
    pub age: String,
    /// What becomes of calls then: they are refused (close, when it is left out), or decided as before (continue).
    #[serde(default)]
    pub then: Then,
}

impl StaleAfterSpec {
    pub(super) fn check(&self, at: At<'_>, problems: &mut Problems) -> Option<StaleAfter> {
        let age_ms = problems.take(at.key("age"), &self.age, age::check(&self.age))?;
        Some(StaleAfter { age_ms, then: self.then })
    }
}
