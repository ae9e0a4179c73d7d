//! That tools are held to what they were when a gateway first saw them.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Subject;

/// The most tools that one act pins: it has to fit a record.
pub const MOST_PINNED: usize = 64;

/// The longest name of a tool that is pinned at first sight, in bytes.
pub const LONGEST_PINNED: usize = 256;

/// Tools of a server whose record has tools pinned at first sight (`spec.integrity.unpinned`): from now on each is what it was then, until its server's
/// record pins it as something else (ADR 91).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Pinned {
    /// `MCPServer/namespace/name`.
    pub server: Subject,
    /// Each tool with the digest of its definition, at most 64 of them.
    pub tools: BTreeMap<String, String>,
}
