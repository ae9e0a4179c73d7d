//! What people look at before they approve a call: its arguments, which no record has.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use vidimus_core::approval::pending::{Approvals, Question};

use crate::handle::sha256;

/// How many bytes of arguments are kept for people to look at, of all calls together.
const MOST: usize = 16 * 1024 * 1024;

/// The arguments of calls that wait for people.
#[derive(Debug, Default)]
pub struct Questions {
    shown: Mutex<HashMap<String, Arc<str>>>,
}

impl Questions {
    /// Keeps the arguments of a call that waits for `approval`, where there is room; those of calls that wait no more make room.
    pub fn keep(&self, approval: &str, arguments: &str, standing: &Approvals) {
        let Ok(mut shown) = self.shown.lock() else { return };
        if shown.contains_key(approval) {
            return;
        }
        shown.retain(|approval, _| standing.get(approval).is_some());
        let taken: usize = shown.values().map(|text| text.len()).sum();
        if taken.saturating_add(arguments.len()) <= MOST {
            shown.insert(approval.to_owned(), arguments.into());
        }
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
