//! What somebody takes along of the ledger. It is on record before the first byte goes.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Evidence that was given to somebody: records, with all that it takes to believe them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Export {
    /// Which records were asked for: the JSON text of `asked` in the evidence.
    pub asked: String,
    /// Whether only what witnesses had cosigned was asked for.
    pub cosigned: bool,
}
