//! What stands by acts of people, and what is answered to one: the bodies of the admin address, and `-o json` of the commands.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// An act that was done: it is on record, and calls are decided by it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ActDone {
    /// Its id, by which `vidimus audit show` finds its record.
    pub act: String,
    /// The index of its record in the ledger.
    pub record: u64,
    /// What it was about.
    pub subject: String,
}

/// What is out of use.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Quarantines {
    /// By subject; a subject that both switches hold has two rows.
    pub quarantined: Vec<Quarantined>,
}

/// One switch that holds something. Lifting one leaves the other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Quarantined {
    /// The act's id, where it is by an act: what a lift undoes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub act: Option<String>,
    /// Who did it, where it is by an act.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actor: Option<String>,
    /// Which switch.
    pub by: QuarantinedBy,
    /// `Agent/namespace/name` and the like, `Identity/…`, `User/issuer#subject` or `Chain/transaction`.
    pub subject: String,
    /// When, where it is by an act: RFC 3339 UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time: Option<String>,
    /// Why, where it is by an act: in the words of who did it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

/// The switches by which something is out of use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum QuarantinedBy {
    /// An act of a person.
    Act,
    /// The object's own record: `spec.quarantined`.
    Record,
}
