//! What ran for a call whose tool is a job.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What ran for a call, as far as it was known when the call ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct JobRun {
    /// What it exited with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit: Option<u32>,
    /// The image that ran, by digest, as the node names it (`status.containerStatuses[].imageID` of its pod): at most 300 bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// SHA-256 of all that it wrote, in hexadecimal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<String>,
    /// `metadata.uid` of the Job, which the audit log of the cluster has too; absent where none was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<String>,
}
