//! What waits for people, and what became of it: the body of `GET /approvals`, and `-o json` of `vidimus approvals`; and what happens to
//! it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use vidimus_core::approval::happened::{Happened, Happening, Mark};
use vidimus_core::approval::pending::{Question, State};

use crate::acts::ActDone;

/// All questions that stand, and those that stood not long ago, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Approvals {
    /// Each with what became of it.
    pub approvals: Vec<Approval>,
    /// What tells this list from the next one in which something has happened: `GET /approvals?since=REVISION` waits for that.
    #[serde(default)]
    pub revision: String,
}

/// A question to people, and what became of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Approval {
    /// The arguments of the call, in canonical JSON. Payloads are not recorded: after a restart they are there again when the caller tries
    /// again, and until then nobody can approve.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arguments: Option<String>,
    /// Of one that is void, what was changed since: the policy that asked, the destination of the call, or the tool; or who approved it and
    /// was quarantined since (`User/issuer#subject`). It is `expired` then, and stays so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changed: Option<String>,
    /// The roles that the question has gone on to by now, since nobody answered in time: people of them may approve as well.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub escalated: Vec<String>,
    /// Who denied it, where somebody did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub denied: Option<Denied>,
    /// Who approved, in order.
    pub given: Vec<Given>,
    /// The gateway at which its call was held, by the name of its log, where that is not the one that was asked: only there, and where its caller
    /// has tried again, are the arguments known, and only there can it be approved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held_at: Option<String>,
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

/// Something that happened to a question: what a webhook is sent, and a line of `vidimus approvals watch -o json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ApprovalEvent {
    /// Where the question stands now. A webhook is sent no arguments: their digest is in it, and that of what is to be looked at.
    pub data: Approval,
    /// The address of the gateway as its callers see it, where a webhook tells of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway: Option<String>,
    /// What tells it from everything else that happens; the same where it is told again (`webhook-id`).
    pub id: String,
    /// Where a person is led to answer, where that is known (`--admin-url`). Nothing is shown and nothing approved there: it says how.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub page: Option<String>,
    /// When it was noticed, and of a vote when it was given: RFC 3339 UTC.
    pub timestamp: String,
    /// What happened. Of `approval.void`, [`Approval::changed`] says what was changed.
    #[serde(rename = "type")]
    #[schemars(extend("enum" = [
        "approval.asked", "approval.voted", "approval.escalated", "approval.approved", "approval.denied", "approval.expired",
        "approval.void", "approval.used",
    ]))]
    pub what: String,
}

impl Approval {
    /// Why its arguments cannot be shown, and so nobody can approve it where it was asked about; `None` where they can, or it has none.
    pub fn unshown(&self) -> Option<String> {
        let is_unknown = self.question.arguments.is_some() && self.arguments.is_none();
        is_unknown.then(|| unshown(self.held_at.as_deref()))
    }

    /// Where it stands; `None` where that is said in a word that this version does not know.
    pub fn mark(&self) -> Option<Mark> {
        Some(Mark {
            state: State::ALL.into_iter().find(|state| state.as_str() == self.state)?,
            votes: self.given.len(),
            escalated: self.escalated.clone(),
            uses: self.made.iter().map(|made| made.call.clone()).collect(),
            changed: self.changed.clone(),
        })
    }
}

/// Why the arguments of a call cannot be shown, which is held at this gateway, or at another one.
pub fn unshown(held_at: Option<&str>) -> String {
    match held_at {
        Some(gateway) => format!(
            "its arguments are not known here, since its call was held at another gateway, {gateway}: ask that one, or let its caller try again here"
        ),
        None => {
            "its arguments cannot be shown since a restart, or a shred; they can when its caller tries again"
                .to_owned()
        }
    }
}

impl ApprovalEvent {
    /// What happened to a question that stands thus now.
    pub fn of(happened: &Happened, data: Approval, now: &str) -> Self {
        let vote = match happened.what {
            Happening::Voted => happened.which.parse::<usize>().ok(),
            _ => None,
        };
        let given =
            vote.and_then(|vote| data.given.get(vote.checked_sub(1)?)).map(|given| given.time.clone());
        Self {
            gateway: None,
            id: happened.id(&data.question.approval),
            page: None,
            timestamp: given.unwrap_or_else(|| now.to_owned()),
            what: format!("approval.{}", happened.what.as_str()),
            data,
        }
    }
}

/// Somebody who approved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Given {
    /// `User/issuer#subject`.
    pub by: String,
    /// The role of the person, where it is not the one that is asked, and the question went on to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub escalation: Option<String>,
    /// In which of the roles that are asked.
    pub role: String,
    /// When: RFC 3339 UTC.
    pub time: String,
    /// In the words of the person.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub why: String,
}

/// Who denied a call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Denied {
    /// `User/issuer#subject`.
    pub by: String,
    /// When: RFC 3339 UTC.
    pub time: String,
    /// In the words of the person.
    pub why: String,
}

/// What an answer of a person came to: the body of `POST /approvals/approve` and `/approvals/deny`, and `-o json` of the commands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Answered {
    /// The act.
    #[serde(flatten)]
    pub done: ActDone,
    /// Where the question stands now, as [`Approval::state`]; empty where an older gateway answers.
    #[serde(default)]
    pub state: String,
    /// Who else has to approve, in a few words for each policy that is not content: `1 of directors`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lacks: Vec<String>,
}

/// A call that was made with an approval.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Made {
    /// Its id, by which `vidimus audit show` finds it.
    pub call: String,
    /// What came of it, as in the record of its effect, or `unknown` where nothing is known: it may have been carried out.
    pub result: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_event_is_in_the_schema() {
        let schema = serde_json::to_value(schemars::schema_for!(ApprovalEvent)).expect("JSON");
        let names: Vec<String> =
            Happening::ALL.iter().map(|what| format!("approval.{}", what.as_str())).collect();
        assert_eq!(schema["properties"]["type"]["enum"], serde_json::json!(names));
        let schema = serde_json::to_value(schemars::schema_for!(Approval)).expect("JSON");
        let states: Vec<&str> = State::ALL.iter().map(|state| state.as_str()).collect();
        assert_eq!(schema["properties"]["state"]["enum"], serde_json::json!(states));
    }
}
