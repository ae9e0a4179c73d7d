//! What goes from the front of the ledger when it has been kept long enough. It is on record before it goes.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Records that go from the front of the ledger. What is left is proven as before: the hashes of all stay.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Prune {
    /// Whether they were copied to an archive before: another one may not begin in its place unnoticed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub archived: bool,
    /// All of them were made before: RFC 3339.
    pub before: String,
    /// The index of the first of them.
    pub from: u64,
    /// The index behind the last of them. No record before it is there any more.
    pub minimum: u64,
    /// The root of the tree over all records before `minimum` (RFC 6962, 2.1), in hexadecimal.
    pub root: String,
}
