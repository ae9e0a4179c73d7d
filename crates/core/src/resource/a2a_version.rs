//! Which version of A2A an agent speaks, where it speaks one alone.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The version of A2A that an agent speaks alone. Its methods, its messages and its errors are written otherwise in the other one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize, Serialize, JsonSchema)]
pub enum A2aVersion {
    /// `SendMessage`, and the JSON of its schema of protobuf (March 2026).
    #[serde(rename = "1.0")]
    V1_0,
    /// `message/send`, and the JSON of its own (July 2025).
    #[serde(rename = "0.3")]
    V0_3,
}

impl A2aVersion {
    /// That which is not this one.
    pub const fn other(self) -> Self {
        match self {
            Self::V1_0 => Self::V0_3,
            Self::V0_3 => Self::V1_0,
        }
    }

    /// As A2A writes it, in headers and cards.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::V1_0 => "1.0",
            Self::V0_3 => "0.3",
        }
    }
}
