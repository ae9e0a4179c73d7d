//! What a server says on a stream that is no call's own, where something is redacted of what its tools answer. A log message, a progress or a
//! question says nothing of the call that it is of, and may say what is redacted: what has no words of a tool passes, and nothing else.

use vidimus_core::refusal::Refusal;

use super::answer::unread;
use super::unmet;
use crate::protocol::event::{self, Change, Rewrite};
use crate::protocol::members::{Members, text};

/// What is told and passes: that something changed, which resource did, and how a task is (which has no words by then).
const NOTICES: [&str; 7] = [
    "notifications/prompts/list_changed",
    "notifications/resources/list_changed",
    "notifications/resources/updated",
    "notifications/subscriptions/acknowledged",
    "notifications/tasks",
    "notifications/tasks/status",
    "notifications/tools/list_changed",
];

/// What is asked and passes: nothing is said in it.
const QUESTIONS: [&str; 2] = ["ping", "roots/list"];

/// An event of such a stream without what may be of a call whose answer is redacted.
///
/// # Errors
/// `change_impossible` for what cannot be read, and for what asks something in words: it waits for an answer, so it cannot be left out.
pub fn without_words(event: &[u8]) -> Result<Vec<u8>, Refusal> {
    event::bare(event, &mut Beside)
}

struct Beside;

impl Rewrite for Beside {
    fn data(&mut self, data: &str) -> Result<Change, Refusal> {
        if data.trim().is_empty() {
            return Ok(Change::To(String::new()));
        }
        let message = Members::unique(data).map_err(unread)?;
        let id = message.get("id").filter(|id| id.get() != "null");
        let Some(method) = message.get("method").map(|method| text(method).unwrap_or_default()) else {
            // What answers a redacted call was dropped by its id. An error without one may be of such a call.
            return Ok(if id.is_some() { Change::Same } else { Change::Drop });
        };
        match id {
            None if NOTICES.contains(&&*method) => Ok(Change::Same),
            None => Ok(Change::Drop),
            Some(_) if QUESTIONS.contains(&&*method) => Ok(Change::Same),
            Some(_) => Err(unmet(
                "a policy redacts what tools of this server answer, and it asks something on a stream of no call, which may say the same",
            )),
        }
    }

    fn id(&mut self, _id: &str) -> Result<Option<String>, Refusal> {
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Attack: the words of a redacted answer in what a server says beside it.
    #[test]
    fn of_a_stream_that_is_no_calls_own_what_has_no_words_passes() {
        for (event, expected) in [
            (": 4111\n\n", Some(":\n\n")),
            ("event: 4111\nretry: 4111\nid: 1\ndata: \n\n", Some("id: 1\ndata: \n\n")),
            ("data: {\"method\":\"notifications/message\",\"params\":{\"data\":\"4111\"}}\n\n", Some("")),
            ("data: {\"method\":\"notifications/progress\",\"params\":{\"message\":\"4111\"}}\n\n", Some("")),
            ("data: {\"method\":\"notifications/4111\"}\n\n", Some("")),
            ("data: {\"id\":null,\"error\":{\"code\":1,\"message\":\"4111\"}}\n\n", Some("")),
            (
                "data: {\"method\":\"notifications/tools/list_changed\"}\n\n",
                Some("data: {\"method\":\"notifications/tools/list_changed\"}\n\n"),
            ),
            ("data: {\"id\":7,\"method\":\"ping\"}\n\n", Some("data: {\"id\":7,\"method\":\"ping\"}\n\n")),
            // The answer to a call of which nothing is redacted, which is replayed.
            ("data: {\"id\":7,\"result\":{}}\n\n", Some("data: {\"id\":7,\"result\":{}}\n\n")),
            (
                "data: {\"id\":7,\"method\":\"elicitation/create\",\"params\":{\"message\":\"4111\"}}\n\n",
                None,
            ),
            ("data: {\"id\":7,\"method\":\"ping\",\"Method\":\"x\"}\n\n", None),
            ("data: 4111\n\n", None),
        ] {
            let passed = without_words(event.as_bytes());
            if let Err(refusal) = &passed {
                assert!(!refusal.to_string().contains("4111"), "{refusal}");
            }
            let passed = passed.ok().map(|bytes| String::from_utf8(bytes).expect("text"));
            assert_eq!(passed.as_deref(), expected, "{event}");
        }
    }
}
