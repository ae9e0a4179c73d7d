//! What waits for people, and what became of it: the body of `GET /approvals`, and `-o json` of `vidimus approvals`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use vidimus_core::approval::pending::Question;

/// All questions that stand, and those that stood not long ago, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Approvals {
    /// Each with what became of it.
    pub approvals: Vec<Approval>,
}

/// A question to people, and what became of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Approval {
    /// The arguments of the call, in canonical JSON. Payloads are not recorded: after a restart they are there again when the caller tries
    /// again, and until then nobody can approve.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arguments: Option<String>,
    /// Who approved, in order.
    pub given: Vec<Given>,
    /// The calls that were made with it.
    pub made: Vec<Made>,
    /// What is asked.
    pub question: Question,
    /// Digest of question and arguments: what an approval is of. Absent where the arguments cannot be shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shown: Option<String>,
    /// `asked`, `approved`, `denied`, `expired` or `used`.
    #[schemars(extend("enum" = ["asked", "approved", "denied", "expired", "used"]))]
    pub state: String,
    /// Until when question and answer stand: RFC 3339 UTC.
    pub until: String,
}

/// Somebody who approved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Given {
    /// `User/issuer#subject`.
    pub by: String,
    /// In which role.
    pub role: String,
    /// When: RFC 3339 UTC.
    pub time: String,
}

/// A call that was made with an approval.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Made {
    /// Its id, by which `vidimus audit show` finds it.
    pub call: String,
    /// What came of it, as in the record of its effect, or `unknown` where nothing is known: it may have been carried out.
    pub result: String,
}
