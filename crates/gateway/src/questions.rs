//! What people look at before they approve a call: its arguments, which no record has.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use vidimus_core::approval::pending::{Approvals, Pending, Question};

use crate::handle::sha256;

/// How many bytes of arguments are kept for people to look at, of all calls together. Nobody's calls have more than is left for the
/// others'.
const MOST: usize = 16 * 1024 * 1024;

/// The arguments of calls that wait for people.
#[derive(Debug, Default)]
pub struct Questions {
    shown: Mutex<HashMap<String, Arc<str>>>,
}

impl Questions {
    /// Keeps the arguments of a call that waits for `approval`, where there is room; those of calls that wait no more make room.
    /// `asking` is who calls: the question may not stand yet. Of one that stands, nothing but what its record has the digest of is kept.
    pub fn keep(&self, approval: &str, asking: &str, arguments: &str, standing: &Approvals) {
        let Ok(mut shown) = self.shown.lock() else { return };
        let is_asked =
            |other: &Pending| other.question.arguments.as_deref() == Some(&*sha256(arguments.as_bytes()));
        if shown.contains_key(approval) || standing.get(approval).is_some_and(|other| !is_asked(other)) {
            return;
        }
        shown.retain(|approval, _| standing.get(approval).is_some());
        let asks = |approval: &str| standing.get(approval).map(|pending| &*pending.question.principal);
        let (mut taken, mut held) = (arguments.len(), arguments.len());
        for (other, text) in &*shown {
            taken = taken.saturating_add(text.len());
            if asks(other) == Some(asking) {
                held = held.saturating_add(text.len());
            }
        }
        if MOST.checked_sub(taken).is_some_and(|left| held <= left) {
            shown.insert(approval.to_owned(), arguments.into());
        }
    }

    /// Forgets the arguments of calls of which this is so. They are shown again where their caller tries again.
    pub fn forget(&self, standing: &Approvals, is_so: impl Fn(&Question) -> bool) {
        let Ok(mut shown) = self.shown.lock() else { return };
        // Whose a question is that does not stand yet is not known here; who asks it keeps its arguments once more.
        shown.retain(|approval, _| standing.get(approval).is_some_and(|pending| !is_so(&pending.question)));
    }

    /// The arguments, in canonical JSON; `None` where they are not known (any more).
    pub fn arguments(&self, approval: &str) -> Option<Arc<str>> {
        self.shown.lock().ok()?.get(approval).cloned()
    }

    /// What is shown of a question: its arguments, and the digest of all of it, by which an approval says what it is of. Neither where there
    /// are arguments and they are not known.
    pub fn shown(&self, question: &Question) -> (Option<Arc<str>>, Option<String>) {
        let arguments = self.arguments(&question.approval);
        if question.arguments.is_some() && arguments.is_none() {
            return (None, None);
        }
        // Serializing what is all text and numbers does not fail.
        let said = serde_json::to_vec(&(question, arguments.as_deref())).unwrap_or_default();
        (arguments, Some(sha256(&said)))
    }
}

#[cfg(test)]
mod tests {
    use vidimus_core::approval::pending::Deed;

    use super::*;

    fn question(number: usize, principal: &str, arguments: &str) -> Question {
        let text = |text: &str| text.to_owned();
        Question {
            action: text("invokeTool"),
            approval: format!("{principal}-{number}"),
            arguments: Some(sha256(arguments.as_bytes())),
            asking: Vec::new(),
            before: None,
            call: text("c"),
            chain: Vec::new(),
            chain_owners: Vec::new(),
            definition: None,
            digest: format!("{principal}-{number}"),
            endpoint: text("https://a.example"),
            identity: None,
            instance: None,
            method: text("tools/call"),
            owner: text("o"),
            principal: text(principal),
            redacted: Vec::new(),
            resource: text("Tool/a/b/c"),
            same: None,
            until: i64::MAX,
            user: None,
            user_email: None,
            window: None,
        }
    }

    #[test]
    fn nobodys_arguments_leave_no_room_for_those_of_others() {
        let (questions, mut standing) = (Questions::default(), Approvals::default());
        let megabyte = "x".repeat(1024 * 1024);
        let mut kept = |principal: &str| {
            (0..16)
                .filter(|number| {
                    let question = question(*number, principal, &megabyte);
                    standing.apply(Deed::Ask(&question), "vidimus", 0);
                    questions.keep(&question.approval, principal, &megabyte, &standing);
                    questions.arguments(&question.approval).is_some()
                })
                .count()
        };
        assert_eq!((kept("Agent/a/greedy"), kept("Agent/a/modest"), kept("Agent/a/third")), (8, 4, 2));
    }

    #[test]
    fn what_is_forgotten_is_shown_no_more_and_the_rest_is() {
        let (questions, mut standing) = (Questions::default(), Approvals::default());
        let asked = [question(1, "Agent/a/x", "{}"), question(2, "Agent/a/y", "{}")];
        for question in &asked {
            standing.apply(Deed::Ask(question), "vidimus", 0);
            questions.keep(&question.approval, &question.principal, "{}", &standing);
        }
        questions.forget(&standing, |question| question.principal == "Agent/a/x");
        assert_eq!(questions.shown(&asked[0]), (None, None), "nor can anybody approve it");
        assert_eq!(questions.arguments(&asked[1].approval).as_deref(), Some("{}"));
        questions.keep(&asked[0].approval, "Agent/a/x", "{}", &standing);
        assert_eq!(questions.arguments(&asked[0].approval).as_deref(), Some("{}"), "its caller tries again");
    }

    #[test]
    fn nothing_is_shown_but_what_was_asked() {
        let (questions, mut standing) = (Questions::default(), Approvals::default());
        let question = question(1, "Agent/a/x", r#"{"amount":5}"#);
        standing.apply(Deed::Ask(&question), "vidimus", 0);
        let keep = |arguments: &str| {
            questions.keep(&question.approval, &question.principal, arguments, &standing);
            questions.arguments(&question.approval)
        };
        assert_eq!(keep(r#"{"amount":5,"note":"checked by the CFO"}"#), None);
        assert_eq!(questions.shown(&question), (None, None), "nobody can approve it");
        assert_eq!(keep(r#"{"amount":5}"#).as_deref(), Some(r#"{"amount":5}"#));
    }
}
