//! What stands by acts of people, and what is answered to one: the bodies of the admin address, and `-o json` of the commands.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use vidimus_core::standing::EndedGrant;

/// An act that was done: it is on record, and calls are decided by it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ActDone {
    /// Its id, by which `vidimus audit show` finds its record.
    pub act: String,
    /// The index of its record in the ledger.
    pub record: u64,
    /// What it was about.
    pub subject: String,
    /// What may not be as it was meant: it is done all the same.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
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

/// The grants that stand, and the requests for them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Grants {
    /// What is over: the last that ended, each with what ended it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ended: Vec<EndedGrant>,
    /// What is granted.
    pub grants: Vec<GrantShown>,
    /// What is asked for.
    pub requests: Vec<GrantShown>,
}

/// A grant, or a request for one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct GrantShown {
    /// Who granted it, or asked for it.
    pub actor: String,
    /// Who may use it: `Agent/namespace/name`.
    pub agent: String,
    /// The id of the act: `vidimus/grant#ID` is its policy.
    pub id: String,
    /// What may be used.
    pub resources: Vec<String>,
    /// When it was granted, or asked for: RFC 3339 UTC.
    pub time: String,
    /// The chain that it is bound to, where it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transaction: Option<String>,
    /// When it is over: RFC 3339 UTC.
    pub until: String,
    /// How many of its uses were taken.
    pub used: u32,
    /// How many it has; absent where they are not counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uses: Option<u32>,
    /// In the words of who granted it, or asked for it.
    pub why: String,
}

/// Who is asking, and what it may do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Me {
    /// The address that the token names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    /// The groups that the token names.
    pub groups: Vec<String>,
    /// What is permitted of what is shown, and of what was asked about.
    pub may: Vec<May>,
    /// `User/issuer#subject`.
    pub person: String,
}

/// What policies say of one thing that a person could do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct May {
    /// About what.
    pub about: String,
    /// The Cedar action.
    pub action: String,
    /// Whether it is permitted.
    pub allowed: bool,
    /// Stable code of a denial.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// The policies that say so.
    pub policies: Vec<String>,
}
