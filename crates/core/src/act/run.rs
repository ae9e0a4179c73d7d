//! That a gateway began to serve, and that it ended: without them a time of no calls and one of no gateway look the same (ADR 63).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A gateway begins to serve. It is on record before the first call that it decides.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Start {
    /// Digest of the configuration that decides first, as decisions name it (`snapshot`).
    pub configuration: String,
    /// Digest of the options that it was started with, `sha256:` and hex. Whether two starts of one version had the same is told by it, and
    /// nothing else; passwords and keys are not in it.
    pub flags: String,
    /// How the run before this one ended.
    pub found: LastRun,
    /// The time of the record before this one, absent where it is the first: nothing was on record since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    /// The version of the program.
    pub version: String,
}

/// How the run before a start ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LastRun {
    /// The ledger is new: there was none.
    New,
    /// It stopped, and that is on record.
    Stopped,
    /// It was killed, or lost its machine or its ledger: no stop of it is on record.
    Unstopped,
    /// No start of it is on record: it was of a version that recorded none.
    Unknown,
}

impl LastRun {
    /// As records have it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Stopped => "stopped",
            Self::Unstopped => "unstopped",
            Self::Unknown => "unknown",
        }
    }
}

/// A gateway ends, and took no call after this.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Stop {
    /// The id of the act by which it began.
    pub of: String,
}
