//! Who registered what: a change of an object, as the API server of a cluster asked about it, or as it was seen in a cluster or a directory.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A change of a registered object that was let in, or seen. Whether the API server made one that was let in, what is in force later says (`snapshot` of decisions).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Registration {
    /// Digest of the object as it will be, `sha256:` and hex, over its canonical JSON (kind, name, labels and spec); absent where it is deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
    /// The same of what it was; absent where it was not there, or could not be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<String>,
    /// Of a change in a directory: the file that the object stands in, as the file system has it. The actor is `vidimus` then, which read it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<RegisteredFile>,
    /// Where the API server asked nobody: who wrote the object last, as its managed fields say (`kubectl-edit`). Whoever writes chooses that name, so it
    /// is claimed and proves nobody; the actor is `vidimus` then, which saw the change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manager: Option<String>,
    /// `Kind/namespace/name`.
    pub object: String,
    /// `create`, `update` or `delete`.
    pub operation: String,
    /// The policies that permit it; none where no policy speaks of who registers what.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(with = "Vec<String>")]
    pub policies: Vec<Arc<str>>,
    /// The API server's id of the request, as in its audit log; empty of a change that was only seen.
    pub request: String,
    /// Of a change in a directory: whether it is in force.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verdict: Option<Registered>,
    /// When `manager` wrote it, RFC 3339, by the API server's clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub written: Option<String>,
}

/// A file of a served directory. Whoever may write there can give it to others and set its time, so both are claimed and prove nobody.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RegisteredFile {
    /// The number of the user that owns it when the change is recorded; absent where it is gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<u32>,
    /// Below the directory.
    pub path: String,
    /// When it was written last, by the file system, RFC 3339; absent where it is gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub written: Option<String>,
}

/// What came of a change in a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Registered {
    /// It is in force since; what was deleted is not any more.
    Live,
    /// It is malformed, or may not be as it is, and is left out; what it refused before stays refused. `why` has the reason.
    Rejected,
}
