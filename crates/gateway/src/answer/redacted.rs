//! An answer of which a policy redacts something: it is read whole, or event by event, and what cannot be read does not pass.

use std::sync::Arc;

use bytes::Bytes;
use vidimus_core::refusal::{Code, Refusal};

use super::plan::Plan;
use super::{Answering, Done};
use crate::changes::Own;
use crate::protocol::DocumentChange;
use crate::seal::{self, Kind};

impl Answering<'_> {
    /// How an answer is read of which something is redacted.
    pub(super) fn reading(&self, plan: Plan) -> Plan {
        match plan {
            Plan::Pass | Plan::Collect { .. } if self.redaction.is_some() => {
                Plan::Change { limit: self.gate.limits.held_answer, change: DocumentChange::Redacted }
            }
            plan => plan,
        }
    }

    /// What in the answer is not the server's own word: the caller's id, and ids that were sealed.
    pub(super) fn own(&self) -> Own {
        let (shared, holder) = (self.gate.shared.clone(), seal::binding(&self.destination, &self.caller));
        let is_task = move |id: &str| shared.seal.open(Kind::Task, &holder, id).is_some();
        Own { id: self.id.clone(), is_task: Arc::new(is_task) }
    }

    /// What of an answer reaches the caller.
    ///
    /// # Errors
    /// `change_impossible` for what was not read whole, and for what cannot be read.
    pub(super) fn redacted(&self, done: Done) -> Result<Done, Refusal> {
        let Some(redaction) = &self.redaction else { return Ok(done) };
        match done {
            Done::Stream(content) if content.events.is_some() => Ok(Done::Stream(content)),
            Done::Stream(_) => {
                let message =
                    "a policy redacts what is in the answer, and it is too long, or too slow, to be read";
                Err(Refusal::new(Code::ChangeImpossible, message))
            }
            Done::Whole(bytes) if bytes.trim_ascii().is_empty() => Ok(Done::Whole(bytes)),
            Done::Whole(bytes) => {
                let not_text = |_| Refusal::new(Code::UpstreamInvalid, "the upstream's answer is not UTF-8");
                let text = std::str::from_utf8(&bytes).map_err(not_text)?;
                Ok(Done::Whole(
                    redaction.message(text, &self.own())?.map_or_else(|| bytes.clone(), Bytes::from),
                ))
            }
        }
    }
}
