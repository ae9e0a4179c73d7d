//! That another key signs for the ledger.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Checkpoints behind the one that covers this are signed by another key, and for a while by both.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RotateKey {
    /// The key until then, a C2SP vkey.
    pub from: String,
    /// The key from then on, of the same name.
    pub to: String,
}
