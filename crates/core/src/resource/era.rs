//! Which of MCP's two eras a server speaks, where it speaks one alone.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The era of MCP that a server speaks alone: sessions (2025-11-25 and before), or none (stateless, 2026-07-28).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Era {
    /// It begins with `initialize` and speaks 2025-11-25 or a version before it.
    Sessions,
    /// It has no sessions and speaks 2026-07-28.
    Stateless,
}
