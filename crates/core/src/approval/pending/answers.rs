//! What people answered, and the calls that were made with it.

use serde::{Deserialize, Serialize};

use super::{Approve, Wanted};

/// Somebody who approved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Vote {
    /// `User/issuer#subject`.
    pub by: String,
    /// [`Approve::email`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    /// [`Approve::unverified_email`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unverified_email: Option<String>,
    /// In which of the roles that are asked.
    pub role: String,
    /// The role of the person, where the question went on to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub escalation: Option<String>,
    /// When: milliseconds since the Unix epoch.
    pub at: i64,
    /// In the words of the person; empty where an older version took it over.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub why: String,
}

/// Who denied a call, when and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Denial {
    /// `User/issuer#subject`.
    pub by: String,
    /// When: milliseconds since the Unix epoch.
    pub at: i64,
    /// In the words of the person.
    pub why: String,
}

/// Who did an act, when and why.
#[derive(Clone, Copy, Debug)]
pub struct Said<'a> {
    /// As in its record.
    pub actor: &'a str,
    /// Milliseconds since the Unix epoch.
    pub at: i64,
    /// In the words of who did it.
    pub why: &'a str,
    /// The gateway at which it was done, by the name of its log; `None` where that is this one.
    pub from: Option<&'a str>,
}

impl Vote {
    pub(super) fn of(approve: &Approve, said: Said<'_>) -> Self {
        Self {
            by: said.actor.to_owned(),
            email: approve.email.clone(),
            unverified_email: approve.unverified_email.clone(),
            role: approve.role.clone(),
            escalation: approve.escalation.clone(),
            at: said.at,
            why: said.why.to_owned(),
        }
    }

    /// Whether it counts for what a policy asks. Where two policies ask in one role and one of them goes on to others, these are no answer to
    /// the other one.
    pub(super) fn counts_for(&self, wanted: &Wanted) -> bool {
        let may = match &self.escalation {
            None => true,
            Some(role) => wanted.is_open_to(role, self.at),
        };
        may && self.role == wanted.role
    }
}

/// A call that was made with an approval.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Made {
    /// Which.
    pub call: String,
    /// What came of it, as in the record of its effect; absent where nothing is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<String>,
}

impl Made {
    pub(super) fn is_under_way(&self, call: &str) -> bool {
        self.call == call && self.result.is_none()
    }
}
